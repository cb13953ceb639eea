"""conv2d: a tile of x in shared memory."""

from __future__ import annotations

from fastconv.learn.exercise import Blank, Exercise
from fastconv.learn.goals import Goal
from fastconv.learn.trials import op_trials

EXERCISE = Exercise(
    name="cuda_conv2d_shared",
    title="conv2d with a tile of x in shared memory",
    goal=(
        "A block computes 32 filters on 4 x 4 pixels, whose windows overlap. Copy what they see of x to shared "
        "memory once, a chunk of channels at a time, and compute from there: so that about half of the requests to "
        "global memory remain."
    ),
    module="fastconv.kernels.conv2d.cuda_shared",
    blanks=(
        Blank(
            "c = int32(first + i",
            "element i of the tile, of shape (rows, columns, channels), is which channel c, row h and column j of x? "
            "The tile begins with what pixel (p0, q0) of y sees. Beside the image, and beyond the group's channels, "
            "it is 0. After the loop, and before anybody reads it, all of the tile must be there.",
            "tile[i] = float32(0)\ni = uint32(i + THREADS)",
            last="cuda.syncthreads()",
        ),
        Blank(
            "a = tile[",
            "this reads x itself. Read the tile instead: `row` and `column` are the place in it.",
            "h, j = int32(p0 * g.stride_h - g.pad_top + row), int32(q0 * g.stride_w - g.pad_left + column)\n"
            "a = float32(0)\n"
            "if 0 <= h < g.H and 0 <= j < g.W:\n"
            "    a = x[uint32(((n * g.H + h) * g.W + j) * g.C + group * g.group_C + first + c)]",
        ),
        Blank(
            "# before the tile is overwritten",
            "the next turn overwrites the tile. Is everybody done with it?",
            "",
        ),
    ),
    trials=lambda: op_trials("conv2d", "cuda_shared", "N=1 H=6 W=6 C=40 K=32 R=3 S=3"),
    goals=(Goal("sectors", 4), Goal("conflicts"), Goal("requests", 7000), Goal("float64")),
    hints={
        "requests": (
            "Line {line} makes most of the {value:g} requests. The windows of 16 pixels overlap, and 32 filters see "
            "the same: how often does a block load one element of x?",
            "Let the threads of the block copy what the block sees to `tile`, each some of its elements; wait; then "
            "read `tile` where x was read.",
            "TODO 1 and TODO 2:\n{todo1}\n{todo2}",
        ),
        "race": (
            "Lines {other_line} and {line}: one thread writes {array}, another reads it. Which of the two shall come "
            "first?",
            "Two barriers are needed in each turn: one between copying and computing, one before the next turn copies.",
            "Put cuda.syncthreads() after the while loop, and again at the end of the loop over chunks: for all "
            "threads, not under `if k_in_group < g.group_K`.",
        ),
        "out of bounds x": (
            "The tile stands over the edge of the image, and the last chunk over the last channel. What is there of x?",
            "Load only where 0 <= h < H, 0 <= j < W and c < group_C; elsewhere the tile gets a 0.",
        ),
        "out of bounds tile": (
            "The tile has rows * columns * channels elements, of t. How large can row, column and c become?",
            "Element (row, column, c) is at (row * t.columns + column) * t.channels + c.",
        ),
        "uninitialised": (
            "Line {line} reads elements of {array} that no thread wrote. Does the copy go through the whole tile, in "
            "steps of THREADS?",
            "Every element i below rows * columns * channels must be written, with 0 where there is nothing of x.",
        ),
        "divergent barrier": (
            "Line {line}: some threads of the block do not come to this barrier.",
            "Threads without a filter (k_in_group >= group_K) copy like the others, and must come to every barrier: "
            "it must not be under an `if`.",
        ),
        "wrong": (
            "Take {place}: which rows, columns and channels of x should be in its tile, and which are?",
            "The tile's first row is p0 * stride_h - pad_top of x, its first channel `first` of the group.",
            "TODO 1 and TODO 2:\n{todo1}\n{todo2}",
        ),
        "sectors": (
            "The threads of a warp have neighbouring i. Which of row, column and channel shall grow fastest with i?",
            "Line {line} moves {value:.3g} sectors a request: let the channels be last in the tile as they are in x.",
        ),
    },
)
