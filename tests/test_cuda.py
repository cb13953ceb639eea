"""CUDA kernels as data: what a launch holds, where it goes, and what is said where it cannot go anywhere."""

import ctypes
import re
import sys
import types
from enum import Enum
from typing import NamedTuple

import numpy as np
import pytest

from fastconv import kernels
from fastconv.kernels import cuda as module
from fastconv.kernels import cuda_driver, cuda_nvrtc, cuda_presence
from fastconv.kernels.conv2d import cuda_coalesced, cuda_shared
from fastconv.kernels.cuda import FLOATS, Launch, cuda_jit, float32, int32
from fastconv.kernels.cuda_geometry import Conv2DGeometry, Pool2DGeometry, unsupported
from fastconv.testing import check_kernel, shapes_for
from fastconv.testing.kernel_cases import OPS, empty_arrays

CONV = kernels.Conv2DProblem.parse("N=2 H=9 W=11 C=6 K=10 R=3 S=2 groups=2 stride=2,1 padding=1,0,2,1")
NO_NUMBA_CUDA = pytest.mark.skipif(
    getattr(module.cuda, "implementation", "") != "NVIDIA", reason=module._NO_NUMBA_CUDA.format("lab")
)


def a_kernel(x, n):
    x[0] = n


@pytest.fixture
def kernel():
    return cuda_jit(FLOATS, int32, launch_bounds=32)(a_kernel)


# A launch is data.


def test_arrays_are_flat_views():
    array = np.zeros((2, 3, 4), "float32")
    launch = Launch(None, (1,), (32,), (array, 7, Pool2DGeometry(*range(14))))
    flat, number, numbers = launch.args
    assert flat.shape == (24,) and np.shares_memory(flat, array)
    assert number == 7 and numbers.pad_left == 13


def test_an_array_without_a_flat_view_is_refused():
    with pytest.raises(ValueError, match=r"C-contiguous; received shape \(3, 2\)"):
        Launch(None, (1,), (32,), (np.zeros((2, 3), "float32").T,))


