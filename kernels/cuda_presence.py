"""Why a GPU cannot be used, and what to do about it: no driver, one that is too old, no device, or a strange one."""

from __future__ import annotations

import os
from typing import Any


def why_none(cupy: Any, numba_cuda: Any) -> str:
    """Why CuPy or numba-cuda finds no GPU.

    cupy, numba_cuda: the modules, of which one at least says that CUDA is not available.
    """
    runtime = cupy.cuda.runtime
    driver, toolkit = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        return "there is no NVIDIA driver: install one, until the command nvidia-smi lists the GPU"
    if driver // 1000 < toolkit // 1000:
        older = f", or pip install 'fastconv[cuda{driver // 1000}]'" if driver // 1000 == 12 else ""
        return (
            f"the NVIDIA driver is too old: it can run CUDA {dotted(driver)}, and CuPy is made for "
            f"{dotted(toolkit)}. Update the driver{older}"
        )
    try:
        devices = runtime.getDeviceCount()
    except Exception as error:  # CuPy's, which cannot be named before it is imported
        devices, said = 0, f" ({error})"
    else:
        said = ""
    if not devices:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f", and look whether CUDA_VISIBLE_DEVICES={visible!r} hides it"
        return f"the NVIDIA driver finds no GPU{said}: see what nvidia-smi lists{hidden}"
    return "CuPy finds a GPU and numba-cuda does not: " + " ".join(str(numba_cuda.cuda_error()).split())


def wrong_architecture(capability: str) -> str | None:
    """Why there is no compiling for a GPU of that compute capability, such as "90"; None if there is."""
    known = _architectures()
    if not known or min(known) <= int(capability) <= max(known):
        return None
    own, first, last = (f"{number // 10}.{number % 10}" for number in (int(capability), min(known), max(known)))
    if int(capability) < min(known):
        return (
            f"the GPU's compute capability {own} is too old for the CUDA packages installed, which know {first} and "
            "later: pip install 'fastconv[cuda12]' may know it"
        )
    return (
        f"the GPU's compute capability {own} is newer than the CUDA packages installed, which know {last} at most: "
        "pip install -U --upgrade-strategy eager 'fastconv[cuda13]'"
    )


def dotted(version: int) -> str:
    """CUDA's 13020 as 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _architectures() -> list[int]:
    """What the installed compiler compiles for, 90 for 9.0; nothing if it does not say."""
    try:
        from cuda.bindings import nvrtc
    except ImportError:
        return []
    return list(nvrtc.nvrtcGetSupportedArchs()[1] or ())
