"""Every GPU kernel of an op beside cuDNN, by the project's own benchmark: `fastconv.bench.compare`.

As a program it times one op: python -m fastconv.bench.gpu.timings OP SECONDS FILE.json, and keeps the file up to date
after each shape. After SECONDS it stops in good order. The convolutions are ResNet-50's 3x3 and 1x1 layers, in this
order, then the kinds of layers that it lacks; the poolings those of well-known networks.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fastconv import kernels
from fastconv.bench import peers
from fastconv.bench.compare import compare
from fastconv.bench.gpu import stand_in
from fastconv.bench.gpu.session import Session, module
from fastconv.bench.result import Result, Row
from fastconv.bench.table import number
from fastconv.testing.shapes import find_shapes, shapes_for
from fastconv.utils.files import atomic_write

# The most important first, and the share of the time that is left which each may take, beside those behind it.
_SHARES = {"conv2d": 6, "max_pool2d": 1, "average_pool2d": 1, "conv2d_backward_data": 4, "conv2d_backward_filter": 4}
_OTHERS = {  # a first layer's few channels, one channel a group, few a group, and a dilation
    "seeds": ("mnist_conv1", "mnist_conv2"),
    "mobilenet": ("conv1", "dw1", "dw3", "dw9"),
    "grouped": ("resnext_conv3",),
    "dilated": ("block_2",),
}
_SECONDS = 0.2  # for a contestant and shape
_GRACE_S = 15.0  # for an op that does not stop by itself


def ops() -> dict[str, int]:
    """Every op that has a kernel for a GPU, in the order in which they are timed, and its share of the time."""
    found = [op for op in kernels.ops() if kernels.variants(op, "gpu")]
    order = list(_SHARES)
    found.sort(key=lambda op: order.index(op) if op in order else len(order))
    return {op: _SHARES.get(op, 1) for op in found}


def run(session: Session, op: str, limit_s: float) -> None:
    """Time one op in a program of its own; its rows come into the record as they are ready."""
    part = f"timings {op}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "timings.json"

        def on_line(line: str) -> None:
            if line.startswith(f"{op} "):  # a shape is done; whatever else there is to say is in the log
                session.say(f"  {line}")
                _take(session, op, file)

        command = module("fastconv.bench.gpu.timings", op, f"{limit_s:.0f}", str(file))
        # The limits that a dry run makes up are not kept in the user's cache.
        cache = {"NUMBA_CACHE_DIR": folder} if session.dry_run else {}
        ended = session.run(command, limit_s + _GRACE_S, "timings", on_line, cache)
        complete = _take(session, op, file)
    rows = [row for row in session.record["rows"] if row["op"] == op]
    timed = sum(row["status"] == "timed" for row in rows)
    bad = [row for row in rows if row["kind"] == "kernel" and row["status"] in ("wrong", "failed")]
    shapes = len({row["shape"] for row in rows})
    text = f"{timed} times on {shapes} of {len(work(op, session.dry_run))} shapes"
    if ended.code == 0 and not complete:
        text += "; then its time was up"
    if bad:
        text += f"; {bad[0]['contestant']} {bad[0]['status']} on {bad[0]['shape']}: {bad[0]['message']}"
    if ended.code != 0:
        text += f"; the program {ended.why()}"
    session.done(part, "passed" if ended.code == 0 and timed and not bad else "failed", text)


def _take(session: Session, op: str, file: Path) -> bool:
    """Bring the op's rows into the record; returns whether nothing cut them short."""
    if not file.exists():
        return False
    found = json.loads(file.read_text(encoding="utf-8"))
    others = [row for row in session.record["rows"] if row["op"] != op]
    session.record["rows"] = others + found["rows"]
    session.record["limits"] = found["limits"]
    session.record["interrupted"] |= found["interrupted"]
    session.write()
    return not found["interrupted"]


def work(op: str, dry_run: bool) -> list[tuple[str, str, Any]]:
    """(op, name of the shape, problem)."""
    if dry_run:
        found: dict[str, Any] = shapes_for(op, "lab")
    elif kernels.problem_type(op) is kernels.Pool2DProblem:
        found = dict(find_shapes("pool2d_nets", kernels.Pool2DProblem))
    else:
        layers = find_shapes("resnet50", kernels.Conv2DProblem).items()
        squares = [(name, problem) for name, problem in layers if problem.R == problem.S and problem.R in (1, 3)]
        found = dict(sorted(squares, key=lambda layer: -layer[1].R))
        for file, names in _OTHERS.items():
            found |= {f"{file}_{name}": find_shapes(file, kernels.Conv2DProblem)[name] for name in names}
    if dry_run:  # as few as give every kernel one
        for_each = (
            [name for name, problem in found.items() if problem.N and kernel.unsupported(problem) is None]
            for kernel in kernels.variants(op, "gpu")
        )
        wanted = {names[0] for names in for_each}
        found = {name: problem for name, problem in found.items() if name in wanted}
    return [(op, name, problem) for name, problem in found.items()]


def main(op: str, seconds: str, file: str) -> int:
    """Time the op's kernels and PyTorch; the exit code is 0 if that went to its end or to the end of the time."""
    deadline = time.monotonic() + float(seconds)
    stand_in.take_the_gpus_place(with_peers=True)
    result, written = Result(f"fastconv.bench.gpu.timings {op}", []), 0

    def progress(text: str, share: float) -> None:
        nonlocal written
        if len(result.rows) > written:
            keep(result, Path(file))
            print(line(result.rows[written:]), flush=True)
            written = len(result.rows)
        if time.monotonic() > deadline:
            raise KeyboardInterrupt  # which `compare` takes as the wish to stop, and keeps what is done

    names = [name for name in ("torch",) if name in peers.installed()]
    compare(
        work(op, stand_in.wanted()),
        {op: kernels.variants(op, "gpu")},
        names,
        (),
        _SECONDS,
        None,
        "gpu",
        progress,
        result,
    )
    keep(result, Path(file))
    if len(result.rows) > written:
        print(line(result.rows[written:]), flush=True)
    return 0


def keep(result: Result, file: Path) -> None:
    """Write the rows so far."""
    result.compare()
    with atomic_write(file) as stream:
        stream.write(json.dumps(result.to_dict()).encode())


def line(rows: list[Row]) -> str:
    """What came of one shape, in a line."""
    of_kernels = [row for row in rows if row.kind == "kernel"]
    timed = sorted((row for row in rows if row.median_ms is not None), key=lambda row: row.median_ms or 0.0)
    best = next((row for row in timed if row.kind == "kernel" and not row.precision), None)
    peer = next((row for row in timed if row.kind == "peer" and not row.precision), None)
    text = f"{rows[0].op} {rows[0].shape}: "
    if best is None:
        return text + "; ".join(f"{row.contestant} {row.status}: {row.message}" for row in of_kernels)
    text += f"{best.contestant} {number(best.median_ms)} ms, {number(best.percent_of_limit)}% of the limit"
    return text + (f"; {peer.contestant} {peer.layout} {number(peer.median_ms)} ms" if peer else "")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
