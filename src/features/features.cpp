// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "features/features.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "features/molecules.h"
#include "features/vocabulary.h"
#include "structure/automorphisms.h"

namespace megafold {
namespace {

using nlohmann::json;

constexpr float kMaxBond = 2.4F;  // Angstrom (SI Table 5)

std::string_view name_of(ChainType type) {
  constexpr std::array<std::string_view, 4> kNames = {"protein", "rna", "dna", "ligand"};
  return kNames[static_cast<size_t>(type)];
}

/// C-N, or one of the phosphodiester's: the bonds that do not make a token per atom (2.2).
bool is_backbone_bond(ShortName a, ShortName b) {
  const auto is_phosphodiester = [](ShortName n) { return n == "P" || n == "O3'" || n == "O5'"; };
  return (a == "C" && b == "N") || (a == "N" && b == "C") ||
         (is_phosphodiester(a) && is_phosphodiester(b));
}

class Featurizer {
 public:
  Featurizer(const Structure& structure, const StructureSource& source)
      : structure_(structure), source_(source) {}

  std::vector<NamedArray> run() {
    find_bonded_residues();
    name_entities();
    for (size_t c = 0; c < structure_.chains.size(); ++c) add_chain(static_cast<int32_t>(c));
    add_bonds();
    for (const MoleculeOfChain& row : find_molecules(structure_, entity_, bonded_)) {
      molecule_.push_back(row.molecule);
      molecule_entity_.push_back(row.entity);
      molecule_rank_.push_back(row.rank);
    }
    return collect();
  }

 private:
  using ResiduePlace = std::pair<int32_t, int32_t>;  // chain, residue

  const Residue& residue_at(const AtomPlace& place) const {
    return structure_.chains[static_cast<size_t>(place.chain)]
        .residues[static_cast<size_t>(place.residue)];
  }

  void find_bonded_residues() {
    for (const Bond& bond : structure_.bonds) {
      const auto name = [&](const AtomPlace& place) {
        return residue_at(place).atoms[static_cast<size_t>(place.atom)].name;
      };
      if (is_backbone_bond(name(bond.first), name(bond.second))) continue;
      bonded_.insert({bond.first.chain, bond.first.residue});
      bonded_.insert({bond.second.chain, bond.second.residue});
    }
  }

  /// Entities by type and the list of components (2.8), numbered as they appear.
  void name_entities() {
    std::map<std::string, int32_t> ids;
    std::map<int32_t, int32_t> copies;
    for (const Chain& chain : structure_.chains) {
      std::string key(name_of(chain.type));
      if (is_polymer(chain.type)) {
        for (const ShortName code : chain.sequence) key += ' ' + code.str();
      } else {
        for (const Residue& residue : chain.residues) key += ' ' + residue.code.str();
      }
      const int32_t next = static_cast<int32_t>(ids.size()) + 1;
      const int32_t id = ids.emplace(std::move(key), next).first->second;
      entity_.push_back(id);
      sym_.push_back(++copies[id]);
    }
  }

  void add_chain(int32_t c) {
    const Chain& chain = structure_.chains[static_cast<size_t>(c)];
    const auto start = static_cast<int32_t>(restype_.size());
    chain_asym_.push_back(c + 1);
    chain_entity_.push_back(entity_[static_cast<size_t>(c)]);
    chain_type_.push_back(static_cast<uint8_t>(chain.type));
    chain_start_.push_back(start);
    for (size_t r = 0; r < chain.residues.size(); ++r) add_residue(c, static_cast<int32_t>(r));
    chain_count_.push_back(static_cast<int32_t>(restype_.size()) - start);
  }

