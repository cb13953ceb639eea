"""What all losses share: shapes, weights, reduction, and values together with gradients.

A loss gives one value per sample, over the last axis of `y_pred`; these are weighted and reduced to a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastconv.serialization import Configurable, as_float, snake_case

_REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)
# The loss of a diverged network is NaN or infinite, without a warning for every batch.
_quiet = partial(np.errstate, over="ignore", invalid="ignore", divide="ignore")


class Loss(Configurable):
    """Base class: a subclass defines `call` and `call_gradient`.

    Args:
        reduction: "sum_over_batch_size" or "mean" divide the sum of the weighted values by their number,
            "mean_with_sample_weight" by the sum of the weights, "sum" not at all; "none" or None leave the
            values as they are (the gradient is then that of their sum).
        name: the class's name in snake case by default.
        dtype: accepted for Keras's sake; a loss computes in the predictions' dtype.

    Raises:
        ValueError: `reduction` is something else.
    """

    config_keys: tuple[str, ...] = ("name", "reduction")
    fused_activation: str | None = None

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: Any = None
    ) -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(f"reduction must be one of {_REDUCTIONS}, not {reduction!r}.")
        self.reduction = reduction
        self.name = name or snake_case(type(self).__name__)

    def call(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """One value per sample: y_pred's shape without its last axis, unless the class says otherwise."""
        raise NotImplementedError(f"{type(self).__name__} must define call(y_true, y_pred).")

    def call_gradient(self, y_true: np.ndarray, y_pred: np.ndarray, out: np.ndarray) -> None:
        """Write the derivative of the sum of `call` by y_pred into `out`, which may be y_pred itself."""
        raise NotImplementedError(f"{type(self).__name__} must define call_gradient(y_true, y_pred, out).")

    def call_logits_gradient(self, y_true: np.ndarray, y_pred: np.ndarray, out: np.ndarray) -> None:
        """As `call_gradient`, by the input of `fused_activation`, of which y_pred is the output."""
        raise NotImplementedError(f"{type(self).__name__} has no fused activation.")

    def prepare(self, y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y_true in y_pred's dtype, and both in one shape: a last axis of length 1 may be missing in either.

        Raises:
            ValueError: the shapes differ otherwise.
        """
        given, y_pred_view = y_true.shape, self.view(y_pred, y_true.ndim)
        y_true = y_true.astype(y_pred.dtype, copy=False)
        if y_true.ndim == y_pred_view.ndim + 1 and y_true.shape[-1] == 1:
            y_true = y_true[..., 0]
        elif y_true.ndim == 1 and y_pred_view.ndim == 2:
            y_true = y_true[:, None]
        if y_true.shape != y_pred_view.shape:
            raise ValueError(f"{self.name}: y_true of shape {given} does not fit y_pred of shape {y_pred.shape}.")
        return y_true, y_pred_view

    def view(self, array: np.ndarray, y_true_ndim: int) -> np.ndarray:
        """`array`, which has y_pred's shape, in the shape that `call` sees: a view into the same memory."""
        if array.ndim == 1 and y_true_ndim == 2:
            return array[:, None]
        if array.ndim == y_true_ndim + 1 and array.shape[-1] == 1 and y_true_ndim > 1:
            return array[..., 0]
        return array

    def mask(self, y_true: np.ndarray) -> np.ndarray | None:
        """False for the values that do not count, of `call`'s shape; None if all count. y_true as given."""
        return None

    @_quiet()
    def per_sample(self, y_true: Any, y_pred: Any) -> np.ndarray:
        """One value per sample, without weights or reduction.

        Raises:
            ValueError: the shapes of y_true and y_pred do not fit.
        """
        y_true, y_pred = np.asarray(y_true), as_float(y_pred)
        return self._values(y_true, *self.prepare(y_true, y_pred))[0]

    @_quiet()
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss, a float; with the reduction "none" an array."""
        y_true, y_pred = np.asarray(y_true), as_float(y_pred)
        values, mask = self._values(y_true, *self.prepare(y_true, y_pred))
        weighted = values * self.factors(values, mask, sample_weight)
        return weighted if self.reduction in ("none", None) else float(weighted.sum())

    def gradient(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> np.ndarray:
        """The derivative of the reduced loss by y_pred, in its shape and dtype."""
        return self.value_and_gradient(y_true, y_pred, sample_weight)[1]

    def value_and_gradient(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, out: np.ndarray | None = None
    ) -> tuple[float, np.ndarray]:
        """The reduced loss, and its derivative by y_pred written into `out`, of y_pred's shape and dtype."""
        return self._value_and_gradient(self.call_gradient, y_true, y_pred, sample_weight, out)

    def value_and_logits_gradient(
        self, y_true: Any, probabilities: Any, sample_weight: Any = None, out: np.ndarray | None = None
    ) -> tuple[float, np.ndarray]:
        """As `value_and_gradient`, by the input of `fused_activation`, whose output is `probabilities`."""
        return self._value_and_gradient(self.call_logits_gradient, y_true, probabilities, sample_weight, out)

    @_quiet()
    def _value_and_gradient(
        self,
        call_gradient: Callable[[np.ndarray, np.ndarray, np.ndarray], None],
        y_true: Any,
        y_pred: Any,
        sample_weight: Any,
        out: np.ndarray | None,
    ) -> tuple[float, np.ndarray]:
        y_true, y_pred = np.asarray(y_true), as_float(y_pred)
        out = np.empty_like(y_pred) if out is None else out
        target, prediction = self.prepare(y_true, y_pred)
        values, mask = self._values(y_true, target, prediction)
        factors = self.factors(values, mask, sample_weight)
        gradient = self.view(out, y_true.ndim)
        call_gradient(target, prediction, gradient)
        gradient *= self.spread(factors)
        if mask is not None:
            gradient[~mask] = 0
        return float((values * factors).sum()), out

    def _values(
        self, y_true: np.ndarray, target: np.ndarray, prediction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        values, mask = np.asarray(self.call(target, prediction)), self.mask(y_true)
        if mask is None:
            return values, None
        mask = mask.reshape(values.shape)
        return np.where(mask, values, values.dtype.type(0)), mask

    def factors(self, values: np.ndarray, mask: np.ndarray | None, sample_weight: Any) -> np.ndarray:
        """What each value is multiplied by before all are summed: of `values`' shape, or a scalar for all."""
        weights = np.ones((), values.dtype)
        if sample_weight is not None:
            weights = fit_weights(sample_weight, values.shape).astype(values.dtype, copy=False)
        if mask is not None:
            weights = weights * mask
        if self.reduction in ("sum_over_batch_size", "mean"):
            count = values.size if mask is None else np.count_nonzero(mask)
        elif self.reduction == "mean_with_sample_weight":
            count = np.broadcast_to(weights, values.shape).sum()
        else:
            return weights
        return weights / values.dtype.type(count or 1)

    def spread(self, factors: np.ndarray) -> np.ndarray:
        """The factors in the shape that multiplies a gradient of what `call` sees."""
        return factors[..., None]


def fit_weights(sample_weight: Any, shape: Sequence[int]) -> np.ndarray:
    """The weights broadcast to `shape`, that of the values: one for each, or one for each of the first axes.

    Raises:
        ValueError: the shapes do not fit.
    """
    weights = np.asarray(sample_weight)
    if weights.ndim == len(shape) + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    weights = weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    try:
        return np.broadcast_to(weights, shape)
    except ValueError:
        given = np.shape(sample_weight)
        raise ValueError(f"sample_weight of shape {given} does not fit losses of shape {tuple(shape)}.") from None
