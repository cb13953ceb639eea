"""Optimizers against scalar recurrences written here, their state and its order, configs, schedules."""

import math
import pickle
import tracemalloc
from copy import deepcopy

import numba
import numpy as np
import pytest

from fastconv import constraints, optimizers
from fastconv.optimizers import schedules
from fastconv.variable import Variable

STEPS = 6


# Each recurrence takes a weight, its gradients and the learning rate, and yields the weight after every step.
def sgd(w, gradients, rate, momentum=0.0, nesterov=False):
    v = 0.0
    for g in gradients:
        v = momentum * v - rate * g
        w += momentum * v - rate * g if nesterov else v
        yield w


def rmsprop(w, gradients, rate, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    square = mean = v = 0.0
    for g in gradients:
        square = rho * square + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        v = momentum * v + rate * g / math.sqrt(square - (mean**2 if centered else 0) + epsilon)
        w -= v
        yield w


def adam(w, gradients, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False, weight_decay=0.0):
    m = v = largest = 0.0
    for t, g in enumerate(gradients, 1):
        w -= rate * weight_decay * w
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        largest = max(largest, v) if amsgrad else v
        w -= rate * math.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (math.sqrt(largest) + epsilon)
        yield w


def adagrad(w, gradients, rate, initial_accumulator_value=0.1, epsilon=1e-7):
    total = initial_accumulator_value
    for g in gradients:
        total += g**2
        w -= rate * g / math.sqrt(total + epsilon)
        yield w


def adadelta(w, gradients, rate, rho=0.95, epsilon=1e-7):
    square = steps = 0.0
    for g in gradients:
        square = rho * square + (1 - rho) * g**2
        step = g * math.sqrt(steps + epsilon) / math.sqrt(square + epsilon)
        steps = rho * steps + (1 - rho) * step**2
        w -= rate * step
        yield w


def adamax(w, gradients, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m = largest = 0.0
    for t, g in enumerate(gradients, 1):
        m = beta_1 * m + (1 - beta_1) * g
        largest = max(beta_2 * largest, abs(g))
        w -= rate / (1 - beta_1**t) * m / (largest + epsilon)
        yield w


def ftrl(w, gradients, rate, l1=0.0, l2=0.0, power=-0.5, shrinkage=0.0, beta=0.0):
    squares, linear = 0.1, 0.0
    for g in gradients:
        before, squares = squares, squares + g**2
        linear += g + 2 * shrinkage * w - (squares**-power - before**-power) / rate * w
        w = (min(max(linear, -l1), l1) - linear) / (squares**-power / rate + 2 * l2 + beta / rate)
        yield w


def strict_ftrl(w, gradients, rate, **options):
    names = {
        "l1_regularization_strength": "l1",
        "l2_regularization_strength": "l2",
        "learning_rate_power": "power",
        "l2_shrinkage_regularization_strength": "shrinkage",
    }
    return ftrl(w, gradients, rate, **{names.get(key, key): value for key, value in options.items()})


def lion(w, gradients, rate, beta_1=0.9, beta_2=0.99):
    m = 0.0
    for g in gradients:
        w -= rate * math.copysign(1, beta_1 * m + (1 - beta_1) * g)
        m = beta_2 * m + (1 - beta_2) * g
        yield w


def nadam(w, gradients, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m = v = 0.0
    product = 1.0
    for t, g in enumerate(gradients, 1):
        now, following = (beta_1 * (1 - 0.5 * 0.96**s) for s in (t, t + 1))
        product *= now
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        ahead = following * m / (1 - product * following) + (1 - now) * g / (1 - product)
        w -= rate * ahead / (math.sqrt(v / (1 - beta_2**t)) + epsilon)
        yield w


RULES = [
    (optimizers.SGD, sgd, {}, 0.01),
    (optimizers.SGD, sgd, {"momentum": 0.8}, 0.01),
    (optimizers.SGD, sgd, {"momentum": 0.8, "nesterov": True}, 0.01),
    (optimizers.RMSprop, rmsprop, {}, 0.001),
    (optimizers.RMSprop, rmsprop, {"rho": 0.7, "momentum": 0.5}, 0.001),
    (optimizers.RMSprop, rmsprop, {"centered": True, "epsilon": 1e-3}, 0.001),
    (optimizers.RMSprop, rmsprop, {"centered": True, "momentum": 0.3}, 0.001),
    (optimizers.Adam, adam, {}, 0.001),
    (optimizers.Adam, adam, {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 0.01}, 0.001),
    (optimizers.Adam, adam, {"amsgrad": True, "beta_2": 0.5}, 0.001),
    (optimizers.Adam, adam, {"weight_decay": 0.3}, 0.001),
    (optimizers.AdamW, lambda *args: adam(*args, weight_decay=0.004), {}, 0.001),
    (optimizers.Adagrad, adagrad, {}, 0.001),
    (optimizers.Adagrad, adagrad, {"initial_accumulator_value": 0.5}, 0.001),
    (optimizers.Adadelta, adadelta, {"rho": 0.6}, 0.001),
    (optimizers.Adamax, adamax, {"beta_1": 0.7, "beta_2": 0.5}, 0.001),
    (optimizers.Ftrl, strict_ftrl, {}, 0.001),
    (
        optimizers.Ftrl,
        strict_ftrl,
        {
            "learning_rate_power": -0.4,
            "l1_regularization_strength": 0.1,
            "l2_regularization_strength": 0.2,
            "l2_shrinkage_regularization_strength": 0.05,
            "beta": 0.3,
        },
        0.001,
    ),
    (optimizers.Lion, lion, {"beta_1": 0.6, "beta_2": 0.8}, 0.001),
    (optimizers.Nadam, nadam, {"beta_1": 0.8, "beta_2": 0.9}, 0.001),
]
IDS = [f"{cls.__name__}-{options}" for cls, _, options, _ in RULES]


def gradients_of(rng, variables):
    # Squares of very different sizes, so that a wrong place of epsilon or a wrong mean shows.
    return [rng.normal(size=v.shape) * 10.0 ** rng.integers(-3, 2) for v in variables]


def make_variables(dtype="float64"):
    rng = np.random.default_rng(1)
    return [
        Variable(rng.normal(size=shape).astype(dtype), name) for shape, name in (((3, 4), "kernel"), ((5,), "bias"))
    ]


@pytest.mark.parametrize("rate", [None, 0.3])
@pytest.mark.parametrize(("cls", "rule", "options", "default"), RULES, ids=IDS)
def test_against_a_scalar_recurrence(cls, rule, options, default, rate):
    optimizer = cls(**options) if rate is None else cls(rate, **options)
    variables = make_variables()
    starts = [v.numpy() for v in variables]
    rng = np.random.default_rng(2)
    gradients = [gradients_of(rng, variables) for _ in range(STEPS)]
    kept = [[g.copy() for g in step] for step in gradients]
    got = []
    for step in gradients:
        optimizer.apply(step, variables)
        got.append([v.numpy() for v in variables])
    assert optimizer.iterations == STEPS
    for k, start in enumerate(starts):
        for index in np.ndindex(start.shape):
            series = [step[k][index] for step in kept]
            want = list(rule(start[index], series, rate or default, **options))
            np.testing.assert_allclose([step[k][index] for step in got], want, rtol=1e-11)
    for step, before in zip(gradients, kept, strict=True):
        for g, copy in zip(step, before, strict=True):
            np.testing.assert_array_equal(g, copy)


@pytest.mark.parametrize(("cls", "rule", "options", "default"), RULES, ids=IDS)
def test_float32_stays_and_agrees(cls, rule, options, default):
    single, double = make_variables("float32"), make_variables()
    arrays = [v.value for v in single]
    one, two = cls(**options), cls(**options)
    rng = np.random.default_rng(3)
    for _ in range(STEPS):
        gradients = gradients_of(rng, double)
        one.apply([g.astype(np.float32) for g in gradients], single)
        two.apply(gradients, double)
    for v, array, exact in zip(single, arrays, double, strict=True):
        assert v.value is array
        assert v.dtype == np.float32
        np.testing.assert_allclose(v.value, exact.value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", sorted(cls.__name__ for cls in optimizers._CLASSES))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clipnorm": 1.0, "weight_decay": 0.1, "use_ema": True, "gradient_accumulation_steps": 2},
    ],
    ids=["plain", "all"],
)
def test_a_step_allocates_nothing(optimizer, options):
    optimizer = getattr(optimizers, optimizer)(**options)
    variable = Variable(np.ones(200_000, np.float32))
    gradient = np.full(200_000, 0.1, np.float32)
    for _ in range(2):
        optimizer.apply([gradient], [variable])
    tracemalloc.start()
    for _ in range(2):
        optimizer.apply([gradient], [variable])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000


def test_clipnorm_is_per_variable():
    variables = [Variable(np.zeros(2), "a"), Variable(np.zeros(1), "b")]
    optimizers.SGD(1.0, clipnorm=1.0).apply([np.array([3.0, 4.0]), np.array([0.5])], variables)
    np.testing.assert_allclose(variables[0].value, [-0.6, -0.8], rtol=1e-14)
    np.testing.assert_allclose(variables[1].value, [-0.5], rtol=1e-14)


def test_global_clipnorm_is_over_all():
    variables = [Variable(np.zeros(2), "a"), Variable(np.zeros(1), "b")]
    optimizer = optimizers.SGD(1.0, global_clipnorm=6.5)
    optimizer.apply([np.array([3.0, 4.0]), np.array([12.0])], variables)
    np.testing.assert_allclose(variables[0].value, [-1.5, -2.0], rtol=1e-14)
    np.testing.assert_allclose(variables[1].value, [-6.0], rtol=1e-14)
    optimizer.apply([np.zeros(2), np.zeros(1)], variables)
    np.testing.assert_allclose(variables[1].value, [-6.0], rtol=1e-14)


def test_clipvalue():
    variable = Variable(np.zeros(3))
    optimizers.SGD(1.0, clipvalue=0.5).apply([np.array([-2.0, 0.25, 0.75])], [variable])
    np.testing.assert_array_equal(variable.value, [0.5, -0.25, -0.5])


@pytest.mark.parametrize("clip", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_nan_gradients_are_not_hidden(clip):
    variable = Variable(np.zeros(2))
    optimizers.SGD(1.0, **{clip: 1.0}).apply([np.array([np.nan, 1.0])], [variable])
    assert np.isnan(variable.value[0])


def test_weight_decay_keeps_its_digits_in_float32():
    variable = Variable(np.ones(1, np.float32))
    optimizer = optimizers.SGD(0.001, weight_decay=0.01)
    for _ in range(1000):
        optimizer.apply([np.zeros(1, np.float32)], [variable])
    assert 1 - variable.value[0] == pytest.approx(1 - (1 - 1e-5) ** 1000, rel=0.005)


def test_exclude_from_weight_decay():
    variables = [Variable(np.ones(2), name, path=f"dense/{name}") for name in ("kernel", "bias", "scale")]
    optimizer = optimizers.SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[variables[2]], var_names=["bias"])
    optimizer.apply([np.zeros(2)] * 3, variables)
    assert [v.value[0] for v in variables] == [0.95, 1, 1]
    with pytest.raises(ValueError, match="before the optimizer is built"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


def test_gradients_are_collected():
    one, other = Variable(np.zeros(2)), Variable(np.zeros(2))
    collecting = optimizers.SGD(1.0, momentum=0.5, clipvalue=2.0, gradient_accumulation_steps=2)
    plain = optimizers.SGD(1.0, momentum=0.5)
    for pair in ([[1.0, 0.0], [3.0, 9.0]], [[0.0, 2.0], [2.0, 0.0]]):
        first, second = map(np.array, pair)
        before = one.numpy()
        collecting.apply([first], [one])
        np.testing.assert_array_equal(one.value, before)
        collecting.apply([second], [one])
        plain.apply([np.clip((first + second) / 2, -2, 2)], [other])
        np.testing.assert_allclose(one.value, other.value)
    assert (collecting.iterations, plain.iterations) == (2, 2)


def test_a_scaled_loss_gives_scaled_gradients():
    one, other = Variable(np.zeros(2)), Variable(np.zeros(2))
    optimizers.SGD(1.0, loss_scale_factor=4.0).apply([np.array([4.0, 8.0])], [one])
    optimizers.SGD(1.0, loss_scale_factor=4.0).apply([np.array([1.0, 2.0])], [other], scaled=False)
    assert one.value.tolist() == other.value.tolist() == [-1, -2]


def test_running_means():
    variable = Variable(np.array([8.0]))
    optimizer = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=3)
    for value, mean in ((7, 7), (6, 6.75), (6.3125, 6.3125), (5.3125, 6.0625)):
        optimizer.apply([np.ones(1)], [variable])
        assert (variable.value[0], optimizer.averages[0][1].value[0]) == (value, mean)
    optimizer.finalize_variable_values([])
    assert variable.value[0] == 5.3125
    optimizer.finalize_variable_values([variable])
    assert variable.value[0] == 6.0625


def test_lamb_takes_steps_as_long_as_the_weights_are():
    variables = [Variable(np.array([3.0, 4.0])), Variable(np.zeros(2))]
    optimizers.Lamb(0.1).apply([np.array([1e-3, -1e-3])] * 2, variables)
    # The first step of Adam is the gradient's sign.
    np.testing.assert_allclose(variables[0].value, [3 - 0.5 / math.sqrt(2), 4 + 0.5 / math.sqrt(2)], rtol=1e-3)
    np.testing.assert_allclose(variables[1].value, [-0.1, 0.1], rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.Lion(beta_1=0), "beta_1 must be above 0"),
        (lambda: optimizers.Ftrl(learning_rate_power=0.5), "learning_rate_power must be 0 or negative"),
        (lambda: optimizers.Ftrl(l1_regularization_strength=-1), "l1_regularization_strength must be 0 or positive"),
    ],
)
def test_bad_arguments_of_variants(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_learning_rate_may_be_a_function():
    rates = iter([0.5, 0.25])
    variable = Variable(np.zeros(1))
    optimizer = optimizers.SGD(lambda: next(rates))
    for _ in range(2):
        optimizer.apply([np.ones(1)], [variable])
    assert variable.value[0] == -0.75
    optimizer.learning_rate = 0.125
    assert optimizer.learning_rate == 0.125


@pytest.mark.parametrize("name", sorted(cls.__name__ for cls in optimizers._CLASSES))
def test_a_pickled_optimizer_goes_on(name):
    variables = make_variables()
    optimizer = getattr(optimizers, name)()
    gradients = [np.full(v.shape, 0.3) for v in variables]
    optimizer.apply(gradients, variables)
    optimizer_, variables_ = pickle.loads(pickle.dumps((optimizer, variables)))
    optimizer.apply(gradients, variables)
    optimizer_.apply(gradients, variables_)
    for one, other in zip(variables, variables_, strict=True):
        np.testing.assert_array_equal(one.value, other.value)


def test_constraint_follows_the_step():
    variable = Variable(np.array([0.1, 5.0]), constraint=constraints.NonNeg())
    optimizers.SGD(1.0).apply([np.array([1.0, 1.0])], [variable])
    np.testing.assert_array_equal(variable.value, [0, 4])


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (optimizers.SGD(), []),
        (optimizers.SGD(momentum=0.9), ["kernel_momentum", "bias_momentum"]),
        (
            optimizers.RMSprop(momentum=0.9, centered=True),
            [f"{v}_{s}" for s in ("velocity", "momentum", "average_gradient") for v in ("kernel", "bias")],
        ),
        (
            optimizers.Adam(amsgrad=True),
            [f"{v}_{s}" for v in ("kernel", "bias") for s in ("momentum", "velocity")]
            + ["kernel_velocity_hat", "bias_velocity_hat"],
        ),
        (optimizers.Adagrad(), ["kernel_accumulator", "bias_accumulator"]),
        (
            optimizers.Ftrl(use_ema=True, gradient_accumulation_steps=2),
            [f"{v}_{s}" for s in ("average", "gradient_accumulator") for v in ("kernel", "bias")]
            + [f"{v}_{s}" for v in ("kernel", "bias") for s in ("accumulator", "linear")],
        ),
        (
            optimizers.Nadam(),
            [f"{v}_{s}" for v in ("kernel", "bias") for s in ("momentum", "velocity")] + ["variable"],
        ),
    ],
)
def test_order_of_saved_variables(optimizer, names):
    optimizer.build(make_variables())
    assert [v.name for v in optimizer.variables] == ["iteration", "learning_rate", *names]


