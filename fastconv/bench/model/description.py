"""A model in words that every framework can be given: layers as plain data, the optimizer, the loss and data for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import activations, layers
from fastconv.models import Sequential

_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "softmax")
_OPTIMIZERS = ("SGD", "RMSprop", "Adam")

# Thousands of steps on one batch would learn it by heart, and gradients that vanish become denormal numbers, with which
# processors are slow: the weights have to stay about where they are.
LEARNING_RATE = 1e-6


def describe(model: Sequential) -> dict[str, Any]:
    """What a contestant needs beside the weights.

    Returns:
        config, compile: in Keras 3's layout; compile is None where the model is not compiled. Metrics, which not every
            framework would compute, are left out, and the learning rate is LEARNING_RATE.
        layers: a dict for each layer, its "kind" and options, or None with the "reason" why a framework other than
            Keras is not compared.
        optimizer, loss: the optimizer's name and options; the loss's name, "" if there is none.
        input_shape, output_shape: of a sample.

    Raises:
        ValueError: the model is not built, or an input size is not known.
    """
    if not model.built or None in model.input_shape[1:]:
        raise ValueError(f'the model "{model.name}" has no fixed input shape: begin it with an Input.')
    compiled = _compiled(model.get_compile_config())
    described: dict[str, Any] = {
        "config": model.get_config(),
        "compile": compiled,
        "optimizer": _optimizer(compiled),
        "loss": _loss(compiled),
        "input_shape": model.input_shape[1:],
        "output_shape": model.output_shape[1:],
        "layers": None,
        "reason": "",
    }
    try:
        described["layers"] = [_layer(layer) for layer in model.layers]
        _mark_flattened_images(model, described["layers"])
        if any(entry.get("activation") == "softmax" for entry in described["layers"][:-1]):
            raise NotImplementedError("no counterpart of a softmax before the end is written")
        _check_optimizer(described["optimizer"])
    except NotImplementedError as error:
        described["layers"], described["reason"] = None, str(error)
    return described


def data(description: dict[str, Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images and targets for the model's loss: class numbers, or one of the outputs 1 and the others 0."""
    rng = np.random.default_rng(count)
    x = rng.random((count, *description["input_shape"]), np.float32)
    classes = description["output_shape"][-1]
    labels = rng.integers(classes, size=(count, *description["output_shape"][:-1]))
    if description["loss"].startswith("sparse"):
        return x, labels
    return x, np.eye(classes, dtype=np.float32)[labels]


def _layer(layer: Any) -> dict[str, Any]:
    if isinstance(layer, layers.Conv2D):
        _check_layout(layer)
        return {
            "kind": "conv2d",
            "strides": layer.strides,
            "dilation": layer.dilation_rate,
            "padding": _padding(layer),
            "groups": layer.groups,
            "bias": layer.use_bias,
            "activation": _activation(layer.activation),
        }
    if isinstance(layer, layers.Dense):
        return {"kind": "dense", "bias": layer.use_bias, "activation": _activation(layer.activation)}
    if isinstance(layer, (layers.MaxPooling2D, layers.AveragePooling2D)):
        _check_layout(layer)
        return {
            "kind": layer.op,
            "window": layer.pool_size,
            "strides": layer.strides,
            "padding": _padding(layer),
        }
    if isinstance(layer, layers.Flatten):
        return {"kind": "flatten"}
    if isinstance(layer, layers.Dropout) and layer.noise_shape is None:
        return {"kind": "dropout", "rate": layer.rate}
    if isinstance(layer, layers.Activation):
        return {"kind": "activation", "activation": _activation(layer.activation)}
    raise NotImplementedError(f"no counterpart of the layer {type(layer).__name__} is written")


def _padding(layer: Any) -> tuple[int, int, int, int]:
    """Top, bottom, left, right."""
    problem = layer.make_problem((1, *layer.input_shape[1:]))
    return problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right


def _activation(function: Any) -> str:
    name = activations.serialize(function)
    if name not in _ACTIVATIONS:
        raise NotImplementedError(f"no counterpart of the activation {name!r} is written")
    return str(name)


def _check_layout(layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise NotImplementedError("only models of the layout channels_last are compared")


def _mark_flattened_images(model: Sequential, described: list[dict[str, Any]]) -> None:
    """A dense layer behind a flattened image: which image, for those who would flatten it in another order."""
    images = None
    for layer, entry in zip(model.layers, described, strict=True):
        if entry["kind"] == "flatten" and len(layer.input_shape or ()) == 4:
            images = layer.input_shape[1:]  # type: ignore[index]
        elif entry["kind"] == "dense":
            if images is not None:
                entry["images"] = images
            images = None


def _compiled(given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    optimizer = given["optimizer"]
    if optimizer is not None:
        optimizer = {**optimizer, "config": {**optimizer["config"], "learning_rate": LEARNING_RATE}}
    return {**given, "optimizer": optimizer, "metrics": None, "weighted_metrics": None}


def _optimizer(compiled: dict[str, Any] | None) -> dict[str, Any]:
    given = None if compiled is None else compiled["optimizer"]
    return {} if given is None else {**given["config"], "name": given["class_name"]}


def _check_optimizer(optimizer: dict[str, Any]) -> None:
    if not optimizer:
        return
    if optimizer["name"] not in _OPTIMIZERS:
        raise NotImplementedError(f"no counterpart of the optimizer {optimizer['name']} is written")
    unusual = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "amsgrad", "centered")
    for option in (*unusual, *(["momentum"] if optimizer["name"] == "RMSprop" else [])):
        if optimizer.get(option):
            raise NotImplementedError(f"no counterpart of {optimizer['name']}'s option {option} is written")


def _loss(compiled: dict[str, Any] | None) -> str:
    loss = None if compiled is None else compiled["loss"]
    if loss is None:
        return ""
    if isinstance(loss, str):
        return loss
    name = loss.get("config", {}).get("name") or ""
    return str(name)
