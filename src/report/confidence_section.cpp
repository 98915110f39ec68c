// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/confidence_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/errors.h"
#include "report/chart.h"
#include "report/html.h"

namespace megafold {
namespace {

using nlohmann::json;

constexpr double kMaxError = 32;  // Angstrom, where PAE's bins end

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k)
      word = (word << 8) | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? kDigits[(word >> (18 - 6 * k)) & 63U] : '=';
  }
  return out;
}

void put(std::string& out, uint32_t value, size_t bytes) {  // little end first
  for (size_t k = 0; k < bytes; ++k) out += static_cast<char>((value >> (8 * k)) & 0xFFU);
}

std::vector<double> numbers(const json& list) {
  std::vector<double> out;
  for (const json& value : list)
    out.push_back(value.is_number() ? value.get<double>()
                                    : std::numeric_limits<double>::quiet_NaN());
  return out;
}

/// Mean pLDDT of each residue, 0 .. 1.
std::vector<double> by_residue(const Entry& entry, const std::vector<double>& plddt) {
  std::vector<double> sum(entry.residues.size()), count(entry.residues.size());
  for (size_t a = 0; a < plddt.size(); ++a) {
    const auto r = static_cast<size_t>(entry.residue[a]);
    sum[r] += plddt[a] / 100;
    ++count[r];
  }
  for (size_t r = 0; r < sum.size(); ++r) sum[r] /= count[r];
  return sum;
}

/// AlphaFold's four bands: 90, 70, 50.
const char* band(double plddt) {
  return plddt >= 0.9 ? "--c0" : plddt >= 0.7 ? "--c1" : plddt >= 0.5 ? "--c2" : "--c3";
}

}  // namespace

std::string matrix_picture(const std::vector<double>& values, size_t n, size_t most) {
  if (n == 0 || values.size() != n * n)
    fail<BadInput>("a matrix of {} rows has {} values", n, values.size());
  const size_t side = std::min(n, std::max<size_t>(most, 1));
  const size_t stride = (side + 3) / 4 * 4;  // rows of a BMP end on four bytes
  constexpr uint32_t kColors = 256, kHeader = 14 + 40 + 4 * kColors;
  std::string out = "BM";
  const auto pixels = static_cast<uint32_t>(stride * side);
  put(out, kHeader + pixels, 4), put(out, 0, 4), put(out, kHeader, 4);
  put(out, 40, 4), put(out, static_cast<uint32_t>(side), 4),
      put(out, static_cast<uint32_t>(side), 4);
  put(out, 1, 2), put(out, 8, 2), put(out, 0, 4), put(out, pixels, 4);
  put(out, 2835, 4), put(out, 2835, 4), put(out, kColors, 4), put(out, 0, 4);
  // From a dark blue to white by straight lines: as dark as the error is small.
  constexpr std::array<double, 3> kDark = {107, 60, 16};  // blue, green, red
  for (uint32_t c = 0; c < kColors; ++c) {
    for (const double dark : kDark)
      put(out, static_cast<uint32_t>(dark + (255 - dark) * c / (kColors - 1)), 1);
    put(out, 0, 1);
  }
  for (size_t row = side; row-- > 0;) {  // a BMP's rows go upwards
    for (size_t column = 0; column < stride; ++column) {
      double sum = 0;
      const size_t i0 = row * n / side, i1 = (row + 1) * n / side;
      const size_t j0 = column * n / side, j1 = (column + 1) * n / side;
      if (column >= side) {
        put(out, 0, 1);
        continue;
      }
      for (size_t i = i0; i < i1; ++i)
        for (size_t j = j0; j < j1; ++j)
          sum += std::isnan(values[i * n + j]) ? 1 : std::clamp(values[i * n + j], 0.0, 1.0);
      sum /= static_cast<double>((i1 - i0) * (j1 - j0));
      put(out, static_cast<uint32_t>(std::lround(255 * sum)), 1);
    }
  }
  return "data:image/bmp;base64," + base64(out);
}

std::string confidence_section(const Entry& entry, const json& confidences) {
  const std::vector<double> plddt = numbers(confidences.value("atom_plddts", json::array()));
  std::vector<double> pae;
  const json rows = confidences.value("pae", json::array());
  for (const json& row : rows)
    for (const double value : numbers(row)) pae.push_back(value / kMaxError);
  if (plddt.size() != entry.num_atoms() || pae.size() != rows.size() * rows.size() || pae.empty())
    fail<Corrupt>("confidences of {}: {} pLDDT for {} atoms, {} values in {} rows of PAE", entry.id,
                  plddt.size(), entry.num_atoms(), pae.size(), rows.size());
  BarChart chart{.id = "plddt-by-residue",
                 .title = "pLDDT by residue",
                 .note = "What the model expects its lDDT to be, without seeing the truth.",
                 .bars = {},
                 .group_names = {}};
  for (const EntryChain& chain : entry.chains) chart.group_names.push_back(chain.auth);
  const std::vector<double> scores = by_residue(entry, plddt);
  for (size_t r = 0; r < scores.size(); ++r) {
    const EntryResidue& residue = entry.residues[r];
    const bool is_first = r == 0 || entry.residues[r - 1].chain != residue.chain;
    chart.bars.push_back(
        {.value = scores[r],
         .label = fmt::format("{} {}, chain {}", residue.component, residue.author_id,
                              entry.chains[static_cast<size_t>(residue.chain)].auth),
         .color = band(scores[r]),
         .group = residue.chain,
         .tick = is_first || residue.author_id % 10 == 0 ? std::to_string(residue.author_id) : ""});
  }
  return "<section aria-labelledby=\"h-confidence\"><h2 id=\"h-confidence\">Confidence</h2>"
         "<div class=\"charts\">" +
         bar_chart(chart) +
         fmt::format(
             "<figure class=\"chart\" id=\"pae\"><figcaption><h3>Predicted aligned error</h3>"
             "<p>How far off, in \u00c5, the model expects token j (across) to be, seen from token "
             "i (down). Dark is 0 \u00c5, white {:.0f} \u00c5.</p></figcaption>"
             "<img class=\"matrix\" src=\"{}\" alt=\"Predicted aligned error, {} by {} tokens, "
             "mean "
             "{} \u00c5\"></figure></div></section>",
             kMaxError, matrix_picture(pae, rows.size()), rows.size(), rows.size(),
             pretty(kMaxError * [&] {
               double sum = 0;
               for (const double value : pae) sum += value;
               return sum / static_cast<double>(pae.size());
             }()));
}

}  // namespace megafold
