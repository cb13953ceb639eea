"""What the CUDA kernels are checked on without a GPU: every kernel on every tiny shape, and kernels that are wrong."""

import importlib
import inspect
import re
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from lab import simulated

from fastconv import kernels
from fastconv.inspecting.compile import ToolkitError, _find, toolkit_version
from fastconv.kernels.registry import backend_of
from fastconv.testing import shapes_for
from fastconv.testing.comparison import difference
from fastconv.testing.kernel_cases import OPS, cases


def why_no_toolkit():
    """Why CUDA kernels cannot be compiled here, or None."""
    try:
        toolkit_version()
        _find("nvdisasm")
    except ToolkitError as error:
        return str(error)
    return None


NEEDS_TOOLKIT = pytest.mark.skipif(why_no_toolkit() is not None, reason=str(why_no_toolkit()))


def shapes(op):
    """The tiny shapes of an op, by name."""
    return shapes_for(op, "lab")


def gpu_kernels():
    """Every registered kernel for a GPU."""
    return [kernel for op in kernels.ops() for kernel in kernels.variants(op, "gpu")]


def cuda_kernels():
    """Those in Python, which simulators run."""
    return [kernel for kernel in gpu_kernels() if backend_of(kernel.name) != "cudacpp"]


def cpp_kernels():
    """Those in CUDA C++, which the shim runs."""
    return [kernel for kernel in gpu_kernels() if backend_of(kernel.name) == "cudacpp"]


def run_simulated(kernel, problem, case):
    """The outputs of a case, on arrays that begin where allocations do, and the reports of the kernel's launches."""
    inputs = [case.inputs[name].copy() if name in case.inputs else None for name in OPS[kernel.op].inputs]
    outputs = [np.full_like(array, np.nan, np.float32) for array in case.expected.values()]
    workspace = np.empty(kernel.workspace_bytes(problem), np.uint8)
    reports = [
        simulated(launch) for launch in kernel.run(problem, *inputs, *outputs, workspace) if 0 not in launch.grid
    ]
    for report in reports:
        report.raise_if_wrong()
    return outputs, reports


def check_vectors(kernel):
    """Raise where a kernel is wrong on arrays that loads and stores of 128 bits can take, or makes none of these.

    `check_kernel` has most kinds of data on arrays that begin between multiples of 16 bytes.
    """
    vectors = 0
    for problem in shapes(kernel.op).values():
        for case in () if kernel.unsupported(problem) is not None else cases(kernel.op, problem, 0):
            outputs, reports = run_simulated(kernel, problem, case)
            for (name, expected), got in zip(case.expected.items(), outputs, strict=True):
                wrong = difference(name, got, expected.astype(np.float32), case.tolerance[name])
                assert wrong is None, f"{problem}, {case.check}: {wrong}"
            vectors += sum(line.stores.requests for r in reports for line in r.lines if "store4(" in line.text)
    assert vectors, f"{kernel.name} stored nothing by 128 bits"


@dataclass(frozen=True)
class Planted:
    """A fault: `old`, which a kernel's source holds once, becomes `new`; one of `checks` of check_kernel must fail.

    shared: modules beside the ops' folders that count as parts of the kernel's source, in the order of their imports.
    """

    op: str
    kernel: str
    old: str
    new: str
    checks: tuple[str, ...] = ("integers",)
    shared: tuple[str, ...] = ()

    def source(self):
        """The kernel's, with the shared modules' in place of the lines that import them."""
        source = inspect.getsource(sys.modules[kernels.get(self.op, self.kernel).run.__module__])
        for name in self.shared:
            module = importlib.import_module(f"fastconv.kernels.{name}")
            text = inspect.getsource(module).replace("from __future__ import annotations\n", "")
            imports = re.compile(rf"^from fastconv.kernels.{name} import (\([^)]*\)|.*)$", re.M)
            source, count = imports.subn(lambda _, text=text: text, source)
            assert count == 1, f"{self.op} {self.kernel} should import {name} in one place"
        return source

    def write(self, folder, index):
        """A file with the faulty kernel, which `registry.load` reads."""
        source = self.source()
        assert source.count(self.old) == 1, f"{self.op} {self.kernel} should hold {self.old!r} once"
        path = folder / f"cuda_planted{index}.py"
        text = source.replace(self.old, self.new).replace("@kernel(", f'@kernel(op="{self.op}", ')
        path.write_text(text, encoding="utf-8")
        return path


