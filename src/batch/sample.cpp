// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/sample.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "batch/buffers.h"

namespace megafold {
namespace {

/// A new tensor [extents] of zeros and its values. Not at::zeros, which hands a large one to a team
/// of threads: in a loader's thread, beside a step, waiting for the team takes far longer.
template <class T>
T* make(at::Tensor& tensor, at::IntArrayRef extents, at::ScalarType type) {
  tensor = pooled_tensor(extents, type);
  std::memset(tensor.data_ptr(), 0, tensor.nbytes());
  return static_cast<T*>(tensor.data_ptr());
}

/// Moves the atoms [first, last), one conformer: centred on those that it has, turned uniformly,
/// shifted by N(0, 1 A) per axis (SI 2.8; the scale is OpenFold 3's and Protenix's). Atoms that the
/// conformer lacks stay at 0.
void move_conformer(float* position, const float* mask, int64_t first, int64_t last,
                    Random& random) {
  std::array<double, 3> mean{}, shift{};
  double count = 0;
  for (int64_t a = first; a < last; ++a) {
    count += double{mask[a]};
    for (size_t k = 0; k < 3; ++k)
      mean[k] += double{mask[a]} * double{position[3 * a + static_cast<int64_t>(k)]};
  }
  const auto turn = random.rotation();
  for (double& x : shift) x = random.normal();
  for (int64_t a = first; a < last; ++a) {
    if (mask[a] == 0) continue;
    float* const p = position + 3 * a;
    std::array<double, 3> centred{};
    for (size_t k = 0; k < 3; ++k) centred[k] = double{p[k]} - mean[k] / count;
    for (size_t k = 0; k < 3; ++k)
      p[k] = static_cast<float>(turn[3 * k] * centred[0] + turn[3 * k + 1] * centred[1] +
                                turn[3 * k + 2] * centred[2] + shift[k]);
  }
}

/// Puts one of the conformers of the residue that has the atoms [first, last): the one that stands
/// there, or one of the further ones (SI 2.8). Without further ones nothing is drawn.
void draw_conformer(const StructureView& s, const std::vector<size_t>& source, int64_t first,
                    int64_t last, Random& random, float* position, const float* mask) {
  const auto residue = static_cast<size_t>(s.ref_space_uid[source[static_cast<size_t>(first)]]);
  if (s.residue_conformer[residue] < 0) return;
  const auto row = static_cast<size_t>(s.residue_conformer[residue]);
  const uint64_t which = random.below(static_cast<uint64_t>(s.conformer_count[row]) + 1);
  if (which == 0) return;
  const auto n = static_cast<uint64_t>(s.conformer_atoms[row]);
  const uint64_t start = static_cast<uint64_t>(s.conformer_start[row]) + (which - 1) * n;
  for (int64_t a = first; a < last; ++a) {
    if (mask[a] == 0) continue;
    const auto place = static_cast<uint64_t>(s.conformer_place[source[static_cast<size_t>(a)]]);
    std::memcpy(position + 3 * a, &s.conformer_position[3 * (start + place)], 3 * sizeof(float));
  }
}

void gather_tokens(const StructureView& s, const std::vector<int32_t>& tokens, Batch& batch) {
  const auto N = std::ssize(tokens);
  auto* const residue_index = make<int64_t>(batch.residue_index, {N}, at::kLong);
  auto* const token_index = make<int64_t>(batch.token_index, {N}, at::kLong);
  auto* const asym_id = make<int64_t>(batch.asym_id, {N}, at::kLong);
  auto* const entity_id = make<int64_t>(batch.entity_id, {N}, at::kLong);
  auto* const sym_id = make<int64_t>(batch.sym_id, {N}, at::kLong);
  auto* const restype = make<int64_t>(batch.restype, {N}, at::kLong);
  auto* const is_protein = make<bool>(batch.is_protein, {N}, at::kBool);
  auto* const is_rna = make<bool>(batch.is_rna, {N}, at::kBool);
  auto* const is_dna = make<bool>(batch.is_dna, {N}, at::kBool);
  auto* const is_ligand = make<bool>(batch.is_ligand, {N}, at::kBool);
  auto* const is_atomized = make<bool>(batch.is_atomized, {N}, at::kBool);
  batch.token_mask = at::ones({N}, at::kFloat);
  for (int64_t i = 0; i < N; ++i) {
    const auto t = static_cast<size_t>(tokens[static_cast<size_t>(i)]);
    residue_index[i] = s.residue_index[t];
    token_index[i] = static_cast<int64_t>(t);  // its place in the whole complex, kept by the crop
    asym_id[i] = s.asym_id[t];
    entity_id[i] = s.entity_id[t];
    sym_id[i] = s.sym_id[t];
    restype[i] = s.restype[t];
    const ChainType type = s.type_of(s.chain[t]);
    is_protein[i] = type == ChainType::protein;
    is_rna[i] = type == ChainType::rna;
    is_dna[i] = type == ChainType::dna;
    is_ligand[i] = type == ChainType::ligand;
    is_atomized[i] = s.is_atomized[t] != 0;
  }
}

void gather_bonds(const StructureView& s, const std::vector<int32_t>& tokens, Batch& batch) {
  const auto N = std::ssize(tokens);
  auto* const bonded = make<float>(batch.token_bonds, {N, N}, at::kFloat);
  const auto place = [&](int32_t token) -> int64_t {
    const auto found = std::ranges::lower_bound(tokens, token);
    return found != tokens.end() && *found == token ? found - tokens.begin() : -1;
  };
  for (size_t b = 0; b < s.bonds.size(); b += 2) {
    const int64_t i = place(s.bonds[b]), j = place(s.bonds[b + 1]);
    if (i < 0 || j < 0) continue;
    bonded[i * N + j] = bonded[j * N + i] = 1;
  }
}

void gather_atoms(const StructureView& s, const std::vector<int32_t>& tokens, Random& reference,
                  Batch& batch) {
  const auto N = std::ssize(tokens);
  int64_t A = 0;
  for (const int32_t t : tokens) A += s.atom_count[static_cast<size_t>(t)];
  auto* const center = make<int64_t>(batch.center_atom, {N}, at::kLong);
  auto* const representative = make<int64_t>(batch.representative_atom, {N}, at::kLong);
  auto* const atom_to_token = make<int64_t>(batch.atom_to_token, {A}, at::kLong);
  auto* const ref_pos = make<float>(batch.ref_pos, {A, 3}, at::kFloat);
  auto* const ref_mask = make<float>(batch.ref_mask, {A}, at::kFloat);
  auto* const ref_element = make<int64_t>(batch.ref_element, {A}, at::kLong);
  auto* const ref_charge = make<float>(batch.ref_charge, {A}, at::kFloat);
  auto* const name_chars = make<int64_t>(batch.ref_atom_name_chars, {A, 4}, at::kLong);
  auto* const ref_space_uid = make<int64_t>(batch.ref_space_uid, {A}, at::kLong);
  auto* const position = make<float>(batch.atom_positions, {A, 3}, at::kFloat);
  auto* const resolved = make<float>(batch.atom_resolved_mask, {A}, at::kFloat);
  batch.atom_mask = at::ones({A}, at::kFloat);

  std::vector<size_t> source;  // of each atom, in the structure
  source.reserve(static_cast<size_t>(A));
  int64_t a = 0;
  for (int64_t i = 0; i < N; ++i) {
    const auto t = static_cast<size_t>(tokens[static_cast<size_t>(i)]);
    center[i] = a + s.center_atom[t] - s.atom_start[t];
    representative[i] =
        s.representative_atom[t] < 0 ? -1 : a + s.representative_atom[t] - s.atom_start[t];
    for (int32_t k = 0; k < s.atom_count[t]; ++k, ++a) {
      const auto from = static_cast<size_t>(s.atom_start[t] + k);
      atom_to_token[a] = i;
      source.push_back(from);
      ref_mask[a] = s.ref_mask[from] != 0 ? 1 : 0;
      ref_element[a] = s.element[from];
      ref_charge[a] = s.charge[from];
      ref_space_uid[a] = s.ref_space_uid[from];
      resolved[a] = s.resolved[from] != 0 ? 1 : 0;
      for (int64_t c = 0; c < 4; ++c)  // 64 classes: code - 32, clipped (SI Table 5)
        name_chars[4 * a + c] =
            std::clamp<int64_t>(s.name[4 * from + static_cast<size_t>(c)] - int64_t{32}, 0, 63);
      for (int64_t c = 0; c < 3; ++c) {
        const size_t at = 3 * from + static_cast<size_t>(c);
        ref_pos[3 * a + c] = ref_mask[a] != 0 ? s.ref_position[at] : 0;
        position[3 * a + c] = resolved[a] != 0 ? s.position[at] : 0;
      }
    }
  }
  for (int64_t first = 0; first < A;) {  // atoms of one conformer stand together
    int64_t last = first + 1;
    while (last < A && ref_space_uid[last] == ref_space_uid[first]) ++last;
    draw_conformer(s, source, first, last, reference, ref_pos, ref_mask);
    move_conformer(ref_pos, ref_mask, first, last, reference);
    first = last;
  }
}

}  // namespace

Batch gather(const StructureView& structure, const std::vector<int32_t>& tokens,
             Random& reference) {
  Batch batch;
  batch.id = structure.id;
  batch.resolution = structure.resolution;
  gather_tokens(structure, tokens, batch);
  gather_bonds(structure, tokens, batch);
  gather_atoms(structure, tokens, reference, batch);
  return batch;
}

Batch make_batch(const StructureView& structure, const RecordSource& alignments,
                 const BatchOptions& options, PreferredChains preferred, uint64_t seed,
                 uint64_t visit, const RecordSource& templates) {
  const uint64_t stream = stream_id(structure.id);
  Random for_crop(seed, stream, visit, Purpose::crop);
  Random for_reference(seed, stream, visit, Purpose::reference);
  Random for_msa(seed, stream, visit, Purpose::msa);
  Random for_templates(seed, stream, visit, Purpose::template_pick);
  const Crop crop = draw_crop(structure, options.crop, preferred, for_crop);
  Batch batch = gather(structure, crop.tokens, for_reference);
  assemble_msa(structure, crop.tokens, alignments, options.msa, for_msa, batch);
  if (templates)
    assemble_templates(structure, crop.tokens, templates, options.templates, for_templates, batch);
  const bool spatial = crop.kind == CropKind::spatial || crop.kind == CropKind::spatial_interface;
  batch.symmetry = std::make_shared<Symmetry>(find_symmetry(structure, crop.tokens, spatial));
  batch.visit = visit;
  return batch;
}

}  // namespace megafold
