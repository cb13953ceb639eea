"""The kernels of a training step on a GPU beside the ops': simulated, and compared with what the CPU computes."""

import importlib
import os

import numpy as np
import pytest
from lab import run

from fastconv import activations, optimizers
from fastconv.gpu.elementwise import code
from fastconv.kernels import cpu_dropout, cuda, cuda_activations, cuda_clipping, cuda_dropout, cuda_updates
from fastconv.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Ftrl, Lamb, Lion, Nadam, RMSprop
from fastconv.variable import Variable

ELEMENTWISE = [
    activations.relu,
    activations.ReLU(0.1, 6, 1),
    activations.relu6,
    activations.leaky_relu,
    activations.elu,
    activations.selu,
    activations.sigmoid,
    activations.tanh,
    activations.softplus,
    activations.softsign,
    activations.exponential,
    activations.hard_sigmoid,
    activations.silu,
    activations.hard_silu,
    activations.gelu,
    activations.GELU(approximate=True),
    activations.mish,
    activations.celu,
    activations.CELU(0.3),
    activations.hard_tanh,
    activations.hard_shrink,
    activations.HardShrink(2.0),
    activations.soft_shrink,
    activations.SoftShrink(2.0),
    activations.threshold,
    activations.Threshold(1.0, -3.0),
    activations.sparse_plus,
    activations.squareplus,
    activations.SquarePlus(0.5),
    activations.log_sigmoid,
    activations.sparse_sigmoid,
    activations.tanh_shrink,
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda a: f"{a.name}{len(a.get_config())}")
def test_an_activation_and_its_slope(activation, rng):
    x = (4 * rng.normal(size=(7, 300))).astype("float32")
    x[0, :6] = np.nan, np.inf, -np.inf, 0, 100, -100
    kind, parameters = code(activation)
    y, gx = np.empty_like(x), np.empty_like(x)
    with np.errstate(all="ignore"):
        run(cuda_activations.forward(kind, parameters, x, y))
        expected = activation.forward(x, np.empty_like(x))
        close(y, expected)
        gy = rng.normal(size=x.shape).astype("float32")
        run(cuda_activations.backward(kind, parameters, gy, expected, x, gx))
        close(gx, activation.backward(gy, expected, x, np.empty_like(x)))


def test_every_activation_has_a_kernel():
    by_themselves = {activation.name for activation in ELEMENTWISE}
    assert by_themselves | {"linear", "softmax", "log_softmax", "sparsemax", "glu"} == set(activations._DEFAULTS)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_gated_unit_and_its_slope(axis, rng):
    x = (4 * rng.normal(size=(6, 8, 10))).astype("float32")
    x[0, 0, 0], x[5, 7, 9] = np.inf, -200
    gate = activations.GLU(axis)
    y, gx = np.full(gate.output_shape(x.shape), np.nan, "float32"), np.full_like(x, np.nan)
    inner = int(np.prod(y.shape[axis % 3 :]))
    run(cuda_activations.glu(x, y, inner))
    close(y, gate(x.astype(float)))
    x[0, 0, 0] = 3
    gy = rng.normal(size=y.shape).astype("float32")
    run(cuda_activations.glu_backward(gy, x, gx, inner))
    wide = x.astype(float)
    close(gx, gate.backward(gy.astype(float), None, wide, np.empty_like(wide)))


@pytest.mark.parametrize("key", [0, 5, 0xDEADBEEFCAFEBABE])
@pytest.mark.parametrize("count", [1, 101, 256, 1000])
def test_dropout_draws_what_the_cpu_draws(count, key):
    for call in (0, 7, 70000, 2**31 + 5):
        expected = np.empty(count, "float32")
        cpu_dropout.draw(expected, key, call, 0.3)
        x = np.arange(1, count + 1, dtype="float32")
        halves = np.array([call & 0xFFFF, call >> 16], "float32")
        y = np.empty_like(x)
        run(cuda_dropout.dropout(x, y, key, halves, 0.3))
        close(y, x * expected, atol=0)


