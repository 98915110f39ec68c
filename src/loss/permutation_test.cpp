// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Complexes made so that the right naming is known: the prediction is the truth with its copies and
// equivalent atoms renamed, moved as a whole, and shaken a little.
#include "loss/permutation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "base/errors.h"
#include "base/philox.h"

namespace megafold {
namespace {

/// A truth in the making. Tokens of a polymer have three atoms, the second the centre; those of a
/// ligand one.
class Complex {
 public:
  explicit Complex(uint64_t seed) : random_(seed, 0, 0, Purpose::noise) {}

  /// A molecule's shape: a walk of `atoms` steps. Molecules of an entity have one shape.
  std::vector<double> shape(int64_t atoms) {
    std::vector<double> xyz(static_cast<size_t>(3 * atoms));
    for (size_t i = 0; i < xyz.size(); ++i)
      xyz[i] = (i < 3 ? 0 : xyz[i - 3]) + 1.5 * random_.normal();
    return xyz;
  }
  void add(int32_t entity, bool polymer, const std::vector<double>& shape) {
    Symmetry::Molecule molecule{entity, polymer, {}};
    const auto rotation = random_.rotation();
    const std::array<double, 3> at = {25 * random_.normal(), 25 * random_.normal(),
                                      25 * random_.normal()};
    const auto atoms = static_cast<int32_t>(shape.size() / 3);
    for (int32_t a = 0; a < atoms; ++a) {
      if (!polymer || a % 3 == 0) {
        molecule.tokens.push_back(static_cast<int32_t>(truth.atom_start.size()));
        const auto first = static_cast<int32_t>(truth.resolved.size());
        truth.atom_start.push_back(first);
        truth.atom_count.push_back(polymer ? 3 : 1);
        truth.center_atom.push_back(first + (polymer ? 1 : 0));
      }
      for (size_t i = 0; i < 3; ++i) {
        double x = at[i];
        for (size_t k = 0; k < 3; ++k)
          x += rotation[3 * i + k] * shape[3 * static_cast<size_t>(a) + k];
        truth.position.push_back(static_cast<float>(x));
      }
      truth.resolved.push_back(1);
    }
    truth.molecules.push_back(molecule);
  }
  /// The atoms of the truth's tokens, in the order of truth.tokens.
  [[nodiscard]] std::vector<int64_t> deposited() const {
    std::vector<int64_t> atoms;
    for (const int32_t t : truth.tokens)
      for (int32_t a = 0; a < truth.atom_count[static_cast<size_t>(t)]; ++a)
        atoms.push_back(truth.atom_start[static_cast<size_t>(t)] + a);
    return atoms;
  }
  void take_all() {
    truth.tokens.resize(truth.atom_start.size());
    std::iota(truth.tokens.begin(), truth.tokens.end(), 0);
  }
  void unresolve(size_t molecule) {
    for (const int32_t t : truth.molecules[molecule].tokens)
      for (int32_t a = 0; a < truth.atom_count[static_cast<size_t>(t)]; ++a) {
        const auto atom = static_cast<size_t>(truth.atom_start[static_cast<size_t>(t)] + a);
        truth.resolved[atom] = 0;
        for (size_t k = 0; k < 3; ++k) truth.position[3 * atom + k] = 0;
      }
  }
  /// The crop's atoms where the prediction puts them: `atoms` says what each really is.
  at::Tensor predict(const std::vector<int64_t>& atoms, double noise = 0.05) {
    const auto rotation = random_.rotation();
    at::Tensor x = at::empty({static_cast<int64_t>(atoms.size()), 3}, at::kDouble);
    double* out = x.data_ptr<double>();
    for (const int64_t atom : atoms)
      for (size_t i = 0; i < 3; ++i) {
        *out = 11 * static_cast<double>(i) - 40 + noise * random_.normal();
        for (size_t k = 0; k < 3; ++k)
          *out += rotation[3 * i + k] * double{truth.position[3 * static_cast<size_t>(atom) + k]};
        ++out;
      }
    return x;
  }
  /// The names after `swap` of whole molecules: atom of the first <-> atom of the second.
  [[nodiscard]] std::vector<int64_t> renamed(std::vector<int64_t> atoms, size_t one,
                                             size_t two) const {
    const auto first = [&](size_t m) {
      return truth.atom_start[static_cast<size_t>(truth.molecules[m].tokens.front())];
    };
    const auto last = truth.molecules[one].tokens.back();
    const int64_t count = truth.atom_start[static_cast<size_t>(last)] +
                          truth.atom_count[static_cast<size_t>(last)] - first(one);
    for (int64_t& atom : atoms) {
      if (atom >= first(one) && atom < first(one) + count) {
        atom += first(two) - first(one);
      } else if (atom >= first(two) && atom < first(two) + count) {
        atom += first(one) - first(two);
      }
    }
    return atoms;
  }

