// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold convert: a peer's state dict to a checkpoint of ours, and back.
#include <fmt/ranges.h>

#include <map>
#include <memory>

#include "base/errors.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/import_peer.h"
#include "checkpoint/torch_file.h"
#include "cli/commands.h"
#include "model/model.h"
#include "train/config.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;

struct ConvertArguments {
  std::string in, out, from, to = "megafold", config, preset = "initial";
  std::vector<std::string> set;
};

/// A state dict as torch saves it, or as safetensors.
std::map<std::string, at::Tensor> read_state(const fs::path& path) {
  std::map<std::string, at::Tensor> state;
  if (path.extension() == ".safetensors") {
    const Safetensors file(path);
    for (const Safetensors::Info& info : file.tensors()) state[info.name] = file[info.name];
  } else {
    for (auto& [name, tensor] : read_torch_state(path)) state[name] = tensor;
  }
  return state;
}

// OpenFold 3's sampler holds the diffusion module a second time, so its state dict names those
// tensors twice; and it has a version of its own beside the weights.
constexpr std::string_view kSecond = "sample_diffusion.diffusion_module.",
                           kFirst = "diffusion_module.";
constexpr const char* kVersion = "version_tensor";

/// Takes the second names out; BadInput where the two differ.
void drop_second_names(std::map<std::string, at::Tensor>& state) {
  state.erase(kVersion);
  std::erase_if(state, [&](const auto& entry) {
    const auto& [name, tensor] = entry;
    if (!name.starts_with(kSecond)) return false;
    const auto first = state.find(std::string(kFirst) + name.substr(kSecond.size()));
    if (first == state.end() || !first->second.equal(tensor))
      fail<BadInput>("'{}' is not what '{}{}' holds", name, kFirst, name.substr(kSecond.size()));
    return true;
  });
}

ModelConfig model_config(const ConvertArguments& arguments) {
  ModelConfig model;
  if (arguments.config.empty()) {
    const bool peer = arguments.from != "megafold";
    model = ModelConfig::preset(arguments.preset,
                                peer ? parse_dialect(arguments.from) : Dialect::protenix);
  } else {
    model = read_config(arguments.config, arguments.set).model;
  }
  if (arguments.from != "megafold") model.dialect = parse_dialect(arguments.from);
  return model;
}

void from_peer(const ConvertArguments& arguments) {
  const ModelConfig config = model_config(arguments);
  std::map<std::string, at::Tensor> state = read_state(arguments.in);
  const size_t tensors = state.size();
  Model model(config, /*seed=*/0);
  try {
    if (config.dialect == Dialect::openfold3) drop_second_names(state);
    std::vector<std::string> known;
    for (const auto& [name, tensor] : state) known.push_back(name);
    if (state.contains("model.input_embedder.atom_encoder.embed_single.weight"))
      fail<BadInput>("its names are megafold's own: --from megafold --to {} gives a peer's",
                     arguments.from);
    import_peer(
        config.dialect, model.parameters(),
        [&](const std::string& name) {
          const auto found = state.find(name);
          return found == state.end() ? at::Tensor() : found->second;
        },
        known);
  } catch (const BadInput& error) {
    fail<BadInput>("{}: {}; sizes are those of {}", arguments.in, error.what(),
                   arguments.config.empty() ? "preset " + arguments.preset : arguments.config);
  }
  save_weights(arguments.out, config, model.parameters(), fmt::format("from {}", arguments.in));
  fmt::print("{}: {} tensors of {} became {} of ours, {} parameters; wrote {}\n", arguments.in,
             tensors, arguments.from, model.parameters().entries().size(),
             model.parameters().count(), arguments.out);
}

void to_peer(const ConvertArguments& arguments) {
  const Checkpoint checkpoint(arguments.in);
  const Dialect dialect = parse_dialect(arguments.to);
  if (checkpoint.model().dialect != dialect)
    fail<BadInput>("{}: its dialect is {}; weights of one dialect are no weights of {}",
                   arguments.in, dialect_name(checkpoint.model().dialect), arguments.to);
  Model model(checkpoint.model(), /*seed=*/0);
  checkpoint.load_weights(model.parameters(), Weights::average);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const Parameters::Entry& entry : model.parameters().entries())
    for (auto& [name, part] : split_for_peer(dialect, entry.name, entry.tensor.detach()))
      tensors.emplace_back(name, part);
  if (dialect == Dialect::openfold3) {
    const size_t once = tensors.size();
    for (size_t i = 0; i < once; ++i)
      if (tensors[i].first.starts_with(kFirst))
        tensors.emplace_back(std::string(kSecond) + tensors[i].first.substr(kFirst.size()),
                             tensors[i].second);
    tensors.emplace_back(kVersion, at::tensor({2.0F, 0.0F, 0.0F}));  // of 0.5.0
  }
  write_safetensors(arguments.out, tensors, {{"format", "pt"}});
  fmt::print("{}: wrote {} tensors as {} names them to {}\n", arguments.in, tensors.size(),
             arguments.to, arguments.out);
}

}  // namespace

void add_convert_command(CLI::App& app) {
  const auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* const command = app.add_subcommand(
      "convert", "A state dict of Protenix or OpenFold 3 to a checkpoint of ours, or back");
  command->add_option("in", arguments->in, "File: .safetensors, or what torch.save wrote")
      ->required();
  command->add_option("out", arguments->out, "Safetensors file to write")->required();
  command->add_option("--from", arguments->from, "Whose names the file has")
      ->required()
      ->check(CLI::IsMember({"protenix", "openfold3", "megafold"}));
  command->add_option("--to", arguments->to, "Whose names to write")
      ->check(CLI::IsMember({"protenix", "openfold3", "megafold"}))
      ->capture_default_str();
  command
      ->add_option(
          "--preset", arguments->preset,
          "Sizes of the model: " + fmt::format("{}", fmt::join(ModelConfig::presets(), ", ")))
      ->capture_default_str();
  command->add_option("--config", arguments->config, "YAML whose `model` section has the sizes");
  command->add_option("--set", arguments->set, "key=value over --config");
  command->footer(
      "Nothing of a pickle is executed: names outside a short list are refused.\n"
      "Examples:\n"
      "  megafold convert model_v1.pt ours.safetensors --from protenix\n"
      "  megafold convert runs/mine/checkpoint.safetensors back.safetensors --from megafold "
      "--to openfold3");
  command->callback([arguments] {
    if ((arguments->from == "megafold") == (arguments->to == "megafold"))
      fail<BadInput>("--from {} --to {}: one of the two is a peer, the other megafold",
                     arguments->from, arguments->to);
    if (arguments->to == "megafold") {
      from_peer(*arguments);
    } else {
      to_peer(*arguments);
    }
  });
}

}  // namespace megafold::cli
