// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.h"

#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Of all tensors in their order: a hash of their hashes, each with its name.
std::string checksum(const NamedTensors& tensors) {
  std::string text;
  for (const auto& [name, tensor] : tensors) {
    const std::span bytes(static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes());
    text += fmt::format("{} {:016x}\n", name, checksum64(bytes));
  }
  return fmt::format("{:016x}", checksum64(std::as_bytes(std::span(text.data(), text.size()))));
}

json to_json(const ModelConfig& config) {
  json object{{"dialect", dialect_name(config.dialect)}};
  visit_model_config(config, [&](const char* key, auto value, double, double, const char*) {
    object[key] = value;
  });
  return object;
}

ModelConfig model_from_json(const json& object) {
  ModelConfig config;
  config.dialect = parse_dialect(object.at("dialect").get<std::string>());
  visit_model_config(config, [&](const char* key, auto& value, double, double, const char*) {
    object.at(key).get_to(value);
  });
  config.validate();
  return config;
}

/// The next checkpoint takes the name; this one keeps its bytes under the other. At every moment
/// both names that exist are whole files.
void keep_previous(const fs::path& path) {
  if (!fs::exists(path)) return;
  const fs::path previous = previous_checkpoint(path);
  const fs::path temporary = previous.string() + ".tmp";
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_hard_link(path, temporary, error);
  if (error) fs::copy_file(path, temporary, fs::copy_options::overwrite_existing, error);
  if (!error) fs::rename(temporary, previous, error);
  if (error) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    fail<Device>("{}: the checkpoint before cannot be kept: {}", previous.string(),
                 error.message());
  }
}

std::string shape_text(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

/// Finds every tensor in the file with its shape, and only then copies.
void copy_all(const Safetensors& file, const fs::path& path, const NamedTensors& targets) {
  std::vector<at::Tensor> sources;
  for (const auto& [name, target] : targets) {
    if (!file.contains(name))
      fail<BadInput>("{}: the checkpoint has no tensor {}; it is of another model", path.string(),
                     name);
    const at::Tensor source = file[name];
    if (source.sizes() != target.sizes())
      fail<BadInput>("{}: tensor {} has shape {}, the model's is {}; it is of another model",
                     path.string(), name, shape_text(source), shape_text(target));
    if (const std::string why = why_no_weight(source); !why.empty())
      fail<BadInput>("{}: tensor {}: {}", path.string(), name, why);
    sources.push_back(source);
  }
  const c10::NoGradGuard no_gradient;
  for (size_t i = 0; i < targets.size(); ++i) {
    at::Tensor target = targets[i].second;
    target.copy_(sources[i]);
  }
}

}  // namespace

fs::path previous_checkpoint(const fs::path& path) {
  return path.parent_path() / (path.stem().string() + ".previous" + path.extension().string());
}

void save_checkpoint(const fs::path& path, const ModelConfig& model, const Parameters& parameters,
                     const Optimizer& optimizer, const TrainingState& state) {
  NamedTensors tensors;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    tensors.emplace_back(name, tensor.detach().to(at::kCPU).contiguous());
  };
  for (const Parameters::Entry& entry : parameters.entries())
    add("model." + entry.name, entry.tensor);
  for (const auto& [name, tensor] : optimizer.state()) add(name, tensor);
  const json megafold{{"format", kCheckpointFormat},  {"program", state.program},
                      {"step", state.step},           {"next_visit", state.next_visit},
                      {"seed", state.seed},           {"train_seconds", state.train_seconds},
                      {"cache_key", state.cache_key}, {"optimizer_steps", optimizer.steps_done()},
                      {"checksum", checksum(tensors)}};
  keep_previous(fs::absolute(path));
  kill_point("checkpoint.kept");
  write_safetensors(
      path, tensors,
      {{"megafold", megafold.dump()}, {"model", to_json(model).dump()}, {"config", state.config}});
  kill_point("checkpoint.saved");
}

