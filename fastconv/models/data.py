"""Batches of (x, y, sample_weight) from arrays, or from anything that yields them.

Arrays stay as they are: a batch is a view where that will do, else it is gathered and converted into memory
that the next batch uses again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np

from fastconv import config, random
from fastconv.buffers import ReusedBuffers
from fastconv.layers.layout import for_kernel
from fastconv.models.parts import Parts
from fastconv.ops.arrays import is_on_gpu
from fastconv.utils.py_dataset import as_dataset, one_pass

# Each a `Parts` where a model has several inputs or outputs.
Batch = tuple[Any, Any, Any]


def as_array(value: Any, argument: str, stays: bool = False) -> Any:
    """`value` as an array with at least one axis, without a copy where it is one; `Parts` are taken as they are.

    stays: whether an array in a GPU's memory stays there; else it is copied to the host.

    Raises:
        TypeError: it holds something else than real numbers.
        ValueError: it is a single number.
    """
    if isinstance(value, Parts):
        return value.map(lambda part: as_array(part, argument, stays))
    if is_on_gpu(value):
        from fastconv.gpu import rows

        value = rows.on_device(value, argument) if stays else rows.on_host(value)
    array = value if stays and is_on_gpu(value) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        hint = " Turn class names into class numbers." if array.dtype.kind in "US" else ""
        raise TypeError(f"{argument} must hold real numbers; received {array.dtype}.{hint}")
    if array.ndim == 0:
        raise ValueError(f"{argument} must be an array of samples; received the single number {array}.")
    return array


def is_stream(x: Any) -> bool:
    """Whether `x` yields batches, rather than being one big array."""
    is_array = isinstance(x, (list, tuple, np.ndarray)) or hasattr(x, "__array__") or is_on_gpu(x)
    return not is_array and (hasattr(x, "__iter__") or hasattr(x, "__getitem__"))


def class_weights(y: np.ndarray | None, weights: Mapping[Any, float]) -> np.ndarray:
    """A weight for each sample, by its class: `y` holds class numbers, (N,) or (N, 1), or one-hot rows.

    Raises:
        ValueError: there is no y, or of another shape; `weights` has keys that are no class numbers.
    """
    if not isinstance(weights, Mapping):
        raise ValueError(f"class_weight must be a dict of class number to weight; received {weights!r}.")
    if y is None or y.ndim > 2:
        received = "none" if y is None else f"shape {y.shape}"
        raise ValueError(f"class_weight needs y of class numbers or one-hot rows; received {received}.")
    classes = y.argmax(axis=-1) if y.ndim == 2 and y.shape[1] != 1 else np.round(y.reshape(len(y)))
    result = np.ones(len(y), config.floatx())
    for key, weight in weights.items():
        try:
            number = int(key)
        except (TypeError, ValueError):
            raise ValueError(f"class_weight: {key!r} is no class number.") from None
        result[classes == number] = weight
    return result


class _Column:
    """One of x, y and sample_weight: gives rows of it, in `dtype` if one is given."""

    def __init__(self, array: np.ndarray, dtype: Any = None) -> None:
        self._array = array
        self._dtype = np.dtype(dtype or array.dtype)
        self._buffers = ReusedBuffers()

    def rows(self, rows: Any, count: int) -> np.ndarray:
        """The rows of a slice, or of an array of `count` indices."""
        if isinstance(rows, slice):
            part = self._array[rows]
        else:
            shape = (count, *self._array.shape[1:])
            part = self._buffers.empty(self, "gathered", shape, self._array.dtype)
            # The indices are right; mode="raise" would gather into a new array first.
            np.take(self._array, rows, axis=0, out=part, mode="clip")
        return for_kernel(part, self._dtype, self._buffers, self, "converted")


class _Columns:
    """The columns of `Parts`."""

    def __init__(self, parts: Parts, dtype: Any = None) -> None:
        self._columns = [None if array is None else _column(array, dtype) for array in parts]

    def rows(self, rows: Any, count: int) -> Parts:
        """The rows of each, as of a column."""
        return Parts([None if column is None else column.rows(rows, count) for column in self._columns])


def _column(value: Any, dtype: Any = None) -> Any:
    """A column of an array, on the host or in a GPU's memory, or the columns of `Parts`."""
    if isinstance(value, Parts):
        return _Columns(value, dtype)
    if isinstance(value, np.ndarray):
        return _Column(value, dtype)
    from fastconv.gpu.rows import RowsOf

    return RowsOf(value)


