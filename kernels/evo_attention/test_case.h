// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Cases for the tests of every implementation: inputs as doubles, laid out in memory in a dtype and
// with strides, everything between and after them poisoned with NaN; outputs poisoned too.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <string>

#include "kernels/common/number.h"
#include "kernels/evo_attention/implementations.h"

namespace megafold::kernels::evo_attention_test {

enum class Mask { none, holes, tail, one_key, empty_rows, closed };
enum class Layout {
  packed,       // [B, R, N, H, D]
  projection,   // [B, R, N, 4, H, D]: one of four projections side by side
  ending_node,  // [B, N, R, H, D]: rows and tokens exchanged
  padded,       // odd gaps between tokens and rows
};

struct Case {
  int64_t batch = 1, rows = 1, heads = 1, queries = 8, keys = 8, head_dim = 16;
  DType dtype = DType::f32;
  bool bias = true, gate = true;
  DType bias_dtype = DType::f32;
  Mask mask = Mask::none;
  Layout layout = Layout::packed;
  bool windows = false;
  int64_t atoms = 0;
  bool shift_inside = false;
  double input_size = 1.0;

  std::string text() const {
    std::ostringstream text;
    text << "B" << batch << " R" << rows << " H" << heads << " Nq" << queries << " Nk" << keys
         << " D" << head_dim << " " << name_of(dtype) << " bias "
         << (bias ? name_of(bias_type()) : "none") << (gate ? " gate" : "") << " mask "
         << static_cast<int>(mask) << " layout " << static_cast<int>(layout);
    if (windows) text << " atoms " << atoms << (shift_inside ? " inside" : "");
    return text.str();
  }
  DType bias_type() const { return dtype == DType::f64 ? DType::f64 : bias_dtype; }
  int64_t key_batches() const { return windows ? 1 : batch; }
  int64_t key_tokens() const { return windows ? atoms : keys; }
  std::vector<int32_t> first_keys() const {
    std::vector<int32_t> first;
    for (int64_t w = 0; w < batch; ++w) {
      const int64_t start = w * queries + (queries - keys) / 2;
      first.push_back(static_cast<int32_t>(std::max<int64_t>(0, std::min(start, atoms - keys))));
    }
    return first;
  }
};

inline double rounded(DType dtype, double x) {
  return with_type(dtype, [&](auto t) {
    using T = decltype(t);
    return static_cast<double>(widen(narrow<T>(static_cast<Accumulate<T>>(x))));
  });
}

/// Values as the case's dtype holds them, contiguous in the order of the shapes of
/// evo_attention.h.
struct Inputs {
  std::vector<double> q, k, v, bias, gate, dout;
  std::vector<uint8_t> mask;  // [B or 1, R, tokens]

  explicit Inputs(const Case& c, unsigned seed = 1) {
    std::mt19937_64 random(seed * 1000003U + static_cast<unsigned>(c.queries * 131 + c.keys));
    const auto fill = [&](std::vector<double>& x, int64_t count, DType dtype, double size) {
      std::normal_distribution<double> normal(0.0, size);
      for (int64_t e = 0; e < count; ++e) x.push_back(rounded(dtype, normal(random)));
    };
    const int64_t inner = c.heads * c.head_dim, per_row = c.batch * c.rows * c.queries * inner;
    fill(q, per_row, c.dtype, c.input_size);
    fill(k, c.key_batches() * c.rows * c.key_tokens() * inner, c.dtype, 1.0);
    fill(v, c.key_batches() * c.rows * c.key_tokens() * inner, c.dtype, 1.0);
    fill(bias, c.batch * c.heads * c.queries * c.keys, c.bias_type(), 1.0);
    fill(gate, per_row, c.dtype, 1.0);
    fill(dout, per_row, c.dtype, 1.0);
    const int64_t tokens = c.key_tokens();
    for (int64_t line = 0; line < c.key_batches() * c.rows; ++line) {
      for (int64_t j = 0; j < tokens; ++j) {
        bool open = true;
        if (c.mask == Mask::holes) open = random() % 3 != 0;
        if (c.mask == Mask::tail) open = j < (tokens + 1) / 3;
        if (c.mask == Mask::one_key) open = j == (line * 37 + 11) % tokens;
        if (c.mask == Mask::empty_rows) open = line % 2 == 0 && random() % 4 != 0;
        if (c.mask == Mask::closed) open = false;
        mask.push_back(open ? 1 : 0);
      }
    }
  }

