"""max_pool2d: a thread for each output, and windows at the edge."""

from __future__ import annotations

from fastconv.learn.exercise import Blank, Exercise
from fastconv.learn.goals import Goal
from fastconv.learn.trials import op_trials

EXERCISE = Exercise(
    name="cuda_max_pool2d",
    title="max_pool2d, an output a thread",
    goal=(
        "Compute y[n, p, q, c], the largest element of a window of x, in one thread. Windows may overlap, have gaps "
        "and reach beyond the image, and the number of outputs need not be one of whole blocks."
    ),
    module="fastconv.kernels.max_pool2d.cuda_naive",
    blanks=(
        Blank(
            "if thread >= uint32(g.N",
            "threads beyond the last output must do nothing.",
            "",
            last="return",
        ),
        Blank(
            "h = int32(p * g.stride_h",
            "the row of x at which tap r of the window lies; see stride_h, pad_top and dilation_h of g.",
            "h = int32(p + r)",
        ),
        Blank("j = int32(q * g.stride_w", "its column.", "j = int32(q + s)"),
        Blank("if 0 <= h < g.H", "taps beside the image do not count.", "if True:"),
    ),
    trials=lambda: op_trials("max_pool2d", "cuda_naive", "N=1 H=4 W=6 C=32 R=2 S=2 stride=2"),
    goals=(Goal("sectors", 4), Goal("float64")),
    hints={
        "out of bounds y": (
            "There are more threads than outputs: a grid has whole blocks only. Which threads are beyond the last "
            "output?",
            "Their number, `thread`, is not below N * P * Q * C. They must not go on.",
            "TODO 1:\n{todo1}",
        ),
        "out of bounds x": (
            "Is each tap of each window in the image? And are there threads beyond the last output?",
            "h must be from 0 to H - 1 and j from 0 to W - 1. Negative ones are above and left of the image.",
            "TODO 4:\n{todo4}",
        ),
        "wrong plain": (
            "The windows of neighbouring outputs are stride apart. Where does the window of {place} begin?",
            "Its first row is p * stride_h - pad_top, its first column q * stride_w - pad_left.",
            "TODO 2 and 3:\n{todo2}\n{todo3}",
        ),
        "wrong with a NaN in the data": (
            "The maximum of numbers with a NaN among them is NaN. What does `>` say of a NaN?",
            "if value > best or value != value",
        ),
        "wrong padding": (
            "It was right without padding. Which elements count where a window reaches beyond the image?",
            "Above, below, left and right must be checked. TODO 4:\n{todo4}",
        ),
    },
)
