"""The transforms of Winograd's F(4x4, 3x3): constant matrices applied to both sides of a patch of pixels.

A patch is a few rows and columns of pixels; each of its places holds a vector of channels, so that a transform is
arithmetic on whole vectors. `collect_patch` makes a patch of an image into its transform, `spread_patch` makes a
transformed patch into one of an image. What lies outside the image is masked off.

Constants: A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308, for the points
0, 1, -1, 2, -2 and infinity.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from fastconv.kernels.cpu_simd import _WORD, _lanes, _splat, _vector_type

INPUT = (  # B^T
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
FILTER = (  # G
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT = (  # A^T
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


def transposed(matrix):
    """The transposed matrix."""
    return tuple(zip(*matrix, strict=True))


def _pairs(matrix):
    """Neighbouring rows (i, i + 1) that are equal but for the signs of some places."""
    return [
        (i, i + 1)
        for i, (row, following) in enumerate(zip(matrix, matrix[1:], strict=False))
        if row != following and all(abs(a) == abs(b) for a, b in zip(row, following, strict=True))
    ]


def _halved(row, pairs):
    """The coefficients of `row` for the sum and the difference of each pair of places."""
    row = list(row)
    for i, j in pairs:
        row[i], row[j] = (row[i], 0) if row[i] == row[j] else (0, row[i])
    return row


class _Vectors:
    """Emits arithmetic on vectors of channels of one element type."""

    def __init__(self, builder, dtype):
        self.builder, self.type = builder, _vector_type(dtype)
        self.fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.type, [self.type] * 3), f"llvm.fma.v{_lanes(dtype)}f{dtype.bitwidth}"
        )

    def constant(self, number):
        return ir.Constant(self.type, [float(number)] * self.type.count)

    def scaled_sum(self, terms):
        """The sum of coefficient * vector over pairs of them; None where all coefficients are 0."""
        total = None
        for coefficient, vector in sorted((t for t in terms if t[0]), key=lambda term: term[0] != 1):
            if total is None:  # one without a factor, if there is any: it needs no multiplication
                total = vector if coefficient == 1 else self.builder.fmul(self.constant(coefficient), vector)
            elif abs(coefficient) == 1:
                total = (self.builder.fadd if coefficient == 1 else self.builder.fsub)(total, vector)
            else:
                total = self.builder.call(self.fma, [self.constant(coefficient), vector, total])
        return total

    def product(self, matrix, vectors):
        """matrix @ vectors.

        Two rows that differ only in the signs of some places, as those of the points 1 and -1 do, are the sum and the
        difference of two halves; two such columns share the sum and the difference of their vectors.
        """
        rows, columns = _pairs(matrix), _pairs(transposed(matrix))
        if not rows:
            vectors = list(vectors)
            for i, j in columns:
                a, b = vectors[i], vectors[j]
                vectors[i], vectors[j] = self.builder.fadd(a, b), self.builder.fsub(a, b)
            return [self.scaled_sum(zip(_halved(row, columns), vectors, strict=True)) for row in matrix]
        result = [None] * len(matrix)
        for i, row in enumerate(matrix):
            if not any(i in pair for pair in rows):
                result[i] = self.scaled_sum(zip(row, vectors, strict=True))
        for i, j in rows:
            terms = list(zip(matrix[i], matrix[j], vectors, strict=True))
            even = self.scaled_sum((a, vector) for a, b, vector in terms if a == b)
            odd = [(a, vector) for a, b, vector in terms if a != b]
            scale = next(abs(a) for a, _ in odd)
            difference = self.scaled_sum((a / scale, vector) for a, vector in odd)
            result[i], result[j] = (self.scaled_sum([(1, even), (sign * scale, difference)]) for sign in (1, -1))
        return result

    def both_sides(self, matrix, grid):
        """matrix @ grid @ matrix^T for a square grid of vectors."""
        columns = [self.product(matrix, column) for column in zip(*grid, strict=True)]
        return [self.product(matrix, line) for line in zip(*columns, strict=True)]

    def place(self, start, *steps):
        """A pointer to a vector at `start` plus the products of the pairs (count, stride)."""
        offset = None
        for count, stride in steps:
            part = self.builder.mul(count, stride)
            offset = part if offset is None else self.builder.add(offset, part)
        return self.builder.gep(start, [offset])


class _Patch:
    """Emits loads and stores of a patch of pixels, of a vector of channels each; only what lies inside the image."""

    def __init__(self, builder, dtype, start, row, pixel, inside, channels):
        self.builder, self.vectors = builder, _Vectors(builder, dtype)
        self.start, self.row, self.pixel = start, row, pixel
        self.top, self.bottom, self.left, self.right = inside
        self.type, self.width = self.vectors.type, dtype.bitwidth
        lane_numbers = ir.Constant(ir.VectorType(_WORD, self.type.count), list(range(self.type.count)))
        within = builder.icmp_signed("<", lane_numbers, _splat(builder, channels, self.type.count))
        self.mask_type = within.type
        self.bits = ir.IntType(self.type.count)
        self.channels = builder.bitcast(within, self.bits)

    def _some(self, i, low, high):
        builder = self.builder
        both = builder.and_(builder.icmp_signed(">=", _WORD(i), low), builder.icmp_signed("<", _WORD(i), high))
        return builder.select(both, self.channels, self.bits(0))

    def masks(self, size):
        """For each pixel of size x size the lanes that lie in the image."""
        rows = [self._some(i, self.top, self.bottom) for i in range(size)]
        columns = [self._some(j, self.left, self.right) for j in range(size)]
        return [
            [self.builder.bitcast(self.builder.and_(row, column), self.mask_type) for column in columns] for row in rows
        ]

    def place(self, start, i, j):
        return self.builder.bitcast(
            self.vectors.place(start, (_WORD(i), self.row), (_WORD(j), self.pixel)), self.type.as_pointer()
        )

    def load(self, start, i, j, mask):
        """The vector of pixel (i, j), 0 where it is masked off."""
        arguments = [self.place(start, i, j), ir.IntType(32)(self.width // 8), mask, self.vectors.constant(0)]
        return self._call("load", arguments, self.type)

    def store(self, i, j, mask, vector):
        """Write the vector of pixel (i, j) but where it is masked off."""
        arguments = [vector, self.place(self.start, i, j), ir.IntType(32)(self.width // 8), mask]
        self._call("store", arguments, ir.VoidType())

    def _call(self, kind, arguments, result):
        signature = ir.FunctionType(result, [argument.type for argument in arguments])
        name = f"llvm.masked.{kind}.v{self.type.count}f{self.width}.p0"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), arguments)


def with_bias(patch, i, j, mask, vector, bias, lowest):
    """Plus the bias at `bias`; what is below `lowest` becomes `lowest`, NaN stays."""
    total = patch.builder.fadd(vector, patch.load(bias, 0, 0, mask))
    return patch.builder.select(patch.builder.fcmp_ordered("<", total, lowest), lowest, total)


def added(patch, i, j, mask, vector, values, lowest):
    """Added to what is there; nothing where the element of `values` is at most `lowest` (with NaN: everywhere)."""
    builder = patch.builder
    off = builder.fcmp_ordered("<=", patch.load(values, i, j, mask), lowest)
    kept = builder.select(off, patch.vectors.constant(0), vector)
    return builder.fadd(patch.load(patch.start, i, j, mask), kept)


def alone(patch, i, j, mask, vector, other, lowest):
    """As it is."""
    return vector


# What a kernel names a transform by, its matrix, and for those that write an image what becomes of a pixel before it is
# stored.
INPUT_PATCH, GRADIENT_PATCH, FILTER_PATCH, OUTPUT_PATCH, INPUT_GRADIENT_PATCH, FILTER_GRADIENT_PATCH = range(6)
_TRANSFORMS = {
    INPUT_PATCH: (INPUT, None),
    GRADIENT_PATCH: (transposed(OUTPUT), None),
    FILTER_PATCH: (FILTER, None),
    OUTPUT_PATCH: (OUTPUT, with_bias),
    INPUT_GRADIENT_PATCH: (transposed(INPUT), added),
    FILTER_GRADIENT_PATCH: (transposed(FILTER), alone),
}


class Transform(types.Type):
    """One of the transforms; a type, so that a function called with it is compiled for it."""

    def __init__(self, kind: int) -> None:
        self.matrix, self.finish = _TRANSFORMS[kind]
        super().__init__(name=f"Transform({kind})")


register_model(Transform)(models.OpaqueModel)


@intrinsic(prefer_literal=True)
def transform(typingctx, kind):
    """The transform of that name, a literal."""
    return Transform(kind.literal_value)(kind), lambda context, builder, signature, args: context.get_dummy_value()


@intrinsic
def image_rows(typingctx, kind):
    """Rows and columns of the transform's patch in the image, a constant."""
    rows = len(kind.matrix[0]) if kind.finish is None else len(kind.matrix)
    return types.intp(kind), lambda context, builder, signature, args: context.get_constant(types.intp, rows)


