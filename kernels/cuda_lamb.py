"""Lamb's update of all weights on a GPU: Adam's step, scaled for each variable to the length of the variable.

Weights, gradients and slots are flat buffers as in `cuda_updates`. Adam's step is written down first; its length and
the weights' are sums of squares by chunks that belong to one variable each (`cuda_clipping`), added in their order; a
last pass takes the scaled step. So there are five launches however many variables there are. Limited by bytes: nine
numbers an element are read and four written. The formulas are those of `fastconv.optimizer_variants`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.cuda_clipping import INTS, THREADS, square_sums
from fastconv.kernels.cuda_sums import block_sum


def lamb(
    value: Any,
    gradient: Any,
    slots: Sequence[Any],
    rates: Any,
    tables: tuple[Any, Any],
    scratch: tuple[Any, Any, Any, Any],
    fractions: tuple[float, float],
    epsilon: float,
) -> list[Launch]:
    """value -= rates[0] * step * the value's length / the step's, or without the lengths where one is 0.

    step = mean * rates[2] / (sqrt(mean_square * rates[3]) + epsilon), after both have moved by the `fractions`.

    Args:
        slots: mean and mean_square.
        tables: on the device, what `cuda_clipping.chunks` gave for each variable by itself.
        scratch: float32 to write on: one element an element of value, twice one a chunk, and one a variable.
    """
    (table, norms), (step, of_values, of_steps, ratios) = tables, scratch
    mean, mean_square = slots
    numbers = (value.size, *map(float32, (*fractions, epsilon)))
    blocks = (-(-value.size // THREADS),)
    arrays = (gradient, mean, mean_square, rates, step)
    return [
        Launch(_adam_step, blocks, (THREADS,), (*arrays, *numbers)),
        square_sums(value, table, of_values),
        square_sums(step, table, of_steps),
        Launch(_ratios, (len(norms),), (THREADS,), (of_values, of_steps, norms, ratios)),
        Launch(_take, (len(table),), (THREADS,), (value, step, table, ratios, rates)),
    ]


@cuda_jit(*(FLOATS,) * 5, int32, float32, float32, float32, launch_bounds=THREADS)
def _adam_step(gradient, mean, mean_square, rates, step, count, fraction, square_fraction, epsilon):
    i = uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
    if i < uint32(count):
        slope, moved, square = gradient[i], mean[i], mean_square[i]
        moved += (slope - moved) * fraction
        square += (slope * slope - square) * square_fraction
        mean[i], mean_square[i] = moved, square
        step[i] = moved * rates[2] / (math.sqrt(square * rates[3]) + epsilon)


@cuda_jit(FLOATS, FLOATS, INTS, FLOATS, launch_bounds=THREADS)
def _ratios(of_values, of_steps, norms, ratios):
    parts = cuda.shared.array(THREADS, float32)
    more_parts = cuda.shared.array(THREADS, float32)
    thread, row = uint32(cuda.threadIdx.x), uint32(2 * cuda.blockIdx.x)
    i = uint32(norms[row] + thread)
    end = uint32(norms[row] + norms[uint32(row + 1)])
    value, step = float32(0), float32(0)
    while i < end:
        value += of_values[i]
        step += of_steps[i]
        i = uint32(i + THREADS)
    value = block_sum(parts, thread, THREADS, value)
    step = block_sum(more_parts, thread, THREADS, step)
    if thread == uint32(0):
        ratio = float32(1)
        if value > float32(0) and step > float32(0):
            ratio = math.sqrt(value) / math.sqrt(step)
        ratios[uint32(cuda.blockIdx.x)] = ratio


@cuda_jit(FLOATS, FLOATS, INTS, FLOATS, FLOATS, launch_bounds=THREADS)
def _take(value, step, table, ratios, rates):
    row = uint32(3 * cuda.blockIdx.x)
    i = uint32(table[row] + cuda.threadIdx.x)
    end = uint32(table[row] + table[uint32(row + 1)])
    scale = rates[0] * ratios[uint32(table[uint32(row + 2)])]
    while i < end:
        value[i] -= scale * step[i]
        i = uint32(i + THREADS)
