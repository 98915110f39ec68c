// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Every portable kernel through the emulator, at warp 32 and wave 64: numbers against fp64 beside
// those of a framework in the same type, poison that must not be read or written, equal bits from
// both orders of threads. Races and reads of unwritten shared memory throw. A CUDA build on a
// machine with a GPU runs the same cases there.
#include "kernels/evo_attention/portable/portable.h"

#include <gtest/gtest.h>
#ifdef MEGAFOLD_CUDA
#include <cuda_runtime_api.h>
#endif

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <ostream>
#include <string>

#include "base/philox.h"
#include "kernels/common/arch/host/emulator.h"
#include "kernels/common/number.h"
#include "kernels/evo_attention/implementations.h"
#include "kernels/evo_attention/portable/test_framework.h"

namespace megafold::kernels::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double round_to(DType dtype, double x) {
  return with_type(dtype, [x]<class T>(T) {
    return static_cast<double>(widen(narrow<T>(static_cast<Accumulate<T>>(x))));
  });
}
double round_to_tf32(double x) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(x));
  return static_cast<double>(std::bit_cast<float>((bits + 0x1000U) & ~0x1fffU));
}

/// Is there a GPU that this build can use?
[[maybe_unused]] bool has_gpu() {
#ifdef MEGAFOLD_CUDA
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
#else
  return false;
#endif
}

/// Memory that a GPU, where there is one, reads and writes in place: pinned, one piece for each
/// vector, so that compute-sanitizer knows its bounds.
template <class T>
struct Reachable {
  using value_type = T;
  Reachable() = default;
  template <class U>
  Reachable(const Reachable<U>&) {}
  bool operator==(const Reachable&) const { return true; }
#ifdef MEGAFOLD_CUDA
  T* allocate(size_t n) {
    void* memory = nullptr;
    if (!has_gpu()) {
      return static_cast<T*>(::operator new(n * sizeof(T)));
    }
    if (cudaHostAlloc(&memory, n * sizeof(T), cudaHostAllocMapped) != cudaSuccess) {
      throw std::bad_alloc();
    }
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) {
    has_gpu() ? static_cast<void>(cudaFreeHost(memory)) : ::operator delete(memory);
  }
#else
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T))); }
  void deallocate(T* memory, size_t) { ::operator delete(memory); }
#endif
};
template <class T>
using Buffer = std::vector<T, Reachable<T>>;

/// Memory of a tensor's elements, all NaN at first.
struct Memory {
  DType dtype;
  Buffer<unsigned char> bytes;

  Memory(DType type, int64_t elements)
      : dtype(type), bytes(static_cast<size_t>(elements * size_of(type)), 0xff) {}
  void* at(int64_t element) { return bytes.data() + element * size_of(dtype); }
  void set(int64_t element, double x) {
    with_type(dtype, [&]<class T>(T) {
      const T value = narrow<T>(static_cast<Accumulate<T>>(x));
      std::memcpy(at(element), &value, sizeof(T));
    });
  }
  double get(int64_t element) {
    return with_type(dtype, [&]<class T>(T) {
      T value;
      std::memcpy(&value, at(element), sizeof(T));
      return static_cast<double>(widen(value));
    });
  }
};

enum class Layout : uint8_t {
  packed,   // one of four slots of a projection [.., N, 4, H, D], rows padded: 16-byte accesses
  shifted,  // the same, one element further: no access wider than an element is aligned
};

/// A [B, R, N, H, D] tensor within poisoned memory.
struct Tokens {
  int64_t batch, rows, tokens, heads, dim, start;
  TokenStrides stride;
  Memory memory;

  Tokens(DType dtype, Layout layout, int64_t b, int64_t r, int64_t n, int64_t h, int64_t d)
      : batch(b),
        rows(r),
        tokens(n),
        heads(h),
        dim(d),
        start(h * d + (layout == Layout::shifted ? 1 : 0)),
        stride(strides(n, h, d, r)),
        memory(dtype, b * stride.batch + 1) {}

