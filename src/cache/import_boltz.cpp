// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Boltz's processed files (its src/boltz/data/types.py; versions 1 and 2 of its structures): tables
// of numpy's, which become mmCIF and A3M again.
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "alignment/write_a3m.h"
#include "base/errors.h"
#include "base/publish.h"
#include "cache/import.h"
#include "cache/import_cif.h"
#include "cache/inputs.h"
#include "cache/read_npz.h"
#include "structure/elements.h"
#include "structure/entry.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using internal::CifRow;
using nlohmann::json;

// Boltz's numbers: chain types in its order, tokens as "pad", the gap, then our classes from 0 on.
constexpr int64_t kNonPolymer = 3, kGapToken = 1, kFirstToken = 2, kTokens = 33;
constexpr uint8_t kGap = 31;
constexpr char kNameOffset = 32;  // of the characters in an atom's name (version 1)

constexpr const char* kLost =
    "from Boltz's files, which hold one assembly: its author's numbers, occupancies, alternate "
    "locations and waters are lost, and MSE stands as MET";

/// [first, last) of a table's rows. Throws BadInput where they are not all there.
std::pair<size_t, size_t> range_of(const NpyTable& table, int64_t first, int64_t count,
                                   size_t rows) {
  if (first < 0 || count < 0 || static_cast<uint64_t>(first) > rows ||
      static_cast<uint64_t>(count) > rows - static_cast<uint64_t>(first))
    fail<BadInput>("{}: rows {} to {} of a table of {}", table.where(), first, first + count, rows);
  return {static_cast<size_t>(first), static_cast<size_t>(first + count)};
}

/// What manifest.json says of an entry.
struct RecordInfo {
  std::string method, released;
  double resolution = 0;          // Angstrom; 0: none
  std::set<std::string> msa_ids;  // files of its chains' alignments
};

/// One entry's tables as mmCIF.
class BoltzStructure {
 public:
  BoltzStructure(const fs::path& path, const RecordInfo& info)
      : file_(read_file(path), path.string()),
        atoms_(file_.table("atoms")),
        residues_(file_.table("residues")),
        chains_(file_.table("chains")),
        mask_(file_.table("mask")),
        is_first_(atoms_.has("element")),
        id_(path.stem().string()),
        info_(info) {
    if (mask_.rows() != chains_.rows())
      fail<BadInput>("{}: {} of them for {} chains", mask_.where(), mask_.rows(), chains_.rows());
  }

  /// Chains that Boltz's filters took out.
  [[nodiscard]] size_t masked() const { return masked_; }

  std::string cif() {
    const NpyField &first = chains_.field("res_idx"), &count = chains_.field("res_num"),
                   &type = chains_.field("mol_type"), &entity = chains_.field("entity_id"),
                   &name = chains_.field("name");
    std::set<std::string> names;
    for (size_t c = 0; c < chains_.rows(); ++c) {
      if (mask_.integer(c, mask_.field("")) == 0) {
        ++masked_;
        continue;
      }
      const std::string chain = chains_.text(c, name);
      if (chain.empty() || !names.insert(chain).second)
        fail<BadInput>("{}: row {}: '{}' is no chain's name of its own", chains_.where(), c, chain);
      const auto residues =
          range_of(chains_, chains_.integer(c, first), chains_.integer(c, count), residues_.rows());
      add_chain(chain, chains_.integer(c, type), chains_.integer(c, entity), residues);
    }
    if (asym_.empty()) fail<BadInput>("{}: no chain that Boltz kept", chains_.where());
    read_bonds();
    const CifRow lost = {kLost};
    std::vector<CifRow> method, history, refine;
    if (!info_.method.empty()) method.push_back({id_, info_.method});
    if (!info_.released.empty()) history.push_back({"1", info_.released});
    if (info_.resolution > 0) refine.push_back({id_, fmt::format("{}", info_.resolution)});
    std::vector<std::string> site = {
        "group_PDB",         "id",           "type_symbol",     "label_atom_id", "label_comp_id",
        "label_asym_id",     "label_seq_id", "label_entity_id", "auth_seq_id",   "auth_asym_id",
        "Cartn_x",           "Cartn_y",      "Cartn_z",         "occupancy",     "B_iso_or_equiv",
        "pdbx_PDB_model_num"};
    if (!is_first_) site.erase(site.begin() + 2);  // version 2 names no elements
    return internal::cif_text(
        id_, {{"_entry", {"id"}, {{id_}}},
              {kImportNotes, {"note"}, {lost}},
              {"_exptl", {"entry_id", "method"}, method},
              {"_pdbx_audit_revision_history", {"ordinal", "revision_date"}, history},
              {"_refine", {"entry_id", "ls_d_res_high"}, refine},
              {"_entity", {"id", "type"}, entities_},
              {"_entity_poly", {"entity_id", "type"}, polymers_},
              {"_entity_poly_seq", {"entity_id", "num", "mon_id"}, sequences_},
              {"_struct_asym", {"id", "entity_id"}, asym_},
              {"_struct_conn", internal::bond_tags(), bonds_},
              {"_atom_site", site, rows_}});
  }