  void add_residue(int32_t c, int32_t r) {
    const Chain& chain = structure_.chains[static_cast<size_t>(c)];
    const Residue& residue = chain.residues[static_cast<size_t>(r)];
    const bool polymer = is_polymer(chain.type);
    const StandardResidue* const standard = polymer ? find_standard(residue.code) : nullptr;
    const bool atomized = standard == nullptr || bonded_.contains({c, r});
    const auto first_atom = static_cast<int32_t>(element_.size());
    const auto uid = static_cast<int32_t>(num_residues_++);
    for (const Atom& atom : residue.atoms) add_atom(residue, atom, uid);
    residue_permutation_.push_back(permutation_of(residue));
    residue_conformer_.push_back(conformers_of(*residue.component));
    const auto num_atoms = static_cast<int32_t>(residue.atoms.size());
    first_atom_[{c, r}] = first_atom;

    const auto add_token = [&](int32_t atom, int32_t count, int32_t center, int32_t rep) {
      for (int32_t i = 0; i < count; ++i)
        atom_token_.push_back(static_cast<int32_t>(restype_.size()));
      residue_index_.push_back(polymer ? residue.seq_id : residue.auth_seq_id);
      asym_id_.push_back(c + 1);
      entity_id_.push_back(entity_[static_cast<size_t>(c)]);
      sym_id_.push_back(sym_[static_cast<size_t>(c)]);
      restype_.push_back(standard != nullptr ? standard->restype
                                             : static_cast<uint8_t>(kRestypeUnknown));
      token_type_.push_back(static_cast<uint8_t>(chain.type));
      token_chain_.push_back(c);
      is_atomized_.push_back(atomized ? 1 : 0);
      msa_column_.push_back(polymer ? residue.seq_id - 1 : -1);
      atom_start_.push_back(atom);
      atom_count_.push_back(count);
      center_.push_back(center);
      representative_.push_back(rep);
      const std::string_view code = residue.code.view();
      for (size_t i = 0; i < ShortName::kLength; ++i)
        component_.push_back(i < code.size() ? static_cast<uint8_t>(code[i]) : ' ');
      auth_seq_.push_back(residue.auth_seq_id);
      ins_code_.push_back(static_cast<uint8_t>(residue.ins_code));
    };
    if (atomized) {
      for (int32_t i = 0; i < num_atoms; ++i)
        add_token(first_atom + i, 1, first_atom + i, first_atom + i);
      return;
    }
    const auto place_of = [&](ShortName name) {
      for (int32_t i = 0; i < num_atoms; ++i)
        if (residue.atoms[static_cast<size_t>(i)].name == name) return first_atom + i;
      return int32_t{-1};
    };
    const int32_t center = place_of(standard->center);
    const int32_t rep = standard->representative.empty() ? -1 : place_of(standard->representative);
    add_token(first_atom, num_atoms, center, rep);
  }

  /// The row of a component's further conformers, stored once for all its residues; -1: none.
  int32_t conformers_of(const Component& component) {
    if (component.conformers.empty()) return -1;
    const auto row = static_cast<int32_t>(conformer_atoms_.size());
    const auto [found, is_new] = conformer_rows_.emplace(component.code, row);
    if (!is_new) return found->second;
    const auto n = static_cast<int32_t>(component.atoms.size());
    conformer_atoms_.push_back(n);
    conformer_start_.push_back(static_cast<int32_t>(conformer_position_.size() / 3));
    conformer_count_.push_back(static_cast<int32_t>(component.conformers.size()) / n);
    for (const std::array<float, 3>& at : component.conformers)
      conformer_position_.insert(conformer_position_.end(), at.begin(), at.end());
    return row;
  }

  void add_atom(const Residue& residue, const Atom& atom, int32_t uid) {
    const Component& component = *residue.component;
    const int32_t place = component.find(atom.name);
    const ComponentAtom& known = component.atoms[static_cast<size_t>(place)];
    conformer_place_.push_back(place);
    position_.insert(position_.end(), atom.position.begin(), atom.position.end());
    resolved_.push_back(atom.resolved ? 1 : 0);
    b_factor_.push_back(atom.b_factor);
    element_.push_back(atom.element);
    charge_.push_back(known.charge);
    const std::string_view name = atom.name.view();  // longer names are cut (2.)
    for (size_t i = 0; i < 4; ++i)
      atom_name_.push_back(i < name.size() ? static_cast<uint8_t>(name[i]) : ' ');
    // One conformer for the whole residue: ideal, or the model coordinates where those have more.
    size_t ideal = 0, model = 0;
    for (const ComponentAtom& other : component.atoms) {
      ideal += other.has_ideal ? 1 : 0;
      model += other.has_model ? 1 : 0;
    }
    const bool use_ideal = ideal >= model;
    const bool has = use_ideal ? known.has_ideal : known.has_model;
    const std::array<float, 3> at = use_ideal ? known.ideal : known.model;
    for (const float x : at) ref_position_.push_back(has ? x : 0);
    ref_mask_.push_back(has ? 1 : 0);
    space_uid_.push_back(uid);
  }