class ArrayBatches:
    """Batches of arrays; the last may be smaller.

    Args:
        x, y, sample_weight: anything NumPy can read; y and sample_weight may be None.
        batch_size: samples in a batch.
        dtype: what x is converted to.
        shuffle: whether every pass takes the samples in a new order.
        adapt: x -> x in the rank that the model takes.

    Raises:
        ValueError: different lengths, or no samples. TypeError: no real numbers.
    """

    can_restart = True

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int = 32,
        dtype: Any = "float32",
        shuffle: bool = False,
        adapt: Callable[[Any], Any] = lambda x: x,
    ) -> None:
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"batch_size must be a positive integer or None; received {batch_size!r}.")
        arrays = {
            name: as_array(value, name, stays=name == "x")
            for name, value in (("x", x), ("y", y), ("sample_weight", sample_weight))
            if value is not None
        }
        if "x" not in arrays:
            raise ValueError("x must be given; received None.")
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"x, y and sample_weight must have the same number of samples; received {lengths}.")
        self.x, self.y, self.sample_weight = adapt(arrays["x"]), arrays.get("y"), arrays.get("sample_weight")
        self.samples = len(self.x)
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.dtype = dtype
        others = (None if array is None else _column(array) for array in (self.y, self.sample_weight))
        self._columns = (_column(self.x, dtype), *others)

    @property
    def steps(self) -> int:
        """Batches in a pass."""
        return math.ceil(self.samples / self.batch_size)

    def peek(self) -> Batch:
        """All samples, as they are."""
        return self.x, self.y, self.sample_weight

    def __iter__(self) -> Iterator[Batch]:
        order = random.generator().permutation(self.samples) if self.shuffle else None
        for start in range(0, self.samples, self.batch_size):
            stop = min(start + self.batch_size, self.samples)
            rows = slice(start, stop) if order is None else order[start:stop]
            x, y, weight = (None if c is None else c.rows(rows, stop - start) for c in self._columns)
            yield x, y, weight

    def whole(self) -> Batch:
        """All samples as one batch; ValueError if there are none."""
        if self.samples == 0:
            raise ValueError(f"x has no samples; received shape {tuple(self.x.shape)}.")
        self.batch_size = self.samples
        return next(iter(self))

    def split(self, fraction: float) -> tuple[ArrayBatches, ArrayBatches]:
        """The first samples, and the last ones that make up `fraction` of all.

        Raises:
            ValueError: `fraction` is not between 0 and 1, or leaves one of the two parts without samples.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"validation_split must be between 0 and 1; received {fraction!r}.")
        cut = math.floor(self.samples * (1 - fraction))
        if cut in (0, self.samples):
            raise ValueError(
                f"validation_split={fraction} of {self.samples} samples leaves {cut} to train on and "
                f"{self.samples - cut} to validate with; both need some."
            )
        parts = (self._part(slice(None, cut)), self._part(slice(cut, None)))
        parts[0].shuffle = self.shuffle
        return parts

    def _part(self, rows: slice) -> ArrayBatches:
        x, y, weight = (None if array is None else array[rows] for array in self.peek())
        return ArrayBatches(x, y, weight, batch_size=self.batch_size, dtype=self.dtype)


class StreamBatches:
    """Batches that a generator or an iterable yields: x, (x,), (x, y) or (x, y, sample_weight).

    Args:
        source: it; a `PyDataset`, or what has a length and no `__iter__`, is read by number.
        dtype, adapt: as for `ArrayBatches`.
        class_weight: weights by class number for samples that come without.
        shuffle: whether every pass takes the batches of a `PyDataset` in a new order.
        structured: (thing, name) -> an array or `Parts` of it, for the x, y and sample_weight of a batch.
    """

    samples = None

    def __init__(
        self,
        source: Any,
        *,
        dtype: Any = "float32",
        adapt: Callable[[Any], Any] = lambda x: x,
        class_weight: Mapping[Any, float] | None = None,
        shuffle: bool = False,
        structured: Callable[[Any, str], Any] = lambda part, _: part,
    ) -> None:
        self._source = source
        self._shuffle = shuffle
        self._structured = structured
        self._adapt = adapt
        self._class_weight = class_weight
        self._dtype = np.dtype(dtype)
        self._buffers = ReusedBuffers()
        self._started: Iterator[Batch] | None = None
        self._dataset = as_dataset(source)
        self.steps: int | None = None
        if self._dataset is not None:
            self.steps = self._dataset.num_batches
        elif hasattr(source, "__len__"):
            self.steps = len(source)
        self.can_restart = self._dataset is not None or not hasattr(source, "__next__")

    def peek(self) -> Batch:
        """The first batch, which the next pass will begin with.

        Raises:
            ValueError: there is none.
        """
        batches = iter(self)
        first = next(batches, None)
        if first is None:
            raise ValueError("x yields no batches.")
        self._started = chain([first], batches)
        return first

    def __iter__(self) -> Iterator[Batch]:
        if self._started is not None:
            batches, self._started = self._started, None
            return batches
        if self._dataset is not None:
            return map(self._read, one_pass(self._dataset, self._shuffle))
        return map(self._read, islice(self._source, self.steps))

    def restart(self) -> None:
        """Let the next pass begin at the beginning, though its first batch was drawn; a generator cannot."""
        if self.can_restart:
            self._started = None

    def _read(self, item: Any) -> Batch:
        parts = tuple(item) if isinstance(item, (tuple, list)) else (item,)
        if not 1 <= len(parts) <= 3:
            raise ValueError(f"x must yield (x, y) or (x, y, sample_weight); received {len(parts)} things.")
        x, y, weight = (
            None if part is None else as_array(self._structured(part, name), f"{name} of a batch", stays=name == "x")
            for name, part in zip(("x", "y", "sample_weight"), (*parts, None, None)[:3], strict=True)
        )
        if x is None:
            raise ValueError("x must yield batches; received None.")
        lengths = {len(part) for part in (x, y, weight) if part is not None}
        if len(lengths) > 1:
            raise ValueError(f"a batch's x, y and sample_weight have different lengths: {sorted(lengths)}.")
        if self._class_weight is not None and weight is None:
            weight = class_weights(y, self._class_weight)
        x = self._adapt(x)
        if isinstance(x, Parts):
            x = Parts([self._converted(part, f"x {place}") for place, part in enumerate(x)])
        else:
            x = self._converted(x, "x")
        return x, y, weight

    def _converted(self, x: Any, name: str) -> Any:
        if not isinstance(x, np.ndarray):
            return _column(x).rows(slice(None), len(x))
        return for_kernel(x, self._dtype, self._buffers, self, name)

    def whole(self) -> Batch:
        """The next batch."""
        return next(iter(self))


Batches = ArrayBatches | StreamBatches


class Epochs:
    """Cuts batches into epochs: whole passes, or `steps` batches each, going on where the last epoch ended.

    Attributes:
        taken: how many batches of the current pass are done.
        began: the state of the random numbers before it.
    """

    def __init__(self, batches: Batches, steps: int | None, argument: str = "steps_per_epoch") -> None:
        if steps is not None and (not hasattr(steps, "__index__") or steps < 1):
            raise ValueError(f"{argument} must be a positive integer or None; received {steps!r}.")
        self._batches = batches
        self._limit = steps
        self._pass: Iterator[Batch] | None = None
        self._done = 0
        self.steps = batches.steps if steps is None else steps
        self.ran_out = False
        self.taken = 0
        self.began = random.get_state()

    def skip(self, taken: int, done: int) -> None:
        """Begin a pass in its middle: `taken` of its batches, `done` of them in this epoch, were taken before."""
        if isinstance(self._batches, StreamBatches):
            self._batches.restart()
        self._begin()
        for _ in range(taken):
            next(self._pass, None)  # type: ignore[arg-type]
        self.taken, self._done = taken, done

    def __iter__(self) -> Iterator[Batch]:
        done, self._done = self._done, 0
        if self._limit is None and not done:
            self._begin()
        while self._limit is None or done < self._limit:
            batch = self._next()
            if batch is None:
                self.ran_out = self._limit is not None or done == 0
                break
            done += 1
            yield batch
        if self.ran_out:
            warnings.warn("x ran out of batches: training ends here.", stacklevel=2)

    def close(self) -> None:
        """Leave the pass that the last epoch was in: what prepares its batches ends."""
        self._pass = None

    def _begin(self) -> None:
        if self._pass is not None or isinstance(self._batches, ArrayBatches):
            self.began = random.get_state()  # of a stream, the first batch was drawn before
        self._pass = iter(self._batches)
        self.taken = 0

    def _next(self) -> Batch | None:
        if self._pass is None:
            self._begin()
        batch = next(self._pass, None)  # type: ignore[arg-type]
        if batch is None:
            self.taken = 0
            if self._limit is not None and self._batches.can_restart:
                self._begin()
                batch = next(self._pass, None)  # type: ignore[arg-type]
        if batch is not None:
            self.taken += 1
        return batch
