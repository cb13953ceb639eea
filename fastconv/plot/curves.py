"""Losses and metrics, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv.plot import figure as figures


def history(
    history: Any, metrics: Sequence[str] | None = None, *, log: bool = False, ax: Any = None, save: Any = None
) -> Any:
    """Draw the curves of a `fit`: a picture for the loss and each metric, with the validation's beside the training's.

    Args:
        history: what `fit` returned, or its `history`, a dict of name to values.
        metrics: names to draw, without "val_"; by default all, the loss first.
        log: whether the loss's axis is logarithmic.
        ax: axes to draw one name into, or as many as there are names.
        save: a file to write, such as "curves.png".

    Returns:
        The matplotlib `Figure`.

    Raises:
        ValueError: there is nothing to draw, or not one of `ax` for each name.
    """
    values: Mapping[str, Sequence[float]] = getattr(history, "history", history)
    epochs = getattr(history, "epoch", None)
    found = dict.fromkeys(name.removeprefix("val_") for name in values if np.ndim(values[name]) == 1)
    names = list(metrics) if metrics is not None else sorted(found, key=lambda name: (name != "loss", name))
    unknown = [name for name in names if name not in found]
    if unknown or not names:
        raise ValueError(f"metrics must name curves of the history; received {metrics!r}, there are {list(found)}.")
    if ax is None:
        figure, grid = figures.new(4.2 * len(names), 3.4, 1, len(names))
        axes = list(grid.flat)
    else:
        axes = list(np.atleast_1d(ax).flat)
        figure = axes[0].figure
    if len(axes) != len(names):
        raise ValueError(f"ax must be {len(names)} axes, one for each of {names}; received {len(axes)}.")
    for name, place in zip(names, axes, strict=True):
        for prefix, label, style in (("", "training", "-"), ("val_", "validation", "--")):
            curve = values.get(prefix + name)
            if curve is not None:
                whole = epochs is not None and len(epochs) == len(curve)
                steps = np.asarray(epochs) + 1 if whole else np.arange(1, len(curve) + 1)
                place.plot(steps, curve, style, label=label, marker="." if len(curve) < 30 else None)
        place.set(xlabel="epoch", title=name.replace("_", " "))
        place.xaxis.get_major_locator().set_params(integer=True)
        place.grid(alpha=0.3)
        place.legend(frameon=False)
        if log and name == "loss":
            place.set_yscale("log")
    return figures.finish(figure, save)
