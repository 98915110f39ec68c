// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// One training sample as the model reads it, and the border between batch/ (makes it) and model/
// (uses it). N tokens, A atoms, S rows of the MSA. Everything is as small as it can travel:
// classes, not one-hots; the model makes those on its own device. Names are those of the AF3
// supplement's Table 5.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>

#include "batch/symmetry.h"

namespace megafold {

struct Batch {
  std::string id;      // entry, for messages
  uint64_t visit = 0;  // which visit of the run this is: with the run's seed it fixes every draw

  // Tokens, i64 [N] unless said otherwise.
  at::Tensor residue_index, token_index, asym_id, entity_id, sym_id;
  at::Tensor restype;                                // class 0..31 (features/schema.h)
  at::Tensor is_protein, is_rna, is_dna, is_ligand;  // bool [N], by chain
  at::Tensor is_atomized;                            // bool [N]
  at::Tensor token_mask;                             // f32 [N], 0 where padded
  at::Tensor center_atom, representative_atom;       // atom index within the batch; -1: none
  at::Tensor token_bonds;                            // f32 [N, N], symmetric, 0 or 1

  // Atoms.
  at::Tensor atom_to_token;  // i64 [A], ascending
  at::Tensor atom_mask;      // f32 [A], 0 where padded
  at::Tensor ref_pos;        // f32 [A, 3], after this visit's random rigid motion per ref_space_uid
  at::Tensor ref_mask;       // f32 [A]
  at::Tensor ref_element;    // i64 [A], atomic number Z (the one-hot's offset is the dialect's)
  at::Tensor ref_charge;     // f32 [A], formal charge
  at::Tensor ref_atom_name_chars;  // i64 [A, 4], code - 32
  at::Tensor ref_space_uid;        // i64 [A]

  // Alignment of the sample, row 0 the query; all rows of this visit (the model draws its own
  // subset in each recycle). S >= 1: without an alignment the query alone.
  at::Tensor msa;       // u8 [S, N], class 0..31
  at::Tensor deletion;  // u8 [S, N], raw counts up to 255 (has_deletion, deletion_value follow)
  at::Tensor msa_mask;  // u8 [S, N], 0 or 1
  at::Tensor profile;   // f32 [N, 32]
  at::Tensor deletion_mean;  // f32 [N]

  // Templates, T of them (SI Table 5); undefined where there are none. Not in for_each. A loader
  // gives positions and not pairs: template_pairs() makes those where the model is.
  at::Tensor template_position;             // f32 [T, N, 4, 3]: N, CA, C, CB (GLY CA); Angstrom
  at::Tensor template_restype;              // i64 [T, N], class 0..31
  at::Tensor template_distogram;            // f32 [T, N, N, 39]
  at::Tensor template_unit_vector;          // f32 [T, N, N, 3]
  at::Tensor template_pseudo_beta_mask;     // f32 [T, N]
  at::Tensor template_backbone_frame_mask;  // f32 [T, N]

  // Labels.
  at::Tensor atom_positions;      // f32 [A, 3], Angstrom; 0 where not resolved
  at::Tensor atom_resolved_mask;  // f32 [A]
  double resolution = -1;         // Angstrom; -1: none reported
  int64_t paired_rows = 0;        // of msa, from row 1 on
  /// Which other labels the atoms may have; in host memory. Null: none. Not in for_each.
  std::shared_ptr<const Symmetry> symmetry;

  [[nodiscard]] int64_t num_tokens() const { return restype.size(0); }
  [[nodiscard]] int64_t num_atoms() const { return ref_pos.size(0); }

  /// Calls f(name, tensor&) for every tensor, in the order above: copies to a device, comparisons,
  /// dumps.
  template <class F>
  void for_each(F&& f) {
    f("residue_index", residue_index), f("token_index", token_index), f("asym_id", asym_id);
    f("entity_id", entity_id), f("sym_id", sym_id), f("restype", restype);
    f("is_protein", is_protein), f("is_rna", is_rna), f("is_dna", is_dna),
        f("is_ligand", is_ligand);
    f("is_atomized", is_atomized), f("token_mask", token_mask), f("center_atom", center_atom);
    f("representative_atom", representative_atom), f("token_bonds", token_bonds);
    f("atom_to_token", atom_to_token), f("atom_mask", atom_mask), f("ref_pos", ref_pos);
    f("ref_mask", ref_mask), f("ref_element", ref_element), f("ref_charge", ref_charge);
    f("ref_atom_name_chars", ref_atom_name_chars), f("ref_space_uid", ref_space_uid);
    f("msa", msa), f("deletion", deletion), f("msa_mask", msa_mask), f("profile", profile);
    f("deletion_mean", deletion_mean), f("atom_positions", atom_positions);
    f("atom_resolved_mask", atom_resolved_mask);
  }

  /// The same for the templates' tensors that are defined.
  template <class F>
  void for_each_template(F&& f) {
    const auto one = [&](const char* name, at::Tensor& tensor) {
      if (tensor.defined()) f(name, tensor);
    };
    one("template_position", template_position), one("template_restype", template_restype);
    one("template_distogram", template_distogram);
    one("template_unit_vector", template_unit_vector);
    one("template_pseudo_beta_mask", template_pseudo_beta_mask);
    one("template_backbone_frame_mask", template_backbone_frame_mask);
  }

  /// The same batch on another device; the copies are non-blocking from pinned memory.
  [[nodiscard]] Batch to(const at::Device& device) const {
    Batch moved = *this;
    const auto move = [&](const char*, at::Tensor& t) { t = t.to(device, /*non_blocking=*/true); };
    moved.for_each(move);
    moved.for_each_template(move);
    return moved;
  }
};

}  // namespace megafold
