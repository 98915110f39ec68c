// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// The specification: fp64, one loop an equation, no statistic of the forward trusted in the
// backward. Not for speed.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/common/reference.h"
#include "kernels/evo_attention/implementations.h"

namespace megafold::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The D elements of one token.
std::vector<double> token(const void* data, DType dtype, int64_t start, int64_t head_dim) {
  std::vector<double> x(static_cast<size_t>(head_dim));
  for (int64_t d = 0; d < head_dim; ++d) x[d] = at(data, dtype, start + d);
  return x;
}

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t d = 0; d < x.size(); ++d) sum += x[d] * y[d];
  return sum;
}

/// What one row r and head h of a batch (or window) b sees: a key that is masked or outside is not
/// read.
struct Keys {
  std::vector<int64_t> token;  // of key j
  std::vector<bool> open;      // may be attended
  std::vector<std::vector<double>> k, v;
};

Keys keys_of(const EvoAttentionForward& p, int64_t b, int64_t r, int64_t h) {
  Keys keys;
  const bool windows = p.key_total > 0;
  for (int64_t j = 0; j < p.keys; ++j) {
    const int64_t n = key_token(p, b, j);
    bool open = n >= 0 && n < key_tokens(p);
    if (open && p.mask != nullptr) {
      open = p.mask[(windows ? 0 : b * p.mask_batch) + r * p.mask_row + n * p.mask_key] != 0;
    }
    keys.token.push_back(n);
    keys.open.push_back(open);
    keys.k.emplace_back();
    keys.v.emplace_back();
    if (!open) continue;
    const int64_t batch = windows ? 0 : b;
    keys.k.back() =
        token(p.k, p.dtype, start_of(p.k_stride, batch, r, h) + n * p.k_stride.token, p.head_dim);
    keys.v.back() =
        token(p.v, p.dtype, start_of(p.v_stride, batch, r, h) + n * p.v_stride.token, p.head_dim);
  }
  return keys;
}

/// P and log(sum_j exp(S)) of one query; P = 0 and -infinity where no key is open (or every open
/// key's bias is -infinity).
double softmax(const EvoAttentionForward& p, const Keys& keys, const std::vector<double>& q,
               int64_t b, int64_t h, int64_t i, std::vector<double>& weights) {
  double largest = -kInfinity, sum = 0;
  for (int64_t j = 0; j < p.keys; ++j) {
    weights[j] = -kInfinity;
    if (!keys.open[j]) continue;
    weights[j] = p.scale * dot(q, keys.k[j]);
    if (p.bias != nullptr) {
      weights[j] += at(p.bias, p.bias_dtype,
                       b * p.bias_batch + h * p.bias_head + i * p.bias_query + j * p.bias_key);
    }
    largest = std::max(largest, weights[j]);
  }
  const double shift = largest == -kInfinity ? 0 : largest;
  for (double& w : weights) sum += w = std::exp(w - shift);
  for (double& w : weights) w = sum == 0 ? 0 : w / sum;
  return shift + std::log(sum);
}

std::vector<double> attended(const Keys& keys, const std::vector<double>& weights,
                             int64_t head_dim) {
  std::vector<double> a(static_cast<size_t>(head_dim), 0.0);
  for (size_t j = 0; j < weights.size(); ++j) {
    if (!keys.open[j]) continue;
    for (int64_t d = 0; d < head_dim; ++d) a[d] += weights[j] * keys.v[j][d];
  }
  return a;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

void forward(const EvoAttentionForward& p, void*, Stream) {
  std::vector<double> weights(static_cast<size_t>(p.keys));
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t r = 0; r < p.rows; ++r) {
      for (int64_t h = 0; h < p.heads; ++h) {
        const Keys keys = keys_of(p, b, r, h);
        for (int64_t i = 0; i < p.queries; ++i) {
          const auto q =
              token(p.q, p.dtype, start_of(p.q_stride, b, r, h) + i * p.q_stride.token, p.head_dim);
          const double lse = softmax(p, keys, q, b, h, i, weights);
          const auto a = attended(keys, weights, p.head_dim);
          const int64_t out = start_of(p.out_stride, b, r, h) + i * p.out_stride.token;
          const int64_t gate = start_of(p.gate_stride, b, r, h) + i * p.gate_stride.token;
          for (int64_t d = 0; d < p.head_dim; ++d) {
            const double g = p.gate == nullptr ? 1 : sigmoid(at(p.gate, p.dtype, gate + d));
            put(p.out, p.dtype, out + d, g * a[d]);
          }
          if (p.lse != nullptr) {
            p.lse[((b * p.rows + r) * p.heads + h) * p.queries + i] = static_cast<float>(lse);
          }
        }
      }
    }
  }
}

