"""What every CUDA kernel may take on every architecture: no spills, no float64, and no more than was measured.

A ceiling is what the architecture that needs most takes with toolkit 13.0; instructions are rounded up to the next 50.
A kernel that needs more fails and says by how much; where that is meant, its line here is raised.
"""

import os

import pytest
from cuda_cases import NEEDS_TOOLKIT, cpp_kernels, gpu_kernels, shapes

from fastconv.inspecting.architectures import ARCHITECTURES
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels.cuda import TooOldError

CEILINGS = {  # op, kernel, function: registers, instructions
    ("average_pool2d", "cuda_naive", "_average_pool2d"): (38, 550),
    ("average_pool2d", "cuda_column", "_average_pool2d"): (43, 800),
    ("average_pool2d_backward", "cuda_column", "_average_pool2d_backward"): (40, 600),
    ("average_pool2d_backward", "cuda_naive", "_average_pool2d_backward"): (34, 1300),
    ("conv2d", "cuda_coalesced", "_conv2d"): (40, 500),
    ("conv2d", "cudacpp_implicit_gemm", "conv2d"): (128, 1850),
    ("conv2d", "cudacpp_implicit_gemm_tf32", "conv2d"): (128, 1650),
    ("conv2d", "cudacpp_implicit_gemm_bf16", "conv2d"): (128, 1450),
    ("conv2d_backward_data", "cudacpp_implicit_gemm", "backward_data"): (128, 2800),
    ("conv2d_backward_data", "cudacpp_implicit_gemm_tf32", "backward_data"): (128, 2400),
    ("conv2d_backward_data", "cudacpp_implicit_gemm_bf16", "backward_data"): (128, 2250),
    ("conv2d_backward_filter", "cudacpp_implicit_gemm", "backward_filter"): (128, 1200),
    ("conv2d_backward_filter", "cudacpp_implicit_gemm", "_add_rows"): (40, 200),
    ("conv2d_backward_filter", "cudacpp_implicit_gemm_tf32", "backward_filter"): (128, 1900),
    ("conv2d_backward_filter", "cudacpp_implicit_gemm_tf32", "_add_rows"): (40, 200),
    ("conv2d_backward_filter", "cudacpp_implicit_gemm_bf16", "backward_filter"): (128, 1400),
    ("conv2d_backward_filter", "cudacpp_implicit_gemm_bf16", "_add_rows"): (40, 200),
    ("conv2d", "cuda_im2col", "_im2col"): (22, 550),
    ("conv2d", "cuda_im2col", "_multiply"): (128, 2650),
    ("conv2d", "cuda_depthwise", "_conv2d"): (40, 500),
    ("conv2d", "cuda_grouped", "_conv2d"): (72, 850),
    ("conv2d_backward_data", "cuda_grouped", "_backward_data"): (96, 1000),
    ("conv2d", "cuda_few_channels", "_conv2d"): (71, 1250),
    ("conv2d", "cuda_implicit_gemm", "_conv2d"): (167, 2600),
    ("conv2d", "cuda_mma_tf32", "_conv2d"): (162, 2700),
    ("conv2d", "cuda_multistage_tf32", "_conv2d"): (135, 2750),
    ("conv2d", "cuda_naive", "_conv2d"): (40, 450),
    ("conv2d", "cuda_register_tile", "_conv2d"): (64, 1650),
    ("conv2d", "cuda_shared", "_conv2d"): (48, 850),
    ("conv2d", "cuda_shared_filter", "_conv2d"): (43, 1000),
    ("conv2d", "cupy_im2col", "_finish"): (12, 50),
    ("conv2d", "cupy_im2col", "_im2col"): (22, 550),
    ("conv2d", "cuda_winograd", "_collect"): (64, 900),
    ("conv2d", "cuda_winograd", "_filters"): (90, 450),
    ("conv2d", "cuda_winograd", "_multiply"): (159, 1500),
    ("conv2d", "cuda_winograd", "_spread"): (60, 900),
    ("conv2d", "cuda_winograd_fused", "_convolve"): (128, 1800),
    ("conv2d", "cuda_winograd_fused", "_filters"): (55, 350),
    ("conv2d_backward_data", "cuda_naive", "_backward_data"): (42, 800),
    ("conv2d_backward_data", "cuda_coalesced", "_backward_data"): (42, 800),
    ("conv2d_backward_data", "cuda_coalesced", "_transpose"): (31, 300),
    ("conv2d_backward_data", "cuda_depthwise", "_backward_data"): (40, 450),
    ("conv2d_backward_data", "cuda_im2col", "_col2im"): (21, 300),
    ("conv2d_backward_data", "cuda_im2col", "_multiply"): (128, 1200),
    ("conv2d_backward_data", "cuda_implicit_gemm", "_backward_data"): (168, 2750),
    ("conv2d_backward_data", "cupy_im2col", "_col2im"): (21, 300),
    ("col2im", "cuda_rows", "_col2im"): (21, 300),
    ("conv2d_backward_filter", "cuda_naive", "_backward_bias"): (40, 400),
    ("conv2d_backward_filter", "cuda_naive", "_backward_filter"): (41, 400),
    ("im2col", "cuda_rows", "_im2col"): (22, 550),
    ("conv2d_backward_filter", "cuda_depthwise", "_backward_filter"): (104, 1350),
    ("conv2d_backward_filter", "cuda_few_channels", "_backward_filter"): (108, 1450),
    ("conv2d_backward_filter", "cuda_im2col", "_add_rows"): (40, 200),
    ("conv2d_backward_filter", "cuda_im2col", "_im2col"): (22, 550),
    ("conv2d_backward_filter", "cuda_im2col", "_multiply"): (128, 2350),
    ("conv2d_backward_filter", "cuda_implicit_gemm", "_backward_filter"): (168, 2400),
    ("conv2d_backward_filter", "cupy_im2col", "_add_rows"): (40, 200),
    ("conv2d_backward_filter", "cupy_im2col", "_im2col"): (22, 550),
    ("conv2d_backward_filter", "cuda_split", "_add_rows"): (40, 200),
    ("conv2d_backward_filter", "cuda_split", "_backward_filter"): (80, 1000),
    ("conv2d_backward_data", "cuda_winograd", "_collect"): (64, 900),
    ("conv2d_backward_data", "cuda_winograd", "_filters"): (90, 500),
    ("conv2d_backward_data", "cuda_winograd", "_multiply"): (159, 1500),
    ("conv2d_backward_data", "cuda_winograd", "_spread"): (60, 900),
    ("conv2d_backward_data", "cuda_winograd_fused", "_convolve"): (128, 1800),
    ("conv2d_backward_data", "cuda_winograd_fused", "_filters"): (64, 350),
    ("conv2d_backward_filter", "cuda_grouped", "_add_rows"): (40, 200),
    ("conv2d_backward_filter", "cuda_grouped", "_backward_filter"): (64, 1250),
    ("conv2d_backward_filter", "cuda_winograd", "_add_rows"): (40, 200),
    ("conv2d_backward_filter", "cuda_winograd", "_collect"): (64, 900),
    ("conv2d_backward_filter", "cuda_winograd", "_gather"): (96, 500),
    ("conv2d_backward_filter", "cuda_winograd", "_multiply"): (159, 1500),
    ("max_pool2d", "cuda_column", "_max_pool2d"): (34, 400),
    ("max_pool2d_backward", "cuda_argmax", "_gather"): (40, 500),
    ("max_pool2d_backward", "cuda_argmax", "_search"): (32, 300),
    ("max_pool2d_backward", "cuda_window", "_max_pool2d_backward"): (48, 700),
    ("max_pool2d", "cuda_naive", "_max_pool2d"): (30, 350),
    ("max_pool2d_backward", "cuda_naive", "_max_pool2d_backward"): (53, 800),
    ("max_pool2d", "cuda_vectorized", "_max_pool2d"): (38, 300),
    ("average_pool2d", "cuda_vectorized", "_average_pool2d"): (42, 400),
    ("average_pool2d_backward", "cuda_vectorized", "_average_pool2d_backward"): (52, 800),
    ("max_pool2d_backward", "cuda_window_vectorized", "_max_pool2d_backward"): (47, 450),
    ("max_pool2d_backward", "cuda_argmax_vectorized", "_search"): (45, 450),
    ("max_pool2d_backward", "cuda_argmax_vectorized", "_gather"): (53, 550),
}