  /// The row of the residue's permutations: those of its component that keep to the atoms that it
  /// has (a bond may have taken others), each once. -1 where there is the identity alone.
  int32_t permutation_of(const Residue& residue) {
    const Component& component = *residue.component;
    std::vector<int32_t> present;  // the component's atom behind each of the residue's
    for (const Atom& atom : residue.atoms) present.push_back(component.find(atom.name));
    const auto [known, is_new] =
        permutation_rows_.try_emplace({component.code, std::move(present)}, -1);
    if (!is_new) return known->second;
    const std::vector<int32_t>& atoms = known->first.second;
    std::map<int32_t, int32_t> place;
    for (size_t k = 0; k < atoms.size(); ++k) place[atoms[k]] = static_cast<int32_t>(k);
    std::vector<std::vector<int32_t>> lists;
    for (const auto& map : automorphisms(component)) {
      std::vector<int32_t> list;
      for (const int32_t atom : atoms) {
        const auto image = place.find(map[static_cast<size_t>(atom)]);
        if (image == place.end()) break;
        list.push_back(image->second);
      }
      if (list.size() == atoms.size()) lists.push_back(std::move(list));
    }
    std::sort(lists.begin(), lists.end());  // the identity is the least
    lists.erase(std::unique(lists.begin(), lists.end()), lists.end());
    if (lists.size() < 2) return -1;
    known->second = static_cast<int32_t>(permutation_atoms_.size());
    permutation_atoms_.push_back(static_cast<int32_t>(atoms.size()));
    permutation_start_.push_back(static_cast<int32_t>(permutation_.size()));
    permutation_count_.push_back(static_cast<int32_t>(lists.size()));
    for (const auto& list : lists)
      permutation_.insert(permutation_.end(), list.begin(), list.end());
    return known->second;
  }

  /// Every bond between two atomised tokens (OpenFold 3's rule of SI Table 5).
  void add_bonds() {
    std::set<std::pair<int32_t, int32_t>> pairs;
    const auto add = [&](int32_t a, int32_t b) {
      const int32_t s = atom_token_[static_cast<size_t>(a)],
                    t = atom_token_[static_cast<size_t>(b)];
      if (s == t || is_atomized_[static_cast<size_t>(s)] == 0 ||
          is_atomized_[static_cast<size_t>(t)] == 0)
        return;
      if (resolved_[static_cast<size_t>(a)] != 0 && resolved_[static_cast<size_t>(b)] != 0) {
        float squared = 0;
        for (size_t i = 0; i < 3; ++i) {
          const float d =
              position_[3 * static_cast<size_t>(a) + i] - position_[3 * static_cast<size_t>(b) + i];
          squared += d * d;
        }
        if (squared >= kMaxBond * kMaxBond) return;
      }
      pairs.insert(std::minmax(s, t));
    };
    for (size_t c = 0; c < structure_.chains.size(); ++c) {
      const auto& residues = structure_.chains[c].residues;
      for (size_t r = 0; r < residues.size(); ++r) {
        const int32_t first = first_atom_[{static_cast<int32_t>(c), static_cast<int32_t>(r)}];
        if (residues[r].atoms.empty() ||
            is_atomized_[static_cast<size_t>(atom_token_[static_cast<size_t>(first)])] == 0)
          continue;
        std::vector<int32_t> place(residues[r].component->atoms.size(), -1);
        for (size_t i = 0; i < residues[r].atoms.size(); ++i)
          place[static_cast<size_t>(residues[r].component->find(residues[r].atoms[i].name))] =
              first + static_cast<int32_t>(i);
        for (const auto& [a, b] : residues[r].component->bonds)
          if (place[a] >= 0 && place[b] >= 0) add(place[a], place[b]);
      }
    }
    for (const Bond& bond : structure_.bonds)
      add(first_atom_[{bond.first.chain, bond.first.residue}] + bond.first.atom,
          first_atom_[{bond.second.chain, bond.second.residue}] + bond.second.atom);
    for (const auto& [s, t] : pairs) bonds_.insert(bonds_.end(), {s, t});
  }

  [[nodiscard]] std::string meta() const {
    const EntryInfo& info = structure_.info;
    json chains = json::array();
    for (const Chain& chain : structure_.chains) {
      json one{{"label", chain.label},   {"origin", chain.origin},      {"auth", chain.auth},
               {"entity", chain.entity}, {"type", name_of(chain.type)}, {"sequence", nullptr},
               {"alignment", nullptr}};
      if (is_polymer(chain.type)) one["sequence"] = one_letter_sequence(chain);
      chains.push_back(std::move(one));
    }
    json removed = json::array();
    for (const Removal& removal : structure_.removed)
      removed.push_back({{"what", removal.what}, {"rule", removal.rule}});
    json out{{"id", info.id},
             {"title", info.title},
             {"method", info.method},
             {"release_date", nullptr},
             {"resolution", nullptr},
             {"chains", std::move(chains)},
             {"ccd_version", source_.ccd_version},
             {"rules_version", source_.rules_version},
             {"source", source_.file},
             {"removed", std::move(removed)}};
    if (!structure_.inferred.empty()) out["inferred"] = structure_.inferred;
    if (info.release_date) out["release_date"] = *info.release_date;
    if (info.resolution) out["resolution"] = *info.resolution;
    // A file's text may be Latin-1: what is no UTF-8 is replaced, never refused.
    return out.dump(-1, ' ', false, json::error_handler_t::replace);
  }

