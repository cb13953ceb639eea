"""Training, evaluation and prediction through the GPU's path, with the simulator in a GPU's place."""

import contextlib
import copy
import pickle
import types

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import device, layers, losses, metrics, optimizers, regularizers
from fastconv.devices import current_device
from fastconv.gpu.network import recorded_class
from fastconv.gpu.recorded import Unsupported

X = np.random.default_rng(0).normal(size=(22, 6, 5, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 22)


@pytest.fixture
def gpu():
    """The device is the GPU, simulated; a list of the launches."""
    with lab() as launches, device("gpu"):
        yield launches


def a_model(optimizer="adam", **compiled):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            layers.Input((6, 5, 2)),
            layers.Conv2D(4, (3, 2), activation="relu", padding="same", kernel_regularizer="l2"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(5, activation="tanh", bias_regularizer=regularizers.L1(0.01)),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        **{"optimizer": optimizer, "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **compiled}
    )
    return model


def close(found, expected, atol=2e-6):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=atol)


def test_steps_give_the_cpus_weights():
    """A few; `test_gpu_agreement` has more."""
    fit = {"batch_size": 8, "epochs": 2, "verbose": 0}  # three steps an epoch, the last of six samples
    expected = a_model()
    history = expected.fit(X, Y, **fit).history
    model = a_model()
    with lab() as launches, device("gpu"):
        found = model.fit(X, Y, **fit).history
        trained = len(launches)
        prediction = model.predict(X[:4], verbose=0)
    assert model.optimizer.iterations == expected.optimizer.iterations == 6
    close(model.get_weights(), expected.get_weights())
    close([v.numpy() for v in model.optimizer.variables], [v.numpy() for v in expected.optimizer.variables])
    close([prediction], [expected.predict(X[:4], verbose=0)])
    assert found.keys() == history.keys()
    close(found.values(), history.values())
    assert trained % 6 == 0, "each step has the same launches"


def test_nothing_is_allocated_in_a_step(gpu):
    model = a_model()
    model.train_on_batch(X[:8], Y[:8])
    memory, program = model._runner.memory, next(iter(model._runner._steps.values()))._program
    before = memory.allocated_bytes, program.launches
    for start in (8, 12):
        model.train_on_batch(X[start : start + 8], Y[start : start + 8])
    assert (memory.allocated_bytes, program.launches) == before and len(model._runner._steps) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": optimizers.SGD(0.1, momentum=0.9, nesterov=True), "weighted_metrics": ["accuracy"]},
        {"optimizer": optimizers.AdamW(0.01, weight_decay=0.1, clipvalue=0.01)},
        {
            "optimizer": optimizers.RMSprop(optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)),
            "metrics": ["crossentropy"],
        },
        {"optimizer": "adagrad", "metrics": [metrics.SparseTopKCategoricalAccuracy(2), "mae"][:1]},
    ],
    ids=lambda options: str(getattr(options["optimizer"], "name", options["optimizer"])),
)
def test_optimizers_metrics_and_weights(options):
    results = []
    for name in ("cpu", "gpu"):
        with lab(), device(name):
            model = a_model(**copy.deepcopy(options))
            weights = {"sample_weight": np.linspace(0.5, 2, 16)}
            logs = model.fit(X[:16], Y[:16], batch_size=8, epochs=1, verbose=0, **weights).history
            scores = model.evaluate(X, Y, batch_size=16, verbose=0, return_dict=True)
            batch = model.train_on_batch(X[:4], Y[:4], class_weight={0: 2.0, 1: 0.5}, return_dict=True)
            results.append([*model.get_weights(), *logs.values(), *scores.values(), *batch.values()])
    close(results[1], results[0])


def test_regression_with_channels_first():
    results = []
    x = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    y = X[:, 0, 0, :1] * 2
    for name in ("cpu", "gpu"):
        keras.utils.set_random_seed(2)
        first = {"data_format": "channels_first"}
        model = keras.Sequential(
            [
                layers.Input((2, 6, 5)),
                layers.Conv2D(3, 2, strides=(1, 2), **first),
                layers.Activation("gelu"),
                layers.Dropout(0.2),
                layers.AveragePooling2D((2, 1), **first),
                layers.Flatten(**first),
                layers.ReLU(max_value=2.0, negative_slope=0.1),
                layers.Dense(1),
            ]
        )
        model.compile("sgd", losses.Huber(0.5), metrics=["mae"])
        with lab(), device(name):
            logs = model.fit(x, y, batch_size=11, epochs=2, verbose=0).history
            results.append([*model.get_weights(), *logs.values(), model.predict_on_batch(x[:3])])
    close(results[1], results[0])


