"""The first exercise: numbering threads, a tail, and float32."""

from __future__ import annotations

from fastconv.learn.exercise import Blank, Exercise
from fastconv.learn.goals import Goal
from fastconv.learn.trials import axpy_trials

EXERCISE = Exercise(
    name="cuda_axpy",
    title="c = a / 2 + b, an element a thread",
    goal=(
        "Compute c = a / 2 + b, each thread one element. The threads of a warp shall read neighbours, none shall go "
        "beyond the arrays, and nothing shall be computed in float64."
    ),
    module="fastconv.learn.warmups.cuda_axpy",
    blanks=(
        Blank(
            "i = uint32(cuda.blockIdx.x",
            "the number of this thread in the whole grid, from cuda.blockIdx.x, cuda.blockDim.x and cuda.threadIdx.x.",
            "i = uint32(cuda.threadIdx.x)",
        ),
        Blank(
            "if i < uint32(size)",
            "the last block may have more threads than there are elements left; these must do nothing.",
            "c[i] = 0.5 * a[i] + b[i]",
            last="c[i] =",
        ),
    ),
    trials=axpy_trials,
    goals=(Goal("sectors", 4), Goal("float64")),
    hints={
        "collision": (
            "Several blocks compute the same elements. What tells the threads of one block from those of another?",
            "In front of a thread there are all threads of the blocks before its own, and those before it in its "
            "block.",
            "TODO 1:\n{todo1}",
        ),
        "unwritten c": (
            "{place} is no thread's. There are as many threads as elements, so some elements must have several.",
            "Threads of different blocks have the same threadIdx.x: the block's number must be part of the index.",
            "TODO 1:\n{todo1}",
        ),
        "out of bounds": (
            "How many threads are there, and how many elements? A grid has whole blocks only.",
            "Threads whose number is not below `size` must neither load nor store.",
            "TODO 2:\n{todo2}",
        ),
        "sectors": (
            "Threads with neighbouring threadIdx.x form a warp. How far apart are their elements at line {line}?",
            "Line {line} moves {value:.3g} sectors a request, 4 would do: i must grow by 1 with threadIdx.x.",
            "TODO 1:\n{todo1}",
        ),
    },
)
