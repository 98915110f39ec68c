// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/clean.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>
#include <utility>

#include "base/errors.h"
#include "structure/clashes.h"
#include "structure/infer.h"
#include "structure/links.h"
#include "structure/polymers.h"

namespace megafold {
namespace {

constexpr size_t kMinResolved = 4;    // residues of a polymer chain
constexpr float kMaxCaDistance = 10;  // Angstrom, between neighbours in sequence

float squared_distance(const Atom& a, const Atom& b) {
  float sum = 0;
  for (size_t i = 0; i < 3; ++i)
    sum += (a.position[i] - b.position[i]) * (a.position[i] - b.position[i]);
  return sum;
}

ShortName renamed(ShortName code) {
  if (code == "MSE") return "MET";
  if (code == "ASX") return "ASP";
  if (code == "GLX") return "GLU";
  return code;
}

bool is_water(ShortName code) {
  return code == "HOH" || code == "DOD" || code == "WAT" || code == "H2O";  // two are obsolete
}

/// The methods after which SI Table 9 applies.
bool is_crystallography(const std::string& method) {
  return method == "X-RAY DIFFRACTION" || method == "NEUTRON DIFFRACTION" ||
         method == "ELECTRON CRYSTALLOGRAPHY" || method == "POWDER DIFFRACTION" ||
         method == "FIBER DIFFRACTION";
}

/// NH1 is the one nearer to CD (SI 2.1): the names are exchanged, not the coordinates.
void order_arginine(Residue& residue) {
  Atom *cd = nullptr, *nh1 = nullptr, *nh2 = nullptr;
  for (Atom& atom : residue.atoms) {
    if (atom.name == "CD") cd = &atom;
    if (atom.name == "NH1") nh1 = &atom;
    if (atom.name == "NH2") nh2 = &atom;
  }
  if (cd == nullptr || nh1 == nullptr || nh2 == nullptr || !cd->resolved || !nh1->resolved ||
      !nh2->resolved)
    return;
  if (squared_distance(*nh2, *cd) < squared_distance(*nh1, *cd)) std::swap(nh1->name, nh2->name);
}

class Cleaner {
 public:
  Cleaner(FileEntry entry, const ComponentDictionary& dictionary)
      : entry_(std::move(entry)), dictionary_(dictionary) {}

  Cleaned run() {
    Cleaned out;
    out.structure.info = entry_.info;
    if (entry_.all_unoccupied) {
      out.dropped = "every atom has occupancy 0";
      return out;
    }
    rename();
    remove_residues();
    chains_ = tell_polymers(entry_);
    remove_aids();
    for (WorkChain& work : chains_) add_missing_residues(work);
    if (entry_.to_predict) order_atoms();  // bonds name atoms that only the components know
    if (const size_t copies = count_polymer_copies(); copies > kMaxPolymerChains) {
      out.dropped =
          fmt::format("{} polymer chains in the assembly (at most {})", copies, kMaxPolymerChains);
      return out;
    }
    expand_assembly();
    std::vector<Link> links = find_links(chains_, entry_.connections);
    if (entry_.connections.empty() && entry_.entities.empty()) {
      links = infer_links(chains_);
      if (!links.empty())
        entry_.inferred.push_back(fmt::format("{} bonds of ligands from distances", links.size()));
    }
    if (!entry_.to_predict) remove_short_and_unknown(links);
    for (const Clash& clash : find_clashes(chains_, links))
      remove_chain(clash.removed, links,
                   fmt::format("clash: {:.0f} % of the atoms within 1.7 A of chain {}",
                               100 * clash.share, chains_[clash.kept].chain.label));
    order_atoms();
    remove_broken(links);
    add_backbone(chains_, links);
    filter_links(chains_, links);
    if (entry_.to_predict) refuse_lost_bonds(links);
    remove_leaving_atoms(chains_, links);
    finish(links, out);
    return out;
  }

 private:
  void note(std::string what, std::string rule) {
    removed_.push_back({std::move(what), std::move(rule)});
  }

  const Component& component_of(ShortName code, const std::string& chain, int32_t number) const {
    const Component* const found = dictionary_.find(code);
    if (found == nullptr)
      fail<BadInput>(
          "chain {} residue {} {}: the component dictionary {} ({} components) does not know '{}'; "
          "pass one that does with --ccd, or put it into the data folder as {}.components.cif "
          "(megafold-conformers makes such a file)",
          chain, code.view(), number, dictionary_.file(), dictionary_.components().size(),
          code.view(), code.view());
    return *found;
  }

