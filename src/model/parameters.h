// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The model's tensors by name. A module is a plain struct whose members are at::Tensor handles: it
// registers them under its scope when it is built, and its forward is a const method. The registry
// holds the same handles, so to() and load() reach every module.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace megafold {

/// How rows of a weight start (af3-facts 12.3). Draws depend on the seed, the parameter's name and
/// the place in it, so a seed gives the same model on any machine, device and dtype.
struct Init {
  enum Kind { constant, truncated_normal, normal, uniform } kind = constant;
  double value = 0;   // the constant, or the variance's gain (1: LeCun, 2: He) over the fan-in
  int64_t rows = -1;  // of a weight that holds several side by side; -1: the rest

  [[nodiscard]] Init of(int64_t count) const { return {kind, value, count}; }
};
inline constexpr Init kZeros{Init::constant, 0};
inline constexpr Init kOnes{Init::constant, 1};
inline constexpr Init kLecun{Init::truncated_normal, 1};
inline constexpr Init kHe{Init::truncated_normal, 2};
inline constexpr Init kNormal{Init::normal, 1};
inline constexpr Init kUniform{Init::uniform, 1};  // in [0, 1)

class Parameters {
 public:
  struct Entry {
    std::string name;
    at::Tensor tensor;
    bool trainable;  // false: a buffer (saved with the model, no gradient)
  };

  /// In the order of construction, which is the same on every machine.
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  /// The trainable tensors, in that order.
  [[nodiscard]] std::vector<at::Tensor> trainable() const;
  /// The number of trainable values.
  [[nodiscard]] int64_t count() const;
  /// Null when there is no such name.
  [[nodiscard]] const Entry* find(std::string_view name) const;

  /// Moves every tensor; gradients are dropped. Modules see the change.
  void to(const at::Device& device, at::ScalarType dtype);
  /// Copies values into the tensor of that name. Throws BadInput with name and both shapes, or with
  /// why_no_weight().
  void load(std::string_view name, const at::Tensor& value);

  at::Tensor add(std::string name, at::Tensor tensor, bool trainable);

 private:
  std::vector<Entry> entries_;
};

/// Why these values are no weight: a type that is not floating, NaN or infinity; empty: they may
/// be.
[[nodiscard]] std::string why_no_weight(const at::Tensor& value);

/// Where a module registers: a registry, the seed, and the dotted name so far.
class Scope {
 public:
  Scope(Parameters& into, uint64_t seed, std::string prefix = "")
      : into_(&into), seed_(seed), prefix_(std::move(prefix)) {}

  [[nodiscard]] Scope operator/(std::string_view name) const;
  [[nodiscard]] Scope operator/(int64_t index) const { return *this / std::to_string(index); }

  /// f32 on the CPU. The fan-in is the product of all dimensions but the first.
  [[nodiscard]] at::Tensor parameter(std::string_view name, at::IntArrayRef shape,
                                     std::initializer_list<Init> init) const;
  [[nodiscard]] at::Tensor buffer(std::string_view name, at::IntArrayRef shape, Init init) const;

 private:
  [[nodiscard]] at::Tensor make(const std::string& name, at::IntArrayRef shape,
                                std::initializer_list<Init> init) const;
  Parameters* into_;
  uint64_t seed_;
  std::string prefix_;
};

}  // namespace megafold
