"""compute-sanitizer on every GPU kernel and tiny shapes: memcheck, racecheck, initcheck, synccheck."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from fastconv.bench.gpu.session import Ended, Session, module

TOOLS = {  # and what each finds
    "memcheck": "accesses out of bounds or misaligned",
    "racecheck": "races in shared memory",
    "initcheck": "reads of global memory that nobody wrote",
    "synccheck": "barriers that not all threads reach",
}
_FOUND = 9  # the tool's exit code where it found something
_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (.*)")
_LAUNCHED = re.compile(r"^launched (\d+) of")


def run(session: Session, tool: str, limit_s: float) -> None:
    """Run one of the tools; what it prints is in sanitizer.log."""
    part = f"compute-sanitizer {tool}"
    program = _stand_in() if session.dry_run else find()
    if program is None:
        session.done(part, "skipped", "compute-sanitizer was not found (CUDA's toolkit has it)")
        return
    options = ["--tool", tool, "--error-exitcode", str(_FOUND), "--target-processes", "all"]
    if tool == "racecheck":
        options += ["--racecheck-report", "all"]
    ended = session.run([*program, *options, *module("fastconv.bench.gpu.every_kernel")], limit_s, "sanitizer")
    session.done(part, *judge(ended))


def judge(ended: Ended) -> tuple[str, str]:
    """Status and reason."""
    summaries = [found[1].strip() for line in ended.lines if (found := _SUMMARY.search(line))]
    said = summaries[-1] if summaries else "it gave no summary"
    if any("Device not supported" in line for line in ended.lines):
        return "skipped", "the tool says: Device not supported"
    launched = next((int(found[1]) for line in ended.lines if (found := _LAUNCHED.match(line))), 0)
    if ended.code == 0 and summaries and launched:
        return "passed", f"{said}; {launched} runs of kernels"
    if ended.code == _FOUND:
        return "failed", said
    return "failed", f"{ended.why()}; {said}"


def find() -> list[str] | None:
    """The command compute-sanitizer, or None."""
    homes = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")] + ["/usr/local/cuda"]
    path = os.pathsep.join([os.environ.get("PATH", ""), *(str(Path(home) / "bin") for home in homes if home)])
    found = shutil.which("compute-sanitizer", path=path)
    if found is None:
        try:
            from cuda import pathfinder

            found = pathfinder.find_nvidia_binary_utility("compute-sanitizer")
        except Exception:  # an older pathfinder does not know the tool
            return None
    return None if found is None else [found]


def _stand_in() -> list[str]:
    """In a dry run: what takes the tool's options, runs the program behind them and finds nothing."""
    code = (
        "import subprocess, sys; at = sys.argv.index('all', sys.argv.index('--target-processes')) + 1; "
        "at += 2 * (sys.argv[at] == '--racecheck-report'); print('========= COMPUTE-SANITIZER (dry run)', flush=True); "
        "code = subprocess.run(sys.argv[at:]).returncode; print('========= ERROR SUMMARY: 0 errors'); sys.exit(code)"
    )
    return [sys.executable, "-c", code]
