"""What the conv2d kernels that cut their work into tiles cost, and where the tiles end."""

import types

import numpy as np
import pytest
from lab import simulated

from fastconv import kernels
from fastconv.kernels import cuda, cupy_matmul
from fastconv.kernels.conv2d import cuda_im2col, cuda_register_tile, cuda_shared_filter
from fastconv.kernels.cuda import Launch
from fastconv.testing import check_kernel
from fastconv.testing.kernel_cases import empty_arrays

ROUND = kernels.Conv2DProblem.parse("N=1 H=16 W=16 C=16 K=64 R=3 S=3 padding=same")  # every tile is full
RAGGED = kernels.Conv2DProblem.parse("N=2 H=9 W=12 C=9 K=67 R=2 S=2 padding=1,0,1,1")  # more than one tile each way
NAMES = ["cuda_shared_filter", "cuda_register_tile", "cuda_im2col", "cupy_im2col"]


def steps(name, problem):
    """What a kernel describes for a problem."""
    kernel = kernels.get("conv2d", name)
    arrays = [np.ones_like(array) for array in empty_arrays("conv2d", problem)]
    return kernel.run(problem, *arrays, np.zeros(kernel.workspace_bytes(problem), np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_several_tiles_each_way(name):
    with cuda.launched_by(lambda launch: simulated(launch).raise_if_wrong()):
        check_kernel(kernels.get("conv2d", name), RAGGED, only=("integers",))


@pytest.mark.parametrize("name", NAMES)
def test_full_sectors_and_no_bank_conflicts(name):
    for launch in steps(name, ROUND):
        if isinstance(launch, Launch):
            totals = simulated(launch).totals
            assert totals.bank_conflicts == 0
            assert (totals.loads.moved, totals.stores.moved) == (totals.loads.ideal, totals.stores.ideal)


@pytest.mark.parametrize("name", ["cuda_im2col", "cupy_im2col"])
def test_a_large_matrix_goes_through_in_parts(name, monkeypatch):
    monkeypatch.setattr(cuda_im2col, "MATRIX_BYTES", 1)
    assert cuda_im2col.parts(RAGGED) == [(0, 128), (128, 106)]
    with cuda.launched_by(lambda launch: simulated(launch).raise_if_wrong()):
        check_kernel(kernels.get("conv2d", name), RAGGED, only=("integers",))


@pytest.mark.parametrize(
    "module, shape, reason",
    [
        (cuda_shared_filter, "N=1 H=7 W=7 C=43 K=2 R=3 S=3", "49536 bytes"),
        (cuda_shared_filter, "N=1 H=1 W=1 C=65536 K=65536 R=1 S=1 groups=65536", "more filters"),
        (cuda_register_tile, "N=1 H=99 W=99 C=1 K=1 R=90 S=90", "shared memory does not hold"),
        (cuda_register_tile, "N=65536 H=1 W=1 C=1 K=1 R=1 S=1", "more images or filters"),
        (cuda_im2col, "N=1 H=1 W=1 C=65536 K=65536 R=1 S=1 groups=65536", "more groups"),
    ],
)
def test_what_does_not_fit(module, shape, reason):
    assert reason in module.unsupported(kernels.Conv2DProblem.parse(shape))


@pytest.mark.parametrize("stream, entered", [(None, []), (5, [5])])
def test_cublas_is_called_on_the_callers_stream(monkeypatch, stream, entered):
    calls, streams = [], []

    class ExternalStream:
        def __init__(self, handle):
            self.handle = handle

        def __enter__(self):
            streams.append(self.handle)

        def __exit__(self, *exception):
            pass

    cupy = types.SimpleNamespace(
        matmul=lambda a, b, out: calls.append((a, b, out)), cuda=types.SimpleNamespace(ExternalStream=ExternalStream)
    )
    monkeypatch.setattr(cupy_matmul, "import_cupy", lambda: cupy)
    monkeypatch.setattr(cupy_matmul, "unavailable", lambda: None)
    product = steps("cupy_im2col", ROUND)[1]
    product(stream)
    assert streams == entered and calls == [(product.a, product.b, product.out)]
    assert (product.a.shape, product.b.shape, product.out.shape) == ((256, 144), (144, 64), (256, 64))
