// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "alignment/alignment.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <span>
#include <utility>

#include "alignment/rows.h"
#include "base/errors.h"
#include "base/hash.h"

namespace megafold {
namespace {

constexpr int kClasses = 32;
constexpr uint8_t kGap = 31;

/// What a byte of an alignment means: a class 0..31, or one of these.
constexpr uint8_t kInsertion = 64;  // a lower case letter
constexpr uint8_t kNothing = 65;    // '.', blanks
constexpr uint8_t kOdd = 66;

using Table = std::array<uint8_t, 256>;

Table letter_table(Alphabet alphabet) {
  Table table;
  table.fill(kOdd);
  for (int c = 'A'; c <= 'Z'; ++c) {
    table[static_cast<size_t>(c)] = restype_of_letter(static_cast<char>(c), alphabet);
    table[static_cast<size_t>(c - 'A' + 'a')] = kInsertion;
  }
  table['-'] = kGap;
  table['.'] = table[' '] = table['\t'] = kNothing;
  return table;
}

const Table& table_of(Alphabet alphabet) {
  static const std::array<Table, 3> kTables = {
      letter_table(Alphabet::protein), letter_table(Alphabet::rna), letter_table(Alphabet::dna)};
  return kTables[static_cast<size_t>(alphabet)];
}

bool is_unknown(uint8_t restype) {
  return restype == 20 || restype == 25 || restype == 30;
}

/// A row after its letters are understood.
class Row {
 public:
  explicit Row(size_t width) : classes(width), deletions(width, 0) {}

  void clear() {
    if (any_deletion) std::fill(deletions.begin(), deletions.end(), 0);
    any_deletion = false;
    columns = 0;
  }
  /// The next column, after `left_out` letters that have none.
  void add(uint8_t letter, uint32_t left_out) {
    if (columns < classes.size()) {
      classes[columns] = letter;
      if (left_out != 0) {
        deletions[columns] = left_out;
        any_deletion = true;
      }
    }
    ++columns;
  }

