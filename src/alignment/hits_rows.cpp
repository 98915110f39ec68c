// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Hits as rows of an alignment: Stockholm of hmmsearch -A or hmmalign, and A3M. Their names say
// which part of which chain they are: "2jsf_A/4-73".
#include <algorithm>
#include <cctype>
#include <charconv>
#include <unordered_map>
#include <unordered_set>

#include "alignment/hits.h"
#include "alignment/lines.h"
#include "alignment/rows.h"
#include "base/errors.h"

namespace megafold::internal {
namespace {

/// A shorter row may lie in the query by chance: it does not tell where the columns are.
constexpr size_t kMinAnchor = 10;

constexpr int32_t kNoColumn = -1;

/// The letters of a row in upper case, and the column in which each stands.
struct Row {
  std::string name;
  int line = 0;
  std::string letters;
  std::vector<int32_t> columns;  // kNoColumn: an insertion that has no column (A3M)
  int32_t width = 0;
  int32_t first = 0, last = 0;  // from the name, 1-based; 0: the name has no range
};

void read_range(const AlignmentText& file, Row& row) {
  const size_t slash = row.name.rfind('/');
  if (slash == std::string::npos) return;
  const std::string_view range = std::string_view(row.name).substr(slash + 1);
  const size_t dash = range.find('-');
  const auto number = [&](std::string_view text, int32_t& out) {
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && rest == text.data() + text.size();
  };
  if (dash == std::string_view::npos || !number(range.substr(0, dash), row.first) ||
      !number(range.substr(dash + 1), row.last) || row.first < 1)
    fail<BadInput>("{}:{}: '{}' should end in a range, such as /4-73", file.name, row.line,
                   row.name);
  if (int64_t{row.last} - row.first + 1 != static_cast<int64_t>(row.letters.size()))
    fail<BadInput>("{}:{}: '{}' has {} letters", file.name, row.line, row.name, row.letters.size());
}

Row read_row(const AlignmentText& file, const RawRow& raw, bool is_stockholm) {
  Row row;
  row.name = std::string(raw.name);
  row.line = raw.first_line;
  for (const RawRow::Piece& piece : raw.pieces)
    for (const char c : piece.letters) {
      const bool is_lower = c >= 'a' && c <= 'z', is_letter = is_lower || (c >= 'A' && c <= 'Z');
      const bool is_gap = c == '-' || c == '.' || c == '~';
      if (!is_letter && !is_gap)
        fail<BadInput>("{}:{}: odd character 0x{:02x} in the row '{}'", file.name, piece.line,
                       static_cast<unsigned char>(c), raw.name);
      // Every character of Stockholm is a column; in A3M lower case letters and dots are none.
      const bool is_column = is_stockholm || !(is_lower || c == '.');
      if (is_letter) {
        row.letters += is_lower ? static_cast<char>(c - 'a' + 'A') : c;
        row.columns.push_back(is_column ? row.width : kNoColumn);
      }
      row.width += is_column ? 1 : 0;
    }
  read_range(file, row);
  return row;
}

/// What Stockholm says beside the rows.
struct Annotations {
  std::string match_columns;  // "#=GC RF": '.' where the profile has no match state
  std::unordered_map<std::string_view, std::string_view> descriptions;  // "#=GS name DE ..."
};

Annotations read_annotations(const AlignmentText& file) {
  Annotations out;
  Lines lines(file.text);
  std::string_view line;
  while (lines.next(line)) {
    if (!line.starts_with("#=G")) continue;
    const std::string_view kind = take_word(line), first = take_word(line);
    if (kind == "#=GC" && first == "RF") {
      out.match_columns += std::string(take_word(line));
    } else if (kind == "#=GS" && take_word(line) == "DE") {
      out.descriptions.emplace(first, line);
    }
  }
  return out;
}

/// Column -> place in the query, kNoColumn where the query has nothing there; empty where the file
/// does not say.
std::vector<int32_t> columns_of_query(const std::vector<Row>& rows, const Annotations& notes,
                                      std::string_view query) {
  const auto width = static_cast<size_t>(rows[0].width);
  const auto from_first_row = [&](size_t offset) {
    std::vector<int32_t> out(width, kNoColumn);
    for (size_t i = 0; i < rows[0].letters.size(); ++i)
      if (rows[0].columns[i] != kNoColumn)
        out[static_cast<size_t>(rows[0].columns[i])] = static_cast<int32_t>(offset + i);
    return out;
  };
  const std::string_view letters = rows[0].letters;
  if (is_query_of(letters, query, Alphabet::protein)) return from_first_row(0);
  // A profile whose match states are the query's residues (hmmbuild --hand).
  std::vector<int32_t> by_profile;
  int32_t count = 0;
  for (size_t i = 0; i < width; ++i) {
    const bool is_match = notes.match_columns.empty() || notes.match_columns[i] != '.';
    by_profile.push_back(is_match ? count++ : kNoColumn);
  }
  if (static_cast<size_t>(count) == query.size()) return by_profile;
  // A first row that is a part of the query.
  const auto start = static_cast<size_t>(rows[0].first - 1);
  if (rows[0].first > 0 && start < query.size() && query.substr(start, letters.size()) == letters)
    return from_first_row(start);
  const size_t found = query.find(letters);
  const bool is_anchor = letters.size() >= kMinAnchor && found != std::string_view::npos &&
                         query.find(letters, found + 1) == std::string_view::npos;
  return is_anchor ? from_first_row(found) : std::vector<int32_t>();
}

}  // namespace

std::vector<TemplateHit> read_hit_rows(const AlignmentText& file, std::string_view query) {
  const AlignmentFormat format = detect_format(file);
  const bool is_stockholm = format == AlignmentFormat::stockholm;
  Annotations notes;
  if (is_stockholm) notes = read_annotations(file);
  std::vector<Row> rows;
  std::unordered_set<size_t> left_out;  // nucleic acids among the hits
  for_each_row(file, format, [&](const RawRow& raw) {
    std::string_view description;
    if (is_stockholm) {
      if (const auto found = notes.descriptions.find(raw.name); found != notes.descriptions.end())
        description = found->second;
    } else {
      const char* const end = raw.name.data() + raw.name.size();
      description = {end, static_cast<size_t>(file.text.data() + file.text.size() - end)};
      description = description.substr(0, description.find('\n'));
    }
    if (description.find("mol:") != std::string_view::npos &&
        description.find("mol:protein") == std::string_view::npos)
      left_out.insert(rows.size());
    rows.push_back(read_row(file, raw, is_stockholm));
    // Unaligned letters (FASTA) have as many columns as they like; columns then mean nothing.
  });
  bool is_aligned = true;
  for (const Row& row : rows) {
    if (row.width == rows[0].width) continue;
    if (is_stockholm)
      fail<BadInput>("{}:{}: the row '{}' has {} columns, the first {}", file.name, row.line,
                     row.name, row.width, rows[0].width);
    is_aligned = false;
  }
  if (is_stockholm && !notes.match_columns.empty() &&
      notes.match_columns.size() != static_cast<size_t>(rows[0].width))
    fail<BadInput>("{}: {} columns of #=GC RF beside rows of {}", file.name,
                   notes.match_columns.size(), rows[0].width);
  std::vector<int32_t> places;
  if (is_aligned) places = columns_of_query(rows, notes, query);
  std::vector<TemplateHit> hits;
  for (size_t r = 0; r < rows.size(); ++r) {
    const Row& row = rows[r];
    if (left_out.contains(r) || row.letters.empty()) continue;
    if (r == 0 && row.first == 0 && is_query_of(row.letters, query, Alphabet::protein))
      continue;  // the query itself
    TemplateHit hit;
    hit.line = row.line;
    hit.name = row.name.substr(0, row.first > 0 ? row.name.rfind('/') : std::string::npos);
    set_entry_and_chain(hit);
    hit.letters = row.letters;
    hit.first = std::max(0, row.first - 1);
    hit.last = hit.first + static_cast<int32_t>(row.letters.size());
    hit.is_aligned = !places.empty();
    for (size_t i = 0; hit.is_aligned && i < row.letters.size(); ++i) {
      if (row.columns[i] == kNoColumn) continue;
      const int32_t at = places[static_cast<size_t>(row.columns[i])];
      if (at != kNoColumn) hit.pairs.push_back({at, hit.first + static_cast<int32_t>(i)});
    }
    hits.push_back(std::move(hit));
  }
  return hits;
}

}  // namespace megafold::internal

