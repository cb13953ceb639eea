"""Convolutional networks as estimators of scikit-learn: `CNNClassifier` and `CNNRegressor`.

    from fastconv.sklearn import CNNClassifier

    classifier = CNNClassifier(epochs=5, random_state=0).fit(images, labels)
    cross_val_score(classifier, images, labels)

They need `pip install 'fastconv[sklearn]'`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from fastconv import config, layers, optimizers
from fastconv import random as fastconv_random
from fastconv.models import Sequential
from fastconv.utils.optional import require

base: Any = require("sklearn.base", "sklearn")
utils: Any = require("sklearn.utils", "sklearn")
multiclass: Any = require("sklearn.utils.multiclass", "sklearn")
validation: Any = require("sklearn.utils.validation", "sklearn")


def small_cnn(image_shape: tuple[int, int, int], outputs: int, activation: str | None = "softmax") -> Sequential:
    """A small network for images of any size: two convolutions, each with pooling where the image is large enough, and
    a hidden layer.

    Args:
        image_shape: height, width and channels. outputs: units of the last layer. activation: of the last layer.
    """
    model = Sequential([layers.Input(image_shape)])
    height, width, _ = image_shape
    for filters in (16, 32):
        model.add(layers.Conv2D(filters, (min(3, height), min(3, width)), padding="same", activation="relu"))
        window = 2 if height >= 4 else 1, 2 if width >= 4 else 1
        model.add(layers.MaxPooling2D(window))
        height, width = height // window[0], width // window[1]
    model.add(layers.Flatten())
    model.add(layers.Dense(64, activation="relu"))
    model.add(layers.Dense(outputs, activation=activation))
    return model


class _CNN(base.BaseEstimator):  # type: ignore[misc]
    """Parameters, images and training of both."""

    activation: str | None = None

    def __init__(
        self,
        model: Callable[[tuple[int, int, int], int], Sequential] | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        rescale: float | None = None,
        optimizer: Any = "adam",
        learning_rate: float | None = None,
        loss: Any = None,
        epochs: int = 20,
        batch_size: int = 32,
        validation_split: float = 0.0,
        callbacks: Any = None,
        random_state: Any = None,
        verbose: int | str = 0,
    ) -> None:
        self.model = model
        self.image_shape = image_shape
        self.rescale = rescale
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_split = validation_split
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    def _images(self, X: np.ndarray) -> np.ndarray:
        """X as images (N, H, W, C) in `floatx`."""
        if self.image_shape is not None:
            height, width, *channels = self.image_shape
            shape = (height, width, *(channels or [1]))
        elif X.ndim == 2:
            shape = (1, X.shape[1], 1)
        else:
            shape = (*X.shape[1:], *([1] if X.ndim == 3 else []))
        if len(shape) != 3 or X.size != len(X) * np.prod(shape):
            raise ValueError(
                f"X must be images (N, H, W), (N, H, W, C), or rows (N, features) with an image_shape that fits; "
                f"received X of shape {X.shape} and image_shape={self.image_shape!r}."
            )
        images = X.reshape(len(X), *shape).astype(config.floatx(), copy=False)
        return images if self.rescale is None else images * images.dtype.type(self.rescale)

    def _train(self, images: np.ndarray, y: np.ndarray, outputs: int, sample_weight: Any) -> None:
        seed = utils.check_random_state(self.random_state).randint(2**31 - 1)
        optimizer = self.optimizer
        if isinstance(optimizer, optimizers.Optimizer):  # without what an earlier `fit` has left in it
            optimizer = type(optimizer).from_config(optimizer.get_config())
        optimizer = optimizers.get(optimizer)
        if self.learning_rate is not None:
            optimizer.learning_rate = self.learning_rate  # type: ignore[union-attr]
        with fastconv_random.seeded(seed):
            if self.model is None:
                model = small_cnn(images.shape[1:], outputs, self.activation)  # type: ignore[arg-type]
            else:
                model = self.model(images.shape[1:], outputs)  # type: ignore[arg-type]
            model.build((None, *images.shape[1:]))
            model.compile(optimizer, self.loss or self._default_loss(model.output_shape))
            history = model.fit(
                images,
                y,
                sample_weight=sample_weight,
                batch_size=self.batch_size,
                epochs=self.epochs,
                validation_split=self.validation_split,
                callbacks=self.callbacks,
                verbose=self.verbose,
            )
        self.model_ = model
        self.history_ = history.history
        self.n_iter_ = len(history.epoch)

    def _default_loss(self, output_shape: tuple[int | None, ...]) -> str:
        raise NotImplementedError

    def _outputs(self, X: Any) -> np.ndarray:
        validation.check_is_fitted(self)
        X = validation.validate_data(self, X, reset=False, allow_nd=True)
        return self.model_.predict(self._images(X), verbose=0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class CNNClassifier(base.ClassifierMixin, _CNN):  # type: ignore[misc]
    """A convolutional network that tells classes of images apart.

    X holds images (N, H, W) or (N, H, W, C), or rows (N, features), which are images of `image_shape`, by default one
    pixel high. y holds labels of any type.

    Args:
        model: a function of (image_shape, classes) that returns a new `Sequential` for images (H, W, C), whose last
            layer is a softmax over the classes, or for two classes one sigmoid; `small_cnn` by default.
        image_shape: (H, W) or (H, W, C) of rows.
        rescale: what pixels are multiplied by, such as 1 / 255.
        optimizer, loss: as for `Sequential.compile`; the loss is the cross-entropy that suits by default.
        learning_rate: the optimizer's; None for its own.
        epochs, batch_size, validation_split, callbacks, verbose: as for `Sequential.fit`.
        class_weight: {label: weight}, or "balanced" for weights by how rare each class is.
        random_state: an integer for the same weights and the same order of samples in every `fit`; a
            `numpy.random.RandomState`, or None for NumPy's global one.

    Attributes:
        classes_: the labels, sorted; the order of `predict_proba`'s columns.
        model_: the trained `Sequential`. history_: its losses, a list by name. n_iter_: epochs done.
        n_features_in_: X.shape[1].
    """

    activation = "softmax"

    def __init__(
        self,
        model: Callable[[tuple[int, int, int], int], Sequential] | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        rescale: float | None = None,
        optimizer: Any = "adam",
        learning_rate: float | None = None,
        loss: Any = None,
        epochs: int = 20,
        batch_size: int = 32,
        validation_split: float = 0.0,
        callbacks: Any = None,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: Any = None,
        verbose: int | str = 0,
    ) -> None:
        super().__init__(
            model,
            image_shape=image_shape,
            rescale=rescale,
            optimizer=optimizer,
            learning_rate=learning_rate,
            loss=loss,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=validation_split,
            callbacks=callbacks,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a new network.

        Raises:
            ValueError: X, y or `sample_weight` do not fit each other, or X does not fit `image_shape`.
        """
        X, y = validation.validate_data(self, X, y, allow_nd=True)
        multiclass.check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = validation._check_sample_weight(sample_weight, X)
        if self.class_weight is not None:
            by_class = utils.compute_sample_weight(self.class_weight, y)
            sample_weight = by_class if sample_weight is None else by_class * sample_weight
        self.classes_, numbers = np.unique(y, return_inverse=True)
        self._train(self._images(X), numbers, len(self.classes_), sample_weight)
        return self

    def _default_loss(self, output_shape):
        is_binary = output_shape[-1] == 1 and len(self.classes_) == 2
        return "binary_crossentropy" if is_binary else "sparse_categorical_crossentropy"

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (N, classes)."""
        outputs = self._outputs(X).astype(np.float64)
        if outputs.shape[-1] == 1 < len(self.classes_):
            return np.concatenate([1 - outputs, outputs], axis=1)
        return outputs / outputs.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each sample."""
        validation.check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class CNNRegressor(base.RegressorMixin, _CNN):  # type: ignore[misc]
    """A convolutional network that estimates numbers from images.

    X and all parameters are as for `CNNClassifier`, y holds a number, or several, for each sample. The function `model`
    takes (image_shape, numbers), and its last layer has no activation; the loss is the squared error by default.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a new network; raises as `CNNClassifier.fit`."""
        X, y = validation.validate_data(self, X, y, allow_nd=True, multi_output=True, y_numeric=True)
        if sample_weight is not None:
            sample_weight = validation._check_sample_weight(sample_weight, X)
        self._single = y.ndim == 1
        targets = y.reshape(len(y), -1).astype(config.floatx())
        self._train(self._images(X), targets, targets.shape[1], sample_weight)
        return self

    def _default_loss(self, output_shape):
        return "mean_squared_error"

    def predict(self, X: Any) -> np.ndarray:
        """The estimates, of y's shape in `fit`."""
        outputs = self._outputs(X).astype(np.float64)
        return outputs[:, 0] if self._single else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
