// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "train/config.h"

#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/publish.h"

namespace megafold {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// A value met in a file or in an override, and where.
struct Given {
  std::string key;
  YAML::Node node;
  std::string where;
};

/// Edits (insert, delete, replace) from one word to another.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

[[noreturn]] void fail_unknown(const Given& given, const std::vector<ConfigField>& fields) {
  std::vector<std::string> inside;
  for (const ConfigField& field : fields)
    if (field.key.starts_with(given.key + ".")) inside.push_back(field.key);
  if (!inside.empty())
    fail<BadInput>("{}: {} is a section; it holds {}", given.where, given.key,
                   fmt::join(inside, ", "));
  const auto nearest = std::ranges::min_element(
      fields, {}, [&](const ConfigField& field) { return distance(field.key, given.key); });
  fail<BadInput>("{}: there is no key {}; the nearest is {} ({})", given.where, given.key,
                 nearest->key, nearest->meaning);
}

std::string text_of(const YAML::Node& node) {
  YAML::Emitter emitter;
  emitter << YAML::Flow << node;
  return emitter.c_str();
}

/// Puts the value into the config, or throws saying what is wanted.
void assign(const ConfigField& field, const Given& given) {
  const auto refuse = [&]() {
    fail<BadInput>("{}: {} is {}: {} is needed ({})", given.where, field.key, text_of(given.node),
                   field.wanted(), field.meaning);
  };
  try {
    std::visit(
        [&](auto* target) {
          using T = std::remove_pointer_t<decltype(target)>;
          if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            if (!given.node.IsSequence()) refuse();
            *target = given.node.as<T>();
          } else {
            if (!given.node.IsScalar()) refuse();
            const T value = given.node.as<T>();
            if constexpr (std::is_same_v<T, std::string>) {
              if (!field.choices.empty() &&
                  std::ranges::find(field.choices, value) == field.choices.end())
                refuse();
            } else if constexpr (!std::is_same_v<T, bool>) {
              // Written so that NaN is refused.
              const auto number = static_cast<double>(value);
              if (!(number >= field.min && number <= field.max)) refuse();
            }
            *target = value;
          }
        },
        field.value);
  } catch (const YAML::Exception&) {
    refuse();
  }
}

void collect(const YAML::Node& node, const std::string& prefix, const std::string& file,
             const std::set<std::string>& leaves, std::vector<Given>& all) {
  for (const auto& item : node) {
    const auto where = fmt::format("{}:{}", file, item.first.Mark().line + 1);
    const std::string key = prefix + item.first.as<std::string>();
    if (item.second.IsMap() && !leaves.contains(key)) {
      collect(item.second, key + ".", file, leaves, all);
    } else if (!item.second.IsNull() || leaves.contains(key)) {
      all.push_back({key, item.second, where});
    }
  }
}

std::vector<Given> read_yaml(const fs::path& file, const std::set<std::string>& leaves) {
  std::vector<Given> all;
  const std::string text = read_file(file);
  if (text.find('\0') != std::string::npos)
    fail<BadInput>("{}: binary data, a YAML file was expected", file.string());
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return all;
    if (!root.IsMap())
      fail<BadInput>("{}: keys with values were expected, as in 'seed: 1'", file.string());
    collect(root, "", file.string(), leaves, all);
  } catch (const YAML::Exception& error) {
    fail<BadInput>("{}:{}: this is not YAML: {}", file.string(), error.mark.line + 1, error.msg);
  }
  std::map<std::string, std::string> seen;
  for (const Given& given : all)
    if (const auto [first, is_new] = seen.try_emplace(given.key, given.where); !is_new)
      fail<BadInput>("{}: {} stands a second time, first at {}", given.where, given.key,
                     first->second);
  return all;
}

/// A text stands as it is (a path with any character), unless it is quoted; other values are YAML.
Given parse_override(const std::string& text, const std::set<std::string>& text_keys) {
  const size_t equals = text.find('=');
  const std::string where = "--set " + text;
  if (equals == std::string::npos || equals == 0)
    fail<BadInput>("{}: key=value was expected, as in --set training.steps=100", where);
  const std::string key = text.substr(0, equals), value = text.substr(equals + 1);
  const bool quoted = value.starts_with('"') || value.starts_with('\'');
  if (text_keys.contains(key) && !quoted) return {key, YAML::Node(value), where};
  try {
    return {key, YAML::Load(value), where};
  } catch (const YAML::Exception& error) {
    fail<BadInput>("{}: the value is not YAML: {}", where, error.msg);
  }
}

