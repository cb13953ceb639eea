"""Random bits that are a function of a key and a count: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
easy as 1, 2, 3").

Whoever knows key and count can make any of the numbers, in any order: each thread of a GPU makes its own, and a
processor makes the same. `cpu_dropout` and `cuda_dropout` have the ten rounds in the form that suits them; here is what
they agree on. Group g of a row of numbers is Philox of the counter (g, 0, call, 0).
"""

from __future__ import annotations

from numba import uint32, uint64

ROUNDS = 10
M0, M1 = uint64(0xD2511F53), uint64(0xCD9E8D57)  # multipliers
W0, W1 = uint32(0x9E3779B9), uint32(0xBB67AE85)  # what the key grows by in each round
STEP = 1 / (1 << 24)  # a number is the first 24 of 32 bits times this: from 0 to below 1

# Groups whose numbers lie side by side. Word w of group g is number g // LANES * 4 * LANES + w * LANES + g % LANES, so
# that a vector, or the threads of a warp, write what is contiguous.
LANES = 64
BLOCK = 4 * LANES
