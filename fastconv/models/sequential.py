"""`Sequential`: the model. Layers are in `stack.py`, training in `training.py`; here is what is shown and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Self

from fastconv import layers as layer_module
from fastconv.models.training import Trainer


class Sequential(Trainer):
    """A stack of layers, each with one input and one output, `keras.Sequential`.

    Its weights exist as soon as the shape of the input is known: from an `Input` or `input_shape=` at the
    beginning, from `build`, or from the first batch.

    Args:
        layers: layers to add.
        trainable: False freezes all layers.
        name: by default "sequential", "sequential_1" ...

    Attributes:
        name; optimizer, loss: as given to `compile`, the optimizer as an object; stop_training: a callback
        sets it to
            end `fit`; history: the `History` of the last `fit`.
    """

    def summary(self, *args: Any, **kwargs: Any) -> None:
        """Print the layers, their output shapes and their numbers of parameters; see `models.summary`."""
        from fastconv.models.summary import print_summary

        print_summary(self, *args, **kwargs)

    def profile(
        self, x: Any, training: bool = True, seconds: float = 1.0, print_fn: Callable[[str], object] | None = None
    ) -> Any:
        """Print where the time of a step goes: for each layer its kernels, their time, FLOPs and bytes, how near they
        come to this machine's measured limits, and what the layer does beside them.

        Weights, gradients, metrics and the state of what is random stay as they are.

        Args:
            x: one batch, as large as those that will be used.
            training: forward and backward with a random gradient in place of the loss's; False for inference.
            seconds: how long to repeat the step, at least.
            print_fn: called once with the whole text in place of `print`.

        Returns:
            The `bench.profile.Profile`, whose `rows` have the numbers.

        Raises:
            ValueError: `x` does not suit the model or has no samples.
        """
        from fastconv.bench.profile import profile

        batches = self._batches(x, None, None, None)
        first = batches.peek()[0]
        if not len(first):
            raise ValueError(f"{self._who}: profile() needs samples; received x of shape {first.shape}.")
        self.prepare_input(first)
        fused = self.compiled and self._combines_loss_and_activation
        found = profile(self.layers, batches.whole()[0], self.name, training, not fused, seconds)
        (print_fn or print)(found.text())
        return found

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and layers in Keras 3's layout, without weights and what `compile` was given."""
        parts = self._layers if self._input is None else [self._input, *self._layers]
        policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": self.dtype}}
        config = {
            "name": self.name,
            "trainable": self._trainable,
            "dtype": {**policy, "registered_name": None},
            "layers": [layer_module.serialize(layer) for layer in parts],
        }
        return {**config, "build_input_shape": self.input_shape} if self.built else config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The model that `get_config` described, with new weights.

        Raises:
            ValueError: a layer is unknown or its arguments do not make one.
        """
        model = cls(name=config.get("name"))
        for layer in config["layers"]:
            model.add(layer_module.deserialize(layer))
        if not model.built and config.get("build_input_shape"):
            model.build(config["build_input_shape"])
        if not config.get("trainable", True):
            model._trainable = False
        return model

    def to_json(self, **options: Any) -> str:
        """The config as JSON text; `options` are for `json.dumps`."""
        described = {"module": "keras", "class_name": "Sequential", "config": self.get_config()}
        return json.dumps({**described, "registered_name": None}, **options)

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True, **options: Any) -> None:
        """Write layers, weights, and what `compile` was given, to a `.keras` or `.h5` file; see `saving.save_model`."""
        from fastconv.saving import save_model

        save_model(self, filepath, overwrite, **options)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights to a `.weights.h5`, `.h5` or `.safetensors` file; see `saving.save_weights`."""
        from fastconv.saving import save_weights

        save_weights(self, filepath, overwrite)

    def load_weights(
        self, filepath: str | os.PathLike[str], skip_mismatch: bool = False, by_name: bool = False
    ) -> None:
        """Read weights from a file of any of the kinds that are written; see `saving.load_weights`."""
        from fastconv.saving import load_weights

        load_weights(self, filepath, skip_mismatch, by_name)
