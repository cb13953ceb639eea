"""LayerNormalization, GroupNormalization and UnitNormalization in a program."""

from __future__ import annotations

import math
from typing import Any

from fastconv.gpu import penalties
from fastconv.gpu.along import Along
from fastconv.gpu.recorded import Recorded
from fastconv.kernels import cuda_batch_norm, cuda_sample_norm
from fastconv.kernels.cuda_sample_norm import Weights
from fastconv.kernels.cuda_units import Units
from fastconv.layers import GroupNormalization, Layer, LayerNormalization, UnitNormalization
from fastconv.layers.sample_normalization import LEAST_NORM
from fastconv.models.backward_plan import BackwardStep


class _ByRows(Recorded):
    """Base: a subclass says where rows lie: `look_at` sets `along`, `rows`, `columns` and `weights`."""

    along: Along
    rows: Units
    columns: Units
    weights: Weights

    def look_at(self, x: Any) -> None:
        """Find the rows of an input."""
        raise NotImplementedError

    @property
    def _gamma_and_beta(self) -> tuple[Any, Any]:
        return getattr(self.layer, "gamma", None), getattr(self.layer, "beta", None)

    @property
    def _epsilon(self) -> float:
        return float(self.layer.epsilon)

    def forward(self, x: Any, training: bool) -> Any:
        self.look_at(x)
        before = self._before = self.along.memory(x)
        after, rows = self.empty(before.shape), (self.rows.units,)
        self._mean = None if isinstance(self.layer, UnitNormalization) else self.empty(rows)
        self._inverse = self.empty(rows)
        scale = [None if weight is None else self._parameters.of(weight) for weight in self._gamma_and_beta]
        self._gamma, beta = scale
        statistics = self._mean, self._inverse
        made = cuda_sample_norm.normalize(
            before, self.rows, statistics, (self._gamma, beta), self.weights, after, self._epsilon
        )
        self._recorder.add(made)
        return self.along.back(after)

    def backward(self, gy: Any, back: BackwardStep, through_activation: bool) -> Any:
        memory, statistics = self.along.memory(gy), (self._mean, self._inverse)
        gamma, beta = self._gamma_and_beta
        if back.need_weight_grad and (gamma is not None or beta is not None):
            partial = self.empty(cuda_batch_norm.partial_shape(self.columns.terms, self.columns.units))
            gradients = tuple(
                self.empty((self.columns.units,)) if weight is None else self.gradient_of(weight)
                for weight in (gamma, beta)
            )
            sums = self.columns, statistics, self.weights, partial, gradients
            self._recorder.add(cuda_sample_norm.weight_gradients(memory, self._before, *sums))
            self.add_penalty_slopes(back)
        if not back.need_input_grad:
            return None
        given = self.rows, statistics, self._gamma, self.weights, memory, self._epsilon
        self._recorder.add(cuda_sample_norm.input_gradient(memory, self._before, *given))
        return self.along.back(memory)


class _LayerNormalization(_ByRows):
    """LayerNormalization."""

    @staticmethod
    def unsupported(layer: Any) -> str | None:
        return penalties.unsupported(*(weight.regularizer for weight in layer.weights))

    def look_at(self, x: Any) -> None:
        axis = self.layer.axis
        self.along = Along(self, x, [axis] if isinstance(axis, int) else axis, in_order=True)
        self.rows, self.columns = self.along.rows, self.along.columns
        self.weights = cuda_sample_norm.whole(self.rows)


class _GroupNormalization(_ByRows):
    """GroupNormalization."""

    unsupported = _LayerNormalization.unsupported

    def look_at(self, x: Any) -> None:
        self.along = Along(self, x, [self.layer.axis], in_order=True, at_end=True)
        channels = x.shape[self.layer.axis]
        groups = channels if self.layer.groups == -1 else self.layer.groups
        sizes = len(x), math.prod(x.shape[1:]) // channels, groups, channels // groups
        self.rows, self.columns, self.weights = cuda_sample_norm.grouped(*sizes)


class _UnitNormalization(_ByRows):
    """UnitNormalization."""

    _epsilon = LEAST_NORM  # type: ignore[assignment]

    def look_at(self, x: Any) -> None:
        axis = self.layer.axis
        self.along = Along(self, x, [axis] if isinstance(axis, int) else axis)
        self.rows = self.along.rows
        self.weights = cuda_sample_norm.whole(self.rows)


CLASSES: dict[type[Layer], type[Recorded]] = {
    GroupNormalization: _GroupNormalization,
    LayerNormalization: _LayerNormalization,
    UnitNormalization: _UnitNormalization,
}