 private:
  struct AtomPlace {
    std::string chain, component, seq, number, atom;
  };

  static ChainType chain_type(int64_t type) {
    constexpr ChainType kTypes[] = {ChainType::protein, ChainType::dna, ChainType::rna};
    return type == kNonPolymer ? ChainType::ligand : kTypes[type];
  }

  std::string atom_name(size_t row) const {
    const NpyField& field = atoms_.field("name");
    if (!is_first_) return atoms_.text(row, field);
    std::string out;
    for (size_t k = 0; k < field.count; ++k) {
      const int64_t code = atoms_.integer(row, field, k);
      if (code == 0) break;
      if (code < 1 || code > 94)
        fail<BadInput>("{}: row {}: {} is no character of a name", atoms_.where(), row, code);
      out += static_cast<char>(code + kNameOffset);
    }
    return out;
  }

  /// Chains of one of Boltz's entities that have other residues are entities of their own.
  std::string entity_of(ChainType type, int64_t number, const std::vector<std::string>& codes) {
    const auto [known, is_new] =
        known_.emplace(std::tuple{type, number, codes}, std::to_string(known_.size() + 1));
    const std::string& id = known->second;
    if (!is_new) return id;
    if (type == ChainType::ligand) {
      entities_.push_back({id, codes.size() > 1 ? "branched" : "non-polymer"});
      return id;
    }
    entities_.push_back({id, "polymer"});
    polymers_.push_back({id, internal::poly_type_of(type)});
    for (size_t i = 0; i < codes.size(); ++i)
      sequences_.push_back({id, std::to_string(i + 1), codes[i]});
    return id;
  }

  void add_chain(const std::string& chain, int64_t type_number, int64_t entity_number,
                 std::pair<size_t, size_t> residues) {
    if (type_number < 0 || type_number > kNonPolymer)
      fail<BadInput>("{}: chain '{}' has the type {}", chains_.where(), chain, type_number);
    const ChainType type = chain_type(type_number);
    const NpyField &name = residues_.field("name"), &first = residues_.field("atom_idx"),
                   &count = residues_.field("atom_num"), &present = atoms_.field("is_present"),
                   &position = atoms_.field("coords", 3);
    const bool has_bfactor = atoms_.has("bfactor");
    std::vector<std::string> codes;
    for (size_t r = residues.first; r < residues.second; ++r)
      codes.push_back(residues_.text(r, name));
    const std::string entity = entity_of(type, entity_number, codes);
    asym_.push_back({chain, entity});
    for (size_t r = residues.first; r < residues.second; ++r) {
      const std::string number = std::to_string(r - residues.first + 1);
      const std::string seq = type == ChainType::ligand ? "." : number;
      const std::string& code = codes[r - residues.first];
      const auto [begin, end] = range_of(residues_, residues_.integer(r, first),
                                         residues_.integer(r, count), atoms_.rows());
      for (size_t a = begin; a < end; ++a) {
        const std::string atom = atom_name(a);
        places_[a] = {chain, code, seq, number, atom};
        if (atoms_.integer(a, present) == 0) continue;
        CifRow row = {type == ChainType::ligand ? "HETATM" : "ATOM",
                      std::to_string(rows_.size() + 1)};
        if (is_first_) row.push_back(element_of(a));
        row.insert(row.end(), {atom, code, chain, seq, entity, number, chain});
        for (size_t d = 0; d < 3; ++d) {
          const float x = atoms_.number(a, position, d);
          if (!std::isfinite(x))
            fail<BadInput>("{}: row {}: the coordinate {} of '{}'", atoms_.where(), a, x, atom);
          row.push_back(fmt::format("{}", x));
        }
        row.emplace_back("1.00");
        row.push_back(has_bfactor ? fmt::format("{:.2f}", atoms_.number(a, atoms_.field("bfactor")))
                                  : "0.00");
        row.emplace_back("1");
        rows_.push_back(std::move(row));
      }
    }
  }

  std::string element_of(size_t row) const {
    const int64_t number = atoms_.integer(row, atoms_.field("element"));
    const std::string_view symbol = element_symbol(number);
    if (symbol.empty())
      fail<BadInput>("{}: row {}: no element has the number {}", atoms_.where(), row, number);
    return std::string(symbol);
  }

