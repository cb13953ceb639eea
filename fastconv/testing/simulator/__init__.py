"""The simulator: `simulate` runs a numba.cuda kernel on the CPU, finds its mistakes, and counts what it costs.

How it works. The kernel's source is parsed, and its statements are executed by `Interpreter` for all threads of many
blocks at once: a variable that differs between threads is a NumPy array with an element for each. Threads that take
different sides of a branch are kept apart by masks. Two other ways were weighed. Stand-ins for arrays under Python's own
interpreter, a thread at a time, make two Python calls for each load of each thread, and floats would be typed by NumPy's
rules. A source rewritten to call a recorder pays the same calls. Here a load of ten thousand threads is one step, its
addresses lie side by side for counting sectors and bank conflicts, and every expression has the type that Numba gives it.

What is not modelled: threads that wait for each other outside of barriers (locks, flags: they end as an endless loop),
order by fences and atomics (between blocks, what a flag orders is reported as a race), cooperative groups,
textures, fp16 and bf16 intrinsics, inline PTX, types that depend on code that is not run, the contraction of a * b + c
to one fma by the compiler (write cuda.fma for it; in float64 it rounds twice here), the last bit of functions such as
exp, caches, and time.
"""

from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.findings import Finding
from fastconv.testing.simulator.report import Report
from fastconv.testing.simulator.run import simulate

__all__ = ["Finding", "Report", "SimulationError", "simulate"]
