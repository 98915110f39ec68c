// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "predict/chirality.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "base/errors.h"

namespace megafold {
namespace {

struct Molecule {
  std::vector<float> position;
  std::vector<uint8_t> element, mask;
  std::vector<int32_t> space_uid;

  void add(uint8_t z, float x, float y, float w, int32_t uid = 0) {
    position.insert(position.end(), {x, y, w});
    element.push_back(z);
    mask.push_back(1);
    space_uid.push_back(uid);
  }
  [[nodiscard]] std::vector<Stereocentre> centres() const {
    return find_stereocentres({position, mask, element, space_uid});
  }
  [[nodiscard]] std::vector<float> mirrored() const {
    std::vector<float> out = position;
    for (size_t i = 2; i < out.size(); i += 3) out[i] = -out[i];
    return out;
  }
};

// L-alanine and L-valine, the second beside the first: N, CA, C, O, CB (, CG1, CG2). Bonds of 1.5 A
// along the corners of a cube.
Molecule alanine_and_valine() {
  constexpr float b = 0.87F;
  Molecule m;
  for (const int32_t uid : {0, 1}) {
    const float x = uid == 0 ? 0.0F : 20.0F;
    m.add(7, x - b, -b, b, uid);
    m.add(6, x, 0, 0, uid);
    m.add(6, x + b, b, b, uid);
    m.add(8, x + b + 0.7F, b + 0.7F, b + 0.7F, uid);
    m.add(6, x - b, b, -b, uid);
    if (uid == 0) continue;
    m.add(6, x - 2 * b, 2 * b, 0, uid);
    m.add(6, x - 2 * b, 0, -2 * b, uid);
  }
  return m;
}

TEST(Chirality, FindsAlphaCarbonsAndLeavesOutWhatOnlyNamesTellApart) {
  const auto centres = alanine_and_valine().centres();
  ASSERT_EQ(centres.size(), 2U);  // not valine's CB, whose two methyls are alike
  EXPECT_EQ(centres[0].atom, 1);
  EXPECT_EQ(centres[1].atom, 6);
  EXPECT_EQ(centres[1].neighbour, (std::array<int32_t, 3>{5, 7, 9}));
}

TEST(Chirality, TellsAStructureFromItsMirrorImage) {
  Molecule m = alanine_and_valine();
  const auto centres = m.centres();
  EXPECT_EQ(count_wrong_hands(centres, m.position), 0);
  EXPECT_EQ(count_wrong_hands(centres, m.mirrored()), 2);
  // A rotation by 90 degrees about z is no reflection.
  std::vector<float> turned = m.position;
  for (size_t i = 0; i < turned.size(); i += 3) {
    turned[i] = -m.position[i + 1];
    turned[i + 1] = m.position[i];
  }
  EXPECT_EQ(count_wrong_hands(centres, turned), 0);
}

TEST(Chirality, TellsACarbonylFromAnAlcohol) {
  constexpr float b = 0.87F;
  Molecule serine;  // N, CA, C, O, CB, OG: C and CB both have one oxygen
  serine.add(7, -b, -b, b);
  serine.add(6, 0, 0, 0);
  serine.add(6, b, b, b);
  serine.add(8, b + 0.7F, b + 0.7F, b + 0.7F);
  serine.add(6, -b, b, -b);
  serine.add(8, -b - 0.82F, b + 0.82F, -b - 0.82F);
  ASSERT_EQ(serine.centres().size(), 1U);
  EXPECT_EQ(serine.centres()[0].atom, 1);
  serine.position[9] = serine.position[10] = serine.position[11] = b + 0.82F;  // no double bond
  EXPECT_TRUE(serine.centres().empty());
}

TEST(Chirality, FlatAndNotFiniteCountAsWrong) {
  const Molecule m = alanine_and_valine();
  const auto centres = m.centres();
  std::vector<float> flat = m.position;
  for (size_t i = 2; i < flat.size(); i += 3) flat[i] = 0;
  EXPECT_EQ(count_wrong_hands(centres, flat), 2);
  std::vector<float> broken = m.position;
  broken[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(count_wrong_hands(centres, broken), 1);
}

TEST(Chirality, LeavesOutFlatCentresInvertingNitrogenAndMissingAtoms) {
  Molecule flat;  // a carbon in a plane with O, N and C
  flat.add(6, 0, 0, 0);
  flat.add(8, 1.2F, 0, 0);
  flat.add(7, -0.7F, 1.2F, 0);
  flat.add(6, -0.7F, -1.3F, 0.05F);
  EXPECT_TRUE(flat.centres().empty());

  Molecule amine = alanine_and_valine();
  amine.element[1] = 7;  // in place of alanine's CA
  ASSERT_EQ(amine.centres().size(), 1U);
  EXPECT_EQ(amine.centres()[0].atom, 6);

  Molecule missing = alanine_and_valine();
  missing.mask[4] = 0;  // alanine's CB: no third neighbour
  ASSERT_EQ(missing.centres().size(), 1U);

  EXPECT_TRUE(Molecule().centres().empty());
}

TEST(Chirality, SaysWhichLengthsDisagree) {
  Molecule m = alanine_and_valine();
  m.position.pop_back();
  try {
    (void)m.centres();
    FAIL() << "35 coordinates for 12 atoms were taken";
  } catch (const BadInput& error) {
    EXPECT_NE(std::string(error.what()).find("12 masks, but 35 coordinates"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace megafold
