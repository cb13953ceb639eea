"""Models made of tensors: graphs, nested and shared layers, gradients, configs, copies."""

from __future__ import annotations

import copy
import json
import pickle
import tracemalloc

import numpy as np
import peers
import pytest

import fastconv as keras
from fastconv.buffers import ReusedBuffers
from fastconv.layers import (
    Activation,
    Add,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    InputLayer,
    MaxPooling2D,
    Multiply,
    ReLU,
)
from fastconv.layers.budget import shapes_only
from fastconv.models import clone_model
from fastconv.testing.gradients import compare_gradients, numeric_gradient

F64 = {"dtype": "float64"}


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture(autouse=True)
def names_begin_anew():
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)


def residual():
    """A block as in a ResNet, and a shortcut of its own size."""
    x = Input((5, 6, 3), name="image")
    a = Conv2D(4, 3, padding="same", activation="relu", **F64)(x)
    b = Conv2D(4, 3, padding="same", **F64)(a)
    c = ReLU(**F64)(Add(**F64)([a, b]))
    d = Add(**F64)([Conv2D(2, 1, **F64)(c), Conv2D(2, 1, **F64)(x)])
    return keras.Model(x, Dense(3, activation="softmax", **F64)(Flatten(**F64)(d)))


def fire():
    """A block as in a SqueezeNet: one layer's ReLU goes to two others, whose outputs stand side by side."""
    x = Input((5, 6, 3))
    squeezed = Conv2D(2, 1, activation="relu", **F64)(x)
    wide = Conv2D(3, 1, activation="relu", **F64)(squeezed)
    large = Conv2D(4, 3, padding="same", activation="relu", **F64)(squeezed)
    both = Concatenate(**F64)([wide, large])
    return keras.Model(x, Dense(3, **F64)(Flatten(**F64)(MaxPooling2D(2, **F64)(both))))


def diamond():
    """Elementwise layers, which write gradients into those that they get, on one tensor."""
    x = Input((5, 6, 3))
    y = Conv2D(3, 1, **F64)(x)
    a, b = Activation("tanh", **F64)(y), Activation("sigmoid", **F64)(y)
    c = Add(**F64)([a, b, y, a])
    d = Multiply(**F64)([Activation("elu", **F64)(c), c])
    return keras.Model(x, Dense(2, **F64)(Flatten(**F64)(Add(**F64)([d, d]))))


def shared():
    """A convolution at three places, with a penalty that counts once."""
    x = Input((5, 6, 3))
    same = Conv2D(3, 3, padding="same", activation="tanh", kernel_regularizer="l2", **F64)
    one = same(x)
    two = same(one)
    three = same(Add(**F64)([one, two]))
    return keras.Model(x, Dense(2, **F64)(Flatten(**F64)(Concatenate(**F64)([three, two]))))


def nested():
    """A graph and a stack within a graph, the graph used twice."""
    i = Input((5, 6, 3))
    inner = keras.Model(i, Add(**F64)([Conv2D(3, 1, activation="relu", **F64)(i), i]), name="inner")
    stack = keras.Sequential([Conv2D(2, 2, activation="relu", **F64), MaxPooling2D(2, **F64)], name="stack")
    x = Input((5, 6, 3))
    y = inner(inner(x))
    return keras.Model(x, Dense(3, activation="softmax", **F64)(Flatten(**F64)(stack(y))))


GRAPHS = [residual, fire, diamond, shared, nested]


