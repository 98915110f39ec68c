// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/parameters.h"

#include <c10/core/GradMode.h>

#include <cmath>

#include "base/errors.h"
#include "base/philox.h"

namespace megafold {
namespace {

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// Standard deviation of a standard normal cut at +-2, by which peers divide.
constexpr double kTruncatedDeviation = 0.87962566103423978;

double draw(Random& random, const Init& init, double scale) {
  if (init.kind == Init::normal) return init.value * random.normal();
  if (init.kind == Init::uniform) return init.value * random.uniform();
  double x = random.normal();
  while (std::abs(x) > 2) x = random.normal();
  return x * scale / kTruncatedDeviation;
}

}  // namespace

std::vector<at::Tensor> Parameters::trainable() const {
  std::vector<at::Tensor> tensors;
  for (const Entry& entry : entries_)
    if (entry.trainable) tensors.push_back(entry.tensor);
  return tensors;
}

int64_t Parameters::count() const {
  int64_t count = 0;
  for (const Entry& entry : entries_)
    if (entry.trainable) count += entry.tensor.numel();
  return count;
}

const Parameters::Entry* Parameters::find(std::string_view name) const {
  for (const Entry& entry : entries_)
    if (entry.name == name) return &entry;
  return nullptr;
}

void Parameters::to(const at::Device& device, at::ScalarType dtype) {
  for (Entry& entry : entries_) {
    entry.tensor.mutable_grad().reset();
    c10::NoGradGuard no_grad;
    entry.tensor.set_data(entry.tensor.detach().to(device, dtype));
  }
}

void Parameters::load(std::string_view name, const at::Tensor& value) {
  const Entry* const entry = find(name);
  if (entry == nullptr) fail<BadInput>("the model has no tensor '{}'", name);
  if (entry->tensor.sizes() != value.sizes())
    fail<BadInput>("tensor '{}': the model's shape is {}, the file's is {}", name,
                   shape_text(entry->tensor.sizes()), shape_text(value.sizes()));
  if (const std::string why = why_no_weight(value); !why.empty())
    fail<BadInput>("tensor '{}': {}", name, why);
  c10::NoGradGuard no_grad;
  entry->tensor.copy_(value);
}

std::string why_no_weight(const at::Tensor& value) {
  if (!value.is_floating_point())
    return fmt::format("its type is {}, a floating one was expected",
                       c10::toString(value.scalar_type()));
  const auto bad = at::isfinite(value).logical_not().sum().item<int64_t>();
  if (bad == 0) return {};
  return fmt::format("NaN or infinity stands in {} of its {} places", bad, value.numel());
}

at::Tensor Parameters::add(std::string name, at::Tensor tensor, bool trainable) {
  if (find(name) != nullptr) fail<BadInput>("two tensors of the model are named '{}'", name);
  tensor.set_requires_grad(trainable);
  entries_.push_back({std::move(name), tensor, trainable});
  return tensor;
}

Scope Scope::operator/(std::string_view name) const {
  return {*into_, seed_, prefix_.empty() ? std::string(name) : fmt::format("{}.{}", prefix_, name)};
}

at::Tensor Scope::make(const std::string& name, at::IntArrayRef shape,
                       std::initializer_list<Init> init) const {
  if (std::ranges::any_of(shape, [](int64_t n) { return n < 1; }))
    fail<BadInput>("parameter '{}' would have the shape {}: sizes of 1 or more are needed", name,
                   shape_text(shape));
  at::Tensor tensor = at::zeros(shape, at::kFloat);
  const int64_t rows = shape.empty() ? 1 : shape[0];
  const int64_t width = tensor.numel() / std::max<int64_t>(rows, 1);
  float* out = tensor.data_ptr<float>();
  int64_t row = 0;
  Random random(seed_, stream_id(name), 0, Purpose::initialisation);
  for (const Init& piece : init) {
    const int64_t count = (piece.rows < 0 ? rows - row : piece.rows) * width;
    const double scale = std::sqrt(piece.value / static_cast<double>(width));
    for (int64_t i = 0; i < count; ++i)
      out[row * width + i] = static_cast<float>(
          piece.kind == Init::constant ? piece.value : draw(random, piece, scale));
    row += count / std::max<int64_t>(width, 1);
  }
  if (row != rows)
    fail<BadInput>("parameter '{}': {} rows are initialised, it has {}", name, row, rows);
  return tensor;
}

at::Tensor Scope::parameter(std::string_view name, at::IntArrayRef shape,
                            std::initializer_list<Init> init) const {
  const std::string full = (*this / name).prefix_;
  return into_->add(full, make(full, shape, init), true);
}

at::Tensor Scope::buffer(std::string_view name, at::IntArrayRef shape, Init init) const {
  const std::string full = (*this / name).prefix_;
  return into_->add(full, make(full, shape, {init}), false);
}

}  // namespace megafold
