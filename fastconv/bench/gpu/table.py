"""The readable form of a session: gpu.md, and the end of what is printed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastconv.bench.table import number

Record = dict[str, Any]
_LEGEND = (
    "x torch: PyTorch's best time in FP32 over that of the best kernel. a + b: b is what cuDNN's transposes of layouts "
    "took besides. The limit is that of the device, measured, for the problem's FLOPs and bytes."
)
_DRY = "DRY RUN: there was no GPU. Kernels were simulated, and every time here is made up."


def render(record: Record) -> str:
    """Everything, in Markdown."""
    lines = [f"# {record['facts'].get('device', 'A GPU')}", ""]
    if record["dry_run"]:
        lines += [f"**{_DRY}**", ""]
    commit = record["commit"] or f"unknown (sources {record['sources']})"
    lines += [f"{record['date']}, commit {commit}. Made with `{record['command']}`.", ""]
    lines += ["| part | | |", "| --- | --- | --- |"]
    lines += [_row(name, part["status"], part["text"]) for name, part in record["parts"].items()]
    for name, part in record["parts"].items():
        lines += [f"- {name}: {failed}" for failed in part.get("failed", ())]
    lines += ["", *limits(record)]
    lines += ["", _LEGEND] if record["rows"] else []
    for op in dict.fromkeys(row["op"] for row in record["rows"]):
        lines += ["", f"## {op}", "", *op_lines([row for row in record["rows"] if row["op"] == op])]
    lines += ["", "## The machine", "", "| | |", "| --- | --- |"]
    lines += [_row(name, value) for name, value in record["facts"].items()]
    lines += ["", ", ".join(f"{name} {version}" for name, version in record["versions"].items())]
    return "\n".join(lines)


def closing(record: Record) -> str:
    """What stands last on the screen: convolution, which is what it is all about, and what came of the parts."""
    rows = [row for row in record["rows"] if row["op"] == "conv2d"]
    lines = ["", *(["conv2d", "", *op_lines(rows), "", _LEGEND] if rows else []), *limits(record), ""]
    lines += [f"{part['status']:8} {name}: {part['text']}" for name, part in record["parts"].items()]
    return "\n".join([*lines, _DRY] if record["dry_run"] else lines)


def limits(record: Record) -> list[str]:
    """What the device reached at most."""
    if not record["limits"]:
        return []
    found = record["limits"][0]
    rates = ", ".join(f"{dtype} {rate / 1e3:.1f}" for dtype, rate in found["gflop_per_s"].items())
    copied = list(found["gbyte_per_s"].values())[-1]
    return [f"Measured limits: {rates} TFLOP/s (tf32 and bfloat16 by mma.sync), {copied:.0f} GB/s of a copy."]


def op_lines(rows: list[dict[str, Any]]) -> list[str]:
    """A table of an op: a line a shape; milliseconds of every kernel, and of PyTorch by precision and layout.

    A second number behind a plus is what cuDNN's layout transposes took of the time before it, which is without them.
    The best is that of the kernels in float32; others stand beside it by name.
    """
    timed = [row for row in rows if row["median_ms"] is not None]
    names = list(dict.fromkeys(row["contestant"] for row in rows if row["kind"] == "kernel"))
    peers = list(dict.fromkeys((row["precision"], row["layout"]) for row in timed if row["kind"] == "peer"))
    heads = ["shape (times in ms)", *names, "best: TFLOP/s", "% of limit", "x torch"]
    heads += [f"torch {precision or 'fp32'} {layout}" for precision, layout in peers]
    lines = [_row(*heads), "|".join(["", " --- ", *[" ---: "] * (len(heads) - 1), ""])]
    for shape in dict.fromkeys(row["shape"] for row in rows):
        here = [row for row in timed if row["shape"] == shape]
        own = {row["contestant"]: row for row in here if row["kind"] == "kernel"}
        others = {(row["precision"], row["layout"]): row for row in here if row["kind"] == "peer"}
        alike = [row for row in own.values() if not row["precision"]]
        best = min(alike, key=lambda row: row["median_ms"], default=None)
        cells = [number(own[name]["median_ms"]) if name in own else "" for name in names]
        if best is None:
            cells += ["", "", ""]
        else:
            ratio = "" if best["ratio"] is None else f"{best['ratio']:.2f}"
            cells += [f"{best['gflop_per_s'] / 1e3:.2f}", number(best["percent_of_limit"]), ratio]
        lines.append(_row(shape, *cells, *(_peer(others.get(peer)) for peer in peers)))
    lines += [""] * bool(refused := list(_refused(rows))) + refused
    return lines


def _refused(rows: list[dict[str, Any]]) -> Iterable[str]:
    """Once for each reason: who was not timed, and on how many shapes."""
    reasons: dict[tuple[str, str, str], int] = {}
    for row in rows:
        if row["median_ms"] is None:
            key = row["contestant"], row["status"], row["message"]
            reasons[key] = reasons.get(key, 0) + 1
    return (f"- {name} {status} on {count} shapes: {message}" for (name, status, message), count in reasons.items())


def _peer(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    transposes = row["transpose_ms"] or 0.0
    if transposes < 0.01 * row["median_ms"]:
        return number(row["median_ms"])
    return f"{number(max(row['median_ms'] - transposes, 0.0))} + {number(transposes)}"


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