  void* data() { return memory.at(start); }
  void fill(const std::vector<double>& values) {
    each([&](int64_t element, size_t i) { memory.set(element, values[i]); });
  }
  std::vector<double> read() {
    std::vector<double> values(static_cast<size_t>(batch * rows * tokens * heads * dim));
    each([&](int64_t element, size_t i) { values[i] = memory.get(element); });
    return values;
  }
  /// Is everything but the tensor itself as it was?
  bool surroundings_untouched() {
    Buffer<unsigned char> seen = memory.bytes;
    const auto size = static_cast<size_t>(size_of(memory.dtype));
    each([&](int64_t element, size_t) {
      std::memset(seen.data() + static_cast<size_t>(element) * size, 0xff, size);
    });
    return std::all_of(seen.begin(), seen.end(), [](unsigned char c) { return c == 0xff; });
  }

 private:
  static TokenStrides strides(int64_t n, int64_t h, int64_t d, int64_t r) {
    const int64_t token = 4 * h * d, row = n * token + 8;
    return {.batch = r * row, .row = row, .token = token, .head = d};
  }
  template <class F>
  void each(F f) {
    size_t i = 0;
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t n = 0; n < tokens; ++n) {
          for (int64_t h = 0; h < heads; ++h) {
            for (int64_t d = 0; d < dim; ++d) {
              f(start + b * stride.batch + r * stride.row + n * stride.token + h * stride.head + d,
                i++);
            }
          }
        }
      }
    }
  }
};

enum class Mask : uint8_t { none, holes, one_row_empty };

struct Case {
  const char* name;
  DType dtype = DType::bf16;
  int64_t batch = 1, rows = 2, heads = 1, queries = 17, keys = 19, dim = 32;
  std::optional<DType> bias = DType::f32;
  bool transposed = false;  // the bias is stored [.., Nk, Nq]
  bool gate = true;
  Mask mask = Mask::holes;
  Layout layout = Layout::packed;
  int64_t key_offset = 0, key_step = 0, key_total = 0;
  std::vector<int32_t> key_first = {};
};

void PrintTo(const Case& c, std::ostream* to) {
  *to << c.name;
}

struct Pair {
  const Implementation<EvoAttentionForward>* forward;
  const Implementation<EvoAttentionBackward>* backward;
};
const Pair kReference = {&kEvoAttentionForwardReference, &kEvoAttentionBackwardReference};
const Pair kWarp32 = {&kHostEmulatedForward32, &kHostEmulatedBackward32};
const Pair kWave64 = {&kHostEmulatedForward64, &kHostEmulatedBackward64};
const Pair kWarp32Reversed = {&kHostEmulatedForward32Reversed, &kHostEmulatedBackward32Reversed};
const Pair kWave64Reversed = {&kHostEmulatedForward64Reversed, &kHostEmulatedBackward64Reversed};

Problem make_problem(const Case& c) {
  Problem p{.batch = c.batch,
            .rows = c.rows,
            .heads = c.heads,
            .queries = c.queries,
            .keys = c.keys,
            .dim = c.dim,
            .key_offset = c.key_offset,
            .key_step = c.key_step,
            .key_total = c.key_total,
            .scale = 1 / std::sqrt(static_cast<double>(c.dim)),
            .q = {},
            .k = {},
            .v = {},
            .gate = {},
            .dout = {},
            .bias = {},
            .mask = {},
            .key_first = c.key_first};
  uint64_t stream = 0;
  const auto draw = [&](DType dtype, int64_t count) {
    Random random(7, stream_id(c.name), stream++, Purpose::noise);
    std::vector<double> values(static_cast<size_t>(count));
    for (double& x : values) {
      x = round_to(dtype, 1.5 * random.normal());
    }
    return values;
  };
  const int64_t token = c.heads * c.dim;
  p.q = draw(c.dtype, c.batch * c.rows * c.queries * token);
  p.k = draw(c.dtype, (c.key_total == 0 ? c.batch : 1) * c.rows * p.tokens() * token);
  p.v = draw(c.dtype, static_cast<int64_t>(p.k.size()));
  p.dout = draw(c.dtype, static_cast<int64_t>(p.q.size()));
  p.gate = draw(c.dtype, c.gate ? static_cast<int64_t>(p.q.size()) : 0);
  if (c.bias) {
    p.bias = draw(*c.bias, c.batch * c.heads * c.queries * c.keys);
  }
  if (c.mask != Mask::none) {
    Random random(8, stream_id(c.name), 0, Purpose::noise);
    p.mask.resize(p.k.size() / static_cast<size_t>(token));
    for (size_t i = 0; i < p.mask.size(); ++i) {
      const bool empty = c.mask == Mask::one_row_empty && static_cast<int64_t>(i) / p.tokens() == 1;
      p.mask[i] = !empty && random.uniform() < 0.7 ? 1 : 0;
    }
  }
  return p;
}

