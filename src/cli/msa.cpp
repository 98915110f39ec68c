// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// megafold msa search | align
#include <fmt/format.h>

#include <memory>

#include "cache/make_alignments.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"

namespace megafold::cli {
namespace {

namespace fs = std::filesystem;
constexpr int kInterrupted = 130;

/// Shows how far it is, and ends with 130 where the person stops it.
template <class Work>
auto with_progress(SearchProgress& progress, const Work& work) {
  ProgressBar bar;
  size_t said = 0;
  progress = [&](size_t done, size_t total, const std::string& text, bool worked) {
    if (!bar.is_terminal() && worked && done > said)
      bar.say(fmt::format("[{}/{}] {}", done, total, text));
    said = done;
    bar.show(done, total, text, worked);
  };
  try {
    return work();
  } catch (const Interrupted&) {
    bar.say("interrupted; what was found is stored, and the same command goes on from there");
    throw ExitWith{kInterrupted};
  }
}

void search(MakeAlignmentsOptions& options) {
  const MakeAlignmentsReport report =
      with_progress(options.progress, [&] { return make_alignments(options); });
  for (const std::string& failure : report.failures) fmt::print(stderr, "failed: {}\n", failure);
  fmt::print("{}: {} searched, {} there already, {} failed\n",
             (options.out / "alignments").string(), report.made, report.present,
             report.failures.size());
  if (!report.failures.empty()) throw ExitWith{2};
}

void align(AlignHitsOptions& options, const fs::path& dictionary) {
  const auto components = ComponentDictionary::read(dictionary);
  const AlignHitsReport report =
      with_progress(options.progress, [&] { return align_hits(options, components); });
  for (const std::string& note : report.notes) fmt::print(stderr, "{}\n", note);
  fmt::print("{}: {} hits aligned, {} were, {} left out\n", (options.out / "alignments").string(),
             report.aligned, report.laid, report.notes.size());
}

}  // namespace

void add_msa_command(CLI::App& app) {
  CLI::App* msa = app.add_subcommand(
      "msa", "Search sequence databases by MMseqs2, HMMER or HH-suite; align template hits");
  msa->require_subcommand(1);
  msa->footer(
      "Examples:\n"
      "  megafold msa search mine.fasta --tool jackhmmer --database uniref90.fasta --out data\n"
      "  megafold msa align hits.m8 --query mine.fasta --templates mmcif --ccd components.bcif.gz "
      "\\\n    --out data");

  const auto options = std::make_shared<MakeAlignmentsOptions>();
  CLI::App* command =
      msa->add_subcommand("search", "Alignments, or template hits, of a FASTA's sequences");
  command->add_option("sequences", options->sequences, "FASTA; 1abc_A means chain A of entry 1abc")
      ->required();
  command->add_option("--tool", options->search.tool, "The program that searches")
      ->required()
      ->check(CLI::IsMember(search_tools()));
  command
      ->add_option("--database", options->search.database,
                   "FASTA; for mmseqs also its own database; for hhblits and hhsearch what stands "
                   "before _cs219.ffdata")
      ->required();
  command->add_option("--out", options->out, "The data folder that `cache build` reads")
      ->required();
  command->add_option(
      "--name", options->name,
      "Name of the files (the database's); uniprot* and pairing* serve for pairing");
  command->add_flag("--templates", options->search.templates,
                    "The database holds chains of the PDB: store template hits (mmseqs; hmmsearch "
                    "and hhsearch find nothing else)");
  command->add_option("--profile", options->profile,
                      "Alignment of this name from an earlier search, as the profile of hmmsearch "
                      "and hhsearch; without it the sequence alone");
  command
      ->add_option("--e-value", options->search.e_value,
                   "Hits above it are left out; without it as AlphaFold 3's supplement has it")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--iterations", options->search.iterations,
                   "Of mmseqs (3), jackhmmer (1), hhblits (3)")
      ->check(CLI::Range(1, 8));
  command->add_option("--max-hits", options->search.max_hits, "Of an alignment, the best first")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--threads", options->search.threads, "Of the program")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--timeout", options->search.timeout,
                   "Seconds of one run of the program; 0: no limit")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--force", options->force, "Search again where a result is there");
  command->footer(
      "Programs are those of Debian, found on PATH: mmseqs2, hmmer, hhsuite. Results lie in\n"
      "DATA/alignments, each beside a record of program, version, database and settings; what is\n"
      "there is not searched again. A sequence that fails is named and passed over (exit code 2).\n"
      "\n"
      "Examples:\n"
      "  megafold msa search mine.fasta --tool jackhmmer --database uniref90.fasta --out data\n"
      "  megafold msa search mine.fasta --tool hhblits --database bfd/bfd --threads 8 --out data\n"
      "  megafold msa search rna.fasta --tool nhmmer --database rfam.fasta --out data\n"
      "  megafold msa search mine.fasta --tool hmmsearch --database pdb_seqres.txt \\\n"
      "    --profile uniref90 --out data\n"
      "  megafold cache build --data data --ccd components.bcif.gz --out cache");
  command->callback([options] { search(*options); });

  const auto hits = std::make_shared<std::pair<AlignHitsOptions, fs::path>>();
  command = msa->add_subcommand(
      "align", "Lay template hits that come without an alignment beside their query, by Kalign");
  command->add_option("hits", hits->first.hits, "m8 of any queries, or A3M or Stockholm of one")
      ->required();
  command->add_option("--query", hits->first.sequences, "FASTA of the queries, called as 1abc_A")
      ->required();
  command->add_option("--templates", hits->first.templates, "Folder of the hits' mmCIF files")
      ->required();
  command->add_option("--ccd", hits->second, "Component dictionary")->required();
  command->add_option("--out", hits->first.out, "The data folder that `cache build` reads")
      ->required();
  command->add_option("--timeout", hits->first.timeout, "Seconds of one alignment; 0: no limit")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command->footer(
      "Every hit is written to DATA/alignments/QUERY/NAME.m8 with its CIGAR; hits that the file\n"
      "aligns are kept as they are. Kalign is Debian's package kalign.\n"
      "\n"
      "Example:\n"
      "  megafold msa align hits.m8 --query mine.fasta --templates mmcif --ccd components.bcif.gz "
      "\\\n    --out data");
  command->callback([hits] { align(hits->first, hits->second); });
}

}  // namespace megafold::cli