def over_budget(found, ceilings):
    """What a kernel takes too much of, in words."""
    taken, (registers, instructions) = found.compiled.resources, ceilings
    for name, value, most in (
        ("registers", taken.registers, registers),
        ("instructions", found.instruction_count, instructions),
        ("bytes spilled", taken.spill_bytes, 0),
        ("bytes of stack", taken.stack_bytes, 0),
        ("f64 instructions", found.mix.get("f64", 0), 0),
        ("accesses to local memory", found.mix.get("local", 0), 0),
    ):
        if value > most:
            yield f"{value} {name}, {value - most} more than the {most} allowed"


# The others would take more than as long again.
EVERY_TIME = ("sm_75", "sm_90", "sm_120")
CHOSEN = ARCHITECTURES if os.environ.get("FASTCONV_TEST_EVERYTHING") else EVERY_TIME
WANTED = {  # of CUDA C++ by precision: groups of instructions of which there must be some
    "": ("FFMA", "LDG 16 bytes", "LDS", "STS"),
    "tf32": ("tensor", "LDGSTS"),
    "bfloat16": ("tensor", "LDG 16 bytes", "STS"),
}


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", CHOSEN)
@pytest.mark.parametrize("kernel", gpu_kernels(), ids=lambda kernel: f"{kernel.op}-{kernel.name}")
def test_budget(kernel, arch):
    if kernel in cpp_kernels() and CHOSEN == EVERY_TIME and arch != "sm_90":
        pytest.skip("compiled for this architecture with FASTCONV_TEST_EVERYTHING")
    problem = next(problem for problem in shapes(kernel.op).values() if kernel.unsupported(problem) is None)
    try:
        inspected = inspect_kernel(kernel, problem, [ARCHITECTURES[arch]])
    except TooOldError as error:
        pytest.skip(str(error))
    for found in inspected:
        key = kernel.op, kernel.name, found.function
        assert key in CEILINGS, f"{key} has no ceilings: its line goes into CEILINGS"
        too_much = list(over_budget(found, CEILINGS[key]))
        assert not too_much, f"{' '.join(key)} on {arch}: {'; '.join(too_much)}"