void finish([[maybe_unused]] Place place) {
#ifdef MEGAFOLD_CUDA
  if (place == Place::gpu) {
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << cudaGetErrorString(cudaGetLastError());
  }
#endif
}

/// A call of forward and backward over poisoned memory.
struct Call {
  Tokens q, k, v, gate, dout, out, dq, dk, dv, dgate;
  Memory bias, dbias;
  Buffer<float> lse;
  Buffer<unsigned char> workspace;
  Buffer<uint8_t> mask;
  Buffer<int32_t> key_first;

  Call(const Case& c, const Problem& p, const Pair& on)
      : q(c.dtype, c.layout, c.batch, c.rows, c.queries, c.heads, c.dim),
        k(c.dtype, c.layout, c.key_total == 0 ? c.batch : 1, c.rows, p.tokens(), c.heads, c.dim),
        v(k),
        gate(q),
        dout(q),
        out(q),
        dq(q),
        dk(k),
        dv(k),
        dgate(q),
        bias(c.bias.value_or(DType::f32), static_cast<int64_t>(p.bias.size())),
        dbias(bias),
        lse(static_cast<size_t>(c.batch * c.rows * c.heads * c.queries), NAN),
        mask(p.mask.begin(), p.mask.end()),
        key_first(p.key_first.begin(), p.key_first.end()) {
    q.fill(p.q);
    k.fill(p.k);
    v.fill(p.v);
    dout.fill(p.dout);
    if (c.gate) {
      gate.fill(p.gate);
    }
    poison_what_no_row_may_attend(c, p);
    EvoAttentionForward f{.batch = c.batch,
                          .rows = c.rows,
                          .heads = c.heads,
                          .queries = c.queries,
                          .keys = c.keys,
                          .head_dim = c.dim,
                          .scale = p.scale,
                          .dtype = c.dtype,
                          .place = on.forward->place,
                          .q = q.data(),
                          .k = k.data(),
                          .v = v.data(),
                          .q_stride = q.stride,
                          .k_stride = k.stride,
                          .v_stride = v.stride,
                          .key_offset = c.key_offset,
                          .key_step = c.key_step,
                          .key_total = c.key_total,
                          .key_first = key_first.empty() ? nullptr : key_first.data(),
                          .gate = c.gate ? gate.data() : nullptr,
                          .gate_stride = gate.stride,
                          .out = out.data(),
                          .out_stride = out.stride,
                          .lse = lse.data()};
    if (c.bias) {
      f.bias = bias.at(0);
      f.bias_dtype = *c.bias;
      f.bias_query = c.transposed ? 1 : c.keys;
      f.bias_key = c.transposed ? c.queries : 1;
      f.bias_head = c.queries * c.keys;
      f.bias_batch = c.heads * f.bias_head;
      for (int64_t at = 0; at < static_cast<int64_t>(p.bias.size()); ++at) {
        const int64_t plane = at / f.bias_head, i = at / c.keys % c.queries, j = at % c.keys;
        bias.set(plane * f.bias_head + i * f.bias_query + j * f.bias_key,
                 p.bias[static_cast<size_t>(at)]);
      }
    }
    if (!mask.empty()) {
      f.mask = mask.data();
      f.mask_row = p.tokens();
      f.mask_batch = c.rows * p.tokens();
    }
    EXPECT_EQ(on.forward->supports(f), Reasons{});
    EXPECT_EQ(on.forward->workspace_bytes(f), 0);
    on.forward->launch(f, nullptr, nullptr);
    finish(on.forward->place);

    EvoAttentionBackward b{.forward = f,
                           .dout = dout.data(),
                           .dout_stride = dout.stride,
                           .dq = dq.data(),
                           .dk = dk.data(),
                           .dv = dv.data(),
                           .dq_stride = dq.stride,
                           .dk_stride = dk.stride,
                           .dv_stride = dv.stride,
                           .dgate = c.gate ? dgate.data() : nullptr,
                           .dgate_stride = dgate.stride,
                           .dbias = c.bias ? dbias.at(0) : nullptr};
    EXPECT_EQ(on.backward->supports(b), Reasons{});
    workspace.assign(static_cast<size_t>(on.backward->workspace_bytes(b)), 0xff);
    on.backward->launch(b, workspace.data(), nullptr);
    finish(on.backward->place);
  }

