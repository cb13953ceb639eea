"""Philox's ten rounds in a thread of a GPU, which makes the four numbers of a group: see `philox`."""

from __future__ import annotations

from numba import uint64

from fastconv.kernels.cuda import device_function, uint32
from fastconv.kernels.philox import BLOCK, LANES, M0, M1, ROUNDS, W0, W1

THREADS = 256


def grid(count: int) -> tuple[int]:
    """Blocks of `THREADS` that draw `count` numbers, a group a thread."""
    groups = -(-count // BLOCK) * LANES
    return (-(-groups // THREADS),)


def key_words(key: int) -> tuple[int, int]:
    """A key of 64 bits as two numbers of int32."""
    low, high = (word - (1 << 32) if word >> 31 else word for word in (key & 0xFFFFFFFF, key >> 32))
    return low, high


@device_function
def words(group, call, key_low, key_high):
    """The four words of a group; `call` is an array of two numbers, its lower 16 bits and those above."""
    a, b, d = group, uint32(0), uint32(0)
    c = uint32(uint32(call[1]) * 65536 + uint32(call[0]))
    low, high = uint32(key_low), uint32(key_high)
    for _ in range(ROUNDS):
        even, odd = M0 * uint64(a), M1 * uint64(c)
        a, b = uint32(uint32(odd >> uint64(32)) ^ b ^ low), uint32(odd)
        c, d = uint32(uint32(even >> uint64(32)) ^ d ^ high), uint32(even)
        low, high = uint32(low + W0), uint32(high + W1)
    return a, b, c, d


@device_function
def first_number(group):
    """Where the number of the group's first word lies; those of the next follow `LANES` apart."""
    return uint32(group // LANES * BLOCK + group % LANES)
