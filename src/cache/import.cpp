// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "cache/import.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "alignment/alignment.h"
#include "alignment/rows.h"
#include "alignment/write_a3m.h"
#include "base/decompress.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/publish.h"
#include "cache/inputs.h"

namespace megafold {
namespace {

namespace fs = std::filesystem;

bool has_suffix(const fs::path& path, std::initializer_list<std::string_view> suffixes) {
  const std::string name = unpacked_name(path.filename().string());
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t end = text.find_first_of(separators);
    if (end != 0) out.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return out;
}

class Importer {
 public:
  explicit Importer(const ImportOptions& options) : options_(options) {
    for (const fs::path& folder : {options.source, options.structures})
      if (!folder.empty() && !fs::is_directory(folder))
        fail<BadInput>("{}: no such folder", folder.string());
    files_ = list(options.source);
  }

  ImportReport run() {
    std::optional<std::set<std::string>> wanted;
    if (options_.from == "colabfold") {
      import_colabfold();
    } else if (options_.from == "protenix") {
      import_protenix();
      wanted = read_protenix_ids();
    } else {
      import_folders_of_chains();
    }
    import_entries(wanted);
    if (report_.alignments == 0 && report_.entries == 0)
      fail<BadInput>("{}: nothing in it is what {} writes", options_.source.string(),
                     options_.from);
    return std::move(report_);
  }

 private:
  static std::vector<fs::path> list(const fs::path& folder) {
    std::vector<fs::path> out;
    const auto follow = fs::directory_options::follow_directory_symlink;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, follow))
      if (entry.is_regular_file()) out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
  }

  void note(std::string text) { report_.notes.push_back(std::move(text)); }

  void place(const fs::path& file, const fs::path& name) {
    internal::place_file(options_, file, name);
  }

  void import_entries(const std::optional<std::set<std::string>>& wanted) {
    std::set<std::string> seen;
    size_t others = 0;
    for (const fs::path& file : options_.structures.empty() ? files_ : list(options_.structures)) {
      if (!has_suffix(file, {".cif", ".bcif", ".mmcif"})) continue;
      std::string id = unpacked_name(file.filename().string());
      id.resize(id.rfind('.'));
      if (wanted && !wanted->contains(id)) {
        ++others;
      } else if (!seen.insert(id).second) {
        note(fmt::format("{}: a second file of the entry {}, left out", file.string(), id));
      } else {
        place(file, fs::path("entries") / file.filename());
        ++report_.entries;
      }
    }
    if (others > 0)
      note(fmt::format("{} entries that indices/*.csv does not name, left out", others));
    if (report_.entries == 0)
      note("no mmCIF file: name their folder with --structures, or put them into the new one");
  }

  void import_folders_of_chains() {
    std::map<std::string, std::vector<fs::path>> by_chain;
    for (const fs::path& file : files_) {
      if (!has_suffix(file, {".a3m", ".sto", ".hhr", ".m8"})) continue;
      fs::path folder = file.parent_path();
      if (folder.filename() == "a3m" || folder.filename() == "hhr") folder = folder.parent_path();
      if (folder == options_.source) {
        note(fmt::format("{}: in no folder of a chain, left out", file.string()));
      } else if (fs::file_size(file) == 0) {
        note(fmt::format("{}: empty, left out", file.string()));
      } else {
        by_chain[folder.filename().string()].push_back(file);
      }
    }
    const auto place_all = [&](const std::string& name, const std::vector<fs::path>& files) {
      const bool names_chain = name.find('_') != std::string::npos;
      for (const fs::path& file : files)
        place(file, fs::path("alignments") / (names_chain ? name : folder_of_sequence(name)) /
                        file.filename());
      ++report_.alignments;
    };
    for (const auto& [name, files] : by_chain) place_all(name, files);
    for (const fs::path& table : files_) {
      if (table.filename() != "duplicate_pdb_chains.txt") continue;
      const std::string text = read_file(table);
      for (const std::string_view line : split(text, "\r\n")) {
        const auto chains = split(line, " \t,");
        const auto first = std::find_if(chains.begin(), chains.end(), [&](std::string_view chain) {
          return by_chain.contains(std::string(chain));
        });
        if (first == chains.end()) continue;
        for (const std::string_view chain : chains)
          if (!by_chain.contains(std::string(chain)))
            place_all(std::string(chain), by_chain.at(std::string(*first)));
      }
    }
  }

  // -------------------------------------------------------------------------------- ColabFold

