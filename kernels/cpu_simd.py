"""Register tiles for Numba: `rows` x `vectors` accumulators that live in vector registers.

A convolution is a sum of outer products. A tile holds rows x (vectors * lanes) sums; `tile_product` adds columns of x
times rows of w to all of them with fused multiply-adds: for each step a few vectors of w and an element of x for each
row. Numba's own loops are left to LLVM's vectoriser, which does not keep such a tile in registers; these intrinsics
emit LLVM vector operations, and LLVM chooses the registers. A tile of 8 x 2 vectors with AVX-512 reaches 98% of what
the machine can do, from filters that lie in the level-2 cache, too.

    shape = tile_shape(8, 2, False)                # a type, not data: a function called with it is compiled for that
    sums = tile_row(shape, at(bias, k), count)     # every row = bias[k : k + 2 * lanes]
    sums = tile_product(sums, at(x, i), x_stride, 1, at(w, j), w_stride, steps, count)
    tile_store(sums, at(y, o), y_stride, count)

With `group_shape(8)` in place of a `tile_shape`, each column multiplies the elements of its own group of columns: the
product of a block diagonal of small filters, without its zeros.

A masked shape touches only its first `count` columns (for the last, ragged block of channels); others ignore
`count`. A stride from row to row may be the rows' `Places` instead (see cpu_places.py). Places in memory are pointers,
`at(array, offset)` or `at(pointer, offset)`: an array is seven words, which a function with a handful of arrays would
push and pop for every tile. Offsets and strides count elements.
"""

from __future__ import annotations

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, models, register_model

_BYTES_OF_CPU = {"skylake-avx512": 64, "znver4": 64, "znver5": 64, "haswell": 32, "znver2": 32, "znver3": 32}


def _vector_bytes() -> int:
    """The widest vector register of the CPU that Numba compiles for: this one, or $NUMBA_CPU_NAME; 16 where unknown."""
    if config.CPU_NAME and config.CPU_NAME != "host":
        return _BYTES_OF_CPU.get(config.CPU_NAME, 16)
    features = llvmlite.binding.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()
# Of a full tile. x86 before AVX-512 has 16 vector registers, everything else 32: the sums, a vector of w for each of a
# row's and one for elements of x must fit.
ROWS, VECTORS = (6, 2) if VECTOR_BYTES == 32 else (8, 2)


class TileShape(types.Type):
    """rows x vectors accumulators; `masked` limits memory access to `count` columns; `grouped`: see `group_shape`;
    `pairs`: see `pair_shape`."""

    def __init__(self, rows: int, vectors: int, masked: bool, grouped: bool = False, pairs: int = 0) -> None:
        self.rows, self.vectors, self.masked, self.grouped, self.pairs = rows, vectors, masked, grouped, pairs
        kind = f"{' masked' if masked else ''}{' grouped' if grouped else ''}{f' pairs {pairs}' if pairs else ''}"
        super().__init__(name=f"TileShape({rows}x{vectors}{kind})")


class Tile(types.Type):
    """The accumulators of a shape for one element type."""

    def __init__(self, shape: TileShape, dtype: types.Float) -> None:
        self.shape, self.dtype = shape, dtype
        super().__init__(name=f"Tile({shape.name}, {dtype})")


_WORD = ir.IntType(cgutils.intp_t.width)


register_model(TileShape)(models.OpaqueModel)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, ir.ArrayType(_vector_type(tile.dtype), tile.shape.rows * tile.shape.vectors))


def _lanes(dtype):
    return VECTOR_BYTES * 8 // dtype.bitwidth


def _vector_type(dtype):
    return ir.VectorType(ir.DoubleType() if dtype.bitwidth == 64 else ir.FloatType(), _lanes(dtype))


def _splat(builder, scalar, lanes):
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _row(builder, start, stride, i):
    """Where row i of a tile begins; stride: from row to row, or the rows' `Places`."""
    if isinstance(stride.type, ir.ArrayType):
        return builder.gep(start, [builder.extract_value(stride, i)])
    return builder.gep(start, [builder.mul(stride, _WORD(i))])


