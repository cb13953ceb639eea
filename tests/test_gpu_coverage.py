"""Every layer, activation and regularizer of the package runs on a GPU, or stands here with the reason why not.

A layer that is added later fails here until it has launches in `fastconv/gpu/`, or a reason.
"""

import inspect

import numpy as np
import pytest
from lab import lab

import fastconv as keras
from fastconv import activations, device, layers, regularizers
from fastconv.gpu import penalties
from fastconv.gpu.network import recorded_class
from fastconv.gpu.recorded import Unsupported
from fastconv.layers.merging import Merge

IMAGES = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype("float32")
STEPS, FEATURES = IMAGES.reshape(2, 8, 9), IMAGES.reshape(2, 72)

# What a layer's class needs; those of whom nothing is said here need nothing, and take images.
ARGUMENTS = {
    "Activation": ("tanh",),
    "AlphaDropout": (0.5,),
    "CenterCrop": (2, 3),
    "Conv1D": (2, 3),
    "Conv1DTranspose": (2, 3),
    "Conv2D": (2, 3),
    "Conv2DTranspose": (2, 3),
    "Cropping2D": (1,),
    "Dense": (2,),
    "DepthwiseConv1D": (3,),
    "DepthwiseConv2D": (3,),
    "Dropout": (0.5,),
    "GaussianDropout": (0.5,),
    "GaussianNoise": (0.5,),
    "GroupNormalization": (3,),
    "Permute": ((3, 1, 2),),
    "RandomBrightness": (0.5,),
    "RandomContrast": (0.5,),
    "RandomCrop": (2, 3),
    "RandomRotation": (0.5,),
    "RandomTranslation": (0.5, 0.5),
    "RandomZoom": (0.5,),
    "RepeatVector": (2,),
    "Rescaling": (0.5,),
    "Reshape": ((6, -1),),
    "Resizing": (2, 3),
    "SeparableConv1D": (2, 3),
    "SeparableConv2D": (2, 3),
    "SpatialDropout1D": (0.5,),
    "SpatialDropout2D": (0.5,),
}
FOR_THE_CPU: dict[str, str] = {}  # the name of a class: the reason; none today


def classes_of(module, base):
    return {name: each for name, each in vars(module).items() if inspect.isclass(each) and issubclass(each, base)}


LAYERS = {each.__name__: each for each in classes_of(layers, layers.Layer).values()}
for name in ("Layer", "InputLayer"):  # that do nothing
    del LAYERS[name]


def input_for(name):
    if name == "RepeatVector":
        return FEATURES
    return STEPS if name.endswith("1D") or name == "Conv1DTranspose" else IMAGES


def same_on_both(make, x):
    """Train a model of a layer for a step on each device and compare."""
    results = []
    for name in ("cpu", "gpu"):
        keras.utils.set_random_seed(3)
        image = layers.Input(x.shape[1:])
        before = layers.PReLU("glorot_uniform", shared_axes=[1])(image)  # for whose sake gradients go through the layer
        layer = make()
        after = layer([before, image] if isinstance(layer, Merge) else before)
        model = keras.Model(image, after)
        model.compile("sgd", "mse")
        y = np.random.default_rng(1).normal(size=(len(x), *after.shape[1:])).astype("float32")
        with lab(), device(name):
            results.append([model.train_on_batch(x, y), *model.get_weights(), model.predict(x, verbose=0)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_runs_on_a_gpu(name):
    def make():
        return LAYERS[name](*ARGUMENTS.get(name, ()))

    if name in FOR_THE_CPU:
        with pytest.raises(Unsupported):
            same_on_both(make, input_for(name))
    else:
        same_on_both(make, input_for(name))


def test_there_are_layers_and_reasons_for_none_that_is_gone():
    assert len(LAYERS) > 60
    assert FOR_THE_CPU.keys() | ARGUMENTS.keys() <= LAYERS.keys()


@pytest.mark.parametrize("name", classes_of(activations, activations.Activation))
def test_every_activation_runs_on_a_gpu(name):
    activation = getattr(activations, name)
    if activation is not activations.Activation:
        same_on_both(lambda: layers.Activation(activation()), FEATURES)


def test_every_regularizer_runs_on_a_gpu():
    known = classes_of(regularizers, regularizers.Regularizer)
    del known["Regularizer"]
    assert penalties.unsupported(*(regularizer() for regularizer in known.values())) is None


def test_a_layer_that_normalizes_in_its_own_way_is_refused():
    class Mine(layers.LayerNormalization):
        def axes(self, view):
            return (1,), (1,)

    with pytest.raises(Unsupported, match=r"\(Mine\) has no kernels for a GPU"):
        recorded_class(Mine())