  Symmetry truth;

 private:
  Random random_;
};

std::vector<int64_t> values(const at::Tensor& x) {
  return {x.const_data_ptr<int64_t>(), x.const_data_ptr<int64_t>() + x.numel()};
}

/// Three copies of one chain, one of another, two ligands.
Complex trimer(uint64_t seed) {
  Complex c(seed);
  const auto chain = c.shape(24), other = c.shape(30), ligand = c.shape(6);
  for (int i = 0; i < 3; ++i) c.add(1, true, chain);
  c.add(2, true, other);
  for (int i = 0; i < 2; ++i) c.add(3, false, ligand);
  c.take_all();
  return c;
}

TEST(PermutationAlignment, FindsTheCopiesOfHomomersAndLigands) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Complex c = trimer(seed);
    auto names = c.deposited();
    EXPECT_EQ(values(align_permutation(c.truth, c.predict(names))), names);
    names = c.renamed(c.renamed(names, 0, 2), 1, 2);  // a cycle of three
    names = c.renamed(names, 4, 5);
    EXPECT_EQ(values(align_permutation(c.truth, c.predict(names))), names) << seed;
    EXPECT_EQ(values(align_permutation(c.truth, c.predict(names, 0.3))), names) << seed;
  }
}

TEST(PermutationAlignment, AHomomerAloneIsItsOwnAnchor) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Complex c(seed);
    const auto chain = c.shape(30);
    for (int i = 0; i < 4; ++i) c.add(7, true, chain);
    c.take_all();
    const auto names = c.renamed(c.renamed(c.deposited(), 0, 3), 1, 2);
    // The copies' arrangement has no symmetry, so one anchor alone gives a good fit.
    EXPECT_EQ(values(align_permutation(c.truth, c.predict(names))), names) << seed;
  }
}

TEST(PermutationAlignment, ACropMayHoldOtherCopiesThanItsNamesSay) {
  Complex c = trimer(3);
  const auto tokens_of = [&](size_t m) -> const std::vector<int32_t>& {
    return c.truth.molecules[m].tokens;
  };
  // Five tokens of the first copy, all of the other chain: the prediction shows the third copy.
  c.truth.tokens.assign(tokens_of(0).begin() + 2, tokens_of(0).begin() + 7);
  c.truth.tokens.insert(c.truth.tokens.end(), tokens_of(3).begin(), tokens_of(3).end());
  const auto names = c.renamed(c.deposited(), 0, 2);
  EXPECT_EQ(values(align_permutation(c.truth, c.predict(names))), names);
}

TEST(PermutationAlignment, UnresolvedCopiesAreTakenLast) {
  Complex c = trimer(4);
  c.unresolve(1);
  // The crop's chains: where the third was seen, where the first was, and somewhere else.
  const auto names = c.renamed(c.renamed(c.deposited(), 0, 1), 1, 2);
  at::Tensor x = c.predict(names);
  x.slice(0, 48, 72).add_(30);
  EXPECT_EQ(values(align_permutation(c.truth, x)), names);
}

TEST(PermutationAlignment, EquivalentAtomsOfResiduesAndLigands) {
  Complex c = trimer(5);
  // Atoms 1 and 2 of the second token's residue; a ring of the first ligand that may turn or flip.
  c.truth.components.push_back({3, 3, {0, 1, 2, 0, 2, 1}});
  const int32_t ligand = c.truth.atom_start[static_cast<size_t>(c.truth.molecules[4].tokens[0])];
  Symmetry::Component ring{ligand, 6, {}};
  for (int turn = 0; turn < 6; ++turn)
    for (const int way : {1, -1})
      for (int k = 0; k < 6; ++k) ring.permutations.push_back((turn + way * k + 12) % 6);
  c.truth.components.push_back(ring);
  auto names = c.deposited();
  std::swap(names[4], names[5]);
  for (int k = 0; k < 6; ++k) names[static_cast<size_t>(ligand + k)] = ligand + (4 - k + 6) % 6;
  EXPECT_EQ(values(align_permutation(c.truth, c.predict(names))), names);

  // Atoms that were not seen do not count.
  c.truth.resolved[static_cast<size_t>(ligand + 2)] = 0;
  EXPECT_EQ(values(align_permutation(c.truth, c.predict(names))), names);
}

