"""The tests that need a GPU: pytest -m gpu."""

from __future__ import annotations

import re
from collections import Counter

from fastconv.bench.gpu.session import ROOT, Session, module

_OUTCOME = re.compile(r"^(tests/\S+.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
_SAID_EVERY = 100
_DRY = "plain"  # the shapes of the dry run


def run(session: Session, limit_s: float) -> None:
    """Run them; a test that fails is named, its traceback is in tests.log."""
    files = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    options = ["-v", "--tb=short", "-p", "no:cacheprovider", "-W", "default"]  # a warning elsewhere is no failure here
    if session.dry_run:
        options += ["-p", "fastconv.bench.gpu.stand_in", "-k", _DRY]
    counts: Counter[str] = Counter()
    failed: list[str] = []

    def on_line(line: str) -> None:
        found = _OUTCOME.match(line)
        if found is None:
            return
        counts[found[2]] += 1
        if found[2] in ("FAILED", "ERROR"):
            failed.append(found[1])
            session.say(f"  {found[2]} {found[1]}")
        elif counts.total() % _SAID_EVERY == 0:
            session.say(f"  {_summary(counts)}")

    names = [str(path.relative_to(ROOT)) for path in files]
    ended = session.run(module("pytest", "-m", "gpu", *options, *names), limit_s, "tests", on_line)
    if ended.code == 0 and counts["PASSED"]:
        status, text = "passed", _summary(counts)
    else:
        status, text = "failed", f"{_summary(counts)}; pytest {ended.why()}"
    session.done("tests", status, text, failed=failed)


def _summary(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome.lower()}" for outcome, count in sorted(counts.items())) or "no test ran"
