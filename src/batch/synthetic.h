// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// A made-up cache in memory, for tests of batching and training that need no file: small complexes
// of protein chains (every fifth token's centre unresolved), a modified residue and a ligand.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/philox.h"
#include "cache/reader.h"

namespace megafold::synthetic {

class MemoryRecord : public Record {
 public:
  explicit MemoryRecord(std::string key) : key_(std::move(key)) {}
  const std::string& key() const override { return key_; }
  ArrayView array(std::string_view name) const override {
    const auto found = arrays_.find(std::string(name));
    if (found == arrays_.end()) fail<Corrupt>("record {}: no array {}", key_, name);
    return {found->second.type, found->second.shape, found->second.bytes.data()};
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, value] : arrays_) all.push_back(name);
    return all;
  }
  template <class T>
  void set(const std::string& name, ArrayType type, std::vector<int64_t> shape,
           const std::vector<T>& values) {
    Stored stored{type, std::move(shape), std::vector<std::byte>(values.size() * sizeof(T))};
    if (!values.empty()) std::memcpy(stored.bytes.data(), values.data(), stored.bytes.size());
    arrays_[name] = std::move(stored);
  }
  void set_meta(const nlohmann::json& meta) {
    const std::string text = meta.dump();
    set("meta", ArrayType::u8, {static_cast<int64_t>(text.size())},
        std::vector<char>(text.begin(), text.end()));
  }

 private:
  struct Stored {
    ArrayType type;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::string key_;
  std::map<std::string, Stored> arrays_;
};

struct Chain {
  ChainType type = ChainType::protein;
  int64_t length = 10;  // residues; a ligand: atoms
  int entity = 1;
  std::string alignment = {};  // key; empty: none
  double x = 0;                // Angstrom: where the chain starts
  int modified = -1;           // index of a residue that is one token per atom
};