class _Columns:
    """Loads and stores one row of `vectors` vectors; under a mask if the shape has one."""

    def __init__(self, builder, shape, dtype, count):
        self.builder, self.shape, self.dtype = builder, shape, dtype
        self.vector = _vector_type(dtype)
        self.lanes = _lanes(dtype)
        self.masks = []
        if shape.masked:
            numbers = ir.VectorType(count.type, self.lanes)
            limit = _splat(builder, count, self.lanes)
            for j in range(shape.vectors):
                index = ir.Constant(numbers, [j * self.lanes + lane for lane in range(self.lanes)])
                self.masks.append(builder.icmp_signed("<", index, limit))

    def _masked(self, kind, arguments, result):
        suffix = f"v{self.lanes}f{self.dtype.bitwidth}"
        name = f"llvm.masked.{kind}.{suffix}.p0"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, [argument.type for argument in arguments]), name
        )
        return self.builder.call(function, arguments)

    def load(self, place):
        """`vectors` vectors from `place` on."""
        builder, vectors = self.builder, []
        alignment = self.dtype.bitwidth // 8
        for j in range(self.shape.vectors):
            pointer = builder.bitcast(builder.gep(place, [_WORD(j * self.lanes)]), self.vector.as_pointer())
            if self.masks:
                zero = ir.Constant(self.vector, None)
                arguments = [pointer, ir.IntType(32)(alignment), self.masks[j], zero]
                vectors.append(self._masked("load", arguments, self.vector))
            else:
                vectors.append(builder.load(pointer, align=alignment))
        return vectors

    def store(self, place, vectors, streamed=False):
        """Write `vectors` to `place` and on; streamed: past the caches, if there is no mask."""
        builder = self.builder
        alignment = self.dtype.bitwidth // 8
        for j, value in enumerate(vectors):
            pointer = builder.bitcast(builder.gep(place, [_WORD(j * self.lanes)]), self.vector.as_pointer())
            if self.masks:
                self._masked("store", [value, pointer, ir.IntType(32)(alignment), self.masks[j]], ir.VoidType())
            elif streamed:
                store = builder.store(value, pointer, align=VECTOR_BYTES)
                store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
            else:
                builder.store(value, pointer, align=alignment)


def _rows_of(builder, shape, tile):
    """The tile's vectors, row by row."""
    return _in_rows([builder.extract_value(tile, i) for i in range(shape.rows * shape.vectors)], shape)


def _in_rows(vectors, shape):
    return [vectors[i * shape.vectors : (i + 1) * shape.vectors] for i in range(shape.rows)]


def _tile_of(context, builder, tile_type, rows):
    value = ir.Constant(context.get_value_type(tile_type), ir.Undefined)
    for i, vector in enumerate(vector for row in rows for vector in row):
        value = builder.insert_value(value, vector, i)
    return value


@intrinsic(prefer_literal=True)
def tile_shape(typingctx, rows, vectors, masked):
    """The shape of `rows` x `vectors` accumulators; the arguments are literals."""
    shape = TileShape(rows.literal_value, vectors.literal_value, masked.literal_value)
    return shape(rows, vectors, masked), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic(prefer_literal=True)
def group_shape(typingctx, rows):
    """The shape of `rows` accumulators of one vector whose columns lie in groups, of 2, 4 ... columns, not more than a
    vector's. For it the `b_step` of `tile_product` is the size of a group, and b the rows that `group_rows` orders."""
    shape = TileShape(rows.literal_value, 1, False, True)
    return shape(rows), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic(prefer_literal=True)
def pair_shape(typingctx, taps, group):
    """The shape of taps x group accumulators of one vector, for `lane_products`; the arguments are literals."""
    shape = TileShape(taps.literal_value * group.literal_value, 1, False, pairs=group.literal_value)
    return shape(taps, group), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic(prefer_literal=True)
