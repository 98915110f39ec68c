// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "structure/entry.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/errors.h"
#include "structure/elements.h"
#include "structure/infer.h"
#include "structure/one_letter.h"

namespace megafold {
namespace {

/// More copies than this are no training sample (the largest capsids have 60 to 240 operations).
constexpr size_t kMaxOperations = 10000;

ShortName named(const Column& column, size_t row) {
  const std::string_view text = column.text(row);
  if (text.size() > ShortName::kLength)
    fail<BadInput>("{}: '{}' has more than {} characters", column.where(row), text,
                   ShortName::kLength);
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string first_text(const Block& block, const char* category, const char* name) {
  const auto table = block.table(category);
  const Column column = table->column(name);
  for (size_t row = 0; row < column.size(); ++row)
    if (!column.missing(row)) return std::string(column.text(row));
  return {};
}

EntryInfo read_info(const Block& block, const std::string& id) {
  EntryInfo info;
  info.id = id;
  info.title = first_text(block, "_struct", "title");
  info.method = first_text(block, "_exptl", "method");
  for (char& c : info.method) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const auto history = block.table("_pdbx_audit_revision_history");
  const Column date = history->column("revision_date");
  for (size_t row = 0; row < date.size(); ++row) {
    if (date.missing(row)) continue;
    const std::string_view text = date.text(row);
    if (text.size() != 10 || text[4] != '-' || text[7] != '-')
      fail<BadInput>("{}: '{}' is not a date (YYYY-MM-DD)", date.where(row), text);
    if (!info.release_date || text < *info.release_date) info.release_date = std::string(text);
  }
  // The first of these that is given (1.1).
  constexpr std::pair<const char*, const char*> kFields[] = {
      {"_refine", "ls_d_res_high"},
      {"_em_3d_reconstruction", "resolution"},
      {"_reflns", "d_resolution_high"}};
  for (const auto& [category, name] : kFields) {
    const auto table = block.table(category);
    const Column column = table->column(name);
    for (size_t row = 0; row < column.size() && !info.resolution; ++row)
      if (!column.missing(row)) info.resolution = column.number(row, 0);
  }
  return info;
}

/// What _entity_poly.type says; ligand where it says nothing that is used here (hybrids too).
ChainType declared_type(const std::string& type) {
  if (type.starts_with("polypeptide")) return ChainType::protein;
  if (type == "polyribonucleotide") return ChainType::rna;
  if (type == "polydeoxyribonucleotide") return ChainType::dna;
  return ChainType::ligand;
}

void read_entities(const Block& block, FileEntry& entry) {
  const auto entities = block.table("_entity");
  const Column id = entities->column("id"), type = entities->column("type");
  for (size_t row = 0; row < id.size(); ++row)
    entry.entities[std::string(id.text(row))].type = lower(type.text(row));

  const auto polymers = block.table("_entity_poly");
  const Column poly_id = polymers->column("entity_id"), poly_type = polymers->column("type");
  for (size_t row = 0; row < poly_id.size(); ++row)
    entry.entities[std::string(poly_id.text(row))].poly_type =
        declared_type(lower(poly_type.text(row)));

  const auto sequence = block.table("_entity_poly_seq");
  const Column entity = sequence->column("entity_id"), number = sequence->column("num");
  const Column monomer = sequence->column("mon_id");
  for (size_t row = 0; row < entity.size(); ++row)
    entry.entities[std::string(entity.text(row))].sequence[number.integer(row, 0)].push_back(
        named(monomer, row));
  if (entity.size() > 0) return;

  // Programs that leave _entity_poly_seq out often keep the scheme, which is per chain.
  const auto scheme = block.table("_pdbx_poly_seq_scheme");
  const Column chain = scheme->column("asym_id"), position = scheme->column("seq_id");
  const Column component = scheme->column("mon_id");
  for (size_t row = 0; row < chain.size(); ++row)
    if (!position.missing(row))
      entry.chain_sequences[std::string(chain.text(row))][position.integer(row, 0)].push_back(
          named(component, row));
  if (chain.size() > 0) return;

  const Column letters = polymers->column("pdbx_seq_one_letter_code");
  for (size_t row = 0; row < poly_id.size(); ++row) {
    Entity& polymer = entry.entities[std::string(poly_id.text(row))];
    if (letters.missing(row) || polymer.poly_type == ChainType::ligand) continue;
    for (const ShortName code :
         read_one_letter_code(letters.text(row), polymer.poly_type, letters.where(row)))
      polymer.sequence[static_cast<int32_t>(polymer.sequence.size()) + 1] = {code};
    polymer.is_from_letters = true;
    entry.inferred.push_back(fmt::format("entity {}: {} residues from its one-letter code",
                                         poly_id.text(row), polymer.sequence.size()));
  }
}

/// A number and, where a program wrote both in one, the insertion code: "52", "52A".
int32_t author_number(const Column& column, size_t row, int32_t if_missing, char& ins_code) {
  const std::string_view text = column.missing(row) ? std::string_view() : column.text(row);
  if (text.size() < 2 || std::isalpha(static_cast<unsigned char>(text.back())) == 0)
    return column.integer(row, if_missing);
  int32_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size() - 1, number);
  if (error != std::errc() || rest != text.data() + text.size() - 1)
    return column.integer(row, if_missing);  // says what is wrong
  ins_code = text.back();
  return number;
}

/// A residue's place in the chain; several components may stand there (microheterogeneity).
struct Site {
  int32_t seq_id, auth_seq_id;
  char ins_code;
  bool is_hetero;
  std::vector<std::pair<ShortName, std::vector<Atom>>> candidates;
};

/// Of several components the one with the largest sum of occupancies, ties alphabetically (1.2.6).
size_t choose_component(const Site& site) {
  size_t best = 0;
  double best_sum = -1;
  for (size_t i = 0; i < site.candidates.size(); ++i) {
    double sum = 0;
    for (const Atom& atom : site.candidates[i].second) sum += atom.occupancy;
    const bool wins = sum > best_sum ||
                      (sum == best_sum && site.candidates[i].first < site.candidates[best].first);
    if (wins) best = i, best_sum = sum;
  }
  return best;
}

/// One atom per name (1.2.2): of the alternative locations the one with the largest sum of
/// occupancies in the residue, ties alphabetically; atoms without one stay; a name that exists only
/// under another location is kept too.
std::vector<Atom> choose_altlocs(std::vector<Atom> atoms) {
  std::vector<std::pair<char, double>> locations;
  for (const Atom& atom : atoms) {
    if (atom.altloc == '\0') continue;
    auto found = std::find_if(locations.begin(), locations.end(),
                              [&](const auto& l) { return l.first == atom.altloc; });
    if (found == locations.end()) found = locations.insert(found, {atom.altloc, 0.0});
    found->second += atom.occupancy;
  }
  std::sort(locations.begin(), locations.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  const auto rank = [&](char altloc) {
    if (altloc == '\0') return size_t{0};
    size_t i = 0;
    while (locations[i].first != altloc) ++i;
    return i;
  };
  std::vector<Atom> kept;
  std::unordered_map<ShortName, size_t> places;
  for (Atom& atom : atoms) {
    const auto [found, is_new] = places.emplace(atom.name, kept.size());
    if (is_new) {
      kept.push_back(atom);
    } else if (rank(atom.altloc) < rank(kept[found->second].altloc)) {
      kept[found->second] = atom;
    }
  }
  return kept;
}

/// Chains in order of appearance, their residues in order of appearance, atoms of model 1.
class AtomSiteReader {
 public:
  AtomSiteReader(const Block& block, const std::string& file, FileEntry& entry)
      : file_(file), entry_(entry), table_(block.table("_atom_site")) {
    const auto asym = block.table("_struct_asym");
    const Column id = asym->column("id"), entity = asym->column("entity_id");
    for (size_t row = 0; row < id.size(); ++row)
      chain_entity_[std::string(id.text(row))] = std::string(entity.text(row));
  }

  void read() {
    if (table_->rows() == 0)
      fail<BadInput>("{}: no coordinates: the category _atom_site is missing or empty", file_);
    const Column x = table_->required("Cartn_x"), y = table_->required("Cartn_y"),
                 z = table_->required("Cartn_z");
    Column atom_name = table_->column("label_atom_id");
    if (!atom_name.present()) atom_name = table_->required("auth_atom_id");
    Column code = table_->column("label_comp_id");
    if (!code.present()) code = table_->required("auth_comp_id");
    const Column auth_chain = table_->column("auth_asym_id");
    Column chain = table_->column("label_asym_id");
    if (!chain.present()) chain = table_->required("auth_asym_id");
    const Column symbol = table_->column("type_symbol"), altloc = table_->column("label_alt_id");
    const Column entity = table_->column("label_entity_id"), seq = table_->column("label_seq_id");
    const Column auth_seq = table_->column("auth_seq_id");
    const Column ins = table_->column("pdbx_PDB_ins_code");
    const Column occupancy = table_->column("occupancy");
    // Biopython begins a new label at every change from ATOM to HETATM, so that a modified residue
    // cuts its chain: without a table of entities the author's chains are the chains.
    if (entry_.entities.empty() && auth_chain.present()) {
      for (size_t row = 0; row < table_->rows() && !by_author_; ++row)
        by_author_ = !auth_chain.missing(row) && auth_chain.text(row) != chain.text(row);
      if (by_author_) {
        chain = auth_chain;
        entry_.inferred.emplace_back("chains after the author's names: no entity is named");
      }
    }
    const Column b_factor = table_->column("B_iso_or_equiv");
    const Column model = table_->column("pdbx_PDB_model_num");
    const Column group = table_->column("group_PDB");

    bool occupied = false;
    size_t elements_inferred = 0;
    const std::string_view first_model = model.text(0);
    for (size_t row = 0; row < table_->rows(); ++row) {
      if (model.present() && model.text(row) != first_model) continue;
      Atom atom;
      atom.occupancy = static_cast<float>(occupancy.number(row, 1));
      occupied = occupied || atom.occupancy > 0;
      atom.name = named(atom_name, row);
      if (atom.name.empty()) fail<BadInput>("{}: no atom name", atom_name.where(row));
      atom.element = atomic_number(symbol.text(row));
      if (atom.element == 0) {
        atom.element = infer_element(atom.name, named(code, row));
        ++elements_inferred;
      }
      if (atom.element == 1) continue;  // hydrogen and deuterium (1.3.5)
      atom.altloc =
          altloc.missing(row) || altloc.text(row).empty() ? '\0' : altloc.text(row).front();
      atom.b_factor = static_cast<float>(b_factor.number(row, 0));
      atom.resolved = atom.occupancy > 0 && !x.missing(row) && !y.missing(row) && !z.missing(row);
      if (atom.resolved)
        atom.position = {static_cast<float>(x.number(row, 0)), static_cast<float>(y.number(row, 0)),
                         static_cast<float>(z.number(row, 0))};
      std::string_view label = chain.text(row);
      if (label.empty()) label = auth_chain.text(row);
      enter_chain(label, auth_chain.text(row), entity.text(row));
      const int32_t number = seq.integer(row, 0);
      char ins_code = ins.missing(row) || ins.text(row).empty() ? ' ' : ins.text(row).front();
      const int32_t author = author_number(auth_seq, row, number, ins_code);
      enter_site(number, author, ins_code, group.text(row) == "HETATM");
      add(named(code, row), atom, code, row);
    }
    entry_.all_unoccupied = !occupied;
    if (elements_inferred > 0)
      entry_.inferred.push_back(
          fmt::format("{} atoms: elements from their names", elements_inferred));
    finish();
  }

 private:
  struct OpenChain {
    std::string label, auth, entity;
    std::vector<Site> sites;
    std::map<std::tuple<int32_t, int32_t, char>, size_t> index;
  };

  void enter_chain(std::string_view label, std::string_view auth, std::string_view entity) {
    if (current_ < chains_.size() && chains_[current_].label == label) return;
    const auto [found, is_new] = chain_index_.emplace(std::string(label), chains_.size());
    current_ = found->second;
    site_ = SIZE_MAX;
    if (!is_new) return;
    OpenChain chain;
    chain.label = std::string(label);
    chain.auth = auth.empty() ? chain.label : std::string(auth);
    chain.entity = std::string(entity);
    if (chain.entity.empty()) {
      const auto known = chain_entity_.find(chain.label);
      if (known != chain_entity_.end()) chain.entity = known->second;
    }
    chains_.push_back(std::move(chain));
  }

  void enter_site(int32_t seq_id, int32_t auth_seq_id, char ins_code, bool is_hetero) {
    OpenChain& chain = chains_[current_];
    if (site_ < chain.sites.size()) {
      const Site& site = chain.sites[site_];
      if (site.seq_id == seq_id && site.auth_seq_id == auth_seq_id && site.ins_code == ins_code)
        return;
    }
    const auto key = std::make_tuple(seq_id, auth_seq_id, ins_code);
    const auto [found, is_new] = chain.index.emplace(key, chain.sites.size());
    site_ = found->second;
    if (is_new) chain.sites.push_back({seq_id, auth_seq_id, ins_code, is_hetero, {}});
  }

  void add(ShortName code, const Atom& atom, const Column& column, size_t row) {
    if (code.empty()) fail<BadInput>("{}: no component code", column.where(row));
    auto& candidates = chains_[current_].sites[site_].candidates;
    auto found = std::find_if(candidates.rbegin(), candidates.rend(),
                              [&](const auto& candidate) { return candidate.first == code; });
    if (found != candidates.rend()) {
      found->second.push_back(atom);
    } else {
      candidates.push_back({code, {atom}});
    }
  }

  void finish() {
    for (OpenChain& open : chains_) {
      Chain chain;
      chain.label = std::move(open.label);
      chain.auth = std::move(open.auth);
      chain.entity = std::move(open.entity);
      for (Site& site : open.sites) {
        auto& [code, atoms] = site.candidates[choose_component(site)];
        Residue residue;
        residue.code = code;
        residue.seq_id = site.seq_id;
        residue.auth_seq_id = site.auth_seq_id;
        residue.ins_code = site.ins_code;
        residue.is_hetero = site.is_hetero;
        residue.atoms = choose_altlocs(std::move(atoms));
        chain.residues.push_back(std::move(residue));
      }
      entry_.chains.push_back(std::move(chain));
    }
  }

  const std::string& file_;
  FileEntry& entry_;
  std::unique_ptr<Table> table_;
  std::unordered_map<std::string, std::string> chain_entity_;
  bool by_author_ = false;
  std::vector<OpenChain> chains_;
  std::unordered_map<std::string, size_t> chain_index_;
  size_t current_ = SIZE_MAX, site_ = SIZE_MAX;
};

/// The chains of a file without coordinates: of a polymer its entity's residues, else the residues
/// that the schemes of ligands and glycans list.
void read_chains(const Block& block, FileEntry& entry) {
  const auto asym = block.table("_struct_asym");
  const Column id = asym->required("id"), entity = asym->required("entity_id");
  std::unordered_map<std::string, size_t> index;
  for (size_t row = 0; row < id.size(); ++row) {
    Chain chain;
    chain.label = chain.auth = std::string(id.text(row));
    chain.entity = std::string(entity.text(row));
    if (!index.emplace(chain.label, entry.chains.size()).second)
      fail<BadInput>("{}: the chain '{}' stands twice", id.where(row), chain.label);
    const auto known = entry.entities.find(chain.entity);
    if (known != entry.entities.end())
      for (const auto& [number, codes] : known->second.sequence) {
        Residue residue;
        residue.code = codes.front();
        residue.seq_id = residue.auth_seq_id = number;
        chain.residues.push_back(std::move(residue));
      }
    entry.chains.push_back(std::move(chain));
  }
  for (const char* const category : {"_pdbx_nonpoly_scheme", "_pdbx_branch_scheme"}) {
    const auto scheme = block.table(category);
    const Column chain = scheme->column("asym_id"), code = scheme->column("mon_id");
    const Column number = scheme->column("pdb_seq_num");
    for (size_t row = 0; row < chain.size(); ++row) {
      const auto found = index.find(std::string(chain.text(row)));
      if (found == index.end())
        fail<BadInput>("{}: the chain '{}' is not in _struct_asym", chain.where(row),
                       chain.text(row));
      auto& residues = entry.chains[found->second].residues;
      Residue residue;
      residue.code = named(code, row);
      residue.auth_seq_id = number.integer(row, static_cast<int32_t>(residues.size()) + 1);
      residue.is_hetero = true;
      residues.push_back(std::move(residue));
    }
  }
  for (const Chain& chain : entry.chains)
    if (chain.residues.empty())
      fail<BadInput>(
          "{}: chain {} has neither coordinates nor a sequence (_entity_poly_seq or "
          "_pdbx_nonpoly_scheme)",
          id.where(0), chain.label);
}

void read_connections(const Block& block, FileEntry& entry) {
  const auto table = block.table("_struct_conn");
  if (table->rows() == 0) return;
  const Column type = table->column("conn_type_id");
  struct End {
    Column chain, auth_chain, seq, auth_seq, code, auth_code, atom, symmetry;
  };
  const auto end_of = [&](const char* partner) {
    const auto column = [&](const char* name) {
      return table->column(fmt::format("{}_{}", partner, name));
    };
    return End{column("label_asym_id"), column("auth_asym_id"),  column("label_seq_id"),
               column("auth_seq_id"),   column("label_comp_id"), column("auth_comp_id"),
               column("label_atom_id"), column("symmetry")};
  };
  const std::array<End, 2> ends = {end_of("ptnr1"), end_of("ptnr2")};
  for (size_t row = 0; row < table->rows(); ++row) {
    Connection connection;
    connection.type = lower(type.text(row));
    if (!connection.type.starts_with("covale") && connection.type != "disulf" &&
        connection.type != "metalc")
      continue;          // hydrogen bonds, salt bridges
    bool inside = true;  // both ends in the asymmetric unit itself
    for (size_t i = 0; i < 2; ++i) {
      const End& from = ends[i];
      ConnectionEnd& to = i == 0 ? connection.first : connection.second;
      to.chain = std::string(from.chain.text(row).empty() ? from.auth_chain.text(row)
                                                          : from.chain.text(row));
      to.seq_id = from.seq.integer(row, 0);
      to.auth_seq_id = from.auth_seq.integer(row, to.seq_id);
      to.code = named(from.code.missing(row) ? from.auth_code : from.code, row);
      to.atom = named(from.atom, row);
      inside = inside && (from.symmetry.missing(row) || from.symmetry.text(row) == "1_555");
    }
    if (inside) entry.connections.push_back(std::move(connection));
  }
}

/// "1", "1,2", "1-4", "P": one factor of an operator expression.
std::vector<std::string> expand_list(std::string_view text, const std::string& where) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string_view item = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
    const size_t dash = item.find('-');
    int first = 0, last = 0;
    const auto number = [](std::string_view part, int& value) {
      const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), value);
      return error == std::errc() && rest == part.data() + part.size();
    };
    if (dash != std::string_view::npos && number(item.substr(0, dash), first) &&
        number(item.substr(dash + 1), last)) {
      if (last < first || last - first >= static_cast<int>(kMaxOperations))
        fail<BadInput>("{}: a range of operations from {} to {}", where, first, last);
      for (int i = first; i <= last; ++i) out.push_back(std::to_string(i));
    } else if (!item.empty()) {
      out.emplace_back(item);
    }
  }
  return out;
}

