// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "alignment/search.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <string_view>

#include "alignment/alignment.h"
#include "alignment/hits.h"
#include "alignment/lines.h"
#include "alignment/rows.h"
#include "base/errors.h"
#include "base/publish.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using internal::first_word;
using internal::Lines;

/// The name under which programs see a query, whatever a person calls it.
constexpr const char* kQuery = "query";
constexpr size_t kShortRna = 50;  // letters; a shorter query passes a weaker filter

/// The e-values, iterations and filters are those of SI 2.2 to 2.4 (MMseqs2, which AlphaFold 3 does
/// not use: ColabFold's three iterations and the program's own limit).
struct Tool {
  const char* package;
  std::vector<const char*> programs;  // the first is the one that searches
  const char* version;                // the argument with which they tell it
  double e_value;
  int iterations;
  std::vector<std::string> filters = {};
};

const std::map<std::string, Tool, std::less<>>& tools() {
  static const std::map<std::string, Tool, std::less<>> kTools = {
      {"mmseqs", {"mmseqs2", {"mmseqs"}, "version", 1e-3, 3}},
      {"jackhmmer",
       {"hmmer", {"jackhmmer"}, "-h", 1e-4, 1, {"--F1", "5e-4", "--F2", "5e-5", "--F3", "5e-7"}}},
      {"phmmer",
       {"hmmer", {"phmmer"}, "-h", 1e-4, 1, {"--F1", "5e-4", "--F2", "5e-5", "--F3", "5e-7"}}},
      {"nhmmer", {"hmmer", {"nhmmer", "hmmalign"}, "-h", 1e-3, 1}},  // F3: by the query's length
      {"hmmsearch",
       {"hmmer",
        {"hmmsearch", "hmmbuild"},
        "-h",
        100,
        1,
        {"--F1", "0.1", "--F2", "0.1", "--F3", "0.1"}}},
      {"hhblits",
       {"hhsuite",
        {"hhblits"},
        "-h",
        1e-3,
        3,
        {"-realign_max", "100000", "-maxfilt", "100000", "-min_prefilter_hits", "1000", "-p", "20",
         "-Z", "500"}}},
      {"hhsearch", {"hhsuite", {"hhsearch"}, "-h", 1e-3, 1}},
  };
  return kTools;
}

/// "HMMER 3.3.2" of the lines before a program's help; the first line where none has a number.
std::string version_of(const Program& program, const char* argument) {
  const std::string text = output_of(program, {argument});
  Lines lines(text);
  std::string_view line, first;
  while (lines.next(line)) {
    if (first.empty()) first = line;
    for (const std::string_view name : {"# HMMER ", "HHblits ", "HHsearch "})
      if (line.starts_with(name)) {
        line.remove_prefix(line.starts_with('#') ? 2 : 0);
        return std::string(line.substr(0, line.find_first_of(" :", line.find(' ') + 1)));
      }
  }
  return first.empty() ? "unknown" : std::string(first);
}

std::string fasta(std::string_view name, std::string_view letters) {
  return fmt::format(">{}\n{}\n", name, letters);
}

/// The program's output; empty where it made none, as HMMER does without a hit.
std::string output(const fs::path& file) {
  return fs::exists(file) ? read_file(file) : std::string();
}

std::string as_rna(std::string letters) {
  for (char& c : letters) c = c == 'T' || c == 't' ? 'U' : c;
  return letters;
}

size_t place(const std::string& file, int line, std::string_view text) {
  size_t out = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || rest != text.data() + text.size())
    fail<BadInput>("{}:{}: '{}' is not a number", file, line, text);
  return out;
}

/// A row of A3M from a local alignment of the query's residues from `first` (1-based) on.
std::string local_row(std::string_view query, size_t first, std::string_view query_letters,
                      std::string_view hit_letters) {
  std::string out(first - 1, '-');
  size_t columns = first - 1;
  for (size_t i = 0; i < hit_letters.size(); ++i) {
    if (query_letters[i] == '-') {
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(hit_letters[i])));
    } else {
      out += hit_letters[i];
      ++columns;
    }
  }
  return out.append(query.size() - std::min(columns, query.size()), '-');
}

/// Cuts an A3M after that many rows.
void keep_rows(std::string& text, size_t rows) {
  size_t at = 0;
  for (size_t i = 0; i < rows; ++i) {
    at = text.find("\n>", at);
    if (at == std::string::npos) return;
    ++at;
  }
  text.resize(at);
}