def test_weights_move_between_the_devices_freely():
    expected, model = a_model(), a_model()
    with lab(), device("gpu"):
        model.train_on_batch(X[:8], Y[:8])
    expected.train_on_batch(X[:8], Y[:8])
    close(model.get_weights(), expected.get_weights())
    assert model._runner is not None and model.layers[0].kernel.mirror is not None
    for each in (model, expected):  # on the CPU, with the slots that the GPU has changed
        each.train_on_batch(X[8:16], Y[8:16])
    assert model._runner is None and model.layers[0].kernel.mirror is None
    with lab(), device("gpu"):
        for each in (model, expected):
            each.layers[0].kernel.value[0, 0] += 0.5
            each.optimizer.learning_rate = 0.02
        model.train_on_batch(X[4:12], Y[4:12])
        model.layers[0].bias.assign(np.arange(4))  # while the weights are on the GPU
        model.train_on_batch(X[2:10], Y[2:10])
    with lab():
        expected.train_on_batch(X[4:12], Y[4:12])
        expected.layers[0].bias.assign(np.arange(4))
        expected.train_on_batch(X[2:10], Y[2:10])
    close(model.get_weights(), expected.get_weights())


def test_a_model_saved_from_a_gpu_loads_on_a_cpu(gpu, tmp_path):
    model = a_model()
    model.train_on_batch(X[:8], Y[:8])
    model.save(tmp_path / "model.keras")
    for other in (
        keras.models.load_model(tmp_path / "model.keras"),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
    ):
        with device("cpu"):
            close([other.predict(X, verbose=0)], [model.predict(X, verbose=0)])
        close(other.get_weights(), model.get_weights(), atol=0)
        close([v.numpy() for v in other.optimizer.variables], [v.numpy() for v in model.optimizer.variables], atol=0)


def test_same_seed_same_bits(gpu):
    results = []
    for _ in range(2):
        model = a_model()
        model.fit(X[:16], Y[:16], batch_size=8, verbose=0)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_frozen_layers_compute_no_gradients(gpu):
    model = a_model()
    model.layers[0].trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    frozen = model.layers[0].kernel.numpy()
    model.train_on_batch(X[:8], Y[:8])
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), frozen)
    assert not [launch for launch in gpu if "max_pool2d_backward" in launch.kernel.py_func.__module__]


def test_callbacks_see_the_batches_so_far(gpu):
    class Seen(keras.callbacks.Callback):
        def __init__(self):
            self.losses, self.results = [], []

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(dict(logs)["loss"])
            self.results.append(self.model.metrics[0].result())

    seen, model = Seen(), a_model()
    history = model.fit(X[:16], Y[:16], batch_size=8, verbose=0, callbacks=[seen]).history
    assert seen.losses[0] != seen.losses[1] == pytest.approx(history["loss"][0])
    assert seen.results == seen.losses


# What a GPU does not do.


class Mine(layers.Layer):
    def forward(self, x, training=False, buffers=None):
        return x

    def backward(self, grad, buffers=None, **options):
        return grad


class Half(layers.Dense):
    def forward(self, x, training=False, buffers=None):
        return super().forward(x, training, buffers) / 2


class Ours(regularizers.L2):
    """Not what L2 does, for all that anybody knows."""


class Slower(optimizers.SGD):
    pass


@pytest.mark.parametrize(
    "layer, reason",
    [
        (Mine(name="a"), r'"a" \(Mine\) has no kernels for a GPU'),
        (Half(3, name="a"), r'"a" \(Half\) has no kernels for a GPU'),
        (layers.Dense(3, kernel_regularizer=Ours()), "the regularizer Ours is for the CPU"),
        (layers.Dense(3, dtype="float64"), "float64, kernels for a GPU in float32"),
    ],
)
def test_layers_that_run_on_the_cpu_only(layer, reason):
    if not layer.built:
        layer.build((None, 3))
    with pytest.raises(Unsupported, match=reason):
        recorded_class(layer)


@pytest.mark.parametrize(
    "compiled, reason",
    [
        ({"optimizer": Slower()}, "the optimizer Slower has no kernels for a GPU"),
    ],
)
def test_a_refusal_names_what_is_in_the_way(gpu, compiled, reason):
    model = a_model(**compiled)
    before = model.get_weights()
    with pytest.raises(ValueError, match=reason):
        model.fit(X, Y, verbose=0)
    close(model.get_weights(), before, atol=0)


