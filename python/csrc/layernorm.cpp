// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The operators megafold::layer_norm and its backward, which larger nodes are made of
// (_triangle.py); built twice, like evo_attention.cpp.
#include "kernels/layernorm/layernorm.h"

#include "common.h"
#include "kernels/common/dispatch.h"

namespace {

using namespace megafold::python;
namespace kernels = megafold::kernels;
using torch::headeronly::ScalarType;

/// x [..., C] contiguous as [M, C]; weight and bias [C], of x's dtype or float32.
kernels::LayerNormForward params_of(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                    double eps) {
  STD_TORCH_CHECK(x.dim() > 0 && x.is_contiguous() && x.size(x.dim() - 1) > 0, "layer_norm: x is ",
                  shape_of(x), ", but contiguous [..., C] is needed");
  kernels::LayerNormForward p;
  p.channels = x.size(x.dim() - 1);
  p.rows = x.numel() / p.channels;
  p.eps = eps;
  p.dtype = dtype_of(x, "x");
  p.weight_dtype = dtype_of(weight, "weight");
  p.place = kPlace;
  for (const Tensor* t : {&weight, &bias}) {
    STD_TORCH_CHECK(t->dim() == 1 && t->size(0) == p.channels && t->is_contiguous() &&
                        t->scalar_type() == weight.scalar_type() && t->is_cuda() == x.is_cuda(),
                    "layer_norm: weight and bias must be [", p.channels, "] on x's device, met ",
                    shape_of(weight), " and ", shape_of(bias));
  }
  STD_TORCH_CHECK(p.weight_dtype == p.dtype ||
                      (p.weight_dtype == kernels::DType::f32 && p.dtype != kernels::DType::f64),
                  "layer_norm: weight must be of x's dtype or float32");
  p.x = x.data_ptr();
  p.x_row = p.y_row = p.channels;
  p.gamma = weight.data_ptr();
  p.beta = bias.data_ptr();
  return p;
}

/// false: no kernel takes the call (fp64 or wide rows on a GPU), counted as "torch".
template <class Params>
bool run(const char* name, const std::vector<kernels::Implementation<Params>>& list,
         const Params& params, const Tensor& x) {
#ifdef MEGAFOLD_CUDA
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
#endif
  if (x.numel() == 0) return true;
  kernels::Reasons refused;
  const auto* const found = kernels::find_implementation(list, params, refused);
  kernels::count_dispatch(name, found != nullptr ? found->name : "torch", refused);
  if (found != nullptr) launch(*found, params, x);
  return found != nullptr;
}

/// y as x, mean and rstd [M] in fp32 (fp64 for fp64).
std::tuple<Tensor, Tensor, Tensor> layer_norm(Tensor x, Tensor weight, Tensor bias, double eps) {
  kernels::LayerNormForward p = params_of(x, weight, bias, eps);
  const auto wide = p.dtype == kernels::DType::f64 ? ScalarType::Double : ScalarType::Float;
  const std::vector<int64_t> rows = {p.rows};
  const Tensor y = torch::stable::new_empty(x, x.sizes());
  const Tensor mean = torch::stable::new_empty(x, rows, wide);
  const Tensor rstd = torch::stable::new_empty(x, rows, wide);
  p.y = y.data_ptr();
  p.mean = mean.data_ptr();
  p.rstd = rstd.data_ptr();
  if (run("layer_norm", kernels::layernorm_forward(), p, x)) return {y, mean, rstd};
  return three(call("megafold::layer_norm_by_torch", "", x, weight, bias, eps));
}

/// dx as x, dweight and dbias as weight.
std::tuple<Tensor, Tensor, Tensor> layer_norm_backward(Tensor dy, Tensor x, Tensor weight,
                                                       Tensor bias, Tensor mean, Tensor rstd,
                                                       double eps) {
  kernels::LayerNormBackward p;
  p.forward = params_of(x, weight, bias, eps);
  const auto wide = p.forward.dtype == kernels::DType::f64 ? ScalarType::Double : ScalarType::Float;
  for (const Tensor* t : {&mean, &rstd}) {
    STD_TORCH_CHECK(t->numel() == p.forward.rows && t->scalar_type() == wide &&
                        t->is_contiguous() && t->is_cuda() == x.is_cuda(),
                    "layer_norm: mean and rstd must be those of the forward");
  }
  STD_TORCH_CHECK(dy.is_contiguous() && dy.numel() == x.numel() &&
                      dy.scalar_type() == x.scalar_type() && dy.is_cuda() == x.is_cuda(),
                  "layer_norm: dy is ", shape_of(dy),
                  ", but x's shape and dtype, contiguous, is needed");
  Tensor dx = torch::stable::new_empty(x, x.sizes());
  Tensor dweight = torch::stable::new_empty(weight, weight.sizes());
  Tensor dbias = torch::stable::new_empty(bias, bias.sizes());
  if (x.numel() == 0) {
    torch::stable::zero_(dweight);
    torch::stable::zero_(dbias);
  }
  p.forward.mean = mean.data_ptr();
  p.forward.rstd = rstd.data_ptr();
  p.dy = dy.data_ptr();
  p.dx = dx.data_ptr();
  p.dy_row = p.dx_row = p.forward.channels;
  p.dgamma = dweight.data_ptr();
  p.dbeta = dbias.data_ptr();
  if (run("layer_norm backward", kernels::layernorm_backward(), p, x)) return {dx, dweight, dbias};
  return three(call("megafold::layer_norm_by_torch_backward", "", dy, x, weight, bias, mean, rstd));
}

}  // namespace

#ifndef MEGAFOLD_CUDA
STABLE_TORCH_LIBRARY_FRAGMENT(megafold, m) {
  m.def("layer_norm(Tensor x, Tensor weight, Tensor bias, float eps) -> (Tensor, Tensor, Tensor)");
  m.def(
      "layer_norm_backward(Tensor dy, Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor "
      "rstd, float eps) -> (Tensor, Tensor, Tensor)");
}
#define MEGAFOLD_KEY CPU
#else
#define MEGAFOLD_KEY CUDA
#endif

STABLE_TORCH_LIBRARY_IMPL(megafold, MEGAFOLD_KEY, m) {
  m.impl("layer_norm", TORCH_BOX(&layer_norm));
  m.impl("layer_norm_backward", TORCH_BOX(&layer_norm_backward));
}
