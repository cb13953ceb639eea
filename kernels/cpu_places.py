"""Where a register tile's rows lie in memory, when they are not all the same distance apart.

A tile of pixels need not end where a row of the image does: its pixels are numbered through rows and images. Wherever
cpu_simd.py takes a stride from row to row it takes such `Places` too. `tile_runs` is the sum of a convolution for them.

    x_places, y_places = tile_places(shape, pixel, width, height, (x_pixel, x_row, x_image, y_pixel, y_row, y_image))
    sums = tile_runs(sums, x, x_places, w, w_step, runs, first, last, count)
    tile_store(sums, y, y_places, count)
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from fastconv.kernels.cpu_simd import _WORD, _forbid_unrolling, _phi, _product


class Places(types.Type):
    """Where each row of a tile lies: so many elements from a pointer on."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(name=f"Places({rows})")


@register_model(Places)
class _PlacesModel(models.PrimitiveModel):
    def __init__(self, manager, places):
        super().__init__(manager, places, ir.ArrayType(_WORD, places.rows))


@intrinsic
def tile_places(typingctx, shape, pixel, width, height, steps):
    """Where the shape's rows lie if they are neighbours, from number `pixel` on, among all pixels of images of height x
    width: `Places` for each three of `steps`, from pixel to pixel, row to row and image to image."""
    places, count = Places(shape.rows), len(steps) // 3

    def codegen(context, builder, signature, args):
        _, number, width, height, packed = args
        one, zero, empty = _WORD(1), _WORD(0), ir.Constant(context.get_value_type(places), ir.Undefined)
        steps = [[builder.extract_value(packed, 3 * i + j) for j in range(3)] for i in range(count)]
        line, column = builder.sdiv(number, width), builder.srem(number, width)
        image, row = builder.sdiv(line, height), builder.srem(line, height)
        first = []
        for pixel_step, row_step, image_step in steps:
            in_line = builder.add(builder.mul(row, row_step), builder.mul(column, pixel_step))
            first.append(builder.add(builder.mul(image, image_step), in_line))
        if shape.rows == 1:
            alone = [builder.insert_value(empty, place, 0) for place in first]
            return context.make_tuple(builder, signature.return_type, alone)
        in_row = builder.icmp_signed("<=", builder.add(column, _WORD(shape.rows)), width)
        straight, bent, done = (builder.append_basic_block(f"places_{name}") for name in ("straight", "bent", "done"))
        builder.cbranch(in_row, straight, bent)

        builder.position_at_end(straight)
        near = [empty] * count
        for i in range(shape.rows):
            for k, place in enumerate(first):
                offset = builder.mul(steps[k][0], _WORD(i))
                near[k] = builder.insert_value(near[k], builder.add(place, offset), i)
        builder.branch(done)

        builder.position_at_end(bent)
        moves = []  # to the next pixel of the row, to the next row's first, to the next image's first
        for pixel_step, row_step, image_step in steps:
            to_row = builder.sub(row_step, builder.mul(builder.sub(width, one), pixel_step))
            to_image = builder.sub(builder.add(image_step, to_row), builder.mul(height, row_step))
            moves.append((pixel_step, to_row, to_image))
        far, at_place = [empty] * count, list(first)
        for i in range(shape.rows):
            far = [builder.insert_value(value, place, i) for value, place in zip(far, at_place, strict=True)]
            column = builder.add(column, one)
            row_ends = builder.icmp_signed("==", column, width)
            column = builder.select(row_ends, zero, column)
            row = builder.select(row_ends, builder.add(row, one), row)
            image_ends = builder.icmp_signed("==", row, height)
            row = builder.select(image_ends, zero, row)
            for k, (to_pixel, to_row, to_image) in enumerate(moves):
                move = builder.select(row_ends, builder.select(image_ends, to_image, to_row), to_pixel)
                at_place[k] = builder.add(at_place[k], move)
        builder.branch(done)

        builder.position_at_end(done)
        result = []
        for value, other in zip(near, far, strict=True):
            phi = _phi(builder, value, straight)
            phi.add_incoming(other, bent)
            result.append(phi)
        return context.make_tuple(builder, signature.return_type, result)

    return types.UniTuple(places, count)(shape, types.intp, types.intp, types.intp, steps), codegen


@intrinsic
def tile_runs(typingctx, tile, a, places, b, b_step, runs, first, last, count):
    """`tile_product` for each of the runs first .. last - 1: runs (first element of a, row of b, steps), a pointer; the
    rows of a lie at `places`. This loop is not unrolled either."""

    def codegen(context, builder, signature, args):
        value, a_start, a_rows, b_start, b_next, table, begin, end, limit = args
        start = builder.block
        loop, done = builder.append_basic_block("runs"), builder.append_basic_block("runs_done")
        builder.cbranch(builder.icmp_signed("<", begin, end), loop, done)

        builder.position_at_end(loop)
        run, sums = _phi(builder, begin, start), _phi(builder, value, start)
        entry = builder.gep(table, [builder.mul(run, _WORD(3))])
        place, row, steps = (builder.load(builder.gep(entry, [_WORD(i)])) for i in range(3))
        a_place, b_place = builder.gep(a_start, [place]), builder.gep(b_start, [builder.mul(row, b_next)])
        after = _product(context, builder, tile, [sums, a_place, a_rows, _WORD(1), b_place, b_next, steps, limit])
        next_run, last_block = builder.add(run, _WORD(1)), builder.block
        run.add_incoming(next_run, last_block)
        sums.add_incoming(after, last_block)
        _forbid_unrolling(builder.module, builder.cbranch(builder.icmp_signed("<", next_run, end), loop, done))

        builder.position_at_end(done)
        total = _phi(builder, value, start)
        total.add_incoming(after, last_block)
        return total

    return tile(tile, a, places, b, types.intp, runs, types.intp, types.intp, types.intp), codegen