/// "(1-60)(61,62)": every product of one operation from each factor; the right one acts first.
std::vector<std::vector<std::string>> expand_operators(std::string_view text,
                                                       const std::string& where) {
  std::vector<std::vector<std::string>> factors;
  while (!text.empty()) {
    if (text.front() == ' ') {
      text.remove_prefix(1);
    } else if (text.front() == '(') {
      const size_t close = text.find(')');
      if (close == std::string_view::npos)
        fail<BadInput>("{}: '(' without ')' in an operator expression", where);
      factors.push_back(expand_list(text.substr(1, close - 1), where));
      text.remove_prefix(close + 1);
    } else {
      const size_t open = text.find('(');
      std::string_view piece = text.substr(0, open);
      while (!piece.empty() && (piece.back() == ',' || piece.back() == ' ')) piece.remove_suffix(1);
      factors.push_back(expand_list(piece, where));
      text.remove_prefix(open == std::string_view::npos ? text.size() : open);
    }
  }
  std::vector<std::vector<std::string>> products{{}};
  for (const auto& factor : factors) {
    std::vector<std::vector<std::string>> next;
    if (factor.size() * products.size() > kMaxOperations)
      fail<BadInput>("{}: more than {} operations", where, kMaxOperations);
    for (const auto& product : products)
      for (const auto& operation : factor) {
        next.push_back(product);
        next.back().push_back(operation);
      }
    products = std::move(next);
  }
  return products;
}

