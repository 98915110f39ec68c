// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace megafold::kernels::sm90a {

/// At this lse and below, a bias (-1e9 or so) hides all keys of the query: beside it fp32 has no
/// digits left for the scores, P = exp(S - lse) is no softmax any more and may overflow. The
/// backward gives such a query no gradient.
constexpr float kHiddenLse = -5e6F;

}  // namespace megafold::kernels::sm90a
