"""What a GPU can do at most, by the kernels in cuda_limits.cu, compiled by CuPy on first use.

The rates of TF32 and BF16 are those of `mma.sync`, the instruction that runs on every GPU since Ampere; Hopper's
`wgmma` can do more. `fastconv.bench.limits` keeps the results.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

_THREADS = 256
_BLOCKS_PER_MULTIPROCESSOR = 8  # as many threads as a multiprocessor holds
_SUMS = 8  # as in cuda_limits.cu
_FLOPS = {"float32": 2 * _SUMS * 32, "tf32": 2048 * _SUMS, "bfloat16": 4096 * _SUMS}  # of a warp, for each repeat
_COPIES = (1 << 28, 1 << 30)  # working sets in bytes, larger than any cache: a GPU's kernels are timed with cold ones
_ROUNDS = 7
_ROUND_MS = 20.0


def measure(cupy: Any) -> tuple[dict[str, float], dict[int, float]]:
    """The best of some rounds: 1e9 FLOPs a second by dtype, and GB/s of a copy (read and written) by working set.

    Args:
        cupy: the module, which has found a GPU.
    """
    device = cupy.cuda.Device()
    module = cupy.RawModule(code=Path(__file__).with_suffix(".cu").read_text(encoding="utf-8"), options=("-std=c++17",))
    blocks = _BLOCKS_PER_MULTIPROCESSOR * device.attributes["MultiProcessorCount"]
    out = cupy.empty(blocks * _THREADS, "float32")
    arguments = {"float32": (cupy.float32(0.999), cupy.float32(0.001)), "tf32": (cupy.uint32(0),)}
    arguments["bfloat16"] = arguments["tf32"]
    rates = {}
    for dtype, flops in _FLOPS.items():
        if dtype != "float32" and int(device.compute_capability) < 80:
            continue
        fma = module.get_function(f"fma_{dtype}")

        def launch(repeats: int, fma: Any = fma, dtype: str = dtype) -> None:
            fma((blocks,), (_THREADS,), (out, *arguments[dtype], cupy.int32(repeats)))

        rates[dtype] = flops * blocks * _THREADS // 32 * _rate(cupy, launch) / 1e9
    copy, copies = module.get_function("copy_16_bytes"), {}
    for size in _COPIES:
        source, target = (cupy.zeros(size // 2, "uint8") for _ in range(2))

        def pass_over(repeats: int, source: Any = source, target: Any = target) -> None:
            for _ in range(repeats):
                copy((blocks,), (_THREADS,), (source, target, cupy.int64(source.size // 16)))

        copies[size] = size * _rate(cupy, pass_over) / 1e9
    return rates, copies


def _rate(cupy: Any, launch: Callable[[int], None]) -> float:
    """Repeats a second: the best round of `launch(repeats)`, by the device's events."""

    def milliseconds(repeats: int) -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        launch(repeats)
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(begin, end))

    milliseconds(1)
    repeats = 16
    while (spent := milliseconds(repeats)) < _ROUND_MS / 2:
        repeats = max(2 * repeats, int(repeats * _ROUND_MS / max(spent, 1e-3)) // 2)
    return 1e3 * repeats / min(milliseconds(repeats) for _ in range(_ROUNDS))
