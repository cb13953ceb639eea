"""One command for a machine with a GPU: what it is, whether the kernels are right there, and how fast they are.

    make gpu                      or, without make: python bench/gpu.py
    make gpu ARGS=--dry-run       every step without a GPU, on tiny shapes, with made-up times

It runs in parts, each a program of its own with a time limit, so that a crash or an endless kernel ends one part and
not the rest: `facts`, `marked_tests`, `sanitizer`, `timings`. `session` starts them and keeps the results, which are
written after each step; `table` makes text of them. In a dry run `stand_in` takes the GPU's place: everything else is
the same code.
"""