  Results read(const Case& c) {
    Results r{.out = out.read(),
              .lse = {lse.begin(), lse.end()},
              .dq = dq.read(),
              .dk = dk.read(),
              .dv = dv.read(),
              .dgate = c.gate ? dgate.read() : std::vector<double>{},
              .dbias = {}};
    for (int64_t i = 0; c.bias && i < c.batch * c.heads * c.queries * c.keys; ++i) {
      r.dbias.push_back(dbias.get(i));
    }
    return r;
  }

 private:
  /// Tokens that every batch and row masks hold NaN: a kernel must not let them through.
  void poison_what_no_row_may_attend(const Case& c, const Problem& p) {
    std::vector<double> ks = k.read(), vs = v.read();
    std::vector<bool> seen(ks.size());
    for (int64_t b = 0; b < c.batch; ++b) {
      for (int64_t r = 0; r < c.rows; ++r) {
        for (int64_t j = 0; j < c.keys; ++j) {
          if (const int64_t token = p.token(b, r, j); token >= 0) {
            for (int64_t h = 0; h < c.heads; ++h) {
              for (int64_t d = 0; d < c.dim; ++d) {
                seen[p.key_at(b, r, token, h) + static_cast<size_t>(d)] = true;
              }
            }
          }
        }
      }
    }
    for (size_t i = 0; i < seen.size(); ++i) {
      ks[i] = seen[i] ? ks[i] : kNaN;
      vs[i] = seen[i] ? vs[i] : kNaN;
    }
    k.fill(ks);
    v.fill(vs);
  }
};

/// How kernels are accepted: norm of the error no larger than the framework's, worst element no
/// more than twice its worst. Small tensors scatter, so the norm gets a quarter more; kFloor is
/// what fp32 arithmetic itself leaves of values about one (of a single key dS is exactly zero).
void expect_close(const char* what, const std::vector<double>& truth,
                  const std::vector<double>& framework, const std::vector<double>& got) {
  constexpr double kFloor = 1e-6;
  ASSERT_EQ(got.size(), truth.size()) << what;
  double norm = 0, worst = 0, framework_norm = 0, framework_worst = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    ASSERT_FALSE(std::isnan(got[i])) << what << "[" << i << "], want " << truth[i];
    const double error = std::fabs(got[i] - truth[i]), other = std::fabs(framework[i] - truth[i]);
    norm += error * error;
    framework_norm += other * other;
    worst = std::fmax(worst, error);
    framework_worst = std::fmax(framework_worst, other);
  }
  const double floor = kFloor * std::sqrt(static_cast<double>(truth.size()));
  EXPECT_LE(std::sqrt(norm), 1.25 * std::sqrt(framework_norm) + floor) << what;
  EXPECT_LE(worst, 2 * framework_worst + 8 * kFloor) << what;
}

