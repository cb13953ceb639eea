"""Kernels in CUDA C++ without a GPU: run by g++ under AddressSanitizer, compiled by NVRTC, and wrong on purpose."""

import ctypes
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT, cpp_kernels, shapes

from fastconv import kernels
from fastconv.cli import main
from fastconv.kernels import cuda, cuda_driver, cuda_nvrtc, cuda_tiles, registry
from fastconv.kernels.conv2d import cudacpp_implicit_gemm as forward
from fastconv.kernels.conv2d_backward_data import cudacpp_implicit_gemm as backward_data
from fastconv.kernels.conv2d_backward_filter import cudacpp_implicit_gemm as backward_filter
from fastconv.kernels.cuda import Launch, TooOldError
from fastconv.kernels.cuda_geometry import Conv2DGeometry
from fastconv.kernels.cuda_nvrtc import CppKernel
from fastconv.kernels.cuda_pixels import Step
from fastconv.kernels.cuda_taps import TapSteps
from fastconv.testing import Mismatch, SimulationError, check_kernel
from fastconv.testing.launching import simulate_launch
from fastconv.testing.shim import no_compiler, run_on_cpu

NEEDS_COMPILER = pytest.mark.skipif(no_compiler() is not None, reason=str(no_compiler()))
CHECKS = None if os.environ.get("FASTCONV_TEST_EVERYTHING") else ("integers", "floats", "relu", "special values")
CHOSEN = ("padding_over_window", "groups", "vectors_strides", "batch_0")


def chosen(op):
    """The shapes that take different ways through a kernel; all, where there is time."""
    every = shapes(op)
    return every if os.environ.get("FASTCONV_TEST_EVERYTHING") else {name: every[name] for name in CHOSEN}


def check_on_cpu(kernel, problem, only=CHECKS):
    """`check_kernel` with every launch on the CPU."""
    with cuda.launched_by(simulate_launch):
        check_kernel(kernel, problem, only=only)


@NEEDS_COMPILER
@pytest.mark.parametrize("kernel", cpp_kernels(), ids=lambda kernel: f"{kernel.op}-{kernel.name}")
def test_clean_and_right_on_the_cpu(kernel):
    for problem in chosen(kernel.op).values():
        check_on_cpu(kernel, problem)


# What is wrong must be found.