def test_a_schedule_is_not_saved():
    optimizer = optimizers.SGD(schedules.CosineDecay(0.1, 10))
    assert [v.name for v in optimizer.variables] == ["iteration"]


@pytest.mark.parametrize(("cls", "rule", "options", "default"), RULES, ids=IDS)
def test_saved_state_continues_with_the_same_bits(cls, rule, options, default):
    rng = np.random.default_rng(4)
    variables = make_variables("float32")
    optimizer = cls(**options)
    gradients = [[g.astype(np.float32) for g in gradients_of(rng, variables)] for _ in range(STEPS)]
    for step in gradients[:3]:
        optimizer.apply(step, variables)
    copies = [Variable(v.numpy(), v.name) for v in variables]
    again = cls.from_config({**optimizer.get_config(), "learning_rate": 0.5})
    again.build(copies)
    for fresh, saved in zip(again.variables, optimizer.variables, strict=True):
        fresh.assign(saved.numpy())
    assert again.iterations == 3
    for step in gradients[3:]:
        optimizer.apply(step, variables)
        again.apply(step, copies)
    for v, copy in zip(variables, copies, strict=True):
        np.testing.assert_array_equal(v.value, copy.value)


def test_apply_gradients_and_built_variables():
    variables = make_variables()
    start = variables[1].numpy()
    optimizer = optimizers.SGD(0.5)
    gradients = [np.ones(v.shape) for v in variables]
    assert optimizer.apply_gradients(zip(gradients, variables, strict=True)) == 1
    optimizer.apply(gradients)
    np.testing.assert_allclose(variables[1].value, start - 1, rtol=1e-14)


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ([np.ones((3, 4)), None], r"bias must have shape \(5,\), not None"),
        ([np.ones((3, 4)), np.ones(4)], r"bias must have shape \(5,\), not shape \(4,\)"),
        ([np.ones((3, 4))], "1 gradients do not fit 2 variables"),
    ],
)
def test_bad_gradients_change_nothing(gradients, message):
    variables = make_variables()
    before = variables[0].numpy()
    optimizer = optimizers.Adam()
    with pytest.raises(ValueError, match=message):
        optimizer.apply(gradients, variables)
    np.testing.assert_array_equal(variables[0].value, before)
    assert optimizer.iterations == 0


