// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
//
// Names of the model's tensors in a peer's state dict: Protenix 2.0.0 and OpenFold 3 0.5.0. Ours
// hold several of theirs side by side where one matrix product serves them all; the map is one to
// one in both directions.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/conventions.h"
#include "model/parameters.h"

namespace megafold {

/// The tensors of a peer that make up one of ours, joined along `dimension`; none where the peer
/// has no such tensor.
struct PeerTensors {
  std::vector<std::string> names;
  int64_t dimension = 0;
  std::vector<int64_t> widths;  // along it; empty: equal parts
  bool rows_by_atom = false;    // theirs is [M B, C] where ours is [M, C, B]
};

/// Throws BadInput when no rule covers the name, Unsupported for a dialect that no state dict has.
PeerTensors peer_names(Dialect dialect, std::string_view ours);

/// Ours, taken apart: (peer's name, tensor in its shape) pairs.
std::vector<std::pair<std::string, at::Tensor>> split_for_peer(Dialect dialect,
                                                               std::string_view ours,
                                                               const at::Tensor& tensor);

/// Fills every parameter and buffer. `find` gives the peer's tensor of a name, undefined when there
/// is none; `known` lists all of the peer's names. A missing, mis-shaped or left-over tensor is
/// named in a BadInput. `skip_prefix` is taken off the peer's names (for a part of the model that
/// stands alone).
void import_peer(Dialect dialect, Parameters& parameters,
                 const std::function<at::Tensor(const std::string&)>& find,
                 const std::vector<std::string>& known, std::string_view skip_prefix = "");

}  // namespace megafold
