"""Training beside Keras's: optimizers with their options, and what `fit` and its relatives do with their arguments."""

import re

import numpy as np
import peers
import pytest

from fastconv import optimizers
from fastconv.variable import Variable

# Keras 3.15 converts its variables in a way that NumPy warns of.
pytestmark = [peers.MARK, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]

STEPS = 10
SHAPES = {"kernel": (3, 4), "bias": (5,), "gamma": (2,)}
RULES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.8}),
    ("SGD", {"momentum": 0.8, "nesterov": True}),
    ("RMSprop", {"rho": 0.7, "momentum": 0.5, "centered": True}),
    ("RMSprop", {}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "beta_2": 0.5}),
    ("AdamW", {}),
    ("Adagrad", {}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adadelta", {"rho": 0.5, "epsilon": 1e-3}),
    ("Adamax", {}),
    ("Adamax", {"beta_1": 0.5, "beta_2": 0.7}),
    ("Ftrl", {"learning_rate": 0.1}),
    (
        "Ftrl",
        {
            "learning_rate": 0.1,
            "learning_rate_power": -0.3,
            "l1_regularization_strength": 0.05,
            "l2_regularization_strength": 0.1,
            "l2_shrinkage_regularization_strength": 0.2,
            "beta": 0.3,
        },
    ),
    ("Lamb", {}),
    ("Lamb", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.7}),
    ("Lion", {}),
    ("Lion", {"beta_1": 0.5, "beta_2": 0.7}),
    ("Nadam", {}),
    ("Nadam", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.7}),
]
OPTIONS = [
    {},
    {"clipnorm": 0.7},
    {"clipvalue": 0.3},
    {"global_clipnorm": 1.1},
    {"weight_decay": 0.05},
    {"use_ema": True, "ema_momentum": 0.7},
    {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3},
    {"loss_scale_factor": 8.0},
    {"gradient_accumulation_steps": 3},
    {
        "gradient_accumulation_steps": 2,
        "use_ema": True,
        "ema_momentum": 0.6,
        "ema_overwrite_frequency": 2,
        "global_clipnorm": 1.0,
        "weight_decay": 0.01,
    },
]


def cases():
    """Every rule without further options, and every option with three rules."""
    for name, own in RULES:
        yield name, own
    for options in OPTIONS[1:]:
        for name in ("SGD", "Adam", "Lion"):
            yield name, options


def variables_of(keras):
    rng = np.random.default_rng(1)
    starts = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    ours = [Variable(start.copy(), name) for name, start in starts.items()]
    return ours, [keras.Variable(start.copy(), name=name) for name, start in starts.items()]


@pytest.mark.parametrize(("name", "options"), list(cases()))
def test_ten_steps(name, options):
    keras = peers.keras()
    ours, theirs = variables_of(keras)
    one, two = getattr(optimizers, name)(**options), getattr(keras.optimizers, name)(**options)
    for optimizer in (one, two):
        optimizer.exclude_from_weight_decay(var_names=["bia", "^gamma$"])
    rng = np.random.default_rng(2)
    for _ in range(STEPS):
        gradients = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES.values()]
        one.apply(gradients, ours)
        two.apply([keras.ops.array(gradient) for gradient in gradients], theirs)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine.value, keras.ops.convert_to_numpy(other), rtol=1e-4, atol=2e-6)
    assert one.iterations == int(two.iterations)
    state = one.variables, two.variables
    assert [v.name for v in state[0]] == [re.sub(r"^variable_\d+$", "variable", v.name) for v in state[1]]
    for mine, other in zip(*state, strict=True):
        np.testing.assert_allclose(
            mine.value, keras.ops.convert_to_numpy(other), rtol=1e-4, atol=1e-6, err_msg=mine.name
        )
    config = one.get_config()
    assert set(config) == set(two.get_config())
    assert {key: config[key] for key in config if config[key] != two.get_config()[key]}.keys() <= {
        "learning_rate",
        "name",
    }
    one.finalize_variable_values(ours)
    two.finalize_variable_values(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.value, keras.ops.convert_to_numpy(other), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ExponentialDecay", (0.1, 7, 0.6)),
        ("ExponentialDecay", (0.1, 7, 0.6, True)),
        ("PiecewiseConstantDecay", ([3, 9], [0.1, 0.2, 0.05])),
        ("InverseTimeDecay", (0.1, 7, 0.6)),
        ("InverseTimeDecay", (0.1, 7, 0.6, True)),
        ("PolynomialDecay", (0.1, 7)),
        ("PolynomialDecay", (0.1, 7, 0.02, 2.0, True)),
        ("CosineDecay", (0.1, 9, 0.2)),
        ("CosineDecay", (0.1, 9, 0.2, "x", 0.4, 5)),
        ("CosineDecayRestarts", (0.1, 4)),
        ("CosineDecayRestarts", (0.1, 3, 1.0, 0.7, 0.1)),
        ("CosineDecayRestarts", (0.1, 3, 1.5, 0.7, 0.1)),
    ],
)
def test_schedules(name, arguments):
    keras = peers.keras()
    ours = getattr(optimizers.schedules, name)(*arguments)
    theirs = getattr(keras.optimizers.schedules, name)(*arguments)
    for step in range(25):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-4, abs=1e-6), step
    assert ours.get_config() == theirs.get_config()
    assert type(optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(theirs))) is type(ours)


@pytest.mark.parametrize("options", [{}, {"loss_scale_factor": 16.0}, {"gradient_accumulation_steps": 3}])
def test_a_schedule_counts_batches(options):
    keras = peers.keras()
    ours, theirs = variables_of(keras)
    one = optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), **options)
    two = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), **options)
    gradients = [np.ones(shape, np.float32) for shape in SHAPES.values()]
    for _ in range(7):
        one.apply(gradients, ours)
        two.apply([keras.ops.array(gradient) for gradient in gradients], theirs)
        assert one.learning_rate == pytest.approx(float(two.learning_rate), rel=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.value, keras.ops.convert_to_numpy(other), rtol=1e-4, atol=2e-6)
