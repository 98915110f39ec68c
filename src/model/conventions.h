// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// AlphaFold 3 exists in three dialects (docs/numerics.md): the supplement as Protenix reads it,
// OpenFold 3, and the released code. A Conventions says, for every place where they differ, which
// function the model is. A module reads its rows once, at construction; no forward asks for a peer.
#pragma once

#include <string>
#include <string_view>

namespace megafold {

enum class Dialect { alphafold3, openfold3, protenix };

std::string_view dialect_name(Dialect dialect);
/// Throws BadInput with the three names when `name` is none of them.
Dialect parse_dialect(std::string_view name);

struct Conventions {
  Dialect dialect = Dialect::protenix;

  // Triangle attention around the ending node: the bias is b_ki (SI), else b_ik.
  bool ending_bias_transposed = true;
  // Diffusion transformer: LN(z) in each block (SI), else once for the stack.
  bool pair_norm_per_block = true;
  // Diffusion conditioning: relative positions are projected to c_z before they join z (SI), else
  // they join as 139 raw one-hots.
  bool conditioning_projects_positions = true;
  // Keys of the atom attention: AdaLN_kv on AdaLN_a's output, else on the raw atoms.
  bool atom_keys_normed_twice = true;
  // Windows of keys that reach over an end of the atoms: zeros, masked; else the window shifts in.
  bool atom_windows_padded = true;
  // ref_mask multiplies the atom's features.
  bool ref_mask_multiplies = true;
  // Width of the element's one-hot and the class of hydrogen (Z = 1).
  int num_elements = 128;
  int element_of_hydrogen = 0;
  // z_init is made from s_init, else from s_inputs.
  bool pair_init_from_single = true;
  // Distogram: one Linear with a bias, then logits + logits^T (the bias counts twice).
  bool distogram_bias = true;
  // The last level of the sampler's schedule is 0, else sigma_data * s_min.
  bool schedule_ends_at_zero = true;
  // Transitions' outputs are multiplied by their mask.
  bool transitions_masked = false;
  // Pair-weighted averaging reads the pair mask, else the mask of the averaged tokens alone.
  bool averaging_reads_pair_mask = false;
  // Templates: distogram and unit vectors are masked by chain and pair mask, masks by the latter;
  // else only the two masks by chain. The mean is over count + 1e-7, else over count.
  bool templates_masked = true;
  // A batch without templates is one whose templates are all empty, of this restype (their mean is
  // that of one); -1: it has no update (Protenix without its template features).
  int empty_template_restype = -1;
  // Confidence head: LN(clamp(s)) and a Linear of the raw distance, bins of the distance; else
  // neither, and bins of its square.
  bool confidence_norms_single = true;
  // PDE: Linear(LN(z + z^T)), else logits + logits^T.
  bool pde_sums_pairs = true;
  // Joins the number of atoms in the mean of a token's atoms.
  double token_mean_epsilon = 0;
  // Fixed offsets of the Fourier embedding are normal, else uniform in [0, 1).
  bool fourier_offset_normal = true;

  // The squared error's weight is (t^2 + sd^2) / (t sd)^2 (EDM), else / (t + sd)^2 as SI eq. 6
  // prints it.
  bool level_weight_of_product = true;
  // Bond loss over the two bonded atoms (SI eq. 5), else over every pair of their tokens' atoms.
  bool bond_joins_atoms = true;
  // PAE's frames of nucleotides are (C1', C3', C4') and those of atomized tokens come from the
  // reference conformer (SI 4.3.2), else (C3', C1', C4') and from the structure, the predicted and
  // the true one each by itself.
  bool frames_from_conformer = true;
  // pLDDT's target is the nearest of the bins' centres, else the bin between f32 edges.
  bool plddt_nearest_bin = false;
  // In the losses: joins numbers of atoms and pairs; joins squared distances, Angstrom^2.
  double count_epsilon = 1e-6, distance_epsilon = 0;
};

/// The rows of one dialect.
Conventions conventions_of(Dialect dialect);

}  // namespace megafold
