// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Writing a dictionary as BinaryCIF, with the two encodings that need no choice: StringArray over
// 32-bit indices, and plain arrays of 32-bit integers and floats.
#include <zlib.h>

#include <cstring>
#include <gemmi/elem.hpp>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "base/errors.h"
#include "base/publish.h"
#include "structure/ccd.h"

namespace megafold {
namespace {

using nlohmann::json;

constexpr int kInt8 = 1, kInt32 = 3, kUint8 = 4, kFloat32 = 32;  // BinaryCIF's type numbers

template <class T>
json binary(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return json::binary(std::move(bytes));
}

json byte_array(int type) {
  return json::array({{{"kind", "ByteArray"}, {"type", type}}});
}

class Texts {
 public:
  void add(std::string_view text) {
    const auto next = static_cast<int32_t>(index_.size());
    const auto [found, is_new] = index_.emplace(std::string(text), next);
    if (is_new) {
      all_ += text;
      offsets_.push_back(static_cast<int32_t>(all_.size()));
    }
    rows_.push_back(found->second);
  }
  [[nodiscard]] json column(const char* name) const {
    const json encoding = {{"kind", "StringArray"},
                           {"stringData", all_},
                           {"offsets", binary(offsets_)},
                           {"offsetEncoding", byte_array(kInt32)},
                           {"dataEncoding", byte_array(kInt32)}};
    return {{"name", name},
            {"data", {{"data", binary(rows_)}, {"encoding", json::array({encoding})}}},
            {"mask", nullptr}};
  }

