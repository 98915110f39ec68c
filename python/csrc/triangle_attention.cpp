// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The operators megafold::triangle_attention and its backward: the module as one node, which keeps
// z and the weights alone (_triangle.py has the equation and the autograd). Here, and not in
// Python, because some thirty operators follow each other and a GPU outruns the interpreter.
//
// It runs nothing itself: torch's operators and the package's own are called by name, so that one
// build serves every device. In the backward the gradients of q, k, v, the gate and the bias lie
// side by side, as the weights' rows do: one product takes all five back to x, rounded once, and
// one makes the gradients of both weights.
#include "common.h"

namespace {

using namespace megafold::python;
namespace stable = torch::stable;
using torch::stable::detail::to;

Tensor transposed(const Tensor& t, int64_t first = 0, int64_t second = 1) {
  return stable::transpose(t, first, second);
}
Tensor product(const Tensor& a, const Tensor& b) {
  return to<Tensor>(call("aten::mm", "", a, b)[0]);
}
Tensor times(const Tensor& a, const Tensor& b) {
  return to<Tensor>(call("aten::mul", "Tensor", a, b)[0]);
}
Tensor sum_of(const Tensor& a, const Tensor& b) {
  return stable::subtract(a, b, -1.0);
}
Tensor as_type(const Tensor& t, const Tensor& like) {
  return t.scalar_type() == like.scalar_type() ? t : stable::to(t, like.scalar_type());
}
Tensor viewed(const Tensor& t, const std::vector<int64_t>& shape) {
  return stable::view(t, shape);
}

struct Weights {
  Tensor norm_weight, norm_bias, projection, bias, out;
};
struct Options {
  int64_t heads;
  bool ending, transposed_bias, residual;
  double eps;
};

/// The forward up to the attention's output, which the backward runs once more.
struct Steps {
  int64_t batch, n, channels, heads, width, pairs;  // pairs: of all batches
  bool ending, swap_bias;
  Tensor mean, rstd, x;        // x [pairs, C]
  Tensor q, k, v, gate, bias;  // as the attention reads them
  Maybe mask;
  double scale;
  Tensor flat, attended, lse;  // attended [B, rows, queries, H, D]: `flat` in z's layout

  Steps(const Tensor& z, const Weights& w, const Maybe& pair_mask, const Options& o)
      : batch(z.size(0)),
        n(z.size(1)),
        channels(z.size(3)),
        heads(o.heads),
        width(w.projection.size(0) / (4 * o.heads)),
        pairs(batch * n * n),
        ending(o.ending),
        swap_bias(o.ending && o.transposed_bias),
        scale(1 / std::sqrt(static_cast<double>(width))) {
    Tensor normal;
    std::tie(normal, mean, rstd) =
        three(call("megafold::layer_norm", "", z, w.norm_weight, w.norm_bias, o.eps));
    x = viewed(as_type(normal, w.projection), {pairs, channels});
    const Tensor packed = viewed(product(x, transposed(w.projection)), packed_shape(4 * width));
    q = slot(packed, 0);
    k = slot(packed, 1);
    v = slot(packed, 2);
    gate = slot(packed, 3);
    // Head by head, as the attention reads it.
    Tensor b;
    if (batch == 1) {
      b = product(w.bias, transposed(x));
    } else {
      b = to<Tensor>(call("aten::matmul", "", stable::unsqueeze(w.bias, 0),
                          transposed(viewed(x, {batch, n * n, channels}), 1, 2))[0]);
      b = stable::contiguous(b);
    }
    b = viewed(b, {batch, heads, n, n});
    bias = swap_bias ? transposed(b, 2, 3) : b;
    if (pair_mask) mask = ending ? transposed(*pair_mask, 1, 2) : *pair_mask;
    flat = stable::new_empty(x, {batch, n, n, heads, width});
    attended = rows_of(flat);
    lse = stable::new_empty(x, {batch, n, heads, n}, torch::headeronly::ScalarType::Float);
    call("megafold::evo_attention_out", "", q, k, v, Maybe(bias), mask, Maybe(gate), scale,
         attended, lse);
  }

