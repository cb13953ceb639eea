"""The roofline as a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fastconv.bench import roofline
from fastconv.utils.files import atomic_write
from fastconv.utils.optional import require

_MARKERS = dict(zip(roofline.MARKERS, ("o", "s", "D", "^", "x", "+", "v", "*"), strict=True))


def write_plot(path: Path, result: dict[str, Any]) -> None:
    """Write the roofline to a .png, .pdf or .svg file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    drawing = io.BytesIO()
    figure(result).savefig(drawing, format=path.suffix[1:].lower(), dpi=150)
    with atomic_write(path) as stream:
        stream.write(drawing.getvalue())


def figure(result: dict[str, Any]) -> Any:
    """A matplotlib figure: GFLOP/s over FLOP/byte, the measured ceilings, a marker and colour for each contestant."""
    drawn = require("matplotlib.figure", extra="plot").Figure(figsize=(9, 5.5), layout="constrained")
    axes = drawn.subplots()
    xs, ys = roofline.ranges(result)
    axes.set(xscale="log", yscale="log", xlim=xs, ylim=ys)
    axes.set_xlabel("arithmetic intensity (FLOP/byte)")
    axes.set_ylabel("GFLOP/s")
    for line in roofline.ceilings(result):
        ridge = line.peak / line.bandwidth
        axes.plot([xs[0], ridge, xs[1]], [xs[0] * line.bandwidth, line.peak, line.peak], color="0.4", linewidth=1)
        middle = (max(xs[0], ys[0] / line.bandwidth) * ridge) ** 0.5
        axes.text(middle * 1.07, middle * line.bandwidth, line.name, fontsize=8, color="0.3", va="top")
    peaks = {line.peak for line in roofline.ceilings(result)}
    for peak in peaks:
        axes.text(xs[1] * 0.9, peak * 1.05, f"peak: {peak:.0f} GFLOP/s", fontsize=8, color="0.3", ha="right")
    marks = roofline.points(result)
    for index, name in enumerate(roofline.series(result)):
        mine = [point for point in marks if point.series == name]
        if mine:
            axes.scatter(
                [point.x for point in mine],
                [point.y for point in mine],
                label=name,
                s=36,
                color=roofline.COLOURS[index % len(roofline.COLOURS)],
                marker=_MARKERS[roofline.MARKERS[index % len(roofline.MARKERS)]],
            )
    if marks:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    threads = ", ".join(str(limit["threads"]) for limit in result["limits"])
    axes.set_title(f"{result['machine']['cpu']}, {threads} threads", fontsize=10)
    axes.grid(which="major", color="0.9")
    return drawn
