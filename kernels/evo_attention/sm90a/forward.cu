// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// EvoAttention forward on Hopper, the host's side: what it supports, the plan of a call, the
// workspace, and the small kernel that prepares the bias for rows that share it.
#include "kernels/evo_attention/sm90a/forward.h"

#include <algorithm>

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/common/arch/sm90a/tma.cuh"
#include "kernels/evo_attention/sm90a/sm90a.h"
#include "kernels/evo_attention/sm90a/windows.h"

namespace megafold::kernels {
namespace sm90a {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

/// The numbers of a call that both the workspace and the launches need.
struct Call {
  bool shared;  // the shared kernel, then the exact one over its list; else the exact one alone
  const ForwardPlans* plans;
  const SharedPlan* plan;  // of the shared kernel
  const ExactPlan* exact;
  int64_t row_groups, query_tiles, query_blocks, key_tiles, items, exact_items, valid_words;
  int64_t flags_at, list_at, valid_at, bias_at, bytes;  // the workspace's parts
};

Call plan_call(const EvoAttentionForward& p) {
  Call c{};
  c.plans = p.head_dim == 32   ? &forward_plans_d32()
            : p.head_dim == 48 ? &forward_plans_d48()
                               : &forward_plans_d64();
  c.query_tiles = ceil_div(p.queries, kTileQueries);
  c.key_tiles = ceil_div(p.keys, kTileKeys);
  c.exact_items = p.batch * p.rows * p.heads * c.query_tiles;
  // A window's 32 queries leave half a tile empty and its 128 keys are two steps: nothing to gain
  // from shared tiles that would have to be prepared first.
  c.shared = p.rows > 1 && p.key_total == 0;
  c.exact = p.queries > 32 || c.shared ? &c.plans->exact : &c.plans->exact_32;
  if (!c.shared) return c;
  c.plan = &c.plans->shared;
  c.row_groups = ceil_div(p.rows, c.plan->rows);
  c.query_blocks = ceil_div(c.query_tiles, c.plan->subs);
  c.items = p.batch * p.heads * c.row_groups * c.query_blocks;
  c.valid_words = p.batch * c.row_groups * c.plan->rows * c.key_tiles * (kTileKeys / 32);
  c.flags_at = sizeof(ForwardQueue);
  c.list_at = c.flags_at + round_up(4 * c.exact_items, 256);
  c.valid_at = c.list_at + round_up(4 * c.exact_items, 256);
  c.bias_at = c.valid_at + round_up(4 * c.valid_words, 256);
  c.bytes = c.bias_at;
  if (p.bias != nullptr) {
    c.bytes += p.batch * p.heads * c.query_tiles * c.key_tiles * kTileQueries * kTileKeys * 4;
  }
  return c;
}

struct PrepareArgs {
  const void* bias;
  int64_t batch_stride, head_stride, query_stride, key_stride;
  float inverse_scale;
  void* tiles;
  int64_t tiles_count;
  int32_t heads, queries, keys, query_tiles, key_tiles;

  int32_t* zeroed;  // the queue and the flags
  int64_t zeroed_count;

