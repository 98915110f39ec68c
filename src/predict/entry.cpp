// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/entry.h"

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "base/errors.h"

namespace megafold {
namespace {

template <class T>
constexpr ArrayType array_type() {
  if constexpr (std::is_same_v<T, uint8_t>) return ArrayType::u8;
  if constexpr (std::is_same_v<T, int8_t>) return ArrayType::i8;
  if constexpr (std::is_same_v<T, int32_t>) return ArrayType::i32;
  if constexpr (std::is_same_v<T, int64_t>) return ArrayType::i64;
  if constexpr (std::is_same_v<T, float>) return ArrayType::f32;
}

// Reads arrays of one record and checks their type and length.
class Reader {
 public:
  explicit Reader(const Record& record) : record_(record) {}

  template <class T>
  std::span<const T> column(std::string_view name, int64_t rows, int64_t width = 1) const {
    const ArrayView view = record_.array(name);
    if (view.type != array_type<T>() || view.size() != rows * width) {
      fail<Corrupt>("cache record {}: array {} has type {} and {} values, expected {} and {} x {}",
                    record_.key(), name, static_cast<int>(view.type), view.size(),
                    static_cast<int>(array_type<T>()), rows, width);
    }
    return {view.as<T>(), static_cast<size_t>(view.size())};
  }
  [[nodiscard]] int64_t rows(std::string_view name) const {
    const ArrayView view = record_.array(name);
    return view.shape.empty() ? 0 : view.shape[0];
  }
  void require(bool condition, std::string_view what, int64_t row) const {
    if (!condition) fail<Corrupt>("cache record {}: {} (row {})", record_.key(), what, row);
  }

 private:
  const Record& record_;
};

// Characters without the blanks (or zeros) that pad them.
std::string trimmed(std::span<const uint8_t> bytes) {
  std::string text(bytes.begin(), bytes.end());
  while (!text.empty() && (text.back() == ' ' || text.back() == '\0')) text.pop_back();
  return text;
}

std::string text_or(const nlohmann::json& object, const char* key, std::string fallback) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::move(fallback);
}

}  // namespace

Entry read_entry(const Record& record) {
  const Reader read(record);
  const int64_t num_tokens = read.rows("token_chain");
  const int64_t num_atoms = read.rows("atom_element");
  const int64_t num_chains = read.rows("chain_asym_id");

  const auto meta = nlohmann::json::parse(record.meta(), nullptr, /*allow_exceptions=*/false);
  if (!meta.is_object() || !meta.contains("chains") || !meta["chains"].is_array() ||
      static_cast<int64_t>(meta["chains"].size()) != num_chains) {
    fail<Corrupt>("cache record {}: meta is not a JSON object that describes its {} chains",
                  record.key(), num_chains);
  }

  Entry entry;
  entry.id = text_or(meta, "id", record.key());
  entry.title = text_or(meta, "title", "");
  const auto chain_entity = read.column<int32_t>("chain_entity_id", num_chains);
  const auto chain_type = read.column<uint8_t>("chain_type", num_chains);
  for (size_t c = 0; c < static_cast<size_t>(num_chains); ++c) {
    const auto& described = meta["chains"][c];
    const std::string label = text_or(described, "label", std::to_string(c + 1));
    entry.chains.push_back({.label = label,
                            .auth = text_or(described, "auth", label),
                            .sequence = text_or(described, "sequence", ""),
                            .entity = chain_entity[c],
                            .type = static_cast<ChainType>(chain_type[c])});
  }

  const auto names = read.column<uint8_t>("atom_name", num_atoms, 4);
  const auto element = read.column<uint8_t>("atom_element", num_atoms);
  const auto charge = read.column<int8_t>("atom_charge", num_atoms);
  const auto position = read.column<float>("atom_position", num_atoms, 3);
  const auto resolved = read.column<uint8_t>("atom_resolved", num_atoms);
  entry.element.assign(element.begin(), element.end());
  entry.charge.assign(charge.begin(), charge.end());
  entry.position.assign(position.begin(), position.end());
  entry.resolved.assign(resolved.begin(), resolved.end());
  entry.residue.assign(static_cast<size_t>(num_atoms), -1);
  for (size_t a = 0; a < static_cast<size_t>(num_atoms); ++a) {
    entry.atom_name.push_back(trimmed(names.subspan(4 * a, 4)));
  }

  // A residue is a run of tokens of one chain whose atoms share a reference space.
  const auto chain = read.column<int32_t>("token_chain", num_tokens);
  const auto start = read.column<int32_t>("token_atom_start", num_tokens);
  const auto count = read.column<int32_t>("token_atom_count", num_tokens);
  const auto center = read.column<int32_t>("token_center_atom", num_tokens);
  const auto sequence_id = read.column<int32_t>("token_residue_index", num_tokens);
  const auto author_id = read.column<int32_t>("token_auth_seq_id", num_tokens);
  const auto insertion = read.column<uint8_t>("token_ins_code", num_tokens);
  const auto atomized = read.column<uint8_t>("token_is_atomized", num_tokens);
  const auto component = read.column<uint8_t>("token_component", num_tokens, 8);
  const auto space = read.column<int32_t>("atom_ref_space_uid", num_atoms);
  int32_t next_atom = 0, previous_space = -1, previous_chain = -1;
  for (size_t t = 0; t < static_cast<size_t>(num_tokens); ++t) {
    const auto row = static_cast<int64_t>(t);
    read.require(chain[t] >= 0 && chain[t] < num_chains, "token_chain is no chain", row);
    read.require(chain[t] >= previous_chain, "token_chain descends", row);
    read.require(start[t] == next_atom && count[t] > 0 && count[t] <= num_atoms - next_atom,
                 "token_atom_start and token_atom_count leave gaps", row);
    read.require(center[t] >= start[t] && center[t] < start[t] + count[t],
                 "token_center_atom is none of the token's atoms", row);
    next_atom += count[t];
    const int32_t uid = space[static_cast<size_t>(start[t])];
    if (chain[t] != previous_chain || uid != previous_space) {
      entry.residues.push_back({.chain = chain[t],
                                .sequence_id = sequence_id[t],
                                .author_id = author_id[t],
                                .insertion_code = static_cast<char>(insertion[t]),
                                .component = trimmed(component.subspan(8 * t, 8)),
                                .is_atomized = atomized[t] != 0,
                                .first_atom = start[t],
                                .num_atoms = 0,
                                .center_atom = center[t]});
      EntryChain& owner = entry.chains[static_cast<size_t>(chain[t])];
      const auto this_residue = static_cast<int32_t>(entry.residues.size()) - 1;
      if (owner.num_residues++ == 0) owner.first_residue = this_residue;
      previous_space = uid;
      previous_chain = chain[t];
    }
    EntryResidue& residue = entry.residues.back();
    residue.num_atoms += count[t];
    for (int32_t a = start[t]; a < start[t] + count[t]; ++a) {
      entry.residue[static_cast<size_t>(a)] = static_cast<int32_t>(entry.residues.size()) - 1;
      // A modified residue's CA and a nucleotide's C1' are its trace, though it is atomized.
      const std::string& name = entry.atom_name[static_cast<size_t>(a)];
      const bool in_polymer = entry.chains[static_cast<size_t>(chain[t])].type != ChainType::ligand;
      if (in_polymer && residue.is_atomized && (name == "CA" || name == "C1'")) {
        residue.center_atom = a;
      }
    }
  }
  read.require(next_atom == num_atoms, "the tokens do not own all atoms", num_tokens);
  return entry;
}

}  // namespace megafold