  void poison_masked_keys(const Case& c) {
    const int64_t inner = c.heads * c.head_dim;
    for (size_t n = 0; n < mask.size(); ++n) {
      if (mask[n] != 0) continue;
      std::fill_n(k.begin() + static_cast<int64_t>(n) * inner, inner, std::nan(""));
      std::fill_n(v.begin() + static_cast<int64_t>(n) * inner, inner, std::nan(""));
    }
  }
};

/// Contiguous doubles as the inputs are.
struct Results {
  std::vector<double> out, lse, dq, dk, dv, dgate, dbias;
  bool operator==(const Results&) const = default;
};

/// A [B, R, N, H, D] tensor in memory.
class TokenTensor {
 public:
  TokenTensor(int64_t batch, int64_t rows, int64_t tokens, const Case& c, DType dtype)
      : shape_{batch, rows, tokens, c.heads, c.head_dim}, dtype_(dtype) {
    const int64_t inner = c.heads * c.head_dim;
    int64_t start = 0;
    strides.head = c.head_dim;
    strides.token = inner;
    strides.row = tokens * inner;
    strides.batch = rows * tokens * inner;
    if (c.layout == Layout::projection) {
      strides.token = 4 * inner;
      strides.row = tokens * strides.token;
      strides.batch = rows * strides.row;
      start = 2 * inner;
    } else if (c.layout == Layout::ending_node) {
      strides.row = inner;
      strides.token = rows * inner;
    } else if (c.layout == Layout::padded) {
      strides.head = c.head_dim + 1;
      strides.token = c.heads * strides.head + 3;
      strides.row = tokens * strides.token + 5;
      strides.batch = rows * strides.row + 7;
      start = 1;
    }
    const int64_t last = start + (batch - 1) * strides.batch + (rows - 1) * strides.row +
                         (tokens - 1) * strides.token + (c.heads - 1) * strides.head + c.head_dim;
    elements_ = std::max<int64_t>(last, 0) + 64;
    start_ = start;
    bytes_.resize(static_cast<size_t>(elements_ * size_of(dtype)));
    for (int64_t e = 0; e < elements_; ++e) put(e, std::nan(""));
  }

  void* data() { return bytes_.data() + start_ * size_of(dtype_); }

  void write(const std::vector<double>& values) {
    each([&](int64_t e, int64_t place) { put(place, values[static_cast<size_t>(e)]); });
  }
  /// The values; fails where anything between them is no longer NaN.
  std::vector<double> read() {
    std::vector<double> values;
    std::vector<bool> ours(static_cast<size_t>(elements_), false);
    each([&](int64_t, int64_t place) {
      values.push_back(get(place));
      ours[static_cast<size_t>(place)] = true;
    });
    for (int64_t e = 0; e < elements_; ++e) {
      if (!ours[static_cast<size_t>(e)] && !std::isnan(get(e))) {
        ADD_FAILURE() << "wrote between the elements, at " << e;
        break;
      }
    }
    return values;
  }

  TokenStrides strides;

