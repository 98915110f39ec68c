// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/layernorm.h"

#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/common/dispatch.h"
#include "kernels/layernorm/layernorm.h"
#include "ops/launch.h"
#include "ops/params.h"

namespace megafold::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// x as [M, C] with contiguous channels; a view where the strides allow it.
at::Tensor as_rows(const at::Tensor& x) {
  const at::Tensor rows = x.reshape({-1, x.size(-1)});
  return rows.stride(1) == 1 || rows.size(1) == 1 ? rows : rows.contiguous();
}

kernels::LayerNormForward params_of(const at::Tensor& rows, const at::Tensor& weight,
                                    const at::Tensor& bias, double eps) {
  kernels::LayerNormForward p;
  p.rows = rows.size(0);
  p.channels = rows.size(1);
  p.eps = eps;
  p.dtype = dtype_of(rows, "layer_norm: x");
  p.weight_dtype = weight.defined() ? dtype_of(weight, "layer_norm: weight")
                   : bias.defined() ? dtype_of(bias, "layer_norm: bias")
                                    : p.dtype;
  p.place = place_of(rows);
  p.x = rows.data_ptr();
  p.x_row = rows.stride(0);
  p.gamma = data_or_null(weight);
  p.beta = data_or_null(bias);
  return p;
}

template <class Params>
void run(const char* name, const std::vector<kernels::Implementation<Params>>& list,
         const Params& params, const at::Tensor& like) {
  const c10::DeviceGuard guard(like.device());
  if (like.numel() > 0) launch(kernels::choose(name, list, params), params, like);
}

}  // namespace

bool layer_norm_has_kernel(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  kernels::Reasons refused;
  const auto params = params_of(as_rows(x), weight, bias, 1);
  if (x.numel() == 0 || kernels::find_implementation(kernels::layernorm_forward(), params, refused))
    return true;
  kernels::count_dispatch("layer_norm", "aten", refused);
  return false;
}

NormedRows layer_norm_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              double eps) {
  const at::Tensor rows = as_rows(x);
  kernels::LayerNormForward p = params_of(rows, weight, bias, eps);
  const auto statistics =
      rows.options().dtype(p.dtype == kernels::DType::f64 ? at::kDouble : at::kFloat);
  NormedRows found = {at::empty(x.sizes(), x.options()), at::empty({p.rows}, statistics),
                      at::empty({p.rows}, statistics)};
  p.y = found.y.data_ptr();
  p.y_row = p.channels;
  p.mean = found.mean.data_ptr();
  p.rstd = found.rstd.data_ptr();
  run("layer_norm", kernels::layernorm_forward(), p, x);
  return found;
}

NormGradients layer_norm_backward(const at::Tensor& dy_of_x, const at::Tensor& x,
                                  const at::Tensor& weight, const at::Tensor& bias,
                                  const at::Tensor& mean, const at::Tensor& rstd, double eps) {
  const at::Tensor rows = as_rows(x), dy = as_rows(dy_of_x);
  kernels::LayerNormBackward p;
  p.forward = params_of(rows, weight, bias, eps);
  p.forward.mean = mean.data_ptr();
  p.forward.rstd = rstd.data_ptr();
  NormGradients found;
  found.x = at::empty(x.sizes(), x.options());
  if (weight.defined()) found.weight = at::zeros_like(weight);
  if (bias.defined()) found.bias = at::zeros_like(bias);
  p.dy = dy.data_ptr();
  p.dy_row = dy.stride(0);
  p.dx = found.x.data_ptr();
  p.dx_row = p.forward.channels;
  p.dgamma = data_or_null(found.weight);
  p.dbeta = data_or_null(found.bias);
  run("layer_norm backward", kernels::layernorm_backward(), p, x);
  return found;
}

namespace {

struct LayerNorm : torch::autograd::Function<LayerNorm> {
  // Undefined tensors must come as empty optionals: LibTorch asks every tensor argument for its
  // device.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const std::optional<at::Tensor>& maybe_weight,
                            const std::optional<at::Tensor>& maybe_bias, double eps) {
    const at::Tensor weight = maybe_weight.value_or(at::Tensor());
    const at::Tensor bias = maybe_bias.value_or(at::Tensor());
    const NormedRows found = layer_norm_forward(x, weight, bias, eps);
    context->save_for_backward({x, weight, bias, found.mean, found.rstd});
    context->saved_data["eps"] = eps;
    return found.y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const NormGradients found =
        layer_norm_backward(gradients[0], saved[0], saved[1], saved[2], saved[3], saved[4],
                            context->saved_data["eps"].toDouble());
    return {found.x, found.weight, found.bias, Variable()};
  }
};

void check(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (!x.defined() || x.dim() < 1 || x.size(-1) < 1)
    fail<BadInput>("layer_norm: x is {}, but [..., C] with C >= 1 is needed", describe(x));
  const kernels::DType dtype = dtype_of(x, "layer_norm: x");
  for (const auto& [name, t] : {std::pair{"weight", &weight}, {"bias", &bias}}) {
    if (!t->defined()) continue;
    if (t->dim() != 1 || t->size(0) != x.size(-1) || !t->is_contiguous())
      fail<BadInput>("layer_norm: {} is {}, but [{}], contiguous, is needed for x {}", name,
                     describe(*t), x.size(-1), describe(x));
    const kernels::DType own = dtype_of(*t, "layer_norm: weight or bias");
    if (own != dtype && (own != kernels::DType::f32 || dtype == kernels::DType::f64))
      fail<BadInput>("layer_norm: {} is {}; x's type or float32 is needed for x {}", name,
                     describe(*t), describe(x));
  }
  if (weight.defined() && bias.defined() && weight.scalar_type() != bias.scalar_type())
    fail<BadInput>("layer_norm: weight is {}, bias is {}", describe(weight), describe(bias));
}

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps) {
  check(x, weight, bias);
  if (!layer_norm_has_kernel(x, weight, bias)) {
    const at::IntArrayRef shape(x.sizes().end() - 1, 1);
    const auto as_x = [&](const at::Tensor& t) { return t.defined() ? t.to(x.scalar_type()) : t; };
    return at::layer_norm(x, shape, as_x(weight), as_x(bias), eps);
  }
  const auto optional = [](const at::Tensor& t) {
    return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt;
  };
  return LayerNorm::apply(x, optional(weight), optional(bias), eps);
}

}  // namespace megafold::ops
