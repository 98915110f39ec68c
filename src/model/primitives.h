// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The two layers that every algorithm is made of, shape checks, and dropout.
//
// Shape legend of this folder: a name ends in its dimensions. N (I, J, K) tokens, A atoms, S
// diffusion samples, M rows of the alignment, W windows of atoms (of Q = 32 queries and K = 128
// keys), H heads, C, D channels.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string_view>
#include <vector>

#include "base/philox.h"
#include "model/parameters.h"

namespace megafold {

/// A weight or a mask of numbers in the type of the activations that it meets: weights stay f32
/// while the trunk's activations may be bf16 (TrainOptions::trunk_type).
at::Tensor like(const at::Tensor& x, const at::Tensor& t);

/// x W^T in x's type.
at::Tensor project(const at::Tensor& x, const at::Tensor& weight);

/// y = x W^T + b, in x's type. Without a bias this is the supplement's LinearNoBias.
struct Linear {
  at::Tensor weight, bias;

  Linear() = default;
  Linear(const Scope& scope, int64_t in, int64_t out, Init init = kLecun)
      : weight(scope.parameter("weight", {out, in}, {init})) {}
  /// With a bias that starts at `bias_value`.
  static Linear with_bias(const Scope& scope, int64_t in, int64_t out, Init init,
                          double bias_value = 0);

  at::Tensor operator()(const at::Tensor& x) const;
};

/// x [.., M, in] as parts [P, 256, in] where the gradient of a projection by `weight` [out, in] is
/// to be summed part by part; undefined where it is not: the weight is large, or has none, or 256
/// does not divide the rows. A product over all rows of a sum that stays small loses as many digits
/// as their number's square root: of windows of 334 atoms (45,056 pairs) 5e-6 in f32, by parts
/// 3e-7.
at::Tensor parts_of_rows(const at::Tensor& x, const at::Tensor& weight);

/// Layer normalisation of the last dimension, eps = 1e-5.
struct LayerNorm {
  enum Affine { scale_and_offset, scale_only };
  at::Tensor weight, bias;

  LayerNorm() = default;
  LayerNorm(const Scope& scope, int64_t channels, Affine affine = scale_and_offset);

  at::Tensor operator()(const at::Tensor& x) const;
};

/// x / std(x) without scale and offset.
at::Tensor normalize(const at::Tensor& x);

/// Dropout with masks from a counter-based stream, so that a step's masks depend on the seed, the
/// sample and the visit alone. The default object drops nothing.
class Dropout {
 public:
  Dropout() = default;
  explicit Dropout(Random random) : random_(random), on_(true) {}
  /// Masks [positions, C] (0, or 1 / (1 - rate)) one by one for the calls to come, whatever their
  /// rate: for comparisons with a peer's draws. A call without one, or of another shape, throws
  /// BadInput.
  explicit Dropout(std::vector<at::Tensor> given) : given_(std::move(given)) {}

  /// `x` [.., I, J, C] with one mask along dimension -3: rows share it (af3-facts 12.4).
  at::Tensor rowwise(const at::Tensor& x, double rate) { return shared(x, rate, -3); }
  /// One mask along dimension -2: columns share it.
  at::Tensor columnwise(const at::Tensor& x, double rate) { return shared(x, rate, -2); }

 private:
  at::Tensor shared(const at::Tensor& x, double rate, int64_t dimension);
  Random random_{0, 0, 0, Purpose::dropout};
  bool on_ = false;
  std::optional<std::vector<at::Tensor>> given_;
  size_t next_ = 0;  // of them
};

/// Throws BadInput with the name, the shape met and the shape expected (-1: any extent).
void expect_shape(std::string_view module, std::string_view name, const at::Tensor& tensor,
                  at::IntArrayRef expected);

}  // namespace megafold
