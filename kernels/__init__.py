"""The kernels: one folder an op, one file a variant. Imported as `fastconv.kernels`; imports nothing above it.

README.md beside this file has the grammar of the names, the letters and the contract of every op.
"""

if __name__ != "fastconv.kernels":
    raise ImportError(
        f"this folder was imported as {__name__!r}, which would make a second registry: "
        "import fastconv.kernels instead (pip install -e . makes it importable)."
    )

from fastconv.kernels.problem import Conv2DProblem, ConvPool2DProblem, Pool2DProblem
from fastconv.kernels.registry import Kernel, choose, defaults, get, kernel, ops, problem_type, variants

__all__ = [
    "Conv2DProblem",
    "ConvPool2DProblem",
    "Kernel",
    "Pool2DProblem",
    "choose",
    "defaults",
    "get",
    "kernel",
    "ops",
    "problem_type",
    "variants",
]
