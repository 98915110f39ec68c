// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/infer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "structure/cell_grid.h"
#include "structure/elements.h"

namespace megafold {
namespace {

constexpr float kMaxPeptideBond = 2.0F;   // Angstrom, C to N: 1.33 and room for bad models
constexpr float kMaxPhosphoBond = 2.2F;   // Angstrom, O3' to P: 1.61
constexpr float kBondTolerance = 0.25F;   // Angstrom above the sum of covalent radii
constexpr float kLongestInferred = 2.7F;  // Angstrom: I-I; the search radius
/// Author's numbers of a first residue up to this one are taken as they are: that many residues may
/// well be disordered; chains that start at 301 are numbered so for another reason.
constexpr int32_t kMaxUnseenStart = 50;
constexpr double kMinShared = 0.8;  // of the shorter of two copies
/// Copies whose numbers differ begin at most so many residues apart.
constexpr int32_t kMostUnseen = 20;
/// One residue in so many may differ from a sequence that is given in letters (microheterogeneity).
constexpr size_t kFitting = 50;

std::optional<float> distance(const Residue& a, ShortName of_a, const Residue& b, ShortName of_b) {
  const Atom *p = a.find(of_a), *q = b.find(of_b);
  if (p == nullptr || q == nullptr || !p->resolved || !q->resolved) return std::nullopt;
  float sum = 0;
  for (size_t i = 0; i < 3; ++i)
    sum += (p->position[i] - q->position[i]) * (p->position[i] - q->position[i]);
  return std::sqrt(sum);
}

/// Joined, apart, or not to be told because an atom is missing.
std::optional<bool> chained(const Residue& left, const Residue& right) {
  if (const auto peptide = distance(left, "C", right, "N")) return *peptide <= kMaxPeptideBond;
  if (const auto phospho = distance(left, "O3'", right, "P")) return *phospho <= kMaxPhosphoBond;
  return std::nullopt;
}

bool is_cap(ShortName code) {
  return code == "ACE" || code == "NH2" || code == "NME" || code == "FOR";
}

bool is_bonded(const Atom& a, const Atom& b, float squared) {
  const float limit = covalent_radius(a.element) + covalent_radius(b.element) + kBondTolerance;
  return squared <= limit * limit;
}

/// Atoms that may take part in a bond that is told by its length.
bool may_bond(const Atom& atom) {
  return atom.resolved && covalent_radius(atom.element) > 0;
}

/// Two molecules in one place (each partly there) have many atoms near each other; bonds join one
/// atom to one, or two to two.
constexpr size_t kMostBonds = 2;

bool are_bonded(const Residue& a, const Residue& b) {
  size_t bonds = 0;
  for (const Atom& p : a.atoms)
    for (const Atom& q : b.atoms) {
      if (!may_bond(p) || !may_bond(q)) continue;
      float squared = 0;
      for (size_t i = 0; i < 3; ++i)
        squared += (p.position[i] - q.position[i]) * (p.position[i] - q.position[i]);
      bonds += is_bonded(p, q, squared) ? 1 : 0;
    }
  return bonds > 0 && bonds <= kMostBonds;
}

/// The numbers of a chain's residues if they tell their places: all there, ascending.
bool are_places(const std::vector<int32_t>& numbers) {
  for (size_t i = 0; i < numbers.size(); ++i)
    if (i > 0 && numbers[i] <= numbers[i - 1]) return false;
  return true;
}

}  // namespace

uint8_t infer_element(ShortName atom, ShortName code) {
  std::string name;
  for (const char c : atom.view())
    if (std::isalpha(static_cast<unsigned char>(c)) != 0)
      name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (name.empty()) return 0;
  // An ion is called as its component: "MG" in MG. Elsewhere a C, N, O, H, P, S comes first.
  if (atom == code || name == code.view()) return atomic_number(name.substr(0, 2));
  if (name[0] == 'D') return 1;  // deuterium
  if (const uint8_t two = atomic_number(name.substr(0, 2));
      name.size() == 2 && (name == "CL" || name == "BR" || name == "SE" || name == "FE"))
    return two;
  return atomic_number(name.substr(0, 1));
}

bool rename_old_atoms(Residue& residue) {
  bool any = false;
  for (Atom& atom : residue.atoms) {
    if (residue.component->find(atom.name) >= 0) continue;
    std::string name = atom.name.str();
    if (name.size() == 3 && name[0] == 'O' && name[2] == 'P') {
      name = {'O', 'P', name[1]};
    } else if (name == "C5M") {
      name = "C7";
    } else {
      std::replace(name.begin(), name.end(), '*', '\'');
    }
    if (ShortName(name) == atom.name || residue.component->find(ShortName(name)) < 0 ||
        residue.find(ShortName(name)) != nullptr)
      continue;
    atom.name = ShortName(name);
    any = true;
  }
  return any;
}

bool is_chained(const Residue& left, const Residue& right) {
  return chained(left, right).value_or(false);
}

std::vector<bool> find_polymer(const std::vector<Residue>& residues, bool is_declared) {
  std::vector<bool> out(residues.size());
  for (size_t i = 0; i < residues.size(); ++i) {
    const Residue& residue = residues[i];
    const bool links = residue.component->linking != Linking::none;
    if (!links && !is_cap(residue.code)) continue;
    out[i] = (links && !residue.is_hetero && (is_declared || residue.seq_id != 0)) ||
             (i > 0 && is_chained(residues[i - 1], residue)) ||
             (i + 1 < residues.size() && is_chained(residue, residues[i + 1]));
  }
  return out;
}

std::string number_polymer(Chain& chain) {
  std::vector<int32_t> labels, authors;
  bool label_is_author = true, any_unnumbered = false, counts_over_breaks = false;
  for (const Residue& residue : chain.residues) {
    if (!labels.empty() && residue.seq_id == labels.back() + 1 &&
        int64_t{residue.auth_seq_id} - authors.back() > 1) {
      const Residue& before = chain.residues[labels.size() - 1];
      counts_over_breaks = counts_over_breaks || !chained(before, residue).value_or(true);
    }
    labels.push_back(residue.seq_id);
    authors.push_back(residue.auth_seq_id);
    any_unnumbered = any_unnumbered || residue.seq_id == 0;
    label_is_author =
        label_is_author && (residue.seq_id == residue.auth_seq_id || residue.seq_id == 0);
  }
  if (!label_is_author && !any_unnumbered && !counts_over_breaks && are_places(labels)) {
    const int32_t shift = labels[0] < 1 ? 1 - labels[0] : 0;
    for (Residue& residue : chain.residues) residue.seq_id += shift;
    return shift == 0 ? "" : fmt::format("numbers of chain {} moved by {}", chain.label, shift);
  }
  int32_t number = authors[0] >= 1 && authors[0] <= kMaxUnseenStart ? authors[0] : 1;
  size_t changed = 0;
  for (size_t i = 0; i < chain.residues.size(); ++i) {
    if (i > 0) {
      const int64_t step = int64_t{authors[i]} - authors[i - 1];
      const auto joined = chained(chain.residues[i - 1], chain.residues[i]);
      if (step != 1 && !joined.value_or(step < 1)) {
        number += step > 1 ? static_cast<int32_t>(step) : 2;  // a break: of unknown length
      } else {
        ++number;
      }
    }
    changed += number != authors[i] ? 1 : 0;
    chain.residues[i].seq_id = number;
  }
  return fmt::format("chain {}: numbered from {} after the author's numbers{}", chain.label,
                     chain.residues[0].seq_id,
                     changed == 0 ? "" : fmt::format(", {} of {} others", changed, labels.size()));
}

bool fit_to_sequence(std::vector<Residue>& residues,
                     const std::map<int32_t, std::vector<ShortName>>& sequence) {
  const auto has = [&](int64_t number, ShortName code) {
    if (number < 1 || number > sequence.rbegin()->first) return false;
    const auto found = sequence.find(static_cast<int32_t>(number));
    return found != sequence.end() &&
           std::find(found->second.begin(), found->second.end(), code) != found->second.end();
  };
  const auto fits = [&](int32_t Residue::*number, int64_t shift) {
    size_t wrong = 0;
    for (const Residue& residue : residues)
      wrong += residue.*number != 0 && has(residue.*number + shift, residue.code) ? 0 : 1;
    return wrong * kFitting <= residues.size();
  };
  if (sequence.empty() || residues.empty()) return false;
  if (fits(&Residue::seq_id, 0)) return true;
  for (int32_t Residue::*const number : {&Residue::auth_seq_id, &Residue::seq_id})
    for (const auto& [place, codes] : sequence) {
      const int64_t shift = int64_t{place} - residues[0].*number;
      if (std::find(codes.begin(), codes.end(), residues[0].code) == codes.end() ||
          !fits(number, shift))
        continue;
      for (Residue& residue : residues)
        residue.seq_id = static_cast<int32_t>(residue.*number + shift);
      return true;
    }
  return false;
}

void unify_copies(std::vector<WorkChain>& chains, std::vector<std::string>& notes) {
  struct Group {
    std::vector<size_t> members;
    std::map<int32_t, ShortName> merged;
  };
  std::vector<Group> groups;
  const auto joins = [&](const Group& group, const Chain& chain, int32_t shift) {
    size_t shared = 0;
    for (const Residue& residue : chain.residues) {
      const auto found = group.merged.find(residue.seq_id + shift);
      if (found == group.merged.end()) continue;
      if (found->second != residue.code) return false;
      ++shared;
    }
    const size_t shorter = std::min(group.merged.size(), chain.residues.size());
    return static_cast<double>(shared) >= kMinShared * static_cast<double>(shorter);
  };
  for (size_t c = 0; c < chains.size(); ++c) {
    WorkChain& work = chains[c];
    Chain& chain = work.chain;
    if (work.has_sequence || !is_polymer(chain.type) || chain.residues.empty()) continue;
    bool found = false;
    for (Group& group : groups) {
      const Chain& first = chains[group.members[0]].chain;
      if (first.type != chain.type) continue;  // entity ids without sequences are one per chain
      const Residue &ours = chain.residues[0], &theirs = first.residues[0];
      const int32_t by_author = theirs.seq_id - ours.seq_id + ours.auth_seq_id - theirs.auth_seq_id;
      std::vector<int32_t> shifts = {0, by_author};
      for (int32_t i = 1; i <= kMostUnseen; ++i) shifts.insert(shifts.end(), {i, -i});
      for (const int32_t shift : shifts) {
        if (!joins(group, chain, shift) || ours.seq_id + shift < 1) continue;
        work.has_file_numbers = work.has_file_numbers && shift == 0;
        for (Residue& residue : chain.residues) {
          residue.seq_id += shift;
          group.merged.emplace(residue.seq_id, residue.code);
        }
        group.members.push_back(c);
        found = true;
        break;
      }
      if (found) break;
    }
    if (found) continue;
    Group group;
    group.members.push_back(c);
    for (const Residue& residue : chain.residues)
      group.merged.emplace(residue.seq_id, residue.code);
    groups.push_back(std::move(group));
  }
  for (const Group& group : groups) {
    std::vector<std::string> labels;
    for (const size_t c : group.members) {
      Chain& chain = chains[c].chain;
      labels.push_back(chain.label);
      chain.sequence.assign(static_cast<size_t>(group.merged.rbegin()->first), ShortName());
      for (const auto& [number, code] : group.merged)
        chain.sequence[static_cast<size_t>(number) - 1] = code;
      chains[c].has_sequence = group.members.size() > 1;  // what another copy resolves is missing
    }
    notes.push_back(fmt::format("chain{} {}: {} residues of sequence, from those with coordinates",
                                labels.size() > 1 ? "s" : "", fmt::join(labels, " "),
                                group.merged.size()));
  }
}

std::vector<std::vector<Residue>> group_bonded(std::vector<Residue> residues) {
  std::vector<size_t> root(residues.size());
  std::iota(root.begin(), root.end(), size_t{0});
  const auto find = [&](size_t i) {
    while (root[i] != i) i = root[i] = root[root[i]];
    return i;
  };
  constexpr float kReach = 40;  // Angstrom from the first atom; saves most comparisons
  for (size_t i = 0; i < residues.size(); ++i)
    for (size_t j = i + 1; j < residues.size(); ++j) {
      if (residues[i].atoms.empty() || residues[j].atoms.empty()) continue;
      const Atom &p = residues[i].atoms[0], &q = residues[j].atoms[0];
      float squared = 0;
      for (size_t k = 0; k < 3; ++k)
        squared += (p.position[k] - q.position[k]) * (p.position[k] - q.position[k]);
      if (squared < kReach * kReach && find(i) != find(j) && are_bonded(residues[i], residues[j]))
        root[std::max(find(i), find(j))] = std::min(find(i), find(j));
    }
  std::vector<std::vector<Residue>> out;
  std::vector<size_t> place(residues.size(), SIZE_MAX);
  for (size_t i = 0; i < residues.size(); ++i) {
    size_t& at = place[find(i)];
    if (at == SIZE_MAX) {
      at = out.size();
      out.emplace_back();
    }
    out[at].push_back(std::move(residues[i]));
  }
  return out;
}

std::vector<Link> infer_links(const std::vector<WorkChain>& chains) {
  struct Owner {
    LinkEnd end;
    const Atom* atom;
  };
  std::vector<CellGrid::Point> points;
  std::vector<Owner> owners;
  for (size_t c = 0; c < chains.size(); ++c)
    for (size_t r = 0; chains[c].alive && r < chains[c].chain.residues.size(); ++r)
      for (const Atom& atom : chains[c].chain.residues[r].atoms) {
        if (!may_bond(atom)) continue;
        points.push_back(atom.position);
        owners.push_back({{static_cast<int32_t>(c), static_cast<int32_t>(r), atom.name}, &atom});
      }
  const CellGrid grid(points, kLongestInferred);
  std::vector<Link> links;
  for (size_t i = 0; i < points.size(); ++i) {
    const LinkEnd& a = owners[i].end;
    if (is_polymer(chains[static_cast<size_t>(a.chain)].chain.type)) continue;
    grid.near(points[i], [&](uint32_t j, float squared) {
      const LinkEnd& b = owners[j].end;
      if (a.chain == b.chain && a.residue == b.residue) return;
      const bool other_is_ligand = !is_polymer(chains[static_cast<size_t>(b.chain)].chain.type);
      if (other_is_ligand && j < i) return;  // once
      if (is_bonded(*owners[i].atom, *owners[j].atom, squared))
        links.push_back({a, b, false, false});
    });
  }
  const auto ends_of = [](const Link& link) {
    const std::pair a(link.first.chain, link.first.residue);
    const std::pair b(link.second.chain, link.second.residue);
    return std::minmax({a, b});  // of a list: values, where of two names it is references
  };
  std::map<std::pair<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>>, size_t> count;
  for (const Link& link : links) ++count[ends_of(link)];
  std::erase_if(links, [&](const Link& link) { return count[ends_of(link)] > kMostBonds; });
  return links;
}

}  // namespace megafold