@intrinsic
def collect_patch(typingctx, kind, source, row, pixel, top, bottom, left, right, channels, target, step):
    """Transform one patch of an image: matrix @ patch @ matrix^T, of a vector of channels.

    Pixel (i, j) of the patch lies at source + i * row + j * pixel and is 0 unless top <= i < bottom and left <= j <
    right; of its channels only the first `channels` are read. Element e of the result goes to target + e * step.
    """
    size = len(kind.matrix[0])

    def codegen(context, builder, signature, args):
        _, start, by_row, by_pixel, *inside, count, out, by_point = args
        patch = _Patch(builder, source.dtype, start, by_row, by_pixel, inside, count)
        grid = [
            [patch.load(start, i, j, mask) for j, mask in enumerate(line)] for i, line in enumerate(patch.masks(size))
        ]
        points = [vector for line in patch.vectors.both_sides(kind.matrix, grid) for vector in line]
        for e, vector in enumerate(points):
            pointer = builder.bitcast(patch.vectors.place(out, (_WORD(e), by_point)), patch.type.as_pointer())
            builder.store(vector, pointer, align=source.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(kind, source, *[types.intp] * 7, target, types.intp), codegen


@intrinsic
def spread_patch(typingctx, kind, source, step, target, row, pixel, top, bottom, left, right, channels, other, lowest):
    """Make one patch of an image: matrix @ points @ matrix^T, finished as the transform says with `other` and `lowest`.

    Arguments as in `collect_patch`, with the points at source + e * step; what lies outside is not written.
    """
    size = len(kind.matrix[0])

    def codegen(context, builder, signature, args):
        _, start, by_point, out, by_row, by_pixel, *inside, count, beside, floor = args
        patch = _Patch(builder, target.dtype, out, by_row, by_pixel, inside, count)
        points = []
        for e in range(size * size):
            pointer = builder.bitcast(patch.vectors.place(start, (_WORD(e), by_point)), patch.type.as_pointer())
            points.append(builder.load(pointer, align=target.dtype.bitwidth // 8))
        grid = [points[i * size : (i + 1) * size] for i in range(size)]
        pixels = patch.vectors.both_sides(kind.matrix, grid)
        limit = _splat(builder, floor, patch.type.count)
        for i, (line, masks) in enumerate(zip(pixels, patch.masks(len(kind.matrix)), strict=True)):
            for j, (vector, mask) in enumerate(zip(line, masks, strict=True)):
                patch.store(i, j, mask, kind.finish(patch, i, j, mask, vector, beside, limit))
        return context.get_dummy_value()

    return types.void(kind, source, types.intp, target, *[types.intp] * 7, other, target.dtype), codegen
