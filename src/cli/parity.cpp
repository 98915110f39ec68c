// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// `megafold parity DIR`: our modules beside golden vectors of a peer. Each case holds weights,
// inputs, cotangents, outputs and gradients (loss = sum of out x cot).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>

#include "base/errors.h"
#include "base/publish.h"
#include "checkpoint/import_peer.h"
#include "cli/commands.h"
#include "cli/parity_cases.h"
#include "ops/device.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kLimitF64 = 1e-11, kLimitF32 = 5e-6;
constexpr double kLimitF32Sampler = 2e-4;  // its sines see values near 1e3
// A gradient that is zero in exact arithmetic (an offset before a softmax) holds rounding alone: it
// is measured by the case's largest gradient instead of its own.
constexpr double kZeroGradient = 1e-9;

struct Options {
  fs::path folder;
  std::string dialect = "protenix", dtype = "f64", device = "cpu", only;
  bool tensors = false;
};

double largest(const at::Tensor& x) {
  return x.numel() == 0 ? 0 : x.abs().max().to(at::kDouble).item<double>();
}

/// max |ours - golden| / scale, less what storing the golden value as f32 rounded; infinity where a
/// NaN or another shape stands.
double error_of(const at::Tensor& ours, const at::Tensor& golden, double scale) {
  if (ours.sizes() != golden.sizes()) return std::numeric_limits<double>::infinity();
  const at::Tensor a = ours.detach().cpu().to(at::kDouble), b = golden.to(at::kDouble);
  if (!a.isnan().equal(b.isnan())) return std::numeric_limits<double>::infinity();
  at::Tensor difference = (a - b).abs();
  if (golden.scalar_type() == at::kFloat)
    difference = (difference - b.abs() * 0x1.0001p-24).clamp_min(0);
  const double worst = largest(difference);
  return worst == 0 ? 0 : worst / std::max(scale, std::numeric_limits<double>::min());
}

struct Row {
  std::string name;
  double out = 0, grad_in = 0, grad_param = 0, limit = 0;
  std::string worst, skipped, failure;
  std::vector<std::pair<std::string, double>> tensors;  // what was compared, and its error

  [[nodiscard]] bool passed() const {
    return failure.empty() && out <= limit && grad_in <= limit && grad_param <= limit;
  }
};

/// Keeps the largest error and what it belongs to; a NaN counts as the largest.
void keep(double& kept, double error, Row& row, const std::string& what) {
  row.tensors.emplace_back(what, error);
  if (error <= kept) return;
  kept = error;
  if (!(error <= row.limit)) row.worst = what;
}

/// Runs each item of a case with a batch axis by itself: outputs stacked, gradients of parameters
/// summed, those of inputs gathered in the batch's leaf.
void run_items(ParityCase& whole, int64_t items, const ParityRunner& runner,
               std::vector<ParityCase>& parts) {
  for (int64_t item = 0; item < items; ++item) {
    ParityCase part = whole;
    part.item = item;
    part.inputs = whole.inputs;  // the same leaves
    runner(part);
    whole.inputs = part.inputs;
    parts.push_back(std::move(part));
  }
  for (const auto& [name, first] : parts.front().outputs) {
    std::vector<at::Tensor> all;
    for (const ParityCase& part : parts) all.push_back(part.outputs.at(name));
    whole.outputs[name] = at::stack(all);
  }
  whole.skip_prefix = parts.front().skip_prefix;
}

