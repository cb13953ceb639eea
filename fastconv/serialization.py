"""Names and configs to objects and back, in Keras 3's layout, through fixed tables.

A name found in a file is only ever looked up among the classes a table was made with, and those that the caller
has given by `custom_object_scope` or `register_keras_serializable`; nothing is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

import numpy as np

from fastconv import config as settings


def snake_case(name: str) -> str:
    """A class name as Keras writes it in files and default names: "MaxPooling2D" gives "max_pooling2d"."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


_registered: dict[str, Any] = {}  # by "package>name"
_in_scope: ContextVar[Mapping[str, Any]] = ContextVar("_in_scope", default={})  # noqa: B039  never written to


@contextmanager
def custom_object_scope(*custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """In the block, names in configs and files also stand for these classes, before those of the library.

    Args:
        custom_objects: dicts of the caller's own classes by name.

    Raises:
        ValueError: one is no dict of names.
    """
    scope = dict(_in_scope.get())
    for objects in custom_objects:
        if objects is not None and not (isinstance(objects, Mapping) and all(isinstance(key, str) for key in objects)):
            raise ValueError(f"custom_objects must be a dict of classes by name; received {objects!r}.")
        scope.update(objects or {})
    token = _in_scope.set(scope)
    try:
        yield
    finally:
        _in_scope.reset(token)


def get_custom_objects() -> dict[str, Any]:
    """The classes that are known everywhere, by name; those that are put in are too."""
    return _registered


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[type], type]:
    """A decorator that makes a class of one's own known to every model file that is opened from now on."""

    def register(cls: type) -> type:
        if not hasattr(cls, "get_config"):
            raise ValueError(f"{cls!r} cannot be registered: it has no get_config().")
        _registered[f"{package}>{name or cls.__name__}"] = cls
        return cls

    return register


def get_registered_name(cls: type) -> str:
    """The name under which a class was registered, else its own."""
    return next((name for name, known in _registered.items() if known is cls), cls.__name__)


def _custom(name: str) -> Any:
    """The caller's class of that name, with or without its package; None if there is none."""
    known = {**_registered, **_in_scope.get()}
    bare = {key.rpartition(">")[2]: cls for key, cls in known.items()}
    return known.get(name) or bare.get(name.rpartition(">")[2])


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
        cls = _custom(name) or self._classes.get(self._fold(name))
        if cls is None:
            raise ValueError(
                f"Unknown {self.kind} {name!r}. Known: {', '.join(sorted(self))}. A class of your own is given to "
                "load_model as custom_objects={name: class}."
            )
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
        cls = type(obj)
        ours = cls in self._classes.values()
        return {
            "module": self.module if ours else None,
            "class_name": cls.__name__,
            "config": obj.get_config(),
            "registered_name": None if ours else get_registered_name(cls),
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
