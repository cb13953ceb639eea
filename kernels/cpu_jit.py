"""`cpu_jit`: how every CPU kernel is compiled.

Compiled code is kept in the user's cache folder, never beside the sources: a package folder with cache files in it
survives `pip uninstall` and shadows a later install. Numba's cache looks only at the file of the function it keeps, so
the folder's name carries a hash of the files beside this one, whose functions become part of the kernels'.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config, event
from numba.core.compiler import Compiler
from numba.core.event import register, unregister


class _WithoutMachineCode(Compiler):
    """Stops at LLVM's intermediate code: a caller takes that, and Numba would make machine code that nobody runs."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        flags = flags.copy()
        flags.no_compile = True
        library = targetctx.codegen().create_library("part of a kernel")
        library._optimize_final_module = lambda: None
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)

    def _compile_core(self):
        result = super()._compile_core()
        name = object().__sizeof__  # Numba files functions under a C function object of their own
        self.state.targetctx.insert_user_function(name, result.fndesc, [result.library])
        return result._replace(entry_point=name)


class _Announcement(event.Listener):
    """Says once, on standard error, that kernels are being compiled: it takes seconds, and only the first time."""

    def on_start(self, event):
        if event.data["dispatcher"].py_func.__module__.startswith("fastconv.kernels."):
            unregister("numba:compile", self)
            print(f"fastconv: compiling kernels, on the first run only; kept in {cache_folder()}", file=sys.stderr)

    def on_end(self, event):
        pass


class _GarbageLater(event.Listener):
    """Puts the garbage collector off while something is compiled: it would look at Numba's objects, which stay, again
    and again (a twelfth of the time)."""

    def __init__(self):
        self._depth = 0
        self._enabled = False

    def on_start(self, event):
        if self._depth == 0:
            self._enabled = gc.isenabled()
            gc.disable()
        self._depth += 1

    def on_end(self, event):
        self._depth -= 1
        if self._depth == 0 and self._enabled:
            gc.enable()


register("numba:compile", _Announcement())
register("numba:compile", _GarbageLater())


@functools.cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: $NUMBA_CACHE_DIR, else the user's cache folder."""
    sources = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("cpu_*.py")):
        sources.update(file.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(config.CACHE_DIR or home / "fastconv" / "numba") / sources.hexdigest()[:16]


def cpu_jit(function: Callable[..., Any] | None = None, *, inner: bool = False) -> Any:
    """Compile `function` on first call, without the GIL, with C's integer division and with fused multiply-adds.

    No other relaxation of floating point is allowed: NaN, infinity and the order of sums are kept.

    inner: only compiled functions call it; it is kept as a part of theirs, not by itself.
    """
    if function is None:
        return functools.partial(cpu_jit, inner=inner)
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    if inner:
        return numba.njit(
            function, **options, no_cfunc_wrapper=True, no_cpython_wrapper=True, pipeline_class=_WithoutMachineCode
        )
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())  # read when the function's cache is made, here below
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # nowhere to write: compile in every process
        return numba.njit(function, **options)
    finally:
        config.CACHE_DIR = before
