"""Winograd's minimal filtering: its error, where it is chosen, and how it is turned off."""

import numpy as np
import pytest

from fastconv import config, kernels, ops
from fastconv.kernels import cpu_winograd
from fastconv.ops import dispatch
from fastconv.testing import check_kernel

OPS = ("conv2d", "conv2d_backward_data", "conv2d_backward_filter")
LARGE = kernels.Conv2DProblem.parse("N=4 H=12 W=13 C=256 K=96 R=3 S=3 padding=same")


@pytest.fixture
def forbidden():
    config.set_winograd(False)
    yield
    config.set_winograd(True)


@pytest.mark.parametrize("text", ["N=2 H=12 W=13 C=256 K=96", "N=1 H=30 W=9 C=17 K=33", "N=8 H=56 W=5 C=16 K=16"])
@pytest.mark.parametrize("padding", ["valid", "same", "2,0,1,3"])
def test_relative_error_in_the_frobenius_norm(text, padding):
    p = kernels.Conv2DProblem.parse(f"{text} R=3 S=3 padding={padding}")
    rng = np.random.default_rng(0)
    x, w, gy = (rng.standard_normal(shape).astype("float32") for shape in (p.x_shape, p.w_shape, p.y_shape))
    for op, inputs, shapes in (
        ("conv2d", (x, w, None), [p.y_shape]),
        ("conv2d_backward_data", (gy, w), [p.x_shape]),
        ("conv2d_backward_filter", (x, gy), [p.w_shape, (p.K,)]),
    ):
        got, exact = ([np.full(shape, np.nan, "float32") for shape in shapes] for _ in range(2))
        dispatch.run(op, p, *inputs, *got, algorithm="cpu_winograd")
        dispatch.run(op, p, *inputs, *exact, algorithm="reference")
        for one, other in zip(got, exact, strict=True):
            assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(other), op


@pytest.mark.parametrize("op", OPS)
def test_chosen_where_it_pays(op):
    assert dispatch.kernel_for(op, LARGE).name == "cpu_winograd"
    for text in ("N=1 H=5 W=5 C=256 K=96", "N=64 H=28 W=28 C=1 K=32", "N=64 H=28 W=28 C=32 K=10"):
        problem = kernels.Conv2DProblem.parse(f"{text} R=3 S=3")
        assert dispatch.kernel_for(op, problem).name != "cpu_winograd"


@pytest.mark.parametrize("op", OPS)
@pytest.mark.usefixtures("forbidden")
def test_turned_off(op):
    assert not config.winograd()
    assert dispatch.kernel_for(op, LARGE).name == "cpu_direct"
    assert dispatch.kernel_for(op, LARGE, "cpu_winograd").name == "cpu_winograd"


def test_filters_are_transformed_once():
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 9, 9, 20)).astype("float32"), rng.standard_normal((3, 3, 20, 18)).astype("float32")
    problem = kernels.Conv2DProblem.of(x.shape, w.shape)

    def conv(fixed):
        y = np.full(problem.y_shape, np.nan, "float32")
        dispatch.run("conv2d", problem, x, w, None, y, algorithm="cpu_winograd", fixed=fixed)
        return y

    expected = conv(True)
    with dispatch.fixed_filters():
        np.testing.assert_array_equal(conv(True), expected)
        w[...] = 0  # against the rule, so that it shows that what was made of w is used
        np.testing.assert_array_equal(conv(True), expected)
        assert not conv(False).any()  # filters that are no weights, such as those a layer computes
        assert not ops.conv(x, w, algorithm="cpu_winograd").any()
    assert not conv(True).any()


@pytest.mark.parametrize("op", ["conv2d", "conv2d_backward_data"])
@pytest.mark.parametrize("size", ["C=40 K=330", "C=330 K=40"])
def test_filters_are_transformed_in_parts(op, size, monkeypatch):
    monkeypatch.setattr(cpu_winograd, "_PART_BYTES", 36 * 40 * 4 * 256)
    problem = kernels.Conv2DProblem.parse(f"N=2 H=9 W=7 R=3 S=3 padding=same {size}")
    depth, made = (problem.C, problem.K) if op == "conv2d" else (problem.K, problem.C)
    plan = cpu_winograd.Plan.of(problem, depth, made)
    assert len(plan.parts(False)) == (2 if made > depth else 1) and len(plan.parts(True)) == 1
    check_kernel(kernels.get(op, "cpu_winograd"), problem)