def test_foreign_variables_are_refused():
    optimizer = optimizers.Adam()
    optimizer.build(make_variables())
    with pytest.raises(ValueError, match="built for other variables than kernel"):
        optimizer.apply([np.ones((3, 4))], make_variables()[:1])


def test_learning_rate():
    optimizer = optimizers.Adam()
    assert optimizer.learning_rate == 0.001
    optimizer.learning_rate = 0.25
    assert optimizer.learning_rate == 0.25
    assert optimizer.get_config()["learning_rate"] == 0.25
    optimizer.learning_rate = np.float32(0.5)
    assert isinstance(optimizer.learning_rate, float)
    for bad in (-1.0, math.nan, "0.1", None, [0.1]):
        with pytest.raises(ValueError, match="learning_rate must be a finite number"):
            optimizer.learning_rate = bad
        with pytest.raises(ValueError, match="learning_rate must be a finite number"):
            optimizers.SGD(bad)
    assert optimizer.learning_rate == 0.5


def test_schedules_by_hand():
    exponential = schedules.ExponentialDecay(0.8, decay_steps=2, decay_rate=0.25)
    np.testing.assert_allclose([exponential(s) for s in range(4)], [0.8, 0.4, 0.2, 0.1], rtol=1e-14)
    stairs = schedules.ExponentialDecay(0.8, 2, 0.25, staircase=True)
    np.testing.assert_allclose([stairs(s) for s in range(4)], [0.8, 0.8, 0.2, 0.2], rtol=1e-14)
    pieces = schedules.PiecewiseConstantDecay([1, 3], [0.3, 0.2, 0.1])
    assert [pieces(s) for s in range(5)] == [0.3, 0.3, 0.2, 0.2, 0.1]
    cosine = schedules.CosineDecay(1.0, 4, alpha=0.5)
    root = math.sqrt(0.5)
    want = [1, 0.75 + 0.25 * root, 0.75, 0.75 - 0.25 * root, 0.5, 0.5]
    np.testing.assert_allclose([cosine(s) for s in range(6)], want, rtol=1e-14)
    warm = schedules.CosineDecay(0.2, 2, warmup_target=1.0, warmup_steps=4)
    np.testing.assert_allclose([warm(s) for s in range(8)], [0.2, 0.4, 0.6, 0.8, 1, 0.5, 0, 0], atol=1e-15)