  std::vector<uint8_t> classes;
  std::vector<uint32_t> deletions;  // zeros where none is there
  bool any_deletion = false;
  size_t columns = 0;  // that were added; those beyond the width are counted alone
};

[[noreturn]] void fail_odd(const AlignmentText& file, const RawRow& row, const RawRow::Piece& piece,
                           const char* at) {
  const auto byte = static_cast<unsigned char>(*at);
  const std::string shown = byte > 32 && byte < 127 ? fmt::format("'{}'", *at) : "byte";
  fail<BadInput>("{}:{}:{}: odd character {} (0x{:02x}) in the row '{}'", file.name, piece.line,
                 at - piece.letters.data() + 1, shown, byte, row.name);
}

/// Upper case and '-' are columns; lower case letters count for the next column (A3M).
void read_a3m_row(const AlignmentText& file, const RawRow& raw, const Table& table, Row& row) {
  row.clear();
  uint32_t pending = 0;
  for (const RawRow::Piece& piece : raw.pieces) {
    const char* at = piece.letters.data();
    for (const char* const end = at + piece.letters.size(); at != end; ++at) {
      const uint8_t code = table[static_cast<unsigned char>(*at)];
      if (code < kClasses) {
        row.add(code, pending);
        pending = 0;
      } else if (code == kInsertion) {
        ++pending;
      } else if (code == kOdd) {
        fail_odd(file, raw, piece, at);
      }
    }
  }
}

/// Every character is a column of the file; those where the query has a gap are insertions, of
/// which letters count for the next column that stays (Stockholm).
void read_stockholm_row(const AlignmentText& file, const RawRow& raw, const Table& table,
                        std::vector<bool>& kept, bool is_query, Row& row) {
  row.clear();
  uint32_t pending = 0;
  size_t column = 0;
  for (const RawRow::Piece& piece : raw.pieces) {
    const char* at = piece.letters.data();
    for (const char* const end = at + piece.letters.size(); at != end; ++at, ++column) {
      const char c = *at == '.' || *at == '~' ? '-' : *at;
      const char upper = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      const uint8_t code = table[static_cast<unsigned char>(upper)];
      if (code >= kClasses) fail_odd(file, raw, piece, at);
      if (is_query) kept.push_back(code != kGap);
      if (column >= kept.size()) continue;  // reported below, with the whole width
      if (kept[column]) {
        row.add(code, pending);
        pending = 0;
      } else if (code != kGap) {
        ++pending;
      }
    }
  }
  if (column != kept.size())
    fail<BadInput>("{}:{}: the row '{}' has {} columns, the query {}", file.name, raw.first_line,
                   raw.name, column, kept.size());
}

/// What the query's row says about a column of the file.
struct A2mColumn {
  bool kept = false;  // the query has a letter
  bool match =
      false;  // upper case or '-': aligned; else lower case or '.': insertions, side by side
};

/// Every character is a column of the file, and insertions are filled up with dots. Letters where
/// the query has none count for its next column, and so do letters beside an insertion of the
/// query, which are not aligned to it (SAM's documentation of the format).
void read_a2m_row(const AlignmentText& file, const RawRow& raw, const Table& table,
                  std::vector<A2mColumn>& columns, bool is_query, Row& row) {
  row.clear();
  uint32_t pending = 0;
  size_t column = 0;
  for (const RawRow::Piece& piece : raw.pieces) {
    const char* at = piece.letters.data();
    for (const char* const end = at + piece.letters.size(); at != end; ++at) {
      if (*at == ' ' || *at == '\t') continue;
      const bool lower = *at >= 'a' && *at <= 'z', match = !lower && *at != '.';
      const char upper = lower ? static_cast<char>(*at - 'a' + 'A') : *at;
      const uint8_t code = *at == '.' ? kGap : table[static_cast<unsigned char>(upper)];
      if (code >= kClasses) fail_odd(file, raw, piece, at);
      if (is_query) columns.push_back({code != kGap, match});
      if (column >= columns.size()) {  // reported below, with the width
        column = columns.size() + 1;
        break;
      }
      const A2mColumn& here = columns[column++];
      if (here.match != match)
        fail<BadInput>(
            "{}:{}: column {} of the row '{}' is {}, the query's is not; an A2M has its dots (an "
            "A3M, which has none, is called .a3m)",
            file.name, piece.line, column, raw.name, match ? "aligned" : "an insertion");
      const bool aligned = match || is_query;
      if (here.kept) {
        row.add(aligned ? code : kGap, pending);
        pending = 0;
      }
      if (code != kGap && !(here.kept && aligned)) ++pending;
    }
  }
  if (column != columns.size())
    fail<BadInput>("{}:{}: the row '{}' has {}{} columns, the query {}", file.name, raw.first_line,
                   raw.name, column, column > columns.size() ? " or more" : "", columns.size());
}

std::string letters_of(const RawRow& row) {
  std::string letters;
  for (const RawRow::Piece& piece : row.pieces)
    for (const char c : piece.letters)
      if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        letters.push_back(c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c);
  return letters;
}

bool same_place(char a, char b, Alphabet alphabet) {
  const uint8_t x = restype_of_letter(a, alphabet), y = restype_of_letter(b, alphabet);
  return x == y || is_unknown(x) || is_unknown(y);
}

/// Both sequences around their first difference.
[[noreturn]] void fail_query(const AlignmentText& file, int line, std::string_view query,
                             std::string_view sequence, Alphabet alphabet, std::string_view chain) {
  size_t at = 0;
  while (at < query.size() && at < sequence.size() && same_place(query[at], sequence[at], alphabet))
    ++at;
  constexpr size_t kBefore = 30, kWidth = 70;
  const size_t from = at > kBefore ? at - kBefore : 0;
  const auto window = [&](std::string_view text) {
    const std::string_view cut = text.substr(std::min(from, text.size()), kWidth);
    return fmt::format("{}{}{}", from > 0 ? "..." : "", cut,
                       from + cut.size() < text.size() ? "..." : "");
  };
  fail<BadInput>(
      "{}:{}: the query differs from {} at position {} (lengths {} and {})\n  chain {}\n  query "
      "{}\n        {}^",
      file.name, line, chain, at + 1, query.size(), sequence.size(), window(sequence),
      window(query), std::string(at - from + (from > 0 ? 3 : 0), ' '));
}

/// Rows by the hash of their letters: an open table, for a node of its own for each row takes
/// longer than all that is compared.
class RowsByHash {
 public:
  /// The first row of that hash for which is_same(row); -1 where there is none.
  template <class F>
  [[nodiscard]] int64_t find(uint64_t hash, F&& is_same) const {
    if (slots_.empty()) return -1;
    for (size_t at = hash & (slots_.size() - 1); slots_[at].row >= 0;
         at = (at + 1) & (slots_.size() - 1))
      if (slots_[at].hash == hash && is_same(slots_[at].row)) return slots_[at].row;
    return -1;
  }
  void add(uint64_t hash, int64_t row) {
    if (2 * (used_ + 1) > slots_.size()) {
      std::vector<Slot> old(std::max<size_t>(1024, 2 * slots_.size()));
      old.swap(slots_);
      for (const Slot& slot : old)
        if (slot.row >= 0) put(slot);
    }
    put({hash, row});
    ++used_;
  }