/// A chain of residues 3.8 A apart along y, four atoms each (N CA C CB); ligand atoms 1.5 A apart.
inline std::shared_ptr<MemoryRecord> structure(const std::string& id,
                                               const std::vector<Chain>& chains) {
  std::vector<int32_t> residue_index, asym, entity, sym, chain_of, column, start, count, center,
      representative, auth, uid, bonds, chain_asym, chain_entity, chain_start, chain_count;
  std::vector<uint8_t> restype, type_of, atomized, component, ins, resolved, element, name,
      ref_mask, chain_type;
  std::vector<float> position, b_factor, ref_position;
  std::vector<int8_t> charge;
  Random random(1, stream_id(id), 0, Purpose::reference);
  auto meta_chains = nlohmann::json::array();
  int32_t next_uid = 0, c = 0;
  std::map<int, int32_t> copies;
  const auto add_atom = [&](const char* atom, int z, double x, double y, double dz, bool seen) {
    for (const double p : {x, y, dz}) position.push_back(seen ? static_cast<float>(p) : 0.0F);
    for (int k = 0; k < 3; ++k) ref_position.push_back(static_cast<float>(5 + 2 * random.normal()));
    resolved.push_back(seen);
    b_factor.push_back(seen ? 20 : 0);
    element.push_back(static_cast<uint8_t>(z));
    charge.push_back(0);
    ref_mask.push_back(1);
    uid.push_back(next_uid);
    for (size_t k = 0; k < 4; ++k)
      name.push_back(k < std::strlen(atom) ? static_cast<uint8_t>(atom[k]) : uint8_t{' '});
  };
  const auto add_token = [&](const Chain& chain, int64_t residue, int type, bool is_atomized,
                             const char* code) {
    residue_index.push_back(static_cast<int32_t>(residue + 1));
    asym.push_back(c + 1);
    entity.push_back(chain.entity);
    sym.push_back(copies[chain.entity]);
    chain_of.push_back(c);
    restype.push_back(static_cast<uint8_t>(type));
    type_of.push_back(static_cast<uint8_t>(chain.type));
    atomized.push_back(is_atomized);
    column.push_back(chain.type == ChainType::ligand ? -1 : static_cast<int32_t>(residue));
    start.push_back(static_cast<int32_t>(element.size()));
    auth.push_back(static_cast<int32_t>(residue + 1));
    ins.push_back(' ');
    for (size_t k = 0; k < 8; ++k)
      component.push_back(k < std::strlen(code) ? static_cast<uint8_t>(code[k]) : uint8_t{' '});
  };
  const auto close_token = [&](int32_t center_at, int32_t representative_at) {
    count.push_back(static_cast<int32_t>(element.size()) - start.back());
    center.push_back(start.back() + center_at);
    representative.push_back(start.back() + representative_at);
  };
  for (const Chain& chain : chains) {
    const auto first = static_cast<int32_t>(restype.size());
    ++copies[chain.entity];
    std::string sequence;
    for (int64_t r = 0; r < chain.length; ++r) {
      const bool seen = r % 5 != 4;
      const double y = 3.8 * static_cast<double>(r);
      if (chain.type == ChainType::ligand) {
        add_token(chain, 0, kRestypeUnknown, true, "LIG");
        add_atom("C", 6, chain.x, 1.5 * static_cast<double>(r), 0, true);
        close_token(0, 0);
        const auto t = static_cast<int32_t>(restype.size()) - 1;
        if (r > 0) bonds.insert(bonds.end(), {t - 1, t});
        continue;
      }
      const int type = static_cast<int>((r * 7 + chain.entity) % 20);
      sequence += r == chain.modified ? 'X' : "ARNDCQEGHILKMFPSTWYV"[type];
      const std::array<std::pair<const char*, int>, 4> atoms = {
          {{"N", 7}, {"CA", 6}, {"C", 6}, {"CB", 6}}};
      if (r != chain.modified) add_token(chain, r, type, false, "ALA");
      for (int k = 0; k < 4; ++k) {
        if (r == chain.modified) add_token(chain, r, kRestypeUnknown, true, "MOD");
        const double dy = 1.2 * k;
        add_atom(atoms[static_cast<size_t>(k)].first, atoms[static_cast<size_t>(k)].second,
                 chain.x + random.normal(), y + dy, random.normal(), seen);
        if (r == chain.modified) close_token(0, 0);
      }
      if (r != chain.modified) close_token(1, 3);
      ++next_uid;
    }
    if (chain.type == ChainType::ligand) ++next_uid;
    chain_asym.push_back(c + 1);
    chain_entity.push_back(chain.entity);
    chain_type.push_back(static_cast<uint8_t>(chain.type));
    chain_start.push_back(first);
    chain_count.push_back(static_cast<int32_t>(restype.size()) - first);
    meta_chains.push_back(
        {{"label", std::string(1, static_cast<char>('A' + c))},
         {"auth", "A"},
         {"sequence", sequence},
         {"alignment",
          chain.alignment.empty() ? nlohmann::json() : nlohmann::json(chain.alignment)}});
    ++c;
  }
  auto record = std::make_shared<MemoryRecord>("structure-" + id);
  const auto N = static_cast<int64_t>(restype.size()), A = static_cast<int64_t>(element.size());
  const auto i32 = [&](const char* array, int64_t rows, const std::vector<int32_t>& values) {
    record->set(array, ArrayType::i32, {rows}, values);
  };
  const auto u8 = [&](const char* array, std::vector<int64_t> shape,
                      const std::vector<uint8_t>& values) {
    record->set(array, ArrayType::u8, std::move(shape), values);
  };
  i32("token_residue_index", N, residue_index), i32("token_asym_id", N, asym);
  i32("token_entity_id", N, entity), i32("token_sym_id", N, sym), i32("token_chain", N, chain_of);
  u8("token_restype", {N}, restype), u8("token_chain_type", {N}, type_of);
  u8("token_is_atomized", {N}, atomized), u8("token_ins_code", {N}, ins);
  u8("token_component", {N, 8}, component);
  i32("token_msa_column", N, column), i32("token_atom_start", N, start);
  i32("token_atom_count", N, count), i32("token_center_atom", N, center);
  i32("token_representative_atom", N, representative), i32("token_auth_seq_id", N, auth);
  record->set("atom_position", ArrayType::f32, {A, 3}, position);
  record->set("atom_b_factor", ArrayType::f32, {A}, b_factor);
  record->set("atom_ref_position", ArrayType::f32, {A, 3}, ref_position);
  record->set("atom_charge", ArrayType::i8, {A}, charge);
  u8("atom_resolved", {A}, resolved), u8("atom_element", {A}, element);
  u8("atom_name", {A, 4}, name), u8("atom_ref_mask", {A}, ref_mask);
  i32("atom_ref_space_uid", A, uid);
  record->set("token_bond", ArrayType::i32, {static_cast<int64_t>(bonds.size() / 2), 2}, bonds);
  const int64_t C = c;
  i32("chain_asym_id", C, chain_asym), i32("chain_entity_id", C, chain_entity);
  u8("chain_type", {C}, chain_type), i32("chain_token_start", C, chain_start);
  i32("chain_token_count", C, chain_count);
  // Every chain is a molecule. A ligand is a row of carbons, which may be read from either end.
  std::vector<int32_t> molecule, molecule_entity, of_residue, atoms, first, count_of, images;
  for (int32_t k = 0; k < c; ++k) {
    molecule.push_back(k);
    molecule_entity.push_back(chain_entity[static_cast<size_t>(k)] - 1);
  }
  for (const Chain& chain : chains) {
    if (chain.type != ChainType::ligand) {
      of_residue.insert(of_residue.end(), static_cast<size_t>(chain.length), -1);
      continue;
    }
    const auto n = static_cast<int32_t>(chain.length);
    of_residue.push_back(static_cast<int32_t>(atoms.size()));
    atoms.push_back(n), first.push_back(static_cast<int32_t>(images.size())), count_of.push_back(2);
    for (int32_t k = 0; k < n; ++k) images.push_back(k);
    for (int32_t k = 0; k < n; ++k) images.push_back(n - 1 - k);
  }
  i32("chain_molecule", C, molecule), i32("chain_molecule_entity", C, molecule_entity);
  i32("chain_molecule_rank", C, std::vector<int32_t>(static_cast<size_t>(c), 0));
  i32("residue_permutation", next_uid, of_residue);
  const auto P = static_cast<int64_t>(atoms.size());
  i32("permutation_atoms", P, atoms), i32("permutation_start", P, first);
  i32("permutation_count", P, count_of);
  i32("permutation", static_cast<int64_t>(images.size()), images);
  i32("atom_conformer_place", A, std::vector<int32_t>(static_cast<size_t>(A), 0));
  i32("residue_conformer", next_uid, std::vector<int32_t>(static_cast<size_t>(next_uid), -1));
  for (const char* const table : {"conformer_atoms", "conformer_start", "conformer_count"})
    i32(table, 0, {});
  record->set("conformer_position", ArrayType::f32, {0, 3}, std::vector<float>());
  record->set_meta({{"id", id}, {"resolution", 1.8}, {"chains", meta_chains}});
  return record;
}

