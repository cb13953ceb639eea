"""conv2d: the formula, an output a thread."""

from __future__ import annotations

from fastconv.learn.exercise import Blank, Exercise
from fastconv.learn.goals import Goal
from fastconv.learn.trials import op_trials

COSTS = "N=1 H=5 W=10 C=4 K=32 R=3 S=3"
TAP = (
    "Element (n, h, j, channel) of x, of shape (N, H, W, C), is x[((n * H + h) * W + j) * C + channel]. Which "
    "channels does the filter k see?"
)

EXERCISE = Exercise(
    name="cuda_conv2d",
    title="conv2d, an output a thread",
    goal=(
        "Compute y[n, p, q, k], a sum over the taps and channels of a window of x times filter k, in one thread. "
        "Strides, dilation, padding and groups come with it; nothing shall be computed in float64."
    ),
    module="fastconv.kernels.conv2d.cuda_naive",
    blanks=(
        Blank(
            "q, p, n = int32(pixel",
            "pixels are numbered as they lie in y: along its columns first, then its rows, then its images. Which "
            "are this one's column q, row p and image n? (`%` and `//` of uint32 numbers are fast, of others they "
            "are not.)",
            "q, p, n = int32(pixel), int32(0), int32(0)",
        ),
        Blank(
            "first = int32(k",
            "filters come in groups of group_K, channels in groups of group_C. The first channel of the filter's "
            "group:",
            "first = int32(0)",
        ),
        Blank(
            "a = x[uint32(",
            "load the element of x at (n, h, j) of channel first + c, and the element of w at (r, s, c, k); add "
            "their product. Both arrays are flat, in the order of their memory: x is (N, H, W, C), w is (R, S, "
            "group_C, K).",
            "total += float32(0)",
            last="total += a * b",
        ),
    ),
    trials=lambda: op_trials("conv2d", "cuda_naive", COSTS),
    goals=(Goal("float64"),),
    hints={
        "wrong plain": (
            "{place} is a sum of R * S * group_C products. Which elements of x and w are in them?",
            "The last dimension is the one whose neighbours lie side by side: the offset of (n, h, j, c) in x is ((n "
            "* H + h) * W + j) * C + c.",
            "TODO 1 and TODO 3:\n{todo1}\n{todo3}",
        ),
        "out of bounds y": (
            "There are more threads than outputs: those whose number is not below N * P * Q * K must not go on.",
        ),
        "out of bounds x": (TAP, "Each of n, h, j must be below its own size; is q, the column of y, below Q?"),
        "out of bounds w": (
            "Element (r, s, c, k) of w, of shape (R, S, group_C, K), is at ((r * S + s) * group_C + c) * K + k.",
        ),
        "wrong groups": (
            "It was right with one group. Which channels does filter k see when there are several?",
            "Filter k is in group k // group_K, whose first channel is that number times group_C.",
            "TODO 2:\n{todo2}",
        ),
    },
)
