"""The report: one HTML page that needs no network, drawn here; its script only sorts, filters and hides."""

from __future__ import annotations

import math
from html import escape
from importlib import resources
from typing import Any

from fastconv.bench import roofline

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 20, 48
_COLUMNS = (  # heading, key, whether it is a number
    ("op", "op", False),
    ("shape", "shape", False),
    ("threads", "threads", True),
    ("contestant", "contestant", False),
    ("rank", "rank", True),
    ("ms", "median_ms", True),
    ("p20", "p20_ms", True),
    ("p80", "p80_ms", True),
    ("GFLOP/s", "gflop_per_s", True),
    ("GB/s", "gbyte_per_s", True),
    ("FLOP/byte", "intensity", True),
    ("% of limit", "percent_of_limit", True),
    ("limit", "bound", False),
    ("x best peer", "ratio", True),
    ("compile ms", "compile_ms", True),
    ("launch us", "launch_us", True),
    ("transfer ms", "transfer_ms", True),
    ("problem", "problem", False),
)


def render(result: dict[str, Any]) -> str:
    """The page for what `Result.to_dict` gives."""
    ops = ", ".join(dict.fromkeys(row["op"] for row in result["rows"])) or "nothing"
    timed = [row for row in result["rows"] if row["status"] == "timed"]
    # A CPU's kernels have no launch, and without peers there is nothing to compare with.
    columns = [column for column in _COLUMNS if any(row[column[1]] is not None for row in timed)]
    parts = {
        "TITLE": escape(f"fastconv bench: {ops}"),
        "FACTS": _facts(result),
        "SUMMARY": _summary(result),
        "LEGEND": _legend(result),
        "ROOFLINE": _roofline(result),
        "BARS": _bars(result),
        "REFUSED": _refused(result),
        "HEAD": "".join(
            f'<th scope="col"{" class=n" if number else ""}><button type="button">{escape(name)}</button></th>'
            for name, _, number in columns
        ),
        "ROWS": "\n".join(_table_row(row, columns) for row in timed),
    }
    page = resources.files("fastconv.bench").joinpath("page.html").read_text(encoding="utf-8")
    before, *rest = page.split("{{")  # filled in one pass: what is filled in may hold braces
    return before + "".join(parts[key] + text for key, _, text in (piece.partition("}}") for piece in rest))


def _facts(result: dict[str, Any]) -> str:
    machine = result["machine"]
    facts = {
        "Machine": f"{machine['cpu']}, {machine['cores']} processors, {machine['simd_bits']}-bit vectors; "
        f"{machine['system']}",
        "Date": f"{result['date']}, commit {result['commit'] or 'unknown'}",
        "Versions": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "Command": result["command"],
    }
    if machine["gpus"]:
        facts["GPU"] = "; ".join(machine["gpus"])
    return "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())


def _groups(result: dict[str, Any]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        if row["status"] == "timed":
            groups.setdefault((row["op"], row["shape"], row["threads"]), []).append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: row["median_ms"])
    return groups


def _summary(result: dict[str, Any]) -> str:
    """Who was fastest how often, and each contestant's mean ratio to the best peer."""
    groups = _groups(result)
    if not groups:
        return "<p>Nothing was timed.</p>"
    first: dict[str, int] = {}
    ratios: dict[str, list[float]] = {}
    for rows in groups.values():
        winner = roofline.series_name(rows[0])
        first[winner] = first.get(winner, 0) + 1
        for row in rows:
            if row["ratio"]:
                ratios.setdefault(roofline.series_name(row), []).append(row["ratio"])
    fastest = ", ".join(f"{name} on {count}" for name, count in sorted(first.items(), key=lambda item: -item[1]))
    text = f"<p>Of {len(groups)} problems the fastest: {escape(fastest)}.</p>"
    means = [
        f"<li>{escape(name)}: {math.exp(sum(map(math.log, values)) / len(values)):.2f}</li>"
        for name, values in ratios.items()
    ]
    if means:
        text += "<p>The best peer's time over each one's own, geometric mean (above 1 is faster):</p>"
        text += f"<ul>{''.join(means)}</ul>"
    if result.get("interrupted"):
        text += "<p>The run was interrupted; these are the problems that were done.</p>"
    return text


def _style(result: dict[str, Any], name: str) -> tuple[str, str]:
    """A contestant's colour and marker."""
    index = roofline.series(result).index(name)
    return roofline.COLOURS[index % len(roofline.COLOURS)], roofline.MARKERS[index % len(roofline.MARKERS)]


def _legend(result: dict[str, Any]) -> str:
    buttons = []
    for name in roofline.series(result):
        colour, marker = _style(result, name)
        picture = (
            f'<svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{_marker(marker, colour)}</svg>'
        )
        buttons.append(
            f'<button type="button" aria-pressed="true" data-toggle="{escape(name)}">{picture} {escape(name)}</button>'
        )
    return "".join(buttons)


