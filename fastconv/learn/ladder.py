"""All exercises, in the order in which they are climbed."""

from __future__ import annotations

from fastconv.learn.exercise import Exercise
from fastconv.learn.exercises import (
    cuda_axpy,
    cuda_conv2d,
    cuda_conv2d_backward_data,
    cuda_conv2d_backward_filter,
    cuda_conv2d_coalesced,
    cuda_conv2d_shared,
    cuda_max_pool2d,
    cuda_transpose,
)

EXERCISES: tuple[Exercise, ...] = (
    cuda_axpy.EXERCISE,
    cuda_transpose.EXERCISE,
    cuda_max_pool2d.EXERCISE,
    cuda_conv2d.EXERCISE,
    cuda_conv2d_coalesced.EXERCISE,
    cuda_conv2d_shared.EXERCISE,
    cuda_conv2d_backward_data.EXERCISE,
    cuda_conv2d_backward_filter.EXERCISE,
)


def find(name: str) -> Exercise:
    """The exercise of that name; a kernel's name will do where only one exercise is made from such a kernel.

    Raises:
        ValueError: there is none, or there are several; the message lists them.
    """
    found = [e for e in EXERCISES if e.name == name] or [e for e in EXERCISES if e.kernel == name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(exercise.name for exercise in found or EXERCISES)
    if found:
        raise ValueError(f"{name} is the kernel of several exercises: {names}.")
    raise ValueError(f"there is no exercise {name!r}; there are {names}.")


def number(exercise: Exercise) -> int:
    """Its place on the ladder, from 1."""
    return EXERCISES.index(exercise) + 1