const json* find_path(const json& object, std::string_view key) {
  const json* at = &object;
  while (!key.empty()) {
    const size_t dot = std::min(key.find('.'), key.size());
    const auto found = at->find(std::string(key.substr(0, dot)));
    if (found == at->end()) return nullptr;
    at = &*found;
    key.remove_prefix(std::min(dot + 1, key.size()));
  }
  return at;
}

}  // namespace

json ConfigField::json() const {
  return std::visit([](const auto* at) { return nlohmann::json(*at); }, value);
}

std::string ConfigField::wanted() const {
  if (!choices.empty()) return fmt::format("one of {}", fmt::join(choices, ", "));
  if (std::holds_alternative<int64_t*>(value))
    return fmt::format("an integer between {} and {}", static_cast<int64_t>(min),
                       static_cast<int64_t>(max));
  if (std::holds_alternative<double*>(value))
    return fmt::format("a number between {} and {}", min, max);
  if (std::holds_alternative<bool*>(value)) return "true or false";
  if (std::holds_alternative<std::string*>(value)) return "a text";
  return "a list, as in [1ubq, 2q2k],";
}

std::vector<ConfigField> config_fields(TrainConfig& c) {
  std::vector<ConfigField> fields;
  constexpr bool kFree = true;
  const auto number = [&](std::string key, auto& value, double min, double max, std::string meaning,
                          bool free = false) {
    fields.push_back({std::move(key), &value, min, max, {}, free, std::move(meaning)});
  };
  const auto word = [&](std::string key, auto& value, std::vector<std::string> choices,
                        std::string meaning, bool free = false) {
    fields.push_back({std::move(key), &value, 0, 0, std::move(choices), free, std::move(meaning)});
  };
  constexpr double kMany = 1e15;
  number("seed", c.seed, 0, kMany, "every draw of the run follows from it");
  word("device", c.device, {"cpu", "cuda"}, "where the model is trained", kFree);
  number("threads", c.threads, 0, 1024, "threads of the model on the CPU; 0: one per core");
  word("run", c.run, {}, "folder of the run: checkpoint, metrics, events, report", kFree);

  word("data.cache", c.data.cache, {}, "folder that `megafold cache build` made", kFree);
  word("data.entries", c.data.entries, {}, "entries to train on; []: all of the cache");
  word("data.released_by", c.data.filter.released_by, {},
       "YYYY-MM-DD: no entry released later is seen, and one without a date ends the run; empty: "
       "no cut-off");
  number("data.max_resolution", c.data.filter.max_resolution, 0, 1000,
         "Angstrom; entries above it are left out, and those without one that are not by NMR; 0: "
         "any");
  number("data.max_tokens", c.data.filter.max_tokens, 0, 1000000000,
         "entries with more tokens are left out; 0: any number");
  word("data.sampling", c.data.sampling, {"uniform", "weighted"},
       "entries alike, or chains and interfaces weighted as SI 2.5.1");
  word("data.clusters", c.data.clusters, {},
       "weighted: file of homology clusters (representative, tab, ENTRY_CHAIN; MMseqs2's); \"\": "
       "chains of one sequence");
  number("data.threads", c.data.threads, 1, 256, "threads that make samples", kFree);
  number("data.queue", c.data.queue, 1, 4096, "samples ready or in the making, at most", kFree);
  word("data.on_error", c.data.on_error, {"stop", "skip"},
       "a sample that cannot be made ends the run, or is skipped, counted and listed", kFree);
  number("data.deadline", c.data.deadline, 0, 1e6,
         "seconds that a sample's making may take before its entry is left out, 0: any time",
         kFree);
  word(
      "data.quarantine", c.data.quarantine, {},
      "file of the entries left out and from which visit on, read and written; \"\": the run's own",
      kFree);
  number("data.templates.count", c.batch.templates.count, 0, 4, "templates of a chain, at most");
  word("data.templates.released_by", c.batch.templates.released_by, {},
       "YYYY-MM-DD: no later template is used; \"\": 60 days before the entry's own release alone");
  auto& crop = c.batch.crop;
  number("data.crop.tokens", crop.tokens, 1, 100000, "tokens of a sample, at most");
  number("data.crop.atoms", crop.atoms, 0, 10000000, "atoms of a sample, at most; 0: any number");
  number("data.crop.contiguous", crop.contiguous, 0, 1, "share of contiguous crops");
  number("data.crop.spatial", crop.spatial, 0, 1, "share of spatial crops");
  number("data.crop.spatial_interface", crop.spatial_interface, 0, 1,
         "share of spatial crops at an interface");
  number("data.msa.max_rows", c.batch.msa.max_rows, 1, 65536,
         "alignment rows of a sample, at most");
  word("data.msa.draw_rows", c.batch.msa.draw_rows, {},
       "cut each alignment to k ~ U{1..n} random rows (SI 2.2), else take the first");

  word("model.preset", c.model_preset, ModelConfig::presets(),
       "sizes that hold where no other key of the model is given");
  visit_model_config(
      c.model, [&](const char* key, auto& value, double min, double max, const char* meaning) {
        number(std::string("model.") + key, value, min, max, meaning);
      });

  number("loss.diffusion", c.loss.diffusion, 0, 1000, "weight of the diffusion loss");
  number("loss.smooth_lddt", c.loss.smooth_lddt, 0, 1000,
         "weight of the smooth lDDT within it; 0 in the fine-tuning stages");
  number("loss.distogram", c.loss.distogram, 0, 1000, "weight of the distogram loss");
  number("loss.bond", c.loss.bond, 0, 1000,
         "weight of the bond loss within the diffusion loss; 1 in the fine-tuning stages");
  number("loss.confidence", c.loss.confidence, 0, 1000,
         "weight of the confidence head's losses on the mini-rollout");
  number("loss.pae", c.loss.pae, 0, 1000, "weight of PAE among them; 1 in the last stage");

  auto& o = c.optimizer;
  number("optimizer.learning_rate", o.learning_rate, 0, 1, "full rate of Adam");
  number("optimizer.warmup_steps", o.warmup_steps, 0, kMany, "steps of the linear rise from 0");
  number("optimizer.decay", o.decay, 0, 1, "factor on the rate, once every decay_steps");
  number("optimizer.decay_steps", o.decay_steps, 1, kMany, "steps between two such factors");
  number("optimizer.beta1", o.beta1, 0, 0.99999, "Adam's memory of the gradient");
  number("optimizer.beta2", o.beta2, 0, 0.99999, "Adam's memory of its square");
  number("optimizer.epsilon", o.epsilon, 0, 1, "Adam's floor of the denominator");
  number("optimizer.clip_norm", o.clip_norm, 0, 1e9, "limit of the gradient's norm; 0: none");
  number("optimizer.ema_decay", o.ema_decay, 0, 0.9999999, "memory of the weights' average");
  word("optimizer.ema_warmup", o.ema_warmup, {},
       "let the average forget its start, min(ema_decay, (1 + n) / (10 + n)): for short runs");

  auto& t = c.training;
  number("training.steps", t.steps, 1, kMany, "steps of the run", kFree);
  number("training.seconds", t.seconds, 0, 1e9, "end after this time of training too; 0: no limit",
         kFree);
  number("training.batch", t.batch, 1, 65536, "samples of a step; gradients are averaged");
  number("training.cycles", t.cycles, 0, 32,
         "passes of the trunk; 0: drawn from 1 .. model.max_cycles");
  word("training.precision", t.precision, {"f32", "tf32", "bf16"},
       "of a step's products; weights, optimizer and losses are f32 always. tf32: products of f32 "
       "on a GPU in TF32 (attention's kernels there are always); bf16: as tf32, and the trunk's "
       "activations (templates, MSA module, Pairformer) in bf16",
       kFree);
  word("training.recompute", t.recompute, {},
       "every block keeps its inputs alone for the backward, which runs it once more: a step takes "
       "a quarter longer and a fraction of the memory",
       kFree);
  word("training.dropout", t.dropout, {}, "dropout in the trunk");
  number("training.noise.mean", t.noise.mean, -10, 10,
         "noise levels of training are 16 exp(mean + deviation n) Angstrom, n ~ N(0, 1)");
  number("training.noise.deviation", t.noise.deviation, 0, 10, "deviation of their logarithm");
  number("training.rollout_steps", t.rollout_steps, 0, 2000,
         "steps of the mini-rollout that names the truth and that the confidence head is trained "
         "on; 0: none");
  number("training.confidence_every", t.confidence_every, 1, kMany,
         "steps between two that train the confidence head; SI: every one");
  word(
      "training.permute", t.permute, {},
      "copies of a molecule and equivalent atoms of the truth are named as a mini-rollout has them "
      "(SI 4.2), made at every step whose sample has any");
  word("training.start_from", t.start_from, {},
       "checkpoint whose averaged weights are the start; empty: random weights");
  number("training.checkpoint_steps", t.checkpoint_steps, 1, kMany, "steps between checkpoints",
         kFree);
  number("training.log_steps", t.log_steps, 1, kMany,
         "steps between progress lines where the output is no terminal", kFree);
  return fields;
}