/// Adds one query's part to dk and dv [tokens, D] and dbias [Nk], and writes its dq and dgate.
void backward_query(const EvoAttentionBackward& p, const Keys& keys, int64_t b, int64_t r,
                    int64_t h, int64_t i, std::vector<double>& dk, std::vector<double>& dv,
                    double* dbias) {
  const EvoAttentionForward& f = p.forward;
  const int64_t width = f.head_dim;
  const auto q = token(f.q, f.dtype, start_of(f.q_stride, b, r, h) + i * f.q_stride.token, width);
  auto da =
      token(p.dout, f.dtype, start_of(p.dout_stride, b, r, h) + i * p.dout_stride.token, width);
  std::vector<double> weights(static_cast<size_t>(f.keys));
  softmax(f, keys, q, b, h, i, weights);
  const auto a = attended(keys, weights, width);
  if (f.gate != nullptr) {
    const int64_t gate = start_of(f.gate_stride, b, r, h) + i * f.gate_stride.token;
    const int64_t dgate = start_of(p.dgate_stride, b, r, h) + i * p.dgate_stride.token;
    for (int64_t d = 0; d < width; ++d) {
      const double g = sigmoid(at(f.gate, f.dtype, gate + d));
      if (p.dgate != nullptr) put(p.dgate, f.dtype, dgate + d, da[d] * a[d] * g * (1 - g));
      da[d] *= g;
    }
  }
  std::vector<double> dweights(static_cast<size_t>(f.keys), 0.0), dq(da.size(), 0.0);
  double mean = 0;  // sum_j P dP
  for (int64_t j = 0; j < f.keys; ++j) {
    if (!keys.open[j] || weights[j] == 0) continue;
    dweights[j] = dot(da, keys.v[j]);
    mean += weights[j] * dweights[j];
  }
  for (int64_t j = 0; j < f.keys; ++j) {
    if (!keys.open[j]) continue;
    const double ds = weights[j] == 0 ? 0 : weights[j] * (dweights[j] - mean);
    if (dbias != nullptr) dbias[j] += ds;
    for (int64_t d = 0; d < width; ++d) {
      dq[d] += f.scale * ds * keys.k[j][d];
      dk[keys.token[j] * width + d] += f.scale * ds * q[d];
      dv[keys.token[j] * width + d] += weights[j] * da[d];
    }
  }
  const int64_t start = start_of(p.dq_stride, b, r, h) + i * p.dq_stride.token;
  for (int64_t d = 0; d < width; ++d) put(p.dq, f.dtype, start + d, dq[d]);
}

void backward(const EvoAttentionBackward& p, void*, Stream) {
  const EvoAttentionForward& f = p.forward;
  const int64_t tokens = key_tokens(f), width = f.head_dim, square = f.queries * f.keys;
  // Windows share their keys, so dk and dv of a row are complete after its last window.
  const int64_t groups = f.key_total > 0 ? 1 : f.batch;
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = f.key_total > 0 ? 0 : group, last = f.key_total > 0 ? f.batch : group + 1;
    for (int64_t h = 0; h < f.heads; ++h) {
      std::vector<double> dbias(static_cast<size_t>((last - first) * square), 0.0);
      for (int64_t r = 0; r < f.rows; ++r) {
        std::vector<double> dk(static_cast<size_t>(tokens * width), 0.0), dv = dk;
        for (int64_t b = first; b < last; ++b) {
          const Keys keys = keys_of(f, b, r, h);
          for (int64_t i = 0; i < f.queries; ++i) {
            backward_query(p, keys, b, r, h, i, dk, dv,
                           dbias.data() + (b - first) * square + i * f.keys);
          }
        }
        for (int64_t n = 0; n < tokens; ++n) {
          for (int64_t d = 0; d < width; ++d) {
            put(p.dk, f.dtype, start_of(p.dk_stride, group, r, h) + n * p.dk_stride.token + d,
                dk[n * width + d]);
            put(p.dv, f.dtype, start_of(p.dv_stride, group, r, h) + n * p.dv_stride.token + d,
                dv[n * width + d]);
          }
        }
      }
      if (p.dbias == nullptr) continue;
      for (int64_t b = first; b < last; ++b) {
        for (int64_t e = 0; e < square; ++e) {
          put(p.dbias, f.bias_dtype, (b * f.heads + h) * square + e,
              dbias[(b - first) * square + e]);
        }
      }
    }
  }
}

Reasons forward_reasons(const EvoAttentionForward& p) {
  Reasons reasons = evo_attention_reasons(p);
  if (p.place != Place::cpu) reasons.emplace_back("the tensors are not on the CPU");
  return reasons;
}

Reasons backward_reasons(const EvoAttentionBackward& p) {
  Reasons reasons = evo_attention_reasons(p);
  if (p.forward.place != Place::cpu) reasons.emplace_back("the tensors are not on the CPU");
  return reasons;
}

}  // namespace

const Implementation<EvoAttentionForward> kEvoAttentionForwardReference = {
    "reference", Place::cpu, forward_reasons, no_workspace<EvoAttentionForward>, forward};
const Implementation<EvoAttentionBackward> kEvoAttentionBackwardReference = {
    "reference", Place::cpu, backward_reasons, no_workspace<EvoAttentionBackward>, backward};

}  // namespace megafold::kernels
