// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold import
#include <fmt/format.h>

#include <memory>

#include "cache/import.h"
#include "cli/commands.h"

namespace megafold::cli {

void add_import_command(CLI::App& app) {
  const auto options = std::make_shared<ImportOptions>();
  CLI::App* command = app.add_subcommand(
      "import", "Lay out another program's data or jobs as `cache build` wants them");
  command->add_option("source", options->source, "The other program's folder, or its JSON file")
      ->required();
  command->add_option("--from", options->from, "Whose folder it is")
      ->required()
      ->check(CLI::IsMember(import_sources()));
  command->add_option("--structures", options->structures,
                      "Folder of mmCIF files; without it those inside of the source");
  command->add_option("--out", options->out, "A new folder")->required();
  command->add_flag("--copy", options->copy, "Copy files instead of linking to them");
  command->footer(
      "What each program's folder holds stands in docs/data.md. Nothing of the source is changed.\n"
      "\n"
      "Examples:\n"
      "  megafold import openproteinset --from openproteinset --structures mmcif --out data\n"
      "  megafold import colabfold-results --from colabfold --out data\n"
      "  megafold import job.json --from alphafold3 --out data      # then predict --entry NAME\n"
      "  megafold import processed --from boltz --out data          # its structures, msa, "
      "manifest\n"
      "  megafold cache build --data data --ccd components.bcif.gz --out cache");
  command->callback([options] {
    const ImportReport report = import_folder(*options);
    for (const std::string& note : report.notes) fmt::print(stderr, "{}\n", note);
    fmt::print("{}: {} entries, alignments of {} sequences, {} notes\n", options->out.string(),
               report.entries, report.alignments, report.notes.size());
  });
}

}  // namespace megafold::cli
