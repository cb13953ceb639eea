"""conv2d_backward_data: gather instead of scatter."""

from __future__ import annotations

from fastconv.learn.exercise import Blank, Exercise
from fastconv.learn.goals import Goal
from fastconv.learn.trials import op_trials

EXERCISE = Exercise(
    name="cuda_conv2d_backward_data",
    title="conv2d's gradient by x, gathered",
    goal=(
        "Compute gx[n, h, j, c] in one thread, without atomics: sum gy * w over all outputs whose window holds the "
        "element. For each tap ask which output p, q, if any, met the element by that tap."
    ),
    module="fastconv.kernels.conv2d_backward_data.cuda_naive",
    blanks=(
        Blank(
            "down = int32(h",
            "output p met row h by tap r where p * stride_h - pad_top + r * dilation_h == h. What is p * stride_h "
            "then?",
            "down = int32(h - r)",
        ),
        Blank("right = int32(j", "the same for the columns.", "right = int32(j - s)"),
        Blank(
            "if p < g.P and q < g.Q",
            "p and q are quotients, rounded down, and 0 for negative numbers. Which of them are outputs that met the "
            "element?",
            "if p < g.P and q < g.Q:",
        ),
    ),
    trials=lambda: op_trials("conv2d_backward_data", "cuda_naive", "N=1 H=5 W=6 C=4 K=8 R=3 S=3"),
    goals=(Goal("float64"),),
    hints={
        "wrong plain": (
            "{place} got gradients from outputs that never used it, or none from those that did. Which p used row h "
            "by tap r?",
            "Forward, output p takes row p * stride_h - pad_top + r * dilation_h by tap r. Solve that for p.",
            "p is rounded down, and 0 for a negative number: only if p * stride_h is `down` again did p meet the row.",
            "TODO 1, TODO 2 and TODO 3:\n{todo1}\n{todo2}\n{todo3}",
        ),
        "wrong strides": (
            "It was right as long as strides were 1. With stride 2 every other row was met by no output by this tap.",
            "The quotient p is rounded down: p is an output that met the row only if p * stride_h is `down` again.",
            "TODO 3:\n{todo3}",
        ),
        "out of bounds gy": (
            "p and q are numbers of outputs: from 0 to P - 1 and Q - 1. Are they, for elements near the edge?",
            "TODO 3:\n{todo3}",
        ),
        "wrong dilation": (
            "It was right as long as dilations were 1: tap r lies r * dilation_h rows below the window's first.",
            "TODO 1 and TODO 2:\n{todo1}\n{todo2}",
        ),
        "wrong padding": (
            "It was right without padding. Output p's window begins pad_top rows above row p * stride_h.",
            "TODO 1 and TODO 2:\n{todo1}\n{todo2}",
        ),
    },
)
