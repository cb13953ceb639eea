"""What `fit`, `evaluate`, `predict` and their relatives do with their arguments, beside Keras's.

Each scenario is a function that both libraries run, on models with the same weights; what it returns must agree.
"""

import numpy as np
import peers
import pytest

import fastconv

pytestmark = peers.MARK

RNG = np.random.default_rng(11)
N, CLASSES = 22, 3
X = RNG.random((N, 6, 6, 1)).astype(np.float32)
Y = RNG.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[Y]
WEIGHTS = RNG.uniform(0.2, 2, N).astype(np.float32)
START = [RNG.normal(0, 0.4, shape).astype(np.float32) for shape in ((3, 3, 1, 2), (2,), (32, CLASSES), (CLASSES,))]


def model_of(k, loss="sparse_categorical_crossentropy", optimizer="sgd", **options):
    layers = [
        k.layers.Input((6, 6, 1)),
        k.layers.Conv2D(2, 3, activation="relu", kernel_regularizer="l2"),
        k.layers.Flatten(),
        k.layers.Dense(CLASSES, activation="softmax"),
    ]
    model = k.Sequential(layers)
    model.set_weights(START)
    options.setdefault("metrics", ["accuracy"])
    model.compile(optimizer, loss, **options)
    return model


def trained(model, *args, **options):
    """The history of `fit`, and the weights after it."""
    history = model.fit(*args, verbose=0, shuffle=False, **{"batch_size": 8, "epochs": 2, **options})
    return list(history.history.items()), history.epoch, model.get_weights()


def batches(count=10**9, size=5, weights=False):
    for step in range(count):
        rows = np.arange(step * size, (step + 1) * size) % N
        yield (X[rows], Y[rows], WEIGHTS[rows]) if weights else (X[rows], Y[rows])


class Lines(list):
    """A callback of either library, which notes every call with the names in its logs."""

    def of(self, k):
        lines = self

        class Recorder(k.callbacks.Callback):
            pass

        def noting(name):
            def note(self, *args, **kwargs):
                logs = kwargs.get("logs", args[-1] if args else None)
                first = args[0] if len(args) == 2 or (args and isinstance(args[0], int)) else None
                lines.append((name, first, sorted(logs) if logs else []))

            return note

        for name in dir(k.callbacks.Callback):
            if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end"):
                setattr(Recorder, name, noting(name))
        return Recorder()


def stop_after(k, batch):
    def end(self, number, logs=None):
        if number == batch:
            self.model.stop_training = True

    return type("Stop", (k.callbacks.Callback,), {"on_train_batch_end": end})()


def scenario_lines(k, **options):
    lines = Lines()
    trained(model_of(k), X, Y, callbacks=[lines.of(k)], **options)
    return list(lines)


def scenario_evaluation_lines(k):
    lines, model = Lines(), model_of(k)
    model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=[lines.of(k)])
    model.predict(X, batch_size=8, verbose=0, callbacks=[lines.of(k)])
    return list(lines)


def by_hand(k):
    model = model_of(k, metrics=["accuracy", "mse"], loss="categorical_crossentropy")
    results = [model.train_on_batch(X[:5], ONE_HOT[:5]) for _ in range(2)]
    results.append(model.train_on_batch(X[:5], ONE_HOT[:5], sample_weight=WEIGHTS[:5]))
    results.append(model.train_on_batch(X[:5], ONE_HOT[:5], class_weight={0: 2.0, 2: 0.5}, return_dict=True))
    results.append(model.test_on_batch(X[5:9], ONE_HOT[5:9]))
    results.append(model.test_on_batch(X[5:9], ONE_HOT[5:9], sample_weight=WEIGHTS[5:9], return_dict=True))
    return results, model.predict_on_batch(X[:3]), model.get_weights()


def evaluated(k):
    plain, alone = model_of(k), model_of(k, metrics=None)
    return (
        plain.evaluate(X, Y, verbose=0),
        plain.evaluate(X, Y, batch_size=5, verbose=0, sample_weight=WEIGHTS),
        plain.evaluate(X, Y, batch_size=4, verbose=0, steps=2, return_dict=True),
        plain.evaluate(batches(3), verbose=0),
        plain.evaluate(batches(), steps=4, verbose=0),
        alone.evaluate(X, Y, verbose=0),
        alone.evaluate(X, Y, verbose=0, return_dict=True),
        plain.predict(X, batch_size=6, verbose=0),
        plain.predict(X, batch_size=6, steps=2, verbose=0),
        plain.predict(batches(3), verbose=0),
    )


def several_fits(k):
    model = model_of(k, optimizer="adam")
    first = trained(model, X, Y, epochs=1)
    return first, trained(model, X, Y, epochs=3, initial_epoch=1), int(model.optimizer.iterations)


def weighted_metrics(k):
    model = model_of(k, metrics=["accuracy", "sparse_categorical_crossentropy"], weighted_metrics=["accuracy"])
    return trained(model, X, Y, sample_weight=WEIGHTS, validation_data=(X[:7], Y[:7], WEIGHTS[:7]))


