"""A kernel's bits do not depend on the number of threads."""

import numba
import numpy as np
import pytest

from fastconv import kernels
from fastconv.ops import dispatch
from fastconv.testing.kernel_cases import OPS, array_shape, float_inputs

CONV = kernels.Conv2DProblem.parse("N=7 H=11 W=9 C=6 K=37 R=3 S=2 padding=same stride=1,2")
CONV_3X3 = kernels.Conv2DProblem.parse("N=7 H=11 W=9 C=20 K=37 R=3 S=3 padding=same")
DEPTHWISE = kernels.Conv2DProblem.parse("N=7 H=11 W=9 C=20 K=20 groups=20 R=3 S=3 padding=same stride=2")
GROUPS = kernels.Conv2DProblem.parse("N=7 H=11 W=19 C=64 K=64 R=3 S=3 groups=16 padding=same")
MATRIX = kernels.Conv2DProblem.parse("N=7 H=1 W=1 C=600 K=130 R=1 S=1")
CONVOLUTIONS = (CONV, CONV_3X3, DEPTHWISE, GROUPS, MATRIX)
POOL = kernels.Pool2DProblem.parse("N=7 H=11 W=9 C=6 R=3 S=2 padding=same stride=2,1")
BOTH = kernels.ConvPool2DProblem.parse("N=7 H=31 W=29 C=3 K=37 R=3 S=2 padding=same stride=1,2 pool=2")
PROBLEMS = {kernels.Conv2DProblem: CONVOLUTIONS, kernels.Pool2DProblem: (POOL,), kernels.ConvPool2DProblem: (BOTH,)}


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba has one thread here")
@pytest.mark.parametrize(
    "kernel",
    [k for op in kernels.ops() for k in kernels.variants(op, "cpu")],
    ids=lambda k: f"{k.op}-{k.name}",
)
@pytest.mark.usefixtures("all_threads")
def test_one_thread_and_all_threads_give_the_same_bits(kernel):
    problem = next(p for p in PROBLEMS[kernels.problem_type(kernel.op)] if kernel.unsupported(p) is None)
    inputs = float_inputs(kernel.op, problem, seed=3).values()
    shapes = [array_shape(name, problem) for name in OPS[kernel.op].outputs]
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
