// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// One runner per class of a peer: builds our module at the case's sizes, reads its inputs, gives
// its outputs (parity.cpp compares them).
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

  [[nodiscard]] int64_t size(const char* key) const;
  [[nodiscard]] int64_t size(const char* key, int64_t fallback) const {
    return config_.contains(key) ? size(key) : fallback;
  }
  [[nodiscard]] bool flag(const char* key) const { return config_.value(key, false); }
  [[nodiscard]] const nlohmann::json& config() const { return config_; }
  [[nodiscard]] at::ScalarType dtype() const { return dtype_; }

  /// An input; floating ones in the run's dtype, with a gradient where the case has one. Of a batch
  /// the item at hand.
  at::Tensor in(const std::string& name);
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

/// What the runners of both peers share. `theirs`: the peer's scope.
AtomFeatures parity_atoms(ParityCase& c, int64_t tokens);
at::Tensor mask_of(ParityCase& c, const char* name);
int64_t tokens_of(ParityCase& c);
/// With coordinates: r_l, s and z are inputs.
void run_atom_encoder(ParityCase& c, const char* theirs, const AtomSizes& sizes, bool coordinates);
void run_atom_decoder(ParityCase& c, const char* theirs, const AtomSizes& sizes);
/// The whole of Algorithm 1 (tests/parity/*_model.py), and the confidence head where x_pred is
/// given.
void run_whole_model(ParityCase& c);
/// The sampler on the recorded draws, with the stand-in for a network that the cases were made
/// with.
void run_recorded_sampler(ParityCase& c, const at::Tensor& rotation);

}  // namespace megafold::cli
