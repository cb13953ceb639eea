"""Exercises in writing CUDA kernels, checked without a GPU.

    from fastconv import learn

    learn.list()                       what there is, and what is solved in this folder
    learn.open("cuda_axpy")            writes cuda_axpy.py
    learn.check("cuda_axpy.py")        what is right, what is wrong, and a hint; .hint() for one more

An exercise is a kernel with its key lines missing. `check` runs it in the simulator (`fastconv.testing.simulate`), on
tiny shapes, against the float64 reference, and counts what it costs. On the command line it is `fastconv learn`.
"""

from fastconv.learn.checking import check
from fastconv.learn.files import Listing, Opened
from fastconv.learn.files import list_exercises as list
from fastconv.learn.files import open_exercise as open
from fastconv.learn.result import Result

__all__ = ["Listing", "Opened", "Result", "check", "list", "open"]
