"""The printed table, against the one in an owner's notebook."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import layers
from fastconv.models.sequential import Sequential
from fastconv.models.summary import print_summary
from fastconv.variable import Variable


class Layer:
    """As much of a layer as the table asks for."""

    def __init__(self, name, output_shape, *shapes, trainable=True):
        self.name = name
        self.built = output_shape is not None
        self.trainable = trainable
        self._output_shape = output_shape
        self.weights = [Variable(np.zeros(shape, np.float32)) for shape in shapes]

    @property
    def output_shape(self):
        if not self.built:
            raise AttributeError(f"{self.name} has no output shape before it is built.")
        return self._output_shape

    @property
    def trainable_weights(self):
        return self.weights if self.trainable else []

    def count_params(self):
        if not self.built:
            raise ValueError(f"{self.name} has no weights before it is built.")
        return sum(weight.value.size for weight in self.weights)


class Conv2D(Layer): ...


class MaxPooling2D(Layer): ...


class Model:
    def __init__(self, layers, built=True):
        self.name, self.layers, self.built = "sequential", layers, built


def convnet():
    return Model(
        [
            Conv2D("conv2d", (None, 26, 26, 32), (3, 3, 1, 32), (32,)),
            MaxPooling2D("max_pooling2d", (None, 13, 13, 32)),
            Conv2D("conv2d_1", (None, 11, 11, 64), (3, 3, 32, 64), (64,), trainable=False),
            MaxPooling2D("max_pooling2d_1", (None, 5, 5, 64)),
            Conv2D("conv2d_2", (None, 3, 3, 64), (3, 3, 64, 64), (64,)),
        ]
    )


def text_of(model, **arguments):
    printed = []
    print_summary(model, print_fn=printed.append, **arguments)
    assert len(printed) == 1
    return printed[0]


LINE = "_" * 65
EXPECTED = f"""\
Model: "sequential"
{LINE}
Layer (type)                      Output Shape         Param #
{"=" * 65}
conv2d (Conv2D)                   (None, 26, 26, 32)   320
{LINE}
max_pooling2d (MaxPooling2D)      (None, 13, 13, 32)   0
{LINE}
conv2d_1 (Conv2D)                 (None, 11, 11, 64)   18496
{LINE}
max_pooling2d_1 (MaxPooling2D)    (None, 5, 5, 64)     0
{LINE}
conv2d_2 (Conv2D)                 (None, 3, 3, 64)     36928
{"=" * 65}
Total params: 55,744
Trainable params: 37,248
Non-trainable params: 18,496
{LINE}"""


def squeezed(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_table():
    assert squeezed(text_of(convnet())) == squeezed(EXPECTED)


def test_columns_stand_under_each_other():
    lines = text_of(convnet()).splitlines()
    rows = lines[2:3] + lines[4:13:2]
    assert {row.index("(None") for row in rows[1:]} == {rows[0].index("Output Shape")}
    assert rows[0].index("Param #") == rows[1].index("320") == rows[3].index("18496")
    assert {len(line) for line in lines if set(line) <= set("_=")} == {65}


def test_prints_without_print_fn(capsys):
    print_summary(convnet())
    assert capsys.readouterr().out == text_of(convnet()) + "\n"


@pytest.mark.parametrize("name", ["a_convolution_whose_name_" + "goes_on_and_on_" * 6, "x" * 200, "wort " * 30])
def test_long_names_are_wrapped_within_80_columns(name):
    model = convnet()
    model.layers[2].name = name
    lines = text_of(model).splitlines()
    assert max(map(len, lines)) == 80
    start = lines.index(next(line for line in lines if "18496" in line))
    end = next(index for index in range(start, len(lines)) if set(lines[index]) == {"_"})
    column = lines[start].index("(None")
    together = "".join(line[:column].strip() for line in lines[start:end])
    assert together.replace(" ", "") == f"{name}(Conv2D)".replace(" ", "")


def test_unbuilt_layers_say_so():
    text = text_of(Model([Conv2D("conv2d", None), MaxPooling2D("pool", None)], built=False))
    assert "conv2d (Conv2D) ? 0 (unbuilt)" in squeezed(text)
    assert "Total params: 0" in text
    assert "Not built yet" in text.splitlines()[-1]


def test_an_empty_model():
    assert "Total params: 0" in text_of(Model([], built=False))


def test_show_trainable():
    text = text_of(convnet(), show_trainable=True)
    assert "conv2d (Conv2D) (None, 26, 26, 32) 320 Y" in squeezed(text)
    assert "conv2d_1 (Conv2D) (None, 11, 11, 64) 18496 N" in squeezed(text)
    assert max(map(len, text.splitlines())) <= 80


def test_line_length():
    assert max(map(len, text_of(convnet(), line_length=100).splitlines())) == 100
    assert max(map(len, text_of(convnet(), line_length=50).splitlines())) == 50
    with pytest.raises(ValueError, match="line_length must be at least 43"):
        text_of(convnet(), line_length=42)


@pytest.mark.parametrize(
    ("layer_range", "parameters"),
    [
        (("conv2d_1", "conv2d_2"), "55,424"),
        (("max_pooling2d$", "max_pooling2d_1"), "18,496"),
        (["conv2d$", "conv2d$"], "320"),
    ],
)
def test_layer_range(layer_range, parameters):
    assert f"Total params: {parameters}\n" in text_of(convnet(), layer_range=layer_range)


@pytest.mark.parametrize("layer_range", [("conv2d", "dense"), ("conv2d",), "ab"])
def test_bad_layer_range(layer_range):
    with pytest.raises(ValueError, match="layer_range"):
        text_of(convnet(), layer_range=layer_range)


def test_a_real_model_as_it_grows(capsys):
    model = Sequential([layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1), name="a")])
    model.add(layers.MaxPooling2D((2, 2), name="b"))
    model.add(layers.Conv2D(64, (3, 3), activation="relu", name="c"))
    model.add(layers.MaxPooling2D((2, 2), name="d"))
    model.add(layers.Conv2D(64, (3, 3), activation="relu", name="e"))
    model.summary()
    model.add(layers.Flatten(name="f"))
    model.add(layers.Dense(64, activation="relu", name="g"))
    model.add(layers.Dense(10, activation="softmax", name="h"))
    model.summary()
    first, second = capsys.readouterr().out.split("Model:")[1:]
    assert "c (Conv2D) (None, 11, 11, 64) 18496" in squeezed(first)
    assert "Total params: 55,744" in first
    assert "f (Flatten) (None, 576) 0" in squeezed(second)
    assert "g (Dense) (None, 64) 36928" in squeezed(second)
    assert "Trainable params: 93,322" in second


def test_a_real_model_before_it_is_built(capsys):
    Sequential([layers.Conv2D(4, 3, name="a"), layers.Flatten(name="b")]).summary()
    assert "a (Conv2D) ? 0 (unbuilt)" in squeezed(capsys.readouterr().out)
