"""Writes what happens in training into files that TensorBoard shows."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from fastconv.callbacks.callback import Callback
from fastconv.utils.optional import require


class TensorBoard(Callback):
    """Writes event files into `log_dir`/train and `log_dir`/validation, under the names that Keras gives.

    To look at them: `pip install tensorboard`, then `tensorboard --logdir logs`. Writing them needs
    `pip install 'fastconv[tensorboard]'` only. With "epoch_" before their names there are the logs of every epoch and
    the learning rate, and of every evaluation `evaluation_<name>_vs_iterations`.

    Args:
        log_dir: the folder; made if it is not there.
        histogram_freq: every so many epochs write histograms of all weights; 0 for never.
        write_graph: whether to write the model's layers as text, for there is no graph of operations to show.
        write_images: whether to write the weights as images, too, where there are histograms.
        write_steps_per_second: whether to write how fast it goes.
        update_freq: "epoch", or every so many batches the logs so far, with "batch_" before their names; "batch" is 1.
        profile_batch, embeddings_freq, embeddings_metadata: must be 0 or None; `model.profile` shows where time goes.

    Raises:
        ValueError: an argument must have another value.
        ImportError: tensorboardX is not installed.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: int | str = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        for name, value in (("profile_batch", profile_batch), ("embeddings_freq", embeddings_freq)):
            if value:
                raise ValueError(f"TensorBoard: {name} must be 0, not {value!r}.")
        if embeddings_metadata is not None:
            raise ValueError(f"TensorBoard: embeddings_metadata must be None, not {embeddings_metadata!r}.")
        if update_freq not in ("epoch", "batch") and not (isinstance(update_freq, int) and update_freq > 0):
            raise ValueError(
                f'TensorBoard: update_freq must be "epoch", "batch" or a number of batches, not {update_freq!r}.'
            )
        self._writer_class = require("tensorboardX", "tensorboard").SummaryWriter
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._writers: dict[str, Any] = {}
        self._batches = 0
        self._batch_start = self._epoch_start = 0.0
        self._steps_before = 0

    def on_train_begin(self, logs=None):
        self._batches = 0
        if self.write_graph:
            lines = []
            self.model.summary(print_fn=lines.append)
            # Indented by four spaces, it keeps its columns.
            self._writer("train").add_text("keras", "\n".join(f"    {line}" for line in "\n".join(lines).splitlines()))

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_start = time.perf_counter()
        self._steps_before = self.model.optimizer.iterations

    def on_train_batch_begin(self, batch, logs=None):
        self._batch_start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        if self.update_freq == "epoch" or self._batches % self.update_freq:
            return
        values = dict(logs or {})
        if self.write_steps_per_second:
            values["steps_per_second"] = 1 / (time.perf_counter() - self._batch_start)
        self._write("train", {f"batch_{name}": value for name, value in values.items()}, self._batches)

    def on_test_end(self, logs=None):
        named = {f"evaluation_{name}_vs_iterations": value for name, value in (logs or {}).items()}
        self._write("validation", named, self.model.optimizer.iterations if self.model.optimizer else 0)

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        values = {name: value for name, value in logs.items() if not name.startswith("val_")}
        values["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            steps = self.model.optimizer.iterations - self._steps_before
            values["steps_per_second"] = steps / (time.perf_counter() - self._epoch_start)
        self._write("train", {f"epoch_{name}": value for name, value in values.items()}, epoch)
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        if validation:
            self._write("validation", {f"epoch_{name}": value for name, value in validation.items()}, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)

    def on_train_end(self, logs=None):
        self.release()

    def release(self):
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, kind: str) -> Any:
        if kind not in self._writers:
            self._writers[kind] = self._writer_class(os.path.join(self.log_dir, kind), write_to_disk=True)
        return self._writers[kind]

    def _write(self, kind: str, values: dict[str, Any], step: int) -> None:
        writer = self._writer(kind)
        for name, value in values.items():
            if np.ndim(value) == 0:
                writer.add_scalar(name, float(value), step)
        writer.flush()

    def _write_weights(self, epoch: int) -> None:
        writer = self._writer("train")
        for weight in self.model.weights:
            writer.add_histogram(f"{weight.path}/histogram", weight.value, epoch)
            image = _as_images(weight.value)
            if self.write_images and image is not None:
                writer.add_images(f"{weight.path}/image", image, epoch, dataformats="NHWC")
        writer.flush()


def _as_images(weight: np.ndarray) -> np.ndarray | None:
    """The weight as images (N, H, W, C) with brightness from 0 to 1; None where it has no such shape."""
    image = np.squeeze(weight)
    if image.ndim == 1:
        image = image.reshape(1, -1, 1, 1)
    elif image.ndim == 2:
        image = (image.T if image.shape[0] > image.shape[1] else image)[None, :, :, None]
    elif image.ndim == 3:
        image = np.moveaxis(image, -1, 0)[..., None]
    if image.ndim != 4 or image.shape[-1] not in (1, 3):
        return None
    low, high = image.min(), image.max()
    return (image - low) / (high - low or 1)