 private:
  struct Slot {
    uint64_t hash = 0;
    int64_t row = -1;
  };
  void put(const Slot& slot) {
    size_t at = slot.hash & (slots_.size() - 1);
    while (slots_[at].row >= 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = slot;
  }
  std::vector<Slot> slots_;  // a power of two, at most half of them in use
  size_t used_ = 0;
};

class Builder {
 public:
  Builder(std::string_view sequence, Alphabet alphabet, std::string_view chain)
      : sequence_(sequence), alphabet_(alphabet), chain_(chain) {
    msa_.columns = static_cast<int64_t>(sequence.size());
    counts_.assign(sequence.size() * kClasses, 0);
    deletion_sums_.assign(sequence.size(), 0);
  }

  void read_main(const AlignmentText& file) {
    read(file, [this](const Row& row, std::string_view) { return add(row); });
  }

  void read_pairing(const AlignmentText& file) {
    bool is_query = true;
    read(file, [&](const Row& row, std::string_view name) {
      return !std::exchange(is_query, false) && add_pairing(row, species_of(name));
    });
  }

  Msa finish() {
    if (msa_.rows == 0) add(query_row());  // no file but for pairing
    const auto rows = static_cast<double>(msa_.rows);
    msa_.profile.resize(counts_.size());
    msa_.deletion_mean.resize(deletion_sums_.size());
    for (size_t i = 0; i < counts_.size(); ++i)
      msa_.profile[i] = static_cast<float>(counts_[i] / rows);
    for (size_t i = 0; i < deletion_sums_.size(); ++i)
      msa_.deletion_mean[i] = static_cast<float>(static_cast<double>(deletion_sums_[i]) / rows);
    return std::move(msa_);
  }

