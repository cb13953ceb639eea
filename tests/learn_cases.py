"""Answers to the exercises that learners might give: each is the solution with one thing wrong."""

from dataclasses import dataclass

from fastconv.learn.ladder import find


@dataclass(frozen=True)
class Wrong:
    """A fault: `old`, which the solution holds once, becomes `new`.

    symptom: what the check must stop at. said: a text that the check, or its first two hints, must hold.
    """

    exercise: str
    idea: str
    old: str
    new: str
    symptom: str
    said: str

    @property
    def text(self):
        solution = find(self.exercise).solution
        assert solution.count(self.old) == 1, f"{self.exercise} should hold {self.old!r} once"
        return solution.replace(self.old, self.new)


GUARD = "    if thread >= uint32(g.N * g.P * g.Q * g.C):\n        return\n"
BARRIER = "    cuda.syncthreads()\n"
WRONG = [
    # cuda_axpy
    Wrong("cuda_axpy", "no bounds check", "if i < uint32(size):", "if True:", "out of bounds", "whole blocks only"),
    Wrong("cuda_axpy", "one too many", "i < uint32(size)", "i <= uint32(size)", "out of bounds", "a[100]"),
    Wrong("cuda_axpy", "blocks alike", "cuda.blockIdx.x * cuda.blockDim.x + ", "", "unwritten", "i from 256 on"),
    Wrong("cuda_axpy", "grid for block", "cuda.blockDim.x", "cuda.gridDim.x", "unwritten", "was not written"),
    Wrong(
        "cuda_axpy",
        "strided",
        "cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x",
        "cuda.threadIdx.x * cuda.gridDim.x + cuda.blockIdx.x",
        "sectors",
        "i must grow by 1 with threadIdx.x",
    ),
    Wrong("cuda_axpy", "float64 literal", "float32(0.5)", "0.5", "float64", "0.5 is a float64"),
    Wrong("cuda_axpy", "formula", "float32(0.5) * a[i]", "a[i]", "wrong", "by hand"),
    # cuda_transpose
    Wrong("cuda_transpose", "no barrier", BARRIER, "", "race", "a barrier"),
    Wrong(
        "cuda_transpose",
        "barrier under an if",
        "        tile[y, x] = a[uint32(row * columns + column)]\n    cuda",
        "        tile[y, x] = a[uint32(row * columns + column)]\n        cuda",
        "divergent barrier",
        "only some of the threads",
    ),
    Wrong("cuda_transpose", "no padding", "WIDTH = TILE + 1", "WIDTH = TILE", "conflicts", "bank i % 32"),
    Wrong("cuda_transpose", "not turned", "= tile[x, y]", "= tile[y, x]", "wrong", "from which block and thread"),
    Wrong(
        "cuda_transpose",
        "column by column",
        "int32(left + y), int32(top + x)  # in b",
        "int32(left + x), int32(top + y)  # in b",
        "wrong",
        "which element of a did that one load",
    ),
    Wrong(
        "cuda_transpose",
        "old bounds",
        "row < columns and column < rows",
        "row < rows and column < columns",
        "unwritten",
        "a test of its own",
    ),
    Wrong(
        "cuda_transpose",
        "wrong pitch",
        "b[uint32(row * rows",
        "b[uint32(row * columns",
        "out of bounds",
        "b has `columns` rows",
    ),
    # cuda_max_pool2d
    Wrong("cuda_max_pool2d", "no bounds check", GUARD, "", "out of bounds", "more threads than outputs"),
    Wrong("cuda_max_pool2d", "no stride", "p * g.stride_h", "p", "wrong", "stride apart"),
    Wrong("cuda_max_pool2d", "strides swapped", "p * g.stride_h", "p * g.stride_w", "wrong", "both strides"),
    Wrong("cuda_max_pool2d", "no padding", " - g.pad_left", "", "wrong", "padding"),
    Wrong(
        "cuda_max_pool2d",
        "one side only",
        "0 <= h < g.H and 0 <= j < g.W",
        "h < g.H and j < g.W",
        "out of bounds",
        "Negative",
    ),
    Wrong("cuda_max_pool2d", "NaN lost", " or value != value", "", "wrong", "NaN"),
    Wrong("cuda_max_pool2d", "from zero", "np.float32(-np.inf)", "np.float32(0)", "wrong", "should be -"),
    Wrong(
        "cuda_max_pool2d",
        "along pixels",
        "    c, pixel = int32(thread % uint32(g.C)), thread // uint32(g.C)\n",
        "    pixels = uint32(g.N * g.P * g.Q)\n"
        "    c, pixel = int32(thread // pixels), thread % pixels\n"
        "    thread = uint32(pixel * uint32(g.C) + c)\n",
        "sectors",
        "Neighbouring threads should touch neighbouring elements",
    ),
    # cuda_conv2d
    Wrong("cuda_conv2d", "one group", "int32(k // uint32(g.group_K)) * g.group_C", "int32(0)", "wrong", "one group"),
    Wrong(
        "cuda_conv2d", "x by rows of y", "((n * g.H + h) * g.W + j)", "((n * g.H + h) * g.Q + j)", "wrong", "offset of"
    ),
    Wrong(
        "cuda_conv2d",
        "w without C",
        "((r * g.S + s) * g.group_C + c) * g.K",
        "(r * g.S + s + c) * g.K",
        "wrong",
        "y[n=",
    ),
    Wrong("cuda_conv2d", "p and q swapped", "q, p, n = int32", "p, q, n = int32", "wrong", "y[n="),
    Wrong(
        "cuda_conv2d",
        "no bounds check",
        "    if thread >= pixels * g.K:\n        return\n",
        "",
        "out of bounds",
        "more threads than outputs",
    ),
    Wrong("cuda_conv2d", "float64 sum", "total += a * b", "total += a * b * 1.0", "float64", "0.5 is a float64"),
    Wrong("cuda_conv2d", "no dilation", "r * g.dilation_h", "r", "wrong", "dilations were 1"),
    # cuda_conv2d_coalesced
    Wrong(
        "cuda_conv2d_coalesced",
        "along pixels",
        "k, pixel = thread % uint32(g.K), thread // uint32(g.K)",
        "k, pixel = thread // pixels, thread % pixels",
        "sectors",
        "last dimension",
    ),
    Wrong(
        "cuda_conv2d_coalesced",
        "wrong divisor",
        "thread % uint32(g.K), thread // uint32(g.K)",
        "thread % uint32(g.K), thread // uint32(g.C)",
        "out of bounds",
        "How large can pixel and k become",
    ),
    Wrong("cuda_conv2d_coalesced", "swapped", "k, pixel = thread", "pixel, k = thread", "collision", "Whose element"),
    # cuda_conv2d_shared
    Wrong(
        "cuda_conv2d_shared",
        "no first barrier",
        "        cuda.syncthreads()\n        if",
        "        if",
        "race",
        "Two barriers",
    ),
    Wrong(
        "cuda_conv2d_shared",
        "no second barrier",
        "        cuda.syncthreads()  # before the tile is overwritten\n",
        "",
        "race",
        "Two barriers",
    ),
    Wrong(
        "cuda_conv2d_shared",
        "barrier under an if",
        "        cuda.syncthreads()\n        if k_in_group < g.group_K:\n",
        "        if k_in_group < g.group_K:\n            cuda.syncthreads()\n",
        "divergent barrier",
        "must not be under",
    ),
    Wrong(
        "cuda_conv2d_shared",
        "no halo check",
        "if 0 <= h < g.H and 0 <= j < g.W and c < g.group_C:\n                v",
        "if c < g.group_C:\n                v",
        "out of bounds",
        "edge of the image",
    ),
    Wrong(
        "cuda_conv2d_shared",
        "no group",
        "group * g.group_C + c)]\n            tile",
        "c)]\n            tile",
        "wrong",
        "channel `first`",
    ),
    Wrong(
        "cuda_conv2d_shared",
        "half a tile",
        "i = uint32(i + THREADS)",
        "i = uint32(i + 2 * THREADS)",
        "uninitialised",
        "whole tile",
    ),
    Wrong("cuda_conv2d_shared", "no step", "i = uint32(i + THREADS)", "i = uint32(i)", "endless", "ends the loop"),
    Wrong(
        "cuda_conv2d_shared",
        "wrong place",
        "(row * t.columns + column) * t.channels",
        "(row * t.rows + column) * t.channels",
        "out of bounds",
        "Element (row, column, c)",
    ),
    # cuda_conv2d_backward_data
    Wrong(
        "cuda_conv2d_backward_data",
        "no upper bound",
        "p < g.P and q < g.Q and ",
        "",
        "out of bounds",
        "numbers of outputs",
    ),
    Wrong(
        "cuda_conv2d_backward_data",
        "between strides",
        " and int32(q * g.stride_w) == right",
        "",
        "wrong",
        "Solve that for p",
    ),
    Wrong(
        "cuda_conv2d_backward_data",
        "forward",
        "h + g.pad_top - r * g",
        "h - g.pad_top + r * g",
        "wrong",
        "Solve that for p",
    ),
    Wrong("cuda_conv2d_backward_data", "no dilation", "r * g.dilation_h", "r", "wrong", "dilations were 1"),
    Wrong("cuda_conv2d_backward_data", "no padding", "j + g.pad_left", "j", "wrong", "without padding"),
    # cuda_conv2d_backward_filter
    Wrong("cuda_conv2d_backward_filter", "one image", "range(g.N)", "range(1)", "wrong", "first image"),
    Wrong(
        "cuda_conv2d_backward_filter",
        "along taps",
        "k, row = int32(thread % uint32(g.K)), thread // uint32(g.K)\n"
        "    c, tap = int32(row % uint32(g.group_C)), row // uint32(g.group_C)",
        "tap, row = thread % uint32(g.R * g.S), thread // uint32(g.R * g.S)\n"
        "    c, k = int32(row % uint32(g.group_C)), int32(row // uint32(g.group_C))",
        "wrong",
        "k is thread % K",
    ),
    Wrong("cuda_conv2d_backward_filter", "x by channel c", "* g.C + channel", "* g.C + c", "wrong", "one group"),
    Wrong(
        "cuda_conv2d_backward_filter",
        "no padding check",
        "0 <= h < g.H and 0 <= j < g.W",
        "h < g.H and j < g.W",
        "out of bounds",
        "both sides",
    ),
    Wrong(
        "cuda_conv2d_backward_filter",
        "along taps, rightly",
        "    k, row = int32(thread % uint32(g.K)), thread // uint32(g.K)\n"
        "    c, tap = int32(row % uint32(g.group_C)), row // uint32(g.group_C)",
        "    tap, row = thread % uint32(g.R * g.S), thread // uint32(g.R * g.S)\n"
        "    c, k = int32(row % uint32(g.group_C)), int32(row // uint32(g.group_C))\n"
        "    thread = uint32((tap * uint32(g.group_C) + c) * uint32(g.K) + k)",
        "sectors",
        "k is the last dimension",
    ),
]