TrainConfig read_config(const fs::path& file, const std::vector<std::string>& overrides) {
  TrainConfig config;
  auto fields = config_fields(config);
  std::set<std::string> leaves{"model.dialect"}, text_keys;
  for (const ConfigField& field : fields) {
    leaves.insert(field.key);
    if (std::holds_alternative<std::string*>(field.value)) text_keys.insert(field.key);
  }
  std::vector<Given> given = read_yaml(file, leaves);
  for (const std::string& text : overrides) given.push_back(parse_override(text, text_keys));

  // The dialect is an enumeration of the model's own: a word here.
  std::string dialect(dialect_name(config.model.dialect));
  fields.push_back({"model.dialect",
                    &dialect,
                    0,
                    0,
                    {"alphafold3", "openfold3", "protenix"},
                    false,
                    "the reading of the supplement that the modules follow"});
  const auto field_of = [&](const Given& one) -> const ConfigField& {
    const auto found = std::ranges::find(fields, one.key, &ConfigField::key);
    if (found == fields.end()) fail_unknown(one, fields);
    return *found;
  };
  for (const Given& one : given)
    if (one.key == "model.preset" || one.key == "model.dialect") assign(field_of(one), one);
  config.model = ModelConfig::preset(config.model_preset, parse_dialect(dialect));
  for (const Given& one : given) assign(field_of(one), one);
  config.model.dialect = parse_dialect(dialect);
  config.model.validate();
  config.batch.msa.missing =
      config.model.dialect == Dialect::openfold3 ? MissingAlignment::gap : MissingAlignment::query;
  const auto& crop = config.batch.crop;
  if (crop.contiguous + crop.spatial + crop.spatial_interface <= 0)
    fail<BadInput>("{}: data.crop.contiguous, spatial and spatial_interface are all 0",
                   file.string());
  return config;
}