 private:
  /// Calls take(row, name) for each row, the query first; true where the row is kept.
  template <class F>
  void read(const AlignmentText& file, F&& take) {
    AlignmentSource source{file.name, 0, 0};
    const AlignmentFormat format = detect_format(file);
    const Table& table = table_of(alphabet_);
    std::vector<bool> kept;  // Stockholm: the columns in which the query has a letter
    std::vector<A2mColumn> columns;
    Row row(sequence_.size());
    for_each_row(file, format, [&](const RawRow& raw) {
      const bool is_query = source.rows_read == 0;
      if (is_query) check_query(file, raw);
      if (format == AlignmentFormat::a3m) {
        read_a3m_row(file, raw, table, row);
      } else if (format == AlignmentFormat::a2m) {
        read_a2m_row(file, raw, table, columns, is_query, row);
      } else {
        read_stockholm_row(file, raw, table, kept, is_query, row);
      }
      if (static_cast<int64_t>(row.columns) != msa_.columns)
        fail<BadInput>("{}:{}: the row '{}' has {} columns, the query {}", file.name,
                       raw.first_line, raw.name, row.columns, msa_.columns);
      ++source.rows_read;
      if (is_query) row = query_row();
      if (take(row, raw.name)) ++source.rows_kept;
    });
    msa_.sources.push_back(std::move(source));
  }

  void check_query(const AlignmentText& file, const RawRow& raw) const {
    const std::string query = letters_of(raw);
    if (!is_query_of(query, sequence_, alphabet_))
      fail_query(file, raw.first_line, query, sequence_, alphabet_, chain_);
  }

  /// The chain's own sequence: a file may say X where the chain knows better.
  [[nodiscard]] Row query_row() const {
    Row row(sequence_.size());
    for (const char letter : sequence_) row.add(restype_of_letter(letter, alphabet_), 0);
    return row;
  }

  static uint64_t hash_of(const Row& row) {
    return checksum64(std::as_bytes(std::span(row.classes)));
  }

  /// The row of the main alignment that is equal, or -1.
  [[nodiscard]] int64_t find(const Row& row, uint64_t hash) const {
    const size_t width = row.classes.size();
    return seen_.find(hash, [&](int64_t other) {
      return std::memcmp(&msa_.classes[static_cast<size_t>(other) * width], row.classes.data(),
                         width) == 0;
    });
  }

  static void append(const Row& row, std::vector<uint8_t>& classes,
                     std::vector<uint8_t>& deletions) {
    classes.insert(classes.end(), row.classes.begin(), row.classes.end());
    const size_t start = deletions.size();
    deletions.resize(start + row.classes.size(), 0);
    if (!row.any_deletion) return;
    for (size_t i = 0; i < row.deletions.size(); ++i)
      deletions[start + i] = static_cast<uint8_t>(std::min<uint32_t>(row.deletions[i], 255));
  }

  /// False where an equal row is there already.
  bool add(const Row& row) {
    const uint64_t hash = hash_of(row);
    if (find(row, hash) >= 0) return false;
    seen_.add(hash, msa_.rows++);
    append(row, msa_.classes, msa_.deletions);
    for (size_t i = 0; i < row.classes.size(); ++i) ++counts_[i * kClasses + row.classes[i]];
    if (row.any_deletion)
      for (size_t i = 0; i < row.classes.size(); ++i) deletion_sums_[i] += row.deletions[i];
    return true;
  }

  /// False where the row cannot be paired.
  bool add_pairing(const Row& row, const Species& species) {
    PairingRows& out = msa_.pairing;
    ++hits_;
    const bool is_empty = std::all_of(row.classes.begin(), row.classes.end(),
                                      [](uint8_t letter) { return letter == kGap; });
    if (species == kNoSpecies || is_empty || ++rows_of_species_[species] > kMaxRowsOfSpecies)
      return false;
    append(row, out.classes, out.deletions);
    out.species.push_back(species);
    out.hit.push_back(hits_);
    out.main_row.push_back(static_cast<int32_t>(find(row, hash_of(row))));
    ++out.rows;
    return true;
  }