def fewer_rows(typingctx, shape, divisor):
    """The same shape with rows / divisor rows, but at least one; the divisor is a literal."""
    smaller = TileShape(max(1, shape.rows // divisor.literal_value), shape.vectors, shape.masked, shape.grouped)
    return smaller(shape, divisor), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic
def tile_rows(typingctx, shape):
    """Rows of the shape, a constant."""
    return types.intp(shape), lambda context, builder, signature, args: context.get_constant(types.intp, shape.rows)


@intrinsic
def lanes(typingctx, array):
    """Elements of `array` that fit a vector register, a constant."""
    count = _lanes(array.dtype)
    return types.intp(array), lambda context, builder, signature, args: context.get_constant(types.intp, count)


@intrinsic
def at(typingctx, base, offset):
    """A pointer to element `offset` of an array or from a pointer on."""
    pointer = base if isinstance(base, types.CPointer) else types.CPointer(base.dtype)

    def codegen(context, builder, signature, args):
        start = args[0]
        if isinstance(base, types.Array):
            start = cgutils.create_struct_proxy(base)(context, builder, start).data
        return builder.gep(start, [args[1]])

    return pointer(base, types.intp), codegen


@intrinsic
def at_address(typingctx, address, like):
    """A pointer to elements of `like`'s type at an address, an integer."""
    pointer = types.CPointer(like.dtype)
    return pointer(address, like), lambda context, builder, signature, args: builder.inttoptr(
        args[0], context.get_value_type(pointer)
    )


@intrinsic
def tile_zero(typingctx, shape, place):
    """A tile of zeros of the element type at `place`."""
    tile = Tile(shape, place.dtype)
    return tile(shape, place), lambda context, builder, signature, args: ir.Constant(context.get_value_type(tile), None)


@intrinsic
def tile_row(typingctx, shape, place, count):
    """A tile whose every row is the columns at `place`."""
    tile = Tile(shape, place.dtype)

    def codegen(context, builder, signature, args):
        row = _Columns(builder, shape, place.dtype, args[2]).load(args[1])
        return _tile_of(context, builder, tile, [row] * shape.rows)

    return tile(shape, place, types.intp), codegen


@intrinsic
def tile_load(typingctx, shape, place, stride, count):
    """A tile whose row i is the columns at `place` + i * stride."""
    tile = Tile(shape, place.dtype)

    def codegen(context, builder, signature, args):
        _, start, step, limit = args
        columns = _Columns(builder, shape, place.dtype, limit)
        rows = [columns.load(_row(builder, start, step, i)) for i in range(shape.rows)]
        return _tile_of(context, builder, tile, rows)

    return tile(shape, place, stride, types.intp), codegen


@intrinsic
def tile_store(typingctx, tile, place, stride, count):
    """Write row i of the tile to `place` + i * stride."""
    return types.void(tile, place, stride, types.intp), _store(tile, False)


def _store(tile, streamed):
    def codegen(context, builder, signature, args):
        value, start, step, limit = args
        columns = _Columns(builder, tile.shape, tile.dtype, limit)
        for i, row in enumerate(_rows_of(builder, tile.shape, value)):
            columns.store(_row(builder, start, step, i), row, streamed)
        return context.get_dummy_value()

    return codegen


@intrinsic
def tile_floor(typingctx, tile, lowest):
    """Every element below `lowest` becomes `lowest`; NaN stays. With 0 this is ReLU, with -inf nothing."""

    def codegen(context, builder, signature, args):
        floor = _splat(builder, args[1], _lanes(tile.dtype))
        rows = [
            [builder.select(builder.fcmp_ordered("<", vector, floor), floor, vector) for vector in row]
            for row in _rows_of(builder, tile.shape, args[0])
        ]
        return _tile_of(context, builder, tile, rows)

    return tile(tile, tile.dtype), codegen


@intrinsic
def tile_above(typingctx, tile, value, lowest):
    """The tile, but 0 where `value` is at most `lowest`: with 0 the gradient of a ReLU whose output is `value`; NaN
    changes nothing."""

    def codegen(context, builder, signature, args):
        limit, zero = _splat(builder, args[2], _lanes(tile.dtype)), ir.Constant(_vector_type(tile.dtype), None)
        rows = [
            [
                builder.select(builder.fcmp_ordered("<=", x, limit), zero, gradient)
                for gradient, x in zip(*pair, strict=True)
            ]
            for pair in zip(_rows_of(builder, tile.shape, args[0]), _rows_of(builder, tile.shape, args[1]), strict=True)
        ]
        return _tile_of(context, builder, tile, rows)

    return tile(tile, value, tile.dtype), codegen


@intrinsic
def tile_square(typingctx, array):
    """The shape of one vector of `array`'s type by as many rows."""
    shape = TileShape(_lanes(array.dtype), 1, False)
    return shape(array), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic
def tile_transpose(typingctx, tile):
    """A square tile with its rows and columns exchanged, in registers."""

    def codegen(context, builder, signature, args):
        size, rows = _lanes(tile.dtype), [row[0] for row in _rows_of(builder, tile.shape, args[0])]
        step = 1
        while step < size:  # exchange the blocks of `step` x `step` above and below the diagonal
            upper = [i - step + size if i & step else i for i in range(size)]
            lower = [i + size if i & step else i + step for i in range(size)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), size), mask) for mask in (upper, lower)]
            for i in range(size):
                if not i & step:
                    pair = rows[i], rows[i + step]
                    rows[i], rows[i + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            step *= 2
        return _tile_of(context, builder, tile, [[row] for row in rows])

    return tile(tile), codegen


@intrinsic
def tile_add(typingctx, tile, other):
    """The sum of two tiles, element by element."""

    def codegen(context, builder, signature, args):
        pairs = zip(*(_rows_of(builder, tile.shape, value) for value in args), strict=True)
        rows = [[builder.fadd(x, y) for x, y in zip(*pair, strict=True)] for pair in pairs]
        return _tile_of(context, builder, tile, rows)

    return tile(tile, other), codegen


@intrinsic
def tile_fma(typingctx, tile, a, b):
    """tile + a * b, element by element."""

    def codegen(context, builder, signature, args):
        vector = _vector_type(tile.dtype)
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fma.v{_lanes(tile.dtype)}f{tile.dtype.bitwidth}",
        )
        total, first, second = (_rows_of(builder, tile.shape, value) for value in args)
        rows = [
            [builder.call(fma, [x, y, z]) for x, y, z in zip(*row, strict=True)]
            for row in zip(first, second, total, strict=True)
        ]
        return _tile_of(context, builder, tile, rows)

    return tile(tile, a, b), codegen


