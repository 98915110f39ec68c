// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/polymers.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "base/errors.h"
#include "structure/infer.h"

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

/// The type that the file declares, unless no residue is of that kind (1.2.5).
ChainType type_of(const std::vector<Residue>& residues, ChainType said) {
  const Linking linking = linking_of(said);
  for (const Residue& residue : residues)
    if (linking != Linking::none && residue.component->linking == linking) return said;
  return vote(residues);
}

/// A chain whose entity is named: the residues that its sequence has; else those that link.
struct Split {
  std::vector<Residue> polymer, rest;
};

Split split(std::vector<Residue> residues, const Sequence& sequence, const Entity& entity) {
  Split out;
  const bool may_be_polymer = entity.type.empty() || entity.type == "polymer";
  std::vector<bool> belongs(residues.size(), false);
  if (may_be_polymer && sequence.empty()) belongs = find_polymer(residues, !entity.type.empty());
  for (size_t i = 0; i < residues.size(); ++i) {
    const bool in_sequence = may_be_polymer && !sequence.empty() && residues[i].seq_id > 0 &&
                             sequence.contains(residues[i].seq_id);
    (in_sequence || belongs[i] ? out.polymer : out.rest).push_back(std::move(residues[i]));
  }
  return out;
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

/// Clears a sequence that is not that of the chain's residues, after trying other numbers for them.
/// True where the residues have other numbers now.
bool check_sequence(Chain& chain, const Entity& entity, Sequence& sequence,
                    std::vector<std::string>& notes) {
  std::vector<Residue> linking;
  for (const Residue& residue : chain.residues)
    if (residue.component->linking != Linking::none && !residue.is_hetero)
      linking.push_back(residue);
  const auto outside = std::count_if(linking.begin(), linking.end(), [&](const Residue& residue) {
    return residue.seq_id <= 0 || !sequence.contains(residue.seq_id);
  });
  const bool is_odd = 2 * static_cast<size_t>(outside) >= linking.size();
  if (linking.empty() || !(is_odd || entity.is_from_letters)) return false;
  const int32_t before = linking[0].seq_id;
  if (!fit_to_sequence(linking, sequence)) {
    sequence.clear();
    notes.push_back(fmt::format(
        "chain {}: its residues are not those of its entity's sequence, which is not used",
        chain.label));
    return false;
  }
  if (linking[0].seq_id == before) return false;
  // The rest of the chain moves with its author's numbers.
  const int32_t shift = linking[0].seq_id - linking[0].auth_seq_id;
  for (Residue& residue : chain.residues) {
    const auto found = sequence.find(residue.auth_seq_id + shift);
    const bool is_there =
        found != sequence.end() &&
        std::find(found->second.begin(), found->second.end(), residue.code) != found->second.end();
    residue.seq_id = is_there ? found->first : 0;
  }
  notes.push_back(fmt::format("chain {}: places in its sequence from the author's numbers {:+}",
                              chain.label, shift));
  return true;
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
    if (may_be_polymer && !sequence.empty())
      polymer.has_file_numbers = !check_sequence(chain, entity, sequence, entry.inferred);
    polymer.chain.label = polymer.chain.origin = chain.label;
    polymer.chain.auth = chain.auth;
    polymer.chain.entity = chain.entity;
    polymer.has_sequence = !sequence.empty();
    auto [residues, rest] = split(std::move(chain.residues), sequence, entity);
    polymer.chain.residues = std::move(residues);
    polymer.chain.type = type_of(polymer.chain.residues, entity.poly_type);
    // One residue is a ligand, unless the file says that it is part of a longer polymer.
    const bool lonely = polymer.chain.residues.size() == 1 && sequence.size() <= 1;
    if (polymer.chain.type == ChainType::ligand || lonely) {
      std::move(rest.begin(), rest.end(), std::back_inserter(polymer.chain.residues));
      rest.clear();
      std::swap(rest, polymer.chain.residues);
    }
    if (!polymer.chain.residues.empty()) {
      if (polymer.has_sequence) {
        std::stable_sort(polymer.chain.residues.begin(), polymer.chain.residues.end(),
                         [](const Residue& a, const Residue& b) { return a.seq_id < b.seq_id; });
      } else if (std::string note = number_polymer(polymer.chain); !note.empty()) {
        entry.inferred.push_back(std::move(note));
        polymer.has_file_numbers = false;
      }
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
    const size_t num_residues = rest.size();
    size_t num_molecules = 0;
    for (std::vector<Residue>& molecule : group_bonded(std::move(rest))) {
      WorkChain one = ligand;
      const Residue& first = molecule[0];
      const std::string_view ins(&first.ins_code, first.ins_code == ' ' ? 0 : 1);
      one.chain.label =
          fmt::format("{}.{}{}{}", chain.label, first.code.view(), first.auth_seq_id, ins);
      one.chain.residues = std::move(molecule);
      out.push_back(std::move(one));
      ++num_molecules;
    }
    entry.inferred.push_back(fmt::format("chain {}: {} residues are {} ligands of their own",
                                         chain.label, num_residues, num_molecules));
  }
  unify_copies(out, entry.inferred);
  return out;
}

}  // namespace megafold
