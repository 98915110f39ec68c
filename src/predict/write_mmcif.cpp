// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/write_mmcif.h"

#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include <gemmi/cif.hpp>
#include <gemmi/elem.hpp>
#include <gemmi/numb.hpp>
#include <gemmi/resinfo.hpp>
#include <gemmi/to_cif.hpp>

#include "base/errors.h"
#include "base/publish.h"
#include "structure/clean.h"

namespace megafold {
namespace {

namespace cif = gemmi::cif;

std::string quoted(const std::string& value) {
  return value.empty() ? "." : cif::quote(value);
}

std::string component_type(ChainType type, const std::string& component) {
  switch (type) {
    case ChainType::protein:
      return component == "GLY" ? "PEPTIDE LINKING" : "L-PEPTIDE LINKING";
    case ChainType::rna:
      return "RNA LINKING";
    case ChainType::dna:
      return "DNA LINKING";
    case ChainType::ligand:
      break;
  }
  return "NON-POLYMER";
}

const char* polymer_type(ChainType type) {
  switch (type) {
    case ChainType::protein:
      return "polypeptide(L)";
    case ChainType::rna:
      return "polyribonucleotide";
    case ChainType::dna:
      return "polydeoxyribonucleotide";
    case ChainType::ligand:
      break;
  }
  return "other";
}

// The component that a letter of a chain's sequence stands for, for residues without a token.
std::string component_of_letter(ChainType type, char letter) {
  if (type == ChainType::protein) {
    const char* name = gemmi::expand_protein_one_letter(letter);
    return name != nullptr ? name : "UNK";
  }
  if (type == ChainType::dna) return std::string{'D', letter == 'X' ? 'N' : letter};
  return {letter == 'X' ? 'N' : letter};
}

struct EntityRow {
  ChainType type{};
  bool is_water = false, is_branched = false;
  std::string letters;                  // canonical one-letter sequence
  std::vector<std::string> components;  // by label_seq_id - 1 (polymers), or in order (ligands)
  std::string strands;                  // author chain names, "A,B"
};

std::map<int32_t, EntityRow> collect_entities(const Entry& entry) {
  std::map<int32_t, EntityRow> entities;
  for (const EntryChain& chain : entry.chains) {
    EntityRow& entity = entities[chain.entity];
    const bool is_first = entity.strands.empty();
    entity.strands += (is_first ? "" : ",") + chain.auth;
    entity.type = chain.type;
    const auto residues = std::span(entry.residues)
                              .subspan(static_cast<size_t>(chain.first_residue),
                                       static_cast<size_t>(chain.num_residues));
    if (chain.type == ChainType::ligand) {
      if (!is_first) continue;
      for (const EntryResidue& residue : residues) entity.components.push_back(residue.component);
      entity.is_water = residues.size() > 0 && residues[0].component == "HOH";
      entity.is_branched = residues.size() > 1;
      continue;
    }
    size_t length = chain.sequence.size();
    for (const EntryResidue& residue : residues) {
      length = std::max(length, static_cast<size_t>(std::max(residue.sequence_id, 0)));
    }
    if (entity.letters.size() < length) {
      entity.letters = chain.sequence + std::string(length - chain.sequence.size(), 'X');
    }
    entity.components.resize(entity.letters.size());
    for (const EntryResidue& residue : residues) {
      if (residue.sequence_id >= 1) {
        entity.components[static_cast<size_t>(residue.sequence_id) - 1] = residue.component;
      }
    }
  }
  for (auto& [number, entity] : entities) {
    if (entity.type == ChainType::ligand) continue;
    for (size_t i = 0; i < entity.components.size(); ++i) {
      std::string& component = entity.components[i];
      if (component.empty()) component = component_of_letter(entity.type, entity.letters[i]);
    }
  }
  return entities;
}

// The sequence with modified residues as (CCD code), as _entity_poly has it.
std::string full_sequence(const EntityRow& entity) {
  std::string text;
  for (size_t i = 0; i < entity.components.size(); ++i) {
    const std::string& component = entity.components[i];
    const char letter = entity.letters[i];
    if (entity.type == ChainType::protein && letter != 'X' &&
        component == component_of_letter(entity.type, letter)) {
      text += letter;
    } else {  // RNA's names have one letter, DNA's two: DA is written (DA)
      text += component.size() == 1 ? component : "(" + component + ")";
    }
  }
  return text;
}

void add_entities(cif::Block& block, const Entry& entry) {
  const auto entities = collect_entities(entry);
  cif::Loop& entity_loop =
      block.init_loop("_entity.", {"id", "type", "src_method", "pdbx_description"});
  bool has_polymer = false, has_ligand = false;
  for (const auto& [number, entity] : entities) {
    const bool polymer = entity.type != ChainType::ligand;
    has_polymer |= polymer, has_ligand |= !polymer;
    entity_loop.add_row({std::to_string(number),
                         polymer              ? "polymer"
                         : entity.is_water    ? "water"
                         : entity.is_branched ? "branched"
                                              : "non-polymer",
                         "?", "?"});
  }
  if (has_polymer) {
    cif::Loop& poly = block.init_loop(
        "_entity_poly.", {"entity_id", "type", "nstd_monomer", "pdbx_seq_one_letter_code",
                          "pdbx_seq_one_letter_code_can", "pdbx_strand_id"});
    for (const auto& [number, entity] : entities) {
      if (entity.type == ChainType::ligand) continue;
      bool modified = false;
      for (size_t i = 0; i < entity.components.size(); ++i) {
        modified |= entity.components[i] != component_of_letter(entity.type, entity.letters[i]);
      }
      poly.add_row({std::to_string(number), cif::quote(polymer_type(entity.type)),
                    modified ? "yes" : "no", quoted(full_sequence(entity)), quoted(entity.letters),
                    quoted(entity.strands)});
    }
    cif::Loop& seq = block.init_loop("_entity_poly_seq.", {"entity_id", "num", "mon_id", "hetero"});
    for (const auto& [number, entity] : entities) {
      if (entity.type == ChainType::ligand) continue;
      for (size_t i = 0; i < entity.components.size(); ++i) {
        seq.add_row(
            {std::to_string(number), std::to_string(i + 1), quoted(entity.components[i]), "n"});
      }
    }
  }
  if (has_ligand) {
    cif::Loop& ligands = block.init_loop("_pdbx_entity_nonpoly.", {"entity_id", "comp_id"});
    for (const auto& [number, entity] : entities) {
      if (entity.type != ChainType::ligand) continue;
      for (const std::string& component : entity.components) {
        ligands.add_row({std::to_string(number), quoted(component)});
      }
    }
  }
  cif::Loop& asym = block.init_loop("_struct_asym.", {"id", "entity_id", "details"});
  for (const EntryChain& chain : entry.chains) {
    asym.add_row({quoted(chain.label), std::to_string(chain.entity), "?"});
  }
  cif::Loop& components = block.init_loop("_chem_comp.", {"id", "type"});
  std::set<std::string> seen;
  for (const EntryResidue& residue : entry.residues) {
    if (!seen.insert(residue.component).second) continue;
    const ChainType type = entry.chains[static_cast<size_t>(residue.chain)].type;
    components.add_row(
        {quoted(residue.component), cif::quote(component_type(type, residue.component))});
  }
}

std::string element_symbol(uint8_t atomic_number) {
  if (atomic_number == 0 || atomic_number >= static_cast<int>(gemmi::El::END)) return "X";
  return gemmi::Element(static_cast<int>(atomic_number)).uname();
}

/// `all`: atoms that the experiment did not resolve too.
void add_atoms(cif::Block& block, const Entry& entry, std::span<const PredictedModel> models,
               bool all) {
  cif::Loop& atoms = block.init_loop("_atom_site.", {"group_PDB",         "id",
                                                     "type_symbol",       "label_atom_id",
                                                     "label_alt_id",      "label_comp_id",
                                                     "label_asym_id",     "label_entity_id",
                                                     "label_seq_id",      "pdbx_PDB_ins_code",
                                                     "Cartn_x",           "Cartn_y",
                                                     "Cartn_z",           "occupancy",
                                                     "B_iso_or_equiv",    "pdbx_formal_charge",
                                                     "auth_seq_id",       "auth_comp_id",
                                                     "auth_asym_id",      "auth_atom_id",
                                                     "pdbx_PDB_model_num"});
  atoms.values.reserve(atoms.tags.size() * entry.num_atoms() * models.size());
  size_t serial = 0;
  for (size_t m = 0; m < models.size(); ++m) {
    const PredictedModel& model = models[m];
    for (size_t a = 0; a < entry.num_atoms(); ++a) {
      if (!all && entry.resolved[a] == 0) continue;
      const auto r = static_cast<size_t>(entry.residue[a]);
      const EntryResidue& residue = entry.residues[r];
      const EntryChain& chain = entry.chains[static_cast<size_t>(residue.chain)];
      const bool ligand = chain.type == ChainType::ligand;
      const double score = !model.atom_score.empty()      ? double{model.atom_score[a]}
                           : !model.residue_score.empty() ? 100 * model.residue_score[r]
                                                          : 0.0;
      const std::string component = quoted(residue.component);
      const std::string name = quoted(entry.atom_name[a]);
      const char insertion = residue.insertion_code;
      const int charge = entry.charge[a];
      const bool standard = !ligand && is_standard_residue(ShortName(residue.component));
      atoms.add_row({standard ? "ATOM" : "HETATM",
                     std::to_string(++serial),
                     element_symbol(entry.element[a]),
                     name,
                     ".",
                     component,
                     quoted(chain.label),
                     std::to_string(chain.entity),
                     ligand ? "." : std::to_string(residue.sequence_id),
                     insertion == ' ' || insertion == '\0' ? "?" : std::string{insertion},
                     fmt::format("{:.3f}", model.position[3 * a]),
                     fmt::format("{:.3f}", model.position[3 * a + 1]),
                     fmt::format("{:.3f}", model.position[3 * a + 2]),
                     "1.00",
                     fmt::format("{:.2f}", std::isnan(score) ? 0.0 : score),
                     charge == 0 ? "?" : std::to_string(charge),
                     std::to_string(residue.author_id),
                     component,
                     quoted(chain.auth),
                     name,
                     std::to_string(m + 1)});
    }
  }
}

/// A bond between tokens of different residues, as a row of _struct_conn.
void add_connections(cif::Block& block, const Entry& entry, const Record& record) {
  const ArrayView bonds = record.array("token_bond"), start = record.array("token_atom_start"),
                  count = record.array("token_atom_count");
  const auto distance = [&](size_t a, size_t b) {
    double sum = 0;
    for (size_t k = 0; k < 3; ++k) {
      const double d = double{entry.position[3 * a + k]} - double{entry.position[3 * b + k]};
      sum += d * d;
    }
    return std::sqrt(sum);
  };
  const auto atoms_of = [&](int32_t token) {
    std::vector<size_t> out;
    const int32_t first = start.as<int32_t>()[token];
    for (int32_t a = first; a < first + count.as<int32_t>()[token]; ++a)
      if (entry.resolved[static_cast<size_t>(a)] != 0) out.push_back(static_cast<size_t>(a));
    return out;
  };
  std::vector<std::array<size_t, 2>> pairs;
  for (int64_t i = 0; i < bonds.size() / 2; ++i) {
    std::optional<std::array<size_t, 2>> nearest;
    for (const size_t a : atoms_of(bonds.as<int32_t>()[2 * i]))
      for (const size_t b : atoms_of(bonds.as<int32_t>()[2 * i + 1]))
        if (entry.residue[a] != entry.residue[b] &&
            (!nearest || distance(a, b) < distance((*nearest)[0], (*nearest)[1])))
          nearest = {a, b};
    if (nearest) pairs.push_back(*nearest);
  }
  if (pairs.empty()) return;
  std::vector<std::string> names{"id", "conn_type_id"};
  for (const char* partner : {"ptnr1", "ptnr2"})
    for (const char* name : {"label_asym_id", "label_comp_id", "label_seq_id", "label_atom_id",
                             "auth_asym_id", "auth_seq_id", "symmetry"})
      names.push_back(fmt::format("{}_{}", partner, name));
  names.emplace_back("pdbx_dist_value");
  cif::Loop& loop = block.init_loop("_struct_conn.", names);
  for (size_t i = 0; i < pairs.size(); ++i) {
    std::vector<std::string> row{fmt::format("bond{}", i + 1), "covale"};
    for (const size_t a : pairs[i]) {
      const EntryResidue& residue = entry.residues[static_cast<size_t>(entry.residue[a])];
      const EntryChain& chain = entry.chains[static_cast<size_t>(residue.chain)];
      for (std::string value :
           {quoted(chain.label), quoted(residue.component),
            chain.type == ChainType::ligand ? std::string(".")
                                            : std::to_string(residue.sequence_id),
            quoted(entry.atom_name[a]), quoted(chain.auth), std::to_string(residue.author_id),
            std::string("1_555")})
        row.push_back(std::move(value));
    }
    row.push_back(fmt::format("{:.3f}", distance(pairs[i][0], pairs[i][1])));
    loop.add_row(row);
  }
}

std::string text_of(const cif::Document& document) {
  std::ostringstream text;
  cif::write_cif_to_stream(text, document, cif::Style::PreferPairs);
  return text.str();
}

void check_models(const Entry& entry, std::span<const PredictedModel> models) {
  if (models.empty()) fail<BadInput>("entry {}: no predicted model to write", entry.id);
  for (size_t m = 0; m < models.size(); ++m) {
    const auto& [position, score, atom_score] = models[m];
    if (!atom_score.empty() && atom_score.size() != entry.num_atoms())
      fail<BadInput>("entry {} has {} atoms; model {} has {} atom scores", entry.id,
                     entry.num_atoms(), m + 1, atom_score.size());
    if (position.size() != 3 * entry.num_atoms() ||
        (!score.empty() && score.size() != entry.residues.size())) {
      fail<BadInput>(
          "entry {} has {} atoms in {} residues; model {} has {} coordinates and {} "
          "residue scores",
          entry.id, entry.num_atoms(), entry.residues.size(), m + 1, position.size(), score.size());
    }
    for (size_t i = 0; i < position.size(); ++i) {
      if (std::isfinite(position[i])) continue;
      const auto& residue = entry.residues[static_cast<size_t>(entry.residue[i / 3])];
      fail<BadInput>(
          "entry {}, model {}: coordinate {} of atom {} in {} {} is {}: the model's "
          "output is not a structure",
          entry.id, m + 1, "xyz"[i % 3], entry.atom_name[i / 3], residue.component,
          residue.author_id, position[i]);
    }
  }
}

}  // namespace

std::string mmcif_text(const Entry& entry, std::span<const PredictedModel> models,
                       const PredictionNote& note) {
  check_models(entry, models);
  cif::Document document;
  cif::Block& block = document.add_new_block(entry.id);
  block.set_pair("_entry.id", quoted(entry.id));
  block.set_pair("_struct.entry_id", quoted(entry.id));
  block.set_pair("_struct.title", cif::quote("Predicted structure of " + entry.id));
  block.set_pair("_exptl.entry_id", quoted(entry.id));
  block.set_pair("_exptl.method", cif::quote("THEORETICAL MODEL"));
  block.set_pair("_software.pdbx_ordinal", "1");
  block.set_pair("_software.name", "megafold");
  block.set_pair("_software.classification", cif::quote("model building"));
  block.set_pair("_software.description", note.details.empty() ? "?" : cif::quote(note.details));
  if (!note.score_meaning.empty()) {
    block.set_pair("_struct.pdbx_model_details",
                   cif::quote("B_iso_or_equiv is " + note.score_meaning));
  }
  add_entities(block, entry);
  add_atoms(block, entry, models, /*all=*/true);
  return text_of(document);
}

std::string experimental_mmcif_text(const Record& record) {
  const Entry entry = read_entry(record);
  const auto meta = nlohmann::json::parse(record.meta(), nullptr, /*allow_exceptions=*/false);
  const auto fact = [&](const char* name) {
    const auto found = meta.find(name);
    return found != meta.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  cif::Document document;
  cif::Block& block = document.add_new_block(entry.id);
  block.set_pair("_entry.id", quoted(entry.id));
  block.set_pair("_struct.entry_id", quoted(entry.id));
  block.set_pair("_struct.title", quoted(entry.title));
  block.set_pair("_exptl.entry_id", quoted(entry.id));
  block.set_pair("_exptl.method", quoted(fact("method")));
  if (!fact("release_date").empty())
    block
        .init_loop(
            "_pdbx_audit_revision_history.",
            {"ordinal", "data_content_type", "major_revision", "minor_revision", "revision_date"})
        .add_row({"1", "'Structure model'", "1", "0", fact("release_date")});
  if (const auto found = meta.find("resolution"); found != meta.end() && found->is_number()) {
    block.set_pair("_refine.entry_id", quoted(entry.id));
    block.set_pair("_refine.ls_d_res_high", fmt::format("{}", found->get<double>()));
  }
  block.set_pair("_software.pdbx_ordinal", "1");
  block.set_pair("_software.name", "megafold");
  block.set_pair("_software.classification", cif::quote("data extraction"));
  block.set_pair("_software.description",
                 cif::quote("the first assembly as cleaned for a cache, from " + fact("source")));
  add_entities(block, entry);
  add_connections(block, entry, record);
  const ArrayView b_factor = record.array("atom_b_factor");
  const PredictedModel model{
      .position = entry.position,
      .atom_score = {b_factor.as<float>(), b_factor.as<float>() + entry.num_atoms()}};
  add_atoms(block, entry, std::span(&model, 1), /*all=*/false);
  return text_of(document);
}

void write_mmcif(const std::filesystem::path& path, const Entry& entry,
                 std::span<const PredictedModel> models, const PredictionNote& note) {
  publish(path, mmcif_text(entry, models, note));
}

std::vector<float> read_predicted_positions(const std::filesystem::path& path, const Entry& entry,
                                            int model) {
  const std::string text = read_file(path);
  cif::Document document;
  try {
    document = cif::read_string(text);
  } catch (const std::exception& error) {
    fail<BadInput>("{}: not an mmCIF file: {}", path.string(), error.what());
  }
  if (document.blocks.empty()) fail<BadInput>("{}: the file is empty", path.string());
  cif::Table table = document.blocks[0].find(
      "_atom_site.", {"label_atom_id", "label_comp_id", "label_asym_id", "pdbx_PDB_model_num",
                      "Cartn_x", "Cartn_y", "Cartn_z"});
  if (!table.ok()) fail<BadInput>("{}: no _atom_site loop with coordinates", path.string());
  std::vector<float> position;
  position.reserve(3 * entry.num_atoms());
  size_t a = 0;
  for (const auto row : table) {
    if (cif::as_int(row[3], 1) != model) continue;
    if (a < entry.num_atoms()) {
      const EntryResidue& residue = entry.residues[static_cast<size_t>(entry.residue[a])];
      const std::string& label = entry.chains[static_cast<size_t>(residue.chain)].label;
      if (row.str(0) != entry.atom_name[a] || row.str(1) != residue.component ||
          row.str(2) != label) {
        fail<BadInput>("{}: atom {} of model {} is {} {} {}, entry {} has {} {} {} there",
                       path.string(), a + 1, model, row.str(2), row.str(1), row.str(0), entry.id,
                       label, residue.component, entry.atom_name[a]);
      }
    }
    for (int k = 4; k < 7; ++k) position.push_back(static_cast<float>(cif::as_number(row[k])));
    ++a;
  }
  if (a != entry.num_atoms()) {
    fail<BadInput>("{}: model {} has {} atoms, entry {} has {}", path.string(), model, a, entry.id,
                   entry.num_atoms());
  }
  return position;
}

}  // namespace megafold
