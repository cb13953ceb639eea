"""Dropout's mask on a CPU: the same for a key and a call as a GPU's, see `cuda_dropout`.

A vector holds a word of as many groups as it has lanes, and goes through the ten rounds in registers. The rounds are
written in LLVM's vector operations: left to LLVM's vectoriser, a loop over the lanes took six times as long inside
`parallel_for`. Limited by FLOPs: twenty products of 32 bits for four numbers. A number takes 0.31 ns with two threads
of an AMD EPYC (Zen 4).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for, threads_for
from fastconv.kernels.cpu_simd import VECTOR_BYTES, at
from fastconv.kernels.philox import BLOCK, LANES, M0, M1, ROUNDS, STEP, W0, W1

_WORK = 2  # multiply-adds that a number is worth
_VECTOR = VECTOR_BYTES // 4  # lanes
_WORD, _WIDE = ir.IntType(32), ir.IntType(64)


def draw(mask: np.ndarray, key: int, call: int, rate: float) -> None:
    """Write 0, for a share of `rate`, and 1 / (1 - rate) into `mask`, C-contiguous, in the order of its memory.

    key: of 64 bits. call: which row of the key's numbers, modulo 2**32.
    """
    number = mask.dtype.type
    words = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32), np.uint32(call & 0xFFFFFFFF)
    scale = number(1 / (1 - rate) if rate < 1 else 0)
    _draw(mask.reshape(-1), *words, np.float32(rate), scale, threads_for(_WORK * mask.size))


def _splat(builder, scalar, count=_VECTOR):
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    first = builder.insert_element(undefined, scalar, _WORD(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_WORD, count), [0] * count))


def _product(builder, vector, factor):
    """The high and the low words of a vector's elements times `factor`.

    Neighbouring elements are taken as one of 64 bits, whose lower half is multiplied, and then its upper half.
    """
    words, pairs = vector.type, ir.VectorType(_WIDE, _VECTOR // 2)

    def every(number):
        return ir.Constant(pairs, [number] * (_VECTOR // 2))

    both, by, low, half = builder.bitcast(vector, pairs), every(int(factor)), every(0xFFFFFFFF), every(32)
    even = builder.mul(builder.and_(both, low), by)
    odd = builder.mul(builder.lshr(both, half), by)
    high_words = builder.or_(builder.lshr(even, half), builder.and_(odd, every(0xFFFFFFFF00000000)))
    low_words = builder.or_(builder.and_(even, low), builder.shl(odd, half))
    return builder.bitcast(high_words, words), builder.bitcast(low_words, words)


@intrinsic
def _draw_vectors(typingctx, place, first, low, high, call, rate, scale):
    """The numbers of the groups first, first + 1 ... of a vector: word w at place[w * LANES], each 0 or `scale`."""

    def codegen(context, builder, signature, args):
        place, first, low, high, call, rate, scale = args
        lanes = ir.Constant(ir.VectorType(_WORD, _VECTOR), list(range(_VECTOR)))
        zero = ir.Constant(lanes.type, None)
        a, b, c, d = builder.add(_splat(builder, first), lanes), zero, _splat(builder, call), zero
        for _ in range(ROUNDS):
            even_high, even_low = _product(builder, a, M0)
            odd_high, odd_low = _product(builder, c, M1)
            a = builder.xor(builder.xor(odd_high, b), _splat(builder, low))
            c = builder.xor(builder.xor(even_high, d), _splat(builder, high))
            b, d = odd_low, even_low
            low, high = builder.add(low, _WORD(int(W0))), builder.add(high, _WORD(int(W1)))
        floats = ir.VectorType(ir.FloatType(), _VECTOR)
        kept, step = _splat(builder, scale), ir.Constant(floats, [STEP] * _VECTOR)
        for w, vector in enumerate((a, b, c, d)):
            shifted = builder.lshr(vector, ir.Constant(lanes.type, [8] * _VECTOR))
            drawn = builder.fmul(builder.sitofp(shifted, floats), step)
            is_kept = builder.fcmp_ordered(">=", drawn, _splat(builder, rate))
            target = builder.bitcast(builder.gep(place, [_WORD(w * LANES)]), kept.type.as_pointer())
            builder.store(builder.select(is_kept, kept, ir.Constant(kept.type, None)), target, align=4)
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
        for lane in range(0, LANES, _VECTOR):
            _draw_vectors(at(target, lane), block * LANES + lane, low, high, call, rate, scale)
        for i in range(0 if whole else mask.size - block * BLOCK):
            mask[block * BLOCK + i] = rest[i]


@cpu_jit
def _draw(mask, low, high, call, rate, scale, threads):
    parallel_for(_share, threads, (mask, low, high, call, rate, scale, threads))