  struct Chains {
    std::vector<size_t> lengths;
    std::vector<std::string> alignments;  // an A3M for each
    std::vector<std::string> pairing;     // likewise, of the rows that pair chains
    size_t paired = 0;
  };

  /// A name from which species_of() reads a species that the `row`-th pair of `job` alone has, so
  /// that its rows meet each other and no other ones: eight digits, which no taxon has.
  static std::string name_of_pair(std::string_view job, size_t row) {
    constexpr uint64_t kJobs = 900, kRows = 100000;
    const uint64_t mark = 100 + checksum64(std::as_bytes(std::span(job))) % kJobs;
    if (row >= kRows) fail<Unsupported>("{}: more than {} rows that pair chains", job, kRows);
    return name_with_species(fmt::format("{}", mark * kRows + row), static_cast<int64_t>(row));
  }

  /// One A3M with the chains of a complex side by side, cut into one for each.
  static Chains cut(const std::string& file, const std::string& job, std::string_view text) {
    Chains out;
    const std::string_view head = text.substr(0, text.find('\n'));
    const auto parts = split(head.substr(1), "\t\r");
    const auto lengths = parts.empty() ? parts : split(parts[0], ",");
    for (const std::string_view length : lengths) {
      size_t value = 0;
      const auto [rest, error] =
          std::from_chars(length.data(), length.data() + length.size(), value);
      if (error != std::errc() || rest != length.data() + length.size() || value == 0)
        fail<BadInput>("{}:1: '{}' is not a list of lengths, such as #70,66", file, head);
      out.lengths.push_back(value);
    }
    if (lengths.empty()) fail<BadInput>("{}:1: '{}' names no lengths", file, head);
    out.alignments.resize(lengths.size());
    out.pairing.resize(lengths.size());
    std::string name, letters;
    int number = 0, name_line = 0;
    bool is_first = true;
    const auto close = [&] {
      if (name.empty()) return;
      add_row({file, job, name_line}, name, letters, is_first, out);
      is_first = false;
      letters.clear();
    };
    for (std::string_view rest = text; !rest.empty();) {
      const size_t end = rest.find('\n');
      std::string_view line = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
      ++number;
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
      if (line.empty() || line.front() == '#') continue;
      if (line.front() == '>') {
        close();
        name = line;
        name_line = number;
      } else {
        letters += line;
      }
    }
    close();
    if (is_first) fail<BadInput>("{}: the alignment is empty", file);
    return out;
  }

  struct RowPlace {
    const std::string &file, &job;
    int line;
  };

