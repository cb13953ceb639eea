"""conv2d: threads numbered so that warps read neighbours."""

from __future__ import annotations

from fastconv.learn.exercise import Blank, Exercise
from fastconv.learn.exercises.cuda_conv2d import COSTS
from fastconv.learn.goals import Goal
from fastconv.learn.trials import op_trials

EXERCISE = Exercise(
    name="cuda_conv2d_coalesced",
    title="conv2d with the filters across the warp",
    goal=(
        "The kernel is right, but a warp's elements of x lie C apart and those of y K apart, each in a sector of its "
        "own. Number the threads otherwise, so that no load or store takes more than 4 sectors."
    ),
    module="fastconv.kernels.conv2d.cuda_coalesced",
    blanks=(
        Blank(
            "k, pixel = thread % uint32(g.K)",
            "this numbers the threads along the pixels first, so the 32 threads of a warp compute 32 pixels of one "
            "filter. What should they share instead, and what should differ?",
            "pixel, k = thread % pixels, thread // pixels",
        ),
    ),
    trials=lambda: op_trials("conv2d", "cuda_coalesced", COSTS),
    goals=(Goal("sectors", 4), Goal("float64")),
    hints={
        "sectors": (
            "The threads of a warp have neighbouring numbers. Which of n, p, q, k differ between them, and which of "
            "these is the last dimension of an array?",
            "Line {line} moves {value:.3g} sectors a request. k is the last dimension of both w and y: if a warp's "
            "threads differ in k alone, they touch neighbours there, and all of them the same element of x.",
            "TODO 1:\n{todo1}",
        ),
        "out of bounds": (
            "Line {line} uses an index that {array} does not have. How large can pixel and k become?",
            "There are N * P * Q * K threads: of which number is k the rest, and of which is pixel the quotient?",
        ),
        "wrong": (
            "{place}: which thread computes it now? Each pair of a pixel and a filter must be one thread's.",
            "k goes up to K, pixel up to N * P * Q: what must thread be divided by?",
        ),
        "unwritten": (
            "{place} is no thread's. Each pair of a pixel and a filter must be one thread's.",
            "k goes up to K, pixel up to N * P * Q: what must thread be divided by?",
        ),
    },
)
