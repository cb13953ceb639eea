"""What a convolution looks for, and what it finds."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.models import Model
from fastconv.plot import figure as figures


def filters(model: Any, layer: Any = None, *, columns: int | None = None, cmap: str = "RdBu", save: Any = None) -> Any:
    """Draw the filters of a convolution, all on one scale: those of three input channels in colour, else each one's
    mean over its input channels.

    Args:
        model: a model, a layer with a kernel, or a kernel of shape (R, S, C, K).
        layer: the layer's name or index in the model; by default the first with such a kernel.
        columns: filters in a row. cmap: matplotlib's name of the colours. save: a file to write.

    Returns:
        The matplotlib `Figure`.

    Raises:
        ValueError: there is no kernel of shape (R, S, C, K).
    """
    kernel, name = _kernel(model, layer)
    r, s, channels, count = kernel.shape
    images = np.moveaxis(kernel, -1, 0)
    if channels == 3:
        spread = np.abs(images).max() or 1.0
        images = 0.5 + images / (2 * spread)
        note = "red, green and blue of a pixel: brighter is more"
    else:
        images = images.mean(axis=-1)
        note = "weights" if channels == 1 else f"mean over {channels} input channels"
    title = f"{name}: {count} filters of {r} x {s} ({note})"
    titles = [str(number) for number in range(count)]
    drawn = figures.grid_of_images(images, titles, title, columns, cmap, symmetric=channels != 3)
    return figures.finish(drawn, save)


def feature_maps(
    model: Any,
    layer: Any = None,
    x: Any = None,
    *,
    count: int | None = None,
    columns: int | None = None,
    cmap: str = "viridis",
    data_format: str | None = None,
    save: Any = None,
) -> Any:
    """Draw a layer's output for one image, channel by channel, all on one scale.

    Args:
        model: a built model of one input, with `layer`, a name or index, and `x`, one image (H, W, C) or (H, W); or the
            maps themselves, (H, W, K) or (1, H, W, K), alone.
        count: draw only so many of the channels, the first; by default all.
        columns: maps in a row. cmap: matplotlib's name of the colours.
        data_format: where the channels are; by default where the layer has them, else last.
        save: a file to write.

    Returns:
        The matplotlib `Figure`.

    Raises:
        ValueError: the layer's output is no image, or the arguments do not fit.
    """
    name = "feature maps"
    if hasattr(model, "layers"):
        if layer is None or x is None:
            raise ValueError(f"feature_maps needs a model with layer and x, or maps alone; received {layer=}, x={x!r}.")
        chosen = _find(model, layer)
        name, maps = chosen.name, _output(model, chosen, x)
        data_format = data_format or getattr(chosen, "data_format", None)
    else:
        maps = np.asarray(model)
    if maps.ndim == 4 and len(maps) == 1:
        maps = maps[0]
    if maps.ndim != 3:
        raise ValueError(f"{name}: feature maps must have shape (H, W, K) or (1, H, W, K), not {maps.shape}.")
    if data_format != "channels_first":
        maps = np.moveaxis(maps, -1, 0)
    total, height, width = maps.shape
    maps = maps[:count]
    title = f"{name}: {total} maps of {height} x {width}"
    if len(maps) < total:
        title += f", the first {len(maps)}"
    titles = [str(number) for number in range(len(maps))]
    return figures.finish(figures.grid_of_images(maps, titles, title, columns, cmap, symmetric=False), save)


def _output(model: Any, layer: Any, x: Any) -> np.ndarray:
    """What the layer gives for one image."""
    x = np.asarray(x)
    if not model.built:
        raise ValueError(f'the model "{model.name}" is not built: it has no layer\'s output yet.')
    shape = model.input_shape
    if x.ndim in (len(shape) - 1, len(shape) - 2):
        x = x[np.newaxis]
    if len(x) != 1:
        raise ValueError(f"x must be one image, not a batch of shape {x.shape}.")
    if x.ndim == len(shape) - 1:
        x = x[..., np.newaxis]
    return np.asarray(Model(model.inputs, layer.output)(x))


def _find(model: Any, layer: Any) -> Any:
    if hasattr(layer, "get_config"):
        return layer
    return model.get_layer(index=layer) if isinstance(layer, int) else model.get_layer(layer)


def _kernel(model: Any, layer: Any) -> tuple[np.ndarray, str]:
    if layer is not None:
        model = _find(model, layer)
    candidates = getattr(model, "layers", [model])
    for candidate in candidates:
        kernel = np.asarray(getattr(candidate, "kernel", candidate) if hasattr(candidate, "name") else candidate)
        if kernel.ndim == 4:
            return kernel, getattr(candidate, "name", "kernel")
    raise ValueError(f"there is no kernel of shape (R, S, C, K) in {model!r}; a model must be built.")
