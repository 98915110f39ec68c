// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace megafold {

/// Points sorted into cubes, to find all neighbours within a radius in time linear in their number.
class CellGrid {
 public:
  using Point = std::array<float, 3>;

  /// Cells have at least the edge `radius`; wider ones where the points are far apart.
  CellGrid(const std::vector<Point>& points, float radius) : points_(points), radius_(radius) {
    if (points.empty()) return;
    Point high = low_ = points[0];
    for (const Point& p : points)
      for (size_t i = 0; i < 3; ++i) {
        low_[i] = std::min(low_[i], p[i]);
        high[i] = std::max(high[i], p[i]);
      }
    const double wanted = 8.0 * static_cast<double>(points.size()) + 1000;
    for (edge_ = radius;; edge_ *= 1.5F) {
      double cells = 1;
      for (size_t i = 0; i < 3; ++i) cells *= std::floor((high[i] - low_[i]) / edge_) + 1.0;
      if (cells <= wanted) break;
    }
    for (size_t i = 0; i < 3; ++i) count_[i] = 1 + static_cast<int>((high[i] - low_[i]) / edge_);
    start_.assign(static_cast<size_t>(count_[0]) * count_[1] * count_[2] + 1, 0);
    std::vector<uint32_t> cell(points.size());
    for (size_t i = 0; i < points.size(); ++i) ++start_[(cell[i] = cell_of(points[i])) + 1];
    for (size_t i = 1; i < start_.size(); ++i) start_[i] += start_[i - 1];
    order_.resize(points.size());
    std::vector<uint32_t> next(start_.begin(), start_.end() - 1);
    for (size_t i = 0; i < points.size(); ++i) order_[next[cell[i]]++] = static_cast<uint32_t>(i);
  }

  /// Calls f(index, squared distance) for every point nearer than the radius.
  template <class F>
  void near(const Point& p, F&& f) const {
    if (points_.empty()) return;
    std::array<int, 3> first{}, last{};
    for (size_t i = 0; i < 3; ++i) {
      first[i] = std::clamp(index(p[i] - radius_, i), 0, count_[i] - 1);
      last[i] = std::clamp(index(p[i] + radius_, i), 0, count_[i] - 1);
    }
    for (int x = first[0]; x <= last[0]; ++x)
      for (int y = first[1]; y <= last[1]; ++y) {
        const auto row = (static_cast<size_t>(x) * count_[1] + y) * count_[2];
        for (uint32_t k = start_[row + first[2]]; k < start_[row + last[2] + 1]; ++k) {
          const Point& q = points_[order_[k]];
          const float dx = p[0] - q[0], dy = p[1] - q[1], dz = p[2] - q[2];
          const float squared = dx * dx + dy * dy + dz * dz;
          if (squared < radius_ * radius_) f(order_[k], squared);
        }
      }
  }

 private:
  [[nodiscard]] int index(float x, size_t axis) const {
    return static_cast<int>(std::floor((x - low_[axis]) / edge_));
  }
  [[nodiscard]] uint32_t cell_of(const Point& p) const {
    std::array<int, 3> at{};
    for (size_t i = 0; i < 3; ++i) at[i] = std::clamp(index(p[i], i), 0, count_[i] - 1);
    return static_cast<uint32_t>((static_cast<size_t>(at[0]) * count_[1] + at[1]) * count_[2] +
                                 at[2]);
  }

  const std::vector<Point>& points_;
  float radius_, edge_ = 1;
  Point low_{};
  std::array<int, 3> count_{1, 1, 1};
  std::vector<uint32_t> start_, order_;
};

}  // namespace megafold
