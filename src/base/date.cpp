// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "base/date.h"

#include <chrono>

namespace megafold {
namespace {

using namespace std::chrono;

year_month_day day_of(int32_t date) {
  return {year{date / 10000}, month{static_cast<unsigned>(date / 100 % 100)},
          day{static_cast<unsigned>(date % 100)}};
}

}  // namespace

int32_t date_number(std::string_view text) {
  if (text.size() != 10) return 0;
  int32_t out = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == 4 || i == 7) {
      if (text[i] != '-') return 0;
    } else if (text[i] < '0' || text[i] > '9') {
      return 0;
    } else {
      out = 10 * out + (text[i] - '0');
    }
  }
  return out >= 10000 && day_of(out).ok() ? out : 0;
}

int32_t days_before(int32_t date, int64_t days) {
  const year_month_day then{sys_days{day_of(date)} - std::chrono::days{days}};
  return int{then.year()} * 10000 + static_cast<int32_t>(unsigned{then.month()} * 100) +
         static_cast<int32_t>(unsigned{then.day()});
}

}  // namespace megafold