  /// Version 1 has a table of connections; version 2 has them among the bonds inside of residues.
  void read_bonds() {
    const NpyTable table = file_.table(is_first_ ? "connections" : "bonds");
    const NpyField &from = table.field("atom_1"), &to = table.field("atom_2"),
                   &res_1 = table.field("res_1"), &res_2 = table.field("res_2");
    for (size_t row = 0; row < table.rows(); ++row) {
      if (table.integer(row, res_1) == table.integer(row, res_2)) continue;
      CifRow bond = {fmt::format("covale{}", bonds_.size() + 1), "covale"};
      bool is_kept = true;
      for (const NpyField* const field : {&from, &to}) {
        const int64_t atom = table.integer(row, *field);
        range_of(table, atom, 1, atoms_.rows());
        const auto place = places_.find(static_cast<size_t>(atom));
        is_kept = is_kept && place != places_.end();
        if (!is_kept) break;  // of a chain that was taken out
        const AtomPlace& at = place->second;
        bond.insert(bond.end(), {at.chain, at.component, at.seq, at.number, at.atom});
      }
      if (is_kept) bonds_.push_back(std::move(bond));
    }
  }

  NpzFile file_;
  NpyTable atoms_, residues_, chains_, mask_;
  bool is_first_;  // version 1
  std::string id_;
  const RecordInfo& info_;
  size_t masked_ = 0;
  std::map<std::tuple<ChainType, int64_t, std::vector<std::string>>, std::string> known_;
  std::map<size_t, AtomPlace> places_;
  std::vector<CifRow> entities_, polymers_, sequences_, asym_, bonds_, rows_;
};

struct BoltzRows {
  std::string all, pairing;  // A3M; `pairing` is empty where no row has a species
};

BoltzRows read_rows(const fs::path& path) {
  const NpzFile file(read_file(path), path.string());
  const NpyTable sequences = file.table("sequences"), deletions = file.table("deletions"),
                 residues = file.table("residues");
  const NpyField &first = sequences.field("res_start"), &last = sequences.field("res_end"),
                 &from = sequences.field("del_start"), &to = sequences.field("del_end"),
                 &taxon = sequences.field("taxonomy"), &place = deletions.field("res_idx"),
                 &count = deletions.field("deletion"), &token = residues.field("res_type");
  BoltzRows out;
  size_t columns = 0;
  bool has_species = false;
  for (size_t s = 0; s < sequences.rows(); ++s) {
    const int64_t start = sequences.integer(s, first), gone = sequences.integer(s, from);
    const auto [begin, end] =
        range_of(sequences, start, sequences.integer(s, last) - start, residues.rows());
    const auto [begin_gone, end_gone] =
        range_of(sequences, gone, sequences.integer(s, to) - gone, deletions.rows());
    if (s == 0) columns = end - begin;
    if (end - begin != columns || columns == 0)
      fail<BadInput>("{}: row {} has {} columns, the first {}", sequences.where(), s, end - begin,
                     columns);
    std::vector<uint8_t> classes(columns), left_out(columns, 0);
    for (size_t i = 0; i < columns; ++i) {
      const int64_t value = residues.integer(begin + i, token);
      if (value < kGapToken || value >= kTokens)
        fail<BadInput>("{}: row {}: no token has the number {}", residues.where(), begin + i,
                       value);
      classes[i] = value == kGapToken ? kGap : static_cast<uint8_t>(value - kFirstToken);
    }
    for (size_t d = begin_gone; d < end_gone; ++d) {
      const int64_t column = deletions.integer(d, place);
      if (column < 0 || static_cast<uint64_t>(column) >= columns)
        fail<BadInput>("{}: row {}: column {} of {}", deletions.where(), d, column, columns);
      left_out[static_cast<size_t>(column)] =
          static_cast<uint8_t>(std::clamp<int64_t>(deletions.integer(d, count), 0, 255));
    }
    const int64_t species = sequences.integer(s, taxon);
    const bool is_known = species > 0 && s > 0;
    has_species = has_species || is_known;
    const auto number = static_cast<int64_t>(s);
    const std::string name = is_known ? name_with_species(std::to_string(species), number)
                             : s == 0 ? "query"
                                      : fmt::format("R{}", number);
    const std::string row = a3m_row(name, classes, left_out);
    out.all += row;
    if (s == 0 || is_known) out.pairing += row;
  }
  if (columns == 0) fail<BadInput>("{}: no row", sequences.where());
  if (!has_species) out.pairing.clear();
  return out;
}

