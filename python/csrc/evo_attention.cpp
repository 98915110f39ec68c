// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The operators megafold::evo_attention and megafold::atom_attention and their backwards, through
// torch's stable ABI: the wheel runs with every torch from 2.10 on, whatever its Python.
//
// Built twice: _cpu.so defines the operators and runs them on the CPU; _cuda.so (MEGAFOLD_CUDA)
// adds the GPU and needs libtorch_cuda. Autograd, shapes for the compiler and the fall-back by
// torch's own operators are in python/megafold/ops.py: the stable ABI has no place for them.
#include "common.h"
#include "kernels/common/dispatch.h"
#include "ops/evo_attention_arguments.h"

namespace {

using namespace megafold::python;
namespace kernels = megafold::kernels;
using torch::headeronly::ScalarType;

using Arguments = megafold::ops::EvoAttentionArguments<Tensor>;
using Forward = std::tuple<Tensor, Tensor>;
using Backward = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

/// D contiguous, as the kernels read it.
Tensor readable(const Tensor& t) {
  if (!t.defined() || t.stride(t.dim() - 1) == 1 || t.size(t.dim() - 1) == 1) return t;
  return torch::stable::contiguous(t);
}

/// The checks that guard memory: ops.py says the same to users in better words.
Arguments arguments(const Tensor& q, const Tensor& k, const Tensor& v, const Maybe& bias,
                    const Maybe& mask, const Maybe& gate, const Maybe& first_key, double scale,
                    int64_t window_queries, int64_t window_keys) {
  for (const Tensor* t : {&q, &k, &v}) {
    STD_TORCH_CHECK(t->dim() == 5, "q, k and v must be [B, R, N, H, D], met ", shape_of(*t));
  }
  Arguments a;
  a.q = readable(q);
  a.k = readable(k);
  a.v = readable(v);
  if (bias) a.bias = *bias;
  if (mask) a.mask = *mask;
  if (gate) a.gate = readable(*gate);
  if (first_key) a.first_key = torch::stable::contiguous(*first_key);
  a.scale = scale;
  a.window_queries = window_queries;
  a.window_keys = window_keys;
  a.dtype = dtype_of(q, "q");
  a.place = kPlace;
  const auto expect = [&](const char* name, const Tensor& t, const std::vector<int64_t>& shape) {
    bool same = t.dim() == static_cast<int64_t>(shape.size());
    for (int64_t i = 0; same && i < t.dim(); ++i) same = t.size(i) == shape[static_cast<size_t>(i)];
    STD_TORCH_CHECK(same, name, " has the shape ", shape_of(t), ", which does not go with q ",
                    shape_of(q), " and k ", shape_of(k));
    STD_TORCH_CHECK(t.is_cuda() == q.is_cuda() && t.get_device_index() == q.get_device_index(),
                    name, " is on another device than q");
  };
  const int64_t windows = a.windows() ? q.size(2) / window_queries : 0;
  expect("k", k, {q.size(0), q.size(1), k.size(2), q.size(3), q.size(4)});
  expect("v", v, {k.size(0), k.size(1), k.size(2), k.size(3), k.size(4)});
  STD_TORCH_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(),
                  "q, k and v must have one dtype");
  STD_TORCH_CHECK(!a.windows() || (window_keys > 0 && q.size(2) % window_queries == 0),
                  "q must hold whole windows of ", window_queries, " queries, met ", shape_of(q));
  if (bias) {
    if (a.windows()) {
      expect("bias", a.bias, {q.size(0), windows, q.size(3), window_queries, window_keys});
    } else {
      expect("bias", a.bias, {q.size(0), q.size(3), q.size(2), k.size(2)});
    }
    a.bias_dtype = dtype_of(a.bias, "bias");
  }
  if (mask) {
    expect("mask", a.mask, {k.size(0), k.size(1), k.size(2)});
    STD_TORCH_CHECK(a.mask.scalar_type() == ScalarType::Bool, "mask must be bool");
  }
  if (gate) {
    expect("gate", a.gate, {q.size(0), q.size(1), q.size(2), q.size(3), q.size(4)});
    STD_TORCH_CHECK(a.gate.scalar_type() == q.scalar_type(), "gate must have q's dtype");
  }
  if (first_key) {
    expect("first_key", a.first_key, {windows});
    STD_TORCH_CHECK(a.first_key.scalar_type() == ScalarType::Int, "first_key must be int32");
  }
  return a;
}

/// An uninitialised tensor of `like`'s shape, contiguous; of no element where `like` is undefined.
Tensor fresh(const Tensor& like, const Tensor& device_of) {
  if (!like.defined()) return torch::stable::new_empty(device_of, std::vector<int64_t>{0});
  return torch::stable::new_empty(like, like.sizes());
}

