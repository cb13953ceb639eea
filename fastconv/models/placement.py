"""`runner_for`: whether a model's step runs on the GPU, and what runs it there."""

from __future__ import annotations

import functools
import logging
from typing import Any

from fastconv.devices import current_device
from fastconv.models.parts import each

_log = logging.getLogger("fastconv")


class Refused:
    """That a model, as it was then, cannot run on a GPU. Copies of the model find out for themselves."""

    def __init__(self, key: Any, options: Any) -> None:
        self._key, self._options = key, options

    def holds(self, key: Any) -> bool:
        """Whether the model, whose key this is, still is as it was."""
        return self._key == key and self._options.still_hold()

    def __deepcopy__(self, memo: Any) -> None:
        return None

    def __reduce__(self) -> Any:
        return type(None), ()


def runner_for(model: Any, kind: str, *batch: Any) -> Any:
    """The model's `gpu.runner.Runner`, ready for the step, where the device is the GPU; None for the CPU.

    With the device "auto" a line is logged where the choice is another than for the step before.

    Args:
        model: its attributes `_runner` and `_kept_on_cpu` are the choice made last.
        kind: "train", "test" or "predict".
        batch: x, which may be `gpu.rows.Rows`, y and sample_weight.

    Raises:
        TypeError: x is in a GPU's memory, and the model does not run there.
        gpu.recorded.Unsupported: a GPU was asked for, and the model has a part that runs on the CPU only.
    """
    runner = _chosen(model, current_device(), kind, *batch)
    if runner is None and any(getattr(part, "is_on_device", False) for part in each(batch[0])):
        raise TypeError("x is in a GPU's memory, and the model runs on the CPU: see fastconv.device, or copy x to it.")
    return runner


def _chosen(model: Any, name: str, kind: str, *batch: Any) -> Any:
    if name == "auto":
        from fastconv.kernels import cuda

        reason = cuda.unavailable()
        if reason is None:
            return _runner_if_supported(model, kind, *batch)
        _say_once(reason)
    elif name == "gpu":
        return _runner(model, kind, *batch)
    _leave(model)
    return None


def _runner(model: Any, kind: str, *batch: Any) -> Any:
    from fastconv.gpu.runner import Runner

    if model._runner is not None and not model._runner.suits(model):
        _leave(model)
    if model._runner is None:
        model._runner = Runner(model)
    model._runner.prepare(kind, *batch)
    return model._runner


def _runner_if_supported(model: Any, kind: str, *batch: Any) -> Any:
    from fastconv.gpu.options import Options
    from fastconv.gpu.recorded import Unsupported
    from fastconv.gpu.runner import Runner

    is_new, key = model._runner is None, Runner.key(model)
    if model._kept_on_cpu is not None and model._kept_on_cpu.holds(key):
        return None
    try:
        runner = _runner(model, kind, *batch)
    except Unsupported as reason:
        _leave(model)
        model._kept_on_cpu = Refused(key, Options(model, "predict"))
        _log.warning('the device "auto" is the CPU for %s: %s', model.name, reason)
        return None
    model._kept_on_cpu = None
    if is_new:
        _log.info('the device "auto" is the GPU for %s: it has kernels for all of the model', model.name)
    return runner


def _leave(model: Any) -> None:
    """Bring the weights back from the GPU."""
    if model._runner is not None:
        model._runner.release()
        model._runner = None


@functools.cache
def _say_once(reason: str) -> None:
    _log.warning('the device "auto" is the CPU: %s', reason)