class BoltzImporter {
 public:
  explicit BoltzImporter(const ImportOptions& options) : options_(options) {
    if (!fs::is_directory(options.source))
      fail<BadInput>("{}: no such folder", options.source.string());
    const auto follow = fs::directory_options::follow_directory_symlink;
    for (const auto& entry : fs::recursive_directory_iterator(options.source, follow)) {
      const fs::path& path = entry.path();
      if (!entry.is_regular_file()) continue;
      const std::string folder = path.parent_path().filename().string();
      if (path.filename() == "manifest.json") manifests_.push_back(path);
      if (path.extension() == ".json" && folder == "records") records_.push_back(path);
      if (path.extension() != ".npz") continue;
      if (folder == "structures")
        structures_.emplace(path.stem().string(), path);
      else if (folder != "constraints" && folder != "templates")
        alignments_.emplace(path.stem().string(), path);
    }
    std::sort(manifests_.begin(), manifests_.end());
    std::sort(records_.begin(), records_.end());
  }

  ImportReport run() {
    if (structures_.empty())
      fail<BadInput>("{}: no structures/*.npz at any depth", options_.source.string());
    // A manifest holds all records; those alone are read where there is none.
    for (const fs::path& file : manifests_.empty() ? records_ : manifests_) read_infos(file);
    std::set<std::string> wanted;
    size_t without_info = 0, masked = 0;
    for (const auto& [id, path] : structures_) {
      const auto info = infos_.find(id);
      without_info += info == infos_.end() ? 1 : 0;
      const RecordInfo none;
      const RecordInfo& known = info == infos_.end() ? none : info->second;
      BoltzStructure structure(path, known);
      publish(options_.out / "entries" / (id + ".cif"), structure.cif());
      ++report_.entries;
      masked += structure.masked();
      wanted.insert(known.msa_ids.begin(), known.msa_ids.end());
    }
    for (const std::string& id : wanted) {
      const auto file = alignments_.find(id);
      if (file == alignments_.end()) {
        note(fmt::format("alignment '{}': no {}.npz", id, id));
        continue;
      }
      const BoltzRows rows = read_rows(file->second);
      const fs::path folder = options_.out / "alignments" / folder_of_sequence("boltz-" + id);
      publish(folder / "boltz.a3m", rows.all);
      if (!rows.pairing.empty()) publish(folder / "pairing.a3m", rows.pairing);
      ++report_.alignments;
    }
    note(fmt::format("all {} entries are {}", report_.entries, kLost));
    if (masked > 0)
      note(fmt::format("{} chains that Boltz's filters took out are left out", masked));
    if (without_info > 0)
      note(
          fmt::format("{} entries have no record in manifest.json: no release date, method, "
                      "resolution or alignment is known of them",
                      without_info));
    for (const auto& [id, path] : alignments_)
      if (!wanted.contains(id)) ++unused_;
    if (unused_ > 0)
      note(fmt::format("{} alignments belong to no chain of these entries", unused_));
    return std::move(report_);
  }

 private:
  void note(std::string text) { report_.notes.push_back(std::move(text)); }

  static std::string text_of(const json& value, const char* key) {
    return value.contains(key) && value[key].is_string() ? value[key].get<std::string>() : "";
  }

  void read_infos(const fs::path& file) {
    try {
      const json document = json::parse(read_file(file));
      if (document.is_object() && document.contains("id")) return read_info(document);
      for (const json& record : document.is_array() ? document : document.at("records"))
        read_info(record);
    } catch (const json::exception& error) {
      fail<BadInput>("{}: {}", file.string(), error.what());
    }
  }

  void read_info(const json& record) {
    RecordInfo info;
    if (record.contains("structure") && record["structure"].is_object()) {
      const json& structure = record["structure"];
      info.method = text_of(structure, "method");
      info.released = text_of(structure, "released").substr(0, 10);  // a time may follow
      if (structure.contains("resolution") && structure["resolution"].is_number())
        info.resolution = structure["resolution"].get<double>();
    }
    for (const json& chain : record.at("chains")) {
      // -1, or an empty text: the chain has none.
      const json id = chain.contains("msa_id") ? chain["msa_id"] : json(-1);
      const std::string name = id.is_string()           ? id.get<std::string>()
                               : id.is_number_integer() ? std::to_string(id.get<int64_t>())
                                                        : "";
      if (!name.empty() && name != "-1") info.msa_ids.insert(name);
    }
    infos_[record.at("id").get<std::string>()] = std::move(info);
  }

  const ImportOptions& options_;
  std::vector<fs::path> manifests_, records_;
  std::map<std::string, fs::path> structures_, alignments_;
  std::map<std::string, RecordInfo> infos_;
  size_t unused_ = 0;
  ImportReport report_;
};

}  // namespace

namespace internal {

ImportReport import_boltz(const ImportOptions& options) {
  return BoltzImporter(options).run();
}

}  // namespace internal
}  // namespace megafold
