// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "alignment/rows.h"

#include <unordered_map>
#include <utility>

#include "alignment/lines.h"
#include "base/decompress.h"
#include "base/errors.h"

namespace megafold {
namespace {

using internal::first_word;
using internal::Lines;

void a3m_rows(const AlignmentText& alignment, const std::function<void(const RawRow&)>& row) {
  Lines lines(alignment.text);
  std::string_view line;
  RawRow current;
  bool open = false;
  const auto close = [&] {
    if (!open) return;
    if (current.pieces.empty())
      fail<BadInput>("{}:{}: the row '{}' has no letters", alignment.name, current.first_line - 1,
                     current.name);
    row(current);
  };
  while (lines.next(line)) {
    if (line.empty()) continue;
    if (line.front() == '>') {
      close();
      open = true;
      current.name = first_word(line.substr(1));
      current.first_line = lines.number() + 1;
      current.pieces.clear();
    } else if (open) {
      current.pieces.push_back({line, lines.number()});
    } else if (line.front() != '#') {  // "#A3M#" and the like may come first
      fail<BadInput>("{}:{}: letters before the first '>'", alignment.name, lines.number());
    }
  }
  close();
  if (!open) fail<BadInput>("{}: the alignment is empty", alignment.name);
}

void stockholm_rows(const AlignmentText& alignment, const std::function<void(const RawRow&)>& row) {
  Lines lines(alignment.text);
  std::string_view line;
  std::vector<RawRow> rows;
  std::unordered_map<std::string_view, size_t> index;
  bool ended = false;
  while (!ended && lines.next(line)) {
    if (line.empty() || line.front() == '#') continue;
    if (line == "//") {
      ended = true;
      continue;
    }
    const std::string_view name = first_word(line);
    const size_t letters = line.find_first_not_of(" \t", name.size());
    if (letters == std::string_view::npos)
      fail<BadInput>("{}:{}: the row '{}' has no letters", alignment.name, lines.number(), name);
    const auto [found, is_new] = index.emplace(name, rows.size());
    if (is_new) rows.push_back({name, lines.number(), {}});
    rows[found->second].pieces.push_back({line.substr(letters), lines.number()});
  }
  if (!ended)
    fail<BadInput>("{}:{}: the Stockholm file ends without '//' (cut short?)", alignment.name,
                   lines.number());
  if (rows.empty()) fail<BadInput>("{}: the alignment is empty", alignment.name);
  for (const RawRow& found : rows) row(found);
}

}  // namespace

AlignmentFormat detect_format(const AlignmentText& alignment) {
  const bool is_a2m = unpacked_name(alignment.name).ends_with(".a2m");
  Lines lines(alignment.text);
  std::string_view line;
  while (lines.next(line)) {
    if (line.empty()) continue;
    if (line.starts_with("# STOCKHOLM")) return AlignmentFormat::stockholm;
    if (line.front() == '>' || line.front() == '#')
      return is_a2m ? AlignmentFormat::a2m : AlignmentFormat::a3m;
    fail<BadInput>("{}:{}: neither A3M ('>') nor Stockholm ('# STOCKHOLM 1.0')", alignment.name,
                   lines.number());
  }
  fail<BadInput>("{}: the alignment is empty", alignment.name);
}

void for_each_row(const AlignmentText& alignment, AlignmentFormat format,
                  const std::function<void(const RawRow&)>& row) {
  if (format == AlignmentFormat::stockholm) {
    stockholm_rows(alignment, row);
  } else {
    a3m_rows(alignment, row);
  }
}

}  // namespace megafold
