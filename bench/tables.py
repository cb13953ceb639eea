"""Writes the tables between the markers of the READMEs from the results that are committed: python bench/tables.py.

A marker `<!-- results: FILE.json -->` begins a table and `<!-- end of results -->` ends it; with an op behind the file
the table is that op's, with an op and a shape, `<!-- results: FILE.json OP SHAPE -->`, it is that problem's ladder:
every kernel, the slowest first. FILE may be a pattern, bench/results/nvidia_*.json for every GPU: then there is a table
for each file, and "Not measured yet." without any.

`--check` changes nothing and exits with 1 where a README holds something else than the results say; the tests call
that. `--take FOLDER/gpu.json` first takes what `make gpu` measured to bench/results/<device>.json.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastconv.bench.gpu.session import as_json, fingerprint
from fastconv.bench.result import commit
from fastconv.bench.roofline import series_name
from fastconv.bench.table import number

ROOT = Path(__file__).parent.parent
READMES = (ROOT / "README.md", ROOT / "docs" / "results.md", *sorted(ROOT.glob("kernels/*/README.md")))
_NUMBERS = ("median_ms", "gflop_per_s", "gbyte_per_s", "percent_of_limit")
_PACKAGES = ("numba", "numba-cuda", "cupy-cuda13x", "numpy", "torch", "onnxruntime", "jax", "keras", "tensorflow-cpu")
_BLOCK = re.compile(r"(<!-- results: (\S+)(?: ([a-z]\S*)(?: (\S+))?)? -->\n).*?(<!-- end of results -->)", re.DOTALL)
_NEXT, _NOT_MEASURED = "\n", "Not measured yet.\n"


def table(result: dict[str, Any], op: str | None = None, shape: str | None = None) -> str:
    """The lines of a result, of an op or of a problem's ladder in it; below them what it was measured on and with."""
    is_model = "model" in result
    if op is not None and shape is None:
        lines = _kernel_lines({**result, "rows": [row for row in result["rows"] if row["op"] == op]})
    elif op is not None:
        lines = _ladder_lines([row for row in result["rows"] if (row["op"], row["shape"]) == (op, shape)])
    else:
        lines = _model_lines(result) if is_model else _kernel_lines(result)
    versions = ", ".join(f"{name} {result['versions'][name]}" for name in _PACKAGES if name in result["versions"])
    made = f"{result['date'][:10]}, commit {result['commit']}; {versions}. Made with `{result['command']}`."
    return "\n".join([*lines, "", f"{_measured_on(result)}; {made}"]) + "\n"


def _measured_on(result: dict[str, Any]) -> str:
    """The machine, and what it reached at most."""
    if "model" in result:
        return f"{result['machine']['cpu']}, {result['threads']} threads"
    limits = result["limits"][0]
    memory = list(limits["gbyte_per_s"].values())[-1]
    if limits["device"] == "gpu":
        facts = result["facts"]
        rates = ", ".join(f"{dtype} {rate / 1e3:.1f}" for dtype, rate in limits["gflop_per_s"].items())
        software = f"CUDA {facts['CUDA runtime']}, cuDNN {facts['cuDNN']}"
        return f"{facts['device']}, {software}; measured limits {rates} TFLOP/s and {memory:.0f} GB/s"
    peak = limits["gflop_per_s"]["float32"]
    machine = f"{result['machine']['cpu']}, {limits['threads']} threads"
    return f"{machine}; measured limits {peak:.0f} GFLOP/s and {memory:.0f} GB/s"


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
        alike = [row for row in rows if not row.get("precision")]  # the others are for those who ask for less precision
        kernel = _fastest(alike, "kernel")
        if kernel is None:
            continue
        peer = _fastest(alike, "peer")
        cells = [op, shape, kernel["contestant"], *(number(kernel[key]) for key in _NUMBERS)]
        cells += ["", ""] if peer is None else [series_name(peer), f"{kernel['ratio']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ladder_lines(rows: list[dict[str, Any]]) -> list[str]:
    """One line a contestant of one problem, the slowest first, kernels and peers."""
    if not rows:
        return ["Not measured yet."]
    lines = [f"| {rows[0]['problem']} | ms | GFLOP/s | GB/s | % of the limit |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in sorted((row for row in rows if row["status"] == "timed"), key=lambda row: -row["median_ms"]):
        name, transposes = series_name(row), row.get("transpose_ms") or 0.0
        if transposes >= 0.01 * row["median_ms"]:
            name += f" ({number(transposes)} ms of it to change the layout)"
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
        files = sorted(ROOT.glob(match[2])) if "*" in match[2] else [ROOT / match[2]]
        tables = [table(json.loads(file.read_text(encoding="utf-8")), match[3], match[4]) for file in files]
        return f"{match[1]}{_NEXT.join(tables) or _NOT_MEASURED}{match[5]}"

    return _BLOCK.sub(block, text)


def take(path: Path) -> Path:
    """Keep what `make gpu` measured as bench/results/<device>.json, and return that file.

    The commit, which a machine without git cannot tell, is added where the sources here are those that were measured.

    Raises:
        ValueError: it is of a dry run, or nothing was timed.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["dry_run"]:
        raise ValueError(f"{path} is of a dry run: its times are made up.")
    if not any(row["status"] == "timed" for row in record["rows"]):
        raise ValueError(f"{path} has no times.")
    if record["commit"] is None and record["sources"] == fingerprint():
        record["commit"] = commit()
    words = re.findall(r"[a-z0-9]+", record["facts"]["device"].lower())
    kept = ROOT / "bench" / "results" / f"{'_'.join(['nvidia', *(word for word in words if word != 'nvidia')])}.json"
    kept.write_text(as_json(record) + "\n", encoding="utf-8")
    return kept


def _fastest(rows: Iterable[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return min((row for row in rows if row["kind"] == kind), key=lambda row: row["median_ms"], default=None)


def main(argv: list[str]) -> int:
    """Write the READMEs, with --take FILE after taking it, or with --check compare them."""
    if "--take" in argv:
        try:
            print(f"Wrote {take(Path(argv[argv.index('--take') + 1])).relative_to(ROOT)}")
        except (OSError, ValueError, KeyError, IndexError) as error:
            print(f"bench/tables.py: error: --take FOLDER/gpu.json: {error}", file=sys.stderr)
            return 2
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
