// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "ops/triangle_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "ops/evo_attention_into.h"
#include "ops/layernorm.h"
#include "ops/params.h"

namespace megafold::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Maybe = std::optional<at::Tensor>;

at::Tensor or_undefined(const Maybe& t) {
  return t.value_or(at::Tensor());
}

/// The forward up to the attention's output, which the backward runs once more.
struct Steps {
  at::Tensor mean, rstd, x;
  at::Tensor flat;  // [B, N, N, H D], z's layout
  EvoAttentionArguments<at::Tensor> arguments;
  at::Tensor attended, lse;  // [B, rows, queries, H, D]: `flat`, for the ending node transposed
  bool ending = false, by_kernel = false, by_norm_kernel = false;

  Steps(const at::Tensor& z, const TriangleAttentionWeights& w, const at::Tensor& mask,
        const TriangleAttentionOptions& o)
      : ending(o.ending) {
    by_norm_kernel = layer_norm_has_kernel(z, w.norm_weight, w.norm_bias);
    at::Tensor normal;
    if (by_norm_kernel) {
      NormedRows rows = layer_norm_forward(z, w.norm_weight, w.norm_bias, o.eps);
      normal = rows.y;
      mean = rows.mean;
      rstd = rows.rstd;
    } else {
      std::tie(normal, mean, rstd) =
          at::native_layer_norm(z, {z.size(3)}, w.norm_weight, w.norm_bias, o.eps);
    }
    x = normal.to(w.projection.scalar_type());
    const at::Tensor packed = at::matmul(x, w.projection.t());
    const auto qkvg = slots(packed.unflatten(-1, {4, o.heads, -1}));
    // Head-major at once: [B, H, N, N].
    const at::Tensor b =
        at::matmul(w.bias, x.flatten(1, 2).mT()).unflatten(-1, {z.size(1), z.size(2)});
    const int64_t width = qkvg[0].size(4);
    // In z's layout, whichever node it is.
    const at::Tensor heads =
        at::empty({z.size(0), z.size(1), z.size(2), o.heads, width}, x.options());
    flat = heads.flatten(-2);
    attended = rows_of(heads);
    lse = at::empty({z.size(0) * z.size(1) * o.heads * z.size(2)}, z.options().dtype(at::kFloat));
    arguments.q = qkvg[0];
    arguments.k = qkvg[1];
    arguments.v = qkvg[2];
    arguments.gate = qkvg[3];
    arguments.bias = ending && o.transposed_bias ? b.mT() : b;
    arguments.mask = ending && mask.defined() ? mask.mT() : mask;
    arguments.scale = 1.0 / std::sqrt(static_cast<double>(width));
    by_kernel = evo_attention_into(arguments, attended, lse);
  }

  /// dz and the norm's own gradients, from x's.
  NormGradients norm_backward(const at::Tensor& dx, const at::Tensor& z,
                              const TriangleAttentionWeights& w, double eps) const {
    const at::Tensor dnormal = dx.to(z.scalar_type());
    if (by_norm_kernel) {
      return layer_norm_backward(dnormal, z, w.norm_weight, w.norm_bias, mean, rstd, eps);
    }
    auto [dz, dweight, dbias] = at::native_layer_norm_backward(
        dnormal, z, {z.size(3)}, mean, rstd, w.norm_weight, w.norm_bias, {true, true, true});
    return {dz, dweight, dbias};
  }

  /// The ending node's rows are z's columns.
  at::Tensor rows_of(const at::Tensor& t) const { return ending ? t.transpose(1, 2) : t; }

  /// q, k, v and gate of [B, N, N, 4, H, D].
  std::array<at::Tensor, 4> slots(const at::Tensor& packed) const {
    std::array<at::Tensor, 4> parts;
    for (int64_t i = 0; i < 4; ++i) parts[static_cast<size_t>(i)] = rows_of(packed.select(3, i));
    return parts;
  }
};