  void rename() {
    for (auto& [id, entity] : entry_.entities)
      for (auto& [number, codes] : entity.sequence)
        for (ShortName& code : codes) code = renamed(code);
    for (auto& [id, sequence] : entry_.chain_sequences)
      for (auto& [number, codes] : sequence)
        for (ShortName& code : codes) code = renamed(code);
    for (Connection& connection : entry_.connections)
      for (ConnectionEnd* end : {&connection.first, &connection.second}) {
        if (end->code == "MSE" && end->atom == "SE") end->atom = "SD";
        end->code = renamed(end->code);
      }
    for (Chain& chain : entry_.chains)
      for (Residue& residue : chain.residues) {
        if (residue.code == "MSE")
          for (Atom& atom : residue.atoms)
            if (atom.name == "SE") atom.name = "SD", atom.element = 16;
        residue.code = renamed(residue.code);
        if (residue.code == "ARG") order_arginine(residue);
      }
  }

  /// Waters and what has no definition; then every residue gets its component.
  void remove_residues() {
    std::map<std::string, size_t> count;
    size_t old_names = 0;
    for (Chain& chain : entry_.chains) {
      std::erase_if(chain.residues, [&](const Residue& residue) {
        const bool goes = is_water(residue.code) || residue.code == "UNX" || residue.code == "UNL";
        if (goes) ++count[residue.code.str()];
        return goes;
      });
      for (Residue& residue : chain.residues) {
        residue.component = &component_of(residue.code, chain.label, residue.auth_seq_id);
        old_names += rename_old_atoms(residue) ? 1 : 0;
      }
    }
    if (old_names > 0)
      entry_.inferred.push_back(
          fmt::format("{} residues: names of atoms as before 2007 became today's", old_names));
    for (const auto& [code, number] : count)
      note(fmt::format("{} x {}", number, code),
           code.starts_with("UN") ? "unknown ligand" : "water");
  }

  void remove_aids() {
    if (!is_crystallography(entry_.info.method)) return;
    std::map<std::string, size_t> count;
    for (WorkChain& work : chains_) {
      if (is_polymer(work.chain.type)) continue;
      std::erase_if(work.chain.residues, [&](const Residue& residue) {
        const bool goes = is_crystallisation_aid(residue.code);
        if (goes) ++count[residue.code.str()];
        return goes;
      });
    }
    std::erase_if(chains_, [](const WorkChain& work) { return work.chain.residues.empty(); });
    for (const auto& [code, number] : count)
      note(fmt::format("{} x {}", number, code), "crystallisation aid");
  }

  /// Residues of the sequence without coordinates. Their author's number continues the neighbour's.
  void add_missing_residues(WorkChain& work) {
    Chain& chain = work.chain;
    if (!is_polymer(chain.type) || !work.has_sequence) return;
    std::vector<Residue> all;
    size_t next = 0;
    for (size_t i = 0; i < chain.sequence.size(); ++i) {
      const auto number = static_cast<int32_t>(i) + 1;
      if (next < chain.residues.size() && chain.residues[next].seq_id == number) {
        while (next < chain.residues.size() && chain.residues[next].seq_id == number)
          all.push_back(std::move(chain.residues[next++]));
        continue;
      }
      if (chain.sequence[i].empty()) continue;  // a hole in the file's own numbering
      Residue residue;
      residue.code = chain.sequence[i];
      residue.seq_id = number;
      if (!all.empty()) {
        residue.auth_seq_id = all.back().auth_seq_id + number - all.back().seq_id;
      } else if (!chain.residues.empty()) {
        residue.auth_seq_id = chain.residues[0].auth_seq_id + number - chain.residues[0].seq_id;
      }
      residue.component = &component_of(residue.code, chain.label, number);
      all.push_back(std::move(residue));
    }
    chain.residues = std::move(all);
  }

  size_t count_polymer_copies() const {
    std::map<std::string, size_t> copies;
    for (const AssemblyPart& part : entry_.assembly)
      for (const std::string& label : part.chains) copies[label] += part.operations.size();
    size_t sum = 0;
    for (const WorkChain& work : chains_)
      if (is_polymer(work.chain.type))
        sum += entry_.assembly.empty() ? 1 : copies[work.chain.origin];
    return sum;
  }

