"""Hints, from gentle to explicit, for each symptom that a check may end with.

A symptom has a name, such as "race", and perhaps a subject: the array for a finding, the shape for a wrong result. An
exercise's own hints come first, and those for "race tile" before those for "race". The texts are filled in with what
the check found: {line}, {array}, ..., and {todo1}, the kernel's own lines at TODO 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Hints = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Symptom:
    """What a check stopped at.

    Attributes:
        name, subject: see above.
        facts: what the hints are filled in with.
    """

    name: str
    subject: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, str]:
        """Under what its hints are, the better ones first."""
        return f"{self.name} {self.subject}", self.name

    def texts(self, own: Hints) -> tuple[str, ...]:
        """The hints for it, not filled in."""
        found = (hints[key] for hints in (own, GENERAL) for key in self.keys if key in hints)
        return next(found, ())

    def rank(self, own: Hints) -> int:
        """Which of several symptoms to speak of first: that whose hint comes first in `own`."""
        return next((place for place, key in enumerate(own) if key in self.keys), len(own))


GENERAL: Hints = {
    "not simulated": (
        "A kernel is written in a small part of Python: numbers, arrays, if, while, for over range, functions of "
        "math and of cuda. Line {line} has something else in it, or a name that is not known.",
    ),
    "endless": (
        "Which variable ends the loop at line {line}, and where does it change?",
        "A while loop over elements goes on by the number of threads that share the work: i = uint32(i + THREADS).",
    ),
    "race": (
        "Line {line} and line {other_line} touch the same element of {array} in different threads. Threads of a "
        "block do not go in step: what makes sure that one line is done before the other begins?",
        "All threads of the block must have passed the one line before any comes to the other. That is a barrier.",
        "Put cuda.syncthreads() between line {other_line} and line {line}, where all threads of a block come by. In "
        "a loop there are two such places: after writing, and before the next turn writes again.",
    ),
    "collision": (
        "Two threads write the same element of {array} at line {line}. Whose element is it?",
        "No barrier helps here: each thread must write elements of its own. Work out the index for two threads, also "
        "of different blocks.",
    ),
    "out of bounds": (
        "Line {line} uses an index that {array} does not have. Which threads do that: those beyond the last element, "
        "or those at an edge?",
        "The first is thread {thread} of block {block}. Work out its index by hand, from the kernel's first line on.",
    ),
    "wrong index": ("An array has one index here, an integer: arrays are flat, in the order of their memory.",),
    "uninitialised": (
        "Line {line} reads something that nobody has written. Who should have, and before which barrier?",
        "Each element that is read must be written before, by some thread: also those beside the image, which are 0.",
    ),
    "divergent barrier": (
        "A barrier waits for all threads of a block. At line {line} some cannot come.",
        "Look for an `if`, a loop or a `return` that only some of the threads take before line {line}.",
        "Keep all threads until the last barrier, and let `if` choose only which of them load or store.",
    ),
    "launch limit": ("Look at grid, block and shared_bytes in the Launch, and at the size of shared arrays.",),
    "division by zero": ("What does line {line} divide by, and when is it 0?",),
    "inputs": ("The kernel writes to {array}, which it should only read.",),
    "unwritten": (
        "The first element that nobody wrote is {place}. Which thread should have?",
        "Each element of {array} is some thread's. Count the threads, and look at what each of them stores to.",
    ),
    "wrong": (
        "Work out {place} by hand: which elements is it made of, and which does its thread load?",
        "What have the wrong elements in common, and what is different about the shapes that came out right?",
    ),
    "wrong images": ("It was right for the first image. Is n part of every index into x and y?",),
    "wrong strides": (
        "It was right as long as strides were 1.",
        "The window of the pixel (p, q) begins at row p * stride_h - pad_top and column q * stride_w - pad_left.",
    ),
    "wrong different strides": (
        "It was right as long as both strides were the same.",
        "Rows go with stride_h, columns with stride_w.",
    ),
    "wrong dilation": (
        "It was right as long as dilations were 1.",
        "A window's taps lie dilation_h rows and dilation_w columns apart.",
    ),
    "wrong padding": (
        "It was right as long as there was no padding: now windows reach beyond the image.",
        "Taps beside the image count for nothing. Row and column must both be checked: above, below, left and right.",
    ),
    "wrong groups": (
        "It was right as long as there was one group.",
        "With groups a filter sees only the channels of its own group: group_C of them, from the group's first one on.",
    ),
    "sectors": (
        "The 32 threads of a warp differ in threadIdx.x, by one from each to the next. Which elements do they touch "
        "at line {line}, and how far apart do these lie?",
        "Line {line} moves {value:.3g} sectors of 32 bytes a request, where {ideal:.3g} would hold the elements. "
        "Neighbouring threads should touch neighbouring elements.",
    ),
    "requests": (
        "Line {line} makes most of the {value:g} requests. How often is the same element loaded by different threads?",
        "What several threads of a block need can be loaded once into shared memory, and read from there.",
    ),
    "conflicts": (
        "Shared memory has 32 banks of 4 bytes: element i of a float32 array lies in bank i % 32. In which banks are "
        "the elements that the threads of a warp touch at line {line}?",
        "Threads of a warp that want different elements of one bank take turns: {value:g} turns too many in all.",
    ),
    "float64": (
        "Something at line {line} is a float64. Most GPUs are many times as slow in these.",
        "In Python a number such as 0.5 is a float64, and it makes a float64 of whatever it is combined with. So "
        "does dividing one integer by another.",
        "Write float32(0.5) for the number, float32(0) for the beginning of a sum.",
    ),
}
