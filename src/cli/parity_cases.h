// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// One runner per class of a peer: builds our module at the case's sizes, reads its inputs, gives
// its outputs (parity.cpp compares them).
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "checkpoint/safetensors.h"
#include "model/atom_features.h"
#include "model/conventions.h"
#include "model/parameters.h"

namespace megafold::cli {

/// A golden case while it runs.
class ParityCase {
 public:
  ParityCase(const Safetensors& file, nlohmann::json config, const Conventions& dialect,
             const at::Device& device, at::ScalarType dtype)
      : conventions(dialect),
        file_(file),
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

  /// An input; floating ones in the run's dtype, with a gradient where the case has one.
  at::Tensor in(const std::string& name);
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

 private:
  const Safetensors& file_;
  nlohmann::json config_;
  at::Device device_;
  at::ScalarType dtype_;
};

using ParityRunner = std::function<void(ParityCase&)>;
/// By the last word of the class' name.
const std::map<std::string_view, ParityRunner>& protenix_runners();
const std::map<std::string_view, ParityRunner>& openfold3_runners();

/// What the runners of both peers share.
AtomFeatures parity_atoms(ParityCase& c, int64_t tokens);
/// The sampler on the recorded draws, with the stand-in for a network that the cases were made
/// with.
void run_recorded_sampler(ParityCase& c, const at::Tensor& rotation);

}  // namespace megafold::cli
