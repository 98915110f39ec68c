# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Checks in machine code that no two products of dkdv_kernel share registers for their A operands.

K and V stay in registers for a whole walk over the queries while P and dS are packed anew for every
tile, so none of the four may share a register with another. ptxas 13.0 broke that at D = 64.

    python3 check_operands.py OBJECT...        (needs cuobjdump of the CUDA toolkit on the PATH)
"""

import itertools
import re
import subprocess
import sys

PRODUCT = re.compile(r"HGMMA\.64x\d+x16\S* (R\d+), R(\d+), gdesc")


def operands(sass: str) -> dict[str, set[int]]:
    """The A registers of each accumulator's products (4 registers each)."""
    registers: dict[str, set[int]] = {}
    for accumulator, first in PRODUCT.findall(sass):
        registers.setdefault(accumulator, set()).update(range(int(first), int(first) + 4))
    return registers


def main(paths: list[str]) -> int:
    checked, faults = 0, 0
    for path in paths:
        sass = subprocess.run(
            ["cuobjdump", "--dump-sass", path], check=True, capture_output=True, text=True
        ).stdout
        for function in sass.split("Function :")[1:]:
            name = function.split(maxsplit=1)[0]
            if "dkdv_kernel" not in name:
                continue
            checked += 1
            products = operands(function)
            if len(products) != 4:
                print(f"{path}: {name}: {len(products)} accumulators with A in registers, wanted 4")
                faults += 1
            for (a, x), (b, y) in itertools.combinations(products.items(), 2):
                if x & y:
                    print(f"{path}: {name}: the products into {a} and {b} share {sorted(x & y)}")
                    faults += 1
    print(f"{checked} kernels checked, {faults} faults")
    return 1 if faults or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