def test_a_kernel_describes_its_launch():
    x, w, bias, y = empty_arrays("conv2d", CONV)
    (launch,) = cuda_shared.cuda_shared(CONV, x, w, bias, y, None, relu=True)
    assert (CONV.P, CONV.Q) == (4, 13)
    assert launch.grid == (4 * 1, 2 * 1, 2)  # tiles of 4 x 4 pixels; blocks of 32 filters in 2 groups; images
    assert launch.block == (32, 16)
    assert launch.shared_bytes == 4 * 9 * 5 * 3  # 3 * 2 + 3 rows, 3 * 1 + 2 columns, 3 channels of a group
    assert launch.args[-2:] == (1, 1)
    (launch,) = cuda_coalesced.cuda_coalesced(CONV, x, w, None, y, None)
    assert (launch.grid, launch.block, launch.shared_bytes) == (((2 * 4 * 13 * 10 + 255) // 256,), (256,), 0)
    assert launch.args[-2:] == (0, 0) and np.shares_memory(launch.args[2], y)


def test_geometry_is_the_problems():
    geometry = Conv2DGeometry.of(CONV)
    assert (geometry.C, geometry.group_C, geometry.K, geometry.group_K) == (6, 3, 10, 5)
    for name in Conv2DGeometry._fields[:-2]:
        assert getattr(geometry, name) == getattr(CONV, name)


@pytest.mark.parametrize(
    "shape, reason",
    [
        ("N=1 H=4 W=4 C=1 K=1 R=1 S=1 dtype=float64", "float32"),
        ("N=1024 H=1024 W=1024 C=2 K=1 R=1 S=1", "2147483648 elements"),
        ("N=2 H=1024 W=1024 C=1 K=1024 R=1 S=1", "2147483648 elements"),
        ("N=1 H=4 W=4 C=1 K=1 R=1 S=1", None),
    ],
)
def test_what_kernels_do_not_reach(shape, reason):
    found = unsupported(kernels.Conv2DProblem.parse(shape))
    assert (found is None) if reason is None else (reason in found)


@pytest.mark.parametrize(
    "shape, reason",
    [
        ("N=1 H=300 W=300 C=1 K=1 R=200 S=200", "203 x 203 pixels"),
        ("N=65536 H=1 W=1 C=1 K=1 R=1 S=1", "more images or filters"),
        ("N=1 H=1 W=1 C=65536 K=65536 R=1 S=1 groups=65536", "more images or filters"),
        ("N=1 H=64 W=64 C=4096 K=9 R=7 S=7", None),
    ],
)
def test_what_shared_memory_and_the_grid_do_not_hold(shape, reason):
    problem = kernels.Conv2DProblem.parse(shape)
    found = cuda_shared.unsupported(problem)
    assert (found is None) if reason is None else (reason in found)
    tiling = cuda_shared.Tiling.of(problem)
    assert reason or tiling.rows * tiling.columns * tiling.channels * 4 <= 48 * 1024 and tiling.channels >= 1


# Where it goes.


def test_a_launcher_stands_for_the_gpu():
    launched = []
    conv2d = kernels.get("conv2d", "cuda_naive")
    arrays = empty_arrays("conv2d", CONV)
    assert not module.simulated()
    with module.launched_by(launched.append):
        assert module.simulated() and module.unavailable() is None
        conv2d(CONV, *arrays, workspace=None)
    assert [launch.kernel.name for launch in launched] == ["_conv2d"]
    assert np.shares_memory(launched[0].args[0], arrays[0])


def test_nothing_is_launched_for_no_images():
    launched = []
    problem = kernels.Conv2DProblem.parse("N=0 H=4 W=5 C=2 K=3 R=3 S=2")
    with module.launched_by(launched.append):
        for name in ("cuda_naive", "cuda_shared"):
            kernels.get("conv2d", name)(problem, *empty_arrays("conv2d", problem), workspace=None)
    assert launched == []


class FakeArray:
    """An array on a GPU, as CuPy has them."""

    flags = types.SimpleNamespace(c_contiguous=True)
    __cuda_array_interface__: dict = {}

    itemsize = 4

    def __init__(self, shape):
        self.shape, self.size = shape, int(np.prod(shape))
        self.data = types.SimpleNamespace(ptr=0x7F0000000000 + self.size)  # beyond 32 bits, as addresses are

    def reshape(self, shape):
        return FakeArray((self.size,))


class FakeObjectCode:
    """Machine code that the driver has loaded; its kernels' handles are letters."""

    def __init__(self, cubin):
        assert cubin[:4] == b"\x7fELF"

    def get_kernel(self, name):
        return types.SimpleNamespace(handle=ord(name[0]))


@pytest.fixture
def fake_gpu(monkeypatch):
    """Stand-ins for CuPy, whose current stream is 77, and for the driver: a list of what reaches it."""
    calls = []

    def cu_launch_kernel(*arguments):
        calls.append(arguments)
        return (calls[0],) if isinstance(calls[0], Enum) else (0,)

    cupy = types.ModuleType("cupy")
    cupy.asarray = lambda array: array
    cupy.cuda = types.SimpleNamespace(
        is_available=lambda: True,
        get_current_stream=lambda: types.SimpleNamespace(ptr=77),
        Device=lambda: types.SimpleNamespace(compute_capability="90"),
    )
    numba_cuda = types.SimpleNamespace(
        implementation="NVIDIA", is_available=lambda: True, compile=getattr(module.cuda, "compile", None)
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(module, "cuda", numba_cuda)
    monkeypatch.setattr(cuda_driver, "_cu_launch_kernel", cu_launch_kernel)
    monkeypatch.setattr(cuda_driver, "_object_code", FakeObjectCode)
    module._no_gpu.cache_clear()
    yield calls
    module._no_gpu.cache_clear()


class CudaStream:
    """A stream of another library's."""

    def __cuda_stream__(self):
        return 0, 5


@pytest.mark.parametrize(
    "given, expected",
    [
        (None, 77),
        (types.SimpleNamespace(ptr=3), 3),
        (types.SimpleNamespace(handle=4), 4),
        (CudaStream(), 5),
        (6, 6),
        (0, 0),
    ],
)
@NO_NUMBA_CUDA
def test_the_callers_stream_is_taken(fake_gpu, kernel, given, expected):
    Launch(kernel, (3,), (32,), (FakeArray((2, 5)), 7), shared_bytes=64)(given)
    ((handle, *shape, shared_bytes, stream, _, extra),) = fake_gpu
    assert (handle, shape, shared_bytes, stream, extra) == (ord("a"), [3, 1, 1, 32, 1, 1], 64, expected, 0)


class Sizes(NamedTuple):
    height: int
    width: int


def another_kernel(x, n, sizes, scale, y):
    y[n] = x[sizes.width] * scale


@NO_NUMBA_CUDA
def test_arguments_lie_as_the_kernel_reads_them(fake_gpu):
    """Types are PTX's; of an array's seven words its address is read, and its length, as an index may be negative."""
    kernel = cuda_jit(FLOATS, int32, Sizes, float32, FLOATS)(another_kernel)
    x, y = FakeArray((3, 5)), FakeArray((7,))
    bound = Launch(kernel, (1,), (32,), (x, -2, Sizes(4, 6), 0.5, y)).bind()
    bound()
    bound()
    _, names = cuda_driver.machine_code(kernel, "90")
    expected = [0, 0, 15, 4, x.data.ptr, 15, 4, 2**32 - 2, 4, 6, 0.5, 0, 0, 7, 4, y.data.ptr, 7, 4]
    assert names == ("u64",) * 7 + ("u32",) * 3 + ("f32",) + ("u64",) * 7
    for *_, places, _ in fake_gpu:
        addresses = (ctypes.c_void_p * len(names)).from_address(places)
        read = [cuda_driver._C_TYPES[name].from_address(at).value for name, at in zip(names, addresses, strict=True)]
        assert read == expected
    ptx = kernel.ptx((9, 0))
    assert {int(n) for n in re.findall(r"ld\.param.*_param_(\d+)\]", ptx)} == {4, 5, 7, 9, 10, 15, 16}
    assert len(fake_gpu) == 2


@NO_NUMBA_CUDA
def test_cuda_cpp_takes_pointers_and_structs(fake_gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_CUDA_CACHE_DIR", str(tmp_path))
    (tmp_path / "mine.cu").write_text(
        "struct Sizes { int height, width; };\n"
        'extern "C" __global__ void mine(const float* x, Sizes sizes, float scale, float* y)'
        " { y[sizes.height] = x[sizes.width] * scale; }\n"
    )
    x, y = FakeArray((3, 5)), FakeArray((7,))
    kernel = cuda_nvrtc.CppKernel(str(tmp_path / "mine.py"), "mine")
    bound = Launch(kernel, (1,), (32,), (x, Sizes(4, 6), 0.5, y)).bind()
    bound()
    ((handle, *_, places, _),) = fake_gpu
    assert handle == ord("m")
    addresses = (ctypes.c_void_p * 4).from_address(places)
    kinds = (ctypes.c_uint64, ctypes.c_int32 * 2, ctypes.c_float, ctypes.c_uint64)
    read = [kind.from_address(at) for kind, at in zip(kinds, addresses, strict=True)]
    assert [read[0].value, list(read[1]), read[2].value, read[3].value] == [x.data.ptr, [4, 6], 0.5, y.data.ptr]


@NO_NUMBA_CUDA
def test_what_the_driver_refuses_is_said(fake_gpu, kernel):
    fake_gpu.append(Enum("CUresult", {"CUDA_ERROR_INVALID_VALUE": 1}).CUDA_ERROR_INVALID_VALUE)
    with pytest.raises(
        RuntimeError, match=r"a_kernel: the driver refuses CUDA_ERROR_INVALID_VALUE: a grid of \(3, 1, 1\)"
    ):
        Launch(kernel, (3,), (2048,), (FakeArray((2, 5)), 7))()


@NO_NUMBA_CUDA
@pytest.mark.parametrize("capability", ["75", "90", "121"])
def test_machine_code_is_made_without_a_gpu(kernel, capability):
    cubin, names = cuda_driver.machine_code(kernel, capability)
    assert cubin[:4] == b"\x7fELF" and b"a_kernel" in cubin and len(names) == 8


def test_a_registered_kernel_hands_the_stream_on(fake_gpu, monkeypatch):
    seen = []
    monkeypatch.setattr(Launch, "__call__", lambda self, stream=None: seen.append(stream))
    kernels.get("conv2d", "cuda_naive")(CONV, *empty_arrays("conv2d", CONV), workspace=None, stream="mine")
    assert seen == ["mine"]


def test_arrays_of_the_host_are_not_copied_in_silence(fake_gpu, kernel):
    with pytest.raises(TypeError, match="a_kernel takes arrays in the GPU's memory.*cupy.asarray"):
        Launch(kernel, (1,), (32,), (np.zeros(4, "float32"), 7))()


def test_other_arrays_come_in_without_a_copy(fake_gpu):
    class Interface:
        __cuda_array_interface__: dict = {}

    class DLPack:
        def __dlpack__(self, **options):
            raise AssertionError("CuPy asks for it")

    views = {}
    sys.modules["cupy"].asarray = lambda array: views.setdefault("asarray", FakeArray((2, 3)))
    sys.modules["cupy"].from_dlpack = lambda array: views.setdefault("from_dlpack", FakeArray((4, 5)))
    launch = Launch(None, (1,), (32,), (Interface(), DLPack()))
    assert list(views) == ["asarray", "from_dlpack"]
    assert [array.shape for array in launch.args] == [(6,), (20,)]


def test_a_bound_kernel_launches_what_it_was_bound_to():
    launched = []
    arrays = empty_arrays("conv2d", CONV)
    with module.launched_by(launched.append):
        bound = kernels.get("conv2d", "cuda_naive").bind(CONV, *arrays, workspace=None)
        assert launched == []
        bound()
        bound()
    assert len(launched) == 2 and launched[0] is launched[1]


# Where it cannot go anywhere.


@pytest.fixture
def no_gpu(monkeypatch):
    module._no_gpu.cache_clear()
    yield monkeypatch
    module._no_gpu.cache_clear()


def launching():
    kernels.get("conv2d", "cuda_naive")(CONV, *empty_arrays("conv2d", CONV), workspace=None)


@NO_NUMBA_CUDA
def test_without_cupy_the_extra_is_named(no_gpu):
    no_gpu.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"_conv2d cannot be launched: CuPy.*pip install 'fastconv\[cuda13\]'\.$"):
        launching()


def failing():
    raise RuntimeError("no CUDA-capable device is detected")


@pytest.mark.parametrize(
    "driver, devices, reason",
    [
        (0, failing, "there is no NVIDIA driver: install one"),
        (
            12040,
            failing,
            r"can run CUDA 12.4, and CuPy is made for 13.0. Update .*, or pip install 'fastconv\[cuda12\]'",
        ),
        (11080, failing, r"can run CUDA 11.8, and CuPy is made for 13.0. Update the driver\.$"),
        (
            13000,
            failing,
            r"finds no GPU \(no CUDA-capable device .*nvidia-smi lists, .* CUDA_VISIBLE_DEVICES='7' hides",
        ),
        (13020, lambda: 0, "finds no GPU: see what nvidia-smi lists"),
        (13020, lambda: 1, "CuPy finds a GPU and numba-cuda does not: it is broken"),
    ],
)
def test_without_a_gpu_the_reason_says_what_to_do(no_gpu, fake_gpu, driver, devices, reason):
    cupy = sys.modules["cupy"]
    cupy.cuda.is_available = lambda: False
    module.cuda.cuda_error = lambda: "it is broken"
    cupy.cuda.runtime = types.SimpleNamespace(
        driverGetVersion=lambda: driver, runtimeGetVersion=lambda: 13000, getDeviceCount=devices
    )
    no_gpu.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(RuntimeError, match=reason):
        launching()


@pytest.mark.parametrize(
    "capability, reason",
    [
        ("61", r"6.1 is too old for .* know 7.5 and later: pip install 'fastconv\[cuda12\]'"),
        ("130", "13.0 is newer than .* know 12.1 at most: pip install -U"),
        ("75", None),
        ("121", None),
    ],
)
def test_a_gpu_that_nothing_compiles_for(no_gpu, fake_gpu, capability, reason):
    no_gpu.setattr(cuda_presence, "_architectures", lambda: [75, 80, 90, 121])
    sys.modules["cupy"].cuda.Device = lambda: types.SimpleNamespace(compute_capability=capability)
    if reason is None:
        assert module.unavailable() is None
    else:
        assert re.search(reason, module.unavailable())


@pytest.mark.parametrize("cuda", [None, types.SimpleNamespace(implementation="Built-in")])
def test_without_numba_cuda_kernels_are_still_read_and_the_extra_is_named(no_gpu, cuda):
    no_gpu.setattr(module, "cuda", cuda)
    with pytest.raises(RuntimeError, match=r"numba-cuda is not installed: pip install 'fastconv\[cuda13\]'"):
        launching()
    with pytest.raises(ImportError, match=r"numba-cuda is not installed: pip install 'fastconv\[lab\]'"):
        cuda_coalesced._conv2d.ptx((9, 0))
    assert module.device_function(a_kernel) is a_kernel if cuda is None else True


@NO_NUMBA_CUDA
def test_ptx_needs_no_gpu(kernel):
    text = kernel.ptx((8, 0))
    assert ".target sm_80" in text and ".entry a_kernel(" in text and ".maxntid 32" in text
    assert ".loc" not in text and ".loc" in kernel.ptx((8, 0), lineinfo=True)


# A kernel is checked on the GPU's copies of guarded arrays; here CuPy's arrays are NumPy's.


@pytest.fixture
def numpy_as_cupy(monkeypatch):
    cupy = types.ModuleType("cupy")
    cupy.asarray, cupy.asnumpy = np.array, np.array
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def on_a_gpu(fault):
    """A kernel for a GPU that does what the reference does, and then `fault(y)`."""
    reference = kernels.get("conv2d", "reference")

    def run(problem, x, w, bias, y, workspace, relu=False):
        reference.run(problem, x, w, bias, y, workspace, relu=relu)
        fault(y)

    return kernels.Kernel("conv2d", "cuda_mine", "gpu", run, "nothing", lambda p: None, lambda p: 64, fuses=("relu",))


def test_check_kernel_takes_the_arrays_to_the_gpu_and_back(numpy_as_cupy):
    check_kernel(on_a_gpu(lambda y: None), CONV)


@pytest.mark.parametrize("place, check", [(-1, "integers"), (None, "bounds")])
def test_check_kernel_sees_faults_there(numpy_as_cupy, place, check):
    def fault(y):
        if place is None:
            np.lib.stride_tricks.as_strided(y.reshape(-1), (y.size + 1,), (4,))[-1] = 7
        else:
            y.reshape(-1)[place] += 1

    with pytest.raises(AssertionError) as failed:
        check_kernel(on_a_gpu(fault), CONV)
    assert failed.value.check == check


def test_only_some_checks():
    def fault(y):
        y[np.isnan(y)] = 0

    kernel = on_a_gpu(fault)
    with module.launched_by(lambda launch: None):
        check_kernel(kernel, CONV, only=("integers", "optional"))
        with pytest.raises(AssertionError, match="special values"):
            check_kernel(kernel, CONV, only=("special values",))


def test_every_array_of_every_op_has_a_place():
    for op in kernels.ops():
        problem = shapes_for(op, "edge")["plain"]
        assert len(empty_arrays(op, problem)) == len(OPS[op].inputs) + len(OPS[op].outputs)
