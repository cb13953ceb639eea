"""The direct convolutions: regions that see the same taps, and that no way to cut the work changes a bit."""

import numpy as np
import pytest

from fastconv import kernels
from fastconv.buffers import aligned_bytes
from fastconv.kernels import Conv2DProblem, cpu_memory, cpu_taps
from fastconv.kernels.conv2d.cpu_direct import grid_of
from fastconv.kernels.conv2d_backward_data.cpu_direct import grids_of
from fastconv.kernels.cpu_parallel import thread_count

PROBLEMS = [
    "N=3 H=9 W=7 C=5 K=83 R=3 S=5 padding=same",
    "N=2 H=12 W=11 C=16 K=96 R=3 S=3 stride=2,3 padding=1,2,0,3",
    "N=4 H=4 W=5 C=64 K=64 R=3 S=3 groups=2 padding=same",
    "N=2 H=9 W=8 C=3 K=65 R=2 S=3 dilation=4,5 padding=4,4,5,5",
    "N=5 H=6 W=7 C=17 K=128 R=1 S=1",
    "N=3 H=7 W=9 C=48 K=48 R=3 S=3 groups=48 stride=2 padding=same",
    "N=3 H=8 W=15 C=32 K=32 R=3 S=4 groups=32 padding=same",
    "N=2 H=7 W=14 C=64 K=64 R=3 S=3 groups=16 padding=same",
]


def grids(problem):
    yield grid_of(problem)
    yield from grids_of(problem)


@pytest.mark.parametrize("text", PROBLEMS)
def test_a_region_has_the_taps_that_its_pixels_see(text):
    for grid in grids(Conv2DProblem.parse(text)):
        regions, channels = grid.regions, grid.in_c // grid.groups
        rows, columns = regions.edges[: regions.rows + 1], regions.edges[regions.rows + 1 :]
        runs = regions.runs.reshape(-1, 3)
        assert rows[-1, 0] == grid.rows and columns[-1, 0] == grid.columns
        for i in range(grid.rows):
            for j in range(grid.columns):
                row = rows[np.searchsorted(rows[:-1, 0], i, "right") - 1]
                column = columns[np.searchsorted(columns[:-1, 0], j, "right") - 1]
                first, per_row = column[1], column[2]
                read = []  # (element of the input, row of w) of each product
                for place, row_of_w, count in runs[first + row[1] * per_row : first + row[2] * per_row]:
                    read += [(place + c, row_of_w + c) for c in range(count)]
                seen = []
                for tap_h, tap_w, row_of_w, count in grid.taps:
                    if 0 <= i * grid.step_h + tap_h < grid.in_h and 0 <= j * grid.step_w + tap_w < grid.in_w:
                        place = (tap_h * grid.in_w + tap_w) * channels
                        seen += [(place + c, row_of_w + c) for c in range(count)]
                assert read == seen, (i, j)


def results(text):
    """y and gx, of integers, by all direct kernels, which must agree with the reference in every bit."""
    problem = Conv2DProblem.parse(text)
    random = np.random.default_rng(0)

    def array(shape):
        values = aligned_bytes(4 * int(np.prod(shape))).view("float32").reshape(shape)
        values[...] = random.integers(-4, 5, shape)
        return values

    x, w, gy, bias = (array(s) for s in (problem.x_shape, problem.w_shape, problem.y_shape, (problem.K,)))
    for op, inputs, shape in (
        ("conv2d", (x, w, bias), problem.y_shape),
        ("conv2d_backward_data", (gy, w), problem.x_shape),
    ):
        expected = np.empty(shape, "float32")
        kernels.get(op, "reference")(problem, *inputs, expected, workspace=None)
        for name in ("cpu_direct", "cpu_grouped", "cpu_depthwise"):
            kernel = kernels.get(op, name)
            if kernel.unsupported(problem) is None:
                out, workspace = array(shape), aligned_bytes(kernel.workspace_bytes(problem))
                out[...], workspace[...] = np.nan, 255
                kernel(problem, *inputs, out, workspace=workspace)
                np.testing.assert_array_equal(out, expected, err_msg=f"{op} {name}")


CUTS = {
    "streamed": (cpu_memory, {"_STREAMED_BYTES": 0}),
    "a row of taps at a time": (cpu_taps, {"_BLOCK_BYTES": 1}),
    "small tasks": (cpu_taps, {"_TASK_BYTES": 1 << 10, "_LARGE_TASK_BYTES": 1 << 10}),
    "small tasks, a row of taps at a time": (cpu_taps, {"_LARGE_TASK_BYTES": 1 << 11, "_BLOCK_BYTES": 1}),
    "shared filters": (cpu_taps, {"_PIXELS_PER_THREAD": 1 << 20}),
    "shared pixels": (cpu_taps, {"_PIXELS_PER_THREAD": 0}),
    "packed filters": (cpu_taps, {"_PACKED_FILTERS": 0, "_PACKED_PIXELS": 0}),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("text", PROBLEMS)
def test_the_cut_changes_no_bit(monkeypatch, text, cut):
    module, numbers = CUTS[cut]
    for name, number in numbers.items():
        monkeypatch.setattr(module, name, number)
    threads = thread_count()  # which starts them
    monkeypatch.setattr(cpu_taps, "threads_for", lambda operations: threads)
    for cached in (cpu_taps._cut, cpu_taps.cut_and_numbers):
        cached.cache_clear()
    try:
        results(text)
    finally:
        for cached in (cpu_taps._cut, cpu_taps.cut_and_numbers):
            cached.cache_clear()
