// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold ccd info | subset
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/errors.h"
#include "cache/inputs.h"
#include "cli/commands.h"
#include "structure/ccd.h"
#include "structure/clean.h"
#include "structure/entry.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  fs::path dictionary, data, out;
  std::vector<std::string> codes;
};

const char* name_of(Linking linking) {
  switch (linking) {
    case Linking::peptide:
      return "peptide linking";
    case Linking::rna:
      return "RNA linking";
    case Linking::dna:
      return "DNA linking";
    default:
      return "not linking";
  }
}

const Component& find(const ComponentDictionary& dictionary, const std::string& code) {
  const Component* const component = dictionary.find(std::string_view(code));
  if (component == nullptr)
    fail<BadInput>("{}: no component '{}' among its {}", dictionary.file(), code,
                   dictionary.components().size());
  return *component;
}

void info(const Options& options) {
  const auto dictionary = ComponentDictionary::read(options.dictionary);
  if (options.codes.empty()) {
    size_t atoms = 0, without = 0;
    for (const Component& component : dictionary.components()) {
      atoms += component.atoms.size();
      for (const ComponentAtom& atom : component.atoms)
        without += atom.has_ideal || atom.has_model ? 0 : 1;
    }
    fmt::print("{}: {} components, {} heavy atoms ({} without any coordinates)\nversion {}\n",
               options.dictionary.string(), dictionary.components().size(), atoms, without,
               dictionary.version());
    return;
  }
  for (const std::string& code : options.codes) {
    const Component& component = find(dictionary, code);
    fmt::print("{}  {}\n{}, letter {}{}, {} heavy atoms, {} bonds\n", component.code.view(),
               component.name, name_of(component.linking), component.one_letter,
               component.parent.empty() ? "" : fmt::format(", of {}", component.parent.view()),
               component.atoms.size(), component.bonds.size());
    fmt::print("  {:<6} {:>2} {:>6}  {:<7}  {}\n", "atom", "Z", "charge", "leaving",
               "ideal coordinates (A)");
    for (const ComponentAtom& atom : component.atoms)
      fmt::print("  {:<6} {:>2} {:>6}  {:<7}  {}\n", atom.name.view(), atom.element, atom.charge,
                 atom.leaving ? "yes" : "",
                 atom.has_ideal ? fmt::format("{:8.3f} {:8.3f} {:8.3f}", atom.ideal[0],
                                              atom.ideal[1], atom.ideal[2])
                                : "none");
  }
}

/// Every component that an entry's residues or sequences name; MSE and the like with their parents.
void collect(const FileEntry& entry, std::set<ShortName>& wanted) {
  for (const Chain& chain : entry.chains)
    for (const Residue& residue : chain.residues) wanted.insert(residue.code);
  const auto add = [&](const auto& sequence) {
    for (const auto& [number, codes] : sequence) wanted.insert(codes.begin(), codes.end());
  };
  for (const auto& [id, entity] : entry.entities) add(entity.sequence);
  for (const auto& [chain, sequence] : entry.chain_sequences) add(sequence);
}

void subset(const Options& options) {
  const auto dictionary = ComponentDictionary::read(options.dictionary);
  std::set<ShortName> wanted;
  for (const std::string& code : options.codes) wanted.insert(find(dictionary, code).code);
  for (const Component& component : dictionary.components())
    if (is_standard_residue(component.code)) wanted.insert(component.code);
  if (!options.data.empty())
    for (const EntryFile& file : scan_data_folder(options.data).entries)
      collect(read_entry(*Document::read(file.path), file.id), wanted);
  std::vector<const Component*> kept;
  std::set<ShortName> found;
  for (const Component& component : dictionary.components())
    if (wanted.contains(component.code)) {
      kept.push_back(&component);
      found.insert(component.code);
    }
  for (const ShortName code : wanted)
    if (!found.contains(code))
      fmt::print(stderr, "{}: no component '{}': left out\n", dictionary.file(), code.view());
  write_dictionary(options.out, kept);
  fmt::print("{}: {} of {} components\n", options.out.string(), kept.size(),
             dictionary.components().size());
}

}  // namespace

void add_ccd_command(CLI::App& app) {
  CLI::App* ccd = app.add_subcommand("ccd", "Look into and cut the chemical component dictionary");
  ccd->require_subcommand(1);
  ccd->footer(
      "A dictionary is the wwPDB's components.cif, or the same as BinaryCIF, packed or not.\n"
      "The whole one as BinaryCIF lies in the Python package biotite\n"
      "(structure/info/components.bcif).\n"
      "\n"
      "Examples:\n"
      "  megafold ccd info data/components.bcif.gz 5IU\n"
      "  megafold ccd subset components.bcif --data mine --out mine/components.bcif.gz");

  const auto shown = std::make_shared<Options>();
  CLI::App* command = ccd->add_subcommand("info", "What a dictionary, or a component of it, holds");
  command->add_option("dictionary", shown->dictionary, "components.cif or .bcif (.gz)")->required();
  command->add_option("codes", shown->codes, "Components to show");
  command->footer("Example:\n  megafold ccd info data/components.bcif.gz GNP MG");
  command->callback([shown] { info(*shown); });

  const auto cut = std::make_shared<Options>();
  command = ccd->add_subcommand(
      "subset", "Write the standard residues and what some entries need as a small BinaryCIF");
  command->add_option("dictionary", cut->dictionary, "components.cif or .bcif (.gz)")->required();
  command->add_option("codes", cut->codes, "More components to keep");
  command->add_option("--data", cut->data, "Keep what the entries of this folder need");
  command->add_option("--out", cut->out, "The file to write (.bcif or .bcif.gz)")->required();
  command->footer(
      "Heavy atoms alone are kept: nothing in megafold reads the dictionary's hydrogens.\n"
      "\n"
      "Example:\n"
      "  megafold ccd subset components.bcif MSE --data mine --out mine/components.bcif.gz");
  command->callback([cut] { subset(*cut); });
}

}  // namespace megafold::cli