  static void add_row(const RowPlace& place, const std::string& name, const std::string& letters,
                      bool is_query, Chains& out) {
    std::vector<std::string> pieces(out.lengths.size());
    std::vector<bool> has_letter(out.lengths.size(), false);
    size_t chain = 0, columns = 0;
    std::string insertion;
    for (const char c : letters) {
      if (c >= 'a' && c <= 'z') {
        insertion += c;  // belongs to the next column
        continue;
      }
      while (chain < pieces.size() && columns == out.lengths[chain]) ++chain, columns = 0;
      if (chain == pieces.size()) break;
      pieces[chain] += insertion + c;
      insertion.clear();
      has_letter[chain] = has_letter[chain] || c != '-';
      ++columns;
    }
    size_t wanted = 0, found = 0;
    for (const size_t length : out.lengths) wanted += length;
    found = static_cast<size_t>(std::count_if(letters.begin(), letters.end(),
                                              [](char c) { return !(c >= 'a' && c <= 'z'); }));
    if (found != wanted)
      fail<BadInput>("{}:{}: the row '{}' has {} columns, the chains together {}", place.file,
                     place.line, name, found, wanted);
    const auto filled = static_cast<size_t>(std::count(has_letter.begin(), has_letter.end(), true));
    const bool is_pair = filled > 1 && !is_query;
    if (is_pair) ++out.paired;
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (is_query || (filled == 1 && has_letter[i]))
        out.alignments[i] += fmt::format("{}\n{}\n", name, pieces[i]);
      if (is_query || (is_pair && has_letter[i]))
        out.pairing[i] += fmt::format(
            ">{}\n{}\n", is_pair ? name_of_pair(place.job, out.paired) : name.substr(1), pieces[i]);
    }
  }

  void import_colabfold() {
    for (const fs::path& file : files_) {
      const std::string name = unpacked_name(file.filename().string());
      const std::string stem = name.substr(0, name.rfind('.'));
      const std::string folder = file.parent_path().filename().string();
      if (name.ends_with(".a3m") && stem != "pair") {
        std::string text = read_decompressed(file);
        if (text.empty()) {
          note(fmt::format("{}: empty, left out", file.string()));
        } else if (text.front() == '#') {
          const Chains chains = cut(file.string(), stem, text);
          for (size_t i = 0; i < chains.alignments.size(); ++i) {
            const std::string sequence = fmt::format("{}.{}", stem, i + 1);
            write(sequence, "colabfold.a3m", chains.alignments[i]);
            if (chains.paired > 0) write(sequence, "pairing.a3m", chains.pairing[i]);
          }
        } else {
          split_queries(file, folder.ends_with("_env") ? folder : stem, name, text);
        }
      } else if (name == "pdb70.m8") {
        split_m8(file, folder);
      } else if (name == "pair.a3m") {
        split_pairs(file, folder);
      }
    }
  }

  /// Several alignments in one file, each ended by a zero byte; queries are called 101, 102 ...
  void split_queries(const fs::path& file, const std::string& job, const std::string& name,
                     std::string_view text) {
    const auto parts = split(text, std::string_view("\0", 1));
    for (const std::string_view part : parts) {
      if (part.find_first_not_of(" \r\n") == std::string_view::npos) continue;
      if (part.front() != '>')
        fail<BadInput>("{}: an alignment that does not begin with '>'", file.string());
      const std::string query(part.substr(1, part.find_first_of(" \t\r\n") - 1));
      write(job + "." + (parts.size() > 1 ? query : "101"), name, part);
    }
  }

  /// Rows that pair chains: the n-th of each query belong together; gaps alone are no row.
  void split_pairs(const fs::path& file, const std::string& job) {
    std::vector<std::pair<std::string, std::string>> out;  // query, A3M
    size_t rows = 0;
    const std::string all = read_decompressed(file);
    for (const std::string_view part : split(all, std::string_view("\0", 1))) {
      if (part.find_first_not_of(" \r\n") == std::string_view::npos) continue;
      const AlignmentText text{file.string(), std::string(part)};
      size_t row = 0;
      std::string query, kept;
      for_each_row(text, AlignmentFormat::a3m, [&](const RawRow& raw) {
        std::string letters;
        for (const RawRow::Piece& piece : raw.pieces) letters += piece.letters;
        if (row == 0) query = raw.name;
        if (row == 0 || letters.find_first_not_of('-') != std::string::npos)
          kept += fmt::format(">{}\n{}\n", row == 0 ? query : name_of_pair(job, row), letters);
        ++row;
      });
      if (!out.empty() && row != rows)
        fail<BadInput>("{}: {} rows of the query {}, and {} of {}; they should belong together",
                       file.string(), row, query, rows, out[0].first);
      rows = row;
      out.emplace_back(query, std::move(kept));
    }
    // Each query's name serves its own alignments in the same folder.
    for (const auto& [query, text] : out) write(job + "." + query, "pairing.a3m", text);
  }

  void split_m8(const fs::path& file, const std::string& job) {
    std::map<std::string, std::string> by_query;
    const std::string text = read_decompressed(file);
    for (const std::string_view line : split(text, "\r\n"))
      by_query[std::string(line.substr(0, line.find('\t')))] += std::string(line) + "\n";
    for (const auto& [query, rows] : by_query)
      publish(options_.out / "alignments" / folder_of_sequence(job + "." + query) / "pdb70.m8",
              rows);
  }

  void write(const std::string& sequence, const std::string& name, std::string_view text) {
    const std::string folder = folder_of_sequence(sequence);
    publish(options_.out / "alignments" / folder / name, text);
    report_.alignments += written_.insert(folder).second ? 1 : 0;
  }

  // --------------------------------------------------------------------------------- Protenix

  void import_protenix() {
    const auto table = std::find_if(files_.begin(), files_.end(), [](const fs::path& file) {
      return unpacked_name(file.filename().string()) == "seq_to_pdb_index.json";
    });
    if (table == files_.end())
      fail<BadInput>("{}: no seq_to_pdb_index.json at any depth", options_.source.string());
    nlohmann::json indices;
    try {
      indices = nlohmann::json::parse(read_decompressed(*table));
    } catch (const nlohmann::json::exception& error) {
      fail<BadInput>("{}: {}", table->string(), error.what());
    }
    if (!indices.is_object()) fail<BadInput>("{}: no object {{sequence: index}}", table->string());
    std::map<std::string, std::string> sequence_of;
    for (const auto& [sequence, index] : indices.items()) {
      if (!index.is_number_integer() && !index.is_string())
        fail<BadInput>("{}: the index of {} is {}", table->string(), sequence, index.dump());
      sequence_of[index.is_string() ? index.get<std::string>() : index.dump()] = sequence;
    }
    std::set<std::string> seen;
    for (const fs::path& file : files_) {
      const std::string name = unpacked_name(file.filename().string()),
                        index = file.parent_path().filename().string();
      if (!name.ends_with(".a3m")) continue;
      const auto found = sequence_of.find(index);
      if (found == sequence_of.end()) {
        note(fmt::format("{}: {} has no index {}, left out", file.string(),
                         table->filename().string(), index));
        continue;
      }
      const std::string packed = file.filename().string().substr(name.size());
      std::string as = name;
      // The name by which this project knows what is for templates.
      if (name == "hmmsearch.a3m") as = "hmm_output.a3m";
      if (as != "hmm_output.a3m") {
        const std::string query = read_query({file.string(), read_decompressed(file)});
        const bool is_rna = found->second.find_first_not_of("ACGUTN") == std::string::npos;
        if (!is_query_of(query, found->second, is_rna ? Alphabet::rna : Alphabet::protein))
          fail<BadInput>("{}:2: the query is not the sequence of index {} in {}", file.string(),
                         index, table->string());
      }
      place(file, fs::path("alignments") / folder_of_sequence(index) / (as + packed));
      seen.insert(index);
    }
    report_.alignments = seen.size();
    if (sequence_of.size() > seen.size())
      note(fmt::format("{} of {} sequences have no alignment here",
                       sequence_of.size() - seen.size(), sequence_of.size()));
  }

  /// The column pdb_id of indices/*.csv, a row for each chain or interface.
  std::optional<std::set<std::string>> read_protenix_ids() const {
    std::optional<std::set<std::string>> out;
    for (const fs::path& file : files_) {
      if (!has_suffix(file, {".csv"}) || file.parent_path().filename() != "indices") continue;
      const std::string text = read_decompressed(file);
      const auto lines = split(text, "\r\n");
      size_t column = 0;
      const auto fields = lines.empty() ? lines : split(lines[0], ",");
      while (column < fields.size() && fields[column] != "pdb_id") ++column;
      if (column == fields.size()) fail<BadInput>("{}:1: no column pdb_id", file.string());
      if (!out) out.emplace();
      for (size_t i = 1; i < lines.size(); ++i) {
        std::string_view rest = lines[i];
        for (size_t k = 0; k < column && !rest.empty(); ++k) {
          const size_t comma = rest.find(',');
          rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
        }
        const std::string_view id = rest.substr(0, rest.find(','));
        if (id.empty()) fail<BadInput>("{}:{}: no pdb_id in this row", file.string(), i + 1);
        out->emplace(id);
      }
    }
    return out;
  }

  const ImportOptions& options_;
  std::vector<fs::path> files_;
  std::set<std::string> written_;  // folders of sequences
  ImportReport report_;
};

}  // namespace

