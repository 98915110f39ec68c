// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// For tests: cache records in memory, made residue by residue.
#pragma once

#include <array>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/errors.h"
#include "cache/reader.h"

namespace megafold::fixture {

class MemoryRecord final : public Record {
 public:
  explicit MemoryRecord(std::string key) : key_(std::move(key)) {}
  template <class T>
  void put(const std::string& name, ArrayType type, const std::vector<T>& values,
           int64_t width = 1) {
    Stored& stored = arrays_[name];
    stored.type = type;
    stored.shape = {static_cast<int64_t>(values.size()) / width};
    if (width > 1) stored.shape.push_back(width);
    stored.bytes.resize(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(stored.bytes.data(), values.data(), stored.bytes.size());
  }
  void erase(const std::string& name) { arrays_.erase(name); }
  [[nodiscard]] const std::string& key() const override { return key_; }
  [[nodiscard]] ArrayView array(std::string_view name) const override {
    const auto found = arrays_.find(std::string(name));
    if (found == arrays_.end()) fail<Corrupt>("{}: no array {}", key_, name);
    return {found->second.type, found->second.shape, found->second.bytes.data()};
  }
  [[nodiscard]] std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const auto& [name, stored] : arrays_) out.push_back(name);
    return out;
  }

 private:
  struct Stored {
    ArrayType type{};
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::string key_;
  std::map<std::string, Stored> arrays_;
};

struct AtomOf {
  std::string name;
  uint8_t element;
  std::array<float, 3> position;
  bool resolved = true;
  int8_t charge = 0;
};
struct ResidueOf {
  std::string component;
  int32_t sequence_id, author_id;
  std::vector<AtomOf> atoms;
  bool atomized = false;
  char insertion_code = ' ';
};
struct ChainOf {
  std::string label, auth, sequence;
  int32_t entity;
  ChainType type;
  std::vector<ResidueOf> residues;
};

/// A record as the cache builder would store it, with the arrays that predict/ reads.
inline MemoryRecord make_record(const std::string& id, const std::vector<ChainOf>& chains) {
  std::vector<int32_t> residue_index, token_chain, atom_start, atom_count, center, auth, space,
      chain_asym, chain_entity;
  std::vector<uint8_t> component, insertion, atomized, element, resolved, names, chain_type;
  std::vector<int8_t> charge;
  std::vector<float> position;
  nlohmann::json meta{{"id", id}, {"title", "A test's " + id}, {"chains", nlohmann::json::array()}};
  int32_t uid = 0;
  for (size_t c = 0; c < chains.size(); ++c) {
    const ChainOf& chain = chains[c];
    chain_asym.push_back(static_cast<int32_t>(c) + 1);
    chain_entity.push_back(chain.entity);
    chain_type.push_back(static_cast<uint8_t>(chain.type));
    meta["chains"].push_back(
        {{"label", chain.label}, {"auth", chain.auth}, {"sequence", chain.sequence}});
    for (const ResidueOf& residue : chain.residues) {
      const auto first = static_cast<int32_t>(element.size());
      for (const AtomOf& atom : residue.atoms) {
        std::string name = atom.name;
        name.resize(4, ' ');
        names.insert(names.end(), name.begin(), name.end());
        element.push_back(atom.element);
        charge.push_back(atom.charge);
        resolved.push_back(atom.resolved ? 1 : 0);
        for (const float x : atom.position) position.push_back(atom.resolved ? x : 0.0F);
        space.push_back(uid);
      }
      const auto tokens = residue.atomized ? static_cast<int32_t>(residue.atoms.size()) : 1;
      for (int32_t t = 0; t < tokens; ++t) {
        residue_index.push_back(residue.sequence_id);
        auth.push_back(residue.author_id);
        insertion.push_back(static_cast<uint8_t>(residue.insertion_code));
        atomized.push_back(residue.atomized ? 1 : 0);
        token_chain.push_back(static_cast<int32_t>(c));
        atom_start.push_back(first + t);
        atom_count.push_back(residue.atomized ? 1 : static_cast<int32_t>(residue.atoms.size()));
        int32_t middle = first + t;
        for (size_t a = 0; !residue.atomized && a < residue.atoms.size(); ++a) {
          const std::string& name = residue.atoms[a].name;
          if (name == "CA" || name == "C1'") middle = first + static_cast<int32_t>(a);
        }
        center.push_back(middle);
        std::string code = residue.component;
        code.resize(8, ' ');
        component.insert(component.end(), code.begin(), code.end());
      }
      ++uid;
    }
  }
  MemoryRecord record(id);
  record.put("token_residue_index", ArrayType::i32, residue_index);
  record.put("token_chain", ArrayType::i32, token_chain);
  record.put("token_atom_start", ArrayType::i32, atom_start);
  record.put("token_atom_count", ArrayType::i32, atom_count);
  record.put("token_center_atom", ArrayType::i32, center);
  record.put("token_auth_seq_id", ArrayType::i32, auth);
  record.put("token_ins_code", ArrayType::u8, insertion);
  record.put("token_is_atomized", ArrayType::u8, atomized);
  record.put("token_component", ArrayType::u8, component, 8);
  record.put("atom_name", ArrayType::u8, names, 4);
  record.put("atom_element", ArrayType::u8, element);
  record.put("atom_charge", ArrayType::i8, charge);
  record.put("atom_position", ArrayType::f32, position, 3);
  record.put("atom_resolved", ArrayType::u8, resolved);
  record.put("atom_ref_space_uid", ArrayType::i32, space);
  record.put("chain_asym_id", ArrayType::i32, chain_asym);
  record.put("chain_entity_id", ArrayType::i32, chain_entity);
  record.put("chain_type", ArrayType::u8, chain_type);
  const std::string text = meta.dump();
  record.put("meta", ArrayType::u8, std::vector<uint8_t>(text.begin(), text.end()));
  return record;
}

/// Two copies of a short protein with a modified residue and an insertion code, DNA, a magnesium
/// ion, and a ligand whose atom names need quoting.
inline std::vector<ChainOf> complex_chains() {
  const auto protein = [](float x) {
    return std::vector<ResidueOf>{
        {"GLY", 1, 10, {{"N", 7, {x, 0, 0}}, {"CA", 6, {x, 1, 0}}, {"C", 6, {x, 2, 0}}}},
        {"MSE", 2, 11, {{"N", 7, {x, 3, 0}}, {"CA", 6, {x, 4, 0}}, {"SE", 34, {x, 5, 1}}}, true},
        {"SER",
         4,
         11,
         {{"N", 7, {x, 6, 0}}, {"CA", 6, {x, 7, 0}}, {"OG", 8, {x, 8, 1}, false}},
         false,
         'A'}};
  };
  return {
      {"A", "X", "GXAS", 1, ChainType::protein, protein(0)},
      {"B", "Y", "GXAS", 1, ChainType::protein, protein(9)},
      {"C",
       "X",
       "AC",
       2,
       ChainType::dna,
       {{"DA", 1, 101, {{"P", 15, {1, 1, 5}}, {"C1'", 6, {1, 2, 5}}}},
        {"DC", 2, 102, {{"OP1", 8, {2, 1, 5}, true, -1}, {"C1'", 6, {2, 2, 5}}}}}},
      {"D",
       "X",
       "",
       3,
       ChainType::ligand,
       {{"MG", 201, 201, {{"MG", 12, {3, 3, 3}, true, 2}}, true}}},
      {"E",
       "Y",
       "",
       4,
       ChainType::ligand,
       {{"HEM", 202, 202, {{"C1\"", 6, {4, 4, 4}}, {"O'A", 8, {5, 4, 4}}}, true}}},
  };
}

}  // namespace megafold::fixture