RELU, BOUNDS = ("integers", "relu"), ("integers", "bounds")
UNFUSED, FUSED = ("cuda_winograd",), ("cuda_winograd_fused",)  # shared modules
PRODUCT, TILES = (*UNFUSED, "cuda_batched_gemm"), (*FUSED, "cuda_winograd_tiles")
PLANTED = [
    Planted("conv2d", "cuda_naive", "0 <= h < g.H", "0 <= h <= g.H"),
    Planted("conv2d", "cuda_naive", "thread % pixels, thread // pixels", "thread // pixels, thread % pixels"),
    Planted("conv2d", "cuda_naive", "p * g.stride_h", "p * g.stride_w"),
    Planted(
        "conv2d",
        "cuda_naive",
        "if relu and total < float32(0)",
        "if relu and not total > float32(0)",
        ("relu", "special values"),
    ),
    Planted("conv2d", "cuda_coalesced", "k // uint32(g.group_K)", "k // uint32(g.group_C)"),
    Planted("conv2d", "cuda_coalesced", "if has_bias:", "if True:", ("optional",)),
    Planted("conv2d", "cuda_shared", "c < g.group_C:", "True:"),
    Planted("conv2d", "cuda_shared", "        cuda.syncthreads()\n        if", "        if"),
    Planted("conv2d", "cuda_shared", "(p.R - 1) * p.dilation_h + 1", "p.R"),
    Planted(
        "conv2d", "cuda_shared", "p < g.P and q < g.Q and k_in_group", "p < g.P and k_in_group", ("integers", "bounds")
    ),
    Planted("conv2d", "cuda_shared_filter", "    cuda.syncthreads()\n", ""),
    Planted("conv2d", "cuda_shared_filter", "pixel + WARPS", "pixel + WARPS + 1", ("integers", "bounds")),
    Planted(
        "conv2d", "cuda_register_tile", "            cuda.syncthreads()\n            _multiply", "            _multiply"
    ),
    Planted("conv2d", "cuda_register_tile", "and c < g.group_C:", "and True:"),
    Planted("conv2d", "cuda_register_tile", "q * g.stride_w * channels", "q * channels"),
    Planted("conv2d", "cuda_im2col", "        cuda.syncthreads()\n        multiply_add", "        multiply_add"),
    Planted("conv2d", "cuda_im2col", "* g.C + group * g.group_C", "* g.C + group"),
    Planted("conv2d", "cuda_im2col", "k0 + k * LANES", "k0 + k", ("integers", "bounds")),
    Planted("conv2d", "cupy_im2col", "i % uint32(filters)", "i // uint32(filters)"),
    Planted("conv2d", "cupy_im2col", "if relu and total", "if total", ("integers",)),
    Planted("im2col", "cuda_rows", "0 <= h < g.H", "0 <= h <= g.H"),
    Planted("im2col", "cuda_rows", "p, n = int32(0), int32(n + 1)", "n = int32(n + 1)"),
    Planted("conv2d", "cuda_implicit_gemm", "        cuda.syncthreads()\n", ""),
    Planted("conv2d", "cuda_implicit_gemm", "element < uint32(g.R * g.S * g.group_C)", "True", ("integers", "bounds")),
    Planted("conv2d", "cuda_implicit_gemm", "if pixel < pixels:", "if pixel <= pixels:", ("integers", "bounds")),
    Planted("conv2d", "cuda_implicit_gemm", "g.group_C % 4 == 0 and aligned(x)", "aligned(x)", ("floats", "repeat")),
    Planted("conv2d", "cuda_mma_tf32", "        cuda.syncthreads()\n", ""),
    Planted("conv2d", "cuda_mma_tf32", "a0, a1, a2, a3, b[j * 2]", "a0, a2, a1, a3, b[j * 2]"),
    Planted("conv2d", "cuda_mma_tf32", "xs[at + 8 * X_ROW]", "xs[at + 7 * X_ROW]"),
    Planted(
        "conv2d", "cuda_mma_tf32", "thread % 32 // 4), uint32(thread % 4)", "thread % 8), uint32(thread % 32 // 8)"
    ),
    Planted("conv2d", "cuda_mma_tf32", "element < uint32(g.R * g.S * g.group_C)", "True", ("integers", "bounds")),
    Planted("conv2d", "cuda_mma_tf32", "if filters > j * 8 + 1:", "if True:", BOUNDS, ("cuda_mma",)),
    Planted("conv2d", "cuda_mma_tf32", "store4(xs, at, tf32(next_x[e])", "store4(xs, at, next_x[e]", ("floats",)),
    Planted("conv2d", "cuda_multistage_tf32", "            wait_async(LATER)\n", ""),
    Planted("conv2d", "cuda_multistage_tf32", "LATER = AHEAD - 1", "LATER = AHEAD"),
    Planted("conv2d", "cuda_multistage_tf32", "            cuda.syncthreads()\n", ""),
    Planted("conv2d", "cuda_multistage_tf32", "        commit_async()  #", "        #"),
    Planted("conv2d", "cuda_multistage_tf32", "plan.slices + AHEAD", "plan.slices + LATER"),
    Planted(
        "conv2d",
        "cuda_multistage_tf32",
        "copy1_async(xs, at, x, uint32(corner[i] + offset if inside else 0), inside)",
        "copy1_async(xs, at, x, uint32(corner[i] + offset if inside else 0), True)",
    ),
    Planted("conv2d_backward_data", "cuda_naive", "c - group * g.group_C", "c"),
    Planted("conv2d_backward_data", "cuda_naive", "h + g.pad_top - r", "h - g.pad_top - r"),
    Planted(
        "conv2d_backward_data",
        "cuda_coalesced",
        "transpose(w, turned, g.R * g.S, g.group_C, g.K)",
        "transpose(w, turned, 1, g.R * g.S * g.group_C, g.K)",
    ),
    Planted(
        "conv2d_backward_data",
        "cuda_coalesced",
        "(r * g.S + s) * g.K + k) * g.group_C",
        "(r * g.S + s) * g.K + k) * g.C",
        ("integers", "bounds"),
    ),
    Planted("conv2d_backward_data", "cuda_im2col", "tap * uint32(g.C)", "tap * uint32(g.group_C)"),
    Planted("conv2d_backward_data", "cuda_im2col", "d < g.group_K and i < rows", "i < rows", ("integers", "bounds")),
    Planted(
        "conv2d_backward_data",
        "cuda_im2col",
        "        cuda.syncthreads()\n        multiply_add",
        "        multiply_add",
    ),
    Planted("conv2d_backward_data", "cupy_im2col", "gx, first, images)", "gx, first, 1)", ("integers", "bounds")),
    Planted(
        "conv2d_backward_data",
        "cupy_im2col",
        "steps += [MatMul(rows, of_w.T",
        "steps += [MatMul(rows, of_w.reshape(problem.K, depth)",
    ),
    Planted(
        "conv2d_backward_data", "cuda_depthwise", "int32(p + i) < g.P", "int32(p + i) <= g.P", ("integers", "bounds")
    ),
    Planted(
        "conv2d_backward_data",
        "cuda_depthwise",
        "strip % uint32(phases))\n",
        "strip % uint32(phases) + 1)\n",
        ("integers", "bounds"),
    ),
    Planted(
        "conv2d_backward_data",
        "cuda_depthwise",
        "gate[at] <= float32(0)",
        "gate[at] < float32(0)",
        ("integers", "relu"),
    ),
    Planted("conv2d_backward_data", "cuda_implicit_gemm", "        cuda.syncthreads()\n", ""),
    Planted("conv2d_backward_data", "cuda_implicit_gemm", "int32(back + step.q)", "int32(back + step.s)"),
    Planted("conv2d_backward_data", "cuda_implicit_gemm", "or h >= g.H or", "or", ("integers", "bounds")),
    Planted(
        "conv2d_backward_data",
        "cuda_implicit_gemm",
        "g.group_K % 4 == 0 and aligned(gy, w)",
        "aligned(gy, w)",
        ("floats", "repeat"),
    ),
    Planted(
        "conv2d_backward_data", "cuda_implicit_gemm", "if y <= float32(0)", "if y < float32(0)", ("integers", "relu")
    ),
    Planted("col2im", "cuda_rows", "0 <= p < g.P", "0 <= p <= g.P", ("integers", "bounds")),
    Planted("col2im", "cuda_rows", "int32(q - step.q)", "int32(q - 1)"),
    Planted("conv2d_backward_filter", "cuda_naive", "range(int32(g.N * g.P * g.Q))", "range(int32(g.P * g.Q))"),
    Planted(
        "conv2d_backward_filter", "cuda_naive", "thread >= uint32(g.R", "thread > uint32(g.R", ("integers", "bounds")
    ),
    Planted("max_pool2d", "cuda_naive", "or value != value", "", ("special values",)),
    Planted("max_pool2d", "cuda_naive", "LOWEST = np.float32(-np.inf)", "LOWEST = np.float32(0)"),
    Planted("max_pool2d_backward", "cuda_naive", "value > best", "value >= best"),
    Planted("average_pool2d", "cuda_naive", "total / count", "total / float32(g.R * g.S)"),
    Planted("average_pool2d_backward", "cuda_naive", "0 <= int32(start", "-1 <= int32(start"),
    Planted("max_pool2d", "cuda_column", "or value != value", "", ("special values",)),
    Planted("max_pool2d", "cuda_column", "int32(p + i) < g.P", "int32(p + i) <= g.P", ("integers", "bounds")),
    Planted("max_pool2d_backward", "cuda_window", "value > best[i]", "value >= best[i]"),
    Planted("max_pool2d_backward", "cuda_window", "bottom = g.H", "bottom = int32(g.H - 1)"),
    Planted("max_pool2d_backward", "cuda_argmax", "value > best[i]", "value >= best[i]"),
    Planted("max_pool2d_backward", "cuda_argmax", "int32(i * g.S)", "int32(i * g.R)"),
    Planted("average_pool2d", "cuda_column", "float32(rows[i] * columns)", "float32(g.R * columns)"),
    Planted("average_pool2d", "cuda_column", "int32(top + i * g.stride_h) <", "int32(top + i) <"),
    Planted("average_pool2d_backward", "cuda_column", "min(left + g.S, g.W)", "left + g.S"),
    Planted("average_pool2d_backward", "cuda_column", "uint32(j + g.pad_left)", "uint32(j)"),
    Planted("conv2d", "cuda_depthwise", "uint32(k) // uint32(g.group_K)", "uint32(k) % uint32(g.C)"),
    Planted("conv2d", "cuda_depthwise", "int32(p + i) < g.P", "int32(p + i) <= g.P", ("integers", "bounds")),
    Planted("conv2d_backward_filter", "cuda_split", "min(row + to.terms, g.N * g.P)", "row + to.terms"),
    Planted("conv2d_backward_filter", "cuda_split", "row // uint32(g.P)", "row // uint32(g.Q)"),
    Planted("conv2d", "cuda_few_channels", "        cuda.syncthreads()\n", ""),
    Planted("conv2d", "cuda_few_channels", "p0 + row >= g.P", "p0 + row > g.P", ("integers", "bounds")),
    Planted("conv2d", "cuda_few_channels", "i * stride + s * dilation", "i * stride + s"),
    Planted("conv2d", "cuda_few_channels", "if k < g.K:", "if k <= g.K:", ("floats", "repeat", "bounds")),
    # What is wrong on 128-bit loads only shows on arrays that begin on a cache line, those of "repeat".
    Planted(
        "max_pool2d",
        "cuda_vectorized",
        "line < i * stride_h + R:",
        "line < i * stride_h + R - 1:",
        ("floats", "repeat"),
    ),
    Planted("max_pool2d", "cuda_vectorized", "int32(p + i) < g.P", "int32(p + i) <= g.P", ("floats", "repeat")),
    Planted("average_pool2d", "cuda_vectorized", "count[i] * columns", "R * columns", ("floats", "repeat")),
    Planted("average_pool2d", "cuda_vectorized", "0 <= h < g.H and 0 <= j", "0 <= h and 0 <= j", ("floats", "repeat")),
    Planted("average_pool2d_backward", "cuda_vectorized", "min(left + g.S, g.W)", "left + g.S", ("floats", "repeat")),
    Planted("average_pool2d_backward", "cuda_vectorized", "uint32(j + g.pad_left)", "uint32(j)", ("floats", "repeat")),
    Planted(
        "max_pool2d_backward", "cuda_window_vectorized", "bottom = g.H", "bottom = int32(g.H - 1)", ("floats", "repeat")
    ),
    Planted(
        "max_pool2d_backward", "cuda_window_vectorized", "value[k] > best", "value[k] < best", ("floats", "repeat")
    ),
    Planted(
        "max_pool2d_backward",
        "cuda_argmax_vectorized",
        "<< uint32(8 * k)",
        "<< uint32(24 - 8 * k)",
        ("floats", "repeat"),
    ),
    Planted(
        "max_pool2d_backward", "cuda_argmax_vectorized", "(line - i * stride_h) * S", "line * S", ("floats", "repeat")
    ),
    Planted("conv2d_backward_filter", "cuda_split", "g.N * g.P * g.Q, g.K, rest", "g.N * g.P * g.Q - 1, g.K, rest"),
    Planted(
        "conv2d_backward_filter", "cuda_im2col", "        cuda.syncthreads()\n        multiply", "        multiply"
    ),
    Planted("conv2d_backward_filter", "cuda_im2col", "* g.C + group * g.group_C", "* g.C + group"),
    Planted("conv2d_backward_filter", "cuda_im2col", "g.N * g.P * g.Q, g.K, memory", "g.P * g.Q, g.K, memory"),
    Planted(
        "conv2d_backward_filter",
        "cupy_im2col",
        "gradients[first : first + rows]",
        "gradients[first : first + rows][::-1]",
    ),
    Planted("conv2d_backward_filter", "cupy_im2col", "gy, gb, pixels,", "gy, gb, pixels - 1,"),
    Planted("conv2d_backward_filter", "cuda_implicit_gemm", "        cuda.syncthreads()\n        this", "        this"),
    Planted(
        "conv2d_backward_filter", "cuda_implicit_gemm", "if row < rows:", "if row <= rows:", ("integers", "bounds")
    ),
    Planted(
        "conv2d_backward_filter",
        "cuda_implicit_gemm",
        "g.group_C % 4 == 0 and aligned(x)",
        "aligned(x)",
        ("floats", "repeat"),
    ),
    Planted("conv2d_backward_filter", "cuda_implicit_gemm", "bias[i] += next_gy[i]", "bias[i] = next_gy[i]"),
    Planted(
        "conv2d_backward_filter",
        "cuda_few_channels",
        "            cuda.syncthreads()\n            while",
        "            while",
    ),
    Planted("conv2d_backward_filter", "cuda_few_channels", "uint32(row0 + thread) % uint32", "uint32(thread) % uint32"),
    Planted(
        "conv2d_backward_filter", "cuda_few_channels", "% uint32(g.S) * g.dilation_w", "% uint32(g.S) * g.dilation_h"
    ),
    Planted(
        "conv2d_backward_filter",
        "cuda_depthwise",
        "uint32(k + j) // uint32(g.group_K)",
        "uint32(k) // uint32(g.group_K)",
    ),
    Planted("conv2d_backward_filter", "cuda_depthwise", "q * g.stride_w", "q * g.stride_h"),
    Planted("conv2d_backward_filter", "cuda_depthwise", "pixel + lines.number", "pixel + lines.across"),
    Planted("conv2d", "cuda_winograd", "prepared)\n", "workspace)\n"),
    Planted("conv2d", "cuda_winograd", "bias, y, workspace, relu, prepared", "None, y, workspace, relu, prepared"),
    Planted("conv2d", "cuda_winograd", "cuda.syncthreads()  #", "#", shared=PRODUCT),
    Planted("conv2d", "cuda_winograd", "row + y * (ROWS // 2))", "row + y)", shared=PRODUCT),
    Planted("conv2d", "cuda_grouped", "uint32(g.group_K) * g.group_C", "uint32(g.group_K) * g.group_K"),
    Planted("conv2d", "cuda_grouped", "int32(p + i) < g.P", "int32(p + i) <= g.P", ("integers", "bounds")),
    Planted("conv2d_backward_filter", "cuda_grouped", "a[e] * b[f]", "a[f] * b[e]"),
    Planted("conv2d_backward_filter", "cuda_grouped", "* g.stride_h - g.pad_top", "- g.pad_top"),
    Planted("conv2d_backward_data", "cuda_grouped", "c - group * g.group_C", "c"),
    Planted("conv2d_backward_data", "cuda_grouped", "q - step.q", "q + step.q"),
    Planted("conv2d", "cuda_winograd_fused", "turned=False", "turned=True"),
    Planted("conv2d", "cuda_winograd_fused", "filters, bias", "filters, None"),
    Planted("conv2d", "cuda_winograd_fused", "cuda.syncthreads()  #", "#", shared=FUSED),
    Planted("conv2d", "cuda_winograd_fused", "n < t.N and 0 <= h", "0 <= h", ("integers", "bounds"), FUSED),
    Planted("conv2d", "cuda_winograd_fused", "tile0 + half * HALF + tile", "tile0 + tile", shared=FUSED),
    Planted("conv2d", "cuda_winograd_fused", "h < t.H and w < t.W:", "h < t.H:", ("integers", "bounds"), TILES),
    Planted(
        "conv2d", "cuda_winograd_fused", "tile % uint32(t.dilation_h)", "tile % uint32(t.dilation_w)", shared=TILES
    ),
    Planted("conv2d_backward_data", "cuda_winograd", "gx, workspace, relu)\n", "gx, workspace, None)\n", RELU),
    Planted(
        "conv2d_backward_data", "cuda_winograd", "workspace, turned=True", "workspace, turned=False", shared=UNFUSED
    ),
    Planted("conv2d_backward_data", "cuda_winograd_fused", "turned=True", "turned=False"),
    Planted("conv2d_backward_data", "cuda_winograd_fused", "None, relu, gx", "None, None, gx", RELU),
    Planted("conv2d_backward_data", "cuda_winograd_fused", "2 * p.dilation_h", "2 * p.dilation_w", shared=TILES),
    Planted(
        "conv2d_backward_data", "cuda_winograd_fused", "mask[at] <= float32(0)", "mask[at] < float32(0)", RELU, TILES
    ),
    Planted(
        "conv2d_backward_data",
        "cuda_winograd_fused",
        "(8 - tap) * WARP",
        "tap * WARP",
        shared=("cuda_winograd_filters",),
    ),
    Planted("conv2d_backward_data", "cuda_winograd_fused", "k0 + lane < K", "True", shared=("cuda_winograd_filters",)),
    Planted("conv2d_backward_filter", "cuda_winograd", "gradient=True", "gradient=False"),
    Planted("conv2d_backward_filter", "cuda_winograd", "tap // 3 * SIZE + tap % 3]", "tap % 3 * SIZE + tap // 3]"),
    Planted("conv2d_backward_filter", "cuda_winograd", "c >= uint32(x.channels)", "False", BOUNDS),
]
