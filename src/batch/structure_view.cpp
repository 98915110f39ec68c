// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "batch/structure_view.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/errors.h"

namespace megafold {
namespace {

template <class T>
constexpr ArrayType kArrayType = ArrayType::u8;
template <>
constexpr ArrayType kArrayType<int8_t> = ArrayType::i8;
template <>
constexpr ArrayType kArrayType<int32_t> = ArrayType::i32;
template <>
constexpr ArrayType kArrayType<float> = ArrayType::f32;

/// Reads arrays by name and holds them to the schema: a letter of a shape has one value per record.
class CheckedReader {
 public:
  CheckedReader(const Record& record, std::span<const ArraySpec> schema)
      : record_(record), schema_(schema) {}

  template <class T>
  std::span<const T> get(std::string_view name) {
    check<T>(name);
    const ArrayView view = record_.array(name);
    return {view.as<T>(), static_cast<size_t>(view.size())};
  }
  /// The same without reading it.
  template <class T>
  void check(std::string_view name) {
    const auto spec = std::ranges::find(schema_, name, &ArraySpec::name);
    const ArrayView view = record_.describe(name);
    if (view.type != kArrayType<T> || view.type != spec->type)
      fail<Corrupt>("record {}: array {} has type {}, the schema says {}; build the cache again",
                    record_.key(), name, static_cast<int>(view.type), static_cast<int>(spec->type));
    check_shape(*spec, view.shape);
  }
  int64_t extent(char letter) const { return letters_.at(letter); }

 private:
  void check_shape(const ArraySpec& spec, const std::vector<int64_t>& shape) {
    size_t axis = 0;
    bool fits = true;
    for (size_t at = 0; at < spec.shape.size() && fits; ++axis) {
      const size_t end = std::min(spec.shape.find(',', at), spec.shape.size());
      const std::string_view word = spec.shape.substr(at, end - at);
      at = end + 1;
      if (axis >= shape.size()) {
        fits = false;
      } else if (word[0] >= '0' && word[0] <= '9') {
        fits = std::to_string(shape[axis]) == word;
      } else {
        fits = letters_.try_emplace(word[0], shape[axis]).first->second == shape[axis];
      }
    }
    if (!fits || axis != shape.size())
      fail<Corrupt>(
          "record {}: array {} has shape [{}], the schema says [{}] with {}; build the "
          "cache again",
          record_.key(), spec.name, fmt::join(shape, ","), spec.shape, letters());
  }
  std::string letters() const {
    std::vector<std::string> parts;
    for (const auto& [letter, value] : letters_)
      parts.push_back(fmt::format("{}={}", letter, value));
    return fmt::format("{}", fmt::join(parts, " "));
  }