void check(const Case& c, const Pair& on, const Pair& reversed) {
  SCOPED_TRACE(std::string(c.name) + " on " + on.forward->name);
  const Problem p = make_problem(c);
  const auto exact = [](double x) { return x; };
  const auto rounded = [&](double x) { return round_to(c.dtype, x); };
  Case wide = c;  // the inputs as rounded, exactly
  wide.dtype = DType::f64;
  if (c.bias) {
    wide.bias = DType::f64;
  }
  const Results truth = Call(wide, p, kReference).read(wide);
  Results framework =
      c.dtype == DType::f32 ? attend(p, round_to_tf32, exact) : attend(p, exact, rounded);
  if (c.bias) {
    for (double& x : framework.dbias) {
      x = round_to(*c.bias, x);
    }
  }
  Call call(c, p, on);
  const Results got = call.read(c);
  expect_close("out", truth.out, framework.out, got.out);
  expect_close("dq", truth.dq, framework.dq, got.dq);
  expect_close("dk", truth.dk, framework.dk, got.dk);
  expect_close("dv", truth.dv, framework.dv, got.dv);
  expect_close("dgate", truth.dgate, framework.dgate, got.dgate);
  expect_close("dbias", truth.dbias, framework.dbias, got.dbias);
  for (size_t i = 0; i < truth.lse.size(); ++i) {
    if (std::isinf(truth.lse[i])) {
      EXPECT_EQ(got.lse[i], truth.lse[i]);
    } else {
      EXPECT_NEAR(got.lse[i], truth.lse[i], c.dtype == DType::f32 ? 1e-2 : 1e-5) << i;
    }
  }
  for (Tokens* tensor : {&call.out, &call.dq, &call.dk, &call.dv, &call.dgate}) {
    EXPECT_TRUE(tensor->surroundings_untouched());
  }
  Call again(c, p, reversed);
  EXPECT_EQ(call.out.memory.bytes, again.out.memory.bytes);
  EXPECT_EQ(call.dq.memory.bytes, again.dq.memory.bytes);
  EXPECT_EQ(call.dk.memory.bytes, again.dk.memory.bytes);
  EXPECT_EQ(call.dv.memory.bytes, again.dv.memory.bytes);
  EXPECT_EQ(call.dgate.memory.bytes, again.dgate.memory.bytes);
  EXPECT_EQ(call.dbias.bytes, again.dbias.bytes);
}

class Portable : public testing::TestWithParam<Case> {};
TEST_P(Portable, Warp32) {
  check(GetParam(), kWarp32, kWarp32Reversed);
}
TEST_P(Portable, Wave64) {
  check(GetParam(), kWave64, kWave64Reversed);
}
#ifdef MEGAFOLD_CUDA
TEST_P(Portable, Gpu) {
  if (!has_gpu()) {
    GTEST_SKIP() << "no GPU";
  }
  const Pair gpu = {&kPortableForward, &kPortableBackward};
  check(GetParam(), gpu, gpu);  // twice: equal bits
}
#endif

