"""Names and configs to objects and back, in Keras 3's layout, through fixed tables.

A name found in a file is only ever looked up among the classes a table was made with; nothing is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from fastconv import config as settings


def snake_case(name: str) -> str:
    """A class name as Keras writes it in files and default names: "MaxPooling2D" gives "max_pooling2d"."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def as_float(x: Any) -> np.ndarray:
    """`x` as an array of its own floating dtype, or of `floatx` if it holds anything else."""
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(settings.floatx())


class Configurable:
    """An object that can be remade from the constructor arguments named in `config_keys`."""

    config_keys: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments by name, JSON-serializable."""
        return {key: getattr(self, key) for key in self.config_keys}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The object that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class Table:
    """The classes of one Keras module, found by class name, by that name in snake case, or by an alias.

    Args:
        module: the module's name in Keras's files ("keras.initializers").
        kind: what an entry is called in messages ("initializer").
        classes: the classes.
        aliases: further names.
        fold: applied to names before they are compared (`str.lower` where Keras ignores case).
    """

    def __init__(
        self,
        module: str,
        kind: str,
        classes: Iterable[type],
        aliases: Mapping[str, type] | None = None,
        fold: Callable[[str], str] = str,
    ) -> None:
        self.module = module
        self.kind = kind
        self._fold = fold
        self._classes: dict[str, type] = {}
        self.add(*classes)
        for alias, cls in (aliases or {}).items():
            self._classes[fold(alias)] = cls

    def add(self, *classes: type) -> None:
        """Know these classes too."""
        for cls in classes:
            self._classes[self._fold(cls.__name__)] = self._classes[self._fold(snake_case(cls.__name__))] = cls

    def __iter__(self) -> Iterator[str]:
        """The known names."""
        return iter(self._classes)

    def find(self, name: str) -> type:
        """The class called `name`; ValueError with the known names if there is none."""
        cls = self._classes.get(self._fold(name))
        if cls is None:
            raise ValueError(f"Unknown {self.kind} {name!r}. Known: {', '.join(sorted(self))}.")
        return cls

    def deserialize(self, config: Mapping[str, Any]) -> Any:
        """The object of `{"class_name": ..., "config": {...}}`.

        Raises:
            ValueError: `config` has another form, an unknown class, or arguments the class does not take.
        """
        name, arguments = config.get("class_name"), config.get("config", {})
        if not isinstance(name, str) or not isinstance(arguments, Mapping):
            raise ValueError(
                f'A config of {self.kind} looks like {{"class_name": str, "config": dict}}, not {config!r}.'
            )
        try:
            return self.find(name).from_config(dict(arguments))  # type: ignore[attr-defined]
        except TypeError as error:
            raise ValueError(f"{self.kind} {name!r} cannot be made from {arguments!r}: {error}") from error

    def serialize(self, obj: Any) -> dict[str, Any]:
        """`obj` in Keras 3's layout.

        Raises:
            TypeError: `obj` has no `get_config`.
        """
        if not hasattr(obj, "get_config"):
            raise TypeError(f"{obj!r} cannot be saved as {self.kind}: it has no get_config().")
        return {
            "module": self.module,
            "class_name": type(obj).__name__,
            "config": obj.get_config(),
            "registered_name": None,
        }

    def make(self, identifier: Any) -> Any:
        """The object that a name, a config or a class stands for; anything else is returned as it is."""
        if isinstance(identifier, str):
            return self.find(identifier)()
        if isinstance(identifier, Mapping):
            return self.deserialize(identifier)
        return identifier() if isinstance(identifier, type) else identifier

    def refuse(self, identifier: Any, needs: str) -> TypeError:
        """The error for an `identifier` that lacks what objects of this kind need."""
        return TypeError(f"{identifier!r} cannot serve as {self.kind}: expected a name, a config or {needs}.")