/// A row that may be paired: its species, its place among the hits, the same main row or -1.
struct PairingRow {
  std::string species;
  int32_t hit = 0, main_row = -1;
};

/// S rows of L columns: row s, column l holds class (s + l) % 20, and s % 7 deletions. Row u for
/// pairing holds class u in every column, and u deletions.
inline std::shared_ptr<MemoryRecord> alignment(const std::string& key, int64_t S, int64_t L,
                                               const std::vector<PairingRow>& pairing = {}) {
  auto record = std::make_shared<MemoryRecord>(key);
  std::vector<uint8_t> msa, deletion;
  for (int64_t s = 0; s < S; ++s)
    for (int64_t l = 0; l < L; ++l) {
      msa.push_back(static_cast<uint8_t>((s + l) % 20));
      deletion.push_back(static_cast<uint8_t>(s % 7));
    }
  std::vector<float> profile(static_cast<size_t>(L * kNumRestypes), 1.0F / kNumRestypes);
  std::vector<float> mean(static_cast<size_t>(L), 0.5F);
  record->set("msa", ArrayType::u8, {S, L}, msa);
  record->set("deletion", ArrayType::u8, {S, L}, deletion);
  record->set("profile", ArrayType::f32, {L, kNumRestypes}, profile);
  record->set("deletion_mean", ArrayType::f32, {L}, mean);
  const auto U = static_cast<int64_t>(pairing.size());
  std::vector<uint8_t> rows, species;
  std::vector<int32_t> hit, main_row;
  for (const PairingRow& row : pairing) {
    rows.insert(rows.end(), static_cast<size_t>(L), static_cast<uint8_t>(hit.size()));
    for (size_t i = 0; i < 8; ++i)
      species.push_back(static_cast<uint8_t>(i < row.species.size() ? row.species[i] : ' '));
    hit.push_back(row.hit);
    main_row.push_back(row.main_row);
  }
  record->set("pairing_msa", ArrayType::u8, {U, L}, rows);
  record->set("pairing_deletion", ArrayType::u8, {U, L}, rows);
  record->set("pairing_species", ArrayType::u8, {U, 8}, species);
  record->set("pairing_hit", ArrayType::i32, {U}, hit);
  record->set("pairing_main_row", ArrayType::i32, {U}, main_row);
  record->set_meta({{"kind", "protein"}});
  return record;
}

