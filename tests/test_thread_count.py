"""A kernel's bits do not depend on the number of threads."""

import numba
import numpy as np
import pytest

from fastconv import kernels
from fastconv.ops import dispatch

CONV = kernels.Conv2DProblem.parse("N=7 H=11 W=9 C=6 K=37 R=3 S=2 padding=same stride=1,2")
CONV_3X3 = kernels.Conv2DProblem.parse("N=7 H=11 W=9 C=20 K=37 R=3 S=3 padding=same")
DEPTHWISE = kernels.Conv2DProblem.parse("N=7 H=11 W=9 C=20 K=20 groups=20 R=3 S=3 padding=same stride=2")
GROUPS = kernels.Conv2DProblem.parse("N=7 H=11 W=19 C=64 K=64 R=3 S=3 groups=16 padding=same")
MATRIX = kernels.Conv2DProblem.parse("N=7 H=1 W=1 C=600 K=130 R=1 S=1")
CONVOLUTIONS = (CONV, CONV_3X3, DEPTHWISE, GROUPS, MATRIX)
POOL = kernels.Pool2DProblem.parse("N=7 H=11 W=9 C=6 R=3 S=2 padding=same stride=2,1")
rng = np.random.default_rng(3)


def data(*shape):
    return rng.standard_normal(shape).astype("float32")


def arrays(op, conv):
    """Inputs, and the shapes of the outputs."""
    if op in ("im2col", "col2im"):
        col = (conv.N, conv.P, conv.Q, conv.R, conv.S, conv.C)
        return ([data(*conv.x_shape)], [col]) if op == "im2col" else ([data(*col)], [conv.x_shape])
    if op == "conv2d":
        return [data(*conv.x_shape), data(*conv.w_shape), data(conv.K)], [conv.y_shape]
    if op == "conv2d_backward_data":
        return [data(*conv.y_shape), data(*conv.w_shape)], [conv.x_shape]
    if op == "conv2d_backward_filter":
        return [data(*conv.x_shape), data(*conv.y_shape)], [conv.w_shape, (conv.K,)]
    if op.endswith("_backward"):
        gradient = data(*POOL.y_shape)
        return ([data(*POOL.x_shape), gradient] if op.startswith("max") else [gradient]), [POOL.x_shape]
    return [data(*POOL.x_shape)], [POOL.y_shape]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba has one thread here")
@pytest.mark.parametrize(
    "kernel",
    [k for op in kernels.ops() for k in kernels.variants(op, "cpu")],
    ids=lambda k: f"{k.op}-{k.name}",
)
@pytest.mark.usefixtures("all_threads")
def test_one_thread_and_all_threads_give_the_same_bits(kernel):
    conv = next(p for p in CONVOLUTIONS if "pool" in kernel.op or kernel.unsupported(p) is None)
    problem = POOL if "pool" in kernel.op else conv
    inputs, shapes = arrays(kernel.op, conv)
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        outputs = [np.full(shape, np.nan, "float32") for shape in shapes]
        numba.set_num_threads(threads)
        try:
            dispatch.run(kernel.op, problem, *inputs, *outputs, algorithm=kernel.name)
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        results.append(outputs)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)