SCENARIOS = {
    "plain": lambda k: trained(model_of(k), X, Y),
    "one batch": lambda k: trained(model_of(k), X, Y, batch_size=N + 5),
    "validation_split": lambda k: trained(model_of(k), X, Y, validation_split=0.3, sample_weight=WEIGHTS),
    "validation_data": lambda k: trained(model_of(k), X, Y, validation_data=(X[:9], Y[:9])),
    "validation sizes": lambda k: trained(
        model_of(k), X, Y, validation_data=(X, Y), validation_batch_size=5, validation_steps=2
    ),
    "validation_freq": lambda k: trained(model_of(k), X, Y, epochs=4, validation_data=(X, Y), validation_freq=2),
    "validation_freq list": lambda k: trained(
        model_of(k), X, Y, epochs=4, validation_data=(X, Y), validation_freq=[1, 4]
    ),
    "validation generator": lambda k: trained(
        model_of(k), X, Y, validation_data=batches(10**9), validation_steps=2, epochs=1
    ),
    "class_weight": lambda k: trained(model_of(k), X, Y, class_weight={0: 2.0, 1: 0.5}),
    "class_weight column": lambda k: trained(model_of(k), X, Y[:, None], class_weight={0: 2.0, 1: 0.5, 2: 3.0}),
    "class_weight one-hot": lambda k: trained(
        model_of(k, "categorical_crossentropy"), X, ONE_HOT, class_weight={0: 2.0, 1: 0.5}
    ),
    "sample_weight": lambda k: trained(model_of(k), X, Y, sample_weight=WEIGHTS),
    "steps_per_epoch arrays": lambda k: trained(model_of(k), X, Y, steps_per_epoch=1, epochs=3),
    "generator": lambda k: trained(model_of(k), batches(), batch_size=None, steps_per_epoch=3),
    "generator weights": lambda k: trained(model_of(k), batches(weights=True), batch_size=None, steps_per_epoch=3),
    "initial_epoch": lambda k: trained(model_of(k), X, Y, epochs=4, initial_epoch=2),
    "stop_training": lambda k: trained(model_of(k), X, Y, epochs=4, callbacks=[stop_after(k, 1)]),
    "several fits": several_fits,
    "weighted_metrics": weighted_metrics,
    "on_batch": by_hand,
    "evaluate and predict": evaluated,
    "ema": lambda k: trained(
        model_of(k, optimizer=k.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.8)),
        X,
        Y,
        validation_data=(X[:9], Y[:9]),
    ),
    "swap ema": lambda k: trained(
        model_of(k, optimizer=k.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8)),
        X,
        Y,
        validation_data=(X[:9], Y[:9]),
        callbacks=[k.callbacks.SwapEMAWeights()],
    ),
    "swap ema on epoch": lambda k: trained(
        model_of(k, optimizer=k.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8)),
        X,
        Y,
        epochs=3,
        callbacks=[k.callbacks.SwapEMAWeights(swap_on_epoch=True)],
    ),
    "accumulation": lambda k: trained(
        model_of(k, optimizer=k.optimizers.Adam(0.01, gradient_accumulation_steps=2, clipnorm=0.5)), X, Y
    ),
    "loss scale": lambda k: trained(model_of(k, optimizer=k.optimizers.SGD(0.1, loss_scale_factor=128.0)), X, Y),
    "schedule": lambda k: trained(
        model_of(k, optimizer=k.optimizers.SGD(k.optimizers.schedules.CosineDecay(0.3, 5))), X, Y
    ),
    "order of calls": lambda k: scenario_lines(k, validation_split=0.4),
    "order of calls, stopped": lambda k: scenario_lines(k, epochs=1),
    "order of calls without fit": scenario_evaluation_lines,
}


def agree(ours, theirs, where):
    assert isinstance(theirs, dict) == isinstance(ours, dict), where
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), where
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), (where, ours, theirs)
        for place, pair in enumerate(zip(ours, theirs, strict=True)):
            agree(*pair, f"{where}[{place}]")
    elif isinstance(theirs, str) or theirs is None:
        assert ours == theirs, where
    else:
        np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-4, atol=1e-5, err_msg=where)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name):
    agree(SCENARIOS[name](fastconv), SCENARIOS[name](peers.keras()), name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.fit(X, Y[:5], verbose=0),
        lambda model: model.fit(X, ONE_HOT[:, :2], verbose=0),
        lambda model: model.fit(X[..., 0, 0], Y, verbose=0),
        lambda model: model.fit(X, Y, verbose=0, class_weight={0: 1.0}, sample_weight=WEIGHTS),
        lambda model: model.fit(batches(), validation_split=0.5, steps_per_epoch=1, verbose=0),
    ],
)
def test_what_keras_refuses_is_refused(call):
    for k in (peers.keras(), fastconv):
        with pytest.raises((ValueError, TypeError)):
            call(model_of(k))
