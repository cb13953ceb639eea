"""`LaterLogs`: logs that are made when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping


class LaterLogs(Mapping[str, float]):
    """A mapping that calls `make` once, when it is first read; what it then is stays so."""

    def __init__(self, make: Callable[[], dict[str, float]]) -> None:
        self._make = make
        self._made: dict[str, float] | None = None

    def _logs(self) -> dict[str, float]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, name: str) -> float:
        return self._logs()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._logs())

    def __len__(self) -> int:
        return len(self._logs())

    def __repr__(self) -> str:
        return repr(self._logs())
