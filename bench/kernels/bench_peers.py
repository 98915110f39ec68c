# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""Times whole training steps of OpenFold 3 and Protenix on one GPU, as they are and with
megafold.patch, and writes rows for bench/results/<gpu>.json.

  python3 bench_peers.py ROWS.json --tools DIR [--commit SHA --trees JSON] [--n 384,768]

DIR holds the scripts peer_step_openfold3.py and peer_step_protenix.py, which make a batch and take
the peer's own model, losses and optimizer through a step; each prints a line RESULT {..}. The
peers, megafold and what they need must be on the path. Every run is a process of its own, the
patched one right after the one without.
"""

import argparse
import datetime
import importlib.machinery
import importlib.util
import json
import os
import runpy
import subprocess
import sys
import time
import types

PATHS = ["kernels/evo_attention", "kernels/common", "python/csrc", "python/megafold/patch.py"]


def stand_in(name, **attributes):
    """A module that a peer imports and a step never uses; with a spec, so that it can be found."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(attributes)
    sys.modules[name] = module


def child(package, patched, tools, arguments):
    """Runs the peer's script in this process, under the patch or not."""
    sys.path.insert(0, tools)
    script = f"peer_step_{package}"
    if importlib.util.find_spec("gemmi") is None:
        stand_in("gemmi", __version__="0.7.5", set_leak_warnings=lambda *_: None)
    __import__("peer_step_openfold3").stub_if_absent()
    if package == "protenix":
        __import__(script).stubs()
    for name in ("biotite", "biotite.structure", "rdkit", "rdkit.Chem"):
        if name in sys.modules and sys.modules[name].__spec__ is None:
            sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    patch = None
    if patched:
        import megafold

        patch = megafold.patch(package)
    sys.argv = [f"{script}.py", "--child", *arguments]
    code = 0
    try:
        runpy.run_path(os.path.join(tools, f"{script}.py"), run_name="__main__")
    except SystemExit as end:
        code = end.code
    if patch is not None:
        print("PATCH", json.dumps(patch.report()))
        print(megafold.dispatch_report())
    return code


def row_of(result, impl, options, ours):
    row = {
        "op": "train_step",
        "shape": f"N{result['n']} B{result['diffusion_batch']}",
        "impl": impl,
        "pass": "fwd+bwd",
        "us": round(1000 * result["total_ms"], 1),
        "us_p10": round(1000 * result["total_min_ms"], 1),
        "us_p90": round(1000 * result["total_max_ms"], 1),
        "peak_mib": result["peak_MiB"],
        "saved_mib": None,
        "graph": False,
        "commit": options.commit,
        "date": datetime.date.today().isoformat(),
        "sm_mhz": None,
        "versions": {"peer": result["peer"], "steps": result["iters"], "gpu": result["device"]},
    }
    if ours:
        row |= {"paths": PATHS, "tree": options.trees.get(",".join(PATHS), "")}
    return row


def run(package, kernels, patched, options, seconds):
    """Rows of one process; its output goes to standard output too."""
    command = [sys.executable, os.path.abspath(__file__), options.rows, "--tools", options.tools]
    command += ["--child", package] + (["--patched"] if patched else [])
    command += ["--", "--n", options.n, "--kernels", kernels, "--iters", str(options.iters)]
    command += ["--warmup", "1", "--limit", str(seconds), "--budget", str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        text = done.stdout + done.stderr[-2000:]
    except subprocess.TimeoutExpired as late:
        text = (late.stdout or b"").decode()
    rows = []
    name = f"{package}+megafold" if patched else package
    impl = f"{name}, {kernels}"
    for line in text.splitlines():
        if line.startswith("RESULT "):
            result = json.loads(line.removeprefix("RESULT "))
            if "total_ms" in result:
                rows.append(row_of(result, impl, options, patched))
                continue
        if not line.startswith("   "):
            print(line[:300])
    for row in rows:
        print(f"{row['shape']:12s} {impl:32s} {row['us'] / 1000:9.0f} ms {row['peak_mib']} MiB")
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", help="where the rows go")
    parser.add_argument("--tools", required=True, help="folder of the peers' scripts")
    parser.add_argument("--n", default="384,768")
    parser.add_argument("--iters", type=int, default=2)
    parser.add_argument("--peers", default="openfold3,protenix")
    parser.add_argument("--kernels", default="cueq", help="of the peers, in both runs")
    parser.add_argument("--only", default="both", choices=("both", "plain", "patched"))
    parser.add_argument("--seconds", type=float, default=600, help="for everything")
    parser.add_argument("--commit", default="", help="the commit that is measured")
    parser.add_argument("--trees", type=json.loads, default={}, help="SHA-1 of each set of paths")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--patched", action="store_true", help=argparse.SUPPRESS)
    arguments, rest = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, rest = arguments[:cut], arguments[cut + 1 :]
    options = parser.parse_args(arguments)
    if options.child:
        return child(options.child, options.patched, options.tools, rest)
    began, rows = time.monotonic(), []
    for package in options.peers.split(","):
        for patched in (False, True):
            if options.only == ("plain" if patched else "patched"):
                continue
            left = options.seconds - (time.monotonic() - began)
            if left < 30:
                print(f"{package}: not run, {options.seconds} s are over")
                continue
            rows += run(package, options.kernels, patched, options, left)
            with open(options.rows, "w") as file:
                json.dump(rows, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
