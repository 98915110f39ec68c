// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/sampling_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <system_error>

#include "alignment/lines.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
constexpr std::array<std::string_view, 4> kTypes = {"protein", "rna", "dna", "ligand"};

/// What chains have in common that are of one cluster: a polymer's sequence, a ligand's components.
std::string cluster_of(const Record& record, const StructureView& structure, int32_t chain,
                       const nlohmann::json& meta) {
  const auto c = static_cast<size_t>(chain);
  std::string name(1, static_cast<char>('0' + structure.chain_type[c]));
  if (structure.type_of(chain) != ChainType::ligand) {
    name += meta.value("sequence", "");
  } else {
    const auto* const component = record.array("token_component").as<char>();
    const auto first = static_cast<size_t>(structure.chain_start[c]);
    for (size_t t = first; t < first + static_cast<size_t>(structure.chain_count[c]); ++t) {
      const bool new_residue =
          t == first || structure.residue_index[t] != structure.residue_index[t - 1];
      if (new_residue) name.append(component + 8 * t, 8);
    }
  }
  return sha256_hex({name}).substr(0, 16);
}

std::optional<int32_t> number_of(std::string_view text) {
  int32_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

std::string first_line(std::string_view body, std::string_view content_key) {
  return fmt::format("# megafold sampling table 1, cache {}, checksum {:016x}\n", content_key,
                     checksum64(std::as_bytes(std::span(body.data(), body.size()))));
}

/// Adds one line's facts; false where it is no line of a table.
bool add_line(std::string_view line, SamplingTable& table) {
  const auto fields = internal::columns_of(line);
  if (fields.size() == 5 && fields[0] == "chain") {
    const auto type = std::ranges::find(kTypes, fields[3]);
    if (type == kTypes.end()) return false;
    table[std::string(fields[1])].chains.push_back({std::string(fields[2]),
                                                    static_cast<ChainType>(type - kTypes.begin()),
                                                    std::string(fields[4])});
    return true;
  }
  if (fields.size() != 4 || fields[0] != "interface") return false;
  SamplingFacts& facts = table[std::string(fields[1])];
  const auto a = number_of(fields[2]), b = number_of(fields[3]);
  if (!a || !b || *a < 0 || *a >= *b || static_cast<size_t>(*b) >= facts.chains.size())
    return false;
  facts.interfaces.emplace_back(*a, *b);
  return true;
}

}  // namespace

SamplingFacts sampling_facts(const std::shared_ptr<const Record>& record) {
  const StructureView structure(record);
  const auto chains = nlohmann::json::parse(record->meta()).at("chains");
  SamplingFacts out;
  for (int32_t c = 0; c < structure.num_chains(); ++c) {
    const auto& chain = chains.at(static_cast<size_t>(c));
    out.chains.push_back({chain.at("label").get<std::string>(), structure.type_of(c),
                          cluster_of(*record, structure, c, chain)});
  }
  out.interfaces = find_interfaces(structure);
  return out;
}

std::vector<std::pair<int32_t, int32_t>> find_interfaces(const StructureView& structure,
                                                         double distance) {
  struct Atom {
    std::array<int32_t, 3> cell;
    int32_t chain;
    const float* position;
  };
  // Atoms sorted by cells as wide as the distance: a partner is in one of 27 cells.
  std::vector<Atom> atoms;
  for (size_t t = 0; t < structure.chain.size(); ++t) {
    const auto first = static_cast<size_t>(structure.atom_start[t]);
    for (size_t a = first; a < first + static_cast<size_t>(structure.atom_count[t]); ++a) {
      if (structure.resolved[a] == 0) continue;
      const float* const p = &structure.position[3 * a];
      std::array<int32_t, 3> cell{};
      for (size_t k = 0; k < 3; ++k)
        cell[k] = static_cast<int32_t>(std::floor(double{p[k]} / distance));
      atoms.push_back({cell, structure.chain[t], p});
    }
  }
  std::ranges::sort(atoms, {}, &Atom::cell);
  std::set<std::pair<int32_t, int32_t>> found;
  for (const Atom& atom : atoms) {
    for (int32_t neighbour = 0; neighbour < 9; ++neighbour) {
      std::array<int32_t, 3> low = {atom.cell[0] + neighbour / 3 - 1,
                                    atom.cell[1] + neighbour % 3 - 1, atom.cell[2] - 1};
      auto other = std::ranges::lower_bound(atoms, low, {}, &Atom::cell);
      for (; other != atoms.end() && other->cell[0] == low[0] && other->cell[1] == low[1] &&
             other->cell[2] <= atom.cell[2] + 1;
           ++other) {
        if (other->chain <= atom.chain) continue;  // each pair once
        double squared = 0;
        for (int k = 0; k < 3; ++k)
          squared += std::pow(double{atom.position[k]} - double{other->position[k]}, 2);
        if (squared < distance * distance) found.emplace(atom.chain, other->chain);
      }
    }
  }
  return {found.begin(), found.end()};
}

std::string pack_sampling_table(const SamplingTable& table, std::string_view content_key) {
  std::string body =
      "# chain: entry, label, type, cluster; interface: entry, numbers of its chains from 0 on\n";
  for (const auto& [entry, facts] : table) {
    for (const auto& chain : facts.chains)
      body += fmt::format("chain\t{}\t{}\t{}\t{}\n", entry, chain.label,
                          kTypes[static_cast<size_t>(chain.type)], chain.cluster);
    for (const auto& [a, b] : facts.interfaces)
      body += fmt::format("interface\t{}\t{}\t{}\n", entry, a, b);
  }
  return first_line(body, content_key) + body;
}

SamplingTable unpack_sampling_table(std::string_view text, std::string_view content_key) {
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) return {};
  const std::string_view body = text.substr(end + 1);
  if (text.substr(0, end + 1) != first_line(body, content_key)) return {};
  SamplingTable table;
  internal::Lines lines(body);
  std::string_view line;
  while (lines.next(line))
    if (!line.starts_with("#") && !add_line(line, table)) return {};
  return table;
}

SamplingTable sampling_table(const CacheReader& cache, const fs::path& folder,
                             const std::vector<std::string>& needed) {
  const fs::path path = folder / kSamplingTable;
  std::error_code missing;
  if (!folder.empty() && fs::exists(path, missing)) {
    SamplingTable table = unpack_sampling_table(read_file(path), cache.content_key());
    if (std::ranges::all_of(needed, [&](const auto& id) { return table.contains(id); }))
      return table;
  }
  SamplingTable table;
  for (const std::string& id : cache.entries()) {
    try {
      table.emplace(id, sampling_facts(cache.structure(id)));
    } catch (const Error&) {
      if (std::ranges::find(needed, id) != needed.end()) throw;
    }
  }
  if (!folder.empty() && table.size() == cache.entries().size()) {
    try {
      publish(path, pack_sampling_table(table, cache.content_key()));
    } catch (const Device&) {
      // A cache that is not ours to write in: the next run reads every structure again.
    }
  }
  return table;
}

}  // namespace megafold
