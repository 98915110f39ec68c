// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include "base/errors.h"

namespace megafold {

struct Model::Modules {
  ModelConfig config;
  Parameters parameters;
};

Model::Model(const ModelConfig& config, uint64_t /*seed*/) : modules_(new Modules{config, {}}) {
  config.validate();
}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

const ModelConfig& Model::config() const {
  return modules_->config;
}
Parameters& Model::parameters() {
  return modules_->parameters;
}
const Parameters& Model::parameters() const {
  return modules_->parameters;
}

TrainingOutput Model::forward_train(const Batch&, const TrainOptions&) const {
  fail<Unsupported>("training: the modules are not in this version yet");
}

at::Tensor Model::sample(const Batch&, const SampleOptions&) const {
  fail<Unsupported>("sampling: the modules are not in this version yet");
}

}  // namespace megafold
