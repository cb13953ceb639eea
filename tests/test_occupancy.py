"""Occupancy: worked by hand, and against NVIDIA's own calculation."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from fastconv.inspecting.architectures import ARCHITECTURES, find
from fastconv.inspecting.occupancy import occupancy


@pytest.mark.parametrize(
    "arch, threads, registers, shared, blocks, share, limited_by",
    [
        # 64 warps of 32 threads at 32 registers are 64 * 1024 registers: both are used up.
        ("sm_90", 256, 32, 0, 8, 1.0, ("warps", "registers")),
        # A warp takes 33 * 32 = 1056 registers, given as 1280; a partition's 16384 hold 12 warps, all four 48.
        ("sm_90", 256, 33, 0, 6, 0.75, ("registers",)),
        # 64 registers: 2048 a warp, 8 warps in a partition, 32 in all, which are 2 blocks of 16 warps.
        ("sm_80", 512, 64, 0, 2, 0.5, ("registers",)),
        # 255 registers: 8160 a warp, given as 8192; 2 warps in a partition. A block of 9 warps counts as 12: too many.
        ("sm_80", 256, 255, 0, 1, 0.125, ("registers",)),
        ("sm_80", 288, 255, 0, 0, 0.0, ("registers",)),
        # 40 KiB and the system's 1: 228 / 41 = 5.56 blocks. On sm_86 100 / 41 = 2.4. Turing reserves none: 64 / 40.
        ("sm_90", 128, 16, 40 << 10, 5, 20 / 64, ("shared memory",)),
        ("sm_86", 128, 16, 40 << 10, 2, 8 / 48, ("shared memory",)),
        ("sm_75", 128, 16, 40 << 10, 1, 4 / 32, ("shared memory",)),
        # Small blocks: the number of blocks is the limit before the warps are used up.
        ("sm_86", 32, 16, 0, 16, 16 / 48, ("blocks",)),
        ("sm_120", 32, 16, 0, 24, 24 / 48, ("blocks",)),
        # 1536 threads hold one block of 1024: a third of the warps stays empty.
        ("sm_89", 1024, 32, 0, 1, 32 / 48, ("warps",)),
        # One more byte than a block can have.
        ("sm_90", 32, 16, (227 << 10) + 1, 0, 0.0, ("shared memory",)),
    ],
)
def test_by_hand(arch, threads, registers, shared, blocks, share, limited_by):
    found = occupancy(find(arch), threads, registers, shared)
    assert (found.blocks, found.share, found.limited_by) == (blocks, share, limited_by)
    assert found.warps == blocks * -(-threads // 32)


@pytest.mark.parametrize("threads", [0, 1025])
def test_impossible_blocks_are_refused(threads):
    with pytest.raises(ValueError, match=f"from 1 to 1024; received {threads}"):
        occupancy(find("sm_90"), threads, 32, 0)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="no architecture 'sm_70' here; there are sm_75, sm_80"):
        find("sm_70")
    assert find("sm_100").compute_capability == (10, 0)


def header():
    pathfinder = pytest.importorskip("cuda.pathfinder", reason="no CUDA headers: pip install 'fastconv[lab]'")
    folder = pathfinder.find_nvidia_header_directory("cudart")
    if folder is None or not (Path(folder) / "cuda_occupancy.h").is_file():
        pytest.skip("there is no cuda_occupancy.h: pip install 'fastconv[lab]'")
    return folder


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ on the PATH")
def test_agrees_with_nvidias_calculation(tmp_path):
    program = tmp_path / "occupancy"
    source = Path(__file__).with_name("occupancy_by_nvidia.cpp")
    subprocess.run(["g++", "-O1", "-w", "-I", header(), source, "-o", program], check=True)
    rng = random.Random(0)
    cases = []
    for architecture in ARCHITECTURES.values():
        for _ in range(2000):
            threads, registers, barriers = rng.randint(1, 1024), rng.randint(1, 255), rng.choice([0, 1, 1, 2])
            shared = rng.choice([0, rng.randint(1, 48 << 10), rng.randint(1, 240 << 10)])
            cases.append((architecture, threads, registers, shared, barriers))
    lines = (
        f"{a.compute_capability[0]} {a.compute_capability[1]} {a.warps} {a.shared_bytes} {a.reserved_bytes} "
        f"{threads} {registers} {shared} {barriers}\n"
        for a, threads, registers, shared, barriers in cases
    )
    shown = subprocess.run([program], input="".join(lines), capture_output=True, text=True, check=True)
    expected = list(map(int, shown.stdout.split()))
    assert len(expected) == len(cases) and len(set(expected)) > 10
    for case, blocks in zip(cases, expected, strict=True):
        assert occupancy(*case).blocks == blocks, case