void run(const Safetensors& file, ParityCase& c, const ParityRunner& runner, Row& row) {
  const int64_t items = c.size("batch", 0);
  std::vector<ParityCase> parts;
  if (items > 0) {
    run_items(c, items, runner, parts);
  } else {
    runner(c);
  }
  at::Tensor loss;
  bool compared_outputs = false;
  for (const Safetensors::Info& info : file.tensors()) {
    if (!info.name.starts_with("out.")) continue;
    const std::string name = info.name.substr(4);
    const auto ours = c.outputs.find(name);
    if (ours == c.outputs.end()) {
      if (name.starts_with("draw_")) continue;
      fail<BadInput>("golden output '{}' has no counterpart", name);
    }
    compared_outputs = true;
    const at::Tensor golden = file[info.name];
    keep(row.out, error_of(ours->second, golden, largest(golden)), row, info.name);
    if (!file.contains("cot." + name) || !ours->second.requires_grad()) continue;
    const at::Tensor cotangent = file["cot." + name].to(ours->second.options());
    const at::Tensor part = (ours->second * cotangent).sum();
    loss = loss.defined() ? loss + part : part;
  }
  if (!compared_outputs) fail<BadInput>("the file has no out.NAME to compare with");
  if (loss.defined()) loss.backward();

  if (!loss.defined() && std::ranges::any_of(file.tensors(), [](const auto& info) {
        return info.name.starts_with("grad_");
      }))
    fail<BadInput>("the file has gradients (grad_*), but no cot.NAME of an output they come from");
  double largest_in = 0, largest_param = 0;
  for (const Safetensors::Info& info : file.tensors()) {
    if (info.name.starts_with("grad_in."))
      largest_in = std::max(largest_in, largest(file[info.name]));
    if (info.name.starts_with("grad_param."))
      largest_param = std::max(largest_param, largest(file[info.name]));
  }
  const auto scale_of = [](const at::Tensor& golden, double of_case) {
    const double own = largest(golden);
    return own < kZeroGradient * of_case ? of_case : own;
  };
  for (const Safetensors::Info& info : file.tensors()) {
    if (!info.name.starts_with("grad_in.")) continue;
    const at::Tensor golden = file[info.name];
    const auto input = c.inputs.find(info.name.substr(8));
    if (input == c.inputs.end())
      fail<BadInput>("golden '{}' is of an input that the module does not read", info.name);
    at::Tensor ours = input->second.grad();
    if (!ours.defined()) ours = at::zeros_like(golden);
    keep(row.grad_in, error_of(ours, golden, scale_of(golden, largest_in)), row, info.name);
  }
  size_t compared = 0;
  for (const Parameters::Entry& entry : (items > 0 ? parts.front() : c).parameters.entries()) {
    if (!entry.trainable) continue;
    at::Tensor grad = at::zeros_like(entry.tensor);
    const auto add = [&](const ParityCase& of) {
      const at::Tensor part = of.parameters.find(entry.name)->tensor.grad();
      if (part.defined()) grad = grad + part;
    };
    if (items == 0) add(c);
    for (const ParityCase& part : parts) add(part);
    for (auto& [peer, part] : split_for_peer(c.conventions.dialect, entry.name, grad)) {
      std::string name = peer;
      if (name.starts_with(c.skip_prefix)) name.erase(0, c.skip_prefix.size());
      name = "grad_param." + name;
      if (!file.contains(name)) continue;
      const at::Tensor golden = file[name];
      keep(row.grad_param, error_of(part, golden, scale_of(golden, largest_param)), row, name);
      ++compared;
    }
  }
  const auto expected = std::ranges::count_if(
      file.tensors(), [](const auto& info) { return info.name.starts_with("grad_param."); });
  if (compared != static_cast<size_t>(expected))
    fail<BadInput>("{} of {} parameter gradients were compared", compared, expected);
}

