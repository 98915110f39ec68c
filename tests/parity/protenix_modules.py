# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Golden vectors of Protenix's modules on batches of more than one.

Run in an environment that holds protenix 2.0.0, openfold3 0.5.0 (for the cases' builder) and torch:

    LAYERNORM_TYPE=torch python tests/parity/protenix_modules.py OUT [--seed N] [--tokens N]
    megafold parity OUT
"""

import os

os.environ.setdefault("LAYERNORM_TYPE", "torch")

import torch
from openfold3_modules import Cases
from vectors import begin, peer_casts_to, write_manifest

peer_casts_to(torch.double)

from protenix.model.modules.pairformer import PairformerBlock  # noqa: E402
from protenix.model.modules.primitives import Transition  # noqa: E402
from protenix.model.triangular.triangular import (  # noqa: E402
    TriangleAttention,
    TriangleMultiplicationOutgoing,
)


def main() -> None:
    options = begin(__doc__, tokens=17)
    cases, n = Cases(options.out, options.tokens), options.tokens

    transition = cases.module(Transition(c_in=32, n=4))
    cases.write("transition_batch", "Transition", {"c_in": 32, "n": 4, "batch": 3}, transition,
                {"x": cases.values(3, n, 5, 32)}, lambda x: {"x": transition(x["x"])},
                ["x"])  # fmt: skip

    pair_mask = torch.stack([cases.mask(n, n), cases.mask(n, n)])
    product = cases.module(TriangleMultiplicationOutgoing(c_z=32, c_hidden=24))
    cases.write("tri_mul_out_batch", "TriangleMultiplicationOutgoing",
                {"c_z": 32, "c_hidden": 24, "batch": 2}, product,
                {"z": cases.values(2, n, n, 32), "mask": pair_mask},
                lambda x: {"z": product(x["z"], x["mask"])}, ["z"])  # fmt: skip

    attention = cases.module(TriangleAttention(c_in=32, c_hidden=8, no_heads=4))
    cases.write("tri_att_start_batch", "TriangleAttention",
                {"c_in": 32, "c_hidden": 8, "no_heads": 4, "batch": 2}, attention,
                {"x": cases.values(2, n, n, 32), "mask": pair_mask},
                lambda x: {"x": attention(x["x"], x["mask"])}, ["x"])  # fmt: skip

    sizes = {"n_heads": 4, "c_z": 32, "c_s": 48, "c_hidden_mul": 24, "c_hidden_pair_att": 8,
             "no_heads_pair": 4, "num_intermediate_factor": 2, "dropout": 0.0}  # fmt: skip
    block = cases.module(PairformerBlock(**sizes))

    def pairformer(x):
        s, z = block(x["s"], x["z"], x["pair_mask"])
        return {"s": s, "z": z}

    cases.write("pairformer_block_batch", "PairformerBlock", sizes | {"batch": 2}, block,
                {"s": cases.values(2, n, 48), "z": cases.values(2, n, n, 32),
                 "pair_mask": pair_mask}, pairformer, ["s", "z"])  # fmt: skip
    write_manifest(options.out, cases.manifest)


if __name__ == "__main__":
    main()