def test_random_numbers_are_philoxs():
    """Against the published test vector of ten rounds, and a second implementation."""

    def rounds(a, c, k0, k1):
        b = d = 0
        for _ in range(10):
            low, high = 0xD2511F53 * a, 0xCD9E8D57 * c
            a, b, c, d = high >> 32 ^ b ^ k0, high & 0xFFFFFFFF, low >> 32 ^ d ^ k1, low & 0xFFFFFFFF
            k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
        return a, b, c, d

    assert rounds(0, 0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    mask = np.empty(512, "float64")
    cpu_dropout.draw(mask, 5 << 32 | 3, 9, 0.25)
    drawn = [rounds(64 * (i // 256) + i % 64, 9, 3, 5)[i % 256 // 64] for i in range(512)]
    np.testing.assert_array_equal(mask > 0, [(bits >> 8) * 2.0**-24 >= 0.25 for bits in drawn])
    assert set(mask) == {0, 1 / 0.75}


OPTIMIZERS = [
    SGD(0.1),
    SGD(0.1, momentum=0.9),
    SGD(0.1, momentum=0.9, nesterov=True),
    Adam(0.1),
    Adam(0.1, amsgrad=True),
    AdamW(0.1),
    RMSprop(0.1),
    RMSprop(0.1, momentum=0.5, centered=True),
    Adagrad(0.1),
    Adadelta(0.1),
    Adamax(0.1),
    Ftrl(0.1, l1_regularization_strength=0.02, l2_regularization_strength=0.1, beta=0.2),
    Ftrl(0.1, learning_rate_power=-0.7, l2_shrinkage_regularization_strength=0.1),
    Lamb(0.1),
    Lamb(0.1, beta_1=0.5, global_clipnorm=0.4, weight_decay=0.1),
    Lion(0.1),
    Nadam(0.1),
    SGD(0.1, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=2),
    Nadam(0.1, gradient_accumulation_steps=2, use_ema=True, clipvalue=0.5, weight_decay=0.1),
]


def test_every_optimizer_runs_on_a_gpu():
    """One that is added to the package is missing in the table above."""
    assert {type(optimizer) for optimizer in OPTIMIZERS} == set(optimizers._CLASSES)


@pytest.mark.parametrize(
    "optimizer",
    OPTIMIZERS,
    ids=lambda o: "-".join(f"{key}" for key in (o.name, o.get_config().get("momentum"), o.get_config().get("amsgrad"))),
)
def test_an_update(optimizer, rng, monkeypatch):
    """Of two variables, one of them of zeros; where there are chunks, of several."""
    from fastconv.gpu import updates
    from fastconv.gpu.memory import Memory
    from fastconv.gpu.parameters import Parameters
    from fastconv.gpu.program import Recorder

    monkeypatch.setattr(cuda_clipping, "CHUNK", 128)
    starts = rng.normal(size=300).astype("float32"), np.zeros(7, "float32")
    with cuda.launched_by(lambda launch: None):
        memory = Memory()
    other = type(optimizer).from_config(optimizer.get_config())
    theirs, ours = ([Variable(start.copy()) for start in starts] for _ in range(2))
    optimizer.build(theirs)
    other.build(ours)
    updates.check(other, ours)
    parameters = Parameters(memory, ours, [], updates.state_of(other, ours))
    parameters.push()
    rates, programs = np.zeros(updates.NUMBERS, "float32"), []
    for collects in (False, True):
        recorder = Recorder(memory)
        updates.record(recorder, other, parameters, rates, collects)
        programs.append(recorder.program())
    for _ in range(4):
        gradients = [rng.normal(size=start.shape).astype("float32") for start in starts]
        optimizer.apply(gradients, theirs)
        for variable, gradient in zip(ours, gradients, strict=True):
            parameters.gradient_of(variable)[...] = gradient
        rates[:] = updates.next_numbers(other)
        run(programs[other.only_collects].launches)
        parameters.changed()
        other.count_step()
    for mine, expected in zip([*ours, *other.variables], [*theirs, *optimizer.variables], strict=True):
        close(mine.value, expected.value)


def test_pieces_of_an_update(rng):
    value, gradient = rng.normal(size=(2, 300)).astype("float32")
    value[:3] = 0, 1, -1
    start = value.copy()
    run(cuda_updates.decay(value, np.array([9, 0.25], "float32")))
    close(value, 0.75 * start)
    clipped = gradient.copy()
    run(cuda_updates.clip(clipped, 0.5))
    close(clipped, np.clip(gradient, -0.5, 0.5))


MODULES = ["cuda_activations", "cuda_affine", "cuda_batch_norm", "cuda_focal", "cuda_losses", "cuda_normal"]
MODULES += ["cuda_places", "cuda_sample_norm", "cuda_strided", "cuda_update_variants"]
if os.environ.get("FASTCONV_TEST_EVERYTHING"):  # those that take fewer registers, too
    MODULES += ["cuda_clipping", "cuda_constraints", "cuda_correlations", "cuda_dropout", "cuda_global_max"]
    MODULES += ["cuda_lamb", "cuda_overlap", "cuda_penalties", "cuda_prelu", "cuda_resample", "cuda_softmax"]
    MODULES += ["cuda_tallies", "cuda_tone", "cuda_totals", "cuda_units", "cuda_updates"]


@pytest.mark.parametrize("module", MODULES)
def test_compiled_without_spills_and_without_float64(module):
    inspecting = pytest.importorskip("fastconv.inspecting.compile")
    from fastconv.inspecting.architectures import find

    found = vars(importlib.import_module(f"fastconv.kernels.{module}")).values()
    kernels = [value for value in found if isinstance(value, cuda.CudaKernel)]
    assert kernels
    for kernel in kernels:
        try:
            compiled = inspecting.compile_kernel(kernel, find("sm_90"))
        except inspecting.ToolkitError as error:
            pytest.skip(str(error))
        assert compiled.resources.spill_bytes == compiled.resources.stack_bytes == 0
        assert compiled.resources.registers <= 40
        assert not [
            i.text for i in compiled.instructions if i.text.startswith(("DADD", "DMUL", "DFMA", "DSETP", "F2F.F64"))
        ]
