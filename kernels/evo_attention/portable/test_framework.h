// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// What a framework gets that computes EvoAttention and its gradients tensor by tensor: plain loops
// in fp64 with a rounding at every product's operands (TF32) or at every tensor (16 bits). Its
// error against the fp64 reference is what the portable kernels' is measured by.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace megafold::kernels::test {

/// Dense arrays: q, gate, dout [B,R,Nq,H,D]; k, v [Bk,R,tokens,H,D], where Bk = 1 and tokens =
/// key_total with windows; bias [B,H,Nq,Nk].
struct Problem {
  int64_t batch, rows, heads, queries, keys, dim;
  int64_t key_offset = 0, key_step = 0, key_total = 0;
  double scale;
  std::vector<double> q, k, v, gate, dout, bias;  // gate and bias may be empty
  std::vector<uint8_t> mask;                      // [Bk, R, tokens]; may be empty
  std::vector<int32_t> key_first;                 // may be empty

  int64_t tokens() const { return key_total == 0 ? keys : key_total; }
  size_t query_at(int64_t b, int64_t r, int64_t i, int64_t h) const {
    return static_cast<size_t>((((b * rows + r) * queries + i) * heads + h) * dim);
  }
  /// The token of key j of batch b, or -1 where it must not be attended.
  int64_t token(int64_t b, int64_t r, int64_t j) const {
    int64_t at = j;
    if (key_total != 0) {
      at += key_first.empty() ? key_offset + b * key_step : key_first[static_cast<size_t>(b)];
      if (at < 0 || at >= key_total) {
        return -1;
      }
    }
    const int64_t own = key_total == 0 ? b : 0;
    return mask.empty() || mask[static_cast<size_t>((own * rows + r) * tokens() + at)] != 0 ? at
                                                                                            : -1;
  }
  size_t key_at(int64_t b, int64_t r, int64_t token, int64_t h) const {
    const int64_t own = key_total == 0 ? b : 0;
    return static_cast<size_t>((((own * rows + r) * tokens() + token) * heads + h) * dim);
  }
  size_t bias_at(int64_t b, int64_t h, int64_t i, int64_t j) const {
    return static_cast<size_t>(((b * heads + h) * queries + i) * keys + j);
  }
};

struct Results {
  std::vector<double> out, lse, dq, dk, dv, dgate, dbias;  // lse [B,R,H,Nq]
};

/// `product` rounds what enters a matrix product, `store` every tensor that is kept.
template <class Product, class Store>
Results attend(const Problem& p, Product product, Store store) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Results r;
  r.out.assign(p.q.size(), 0.0);
  r.dq = r.out;
  r.dgate.assign(p.gate.size(), 0.0);
  r.dk.assign(p.k.size(), 0.0);
  r.dv = r.dk;
  r.dbias.assign(p.bias.size(), 0.0);
  const auto nk = static_cast<size_t>(p.keys), dim = static_cast<size_t>(p.dim);
  std::vector<double> prob(nk), dp(nk), attended(dim), da(dim);
  const auto dot = [&](const double* a, const double* b) {
    double sum = 0;
    for (size_t d = 0; d < dim; ++d) {
      sum += product(a[d]) * product(b[d]);
    }
    return sum;
  };
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t row = 0; row < p.rows; ++row) {
      for (int64_t h = 0; h < p.heads; ++h) {
        for (int64_t i = 0; i < p.queries; ++i) {
          const size_t at = p.query_at(b, row, i, h);
          double top = -kInfinity, sum = 0;
          for (int64_t j = 0; j < p.keys; ++j) {
            const int64_t token = p.token(b, row, j);
            double& score = prob[static_cast<size_t>(j)];
            score = -kInfinity;
            if (token >= 0) {
              score = store(store(dot(&p.q[at], &p.k[p.key_at(b, row, token, h)])) * p.scale);
              if (!p.bias.empty()) {
                score = store(score + p.bias[p.bias_at(b, h, i, j)]);
              }
            }
            top = std::fmax(top, score);
          }
          for (double& x : prob) {
            x = top == -kInfinity ? 0.0 : std::exp(x - top);
            sum += x;
          }
          r.lse.push_back(sum == 0 ? -kInfinity : top + std::log(sum));
          for (double& x : prob) {
            x = sum == 0 ? 0.0 : store(x / sum);
          }
          for (size_t d = 0; d < dim; ++d) {
            attended[d] = 0;
            for (int64_t j = 0; j < p.keys; ++j) {
              if (const int64_t token = p.token(b, row, j); token >= 0) {
                attended[d] += product(prob[static_cast<size_t>(j)]) *
                               product(p.v[p.key_at(b, row, token, h) + d]);
              }
            }
            attended[d] = store(attended[d]);
            const double gradient = p.dout[at + d];
            da[d] = gradient;
            r.out[at + d] = attended[d];
            if (!p.gate.empty()) {
              const double open = store(1 / (1 + std::exp(-p.gate[at + d])));
              r.out[at + d] = store(attended[d] * open);
              da[d] = store(gradient * open);
              r.dgate[at + d] = store(store(gradient * attended[d]) * open * (1 - open));
            }
          }
          double delta = 0;
          for (int64_t j = 0; j < p.keys; ++j) {
            const auto key = static_cast<size_t>(j);
            const int64_t token = p.token(b, row, j);
            dp[key] = token < 0 ? 0 : store(dot(da.data(), &p.v[p.key_at(b, row, token, h)]));
            delta += prob[key] * dp[key];
          }
          for (int64_t j = 0; j < p.keys; ++j) {
            const auto key = static_cast<size_t>(j);
            const int64_t token = p.token(b, row, j);
            if (token < 0) {
              continue;
            }
            const double ds = store(prob[key] * (dp[key] - delta));
            if (!p.bias.empty()) {
              r.dbias[p.bias_at(b, h, i, j)] += ds;
            }
            const size_t k = p.key_at(b, row, token, h);
            const double scaled = product(store(ds * p.scale));
            for (size_t d = 0; d < dim; ++d) {
              r.dq[at + d] += scaled * product(p.k[k + d]);
              r.dk[k + d] += scaled * product(p.q[at + d]);
              r.dv[k + d] += product(prob[key]) * product(da[d]);
            }
          }
        }
      }
    }
  }
  for (auto* tensor : {&r.dq, &r.dk, &r.dv}) {
    for (double& x : *tensor) {
      x = store(x);
    }
  }
  return r;
}

}  // namespace megafold::kernels::test