/// Runs the kernel on every launch; false where none takes the call, counted as "torch".
template <class Params, class MakeParams>
bool run(const char* name, const std::vector<kernels::Implementation<Params>>& list,
         const Arguments& a, MakeParams&& make_params) {
#ifdef MEGAFOLD_CUDA
  const torch::stable::accelerator::DeviceGuard guard(a.q.get_device_index());
#endif
  kernels::Reasons refused;
  const auto* const found = kernels::find_implementation(list, make_params(0), refused);
  kernels::count_dispatch(name, found != nullptr ? found->name : "torch", refused);
  if (found == nullptr) return false;
  for (int64_t i = 0; i < a.launches(); ++i) launch(*found, make_params(i), a.q);
  return true;
}

/// dout, or a copy where the kernels would rather have one. Not contiguous(): a broadcast of one
/// element, or a slice of one row, passes for contiguous.
Tensor gradient_to_read(const Arguments& a, const Tensor& dout) {
  if (megafold::ops::reads_well(dout, kPlace == kernels::Place::gpu)) return dout;
  Tensor copy = fresh(a.q, a.q);
  torch::stable::copy_(copy, dout);
  return copy;
}

/// The operator `name` of ops.py, which does the same with torch's own operators.
template <size_t kArguments>
void call_fallback(const char* name, std::array<StableIValue, kArguments>& stack) {
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, "", stack.data(), TORCH_ABI_VERSION));
}

/// lse's shape: [B, R, H, Nq], in windows [B, W, R, H, queries of a window].
std::vector<int64_t> lse_shape(const Arguments& a) {
  const int64_t b = a.q.size(0), r = a.q.size(1), n = a.q.size(2), h = a.q.size(3);
  if (!a.windows()) return {b, r, h, n};
  return {b, n / a.window_queries, r, h, a.window_queries};
}

Maybe maybe(const Tensor& t) {
  return t.defined() ? Maybe(t) : Maybe();
}

void copy_into(Tensor to, const Tensor& from) {
  if (to.defined()) torch::stable::copy_(to, from);
}

/// Writes out (q's shape, D contiguous) and lse (contiguous).
void forward_into(const Arguments& a, const Tensor& out, const Tensor& lse) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  if (out.numel() == 0 || run(a.name(), kernels::evo_attention_forward(), a,
                              [&](int64_t i) { return a.forward(out, lse, i); })) {
    return;
  }
  std::array<StableIValue, 10> stack = {from(a.q),
                                        from(a.k),
                                        from(a.v),
                                        from(maybe(a.bias)),
                                        from(maybe(a.mask)),
                                        from(maybe(a.gate)),
                                        from(maybe(a.first_key)),
                                        from(a.scale),
                                        from(a.window_queries),
                                        from(a.window_keys)};
  call_fallback("megafold::attention_by_torch", stack);
  copy_into(out, to<Tensor>(stack[0]));
  copy_into(lse, to<Tensor>(stack[1]));
}

/// Writes the gradients (shapes of q, k, v, gate with D contiguous; dbias contiguous); an undefined
/// dbias or dgate is not wanted.
void backward_into(const Arguments& a, const Tensor& dout, const Tensor& out, const Tensor& lse,
                   const Tensor& dq, const Tensor& dk, const Tensor& dv, const Tensor& dbias,
                   const Tensor& dgate) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  if (dq.numel() == 0) {
    for (Tensor t : {dk, dv, dbias}) {
      if (t.defined()) torch::stable::zero_(t);
    }
    return;
  }
  const Tensor read = gradient_to_read(a, dout);
  if (run(a.backward_name(), kernels::evo_attention_backward(), a,
          [&](int64_t i) { return a.backward(out, lse, read, dq, dk, dv, dbias, dgate, i); })) {
    return;
  }
  std::array<StableIValue, 13> stack = {from(read),
                                        from(a.q),
                                        from(a.k),
                                        from(a.v),
                                        from(maybe(a.bias)),
                                        from(maybe(a.mask)),
                                        from(maybe(a.gate)),
                                        from(maybe(a.first_key)),
                                        from(a.scale),
                                        from(a.window_queries),
                                        from(a.window_keys),
                                        from(dbias.defined()),
                                        from(dgate.defined())};
  call_fallback("megafold::attention_by_torch_backward", stack);
  const std::array<Tensor, 5> results = {dq, dk, dv, dbias, dgate};
  for (size_t i = 0; i < results.size(); ++i) {
    const Tensor found = to<Tensor>(stack[i]);
    copy_into(results[i], found);
  }
}