  std::string_view sequence_;
  Alphabet alphabet_;
  std::string_view chain_;
  Msa msa_;
  std::vector<uint32_t> counts_;         // L, 32
  std::vector<uint64_t> deletion_sums_;  // L
  RowsByHash seen_;
  int32_t hits_ = 0;  // read for pairing
  std::map<Species, int> rows_of_species_;
};

bool is_alphanumeric(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  });
}

bool is_number(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

uint8_t restype_of_letter(char letter, Alphabet alphabet) {
  if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 'a' + 'A');
  if (alphabet == Alphabet::protein) {
    constexpr std::string_view kOrder = "ARNDCQEGHILKMFPSTWYV";
    if (letter == 'B') letter = 'D';
    if (letter == 'Z') letter = 'E';
    if (letter == 'U') letter = 'C';
    const size_t at = kOrder.find(letter);
    return static_cast<uint8_t>(at == std::string_view::npos ? 20 : at);
  }
  if (letter == 'T') letter = 'U';
  constexpr std::string_view kBases = "AGCU";
  const size_t at = std::min(kBases.find(letter), kBases.size());  // N where it is none of them
  return static_cast<uint8_t>((alphabet == Alphabet::rna ? 21 : 26) + at);
}

std::string read_query(const AlignmentText& alignment) {
  struct Found {};
  std::string query;
  try {  // the first row is enough
    for_each_row(alignment, detect_format(alignment), [&](const RawRow& row) {
      query = letters_of(row);
      throw Found();
    });
  } catch (const Found&) {
  }
  return query;
}

std::optional<std::string> read_query_of_start(const AlignmentText& start) {
  const std::string_view text = start.text;
  const size_t first = text.starts_with('>') ? 0 : text.find("\n>");
  if (first == std::string_view::npos || detect_format(start) == AlignmentFormat::stockholm)
    return std::nullopt;
  const size_t second = text.find("\n>", first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  return read_query({start.name, std::string(text.substr(0, second + 1))});
}

bool is_query_of(std::string_view query, std::string_view sequence, Alphabet alphabet) {
  if (query.size() != sequence.size()) return false;
  for (size_t i = 0; i < query.size(); ++i)
    if (!same_place(query[i], sequence[i], alphabet)) return false;
  return true;
}

Species species_of(std::string_view name) {
  name = name.substr(0, name.find('/'));  // the range of residues
  std::string_view found;
  if (name.starts_with("tr|") || name.starts_with("sp|")) {
    const size_t bar = name.find('|', 3);
    if (bar == std::string_view::npos) return kNoSpecies;
    std::string_view entry = name.substr(bar + 1);
    const size_t line = entry.find('_');
    if (line == std::string_view::npos || !is_alphanumeric(entry.substr(0, line)))
      return kNoSpecies;
    found = entry.substr(line + 1);
    if (const size_t rest = found.find('_'); rest != std::string_view::npos) {
      if (!is_number(found.substr(rest + 1))) return kNoSpecies;  // reduced BFD counts there
      found = found.substr(0, rest);
    }
    constexpr size_t kMnemonic = 5;
    if (found.size() > kMnemonic || !is_alphanumeric(found)) return kNoSpecies;
  } else if (name.starts_with("UniRef")) {
    const size_t line = name.rfind('_');
    if (line == std::string_view::npos || name.find('_') == line) return kNoSpecies;
    found = name.substr(line + 1);
    if (!is_number(found)) return kNoSpecies;
  }
  Species out{};
  if (found.empty() || found.size() > out.size()) return kNoSpecies;
  out.fill(' ');
  std::copy(found.begin(), found.end(), out.begin());
  return out;
}

Msa make_msa(const std::vector<AlignmentText>& files, std::string_view sequence, Alphabet alphabet,
             std::string_view chain, const std::vector<AlignmentText>& pairing) {
  if ((files.empty() && pairing.empty()) || sequence.empty())
    fail<BadInput>("{}: an alignment needs at least one file and one residue", chain);
  Builder builder(sequence, alphabet, chain);
  for (const AlignmentText& file : files) builder.read_main(file);
  if (alphabet == Alphabet::protein)
    for (const AlignmentText& file : pairing) builder.read_pairing(file);
  return builder.finish();
}

}  // namespace megafold
