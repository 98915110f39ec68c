// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/evo_attention.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "kernels/common/dispatch.h"
#include "ops/evo_attention_arguments.h"
#include "ops/evo_attention_composition.h"
#include "ops/evo_attention_into.h"
#include "ops/launch.h"
#include "ops/params.h"

namespace megafold::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using Arguments = EvoAttentionArguments<at::Tensor>;

at::Tensor composition(const Arguments& a) {
  if (!a.windows()) {
    return evo_attention_composition(a.q, a.k, a.v, a.bias, a.mask, a.gate, a.scale);
  }
  return atom_attention_composition(a.q, a.k, a.v, a.bias, a.mask, a.gate, a.scale,
                                    {a.window_queries, a.window_keys, a.first_key});
}

Arguments with_types(Arguments a) {
  a.dtype = dtype_of(a.q, "q");
  if (a.bias.defined()) a.bias_dtype = dtype_of(a.bias, "bias");
  a.place = place_of(a.q);
  return a;
}

/// Runs the kernel on every launch; false where none takes the call, counted as "aten".
template <class Params, class MakeParams>
bool run(const char* name, const std::vector<kernels::Implementation<Params>>& list,
         const Arguments& a, MakeParams&& make_params) {
  kernels::Reasons refused;
  const auto* const found = kernels::find_implementation(list, make_params(0), refused);
  kernels::count_dispatch(name, found != nullptr ? found->name : "aten", refused);
  if (found == nullptr) return false;
  for (int64_t i = 0; i < a.launches(); ++i) launch(*found, make_params(i), a.q);
  return true;
}

}  // namespace

bool evo_attention_into(Arguments a, const at::Tensor& out, const at::Tensor& lse) {
  a = with_types(std::move(a));
  const c10::DeviceGuard guard(a.q.device());
  if (a.q.numel() == 0 || run(a.name(), kernels::evo_attention_forward(), a,
                              [&](int64_t i) { return a.forward(out, lse, i); })) {
    return true;
  }
  out.copy_(composition(a));
  return false;
}

void evo_attention_backward_into(Arguments a, bool by_kernel, const at::Tensor& dout,
                                 const at::Tensor& out, const at::Tensor& lse, const at::Tensor& dq,
                                 const at::Tensor& dk, const at::Tensor& dv,
                                 const at::Tensor& dbias, const at::Tensor& dgate) {
  a = with_types(std::move(a));
  const c10::DeviceGuard guard(a.q.device());
  if (a.q.numel() == 0) {
    for (const auto& t : {dq, dk, dv, dbias, dgate}) {
      if (t.defined()) t.zero_();
    }
    return;
  }
  // Not contiguous(): a broadcast of one element, or a slice of one row, passes for contiguous.
  const at::Tensor read =
      reads_well(dout, dout.is_cuda()) ? dout : dout.clone(at::MemoryFormat::Contiguous);
  if (by_kernel && run(a.backward_name(), kernels::evo_attention_backward(), a, [&](int64_t i) {
        return a.backward(out, lse, read, dq, dk, dv, dbias, dgate, i);
      })) {
    return;
  }
  // By ATen: the composition once more, this time recorded.
  const at::AutoGradMode record(true);
  variable_list inputs;
  std::vector<at::Tensor> results;
  const auto leaf = [&](at::Tensor& t, const at::Tensor& result) {
    if (!result.defined()) return;
    t = t.detach().requires_grad_(true);
    inputs.push_back(t);
    results.push_back(result);
  };
  leaf(a.q, dq);
  leaf(a.k, dk);
  leaf(a.v, dv);
  leaf(a.bias, dbias);
  leaf(a.gate, dgate);
  const variable_list found = torch::autograd::grad({composition(a)}, inputs, {read});
  const at::NoGradGuard off;
  for (size_t i = 0; i < found.size(); ++i) results[i].copy_(found[i]);
}

