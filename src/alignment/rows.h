// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Splitting alignment files into rows, before any letter is understood.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "alignment/alignment.h"

namespace megafold {

enum class AlignmentFormat : uint8_t { a3m, a2m, stockholm };

/// A row's letters, still in pieces as they stand in the file (A3M may wrap, Stockholm may have
/// blocks); they point into the text.
struct RawRow {
  std::string_view name;
  int first_line = 0;  // of the first piece, 1-based
  struct Piece {
    std::string_view letters;
    int line = 0;
  };
  std::vector<Piece> pieces;
};

/// Tells the format by the content; an A2M, whose rows are like A3M's, by its name. Throws BadInput
/// where it is neither.
AlignmentFormat detect_format(const AlignmentText& alignment);

/// Calls `row` for each row, in order. Throws BadInput: empty, text before the first header, a row
/// without letters, a Stockholm file that does not end.
void for_each_row(const AlignmentText& alignment, AlignmentFormat format,
                  const std::function<void(const RawRow&)>& row);

}  // namespace megafold
