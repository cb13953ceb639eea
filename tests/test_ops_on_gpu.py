"""`fastconv.ops` on arrays in a GPU's memory: stand-ins for CuPy's, whose launches the simulator runs."""

import sys

import numpy as np
import pytest
from gpu_arrays import GpuArray, Tensor, stand_in
from lab import simulate_launch

from fastconv import ops
from fastconv.kernels import cuda
from fastconv.kernels.cuda import Launch


@pytest.fixture
def cupy(monkeypatch):
    module = stand_in()
    monkeypatch.setitem(sys.modules, "cupy", module)

    def launcher(launch):
        args = tuple(arg.host if isinstance(arg, GpuArray) else arg for arg in launch.args)
        simulate_launch(Launch(launch.kernel, launch.grid, launch.block, args, launch.shared_bytes))

    with cuda.launched_by(launcher):
        yield module


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 6, 5, 4), "w": (3, 2, 2, 6), "bias": (6,), "gy": (2, 6, 5, 6)}
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def close(found, expected):
    assert isinstance(found, GpuArray)
    np.testing.assert_allclose(found.host, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [GpuArray, Tensor])
def test_a_convolution_and_its_gradients(cupy, arrays, make):
    x, w, bias, gy = (make(array) for array in arrays.values())
    close(
        ops.conv(x, w, padding="same", bias=bias), ops.conv(*map(arrays.get, "xw"), padding="same", bias=arrays["bias"])
    )
    expected = ops.conv_backward_data(arrays["gy"], arrays["w"], (2, 6, 5, 4), padding="same")
    close(ops.conv_backward_data(gy, w, (2, 6, 5, 4), padding="same"), expected)
    gw, gb = ops.conv_backward_filter(x, gy, (3, 2, 2, 6), padding="same")
    for found, wanted in zip(
        (gw, gb), ops.conv_backward_filter(arrays["x"], arrays["gy"], (3, 2, 2, 6), padding="same"), strict=True
    ):
        close(found, wanted)


def test_channels_first_and_out(cupy, arrays):
    x = np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2))
    expected = ops.max_pool(x, 2, data_format="channels_first")
    close(ops.max_pool(GpuArray(x), 2, data_format="channels_first"), expected)
    out = GpuArray(np.zeros_like(expected))
    assert ops.max_pool(GpuArray(x), 2, data_format="channels_first", out=out) is out
    close(out, expected)


def test_pooling_and_depthwise(cupy, arrays):
    x = arrays["x"]
    gy = ops.average_pool(x, 2)
    close(ops.average_pool(GpuArray(x), 2), gy)
    close(ops.max_pool_backward(GpuArray(x), GpuArray(gy), 2), ops.max_pool_backward(x, gy, 2))
    close(ops.average_pool_backward(GpuArray(gy), x.shape, 2), ops.average_pool_backward(gy, x.shape, 2))
    w = np.ones((2, 3, 4, 1), "float32")
    close(ops.depthwise_conv(GpuArray(x), GpuArray(w)), ops.depthwise_conv(x, w))


def test_what_is_refused(cupy, arrays):
    x, w = GpuArray(arrays["x"]), GpuArray(arrays["w"])
    with pytest.raises(TypeError, match="inputs is in a GPU's memory and kernel is not"):
        ops.conv(x, arrays["w"])
    with pytest.raises(ValueError, match="cpu_direct runs on the CPU; the arrays are in a GPU's memory"):
        ops.conv(x, w, algorithm="cpu_direct")
    with pytest.raises(TypeError, match="out must be a CuPy array; received ndarray"):
        ops.max_pool(x, 2, out=np.zeros((2, 3, 2, 4), "float32"))
    with pytest.raises(TypeError, match="inputs must hold real numbers; received dtype complex64"):
        ops.max_pool(GpuArray(arrays["x"].astype("complex64")), 2)
