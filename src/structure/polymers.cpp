// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/polymers.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/errors.h"

namespace megafold {
namespace {

/// A longer sequence is damage (titin, the longest known protein, has 34,350 residues).
constexpr int32_t kMaxSequence = 100000;

using Sequence = std::map<int32_t, std::vector<ShortName>>;

Linking linking_of(ChainType type) {
  switch (type) {
    case ChainType::protein:
      return Linking::peptide;
    case ChainType::rna:
      return Linking::rna;
    case ChainType::dna:
      return Linking::dna;
    default:
      return Linking::none;
  }
}

/// The majority of the residues' kinds; ligand where none of them links.
ChainType vote(const std::vector<Residue>& residues) {
  std::array<size_t, 4> count{};
  for (const Residue& residue : residues) ++count[static_cast<size_t>(residue.component->linking)];
  const size_t peptide = count[static_cast<size_t>(Linking::peptide)];
  const size_t rna = count[static_cast<size_t>(Linking::rna)];
  const size_t dna = count[static_cast<size_t>(Linking::dna)];
  if (peptide + rna + dna == 0) return ChainType::ligand;
  if (peptide >= rna + dna) return ChainType::protein;
  return dna >= rna ? ChainType::dna : ChainType::rna;
}

/// What _entity_poly.type says; ligand where it says nothing that is used here (hybrids too).
ChainType declared_type(const std::string& type) {
  if (type.starts_with("polypeptide")) return ChainType::protein;
  if (type == "polyribonucleotide") return ChainType::rna;
  if (type == "polydeoxyribonucleotide") return ChainType::dna;
  return ChainType::ligand;
}

/// The type that the file declares, unless no residue is of that kind (1.2.5).
ChainType type_of(const std::vector<Residue>& residues, const std::string& declared) {
  const ChainType said = declared_type(declared);
  const Linking linking = linking_of(said);
  for (const Residue& residue : residues)
    if (linking != Linking::none && residue.component->linking == linking) return said;
  return vote(residues);
}

bool is_cap(ShortName code) {
  return code == "ACE" || code == "NH2";
}

/// Residue numbers from 1: as the file gives them where they are such; else counted.
void number_residues(Chain& chain, bool has_sequence) {
  std::stable_sort(chain.residues.begin(), chain.residues.end(),
                   [](const Residue& a, const Residue& b) { return a.seq_id < b.seq_id; });
  if (has_sequence) return;
  std::set<int32_t> seen;
  int32_t low = 1;
  bool usable = true;
  for (const Residue& residue : chain.residues) {
    usable = usable && residue.seq_id != 0 && seen.insert(residue.seq_id).second;
    low = std::min(low, residue.seq_id);
  }
  int32_t next = 1;
  for (Residue& residue : chain.residues)
    residue.seq_id = usable ? residue.seq_id + 1 - low : next++;
}

void set_sequence(WorkChain& work, const Sequence& given) {
  Chain& chain = work.chain;
  int32_t length = given.empty() ? 0 : given.rbegin()->first;
  for (const Residue& residue : chain.residues) length = std::max(length, residue.seq_id);
  if (length > kMaxSequence)
    fail<BadInput>("chain {}: residue number {} (more than {})", chain.label, length, kMaxSequence);
  chain.sequence.assign(static_cast<size_t>(length), ShortName());
  for (const auto& [number, codes] : given)
    if (number >= 1) chain.sequence[static_cast<size_t>(number) - 1] = codes.front();
  for (const Residue& residue : chain.residues)
    chain.sequence[static_cast<size_t>(residue.seq_id) - 1] = residue.code;
}

}  // namespace

std::vector<WorkChain> tell_polymers(FileEntry& entry) {
  std::vector<WorkChain> out;
  for (Chain& chain : entry.chains) {
    const auto found = entry.entities.find(chain.entity);
    const Entity entity = found == entry.entities.end() ? Entity{} : found->second;
    Sequence sequence = entity.sequence;
    if (sequence.empty()) {
      const auto scheme = entry.chain_sequences.find(chain.label);
      if (scheme != entry.chain_sequences.end()) sequence = scheme->second;
    }
    const bool may_be_polymer = entity.type.empty() || entity.type == "polymer";
    WorkChain polymer;
    polymer.chain.label = polymer.chain.origin = chain.label;
    polymer.chain.auth = chain.auth;
    polymer.chain.entity = chain.entity;
    polymer.has_sequence = !sequence.empty();
    std::vector<Residue> rest;
    for (Residue& residue : chain.residues) {
      const bool belongs = polymer.has_sequence
                               ? sequence.contains(residue.seq_id) && residue.seq_id > 0
                               : residue.component->linking != Linking::none ||
                                     (is_cap(residue.code) && residue.seq_id > 0);
      (may_be_polymer && belongs ? polymer.chain.residues : rest).push_back(std::move(residue));
    }
    polymer.chain.type = type_of(polymer.chain.residues, entity.poly_type);
    // One residue is a ligand, unless the file says that it is part of a longer polymer.
    const bool lonely = polymer.chain.residues.size() == 1 && sequence.size() <= 1;
    if (polymer.chain.type == ChainType::ligand || lonely) {
      std::move(rest.begin(), rest.end(), std::back_inserter(polymer.chain.residues));
      rest.clear();
      std::swap(rest, polymer.chain.residues);
    }
    if (!polymer.chain.residues.empty()) {
      number_residues(polymer.chain, polymer.has_sequence);
      set_sequence(polymer, sequence);
      out.push_back(std::move(polymer));
    }
    if (rest.empty()) continue;
    WorkChain ligand;
    ligand.chain.auth = chain.auth;
    ligand.chain.entity = chain.entity;
    ligand.chain.origin = chain.label;
    // A ligand chain as the wwPDB writes it: one molecule, perhaps of several residues (a glycan).
    const bool is_own_chain = !entity.type.empty() && entity.type != "polymer";
    if (is_own_chain || rest.size() == 1) {
      const bool shares_name = !out.empty() && out.back().chain.label == chain.label;
      ligand.chain.label = shares_name ? fmt::format("{}.{}{}", chain.label, rest[0].code.view(),
                                                     rest[0].auth_seq_id)
                                       : chain.label;
      ligand.chain.residues = std::move(rest);
      out.push_back(std::move(ligand));
      continue;
    }
    for (Residue& residue : rest) {
      WorkChain single = ligand;
      const std::string_view ins(&residue.ins_code, residue.ins_code == ' ' ? 0 : 1);
      single.chain.label =
          fmt::format("{}.{}{}{}", chain.label, residue.code.view(), residue.auth_seq_id, ins);
      single.chain.residues.push_back(std::move(residue));
      out.push_back(std::move(single));
    }
  }
  return out;
}

}  // namespace megafold