@intrinsic
def tile_product(typingctx, tile, a, a_stride, a_step, b, b_step, steps, count):
    """tile[i, :] += sum over s below `steps` of a[i * a_stride + s * a_step] * b[s * b_step : + columns].

    The loop is built here and not in Numba so that LLVM can be told not to unroll it: it would load ahead, run out of
    registers and spill sums.
    """

    def codegen(context, builder, signature, args):
        return _product(context, builder, tile, args)

    return tile(tile, a, a_stride, types.intp, b, types.intp, types.intp, types.intp), codegen


def _product(context, builder, tile, args):
    """What `tile_product` adds."""
    if tile.shape.grouped:
        return _group_product(context, builder, tile, args)
    value, a_start, a_row, a_next, b_start, b_next, count_of_steps, limit = args
    shape, vector_type = tile.shape, _vector_type(tile.dtype)
    fma = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector_type, [vector_type] * 3),
        f"llvm.fma.v{_lanes(tile.dtype)}f{tile.dtype.bitwidth}",
    )
    before = [builder.extract_value(value, i) for i in range(shape.rows * shape.vectors)]
    start = builder.block
    loop, done = builder.append_basic_block("product"), builder.append_basic_block("product_done")
    builder.cbranch(builder.icmp_signed(">", count_of_steps, _WORD(0)), loop, done)

    builder.position_at_end(loop)
    step = _phi(builder, _WORD(0), start)
    sums = [_phi(builder, vector, start) for vector in before]
    a_place = builder.gep(a_start, [builder.mul(step, a_next)])
    b_place = builder.gep(b_start, [builder.mul(step, b_next)])
    row_of_b = _Columns(builder, shape, tile.dtype, limit).load(b_place)
    after = []
    for i in range(shape.rows):
        factor = _splat(builder, builder.load(_row(builder, a_place, a_row, i)), _lanes(tile.dtype))
        row = sums[i * shape.vectors : (i + 1) * shape.vectors]
        after += [builder.call(fma, [factor, b_j, sum_j]) for b_j, sum_j in zip(row_of_b, row, strict=True)]
    next_step = builder.add(step, _WORD(1))
    for phi, following in zip([step, *sums], [next_step, *after], strict=True):
        phi.add_incoming(following, loop)
    again = builder.cbranch(builder.icmp_signed("<", next_step, count_of_steps), loop, done)
    _forbid_unrolling(builder.module, again)

    builder.position_at_end(done)
    totals = [_phi(builder, vector, start) for vector in before]
    for phi, vector in zip(totals, after, strict=True):
        phi.add_incoming(vector, loop)
    rows = [totals[i * shape.vectors : (i + 1) * shape.vectors] for i in range(shape.rows)]
    return _tile_of(context, builder, tile, rows)