  [[nodiscard]] std::vector<NamedArray> collect() const {
    const auto n = static_cast<int64_t>(restype_.size());
    const auto a = static_cast<int64_t>(element_.size());
    const auto c = static_cast<int64_t>(chain_asym_.size());
    const std::string text = meta();
    std::vector<NamedArray> out;
    using enum ArrayType;
    const auto add = [&](std::string_view name, ArrayType type, std::vector<int64_t> shape,
                         const auto& values) {
      out.push_back(make_array(name, type, std::move(shape), values));
    };
    add("token_residue_index", i32, {n}, residue_index_);
    add("token_asym_id", i32, {n}, asym_id_);
    add("token_entity_id", i32, {n}, entity_id_);
    add("token_sym_id", i32, {n}, sym_id_);
    add("token_restype", u8, {n}, restype_);
    add("token_chain_type", u8, {n}, token_type_);
    add("token_chain", i32, {n}, token_chain_);
    add("token_is_atomized", u8, {n}, is_atomized_);
    add("token_msa_column", i32, {n}, msa_column_);
    add("token_atom_start", i32, {n}, atom_start_);
    add("token_atom_count", i32, {n}, atom_count_);
    add("token_center_atom", i32, {n}, center_);
    add("token_representative_atom", i32, {n}, representative_);
    add("token_component", u8, {n, 8}, component_);
    add("token_auth_seq_id", i32, {n}, auth_seq_);
    add("token_ins_code", u8, {n}, ins_code_);
    add("atom_position", f32, {a, 3}, position_);
    add("atom_resolved", u8, {a}, resolved_);
    add("atom_b_factor", f32, {a}, b_factor_);
    add("atom_element", u8, {a}, element_);
    add("atom_charge", i8, {a}, charge_);
    add("atom_name", u8, {a, 4}, atom_name_);
    add("atom_ref_position", f32, {a, 3}, ref_position_);
    add("atom_ref_mask", u8, {a}, ref_mask_);
    add("atom_ref_space_uid", i32, {a}, space_uid_);
    add("atom_conformer_place", i32, {a}, conformer_place_);
    add("token_bond", i32, {static_cast<int64_t>(bonds_.size()) / 2, 2}, bonds_);
    add("chain_asym_id", i32, {c}, chain_asym_);
    add("chain_entity_id", i32, {c}, chain_entity_);
    add("chain_type", u8, {c}, chain_type_);
    add("chain_token_start", i32, {c}, chain_start_);
    add("chain_token_count", i32, {c}, chain_count_);
    add("chain_molecule", i32, {c}, molecule_);
    add("chain_molecule_entity", i32, {c}, molecule_entity_);
    add("chain_molecule_rank", i32, {c}, molecule_rank_);
    add("residue_permutation", i32, {static_cast<int64_t>(residue_permutation_.size())},
        residue_permutation_);
    const auto p = static_cast<int64_t>(permutation_atoms_.size());
    add("permutation_atoms", i32, {p}, permutation_atoms_);
    add("permutation_start", i32, {p}, permutation_start_);
    add("permutation_count", i32, {p}, permutation_count_);
    add("permutation", i32, {static_cast<int64_t>(permutation_.size())}, permutation_);
    add("residue_conformer", i32, {static_cast<int64_t>(residue_conformer_.size())},
        residue_conformer_);
    const auto g = static_cast<int64_t>(conformer_atoms_.size());
    add("conformer_atoms", i32, {g}, conformer_atoms_);
    add("conformer_start", i32, {g}, conformer_start_);
    add("conformer_count", i32, {g}, conformer_count_);
    add("conformer_position", f32, {static_cast<int64_t>(conformer_position_.size()) / 3, 3},
        conformer_position_);
    add("meta", u8, {static_cast<int64_t>(text.size())},
        std::vector<uint8_t>(text.begin(), text.end()));
    return out;
  }

