// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/make_alignments.h"

#include <fmt/chrono.h>
#include <stdlib.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "alignment/alignment.h"
#include "alignment/hits.h"
#include "alignment/lines.h"
#include "alignment/rows.h"
#include "base/decompress.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"
#include "cache/inputs.h"
#include "cache/template_library.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Sequence {
  std::string name;  // fit for a folder
  std::string letters;
};

std::vector<Sequence> read_sequences(const fs::path& path) {
  const AlignmentText file{path.string(), read_decompressed(path)};
  std::vector<Sequence> out;
  std::map<std::string, int> lines;
  for_each_row(file, AlignmentFormat::a3m, [&](const RawRow& row) {
    Sequence sequence{std::string(row.name), {}};
    if (sequence.name.empty())
      fail<BadInput>("{}:{}: a sequence without a name", file.name, row.first_line - 1);
    for (char& c : sequence.name)
      if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && c != '.' && c != '-')
        c = '-';
    if (sequence.name.front() == '.') sequence.name.front() = '-';  // would be a hidden folder
    const auto [known, is_new] = lines.emplace(sequence.name, row.first_line - 1);
    if (!is_new)
      fail<BadInput>("{}:{}: '{}' would have the folder of the sequence in line {}, {}; rename one",
                     file.name, row.first_line - 1, row.name, known->second, sequence.name);
    for (const RawRow::Piece& piece : row.pieces)
      for (const char c : piece.letters) {
        if (std::isalpha(static_cast<unsigned char>(c)) != 0)
          sequence.letters += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        else if (c != '*' && c != ' ')  // a stop codon's sign
          fail<BadInput>("{}:{}: odd character '{}' (0x{:02x}) in the sequence '{}'", file.name,
                         piece.line, c, static_cast<unsigned char>(c), row.name);
      }
    out.push_back(std::move(sequence));
  });
  return out;
}

void check_names_chain(const fs::path& file, const Sequence& sequence) {
  if (sequence.name.find('_') == std::string::npos)
    fail<BadInput>("{}: template hits serve by entry and chain: '{}' must have a name like 1abc_A",
                   file.string(), sequence.name);
}

