"""The exercises, one a file: which lines of a kernel are missing, what must come out, and hints.

Their order is in `fastconv/learn/ladder.py`.
"""