/// What HMMER's searches have in common: `found` in Stockholm, and the e-value for each of
/// `limits`.
std::vector<std::string> hmmer_arguments(const SearchOptions& options, const fs::path& found,
                                         std::initializer_list<const char*> limits) {
  std::vector<std::string> out = {
      "--noali", "-o", "/dev/null", "-A", found.string(), "--cpu", std::to_string(options.threads)};
  for (const char* const limit : limits)
    out.insert(out.end(), {limit, fmt::format("{:g}", options.e_value)});
  const std::vector<std::string>& filters = tools().find(options.tool)->second.filters;
  out.insert(out.end(), filters.begin(), filters.end());
  return out;
}

}  // namespace

const std::vector<std::string>& search_tools() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> out;
    for (const auto& [name, tool] : tools()) out.push_back(name);
    return out;
  }();
  return kNames;
}

Search::Search(SearchOptions options) : options_(std::move(options)) {
  const auto tool = tools().find(options_.tool);
  if (tool == tools().end())
    fail<BadInput>("--tool {}: one of {}", options_.tool, fmt::join(search_tools(), ", "));
  const bool always = options_.tool == "hmmsearch" || options_.tool == "hhsearch";
  if (options_.templates && !always && options_.tool != "mmseqs")
    fail<BadInput>("--templates: {} finds none; mmseqs, hmmsearch and hhsearch do", options_.tool);
  options_.templates = options_.templates || always;
  if (options_.e_value < 0) options_.e_value = tool->second.e_value;
  if (options_.iterations == 0) options_.iterations = tool->second.iterations;
  const fs::path& database = options_.database;
  if (options_.tool.starts_with("hh")) {
    if (!fs::exists(database.string() + "_cs219.ffdata") &&
        !fs::exists(database.string() + "_hhm.ffdata"))
      fail<BadInput>(
          "{}: no database of HH-suite: {}_cs219.ffdata is not there (--database names what "
          "stands before it)",
          database.string(), database.string());
  } else if (!fs::is_regular_file(database)) {
    fail<BadInput>("{}: no such file; {} searches a FASTA{}", database.string(), options_.tool,
                   options_.tool == "mmseqs" ? " or a database of `mmseqs createdb`" : "");
  }
  for (const char* const name : tool->second.programs)
    versions_.emplace_back(name, version_of({name, tool->second.package}, tool->second.version));
}

std::string Search::suffix() const {
  if (!options_.templates) return ".a3m";
  if (options_.tool == "mmseqs") return ".m8";
  return options_.tool == "hmmsearch" ? ".sto" : ".hhr";
}

size_t Search::batch_size() const {
  return options_.tool == "mmseqs" ? 256 : 1;
}

void Search::call(const std::string& program, const std::vector<std::string>& arguments,
                  const fs::path& folder, const std::string& subject) const {
  const char* const package = tools().find(options_.tool)->second.package;
  run_program({program, package}, arguments, folder / "log", options_.timeout, subject);
}

std::vector<std::string> Search::run(const std::vector<SearchQuery>& queries,
                                     const fs::path& folder) const {
  std::vector<std::string> out;
  if (options_.tool == "mmseqs") {
    out = run_mmseqs(queries, folder);
  } else {
    for (const SearchQuery& query : queries)
      out.push_back(options_.tool == "hmmsearch"      ? run_hmmsearch(query, folder)
                    : options_.tool.starts_with("hh") ? run_hhsuite(query, folder)
                                                      : run_hmmer(query, folder));
  }
  if (!options_.templates)
    for (std::string& text : out) keep_rows(text, options_.max_hits + 1);
  return out;
}

