// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "kernels/common/arch/sm90a/host.h"
#include "kernels/evo_attention/sm90a/backward.cuh"
#include "kernels/evo_attention/sm90a/backward_prepare.cuh"
#include "kernels/evo_attention/sm90a/sm90a.h"
#include "kernels/evo_attention/sm90a/windows.h"

namespace megafold::kernels {
namespace sm90a {
namespace {

/// Sizes that follow from the shape, and where each part of the workspace begins.
struct Plan {
  int64_t planes, query_tiles, key_tiles, segments;
  DbiasTarget dbias{};
  int64_t bias_by_query, bias_by_key, query_pairs, mask_words, whole_tiles, dattention, sums;
  int64_t counts, num_counts, bytes;  // two tickets, then the turns

  explicit Plan(const EvoAttentionBackward& p) {
    const EvoAttentionForward& f = p.forward;
    planes = f.batch * f.heads;
    query_tiles = (f.queries + kBackwardTile - 1) / kBackwardTile;
    key_tiles = (f.keys + kBackwardTile - 1) / kBackwardTile;
    segments = planes * query_tiles;
    const int64_t few = dqdbias_rows(f.head_dim), group_rows = f.rows <= few ? few : 2 * few;
    const int64_t groups = (f.rows + group_rows - 1) / group_rows;
    const int64_t slots = (device_info().multiprocessors + segments - 1) / segments;
    dbias.group_rows = static_cast<int>(group_rows);
    dbias.groups = static_cast<int>(groups);
    dbias.slots = static_cast<int>(std::min(groups, slots));
    int64_t at = 0;
    const auto take = [&](int64_t size) {
      const int64_t begin = at;
      at += (size + 1023) / 1024 * 1024;
      return begin;
    };
    const int64_t tiles = f.bias != nullptr ? segments * key_tiles : 1;
    bias_by_query = take(tiles * kTileScoresBytes);
    bias_by_key = f.bias != nullptr ? take(tiles * kTileScoresBytes) : bias_by_query;
    query_pairs = take(f.rows * segments * kTilePairs * sizeof(QueryPair));
    mask_words = take(f.batch * f.rows * key_tiles * sizeof(uint64_t));
    whole_tiles = take(f.batch * f.rows * ((key_tiles + 63) / 64) * sizeof(uint64_t));
    dattention =
        take(f.gate != nullptr ? f.batch * f.rows * f.queries * f.heads * f.head_dim * 2 : 0);
    const int64_t turns =
        p.dbias != nullptr && f.rows > few ? dbias.slots * segments * key_tiles : 0;
    sums = take(turns * kTileScoresBytes);
    num_counts = 2 + turns;
    counts = take(num_counts * sizeof(int));
    bytes = at;
  }
};

CUtensorMap token_map(const EvoAttentionForward& f, const void* base, const TokenStrides& s,
                      int64_t tokens) {
  const bool wide = f.head_dim > 32;
  return make_tensor_map<5>(base, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                            {{{f.head_dim, 1, wide ? 64 : 32},
                              {f.heads, s.head, 1},
                              {tokens, s.token, kBackwardTile},
                              {f.rows, s.row, 1},
                              {f.batch, s.batch, 1}}},
                            wide ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B);
}

template <class T>
T* at(void* workspace, int64_t offset) {
  return reinterpret_cast<T*>(static_cast<uint8_t*>(workspace) + offset);
}

bool aligned(const void* pointer, const TokenStrides& s, uintptr_t bytes) {
  const auto elements = static_cast<int64_t>(bytes / 2);
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0 && s.batch % elements == 0 &&
         s.row % elements == 0 && s.token % elements == 0 && s.head % elements == 0;
}

void prepare(const EvoAttentionBackward& p, const Plan& plan, void* workspace, Stream stream) {
  const EvoAttentionForward& f = p.forward;
  PrepareArguments a{};
  a.batch = f.batch, a.rows = f.rows, a.heads = f.heads, a.queries = f.queries, a.keys = f.keys;
  a.query_tiles = plan.query_tiles, a.key_tiles = plan.key_tiles;
  a.v = static_cast<const __nv_bfloat16*>(f.v), a.v_stride = f.v_stride;
  a.out = static_cast<const __nv_bfloat16*>(f.out), a.out_stride = f.out_stride;
  a.dout = static_cast<const __nv_bfloat16*>(p.dout), a.dout_stride = p.dout_stride;
  a.gate = static_cast<const __nv_bfloat16*>(f.gate), a.gate_stride = f.gate_stride;
  a.dattention = at<__nv_bfloat16>(workspace, plan.dattention);
  a.dgate = static_cast<__nv_bfloat16*>(p.dgate), a.dgate_stride = p.dgate_stride;
  a.lse = f.lse;
  a.query_pairs = at<QueryPair>(workspace, plan.query_pairs);
  a.bias = f.bias, a.bias_dtype = f.bias_dtype;
  a.bias_batch = f.bias_batch, a.bias_head = f.bias_head;
  a.bias_query = f.bias_query, a.bias_key = f.bias_key;
  a.inverse_scale = 1 / f.scale;
  a.bias_by_query = at<float>(workspace, plan.bias_by_query);
  a.bias_by_key = at<float>(workspace, plan.bias_by_key);
  a.mask = f.mask, a.mask_batch = f.mask_batch, a.mask_row = f.mask_row, a.mask_key = f.mask_key;
  a.mask_words = at<uint64_t>(workspace, plan.mask_words);
  a.whole_tiles = at<uint64_t>(workspace, plan.whole_tiles);
  a.counts = at<int>(workspace, plan.counts);
  a.num_counts = plan.num_counts;
  a.bias_blocks = f.bias != nullptr ? static_cast<int>(plan.segments * plan.key_tiles) : 1;
  f.head_dim == 32   ? launch_prepare<32>(a, stream)
  : f.head_dim == 48 ? launch_prepare<48>(a, stream)
                     : launch_prepare<64>(a, stream);
}

BackwardArguments main_arguments(const EvoAttentionBackward& p, const Plan& plan, void* workspace) {
  const EvoAttentionForward& f = p.forward;
  BackwardArguments a{};
  a.q = token_map(f, f.q, f.q_stride, f.queries);
  a.k = token_map(f, f.k, f.k_stride, f.keys);
  a.v = token_map(f, f.v, f.v_stride, f.keys);
  a.delta_from_out = f.gate == nullptr && plan.key_tiles > 1;
  if (a.delta_from_out) a.out = token_map(f, f.out, f.out_stride, f.queries);
  if (f.gate == nullptr) {
    a.dattention = token_map(f, p.dout, p.dout_stride, f.queries);
  } else {
    const int64_t token = f.heads * f.head_dim, row = f.queries * token;
    a.dattention = token_map(f, at<void>(workspace, plan.dattention),
                             {f.rows * row, row, token, f.head_dim}, f.queries);
  }
  a.batch = f.batch, a.rows = f.rows, a.heads = f.heads, a.queries = f.queries, a.keys = f.keys;
  a.query_tiles = plan.query_tiles, a.key_tiles = plan.key_tiles;
  a.scale = f.scale, a.scale_log2 = f.scale * kLog2E;
  a.bias_by_query = at<float>(workspace, plan.bias_by_query);
  a.bias_by_key = at<float>(workspace, plan.bias_by_key);
  a.has_bias = f.bias != nullptr;
  a.query_pairs = at<QueryPair>(workspace, plan.query_pairs);
  a.mask_words = at<uint64_t>(workspace, plan.mask_words);
  a.whole_tiles = at<uint64_t>(workspace, plan.whole_tiles);
  a.dq = static_cast<__nv_bfloat16*>(p.dq), a.dq_stride = p.dq_stride;
  a.dk = static_cast<__nv_bfloat16*>(p.dk), a.dk_stride = p.dk_stride;
  a.dv = static_cast<__nv_bfloat16*>(p.dv), a.dv_stride = p.dv_stride;
  a.wide_gradients = aligned(p.dq, p.dq_stride, 16) && aligned(p.dk, p.dk_stride, 16) &&
                     aligned(p.dv, p.dv_stride, 16);
  a.tickets = at<int>(workspace, plan.counts);
  a.dbias = plan.dbias;
  a.dbias.type = f.bias_dtype;
  if (p.dbias != nullptr && p.forward.rows <= dqdbias_rows(p.forward.head_dim)) {
    const uintptr_t pair = f.bias_dtype == DType::f32 ? 8 : 4;
    a.dbias.whole = p.dbias;
    a.dbias.whole_in_pairs = f.keys % 2 == 0 && reinterpret_cast<uintptr_t>(p.dbias) % pair == 0;
  } else if (p.dbias != nullptr) {
    a.dbias.sums = at<float>(workspace, plan.sums);
    a.dbias.turns = a.tickets + 2;
  }
  return a;
}

void sum_dbias(const EvoAttentionBackward& p, const Plan& plan, const DbiasTarget& partials,
               Stream stream) {
  SumArguments a{};
  a.partials = partials;
  a.queries = p.forward.queries, a.keys = p.forward.keys;
  a.query_tiles = plan.query_tiles, a.key_tiles = plan.key_tiles, a.segments = plan.segments;
  a.dbias = p.dbias;
  const auto kernel = p.forward.bias_dtype == DType::f32    ? sum_dbias_kernel<float>
                      : p.forward.bias_dtype == DType::bf16 ? sum_dbias_kernel<__nv_bfloat16>
                                                            : sum_dbias_kernel<__half>;
  launch(kernel, dim3(static_cast<uint32_t>(plan.segments * plan.key_tiles)), dim3(kPrepareThreads),
         0, stream, true, a);
}

template <int kHeadDim>
void launch_main(const EvoAttentionBackward& p, const Plan& plan, void* workspace, Stream stream) {
  const BackwardArguments a = main_arguments(p, plan, workspace);
  launch_dqdbias<kHeadDim>(a, device_info().multiprocessors, stream);
  if (a.dbias.sums != nullptr) sum_dbias(p, plan, a.dbias, stream);
  launch_dkdv<kHeadDim>(a, device_info().multiprocessors, stream);
}

Reasons supports(const EvoAttentionBackward& p) {
  const EvoAttentionForward& f = p.forward;
  Reasons reasons;
  const auto need = [&](bool holds, std::string text) {
    if (!holds) reasons.push_back(std::move(text));
  };
  need(f.place == Place::gpu, "needs CUDA tensors");
  need(f.dtype == DType::bf16, std::string("takes bf16, not ") + name_of(f.dtype));
  need(f.head_dim == 32 || f.head_dim == 48 || f.head_dim == 64,
       "takes a head width of 32, 48 or 64, not " + std::to_string(f.head_dim));
  const bool windows = f.key_total != 0;
  need(!windows || windows_fit(f),
       "takes windows of at most 32 queries and 128 keys at a head width of 32");
  need(f.bias == nullptr || f.bias_dtype != DType::f64, "takes no f64 bias");
  need(p.dbias == nullptr || f.bias != nullptr, "no dbias without a bias");
  need(f.scale != 0, "takes no scale of 0");
  need(f.batch > 0 && f.rows > 0 && f.heads > 0 && f.queries > 0 && f.keys > 0,
       "takes no empty tensors");
  need(f.lse != nullptr && f.out != nullptr && p.dout != nullptr, "needs out, lse and dout");
  need(p.dq != nullptr && p.dk != nullptr && p.dv != nullptr, "writes dq, dk and dv");
  need(f.gate != nullptr || p.dgate == nullptr, "no dgate without a gate");
  if (!reasons.empty()) return reasons;

  need(aligned(f.q, f.q_stride, 16) && aligned(f.k, f.k_stride, 16) &&
           aligned(f.v, f.v_stride, 16) && aligned(f.out, f.out_stride, 16) &&
           aligned(p.dout, p.dout_stride, 16) &&
           (f.gate == nullptr || aligned(f.gate, f.gate_stride, 16)) &&
           (p.dgate == nullptr || aligned(p.dgate, p.dgate_stride, 16)),
       "needs q, k, v, out, dout, gate and dgate at multiples of 16 bytes");
  const uintptr_t step = windows ? 16 : 4;
  need(aligned(p.dq, p.dq_stride, step) && aligned(p.dk, p.dk_stride, step) &&
           aligned(p.dv, p.dv_stride, step),
       "needs dq, dk and dv at multiples of " + std::to_string(step) + " bytes");
  const auto spread = [](const TokenStrides& s, const EvoAttentionForward& f, int64_t tokens,
                         bool batched = true) {
    return (f.heads == 1 || s.head > 0) && (tokens == 1 || s.token > 0) &&
           (f.rows == 1 || s.row > 0) && (f.batch == 1 || s.batch > 0 || !batched);
  };
  need(spread(f.q_stride, f, f.queries) && spread(f.k_stride, f, f.keys, !windows) &&
           spread(f.v_stride, f, f.keys, !windows) && spread(f.out_stride, f, f.queries) &&
           spread(p.dout_stride, f, f.queries),
       "takes no broadcast or negative strides in q, k, v, out and dout");
  need(!windows || f.gate == nullptr || spread(f.gate_stride, f, f.queries),
       "takes no broadcast or negative strides in the gate of windows");
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  const int64_t tiles = (std::max(f.queries, f.keys) + kBackwardTile - 1) / kBackwardTile;
  need(f.batch <= kMost / f.heads && f.batch * f.heads <= kMost / f.rows &&
           f.batch * f.heads * std::max(f.rows, tiles) <= kMost / tiles / 2,
       "takes at most 2^31 tiles");
  need(device_info().capability == 90, "needs compute capability 9.0, not " +
                                           std::to_string(device_info().capability / 10) + "." +
                                           std::to_string(device_info().capability % 10));
  return reasons;
}

int64_t workspace_bytes(const EvoAttentionBackward& p) {
  if (windows_fit(p.forward)) return windows_backward_bytes(p);
  return Plan(p).bytes;
}

void run(const EvoAttentionBackward& p, void* workspace, Stream stream) {
  if (windows_fit(p.forward)) return launch_windows_backward(p, workspace, stream);
  const Plan plan(p);
  prepare(p, plan, workspace, stream);
  const int64_t d = p.forward.head_dim;
  d == 32   ? launch_main<32>(p, plan, workspace, stream)
  : d == 48 ? launch_main<48>(p, plan, workspace, stream)
            : launch_main<64>(p, plan, workspace, stream);
}

}  // namespace
}  // namespace sm90a

const Implementation<EvoAttentionBackward> kSm90aBackward = {"sm90a", Place::gpu, sm90a::supports,
                                                             sm90a::workspace_bytes, sm90a::run};

}  // namespace megafold::kernels
