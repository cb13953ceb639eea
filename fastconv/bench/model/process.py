"""`WorkerProcess`: the parent's side of worker.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from fastconv.bench.contestant import Unsupported

_SCRIPT = Path(__file__).with_name("worker.py")


class WorkerError(Exception):
    """A contestant's process failed; the message says how."""


class WorkerProcess:
    """A contestant in a process of its own; a context manager that ends it.

    Args:
        file: the contestant's, in contestants/.
        configuration: of its CONFIGURATIONS.
        folder: with the description, the weights and the data.
        threads: the process may run on so many processors, where the system lets one choose.
        environment: variables set in addition.

    Attributes:
        begun: when it was started, on `time.perf_counter`.
    """

    def __init__(
        self, file: Path, configuration: str, folder: Path, threads: int, environment: Mapping[str, str]
    ) -> None:
        self._log = tempfile.TemporaryFile()
        command = [sys.executable, "-P", str(_SCRIPT), str(file), configuration, str(folder), str(threads)]
        variables = {"NUMBA_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), **environment}
        self.begun = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **variables},
            text=True,
            preexec_fn=_bind(threads),
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a command of worker.py.

        Raises:
            Unsupported: the contestant cannot do it.
            WorkerError: it failed, or its process ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer tells
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"the process ended with exit code {self._process.wait()}{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            text = answer["error"].strip().splitlines()[0]
            if answer["unsupported"]:
                raise Unsupported(text.partition(": ")[2])
            raise WorkerError(text)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass  # what it was asked last was not read any more

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


def _bind(threads: int) -> Any:
    """What the new process does before its program starts: frameworks count the processors that they may run on."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if threads >= len(allowed):
        return None
    return lambda: os.sched_setaffinity(0, allowed[:threads])