TEST(PermutationAlignment, CopiesAndTheirAtomsTogether) {
  Complex c = trimer(6);
  c.truth.components.push_back({3, 3, {0, 1, 2, 2, 1, 0}});       // of the first copy
  c.truth.components.push_back({24 + 3, 3, {0, 1, 2, 2, 1, 0}});  // of the second
  auto names = c.renamed(c.deposited(), 0, 1);
  std::swap(names[3], names[5]);  // the crop's first chain, which is the truth's second
  EXPECT_EQ(values(align_permutation(c.truth, c.predict(names))), names);
}

TEST(PermutationAlignment, NothingResolvedKeepsTheDepositedOrderOrSaysSo) {
  Complex c = trimer(8);
  for (size_t m = 0; m < c.truth.molecules.size(); ++m) c.unresolve(m);
  EXPECT_THROW((void)align_permutation(c.truth, c.predict(c.deposited())), BadInput);
  // The anchor's resolved part is outside the crop: no alignment, so no other names.
  Complex d(9);
  d.add(1, true, d.shape(30));
  for (size_t t = 0; t < 5; ++t)
    for (int32_t a = 0; a < 3; ++a)
      d.truth.resolved[static_cast<size_t>(d.truth.atom_start[t] + a)] = 0;
  d.truth.tokens = {0, 1, 2};
  EXPECT_EQ(values(align_permutation(d.truth, d.predict(d.deposited()))), d.deposited());
}

TEST(PermutationAlignment, BadInputIsTold) {
  Complex c = trimer(1);
  at::Tensor x = c.predict(c.deposited());
  EXPECT_THROW((void)align_permutation(c.truth, x.slice(0, 1)), BadInput);
  x[5][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW((void)align_permutation(c.truth, x), BadInput);
  c.truth.molecules[2].tokens.pop_back();
  EXPECT_THROW((void)align_permutation(c.truth, c.predict(c.deposited())), BadInput);
}

TEST(PermutedLabels, FollowTheNamesAndLeavePaddingAlone) {
  Complex c = trimer(2);
  c.unresolve(2);
  const auto atoms = static_cast<int64_t>(c.truth.resolved.size());
  Batch batch;
  const at::Tensor position = at::tensor(c.truth.position).view({atoms, 3});
  batch.atom_positions = at::cat({position, at::full({4, 3}, 9.0F)});
  batch.atom_resolved_mask =
      at::cat({at::tensor(c.truth.resolved, at::kByte).to(at::kFloat), at::zeros({4})});
  const auto names = c.renamed(c.deposited(), 0, 1);
  const at::Tensor x = at::cat({c.predict(names).to(at::kFloat), at::zeros({4, 3})});

  EXPECT_TRUE(permuted_labels(batch, x).positions.is_same(batch.atom_positions));
  auto alone = std::make_shared<Symmetry>();
  alone->molecules = {c.truth.molecules[3]};
  EXPECT_FALSE(has_choice(*alone));
  batch.symmetry = alone;
  EXPECT_TRUE(permuted_labels(batch, x).positions.is_same(batch.atom_positions));

  batch.symmetry = std::make_shared<Symmetry>(c.truth);
  EXPECT_TRUE(has_choice(c.truth));
  const Labels labels = permuted_labels(batch, x);
  const at::Tensor index = at::tensor(names, at::kLong);
  EXPECT_TRUE(labels.positions.slice(0, 0, atoms).equal(position.index_select(0, index)));
  EXPECT_TRUE(labels.positions.slice(0, atoms).equal(batch.atom_positions.slice(0, atoms)));
  EXPECT_TRUE(labels.resolved.slice(0, 0, atoms)
                  .equal(batch.atom_resolved_mask.slice(0, 0, atoms).index_select(0, index)));
}

}  // namespace
}  // namespace megafold
