"""Times every variant of every op on the seeds' layers, each checked against the reference on the timed buffers.

For comparisons over time: `pytest bench --benchmark-autosave`, later `pytest bench --benchmark-compare`. Another list:
FASTCONV_SHAPES=resnet50 pytest bench -k conv2d. `fastconv bench` times contestants in turn instead, and peers too.
"""

import os

import pytest

from fastconv import kernels
from fastconv.bench import contestant
from fastconv.bench.compare import cost
from fastconv.testing.comparison import difference
from fastconv.testing.kernel_cases import float_case
from fastconv.testing.shapes import find_shapes, shapes_for

SHAPES = os.environ.get("FASTCONV_SHAPES")


def cases():
    """Every variant but the reference, which is there to be right, on every shape of its op."""
    for op in kernels.ops():
        try:
            problems = find_shapes(SHAPES, kernels.problem_type(op)) if SHAPES else shapes_for(op, "seeds")
        except ValueError:
            if SHAPES is None:
                raise
            continue  # the list is for other ops
        for name, problem in problems.items():
            for kernel in kernels.variants(op, device="cpu"):
                if kernel.name != "reference":
                    yield pytest.param(kernel, problem, name, id=f"{op}-{kernel.name}-{name}")


@pytest.mark.benchmark(max_time=0.3, min_rounds=5)
@pytest.mark.parametrize(("kernel", "problem", "name"), list(cases()))
def test_kernel(benchmark, kernel, problem, name):
    case = float_case(kernel.op, problem)
    try:
        entry = contestant.of_kernel(kernel, problem, case.inputs, default=False)
    except contestant.Unsupported as reason:
        pytest.skip(str(reason))
    entry.call()  # compiles it, too
    for output, expected in case.expected.items():
        assert difference(output, entry.outputs()[output], expected, case.tolerance[output]) is None
    benchmark.group = f"{kernel.op} {name}"
    benchmark(entry.call)
    if benchmark.stats is not None:  # None where timing is switched off
        flops, bytes_ = cost(kernel.op, problem)
        benchmark.extra_info["problem"] = str(problem)
        benchmark.extra_info["gflop_per_s"] = flops / benchmark.stats["median"] / 1e9
        benchmark.extra_info["gbyte_per_s"] = bytes_ / benchmark.stats["median"] / 1e9