@intrinsic
def tile_gathered(typingctx, tile, a, rows, places, b, b_step, steps, count):
    """tile[i, :] += sum over s below `steps` of a[rows[i] + places[s]] * b[s * b_step : + columns].

    As `tile_product`, for factors that lie anywhere: rows and places are pointers to numbers of elements, int64.
    """

    def codegen(context, builder, signature, args):
        value, a_start, row_start, place_start, b_start, b_next, count_of_steps, limit = args
        shape = tile.shape
        fma, columns = _fused(builder, tile), _Columns(builder, shape, tile.dtype, limit)
        lines = [builder.gep(a_start, [builder.load(builder.gep(row_start, [_WORD(i)]))]) for i in range(shape.rows)]

        def body(step, sums):
            place = builder.load(builder.gep(place_start, [step]))
            row_of_b = columns.load(builder.gep(b_start, [builder.mul(step, b_next)]))
            after = []
            for line, row in zip(lines, _in_rows(sums, shape), strict=True):
                factor = _splat(builder, builder.load(builder.gep(line, [place])), _lanes(tile.dtype))
                after += [builder.call(fma, [factor, b_j, sum_j]) for b_j, sum_j in zip(row_of_b, row, strict=True)]
            return after

        return _tile_of(context, builder, tile, [_summed(builder, tile, value, count_of_steps, body)])

    return tile(tile, a, rows, places, b, types.intp, types.intp, types.intp), codegen


