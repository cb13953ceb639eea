"""What a run prints into a pipe, onto a terminal and into a notebook, with a clock of our own."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import numpy as np
import pytest

from fastconv.callbacks import CallbackList, progbar_logger
from fastconv.callbacks.progbar_logger import ProgbarLogger, format_logs, format_seconds, resolve_verbose


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Kernel(io.StringIO):
    """Looks like the output stream of a Jupyter kernel."""


Kernel.__module__ = "ipykernel.iostream"


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(progbar_logger.time, "perf_counter", lambda: Clock.now)
    return Clock


def on_terminal(monkeypatch):
    """Called inside a test, because pytest replaces the output once more after the fixtures."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stdout", Terminal())
    return sys.stdout


def fit(clock, verbose="auto", epochs=2, steps=4, seconds_per_step=0.013, known_steps=True):
    run = CallbackList(ProgbarLogger(), verbose=verbose, epochs=epochs, steps=steps if known_steps else None)
    run.on_train_begin()
    for epoch in range(epochs):
        run.on_epoch_begin(epoch)
        clock.now += 2.0  # the first step compiles kernels
        for batch in range(steps):
            clock.now += seconds_per_step
            run.on_train_batch_end(batch, {"loss": 1 / (batch + 1)})
        run.on_test_begin()
        clock.now += 1.0
        run.on_test_batch_end(0, {"loss": 9.0})
        run.on_test_end({"loss": 9.0})
        run.on_epoch_end(epoch, {"loss": 0.03125, "accuracy": 0.5, "val_loss": 0.00001})
    run.on_train_end()


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_a_pipe_gets_one_line_per_epoch(clock, capsys, verbose):
    fit(clock, verbose)
    rest = "3.1s - 13ms/step - loss: 0.0312 - accuracy: 0.5000 - val_loss: 1.0000e-05"
    assert capsys.readouterr().out.splitlines() == [f"Epoch 1/2 - {rest}", f"Epoch 2/2 - {rest}"]


def test_silence(clock, capsys):
    fit(clock, 0)
    assert capsys.readouterr().out == ""


def test_a_run_of_one_step_counts_its_only_step(clock, capsys):
    fit(clock, epochs=1, steps=1)
    assert "- 2s/step -" in capsys.readouterr().out


def test_evaluate_and_predict(clock, capsys):
    run = CallbackList(ProgbarLogger(), verbose=2, epochs=1, steps=2)
    run.on_test_begin()
    for batch in range(2):
        clock.now += 0.25
        run.on_test_batch_end(batch, {"loss": 1.0})
    run.on_test_end({"loss": 0.5})
    run.on_predict_begin()
    for batch in range(2):
        clock.now += 0.0005
        run.on_predict_batch_end(batch, {"outputs": np.zeros(3)})
    run.on_predict_end({"outputs": np.zeros(3)})
    assert capsys.readouterr().out.splitlines() == [
        "Evaluate - 0.5s - 250ms/step - loss: 0.5000",
        "Predict - 0.0s - 500us/step",
    ]


def test_validation_counts_again_after_fit(clock, capsys):
    bar = ProgbarLogger()
    run = CallbackList(bar, verbose=2, epochs=1, steps=1)
    run.on_train_begin()
    run.on_train_end()
    run.on_test_begin()
    run.on_test_end({"loss": 1.0})
    assert capsys.readouterr().out.startswith("Evaluate")


LINE = "6.1s - 31ms/step - loss: 0.0312 - accuracy: 0.5000 - val_loss: 1.0000e-05"


def drawings(text):
    """The bar as often as it was drawn."""
    return re.findall(r"Epoch 1/2[^\r\n]*", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text))


