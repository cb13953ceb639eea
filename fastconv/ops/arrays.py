"""What the ops do to the arrays they are given: dtype, layout, and where the result goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import config

_CUDA = (2, 13)  # DLPack's numbers of a GPU's memory, and of such as the host shares with it
FLOATS = (np.dtype("float32"), np.dtype("float64"))


def as_arrays(**arguments: Any) -> list[Any]:
    """The arguments as C-contiguous, writable arrays of the widest floating dtype among them, float32 or float64.

    Arrays in a GPU's memory, CuPy's or anybody's with `__cuda_array_interface__` or DLPack, become CuPy's, of float32
    and without a copy where they are C-contiguous.

    Raises:
        TypeError: an argument is complex, text or anything else that is no real number; or some are in a GPU's memory
            and others are not.
    """
    on_gpu = {name: is_on_gpu(value) for name, value in arguments.items()}
    if any(on_gpu.values()):
        if not all(on_gpu.values()):
            there, here = (next(name for name in on_gpu if on_gpu[name] == wanted) for wanted in (True, False))
            raise TypeError(f"{there} is in a GPU's memory and {here} is not: move one of them.")
        return [as_gpu_array(name, value) for name, value in arguments.items()]
    arrays = {name: _to_numpy(value) for name, value in arguments.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers; received dtype {array.dtype}.")
    floats = [array.dtype for array in arrays.values() if array.dtype in FLOATS]
    dtype = np.result_type(*floats) if floats else np.dtype(config.floatx())
    # Writable and aligned too: Numba would compile every kernel anew for arrays that are not.
    return [np.require(array, dtype, ("C", "A", "W")) for array in arrays.values()]


def is_on_gpu(value: Any) -> bool:
    """Whether an array is in a GPU's memory."""
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[0]) in _CUDA
    return hasattr(value, "__cuda_array_interface__")


def array_module(array: Any) -> Any:
    """NumPy, or for an array in a GPU's memory CuPy."""
    if isinstance(array, np.ndarray):
        return np
    from fastconv.kernels.cuda import import_cupy

    return import_cupy()


def as_gpu_array(name: str, value: Any) -> Any:
    """An array in a GPU's memory as CuPy's, C-contiguous and of float32: the same memory where that can be.

    Raises:
        TypeError: it holds no real numbers.
    """
    from fastconv.kernels.cuda import import_cupy

    cupy = import_cupy()
    # By DLPack the owner's stream is waited for; not all of the owners' `__cuda_array_interface__` say which it is.
    by_dlpack = hasattr(value, "__dlpack__") and not isinstance(value, cupy.ndarray)
    array = cupy.from_dlpack(value) if by_dlpack else cupy.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; received dtype {array.dtype}.")
    return cupy.ascontiguousarray(array, dtype=np.float32)


def _to_numpy(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def resolve_data_format(data_format: str | None) -> str:
    """`data_format`, or the configured one for None.

    Raises:
        ValueError: neither "channels_last" nor "channels_first".
    """
    chosen = config.image_data_format() if data_format is None else data_format
    if chosen not in ("channels_last", "channels_first"):
        raise ValueError(f'data_format must be "channels_last" or "channels_first"; received {data_format!r}.')
    return chosen


def to_nhwc(array: Any, name: str, data_format: str) -> Any:
    """An image batch as C-contiguous (N, H, W, C); a copy only if it does not lie so already.

    Raises:
        ValueError: it has not four dimensions.
    """
    if array.ndim != 4:
        letters = "(N, H, W, C)" if data_format == "channels_last" else "(N, C, H, W)"
        raise ValueError(f"{name} must have four dimensions {letters}; received shape {array.shape}.")
    if data_format == "channels_last":
        return array
    return array_module(array).ascontiguousarray(array.transpose(0, 2, 3, 1))


class Result:
    """Where an op's result goes: `array` is what the kernel writes, `finish()` what the caller gets."""

    def __init__(self, shape: tuple[int, ...], like: Any, data_format: str, out: Any) -> None:
        """`shape` is channels-last; with "channels_first" the caller gets the axes (0, 3, 1, 2) of it.

        like: an array of the result's dtype, where the result shall be.

        Raises:
            ValueError, TypeError: `out` is no writable array of the result's shape and dtype.
        """
        self._first = data_format == "channels_first"
        self._out = out
        self._module = module = array_module(like)
        dtype = like.dtype
        if out is not None:
            expected = tuple(shape[i] for i in (0, 3, 1, 2)) if self._first else shape
            if not isinstance(out, module.ndarray):
                kind = "a NumPy" if module is np else "a CuPy"
                raise TypeError(f"out must be {kind} array; received {type(out).__name__}.")
            if out.shape != expected or out.dtype != dtype or not getattr(out.flags, "writeable", True):
                raise ValueError(
                    f"out must be a writable array of shape {expected} and dtype {np.dtype(dtype)}; received shape "
                    f"{out.shape}, dtype {out.dtype}{'' if getattr(out.flags, 'writeable', True) else ', read-only'}."
                )
        view = None if out is None else out.transpose(0, 2, 3, 1) if self._first else out
        self.array = view if view is not None and view.flags.c_contiguous else module.empty(shape, dtype)

    def finish(self) -> Any:
        """The result in the caller's layout, in `out` if one was given."""
        result = self.array.transpose(0, 3, 1, 2) if self._first else self.array
        if self._out is None:
            return result
        if not self._module.shares_memory(result, self._out):
            self._out[...] = result
        return self._out