class MemoryCache : public CacheReader {
 public:
  void add(const std::string& id, std::shared_ptr<const Record> record) {
    entries_.insert(std::ranges::upper_bound(entries_, id), id);
    structures_[id] = std::move(record);
  }
  void add_alignment(std::shared_ptr<const Record> record) {
    const std::string key = record->key();
    alignments_[key] = std::move(record);
  }
  const std::vector<std::string>& entries() const override { return entries_; }
  const std::vector<EntryFacts>& facts() const override {
    facts_.clear();
    for (const std::string& id : entries_) {
      EntryFacts& facts = facts_.emplace_back();
      const auto& record = structures_.at(id);
      if (record == nullptr) continue;  // one that is damaged
      const ArrayView types = record->array("chain_type");
      facts = facts_of(record->meta(), record->describe("token_restype").size(),
                       types.as<uint8_t>(), types.size());
      const auto chains = nlohmann::json::parse(record->meta()).at("chains");
      for (size_t c = 0; c < chains.size(); ++c)
        if (chains[c].at("alignment").is_string() &&
            alignments_.at(chains[c]["alignment"])->describe("msa").shape.at(0) > 1)
          ++facts.aligned.at(types.as<uint8_t>()[c]);
    }
    return facts_;
  }
  std::shared_ptr<const Record> structure(std::string_view id) const override {
    const auto found = structures_.find(std::string(id));
    if (found == structures_.end()) fail<BadInput>("no entry {}", id);
    if (found->second == nullptr) fail<Corrupt>("entry {}: block 3 is damaged", id);
    return found->second;
  }
  std::shared_ptr<const Record> alignment(std::string_view key) const override {
    const auto found = alignments_.find(std::string(key));
    if (found == alignments_.end()) fail<BadInput>("no alignment {}", key);
    return found->second;
  }
  void add_templates(std::shared_ptr<const Record> record) {
    const std::string key = record->key();
    templates_[key] = std::move(record);
  }
  std::shared_ptr<const Record> templates(std::string_view key) const override {
    const auto found = templates_.find(std::string(key));
    if (found == templates_.end()) fail<BadInput>("no templates {}", key);
    return found->second;
  }
  const std::string& content_key() const override { return content_key_; }

 private:
  std::vector<std::string> entries_;
  mutable std::vector<EntryFacts> facts_;
  std::map<std::string, std::shared_ptr<const Record>> structures_, alignments_, templates_;
  std::string content_key_ = "synthetic";
};

/// Three entries: a monomer of 30, a homodimer with a ligand beside it, and a hetero-trimer with a
/// modified residue. (The chains of a complex stand 8 A apart along x.)
inline std::shared_ptr<MemoryCache> cache() {
  auto made = std::make_shared<MemoryCache>();
  made->add("mono", structure("mono", {{.length = 30, .alignment = "msa30"}}));
  made->add("dimer",
            structure("dimer", {{.length = 40, .alignment = "msa40"},
                                {.length = 40, .alignment = "msa40", .x = 8},
                                {.type = ChainType::ligand, .length = 12, .entity = 2, .x = 12}}));
  made->add("trimer", structure("trimer", {{.length = 30, .alignment = "msa30", .modified = 3},
                                           {.length = 25, .entity = 2, .x = 8},
                                           {.length = 20, .entity = 3, .x = 100}}));
  made->add_alignment(alignment("msa30", 50, 30));
  made->add_alignment(alignment("msa40", 9, 40));
  return made;
}

}  // namespace megafold::synthetic