 private:
  template <class F>
  void each(F&& f) {
    int64_t e = 0;
    for (int64_t b = 0; b < shape_[0]; ++b)
      for (int64_t r = 0; r < shape_[1]; ++r)
        for (int64_t n = 0; n < shape_[2]; ++n)
          for (int64_t h = 0; h < shape_[3]; ++h)
            for (int64_t d = 0; d < shape_[4]; ++d, ++e)
              f(e, start_ + start_of(strides, b, r, h) + n * strides.token + d);
  }
  void put(int64_t e, double x) {
    with_type(dtype_, [&](auto t) {
      using T = decltype(t);
      const T value = narrow<T>(static_cast<Accumulate<T>>(x));
      std::memcpy(bytes_.data() + e * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
    });
  }
  double get(int64_t e) const {
    return with_type(dtype_, [&](auto t) {
      decltype(t) value;
      std::memcpy(&value, bytes_.data() + e * static_cast<int64_t>(sizeof(value)), sizeof(value));
      return static_cast<double>(widen(value));
    });
  }

  std::array<int64_t, 5> shape_;
  DType dtype_;
  int64_t elements_ = 0, start_ = 0;
  std::vector<std::byte> bytes_;
};

/// Runs forward and backward; `dtype` is the case's, or f64 for the truth (whose inputs are the
/// case's, exactly).
inline Results run(const Implementation<EvoAttentionForward>& forward,
                   const Implementation<EvoAttentionBackward>& backward, const Case& c,
                   const Inputs& inputs, DType dtype) {
  const DType bias_dtype = dtype == DType::f64 ? DType::f64 : c.bias_type();
  EvoAttentionBackward p;
  EvoAttentionForward& f = p.forward;
  f.batch = c.batch;
  f.rows = c.rows;
  f.heads = c.heads;
  f.queries = c.queries;
  f.keys = c.keys;
  f.head_dim = c.head_dim;
  f.scale = 1 / std::sqrt(static_cast<double>(c.head_dim));
  f.dtype = dtype;

  const auto queries = [&] { return TokenTensor(c.batch, c.rows, c.queries, c, dtype); };
  const auto keys = [&] { return TokenTensor(c.key_batches(), c.rows, c.key_tokens(), c, dtype); };
  TokenTensor q = queries(), k = keys(), v = keys(), gate = queries(), out = queries();
  TokenTensor dout = queries(), dq = queries(), dk = keys(), dv = keys(), dgate = queries();
  q.write(inputs.q);
  k.write(inputs.k);
  v.write(inputs.v);
  gate.write(inputs.gate);
  dout.write(inputs.dout);
  f.q = q.data(), f.q_stride = q.strides;
  f.k = k.data(), f.k_stride = k.strides;
  f.v = v.data(), f.v_stride = v.strides;
  f.out = out.data(), f.out_stride = out.strides;
  if (c.gate) f.gate = gate.data(), f.gate_stride = gate.strides;

  // The bias as a projection leaves it, [B, Nq, Nk, H], except in the packed layout.
  const bool strided = c.layout != Layout::packed;
  Case bias_case = c;
  bias_case.head_dim = 1;
  bias_case.heads = strided ? c.heads : 1;
  bias_case.layout = Layout::packed;
  const int64_t square = c.queries * c.keys;
  TokenTensor bias(1, 1, c.batch * square * (strided ? 1 : c.heads), bias_case, bias_dtype);
  std::vector<double> laid(inputs.bias.size());
  for (size_t e = 0; e < laid.size(); ++e) {
    const auto i = static_cast<int64_t>(e);
    const int64_t b = i / (c.heads * square), h = i / square % c.heads;
    laid[strided ? static_cast<size_t>((b * square + i % square) * c.heads + h) : e] =
        inputs.bias[e];
  }
  bias.write(laid);
  std::vector<double> dbias_bytes(inputs.bias.size(), std::nan(""));
  if (c.bias) {
    f.bias = bias.data();
    f.bias_dtype = bias_dtype;
    f.bias_batch = c.heads * square;
    f.bias_head = strided ? 1 : square;
    f.bias_query = strided ? c.keys * c.heads : c.keys;
    f.bias_key = strided ? c.heads : 1;
    p.dbias = dbias_bytes.data();
  }
  const std::vector<int32_t> first = c.first_keys();
  if (c.windows) {
    f.key_total = c.atoms;
    f.key_step = c.queries;
    f.key_offset = (c.queries - c.keys) / 2;
    if (c.shift_inside) f.key_first = first.data();
  }
  if (c.mask != Mask::none) {
    f.mask = inputs.mask.data();
    f.mask_row = c.key_tokens();
    f.mask_batch = c.rows * c.key_tokens();
  }
  std::vector<float> lse(static_cast<size_t>(c.batch * c.rows * c.heads * c.queries),
                         std::nanf(""));
  f.lse = lse.data();

  const auto launch = [](const auto& implementation, const auto& params) {
    const Reasons reasons = implementation.supports(params);
    EXPECT_EQ(reasons, Reasons{});
    // The workspace is what it asked for and full of NaN, with a guard behind it.
    const auto bytes = static_cast<size_t>(implementation.workspace_bytes(params));
    std::vector<double> workspace(bytes / 8 + 9, std::nan(""));
    implementation.launch(params, workspace.data(), nullptr);
    for (size_t e = (bytes + 7) / 8; e < workspace.size(); ++e) {
      EXPECT_TRUE(std::isnan(workspace[e])) << "wrote behind the workspace";
    }
  };
  launch(forward, f);
  p.dout = dout.data(), p.dout_stride = dout.strides;
  p.dq = dq.data(), p.dq_stride = dq.strides;
  p.dk = dk.data(), p.dk_stride = dk.strides;
  p.dv = dv.data(), p.dv_stride = dv.strides;
  if (c.gate) p.dgate = dgate.data(), p.dgate_stride = dgate.strides;
  launch(backward, p);

  Results results{out.read(), {lse.begin(), lse.end()}, dq.read(), dk.read(), dv.read(), {}, {}};
  if (c.gate) results.dgate = dgate.read();
  if (c.bias) {
    with_type(bias_dtype, [&](auto t) {
      const auto* const values = reinterpret_cast<const decltype(t)*>(dbias_bytes.data());
      for (size_t e = 0; e < inputs.bias.size(); ++e) {
        results.dbias.push_back(static_cast<double>(widen(values[e])));
      }
    });
  }
  return results;
}

/// The formula as a framework runs it, operator by operator, each result rounded to the dtype: the
/// error that users of that dtype know.
inline Results plain_formula(const Case& c, const Inputs& in) {
  const auto round_to = [&](double x) { return rounded(c.dtype, x); };
  const int64_t width = c.head_dim, tokens = c.key_tokens();
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  const std::vector<int32_t> first = c.first_keys();
  Results r;
  r.out.resize(in.q.size());
  r.dq.resize(in.q.size());
  r.dgate.resize(in.q.size());
  r.lse.resize(static_cast<size_t>(c.batch * c.rows * c.heads * c.queries));
  r.dk.assign(in.k.size(), 0);
  r.dv.assign(in.v.size(), 0);
  r.dbias.assign(in.bias.size(), 0);
  const auto sum_of = [](int64_t count, auto&& term) {
    float sum = 0;
    double wide = 0;
    for (int64_t e = 0; e < count; ++e) {
      sum += static_cast<float>(term(e));
      wide += term(e);
    }
    return std::pair<double, double>(sum, wide);
  };
  const auto total = [&](int64_t count, auto&& term) {
    const auto [narrow_sum, wide] = sum_of(count, term);
    return c.dtype == DType::f64 ? wide : narrow_sum;
  };
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t row = 0; row < c.rows; ++row)
      for (int64_t h = 0; h < c.heads; ++h)
        for (int64_t i = 0; i < c.queries; ++i) {
          const int64_t kb = c.windows ? 0 : b;
          const int64_t offset = !c.windows       ? 0
                                 : c.shift_inside ? first[static_cast<size_t>(b)]
                                                  : b * c.queries + (c.queries - c.keys) / 2;
          const int64_t at = (((b * c.rows + row) * c.queries + i) * c.heads + h) * width;
          const auto key_at = [&](int64_t j) {
            return (((kb * c.rows + row) * tokens + offset + j) * c.heads + h) * width;
          };
          const auto open = [&](int64_t j) {
            const int64_t n = offset + j;
            return n >= 0 && n < tokens && in.mask[(kb * c.rows + row) * tokens + n] != 0;
          };
          std::vector<double> s(static_cast<size_t>(c.keys), -INFINITY), ds = s, a, da;
          double top = -INFINITY;
          for (int64_t j = 0; j < c.keys; ++j) {
            if (!open(j)) continue;
            const double product = round_to(
                total(width, [&](int64_t d) { return in.q[at + d] * in.k[key_at(j) + d]; }));
            const double bias =
                c.bias ? in.bias[((b * c.heads + h) * c.queries + i) * c.keys + j] : 0.0;
            s[j] = round_to(round_to(product * scale) + bias);
            top = std::max(top, s[j]);
          }
          const auto shifted = [&](int64_t j) { return open(j) ? std::exp(s[j] - top) : 0.0; };
          const double sum = total(c.keys, shifted);
          r.lse[((b * c.rows + row) * c.heads + h) * c.queries + i] =
              sum == 0 ? -INFINITY : static_cast<float>(top + std::log(sum));
          for (int64_t j = 0; j < c.keys; ++j) s[j] = sum == 0 ? 0 : round_to(shifted(j) / sum);
          for (int64_t d = 0; d < width; ++d) {
            a.push_back(round_to(total(
                c.keys, [&](int64_t j) { return open(j) ? s[j] * in.v[key_at(j) + d] : 0.0; })));
            const double g = c.gate ? round_to(1 / (1 + std::exp(-in.gate[at + d]))) : 1.0;
            r.out[at + d] = round_to(g * a[d]);
            da.push_back(round_to(in.dout[at + d] * g));
            const double dg = round_to(in.dout[at + d] * a[d]);
            r.dgate[at + d] = round_to(dg * round_to(g * round_to(1 - g)));
          }
          for (int64_t j = 0; j < c.keys; ++j) {
            ds[j] = !open(j) ? 0 : round_to(total(width, [&](int64_t d) {
              return da[d] * in.v[key_at(j) + d];
            }));
          }
          const double mean = total(c.keys, [&](int64_t j) { return s[j] * ds[j]; });
          for (int64_t j = 0; j < c.keys; ++j) {
            if (!open(j)) continue;
            ds[j] = round_to(s[j] * (ds[j] - mean));
            r.dbias[((b * c.heads + h) * c.queries + i) * c.keys + j] += ds[j];
          }
          for (int64_t d = 0; d < width; ++d) {
            r.dq[at + d] = round_to(scale * total(c.keys, [&](int64_t j) {
                                      return open(j) ? ds[j] * in.k[key_at(j) + d] : 0.0;
                                    }));
            for (int64_t j = 0; j < c.keys; ++j) {
              if (!open(j)) continue;
              r.dk[key_at(j) + d] += scale * ds[j] * in.q[at + d];
              r.dv[key_at(j) + d] += s[j] * da[d];
            }
          }
        }
  for (auto* x : {&r.dk, &r.dv}) {
    for (double& e : *x) e = round_to(e);
  }
  for (double& e : r.dbias) e = rounded(c.bias_type(), e);
  return r;
}

/// |x - y| / |y| (or |x - y| where y is 0), infinite where NaN or infinities differ in place.
inline double distance(const std::vector<double>& x, const std::vector<double>& y) {
  if (x.size() != y.size()) return INFINITY;
  double difference = 0, size = 0;
  for (size_t e = 0; e < x.size(); ++e) {
    if (std::isnan(x[e]) && std::isnan(y[e])) continue;
    if (std::isinf(x[e]) && x[e] == y[e]) continue;
    if (!std::isfinite(x[e]) || !std::isfinite(y[e])) return INFINITY;
    difference += (x[e] - y[e]) * (x[e] - y[e]);
    size += y[e] * y[e];
  }
  if (difference == 0) return 0;
  return std::sqrt(size == 0 ? difference : difference / size);
}

inline double worst(const std::vector<double>& x, const std::vector<double>& y) {
  double most = 0;
  for (size_t e = 0; e < x.size(); ++e) {
    if (std::isfinite(y[e])) most = std::max(most, std::abs(x[e] - y[e]));
  }
  return most;
}

/// Error norm at most the plain formula's, worst element at most twice its worst, give or take
///  - two roundings of the result;
///  - what the fp32 logarithm kept for the backward has in its last place, a relative error of P;
///  - where one or two keys are open and P dP - delta is exactly zero in the plain formula, two
///    roundings of dP: the kernels take delta from the rounded output.
/// fp64 is judged by itself: its truth is fp64 too.
inline void expect_no_worse(const char* name, const Case& c, const std::vector<double>& got,
                            const std::vector<double>& plain, const Results& truth,
                            std::vector<double> Results::*member, DType dtype) {
  const std::vector<double>& exact = truth.*member;
  const auto size_of_values = [](const std::vector<double>& x) {
    double largest = 0, square = 0;
    for (const double e : x) {
      if (!std::isfinite(e)) continue;
      largest = std::max(largest, std::abs(e));
      square += e * e;
    }
    return std::pair(largest, std::sqrt(square));
  };
  if (dtype == DType::f64) {
    if (c.mask == Mask::one_key) {  // zeros: absolute
      EXPECT_LE(worst(got, exact), 1e-13) << name;
      return;
    }
    EXPECT_LE(distance(got, exact), 1e-14 * std::sqrt(static_cast<double>(c.head_dim))) << name;
    return;
  }
  const double unit = dtype == DType::f32 ? 0x1p-24 : dtype == DType::bf16 ? 0x1p-9 : 0x1p-12;
  const double inner = c.dtype == DType::f32 ? 0x1p-24 : c.dtype == DType::bf16 ? 0x1p-9 : 0x1p-12;
  const bool few = std::min(c.keys, c.key_tokens()) <= 2 || c.mask == Mask::one_key;
  const auto [largest, norm] = size_of_values(exact);
  const double relative = 2 * unit + 0x1p-24 * size_of_values(truth.lse).first;
  const double scale = few ? 4 * inner * std::sqrt(static_cast<double>(c.head_dim)) : 0;
  const auto norms = [&](const std::vector<double>& x) {
    const double d = distance(x, exact);
    return norm == 0 ? d : d * norm;
  };
  const double own = norms(got), limit = norms(plain) + relative * norm +
                                         scale * std::sqrt(static_cast<double>(exact.size()));
  EXPECT_TRUE(own <= limit) << name << ": error norm " << own << ", the plain formula's "
                            << norms(plain) << ", limit " << limit << ", values " << norm;
  EXPECT_LE(worst(got, exact), 2 * worst(plain, exact) + 2 * relative * largest + 4 * scale)
      << name;
}

}  // namespace megafold::kernels::evo_attention_test
