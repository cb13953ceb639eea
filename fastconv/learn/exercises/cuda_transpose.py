"""The second exercise: shared memory, a barrier, coalescing and banks."""

from __future__ import annotations

from fastconv.learn.exercise import Blank, Exercise
from fastconv.learn.goals import Goal
from fastconv.learn.trials import transpose_trials

EXERCISE = Exercise(
    name="cuda_transpose",
    title="b = a.T, a tile at a time",
    goal=(
        "Copy the matrix a to b, transposed. A warp shall both read and write 32 neighbours, so the tile is turned "
        "round in shared memory, where no two threads of a warp shall meet in one bank."
    ),
    module="fastconv.learn.warmups.cuda_transpose",
    blanks=(
        Blank(
            "WIDTH = TILE + 1",
            "later, when there are bank conflicts. The width of a row in shared memory need not be that of the tile.",
            "WIDTH = TILE",
        ),
        Blank(
            "if row < rows and column < columns:",
            "this copies right, but a warp writes to 32 rows of b. Let each thread copy one element of a to tile[y, "
            "x]; wait for the others of the block; then let it copy one element of the tile to b, so that the "
            "threads of a warp, which differ in x, write to neighbours.",
            "if row < rows and column < columns:\n"
            "    b[uint32(column * rows + row)] = a[uint32(row * columns + column)]",
            last="b[uint32(row * rows + column)] = tile[x, y]",
        ),
    ),
    trials=transpose_trials,
    goals=(Goal("sectors", 4), Goal("conflicts")),
    hints={
        "sectors": (
            "The threads of a warp differ in x. Which index of a, and which of b, grows by 1 with x?",
            "Line {line} moves {value:.3g} sectors a request. Copy through the tile: in by rows of a, out by rows of "
            "b, so that x is the column both times.",
            "TODO 2:\n{todo2}",
        ),
        "out of bounds b": (
            "b has `columns` rows of `rows` elements. Which of row and column must be below which?",
            "At the edges a block stands over the matrix, over b elsewhere than over a: the place in b needs a test "
            "of its own.",
            "TODO 2:\n{todo2}",
        ),
        "unwritten b": (
            "{place} is no thread's. Is the place in b compared with the size of b, or with that of a?",
            "b has `columns` rows of `rows` elements: the place in b needs a test of its own.",
            "TODO 2:\n{todo2}",
        ),
        "out of bounds a": (
            "At the edges a block stands over the matrix: some of its threads have no element of a.",
            "TODO 2:\n{todo2}",
        ),
        "race": (
            "An element of the tile is written by one thread and read by another. What makes sure that it was written?",
            "All threads of the block must have written before any reads: a barrier.",
            "Put cuda.syncthreads() between line {other_line} and line {line}, outside of any `if`.",
        ),
        "uninitialised": (
            "Line {line} reads elements of the tile that no thread wrote. Which element of b is this thread's?",
            "The tile that was read from (top, left) goes to (left, top) in b: row = left + y, column = top + x.",
        ),
        "conflicts": (
            "Shared memory has 32 banks of 4 bytes; element i lies in bank i % 32. In which banks does a warp read "
            "at line {line}?",
            "A column of a tile whose rows are 32 wide lies in a single bank: {value:g} turns too many in all.",
            "Make the rows one element longer.\n{todo1}",
        ),
        "wrong": (
            "Follow {place}: from which block and thread does it come, and which element of a did that one load?",
            "Which of a block's two numbers says where a tile is in b? Its row begins at `left`, its column at `top`.",
            "TODO 2:\n{todo2}",
        ),
    },
)
