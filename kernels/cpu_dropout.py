"""Dropout's mask on a CPU: the same for a key and a call as a GPU's, see `cuda_dropout`.

Limited by FLOPs: twenty products of 32 bits for four numbers. A number takes 0.31 ns with two threads of an AMD EPYC
(Zen 4).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels import cpu_philox
from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_philox import FLOATS, VECTOR, WORDS, every, splat
from fastconv.kernels.cpu_simd import at
from fastconv.kernels.philox import BLOCK, LANES, STEP

_WORK = 2  # multiply-adds that a number is worth


def draw(mask: np.ndarray, key: int, call: int, rate: float) -> None:
    """Write 0, for a share of `rate`, and 1 / (1 - rate) into `mask`, C-contiguous, in the order of its memory.

    key: of 64 bits. call: which row of the key's numbers, modulo 2**32.
    """
    number = mask.dtype.type
    words = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32), np.uint32(call & 0xFFFFFFFF)
    scale = number(1 / (1 - rate) if rate < 1 else 0)
    _draw(mask.reshape(-1), *words, np.float32(rate), scale, threads_for(_WORK * mask.size))


@intrinsic
def _draw_vectors(typingctx, place, first, low, high, call, rate, scale):
    """The numbers of the groups first, first + 1 ... of a vector: word w at place[w * LANES], each 0 or `scale`."""

    def codegen(context, builder, signature, args):
        place, first, low, high, call, rate, scale = args
        kept = splat(builder, scale)
        for w, vector in enumerate(cpu_philox.words(builder, first, low, high, call)):
            shifted = builder.lshr(vector, every(WORDS, 8))
            drawn = builder.fmul(builder.sitofp(shifted, FLOATS), every(FLOATS, STEP))
            is_kept = builder.fcmp_ordered(">=", drawn, splat(builder, rate))
            cpu_philox.store(builder, place, w, builder.select(is_kept, kept, ir.Constant(kept.type, None)))
        return context.get_dummy_value()

    words = (types.uint32,) * 4
    return types.void(place, *words, types.float32, place.dtype), codegen


@cpu_jit(inner=True)
def _share(thread, mask, low, high, call, rate, scale, threads):
    blocks = (mask.size + BLOCK - 1) // BLOCK
    rest = np.empty(BLOCK, mask.dtype)
    for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
        whole = (block + 1) * BLOCK <= mask.size
        target = at(mask, block * BLOCK) if whole else at(rest, 0)
        for lane in range(0, LANES, VECTOR):
            _draw_vectors(at(target, lane), block * LANES + lane, low, high, call, rate, scale)
        for i in range(0 if whole else mask.size - block * BLOCK):
            mask[block * BLOCK + i] = rest[i]


@cpu_jit
def _draw(mask, low, high, call, rate, scale, threads):
    parallel_for(_share, threads, (mask, low, high, call, rate, scale, threads))
