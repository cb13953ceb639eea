"""Every variant of every op on every named edge shape; all are found in the registry."""

from pathlib import Path

import pytest

from fastconv import kernels
from fastconv.testing import check_kernel, load_shapes, shapes_for

SHAPES = Path(__file__).parent.parent / "bench" / "shapes"
CONV2D = load_shapes(SHAPES / "conv2d_edge.txt", kernels.Conv2DProblem)
POOL2D = load_shapes(SHAPES / "pool2d_edge.txt", kernels.Pool2DProblem)


def marks(kernel):
    """Kernels for a GPU are skipped where there is none, and say why."""
    if kernel.device == "cpu":
        return []
    from fastconv.kernels.cuda import unavailable

    return [pytest.mark.gpu, pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))]


def cases():
    """op-variant-shape; the variants of a shape follow each other, so that they share the reference's results."""
    for op in kernels.ops():
        for name, problem in shapes_for(op, "edge").items():
            for kernel in kernels.variants(op):
                yield pytest.param(kernel, problem, id=f"{op}-{kernel.name}-{name}", marks=marks(kernel))


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize(("kernel", "problem"), list(cases()))
def test_agrees_with_the_reference(kernel, problem):
    reason = kernel.unsupported(problem)
    if reason is not None:
        pytest.skip(reason)
    check_kernel(kernel, problem)


def test_edge_shapes_cover_what_goes_wrong():
    convs = CONV2D.values()
    assert any(
        p.stride_h != p.stride_w and p.dilation_h != p.dilation_w and min(p.dilation_h, p.stride_h) > 1 for p in convs
    )
    assert any(p.pad_top > p.R and p.pad_left > p.S for p in convs)
    assert any(p.groups == p.C < p.K for p in convs)
    assert {p.dtype for p in convs} == {p.dtype for p in POOL2D.values()} == {"float32", "float64"}
    assert {0, 1} < {p.N for p in convs}
    assert {15, 16, 17, 63, 64, 65} <= {p.K for p in convs} & {p.C for p in convs}
    assert {5, 6, 7, 11, 12, 13, 14, 15} <= {p.Q for p in convs}