def test_a_device_that_is_not_there_is_no_silent_cpu(monkeypatch):
    from fastconv.kernels import cuda

    monkeypatch.setattr(cuda, "unavailable", lambda: "no GPU, or no driver for one, was found")
    with pytest.raises(RuntimeError, match="'gpu' cannot be used: no GPU"), device("gpu"):
        pass
    monkeypatch.setenv("FASTCONV_DEVICE", "gpu")
    with pytest.raises(RuntimeError, match="'gpu' cannot be used"):
        a_model().predict(X, verbose=0)
    monkeypatch.setenv("FASTCONV_DEVICE", "tpu")
    with pytest.raises(ValueError, match="received 'tpu'"):
        current_device()
    with device("cpu"):
        assert current_device() == "cpu"


def test_auto_takes_the_gpu_for_what_it_can_run_and_says_so(monkeypatch, caplog):
    caplog.set_level("INFO")
    model = a_model()
    with lab(), device("auto"):
        model.train_on_batch(X[:4], Y[:4])
        model.predict(X[:4], verbose=0)
        assert model._runner is not None
        model.compile(Slower(0.1), "sparse_categorical_crossentropy")
        model.train_on_batch(X[:4], Y[:4])
        model.train_on_batch(X[:4], Y[:4])
        assert model._runner is None
        assert copy.deepcopy(model)._kept_on_cpu is None and pickle.loads(pickle.dumps(model._kept_on_cpu)) is None
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.train_on_batch(X[:4], Y[:4])
        assert model._runner is not None and model.layers[0].kernel.mirror is not None
    assert caplog.messages == [
        f'the device "auto" is the GPU for {model.name}: it has kernels for all of the model',
        f'the device "auto" is the CPU for {model.name}: the optimizer Slower has no kernels for a GPU: use the device '
        "'cpu'.",
        f'the device "auto" is the GPU for {model.name}: it has kernels for all of the model',
    ]


def test_auto_without_a_gpu_is_the_cpu_and_says_why_once(monkeypatch, caplog):
    from fastconv.kernels import cuda
    from fastconv.models import placement

    placement._say_once.cache_clear()
    monkeypatch.setattr(cuda, "unavailable", lambda: "there is no NVIDIA driver")
    monkeypatch.setenv("FASTCONV_DEVICE", "auto")
    for model in (a_model(), a_model()):
        assert model.predict(X[:2], verbose=0).shape == (2, 3) and model._runner is None
    assert caplog.messages == ['the device "auto" is the CPU: there is no NVIDIA driver']


def test_a_full_memory_says_how_full_and_changes_nothing(gpu, monkeypatch):
    def full(shape, dtype):
        raise MemoryError("Out of memory allocating 4,194,304 bytes")

    model = a_model()
    model.train_on_batch(X[:1], Y[:1])
    before, memory = model.get_weights(), model._runner.memory
    monkeypatch.setattr(memory, "simulated", False)
    monkeypatch.setattr(memory, "queued", contextlib.nullcontext)
    runtime = types.SimpleNamespace(memGetInfo=lambda: (3 << 20, 80 << 30))
    memory.arrays = types.SimpleNamespace(zeros=full, cuda=types.SimpleNamespace(runtime=runtime))
    with pytest.raises(
        MemoryError,
        match=r"shape \(1024, 1024\) takes 4.0 MiB, and 3.0 MiB of 81920.0 MiB are free; this model has 0.0 MiB. Use a "
        "smaller batch_size",
    ):
        memory.zeros((1024, 1024))
    with pytest.raises(MemoryError):
        model.train_on_batch(X[:2], Y[:2])
    close(model.get_weights(), before, atol=0)
    memory.arrays, memory.simulated = np, True
    model.train_on_batch(X[:2], Y[:2])
    assert model.optimizer.iterations == 2


def test_a_model_that_was_refused_runs_once_it_is_changed_back(gpu):
    model = a_model()
    model.train_on_batch(X[:4], Y[:4])
    mine = model.optimizer
    model.optimizer = Slower(0.1)
    with pytest.raises(Unsupported, match="Slower"):
        model.train_on_batch(X[:4], Y[:4])
    model.optimizer = mine
    before = model.get_weights()
    model.train_on_batch(X[:4], Y[:4])
    assert (model.get_weights()[0] != before[0]).all() and mine.iterations == 2


# With stand-ins for CuPy: what is asked of streams, graphs and memory.


class FakeStream:
    def __init__(self, log, name):
        self.log, self.name, self.ptr = log, name, name

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def begin_capture(self):
        self.log.append("begin")

    def end_capture(self):
        self.log.append("end")
        if self.log.count("fail"):
            raise RuntimeError("cannot be captured")
        return types.SimpleNamespace(launch=lambda stream: self.log.append("graph"))

    def wait_event(self, event):
        self.log.append(f"{self.name} waits for {event.name}")


