"""The weights of a model and the slots of its optimizer on the device, each kind as one flat buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.gpu.memory import Memory
from fastconv.variable import Variable

_ALIGNMENT = 64  # elements: a weight begins on a multiple of 256 bytes, as memory of its own would


class Parameters:
    """Weights side by side in `values`, their gradients in `gradients`, and slots in `slots`, all laid out alike.

    A `Variable` whose mirror this is stays the place where the host reads and writes: what the device has changed
    comes back when the host looks, and what the host may have changed goes to the device before it next works.

    Attributes:
        trained, others: as given.
        places: where each of `trained` lies in `values`, `gradients` and the slots.

    Args:
        trained: the weights that training changes; an optimizer's slots are for these.
        others: the other weights.
        slots: for each of an optimizer's slots its variables, one a trained weight.
    """

    def __init__(
        self,
        memory: Memory,
        trained: Sequence[Variable],
        others: Sequence[Variable],
        slots: Sequence[Sequence[Variable]],
    ) -> None:
        self._memory = memory
        self._device_is_newer, self._host_is_newer = False, True
        self.trained, self.others = list(trained), list(others)
        places, total = _places(self.trained)
        self.places = places
        more, further = _places(self.others, total)
        self._all = memory.zeros((further,))
        self.values, self.gradients = self._all[:total], memory.zeros((total,))
        self.slots = [memory.zeros((total,)) for _ in slots]
        self._views: dict[int, Any] = {}
        self._gradient_views: dict[int, Any] = {}
        self._mirrored: list[tuple[Variable, Any]] = []
        for variable, place in zip([*self.trained, *self.others], [*places, *more], strict=True):
            self._views[id(variable)] = self._mirror(variable, self._all[place])
        for variable, place in zip(self.trained, places, strict=True):
            self._gradient_views[id(variable)] = self.gradients[place].reshape(variable.shape)
        for flat, variables in zip(self.slots, slots, strict=True):
            for variable, place in zip(variables, places, strict=True):
                self._mirror(variable, flat[place])

    def of(self, variable: Variable) -> Any:
        """A weight on the device, in its shape."""
        return self._views[id(variable)]

    def trains(self, variable: Variable) -> bool:
        """Whether training changes it."""
        return id(variable) in self._gradient_views

    def gradient_of(self, variable: Variable) -> Any:
        """The gradient of a trained weight on the device."""
        return self._gradient_views[id(variable)]

    def fetch(self) -> None:
        """Called before the host reads or writes a variable's array."""
        if self._device_is_newer:
            self._device_is_newer = False
            for variable, view in self._mirrored:
                np.copyto(variable.unmirrored, self._memory.download(view))
        self._host_is_newer = True

    def push(self) -> None:
        """Called before the device works."""
        if self._host_is_newer:
            for variable, view in self._mirrored:
                self._memory.upload(view, variable.unmirrored)
            self._host_is_newer = False

    def changed(self) -> None:
        """Called when the device has changed weights."""
        self._device_is_newer = True

    def release(self) -> None:
        """The host's arrays are the only ones from now on."""
        self.fetch()
        for variable, _ in self._mirrored:
            variable.mirror = None

    def _mirror(self, variable: Variable, flat: Any) -> Any:
        if variable.mirror is not None:
            variable.mirror.release()
        view = flat.reshape(variable.shape)
        variable.mirror = self
        self._mirrored.append((variable, view))
        return view


def _places(variables: Sequence[Variable], start: int = 0) -> tuple[list[slice], int]:
    """Where each lies, and where the next would begin."""
    places = []
    for variable in variables:
        size = variable.unmirrored.size
        places.append(slice(start, start + size))
        start += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places, start