  /// Copies of a chain after the first are called "A-2", "A-3" and so on.
  void expand_assembly() {
    if (entry_.assembly.empty()) return;
    std::vector<WorkChain> all;
    std::map<std::string, int> copies;
    std::unordered_set<std::string> used;
    for (const AssemblyPart& part : entry_.assembly)
      for (const Operation& operation : part.operations) {
        const std::unordered_set<std::string> wanted(part.chains.begin(), part.chains.end());
        for (const WorkChain& work : chains_) {
          if (!wanted.contains(work.chain.origin)) continue;
          all.push_back(work);
          WorkChain& copy = all.back();
          copy.operation = operation.name;
          const int number = ++copies[copy.chain.label];
          if (number > 1) copy.chain.label += fmt::format("-{}", number);
          for (Residue& residue : copy.chain.residues)
            for (Atom& atom : residue.atoms) move(atom, operation);
        }
      }
    for (const WorkChain& work : chains_)
      if (!copies.contains(work.chain.label))
        note(fmt::format("chain {}", work.chain.label), "not in the first assembly");
    chains_ = std::move(all);
  }

  static void move(Atom& atom, const Operation& operation) {
    if (!atom.resolved) return;
    const std::array<float, 3> old = atom.position;
    for (size_t i = 0; i < 3; ++i) {
      double x = operation.shift[i];
      for (size_t j = 0; j < 3; ++j) x += operation.rotation[3 * i + j] * old[j];
      atom.position[i] = static_cast<float>(x);
    }
  }

  void remove_chain(size_t index, const std::vector<Link>& links, const std::string& rule) {
    WorkChain& work = chains_[index];
    if (!work.alive) return;
    work.alive = false;
    note(fmt::format("chain {}", work.chain.label), rule);
    if (!is_polymer(work.chain.type)) return;
    for (const Link& link : links) {
      if (link.is_metal) continue;
      const auto a = static_cast<size_t>(link.first.chain),
                 b = static_cast<size_t>(link.second.chain);
      if (a != index && b != index) continue;
      WorkChain& other = chains_[a == index ? b : a];
      if (!other.alive || is_polymer(other.chain.type)) continue;
      other.alive = false;
      note(fmt::format("chain {}", other.chain.label),
           fmt::format("bound to chain {}, which is out", work.chain.label));
    }
  }

  void remove_short_and_unknown(const std::vector<Link>& links) {
    for (size_t i = 0; i < chains_.size(); ++i) {
      const Chain& chain = chains_[i].chain;
      if (!is_polymer(chain.type)) continue;
      size_t resolved = 0;
      bool unknown = true;
      for (const Residue& residue : chain.residues) {
        resolved += residue.any_resolved() ? 1 : 0;
        unknown = unknown && (residue.code == "UNK" || residue.code == "N" || residue.code == "DN");
      }
      if (resolved < kMinResolved) {
        remove_chain(i, links,
                     fmt::format("{} resolved residues (at least {})", resolved, kMinResolved));
      } else if (unknown) {
        remove_chain(i, links, "every residue is unknown");
      }
    }
  }

  /// Every residue holds its component's atoms in the dictionary's order; others leave, missing
  /// ones are there and unresolved.
  void order_atoms() {
    for (WorkChain& work : chains_) {
      if (!work.alive) continue;
      size_t foreign = 0;
      for (Residue& residue : work.chain.residues) {
        std::vector<Atom> ordered(residue.component->atoms.size());
        size_t matched = 0;
        for (size_t i = 0; i < ordered.size(); ++i) {
          const ComponentAtom& known = residue.component->atoms[i];
          if (const Atom* const atom = residue.find(known.name); atom != nullptr) {
            ordered[i] = *atom;
            ++matched;
          }
          ordered[i].name = known.name;
          ordered[i].element = known.element;
          if (!ordered[i].resolved) ordered[i].position = {}, ordered[i].b_factor = 0;
        }
        foreign += residue.atoms.size() - matched;
        residue.atoms = std::move(ordered);
      }
      if (foreign > 0)
        note(fmt::format("chain {}: {} atoms", work.chain.label, foreign),
             "not in the component's definition");
    }
  }

