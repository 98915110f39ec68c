// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/primitives.h"

#include <c10/core/GradMode.h>

#include "base/errors.h"
#include "ops/layernorm.h"

namespace megafold {

Linear Linear::with_bias(const Scope& scope, int64_t in, int64_t out, Init init,
                         double bias_value) {
  Linear linear(scope, in, out, init);
  linear.bias = scope.parameter("bias", {out}, {{Init::constant, bias_value}});
  return linear;
}

at::Tensor parts_of_rows(const at::Tensor& x, const at::Tensor& weight) {
  constexpr int64_t kPart = 256, kSmallWeight = 1024;
  const int64_t rows = x.numel() / x.size(-1);
  const bool apart = c10::GradMode::is_enabled() && weight.requires_grad() &&
                     weight.numel() <= kSmallWeight && rows > kPart && rows % kPart == 0;
  return apart ? x.reshape({rows / kPart, kPart, x.size(-1)}) : at::Tensor();
}

at::Tensor like(const at::Tensor& x, const at::Tensor& t) {
  return t.defined() && t.is_floating_point() ? t.to(x.scalar_type()) : t;
}

at::Tensor project(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, like(x, weight));
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  const at::Tensor parts = parts_of_rows(x, weight);
  if (!parts.defined()) return at::linear(x, like(x, weight), like(x, bias));
  const at::Tensor matrix =
      like(x, weight).t().unsqueeze(0).expand({parts.size(0), weight.size(1), weight.size(0)});
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  const at::Tensor y = at::bmm(parts, matrix).view(shape);
  return bias.defined() ? y + like(x, bias) : y;
}

LayerNorm::LayerNorm(const Scope& scope, int64_t channels, Affine affine) {
  weight = scope.parameter("weight", {channels}, {kOnes});
  if (affine == scale_and_offset) bias = scope.parameter("bias", {channels}, {kZeros});
}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  return ops::layer_norm(x, weight, bias);
}

at::Tensor normalize(const at::Tensor& x) {
  return ops::layer_norm(x, {}, {});
}

at::Tensor Dropout::shared(const at::Tensor& x, double rate, int64_t dimension) {
  if (given_) {
    if (next_ == given_->size())
      fail<BadInput>("dropout: {} masks are given, another is asked for", given_->size());
    const at::Tensor& mask = (*given_)[next_++];
    expect_shape("dropout", "mask", mask, {x.size(dimension == -3 ? -2 : -3), x.size(-1)});
    return x * mask.unsqueeze(dimension == -3 ? 0 : 1).to(x.options());
  }
  if (!on_ || rate == 0) return x;
  auto shape = x.sizes().vec();
  shape[static_cast<size_t>(x.dim() + dimension)] = 1;
  at::Tensor mask = at::empty(shape, at::kFloat);
  const auto threshold = static_cast<uint64_t>(rate * 0x1p32);
  const auto keep = static_cast<float>(1 / (1 - rate));
  float* const out = mask.data_ptr<float>();
  for (int64_t i = 0; i < mask.numel(); ++i) out[i] = random_.next_u32() < threshold ? 0.0F : keep;
  return x * mask.to(x.options());
}

void expect_shape(std::string_view module, std::string_view name, const at::Tensor& tensor,
                  at::IntArrayRef expected) {
  if (!tensor.defined())
    fail<BadInput>("{}: {} is missing, [{}] was expected", module, name, fmt::join(expected, ", "));
  bool equal = tensor.dim() == static_cast<int64_t>(expected.size());
  for (size_t i = 0; equal && i < expected.size(); ++i)
    equal = expected[i] < 0 || tensor.size(static_cast<int64_t>(i)) == expected[i];
  if (!equal)
    fail<BadInput>("{}: {} has shape [{}], [{}] was expected (-1: any)", module, name,
                   fmt::join(tensor.sizes(), ", "), fmt::join(expected, ", "));
}

}  // namespace megafold
