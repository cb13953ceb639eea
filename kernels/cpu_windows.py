"""What the direct pooling kernels do with a window: clip it to the image, combine its pixels in registers.

A pixel's channels lie side by side, so a tile of one vector (see cpu_simd.py) holds a block of one pixel's
channels, and the tiles of a window's pixels are combined element by element.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_simd import (
    Tile,
    TileShape,
    _in_rows,
    _lanes,
    _rows_of,
    _splat,
    _tile_of,
    _vector_type,
)

WINDOW = 4  # pixels of a window of 2 by 2


@cpu_jit(inner=True)
def inside(first, taps, dilation, size):
    """(low, high): the window's taps low .. high - 1 lie inside the image; tap 0 is at `first`."""
    if dilation == 1:  # no division, which would take longer than a small window
        return max(0, -first), min(taps, size - first)
    return max(0, (dilation - 1 - first) // dilation), min(taps, (size - first + dilation - 1) // dilation)


@cpu_jit(inner=True)
def whole(Q, S, stride, dilation, pad_left, W):
    """(begin, end): the windows begin .. end - 1 of a row lie in the image with all their columns."""
    begin = min(Q, (pad_left + stride - 1) // stride)
    return begin, max(begin, min(Q, (W - 1 - (S - 1) * dilation + pad_left) // stride + 1))


def bands(problem):
    """Bands of output rows that can go to different threads in backward: their windows share no input row."""
    return problem.P if problem.stride_h >= (problem.R - 1) * problem.dilation_h + 1 else 1


def tiled(problem):
    """Whether the windows lie side by side, so that each pixel from the first on is in one of them, or beyond the
    last."""
    p = problem
    return (p.stride_h, p.stride_w, p.dilation_h, p.dilation_w) == (p.R, p.S, 1, 1)


@cpu_jit(inner=True)
def clear_beside(gx, n, band, bands, H, W, C, P, Q, S, stride_h, pad_top, pad_left, tiled):
    """(begin, end): the input rows of a band of image n that are still to be cleared. If `tiled` only those below all
    windows are, and what lies in these rows to the right of all windows is zeroed here."""
    begin = min(H, max(0, P * band // bands * stride_h - pad_top)) if band > 0 else 0
    covered = min(H, max(0, P * (band + 1) // bands * stride_h - pad_top))
    end = covered if band < bands - 1 else H
    if not tiled:
        return begin, end
    first_w = min(W, Q * S - pad_left)
    if first_w < W:
        for h in range(begin, covered):
            gx[((n * H + h) * W + first_w) * C : (n * H + h + 1) * W * C] = 0
    return covered, end


@cpu_jit(inner=True)
def clear_rows(gx, n, begin, end, H, W, C):
    """Zero the rows begin .. end - 1 of image n; returns the first that is not zeroed. Called for each row of windows,
    so that windows find the rows they add to in the cache."""
    if begin < end:
        gx[(n * H + begin) * W * C : (n * H + end) * W * C] = 0
    return max(begin, end)


@intrinsic
def tile_max(typingctx, best, other):
    """The larger of the two; NaN if one of them is."""

    def choose(b, x, y):
        larger = b.select(b.fcmp_ordered(">", y, x), y, x)  # one instruction; x where either is NaN
        return b.select(b.fcmp_unordered("uno", y, y), y, larger)

    return best(best, other), _elementwise(choose)


@intrinsic
def tile_divide(typingctx, tile, divisor):
    """The quotient by a scalar."""

    def codegen(context, builder, signature, args):
        number = context.cast(builder, args[1], divisor, tile.dtype)
        everywhere = _splat(builder, number, _lanes(tile.dtype))
        divide = _elementwise(lambda b, x: b.fdiv(x, everywhere))
        return divide(context, builder, signature, args[:1])

    return tile(tile, divisor), codegen


@intrinsic
def tile_where_max(typingctx, gradient, value, best):
    """`gradient` where a pixel's `value` is its window's maximum `best`, 0 elsewhere."""
    return gradient(gradient, value, best), _elementwise(
        lambda b, g, x, y: b.select(_is_max(b, x, y), g, ir.Constant(g.type, None))
    )


@intrinsic
def tile_unless_max(typingctx, gradient, value, best):
    """`gradient` where a pixel's `value` is not its window's maximum `best`, 0 elsewhere."""
    return gradient(gradient, value, best), _elementwise(
        lambda b, g, x, y: b.select(_is_max(b, x, y), ir.Constant(g.type, None), g)
    )


@intrinsic
def tile_of_winner(typingctx, gradient, winner, number):
    """`gradient` where `winner` is that number, 0 elsewhere."""

    def codegen(context, builder, signature, args):
        this = _splat(builder, args[2], _lanes(gradient.dtype))

        def choose(b, g, found):
            return b.select(b.fcmp_ordered("==", found, this), g, ir.Constant(g.type, None))

        return _elementwise(choose)(context, builder, signature, args[:2])

    return gradient(gradient, winner, gradient.dtype), codegen


@intrinsic
def tile_windows(typingctx, tile, lowest, low):
    """(maxima, winners) of the windows of 2x2 pixels that a tile's rows are, four after four: maxima below `lowest`
    become it, and where they are at most `low` the winner is -1."""
    pooled = Tile(TileShape(tile.shape.rows // WINDOW, tile.shape.vectors, tile.shape.masked), tile.dtype)
    result = types.UniTuple(pooled, 2)

    def codegen(context, builder, signature, args):
        rows = _rows_of(builder, tile.shape, args[0])
        vector = _vector_type(tile.dtype)
        floor, limit = (_splat(builder, number, vector.count) for number in args[1:])

        def constant(number):
            return ir.Constant(vector, [float(number)] * vector.count)

        def larger(x, y):
            return builder.select(builder.fcmp_ordered(">", x, y), x, y)

        found = []
        for first in range(0, len(rows), WINDOW):
            for a, b, c, d in zip(*rows[first : first + WINDOW], strict=True):
                nan = builder.or_(builder.fcmp_unordered("uno", a, b), builder.fcmp_unordered("uno", c, d))
                best = builder.select(nan, constant(math.nan), larger(larger(a, b), larger(c, d)))
                winner = constant(3)
                for number, pixel in ((2, c), (1, b), (0, a)):
                    winner = builder.select(builder.fcmp_unordered("==", pixel, best), constant(number), winner)
                winner = builder.select(builder.fcmp_ordered("<=", best, limit), constant(-1), winner)
                found.append((builder.select(builder.fcmp_ordered("<", best, floor), floor, best), winner))
        tiles = [_tile_of(context, builder, pooled, _in_rows(part, pooled.shape)) for part in zip(*found, strict=True)]
        return context.make_tuple(builder, result, tiles)

    return result(tile, tile.dtype, tile.dtype), codegen


def _is_max(builder, value, best):
    """The maximum is NaN if any value is, and then the NaNs are what equals it."""
    return builder.or_(builder.fcmp_ordered("==", value, best), builder.fcmp_unordered("uno", value, value))


def _elementwise(combine):
    """Code that makes a tile from tiles of its shape, vector by vector."""

    def codegen(context, builder, signature, args):
        result = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for i in range(result.type.count):
            vectors = [builder.extract_value(tile, i) for tile in args]
            result = builder.insert_value(result, combine(builder, *vectors), i)
        return result

    return codegen