/// The alignment is made of its table, whose column `theader` keeps what the A3M of result2msa cuts
/// off a name: the species.
std::vector<std::string> Search::run_mmseqs(const std::vector<SearchQuery>& queries,
                                            const fs::path& folder) const {
  const std::string subject =
      queries.size() == 1
          ? fmt::format("the search of '{}'", queries[0].name)
          : fmt::format("the search of '{}' and {} more", queries[0].name, queries.size() - 1);
  std::string text;
  for (size_t i = 0; i < queries.size(); ++i) text += fasta(std::to_string(i), queries[i].letters);
  publish(folder / "query.fasta", text);
  const auto file = [&](const char* name) { return (folder / name).string(); };
  const std::string threads = std::to_string(options_.threads);
  std::string target = options_.database.string();
  if (!fs::exists(target + ".dbtype")) {
    target = file("target");
    if (!fs::exists(target + ".dbtype"))
      call("mmseqs", {"createdb", options_.database.string(), target, "-v", "2"}, folder,
           fmt::format("createdb of {}", options_.database.string()));
  }
  for (const char* const part : {"found", "work"})
    for (const fs::directory_entry& left : fs::directory_iterator(folder))
      if (left.path().filename().string().starts_with(part)) fs::remove_all(left.path());
  call("mmseqs", {"createdb", file("query.fasta"), file("query"), "--shuffle", "0", "-v", "2"},
       folder, subject);
  call("mmseqs",
       {"search", file("query"), target, file("found"), file("work"), "-a", "--num-iterations",
        std::to_string(options_.iterations), "-e", fmt::format("{:g}", options_.e_value),
        "--max-seqs", std::to_string(options_.max_hits), "--threads", threads, "-v", "2"},
       folder, subject);
  const std::string columns =
      options_.templates
          ? "query,theader,fident,alnlen,mismatch,gapopen,qstart,qend,tstart,tend,evalue,bits,cigar"
          : "query,theader,qstart,qaln,taln";
  call("mmseqs",
       {"convertalis", file("query"), target, file("found"), file("table"), "--format-output",
        columns, "--threads", threads, "-v", "2"},
       folder, subject);
  std::vector<std::string> out;
  for (const SearchQuery& query : queries)
    out.push_back(options_.templates ? "" : fasta(query.name, query.letters));
  const std::string table = read_file(file("table"));
  Lines lines(table);
  std::string_view line;
  while (lines.next(line)) {
    auto row = internal::columns_of(line);
    if (row.size() != (options_.templates ? 13U : 5U))
      fail<BadInput>("{}:{}: {} columns of mmseqs convertalis, wanted {}", file("table"),
                     lines.number(), row.size(), columns);
    const size_t index = place(file("table"), lines.number(), row[0]);
    if (index >= queries.size())
      fail<BadInput>("{}:{}: query {} of {}", file("table"), lines.number(), index, queries.size());
    row[1] = first_word(row[1]);
    if (options_.templates) {
      row[0] = queries[index].name;
      out[index] += fmt::format("{}\n", fmt::join(row, "\t"));
      continue;
    }
    const size_t first = place(file("table"), lines.number(), row[2]);
    if (first == 0 || row[3].size() != row[4].size())
      fail<BadInput>("{}:{}: not a row of an alignment", file("table"), lines.number());
    out[index] += fasta(row[1], local_row(queries[index].letters, first, row[3], row[4]));
  }
  return out;
}

std::string Search::run_hmmer(const SearchQuery& query, const fs::path& folder) const {
  const bool rna = options_.tool == "nhmmer";
  const std::string letters = rna ? as_rna(query.letters) : query.letters;
  publish(folder / "query.fasta", fasta(kQuery, letters));
  const fs::path found = folder / "found.sto", model = folder / "model.hmm";
  fs::remove(found);
  std::vector<std::string> arguments = hmmer_arguments(options_, found, {"-E", "--incE"});
  const auto add = [&](std::initializer_list<std::string> more) {
    arguments.insert(arguments.end(), more);
  };
  if (options_.tool == "jackhmmer") add({"-N", std::to_string(options_.iterations)});
  if (rna)
    add({"--rna", "--watson", "--F3", letters.size() < kShortRna ? "0.02" : "5e-5", "--hmmout",
         model.string()});
  add({(folder / "query.fasta").string(), options_.database.string()});
  const std::string subject = fmt::format("the search of '{}'", query.name);
  call(options_.tool, arguments, folder, subject);
  std::string text = output(found);
  if (rna && !text.empty()) {
    // nhmmer leaves out the model's columns without a hit: its hits are aligned once more.
    std::string hits;
    const AlignmentText rows{found.string(), text};
    for_each_row(rows, AlignmentFormat::stockholm, [&](const RawRow& row) {
      std::string residues;
      for (const RawRow::Piece& piece : row.pieces)
        for (const char c : piece.letters)
          if (std::isalpha(static_cast<unsigned char>(c)) != 0) residues += c;
      hits += fasta(row.name, residues);
    });
    publish(folder / "hits.fasta", hits);
    call("hmmalign",
         {"--rna", "-o", (folder / "aligned.sto").string(), model.string(),
          (folder / "hits.fasta").string()},
         folder, subject);
    text = output(folder / "aligned.sto");
  }
  return rows_beside_query({found.string(), text}, query.name, letters);
}