namespace megafold {

std::string rows_beside_query(const AlignmentText& stockholm, std::string_view name,
                              std::string_view query) {
  std::string out = fmt::format(">{}\n{}\n", name, query);
  if (stockholm.text.find_first_not_of(" \r\n") == std::string::npos) return out;
  std::vector<internal::Row> rows;
  for_each_row(stockholm, AlignmentFormat::stockholm, [&](const RawRow& raw) {
    rows.push_back(internal::read_row(stockholm, raw, true));
  });
  const auto places =
      internal::columns_of_query(rows, internal::read_annotations(stockholm), query);
  if (places.size() != static_cast<size_t>(rows[0].width))
    fail<BadInput>("{}: neither its first row nor #=GC RF is the query '{}' of {} residues",
                   stockholm.name, name, query.size());
  const bool has_query = rows[0].first == 0;  // jackhmmer's first row; hits have a range
  for (size_t r = has_query ? 1 : 0; r < rows.size(); ++r) {
    const internal::Row& row = rows[r];
    if (row.width != rows[0].width)
      fail<BadInput>("{}:{}: the row '{}' has {} columns, the first {}", stockholm.name, row.line,
                     row.name, row.width, rows[0].width);
    std::string letters;
    int32_t next = 0;  // place in the query
    for (size_t i = 0; i < row.letters.size(); ++i) {
      const int32_t at = places.at(static_cast<size_t>(row.columns[i]));
      if (at == internal::kNoColumn) {
        letters += static_cast<char>(std::tolower(static_cast<unsigned char>(row.letters[i])));
        continue;
      }
      for (; next < at; ++next) letters += '-';
      letters += row.letters[i];
      ++next;
    }
    letters.append(query.size() - static_cast<size_t>(next), '-');
    out += fmt::format(">{}\n{}\n", row.name, letters);
  }
  return out;
}

}  // namespace megafold