Operation compose(const Operation& outer, const Operation& inner) {
  Operation out;
  out.name = outer.name;
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      out.rotation[3 * i + j] = 0;
      for (size_t k = 0; k < 3; ++k)
        out.rotation[3 * i + j] += outer.rotation[3 * i + k] * inner.rotation[3 * k + j];
    }
    out.shift[i] = outer.shift[i];
    for (size_t k = 0; k < 3; ++k) out.shift[i] += outer.rotation[3 * i + k] * inner.shift[k];
  }
  return out;
}

std::map<std::string, Operation> read_operations(const Block& block) {
  std::map<std::string, Operation> operations;
  const auto table = block.table("_pdbx_struct_oper_list");
  const Column id = table->column("id");
  std::array<Column, 9> matrix;
  std::array<Column, 3> vector;
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j)
      matrix[3 * i + j] = table->column(fmt::format("matrix[{}][{}]", i + 1, j + 1));
    vector[i] = table->column(fmt::format("vector[{}]", i + 1));
  }
  for (size_t row = 0; row < id.size(); ++row) {
    Operation operation;
    for (size_t i = 0; i < 9; ++i)
      operation.rotation[i] = matrix[i].number(row, operation.rotation[i]);
    for (size_t i = 0; i < 3; ++i) operation.shift[i] = vector[i].number(row, 0);
    operations[std::string(id.text(row))] = operation;
  }
  return operations;
}

