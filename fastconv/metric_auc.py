"""The area under a curve that a threshold draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from fastconv import activations, config
from fastconv.loss_base import fit_weights
from fastconv.metric_accuracy import same_rank
from fastconv.metric_base import Metric
from fastconv.metric_confusion import FN, FP, TP, Thresholds, divide, full_weights

_CURVES = ("ROC", "PR", "PRGAIN")
_METHODS = ("interpolation", "majoring", "minoring")


class AUC(Metric):
    """The area under the curve of a classifier that tells ones from zeros, as its threshold moves from 1 to 0.

    Args:
        num_thresholds: points of the curve, at least 2.
        curve: "ROC" (recall over the share of zeros taken for ones), "PR" (precision over recall) or "PRGAIN".
        summation_method: "interpolation" between the points, or rectangles from below ("minoring") or above
            ("majoring").
        thresholds: from 0 to 1, in place of `num_thresholds` even ones.
        multi_label: whether each column of predictions has a curve; the result is their mean.
        num_labels: how many columns there are, with `multi_label`; else found out with the first batch.
        label_weights: a weight for each column.
        from_logits: whether predictions are what would go into a sigmoid.
        name, dtype: as for `Metric`.

    Raises:
        ValueError: one of them is none of these; on update, predictions of another number of columns.
    """

    direction = "up"
    _counts: np.ndarray | None

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name, dtype)
        self.curve = _one_of("curve", curve.upper(), _CURVES)
        self.summation_method = _one_of("summation_method", summation_method.lower(), _METHODS)
        if num_labels and not multi_label:
            raise ValueError(f"num_labels is for multi_label=True only, not {num_labels!r}.")
        if thresholds is None:
            if not num_thresholds > 1:
                raise ValueError(f"num_thresholds must be at least 2, not {num_thresholds!r}.")
            inner = np.linspace(0, 1, num_thresholds)[1:-1].tolist()
        else:
            inner = sorted(thresholds)
            if any(not 0 <= threshold <= 1 for threshold in inner):
                raise ValueError(f"thresholds must be from 0 to 1, not {thresholds!r}.")
        self.num_thresholds = len(inner) + 2
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = label_weights
        self.from_logits = from_logits
        self._given = thresholds is not None
        # The first and the last lie outside of what predictions can be, so that the curve reaches its corners.
        ends = [0 - config.epsilon(), *inner, 1 + config.epsilon()]
        self.cuts = Thresholds(ends, [0, *inner, 1])
        self.reset_state()

    @property
    def thresholds(self) -> list[float]:
        """All of them, also those at the ends."""
        return list(self.cuts.values)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = same_rank(np.asarray(y_true), np.asarray(y_pred))
        if self.from_logits:
            y_pred = activations.sigmoid(y_pred)
        weights = full_weights(sample_weight, y_pred.shape)
        if self.multi_label:
            columns = self.num_labels or (y_pred.shape[-1] if self._counts is None else self._counts.shape[-1])
            if y_pred.ndim != 2 or y_pred.shape[-1] != columns:
                raise ValueError(f"{self.name}: y_pred must have shape (samples, {columns}), not {y_pred.shape}.")
        elif self.label_weights is not None:
            labels = np.broadcast_to(np.asarray(self.label_weights, np.float64), y_pred.shape)
            weights = labels if weights is None else labels * weights
        self.add(self.cuts.counts(y_true, y_pred, weights, self.multi_label))

    def add(self, counts: np.ndarray) -> None:
        """Take into account what was counted elsewhere."""
        self._counts = counts if self._counts is None else self._counts + counts

    def reset_state(self) -> None:
        self._counts = None

    def result(self) -> float:
        if self._counts is None:
            return 0.0
        areas = self._pr_area() if (self.curve, self.summation_method) == ("PR", "interpolation") else self._area()
        if not self.multi_label:
            return float(areas)
        weights = fit_weights(1.0 if self.label_weights is None else self.label_weights, areas.shape)
        return float((areas * weights).sum() / weights.sum())

    def _area(self) -> np.ndarray:
        """Of rectangles or trapezia between the points."""
        x, y = self._points()
        left, right = y[:-1], y[1:]
        if self.summation_method == "interpolation":
            heights = (left + right) / 2
        else:
            heights = np.minimum(left, right) if self.summation_method == "minoring" else np.maximum(left, right)
        return ((x[:-1] - x[1:]) * heights).sum(axis=0)

    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        tp, fp, tn, fn = self._counts  # type: ignore[misc]
        recall = divide(tp, tp + fn)
        if self.curve == "ROC":
            return divide(fp, fp + tn), recall
        if self.curve == "PR":
            return recall, divide(tp, tp + fp)
        odds = divide(tp + fn, tn + fp)
        precision_gain = np.where(tp == 0, 1, 1 - odds * divide(fp, tp))
        recall_gain = np.where(tp == 0, 0, 1 - odds * divide(fn, tp))
        return np.maximum(recall_gain, 0), precision_gain

    def _pr_area(self) -> np.ndarray:
        """Between two points true positives grow in step with all positives: the precision is no straight line then,
        and its integral has a logarithm."""
        counts: np.ndarray = self._counts  # type: ignore[assignment]
        tp, positives = counts[TP], counts[TP] + counts[FP]
        rise = tp[:-1] - tp[1:]
        slope = divide(rise, positives[:-1] - positives[1:])
        start = tp[1:] - slope * positives[1:]
        both = (positives[:-1] > 0) & (positives[1:] > 0)
        growth = np.where(both, divide(positives[:-1], positives[1:]), 1)
        ones = (tp + counts[FN])[1:]
        return divide(slope * (rise + start * np.log(growth)), ones).sum(axis=0)

    def get_config(self) -> dict[str, Any]:
        keys = ("num_thresholds", "curve", "summation_method", "multi_label", "num_labels", "from_logits")
        config = {**super().get_config(), **{key: getattr(self, key) for key in keys}}
        config["label_weights"] = None if self.label_weights is None else list(self.label_weights)
        return {**config, "thresholds": self.thresholds[1:-1]} if self._given else config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        weights = config.get("label_weights")
        if isinstance(weights, Mapping):  # Keras saves them as an array with its class
            config = {**config, "label_weights": weights["config"]["value"]}
        return cls(**config)


def _one_of(argument: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"{argument} must be one of {', '.join(known)}; not {value!r}.")
    return value