GEMM = "cudacpp_implicit_gemm"
BARRIER, SOME = "            __syncthreads();\n", "            if (threadIdx.x > 0)\n                __syncthreads();\n"
SWAPPED_A = "row + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 4"  # registers 1 and 2 of a fragment of A
PLANTED = [  # op, kernel, header, an old text that it holds once, the new text, shape
    ("conv2d", GEMM, "geometry", "(i) < static", "(i) <= static", "padding_over_window"),
    ("conv2d", GEMM, "forward", "row < g.R * g.S", "row <= g.R * g.S", "padding_sides"),
    ("conv2d", GEMM, "product_float32", BARRIER, "", "C_33"),
    ("conv2d", GEMM, "product_float32", BARRIER, SOME, "plain"),
    ("conv2d", f"{GEMM}_tf32", "product_tf32", "row + lane % 16, k + lane / 16 * 4", SWAPPED_A, "plain"),
    ("conv2d", f"{GEMM}_tf32", "product_tf32", "wait_async<AHEAD - 1>", "wait_async<AHEAD>", "plain"),
    ("conv2d_backward_data", GEMM, "backward_data", "j >= g.W)", "j > g.W)", "strides"),
    ("conv2d_backward_filter", GEMM, "backward_filter", "q[i] >= g.Q", "q[i] > g.Q", "window_3x3"),
    ("conv2d", f"{GEMM}_bf16", "product_bfloat16", "right[j][0] = found[0]", "right[j][0] = found[2]", "plain"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where what is compiled from tests' own sources is kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def changed(tmp_path, monkeypatch, folder):
    """Makes a copy of all sources with one text replaced, and a kernel of that copy."""

    def change(op, name, header, old, new):
        file = f"cuda_cpp/{header}.cuh"
        for part in ("cuda_cpp", op):
            shutil.copytree(cuda_nvrtc.FOLDER / part, tmp_path / part, ignore=shutil.ignore_patterns("*.py"))
        text = (tmp_path / file).read_text()
        assert text.count(old) == 1, f"{file} should hold {old!r} once"
        (tmp_path / file).write_text(text.replace(old, new))
        monkeypatch.setattr(cuda_nvrtc, "FOLDER", tmp_path)
        monkeypatch.setattr("fastconv.testing.shim.FOLDER", tmp_path)
        monkeypatch.setenv("FASTCONV_CUDA_CACHE_DIR", str(folder))
        kernel = kernels.get(op, name)

        def launcher(launch):
            if isinstance(launch.kernel, CppKernel):
                copy = CppKernel(str(tmp_path / op / launch.kernel.path.name), launch.kernel.name)
                launch = Launch(copy, launch.grid, launch.block, launch.args)
            simulate_launch(launch)

        return kernel, launcher

    return change


@NEEDS_COMPILER
@pytest.mark.parametrize("index", range(len(PLANTED)), ids=lambda i: f"{PLANTED[i][0]}-{PLANTED[i][2]}-{i}")
def test_a_planted_fault_is_found(changed, index):
    op, name, header, old, new, shape = PLANTED[index]
    kernel, launcher = changed(op, name, header, old, new)
    with cuda.launched_by(launcher), pytest.raises((Mismatch, SimulationError)):
        check_kernel(kernel, shapes(op)[shape], only=("integers", "floats"))


@pytest.fixture
def written(tmp_path, monkeypatch, folder):
    """Makes a kernel of a text."""
    monkeypatch.setenv("FASTCONV_CUDA_CACHE_DIR", str(folder))

    def write(body, name="mine", headers=("instructions",)):
        path = tmp_path / f"{name}.cu"
        included = "".join(f'#include "cuda_cpp/{header}.cuh"\n' for header in headers)
        path.write_text(f'{included}extern "C" __global__ void {name}{body}\n')
        return CppKernel(str(path), name)

    return write


@NEEDS_COMPILER
@pytest.mark.parametrize(
    "body, said",
    [
        ("(float* x) { x[threadIdx.x + 1] = 1; }", "AddressSanitizer: heap-buffer-overflow"),
        ("(float* x) { if (threadIdx.x == 0) x[0] = x[-1]; }", "AddressSanitizer: heap-buffer-overflow"),
        ("(float* x) { __shared__ float s[64]; s[threadIdx.x * 2 + 1] = 1; x[0] = s[0]; }", "index 65 out of bounds"),
        ("(float* x) { *reinterpret_cast<float4*>(x + 1) = float4{}; }", "misaligned address"),
        ("(float* x) { x[0] = threadIdx.x; }", "a race: element [0] of array 0"),
        (
            "(float* x) { if (threadIdx.x < 32) __syncthreads(); }",
            "threads wait at __syncthreads while others have ended, so many: 32",
        ),
        (
            "(float* x) { float d[4] = {}; unsigned a[4] = {}, b[2] = {}; if (threadIdx.x) mma_tf32(d, a, b); }",
            "do not all come to an instruction of the warp",
        ),
        (
            "(float* x) { float d[4] = {}; unsigned a[4] = {1}, b[2] = {}; mma_tf32(d, a, b); }",
            "given a number that is no TF32",
        ),
        ("(float* x, int n) { }", "parameters are not as many as the launch's arguments, 1"),
        ("(int n) { }", "has not the size of the launch's argument"),
        ("(float* x) { return 1; }", "g++ refuses mine"),
    ],
)
def test_what_the_shim_finds(written, body, said):
    x = np.zeros(64, np.float32)
    with pytest.raises(SimulationError, match=re.escape(said)):
        run_on_cpu(Launch(written(body), (1,), (64,), (x,)))


@NEEDS_COMPILER
def test_shared_memory_begins_as_nan_and_copies_arrive_when_waited_for(written):
    kernel = written(
        """(const float* x, float* y) {
            __shared__ __align__(16) float s[8];
            y[0] = s[0];
            copy16_async(s, x, true), copy16_async(s + 4, x, false), commit_async();
            y[1] = s[3];
            wait_async<0>();
            y[2] = s[3], y[3] = s[4];
        }"""
    )
    y = np.zeros(4, np.float32)
    run_on_cpu(Launch(kernel, (1,), (1,), (np.arange(4, dtype=np.float32), y)))
    np.testing.assert_array_equal(y, [np.nan, np.nan, 3, 0])


@NEEDS_COMPILER
def test_what_a_warp_reads_of_a_slice_lies_in_different_banks(written):
    """Places of the swizzled layouts, and which of them a warp reads at once."""
    kernel = written(
        """(int* deep_tf32, int* wide_tf32, int* deep_bf16, int* wide_bf16) {
            const int line = threadIdx.x % 128, k = threadIdx.x / 128 + blockIdx.x * 8;
            deep_tf32[line * 16 + k] = DeepTf32::place(line, k);
            wide_tf32[k * 128 + line] = WideTf32::place(line, k);
            deep_bf16[line * 16 + k] = DeepBfloat16::place(line, k);
            wide_bf16[k * 128 + line] = WideBfloat16::place(line, k);
        }""",
        "places",
        ("product_tf32", "product_bfloat16"),
    )
    places = [np.zeros(2048, np.int32) for _ in range(4)]
    run_on_cpu(Launch(kernel, (2,), (1024,), tuple(places)))
    deep_tf32, wide_tf32, deep_bf16, wide_bf16 = places
    for place in places:
        assert sorted(place) == list(range(2048)), "every number has a place of its own"
    lines = np.arange(8)
    for first in range(0, 128, 8):
        for k in range(0, 16, 4):  # the eight rows of a matrix of load_matrices, 16 bytes each
            assert len(set(deep_tf32.reshape(128, 16)[first + lines, k] % 32)) == 8
            assert set(deep_tf32.reshape(128, 16)[first + lines, k] % 4) == {0}
        for k in (0, 8):
            assert len(set(deep_bf16.reshape(128, 16)[first + lines, k] % 64)) == 8
            assert len(set(wide_bf16.reshape(16, 128)[k + lines, first] % 64)) == 8
        for k in range(0, 16, 4):  # single numbers of 4 steps and 8 lines
            assert len(set(wide_tf32.reshape(16, 128)[k : k + 4, first + lines].reshape(-1) % 32)) == 32


@NEEDS_COMPILER
@pytest.mark.usefixtures("forget_user_kernels")
def test_a_kernel_of_the_users_own_has_its_own_source(tmp_path):
    path = tmp_path / "cudacpp_mine.py"
    assert main(["new-kernel", "conv2d", str(path)]) == 0
    kernel = registry.load("conv2d", path)
    check_on_cpu(kernel, shapes("conv2d")["K_33"], ("integers",))
    source = path.with_suffix(".cu")
    source.write_text(source.read_text().replace("source.store(y, row,", "source.store(y, row + 1,"))
    with pytest.raises((Mismatch, SimulationError)):
        check_on_cpu(kernel, shapes("conv2d")["K_33"], ("integers",))
    path.unlink()
    assert main(["new-kernel", "conv2d", str(path)]) == 2, "cudacpp_mine.cu would be lost"


# How kernels reach a GPU.


def test_the_structs_are_the_named_tuples():
    text = (cuda_nvrtc.FOLDER / "cuda_cpp" / "geometry.cuh").read_text()
    assert fields(text, "Conv2DGeometry") == Conv2DGeometry._fields
    for name in ("ROWS", "COLUMNS", "THREADS"):
        assert re.search(rf"\b{name} = {getattr(cuda_tiles, name)}\b", text), name
    for header, struct, fields_in_python in (
        ("forward", "ForwardPlan", forward.Plan._fields),
        ("backward_data", "BackwardDataPlan", backward_data.Plan._fields),
        ("backward_data", "TapSteps", TapSteps._fields),
        ("backward_filter", "BackwardFilterPlan", backward_filter.Plan._fields),
        ("backward_filter", "PixelStep", Step._fields),
    ):
        assert fields((cuda_nvrtc.FOLDER / "cuda_cpp" / f"{header}.cuh").read_text(), struct) == fields_in_python


def fields(text, struct):
    """The fields of a struct, all of them int, in their order."""
    body = re.search(rf"struct {struct} {{(.*?)}};", text, re.DOTALL)[1]
    lines = re.sub(r"//.*", "", body)
    assert set(re.findall(r"(\w+) \w+[,;]", lines)) == {"int"}
    return tuple(re.findall(r"\w+(?=[,;])", lines))


def test_parameters_are_laid_out_as_the_driver_wants_them():
    x = np.zeros(4, np.float32)
    on_gpu = SimpleNamespace(__cuda_array_interface__={}, data=SimpleNamespace(ptr=4096))
    g = Conv2DGeometry(*range(len(Conv2DGeometry._fields)))
    address, place, numbers, count, factor = cuda_nvrtc.parameters((x, on_gpu, g, 7, 0.5))
    assert (address.value, place.value) == (x.ctypes.data, 4096)
    assert bytes(numbers) == np.arange(len(g), dtype=np.int32).tobytes()
    assert (type(count), count.value, type(factor), factor.value) == (ctypes.c_int32, 7, ctypes.c_float, 0.5)


@NEEDS_TOOLKIT
def test_machine_code_is_kept_until_a_source_changes(written, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTCONV_CUDA_CACHE_DIR", str(tmp_path / "cache"))
    kernel = written("(float* x) { x[threadIdx.x] = 1; }")
    cubin, names = cuda_driver.machine_code(kernel, "90")
    assert cubin.startswith(b"\x7fELF") and names == ()
    assert [path.read_bytes() for path in cuda_nvrtc.cache_folder().iterdir()] == [cubin]
    with monkeypatch.context() as patched:
        patched.setattr(CppKernel, "_compile", None)
        assert kernel.cubin("90") == cubin
    assert kernel.cubin("80") != cubin
    kernel.path.write_text(kernel.path.read_text().replace("= 1", "= 2"))
    assert kernel.cubin("90") != cubin
    assert len(list(cuda_nvrtc.cache_folder().iterdir())) == 3


@NEEDS_TOOLKIT
def test_what_nvrtc_refuses_is_said(written):
    with pytest.raises(RuntimeError, match=r"mine.cu, compiled for compute_90: .*identifier \"nothing\" is undefined"):
        written("(float* x) { x[0] = nothing; }").ptx((9, 0))


def test_an_instruction_that_an_architecture_lacks_is_refused(tmp_path):
    with pytest.raises(TooOldError, match=r"needs compute capability 8.0, and this is 7.5"):
        CppKernel(str(tmp_path / "mine.cu"), "mine", needs=(8, 0)).ptx((7, 5))