void read_assembly(const Block& block, FileEntry& entry) {
  const auto table = block.table("_pdbx_struct_assembly_gen");
  const Column id = table->column("assembly_id"), expression = table->column("oper_expression");
  const Column chains = table->column("asym_id_list");
  if (table->rows() == 0 || !expression.present() || !chains.present()) return;
  // Assembly "1", else the first that is listed (1.2.3).
  std::string_view wanted = id.text(0);
  for (size_t row = 0; row < table->rows(); ++row)
    if (id.text(row) == "1") wanted = "1";
  // Converters that name no chain (gemmi, from PDB files) leave chains out of every list.
  std::unordered_set<std::string> named;
  for (size_t row = 0; row < table->rows(); ++row)
    for (std::string& label : expand_list(chains.text(row), chains.where(row)))
      named.insert(std::move(label));
  const auto asyms = block.table("_struct_asym");
  const Column asym = asyms->column("id");
  for (size_t row = 0; row < asyms->rows(); ++row) named.emplace(asym.text(row));
  const auto operations = read_operations(block);
  for (size_t row = 0; row < table->rows(); ++row) {
    if (id.text(row) != wanted) continue;
    AssemblyPart part;
    part.chains = expand_list(chains.text(row), chains.where(row));
    for (const Chain& chain : entry.chains)
      if (!named.contains(chain.label)) part.chains.push_back(chain.label);
    for (const auto& product : expand_operators(expression.text(row), expression.where(row))) {
      Operation total;
      total.name = fmt::format("{}", fmt::join(product, "x"));
      for (const std::string& name : product) {
        const auto found = operations.find(name);
        if (found == operations.end())
          fail<BadInput>("{}: operation '{}' is not in _pdbx_struct_oper_list",
                         expression.where(row), name);
        total = compose(total, found->second);
      }
      part.operations.push_back(total);
    }
    entry.assembly.push_back(std::move(part));
  }
}

}  // namespace

