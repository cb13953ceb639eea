"""Figures: made, filled with a grid of images, saved."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.utils.optional import require

Path = str | os.PathLike[str]


def new(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, np.ndarray]:
    """A figure of that size in inches, and its axes as an array (rows, columns)."""
    pyplot = require("matplotlib.pyplot", "plot")
    return pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **options)


def finish(figure: Any, save: Path | None) -> Any:
    """The figure, written into the file `save` if that is given; its ending says the format."""
    if save is not None:
        figure.savefig(save, dpi=150)
    return figure


def grid_of_images(
    images: np.ndarray, titles: Sequence[str], title: str, columns: int | None, cmap: str, symmetric: bool
) -> Any:
    """A figure with images (N, H, W) or (N, H, W, 3) in rows, all on one scale.

    symmetric: whether the scale has zero in its middle.
    """
    count = len(images)
    columns = columns or min(count, 8 if count <= 32 else math.ceil(math.sqrt(count * 1.6)))
    rows = math.ceil(count / columns)
    cell = 1.15 if count <= 64 else 0.8
    figure, axes = new(max(cell * columns + 0.8, 3.2), cell * (rows + 0.25) + 0.6, rows, columns)
    low, high = float(np.nanmin(images)), float(np.nanmax(images))
    if symmetric:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    shown = None
    for place, ax in enumerate(axes.flat):
        if place >= count:
            ax.set_axis_off()
        else:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(color="0.7", linewidth=0.6)
            shown = ax.imshow(images[place], cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
            ax.set_title(titles[place], fontsize=7, pad=2)
    figure.suptitle(title, fontsize=10)
    if images.ndim == 3:
        figure.colorbar(shown, ax=axes, shrink=0.8, pad=0.02).ax.tick_params(labelsize=7)
    return figure