const Case kCases[] = {
    // Every head width in every type.
    {.name = "bf16_d16", .dim = 16},
    {.name = "bf16_d24", .queries = 16, .keys = 33, .dim = 24},
    {.name = "bf16_d32", .heads = 2, .queries = 31, .keys = 65},
    {.name = "bf16_d48", .queries = 65, .keys = 15, .dim = 48},
    {.name = "bf16_d64", .queries = 2, .keys = 67, .dim = 64},
    {.name = "bf16_d128", .queries = 33, .keys = 35, .dim = 128},
    {.name = "f16_d16", .dtype = DType::f16, .queries = 5, .keys = 64, .dim = 16},
    {.name = "f16_d24", .dtype = DType::f16, .dim = 24, .bias = DType::f16},
    {.name = "f16_d32", .dtype = DType::f16, .queries = 1, .keys = 2, .mask = Mask::none},
    {.name = "f16_d48", .dtype = DType::f16, .queries = 15, .keys = 16, .dim = 48},
    {.name = "f16_d64", .dtype = DType::f16, .dim = 64, .bias = DType::f16},
    {.name = "f16_d128", .dtype = DType::f16, .queries = 7, .keys = 70, .dim = 128},
    {.name = "f32_d16", .dtype = DType::f32, .dim = 16},
    {.name = "f32_d24", .dtype = DType::f32, .queries = 9, .keys = 40, .dim = 24},
    {.name = "f32_d32", .dtype = DType::f32, .heads = 2, .queries = 35, .keys = 66},
    {.name = "f32_d48", .dtype = DType::f32, .queries = 3, .keys = 34, .dim = 48},
    {.name = "f32_d64", .dtype = DType::f32, .dim = 64},
    {.name = "f32_d128", .dtype = DType::f32, .queries = 33, .keys = 20, .dim = 128},
    // What may be there or not.
    {.name = "bare", .bias = {}, .gate = false, .mask = Mask::none},
    {.name = "no_gate", .gate = false, .mask = Mask::none},
    {.name = "one_key", .queries = 3, .keys = 1, .gate = false, .mask = Mask::none},
    {.name = "no_bias", .batch = 2, .bias = {}},
    {.name = "empty_row", .batch = 2, .rows = 3, .mask = Mask::one_row_empty},
    {.name = "one_row", .batch = 2, .rows = 1, .queries = 20, .keys = 70},
    {.name = "many_rows", .rows = 7, .queries = 3, .keys = 4, .bias = DType::bf16},
    {.name = "bias_bf16", .batch = 2, .heads = 2, .queries = 18, .keys = 20, .bias = DType::bf16},
    {.name = "bias_by_key", .queries = 20, .keys = 18, .transposed = true},
    {.name = "bias_by_key_one_row", .rows = 1, .queries = 17, .keys = 18, .transposed = true},
    {.name = "three_tiles", .rows = 1, .queries = 130, .keys = 140, .dim = 16},
    // No access wider than an element is aligned.
    {.name = "shifted_bf16", .queries = 17, .keys = 33, .layout = Layout::shifted},
    {.name = "shifted_f32", .dtype = DType::f32, .dim = 24, .layout = Layout::shifted},
    // Windows of atoms: keys before the first atom, beyond the last, and shared by windows.
    {.name = "windows",
     .batch = 4,
     .queries = 8,
     .keys = 32,
     .mask = Mask::none,
     .key_offset = -12,
     .key_step = 8,
     .key_total = 29},
    {.name = "windows_masked",
     .batch = 3,
     .rows = 1,
     .queries = 32,
     .keys = 70,
     .dim = 16,
     .key_offset = -19,
     .key_step = 32,
     .key_total = 90},
    {.name = "windows_apart",
     .batch = 3,
     .queries = 4,
     .keys = 5,
     .dim = 16,
     .key_offset = 3,
     .key_step = 40,
     .key_total = 150},
    {.name = "windows_shifted_inside",
     .batch = 4,
     .queries = 8,
     .keys = 17,
     .dim = 16,
     .key_total = 32,
     .key_first = {0, 4, 12, 15}},
    {.name = "windows_in_place",
     .dtype = DType::f32,
     .batch = 2,
     .queries = 4,
     .keys = 9,
     .key_offset = 1,
     .key_step = 0,
     .key_total = 8},
};
INSTANTIATE_TEST_SUITE_P(EvoAttention, Portable, testing::ValuesIn(kCases),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(PortableEvoAttention, SaysWhyItRefuses) {
  EvoAttentionForward p;
  p.dtype = DType::f64;
  p.head_dim = 20;
  EXPECT_EQ(evo_portable_refuses(p), (Reasons{"dtype f64 (has f16, bf16, f32)",
                                              "head_dim 20 (has 16, 24, 32, 48, 64, 128)"}));
  p.head_dim = 32;
  p.dtype = DType::bf16;
  EXPECT_EQ(evo_portable_refuses(p), Reasons{});
  p.key_total = 4;
  p.key_step = -1;
  EXPECT_EQ(evo_portable_refuses(p), Reasons{"key_step -1: windows that step backwards"});
  EvoAttentionBackward b;
  b.forward.head_dim = 16;
  b.forward.queries = 1;
  const Reasons reasons = evo_portable_refuses(b);
  EXPECT_NE(std::find(reasons.begin(), reasons.end(), "the forward kept no lse"), reasons.end());
}

TEST(PortableEvoAttention, WithoutKeysGivesZeros) {
  for (const Pair& on : {kWarp32, kWave64}) {
    const Case c{.name = "no_keys", .queries = 5, .keys = 0, .bias = {}, .mask = Mask::none};
    Call call(c, make_problem(c), on);
    const Results got = call.read(c);
    for (const auto* tensor : {&got.out, &got.dq, &got.dgate}) {
      EXPECT_EQ(*tensor, std::vector<double>(tensor->size(), 0.0));
    }
    for (const double lse : got.lse) {
      EXPECT_EQ(lse, -std::numeric_limits<double>::infinity());
    }
  }
}

}  // namespace
}  // namespace megafold::kernels::test
