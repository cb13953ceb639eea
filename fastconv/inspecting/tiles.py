"""Draws a kernel's tiles: what one block, one warp and one thread read and write, as an SVG without scripts.

Everything in the picture comes from `footprint`: nothing is drawn for a kernel in particular.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from fastconv.inspecting.footprint import (
    BLOCK_LEVEL,
    THREAD_LEVEL,
    WARP_LEVEL,
    Footprint,
    Request,
    Touched,
    footprints,
)
from fastconv.kernels import Kernel
from fastconv.testing.shapes import shapes_for
from fastconv.testing.simulator.counts import SECTOR_BYTES

WIDTH, MARGIN, GAP = 880, 24, 26
_LEVELS = {0: "empty", BLOCK_LEVEL: "block", WARP_LEVEL: "warp", THREAD_LEVEL: "thread"}
_BANKS = 32
_SECTORS_SHOWN = 32
_FINEST = 1.5  # pixels of a row
_STYLE = """
svg{--paper:#fff;--ink:#1f2328;--faint:#59636e;--empty:#eceff2;--edge:#c4cbd3;--block:#b9d6f2;--warp:#f0a637;
--thread:#a4133c}
@media(prefers-color-scheme:dark){svg{--paper:#0d1117;--ink:#e6edf3;--faint:#9198a1;--empty:#1c222b;--edge:#3d444d;
--block:#1d4f80;--warp:#c98211;--thread:#ff8fa3}}
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:var(--ink)}
.title{font-size:17px;font-weight:600}.name{font-size:13px;font-weight:600}.faint{fill:var(--faint);font-size:11px}
.paper{fill:var(--paper)}.empty{fill:var(--empty)}.block{fill:var(--block)}.warp{fill:var(--warp)}
.thread{fill:var(--thread)}.cut{stroke:var(--paper);fill:none}.edge{stroke:var(--edge);fill:none}
"""


@dataclass(frozen=True)
class _Grid:
    """How an array is laid out: element i is in column column[i] and row row[i] of cells.

    Attributes:
        cell: width and height of an element.
        cuts: from how many columns, and rows, on there is a line between what belongs together; 0 for none.
        words: what is shown, below the name.
        ring: cells round the array that padding adds: above, below, left and right.
    """

    column: np.ndarray
    row: np.ndarray
    cell: tuple[float, float]
    cuts: tuple[int, int]
    words: str
    ring: tuple[float, float, float, float] = (0, 0, 0, 0)

    @property
    def columns(self) -> int:
        return int(self.column.max(initial=0)) + 1

    @property
    def rows(self) -> int:
        return int(self.row.max(initial=0)) + 1

    @property
    def width(self) -> float:
        return (self.columns + self.ring[2] + self.ring[3]) * self.cell[0]

    @property
    def height(self) -> float:
        return (self.rows + self.ring[0] + self.ring[1]) * self.cell[1]


def small_problem(kernel: Kernel) -> Any:
    """What a kernel is drawn for: the first of bench/shapes/*_tiles.txt that it supports.

    For backward_data, whose sums are over filters, channels and filters are exchanged.

    Raises:
        ValueError: there is none.
    """
    for problem in shapes_for(kernel.op, "tiles").values():
        if kernel.op == "conv2d_backward_data":
            problem = replace(problem, C=problem.K, K=problem.C)
        if kernel.unsupported(problem) is None:
            return problem
    raise ValueError(f"{kernel.op} {kernel.name} supports none of the shapes that tiles are drawn for.")


def draw(kernel: Kernel, problem: Any) -> str:
    """The picture of a kernel's tiles for a problem small enough to be simulated.

    Raises:
        ValueError: the kernel runs on the CPU, does not support the problem, or the problem is too large.
        SimulationError: the kernel cannot be simulated.
    """
    parts, y = [], 68.0
    found = footprints(kernel, problem)
    for number, footprint in enumerate(found):
        which = f"{number + 1} of {len(found)}: " if len(found) > 1 else ""
        drawn, y = _launch(footprint, which, problem, y)
        parts += drawn
    height = math.ceil(y + 8)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="Tiles of {kernel.op} {kernel.name}"><style>{_STYLE}</style>',
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<text x="{MARGIN}" y="30"><tspan class="title">{kernel.op} {kernel.name}</tspan> '
        f'<tspan class="faint" dx="8">{escape(str(problem))}</tspan></text>',
        *_legend(),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _legend() -> Iterator[str]:
    x = MARGIN
    for name, words, width in (
        ("block", "the first block", 108),
        ("warp", "a warp of it", 96),
        ("thread", "a thread of that", 112),
        ("empty", "the rest", 72),
    ):
        yield f'<rect class="{name}" x="{x}" y="43" width="11" height="11" rx="2"/>'
        yield _text(x + 16, 53, words, "faint")
        x += width
    yield f'<rect class="edge" stroke-dasharray="2 2" x="{x}.5" y="43.5" width="10" height="10"/>'
    yield _text(x + 16, 53, "padding", "faint")


def _launch(footprint: Footprint, which: str, problem: Any, y: float) -> tuple[list[str], float]:
    """One launch from y on, and where it ends."""
    if footprint.launch is None:
        return [_text(MARGIN, y + 20, f"{which}{footprint.name}, which a library does", "name")], y + 34
    grid, block = (" × ".join(map(str, size)) for size in (footprint.launch.grid, footprint.launch.block))
    shared = (
        f", {footprint.launch.shared_bytes} bytes of dynamic shared memory" if footprint.launch.shared_bytes else ""
    )
    blocks = "block" if math.prod(footprint.launch.grid) == 1 else "blocks"
    words = f"{grid} {blocks} of {block} threads{shared}; shown are warp {footprint.warp} and thread {footprint.thread}"
    drawn = [
        f'<path class="edge" d="M{MARGIN} {_n(y)}H{WIDTH - MARGIN}"/>',
        f'<text x="{MARGIN}" y="{_n(y + 22)}"><tspan class="name">{which}{escape(footprint.name)}</tspan> '
        f'<tspan class="faint" dx="6">{escape(words)}</tspan></text>',
    ]
    x, y, bottom = float(MARGIN), y + 46, y
    for column in _columns(footprint.arrays, problem):
        if x > MARGIN and x + column[0].width > WIDTH - MARGIN:
            x, y = float(MARGIN), bottom + 14
        below = y
        for panel in column:
            drawn += panel.draw(x, below)
            below += panel.height + 24
        x += max(panel.width for panel in column) + GAP
        bottom = max(bottom, below)
    y = bottom + 6
    if footprint.requests:
        drawn.append(
            _text(MARGIN, y, "What the warp asks for at once, in boxes of 32 bytes or in the 32 banks", "name")
        )
        for request in footprint.requests:
            drawn += _request(request, y + 8)
            y += 17
    return drawn, y + 16


def _columns(arrays: Sequence[Touched], problem: Any) -> list[list[_Panel]]:
    """From left to right: what is read, what goes through shared memory, one below the other, and what is written."""
    read, shared, written = ([] for _ in range(3))
    for touched in arrays:
        if touched.space == "shared":
            shared.append(_Panel("shares", touched, _grid(touched, problem)))
        elif touched.loads.any():
            read.append(_Panel("reads", touched, _grid(touched, problem)))
        else:
            written.append(_Panel("writes", touched, _grid(touched, problem)))
    return [[panel] for panel in read] + [shared] * bool(shared) + [[panel] for panel in written]


@dataclass(frozen=True)
class _Panel:
    """An array with what is said of it."""

    verb: str
    touched: Touched
    grid: _Grid

    @property
    def facts(self) -> list[str]:
        facts = []
        for counts, done in ((self.touched.stores, "stored"), (self.touched.loads, "loaded")):
            elements = int(np.count_nonzero(counts))
            if elements:
                each = int(counts.sum()) / elements
                facts.append(f"{elements} {done}" + (f", {each:.3g} × each" if each > 1 else ""))
        facts.append(f"{int(np.count_nonzero(self.touched.levels == THREAD_LEVEL))} by the thread")
        if self.touched.held:
            facts.append("holds " + ", ".join(self.touched.held))
        return facts

    @property
    def width(self) -> float:
        return max(self.grid.width, *(5.6 * len(line) for line in (self.grid.words, *self.facts)))

    @property
    def height(self) -> float:
        return 22 + self.grid.height + 15 * len(self.facts)

    def draw(self, x: float, y: float) -> list[str]:
        touched, grid = self.touched, self.grid
        drawn = [
            f'<text x="{_n(x)}" y="{_n(y)}"><tspan class="faint">{self.verb}</tspan> '
            f'<tspan class="name">{escape(touched.name)}</tspan></text>',
            _text(x, y + 14, grid.words, "faint"),
        ]
        (across, down), (above, _, left, _), top = grid.cell, grid.ring, y + 22
        if any(grid.ring):
            drawn.append(
                f'<rect class="edge" stroke-dasharray="2 2" x="{_n(x)}" y="{_n(top)}" width="{_n(grid.width)}" '
                f'height="{_n(grid.height)}"/>'
            )
        x0, y0 = x + left * across, top + above * down
        levels = np.full((grid.rows, grid.columns), -1, np.int8)
        levels[grid.row, grid.column] = touched.levels
        together = math.ceil(_FINEST / down)  # rows that are too low to be seen one by one
        if together > 1:
            levels = np.maximum.reduceat(levels, np.arange(0, grid.rows, together))
        drawn.append(f'<g transform="translate({_n(x0)} {_n(y0)})scale({_n(across)} {_n(down * together)})">')
        for level, name in _LEVELS.items():
            if path := _area(levels >= level):
                drawn.append(f'<path class="{name}" d="{path}"/>')
        drawn.append("</g>")
        step_x, step_y = grid.cuts[0] * across, grid.cuts[1] * down
        height, width = _n(grid.rows * down), _n(grid.columns * across)
        cuts = [f"M{_n(x0 + i * step_x)} {_n(y0)}v{height}" for i in _inner(grid.columns, grid.cuts[0])]
        cuts += [f"M{_n(x0)} {_n(y0 + i * step_y)}h{width}" for i in _inner(grid.rows, grid.cuts[1])]
        if cuts:
            drawn.append(f'<path class="cut" d="{"".join(cuts)}"/>')
        below = top + grid.height + 14
        return drawn + [_text(x, below + 15 * i, line, "faint") for i, line in enumerate(self.facts)]


def _inner(count: int, step: int) -> range:
    return range(1, -(-count // step)) if step else range(0)


def _grid(touched: Touched, problem: Any) -> _Grid:
    """The layout that suits the array: images of pixels, a filter's taps, a matrix, or words of shared memory."""
    if touched.space == "shared":
        return _rows_of(touched.shape, _BANKS, 4.0, f"{math.prod(touched.shape)} words, 32 a row", 128)
    if touched.name in ("x", "gx"):
        return _image(touched.shape, 216, (problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right))
    if touched.name in ("y", "gy"):
        return _image(touched.shape, 256)
    if touched.name in ("w", "gw"):
        r, s, c, k = touched.shape
        return _matrix(r * s * c, k, c, f"{r} × {s} taps of {c} × {k}")
    if touched.name == "col":
        columns = math.prod(touched.shape[3:]) if len(touched.shape) == 6 else touched.shape[-1]
        if len(touched.shape) > 1:
            rows = math.prod(touched.shape) // columns
            return _matrix(rows, columns, 0, f"{rows} pixels × {columns}")
    if len(touched.shape) > 1:
        rows = math.prod(touched.shape[:-1])
        return _matrix(rows, touched.shape[-1], touched.shape[-2], " × ".join(map(str, touched.shape)))
    return _rows_of(touched.shape, 64, 2.0, f"{touched.shape[0]}, 64 a row", 240)


def _image(shape: tuple[int, ...], most: float, ring: tuple[int, int, int, int] = (0, 0, 0, 0)) -> _Grid:
    """Pixels as squares; in each of them its channels, side by side and then below each other."""
    n, height, width, channels = shape
    beside = next(d for d in range(1, channels + 1) if channels % d == 0 and d * d >= channels)
    below = channels // beside
    pixel = min(16.0, most / (width + ring[2] + ring[3]))
    index = np.arange(math.prod(shape))
    c, q, line = index % channels, index // channels % width, index // (channels * width)
    return _Grid(
        column=q * beside + c % beside,
        row=line * below + c // beside,
        cell=(pixel / beside, pixel / below),
        cuts=(beside, below),
        words=f"{'' if n == 1 else f'{n} × '}{height} × {width} pixels of {channels}",
        ring=(ring[0] * below, ring[1] * below, ring[2] * beside, ring[3] * beside),
    )


def _matrix(rows: int, columns: int, cut: int, words: str) -> _Grid:
    index = np.arange(rows * columns)
    across = min(6.0, 128 / columns)
    return _Grid(
        index % columns, index // columns, (across, min(across, 240 / rows)), (0, cut if cut > 1 else 0), words
    )


def _rows_of(shape: tuple[int, ...], columns: int, cell: float, words: str, most: float) -> _Grid:
    """Memory in its order, wrapped."""
    index = np.arange(math.prod(shape))
    rows = -(-len(index) // columns)
    return _Grid(index % columns, index // columns, (cell, min(cell, most / rows)), (0, 0), words)


def _area(mask: np.ndarray) -> str:
    """A path round what is True: rectangles as high and then as wide as they go."""
    path: list[str] = []
    at = (0, 0)
    open_runs: dict[tuple[int, int], int] = {}
    for row in range(len(mask) + 1):
        runs = _runs(mask[row]) if row < len(mask) else set()
        for run in sorted(set(open_runs) - runs):
            first, width, height = open_runs.pop(run), run[1] - run[0], 0
            height = row - first
            path.append(f"m{run[0] - at[0]} {first - at[1]}h{width}v{height}h-{width}z")
            at = (run[0], first)
        for run in runs:
            open_runs.setdefault(run, row)
    return "".join(path)


def _runs(row: np.ndarray) -> set[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(np.int8), [0]))))
    return {(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)}


def _request(request: Request, y: float) -> list[str]:
    """A row: what is asked for, how often, and the sectors or banks in which it lies."""
    shared = request.space == "shared"
    drawn = [
        _text(MARGIN, y + 9, f"{request.what} {request.array[:16]}, line {request.line}"),
        _text(MARGIN + 206, y + 9, f"{request.count} ×", "faint", "end"),
    ]
    x, width = MARGIN + 216.0, 14.0
    boxes = _banks(request) if shared else _sectors(request)
    empty, full = [], []
    for number, box in enumerate(boxes[:_SECTORS_SHOWN]):
        left = x + number * (width + 1)
        empty.append(f"M{_n(left)} {_n(y)}h{_n(width)}v10h-{_n(width)}z")
        full += [f"M{_n(left + a * width)} {_n(y)}h{_n((b - a) * width)}v10h-{_n((b - a) * width)}z" for a, b in box]
    drawn += [f'<path class="empty" d="{"".join(empty)}"/>', f'<path class="warp" d="{"".join(full)}"/>']
    unit = "pass" if shared else "sector"
    plural = ("es" if shared else "s") if request.moved > 1 else ""
    worse = f", {request.ideal} would do" if request.moved > request.ideal else ""
    end = x + max(len(boxes[:_SECTORS_SHOWN]), 0) * (width + 1)
    drawn.append(_text(end + 6, y + 9, f"{request.moved} {unit}{plural}{worse}", "faint"))
    return drawn


def _sectors(request: Request) -> list[list[tuple[float, float]]]:
    """For each sector that is touched the parts of it that are asked for, from 0 to 1."""
    boxes: dict[int, list[tuple[float, float]]] = {}
    for address in request.addresses.tolist():
        start = address % SECTOR_BYTES / SECTOR_BYTES
        box = boxes.setdefault(address // SECTOR_BYTES, [])
        end = start + request.itemsize / SECTOR_BYTES
        if box and box[-1][1] == start:
            box[-1] = (box[-1][0], end)
        else:
            box.append((start, end))
    return list(boxes.values())


def _banks(request: Request) -> list[list[tuple[float, float]]]:
    """For each bank whether any of its words is asked for."""
    used = set((request.addresses // 4 % _BANKS).tolist())
    return [[(0.0, 1.0)] if bank in used else [] for bank in range(_BANKS)]


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    attributes = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{_n(x)}" y="{_n(y)}"{attributes}>{escape(text)}</text>'


def _n(number: float) -> str:
    """A number with no more digits than can be seen."""
    return f"{number:.3f}".rstrip("0").rstrip(".")
