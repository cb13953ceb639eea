"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.metrics import confusion_matrix
from fastconv.plot import figure as figures


def confusion(
    y_true: Any,
    y_pred: Any,
    names: Sequence[str] | None = None,
    *,
    labels: Any = None,
    normalize: str | None = None,
    cmap: str = "Blues",
    ax: Any = None,
    save: Any = None,
) -> Any:
    """Draw a confusion matrix: true classes are rows, predicted ones columns.

    Args:
        y_true, y_pred, labels, normalize: as for `metrics.confusion_matrix`; y_pred may be what `predict` returns.
        names: what the classes are called; by default their labels.
        cmap: matplotlib's name of the colours.
        ax: axes to draw into. save: a file to write.

    Returns:
        The matplotlib `Figure`.

    Raises:
        ValueError: as `metrics.confusion_matrix`, or not one of `names` for each class.
    """
    if labels is None:
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        flat = [y.argmax(axis=-1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1) for y in (y_true, y_pred)]
        columns = {y.shape[1] for y in (y_true, y_pred) if y.ndim == 2 and y.shape[1] > 1}
        labels = np.arange(columns.pop()) if len(columns) == 1 else np.unique(np.concatenate(flat))
    matrix = confusion_matrix(y_true, y_pred, labels=labels, normalize=normalize)
    names = [str(label) for label in labels] if names is None else list(names)
    if len(names) != len(matrix):
        raise ValueError(f"names must be {len(matrix)}, one for each class; received {len(names)}.")
    size = max(3.6, 0.5 * len(matrix) + 1.6)
    if ax is None:
        figure, axes = figures.new(size + 0.8, size)
        ax = axes[0, 0]
    else:
        figure = ax.figure
    shown = ax.imshow(matrix, cmap=cmap, vmin=0, vmax=1 if normalize in ("true", "pred") else None)
    figure.colorbar(shown, ax=ax, shrink=0.8)
    places = range(len(matrix))
    ax.set(xlabel="predicted", ylabel="true", xticks=places, yticks=places)
    ax.set_xticklabels(
        names, rotation=45 if max(map(len, names)) > 3 else 0, ha="right" if max(map(len, names)) > 3 else "center"
    )
    ax.set_yticklabels(names)
    if len(matrix) <= 25:
        middle = shown.norm.vmax / 2
        for (row, column), value in np.ndenumerate(matrix):
            text = f"{value:.2f}" if normalize else f"{value:g}"
            color = "white" if value > middle else "black"
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=8 if len(matrix) > 12 else 9)
    return figures.finish(figure, save)
