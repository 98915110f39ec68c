// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/token_frames.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <string_view>
#include <vector>

namespace megafold {
namespace {

at::Tensor on_cpu(const at::Tensor& x, at::ScalarType type) {
  return x.to(at::kCPU, type).contiguous();
}

bool has_name(const int64_t* chars, std::string_view name) {
  for (size_t i = 0; i < 4; ++i) {
    const char wanted = i < name.size() ? name[i] : ' ';
    if (chars[i] != wanted - 32) return false;
  }
  return true;
}

/// The angle at b is far enough from 0 and 180 degrees to fix a frame.
template <class T>
bool is_bent(const T* a, const T* b, const T* c) {
  double ab = 0, cb = 0, dot = 0;
  for (int k = 0; k < 3; ++k) {
    const double u = double{a[k]} - double{b[k]}, v = double{c[k]} - double{b[k]};
    ab += u * u, cb += v * v, dot += u * v;
  }
  const double limit = std::cos(25 * std::numbers::pi / 180);
  return ab > 0 && cb > 0 && std::abs(dot) < limit * std::sqrt(ab * cb);  // NaN: no
}

}  // namespace

TokenFrames token_frames(const Batch& batch, const Conventions& conventions) {
  const int64_t N = batch.num_tokens(), A = batch.num_atoms();
  const at::Tensor token = on_cpu(batch.atom_to_token, at::kLong),
                   names = on_cpu(batch.ref_atom_name_chars, at::kLong),
                   space = on_cpu(batch.ref_space_uid, at::kLong),
                   position = on_cpu(batch.ref_pos, at::kFloat),
                   known = on_cpu(batch.ref_mask, at::kFloat),
                   real = on_cpu(batch.atom_mask, at::kFloat),
                   atomized = on_cpu(batch.is_atomized, at::kBool),
                   protein = on_cpu(batch.is_protein, at::kBool);
  const auto* const t = token.const_data_ptr<int64_t>();
  const auto* const name = names.const_data_ptr<int64_t>();
  const auto* const uid = space.const_data_ptr<int64_t>();
  const float* const x = position.const_data_ptr<float>();
  const float* const mask = known.const_data_ptr<float>();
  const float* const counts = real.const_data_ptr<float>();

  TokenFrames out{at::zeros({N, 3}, at::kLong), at::zeros({N}, at::kBool)};
  auto* const frame = out.atoms.data_ptr<int64_t>();
  auto* const valid = out.has_frame.data_ptr<bool>();
  for (int64_t first = 0; first < A;) {
    const int64_t i = t[first];
    int64_t last = first + 1;
    while (last < A && t[last] == i) ++last;
    int64_t* const abc = frame + 3 * i;
    if (counts[first] == 0) {  // padding
    } else if (!atomized.const_data_ptr<bool>()[i]) {
      constexpr std::array<std::string_view, 3> kProtein = {"N", "CA", "C"},
                                                kNucleic = {"C1'", "C3'", "C4'"},
                                                kNucleicAtC1 = {"C3'", "C1'", "C4'"};
      const auto& wanted = protein.const_data_ptr<bool>()[i]   ? kProtein
                           : conventions.frames_from_conformer ? kNucleic
                                                               : kNucleicAtC1;
      int found = 0;
      for (size_t k = 0; k < 3; ++k) {
        for (int64_t a = first; a < last; ++a) {
          if (!has_name(name + 4 * a, wanted[k])) continue;
          abc[k] = a;
          ++found;
          break;
        }
      }
      valid[i] = found == 3;
    } else if (mask[first] != 0 && conventions.frames_from_conformer) {
      // Atoms of a conformer are consecutive.
      std::vector<std::pair<double, int64_t>> near;
      const auto look = [&](int64_t a) {
        double square = 0;
        for (int k = 0; k < 3; ++k) square += std::pow(double{x[3 * a + k]} - x[3 * first + k], 2);
        if (mask[a] != 0 && counts[a] != 0) near.emplace_back(square, a);
      };
      for (int64_t a = first - 1; a >= 0 && uid[a] == uid[first]; --a) look(a);
      for (int64_t a = last; a < A && uid[a] == uid[first]; ++a) look(a);
      if (near.size() >= 2) {
        std::ranges::partial_sort(near, near.begin() + 2);
        abc[0] = near[0].second, abc[1] = first, abc[2] = near[1].second;
        valid[i] = is_bent(x + 3 * abc[0], x + 3 * first, x + 3 * abc[2]);
      }
    }
    if (!valid[i]) std::fill(abc, abc + 3, 0);
    first = last;
  }
  return out;
}

TokenFrames structure_frames(const TokenFrames& residues, const at::Tensor& is_atomized,
                             const at::Tensor& asym_id, const at::Tensor& atom_to_token,
                             const at::Tensor& x, const at::Tensor& known) {
  const at::Tensor atomized = on_cpu(is_atomized, at::kBool), chain = on_cpu(asym_id, at::kLong),
                   token = on_cpu(atom_to_token, at::kLong), position = on_cpu(x, at::kDouble),
                   there = on_cpu(known, at::kBool);
  TokenFrames out{on_cpu(residues.atoms, at::kLong).clone(),
                  on_cpu(residues.has_frame, at::kBool).clone()};
  const auto* const t = token.const_data_ptr<int64_t>();
  const auto* const asym = chain.const_data_ptr<int64_t>();
  const double* const p = position.const_data_ptr<double>();
  const bool* const is_there = there.const_data_ptr<bool>();
  auto* const frame = out.atoms.data_ptr<int64_t>();
  auto* const valid = out.has_frame.data_ptr<bool>();
  const int64_t A = token.size(0);
  for (int64_t first = 0; first < A; ++first) {
    if (first > 0 && t[first] == t[first - 1]) continue;
    const int64_t i = t[first];
    int64_t* const abc = frame + 3 * i;
    if (!atomized.const_data_ptr<bool>()[i]) {
      valid[i] = valid[i] && is_there[abc[0]] && is_there[abc[1]] && is_there[abc[2]];
    } else {
      std::array<std::pair<double, int64_t>, 2> near;
      near.fill({std::numeric_limits<double>::infinity(), -1});
      for (int64_t a = 0; a < A; ++a) {
        if (a == first || !is_there[a] || asym[t[a]] != asym[i]) continue;
        double square = 0;
        for (int k = 0; k < 3; ++k) square += std::pow(p[3 * a + k] - p[3 * first + k], 2);
        const std::pair<double, int64_t> here{square, a};
        if (here < near[0]) {
          near[1] = near[0], near[0] = here;
        } else if (here < near[1]) {
          near[1] = here;
        }
      }
      valid[i] = is_there[first] && near[1].second >= 0;
      if (valid[i]) {
        abc[0] = near[0].second, abc[1] = first, abc[2] = near[1].second;
        valid[i] = is_bent(p + 3 * abc[0], p + 3 * first, p + 3 * abc[2]);
      }
    }
    if (!valid[i]) std::fill(abc, abc + 3, 0);
  }
  return out;
}

TokenFrames frames_of(const Batch& batch, const Conventions& conventions, const at::Tensor& x,
                      const at::Tensor& known) {
  const TokenFrames frames = token_frames(batch, conventions);
  if (conventions.frames_from_conformer) return frames;
  return structure_frames(frames, batch.is_atomized.logical_or(batch.is_ligand), batch.asym_id,
                          batch.atom_to_token, x, known);
}

at::Tensor atom_in_token(const at::Tensor& atom_to_token, int64_t num_tokens) {
  const at::Tensor atoms = at::arange(atom_to_token.size(0), atom_to_token.options());
  // The first atom of each token: the smallest index that points there.
  const at::Tensor first = at::full({num_tokens}, atom_to_token.size(0), atom_to_token.options())
                               .scatter_reduce(0, atom_to_token, atoms, "amin");
  return atoms - first.index_select(0, atom_to_token);
}

at::Tensor distance_atoms(const Batch& batch) {
  return at::where(batch.representative_atom.ge(0), batch.representative_atom, batch.center_atom)
      .clamp_min(0);
}

}  // namespace megafold
