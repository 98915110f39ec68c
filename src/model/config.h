// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Sizes of the model: one table (visit_model_config) of key, default, range and meaning serves the
// YAML reader, the checkpoint's header, the error messages and the documentation.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/conventions.h"

namespace megafold {

/// Defaults are the released sizes (SI algorithms 1 to 31; af3 "initial").
struct ModelConfig {
  Dialect dialect = Dialect::protenix;

  int64_t c_s = 384, c_z = 128, c_m = 64;
  int64_t c_atom = 128, c_atompair = 16;
  int64_t c_token_input = 384, c_token = 768;

  int64_t atom_blocks = 3, atom_heads = 4;

  int64_t msa_blocks = 4, msa_rows = 1024;
  int64_t msa_heads = 8, msa_head_width = 8, outer_product_width = 32;

  int64_t pairformer_blocks = 48, single_heads = 16;
  int64_t triangle_multiplication_width = 128;
  int64_t triangle_attention_heads = 4, triangle_attention_width = 32;
  int64_t transition_factor = 4;

  int64_t template_blocks = 2, c_template = 64;
  int64_t template_multiplication_width = 64;
  int64_t template_attention_heads = 4, template_attention_width = 16;
  int64_t confidence_blocks = 4, max_atoms_per_token = 24;  // Protenix 2.0.0's
  double confidence_dropout = 0;

  int64_t diffusion_blocks = 24, diffusion_heads = 16, fourier_width = 256;
  int64_t distogram_bins = 64;

  double pair_dropout = 0.25, msa_dropout = 0.15;

  int64_t diffusion_samples = 48;  // copies of the truth in a training step
  int64_t max_cycles = 4;          // passes of the trunk; in training drawn from 1 .. max_cycles
  int64_t sampler_steps = 200;

  /// Width of s_inputs: token output of the atom encoder, restype, profile, deletion_mean.
  [[nodiscard]] int64_t c_s_inputs() const { return c_token_input + 32 + 32 + 1; }

  /// "initial" (released sizes), "finetune1", "finetune2" and "finetune3" (those, with 32 diffusion
  /// samples: SI Table 6), "demo" (about 1 M parameters: overfits a small protein on two CPU cores
  /// in minutes), "tiny" (tests). Throws BadInput with the names when there is no such preset.
  /// Crops, losses and lengths of the stages are in configs/. Where the dialects' released sizes
  /// differ (OpenFold 3 has weights for 23 atoms of a token, the template stack of Protenix is
  /// twice as wide), the dialect's.
  static ModelConfig preset(std::string_view name, Dialect dialect = Dialect::protenix);
  static std::vector<std::string> presets();

  /// Throws BadInput that names the key, the value met and the range; Unsupported where a part is
  /// asked for that this version lacks.
  void validate() const;
};

/// Calls f(key, value&, min, max, meaning) for every number of the table, in a fixed order.
/// `Config` is ModelConfig or const ModelConfig; values are int64_t or double.
template <class Config, class F>
void visit_model_config(Config& c, F&& f) {
  f("c_s", c.c_s, 8, 4096, "channels of a token");
  f("c_z", c.c_z, 8, 1024, "channels of a pair of tokens");
  f("c_m", c.c_m, 8, 1024, "channels of the alignment");
  f("c_atom", c.c_atom, 8, 1024, "channels of an atom");
  f("c_atompair", c.c_atompair, 4, 256, "channels of a pair of atoms");
  f("c_token_input", c.c_token_input, 8, 4096, "token channels of the input's atom encoder");
  f("c_token", c.c_token, 8, 4096, "token channels of the diffusion module");
  f("atom_blocks", c.atom_blocks, 1, 24, "blocks of each atom transformer");
  f("atom_heads", c.atom_heads, 1, 64, "heads of the atom transformers; divides c_atom");
  f("msa_blocks", c.msa_blocks, 0, 48, "blocks of the MSA module");
  f("msa_rows", c.msa_rows, 1, 16384, "rows of the alignment drawn in each cycle");
  f("msa_heads", c.msa_heads, 1, 64, "heads of the pair-weighted averaging");
  f("msa_head_width", c.msa_head_width, 1, 256, "channels of one of those heads");
  f("outer_product_width", c.outer_product_width, 1, 256, "channels of the outer product mean");
  f("pairformer_blocks", c.pairformer_blocks, 1, 256, "blocks of the Pairformer");
  f("single_heads", c.single_heads, 1, 64, "heads of its single attention; divides c_s");
  f("triangle_multiplication_width", c.triangle_multiplication_width, 1, 1024,
    "channels of the triangle multiplications");
  f("triangle_attention_heads", c.triangle_attention_heads, 1, 64,
    "heads of the triangle attentions");
  f("triangle_attention_width", c.triangle_attention_width, 1, 256,
    "channels of one of those heads");
  f("transition_factor", c.transition_factor, 1, 16, "widening of the trunk's transitions");
  f("template_blocks", c.template_blocks, 0, 16, "blocks of the template embedder; 0: none");
  f("c_template", c.c_template, 8, 1024, "pair channels of the template embedder");
  f("template_multiplication_width", c.template_multiplication_width, 1, 1024,
    "channels of its triangle multiplications");
  f("template_attention_heads", c.template_attention_heads, 1, 64,
    "heads of its triangle attentions");
  f("template_attention_width", c.template_attention_width, 1, 256,
    "channels of one of those heads");
  f("confidence_blocks", c.confidence_blocks, 0, 16, "blocks of the confidence head; 0: none");
  f("max_atoms_per_token", c.max_atoms_per_token, 1, 64,
    "atoms of a token that the confidence head has weights for");
  f("confidence_dropout", c.confidence_dropout, 0, 0.95, "dropout of the head's pair updates");
  f("diffusion_blocks", c.diffusion_blocks, 1, 128, "blocks of the diffusion transformer");
  f("diffusion_heads", c.diffusion_heads, 1, 64, "its heads; divides c_token");
  f("fourier_width", c.fourier_width, 2, 4096, "channels of the noise level's embedding");
  f("distogram_bins", c.distogram_bins, 2, 256, "bins of the distogram between 2 and 22 A");
  f("pair_dropout", c.pair_dropout, 0, 0.95, "dropout of the pair updates, row- and columnwise");
  f("msa_dropout", c.msa_dropout, 0, 0.95, "dropout of the alignment's updates, rowwise");
  f("diffusion_samples", c.diffusion_samples, 1, 1024, "copies of the truth in a training step");
  f("max_cycles", c.max_cycles, 1, 32, "passes of the trunk (Algorithm 1)");
  f("sampler_steps", c.sampler_steps, 1, 2000, "steps of the sampler (Algorithm 18)");
}

}  // namespace megafold
