"""Normally distributed numbers as functions of random words: what `cpu_normal` and `cuda_normal` compute alike.

Box and Muller's: of words a and b, u = (a's first 24 bits + 1) / 2**24 and the turn v = (b's first 26 bits) / 2**26 -
1/8 give sqrt(-2 log u) * cos(2 pi v) and sqrt(-2 log u) * sin(2 pi v), two independent normal numbers, of at most 5.77.
A group of Philox's four words makes four, each where a uniform number of that word would lie: see `philox`.

Both devices take the same steps in float32, rounded alike: a product that is added to something is a fused
multiply-add, said as such, and logarithm, sine and cosine are the polynomials below rather than a library's. So a seed
gives one row of numbers everywhere.

log u = e * log 2 + log m for u = m * 2**e with m from sqrt(1/2) to below sqrt(2), and log m = s * LOG(s * s) for
s = (m - 1) / (m + 1). Of b the first two bits are the quadrant, and t from -1/2 to below 1/2 is the place in it:
sin(t * pi / 2) = t * SINE(t * t), cos(t * pi / 2) = COSINE(t * t). All are Taylor's series, cut where float32 ends.
"""

from __future__ import annotations

import math

_QUARTER = math.pi / 2

# Coefficients, that of the highest power first.
LOG = tuple(2 / (2 * k + 1) for k in reversed(range(6)))
SINE = tuple((-1) ** k * _QUARTER ** (2 * k + 1) / math.factorial(2 * k + 1) for k in reversed(range(6)))
COSINE = tuple((-1) ** k * _QUARTER ** (2 * k) / math.factorial(2 * k) for k in reversed(range(6)))
LOG_2 = -2 * math.log(2)  # times e, with the factor of -2 in it
SQRT_HALF = math.sqrt(0.5)