  const uint8_t* mask;
  int64_t mask_batch, mask_row, mask_key;
  uint32_t* valid;
  int64_t valid_count;  // words, padded_rows * words_of_row a batch
  int32_t rows, padded_rows, words_of_row;
};

/// The mask as bits, one warp a word: 1 where row and key exist and the mask says so.
__device__ bool is_valid(const PrepareArgs& args, int64_t word, int lane) {
  const int key = static_cast<int>(word % args.words_of_row) * 32 + lane;
  const int64_t rest = word / args.words_of_row, row = rest % args.padded_rows;
  const int64_t batch = rest / args.padded_rows;
  if (row >= args.rows || key >= args.keys) return false;
  return args.mask == nullptr ||
         args.mask[batch * args.mask_batch + row * args.mask_row + key * args.mask_key] != 0;
}

constexpr int kPrepareThreads = 256, kPrepareWords = 4;  // words a warp packs at a time

/// Words kPrepareWords * warp .. of CTA `block`, all loads in flight together.
__device__ void pack_mask(const PrepareArgs& args, int64_t block) {
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int64_t first = (block * (kPrepareThreads / 32) + warp) * kPrepareWords;
  bool valid[kPrepareWords];
#pragma unroll
  for (int i = 0; i < kPrepareWords; ++i) {
    valid[i] = first + i < args.valid_count && is_valid(args, first + i, lane);
  }
#pragma unroll
  for (int i = 0; i < kPrepareWords; ++i) {
    const uint32_t bits = __ballot_sync(~0U, valid[i]);
    if (lane == 0 && first + i < args.valid_count) args.valid[first + i] = bits;
  }
}

__device__ float to_float(float x) {
  return x;
}
__device__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

/// bias / scale, tile `tile` of 64 queries x 64 keys in the order of wgmma's accumulators: 16
/// bytes of [8-key block c][thread t < 128] hold rows 16 (t / 32) + t % 32 / 4 (+ 8) and keys 8 c +
/// 2 (t % 4) (+ 1). Past the last query or key: 0.
template <class T>
__device__ void prepare_bias(const PrepareArgs& args, int64_t tile) {
  constexpr int kBlocks = kTileKeys / 8;
  const int t = static_cast<int>(threadIdx.x % 128), part = static_cast<int>(threadIdx.x / 128);
  const int64_t key_tile = tile % args.key_tiles, rest = tile / args.key_tiles;
  const int64_t query_tile = rest % args.query_tiles, head = rest / args.query_tiles;
  const int64_t query = query_tile * kTileQueries + t / 32 * 16 + t % 32 / 4;
  const T* from = static_cast<const T*>(args.bias) + head / args.heads * args.batch_stride +
                  head % args.heads * args.head_stride + query * args.query_stride;
  float4* to = static_cast<float4*>(args.tiles) + tile * kBlocks * 128 + t;
#pragma unroll
  for (int c = part; c < kBlocks; c += kPrepareThreads / 128) {
    const int64_t key = key_tile * kTileKeys + 8 * c + t % 4 * 2;
    float value[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t down = i / 2 * 8, column = key + i % 2;
      const bool inside = query + down < args.queries && column < args.keys;
      const float x =
          inside ? to_float(from[down * args.query_stride + column * args.key_stride]) : 0.0F;
      // A finite bias stays finite: -3e38 is a mask to some, and a whole row of it is a row.
      const float scaled = x * args.inverse_scale;
      value[i] = isinf(scaled) && !isinf(x) ? copysignf(3.4028234e38F, x) : scaled;
    }
    to[c * 128] = make_float4(value[0], value[1], value[2], value[3]);
  }
}

/// Before the shared kernel: zeroes the queue and the flags, packs the mask, prepares the bias.
/// The first tiles_count CTAs take a bias tile each, the others the mask.
template <class T>
__global__ void __launch_bounds__(kPrepareThreads)
    prepare_forward(const __grid_constant__ PrepareArgs args) {
  allow_next_kernel();
  wait_for_earlier_kernels();
  for (int64_t i = int64_t{blockIdx.x} * kPrepareThreads + threadIdx.x; i < args.zeroed_count;
       i += int64_t{gridDim.x} * kPrepareThreads) {
    args.zeroed[i] = 0;
  }
  if (blockIdx.x < args.tiles_count) {
    prepare_bias<T>(args, blockIdx.x);
  } else {
    pack_mask(args, int64_t{blockIdx.x} - args.tiles_count);
  }
}

void launch_prepare(const EvoAttentionForward& p, const Call& c, char* workspace, Stream stream) {
  PrepareArgs args{};
  args.bias = p.bias;
  args.batch_stride = p.bias_batch;
  args.head_stride = p.bias_head;
  args.query_stride = p.bias_query;
  args.key_stride = p.bias_key;
  args.inverse_scale = static_cast<float>(1 / p.scale);
  args.tiles = workspace + c.bias_at;
  args.zeroed = reinterpret_cast<int32_t*>(workspace);
  args.zeroed_count = c.list_at / 4;
  args.heads = static_cast<int32_t>(p.heads);
  args.queries = static_cast<int32_t>(p.queries);
  args.keys = static_cast<int32_t>(p.keys);
  args.query_tiles = static_cast<int32_t>(c.query_tiles);
  args.key_tiles = static_cast<int32_t>(c.key_tiles);
  args.tiles_count = p.bias == nullptr ? 0 : p.batch * p.heads * c.query_tiles * c.key_tiles;
  args.mask = p.mask;
  args.mask_batch = p.mask_batch;
  args.mask_row = p.mask_row;
  args.mask_key = p.mask_key;
  args.valid = reinterpret_cast<uint32_t*>(workspace + c.valid_at);
  args.valid_count = c.valid_words;
  args.rows = static_cast<int32_t>(p.rows);
  args.padded_rows = static_cast<int32_t>(c.row_groups * c.plan->rows);
  args.words_of_row = static_cast<int32_t>(c.key_tiles * (kTileKeys / 32));
  const int64_t words_of_block = kPrepareThreads / 32 * kPrepareWords;
  const dim3 grid(
      static_cast<unsigned>(args.tiles_count + ceil_div(args.valid_count, words_of_block)));
  const bool half = p.bias != nullptr && p.bias_dtype == DType::bf16;
  launch(half ? prepare_forward<__nv_bfloat16> : prepare_forward<float>, grid,
         dim3(kPrepareThreads), 0, stream, true, args);
}

CUtensorMap token_map(const void* base, const TokenStrides& stride, int64_t dim, int64_t heads,
                      int64_t tokens, int64_t rows, int64_t batch, int64_t box) {
  const bool wide = dim > 32;  // rows of 128 bytes in shared memory, else of 64; zeros past D
  return make_tensor_map<5>(base, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                            {{{dim, 1, wide ? 64 : 32},
                              {heads, stride.head, 1},
                              {tokens, stride.token, box},
                              {rows, stride.row, 1},
                              {batch, stride.batch, 1}}},
                            wide ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B);
}

/// The shared kernel takes all rows of some heads before the next heads, so that the bias of the
/// heads at work stays in L2; those some are as many as fill whole 128-byte lines of K and V.
int64_t head_group(const EvoAttentionForward& p) {
#ifdef HEAD_GROUP
  return p.heads;
#endif
  const int64_t heads = p.head_dim == 32 ? 2 : p.head_dim == 48 ? 4 : 1;
  return p.heads % heads == 0 ? heads : p.heads;
}

/// How the exact kernel gets at the bias: by TMA where that can, with `map` set.
BiasSource bias_source(const EvoAttentionForward& p, int64_t tile_queries, CUtensorMap& map) {
  if (p.bias == nullptr) return BiasSource::none;
  const bool half = p.bias_dtype == DType::bf16;
  const int64_t size = half ? 2 : 4;
  bool aligned = reinterpret_cast<uintptr_t>(p.bias) % 16 == 0 && (p.bias_key == 1 || p.keys == 1);
  const auto check_stride = [&](int64_t count, int64_t stride) {
    aligned = aligned && (count == 1 || (stride > 0 && stride * size % 16 == 0));
  };
  check_stride(p.queries, p.bias_query);
  check_stride(p.heads, p.bias_head);
  check_stride(p.batch, p.bias_batch);
  if (!aligned) return half ? BiasSource::plain_bf16 : BiasSource::plain_f32;
  map = make_tensor_map<4>(
      p.bias, half ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32, size,
      {{{p.keys, 1, 128 / size},
        {p.queries, p.bias_query, tile_queries},
        {p.heads, p.bias_head, 1},
        {p.batch, p.bias_batch, 1}}},
      CU_TENSOR_MAP_SWIZZLE_128B);
  return half ? BiasSource::tma_bf16 : BiasSource::tma_f32;
}

void require_tensor(Reasons& reasons, const char* name, const void* pointer,
                    const TokenStrides& stride, int64_t batch, int64_t rows, int64_t tokens,
                    int64_t heads) {
  if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) {
    reasons.push_back(std::string(name) + " is not 16-byte aligned");
  }
  const auto check_stride = [&](const char* of, int64_t size, int64_t step) {
    if (size > 1 && (step <= 0 || step % 8 != 0)) {
      reasons.push_back(std::string(name) + "'s " + of + " stride is " + std::to_string(step) +
                        ", not a positive multiple of 8 elements");
    }
  };
  check_stride("batch", batch, stride.batch);
  check_stride("row", rows, stride.row);
  check_stride("token", tokens, stride.token);
  check_stride("head", heads, stride.head);
}

Reasons supports(const EvoAttentionForward& p) {
  Reasons reasons;
  if (p.place != Place::gpu) reasons.push_back("the tensors are not on a GPU");
  if (p.dtype != DType::bf16)
    reasons.push_back(std::string("dtype is ") + name_of(p.dtype) + ", not bf16");
  if (p.head_dim != 32 && p.head_dim != 48 && p.head_dim != 64) {
    reasons.push_back("D is " + std::to_string(p.head_dim) + ", not 32, 48 or 64");
  }
  if (p.bias != nullptr && p.bias_dtype != DType::f32 && p.bias_dtype != DType::bf16) {
    reasons.push_back(std::string("bias is ") + name_of(p.bias_dtype) + ", not f32 or bf16");
  }
  if (p.keys < 1) reasons.push_back("there are no keys");
  if (p.scale == 0) reasons.push_back("scale is 0");
  const bool windows = p.key_total != 0;
  const int64_t key_batch = windows ? 1 : p.batch, key_tokens = windows ? p.key_total : p.keys;
  require_tensor(reasons, "q", p.q, p.q_stride, p.batch, p.rows, p.queries, p.heads);
  require_tensor(reasons, "k", p.k, p.k_stride, key_batch, p.rows, key_tokens, p.heads);
  require_tensor(reasons, "v", p.v, p.v_stride, key_batch, p.rows, key_tokens, p.heads);
  require_tensor(reasons, "out", p.out, p.out_stride, p.batch, p.rows, p.queries, p.heads);
  if (p.gate != nullptr) {
    require_tensor(reasons, "gate", p.gate, p.gate_stride, p.batch, p.rows, p.queries, p.heads);
  }
  if (reasons.empty()) {
    constexpr int64_t kMost = int64_t{1} << 30;
    const Call c = plan_call(p);
    if (c.exact_items > kMost || c.valid_words > kMost || p.queries > kMost || p.keys > kMost ||
        p.key_total > kMost) {
      reasons.push_back("more than 2^30 tiles, queries or keys");
    }
    if (device_info().capability != 90) {
      reasons.push_back("the device's compute capability is " +
                        std::to_string(device_info().capability / 10.0).substr(0, 3) + ", not 9.0");
    }
  }
  return reasons;
}

int64_t workspace_bytes(const EvoAttentionForward& p) {
  return p.batch * p.rows * p.heads * p.queries == 0 ? 0 : plan_call(p).bytes;
}

void launch_forward_call(const EvoAttentionForward& p, void* workspace, Stream stream) {
  if (p.batch * p.rows * p.heads * p.queries == 0) return;
  if (windows_fit(p)) return launch_windows_forward(p, stream);
  const Call c = plan_call(p);
  char* base = static_cast<char*>(workspace);

  ForwardArgs args{call_args(p)};
  const bool windows = p.key_total != 0;
  const int64_t key_tokens = windows ? p.key_total : p.keys, key_batch = windows ? 1 : p.batch;
  args.q =
      token_map(p.q, p.q_stride, p.head_dim, p.heads, p.queries, p.rows, p.batch, c.exact->queries);
  args.k =
      token_map(p.k, p.k_stride, p.head_dim, p.heads, key_tokens, p.rows, key_batch, kTileKeys);
  args.v =
      token_map(p.v, p.v_stride, p.head_dim, p.heads, key_tokens, p.rows, key_batch, kTileKeys);
  args.bias_source = bias_source(p, c.exact->queries, args.bias);
  args.query_tiles = static_cast<int32_t>(c.query_tiles);
  args.key_tiles = static_cast<int32_t>(c.key_tiles);

  const int64_t cores = device_info().multiprocessors;
  if (c.shared) {
    args.bias_tiles = p.bias == nullptr ? nullptr : base + c.bias_at;
    args.valid = reinterpret_cast<const uint32_t*>(base + c.valid_at);
    args.queue = reinterpret_cast<ForwardQueue*>(base);
    args.flags = reinterpret_cast<int32_t*>(base + c.flags_at);
    args.list = reinterpret_cast<int32_t*>(base + c.list_at);
    args.row_groups = static_cast<int32_t>(c.row_groups);
    args.query_blocks = static_cast<int32_t>(c.query_blocks);
    args.items = static_cast<int32_t>(c.items);
    args.head_group = static_cast<int32_t>(head_group(p));
    launch_prepare(p, c, base, stream);
    c.plan->launch(args, static_cast<int>(std::min(c.items, cores)), stream);
  }
  c.exact->launch(args, static_cast<int>(std::min(c.exact_items, kExactBlocks * cores)), stream);
}

}  // namespace
}  // namespace sm90a

const Implementation<EvoAttentionForward> kSm90aForward = {
    "sm90a", Place::gpu, sm90a::supports, sm90a::workspace_bytes, sm90a::launch_forward_call};

}  // namespace megafold::kernels
