"""Writes the tables between the markers of README.md from the results that are committed: python bench/tables.py.

A marker `<!-- results: FILE.json -->` begins a table and `<!-- end of results -->` ends it. `--check` changes nothing
and exits with 1 where the README holds something else than the results say; the tests call that.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
_BLOCK = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def table(result: dict[str, Any]) -> str:
    """One line a problem: the fastest kernel, what it reached, and the best peer beside it."""
    lines = [
        "| op | shape | fastest kernel | ms | GFLOP/s | % of the limit | best peer | ratio |",
        "| --- | --- | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        if row["status"] == "timed":
            groups.setdefault((row["op"], row["shape"]), []).append(row)
    for (op, shape), rows in groups.items():
        kernel, peer = _fastest(rows, "kernel"), _fastest(rows, "peer")
        if kernel is None:
            continue
        beside = ("none", "") if peer is None else (f"{peer['contestant']} {peer['layout']}", f"{kernel['ratio']:.2f}")
        numbers = f"{kernel['median_ms']:.3g} | {kernel['gflop_per_s']:.3g} | {kernel['percent_of_limit']:.0f}"
        lines.append(f"| {op} | {shape} | {kernel['contestant']} | {numbers} | {beside[0]} | {beside[1]} |")
    versions = ", ".join(
        f"{name} {result['versions'][name]}"
        for name in ("numba", "numpy", "torch", "onnxruntime", "jax", "tensorflow-cpu")
        if name in result["versions"]
    )
    machine = result["machine"]
    limits = result["limits"][0]
    lines += [
        "",
        f"{machine['cpu']}, {limits['threads']} threads, measured peak {limits['gflop_per_s']['float32']:.0f} GFLOP/s; "
        f"{result['date'][:10]}, commit {result['commit']}; {versions}. Made with `{result['command']}`.",
    ]
    return "\n".join(lines) + "\n"


def filled(text: str) -> str:
    """`text` with every block made anew."""

    def block(match: re.Match[str]) -> str:
        result = json.loads((ROOT / match[2]).read_text(encoding="utf-8"))
        return f"{match[1]}{table(result)}{match[3]}"

    return _BLOCK.sub(block, text)


def _fastest(rows: Iterable[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return min((row for row in rows if row["kind"] == kind), key=lambda row: row["median_ms"], default=None)


def main(argv: list[str]) -> int:
    """Write the README, or with --check compare it."""
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    if "--check" in argv:
        if before != after:
            print("README.md: the tables differ from bench/results; run python bench/tables.py")
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
