"""Long sums in chunks: how the pixels of a filter gradient are shared out, and how partial sums are added.

gw has few elements and each is a sum over all pixels, so a GPU is filled only where many blocks work on the same
element. Each takes a chunk of the pixels and writes its sums to a row of the workspace; a last launch adds the rows.
How the pixels are cut and in which order the rows are added follows from the problem alone: no atomics, and the same
bits in every run on every GPU.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32

BLOCKS = 384  # what is wanted: three for each of 128 multiprocessors, all at once
SMALL_BLOCKS = 768  # six for each, where registers allow that
LEAST = 512  # rows that are added by one launch
COLUMNS, LINES, LOADS = 32, 16, 8  # of a block that adds rows, and of a thread at once


class Chunks(NamedTuple):
    """How many terms are cut, and into what."""

    number: int
    terms: int  # of a chunk; the last may have fewer

    @classmethod
    def of(cls, terms, tiles, least, multiple=1, blocks=BLOCKS):
        """As many chunks as make `blocks` blocks, which fill a GPU, if each takes `tiles` of them; one at least.

        A chunk has `least` terms or more, if there are so many, and a multiple of `multiple`.
        """
        number = max(1, min(blocks // tiles, terms // least))
        each = max(multiple, -(-terms // (number * multiple)) * multiple)
        return cls(max(1, -(-terms // each)), each)


class Sums(NamedTuple):
    """Where the chunks' sums go: to gw and gb themselves if there is one chunk, else to a row of the workspace each."""

    chunks: int
    terms: int  # of a chunk
    pitch: int  # from one chunk's gw to the next
    bias_pitch: int  # from one chunk's gb to the next
    has_bias: int

    @classmethod
    def of(cls, problem, chunks, has_bias):
        """The places for a problem."""
        several = chunks.number > 1
        return cls(*chunks, several * _size(problem), several * problem.K, int(has_bias))


def sums_bytes(problem, chunks):
    """Bytes of the workspace that the chunks' sums take."""
    return 0 if chunks.number == 1 else 4 * chunks.number * (_size(problem) + problem.K)


def place_sums(problem, chunks, gw, gb, memory):
    """The arrays that chunks write to, for gw and for gb, and the launches that follow.

    memory: float32, of `sums_bytes`.
    """
    if chunks.number == 1:
        return gw, gb, []
    size = _size(problem)
    of_gw, of_gb = memory[: chunks.number * size], memory[chunks.number * size : chunks.number * (size + problem.K)]
    launches = [_add(of_gw, gw, chunks.number, size)]
    if gb is None:
        return of_gw, None, launches
    return of_gw, of_gb, [*launches, _add(of_gb, gb, chunks.number, problem.K)]


def sum_rows(matrix, out, rows, columns, memory):
    """The launches that make `out` (columns,) the sum of the rows of `matrix` (rows, columns).

    memory: float32, of `row_sums_bytes`.
    """
    chunks = _row_chunks(rows, columns)
    if chunks.number == 1:
        return [_add(matrix, out, rows, columns)]
    memory = memory[: chunks.number * columns]
    return [_add(matrix, memory, rows, columns, chunks), _add(memory, out, chunks.number, columns)]


def row_sums_bytes(rows, columns):
    """Bytes of the workspace that `sum_rows` takes."""
    chunks = _row_chunks(rows, columns)
    return 0 if chunks.number == 1 else 4 * chunks.number * columns


def _row_chunks(rows, columns):
    return Chunks.of(rows, -(-columns // COLUMNS), LEAST, LINES)


def _size(problem):
    return problem.R * problem.S * problem.C // problem.groups * problem.K


def _add(matrix, out, rows, columns, chunks=None):
    """The launch that adds rows, each chunk of them to a row of `out`; all of them, if no chunks are given."""
    number, each = chunks or (1, rows)
    grid = (-(-columns // COLUMNS), number)
    return Launch(_add_rows, grid, (COLUMNS, LINES), (matrix, out, rows, columns, each))


@cuda_jit(FLOATS, FLOATS, int32, int32, int32, launch_bounds=COLUMNS * LINES)
def _add_rows(matrix, out, rows, columns, each):
    sums = cuda.shared.array((LINES, COLUMNS), float32)
    column, line = int32(cuda.blockIdx.x * COLUMNS + cuda.threadIdx.x), int32(cuda.threadIdx.y)
    chunk = int32(cuda.blockIdx.y)
    end = int32(min((chunk + 1) * each, rows))
    total = float32(0)
    if column < columns:
        row = int32(chunk * each + line)
        while row < end:
            for _ in range(LOADS):
                if row < end:
                    total += matrix[uint32(row * columns + column)]
                row = int32(row + LINES)
    sums[line, uint32(cuda.threadIdx.x)] = total
    cuda.syncthreads()
    if line == 0 and column < columns:
        total = float32(0)
        for i in range(LINES):
            total += sums[i, uint32(cuda.threadIdx.x)]
        out[uint32(chunk * columns + column)] = total
