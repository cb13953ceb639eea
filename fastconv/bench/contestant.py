"""`Contestant`: something that computes an op on given arrays, made from a kernel or by a peer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.buffers import aligned_bytes
from fastconv.kernels import Kernel
from fastconv.testing.kernel_cases import OPS, Arrays, array_shape


class Unsupported(Exception):
    """A contestant that cannot do a problem; the message says why."""


@dataclass(frozen=True)
class Contestant:
    """One way to compute an op.

    call: computes it once on the arrays it was made with, or on a GPU sees to it that it will be done.
    outputs: the arrays of the last call by the op's names for them, as NumPy arrays in the kernels' layout.
    default: whether algorithm="auto" would take it. exact: see `Kernel`.
    precision: "tf32" or "bfloat16" where that is what it computes in; else the problem's dtype, "".
    device_kernels: None, or what the GPU does in a call: seconds by the name of each kernel, a peer's own included.
    """

    name: str
    kind: str  # "kernel" or "peer"
    call: Callable[[], object]
    outputs: Callable[[], Arrays]
    layout: str = "NHWC"
    default: bool = False
    exact: bool = True
    precision: str = ""
    device_kernels: Callable[[], dict[str, float]] | None = None

    @property
    def label(self) -> str:
        """The name; of a peer with its layout and precision."""
        return self.name if self.kind == "kernel" else f"{self.name} {self.layout} {self.precision}".rstrip()


def of_kernel(kernel: Kernel, problem: Any, inputs: Arrays, default: bool) -> Contestant:
    """The contestant that a kernel is; its outputs are its own, the inputs are shared.

    Raises:
        Unsupported: the kernel says so.
    """
    reason = kernel.unsupported(problem)
    if reason is not None:
        raise Unsupported(reason)
    op = OPS[kernel.op]
    outputs = {name: aligned_array(array_shape(name, problem), problem.dtype) for name in op.outputs}
    workspace = aligned_bytes(kernel.workspace_bytes(problem))
    arrays = [inputs[name] for name in op.inputs] + [outputs[name] for name in op.outputs]

    def call() -> None:
        kernel(problem, *arrays, workspace=workspace)

    described: dict[str, Any] = {"default": default, "exact": kernel.exact, "precision": kernel.precision}
    return Contestant(kernel.name, "kernel", call, lambda: outputs, **described)


def aligned_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of NaN that begins on a cache line."""
    array = aligned_bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)
    array.fill(np.nan)
    return array