namespace {

struct EvoAttention : torch::autograd::Function<EvoAttention> {
  // Undefined tensors must come as empty optionals: LibTorch asks every tensor argument for its
  // device.
  using Maybe = std::optional<at::Tensor>;

  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const Maybe& bias, const Maybe& mask,
                            const Maybe& gate, const Maybe& first_key, double scale,
                            int64_t window_queries, int64_t window_keys) {
    const auto or_undefined = [](const Maybe& t) { return t.value_or(at::Tensor()); };
    const Arguments a = {q,
                         k,
                         v,
                         or_undefined(bias),
                         or_undefined(mask),
                         or_undefined(gate),
                         or_undefined(first_key),
                         scale,
                         window_queries,
                         window_keys};
    const at::Tensor out = at::empty(q.sizes(), q.options());
    // [B, R, H, Nq], or [B, W, R, H, queries of a window].
    const at::Tensor lse =
        at::empty({q.size(0) * q.size(1) * q.size(2) * q.size(3)}, q.options().dtype(at::kFloat));
    const bool kernel = evo_attention_into(a, out, lse);
    context->save_for_backward({q, k, v, a.bias, a.mask, a.gate, a.first_key, out, lse});
    context->saved_data["scale"] = scale;
    context->saved_data["windows"] = c10::List<int64_t>({window_queries, window_keys});
    context->saved_data["kernel"] = kernel;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    if (at::GradMode::is_enabled()) {
      fail<Unsupported>("evo_attention is differentiable once: its backward cannot build a graph");
    }
    const variable_list saved = context->get_saved_variables();
    const auto windows = context->saved_data["windows"].toIntVector();
    const Arguments a = {saved[0],   saved[1],  saved[2], saved[3],
                         saved[4],   saved[5],  saved[6], context->saved_data["scale"].toDouble(),
                         windows[0], windows[1]};

    // LibTorch numbers the arguments that were defined.
    size_t edge = 3;
    const bool bias_edge = a.bias.defined() && context->needs_input_grad(edge++);
    edge += a.mask.defined() ? 1 : 0;
    const bool gate_edge = a.gate.defined() && context->needs_input_grad(edge);

    const at::Tensor dq = at::empty(a.q.sizes(), a.q.options());
    const at::Tensor dk = at::empty(a.k.sizes(), a.k.options());
    const at::Tensor dv = at::empty(a.v.sizes(), a.v.options());
    at::Tensor dbias, dgate;
    if (bias_edge) dbias = at::empty(a.bias.sizes(), a.bias.options());
    if (gate_edge) dgate = at::empty(a.gate.sizes(), a.gate.options());
    evo_attention_backward_into(a, context->saved_data["kernel"].toBool(), gradients[0], saved[7],
                                saved[8], dq, dk, dv, dbias, dgate);
    return {dq, dk, dv, dbias, {}, dgate, {}, {}, {}, {}};
  }
};

void require_shape(const char* op, const char* name, const at::Tensor& t, at::IntArrayRef expected,
                   const char* meaning) {
  if (t.sizes() == expected) return;
  fail<BadInput>("{}: {} is {}, but {} = [{}] is needed", op, name, describe(t), meaning,
                 fmt::join(expected, ", "));
}

void require_like(const char* op, const char* name, const at::Tensor& t, at::ScalarType type,
                  const at::Tensor& q) {
  if (t.scalar_type() == type && t.device() == q.device()) return;
  fail<BadInput>("{}: {} is {} on {}, but {} on {} is needed", op, name,
                 c10::toString(t.scalar_type()), t.device().str(), c10::toString(type),
                 q.device().str());
}