@pytest.mark.parametrize("fails", [False, True])
def test_the_second_run_is_captured_and_the_others_are_replayed(fails, caplog):
    from fastconv.gpu.program import Program

    log = ["fail"] if fails else []
    stream = FakeStream(log, "main")
    memory = types.SimpleNamespace(simulated=False, stream=stream, queued=lambda: stream)
    launch = types.SimpleNamespace(bind=lambda: lambda stream: log.append("launch"))
    program = Program(memory, [launch, launch])
    for _ in range(4):
        program.run()
    twice = ["launch"] * 2
    if fails:
        assert log[1:] == [*twice, "begin", *twice, "end", *twice, *twice, *twice]
        assert "2 launches are not captured into a CUDA graph: cannot be captured" in caplog.text
    else:
        assert log == [*twice, "begin", *twice, "end", "graph", "graph", "graph"]


class FakeEvent:
    count = 0

    def __init__(self, log):
        self.log, self.name = log, f"event {FakeEvent.count % 4}"
        FakeEvent.count += 1

    def record(self, stream):
        self.log.append(f"{self.name} in {stream.name}")

    def synchronize(self):
        self.log.append(f"host waits for {self.name}")


def test_a_batch_is_on_its_way_while_the_step_before_runs():
    from fastconv.gpu.memory import Inlet

    log = []
    FakeEvent.count = 0
    cupy = types.SimpleNamespace()
    runtime = {"memcpyAsync": lambda *args: log.append(("copy", *args[2:])), "CUDARuntimeError": RuntimeError}
    cupy.cuda = types.SimpleNamespace(
        Stream=lambda non_blocking: FakeStream(log, "copies"),
        Event=lambda disable_timing: FakeEvent(log),
        alloc_pinned_memory=bytearray,
        runtime=types.SimpleNamespace(**runtime),
    )
    blocks = iter(range(9))

    def zeros(shape):
        array = types.SimpleNamespace(data=types.SimpleNamespace(ptr=next(blocks)))
        return array

    memory = types.SimpleNamespace(simulated=False, arrays=cupy, stream=FakeStream(log, "main"), zeros=zeros)
    inlet = Inlet(memory, 3)
    first = inlet.begin()
    inlet.send()
    assert inlet.begin() is not first
    assert log == [
        "host waits for event 0",
        "copies waits for event 2",
        ("copy", 12, 1, "copies"),
        "event 0 in copies",
        "main waits for event 0",
        ("copy", 12, 3, "main"),
        "event 2 in main",
        "host waits for event 1",
    ]


def test_predictions_are_on_their_way_to_the_host_while_the_next_step_runs():
    from fastconv.gpu.memory import Outlet

    log = []
    FakeEvent.count = 0
    cupy = types.SimpleNamespace()
    cupy.cuda = types.SimpleNamespace(
        Event=lambda disable_timing: FakeEvent(log),
        alloc_pinned_memory=bytearray,
        runtime=types.SimpleNamespace(memcpyAsync=lambda host, device, *args: log.append(("copy", device, *args))),
    )
    memory = types.SimpleNamespace(simulated=False, arrays=cupy, stream=FakeStream(log, "main"))
    array = types.SimpleNamespace(shape=(3, 2), size=6, data=types.SimpleNamespace(ptr="predictions"))
    outlet = Outlet(memory, array)
    outlet.send(0)
    outlet.send(1)
    assert outlet.take(0).shape == (3, 2) and outlet.take(0) is not outlet.take(1)
    copied = ("copy", "predictions", 24, 2, "main")
    assert log[:5] == [copied, "event 0 in main", copied, "event 1 in main", "host waits for event 0"]


@pytest.mark.parametrize("status, expected", [(2, MemoryError), (700, RuntimeError)])
def test_a_host_that_can_pin_no_more_memory_says_so(status, expected):
    from fastconv.gpu.memory import Inlet

    class FakeError(RuntimeError):
        def __init__(self):
            super().__init__("cudaErrorSomething")
            self.status = status

    def refuse(size):
        raise FakeError

    cuda = types.SimpleNamespace(
        Stream=lambda non_blocking: None,
        alloc_pinned_memory=refuse,
        runtime=types.SimpleNamespace(CUDARuntimeError=FakeError),
    )
    memory = types.SimpleNamespace(simulated=False, arrays=types.SimpleNamespace(cuda=cuda), zeros=lambda shape: None)
    with pytest.raises(expected, match="Something" if status == 700 else r"2 blocks of 2.0 MiB.* Use a smaller batch"):
        Inlet(memory, 1 << 19)
