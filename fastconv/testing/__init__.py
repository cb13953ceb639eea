"""Checks that anyone who writes a kernel or a layer can run on it: `check_kernel`, `check_gradient`, `check_layer`.

They return nothing where all is well and raise `Mismatch`, an AssertionError, that says what differs. `simulate` runs a
CUDA kernel without a GPU, and reports what is wrong with it and what it costs.
"""

from fastconv.testing.comparison import KernelMismatch, Mismatch
from fastconv.testing.gradients import check_gradient
from fastconv.testing.kernel_checks import check_kernel
from fastconv.testing.layer_checks import check_layer
from fastconv.testing.shapes import find_shapes, load_shapes, shape_lists, shapes_for
from fastconv.testing.simulator import SimulationError, simulate

__all__ = [
    "KernelMismatch",
    "Mismatch",
    "SimulationError",
    "check_gradient",
    "check_kernel",
    "check_layer",
    "find_shapes",
    "load_shapes",
    "shape_lists",
    "shapes_for",
    "simulate",
]