def test_more_schedules_by_hand():
    inverse = schedules.InverseTimeDecay(0.8, 2, 1.0)
    np.testing.assert_allclose([inverse(s) for s in range(5)], [0.8, 0.8 / 1.5, 0.4, 0.32, 0.8 / 3], rtol=1e-14)
    assert schedules.InverseTimeDecay(0.8, 2, 1.0, staircase=True)(3) == 0.4
    line = schedules.PolynomialDecay(1.0, 4, 0.2, power=2)
    np.testing.assert_allclose([line(s) for s in (0, 2, 4, 9)], [1, 0.4, 0.2, 0.2], rtol=1e-14)
    again = schedules.PolynomialDecay(1.0, 4, 0.2, cycle=True)
    np.testing.assert_allclose([again(s) for s in (0, 4, 5, 8, 9)], [1, 0.2, 0.5, 0.2, 0.4], rtol=1e-14)
    waves = schedules.CosineDecayRestarts(1.0, 2, t_mul=2, m_mul=0.5, alpha=0.1)
    want = [1, 0.55, 0.55, 0.325, 0.325]
    np.testing.assert_allclose([waves(s) for s in (0, 1, 2, 4, 6)], want, rtol=1e-12)
    even = schedules.CosineDecayRestarts(1.0, 2, t_mul=1)
    np.testing.assert_allclose([even(s) for s in range(5)], [1, 0.5, 1, 0.5, 1], rtol=1e-12)
    # Waves at 0, 8 and 56: a logarithm alone puts some of these beginnings into the wave before.
    assert [schedules.CosineDecayRestarts(1.0, 8, t_mul=6)(s) for s in (0, 8, 56, 344)] == [1, 1, 1, 1]