  std::vector<int64_t> packed_shape(int64_t columns_of_head) const {
    return {batch, n, n, columns_of_head / width, heads, width};
  }
  /// The ending node's rows are z's columns.
  Tensor rows_of(const Tensor& t) const { return ending ? transposed(t, 1, 2) : t; }
  /// One of q, k, v, gate in [B, N, N, 4, H, D].
  Tensor slot(const Tensor& packed, int64_t i) const {
    return rows_of(stable::select(packed, 3, i));
  }
  Tensor flat_rows() const { return viewed(flat, {pairs, heads * width}); }
};

Tensor forward(Tensor z, Tensor norm_weight, Tensor norm_bias, Tensor projection, Tensor bias,
               Tensor out, Maybe mask, Maybe keep, int64_t heads, bool ending, bool transposed_bias,
               bool residual, double eps) {
  const Steps s(z, {norm_weight, norm_bias, projection, bias, out}, mask,
                {heads, ending, transposed_bias, residual, eps});
  Tensor update = viewed(product(s.flat_rows(), transposed(out)), {s.batch, s.n, s.n, s.channels});
  if (keep) update = times(update, *keep);
  return residual ? sum_of(z, update) : update;
}

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients backward(Tensor dy, Tensor z, Tensor norm_weight, Tensor norm_bias, Tensor projection,
                   Tensor bias, Tensor out, Maybe mask, Maybe keep, int64_t heads, bool ending,
                   bool transposed_bias, bool residual, double eps) {
  const Steps s(z, {norm_weight, norm_bias, projection, bias, out}, mask,
                {heads, ending, transposed_bias, residual, eps});
  const Tensor rows = viewed(as_type(keep ? times(dy, *keep) : dy, out), {s.pairs, s.channels});
  const Tensor dout = product(transposed(rows), s.flat_rows());
  const Tensor dflat = viewed(product(rows, out), {s.batch, s.n, s.n, heads, s.width});

  // [pairs, 4 H D + H, and zeros up to a multiple of 8]: so wide that each pair's slots begin at
  // multiples of 16 bytes.
  const int64_t wide = 4 * heads * s.width, used = wide + heads, columns = (used + 7) / 8 * 8;
  Tensor packed = stable::new_empty(s.x, {s.pairs, columns});
  const auto part = [&](int64_t first, int64_t count) {
    Tensor columns_of = packed;
    return stable::narrow(columns_of, 1, first, count);
  };
  const auto slot = [&](int64_t i) {
    return s.rows_of(
        viewed(part(i * heads * s.width, heads * s.width), {s.batch, s.n, s.n, heads, s.width}));
  };
  const Tensor dbias_rows = stable::new_empty(s.bias, {s.batch, heads, s.n, s.n});
  call("megafold::evo_attention_backward_out", "", s.rows_of(dflat), s.q, s.k, s.v, Maybe(s.bias),
       s.mask, Maybe(s.gate), s.attended, s.lse, s.scale, slot(0), slot(1), slot(2),
       Maybe(dbias_rows), Maybe(slot(3)));
  // [B, H, N, N] -> [B, N, N, H], of the pair (j, k) as it projects.
  Tensor db = transposed(transposed(dbias_rows, 1, 2), 2, 3);
  if (s.swap_bias) db = transposed(db, 1, 2);
  Tensor db_columns = viewed(part(wide, heads), {s.batch, s.n, s.n, heads});
  stable::copy_(db_columns, db);
  Tensor rest = part(used, columns - used);
  if (columns > used) stable::zero_(rest);

  Tensor weights = stable::new_zeros(projection, {columns, s.channels});
  Tensor top = stable::narrow(weights, 0, 0, wide), below = stable::narrow(weights, 0, wide, heads);
  stable::copy_(top, projection);
  stable::copy_(below, bias);
  const Tensor dx = product(packed, weights);
  Tensor dweights = product(transposed(packed), s.x);
  const Tensor dprojection = stable::narrow(dweights, 0, 0, wide);
  const Tensor dbias = stable::clone(stable::narrow(dweights, 0, wide, heads));

  const Tensor dnormal = viewed(as_type(dx, z), {s.batch, s.n, s.n, s.channels});
  auto [dz, dnorm_weight, dnorm_bias] = three(call("megafold::layer_norm_backward", "", dnormal, z,
                                                   norm_weight, norm_bias, s.mean, s.rstd, eps));
  if (residual) dz = as_type(sum_of(dz, dy), z);
  return {dz, dnorm_weight, dnorm_bias, dprojection, dbias, dout};
}

}  // namespace

#define MEGAFOLD_TRIANGLE_INPUTS                                                                 \
  "Tensor z, Tensor norm_weight, Tensor norm_bias, Tensor projection, Tensor bias, Tensor out, " \
  "Tensor? mask, Tensor? keep, int heads, bool ending, bool transposed_bias, bool residual, "    \
  "float eps"

STABLE_TORCH_LIBRARY_FRAGMENT(megafold, m) {
  m.def("triangle_attention(" MEGAFOLD_TRIANGLE_INPUTS ") -> Tensor");
  m.def("triangle_attention_backward(Tensor dy, " MEGAFOLD_TRIANGLE_INPUTS
        ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(megafold, CPU, m) {
  m.impl("triangle_attention", TORCH_BOX(&forward));
  m.impl("triangle_attention_backward", TORCH_BOX(&backward));
}
STABLE_TORCH_LIBRARY_IMPL(megafold, CUDA, m) {
  m.impl("triangle_attention", TORCH_BOX(&forward));
  m.impl("triangle_attention_backward", TORCH_BOX(&backward));
}