void internal::place_file(const ImportOptions& options, const fs::path& file,
                          const fs::path& name) {
  const fs::path target = options.out / name;
  fs::create_directories(target.parent_path());
  if (options.copy)
    fs::copy_file(file, target);
  else
    fs::create_symlink(fs::absolute(file), target);
}

const std::vector<std::string>& import_sources() {
  static const std::vector<std::string> kSources = {"openproteinset", "openfold3",  "colabfold",
                                                    "protenix",       "alphafold3", "boltz"};
  return kSources;
}

ImportReport import_folder(const ImportOptions& options) {
  const auto& known = import_sources();
  if (std::find(known.begin(), known.end(), options.from) == known.end())
    fail<BadInput>("--from {}: one of {}", options.from, fmt::join(known, ", "));
  if (!fs::exists(options.source))
    fail<BadInput>("{}: no such file or folder", options.source.string());
  if (fs::exists(options.out) && !fs::is_empty(options.out))
    fail<BadInput>("{}: holds something already; import into a new folder", options.out.string());
  try {
    if (options.from == "alphafold3") return internal::import_alphafold3(options);
    if (options.from == "boltz") return internal::import_boltz(options);
    return Importer(options).run();
  } catch (const fs::filesystem_error& error) {
    fail<Device>("{}", error.what());
  }
}

}  // namespace megafold
