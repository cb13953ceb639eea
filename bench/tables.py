"""Writes the tables between the markers of the READMEs from the results that are committed: python bench/tables.py.

A marker `<!-- results: FILE.json -->` begins a table and `<!-- end of results -->` ends it; with an op and a shape
behind the file, `<!-- results: FILE.json OP SHAPE -->`, the table is that problem's ladder: every kernel, the slowest
first. `--check` changes nothing and exits with 1 where a README holds something else than the results say; the tests
call that.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastconv.bench.table import number

ROOT = Path(__file__).parent.parent
READMES = (ROOT / "README.md", *sorted(ROOT.glob("kernels/*/README.md")))
_NUMBERS = ("median_ms", "gflop_per_s", "gbyte_per_s", "percent_of_limit")
_PACKAGES = ("numba", "numpy", "torch", "onnxruntime", "jax", "keras", "tensorflow-cpu")
_BLOCK = re.compile(r"(<!-- results: (\S+)(?: (\S+) (\S+))? -->\n).*?(<!-- end of results -->)", re.DOTALL)


def table(result: dict[str, Any], op: str | None = None, shape: str | None = None) -> str:
    """The lines of a result, or of one problem's ladder in it, and below them what it was measured on and with."""
    is_model = "model" in result
    if op is not None:
        lines = _ladder_lines([row for row in result["rows"] if (row["op"], row["shape"]) == (op, shape)])
    else:
        lines = _model_lines(result) if is_model else _kernel_lines(result)
    versions = ", ".join(f"{name} {result['versions'][name]}" for name in _PACKAGES if name in result["versions"])
    if is_model:
        measured = f"{result['threads']} threads"
    else:
        limits = result["limits"][0]
        peak, memory = limits["gflop_per_s"]["float32"], list(limits["gbyte_per_s"].values())[-1]
        measured = f"{limits['threads']} threads; measured limits {peak:.0f} GFLOP/s and {memory:.0f} GB/s"
    made = f"{result['date'][:10]}, commit {result['commit']}; {versions}. Made with `{result['command']}`."
    return "\n".join([*lines, "", f"{result['machine']['cpu']}, {measured}; {made}"]) + "\n"


def _kernel_lines(result: dict[str, Any]) -> list[str]:
    """One line a problem: the fastest kernel, what it reached, and the best peer beside it."""
    lines = [
        "| op | shape | fastest kernel | ms | GFLOP/s | GB/s | % of the limit | best peer | x peer |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        if row["status"] == "timed":
            groups.setdefault((row["op"], row["shape"]), []).append(row)
    for (op, shape), rows in groups.items():
        kernel, peer = _fastest(rows, "kernel"), _fastest(rows, "peer")
        if kernel is None:
            continue
        cells = [op, shape, kernel["contestant"], *(number(kernel[key]) for key in _NUMBERS)]
        cells += ["", ""] if peer is None else [f"{peer['contestant']} {peer['layout']}", f"{kernel['ratio']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ladder_lines(rows: list[dict[str, Any]]) -> list[str]:
    """One line a contestant of one problem, the slowest first, kernels and peers."""
    lines = [f"| {rows[0]['problem']} | ms | GFLOP/s | GB/s | % of the limit |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in sorted((row for row in rows if row["status"] == "timed"), key=lambda row: -row["median_ms"]):
        name = row["contestant"] if row["kind"] == "kernel" else f"{row['contestant']} {row['layout']}"
        lines.append(f"| {' | '.join([name, *(number(row[key]) for key in _NUMBERS)])} |")
    return lines


def _model_lines(result: dict[str, Any]) -> list[str]:
    """One line a contestant, the fastest in training first."""
    sizes = [str(size) for size in result["sizes"]]
    columns = [("train", size) for size in sizes] + [("predict", size) for size in dict.fromkeys([*sizes, "1"])]
    heads = [f"{what} {size}, ms" for what, size in columns]
    heads += ["import, s", "first step, empty cache, s", "filled cache, s", "peak, MB"]
    lines = [f"| {result['model']} | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]

    def median(row: dict[str, Any], what: str, size: str) -> float | None:
        return row[what].get(size, {}).get("median_ms")

    timed = [row for row in result["rows"] if row["status"] == "timed"]
    for row in sorted(timed, key=lambda row: median(row, "train", sizes[-1]) or math.inf):
        name = row["contestant"] if row["contestant"] == "fastconv" else f"{row['contestant']} {row['configuration']}"
        cells = [number(median(row, what, size)) for what, size in columns]
        cells += [number(row[key]) for key in ("import_s", "first_step_empty_s", "first_step_filled_s")]
        cells.append(f"{row['peak_bytes'] / 1e6:.0f}")
        lines.append(f"| {' | '.join([name, *cells])} |")
    return lines


def filled(text: str) -> str:
    """`text` with every block made anew."""

    def block(match: re.Match[str]) -> str:
        result = json.loads((ROOT / match[2]).read_text(encoding="utf-8"))
        return f"{match[1]}{table(result, match[3], match[4])}{match[5]}"

    return _BLOCK.sub(block, text)


def _fastest(rows: Iterable[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return min((row for row in rows if row["kind"] == kind), key=lambda row: row["median_ms"], default=None)


def main(argv: list[str]) -> int:
    """Write the READMEs, or with --check compare them."""
    wrong = 0
    for readme in READMES:
        before = readme.read_text(encoding="utf-8")
        after = filled(before)
        if "--check" not in argv:
            readme.write_text(after, encoding="utf-8")
        elif before != after:
            print(f"{readme.relative_to(ROOT)}: the tables differ from bench/results; run python bench/tables.py")
            wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