@NEEDS_TOOLKIT
@pytest.mark.parametrize("kernel", cpp_kernels(), ids=lambda kernel: f"{kernel.op}-{kernel.name}")
def test_cuda_cpp_has_the_instructions_that_it_is_written_for(kernel):
    found = inspect_kernel(kernel, shapes(kernel.op)["vectors"], [ARCHITECTURES["sm_90"]])[0]
    assert set(WANTED[kernel.precision]) <= set(found.mix), found.mix
    opcodes = {instruction.opcode for instruction in found.compiled.instructions}
    assert any(opcode.startswith("LDG.E.128") or opcode.startswith("LDGSTS.E.BYPASS.128") for opcode in opcodes), (
        opcodes
    )
    turned = kernel.precision == "tf32" and kernel.op == "conv2d_backward_filter"  # what LDSM does to 16 bits only
    assert any(opcode.startswith("LDSM") for opcode in opcodes) == (kernel.precision != "" and not turned)


@NEEDS_TOOLKIT
def test_every_ceiling_has_a_kernel():
    names = {(kernel.op, kernel.name) for kernel in gpu_kernels()}
    assert {key[:2] for key in CEILINGS} == names


@NEEDS_TOOLKIT
def test_a_regression_says_by_how_much():
    kernel = next(kernel for kernel in gpu_kernels() if kernel.name == "cuda_shared")
    (found,) = inspect_kernel(kernel, shapes(kernel.op)["plain"], [ARCHITECTURES["sm_90"]])
    registers, instructions = found.compiled.resources.registers, found.instruction_count
    assert list(over_budget(found, (registers, instructions))) == []
    assert list(over_budget(found, (registers - 1, instructions - 3))) == [
        f"{registers} registers, 1 more than the {registers - 1} allowed",
        f"{instructions} instructions, 3 more than the {instructions - 3} allowed",
    ]
