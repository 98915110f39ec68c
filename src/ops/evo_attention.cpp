// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/evo_attention.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/errors.h"

namespace megafold::ops {
namespace {

std::string shape_of(const at::Tensor& t) {
  if (!t.defined()) return "none";
  return fmt::format("[{}] {}", fmt::join(t.sizes(), ", "), c10::toString(t.scalar_type()));
}

void require_shape(const char* op, const char* name, const at::Tensor& t, at::IntArrayRef expected,
                   const char* meaning) {
  if (t.sizes() == expected) return;
  fail<BadInput>("{}: {} is {}, but {} = [{}] is needed", op, name, shape_of(t), meaning,
                 fmt::join(expected, ", "));
}

void require_like(const char* op, const char* name, const at::Tensor& t, const at::Tensor& q) {
  if (t.scalar_type() != q.scalar_type() || t.device() != q.device()) {
    fail<BadInput>("{}: {} is {} on {}, but q is {} on {}", op, name,
                   c10::toString(t.scalar_type()), t.device().str(), c10::toString(q.scalar_type()),
                   q.device().str());
  }
}

/// The checks that both forms share. `keys` is k's extent along the token dimension.
void check(const char* op, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
           const at::Tensor& bias, const at::Tensor& mask, const at::Tensor& gate) {
  for (const auto& [name, t] : {std::pair{"q", &q}, {"k", &k}, {"v", &v}}) {
    if (!t->defined() || t->dim() != 5) {
      fail<BadInput>("{}: {} is {}, but [B, R, N, H, D] is needed", op, name, shape_of(*t));
    }
    require_like(op, name, *t, q);
  }
  const auto type = q.scalar_type();
  if (type != at::kDouble && type != at::kFloat && type != at::kBFloat16 && type != at::kHalf) {
    fail<BadInput>("{}: q is {}; float64, float32, bfloat16 or float16 is needed", op,
                   c10::toString(type));
  }
  require_shape(op, "k", k, {q.size(0), q.size(1), k.size(2), q.size(3), q.size(4)},
                "[B, R, Nk, H, D]");
  require_shape(op, "v", v, k.sizes(), "k's shape");
  if (bias.defined()) {
    if (bias.scalar_type() != type && (bias.scalar_type() != at::kFloat || type == at::kDouble)) {
      fail<BadInput>("{}: bias is {}; q's {} or float32 is needed", op,
                     c10::toString(bias.scalar_type()), c10::toString(type));
    }
    if (bias.device() != q.device()) {
      fail<BadInput>("{}: bias is on {}, q on {}", op, bias.device().str(), q.device().str());
    }
  }
  if (mask.defined()) {
    require_shape(op, "mask", mask, {k.size(0), k.size(1), k.size(2)}, "[B, R, Nk]");
    if (mask.scalar_type() != at::kBool || mask.device() != q.device()) {
      fail<BadInput>("{}: mask is {} on {}; bool on {} is needed", op,
                     c10::toString(mask.scalar_type()), mask.device().str(), q.device().str());
    }
  }
  if (gate.defined()) {
    require_shape(op, "gate", gate, q.sizes(), "q's shape");
    require_like(op, "gate", gate, q);
  }
}

/// The operation as ATen calls, O(Nq Nk) memory; autograd differentiates it. scores [B, R, H, Nq,
/// Nk] in fp32 or fp64.
at::Tensor composition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const at::Tensor& bias, const at::Tensor& mask, const at::Tensor& gate,
                       double scale) {
  const auto type = q.scalar_type();
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  auto scores =
      at::matmul(q.permute({0, 1, 3, 2, 4}).to(wide) * scale, k.permute({0, 1, 3, 4, 2}).to(wide));
  if (bias.defined()) scores = scores + bias.to(wide).unsqueeze(1);
  at::Tensor weights;
  if (mask.defined()) {
    const auto closed = mask.logical_not().unsqueeze(2).unsqueeze(2);  // [B, R, 1, 1, Nk]
    const auto empty = closed.all(-1, /*keepdim=*/true);
    // A row without valid keys goes through the softmax as zeros, so that no NaN reaches a
    // gradient.
    scores = scores.masked_fill(closed.logical_and(empty.logical_not()),
                                -std::numeric_limits<double>::infinity());
    weights = scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0);
  } else {
    weights = scores.softmax(-1);
  }
  auto out = at::matmul(weights, v.permute({0, 1, 3, 2, 4}).to(wide)).permute({0, 1, 3, 2, 4});
  if (gate.defined()) out = out * gate.to(wide).sigmoid();
  return out.to(type);
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
  return composition(q, k, v, bias, mask, gate,
                     scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(4)))));
}

at::Tensor atom_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& bias, const at::Tensor& mask, const at::Tensor& gate,
                          std::optional<double> scale, const AtomWindows& windows) {
  check("atom_attention", q, k, v, bias, mask, gate);
  const int64_t batch = q.size(0), rows = q.size(1), atoms = q.size(2), heads = q.size(3);
  const int64_t head_dim = q.size(4), count = (atoms + windows.queries - 1) / windows.queries;
  require_shape("atom_attention", "k", k, q.sizes(), "q's shape");
  if (bias.defined()) {
    require_shape("atom_attention", "bias", bias,
                  {batch, count, heads, windows.queries, windows.keys}, "[B, W, H, 32, 128]");
  }
  const auto integers = q.options().dtype(at::kLong);
  at::Tensor first = windows.first_key;
  if (first.defined()) {
    require_shape("atom_attention", "first_key", first, {count}, "[W]");
  } else {
    first = at::arange(count, integers) * windows.queries + (windows.queries - windows.keys) / 2;
  }
  const auto index = first.to(at::kLong).unsqueeze(1) + at::arange(windows.keys, integers);
  const auto inside = index.ge(0).logical_and(index.lt(atoms));  // [W, keys]
  const auto flat = index.clamp(0, atoms - 1).flatten();

  // A window is a batch and its rows are the rows: [B, R, A, H, D] -> [B W, R, n, H, D].
  const auto padded = [&](const at::Tensor& t) {
    return at::constant_pad_nd(t, {0, 0, 0, 0, 0, count * windows.queries - atoms})
        .view({batch, rows, count, windows.queries, heads, head_dim})
        .transpose(1, 2)
        .flatten(0, 1);
  };
  const auto gathered = [&](const at::Tensor& t) {
    return t.index_select(2, flat)
        .view({batch, rows, count, windows.keys, heads, head_dim})
        .transpose(1, 2)
        .flatten(0, 1);
  };
  auto open = inside.unsqueeze(0).unsqueeze(2).expand({batch, count, rows, windows.keys});
  if (mask.defined()) {
    open = open.logical_and(
        mask.index_select(2, flat).view({batch, rows, count, windows.keys}).transpose(1, 2));
  }
  const auto out =
      composition(padded(q), gathered(k), gathered(v), bias.defined() ? bias.flatten(0, 1) : bias,
                  open.flatten(0, 1), gate.defined() ? padded(gate) : gate,
                  scale.value_or(1.0 / std::sqrt(static_cast<double>(head_dim))));
  return out.view({batch, count, rows, windows.queries, heads, head_dim})
      .transpose(1, 2)
      .reshape({batch, rows, count * windows.queries, heads, head_dim})
      .narrow(2, 0, atoms);
}

}  // namespace megafold::ops