struct TriangleAttention : torch::autograd::Function<TriangleAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& z,
                            const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                            const at::Tensor& projection, const at::Tensor& bias,
                            const at::Tensor& out, const Maybe& maybe_mask, const Maybe& maybe_keep,
                            const TriangleAttentionOptions& o) {
    const at::Tensor mask = or_undefined(maybe_mask), keep = or_undefined(maybe_keep);
    const Steps s(z, {norm_weight, norm_bias, projection, bias, out}, mask, o);
    const at::Tensor update = at::matmul(s.flat, out.t());
    context->save_for_backward({z, norm_weight, norm_bias, projection, bias, out, mask, keep});
    context->saved_data["heads"] = o.heads;
    context->saved_data["ending"] = o.ending;
    context->saved_data["transposed_bias"] = o.transposed_bias;
    context->saved_data["residual"] = o.residual;
    context->saved_data["eps"] = o.eps;
    if (!keep.defined()) return o.residual ? z + update : update;
    return o.residual ? at::addcmul(z, update, keep) : update * keep;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    if (at::GradMode::is_enabled()) {
      fail<Unsupported>(
          "triangle_attention is differentiable once: its backward cannot build a graph");
    }
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &z = saved[0], &mask = saved[6], &keep = saved[7];
    const TriangleAttentionWeights w = {saved[1], saved[2], saved[3], saved[4], saved[5]};
    auto& data = context->saved_data;
    const TriangleAttentionOptions o = {data["heads"].toInt(), data["ending"].toBool(),
                                        data["transposed_bias"].toBool(), data["residual"].toBool(),
                                        data["eps"].toDouble()};
    const at::Tensor& dy = gradients[0];
    const Steps s(z, w, mask, o);
    const auto type = w.out.scalar_type();
    const at::Tensor dupdate = (keep.defined() ? dy * keep : dy).to(type).flatten(0, 2);
    const at::Tensor dout = at::matmul(dupdate.t(), s.flat.flatten(0, 2));
    const at::Tensor dheads =
        at::matmul(dupdate, w.out).view(s.flat.sizes()).unflatten(-1, {o.heads, -1});
    const auto& a = s.arguments;
    // Side by side, as the projection's output: one product takes all four back to x.
    const at::Tensor packed =
        at::empty({z.size(0), z.size(1), z.size(2), 4, o.heads, a.q.size(4)}, s.x.options());
    const auto dqkvg = s.slots(packed);
    const at::Tensor db_rows = at::empty(a.bias.sizes(), a.bias.options());
    evo_attention_backward_into(a, s.by_kernel, s.rows_of(dheads), s.attended, s.lse, dqkvg[0],
                                dqkvg[1], dqkvg[2], db_rows, dqkvg[3]);
    const at::Tensor dpacked = packed.flatten(0, 2).flatten(1);  // [B N N, 4 H D]
    const at::Tensor db =
        (o.ending && o.transposed_bias ? db_rows.mT() : db_rows).flatten(2);  // [B, H, N N]
    const at::Tensor x = s.x.flatten(1, 2);
    const at::Tensor dx = at::matmul(dpacked, w.projection).view(x.sizes());
    dx.baddbmm_(db.mT(), w.bias.expand({z.size(0), -1, -1}));
    const at::Tensor dprojection = at::matmul(dpacked.t(), x.flatten(0, 1));
    const at::Tensor dbias = at::matmul(db, x).sum(0);
    NormGradients norm = s.norm_backward(dx.view(z.sizes()), z, w, o.eps);
    if (o.residual) norm.x.add_(dy);
    return {norm.x, norm.weight, norm.bias, dprojection, dbias, dout, {}, {}, {}};
  }
};

void require(bool ok, const char* name, const at::Tensor& t, const at::Tensor& z,
             const char* needed) {
  if (!ok) {
    fail<BadInput>("triangle_attention: {} is {}, but {} is needed beside z {}", name, describe(t),
                   needed, describe(z));
  }
}

void check(const at::Tensor& z, const TriangleAttentionWeights& w, const at::Tensor& mask,
           const at::Tensor& keep, const TriangleAttentionOptions& o) {
  if (!z.defined() || z.dim() != 4 || z.size(1) != z.size(2)) {
    fail<BadInput>("triangle_attention: z is {}, but [B, N, N, C] is needed", describe(z));
  }
  dtype_of(z, "triangle_attention: z");
  const int64_t c = z.size(3);
  const auto is = [&](const at::Tensor& t, int64_t rows, int64_t columns) {
    return t.defined() && t.dim() == 2 && (rows < 0 || t.size(0) == rows) && t.size(1) == columns &&
           t.scalar_type() == w.projection.scalar_type() && t.device() == z.device();
  };
  for (const auto& [name, t] :
       {std::pair{"norm_weight", &w.norm_weight}, {"norm_bias", &w.norm_bias}}) {
    require(t->defined() && t->dim() == 1 && t->size(0) == c &&
                (t->scalar_type() == z.scalar_type() ||
                 (t->scalar_type() == at::kFloat && z.scalar_type() != at::kDouble)),
            name, *t, z, "[C] in z's dtype or float32");
  }
  require(is(w.projection, -1, c) && o.heads > 0 && w.projection.size(0) % (4 * o.heads) == 0 &&
              w.projection.size(0) > 0,
          "projection", w.projection, z, "[4 H D, C]");
  require(is(w.bias, o.heads, c), "bias", w.bias, z, "[H, C] in projection's dtype");
  require(is(w.out, c, w.projection.size(0) / 4), "out", w.out, z,
          "[C, H D] in projection's dtype");
  require(!mask.defined() || (mask.sizes() == z.sizes().slice(0, 3) &&
                              mask.scalar_type() == at::kBool && mask.device() == z.device()),
          "mask", mask, z, "[B, N, N] Bool");
  if (!keep.defined()) return;
  bool fits = keep.dim() == 4 && keep.scalar_type() == w.projection.scalar_type();
  for (int64_t i = 0; fits && i < 4; ++i) fits = keep.size(i) == 1 || keep.size(i) == z.size(i);
  require(fits, "keep", keep, z, "z's shape or 1 in its place, in projection's dtype,");
}

}  // namespace

at::Tensor triangle_attention(const at::Tensor& z, const TriangleAttentionWeights& w,
                              const at::Tensor& mask, const at::Tensor& keep,
                              const TriangleAttentionOptions& options) {
  check(z, w, mask, keep, options);
  const auto maybe = [](const at::Tensor& t) { return t.defined() ? Maybe(t) : Maybe(); };
  return TriangleAttention::apply(z.contiguous(), w.norm_weight, w.norm_bias, w.projection, w.bias,
                                  w.out, maybe(mask), maybe(keep), options);
}

}  // namespace megafold::ops
