"""A warp's threads meet in Numba's simulator, where each is a thread of Python's and knows its own numbers only."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

_LANES = 32
_PATIENCE = 60  # seconds in which no other lane comes


def of_one_thread(model: Callable[..., Any]) -> Callable[..., Any]:
    """What a thread calls in place of `model`, which takes and returns arrays of shape (warps, 32).

    The thread waits for the others of its warp. RuntimeError if they do not come.
    """

    @functools.wraps(model)
    def call(*numbers: Any) -> Any:
        thread: Any = threading.current_thread()
        warp, lane = divmod(thread.thread_id, _LANES)
        block = vars(thread._manager)  # Numba makes one for each block
        meetings = block.setdefault("meetings", {})
        return meetings.setdefault(warp, _Meeting()).join(lane, model, numbers)

    return call


class _Meeting:
    """Where the lanes of one warp come together, again and again."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.turn = 0
        self.numbers: dict[int, tuple[Any, ...]] = {}
        self.results: list[Any] = []
        self.error: Exception | None = None

    def join(self, lane: int, model: Callable[..., Any], numbers: tuple[Any, ...]) -> Any:
        with self.changed:
            turn = self.turn
            self.numbers[lane] = numbers
            if len(self.numbers) == _LANES:
                try:
                    self._run(model)
                except Exception as error:  # the others must hear of it
                    self.error = error
                self.numbers.clear()
                self.turn += 1
                self.changed.notify_all()
            while self.turn == turn:
                here = len(self.numbers)
                moved = functools.partial(self._moved, turn, here)
                # Short waits: a process that was stopped for a while must not lose its patience at once.
                if not any(self.changed.wait_for(moved, 1) for _ in range(_PATIENCE)):
                    raise RuntimeError(f"{here} threads of a warp wait in {model.__name__} for the others of the 32")
            if self.error is not None:
                raise self.error
            return self.results[lane]

    def _moved(self, turn: int, here: int) -> bool:
        return self.turn != turn or len(self.numbers) != here

    def _run(self, model: Callable[..., Any]) -> None:
        """Give the model what all have brought; the results stay until all have come again."""
        brought = [self.numbers[lane] for lane in range(_LANES)]
        results = model(*(np.array([numbers], np.float32) for numbers in zip(*brought, strict=True)))
        self.results = list(zip(*(result[0] for result in results), strict=True))
