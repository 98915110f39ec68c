// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The operators megafold::evo_attention and megafold::atom_attention and their backwards, through
// torch's stable ABI: the wheel runs with every torch from 2.10 on, whatever its Python.
//
// Built twice: _cpu.so defines the operators and runs them on the CPU; _cuda.so (MEGAFOLD_CUDA)
// adds the GPU and needs libtorch_cuda. Autograd, shapes for the compiler and the fall-back by
// torch's own operators are in python/megafold/ops.py: the stable ABI has no place for them.
#define TORCH_TARGET_VERSION 0x020a000000000000ULL
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#ifdef MEGAFOLD_CUDA
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#endif

#include <optional>
#include <string>
#include <tuple>

#include "kernels/common/dispatch.h"
#include "ops/evo_attention_arguments.h"

namespace {

namespace kernels = megafold::kernels;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Arguments = megafold::ops::EvoAttentionArguments<Tensor>;
using Maybe = std::optional<Tensor>;
using Forward = std::tuple<Tensor, Tensor>;
using Backward = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

#ifdef MEGAFOLD_CUDA
constexpr kernels::Place kPlace = kernels::Place::gpu;
#else
constexpr kernels::Place kPlace = kernels::Place::cpu;
#endif

kernels::DType dtype_of(const Tensor& t, const char* name) {
  switch (t.scalar_type()) {
    case ScalarType::Half:
      return kernels::DType::f16;
    case ScalarType::BFloat16:
      return kernels::DType::bf16;
    case ScalarType::Float:
      return kernels::DType::f32;
    case ScalarType::Double:
      return kernels::DType::f64;
    default:
      STD_TORCH_CHECK(false, name, " is none of float64, float32, bfloat16, float16");
  }
}

std::string shape_of(const Tensor& t) {
  std::string text = "[";
  for (int64_t i = 0; i < t.dim(); ++i) text += (i > 0 ? ", " : "") + std::to_string(t.size(i));
  return text + "]";
}

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

kernels::Stream current_stream([[maybe_unused]] const Tensor& t) {
#ifdef MEGAFOLD_CUDA
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
  return stream;
#else
  return nullptr;
#endif
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
  for (int64_t i = 0; i < a.launches(); ++i) {
    const Params params = make_params(i);
    const Tensor workspace = torch::stable::new_empty(
        a.q, std::vector<int64_t>{found->workspace_bytes(params)}, ScalarType::Byte);
    found->launch(params, workspace.data_ptr(), current_stream(a.q));
  }
  return true;
}

/// The operator `name` of ops.py, which does the same with torch's own operators.
template <size_t kArguments>
void call_fallback(const char* name, std::array<StableIValue, kArguments>& stack) {
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, "", stack.data(), TORCH_ABI_VERSION));
}

Forward forward(const Arguments& a) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  const Tensor out = fresh(a.q, a.q);
  const int64_t b = a.q.size(0), r = a.q.size(1), n = a.q.size(2), h = a.q.size(3);
  const std::vector<int64_t> shape =
      a.windows() ? std::vector<int64_t>{b, n / a.window_queries, r, h, a.window_queries}
                  : std::vector<int64_t>{b, r, h, n};
  const Tensor lse = torch::stable::new_empty(a.q, shape, ScalarType::Float);
  if (out.numel() == 0 || run(a.name(), kernels::evo_attention_forward(), a,
                              [&](int64_t i) { return a.forward(out, lse, i); })) {
    return {out, lse};
  }
  const auto maybe = [](const Tensor& t) { return t.defined() ? Maybe(t) : Maybe(); };
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
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1])};
}

Backward backward(const Arguments& a, const Tensor& dout, const Tensor& out, const Tensor& lse,
                  bool needs_bias, bool needs_gate) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  const Tensor none;
  const bool with_bias = needs_bias && a.bias.defined(), with_gate = needs_gate && a.gate.defined();
  const Tensor dq = fresh(a.q, a.q), dk = fresh(a.k, a.q), dv = fresh(a.v, a.q);
  const Tensor dbias = fresh(with_bias ? a.bias : none, a.q);
  const Tensor dgate = fresh(with_gate ? a.gate : none, a.q);
  if (dq.numel() == 0) {
    for (const Tensor& t : {dk, dv, dbias}) torch::stable::zero_(const_cast<Tensor&>(t));
    return {dq, dk, dv, dbias, dgate};
  }
  const Tensor read = readable(dout);
  if (run(a.backward_name(), kernels::evo_attention_backward(), a, [&](int64_t i) {
        return a.backward(out, lse, read, dq, dk, dv, with_bias ? dbias : none,
                          with_gate ? dgate : none, i);
      })) {
    return {dq, dk, dv, dbias, dgate};
  }
  const auto maybe = [](const Tensor& t) { return t.defined() ? Maybe(t) : Maybe(); };
  std::array<StableIValue, 13> stack = {from(read),          from(a.q),
                                        from(a.k),           from(a.v),
                                        from(maybe(a.bias)), from(maybe(a.mask)),
                                        from(maybe(a.gate)), from(maybe(a.first_key)),
                                        from(a.scale),       from(a.window_queries),
                                        from(a.window_keys), from(with_bias),
                                        from(with_gate)};
  call_fallback("megafold::attention_by_torch_backward", stack);
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1]), to<Tensor>(stack[2]), to<Tensor>(stack[3]),
          to<Tensor>(stack[4])};
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