  /// Whoever names a bond of an entry to predict wants it, so none is lost without a word.
  void refuse_lost_bonds(const std::vector<Link>& links) const {
    for (const Connection& wanted : entry_.connections) {
      const auto is_end = [&](const ConnectionEnd& want, const LinkEnd& end) {
        const Chain& chain = chains_[static_cast<size_t>(end.chain)].chain;
        return chain.origin == want.chain && end.atom == want.atom &&
               chain.residues[static_cast<size_t>(end.residue)].auth_seq_id == want.auth_seq_id;
      };
      const bool kept = std::any_of(links.begin(), links.end(), [&](const Link& link) {
        return (is_end(wanted.first, link.first) && is_end(wanted.second, link.second)) ||
               (is_end(wanted.second, link.first) && is_end(wanted.first, link.second));
      });
      if (kept) continue;
      const auto name = [](const ConnectionEnd& end) {
        return fmt::format("{} {} {} {}", end.chain, end.code.view(), end.auth_seq_id,
                           end.atom.view());
      };
      fail<BadInput>(
          "the bond of {} to {} cannot be kept: an end is not there, or both are polymers, or "
          "another copy of the polymer lacks it (SI 5.1: name it for every copy)",
          name(wanted.first), name(wanted.second));
    }
  }

  /// Protein chains with neighbours in sequence whose CA are too far apart.
  void remove_broken(const std::vector<Link>& links) {
    for (size_t i = 0; i < chains_.size(); ++i) {
      const Chain& chain = chains_[i].chain;
      if (!chains_[i].alive || chain.type != ChainType::protein) continue;
      for (size_t r = 0; r + 1 < chain.residues.size(); ++r) {
        const Residue &left = chain.residues[r], &right = chain.residues[r + 1];
        const Atom *a = left.find("CA"), *b = right.find("CA");
        if (right.seq_id - left.seq_id != 1 || a == nullptr || b == nullptr || !a->resolved ||
            !b->resolved)
          continue;
        const float distance = std::sqrt(squared_distance(*a, *b));
        if (distance <= kMaxCaDistance) continue;
        remove_chain(i, links,
                     fmt::format("CA of residues {} and {} are {:.1f} A apart (at most 10)",
                                 left.seq_id, right.seq_id, distance));
        break;
      }
    }
  }

  void finish(const std::vector<Link>& links, Cleaned& out) {
    std::vector<int32_t> place(chains_.size(), -1);
    for (size_t i = 0; i < chains_.size(); ++i) {
      if (!chains_[i].alive) continue;
      place[i] = static_cast<int32_t>(out.structure.chains.size());
      out.structure.chains.push_back(std::move(chains_[i].chain));
    }
    for (const Link& link : links) {
      const auto at = [&](const LinkEnd& end) {
        AtomPlace found{place[static_cast<size_t>(end.chain)], end.residue, -1};
        const auto& atoms = out.structure.chains[static_cast<size_t>(found.chain)]
                                .residues[static_cast<size_t>(end.residue)]
                                .atoms;
        for (size_t i = 0; i < atoms.size(); ++i)
          if (atoms[i].name == end.atom) found.atom = static_cast<int32_t>(i);
        return found;
      };
      const Bond bond{at(link.first), at(link.second)};
      if (bond.first.atom >= 0 && bond.second.atom >= 0) out.structure.bonds.push_back(bond);
    }
    out.structure.removed = std::move(removed_);
    out.structure.inferred = std::move(entry_.inferred);
    if (out.structure.chains.empty()) out.dropped = "no chain is left after cleaning";
  }

  FileEntry entry_;
  const ComponentDictionary& dictionary_;
  std::vector<WorkChain> chains_;
  std::vector<Removal> removed_;
};

}  // namespace

bool is_crystallisation_aid(ShortName code) {
  static const std::unordered_set<ShortName> kAids = {"SO4", "GOL", "EDO", "PO4", "ACT", "PEG",
                                                      "DMS", "TRS", "PGE", "PG4", "FMT", "EPE",
                                                      "MPD", "MES", "CD",  "IOD"};
  return kAids.contains(code);
}

bool is_standard_residue(ShortName code) {
  static const std::unordered_set<ShortName> kStandard = {
      "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE", "LEU",
      "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL", "UNK", "A",
      "G",   "C",   "U",   "N",   "DA",  "DG",  "DC",  "DT",  "DN"};
  return kStandard.contains(code);
}

Cleaned clean(FileEntry entry, const ComponentDictionary& dictionary) {
  return Cleaner(std::move(entry), dictionary).run();
}

}  // namespace megafold
