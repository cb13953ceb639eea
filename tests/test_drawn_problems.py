"""Problems that Hypothesis draws: every variant of every op agrees with the reference on them.

The draws are the same in every run. FASTCONV_DRAWN_PROBLEMS sets how many there are, all ops together, 500 by default;
three in five go to the three ops of a convolution. A release is checked with 2,000.
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastconv import kernels
from fastconv.testing import check_kernel

BUDGET = int(os.environ.get("FASTCONV_DRAWN_PROBLEMS", "500"))
VARIANTS = {op: [k for k in kernels.variants(op, "cpu") if k.name != "reference"] for op in kernels.ops()}
CONVOLUTIONS = [op for op in VARIANTS if op.startswith("conv2d")]
COLUMNS = ["im2col", "col2im"]
POOLINGS = [op for op in VARIANTS if "pool2d" in op]


def drawn(count):
    """Settings for `count` draws that do not depend on the machine or on earlier runs."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def problems(draw, problem):
    """Small problems with every option drawn for each axis, and now and then more channels than a vector holds."""
    pooling = problem is kernels.Pool2DProblem
    channels = st.one_of(st.integers(1, 5), st.integers(1, 5), st.integers(14, 35))
    padding = draw(st.sampled_from(["valid", "same", "sides"]))
    numbers = {"N": draw(st.integers(0, 3)), "C": draw(channels)}
    if not pooling:
        groups = draw(st.sampled_from([1, 1, 2, 3, numbers["C"]]))
        numbers["C"] += -numbers["C"] % groups
        numbers |= {"groups": groups, "K": groups * draw(channels if groups < 4 else st.integers(1, 2))}
    axes = []
    for size, window in (("H", "R"), ("W", "S")):
        taps, stride = draw(st.integers(1, 5)), draw(st.integers(1, 4))
        dilation = 1 if pooling else draw(st.integers(1, 3))
        most = 0 if padding != "sides" else taps - 1 if pooling else taps * dilation + 2
        sides = draw(st.integers(0, most)), draw(st.integers(0, most))
        least = 1 if padding == "same" else max(1, (taps - 1) * dilation + 1 - sum(sides))
        numbers |= {size: least + draw(st.integers(0, 8)), window: taps}
        axes.append((stride, dilation, f"{sides[0]},{sides[1]}"))
    strides, dilations, pads = zip(*axes, strict=True)
    numbers |= {
        "stride": f"{strides[0]},{strides[1]}",
        "dilation": f"{dilations[0]},{dilations[1]}",
        "padding": ",".join(pads) if padding == "sides" else padding,
        "dtype": draw(st.sampled_from(["float32", "float32", "float64"])),
    }
    return problem.parse(" ".join(f"{key}={value}" for key, value in numbers.items()))


def check_variants(op, problem):
    for kernel in VARIANTS[op]:
        if kernel.unsupported(problem) is None:
            check_kernel(kernel, problem)


@pytest.mark.parametrize("op", CONVOLUTIONS)
@drawn(BUDGET // 5)
@given(problem=problems(kernels.Conv2DProblem))
def test_convolutions(op, problem):
    check_variants(op, problem)


@pytest.mark.parametrize("op", COLUMNS)
@drawn(BUDGET // 20)
@given(problem=problems(kernels.Conv2DProblem))
def test_columns(op, problem):
    check_variants(op, problem)


@pytest.mark.parametrize("op", POOLINGS)
@drawn(BUDGET * 3 // 40)
@given(problem=problems(kernels.Pool2DProblem))
def test_poolings(op, problem):
    check_variants(op, problem)


def test_all_ops_are_drawn_for():
    assert sorted(CONVOLUTIONS + COLUMNS + POOLINGS) == kernels.ops()