Forward forward(const Arguments& a) {
  const Tensor out = fresh(a.q, a.q);
  const Tensor lse = torch::stable::new_empty(a.q, lse_shape(a), ScalarType::Float);
  forward_into(a, out, lse);
  return {out, lse};
}

/// What the backward reads beside the arguments must be what the forward made of them.
void expect_as_q(const Arguments& a, const Tensor& dout, const Tensor& out, const Tensor& lse) {
  for (const auto& [name, t] : {std::pair{"dout", &dout}, {"out", &out}}) {
    bool same = t->dim() == 5 && t->scalar_type() == a.q.scalar_type() &&
                t->get_device_index() == a.q.get_device_index() && t->is_cuda() == a.q.is_cuda();
    for (int64_t i = 0; same && i < 5; ++i) same = t->size(i) == a.q.size(i);
    STD_TORCH_CHECK(same, name, " is ", shape_of(*t), ", but q's shape ", shape_of(a.q),
                    ", dtype and device are needed");
  }
  STD_TORCH_CHECK(out.stride(4) == 1 || out.size(4) == 1, "out's last axis must be contiguous");
  const int64_t queries = a.q.size(0) * a.q.size(1) * a.q.size(2) * a.q.size(3);
  STD_TORCH_CHECK(lse.is_contiguous() && lse.scalar_type() == ScalarType::Float &&
                      lse.numel() == queries && lse.is_cuda() == a.q.is_cuda() &&
                      lse.get_device_index() == a.q.get_device_index(),
                  "lse must be the forward's: float32, contiguous, ", queries, " numbers");
}

Backward backward(const Arguments& a, const Tensor& dout, const Tensor& out, const Tensor& lse,
                  bool needs_bias, bool needs_gate) {
  expect_as_q(a, dout, out, lse);
  const Tensor dq = fresh(a.q, a.q), dk = fresh(a.k, a.q), dv = fresh(a.v, a.q);
  Tensor dbias, dgate;
  if (needs_bias && a.bias.defined()) dbias = fresh(a.bias, a.q);
  if (needs_gate && a.gate.defined()) dgate = fresh(a.gate, a.q);
  backward_into(a, dout, out, lse, dq, dk, dv, dbias, dgate);
  return {dq, dk, dv, dbias.defined() ? dbias : fresh(dbias, a.q),
          dgate.defined() ? dgate : fresh(dgate, a.q)};
}

/// What a caller gives to be written must be as the kernels write it.
void expect_written(const char* name, const Tensor& t, const Tensor& like) {
  bool same = t.dim() == like.dim() && t.scalar_type() == like.scalar_type() &&
              t.get_device_index() == like.get_device_index() && t.is_cuda() == like.is_cuda();
  for (int64_t i = 0; same && i < t.dim(); ++i) same = t.size(i) == like.size(i);
  STD_TORCH_CHECK(same && (t.stride(t.dim() - 1) == 1 || t.size(t.dim() - 1) == 1), name,
                  " has the shape ", shape_of(t), "; its argument's shape ", shape_of(like),
                  ", dtype and device, and a contiguous last axis are needed");
}

Forward evo_attention(Tensor q, Tensor k, Tensor v, Maybe bias, Maybe mask, Maybe gate,
                      double scale) {
  return forward(arguments(q, k, v, bias, mask, gate, {}, scale, 0, 0));
}

Backward evo_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Maybe bias, Maybe mask,
                                Maybe gate, Tensor out, Tensor lse, double scale, bool needs_bias,
                                bool needs_gate) {
  return backward(arguments(q, k, v, bias, mask, gate, {}, scale, 0, 0), dout, out, lse, needs_bias,
                  needs_gate);
}

void evo_attention_out(Tensor q, Tensor k, Tensor v, Maybe bias, Maybe mask, Maybe gate,
                       double scale, Tensor out, Tensor lse) {
  const Arguments a = arguments(q, k, v, bias, mask, gate, {}, scale, 0, 0);
  expect_written("out", out, q);
  STD_TORCH_CHECK(lse.is_contiguous() && lse.scalar_type() == ScalarType::Float &&
                      lse.numel() == q.size(0) * q.size(1) * q.size(2) * q.size(3) &&
                      lse.is_cuda() == q.is_cuda(),
                  "lse must be float32 [B, R, H, Nq], contiguous");
  forward_into(a, out, lse);
}

