// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "alignment/hits.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "alignment/lines.h"
#include "base/errors.h"

namespace megafold {
namespace internal {
namespace {

/// A sequence is not longer than this (titin, the longest known protein, has 34,350 residues).
constexpr int32_t kMaxResidues = 1000000;

template <class T>
T number(const AlignmentText& file, int line, std::string_view text, const char* column) {
  T value{};
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size())
    fail<BadInput>("{}:{}: '{}' in the column {} is not a number", file.name, line, text, column);
  return value;
}

/// MMseqs2's CIGAR: M steps in both, I in the query alone, D in the hit alone.
void follow_cigar(const AlignmentText& file, int line, std::string_view cigar, int32_t query,
                  int32_t query_end, TemplateHit& hit) {
  int32_t at = hit.first;
  std::string_view rest = cigar;
  while (!rest.empty()) {
    const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    if (digits == 0 || digits == rest.size())
      fail<BadInput>("{}:{}: '{}' is not a CIGAR (such as 97M3D20M)", file.name, line, cigar);
    const auto count = number<int32_t>(file, line, rest.substr(0, digits), "CIGAR");
    const char step = rest[digits];
    rest.remove_prefix(digits + 1);
    const bool in_query = step == 'M' || step == '=' || step == 'X' || step == 'I';
    const bool in_hit = step == 'M' || step == '=' || step == 'X' || step == 'D' || step == 'N';
    if (!in_query && !in_hit)
      fail<BadInput>("{}:{}: step '{}' of the CIGAR {} is none of M = X I D N", file.name, line,
                     step, cigar);
    if ((in_query && count > query_end - query) || (in_hit && count > hit.last - at)) break;
    for (int32_t i = 0; in_query && in_hit && i < count; ++i)
      hit.pairs.push_back({query + i, at + i});
    query += in_query ? count : 0;
    at += in_hit ? count : 0;
    if (rest.empty() && query == query_end && at == hit.last) return;
  }
  fail<BadInput>("{}:{}: the CIGAR {} is not as long as the row's range of {}", file.name, line,
                 cigar, hit.name);
}

}  // namespace

void set_entry_and_chain(TemplateHit& hit) {
  std::string_view name = hit.name;
  if (name.starts_with("pdb|")) name.remove_prefix(4);
  const size_t cut = name.find_first_of("_|:");
  hit.entry = std::string(name.substr(0, cut));
  for (char& c : hit.entry) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  hit.chain = cut == std::string_view::npos ? "A" : std::string(name.substr(cut + 1));
}

std::vector<TemplateHit> read_m8(const AlignmentText& file, std::string_view query) {
  std::vector<TemplateHit> hits;
  Lines lines(file.text);
  std::string_view line;
  while (lines.next(line)) {
    if (line.empty() || line.front() == '#') continue;
    const auto columns = columns_of(line);
    const int at = lines.number();
    if (columns.size() < 12)
      fail<BadInput>(
          "{}:{}: {} columns, a row of m8 has 12 (query, target, identity, length, "
          "mismatches, gaps, four places, e-value, score) and perhaps a CIGAR",
          file.name, at, columns.size());
    TemplateHit hit;
    hit.line = at;
    hit.name = std::string(columns[1]);
    if (hit.name.empty()) fail<BadInput>("{}:{}: the row names no target", file.name, at);
    set_entry_and_chain(hit);
    const auto place = [&](size_t column, const char* what) {
      return number<int32_t>(file, at, columns[column], what);
    };
    const int32_t query_first = place(6, "query start"), query_last = place(7, "query end");
    hit.first = place(8, "target start");
    hit.last = place(9, "target end");
    hit.e_value = number<double>(file, at, columns[10], "e-value");
    if (query_first < 1 || query_last < query_first ||
        static_cast<size_t>(query_last) > query.size())
      fail<BadInput>(
          "{}:{}: residues {} to {} of a query of {}: is this the table of another query?",
          file.name, at, query_first, query_last, query.size());
    if (hit.first < 1 || hit.last < hit.first || hit.last > kMaxResidues)
      fail<BadInput>("{}:{}: residues {} to {} of {}", file.name, at, hit.first, hit.last,
                     hit.name);
    --hit.first;
    if (columns.size() > 12 && !columns[12].empty()) {
      follow_cigar(file, at, columns[12], query_first - 1, query_last, hit);
    } else if (place(5, "gaps") == 0 && query_last - query_first + 1 == hit.last - hit.first) {
      for (int32_t i = 0; i < hit.last - hit.first; ++i)
        hit.pairs.push_back({query_first - 1 + i, hit.first + i});
    } else {
      hit.is_aligned = false;  // gaps, and nothing says where
      hit.query_part = {query_first - 1, query_last};
    }
    hits.push_back(std::move(hit));
  }
  return hits;
}

}  // namespace internal

std::string m8_row(std::string_view query, const TemplateHit& hit) {
  if (hit.pairs.empty()) fail<BadInput>("{}: no residue of the hit is aligned", hit.name);
  std::string cigar;
  int32_t run = 0;
  for (size_t i = 0; i < hit.pairs.size(); ++i) {
    const auto [q, t] = hit.pairs[i];
    const int32_t in_query = i > 0 ? q - hit.pairs[i - 1][0] - 1 : 0,
                  in_hit = i > 0 ? t - hit.pairs[i - 1][1] - 1 : 0;
    if (in_query > 0 || in_hit > 0) {
      cigar += fmt::format("{}M", run);
      if (in_query > 0) cigar += fmt::format("{}I", in_query);
      if (in_hit > 0) cigar += fmt::format("{}D", in_hit);
      run = 0;
    }
    ++run;
  }
  return fmt::format("{}\t{}\t0\t{}\t0\t0\t{}\t{}\t{}\t{}\t{:g}\t0\t{}{}M\n", query, hit.name,
                     hit.pairs.size(), hit.pairs.front()[0] + 1, hit.pairs.back()[0] + 1,
                     hit.pairs.front()[1] + 1, hit.pairs.back()[1] + 1, hit.e_value, cigar, run);
}

std::vector<TemplateHit> read_template_hits(const AlignmentText& file, std::string_view query) {
  internal::Lines lines(file.text);
  std::string_view line;
  while (lines.next(line)) {
    if (line.empty()) continue;
    if (line.starts_with("# STOCKHOLM") || line.front() == '>' || line.starts_with("#A3M"))
      return internal::read_hit_rows(file, query);
    // HHsearch starts with a table of "Query", "Match_columns" and so on.
    if (internal::first_word(line) == "Query") return internal::read_hhr(file, query);
    if (line.front() == '#') continue;
    if (std::count(line.begin(), line.end(), '\t') >= 2) return internal::read_m8(file, query);
    fail<BadInput>(
        "{}:{}: template hits are m8 (columns with tabs), hhr, Stockholm or A3M; this is "
        "none of them",
        file.name, lines.number());
  }
  return {};
}

}  // namespace megafold