FileEntry read_entry(const Document& document, const std::string& id) {
  // The first block with coordinates, else the first with chains.
  const auto first_with = [&](const char* category) -> const Block* {
    for (const auto& block : document.blocks())
      if (block->table(category)->rows() > 0) return block.get();
    return nullptr;
  };
  FileEntry entry;
  const Block* chosen = first_with("_atom_site");
  entry.to_predict = chosen == nullptr;
  if (chosen == nullptr) chosen = first_with("_struct_asym");
  if (chosen == nullptr)
    fail<BadInput>(
        "{}: no coordinates: the category _atom_site is missing or empty (an entry to predict "
        "needs _struct_asym and sequences)",
        document.file());
  entry.info = read_info(*chosen, id);
  const auto notes = chosen->table(kImportNotes);
  const Column note = notes->column("note");
  for (size_t row = 0; row < note.size(); ++row) entry.inferred.emplace_back(note.text(row));
  read_entities(*chosen, entry);
  if (entry.to_predict) {
    entry.inferred.emplace_back("no coordinates: an entry to predict, none to train on");
    read_chains(*chosen, entry);
  } else {
    AtomSiteReader(*chosen, document.file(), entry).read();
  }
  read_connections(*chosen, entry);
  read_assembly(*chosen, entry);
  return entry;
}

}  // namespace megafold