void evo_attention_backward_out(Tensor dout, Tensor q, Tensor k, Tensor v, Maybe bias, Maybe mask,
                                Maybe gate, Tensor out, Tensor lse, double scale, Tensor dq,
                                Tensor dk, Tensor dv, Maybe dbias, Maybe dgate) {
  const Arguments a = arguments(q, k, v, bias, mask, gate, {}, scale, 0, 0);
  expect_as_q(a, dout, out, lse);
  expect_written("dq", dq, q);
  expect_written("dk", dk, k);
  expect_written("dv", dv, v);
  STD_TORCH_CHECK(!dbias || (bias && dbias->is_contiguous()), "dbias must be contiguous");
  if (dbias) expect_written("dbias", *dbias, *bias);
  STD_TORCH_CHECK(!dgate || gate, "dgate without a gate");
  if (dgate) expect_written("dgate", *dgate, *gate);
  backward_into(a, dout, out, lse, dq, dk, dv, dbias.value_or(Tensor()), dgate.value_or(Tensor()));
}

Forward atom_attention(Tensor q, Tensor k, Tensor v, Maybe bias, Maybe mask, Maybe gate,
                       Maybe first_key, double scale, int64_t window_queries, int64_t window_keys) {
  return forward(
      arguments(q, k, v, bias, mask, gate, first_key, scale, window_queries, window_keys));
}

Backward atom_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Maybe bias, Maybe mask,
                                 Maybe gate, Maybe first_key, Tensor out, Tensor lse, double scale,
                                 int64_t window_queries, int64_t window_keys, bool needs_bias,
                                 bool needs_gate) {
  return backward(
      arguments(q, k, v, bias, mask, gate, first_key, scale, window_queries, window_keys), dout,
      out, lse, needs_bias, needs_gate);
}

/// A string of JSON.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

#ifndef MEGAFOLD_CUDA
STABLE_TORCH_LIBRARY(megafold, m) {
  m.def(
      "evo_attention(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? mask, Tensor? gate, float "
      "scale) -> (Tensor, Tensor)");
  m.def(
      "evo_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? "
      "mask, Tensor? gate, Tensor out, Tensor lse, float scale, bool needs_bias, bool needs_gate) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  // The same into given tensors of any strides: gradients then lie side by side, as the
  // projection's.
  m.def(
      "evo_attention_out(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? mask, Tensor? gate, "
      "float scale, Tensor(a!) out, Tensor(b!) lse) -> ()");
  m.def(
      "evo_attention_backward_out(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? "
      "mask, Tensor? gate, Tensor out, Tensor lse, float scale, Tensor(a!) dq, Tensor(b!) dk, "
      "Tensor(c!) dv, Tensor(d!)? dbias, Tensor(e!)? dgate) -> ()");
  m.def(
      "atom_attention(Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? mask, Tensor? gate, "
      "Tensor? first_key, float scale, int window_queries, int window_keys) -> (Tensor, Tensor)");
  m.def(
      "atom_attention_backward(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? "
      "mask, Tensor? gate, Tensor? first_key, Tensor out, Tensor lse, float scale, int "
      "window_queries, int window_keys, bool needs_bias, bool needs_gate) -> (Tensor, Tensor, "
      "Tensor, Tensor, Tensor)");
}
#define MEGAFOLD_KEY CPU
#else
#define MEGAFOLD_KEY CUDA
#endif

STABLE_TORCH_LIBRARY_IMPL(megafold, MEGAFOLD_KEY, m) {
  m.impl("evo_attention", TORCH_BOX(&evo_attention));
  m.impl("evo_attention_backward", TORCH_BOX(&evo_attention_backward));
  m.impl("evo_attention_out", TORCH_BOX(&evo_attention_out));
  m.impl("evo_attention_backward_out", TORCH_BOX(&evo_attention_backward_out));
  m.impl("atom_attention", TORCH_BOX(&atom_attention));
  m.impl("atom_attention_backward", TORCH_BOX(&atom_attention_backward));
}

/// What this library ran since the last call with `reset`, as JSON: [{"operation":, ...}, ...].
/// Valid until the calling thread's next call.
extern "C" __attribute__((visibility("default"))) const char* megafold_dispatch_counts(int reset) {
  thread_local std::string text;
  text = "[";
  for (const auto& count : kernels::dispatch_counts()) {
    if (text.size() > 1) text += ", ";
    text += "{\"operation\": " + quoted(count.operation) +
            ", \"implementation\": " + quoted(count.implementation) +
            ", \"calls\": " + std::to_string(count.calls) + ", \"refused\": [";
    for (size_t i = 0; i < count.refused.size(); ++i) {
      text += (i > 0 ? ", " : "") + quoted(count.refused[i]);
    }
    text += "]}";
  }
  text += "]";
  if (reset != 0) kernels::reset_dispatch_counts();
  return text.c_str();
}
