"""The simulator: `simulate` runs a numba.cuda kernel on the CPU, finds its mistakes, and counts what it costs.

How it works. The kernel's source is parsed, and `Interpreter` executes its statements for all threads of many blocks at
once: a variable that differs between threads is a NumPy array with an element for each. Threads that take different
sides of a branch are kept apart by masks. Two other ways were weighed. Python itself, running the kernel a thread at a
time on stand-ins for arrays, makes several calls for each load of each thread, and types floats by NumPy's rules. A
source rewritten to call a recorder makes the same calls. Here a load of ten thousand threads is one step, its addresses
lie side by side for counting sectors and bank conflicts, and every expression has the type that Numba gives it.

What is not modelled:
- threads that wait for each other outside of barriers, by locks or flags: they end as an endless loop;
- cooperative groups, textures, vector types, fp16 and bf16 intrinsics;
- inline PTX without a model (`kernels.cuda.instruction`);
- the contraction of a * b + c to one fma by the compiler: write `cuda.fma` for it (in float64 it rounds twice here);
- the type of a variable that depends on code that is not run: Numba takes all of its assignments together;
- the last bit of functions such as exp; caches; time.
"""

from fastconv.testing.simulator.errors import SimulationError
from fastconv.testing.simulator.findings import Finding
from fastconv.testing.simulator.report import Report
from fastconv.testing.simulator.run import simulate

__all__ = ["Finding", "Report", "SimulationError", "simulate"]
