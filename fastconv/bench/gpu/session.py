"""A session on a GPU: its time, the programs it starts, and what it keeps in the output folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastconv.bench.gpu import stand_in, table
from fastconv.bench.result import provenance
from fastconv.utils.files import atomic_write

ROOT = Path(__file__).resolve().parents[3]  # of the checkout
_SOURCES = ("fastconv/**/*.py", "kernels/**/*.py", "kernels/**/*.cu", "kernels/**/*.cuh")


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    code: its exit code, None where it was killed because its time was up. lines: what it printed.
    """

    code: int | None
    lines: list[str]
    seconds: float

    def why(self) -> str:
        """In a few words, for a program that should have ended with 0."""
        if self.code is None:
            return f"stopped after {self.seconds:.0f} s, its time limit"
        last = next((line for line in reversed(self.lines) if line.strip()), "it printed nothing")
        return f"ended with exit code {self.code}: {last.strip()[:300]}"


@dataclass
class Session:
    """What is done so far, and how long there still is.

    Attributes:
        out: the output folder. `gpu.json` and `gpu.md` in it are written after each step, NAME.log as it grows.
        limit_s: seconds for everything. dry_run: without a GPU.
        record: what becomes gpu.json. Its part for kernels has the form of `bench.result.Result.to_dict`.
    """

    out: Path
    limit_s: float
    dry_run: bool
    command: str
    started: float = field(default_factory=time.monotonic)
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        for kept in (*self.out.glob("*.log"), *self.out.glob("gpu.*")):
            kept.unlink()  # of an earlier session
        self.record |= {**provenance(self.command), "dry_run": self.dry_run, "sources": fingerprint()}
        self.record |= {"facts": {}, "parts": {}, "limits": [], "interrupted": False, "rows": []}
        self.environment = {**_cuda_home(), **os.environ, "PYTHONUNBUFFERED": "1"}
        self.environment |= {stand_in.VARIABLE: "1"} if self.dry_run else {}

    def left_s(self) -> float:
        """Seconds until everything should be over."""
        return self.limit_s - (time.monotonic() - self.started)

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        print(f"[{time.monotonic() - self.started:5.0f} s] {text}", flush=True)

    def done(self, part: str, status: str, text: str, **more: Any) -> None:
        """Keep and say what came of a part: "passed", "failed" or "skipped", and why."""
        self.record["parts"][part] = {"status": status, "text": text, **more}
        self.say(f"{part}: {status}: {text}")
        self.write()

    def write(self) -> None:
        """Write what is known by now."""
        for name, text in (("gpu.json", as_json(self.record)), ("gpu.md", table.render(self.record))):
            with atomic_write(self.out / name) as stream:
                stream.write(text.encode() + b"\n")

    def run(
        self,
        command: list[str],
        limit_s: float,
        log: str,
        on_line: Callable[[str], object] = lambda line: None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run a program to its end or for `limit_s`, whichever comes first, and append what it prints to the log.

        Args:
            command: a program and its arguments; for a module of Python's see `module`.
            on_line: called with each line as it comes.
            environment: variables that only this program gets.
        """
        began, lines = time.monotonic(), []
        with open(self.out / f"{log}.log", "a", encoding="utf-8", errors="replace") as kept:
            kept.write(f"$ {' '.join(command)}\n")
            try:
                child = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**self.environment, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # so that it can be killed with all that it started
                )
            except OSError as error:
                kept.write(f"{error}\n")
                return Ended(127, [str(error)], 0.0)
            timer = _Timer(child, max(limit_s, 1.0))
            try:
                for line in child.stdout or ():
                    kept.write(line)
                    kept.flush()
                    lines.append(line.rstrip("\n"))
                    on_line(lines[-1])
                code = child.wait()
            finally:
                timer.cancel()
                _kill(child)
                if child.stdout is not None:
                    child.stdout.close()
            seconds = time.monotonic() - began
            kept.write(f"{'stopped' if timer.rang else f'exit code {code}'} after {seconds:.1f} s\n\n")
        return Ended(None if timer.rang else code, lines, seconds)


class _Timer:
    """Kills a program and all that it started when its time is up."""

    def __init__(self, child: subprocess.Popen[str], seconds: float) -> None:
        self.rang = False
        self._child = child
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def _ring(self) -> None:
        self.rang = True
        _kill(self._child)

    def cancel(self) -> None:
        """The program has ended."""
        self._timer.cancel()


def _kill(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def as_json(record: dict[str, Any]) -> str:
    """The record, each of its hundreds of rows in a line of its own."""
    rows = ",\n  ".join(map(json.dumps, record["rows"]))
    return json.dumps({**record, "rows": []}, indent=1).replace('"rows": []', f'"rows": [\n  {rows}\n ]')


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module by this Python."""
    return [sys.executable, "-m", name, *arguments]


def _cuda_home() -> dict[str, str]:
    """CUDA_HOME, where numba-cuda looks for the compiler's library if no package has brought it: beside nvcc."""
    nvcc = Path(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc").resolve()
    home = nvcc.parent.parent
    return {"CUDA_HOME": str(home)} if (home / "nvvm").is_dir() and "CUDA_PATH" not in os.environ else {}


def fingerprint() -> str:
    """A hash of the checkout's sources: where git is missing, the way to know which commit was measured."""
    found = hashlib.sha256()
    for path in sorted({path for pattern in _SOURCES for path in ROOT.glob(pattern)}):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]
