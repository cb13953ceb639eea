"""Around the caches: stores that go past them, and lines asked for ahead of time.

An ordinary store reads its line from memory first. For an output that is more than the caches hold, that is a third of
all traffic, and it displaces what is needed: such outputs are streamed. And where each pixel is read from memory but
once, as by a 1x1 convolution, a tile asks for the lines of the next one: the processor sees by itself that lines follow
each other, but only after the first few, and a pixel has no more.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.cpu_simd import _store

_LINE_BYTES = 64  # of the caches
_STREAMED_BYTES = 1 << 23  # and more are streamed: a good part of a level-3 cache


def streams(array, run: int) -> bool:
    """Whether an array is to be streamed that is written in runs of so many elements: caches do not hold it for its
    reader, and runs are whole lines."""
    size = run * array.itemsize
    return array.nbytes >= _STREAMED_BYTES and size % _LINE_BYTES == 0 and array.ctypes.data % _LINE_BYTES == 0


@intrinsic
def tile_stream(typingctx, tile, place, stride, count):
    """`tile_store` past the caches; with a masked shape an ordinary store. Rows begin on a multiple of a vector. Before
    other threads read them, `stream_end` is called."""
    return types.void(tile, place, stride, types.intp), _store(tile, True)


@intrinsic
def stream_end(typingctx):
    """From here on other threads see what this one has streamed."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def fetch(typingctx, place):
    """Ask for the line at `place`, to be in the level-2 cache soon; it may lie anywhere."""

    def codegen(context, builder, signature, args):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer, number, number, number]), "llvm.prefetch.p0"
        )
        reads, level_2, data = number(0), number(2), number(1)
        builder.call(function, [builder.bitcast(args[0], pointer), reads, level_2, data])
        return context.get_dummy_value()

    return types.void(place), codegen
