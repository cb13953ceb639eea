"""Philox's ten rounds in a CPU's vector registers: a vector holds a word of as many groups as it has lanes.

The rounds are written in LLVM's vector operations: left to LLVM's vectoriser, a loop over the lanes took six times as
long inside `parallel_for`. `cpu_dropout` and `cpu_normal` make numbers of the words.
"""

from __future__ import annotations

from llvmlite import ir

from fastconv.kernels.cpu_simd import VECTOR_BYTES
from fastconv.kernels.philox import LANES, M0, M1, ROUNDS, W0, W1

VECTOR = VECTOR_BYTES // 4  # lanes
WORD, _WIDE = ir.IntType(32), ir.IntType(64)
WORDS, FLOATS = ir.VectorType(WORD, VECTOR), ir.VectorType(ir.FloatType(), VECTOR)


def words(builder, first, low, high, call):
    """The four words of the groups first, first + 1 ... of a vector, a vector each."""
    zero = every(WORDS, 0)
    a, b, c, d = builder.add(splat(builder, first), every(WORDS, range(VECTOR))), zero, splat(builder, call), zero
    for _ in range(ROUNDS):
        even_high, even_low = _product(builder, a, M0)
        odd_high, odd_low = _product(builder, c, M1)
        a = builder.xor(builder.xor(odd_high, b), splat(builder, low))
        c = builder.xor(builder.xor(even_high, d), splat(builder, high))
        b, d = odd_low, even_low
        low, high = builder.add(low, WORD(int(W0))), builder.add(high, WORD(int(W1)))
    return a, b, c, d


def store(builder, place, word, vector):
    """Write a vector of numbers where those of that word lie, the first group's at `place`."""
    target = builder.gep(place, [WORD(word * LANES)])
    builder.store(vector, builder.bitcast(target, vector.type.as_pointer()), align=4)


def splat(builder, scalar):
    """A scalar in all lanes."""
    undefined = ir.Constant(ir.VectorType(scalar.type, VECTOR), ir.Undefined)
    first = builder.insert_element(undefined, scalar, WORD(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(WORDS, [0] * VECTOR))


def every(vector, number):
    """A constant vector: a number in all lanes, or one for each."""
    return ir.Constant(vector, list(number) if isinstance(number, range) else [number] * vector.count)


def _product(builder, vector, factor):
    """The high and the low words of a vector's elements times `factor`.

    Neighbouring elements are taken as one of 64 bits, whose lower half is multiplied, and then its upper half.
    """
    pairs = ir.VectorType(_WIDE, VECTOR // 2)
    both, by = builder.bitcast(vector, pairs), every(pairs, int(factor))
    low, half = every(pairs, 0xFFFFFFFF), every(pairs, 32)
    even = builder.mul(builder.and_(both, low), by)
    odd = builder.mul(builder.lshr(both, half), by)
    high_words = builder.or_(builder.lshr(even, half), builder.and_(odd, every(pairs, 0xFFFFFFFF00000000)))
    low_words = builder.or_(builder.and_(even, low), builder.shl(odd, half))
    return builder.bitcast(high_words, vector.type), builder.bitcast(low_words, vector.type)
