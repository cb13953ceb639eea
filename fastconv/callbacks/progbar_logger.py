"""What `fit`, `evaluate` and `predict` show: a bar on a terminal, one line per epoch elsewhere.

    with CallbackList(callbacks, add_progbar=True, model=model, verbose=verbose, epochs=5, steps=938) as run:
        run.on_train_begin() ...

The bar is one line, rewritten at most ten times a second. It ends as the line that a pipe or a log file gets:

    Epoch 3/5 - 12.3s - 13ms/step - loss: 0.0312 - accuracy: 0.9901 - val_loss: 0.0406
"""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from fastconv.callbacks.callback import Callback

_SECONDS_BETWEEN_UPDATES = 0.1


def resolve_verbose(verbose: int | str) -> int:
    """0 (silent), 1 (bar) or 2 (one line per epoch) for what the caller asked and where the output goes.

    A bar can only be drawn on a terminal or in a notebook: elsewhere "auto" and 1 both give 2.

    Raises:
        ValueError: `verbose` is not 0, 1, 2 or "auto".
    """
    if verbose not in (0, 1, 2, "auto"):
        raise ValueError(f'verbose must be 0, 1, 2 or "auto", not {verbose!r}.')
    if verbose in (0, 2):
        return int(verbose)
    return 1 if sys.stdout.isatty() or _in_notebook() else 2


class ProgbarLogger(Callback):
    """Shows a run as `params["verbose"]` says; silent while `fit` evaluates its validation data."""

    def __init__(self) -> None:
        self._in_fit = False
        self._title = ""
        self._verbose = 0
        self._steps: int | None = None
        self._seen = 0
        self._start = self._first_step = self._last_step = self._last_update = 0.0
        self._display: _Display | None = None

    def on_train_begin(self, logs=None):
        self._in_fit = True

    def on_epoch_begin(self, epoch, logs=None):
        self._begin(f"Epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch, logs=None):
        self._step(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._end(logs)

    def on_train_end(self, logs=None):
        self._in_fit = False
        self.release()

    def on_test_begin(self, logs=None):
        if not self._in_fit:
            self._begin("Evaluate")

    def on_test_batch_end(self, batch, logs=None):
        if not self._in_fit:
            self._step(batch, logs)

    def on_test_end(self, logs=None):
        if not self._in_fit:
            self._end(logs)

    def on_predict_begin(self, logs=None):
        self._begin("Predict")

    def on_predict_batch_end(self, batch, logs=None):
        self._step(batch, None)

    def on_predict_end(self, logs=None):
        self._end(None)

    def release(self):
        if self._display is not None:
            self._display.close()
            self._display = None

    def _begin(self, title: str) -> None:
        self.release()
        self._title = title
        self._verbose = resolve_verbose(self.params["verbose"])
        self._steps = self.params["steps"]
        self._seen = 0
        if self._verbose == 1:
            make = _NotebookLine if _in_notebook() else _TerminalBar
            self._display = make(title, self._steps)
        self._start = self._first_step = self._last_step = self._last_update = time.perf_counter()

    def _step(self, batch: int, logs: dict[str, Any] | None) -> None:
        self._seen = batch + 1
        self._last_step = time.perf_counter()
        if self._seen == 1:
            self._first_step = self._last_step
        if self._display is not None and self._last_step - self._last_update >= _SECONDS_BETWEEN_UPDATES:
            self._last_update = self._last_step
            pace = self._seconds_per_step()
            words = [f"{format_seconds(pace)}/step"]
            if self._steps is not None:
                words.append(f"ETA {format_seconds(pace * (self._steps - self._seen))}")
            self._display.update(self._seen, words + format_logs(logs or {}))

    def _end(self, logs: dict[str, Any] | None) -> None:
        self.release()
        if self._verbose:
            seconds = f"{time.perf_counter() - self._start:.1f}s"
            pace = f"{format_seconds(self._seconds_per_step())}/step"
            print(" - ".join([self._title, seconds, pace, *format_logs(logs or {})]), flush=True)

    def _seconds_per_step(self) -> float:
        """The mean so far, without validation and, if there is another step, without the first one.

        The first step of a process may have to compile kernels.
        """
        if self._seen > 1:
            return (self._last_step - self._first_step) / (self._seen - 1)
        return self._last_step - self._start


def format_logs(logs: dict[str, Any]) -> list[str]:
    """["loss: 0.0312", ...]; numbers too small for four decimals in scientific notation."""
    return [f"{name}: {_format_number(value)}" for name, value in logs.items()]


def format_seconds(seconds: float) -> str:
    """A duration in the largest unit that leaves a whole number: "1:02:03", "2:03", "3s", "13ms", "850us"."""
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


def _format_number(value: Any) -> str:
    if not isinstance(value, int | float) and getattr(value, "ndim", 1) != 0:
        return str(value)
    return f"{value:.4e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"


def _in_notebook() -> bool:
    # The output stream of a Jupyter kernel: its class tells without importing anything.
    return type(sys.stdout).__module__.startswith("ipykernel")


class _Display(Protocol):
    """Made from a title and the number of steps or None; leaves an empty line when closed."""

    def update(self, seen: int, words: list[str]) -> None: ...

    def close(self) -> None: ...


class _TerminalBar:
    """A bar drawn by rich."""

    def __init__(self, title: str, steps: int | None) -> None:
        from rich import progress

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=12),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[words]}", markup=False),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._progress.add_task(title, total=steps, words="")
        self._progress.start()

    def update(self, seen: int, words: list[str]) -> None:
        self._progress.update(self._task, completed=seen, words=" ".join(words), refresh=True)

    def close(self) -> None:
        self._progress.stop()


class _NotebookLine:
    """A line of text written over itself: a bar of widgets would need packages that may be missing."""

    def __init__(self, title: str, steps: int | None) -> None:
        self._title = title
        self._steps = "?" if steps is None else steps
        self._width = 0

    def update(self, seen: int, words: list[str]) -> None:
        self._write(" - ".join([f"{self._title} {seen}/{self._steps}", *words]))

    def close(self) -> None:
        self._write("")
        print("\r", end="", flush=True)

    def _write(self, text: str) -> None:
        # Spaces over what is left of a longer line before.
        print("\r" + text.ljust(self._width), end="", flush=True)
        self._width = len(text)
