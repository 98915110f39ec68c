// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "base/date.h"

#include <gtest/gtest.h>

namespace megafold {
namespace {

TEST(Date, IsADayOrNothing) {
  EXPECT_EQ(date_number("1987-04-16"), 19870416);
  EXPECT_EQ(date_number("2024-02-29"), 20240229);
  for (const char* const none :
       {"", "?", "2023-02-29", "2024-13-01", "2024-00-10", "2024-01-32", "0000-01-01", " 024-01-01",
        "2024/01/01", "24-01-01", "20240101", "2024-01-01T", "2024-1-011"})
    EXPECT_EQ(date_number(none), 0) << none;
}

TEST(Date, CountsBack) {
  EXPECT_EQ(days_before(20240301, 1), 20240229);
  EXPECT_EQ(days_before(20240105, 60), 20231106);
  EXPECT_EQ(days_before(20240105, 0), 20240105);
}

}  // namespace
}  // namespace megafold
