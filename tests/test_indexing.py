"""docs/indexing.md: the code that it shows is that of docs/indexing.py, which is right and costs what the page says."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from cuda_cases import NEEDS_TOOLKIT

from fastconv import kernels
from fastconv.inspecting.architectures import find
from fastconv.inspecting.compile import compile_kernel
from fastconv.testing import simulate

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "indexing.md").read_text(encoding="utf-8")
CODE = (DOCS / "indexing.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def indexing():
    """docs/indexing.py as a module."""
    specification = importlib.util.spec_from_file_location("indexing", DOCS / "indexing.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_shows_the_code():
    shown = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(shown) >= 7
    for block in shown:
        assert block in CODE, block


def test_every_version_computes_the_same_bits(indexing):
    problem = kernels.Conv2DProblem.parse("N=2 H=5 W=6 C=3 K=7 R=2 S=3")
    p, rng = problem, np.random.default_rng(0)
    x, w = rng.standard_normal(p.x_shape, np.float32), rng.standard_normal(p.w_shape, np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, (p.R, p.S), axis=(1, 2))
    expected = np.einsum("npqcrs,rsck->npqk", windows.astype(np.float64), w)
    results = []
    for kernel in indexing.VERSIONS:
        y = np.full(p.y_shape, np.nan, np.float32)
        arrays = (x, w, y) if kernel is indexing.as_in_python else (x.reshape(-1), w.reshape(-1), y.reshape(-1))
        sizes = (p.N, p.H, p.W, p.C, p.R, p.S, p.P, p.Q, p.K)
        types = kernel.argument_types[3:]
        args = (*arrays, *(np.dtype(str(kind)).type(size) for kind, size in zip(types, sizes, strict=False)))
        blocks = -(-y.size // indexing.THREADS)
        simulate(kernel, blocks, indexing.THREADS, *args).raise_if_wrong()
        results.append(y)
    assert np.abs(results[0] - expected).max() < 1e-5
    assert all(np.array_equal(y, results[0]) for y in results)


@NEEDS_TOOLKIT
def test_the_table_is_what_is_measured(indexing):
    if indexing.made_with() not in PAGE:
        pytest.skip(f"the page's numbers were not {indexing.made_with()}")
    assert indexing.table() in PAGE


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_each_step_saves_what_the_page_says(indexing, arch):
    compiled = {kernel.name: compile_kernel(kernel, find(arch)) for kernel in indexing.VERSIONS}
    costs = {name: indexing.loop_cost(one) for name, one in compiled.items()}
    assert list(compiled) == list(costs) == [row for row in re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)][:7]
    steps = list(costs.values())
    assert all(later <= earlier for earlier, later in zip(steps, steps[1:], strict=False)), costs
    assert costs["as_in_python"] > 4 * costs["while_loops"], costs
    unsigned, signed = (
        indexing.loop_cost(compile_kernel(indexing.CudaCpp(i), find(arch))) for i in ("unsigned", "int")
    )
    assert costs["while_loops"] <= 1.05 * unsigned and signed < unsigned, (costs, unsigned, signed)
    flat, pointer = compiled["carried_indices"], compiled["pointers"]
    assert (indexing.parameters(flat), indexing.parameters(pointer)) == (3 * 7 + 9, 3 + 9)
    assert len(flat.instructions) == len(pointer.instructions)