def test_a_schedule_drives_the_steps():
    optimizer = optimizers.SGD(schedules.PiecewiseConstantDecay([0], [1.0, 0.25]))
    variable = Variable(np.zeros(1))
    assert optimizer.learning_rate == 1
    for _ in range(3):
        optimizer.apply([np.ones(1)], [variable])
    assert variable.value[0] == -1.5
    with pytest.raises(TypeError, match="cannot be set"):
        optimizer.learning_rate = 0.1


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.ExponentialDecay(0.1, 10, 0.9, staircase=True),
        schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2, 0.3]),
        schedules.CosineDecay(0.1, 10, 0.2, warmup_target=0.3, warmup_steps=5),
        schedules.CosineDecayRestarts(0.1, 10, 3.0, 0.7, 0.2),
        schedules.InverseTimeDecay(0.1, 10, 0.9, staircase=True),
        schedules.PolynomialDecay(0.1, 10, 0.02, 2.0, cycle=True),
    ],
)
def test_schedule_serialization(schedule):
    config = optimizers.serialize(optimizers.Adam(schedule))
    assert config["config"]["learning_rate"]["module"] == "keras.optimizers.schedules"
    again = optimizers.deserialize(config)
    assert optimizers.serialize(again) == config
    assert again.learning_rate == schedule(0)


