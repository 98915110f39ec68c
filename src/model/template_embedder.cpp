// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/template_embedder.h"

#include "model/recompute.h"

namespace megafold {

TemplateEmbedder::TemplateEmbedder(const Scope& scope, const Conventions& conventions,
                                   const PairSizes& sizes, int64_t c_z, int64_t num_blocks)
    : masked(conventions.templates_masked),
      norm_z(scope / "norm_z", c_z),
      norm_v(scope / "norm_v", sizes.c_z),
      pair(scope / "pair", c_z, sizes.c_z, kHe),
      embed(scope / "embed", 39 + 1 + 32 + 32 + 3 + 1, sizes.c_z, kHe),
      out(scope / "out", sizes.c_z, c_z) {
  for (int64_t i = 0; i < num_blocks; ++i)
    blocks.emplace_back(scope / "blocks" / i, conventions, sizes);
}

at::Tensor TemplateEmbedder::operator()(const TemplateInputs& templates, const at::Tensor& asym_id,
                                        const at::Tensor& z, const at::Tensor& pair_mask,
                                        Dropout& drop) const {
  const int64_t n = z.size(0), count = templates.restype.size(0);
  at::Tensor counted = asym_id.unsqueeze(1).eq(asym_id.unsqueeze(0));
  if (masked && pair_mask.defined()) counted = counted.logical_and(pair_mask);
  counted = counted.to(z.scalar_type()).unsqueeze(-1);
  const at::Tensor from_pair = pair(norm_z(z));
  at::Tensor sum;
  for (int64_t t = 0; t < count; ++t) {
    const auto feature = [&](const at::Tensor& x) { return x[t].to(z.scalar_type()); };
    const auto vector = [&](const at::Tensor& x) {
      return masked ? feature(x) * counted : feature(x);
    };
    const at::Tensor restype = at::one_hot(templates.restype[t], 32).to(z.scalar_type());
    at::Tensor v =
        from_pair +
        embed(at::cat({vector(templates.distogram),
                       feature(templates.pseudo_beta_mask).unsqueeze(-1) * counted,
                       restype.unsqueeze(0).expand({n, n, 32}),
                       restype.unsqueeze(1).expand({n, n, 32}), vector(templates.unit_vector),
                       feature(templates.backbone_frame_mask).unsqueeze(-1) * counted},
                      -1));
    for (const PairStack& block : blocks)
      v = run_block({v}, drop, [&block, pair_mask](const auto& x, Dropout& d) {
            return std::vector<at::Tensor>{block(x[0], pair_mask, d)};
          }).front();
    v = norm_v(v);
    sum = sum.defined() ? sum + v : v;
  }
  return out(at::relu(sum / ((masked ? 1e-7 : 0) + static_cast<double>(count))));
}

}  // namespace megafold
