# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""One Pairformer block, forward and backward, beside a peer's: N = 128, c_z = 128, c_s = 384, f32,
2 threads, on a CPU.

    python bench/model/bench_pairformer.py --megafold build/cpu/megafold --out FILE.json

Run in an environment that holds protenix 2.0.0 and openfold3 0.5.0. The programs take turns, each
in a process of its own, so that a slow minute of the machine is everybody's; the record has the
median of the rounds and the peak of resident memory. --worker NAME is one such process.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

SIZES = {"tokens": 128, "c_s": 384, "c_z": 128, "threads": 2, "dtype": "f32"}
PEERS = ("protenix", "openfold3")


def processor() -> str:
    """Linux tells it here alone."""
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def worker(name: str, repeats: int) -> None:
    """Prints the seconds of each repeat after a first one, and the growth of memory, as JSON."""
    os.environ.setdefault("LAYERNORM_TYPE", "torch")
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(SIZES["threads"])
    n, c_s, c_z = SIZES["tokens"], SIZES["c_s"], SIZES["c_z"]
    if name == "protenix":
        from protenix.model.modules.pairformer import PairformerBlock

        block = PairformerBlock(n_heads=16, c_z=c_z, c_s=c_s, dropout=0.0)

        def call(s, z):
            return block(s, z, None, triangle_multiplicative="torch", triangle_attention="torch")

    else:
        from openfold3.core.model.latent.pairformer import PairFormerBlock

        block = PairFormerBlock(
            c_s=c_s, c_z=c_z, c_hidden_pair_bias=24, no_heads_pair_bias=16, c_hidden_mul=128,
            c_hidden_pair_att=32, no_heads_pair=4, transition_type="swiglu", transition_n=4,
            pair_dropout=0.0, fuse_projection_weights=False, inf=1e9,
        )  # fmt: skip

        def call(s, z):
            masks = torch.ones(1, n), torch.ones(1, n, n)
            return block(s.unsqueeze(0), z.unsqueeze(0), *masks)

    block.train()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    s, z = torch.randn(n, c_s, requires_grad=True), torch.randn(n, n, c_z, requires_grad=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        out_s, out_z = call(s, z)
        (out_s.square().sum() + out_z.square().sum()).backward()
        seconds.append(time.perf_counter() - start)
        block.zero_grad()
        s.grad = z.grad = None
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds[1:], "mib": (after - before) / 1024}))


def measure(command: list[str]) -> dict:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megafold", default="build/cpu/megafold")
    parser.add_argument("--out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", choices=PEERS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.repeats)
        return
    repeats = str(options.repeats)
    commands = {"megafold": [options.megafold, "bench", "block", "--repeats", repeats]}
    for peer in PEERS:
        commands[peer] = [sys.executable, __file__, "--worker", peer, "--repeats", repeats]
    seconds, memory = {name: [] for name in commands}, dict.fromkeys(commands, 0.0)
    for _ in range(options.rounds):
        for name, command in commands.items():
            result = measure(command)
            seconds[name] += result["seconds"]
            memory[name] = max(memory[name], result["mib"])
    record = {
        "what": "Pairformer block, forward + backward", **SIZES, "machine": processor(),
        "cores": os.cpu_count(), "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rows": {
            name: {
                "median_s": round(statistics.median(values), 4), "best_s": round(min(values), 4),
                "worst_s": round(max(values), 4), "peak_growth_mib": round(memory[name], 1),
            }
            for name, values in seconds.items()
        },
    }  # fmt: skip
    text = json.dumps(record, indent=1)
    print(text)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
