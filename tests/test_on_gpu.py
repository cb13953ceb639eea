"""What only a real GPU shows: streams, arrays of other libraries, a step replayed. Results are for test_kernels.py."""

import numpy as np
import pytest

import fastconv as keras
from fastconv import device, kernels, layers
from fastconv.kernels import cpu_normal, cuda, cuda_normal
from fastconv.testing.kernel_cases import float_case

PROBLEM = kernels.Conv2DProblem.parse("N=2 H=9 W=11 C=6 K=10 R=3 S=2 groups=2 stride=2,1 padding=1,0,2,1")


def why_skipped():
    """Why these tests cannot run here, or None."""
    if cuda.simulated():
        return "a simulator has neither streams nor memory of its own"
    return cuda.unavailable()


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(why_skipped() is not None, reason=str(why_skipped()))]


@pytest.fixture(scope="module")
def case():
    return float_case("conv2d", PROBLEM)


def run(arrays, y, stream=None):
    kernels.get("conv2d", "cuda_shared")(PROBLEM, *arrays, y, workspace=None, stream=stream)


def close(y, case):
    return np.all(np.abs(y - case.expected["y"]) <= case.tolerance["y"])


@pytest.mark.parametrize("given", ["current", "argument"])
def test_the_callers_stream_does_the_work(case, given):
    cupy = pytest.importorskip("cupy")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        arrays = [cupy.asarray(array) for array in case.inputs.values()]
        y = cupy.full(PROBLEM.y_shape, np.nan, "float32")
        if given == "current":
            run(arrays, y)
    if given == "argument":
        run(arrays, y, stream)
    stream.synchronize()
    assert close(cupy.asnumpy(y, stream=stream), case)


def test_numbas_arrays(case):
    from numba import cuda as numba_cuda

    y = numba_cuda.to_device(np.full(PROBLEM.y_shape, np.nan, "float32"))
    run([numba_cuda.to_device(array) for array in case.inputs.values()], y)
    numba_cuda.synchronize()
    assert close(y.copy_to_host(), case)


def test_tensors_of_pytorch(case):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    y = torch.full(PROBLEM.y_shape, torch.nan, device="cuda")
    run([torch.tensor(array, device="cuda") for array in case.inputs.values()], y)
    torch.cuda.synchronize()
    assert close(y.cpu().numpy(), case)


def test_a_cuda_graph_holds_the_launches(case):
    cupy = pytest.importorskip("cupy")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        arrays = [cupy.asarray(array) for array in case.inputs.values()]
        y = cupy.full(PROBLEM.y_shape, np.nan, "float32")
        run(arrays, y)  # compiled before anything is captured
        stream.begin_capture()
        try:
            run(arrays, y)
        finally:
            graph = stream.end_capture()
        y.fill(np.nan)
        graph.launch(stream)
    stream.synchronize()
    assert close(cupy.asnumpy(y, stream=stream), case)


def trained(device):
    """What five steps on a device give: all losses, metrics and weights of a model with two inputs and outputs."""
    import fastconv as keras
    from fastconv import layers, losses, metrics

    def ours(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=-1)

    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    images, numbers = rng.normal(size=(18, 6, 5, 2)).astype("float32"), rng.normal(size=(18, 3)).astype("float32")
    masks, values = (rng.random((18, 6, 5, 1)) < 0.4).astype("float32"), rng.normal(size=(18, 2)).astype("float32")
    first, second = layers.Input((6, 5, 2)), layers.Input((3,))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(first)
    mask = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x)
    value = layers.Dense(2, name="value")(layers.Concatenate()([layers.GlobalAveragePooling2D()(x), second]))
    model = keras.Model([first, second], [mask, value])
    counted = [metrics.AUC(20), metrics.BinaryIoU(), metrics.Precision(), "binary_accuracy"]
    of_values = [metrics.R2Score(), metrics.PearsonCorrelation(), ours]
    model.compile("lamb", [losses.Tversky(0.3, 0.7), "huber"], [1, 0.5], [counted, of_values], [None, [ours]])
    with keras.device(device):
        history = model.fit([images, numbers], [masks, values], batch_size=4, epochs=1, verbose=0, shuffle=False)
        outputs = model.predict([images, numbers], verbose=0)
    return [*(np.array(values) for values in history.history.values()), *outputs, *model.get_weights()]


def test_a_training_gives_the_cpus_losses_metrics_and_weights():
    """With steps replayed as graphs, and predictions that come to the host while the next step runs."""
    found, expected = trained("gpu"), trained("cpu")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    for one, other in zip(trained("gpu"), found, strict=True):
        np.testing.assert_array_equal(one, other, "same seed, same bits")


def test_noise_has_the_cpus_bits():
    cupy = pytest.importorskip("cupy")
    expected = np.empty(100_003, "float32")
    cpu_normal.draw(expected, 5 << 40 | 7, 3, 0.7, 0.0)
    x, call = cupy.zeros(expected.size, "float32"), cupy.asarray(np.array([3, 0], "float32"))
    for launch in cuda_normal.add_noise(x, x, 5 << 40 | 7, call, 0.7):
        launch()
    np.testing.assert_array_equal(cupy.asnumpy(x), expected)


def test_random_layers_draw_as_on_the_cpu_while_a_step_is_replayed():
    x = np.random.default_rng(0).normal(size=(16, 9, 8, 3)).astype("float32")
    y, results = np.arange(16) % 3, []
    for name in ("cpu", "gpu"):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                layers.Input((9, 8, 3)),
                layers.RandomFlip(),
                layers.RandomRotation(0.2),
                layers.RandomCrop(7, 6),
                layers.GaussianNoise(0.3),
                layers.Conv2D(4, 3, activation="relu"),
                layers.AlphaDropout(0.2),
                layers.Flatten(),
                layers.Dense(3, "softmax"),
            ]
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        with device(name):
            results.append([[model.train_on_batch(x, y) for _ in range(6)], *model.get_weights()])
    for cpu, gpu in zip(*results, strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=1e-4, atol=1e-5)


def test_layers_that_look_at_rows_give_the_cpus_weights():
    """With steps replayed as graphs: normalizations, learnt slopes, softmax along any axes, larger images."""
    x = np.random.default_rng(0).normal(size=(16, 9, 40, 3)).astype("float32")
    y, results = np.arange(16) % 3, []
    for name in ("cpu", "gpu", "gpu"):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                layers.Input((9, 40, 3)),
                layers.Normalization(mean=0.1, variance=2.0, axis=None),
                layers.SeparableConv2D(8, 3, activation="softplus"),
                layers.GroupNormalization(2),
                layers.PReLU(shared_axes=[1, 2]),
                layers.LayerNormalization([1, 2, 3]),
                layers.GroupNormalization(-1),
                layers.UpSampling2D(2, interpolation="bilinear"),
                layers.Softmax(axis=2),
                layers.LayerNormalization(),
                layers.Activation("glu"),
                layers.UnitNormalization(),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3, "softmax"),
            ]
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        with device(name):
            results.append([[model.train_on_batch(x, y) for _ in range(5)], *model.get_weights()])
    for cpu, gpu, again in zip(*results, strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(gpu, again, "same seed, same bits")
