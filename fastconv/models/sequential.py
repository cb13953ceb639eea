"""`Sequential`: the model whose layers stand one behind another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from fastconv import layers as layer_module
from fastconv.layers import InputLayer, Layer
from fastconv.layers.base import Shape, as_shape
from fastconv.layers.tensor import KerasTensor
from fastconv.models import nesting
from fastconv.models.graph import Graph
from fastconv.models.model import Model
from fastconv.models.training import Trainer


class Sequential(Model):
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

    def __init__(self, layers: Iterable[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        Trainer.__init__(self, name=name, trainable=trainable)
        self._input: InputLayer | None = None
        self._layers: list[Layer] = []
        self._tensors: list[KerasTensor] = []  # the input and what each layer makes, once that is known
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Append a layer and, if the shape of the model's input is known, build it.

        Raises:
            ValueError: not a layer, one of that name is there, a second input, another dtype, a layer
                that cannot take what the last one gives, or other outputs than a model takes that this one is a part
                of. The model is unchanged then.
        """
        if isinstance(layer, KerasTensor) and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
        if not isinstance(layer, Layer):
            raise ValueError(f"{self._who} takes fastconv.layers.Layer objects; received {layer!r}.")
        if layer.name in [other.name for other in (self._input, *self._layers) if other is not None]:
            raise ValueError(f'{self._who} has a layer named "{layer.name}" already; give this one another name.')
        if isinstance(layer, InputLayer):
            if self._input is not None or self._layers:
                raise ValueError(f"{self._who}: an input must be the first thing added; received {layer}.")
            self._input, self._tensors = layer, [layer.output]
            return
        if self._layers and layer.dtype != self._layers[0].dtype:
            raise ValueError(
                f"{self._who} computes in {self._layers[0].dtype}; received {layer} of dtype {layer.dtype}."
            )
        source = self._input
        if source is None and not self._layers:
            declared = layer.input_shape if isinstance(layer, Model) and layer.built else layer.declared_input_shape
            source = None if declared is None else InputLayer(batch_shape=declared)
        if source is not None:
            tensors = self._tensors or [source.output]
            if nesting.holders(self):
                nesting.check_change(self, layer.compute_output_shape(tensors[-1].shape))
            self._become([*self._layers, layer], [*tensors, self._record(layer, tensors[-1])])
        self._input = source
        self._layers.append(layer)

    def pop(self) -> Layer:
        """Remove the last layer and return it.

        Raises:
            ValueError: there is none, or a model that this one is a part of takes the last one's outputs. The model is
                unchanged then.
        """
        if not self._layers:
            raise ValueError(f"{self._who} has no layers to remove.")
        nesting.check_change(self, self._tensors[-2].shape if len(self._layers) > 1 and self.built else None)
        layer = self._layers.pop()
        self._become(self._layers, self._tensors[: len(self._layers) + 1])
        return layer

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Create the weights for inputs of that shape, the batch's size (usually None) first.

        Raises:
            ValueError: the model has no layers, is built for another shape, or a layer cannot take what it
                would get. Nothing is built then.
        """
        if not self._layers:
            raise ValueError(f"{self._who} has no layers: add one before it is built.")
        if input_shape is None:
            return
        shape = as_shape(input_shape, "input_shape")
        if self._input is not None:
            if self._input.batch_shape != shape:
                raise ValueError(
                    f"{self._who} takes inputs of shape {self._input.batch_shape}; it cannot be built for {shape}."
                )
            return
        self.compute_output_shape(shape)
        source = InputLayer(batch_shape=shape)
        tensors = [source.output]
        for layer in self._layers:
            tensors.append(self._record(layer, tensors[-1]))
        self._become(self._layers, tensors)
        self._input = source

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape for inputs of that shape; ValueError if a layer cannot take what it would get."""
        if self.built:
            return super().compute_output_shape(input_shape)
        shape = as_shape(input_shape, "input_shape")
        for layer in self._layers:
            shape = layer.compute_output_shape(shape)
        return shape

    def _record(self, layer: Layer, tensor: KerasTensor) -> KerasTensor:
        made = layer.record(tensor)
        if not isinstance(made, KerasTensor):
            raise ValueError(f"{self._who} takes layers with one output; received {layer}, which has several.")
        return made

    def _become(self, layers: Sequence[Layer], tensors: list[KerasTensor]) -> None:
        self._set_graph(Graph(tensors[:1], tensors[-1:]) if tensors and layers else None)
        self._tensors = tensors

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the input."""
        return list(self._layers)

    @property
    def input_shape(self) -> Shape:
        """The shape of the input with the batch first; ValueError if it is not known."""
        if self._input is None:
            raise ValueError(f"{self._who} does not know the shape of its input yet.")
        return self._input.batch_shape

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