def test_a_terminal_gets_a_bar_and_ends_with_the_same_line(clock, monkeypatch):
    terminal = on_terminal(monkeypatch)
    fit(clock, steps=100, seconds_per_step=1 / 32)
    text = terminal.getvalue()
    drawn = drawings(text)
    # One before the first step, then one for every fourth step, one at the end, and the line.
    assert len(drawn) == 1 + 25 + 1 + 1
    assert any(re.search(r"49/100 31ms/step ETA 2s loss: 0\.0204", line) for line in drawn)
    assert drawn[-1] == f"Epoch 1/2 - {LINE}"
    # The cursor is hidden once per epoch and shown again, and the bar's line erased before the last one.
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 2
    assert text.rindex("\x1b[2K") < text.rindex("Epoch 2/2 - 6.1s")
    assert text.endswith(f"Epoch 2/2 - {LINE}\n")


def test_a_terminal_gets_a_bar_without_known_steps(clock, monkeypatch):
    terminal = on_terminal(monkeypatch)
    fit(clock, steps=50, seconds_per_step=0.125, known_steps=False)
    assert any("20/?" in line and "ETA" not in line for line in drawings(terminal.getvalue()))


def test_the_cursor_comes_back_after_an_error(clock, monkeypatch):
    terminal = on_terminal(monkeypatch)
    run = CallbackList(ProgbarLogger(), verbose=1, epochs=1, steps=3)
    with pytest.raises(KeyboardInterrupt), run:
        run.on_train_begin()
        run.on_epoch_begin(0)
        raise KeyboardInterrupt
    assert terminal.getvalue().count("\x1b[?25h") == 1
    assert sys.stdout is terminal


def test_a_notebook_gets_one_line_written_over_itself(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Kernel())
    fit(clock, steps=100, seconds_per_step=1 / 32)
    text = sys.stdout.getvalue()
    assert "\x1b" not in text
    assert len(drawings(text)) == 25 + 1
    assert "\rEpoch 1/2 49/100 - 31ms/step - ETA 2s - loss: 0.0204" in text
    # A notebook shows of every line what follows its last carriage return, over what was there before.
    *lines, last = text.split("\n")
    assert last == ""
    for epoch, line in enumerate(lines):
        *before, shown = line.split("\r")
        assert shown == f"Epoch {epoch + 1}/2 - {LINE}"
        assert before[-1].isspace()
        assert len(before[-1]) >= len(before[-2].rstrip())


@pytest.mark.parametrize(
    ("verbose", "in_pipe", "on_terminal"), [(0, 0, 0), (1, 2, 1), (2, 2, 2), ("auto", 2, 1), (True, 2, 1)]
)
def test_resolve_verbose(verbose, in_pipe, on_terminal, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert resolve_verbose(verbose) == in_pipe
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert resolve_verbose(verbose) == on_terminal


@pytest.mark.parametrize("verbose", [3, "yes", None, -1])
def test_resolve_verbose_refuses(verbose):
    with pytest.raises(ValueError, match="verbose must be 0, 1, 2"):
        resolve_verbose(verbose)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00085, "850us"), (0.0131, "13ms"), (1.4, "1s"), (59.9, "60s"), (125, "2:05"), (3723, "1:02:03")],
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (1.0, "1.0000"),
        (-0.00012, "-1.2000e-04"),
        (np.float32(0.25), "0.2500"),
        (float("nan"), "nan"),
        (np.array([1, 2]), "[1 2]"),
        (True, "1.0000"),
    ],
)
def test_format_logs(value, text):
    assert format_logs({"a": value}) == [f"a: {text}"]


def test_rich_is_imported_only_for_a_bar():
    code = (
        "import sys; from fastconv.callbacks import CallbackList\n"
        "from fastconv.callbacks.progbar_logger import ProgbarLogger\n"
        "run = CallbackList(ProgbarLogger(), verbose=1, epochs=1, steps=1)\n"
        "run.on_train_begin(); run.on_epoch_begin(0); run.on_epoch_end(0, {}); run.on_train_end()\n"
        "sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE).returncode == 0