void save_weights(const fs::path& path, const ModelConfig& model, const Parameters& parameters,
                  const std::string& origin) {
  NamedTensors tensors;
  for (const Parameters::Entry& entry : parameters.entries())
    tensors.emplace_back("model." + entry.name, entry.tensor.detach().to(at::kCPU).contiguous());
  const json megafold{{"format", kCheckpointFormat},
                      {"program", origin},
                      {"step", 0},
                      {"next_visit", 0},
                      {"seed", 0},
                      {"train_seconds", 0.0},
                      {"cache_key", ""},
                      {"weights_only", true},
                      {"checksum", checksum(tensors)}};
  write_safetensors(
      path, tensors,
      {{"megafold", megafold.dump()}, {"model", to_json(model).dump()}, {"config", "{}"}});
}

Checkpoint::Checkpoint(const fs::path& path) : path_(path), file_(path) {
  const auto& metadata = file_.metadata();
  const auto found = metadata.find("megafold");
  if (found == metadata.end())
    fail<BadInput>(
        "{}: a safetensors file, but no checkpoint of megafold; `megafold convert` makes one of a "
        "peer's "
        "weights",
        path.string());
  std::string expected;
  try {
    const json megafold = json::parse(found->second);
    const int format = megafold.at("format").get<int>();
    if (format != kCheckpointFormat)
      fail<BadInput>(
          "{}: checkpoint of format {}, this version reads format {}; use the version "
          "of megafold that wrote it ({})",
          path.string(), format, kCheckpointFormat, megafold.value("program", "?"));
    megafold.at("program").get_to(state_.program);
    megafold.at("step").get_to(state_.step);
    megafold.at("next_visit").get_to(state_.next_visit);
    megafold.at("seed").get_to(state_.seed);
    megafold.at("train_seconds").get_to(state_.train_seconds);
    megafold.at("cache_key").get_to(state_.cache_key);
    megafold.at("checksum").get_to(expected);
    weights_only_ = megafold.value("weights_only", false);
    model_ = model_from_json(json::parse(metadata.at("model")));
    state_.config = metadata.at("config");
  } catch (const json::exception& error) {
    fail<Corrupt>("{}: the checkpoint's header cannot be read: {}", path.string(), error.what());
  } catch (const std::out_of_range&) {
    fail<Corrupt>("{}: the checkpoint's header lacks the model or the config", path.string());
  }
  NamedTensors tensors;
  for (const Safetensors::Info& info : file_.tensors())
    tensors.emplace_back(info.name, file_[info.name]);
  if (const std::string met = checksum(tensors); met != expected)
    fail<Corrupt>(
        "{}: its tensors have checksum {}, its header says {}: the file was changed or "
        "damaged; use {} or start again",
        path.string(), met, expected, previous_checkpoint(path).string());
}

void Checkpoint::require_model(const ModelConfig& model) const {
  const json mine = to_json(model_), other = to_json(model);
  std::vector<std::string> differences;
  for (const auto& [key, value] : mine.items())
    if (value != other.at(key))
      differences.push_back(
          fmt::format("model.{} is {} there and {} here", key, value.dump(), other.at(key).dump()));
  if (!differences.empty())
    fail<BadInput>("{}: the checkpoint is of another model: {}", path_.string(),
                   fmt::join(differences, "; "));
}

void Checkpoint::load_weights(Parameters& parameters, Weights which) const {
  NamedTensors targets;
  std::set<std::string> known;
  for (const Parameters::Entry& entry : parameters.entries()) {
    const bool average = which == Weights::average && entry.trainable && !weights_only_;
    targets.emplace_back((average ? "ema." : "model.") + entry.name, entry.tensor);
    known.insert("model." + entry.name);
  }
  for (const Safetensors::Info& info : file_.tensors())
    if (info.name.starts_with("model.") && !known.contains(info.name))
      fail<BadInput>("{}: the model has no tensor {}; the checkpoint is of another model",
                     path_.string(), info.name.substr(6));
  copy_all(file_, path_, targets);
}

void Checkpoint::load_optimizer(Optimizer& optimizer) const {
  if (weights_only_)
    fail<BadInput>("{}: holds weights alone; start a new run from it with training.start_from",
                   path_.string());
  copy_all(file_, path_, optimizer.state());
  optimizer.set_steps_done(
      json::parse(file_.metadata().at("megafold")).at("optimizer_steps").get<int64_t>());
}

}  // namespace megafold