def _group_product(context, builder, tile, args):
    """`tile_product` for columns in groups.

    A register of a's elements is used once for each member of a group, its lanes exchanged in between: lane l sees in
    turn all elements of its group, l XOR the numbers below the group's size in the order of Gray's code, in which the
    next differs by one bit, and so by a shuffle that every processor has.
    """
    value, a_start, a_row, _, b_start, group, steps, _ = args
    rows, lanes, vector = tile.shape.rows, _lanes(tile.dtype), _vector_type(tile.dtype)
    load = _Columns(builder, tile.shape, tile.dtype, None).load
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{tile.dtype.bitwidth}"
    )
    trailing_zeros = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_WORD, [_WORD, ir.IntType(1)]), f"llvm.cttz.i{_WORD.width}"
    )
    outer, inner, flip, joined, latch, done = (
        builder.append_basic_block(f"group_{name}") for name in ("outer", "inner", "flip", "joined", "latch", "done")
    )
    start = builder.block
    before = [builder.extract_value(value, i) for i in range(rows)]
    builder.cbranch(builder.icmp_signed(">", steps, _WORD(0)), outer, done)

    builder.position_at_end(outer)
    step = _phi(builder, _WORD(0), start)
    outer_sums = [_phi(builder, total, start) for total in before]
    a_place = builder.gep(a_start, [step])
    elements = [load(_row(builder, a_place, a_row, i))[0] for i in range(rows)]
    b_place = builder.gep(b_start, [builder.mul(step, group)])
    builder.branch(inner)

    builder.position_at_end(inner)
    member = _phi(builder, _WORD(0), outer)
    seen = [_phi(builder, vector, outer) for vector in elements]
    sums = [_phi(builder, total, outer) for total in outer_sums]
    b = load(builder.gep(b_place, [builder.mul(member, _WORD(lanes))]))[0]
    after = [builder.call(fma, [x, b, total]) for x, total in zip(seen, sums, strict=True)]
    following = builder.add(member, _WORD(1))
    builder.cbranch(builder.icmp_signed("<", following, group), flip, latch)

    builder.position_at_end(flip)
    bit = builder.call(trailing_zeros, [following, ir.Constant(ir.IntType(1), 1)])
    distances = [1 << i for i in range(lanes.bit_length() - 1)]
    blocks = [builder.append_basic_block(f"group_exchange_{distance}") for distance in distances]
    choice = builder.switch(bit, blocks[-1])
    exchanged = []
    for i, (distance, block) in enumerate(zip(distances, blocks, strict=True)):
        if i < len(blocks) - 1:
            choice.add_case(_WORD(i), block)
        builder.position_at_end(block)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [lane ^ distance for lane in range(lanes)])
        exchanged.append([builder.shuffle_vector(x, ir.Constant(vector, ir.Undefined), mask) for x in seen])
        builder.branch(joined)

    builder.position_at_end(joined)
    for row, phi in enumerate(seen):
        merged = builder.phi(vector)
        for block, vectors in zip(blocks, exchanged, strict=True):
            merged.add_incoming(vectors[row], block)
        phi.add_incoming(merged, joined)
    for phi, total in zip([member, *sums], [following, *after], strict=True):
        phi.add_incoming(total, joined)
    builder.branch(inner)

    builder.position_at_end(latch)
    next_step = builder.add(step, _WORD(lanes))
    for phi, total in zip([step, *outer_sums], [next_step, *after], strict=True):
        phi.add_incoming(total, latch)
    builder.cbranch(builder.icmp_signed("<", next_step, steps), outer, done)

    builder.position_at_end(done)
    totals = [_phi(builder, total, start) for total in before]
    for phi, total in zip(totals, after, strict=True):
        phi.add_incoming(total, latch)
    return _tile_of(context, builder, tile, [[total] for total in totals])