/// What both forms ask of their tensors, but for the bias' shape.
void check(const char* op, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
           const at::Tensor& bias, const at::Tensor& mask, const at::Tensor& gate) {
  for (const auto& [name, t] : {std::pair{"q", &q}, {"k", &k}, {"v", &v}}) {
    if (!t->defined() || t->dim() != 5 || t->size(4) < 1) {
      fail<BadInput>("{}: {} is {}, but [B, R, N, H, D] with D >= 1 is needed", op, name,
                     describe(*t));
    }
    require_like(op, name, *t, q.scalar_type(), q);
  }
  dtype_of(q, op);
  require_shape(op, "k", k, {q.size(0), q.size(1), k.size(2), q.size(3), q.size(4)},
                "[B, R, Nk, H, D]");
  require_shape(op, "v", v, k.sizes(), "k's shape");
  if (bias.defined()) {
    const bool wide = q.scalar_type() != at::kDouble && bias.scalar_type() == at::kFloat;
    require_like(op, "bias", bias, wide ? at::kFloat : q.scalar_type(), q);
  }
  if (mask.defined()) {
    require_shape(op, "mask", mask, {k.size(0), k.size(1), k.size(2)}, "[B, R, Nk]");
    require_like(op, "mask", mask, at::kBool, q);
  }
  if (gate.defined()) {
    require_shape(op, "gate", gate, q.sizes(), "q's shape");
    require_like(op, "gate", gate, q.scalar_type(), q);
  }
}

at::Tensor apply(Arguments a) {
  for (at::Tensor* t : {&a.q, &a.k, &a.v, &a.gate}) {
    if (t->defined() && t->stride(-1) != 1 && t->size(-1) > 1) *t = t->contiguous();
  }
  const auto maybe = [](const at::Tensor& t) {
    return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt;
  };
  return EvoAttention::apply(a.q, a.k, a.v, maybe(a.bias), maybe(a.mask), maybe(a.gate),
                             maybe(a.first_key), a.scale, a.window_queries, a.window_keys);
}

double default_scale(const at::Tensor& q) {
  return 1.0 / std::sqrt(static_cast<double>(q.size(4)));
}

}  // namespace

at::Tensor evo_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& bias, const at::Tensor& mask, const at::Tensor& gate,
                         std::optional<double> scale) {
  check("evo_attention", q, k, v, bias, mask, gate);
  if (bias.defined()) {
    require_shape("evo_attention", "bias", bias, {q.size(0), q.size(3), q.size(2), k.size(2)},
                  "[B, H, Nq, Nk]");
  }
  return apply({q, k, v, bias, mask, gate, {}, scale.value_or(default_scale(q))});
}

at::Tensor atom_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& bias, const at::Tensor& mask, const at::Tensor& gate,
                          std::optional<double> scale, const AtomWindows& windows) {
  constexpr const char* kOp = "atom_attention";
  check(kOp, q, k, v, bias, mask, gate);
  require_shape(kOp, "k", k, q.sizes(), "q's shape");
  if (windows.queries < 1 || windows.keys < 1) {
    fail<BadInput>("{}: windows of {} queries and {} keys", kOp, windows.queries, windows.keys);
  }
  const int64_t atoms = q.size(2), count = (atoms + windows.queries - 1) / windows.queries;
  if (bias.defined()) {
    require_shape(kOp, "bias", bias, {q.size(0), count, q.size(3), windows.queries, windows.keys},
                  "[B, W, H, queries, keys]");
  }
  Arguments a = {
      q,           k, v, bias, mask, gate, {}, scale.value_or(default_scale(q)), windows.queries,
      windows.keys};
  if (windows.first_key.defined()) {
    require_shape(kOp, "first_key", windows.first_key, {count}, "[W]");
    a.first_key = windows.first_key.to(at::kInt).contiguous();
  }
  // The kernels' windows are whole: queries behind the last atom are computed and dropped.
  const int64_t missing = count * windows.queries - atoms;
  if (missing > 0) {
    const auto pad = [&](const at::Tensor& t) {
      return t.defined() ? at::constant_pad_nd(t, {0, 0, 0, 0, 0, missing}) : t;
    };
    a.q = pad(q);
    a.gate = pad(gate);
  }
  const at::Tensor out = apply(a);
  return missing > 0 ? out.narrow(2, 0, atoms) : out;
}

}  // namespace megafold::ops
