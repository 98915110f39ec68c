# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""The portable kernels compile for NVIDIA sm_80 and AMD gfx90a, spill nothing, and every kernel
with products holds the chip's matrix instructions; the Hopper kernels compile for sm_90a. Skipped
where the compiler is not installed (Debian: `hipcc rocm-device-libs libamdhip64-dev llvm-15`).
`-m full` compiles every portable instance, else a few."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTANCES = sorted(path.stem for path in (ROOT / "kernels").glob("*/portable/*.cu"))
# AF3's width in both directions, and fp32 at D = 128, which needs the most registers.
FEW = [
    "forward_bf16_d32",
    "backward_bf16_d32",
    "backward_f32_d128",
    "layernorm_bf16",
    "layernorm_f32",  # rows of 1,024 channels need the most registers
    "smooth_lddt_f32",
]
HOPPER = sorted(path.stem for path in (ROOT / "kernels").glob("*/sm90a/*.cu"))
CHOSEN = [pytest.param(i, marks=[] if i in FEW else [pytest.mark.full]) for i in INSTANCES]
WITHOUT_PRODUCTS = ("PrepareKernel", "layernorm", "smooth_lddt")  # in a kernel's name


def tool(*names):
    """The first of the programs that is installed; skips the test without one."""
    found = next((path for path in map(shutil.which, names) if path), None)
    return found or pytest.skip(f"{names[0]} is not installed")


def compile_instance(instance, command, output, folder="portable"):
    source = next((ROOT / "kernels").glob(f"*/{folder}/{instance}.cu"))
    command = [*command, "-std=c++20", "-O3", f"-I{ROOT}", f"-I{ROOT}/src", "-c", source]
    done = subprocess.run([*command, "-o", output], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def functions(disassembly, head):
    """Name -> text of each function of a disassembly; `head` matches a function's first line."""
    parts = re.split(head, disassembly, flags=re.MULTILINE)
    return {
        name: text
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
        if "Kernel" in name  # .text's own label holds padding
    }


def expect_products(kernels, instruction):
    assert kernels
    for name, text in kernels.items():
        if not any(part in name for part in WITHOUT_PRODUCTS):
            assert instruction in text, f"{name} has no {instruction}"


@pytest.mark.parametrize("instance", CHOSEN)
def test_sm80(instance, tmp_path):
    nvcc = tool("nvcc")
    output = tmp_path / "kernel.cubin"
    report = compile_instance(
        instance,
        [nvcc, "-cubin", "-gencode=arch=compute_80,code=sm_80", "--expt-relaxed-constexpr"]
        + ["-Xptxas=-v", "-Werror=all-warnings", "--keep", f"--keep-dir={tmp_path}"],
        output,
    )
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores", report)
    assert spills and set(spills) == {("0", "0")}, report
    text = next(tmp_path.glob("*.ptx")).read_text()
    expect_products(functions(text, r"^\.visible \.entry (\w+)\($"), "mma.sync")


@pytest.mark.parametrize("instance", CHOSEN)
def test_gfx90a(instance, tmp_path):
    hipcc = tool("hipcc")
    objdump = tool("llvm-objdump-15", "llvm-objdump")
    readelf = tool("llvm-readelf-15", "llvm-readelf")
    output = tmp_path / "kernel.hsaco"
    compile_instance(
        instance,
        [hipcc, "-x", "hip", "--offload-arch=gfx90a", "--cuda-device-only"]
        + ["--no-gpu-bundle-output", "-Wall", "-Wextra", "-Werror"],
        output,
    )
    notes = subprocess.run([readelf, "--notes", output], capture_output=True, text=True).stdout
    for field in ("private_segment_fixed_size", "vgpr_spill_count"):
        values = re.findall(rf"\.{field}:\s+(\d+)", notes)
        assert values and set(values) == {"0"}, f"{field}: {values}"
    text = subprocess.run([objdump, "-d", output], capture_output=True, text=True).stdout
    expect_products(functions(text, r"^[0-9a-f]+ <(.+)>:$"), "v_mfma")


@pytest.mark.parametrize("instance", HOPPER)
def test_sm90a(instance, tmp_path):
    nvcc = tool("nvcc")
    report = compile_instance(
        instance,
        [nvcc, "-cubin", "-gencode=arch=compute_90a,code=sm_90a", "--expt-relaxed-constexpr"]
        + ["-Xptxas=-v", "-Werror=all-warnings", "--keep", f"--keep-dir={tmp_path}"],
        tmp_path / "kernel.cubin",
        "sm90a",
    )
    text = next(tmp_path.glob("*.ptx")).read_text()
    assert report.count("Compiling entry function") == text.count(".entry"), report
    if "_d" in instance:  # a head width's kernels; the others' products are mma.sync's
        for instruction in ("wgmma.mma_async", "cp.async.bulk.tensor", "setmaxnreg"):
            assert instruction in text, f"{instance} has no {instruction}"
