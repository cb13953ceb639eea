"""Times image augmentation: `python bench/augmentation.py`; beside Keras's where that is installed.

Images a second of one core's time without training, and an epoch of `fit` with and without augmentation, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.models import zoo
from fastconv.preprocessing.image import ImageDataGenerator

_BATCH, _SECONDS, _EPOCHS, _SAMPLES = 64, 2.0, 19, 2560
_TURNED = {"rotation_range": 10, "width_shift_range": 0.1, "height_shift_range": 0.1, "zoom_range": 0.1}
_CASES: list[tuple[str, tuple[int, int, int], dict[str, Any]]] = [
    ("28x28x1, turned, shifted, zoomed", (28, 28, 1), _TURNED),
    ("28x28x1, shifted and flipped", (28, 28, 1), {"width_shift_range": 0.1, "horizontal_flip": True}),
    ("28x28x1, flipped", (28, 28, 1), {"horizontal_flip": True}),
    ("24x24x3, turned, shifted, zoomed", (24, 24, 3), _TURNED),
]


def images_a_second(flow: Any) -> float:
    """Of processor time."""
    next(flow)
    begun, count = time.process_time(), 0
    while time.process_time() - begun < _SECONDS:
        count += len(next(flow))
    return count / (time.process_time() - begun)


def keras_generator() -> Any:
    """Keras's class, or None."""
    try:
        from keras.src.legacy.preprocessing.image import ImageDataGenerator as Generator
    except ImportError:
        return None
    return Generator


def fastest(epochs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The seconds of each one's fastest run, in turns."""
    found = dict.fromkeys(epochs, float("inf"))
    for _ in range(_EPOCHS):
        for name, run in epochs.items():
            begun = time.perf_counter()
            run()
            found[name] = min(found[name], time.perf_counter() - begun)
    return found


def main() -> None:
    rng = np.random.default_rng(0)
    generators = {"fastconv": ImageDataGenerator, "Keras": keras_generator()}
    for name, shape, options in _CASES:
        x = rng.random((1024, *shape), np.float32)
        for library, generator in generators.items():
            if generator is not None:
                arguments = {"workers": 1} if library == "fastconv" else {}
                flow = iter(generator(**options).flow(x, batch_size=_BATCH, seed=1, **arguments))
                print(f"{name}: {library} {images_a_second(flow):,.0f} images a second and core", flush=True)
    model = zoo.mnist()
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = rng.random((_SAMPLES, 28, 28, 1), np.float32), rng.integers(0, 10, _SAMPLES)
    flows = {workers: ImageDataGenerator(**_TURNED).flow(x, y, _BATCH, seed=1, workers=workers) for workers in (1, 2)}
    times = fastest(
        {
            "no augmentation": lambda: model.fit(x, y, _BATCH, verbose=0),
            "workers=1": lambda: model.fit(flows[1], verbose=0),
            "workers=2": lambda: model.fit(flows[2], verbose=0),
        }
    )
    for name, seconds in times.items():
        print(f"fit, {name}: {_SAMPLES / seconds:,.0f} images a second")


if __name__ == "__main__":
    main()
