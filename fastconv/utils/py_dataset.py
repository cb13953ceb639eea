"""`PyDataset`, also `Sequence`: batches by number, which threads may prepare ahead of the step that takes them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from fastconv import random

_Item = TypeVar("_Item")


class PyDataset:
    """Base of a data set that gives whole batches by number, for `fit`, `evaluate` and `predict`.

    A subclass has `__len__`, the number of batches, and `__getitem__(index)`: (x,), (x, y) or (x, y, sample_weight).
    One without end has the property `num_batches` instead, which is None. Any attributes may be set before
    `super().__init__()`, or without it.

    Args:
        workers: threads that prepare batches; up to 1 they are prepared when their turn comes. With more, `__getitem__`
            must stand being called from several threads. Order and contents do not depend on it.
        use_multiprocessing: taken for Keras's sake; there are threads all the same, which share memory and need no
            pickling. NumPy and our kernels let them run at the same time.
        max_queue_size: batches that may be ready, or in the making, before their turn.
    """

    workers: int = 1
    use_multiprocessing: bool = False
    max_queue_size: int = 10

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        for name, value, least in (("workers", workers, 0), ("max_queue_size", max_queue_size, 1)):
            if not hasattr(value, "__index__") or value < least:
                raise ValueError(f"{name} must be an integer from {least} on; received {value!r}.")
        self.workers, self.max_queue_size = int(workers), int(max_queue_size)
        self.use_multiprocessing = bool(use_multiprocessing)

    def __getitem__(self, index: int) -> Any:
        """Batch number `index`."""
        raise NotImplementedError(f"{type(self).__name__} must have __getitem__(index), which returns a batch.")

    @property
    def num_batches(self) -> int | None:
        """Batches in a pass; None for a data set without end."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(f"{type(self).__name__} must have __len__ or num_batches.")

    def __iter__(self) -> Iterator[Any]:
        """The batches of a pass, prepared one by one."""
        return (self[index] for index in _numbers(self))

    def on_epoch_begin(self) -> None:
        """Called before each pass over the batches."""

    def on_epoch_end(self) -> None:
        """Called after each pass, also after one that ends early."""


Sequence = PyDataset


class _ByNumber(PyDataset):
    """Something else that gives batches by number and has a length."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        return self._source[index]

    def on_epoch_end(self) -> None:
        getattr(self._source, "on_epoch_end", lambda: None)()


def as_dataset(source: Any) -> PyDataset | None:
    """`source` as a `PyDataset`, if it is one or gives batches by number and in no other way."""
    if isinstance(source, PyDataset):
        return source
    by_number = hasattr(source, "__getitem__") and hasattr(source, "__len__") and not hasattr(source, "__iter__")
    return _ByNumber(source) if by_number else None


def one_pass(dataset: PyDataset, shuffle: bool = False) -> Iterator[Any]:
    """The batches of a pass in order, or with `shuffle` in a random one, prepared by the data set's workers."""
    dataset.on_epoch_begin()
    count = dataset.num_batches
    numbers = random.generator().permutation(count).tolist() if shuffle and count else _numbers(dataset)
    try:
        yield from ahead(dataset.__getitem__, numbers, dataset.workers, dataset.max_queue_size)
    finally:
        dataset.on_epoch_end()


def _numbers(dataset: PyDataset) -> Iterable[int]:
    count = dataset.num_batches
    return itertools.count() if count is None else range(count)


def ahead(make: Callable[[int], _Item], numbers: Iterable[int], workers: int, depth: int) -> Iterator[_Item]:
    """`make(number)` for each of `numbers`, in their order, made by `workers` threads, up to `depth` before their turn.

    The first is made by the caller's thread, so that a look at it starts none. What `make` raises is raised here in its
    turn. However this ends (the last one, an exception here or in the loop around it, a loop left early), the threads
    have ended afterwards.
    """
    numbers = iter(numbers)
    for number in itertools.islice(numbers, None if workers < 2 else 1):
        yield make(number)
    if workers < 2:
        return
    waiting: deque[Future[_Item]] = deque()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="fastconv-batches")
    try:
        waiting.extend(threads.submit(make, number) for number in itertools.islice(numbers, depth))
        while waiting:
            item = waiting.popleft().result()
            waiting.extend(threads.submit(make, number) for number in itertools.islice(numbers, 1))
            yield item
    finally:
        threads.shutdown(cancel_futures=True)