@intrinsic
def lane_products(typingctx, tile, x, tap_step, x_step, gy, gy_step, pixels):
    """A vector of x times one of gy for all pairs of lanes in one group, for a tile of a `pair_shape`. Lane l of row
    t * group + m has added to it the sum over s below `pixels` of

        x[t * tap_step + s * x_step + l] * gy[s * gy_step + (l XOR the m-th of group_rows(group))]

    The lanes of gy are exchanged as those of x are with `group_shape`, once for all taps.
    """
    rows, group = tile.shape.rows, tile.shape.pairs

    def codegen(context, builder, signature, args):
        value, x_start, x_tap, x_next, gy_start, gy_next, steps = args
        lanes, vector = _lanes(tile.dtype), _vector_type(tile.dtype)
        load = _Columns(builder, tile.shape, tile.dtype, None).load
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f{tile.dtype.bitwidth}"
        )
        before = [builder.extract_value(value, i) for i in range(rows)]
        start = builder.block
        loop, done = builder.append_basic_block("pairs"), builder.append_basic_block("pairs_done")
        builder.cbranch(builder.icmp_signed(">", steps, _WORD(0)), loop, done)

        builder.position_at_end(loop)
        step = _phi(builder, _WORD(0), start)
        sums = [_phi(builder, total, start) for total in before]
        seen = load(builder.gep(gy_start, [builder.mul(step, gy_next)]))[0]
        place = builder.gep(x_start, [builder.mul(step, x_next)])
        pixels = [load(_row(builder, place, x_tap, t))[0] for t in range(rows // group)]
        after, last = list(sums), 0
        for m, distance in enumerate(group_rows(group)):
            mask = ir.Constant(
                ir.VectorType(ir.IntType(32), lanes), [(lane ^ distance ^ last) % lanes for lane in range(lanes)]
            )
            seen = seen if m == 0 else builder.shuffle_vector(seen, ir.Constant(vector, ir.Undefined), mask)
            last = distance
            for t, pixel in enumerate(pixels):
                after[t * group + m] = builder.call(fma, [pixel, seen, sums[t * group + m]])
        next_step = builder.add(step, _WORD(1))
        for phi, following in zip([step, *sums], [next_step, *after], strict=True):
            phi.add_incoming(following, loop)
        again = builder.cbranch(builder.icmp_signed("<", next_step, steps), loop, done)
        _forbid_unrolling(builder.module, again)

        builder.position_at_end(done)
        totals = [_phi(builder, total, start) for total in before]
        for phi, total in zip(totals, after, strict=True):
            phi.add_incoming(total, loop)
        return _tile_of(context, builder, tile, [[total] for total in totals])

    return tile(tile, x, types.intp, types.intp, gy, types.intp, types.intp), codegen


def group_rows(group: int) -> list[int]:
    """What each lane's number is XORed with to get the element that it sees: row i of b, for `group_shape`."""
    return [i ^ i >> 1 for i in range(group)]


def _fused(builder, tile):
    """LLVM's fused multiply-add for a tile's vectors: a * b + c."""
    vector = _vector_type(tile.dtype)
    name = f"llvm.fma.v{vector.count}f{tile.dtype.bitwidth}"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)


def _summed(builder, tile, value, steps, body):
    """A tile's vectors after a loop that LLVM may not unroll; body(step, vectors) makes them from those before."""
    before = [builder.extract_value(value, i) for i in range(tile.shape.rows * tile.shape.vectors)]
    start = builder.block
    loop, done = builder.append_basic_block("loop"), builder.append_basic_block("loop_done")
    builder.cbranch(builder.icmp_signed(">", steps, _WORD(0)), loop, done)

    builder.position_at_end(loop)
    step = _phi(builder, _WORD(0), start)
    sums = [_phi(builder, vector, start) for vector in before]
    after = body(step, sums)
    following = builder.add(step, _WORD(1))
    for phi, vector in zip([step, *sums], [following, *after], strict=True):
        phi.add_incoming(vector, loop)
    _forbid_unrolling(builder.module, builder.cbranch(builder.icmp_signed("<", following, steps), loop, done))

    builder.position_at_end(done)
    totals = [_phi(builder, vector, start) for vector in before]
    for phi, vector in zip(totals, after, strict=True):
        phi.add_incoming(vector, loop)
    return totals


def _phi(builder, first, block):
    """A variable that is `first` when control comes from `block`."""
    phi = builder.phi(first.type)
    phi.add_incoming(first, block)
    return phi


def _forbid_unrolling(module, branch):
    """Tell LLVM to leave the loop that ends in `branch` as it is."""
    rule = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([rule])
    loop.operands = (loop, rule)  # LLVM wants a loop's metadata to name itself first, so that no two are the same
    branch.set_metadata("llvm.loop", loop)
