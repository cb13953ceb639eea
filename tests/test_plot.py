"""Pictures: what is in the figures."""

import numpy as np
import pytest

from fastconv import layers, plot
from fastconv.models import Model, Sequential
from fastconv.utils import plot_model

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'fastconv[plot]'")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def network():
    return Sequential(
        [
            layers.Input((8, 9, 1)),
            layers.Conv2D(5, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(4, 2, name="second"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def pictures(figure):
    """The images of a figure's grid, without the colour bar."""
    return [ax.images[0].get_array() for ax in figure.axes if ax.images]


def test_history(tmp_path):
    values = {"accuracy": [0.5, 0.7], "loss": [2.0, 1.0], "val_loss": [2.5], "val_accuracy": [0.4, 0.6], "f1": [[1, 2]]}
    figure = plot.history(values, save=tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    loss, accuracy = figure.axes
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    np.testing.assert_array_equal(accuracy.lines[1].get_xydata(), [[1, 0.4], [2, 0.6]])
    own, ax = pyplot.subplots()
    assert plot.history(values, ["accuracy"], ax=ax) is own
    assert plot.history(values, ["loss"], log=True).axes[0].get_yscale() == "log"
    with pytest.raises(ValueError, match=r"received \['mse'\], there are \['accuracy', 'loss'\]"):
        plot.history(values, ["mse"])
    with pytest.raises(ValueError, match="ax must be 2 axes"):
        plot.history(values, ax=ax)


def test_history_of_a_fit_that_went_on():
    class History:
        history = {"loss": [3.0, 2.0]}
        epoch = [4, 5]

    np.testing.assert_array_equal(plot.history(History()).axes[0].lines[0].get_xdata(), [5, 6])


def test_confusion():
    figure = plot.confusion([0, 1, 1, 2], [0, 1, 2, 2], ["cat", "dog", "mouse"])
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), [[1, 0, 0], [0, 1, 1], [0, 0, 1]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog", "mouse"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert "1" in [text.get_text() for text in ax.texts]
    # Probabilities: all their columns are classes, also those that never come.
    shares = plot.confusion([0, 0], np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]]), normalize="true")
    np.testing.assert_array_equal(shares.axes[0].images[0].get_array(), [[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="names must be 3"):
        plot.confusion([0, 1, 2], [0, 1, 2], ["a", "b"])


def test_filters():
    model = network()
    kernel = model.layers[0].get_weights()[0]
    drawn = pictures(plot.filters(model))
    assert len(drawn) == 5
    np.testing.assert_allclose(drawn[3], kernel[:, :, 0, 3])
    second = pictures(plot.filters(model, "second", columns=2))
    np.testing.assert_allclose(second[1], model.layers[2].get_weights()[0][:, :, :, 1].mean(axis=2))
    colour = pictures(plot.filters(np.random.default_rng(0).normal(size=(3, 4, 3, 6))))
    assert colour[0].shape == (3, 4, 3)
    assert 0 <= min(image.min() for image in colour) < max(image.max() for image in colour) <= 1
    with pytest.raises(ValueError, match=r"no kernel of shape \(R, S, C, K\)"):
        plot.filters(Sequential([layers.Input((3,)), layers.Dense(2)]))


def test_feature_maps(tmp_path):
    model = network()
    x = np.random.default_rng(1).random((8, 9)).astype(np.float32)
    wanted = model.layers[2](model.layers[1](model.layers[0](x[None, ..., None])))
    for layer, image in (("second", x), (2, x[..., None]), (model.layers[2], x[None, ..., None])):
        drawn = pictures(plot.feature_maps(model, layer, image))
        assert len(drawn) == 4
        np.testing.assert_allclose(drawn[1], wanted[0, :, :, 1], rtol=1e-6)
    figure = plot.feature_maps(wanted, count=3, save=tmp_path / "maps.svg")
    assert len(pictures(figure)) == 3
    assert "the first 3" in figure.get_suptitle()
    first = plot.feature_maps(np.moveaxis(wanted[0], -1, 0), data_format="channels_first")
    np.testing.assert_array_equal(pictures(first)[2], wanted[0, :, :, 2])
    with pytest.raises(ValueError, match="needs a model with layer and x"):
        plot.feature_maps(model)
    with pytest.raises(ValueError, match=r"must have shape \(H, W, K\)"):
        plot.feature_maps(np.zeros(3))
    with pytest.raises(ValueError, match="one image, not a batch"):
        plot.feature_maps(model, 0, np.zeros((3, 8, 9, 1)))


def test_feature_maps_of_a_graph():
    inputs = layers.Input((8, 9, 1))
    x = layers.Conv2D(3, 3, padding="same")(inputs)
    x = layers.Add(name="sum")([x, layers.Conv2D(3, 3, padding="same")(x)])
    model = Model(inputs, layers.Flatten()(x))
    image = np.random.default_rng(1).random((8, 9)).astype(np.float32)
    wanted = Model(inputs, x)(image[None, ..., None])
    drawn = pictures(plot.feature_maps(model, "sum", image))
    np.testing.assert_allclose(drawn[2], wanted[0, :, :, 2], rtol=1e-6)
    assert len(pictures(plot.filters(model))) == 3
    unbuilt = Sequential([layers.Conv2D(3, 3, name="first")])
    with pytest.raises(ValueError, match="is not built"):
        plot.feature_maps(unbuilt, "first", image)


@pytest.fixture
def branching():
    x = layers.Input((8, 8, 2))
    y = layers.Conv2D(2, 3, padding="same", activation="relu", name="first")(x)
    inner = Sequential([layers.Input((8, 8, 2)), layers.Conv2D(2, 1), layers.ReLU()], name="inner")
    return Model(x, layers.Add()([x, inner(y)]))


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


@pytest.mark.parametrize("rankdir", ["TB", "LR"])
def test_a_models_picture(branching, tmp_path, rankdir):
    figure = plot_model(branching, tmp_path / "model.svg", True, True, True, rankdir, show_layer_activations=True)
    drawn = texts(figure)
    assert [text.split("\n")[0].split("(")[1] for text in drawn] == ["InputLayer)", "Conv2D)", "Sequential)", "Add)"]
    assert "first (Conv2D)\nactivation: relu\noutput: (None, 8, 8, 2)\ndtype: float32" in drawn
    arrows = [text for text in figure.axes[0].texts if not text.get_text()]
    assert len(arrows) == 6  # the one past two rows is of three pieces
    assert (tmp_path / "model.svg").stat().st_size > 1000


def test_models_in_a_model_are_drawn_if_asked_for(branching):
    assert texts(plot_model(branching, None, expand_nested=True)) == ["InputLayer", "Conv2D", "Conv2D", "ReLU", "Add"]


def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="must be built"):
        plot_model(Sequential([layers.Dense(2)]), None)
    with pytest.raises(ValueError, match="rankdir"):
        plot_model(Sequential([layers.Input((3,)), layers.Dense(2)]), None, rankdir="BT")