/// A new folder inside of `parent` that no scan sees, gone with this object.
class WorkFolder {
 public:
  explicit WorkFolder(const fs::path& parent) {
    fs::create_directories(parent);
    std::string name = (parent / ".search.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      fail<Device>("{}: cannot make a folder in it: {}", parent.string(), std::strerror(errno));
    path_ = fs::absolute(name);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  ~WorkFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// "uniref90" of "db/uniref90.fasta.gz".
std::string name_of(const fs::path& database) {
  std::string name = database.filename().string();
  return name.substr(0, name.find('.'));
}

class Maker {
 public:
  explicit Maker(const MakeAlignmentsOptions& options)
      : options_(options),
        search_(options.search),
        name_(options.name.empty() ? name_of(options.search.database) : options.name) {
    if (name_.empty() || name_.find('/') != std::string::npos)
      fail<BadInput>("--name '{}': the name of a file, such as uniref90", name_);
    // What `cache build` takes for template hits in a chain's folder (cache/inputs.h).
    if (search_.suffix() == ".sto" && !name_.starts_with("hmm_output"))
      name_ = "hmm_output_" + name_;
  }

  MakeAlignmentsReport run() {
    const std::vector<Sequence> sequences = read_sequences(options_.sequences);
    std::vector<SearchQuery> batch;
    size_t done = 0;
    const auto search_batch = [&] {
      if (batch.empty()) return;
      search(batch, sequences.size(), done);
      batch.clear();
    };
    if (search_.options().templates)
      for (const Sequence& sequence : sequences) check_names_chain(options_.sequences, sequence);
    for (const Sequence& sequence : sequences) {
      SearchQuery query{sequence.name, sequence.letters, profile_of(sequence)};
      if (!options_.force && is_there(query)) {
        ++report_.present;
        show(++done, sequences.size(), sequence.name + " was there", false);
        continue;
      }
      batch.push_back(std::move(query));
      if (batch.size() == search_.batch_size()) search_batch();
    }
    search_batch();
    return std::move(report_);
  }

 private:
  [[nodiscard]] fs::path folder_of(const std::string& sequence) const {
    const bool names_chain = sequence.find('_') != std::string::npos;
    return options_.out / "alignments" / (names_chain ? sequence : folder_of_sequence(sequence));
  }
  [[nodiscard]] fs::path file_of(const std::string& sequence) const {
    return folder_of(sequence) / (name_ + search_.suffix());
  }
  [[nodiscard]] fs::path record_of(const std::string& sequence) const {
    return folder_of(sequence) / (name_ + ".search.json");
  }

  void show(size_t done, size_t total, const std::string& text, bool worked) const {
    if (options_.progress) options_.progress(done, total, text, worked);
  }

  std::string profile_of(const Sequence& sequence) const {
    if (options_.profile.empty()) return "";
    const fs::path file = folder_of(sequence.name) / (options_.profile + ".a3m");
    if (!fs::exists(file))
      fail<BadInput>("{}: no such file; search for it first, or do without --profile",
                     file.string());
    return read_file(file);
  }

  /// What the result depends on.
  [[nodiscard]] json settings(const SearchQuery& query) const {
    const SearchOptions& options = search_.options();
    const fs::path& database = options.database;
    fs::path file = database;
    for (const char* const part : {"_cs219.ffdata", "_hhm.ffdata"})
      if (!fs::exists(file)) file = database.string() + part;
    const auto changed = std::chrono::file_clock::to_sys(fs::last_write_time(file));
    json out = {
        {"tool", options.tool},
        {"database", fs::absolute(database).lexically_normal().string()},
        {"database_bytes", fs::file_size(file)},
        {"database_changed",
         fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::time_point_cast<std::chrono::seconds>(changed)))},
        {"e_value", options.e_value},
        {"iterations", options.iterations},
        {"max_hits", options.max_hits},
        {"sequence_sha256", sha256_hex({query.letters})},
        {"profile_sha256", query.alignment.empty() ? "" : sha256_hex({query.alignment})}};
    for (const auto& [program, version] : search_.versions()) out["programs"][program] = version;
    return out;
  }

  /// The record is published before its file, so a file that its record does not fit is another's.
  [[nodiscard]] bool is_there(const SearchQuery& query) const {
    const fs::path file = file_of(query.name);
    if (!fs::exists(file)) return false;
    const fs::path record = record_of(query.name);
    const char* const remedy = "--force replaces it, --name stores beside it";
    json known;
    try {
      if (fs::exists(record)) known = json::parse(read_file(record));
    } catch (const json::exception& error) {
      fail<BadInput>("{}: {}; {}", record.string(), error.what(), remedy);
    }
    if (!known.is_object() || known.value("file_sha256", "") != sha256_hex({read_file(file)}))
      fail<BadInput>("{}: not as `megafold msa` made it; {}", file.string(), remedy);
    const json wanted = settings(query), found = known.value("settings", json::object());
    for (const auto& [key, value] : wanted.items())
      if (found.value(key, json()) != value)
        fail<BadInput>("{}: was made with {} {}, and not {}; {}", file.string(), key,
                       found.value(key, json()).dump(), value.dump(), remedy);
    return true;
  }

  void search(const std::vector<SearchQuery>& batch, size_t total, size_t& done) {
    if (!work_) work_ = std::make_unique<WorkFolder>(options_.out);
    const std::string first = batch.front().name;
    show(done, total, batch.size() == 1 ? first : fmt::format("{} ...", first), true);
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::string> texts;
    try {
      texts = search_.run(batch, work_->path());
    } catch (const Error& error) {
      if (report_.made == 0) throw;
      report_.failures.emplace_back(error.what());
      done += batch.size();
      return;
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    for (size_t i = 0; i < batch.size(); ++i) {
      const std::string& name = batch[i].name;
      const json record = {
          {"format", "megafold search 1"},
          {"file", file_of(name).filename().string()},
          {"file_sha256", sha256_hex({texts[i]})},
          {"seconds",
           std::round(1000 * seconds.count() / static_cast<double>(batch.size())) / 1000},
          {"settings", settings(batch[i])}};
      publish(record_of(name), record.dump(2) + "\n");
      kill_point("msa.record");
      publish(file_of(name), texts[i]);
      ++report_.made;
      const auto hits = std::count(texts[i].begin(), texts[i].end(), '>');
      show(++done, total,
           search_.options().templates ? name : fmt::format("{}: {} hits", name, hits - 1), true);
    }
  }

  const MakeAlignmentsOptions& options_;
  Search search_;
  std::string name_;
  std::unique_ptr<WorkFolder> work_;
  MakeAlignmentsReport report_;
};

}  // namespace

MakeAlignmentsReport make_alignments(const MakeAlignmentsOptions& options) {
  try {
    return Maker(options).run();
  } catch (const fs::filesystem_error& error) {
    fail<Device>("{}", error.what());
  }
}

AlignHitsReport align_hits(const AlignHitsOptions& options, const ComponentDictionary& dictionary) {
  const AlignmentText file{options.hits.string(), read_decompressed(options.hits)};
  const std::vector<Sequence> sequences = read_sequences(options.sequences);
  std::map<std::string, std::string> parts;  // the file's rows by query
  const bool is_table = file.text.find('\t') != std::string::npos && file.text[0] != '>' &&
                        !file.text.starts_with("# STOCKHOLM");
  if (is_table) {
    internal::Lines lines(file.text);
    // Lines of other queries stay as empty ones, so that messages count right.
    std::map<std::string, int> written;  // lines of a part
    std::string_view line;
    while (lines.next(line)) {
      if (line.empty() || line.front() == '#') continue;
      const std::string query(line.substr(0, line.find('\t')));
      std::string& text = parts[query];
      text.append(static_cast<size_t>(lines.number() - 1 - written[query]), '\n');
      text.append(line).append("\n");
      written[query] = lines.number();
    }
  } else if (sequences.size() == 1) {
    parts.emplace(sequences.front().name, file.text);
  } else {
    fail<BadInput>("{}: hits of one query, and {} has {} sequences", file.name,
                   options.sequences.string(), sequences.size());
  }
  TemplateLibrary library(options.templates, {}, dictionary);
  const WorkFolder work(options.out);
  AlignHitsReport report;
  size_t done = 0;
  for (const auto& part_of_file : parts) {
    const std::string &query = part_of_file.first, &text = part_of_file.second;
    const auto sequence = std::find_if(sequences.begin(), sequences.end(),
                                       [&](const Sequence& known) { return known.name == query; });
    if (sequence == sequences.end())
      fail<BadInput>("{}: hits of '{}', which {} does not have", file.name, query,
                     options.sequences.string());
    check_names_chain(options.sequences, *sequence);
    std::string out;
    for (TemplateHit& hit : read_template_hits({file.name, text}, sequence->letters)) {
      const auto leave_out = [&](const char* reason) {
        report.notes.push_back(
            fmt::format("{}:{}: {}: {}, left out", file.name, hit.line, hit.name, reason));
      };
      if (hit.is_aligned) {
        if (!hit.pairs.empty()) out += m8_row(query, hit);
        ++report.laid;
        continue;
      }
      const auto entry = library.find(hit.entry);
      if (!entry) {
        leave_out("no file of the entry that can be read");
        continue;
      }
      const LocatedHit located = locate_hit(hit, *entry);
      if (located.chain == nullptr) {
        leave_out("in no chain of the entry");
        continue;
      }
      if (hit.query_part[1] == 0)
        hit.query_part[1] = static_cast<int32_t>(sequence->letters.size());
      const int32_t from = hit.query_part[0], to = hit.first + located.shift;
      const auto part = [](const std::string& letters, int32_t first, int32_t last) {
        return letters.substr(static_cast<size_t>(first), static_cast<size_t>(last - first));
      };
      for (const auto& [a, b] :
           align_by_kalign(part(sequence->letters, from, hit.query_part[1]),
                           part(located.chain->letters, to, hit.last + located.shift), work.path(),
                           options.timeout))
        hit.pairs.push_back({from + a, to + b});
      hit.name = hit.entry + "_" + located.chain->auth;
      if (hit.pairs.empty()) {
        leave_out("no residue beside one of the query");
        continue;
      }
      out += m8_row(query, hit);
      ++report.aligned;
    }
    publish(options.out / "alignments" / query / (name_of(options.hits) + ".m8"), out);
    if (options.progress) options.progress(++done, parts.size(), query, true);
  }
  return report;
}

}  // namespace megafold