/// The profile has a match state for each residue of the query, so that hits are counted in it.
std::string Search::run_hmmsearch(const SearchQuery& query, const fs::path& folder) const {
  std::string aligned = fasta(kQuery, query.letters);
  if (!query.alignment.empty()) {
    const AlignmentText rows{query.name, query.alignment};
    bool is_query = true;
    for_each_row(rows, AlignmentFormat::a3m, [&](const RawRow& row) {
      std::string letters;
      for (const RawRow::Piece& piece : row.pieces)
        for (const char c : piece.letters)
          if (std::isupper(static_cast<unsigned char>(c)) != 0 || c == '-') letters += c;
      if (!is_query) aligned += fasta(row.name, letters);
      is_query = false;
    });
  }
  publish(folder / "profile.afa", aligned);
  const fs::path found = folder / "found.sto";
  fs::remove(found);
  const std::string subject = fmt::format("the search of '{}'", query.name);
  call("hmmbuild",
       {"--amino", "--informat", "afa", "--symfrac", "0", "-n", kQuery, "-o", "/dev/null",
        (folder / "model.hmm").string(), (folder / "profile.afa").string()},
       folder, subject);
  std::vector<std::string> arguments =
      hmmer_arguments(options_, found, {"-E", "--incE", "--domE", "--incdomE"});
  arguments.push_back((folder / "model.hmm").string());
  arguments.push_back(options_.database.string());
  call("hmmsearch", arguments, folder, subject);
  return output(found);
}

std::string Search::run_hhsuite(const SearchQuery& query, const fs::path& folder) const {
  publish(folder / "query.a3m",
          query.alignment.empty() ? fasta(query.name, query.letters) : query.alignment);
  const fs::path rows = folder / "found.a3m", hits = folder / "found.hhr";
  std::vector<std::string> arguments = {"-i",   (folder / "query.a3m").string(),
                                        "-d",   options_.database.string(),
                                        "-o",   hits.string(),
                                        "-cpu", std::to_string(options_.threads),
                                        "-e",   fmt::format("{:g}", options_.e_value)};
  if (!options_.templates) {
    arguments.insert(arguments.end(),
                     {"-oa3m", rows.string(), "-n", std::to_string(options_.iterations)});
  }
  for (const std::string& filter : tools().find(options_.tool)->second.filters)
    arguments.push_back(filter);
  call(options_.tool, arguments, folder, fmt::format("the search of '{}'", query.name));
  return read_file(options_.templates ? hits : rows);
}

std::vector<std::pair<int32_t, int32_t>> align_by_kalign(const std::string& a, const std::string& b,
                                                         const fs::path& folder, double timeout) {
  const fs::path in = folder / "pair.fasta", out = folder / "aligned.fasta";
  publish(in, fasta("a", a) + fasta("b", b));
  fs::remove(out);
  run_program(
      {"kalign", "kalign"},
      {"--type", "protein", "-n", "1", "--format", "fasta", "-i", in.string(), "-o", out.string()},
      folder / "log", timeout, "the alignment of a template");
  const AlignmentText text{out.string(), read_file(out)};
  std::vector<std::string> rows;
  for_each_row(text, AlignmentFormat::a3m, [&](const RawRow& row) {
    rows.emplace_back();
    for (const RawRow::Piece& piece : row.pieces) rows.back() += piece.letters;
  });
  if (rows.size() != 2 || rows[0].size() != rows[1].size())
    fail<BadInput>("{}: not an alignment of two sequences", text.name);
  std::vector<std::pair<int32_t, int32_t>> pairs;
  int32_t i = 0, j = 0;
  for (size_t column = 0; column < rows[0].size(); ++column) {
    const bool in_a = rows[0][column] != '-', in_b = rows[1][column] != '-';
    if (in_a && in_b) pairs.emplace_back(i, j);
    i += in_a ? 1 : 0;
    j += in_b ? 1 : 0;
  }
  if (static_cast<size_t>(i) != a.size() || static_cast<size_t>(j) != b.size())
    fail<BadInput>("{}: {} and {} letters of {} and {}", text.name, i, j, a.size(), b.size());
  return pairs;
}

}  // namespace megafold
