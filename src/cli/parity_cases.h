// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// One runner per class of a peer: builds our module at the case's sizes, reads its inputs, gives
// its outputs (parity.cpp compares them). Here are a case and what both peers' classes have in
// common; parity_protenix.cpp and parity_openfold3.cpp have the rest, and which class is which.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "checkpoint/safetensors.h"
#include "model/atom_attention.h"
#include "model/atom_features.h"
#include "model/conventions.h"
#include "model/diffusion_module.h"
#include "model/pairformer.h"
#include "model/parameters.h"
#include "model/token_frames.h"

namespace megafold::cli {

/// A golden case while it runs.
class ParityCase {
 public:
  ParityCase(const Safetensors& file, std::filesystem::path folder, nlohmann::json config,
             const Conventions& dialect, const at::Device& device, at::ScalarType dtype)
      : conventions(dialect),
        file_(file),
        folder_(std::move(folder)),
        config_(std::move(config)),
        device_(device),
        dtype_(dtype) {}

  const Conventions conventions;
  Parameters parameters;
  std::string skip_prefix;                    // of the peer's names, for a part that stands alone
  std::map<std::string, at::Tensor> inputs;   // those that were read
  std::map<std::string, at::Tensor> outputs;  // by their golden names

  /// A number of the config by the first of these names that it has: a peer's own.
  [[nodiscard]] int64_t size(std::initializer_list<const char*> keys) const;
  [[nodiscard]] int64_t size(const char* key) const { return size({key}); }
  [[nodiscard]] int64_t size(const char* key, int64_t fallback) const {
    return config_.contains(key) ? size(key) : fallback;
  }
  [[nodiscard]] bool flag(const char* key) const { return config_.value(key, false); }
  [[nodiscard]] const nlohmann::json& config() const { return config_; }
  [[nodiscard]] at::ScalarType dtype() const { return dtype_; }

  /// An input; floating ones in the run's dtype, with a gradient where the case has one. Of a batch
  /// the item at hand.
  at::Tensor in(const std::string& name);
  /// The same; undefined where the case has no such input.
  at::Tensor optional(const std::string& name) { return has(name) ? in(name) : at::Tensor(); }
  /// Which item of a batch in() gives; -1: the case has no batch axis.
  int64_t item = -1;
  [[nodiscard]] bool has(const std::string& name) const { return file_.contains("in." + name); }
  /// A recorded value that is used as an input (the sampler's draws).
  [[nodiscard]] at::Tensor recorded(const std::string& name) const;
  /// Where the case's module registers: `ours` in our names, `theirs` in the peer's.
  Scope scope(const std::string& ours, const std::string& theirs);
  /// The case's param.NAME is there; its shape.
  [[nodiscard]] bool has_parameter(const std::string& name) const {
    return file_.contains("param." + name);
  }
  [[nodiscard]] std::vector<int64_t> shape_of_parameter(const std::string& name) const {
    return file_["param." + name].sizes().vec();
  }
  /// Loads param.* and buffer.* by the import path of checkpoints, and moves them.
  void load();
  /// Moves the parameters to the run's device and dtype.
  void place_parameters() { parameters.to(device_, dtype_); }
  /// The masks in.dropout_000 and on, in this order; nothing is dropped where the case has none.
  [[nodiscard]] Dropout dropout();
  /// An input that this case lacks, from a case of the folder that has it beside the same x_true;
  /// undefined where there is none.
  [[nodiscard]] at::Tensor from_sibling(const std::string& name);
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  const Safetensors& file_;
  std::filesystem::path folder_;
  nlohmann::json config_;
  at::Device device_;
  at::ScalarType dtype_;
};

using ParityRunner = std::function<void(ParityCase&)>;
/// By the last word of the class' name.
const std::map<std::string_view, ParityRunner>& protenix_runners();
const std::map<std::string_view, ParityRunner>& openfold3_runners();

AtomFeatures parity_atoms(ParityCase& c, int64_t tokens);
/// An input as bool; undefined where the case has no such input.
at::Tensor mask_of(ParityCase& c, const char* name);
int64_t tokens_of(ParityCase& c);

/// A runner at a place of the parameters, which is `ours` here and `theirs` in the peer's names.
inline ParityRunner in_scope(const char* ours, const char* theirs,
                             void (*run)(ParityCase&, const Scope&)) {
  return [=](ParityCase& c) { run(c, c.scope(ours, theirs)); };
}

// The modules that are classes of both peers. Masks are read where the case has them.
void run_triangle_multiplication(ParityCase& c, const Scope& scope,
                                 TriangleMultiplication::Direction direction);
void run_triangle_attention(ParityCase& c, const Scope& scope, const Conventions& conventions,
                            TriangleAttention::Node node);
void run_single_attention(ParityCase& c, const Scope& scope);
void run_pairformer_block(ParityCase& c, const Scope& scope, const PairSizes& sizes);
void run_pairformer_stack(ParityCase& c, const Scope& scope, const PairSizes& sizes);
void run_adaptive_norm(ParityCase& c, const Scope& scope);
void run_transition(ParityCase& c, const Scope& scope);
void run_conditioned_transition(ParityCase& c, const Scope& scope);
void run_outer_product_mean(ParityCase& c, const Scope& scope);
void run_pair_weighted_averaging(ParityCase& c, const Scope& scope);
void run_diffusion_transformer(ParityCase& c, const Scope& scope);
/// `relative` [N, N, 139].
void run_diffusion_conditioning(ParityCase& c, const Scope& scope, const at::Tensor& relative);
void run_diffusion_module(ParityCase& c, const Scope& scope, const DiffusionSizes& sizes,
                          const at::Tensor& relative);
void run_distogram_head(ParityCase& c, const Scope& scope);
void run_noise_schedule(ParityCase& c);
/// With coordinates: r_l, s and z are inputs.
void run_atom_encoder(ParityCase& c, const Scope& scope, const AtomSizes& sizes, bool coordinates);
void run_atom_decoder(ParityCase& c, const Scope& scope, const AtomSizes& sizes);
/// The whole of Algorithm 1 (tests/parity/*_model.py), and the confidence head where x_pred is
/// given.
void run_whole_model(ParityCase& c);
/// The sampler on the recorded draws, with the stand-in for a network that the cases were made
/// with.
void run_recorded_sampler(ParityCase& c, const at::Tensor& rotation);

}  // namespace megafold::cli
