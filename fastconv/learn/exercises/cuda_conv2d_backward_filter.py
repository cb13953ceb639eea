"""conv2d_backward_filter: a long sum in each thread."""

from __future__ import annotations

from fastconv.learn.exercise import Blank, Exercise
from fastconv.learn.goals import Goal
from fastconv.learn.trials import op_trials

EXERCISE = Exercise(
    name="cuda_conv2d_backward_filter",
    title="conv2d's gradient by w, a weight a thread",
    goal=(
        "Compute gw[r, s, c, k] in one thread: the sum of x * gy over all pixels of all images, in their order, so "
        "that every run gives the same bits. Number the threads so that a warp reads neighbours of gy."
    ),
    module="fastconv.kernels.conv2d_backward_filter.cuda_naive",
    blanks=(
        Blank(
            "k, row = int32(thread",
            "gw is (R, S, group_C, K), flat, and this thread writes gw[thread]. Which k, c and tap (r * S + s) are "
            "its own?",
            "k, c, tap = int32(0), int32(0), thread",
            last="c, tap = int32(row",
        ),
        Blank(
            "h = int32(p * g.stride_h",
            "the row of x that pixel p of y sees by tap r; see stride_h, pad_top and dilation_h of g.",
            "h = int32(p + r)",
        ),
        Blank("j = int32(q * g.stride_w", "its column.", "j = int32(q + s)"),
        Blank(
            "a = x[uint32(",
            "add the product of x at (n, h, j, channel) and gy at (n, p, q, k). x is (N, H, W, C), gy is (N, P, Q, "
            "K), both flat.",
            "total += float32(0)",
            last="total += a * b",
        ),
    ),
    trials=lambda: op_trials("conv2d_backward_filter", "cuda_naive", "N=1 H=5 W=6 C=4 K=32 R=3 S=3"),
    goals=(Goal("sectors", 4), Goal("float64")),
    hints={
        "wrong plain": (
            "{place} is a sum of N * P * Q products, of x at (n, h, j, channel) and gy at (n, p, q, k). Which r, s, "
            "c and k has its thread?",
            "The last dimension is the one whose neighbours lie side by side: k is thread % K, c is the rest after "
            "that, % group_C, and what is left is the tap r * S + s.",
            "TODO 1 and TODO 4:\n{todo1}\n{todo4}",
        ),
        "out of bounds x": (
            "Element (n, h, j, channel) of x is at ((n * H + h) * W + j) * C + channel.",
            "Are h and j compared with H and W before the load, from both sides?",
        ),
        "out of bounds gy": ("Element (n, p, q, k) of gy is at ((n * P + p) * Q + q) * K + k.",),
        "sectors": (
            "Threads with neighbouring numbers form a warp. Which of r, s, c and k differ between them?",
            "Line {line} moves {value:.3g} sectors a request. k is the last dimension of gy and of gw: let it differ.",
        ),
    },
)