 private:
  std::unordered_map<std::string, int32_t> index_;
  std::string all_;
  std::vector<int32_t> offsets_{0}, rows_;
};

template <class T>
json numbers(const char* name, int type, const std::vector<T>& values,
             const std::vector<uint8_t>& mask = {}) {
  json column = {{"name", name},
                 {"data", {{"data", binary(values)}, {"encoding", byte_array(type)}}},
                 {"mask", nullptr}};
  if (!mask.empty()) column["mask"] = {{"data", binary(mask)}, {"encoding", byte_array(kUint8)}};
  return column;
}

json category(const char* name, size_t rows, json columns) {
  return {{"name", name}, {"rowCount", rows}, {"columns", std::move(columns)}};
}

std::string_view type_of(Linking linking) {
  switch (linking) {
    case Linking::peptide:
      return "PEPTIDE LINKING";
    case Linking::rna:
      return "RNA LINKING";
    case Linking::dna:
      return "DNA LINKING";
    default:
      return "NON-POLYMER";
  }
}

std::string_view order_of(BondKind kind) {
  switch (kind) {
    case BondKind::twofold:
      return "DOUB";
    case BondKind::threefold:
      return "TRIP";
    case BondKind::fourfold:
      return "QUAD";
    case BondKind::aromatic:
      return "AROM";
    default:
      return "SING";
  }
}

json components_table(const std::vector<const Component*>& components) {
  Texts id, name, type, letter, parent;
  for (const Component* const c : components) {
    id.add(c->code.view()), name.add(c->name), type.add(type_of(c->linking));
    letter.add(std::string_view(&c->one_letter, 1)), parent.add(c->parent.view());
  }
  return category(
      "_chem_comp", components.size(),
      json::array({id.column("id"), name.column("name"), type.column("type"),
                   letter.column("one_letter_code"), parent.column("mon_nstd_parent_comp_id")}));
}

json atoms_table(const std::vector<const Component*>& components) {
  Texts comp, name, symbol, leaving;
  std::vector<int8_t> charge;
  std::array<std::vector<float>, 3> ideal, model;
  std::vector<uint8_t> no_ideal, no_model;
  for (const Component* const c : components)
    for (const ComponentAtom& atom : c->atoms) {
      comp.add(c->code.view()), name.add(atom.name.view());
      symbol.add(gemmi::Element(static_cast<gemmi::El>(atom.element)).uname());
      leaving.add(atom.leaving ? "Y" : "N");
      charge.push_back(atom.charge);
      for (size_t i = 0; i < 3; ++i) {
        ideal[i].push_back(atom.ideal[i]);
        model[i].push_back(atom.model[i]);
      }
      no_ideal.push_back(atom.has_ideal ? 0 : 2);  // 2: "?"
      no_model.push_back(atom.has_model ? 0 : 2);
    }
  const size_t rows = charge.size();
  return category(
      "_chem_comp_atom", rows,
      json::array({comp.column("comp_id"), name.column("atom_id"), symbol.column("type_symbol"),
                   leaving.column("pdbx_leaving_atom_flag"), numbers("charge", kInt8, charge),
                   numbers("pdbx_model_Cartn_x_ideal", kFloat32, ideal[0], no_ideal),
                   numbers("pdbx_model_Cartn_y_ideal", kFloat32, ideal[1], no_ideal),
                   numbers("pdbx_model_Cartn_z_ideal", kFloat32, ideal[2], no_ideal),
                   numbers("model_Cartn_x", kFloat32, model[0], no_model),
                   numbers("model_Cartn_y", kFloat32, model[1], no_model),
                   numbers("model_Cartn_z", kFloat32, model[2], no_model)}));
}

json bonds_table(const std::vector<const Component*>& components) {
  Texts comp, first, second, order, aromatic;
  size_t rows = 0;
  for (const Component* const c : components)
    for (size_t i = 0; i < c->bonds.size(); ++i) {
      const auto [a, b] = c->bonds[i];
      comp.add(c->code.view()), first.add(c->atoms[a].name.view());
      second.add(c->atoms[b].name.view());
      order.add(order_of(c->bond_kinds[i]));
      aromatic.add(c->bond_kinds[i] == BondKind::aromatic ? "Y" : "N");
      ++rows;
    }
  return category(
      "_chem_comp_bond", rows,
      json::array({comp.column("comp_id"), first.column("atom_id_1"), second.column("atom_id_2"),
                   order.column("value_order"), aromatic.column("pdbx_aromatic_flag")}));
}

json conformers_table(const std::vector<const Component*>& components) {
  Texts comp, name;
  std::vector<int32_t> number;
  std::array<std::vector<float>, 3> axes;
  for (const Component* const c : components)
    for (size_t i = 0; i < c->conformers.size(); ++i) {
      comp.add(c->code.view()), name.add(c->atoms[i % c->atoms.size()].name.view());
      number.push_back(static_cast<int32_t>(i / c->atoms.size()) + 1);
      for (size_t k = 0; k < 3; ++k) axes[k].push_back(c->conformers[i][k]);
    }
  return category("_megafold_conformer", number.size(),
                  json::array({comp.column("comp_id"), numbers("number", kInt32, number),
                               name.column("atom_id"), numbers("x", kFloat32, axes[0]),
                               numbers("y", kFloat32, axes[1]), numbers("z", kFloat32, axes[2])}));
}

/// gzip without a name or a time: the same input gives the same bytes.
std::string gzip(const std::string& plain) {
  z_stream stream{};
  if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
    fail<Device>("zlib found no memory");
  std::string out(deflateBound(&stream, plain.size()), '\0');
  auto* const input = reinterpret_cast<const Bytef*>(plain.data());
  stream.next_in = const_cast<Bytef*>(input);  // zlib's signature: it only reads
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) fail<Device>("zlib failed ({})", status);
  return out;
}

}  // namespace

void write_dictionary(const std::filesystem::path& path,
                      const std::vector<const Component*>& components) {
  json tables =
      json::array({components_table(components), atoms_table(components), bonds_table(components)});
  if (json more = conformers_table(components); more.at("rowCount") > 0)
    tables.push_back(std::move(more));
  const json file = {
      {"version", "0.3.0"},
      {"encoder", "megafold"},
      {"dataBlocks", json::array({{{"header", "components"}, {"categories", std::move(tables)}}})}};
  const std::vector<uint8_t> packed = json::to_msgpack(file);
  const std::string plain(packed.begin(), packed.end());
  publish(path, std::string_view(path.extension() == ".gz" ? gzip(plain) : plain));
}

}  // namespace megafold
