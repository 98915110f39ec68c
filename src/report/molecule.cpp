// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "report/molecule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <gemmi/eig3.hpp>
#include <gemmi/math.hpp>

#include "predict/superpose.h"
#include "report/html.h"

namespace megafold {
namespace {

using gemmi::Vec3;

Vec3 at(const std::vector<float>& xyz, int32_t atom) {
  const auto a = 3 * static_cast<size_t>(atom);
  return {xyz[a], xyz[a + 1], xyz[a + 2]};
}

// Turns both structures so that the truth's longest axis is x and its shortest is z (depth).
void turn(Scene& scene, const std::vector<uint8_t>& mask) {
  Vec3 center;
  double n = 0;
  for (size_t a = 0; a < mask.size(); ++a) {
    if (mask[a]) center += at(scene.truth, static_cast<int32_t>(a)), n += 1;
  }
  if (n == 0) return;
  center = center / n;
  gemmi::SMat33<double> spread{0, 0, 0, 0, 0, 0};
  for (size_t a = 0; a < mask.size(); ++a) {
    if (!mask[a]) continue;
    const Vec3 d = at(scene.truth, static_cast<int32_t>(a)) - center;
    spread.u11 += d.x * d.x, spread.u22 += d.y * d.y, spread.u33 += d.z * d.z;
    spread.u12 += d.x * d.y, spread.u13 += d.x * d.z, spread.u23 += d.y * d.z;
  }
  double values[3];
  const gemmi::Mat33 vectors = gemmi::eigen_decomposition(spread, values);
  std::array<int, 3> order{0, 1, 2};
  std::sort(order.begin(), order.end(), [&](int a, int b) { return values[a] > values[b]; });
  const Vec3 x = vectors.column_copy(order[0]), y = vectors.column_copy(order[1]);
  const Vec3 z = x.cross(y);  // right-handed: a turn, never a mirror
  for (std::vector<float>* xyz : {&scene.truth, &scene.predicted}) {
    for (size_t a = 0; a < mask.size(); ++a) {
      const Vec3 d = at(*xyz, static_cast<int32_t>(a)) - center;
      (*xyz)[3 * a] = static_cast<float>(x.dot(d));
      (*xyz)[3 * a + 1] = static_cast<float>(y.dot(d));
      (*xyz)[3 * a + 2] = static_cast<float>(z.dot(d));
    }
  }
}

// Covalent radii, Angstrom, of what is met; metals make no bond here.
double covalent_radius(uint8_t element) {
  switch (element) {
    case 1:
      return 0.31;
    case 6:
      return 0.76;
    case 7:
      return 0.71;
    case 8:
      return 0.66;
    case 9:
      return 0.57;
    case 15:
      return 1.07;
    case 16:
      return 1.05;
    case 17:
      return 1.02;
    case 34:
      return 1.20;
    case 35:
      return 1.20;
    case 53:
      return 1.39;
    default:
      return 0;
  }
}

// Atoms nearer than their radii and 0.3 A, within a residue or between one and the next.
void find_bonds(const Entry& entry, Scene& scene) {
  for (size_t r = 0; r < entry.residues.size(); ++r) {
    const EntryResidue& residue = entry.residues[r];
    int32_t end = residue.first_atom + residue.num_atoms;
    if (r + 1 < entry.residues.size() && entry.residues[r + 1].chain == residue.chain) {
      end += entry.residues[r + 1].num_atoms;
    }
    for (int32_t a = residue.first_atom; a < residue.first_atom + residue.num_atoms; ++a) {
      for (int32_t b = a + 1; b < end; ++b) {
        const double ra = covalent_radius(entry.element[static_cast<size_t>(a)]);
        const double rb = covalent_radius(entry.element[static_cast<size_t>(b)]);
        if (ra == 0 || rb == 0) continue;
        const bool known = entry.resolved[static_cast<size_t>(a)] != 0 &&
                           entry.resolved[static_cast<size_t>(b)] != 0;
        const auto& xyz = known ? scene.truth : scene.predicted;
        const double most = ra + rb + 0.3;
        if ((at(xyz, a) - at(xyz, b)).length_sq() <= most * most) scene.bonds.emplace_back(a, b);
      }
    }
  }
}

int32_t find_atom(const Entry& entry, const EntryResidue& residue, const char* name) {
  for (int32_t a = residue.first_atom; a < residue.first_atom + residue.num_atoms; ++a) {
    if (entry.atom_name[static_cast<size_t>(a)] == name) return a;
  }
  return -1;
}

bool in_polymer(const Entry& entry, const EntryResidue& residue) {
  return entry.chains[static_cast<size_t>(residue.chain)].type != ChainType::ligand;
}

// The atom that a chain's trace passes (CA; C4' of a nucleotide) and the one that its ribbon's
// width points to (O; C1'). -1: none.
std::pair<int32_t, int32_t> trace_atoms(const Entry& entry, const EntryResidue& residue) {
  if (!in_polymer(entry, residue)) return {-1, -1};
  if (entry.chains[static_cast<size_t>(residue.chain)].type == ChainType::protein) {
    return {find_atom(entry, residue, "CA"), find_atom(entry, residue, "O")};
  }
  const int32_t c4 = find_atom(entry, residue, "C4'"), c1 = find_atom(entry, residue, "C1'");
  return c4 >= 0 ? std::pair{c4, c1} : std::pair{c1, -1};
}

// Two traces as pieces of line, each from one residue to the next.
struct Piece {
  Vec3 from, to;
  bool is_truth;
  int color_class;  // of the prediction
};

// Angstrom; further apart, two trace atoms of the truth are no neighbours. A prediction is drawn as
// it is, torn chains too.
constexpr double kTraceGap = 9;

void add_trace(const Entry& entry, const Scene& scene, bool is_truth, std::vector<Piece>& pieces) {
  const auto& xyz = is_truth ? scene.truth : scene.predicted;
  const auto place = [&](size_t r, Vec3& out) {
    const EntryResidue& residue = entry.residues[r];
    const int32_t atom = trace_atoms(entry, residue).first;
    if (atom < 0 || (is_truth && !entry.resolved[static_cast<size_t>(atom)])) return false;
    out = at(xyz, atom);
    return true;
  };
  for (size_t r = 0; r + 1 < entry.residues.size(); ++r) {
    if (entry.residues[r].chain != entry.residues[r + 1].chain) continue;
    std::array<Vec3, 4> p;
    if (!place(r, p[1]) || !place(r + 1, p[2])) continue;
    if (is_truth && p[1].dist(p[2]) > kTraceGap) continue;
    const bool before = r > 0 && entry.residues[r - 1].chain == entry.residues[r].chain;
    const bool after =
        r + 2 < entry.residues.size() && entry.residues[r + 2].chain == entry.residues[r].chain;
    if (!before || !place(r - 1, p[0])) p[0] = p[1] * 2 - p[2];
    if (!after || !place(r + 2, p[3])) p[3] = p[2] * 2 - p[1];
    // Catmull-Rom through the residues, six pieces to each step.
    constexpr int kSteps = 6;
    Vec3 last = p[1];
    for (int k = 1; k <= kSteps; ++k) {
      const double t = static_cast<double>(k) / kSteps;
      const Vec3 next =
          (p[1] * 2 + (p[2] - p[0]) * t + (p[0] * 2 - p[1] * 5 + p[2] * 4 - p[3]) * (t * t) +
           (p[1] * 3 - p[0] - p[2] * 3 + p[3]) * (t * t * t)) *
          0.5;
      pieces.push_back(
          {last, next, is_truth, score_class(scene.residue_score[k <= kSteps / 2 ? r : r + 1])});
      last = next;
    }
  }
}

nlohmann::json coordinates(const std::vector<float>& xyz) {
  nlohmann::json out = nlohmann::json::array();
  // Hundredths of an Angstrom, as integers: shorter than decimals.
  for (const float x : xyz) out.push_back(static_cast<int64_t>(std::lround(100.0 * x)));
  return out;
}

}  // namespace

int score_class(double score) {
  if (!std::isfinite(score)) return 4;
  return score >= 0.9 ? 0 : score >= 0.7 ? 1 : score >= 0.5 ? 2 : 3;
}

Scene make_scene(const Entry& entry, const std::vector<float>& predicted,
                 std::vector<double> residue_score) {
  Scene scene;
  const bool has_truth =
      std::any_of(entry.resolved.begin(), entry.resolved.end(), [](uint8_t r) { return r != 0; });
  // Without a truth the prediction stands alone, on itself.
  const std::vector<uint8_t> mask =
      has_truth ? entry.resolved : std::vector<uint8_t>(entry.num_atoms(), 1);
  scene.truth = has_truth ? entry.position : predicted;
  Superposed superposed = superpose(scene.truth, predicted, mask);
  scene.rmsd = superposed.rmsd;
  scene.predicted = std::move(superposed.position);
  scene.residue_score = std::move(residue_score);
  scene.residue_score.resize(entry.residues.size(), std::nan(""));
  turn(scene, mask);
  find_bonds(entry, scene);
  return scene;
}

std::string scene_svg(const Entry& entry, const Scene& scene, const std::string& description) {
  std::vector<Piece> pieces;
  add_trace(entry, scene, true, pieces);
  add_trace(entry, scene, false, pieces);
  // Ligands and ions as sticks of their bonds, and dots where an atom has none.
  for (const auto& [a, b] : scene.bonds) {
    const auto r = static_cast<size_t>(entry.residue[static_cast<size_t>(a)]);
    if (in_polymer(entry, entry.residues[r])) continue;
    if (entry.resolved[static_cast<size_t>(a)] && entry.resolved[static_cast<size_t>(b)]) {
      pieces.push_back({at(scene.truth, a), at(scene.truth, b), true, 4});
    }
    pieces.push_back({at(scene.predicted, a), at(scene.predicted, b), false,
                      score_class(scene.residue_score[r])});
  }
  for (const EntryResidue& residue : entry.residues) {
    if (in_polymer(entry, residue) || residue.num_atoms != 1) continue;
    const int32_t a = residue.first_atom;
    const Vec3 dot{0.01, 0, 0};
    if (entry.resolved[static_cast<size_t>(a)]) {
      pieces.push_back({at(scene.truth, a), at(scene.truth, a) + dot, true, 4});
    }
    const auto r = static_cast<size_t>(entry.residue[static_cast<size_t>(a)]);
    pieces.push_back({at(scene.predicted, a), at(scene.predicted, a) + dot, false,
                      score_class(scene.residue_score[r])});
  }
  Vec3 low{1e9, 1e9, 1e9}, high{-1e9, -1e9, -1e9};
  for (const Piece& piece : pieces) {
    for (const Vec3& p : {piece.from, piece.to}) {
      low = {std::min(low.x, p.x), std::min(low.y, p.y), std::min(low.z, p.z)};
      high = {std::max(high.x, p.x), std::max(high.y, p.y), std::max(high.z, p.z)};
    }
  }
  if (pieces.empty()) low = high = Vec3{};
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return a.from.z + a.to.z < b.from.z + b.to.z;  // z points at the reader
  });
  const double margin = 3;
  std::string out = fmt::format(
      "<svg class=\"molecule\" viewBox=\"{:.1f} {:.1f} {:.1f} {:.1f}\" role=\"img\" "
      "aria-label=\"{}\">",
      low.x - margin, -high.y - margin, high.x - low.x + 2 * margin, high.y - low.y + 2 * margin,
      escape_html(description));
  for (const Piece& piece : pieces) {
    const double depth = ((piece.from.z + piece.to.z) / 2 - low.z) / std::max(1.0, high.z - low.z);
    const auto line = [&](const char* kind, double extra) {
      // Nearer pieces are wider and clearer.
      return fmt::format(
          "<path class=\"{}\" d=\"M{:.2f} {:.2f}L{:.2f} {:.2f}\" stroke-width=\"{:.2f}\" "
          "style=\"--d:{:.2f}\"/>",
          kind, piece.from.x, -piece.from.y, piece.to.x, -piece.to.y,
          (piece.is_truth ? 0.55 : 0.95) + 0.35 * depth + extra, depth);
    };
    out += line("halo", 0.45);
    out += line(piece.is_truth ? "truth" : fmt::format("c{}", piece.color_class).c_str(), 0);
  }
  return out + "</svg>";
}

nlohmann::json scene_json(const Entry& entry, const Scene& scene) {
  nlohmann::json residues = nlohmann::json::array(), chains = nlohmann::json::array(),
                 bonds = nlohmann::json::array();
  for (const EntryChain& chain : entry.chains) {
    chains.push_back({chain.auth, static_cast<int>(chain.type)});
  }
  for (size_t r = 0; r < entry.residues.size(); ++r) {
    const EntryResidue& residue = entry.residues[r];
    const auto [trace, guide] = trace_atoms(entry, residue);
    const double score = scene.residue_score[r];
    residues.push_back(
        {residue.component, residue.author_id, residue.chain, residue.first_atom, residue.num_atoms,
         trace, guide,
         std::isfinite(score) ? nlohmann::json(std::round(1e4 * score) / 1e4) : nlohmann::json()});
  }
  for (const auto& [a, b] : scene.bonds) bonds.push_back(a), bonds.push_back(b);
  return {{"chains", chains},
          {"residues", residues},
          {"elements", entry.element},
          {"resolved", entry.resolved},
          {"truth", coordinates(scene.truth)},
          {"predicted", coordinates(scene.predicted)},
          {"bonds", bonds}};
}

}  // namespace megafold
