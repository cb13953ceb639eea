"""Problems drawn at random: every variant of every op agrees with the reference on them.

The draws are the same in every run. FASTCONV_DRAWN_PROBLEMS sets how many there are, all ops together, 500 by default;
three in five go to the three ops of a convolution. A release is checked with 2,000. `fastconv verify` draws others.
"""

import os

import numpy as np
import pytest

from fastconv import kernels
from fastconv.testing import check_kernel
from fastconv.testing.drawing import draw_problem

BUDGET = int(os.environ.get("FASTCONV_DRAWN_PROBLEMS", "500"))
CONVOLUTIONS = ["conv2d", "conv2d_backward_data", "conv2d_backward_filter"]
COLUMNS = ["im2col", "col2im"]
POOLINGS = [op for op in kernels.ops() if "pool2d" in op]
COUNTS = (
    dict.fromkeys(CONVOLUTIONS, BUDGET // 5)
    | dict.fromkeys(COLUMNS, BUDGET // 20)
    | dict.fromkeys(POOLINGS, BUDGET * 3 // 40)
)


VARIANTS = [kernel for op in kernels.ops() for kernel in kernels.variants(op, "cpu") if kernel.name != "reference"]


@pytest.mark.parametrize("kernel", [pytest.param(kernel, id=f"{kernel.op}-{kernel.name}") for kernel in VARIANTS])
def test_agrees_with_the_reference(kernel):
    rng = np.random.default_rng(0)
    for _ in range(COUNTS[kernel.op]):
        problem = draw_problem(kernel.op, rng)
        if kernel.unsupported(problem) is None:
            check_kernel(kernel, problem)


@pytest.mark.parametrize("op", ["conv2d", "max_pool2d", "conv2d_max_pool2d"])
def test_draws_cover_the_options(op):
    rng = np.random.default_rng(0)
    problems = [draw_problem(op, rng) for _ in range(100)]
    again = np.random.default_rng(0)
    assert problems == [draw_problem(op, again) for _ in range(100)]
    assert {p.N for p in problems} == {0, 1, 2, 3}
    assert {p.R for p in problems} == {p.S for p in problems} == {1, 2, 3, 4, 5}
    assert {(p.stride_h, p.stride_w) for p in problems} > {(1, 2), (3, 1), (4, 4)}
    assert {p.dtype for p in problems} == {"float32", "float64"}
    assert {p.C > 8 for p in problems} == {True, False}
    assert any((p.pad_top, p.pad_left) != (p.pad_bottom, p.pad_right) for p in problems)
    assert any(not any((p.pad_top, p.pad_left, p.pad_bottom, p.pad_right)) for p in problems)
    if op != "max_pool2d":
        assert {p.dilation_h for p in problems} == {p.dilation_w for p in problems} == {1, 2, 3}
        assert any(p.groups == p.C > 1 for p in problems) and any(1 < p.groups < p.C for p in problems)
