// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Days as numbers, YYYYMMDD: what records, the index and filters compare. 0 is no day.
#pragma once

#include <cstdint>
#include <string_view>

namespace megafold {

/// Of YYYY-MM-DD; 0 where the text is another or there is no such day.
int32_t date_number(std::string_view text);

/// The day `days` before; of a day that date_number() gave.
int32_t days_before(int32_t date, int64_t days);

}  // namespace megafold
