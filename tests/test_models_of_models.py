"""Copies of compiled models, and models whose parts change after they have become parts."""

import copy
import gc
import pickle

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import device, layers, optimizers

X = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
Y = np.arange(8) % 3
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda model: pickle.loads(pickle.dumps(model))}


def an_inner(name="inner"):
    return keras.Sequential([layers.Input((6,)), layers.Dense(5, "tanh", name="first"), layers.Dropout(0.3)], name=name)


def an_outer(inner, optimizer="adam"):
    model = keras.Sequential([layers.Input((6,)), inner, layers.Dense(3, "softmax")], name="outer")
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "means": lambda: optimizers.SGD(0.1, momentum=0.9, use_ema=True, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("where", ["cpu", "gpu"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_compiled_model_trains_on_as_the_model_does(how, optimizer, where):
    keras.utils.set_random_seed(1)
    model = an_outer(an_inner(), OPTIMIZERS[optimizer]())
    with lab(), device(where):
        model.train_on_batch(X, Y)
        other = COPIES[how](model)
        assert [metric.result() for metric in other.metrics] == [metric.result() for metric in model.metrics]
        found = [each.train_on_batch(X, Y) for each in (model, other)]
        assert found[0] == found[1]
        kept = other.get_weights()
        for one, two in zip(model.get_weights(), kept, strict=True):
            np.testing.assert_array_equal(one, two)
        model.train_on_batch(X, Y)
        for one, two in zip(other.get_weights(), kept, strict=True):
            np.testing.assert_array_equal(one, two)


def test_other_copies_say_what_to_do():
    model = an_outer(an_inner())
    with pytest.raises(TypeError, match=r'"outer" cannot be copied by copy.copy.*: copy.deepcopy copies layers'):
        copy.copy(model)
    clone = keras.models.clone_model(model)
    with pytest.raises(ValueError, match=r"call compile\(\) before fit"):
        clone.fit(X, Y, verbose=0)


@pytest.mark.parametrize("make", [lambda model: model, copy.deepcopy, COPIES["pickle"]], ids=["itself", *COPIES])
def test_a_part_that_gets_a_layer_changes_the_whole(make, tmp_path):
    keras.utils.set_random_seed(1)
    model = make(an_outer(an_inner()))
    whole = keras.Sequential([layers.Input((6,)), model])
    model.fit(X, Y, verbose=0)
    whole.predict(X, verbose=0)
    inner = model.layers[0]
    inner.add(layers.Dense(5, "relu", name="second"))
    expected = model.layers[1](inner(X))
    for each in (model, whole):
        np.testing.assert_allclose(each.predict(X, verbose=0), expected, rtol=1e-5)
        assert len(each.weights) == 6
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "model.keras").predict(X, verbose=0), model.predict(X, verbose=0)
    )
    before = model.get_weights()
    for where in ("cpu", "gpu"):
        with (
            lab(),
            device(where),
            pytest.raises(ValueError, match="other variables than second/kernel: .* to be compiled"),
        ):
            model.fit(X, Y, verbose=0)
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    assert (model.get_weights()[2] != before[2]).any()
    assert inner.pop().name == "second"  # whose input had the same shape
    np.testing.assert_allclose(model.predict(X, verbose=0), model.layers[1](inner(X)), rtol=1e-5)


@pytest.mark.parametrize("make", [lambda model: model, copy.deepcopy, COPIES["pickle"]], ids=["itself", *COPIES])
def test_a_part_cannot_change_what_the_whole_counts_on(make):
    model = make(an_outer(an_inner()))
    inner, before = model.layers[0], model.predict(X, verbose=0)
    more = layers.Dense(4, name="more")
    names = r'Sequential "inner" is a part of Sequential "outer", which takes its outputs of shape \(None, 5\)'
    with pytest.raises(ValueError, match=rf"{names}: it cannot become a model with outputs of shape \(None, 4\)"):
        inner.add(more)
    assert not more.built
    assert inner.pop().name.startswith("dropout")
    with pytest.raises(ValueError, match=f"{names}: it cannot become a model with no layers"):
        inner.pop()
    assert len(inner.layers) == 1
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)
    functional = keras.Model(image := layers.Input((6,)), layers.Dense(2)(inner(image)), name="functional")
    model.pop()
    model.pop()
    with pytest.raises(ValueError, match='is a part of Functional "functional"'):
        inner.add(more)
    del functional
    inner.add(more)
    assert inner.output_shape == (None, 4)
    gc.collect()


def test_a_call_from_before_a_change_makes_no_model():
    inner = keras.Sequential([layers.Input((6,)), layers.Dense(4), layers.Dense(5)], name="inner")
    image = layers.Input((6,))
    tensor = inner(image)
    inner.pop()
    with pytest.raises(ValueError, match=r'"inner" gave .*\(None, 5\) .* outputs of shape \(None, 4\): call it again'):
        keras.Model(image, tensor)
    assert keras.Model(image, inner(image)).output_shape == (None, 4)
    inner.pop()
    with pytest.raises(ValueError, match="and has no layers: call it again"):
        keras.Model(image, tensor)


def test_a_model_that_lost_layers_trains_the_others_on_both_devices():
    results = []
    for where in ("cpu", "gpu"):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([layers.Input((6,)), layers.Dense(3, "softmax"), layers.Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        with lab(), device(where):
            model.train_on_batch(X, Y)
            model.pop()
            model.train_on_batch(X, Y)
        results.append(model.get_weights())
    for cpu, gpu in zip(*results, strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=1e-5, atol=1e-6)
