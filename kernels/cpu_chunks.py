"""Partial filter gradients, one a chunk of the images, added in the order of the chunks.

The chunks depend on the problem alone, and so do the bits of their sum.
"""

from __future__ import annotations

from fastconv.kernels.cpu_jit import cpu_jit
from fastconv.kernels.cpu_parallel import parallel_for


@cpu_jit(inner=True)
def _add_part(thread, partial, gw, gb, chunks, size, filters, threads):
    """A thread's part of gw, the sum over the chunks in their order; the first thread adds the bias."""
    step = partial.size // chunks
    begin, end = size * thread // threads, size * (thread + 1) // threads
    for i in range(begin, end):
        gw[i] = partial[i]
    for chunk in range(1, chunks):
        start = chunk * step
        for i in range(begin, end):
            gw[i] += partial[start + i]
    if thread == 0 and gb.size > 0:
        for k in range(filters):
            gb[k] = partial[step - filters + k]
        for chunk in range(1, chunks):
            for k in range(filters):
                gb[k] += partial[chunk * step + step - filters + k]


@cpu_jit
def add_chunks(partial, gw, gb, chunks, size, filters, threads):
    """gw (size,) and gb (filters,), or gb of size 0, from partial, flat: of each chunk as many elements, the
    first `size` and the last `filters` of which count."""
    parallel_for(_add_part, threads, (partial, gw, gb, chunks, size, filters, threads))
