"""What the simulator counts, against numbers worked out by hand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import cuda, float32, float64, uint8

from fastconv.testing import simulate
from fastconv.testing.simulator import traffic


def floats(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


# The transposed copy of a 64 x 64 matrix, 32 x 8 threads a block: 2 x 8 blocks of 8 warps, each a row of 32 floats.


def transposed_naive(a, b):
    x, y = cuda.grid(2)
    b[x, y] = a[y, x]


def test_the_naive_transposed_copy():
    report = simulate(transposed_naive, (2, 8), (32, 8), floats(64, 64), np.zeros((64, 64), np.float32))
    line = report.line("b[x, y]")
    assert (line.loads.requests, line.loads.moved, line.loads.ideal) == (128, 128 * 4, 128 * 4)
    assert (line.stores.requests, line.stores.moved, line.stores.ideal) == (128, 128 * 32, 128 * 4)
    assert line.stores.per_request == 32 and line.sectors_per_request == 18
    assert report.totals.sector_bytes == 128 * 36 * 32 and report.totals.array_bytes == 2 * 64 * 64 * 4


def transposed_by_tiles(width):
    def kernel(a, b):
        s = cuda.shared.array((32, width), float32)
        tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
        x, y = cuda.blockIdx.x * 32, cuda.blockIdx.y * 32
        for r in range(ty, 32, 8):
            s[r, tx] = a[y + r, x + tx]  # in
        cuda.syncthreads()
        for r in range(ty, 32, 8):
            b[x + r, y + tx] = s[tx, r]  # out

    return kernel


@pytest.mark.parametrize("width, wavefronts", [(32, 32), (33, 1), (34, 2), (36, 4)])
def test_the_tiled_transposed_copy(width, wavefronts):
    a, b = floats(64, 64), np.zeros((64, 64), np.float32)
    report = simulate(transposed_by_tiles(width), (2, 2), (32, 8), a, b)
    report.raise_if_wrong()
    assert (b == a.T).all()
    into, out = report.line("# in"), report.line("# out")
    assert into.requests == out.requests == 128
    assert into.loads.per_request == out.stores.per_request == 4
    assert into.sectors == into.ideal_sectors == out.sectors == out.ideal_sectors == 512
    assert into.shared_stores.requests == out.shared_loads.requests == 128
    assert into.wavefronts == 128 and into.bank_conflicts == 0
    assert out.wavefronts == 128 * wavefronts and out.bank_conflicts == 128 * (wavefronts - 1)
    assert report.totals.bank_conflicts == out.bank_conflicts and report.totals.flops == 0


# Loads by one warp: sectors of 32 bytes that it touches, and the fewest that could hold what it asks for.


def loads(a, out):
    i = cuda.threadIdx.x
    out[0] = a[i]  # adjacent
    out[0] = a[2 * i]  # every other
    out[0] = a[8 * i]  # every eighth
    out[0] = a[31 - i]  # backwards
    out[0] = a[0]  # the same
    out[0] = a[i // 8]  # four different
    out[0] = a[i + 1]  # one further
    if i % 2:
        out[0] = a[i]  # odd lanes
    if i < 8:
        out[0] = a[i]  # eight lanes


LOADS = {
    "# adjacent": (4, 4, 8, 8),
    "# every other": (8, 4, 16, 8),
    "# every eighth": (32, 4, 32, 8),
    "# backwards": (4, 4, 8, 8),
    "# the same": (1, 1, 1, 1),
    "# four different": (1, 1, 1, 1),
    "# one further": (5, 4, 9, 8),
    "# odd lanes": (4, 2, 8, 4),
    "# eight lanes": (1, 1, 2, 2),
}


@pytest.mark.parametrize("name", LOADS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sectors_of_a_request(name, dtype):
    report = simulate(loads, 1, 32, floats(256, dtype=dtype), np.zeros(1, dtype))
    of_float32, of_float64 = LOADS[name][:2], LOADS[name][2:]
    line = report.line(name)
    assert line.loads.requests == 1
    assert (line.loads.moved, line.loads.ideal) == (of_float32 if dtype == np.float32 else of_float64)


def copy(a, b):
    b[cuda.grid(1)] = a[cuda.grid(1)]


def test_an_array_that_begins_within_a_sector():
    whole, b = floats(65), np.zeros(64, np.float32)
    line = simulate(copy, 1, 64, whole[1:], b).line("b[cuda")
    assert (line.loads.requests, line.loads.moved, line.stores.moved) == (2, 10, 8)


def test_partial_warps():
    line = simulate(copy, 3, 40, floats(120), np.zeros(120, np.float32)).line("b[cuda")
    # Blocks begin at floats 0, 40 and 80: all on sectors. A warp of 32 and one of 8 threads each.
    assert (line.loads.requests, line.loads.moved, line.loads.ideal) == (6, 15, 15)


def test_bytes_and_non_contiguous_arrays():
    line = simulate(copy, 1, 64, np.zeros(64, np.uint8), np.zeros(64, np.uint8)).line("b[cuda")
    assert (line.loads.requests, line.loads.moved) == (2, 2)
    line = simulate(copy, 1, 32, floats(32, 16)[:, 3], np.zeros(32, np.float32)).line("b[cuda")
    assert (line.loads.moved, line.loads.ideal, line.stores.moved) == (32, 4, 4)


def atomic_adds(h):
    cuda.atomic.add(h, cuda.threadIdx.x % 4, 1)


def test_atomics():
    report = simulate(atomic_adds, 2, 64, np.zeros(4, np.float32))
    assert report.line("atomic.add").atomics.requests == report.totals.atomics.moved == 4
    assert report.totals.flops == 128 and report.totals.array_bytes == 2 * 4 * 4


# Shared memory: wavefronts, and those without conflicts, of requests by one warp.


def shared_loads(out):
    s = cuda.shared.array(1024, float32)
    d = cuda.shared.array(64, float64)
    c = cuda.shared.array(32, uint8)
    i = cuda.threadIdx.x
    for k in range(32):
        s[32 * k + i] = 0
    d[i] = 0
    d[i + 32] = 0
    c[i] = 0
    cuda.syncwarp()
    out[i] = s[i]  # adjacent
    out[i] = s[2 * i]  # stride 2
    out[i] = s[3 * i]  # stride 3
    out[i] = s[16 * i]  # stride 16
    out[i] = s[31 * i]  # odd stride
    out[i] = s[(32 * i) % 1024]  # one bank
    out[i] = s[7]  # broadcast
    out[i] = s[32 * (i % 2)]  # two words of a bank
    out[i] = s[i // 2]  # pairs
    out[i] = d[i]  # double
    out[i] = d[2 * i % 64]  # double, stride 2
    out[i] = d[5]  # double, broadcast
    out[i] = c[i]  # bytes


WAVEFRONTS = {
    "# adjacent": (1, 1),
    "# stride 2": (2, 1),
    "# stride 3": (1, 1),
    "# stride 16": (16, 1),
    "# odd stride": (1, 1),
    "# one bank": (32, 1),
    "# broadcast": (1, 1),
    "# two words of a bank": (2, 1),
    "# pairs": (1, 1),
    "= d[i]  # double": (2, 2),
    "# double, stride 2": (4, 2),
    "# double, broadcast": (2, 2),
    "# bytes": (1, 1),
}


@pytest.mark.parametrize("name", WAVEFRONTS)
def test_wavefronts_of_a_request(name):
    report = simulate(shared_loads, 1, 32, np.zeros(32))
    report.raise_if_wrong()
    shared = report.line(name).shared_loads
    assert (shared.requests, shared.moved, shared.ideal) == (1, *WAVEFRONTS[name])


@pytest.mark.parametrize("itemsize", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("seed", range(10))
def test_requests_of_any_kind_against_counting_one_by_one(itemsize, seed):
    rng = np.random.default_rng(seed)
    lanes = np.flatnonzero(rng.random(160) < rng.choice([0.1, 0.6, 1.0]))
    elements = rng.integers(0, rng.choice([4, 40, 4000]), len(lanes))
    addresses = elements * itemsize
    requests = moved = ideal = waves = free = 0
    for warp in range(5):
        here = [int(e) for e, lane in zip(elements, lanes, strict=True) if lane // 32 == warp]
        if not here:
            continue
        requests += 1
        moved += len({e * itemsize // 32 for e in here})
        ideal += -(-len(set(here)) * itemsize // 32)
        width = max(4, itemsize)
        together = 32 * 4 // width
        for part in range(32 // together):
            at = [
                e for e, lane in zip(elements, lanes, strict=True) if lane // together == warp * 32 // together + part
            ]
            words = {int(e) * itemsize // width for e in at}
            banks = [word % together for word in words]
            waves += max((banks.count(bank) for bank in banks), default=0)
            free += bool(banks)
    if len(lanes):
        assert traffic.sectors(addresses, lanes, 160, itemsize) == (requests, moved, ideal)
        assert traffic.wavefronts(addresses, lanes, 160, itemsize) == (requests, waves, free)


# Floating-point operations


def arithmetic(x, y, n, alpha):
    i = cuda.grid(1)
    if i < n:
        a = x[i]
        b = a * a + a  # two
        b = cuda.fma(a, a, b)  # fma
        c = alpha * alpha  # the same in all threads
        d = a * 2.0  # float64
        e = max(a, b) if a > b else -abs(a)  # none
        k = i * 3 + n  # integers
        b -= e / float32(k + 1)  # division
        b += a**2  # square
        y[i] = b + c + float32(d)


def test_flops():
    report = simulate(arithmetic, 2, 64, floats(100), np.zeros(100, np.float32), 100, np.float32(2))
    expected = {"# two": 2, "# fma": 2, "# the same": 1, "# float64": 1, "# none": 0, "# integers": 0}
    for name, each in (expected | {"# division": 2, "# square": 2, "y[i]": 2}).items():
        assert report.line(name).flops == 100 * each, name
    assert report.line("# float64").float64_flops == report.totals.float64_flops == 100
    assert report.totals.flops == 1200


def saxpy(a, x, y):
    i = cuda.grid(1)
    y[i] = a * x[i] + y[i]


def test_arithmetic_intensity():
    totals = simulate(saxpy, 8, 128, np.float32(2), floats(1024), floats(1024)).totals
    assert totals.flops == 2048 and totals.sector_bytes == totals.array_bytes == 3 * 4096
    assert totals.intensity == totals.array_intensity == pytest.approx(1 / 6)


def device_square(x):
    return x * x


def calls_a_function(a):
    a[cuda.grid(1)] = device_square(a[cuda.grid(1)])


def test_device_functions_are_counted_at_their_own_lines():
    report = simulate(calls_a_function, 1, 64, floats(64))
    assert report.line("return x * x").flops == 64 and report.line("return x * x").function == "device_square"
    text = str(report)
    assert text.index("def calls_a_function") < text.index("def device_square")


def test_the_report_as_text_and_json():
    report = simulate(transposed_by_tiles(32), (2, 2), (32, 8), floats(64, 64), np.zeros((64, 64), np.float32))
    (row,) = (line for line in str(report).splitlines() if "# out" in line)
    assert row.split()[:4] == ["128", "4", "4", "3968"] and "Nothing wrong was found" in str(report)
    data = json.loads(report.json())
    assert data["ok"] and data["totals"]["bank_conflicts"] == 3968 and data["totals"]["stores"]["moved"] == 512
    (line,) = (line for line in data["lines"] if "# out" in line["text"])
    assert line["shared_loads"] == {"requests": 128, "moved": 4096, "ideal": 128}
    assert report.line(line["number"]).text == line["text"]
    with pytest.raises(KeyError, match="0 lines"):
        report.line("no such text")


def test_the_output_in_the_documentation(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "lab.md").read_text(encoding="utf-8")
    (program,), (output,) = (re.findall(f"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "text"))
    (tmp_path / "example.py").write_text(program)
    ran = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == output, ran.stderr
    assert (tmp_path / "transposed.html").is_file()