  const Structure& structure_;
  const StructureSource& source_;
  std::set<ResiduePlace> bonded_;  // by more than the backbone
  std::map<ResiduePlace, int32_t> first_atom_;
  std::vector<int32_t> entity_, sym_;  // per chain
  size_t num_residues_ = 0;
  // One value per token.
  std::vector<int32_t> residue_index_, asym_id_, entity_id_, sym_id_, token_chain_, msa_column_,
      atom_start_, atom_count_, center_, representative_, auth_seq_;
  std::vector<uint8_t> restype_, token_type_, is_atomized_, component_, ins_code_;
  // One value (or three, four) per atom.
  std::vector<float> position_, b_factor_, ref_position_;
  std::vector<uint8_t> resolved_, element_, atom_name_, ref_mask_;
  std::vector<int8_t> charge_;
  std::vector<int32_t> space_uid_, atom_token_;
  std::vector<int32_t> bonds_;
  std::vector<int32_t> chain_asym_, chain_entity_, chain_start_, chain_count_;
  std::vector<uint8_t> chain_type_;
  std::vector<int32_t> molecule_, molecule_entity_, molecule_rank_;
  std::vector<int32_t> residue_permutation_, permutation_atoms_, permutation_start_,
      permutation_count_, permutation_;
  std::vector<int32_t> residue_conformer_, conformer_place_, conformer_atoms_, conformer_start_,
      conformer_count_;
  std::vector<float> conformer_position_;
  std::map<ShortName, int32_t> conformer_rows_;
  std::map<std::pair<ShortName, std::vector<int32_t>>, int32_t> permutation_rows_;
};

}  // namespace

std::string one_letter_sequence(const Chain& chain) {
  std::string letters(chain.sequence.size(), 'X');
  for (const Residue& residue : chain.residues)
    if (residue.seq_id >= 1 && static_cast<size_t>(residue.seq_id) <= letters.size())
      letters[static_cast<size_t>(residue.seq_id) - 1] = residue.component->one_letter;
  return letters;
}

std::vector<NamedArray> structure_arrays(const Structure& structure,
                                         const StructureSource& source) {
  auto arrays = Featurizer(structure, source).run();
  check_schema(kStructureArrays, arrays, structure.info.id);
  return arrays;
}

std::vector<NamedArray> alignment_arrays(Msa&& msa, const std::string& sequence,
                                         Alphabet alphabet) {
  constexpr std::array<std::string_view, 3> kKinds = {"protein", "rna", "dna"};
  int64_t rows_read = 0;
  json sources = json::array();
  for (const AlignmentSource& source : msa.sources) {
    rows_read += source.rows_read;
    sources.push_back({{"name", std::filesystem::path(source.name).filename().string()},
                       {"rows_read", source.rows_read},
                       {"rows_kept", source.rows_kept}});
  }
  const json meta{{"sequence", sequence},
                  {"kind", kKinds[static_cast<size_t>(alphabet)]},
                  {"sources", std::move(sources)},
                  {"rows_read", rows_read},
                  {"rows_kept", msa.rows},
                  {"pairing_rows", msa.pairing.rows},
                  {"rules_version", kAlignmentRulesVersion}};
  const std::string text = meta.dump(-1, ' ', false, json::error_handler_t::replace);
  const int64_t s = msa.rows, l = msa.columns;
  std::vector<NamedArray> out;
  out.push_back(make_array("msa", ArrayType::u8, {s, l}, msa.classes));
  out.push_back(make_array("deletion", ArrayType::u8, {s, l}, msa.deletions));
  out.push_back(make_array("profile", ArrayType::f32, {l, kNumRestypes}, msa.profile));
  out.push_back(make_array("deletion_mean", ArrayType::f32, {l}, msa.deletion_mean));
  const PairingRows& pairing = msa.pairing;
  const int64_t u = pairing.rows;
  out.push_back(make_array("pairing_msa", ArrayType::u8, {u, l}, pairing.classes));
  out.push_back(make_array("pairing_deletion", ArrayType::u8, {u, l}, pairing.deletions));
  out.push_back(make_array("pairing_species", ArrayType::u8, {u, 8}, pairing.species));
  out.push_back(make_array("pairing_hit", ArrayType::i32, {u}, pairing.hit));
  out.push_back(make_array("pairing_main_row", ArrayType::i32, {u}, pairing.main_row));
  out.push_back(make_array("meta", ArrayType::u8, {static_cast<int64_t>(text.size())},
                           std::vector<uint8_t>(text.begin(), text.end())));
  check_schema(kAlignmentArrays, out, "alignment");
  return out;
}

}  // namespace megafold
