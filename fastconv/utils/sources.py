"""A kernel's file as the beginning of another."""

from __future__ import annotations

import inspect
import re
from types import ModuleType


def renamed_kernel(module: ModuleType, old: str, new: str, op: str | None) -> str:
    """The source of a kernel's file below its docstring, with its function named `new` in place of `old`.

    op: of the kernel, which a file outside of the op's folder must say; None where it is not registered.
    """
    text = inspect.getsource(module)
    code = text[text.index("from __future__") :]
    if op is not None:
        code = code.replace("@kernel(", f'@kernel(op="{op}", ', 1)
    return re.sub(rf"\bdef {old}\b", f"def {new}", code, count=1)
