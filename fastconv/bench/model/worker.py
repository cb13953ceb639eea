"""One contestant in a process of its own: python -P worker.py CONTESTANT_FILE CONFIGURATION FOLDER THREADS.

Run as a script, so that nothing but the contestant's framework is imported (-P: the folder of this file, in which
names such as `profile` lie, is not on the path). It reads a JSON object a line from standard input and answers with one
a line; what frameworks print goes to standard error. FOLDER holds description.json, weights.npz and for each batch size
N data_N.npz.

    {"do": "load"}                   imports and builds: seconds for the import, and whether the framework trains
    {"do": "outputs", "size": N}     writes predictions to FOLDER/outputs_N.npy
    {"do": "run", "what": "train" | "predict", "size": N, "count": C}     seconds for C calls, and the last one's loss
    {"do": "memory"}                 the most memory that the process has had, in bytes

An answer is {"ok": true, ...} or {"ok": false, "unsupported": bool, "error": "..."}.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class Worker:
    """Holds the contestant's model and the calls made so far."""

    def __init__(self, file: str, configuration: str, folder: str, threads: int) -> None:
        self._file, self._configuration, self._folder, self._threads = file, configuration, Path(folder), threads
        self._calls: dict[tuple[str, int], Any] = {}
        self._model: Any = None

    def load(self) -> dict[str, Any]:
        """Import and build."""
        started = time.perf_counter()
        spec = importlib.util.spec_from_file_location("contestant", self._file)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        import_s = time.perf_counter() - started
        import numpy as np

        description = json.loads((self._folder / "description.json").read_text(encoding="utf-8"))
        with np.load(self._folder / "weights.npz") as archive:
            weights = [archive[str(index)] for index in range(len(archive.files))]
        self._model = module.load(description, weights, self._configuration, self._threads)
        return {"import_s": import_s, "trains": self._model.trainer is not None and bool(description["loss"])}

    def outputs(self, size: int) -> dict[str, Any]:
        """Predict, and write the predictions."""
        import numpy as np

        predictions = self._model.to_numpy(self._call("predict", size)())
        np.save(self._folder / f"outputs_{size}.npy", predictions)
        return {}

    def run(self, what: str, size: int, count: int) -> dict[str, Any]:
        """Time so many calls."""
        call = self._call(what, size)
        started = time.perf_counter()
        for _ in range(count):
            last = call()
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "loss": float(self._model.to_numpy(last)) if what == "train" else None}

    def memory(self) -> dict[str, Any]:
        """On Linux that of this program alone; `ru_maxrss` would begin with that of the program that started it."""
        try:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            return {"bytes": 1024 * int(status.split("VmHWM:")[1].split()[0])}
        except (OSError, IndexError):
            import resource

            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return {"bytes": used if sys.platform == "darwin" else 1024 * used}

    def _call(self, what: str, size: int) -> Any:
        import numpy as np

        if (what, size) not in self._calls:
            with np.load(self._folder / f"data_{size}.npz") as data:
                x, y = data["x"], data["y"]
            if what == "train" and self._model.trainer is None:
                raise NotImplementedError("it is for inference only")
            make = self._model.trainer(x, y) if what == "train" else self._model.predictor(x)
            self._calls[what, size] = make
        return self._calls[what, size]


def main() -> None:
    """Answer until standard input ends."""
    file, configuration, folder, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(file, configuration, folder, int(threads))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"ok": True, **getattr(worker, command.pop("do"))(**command)}
        except Exception as error:  # whatever a framework raises
            answer = {
                "ok": False,
                "unsupported": isinstance(error, NotImplementedError),
                "error": f"{type(error).__name__}: {error}",
            }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
