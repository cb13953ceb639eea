"""`Model`: any graph of layers. `base.py` runs it and `training.py` trains it; here is what is shown and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Self

from fastconv import layers as layer_module
from fastconv.layers.tensor import KerasTensor, leaves
from fastconv.models.graph import Graph
from fastconv.models.training import Trainer


class Model(Trainer):
    """The layers between `inputs` and `outputs`, `keras.Model`.

        inputs = Input((28, 28, 1))
        x = Conv2D(8, 3, activation="relu")(inputs)
        outputs = Dense(10)(Flatten()(x))
        model = Model(inputs, outputs)

    A model is a layer: called with a tensor it becomes a part of another model, with the same weights.

    Args:
        inputs: the tensor of an `Input`, or any tensor of a model; a list or a dict for several.
        outputs: the tensor that comes out, or several.
        name: by default "functional", "functional_1" ...
        trainable: False or True set it for all layers; None leaves them as they are.

    Attributes:
        name; optimizer, loss: as given to `compile`, the optimizer as an object; stop_training: a callback sets it to
            end `fit`; history: the `History` of the last `fit`.

    Raises:
        ValueError: something else than tensors, outputs that depend on other inputs, two layers of one name.
        TypeError: a subclass defines `call`: a model is described by its tensors, so that it can go backward by hand.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(Functional if cls is Model else cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "call" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__} defines call(): models written that way are not supported. Call the layers on an "
                "Input and give Model(inputs, outputs) the tensors, or write a Layer with forward and backward."
            )

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool | None = None) -> None:
        given = {"inputs": list(leaves(inputs)), "outputs": list(leaves(outputs))}
        for argument, tensors in given.items():
            wrong = [tensor for tensor in tensors if not isinstance(tensor, KerasTensor)]
            if wrong or not tensors:
                what = f"{wrong[0]!r}" if wrong else "none"
                raise ValueError(f"{argument} must be tensors that Input or a layer has made; received {what}.")
        super().__init__(name=name)
        self._structures = _names(inputs), _names(outputs)
        self._set_graph(Graph(given["inputs"], given["outputs"]))
        if trainable is not None:
            self.trainable = trainable

    def build(self, input_shape: Any = None) -> None:
        """Nothing: the weights exist since the model was made."""

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

        if self.built and len(self.inputs) + len(self.outputs) > 2:
            raise ValueError(f"{self._who}: profile() is for models with one input and one output.")
        batches = self._batches(x, None, None, None)
        first = batches.peek()[0]
        if not len(first):
            raise ValueError(f"{self._who}: profile() needs samples; received x of shape {first.shape}.")
        self.prepare_input(first)
        fused = self.compiled and self._combines_loss_and_activation
        found = profile(self.forward_plan, batches.whole()[0], self.name, training, not fused, seconds)
        (print_fn or print)(found.text())
        return found

    def get_config(self) -> dict[str, Any]:
        """Name, layers and their calls in Keras 3's layout, without weights and what `compile` was given."""
        from fastconv.models.functional_config import describe

        return describe(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The model that `get_config` described, with new weights.

        Raises:
            ValueError: a layer is unknown or its arguments do not make one, or the calls do not fit together.
        """
        from fastconv.models.functional_config import restore

        return cls(**restore(config))

    def to_json(self, **options: Any) -> str:
        """The config as JSON text; `options` are for `json.dumps`."""
        return json.dumps(layer_module.serialize(self), **options)

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

    def export(self, filepath: str | os.PathLike[str], format: str = "onnx", verbose: bool | None = None) -> None:
        """Write what `predict` computes as an ONNX file; see `export.export_model`."""
        from fastconv.export import export_model

        export_model(self, filepath, format, verbose)


class Functional(Model):
    """What `Model(inputs, outputs)` makes, under the name that it has in Keras's files and tables."""


def _names(structure: Any) -> Any:
    """The keys of a dict of tensors, None for anything else."""
    return dict.fromkeys(structure) if isinstance(structure, Mapping) else None