Row run_case(const Options& options, const std::string& name, const nlohmann::json& entry) {
  Row row;
  row.name = name;
  const bool f64 = options.dtype == "f64";
  const auto text = entry.is_object() ? entry.find("class") : entry.end();
  if (text == entry.end() || !text->is_string()) {
    row.failure = "the manifest does not say its \"class\"";
    return row;
  }
  const auto type = text->get<std::string>();
  const std::string peer = type.substr(0, type.find('.'));
  if ((peer == "protenix" || peer == "openfold3") && peer != options.dialect &&
      options.dialect != "alphafold3") {
    row.failure = fmt::format("{} is of {}; --dialect is {}", type, peer, options.dialect);
    return row;
  }
  const std::string last = type.substr(type.rfind('.') + 1);
  row.limit = f64                                                       ? kLimitF64
              : last == "sample_diffusion" || last == "SampleDiffusion" ? kLimitF32Sampler
                                                                        : kLimitF32;
  const auto& runners = options.dialect == "openfold3" ? openfold3_runners() : protenix_runners();
  const auto runner = runners.find(last);
  if (runner == runners.end()) {
    row.skipped = fmt::format("no counterpart of {}", type);
    return row;
  }
  if (!f64 && (last == "PLDDTLoss" || last == "all_atom_plddt_loss")) {
    row.skipped = "its scores lie on bin edges: f64 only";
    return row;
  }
  try {
    const Safetensors file(options.folder / (name + ".safetensors"));
    ParityCase c(file, options.folder, entry.value("config", nlohmann::json::object()),
                 conventions_of(parse_dialect(options.dialect)), at::Device(options.device),
                 f64 ? at::kDouble : at::kFloat);
    run(file, c, runner->second, row);
  } catch (const Unsupported& error) {
    row.skipped = error.what();
  } catch (const std::exception& error) {
    row.failure = error.what();
    row.failure = row.failure.substr(0, row.failure.find('\n'));
  }
  return row;
}

void run_parity(const Options& options) {
  nlohmann::json manifest;
  const fs::path path = options.folder / "manifest.json";
  try {
    manifest = nlohmann::json::parse(read_file(path));
  } catch (const nlohmann::json::exception& error) {
    fail<BadInput>("{}: is no JSON: {}", path.string(), error.what());
  }
  if (!options.only.empty() && !manifest.contains(options.only))
    fail<BadInput>("{}: has no case '{}'", path.string(), options.only);
  if (!manifest.is_object() || manifest.empty())
    fail<BadInput>("{}: an object of cases by name was expected", path.string());
  (void)conventions_of(parse_dialect(options.dialect));  // refused before any case runs
  (void)parse_device(options.device);
  int passed = 0, failed = 0, skipped = 0;
  fmt::print("{:<34} {:>9} {:>9} {:>9}  {}\n", "case", "outputs", "grad in", "grad par", "");
  for (const auto& [name, entry] : manifest.items()) {
    if (!options.only.empty() && name != options.only) continue;
    const Row row = run_case(options, name, entry);
    if (!row.skipped.empty()) {
      ++skipped;
      fmt::print("{:<34} {:>9} {:>9} {:>9}  skipped: {}\n", name, "", "", "", row.skipped);
      continue;
    }
    ++(row.passed() ? passed : failed);
    fmt::print(
        "{:<34} {:>9.1e} {:>9.1e} {:>9.1e}  {}\n", name, row.out, row.grad_in, row.grad_param,
        row.passed()          ? "passed"
        : row.failure.empty() ? fmt::format("FAILED: {} is over {:.0e}", row.worst, row.limit)
                              : "FAILED: " + row.failure);
    if (!options.tensors) continue;
    for (const auto& [tensor, error] : row.tensors) fmt::print("  {:.1e}  {}\n", error, tensor);
  }
  fmt::print("{} passed, {} failed{}\n", passed, failed,
             skipped > 0 ? fmt::format(", {} skipped", skipped) : "");
  if (failed > 0) throw ExitWith{1};
}

}  // namespace

void add_parity_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* const command =
      app.add_subcommand("parity", "Compare our modules with golden vectors of a peer");
  command->add_option("dir", options->folder, "folder with manifest.json and *.safetensors")
      ->required();
  command->add_option("--dialect", options->dialect, "whose function the vectors show")
      ->capture_default_str();
  command->add_option("--dtype", options->dtype, "arithmetic")
      ->check(CLI::IsMember({"f64", "f32"}))
      ->capture_default_str();
  command->add_option("--device", options->device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  command->add_option("--case", options->only, "this case alone");
  command->add_flag("--tensors", options->tensors, "a line for each tensor, below its case");
  command->footer(
      "Examples:\n  megafold parity golden/protenix --dtype f32\n"
      "  megafold parity golden/openfold3 --dialect openfold3 --case pae_loss --tensors");
  command->callback([options] { run_parity(*options); });
}

}  // namespace megafold::cli