  const Record& record_;
  std::span<const ArraySpec> schema_;
  std::map<char, int64_t> letters_;
};

void check(bool good, const std::string& key, const char* what, int64_t index, int64_t value,
           int64_t limit) {
  if (!good)
    fail<Corrupt>("record {}: {} of row {} is {}, the limit is {}; build the cache again", key,
                  what, index, value, limit);
}

/// Lists of one length each, one list after the other: `count` of `atoms` values from `start` on,
/// at least `least` of both, and together `total`.
struct Lists {
  std::span<const int32_t> atoms, start, count;
};
struct ListNames {
  const char *atoms, *start, *total;
};
void check_lists(const std::string& key, const ListNames& name, const Lists& lists, int64_t least,
                 int64_t total) {
  int64_t next = 0;
  for (size_t i = 0; i < lists.atoms.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const int64_t n = lists.atoms[i], values = n * lists.count[i];
    check(n >= least && lists.count[i] >= least, key, name.atoms, row, n, least);
    check(lists.start[i] == next && values <= total - next, key, name.start, row, lists.start[i],
          next);
    next += values;
  }
  check(next == total, key, name.total, std::ssize(lists.atoms), next, total);
}

}  // namespace

StructureView::StructureView(std::shared_ptr<const Record> record) : record_(std::move(record)) {
  CheckedReader read(*record_, kStructureArrays);
  residue_index = read.get<int32_t>("token_residue_index");
  asym_id = read.get<int32_t>("token_asym_id");
  entity_id = read.get<int32_t>("token_entity_id");
  sym_id = read.get<int32_t>("token_sym_id");
  restype = read.get<uint8_t>("token_restype");
  chain = read.get<int32_t>("token_chain");
  is_atomized = read.get<uint8_t>("token_is_atomized");
  msa_column = read.get<int32_t>("token_msa_column");
  atom_start = read.get<int32_t>("token_atom_start");
  atom_count = read.get<int32_t>("token_atom_count");
  center_atom = read.get<int32_t>("token_center_atom");
  representative_atom = read.get<int32_t>("token_representative_atom");
  position = read.get<float>("atom_position");
  resolved = read.get<uint8_t>("atom_resolved");
  element = read.get<uint8_t>("atom_element");
  charge = read.get<int8_t>("atom_charge");
  name = read.get<uint8_t>("atom_name");
  ref_position = read.get<float>("atom_ref_position");
  ref_mask = read.get<uint8_t>("atom_ref_mask");
  ref_space_uid = read.get<int32_t>("atom_ref_space_uid");
  bonds = read.get<int32_t>("token_bond");
  chain_type = read.get<uint8_t>("chain_type");
  chain_start = read.get<int32_t>("chain_token_start");
  chain_count = read.get<int32_t>("chain_token_count");
  molecule = read.get<int32_t>("chain_molecule");
  molecule_entity = read.get<int32_t>("chain_molecule_entity");
  molecule_rank = read.get<int32_t>("chain_molecule_rank");
  residue_permutation = read.get<int32_t>("residue_permutation");
  permutation_atoms = read.get<int32_t>("permutation_atoms");
  permutation_start = read.get<int32_t>("permutation_start");
  permutation_count = read.get<int32_t>("permutation_count");
  permutation = read.get<int32_t>("permutation");
  conformer_place = read.get<int32_t>("atom_conformer_place");
  residue_conformer = read.get<int32_t>("residue_conformer");
  conformer_atoms = read.get<int32_t>("conformer_atoms");
  conformer_start = read.get<int32_t>("conformer_start");
  conformer_count = read.get<int32_t>("conformer_count");
  conformer_position = read.get<float>("conformer_position");
  try {
    const auto meta = nlohmann::json::parse(record_->meta());
    id = meta.at("id").get<std::string>();
    if (const auto found = meta.find("resolution"); found != meta.end() && found->is_number())
      resolution = found->get<double>();
    if (const auto found = meta.find("release_date"); found != meta.end() && found->is_string())
      release_date = found->get<std::string>();
    for (const auto& entry : meta.at("chains")) {
      ChainInfo info{.label = entry.value("label", "")};
      if (const auto found = entry.find("alignment"); found != entry.end() && found->is_string())
        info.alignment = found->get<std::string>();
      if (const auto found = entry.find("templates"); found != entry.end() && found->is_string())
        info.templates = found->get<std::string>();
      chains.push_back(std::move(info));
    }
  } catch (const nlohmann::json::exception& error) {
    fail<Corrupt>("record {}: its meta cannot be read ({}); build the cache again", key(),
                  error.what());
  }
  check_indices();
  check_symmetry();
  check_conformers();
}

void StructureView::check_conformers() const {
  const int64_t G = std::ssize(conformer_atoms);
  check_lists(key(), {"atoms of a conformer", "first conformer", "number of conformers' positions"},
              {conformer_atoms, conformer_start, conformer_count}, 1,
              std::ssize(conformer_position) / 3);
  for (size_t r = 0; r < residue_conformer.size(); ++r) {
    const int32_t g = residue_conformer[r];
    check(g >= -1 && g < G, key(), "conformers of residue", static_cast<int64_t>(r), g, G);
  }
  for (size_t a = 0; a < ref_space_uid.size(); ++a) {
    const int32_t g = residue_conformer[static_cast<size_t>(ref_space_uid[a])];
    if (g < 0) continue;
    const int32_t n = conformer_atoms[static_cast<size_t>(g)];
    check(conformer_place[a] >= 0 && conformer_place[a] < n, key(), "place in the conformer",
          static_cast<int64_t>(a), conformer_place[a], n);
  }
}

void StructureView::check_symmetry() const {
  const int64_t C = num_chains(), P = std::ssize(permutation_atoms);
  for (size_t c = 0; c < static_cast<size_t>(C); ++c) {
    const auto row = static_cast<int64_t>(c);
    check(molecule[c] >= 0 && molecule[c] < C, key(), "molecule", row, molecule[c], C);
    check(molecule_entity[c] >= 0 && molecule_entity[c] < C, key(), "entity of the molecule", row,
          molecule_entity[c], C);
    check(molecule_rank[c] >= 0 && molecule_rank[c] < C, key(), "rank in the molecule", row,
          molecule_rank[c], C);
  }
  check_lists(
      key(), {"atoms of a permutation", "first permutation", "number of permutation values"},
      {permutation_atoms, permutation_start, permutation_count}, 2, std::ssize(permutation));
  for (size_t p = 0; p < static_cast<size_t>(P); ++p) {
    const int64_t n = permutation_atoms[p], first = permutation_start[p];
    for (int64_t v = first; v < first + n * permutation_count[p]; ++v) {
      const int32_t image = permutation[static_cast<size_t>(v)];
      check(image >= 0 && image < n, key(), "permutation", v, image, n);
    }
  }
  std::vector<int32_t> atoms(residue_permutation.size(), 0);  // of each residue
  for (size_t a = 0; a < ref_space_uid.size(); ++a) {
    const int32_t uid = ref_space_uid[a];
    check(uid >= 0 && uid < std::ssize(atoms), key(), "residue", static_cast<int64_t>(a), uid,
          std::ssize(atoms));
    ++atoms[static_cast<size_t>(uid)];
    check(a == 0 || uid == ref_space_uid[a - 1] || atoms[static_cast<size_t>(uid)] == 1, key(),
          "residue (its atoms are not consecutive)", static_cast<int64_t>(a), uid, uid);
  }
  for (size_t r = 0; r < atoms.size(); ++r) {
    const int32_t p = residue_permutation[r];
    check(p >= -1 && p < P, key(), "permutation of residue", static_cast<int64_t>(r), p, P);
    check(p < 0 || permutation_atoms[static_cast<size_t>(p)] == atoms[r], key(),
          "number of atoms of residue", static_cast<int64_t>(r), atoms[r],
          p < 0 ? 0 : permutation_atoms[static_cast<size_t>(p)]);
  }
}

void StructureView::check_indices() const {
  const int64_t N = num_tokens(), A = num_atoms(), C = num_chains();
  check(std::ssize(chains) == C, key(), "number of chains in meta", 0, std::ssize(chains), C);
  int64_t next = 0;
  for (size_t c = 0; c < static_cast<size_t>(C); ++c) {
    const auto row = static_cast<int64_t>(c);
    check(chain_start[c] == next && chain_count[c] >= 0, key(), "first token", row, chain_start[c],
          next);
    next += chain_count[c];
    check(chain_type[c] <= static_cast<int>(ChainType::ligand), key(), "type", row, chain_type[c],
          static_cast<int>(ChainType::ligand));
  }
  check(next == N, key(), "sum of chain lengths", C, next, N);
  next = 0;
  for (size_t t = 0; t < static_cast<size_t>(N); ++t) {
    const auto row = static_cast<int64_t>(t);
    check(chain[t] >= 0 && chain[t] < C, key(), "chain", row, chain[t], C);
    const auto c = static_cast<size_t>(chain[t]);
    check(row >= chain_start[c] && row < chain_start[c] + chain_count[c], key(), "chain", row,
          chain[t], C);
    check(restype[t] < kNumRestypes, key(), "restype", row, restype[t], kNumRestypes);
    check(atom_start[t] == next && atom_count[t] > 0, key(), "first atom", row, atom_start[t],
          next);
    next += atom_count[t];
    check(center_atom[t] >= atom_start[t] && center_atom[t] < next, key(), "centre atom", row,
          center_atom[t], next);
    check(representative_atom[t] == -1 ||
              (representative_atom[t] >= atom_start[t] && representative_atom[t] < next),
          key(), "representative atom", row, representative_atom[t], next);
    check(msa_column[t] >= -1, key(), "alignment column", row, msa_column[t], -1);
  }
  check(next == A, key(), "number of atoms of all tokens", N, next, A);
  for (size_t b = 0; b < bonds.size(); ++b)
    check(bonds[b] >= 0 && bonds[b] < N, key(), "bonded token", static_cast<int64_t>(b / 2),
          bonds[b], N);
}

AlignmentView::AlignmentView(std::shared_ptr<const Record> record) : record_(std::move(record)) {
  CheckedReader read(*record_, kAlignmentArrays);
  read.check<uint8_t>("msa");
  read.check<uint8_t>("deletion");
  profile = read.get<float>("profile");
  deletion_mean = read.get<float>("deletion_mean");
  read.check<uint8_t>("pairing_msa");
  read.check<uint8_t>("pairing_deletion");
  read.check<uint8_t>("pairing_species");
  read.check<int32_t>("pairing_hit");
  read.check<int32_t>("pairing_main_row");
  rows = read.extent('S');
  columns = read.extent('L');
  pairing_rows = read.extent('U');
  check(rows >= 1, key(), "number of alignment rows", 0, rows, 1);
}

void AlignmentView::read_block(std::string_view msa, std::string_view deletion, int64_t first,
                               int64_t count, const std::function<void(const Rows&)>& f) const {
  thread_local std::vector<std::byte> msa_rows, deletion_rows;  // kept: fresh memory is dear
  const auto bytes = static_cast<size_t>(count * columns);
  if (msa_rows.size() < bytes) {
    msa_rows.resize(bytes);
    deletion_rows.resize(bytes);
  }
  record_->read_rows(msa, first, count, msa_rows.data());
  record_->read_rows(deletion, first, count, deletion_rows.data());
  f({first, count, reinterpret_cast<const uint8_t*>(msa_rows.data()),
     reinterpret_cast<const uint8_t*>(deletion_rows.data())});
}

void AlignmentView::for_each_block(int64_t last, const std::function<void(const Rows&)>& f) const {
  const int64_t step = record_->rows_per_block("msa");
  for (int64_t first = 0; first < std::min(last, rows); first += step)
    read_block("msa", "deletion", first, std::min(step, rows - first), f);
}

void AlignmentView::for_each_pairing_block(const std::vector<int64_t>& wanted,
                                           const std::function<void(const Rows&)>& f) const {
  if (wanted.empty()) return;
  const int64_t step = record_->rows_per_block("pairing_msa");
  int64_t next = 0;  // rows before are read
  for (const int64_t row : wanted) {
    if (row < next) continue;
    const int64_t first = row / step * step;
    next = std::min(first + step, pairing_rows);
    read_block("pairing_msa", "pairing_deletion", first, next - first, f);
  }
}

std::span<const uint64_t> AlignmentView::pairing_species() const {
  return {record_->array("pairing_species").as<uint64_t>(), static_cast<size_t>(pairing_rows)};
}
std::span<const int32_t> AlignmentView::pairing_hit() const {
  return {record_->array("pairing_hit").as<int32_t>(), static_cast<size_t>(pairing_rows)};
}
std::span<const int32_t> AlignmentView::pairing_main_row() const {
  return {record_->array("pairing_main_row").as<int32_t>(), static_cast<size_t>(pairing_rows)};
}

}  // namespace megafold