@pytest.mark.parametrize(("cls", "rule", "options", "default"), RULES, ids=IDS)
def test_serialization(cls, rule, options, default):
    config = optimizers.serialize(cls(**options, clipnorm=2.0, name="own"))
    assert config["module"] == "keras.optimizers"
    assert config["config"]["learning_rate"] == default
    again = optimizers.deserialize(config)
    assert type(again) is cls
    assert optimizers.serialize(again) == config


def test_keras_config_keys():
    common = (
        "name learning_rate weight_decay clipnorm global_clipnorm clipvalue use_ema ema_momentum "
        "ema_overwrite_frequency loss_scale_factor gradient_accumulation_steps"
    ).split()
    assert set(optimizers.SGD().get_config()) == {*common, "momentum", "nesterov"}
    assert set(optimizers.AdamW().get_config()) == {*common, "beta_1", "beta_2", "epsilon", "amsgrad"}
    assert optimizers.AdamW().get_config()["weight_decay"] == 0.004


def test_get():
    assert optimizers.get(None) is None
    for name in ("rmsprop", "RMSprop", "RMSPROP"):
        assert isinstance(optimizers.get(name), optimizers.RMSprop)
    assert isinstance(optimizers.get(optimizers.AdamW), optimizers.AdamW)
    own = optimizers.SGD()
    assert optimizers.get(own) is own
    assert own.name == "sgd"
    with pytest.raises(ValueError, match="Unknown optimizer 'adafactor'. Known: .*adamw"):
        optimizers.get("adafactor")
    with pytest.raises(TypeError, match="cannot serve as optimizer"):
        optimizers.get(0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.1}, r"learning_rate=0.1, not lr="),
        ({"momentun": 0.1}, "does not know the argument momentun=0.1"),
        ({"use_ema": True, "ema_momentum": 1.5}, "ema_momentum must be from 0 to 1, not 1.5"),
        ({"ema_overwrite_frequency": 0}, "ema_overwrite_frequency must be a whole number of at least 1"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps must be a whole number of at least 2"),
        ({"loss_scale_factor": 0}, "loss_scale_factor must be positive"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "one may be given"),
        ({"clipnorm": -1.0}, "positive"),
        ({"momentum": 1.5}, "momentum must be from 0 to 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        optimizers.SGD(**options)


def test_keras_2_decay_warns():
    with pytest.warns(UserWarning, match="decay= is ignored"):
        optimizers.SGD(decay=1e-6)


def test_bad_schedules():
    with pytest.raises(ValueError, match="decay_steps must be positive, not 0"):
        schedules.CosineDecay(0.1, 0)
    with pytest.raises(ValueError, match="one more than boundaries"):
        schedules.PiecewiseConstantDecay([1], [0.1])
    with pytest.raises(ValueError, match="boundaries must grow"):
        schedules.PiecewiseConstantDecay([2, 1], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.Adam(),
        optimizers.Adam(amsgrad=True),
        optimizers.AdamW(),
        optimizers.SGD(0.1, momentum=0.9),
        optimizers.RMSprop(),
        optimizers.RMSprop(momentum=0.9, centered=True),
    ],
)
@pytest.mark.parametrize("threads", [1, None])
def test_many_weights_in_one_pass(optimizer, threads):
    """As one at a time, whatever their sizes, at any number of threads; also for gradients that must be copied."""
    rng = np.random.default_rng(0)
    shapes = [(3, 5, 7), (1,), (200, 301), (0,), (17,)]
    config = optimizer.get_config()
    together, alone = type(optimizer).from_config(config), [type(optimizer).from_config(config) for _ in shapes]
    values = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    variables = [Variable(value.copy(), f"v{i}") for i, value in enumerate(values)]
    single = [Variable(value.copy(), f"v{i}") for i, value in enumerate(values)]
    before = numba.get_num_threads()
    numba.set_num_threads(threads or before)
    try:
        for _ in range(3):
            gradients = [rng.standard_normal(shape) for shape in shapes]
            gradients[0] = np.asfortranarray(gradients[0])
            together.apply(gradients, variables)
            for one, gradient, variable in zip(alone, gradients, single, strict=True):
                one.apply([gradient], [variable])
    finally:
        numba.set_num_threads(before)
    for variable, other in zip(variables, single, strict=True):
        np.testing.assert_array_equal(variable.value, other.value)


def test_a_copy_has_weights_of_its_own():
    variable = Variable(np.ones(5, "float32"))
    optimizer = optimizers.Adam(0.1)
    optimizer.apply([np.ones(5, "float32")], [variable])
    after_one = variable.value.copy()
    copied, copy = deepcopy((optimizer, variable))
    copied._model_variables = [copy]
    copied._states = {id(copy): next(iter(copied._states.values()))}
    copied.apply([np.ones(5, "float32")], [copy])
    np.testing.assert_array_equal(variable.value, after_one)
    assert (copy.value < after_one).all()