json config_json(const TrainConfig& config) {
  TrainConfig copy = config;
  json object;
  for (const ConfigField& field : config_fields(copy)) {
    std::string pointer = "/" + field.key;
    std::ranges::replace(pointer, '.', '/');
    object[json::json_pointer(pointer)] = field.json();
  }
  object["model"]["dialect"] = dialect_name(config.model.dialect);
  return object;
}

std::string config_yaml(const TrainConfig& config) {
  TrainConfig copy = config;
  std::string dialect(dialect_name(config.model.dialect));
  auto fields = config_fields(copy);
  const auto preset = std::ranges::find(fields, "model.preset", &ConfigField::key);
  fields.insert(preset + 1, {"model.dialect",
                             &dialect,
                             0,
                             0,
                             {"alphafold3", "openfold3", "protenix"},
                             false,
                             "the reading of the supplement that the modules follow"});
  std::string text;
  std::vector<std::string> open;  // sections
  for (const ConfigField& field : fields) {
    std::vector<std::string> path;
    for (size_t at = 0; at <= field.key.size();) {
      const size_t dot = std::min(field.key.find('.', at), field.key.size());
      path.push_back(field.key.substr(at, dot - at));
      at = dot + 1;
    }
    const std::string leaf = path.back();
    path.pop_back();
    size_t shared = 0;
    while (shared < std::min(open.size(), path.size()) && open[shared] == path[shared]) ++shared;
    for (; shared < path.size(); ++shared)
      text += fmt::format("{}{}:\n", std::string(2 * shared, ' '), path[shared]);
    open = path;
    const std::string line =
        fmt::format("{}{}: {}", std::string(2 * path.size(), ' '), leaf, field.json().dump());
    const bool is_free_text =
        std::holds_alternative<std::string*>(field.value) && field.choices.empty();
    text += fmt::format("{:<44} # {}{}\n", line, field.meaning,
                        is_free_text ? "" : fmt::format(" ({})", field.wanted()));
  }
  return text;
}

void require_same_run(const TrainConfig& config, const json& saved) {
  TrainConfig copy = config, defaults;
  std::vector<std::string> differences;
  const std::vector<ConfigField> fields = config_fields(copy), unset = config_fields(defaults);
  for (size_t i = 0; i < fields.size(); ++i) {
    const ConfigField& field = fields[i];
    // A key that is younger than the run: its default is what the run had.
    const json* const found = find_path(saved, field.key);
    const json before = found == nullptr ? unset[i].json() : *found;
    if (field.free_at_resume || before == field.json()) continue;
    differences.push_back(
        fmt::format("{} was {} and is {} now", field.key, before.dump(), field.json().dump()));
  }
  if (!differences.empty())
    fail<BadInput>(
        "a resumed run must go on as it began, but {}; give the old values, or start a "
        "new run with training.start_from",
        fmt::join(differences, "; "));
}

}  // namespace megafold
