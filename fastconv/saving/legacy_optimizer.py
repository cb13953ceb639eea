"""The optimizer's state in older `.h5` files, whose order and names changed with the versions.

Keras 3           adam/iteration, adam/learning_rate, adam/dense_kernel_momentum, adam/dense_kernel_velocity ...
tf.keras 2.11     iteration:0, Adam/m/dense/kernel:0, Adam/v/dense/kernel:0, Adam/m/dense/bias:0 ...
tf.keras to 2.10  Adam/iter:0, all Adam/dense/kernel/m:0, then all Adam/dense/kernel/v:0
Keras 1 and 2     iterations, then without names the first slot of all variables, the second of all ...
"""

from __future__ import annotations

import warnings
from typing import Any

from fastconv.saving.hdf5 import Group
from fastconv.saving.weights_file import Assignments
from fastconv.variable import Variable

# What the slots of ours are called in older files.
_SLOTS = {
    "m": "momentum",
    "v": "velocity",
    "vhat": "velocity_hat",
    "rms": "velocity",
    "mg": "average_gradient",
    "momentum": "momentum",
    "velocity": "velocity",
    "velocity_hat": "velocity_hat",
    "accumulator": "accumulator",
    "average_gradient": "average_gradient",
}
_ITERATIONS = ("iter", "iteration", "iterations")


def read_state(root: Group, model: Any) -> Assignments:
    """What to assign to the optimizer's variables; nothing, with a warning, if the file's state does not fit it."""
    group = root.group("optimizer_weights")
    names = None if group is None else group.names("weight_names")
    if group is None or not names:
        return []
    optimizer = model.optimizer
    optimizer.build(model.trainable_weights)
    try:
        if (root.text("keras_version") or "1").startswith("3"):
            return _in_order(group, names, optimizer.variables)
        return _by_slot(group, names, optimizer)
    except ValueError as error:
        warnings.warn(f"{error} The optimizer begins anew.", stacklevel=5)
        return []


def _in_order(group: Group, names: list[str], variables: list[Variable]) -> Assignments:
    if len(names) != len(variables):
        raise group.refuse(f"{group.path} has {len(names)} arrays, but the optimizer has {len(variables)} variables")
    return [
        (variable, group.array(name, variable.shape, variable.dtype, variable.path))
        for name, variable in zip(names, variables, strict=True)
    ]


def _by_slot(group: Group, names: list[str], optimizer: Any) -> Assignments:
    arrays: dict[str, list[str]] = {}
    assignments: Assignments = []
    for name in names:
        parts = name.removesuffix(":0").split("/")
        if group.shape(name):
            known = [_SLOTS[part] for part in (parts[-1], *parts[1:2]) if part in _SLOTS]
            arrays.setdefault(known[0] if known else "", []).append(name)
        elif parts[-1] in _ITERATIONS:
            iterations = optimizer.variables[0]
            assignments.append((iterations, group.array(name, (), iterations.dtype, iterations.path)))
        # Other scalars are the learning rate and factors, which the description has too.
    slots = optimizer.slots_by_name()
    if set(arrays) == {""}:
        nameless, count = arrays[""], len(next(iter(slots.values()), ()))
        arrays = {slot: nameless[i * count : (i + 1) * count] for i, slot in enumerate(slots)}
    if set(arrays) != set(slots):
        raise group.refuse(f"{group.path} keeps {sorted(arrays)} for each weight, but the optimizer {sorted(slots)}")
    for slot, variables in slots.items():
        assignments += _in_order(group, arrays[slot], variables)
    return assignments
