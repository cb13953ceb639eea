"""A matrix product by cuBLAS, as one of the steps that a kernel for a GPU describes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.kernels.cuda import import_cupy, simulated, stream_handle, unavailable


@dataclass(frozen=True)
class MatMul:
    """out = a @ b by CuPy's matmul, which calls cuBLAS; calling it launches, as with `cuda.Launch`.

    Where launches are simulated NumPy multiplies: what is checked there is everything but cuBLAS. Products are of
    float32 in full, unless CuPy's variable CUPY_TF32 is set.

    Attributes:
        a, b, out: matrices of float32, C-contiguous, so that CuPy copies none of them.
    """

    a: Any
    b: Any
    out: Any

    def bind(self) -> Callable[..., None]:
        """What multiplies, as often as it is called."""
        return self

    def __call__(self, stream: Any = None) -> None:
        """Launch on the GPU, without waiting for the end.

        stream: as for a `Launch`; None is CuPy's current stream.

        Raises:
            RuntimeError: there is no GPU that can be used here; the message says what is missing.
        """
        if simulated():
            np.matmul(self.a, self.b, out=self.out)
            return
        reason = unavailable()
        if reason is not None:
            raise RuntimeError(f"cuBLAS cannot be called: {reason}.")
        cupy = import_cupy()
        if stream is None:
            cupy.matmul(self.a, self.b, out=self.out)
        else:
            with cupy.cuda.ExternalStream(stream_handle(stream)):
                cupy.matmul(self.a, self.b, out=self.out)