def _marker(marker: str, colour: str) -> str:
    paths = {
        "square": "M-4-4H4V4H-4Z",
        "diamond": "M0-5.5L5.5 0L0 5.5L-5.5 0Z",
        "triangle": "M0-5.5L5 4H-5Z",
        "down": "M0 5.5L5-4H-5Z",
        "star": "M0-6L1.6-1.8L6-1.8L2.6 1L3.7 5.4L0 2.9L-3.7 5.4L-2.6 1L-6-1.8L-1.6-1.8Z",
        "cross": "M-4-4L4 4M4-4L-4 4",
        "plus": "M0-5V5M-5 0H5",
    }
    if marker == "circle":
        return f'<circle r="4.5" fill="{colour}"/>'
    if marker in ("cross", "plus"):
        return f'<path d="{paths[marker]}" stroke="{colour}" stroke-width="2.2" fill="none"/>'
    return f'<path d="{paths[marker]}" fill="{colour}"/>'


def _roofline(result: dict[str, Any]) -> str:
    (x0, x1), (y0, y1) = roofline.ranges(result)

    def x_of(x: float) -> float:
        share = math.log10(x / x0) / math.log10(x1 / x0)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y_of(y: float) -> float:
        share = math.log10(y / y0) / math.log10(y1 / y0)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for low, high, is_x in ((x0, x1, True), (y0, y1, False)):
        for exponent in range(round(math.log10(low)), round(math.log10(high)) + 1):
            value = 10.0**exponent
            label = f"{value:g}"
            if is_x:
                x = x_of(value)
                parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
                parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{label}</text>')
            else:
                y = y_of(value)
                parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
                parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for line in roofline.ceilings(result):
        start = max(x0, y0 / line.bandwidth)
        ridge = min(max(line.peak / line.bandwidth, start), x1)
        slope = f"M{x_of(start):.1f} {y_of(start * line.bandwidth):.1f}L{x_of(ridge):.1f} {y_of(line.peak):.1f}"
        parts.append(f'<path class="ceiling" d="{slope}H{x_of(x1):.1f}"/>')
        middle = math.sqrt(start * ridge)
        parts.append(
            f'<text class="label" x="{x_of(middle) + 8:.1f}" y="{y_of(middle * line.bandwidth) + 10:.1f}">'
            f"{escape(line.name)}</text>"
        )
    for peak in dict.fromkeys(line.peak for line in roofline.ceilings(result)):
        parts.append(
            f'<text class="label" x="{_WIDTH - _RIGHT - 4}" y="{y_of(peak) - 6:.1f}" text-anchor="end">'
            f"peak: {peak:.0f} GFLOP/s</text>"
        )
    for point in roofline.points(result):
        colour, marker = _style(result, point.series)
        label, name = escape(point.text), escape(point.series)
        parts.append(
            f'<g class="point" tabindex="0" role="img" aria-label="{label}" data-series="{name}" '
            f'transform="translate({x_of(point.x):.1f} {y_of(point.y):.1f})">'
            f"<title>{label}</title>{_marker(marker, colour)}</g>"
        )
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<text x="{middle_x}" y="{_HEIGHT - 8}" text-anchor="middle">arithmetic intensity, FLOP/byte</text>')
    parts.append(f'<text transform="translate(16 {middle_y}) rotate(-90)" text-anchor="middle">GFLOP/s</text>')
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg class="roofline" {size} role="group" aria-label="Roofline">{"".join(parts)}</svg>'


def _bars(result: dict[str, Any]) -> str:
    """For each problem a bar a contestant, as long as its GFLOP/s, or GB/s where nothing is computed."""
    groups = []
    for (op, shape, threads), rows in _groups(result).items():
        key, unit = ("gflop_per_s", "GFLOP/s") if rows[0]["gflop_per_s"] else ("gbyte_per_s", "GB/s")
        most = max(row[key] for row in rows)
        bars = []
        for row in rows:
            name = roofline.series_name(row)
            colour, _ = _style(result, name)
            ratio = "" if row["ratio"] is None else f", {row['ratio']:.2f} x peer"
            bars.append(
                f'<div class="bar" data-series="{escape(name)}"><span>{escape(name)}</span>'
                f'<div><i style="width:{100 * row[key] / most:.1f}%;background:{colour}"></i></div>'
                f"<b>{row[key]:.3g} {unit}{ratio}</b></div>"
            )
        heading = f"{op} {shape}" + (f", {threads} threads" if len(result["limits"]) > 1 else "")
        groups.append(f'<section class="group"><h3>{escape(heading)}</h3>{"".join(bars)}</section>')
    return "".join(groups)


def _refused(result: dict[str, Any]) -> str:
    rows = [row for row in result["rows"] if row["status"] != "timed"]
    if not rows:
        return ""
    items = "".join(
        f'<li class="{escape(row["status"])}"><b>{escape(row["op"])} {escape(row["shape"])}, '
        f"{escape(roofline.series_name(row))}: {escape(row['status'])}</b><pre>{escape(row['message'])}</pre></li>"
        for row in rows
    )
    return f'<section><h2>Not timed</h2><ul class="refused">{items}</ul></section>'


def _table_row(row: dict[str, Any], columns: list[tuple[str, str, bool]]) -> str:
    cells = []
    for _, key, number in columns:
        value = roofline.series_name(row) if key == "contestant" else row[key]
        if not number:
            star = " *" if key == "contestant" and row["default"] else ""
            cells.append(f"<td>{escape(str(value or ''))}{star}</td>")
        elif not isinstance(value, (int, float)):
            cells.append('<td class="n" data-value=""></td>')
        else:
            shown = str(value) if isinstance(value, int) else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
            cells.append(f'<td class="n" data-value="{value!r}">{shown}</td>')
    return f'<tr data-series="{escape(roofline.series_name(row))}">{"".join(cells)}</tr>'
