"""Where models train and predict: `with fastconv.device("gpu"):`, or the variable FASTCONV_DEVICE."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

DEVICES = ("cpu", "gpu", "auto")
_chosen: ContextVar[str | None] = ContextVar("device", default=None)


@contextlib.contextmanager
def device(name: str) -> Iterator[None]:
    """Within, models train, evaluate and predict on that device; their weights move there and back by themselves.

    Args:
        name: "cpu"; "gpu", CuPy's current CUDA device; or "auto", the GPU for models that one can run, and else the
            CPU. Which it is, and why, is then logged by the logger "fastconv": as a warning where it is the CPU.

    Raises:
        ValueError: another name.
        RuntimeError: "gpu", and there is none that can be used; the message says what is missing.
    """
    check(name)
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def current_device() -> str:
    """The device of `device`, else of the variable FASTCONV_DEVICE, else "cpu"; one of DEVICES.

    Raises:
        ValueError, RuntimeError: the variable names no device, or one that cannot be used, as in `device`.
    """
    name = _chosen.get()
    if name is None:
        name = os.environ.get("FASTCONV_DEVICE", "cpu") or "cpu"
        check(name)
    return name


def check(name: str) -> None:
    """ValueError if there is no such device, RuntimeError if it cannot be used here."""
    if name not in DEVICES:
        raise ValueError(f"a device is one of {', '.join(DEVICES)}; received {name!r}.")
    if name == "gpu":
        from fastconv.kernels import cuda

        reason = cuda.unavailable()
        if reason is not None:
            raise RuntimeError(f"the device 'gpu' cannot be used: {reason}.")
