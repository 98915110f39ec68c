// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/errors.h"

namespace megafold {

std::string_view dialect_name(Dialect dialect) {
  switch (dialect) {
    case Dialect::alphafold3:
      return "alphafold3";
    case Dialect::openfold3:
      return "openfold3";
    case Dialect::protenix:
      return "protenix";
  }
  return "?";
}

Dialect parse_dialect(std::string_view name) {
  for (const Dialect dialect : {Dialect::alphafold3, Dialect::openfold3, Dialect::protenix})
    if (name == dialect_name(dialect)) return dialect;
  fail<BadInput>("dialect '{}' is unknown: alphafold3, openfold3 or protenix", name);
}

Conventions conventions_of(Dialect dialect) {
  Conventions c;
  c.dialect = dialect;
  if (dialect == Dialect::protenix) return c;
  // OpenFold 3 0.5.0, which follows the released code but for the last three rows.
  c.ending_bias_transposed = false;
  c.pair_norm_per_block = false;
  c.conditioning_projects_positions = false;
  c.atom_keys_normed_twice = false;
  c.atom_windows_padded = false;
  c.ref_mask_multiplies = false;
  c.pair_init_from_single = false;
  c.distogram_bias = false;
  c.schedule_ends_at_zero = false;
  c.averaging_reads_pair_mask = true;
  c.templates_masked = false;
  c.empty_template_restype = dialect == Dialect::openfold3 ? 31 : 0;  // gap; alanine
  c.confidence_norms_single = false;
  c.pde_sums_pairs = false;
  c.transitions_masked = dialect == Dialect::openfold3;
  c.token_mean_epsilon = dialect == Dialect::openfold3 ? 1e-9 : 0;
  c.fourier_offset_normal = dialect == Dialect::alphafold3;
  c.num_elements = dialect == Dialect::openfold3 ? 119 : 128;
  c.element_of_hydrogen = dialect == Dialect::openfold3 ? 0 : 1;  // Z - 1, or Z
  c.level_weight_of_product = dialect == Dialect::openfold3;
  if (dialect == Dialect::openfold3) {  // the released code has no losses: those of the SI
    c.bond_joins_atoms = c.frames_from_conformer = false;
    c.plddt_nearest_bin = true;
    c.count_epsilon = c.distance_epsilon = 1e-8;
  }
  return c;
}

std::vector<std::string> ModelConfig::presets() {
  return {"initial", "finetune1", "finetune2", "finetune3", "demo", "tiny"};
}

ModelConfig ModelConfig::preset(std::string_view name, Dialect dialect) {
  ModelConfig c;
  c.dialect = dialect;
  if (dialect == Dialect::openfold3) c.max_atoms_per_token = 23, c.confidence_dropout = 0.25;
  if (dialect == Dialect::protenix)  // its template stack keeps the Pairformer's widths
    c.template_multiplication_width = 128, c.template_attention_width = 32;
  const std::vector<std::string> known = presets();
  if (std::ranges::find(known, name) == known.end())
    fail<BadInput>("model preset '{}' is unknown: {}", name, fmt::join(known, ", "));
  if (name == "initial") return c;
  if (name.starts_with("finetune")) {
    c.diffusion_samples = 32;
    return c;
  }
  // Narrow pairs, since a small protein's pairs cost more than its tokens on a CPU; many diffusion
  // samples, since they share one pass of the trunk.
  c.c_s = 96, c.c_z = 16, c.c_m = 16;
  c.c_atom = 32, c.c_atompair = 4;
  c.c_token_input = 64, c.c_token = 128;
  c.atom_blocks = 1, c.atom_heads = 2;
  c.msa_blocks = 1, c.msa_rows = 32, c.msa_heads = 4, c.outer_product_width = 8;
  c.pairformer_blocks = 2, c.single_heads = 4;
  c.triangle_multiplication_width = 16;
  c.triangle_attention_heads = 2, c.triangle_attention_width = 8;
  c.transition_factor = 2;
  c.diffusion_blocks = 3, c.diffusion_heads = 4, c.fourier_width = 64;
  c.diffusion_samples = 16, c.max_cycles = 1;
  c.confidence_blocks = 1;
  c.template_blocks = 0;
  if (name == "tiny") {
    c.c_s = 24, c.c_z = 16, c.c_m = 8, c.c_atom = 16, c.c_atompair = 4;
    c.c_token_input = 16, c.c_token = 24;
    c.atom_blocks = 1, c.pairformer_blocks = 1, c.diffusion_blocks = 1;
    c.triangle_multiplication_width = 16, c.triangle_attention_width = 8;
    c.fourier_width = 16, c.diffusion_samples = 2, c.max_cycles = 2, c.sampler_steps = 4;
  }
  return c;
}

void ModelConfig::validate() const {
  visit_model_config(*this, [](const char* key, auto value, double min, double max, const char*) {
    // Written so that NaN fails.
    if (!(static_cast<double>(value) >= min && static_cast<double>(value) <= max))
      fail<BadInput>("model.{} is {}: it must be between {} and {}", key, value, min, max);
  });
  const auto divides = [](const char* heads, int64_t n, const char* width, int64_t c) {
    if (c % n != 0)
      fail<BadInput>("model.{} is {}: it must divide model.{}, which is {}", heads, n, width, c);
  };
  divides("atom_heads", atom_heads, "c_atom", c_atom);
  divides("single_heads", single_heads, "c_s", c_s);
  divides("diffusion_heads", diffusion_heads, "c_token", c_token);
  (void)conventions_of(dialect);
}

}  // namespace megafold
