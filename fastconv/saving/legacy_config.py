"""Descriptions of models as Keras 1, 2, tf.keras and the `.h5` files of Keras 3 have them, and those of Keras 3.

Only names and forms are translated; what an entry then means is found in the tables of our own classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

_MODELS = ("Sequential", "Functional", "Model")
_CLASSES = {"Convolution2D": "Conv2D", "AtrousConvolution2D": "Conv2D", "Model": "Functional"}
# Keras 1's names of arguments.
_ARGUMENTS = {
    "nb_filter": "filters",
    "output_dim": "units",
    "subsample": "strides",
    "border_mode": "padding",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "init": "kernel_initializer",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "gamma_init": "gamma_initializer",
    "beta_init": "beta_initializer",
    "p": "rate",
}
# What had no effect on the numbers, or is the only way there is now.
_DROPPED = ("input_dtype", "fused", "virtual_batch_size", "adjustment", "cell", "stateful")
_OPTIMIZER_DROPPED = ("jit_compile", "is_legacy_optimizer", "schedule_decay")
_ACCURACIES = ("accuracy", "acc", "crossentropy", "ce")


def modern_model(described: Mapping[str, Any]) -> dict[str, Any]:
    """`{"class_name": ..., "config": ...}` of a model in Keras 3's layout.

    Raises:
        ValueError: the weights would be in Theano's layout.
        TypeError, LookupError, AttributeError: it describes no model.
    """
    config = described["config"]
    if isinstance(config, list):  # a Sequential before Keras 2.2.3
        config = {"layers": config}
    layers = [_modern_layer(entry) for entry in config["layers"]]
    name = described["class_name"]
    return {**described, "class_name": _CLASSES.get(name, name), "config": {**config, "layers": layers}}


def _modern_layer(entry: Mapping[str, Any]) -> dict[str, Any]:
    name = entry["class_name"]
    if name in _MODELS:
        return modern_model(entry)
    given: dict[str, Any] = dict(entry["config"])
    config: dict[str, Any] = {_ARGUMENTS.get(key, key): value for key, value in given.items() if key not in _DROPPED}
    if name == "InputLayer" and "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    ordering = config.pop("dim_ordering", None)
    if ordering == "th":
        raise ValueError(theano_reason(f"layer {config.get('name')!r}"))
    if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        config["axis"] = config["axis"][0]
    if name == "LeakyReLU" and "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    for key, value in config.items():
        if key == "dtype" and isinstance(value, Mapping):
            config[key] = value["config"]["name"]
        elif key.endswith(("_initializer", "_regularizer")) and isinstance(value, Mapping):
            config[key] = _modern_object(value)
    return {**entry, "class_name": _CLASSES.get(name, name), "config": config}


def _modern_object(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """An initializer or a regularizer."""
    if "class_name" not in described:  # Keras 1: {"name": "WeightRegularizer", "l1": ..., "l2": ...}
        return {"class_name": "L1L2", "config": {key: described[key] for key in ("l1", "l2") if key in described}}
    config = {key: value for key, value in described.get("config", {}).items() if key != "dtype"}
    if config.get("distribution") == "normal":
        config["distribution"] = "truncated_normal"  # which it always was
    return {**described, "config": config}


def theano_reason(what: str) -> str:
    """Why weights in Theano's layout are refused."""
    return (
        f"{what} is in Theano's layout (channels first, kernels as (output, input, rows, columns) and mirrored), which "
        "is not read: such kernels would fit by accident and compute something else. Files for TensorFlow, often with "
        "_tf_ in their names, are read."
    )


def modern_compilation(given: Mapping[str, Any]) -> dict[str, Any]:
    """What `compile_from_config` takes, from a file's training_config."""
    optimizer = given["optimizer_config"]
    config = {key: value for key, value in optimizer["config"].items() if key not in _OPTIMIZER_DROPPED}
    if "lr" in config:
        config["learning_rate"] = config.pop("lr")
    if config.pop("decay", 0):
        warnings.warn("the optimizer's decay is ignored, as in Keras 3; compile with a schedule instead.", stacklevel=2)
    if config.get("epsilon", 0) is None:
        del config["epsilon"]
    return {
        "optimizer": {"class_name": optimizer["class_name"].rpartition(">")[2], "config": config},
        "loss": _modern_loss(given.get("loss")),
        "metrics": _modern_metrics(given.get("metrics")),
        "weighted_metrics": _modern_metrics(given.get("weighted_metrics")),
    }


def _modern_loss(loss: Any) -> Any:
    if isinstance(loss, list) and len(loss) == 1:
        return _modern_loss(loss[0])
    if not isinstance(loss, Mapping):
        return loss
    if "class_name" not in loss:  # by the output's name
        return _modern_loss(next(iter(loss.values()))) if len(loss) == 1 else loss
    if not isinstance(loss.get("config"), Mapping):
        return loss
    config = {key: value for key, value in loss["config"].items() if (key, value) != ("reduction", "auto")}
    return {**loss, "config": config}


def _modern_metrics(metrics: Any) -> list[Any] | None:
    """A flat list: older files have one for each output."""
    if metrics is None:
        return None
    if isinstance(metrics, Mapping) and "class_name" not in metrics:
        metrics = list(metrics.values())
    flat: list[Any] = []
    for entry in metrics if isinstance(metrics, list) else [metrics]:
        if isinstance(entry, list):
            flat += _modern_metrics(entry) or []
        elif isinstance(entry, Mapping) and entry.get("class_name") == "MeanMetricWrapper":
            name, function = entry["config"].get("name"), entry["config"].get("fn")
            flat.append(name if name in _ACCURACIES else function)
        elif entry is not None:
            flat.append(entry)
    return flat


def legacy_model(described: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `modern_model`, as the `.h5` files of Keras 3 have it."""
    layers = [
        legacy_model(entry) if entry["class_name"] in _MODELS else _bare(entry)
        for entry in described["config"]["layers"]
    ]
    return _bare({**described, "config": {**described["config"], "layers": layers}})


def legacy_compilation(config: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `modern_compilation`, from what `get_compile_config` gives."""
    compilation = {key: value for key, value in config.items() if key != "optimizer"}
    for key in ("metrics", "weighted_metrics"):
        compilation[key] = None if config[key] is None else [_bare(entry) for entry in config[key]]
    optimizer_config = _bare(config["optimizer"])
    return {**compilation, "loss": _bare(config["loss"]), "optimizer_config": optimizer_config}


def _bare(described: Any) -> Any:
    """An entry without where its class lies: older files only have its name."""
    if not isinstance(described, Mapping):
        return described
    return {key: value for key, value in described.items() if key not in ("module", "registered_name", "build_config")}