@pytest.mark.parametrize("buffers", [None, ReusedBuffers], ids=["fresh", "reused"])
@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_gradients(make, buffers, rng):
    model = make()
    given = {} if buffers is None else {"buffers": buffers()}
    x = rng.standard_normal((2, 5, 6, 3))
    for weight in model.weights:
        weight.assign(weight.value + 0.3 * rng.uniform(-1, 1, weight.shape))
    gy = rng.standard_normal(model(x).shape)
    before = gy.copy()
    for _ in range(2):  # the second time with what the first has left in the buffers
        model.forward(x, True, **given)
        by_x = model.backward(gy if buffers is None else gy.copy(), **given)
    np.testing.assert_array_equal(gy, before)
    arrays = [("x", x, by_x.copy()), *((w.path, w.value, w.gradient.copy()) for w in model.trainable_weights)]

    def loss():
        return float(np.sum(gy * model.forward(x)) + sum(model.losses))

    for name, array, gradient in arrays:
        chosen = rng.permutation(array.size)[:8]
        compare_gradients(name, gradient.ravel()[chosen], numeric_gradient(loss, array, chosen), chosen, array.shape)


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_what_training_computes_is_the_same_gradient(make, rng):
    """The plan of a training step leaves out what it does not need and lets layers apply each other's ReLU."""
    model = make()
    model.compile("sgd", "mse")
    x, y = rng.standard_normal((3, 5, 6, 3)), rng.standard_normal((3, model.output_shape[1]))
    y_pred = model.forward(x, True)
    model.backward(2 * (y_pred - y) / y.size)
    wanted = [weight.gradient.copy() for weight in model.trainable_weights]
    before = model.get_weights()
    model.optimizer.learning_rate = 1.0
    model.train_on_batch(x, y)
    for old, new, gradient in zip(before, model.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(old - new, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_config_clone_and_copies(make, rng):
    model = make()
    x = rng.standard_normal((3, 5, 6, 3))
    y = model.predict(x, verbose=0)
    config = json.loads(model.to_json())
    assert config["class_name"] == "Functional"
    made = [type(model).from_config(config["config"]), clone_model(model)]
    for other in made:
        other.set_weights(model.get_weights())
    made += [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for other in made:
        assert json.loads(other.to_json()) == config
        assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]
        np.testing.assert_array_equal(other.predict(x, verbose=0), y)
        for weight in other.weights:
            weight.assign(weight.value + 1)
    np.testing.assert_array_equal(model.predict(x, verbose=0), y)


def test_long_chains_can_be_copied():
    x = y = Input((2,))
    for _ in range(400):
        y = ReLU()(y)
    model = keras.Model(x, y)
    assert len(copy.deepcopy(model).layers) == len(pickle.loads(pickle.dumps(model)).layers) == 401


def test_tensors():
    x = Input((4, 4, 3), batch_size=2, name="image")
    assert (x.shape, x.dtype, x.name, x.ndim) == ((2, 4, 4, 3), "float32", "image", 4)
    y = Conv2D(2, 3)(x)
    assert (y.shape, y.name) == ((2, 2, 2, 2), "keras_tensor")
    assert repr(y) == "<KerasTensor shape=(2, 2, 2, 2), dtype=float32, name=keras_tensor>"
    for sum_of, name in ((y + y, "add"), (y - y, "subtract"), (y * y, "multiply")):
        assert sum_of.node.layer.name == name
    for use in (np.asarray, bool, list):
        with pytest.raises(TypeError, match=r"KerasTensor shape=\(2, 2, 2, 2\)"):
            use(y)
    with pytest.raises(TypeError, match="not both"):
        Add()([y, np.ones((2, 2, 2, 2))])


def test_the_parts_of_a_model():
    x = Input((6, 6, 1), name="image")
    conv, flat = Conv2D(2, 3, name="conv"), Flatten(name="flat")
    y = conv(x)
    model = keras.Model(inputs=x, outputs=[y, flat(y)], name="both")
    assert isinstance(model, keras.layers.Layer)
    assert isinstance(keras.Sequential(), keras.Model)
    assert model.input is x and model.inputs == [x] and model.output == [y, flat.output]
    assert conv.input is x and conv.output is y and flat.input is y
    assert [layer.name for layer in model.layers] == ["image", "conv", "flat"]
    assert isinstance(model.layers[0], InputLayer)
    assert (model.input_names, model.output_names) == (["image"], ["conv", "flat"])
    assert model.input_shape == (None, 6, 6, 1)
    assert model.output_shape == [(None, 4, 4, 2), (None, 32)]
    assert model.get_layer("conv") is model.get_layer(index=1) is conv
    assert model.count_params() == 20
    assert [weight.path for weight in model.weights] == ["conv/kernel", "conv/bias"]
    with pytest.raises(ValueError, match="not part of a model yet"):
        Dense(1).output  # noqa: B018


def test_feature_maps_of_inner_layers(rng):
    model = keras.Sequential([Input((8, 8, 3)), Conv2D(4, 3, activation="relu"), MaxPooling2D(2), Flatten(), Dense(2)])
    x = rng.random((5, 8, 8, 3), np.float32)
    maps = keras.Model(inputs=model.inputs, outputs=[layer.output for layer in model.layers]).predict(x, verbose=0)
    for layer, found in zip(model.layers, maps, strict=True):
        x = layer(x)
        np.testing.assert_array_equal(found, x)


def test_a_model_from_the_middle_shares_weights(rng):
    model = keras.Sequential([Input((8, 8, 3)), Conv2D(4, 3), MaxPooling2D(2), Flatten(), Dense(2)])
    first, rest = keras.Model(model.input, model.layers[1].output), keras.Model(model.layers[1].output, model.output)
    x = rng.random((5, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(rest.predict(first.predict(x, verbose=0), verbose=0), model.predict(x, verbose=0))
    assert rest.weights[0] is model.layers[-1].kernel
    assert len(rest.layers) == 3 and isinstance(rest.layers[0], InputLayer)


def test_the_order_of_layers():
    """As Keras 3.15.1 orders them: the farther from the output the earlier, then as they are met from there."""
    x = Input((4,), name="x")
    a = Dense(3, name="a")(x)
    side = Dense(3, name="side")(x)
    b = Dense(3, name="b")(a)
    model = keras.Model(x, Add(name="sum")([side, b]))
    assert [layer.name for layer in model.layers] == ["x", "a", "side", "b", "sum"]


def test_frozen_layers_compute_no_filter_gradients_and_what_lies_below_is_left_alone(rng):
    x = Input((6, 6, 2))
    base = Conv2D(2, 3, activation="relu", name="base")
    a = base(x)
    left = Conv2D(3, 1, name="left")
    right = Conv2D(3, 1, name="right")
    y = Add()([left(a), right(a)])
    model = keras.Model(x, Dense(1)(Flatten()(y)))
    base.trainable = right.trainable = False
    model.compile("sgd", "mse")
    before = {layer.name: [w.copy() for w in layer.get_weights()] for layer in model.layers}
    model.fit(rng.random((4, 6, 6, 2)), rng.random((4, 1)), verbose=0)
    assert base.kernel.gradient is right.kernel.gradient is None
    assert left.kernel.gradient is not None
    run = [step.layer.name for step in model.backward_plan.steps]
    assert "base" not in run and "right" not in run
    assert not model.backward_plan.steps[-1].need_input_grad
    assert (left.get_weights()[0] != before["left"][0]).any()
    for layer in (base, right):
        np.testing.assert_array_equal(layer.get_weights()[0], before[layer.name][0])
    assert len(model.trainable_weights) == 4
    base.trainable = True  # counts from the next compile on
    model.fit(rng.random((4, 6, 6, 2)), rng.random((4, 1)), verbose=0)
    np.testing.assert_array_equal(base.get_weights()[0], before["base"][0])
    model.compile("sgd", "mse")
    model.fit(rng.random((4, 6, 6, 2)), rng.random((4, 1)), verbose=0)
    assert (base.get_weights()[0] != before["base"][0]).any()


def test_a_relu_with_two_consumers_applies_its_own_slope():
    x = Input((6, 6, 2))
    a = Conv2D(3, 3, activation="relu", name="two")(x)
    b = Conv2D(3, 1, activation="relu", name="one")(a)
    model = keras.Model(x, Flatten()(Add()([Conv2D(3, 1)(b), a])))
    model.compile("sgd", "mse")
    past = {step.layer.name: step.through_activation for step in model.backward_plan.steps}
    assert past["two"] and not past["one"]


def test_the_last_softmax_is_combined_with_the_loss_only_where_nothing_else_takes_it():
    x = Input((4,))
    y = Dense(3, activation="softmax")(x)
    for model, combined in ((keras.Model(x, y), True), (keras.Model(x, Add()([y, y])), False)):
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.train_on_batch(np.ones((2, 4)), np.array([0, 1]))
        assert model._combines_loss_and_activation == combined


def test_training_learns(rng):
    x = Input((8, 8, 1))
    a = Conv2D(4, 3, padding="same", activation="relu")(x)
    b = Add()([a, Conv2D(4, 3, padding="same", activation="relu")(a)])
    model = keras.Model(x, Dense(2, activation="softmax")(Flatten()(MaxPooling2D(2)(b))))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    images = rng.random((64, 8, 8, 1), np.float32)
    labels = (images[:, :4].mean((1, 2, 3)) > images[:, 4:].mean((1, 2, 3))).astype(int)
    history = model.fit(images, labels, epochs=30, batch_size=16, verbose=0).history
    assert history["accuracy"][-1] > 0.95
    assert model.evaluate(images, labels, verbose=0)[1] > 0.95


def test_a_training_step_allocates_nothing(rng):
    model = residual()
    model.compile("adam", "mse")
    x, y = rng.standard_normal((512, 5, 6, 3)), rng.standard_normal((512, 3))
    for _ in range(3):
        model.train_on_batch(x, y)
    tracemalloc.start()
    try:
        model.train_on_batch(x, y)
        tracemalloc.reset_peak()
        begin = tracemalloc.get_traced_memory()[0]
        model.train_on_batch(x, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - begin < x.nbytes / 2  # the activations of any layer take as much as x


def test_inference_goes_through_in_slices(rng):
    model = fire()
    x = rng.standard_normal((50, 5, 6, 3))
    whole = model.forward(x)
    model._slices[x.shape] = 16
    np.testing.assert_array_equal(model.forward(x, buffers=ReusedBuffers()), whole)


def test_training_as_a_call_says(rng):
    """A call with training=False stays one of inference while the model trains."""
    x = Input((1000,))
    drop = Dropout(0.5, seed=1)
    held, free = keras.Model(x, drop(x, training=False)), keras.Model(x, drop(x))
    ones = np.ones((1, 1000), np.float32)
    np.testing.assert_array_equal(held(ones, training=True), ones)
    assert (free(ones, training=True) == 0).any()
    stack = keras.Sequential([Dropout(0.5, seed=1)])
    np.testing.assert_array_equal(keras.Model(x, stack(x, training=False))(ones, training=True), ones)
    assert (keras.Model(x, drop(x, training=True)).predict(ones, verbose=0) == 0).any()


def test_sequential_of_models(rng):
    base = keras.Sequential([Input((8, 8, 1)), Conv2D(2, 3, activation="relu"), MaxPooling2D(2)], name="base")
    model = keras.Sequential([base, Flatten(), Dense(2)])
    assert model.built and model.input_shape == (None, 8, 8, 1)
    assert [layer.name for layer in model.layers] == ["base", "flatten", "dense"]
    assert model.count_params() == 20 + 38
    x = rng.random((3, 8, 8, 1), np.float32)
    np.testing.assert_array_equal(model(x), model.layers[2](model.layers[1](base(x))))
    late = keras.Sequential([keras.Sequential([Conv2D(2, 3)]), Flatten()])
    assert not late.built
    assert late.predict(x, verbose=0).shape == (3, 72)
    model.pop()
    assert model.output_shape == (None, 18)


def test_trainable_reaches_models_within():
    base = keras.Sequential([Input((4,)), Dense(3), Dense(3)])
    model = keras.Sequential([base, Dense(2)])
    base.trainable = False
    assert len(model.trainable_weights) == 2 and len(model.non_trainable_weights) == 4
    assert not base.layers[0].trainable
    model.trainable = True
    assert base.layers[0].trainable and len(model.trainable_weights) == 6
    frozen = keras.Sequential([Input((4,)), Dense(3)], trainable=False)
    outer = keras.Sequential([frozen, Dense(2)])
    outer.compile("sgd", "mse")
    assert [variable.path for variable in outer.backward_plan.variables] == [w.path for w in outer.layers[1].weights]


def test_layers_shared_between_models(rng):
    x = Input((4,))
    common = Dense(3, name="common")
    one, two = keras.Model(x, Dense(1)(common(x))), keras.Model(x, Dense(1)(common(x)))
    one.compile("sgd", "mse")
    before = common.get_weights()[0]
    one.fit(rng.random((8, 4)), rng.random((8, 1)), verbose=0)
    assert two.get_weights()[0] is not before and (two.get_weights()[0] != before).any()
    np.testing.assert_array_equal(two.get_weights()[0], one.get_weights()[0])


def test_weights_files(tmp_path, rng):
    model = nested()
    path = tmp_path / "nested.weights.h5"
    model.save_weights(path)
    other = nested()
    other.load_weights(path)
    for mine, its in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    smaller = keras.Model(model.input, model.get_layer("flatten").input)
    with pytest.raises(ValueError, match="dense has weights, but the model has no such layer"):
        smaller.load_weights(path)


def test_the_summary_says_what_is_connected():
    model = residual()
    printed = []
    model.summary(print_fn=printed.append, expand_nested=True)
    rows = [" ".join(line.split()) for line in printed[0].splitlines()]
    assert "Layer (type) Output Shape Param # Connected to" in rows
    assert "image (InputLayer) (None, 5, 6, 3) 0 -" in rows
    place = rows.index("add (Add) (None, 5, 6, 4) 0 conv2d[0][0],")
    assert rows[place + 1] == "conv2d_1[0][0]"
    assert f"Total params: {model.count_params():,}" in rows
    printed.clear()
    nested().summary(print_fn=printed.append, expand_nested=True)
    assert "      max_pooling2d" not in printed[0] and "\n   max_pooling2d" in printed[0]


def test_the_summary_of_a_chain_has_no_connections(capsys):
    x = Input((4,))
    keras.Model(x, Dense(2)(x)).summary()
    assert "Connected" not in capsys.readouterr().out


def test_shapes_without_weights():
    with shapes_only():
        x = Input((100_000,))
        model = keras.Model(x, Dense(100_000)(x))
    assert model.count_params() == 100_000 * 100_001
    assert model.weights[0].unmirrored.strides == (0, 0)


def test_what_makes_no_model():
    x, other = Input((4,)), Input((4,), name="other")
    y = Dense(2, name="dense")(x)
    for make, message in (
        (lambda: keras.Model(x, Add()([y, Dense(2)(other)])), "outputs depend on .*other.*not among the inputs"),
        (lambda: keras.Model(x, 3), "outputs must be tensors that Input or a layer has made; received 3"),
        (lambda: keras.Model([], y), "inputs must be tensors .* received none"),
        (lambda: keras.Model(x, Dense(2, name="dense")(y)), 'the name "dense" is that of 2 layers'),
        (lambda: keras.Model(x, Dense(2, dtype="float64")(y)), "compute in different dtypes"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match=r"Own defines call\(\): models written that way are not supported"):
        type("Own", (keras.Model,), {"call": lambda self, x: x})


def test_a_subclass_of_model_with_tensors(rng):
    class Own(keras.Model):
        def __init__(self, units):
            x = Input((4,))
            super().__init__(x, Dense(units)(x))

    model = Own(3)
    assert model.name == "own" and model.predict(rng.random((2, 4)), verbose=0).shape == (2, 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c["layers"][2].pop("inbound_nodes"), "describes no graph of layers: KeyError"),
        (
            lambda c: c["layers"][2]["inbound_nodes"][0]["args"][0]["config"].update(keras_history=["no", 0, 0]),
            "KeyError",
        ),
        (
            lambda c: c["layers"][2]["inbound_nodes"][0]["args"][0]["config"].update(keras_history=["dense", 0, 0]),
            "nothing",
        ),
        (lambda c: c["layers"][1]["inbound_nodes"][0]["kwargs"].update(scale=2), "perhaps training"),
        (lambda c: c["layers"][1]["inbound_nodes"][0].update(args=[7]), "called with tensors; received 7"),
        (lambda c: c.update(output_layers=7), r"is \[layer, call, output\]"),
        (lambda c: c.update(output_layers=["dense", 5, 0]), "IndexError"),
        (lambda c: c["layers"][2].update(class_name="Lambda"), "Unknown layer 'Lambda'"),
    ],
)
def test_damaged_configs(damage, message):
    x = Input((4,))
    config = json.loads(json.dumps(keras.Model(x, Dense(1, name="dense")(Flatten()(x))).get_config()))
    damage(config)
    with pytest.raises(ValueError, match=message):
        keras.models.Model.from_config(config)


def test_clones_with_other_layers_and_inputs(rng):
    model = nested()
    seen = []

    def narrower(layer):
        seen.append(layer.name)
        if isinstance(layer, Dense):
            return Dense(1, name=layer.name, **F64)
        return type(layer).from_config(layer.get_config())

    x = Input((5, 6, 3))
    other = clone_model(model, input_tensors=x, clone_function=narrower)
    assert other.output_shape == (None, 1) and other.input is x
    assert sorted(seen) == ["dense", "flatten", "inner", "stack"]
    stack = clone_model(keras.Sequential([Input((4,)), Dense(2)]))
    assert isinstance(stack, keras.Sequential) and stack.built
    with pytest.raises(ValueError, match="must return a layer"):
        clone_model(model, clone_function=lambda layer: None)


def as_float32(model):
    """The model's JSON in the dtype that Keras on JAX has."""
    return model.to_json().replace("float64", "float32")


@peers.MARK
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras, by NumPy
@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_keras_reads_our_config_and_we_read_its(make, rng):
    theirs = peers.keras()
    model = make()
    its = theirs.models.model_from_json(as_float32(model))
    assert [layer.name for layer in its.layers] == [layer.name for layer in model.layers]
    assert [tuple(weight.shape) for weight in its.weights] == [weight.shape for weight in model.weights]
    its.set_weights(model.get_weights())
    x = rng.standard_normal((3, 5, 6, 3)).astype("float32")
    expected = its.predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=2e-4, atol=2e-5)
    back = keras.Model.from_config(json.loads(its.to_json())["config"])
    back.set_weights(model.get_weights())
    np.testing.assert_allclose(back.predict(x, verbose=0), expected, rtol=2e-4, atol=2e-5)
    y = rng.standard_normal(expected.shape).astype("float32")
    for trained, library in ((back, keras), (its, theirs)):
        trained.compile(library.optimizers.SGD(0.05), "mse")
        for _ in range(3):
            trained.train_on_batch(x, y)
    for mine, other in zip(back.get_weights(), its.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4)


@peers.MARK
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_weights_files_of_nested_models_both_ways(tmp_path):
    theirs = peers.keras()
    its = theirs.models.model_from_json(as_float32(nested()))
    model = keras.Model.from_config(json.loads(its.to_json())["config"])
    its.save_weights(tmp_path / "its.weights.h5")
    model.load_weights(tmp_path / "its.weights.h5")
    for mine, other in zip(model.get_weights(), its.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    for weight in model.weights:
        weight.assign(weight.value + 1)
    model.save_weights(tmp_path / "mine.weights.h5")
    its.load_weights(tmp_path / "mine.weights.h5")
    for mine, other in zip(model.get_weights(), its.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@peers.MARK
def test_the_order_of_layers_is_that_of_keras():
    theirs = peers.keras()

    def make(of):
        L = of.layers
        x = L.Input((4,), name="x")
        common = L.Dense(4, name="common")
        a = L.Dense(4, name="a")(x)
        c = L.Concatenate(name="c")([common(a), L.Dense(2, name="far")(common(x)), x])
        z = L.Dense(4, name="z")(x)
        return of.Model(x, [L.Add(name="sum")([z, L.Dense(4, name="d")(c)]), common.output])

    mine, its = make(keras), make(theirs)
    assert [layer.name for layer in mine.layers] == [layer.name for layer in its.layers]
    assert [w.shape for w in mine.weights] == [tuple(w.shape) for w in its.weights]
