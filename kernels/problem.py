"""A problem: one op on given shapes. Frozen and hashable; tests, benches and kernels all take it.

Letters: input (N, H, W, C), filter (R, S, C/groups, K), output (N, P, Q, K). A pooling window is R by S.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

Padding = str | Sequence[Sequence[int]]
_ITEMSIZE = {"float32": 4, "float64": 8}


def pair(value: Any, name: str, minimum: int = 1) -> tuple[int, int]:
    """`value` as (height, width): an integer stands for both.

    Raises:
        ValueError: not one or two integers of at least `minimum`.
    """
    items = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value, value)
    if len(items) != 2 or any(not hasattr(i, "__index__") or isinstance(i, bool) or i < minimum for i in items):
        raise ValueError(
            f"{name} must be an integer or a pair of integers, each at least {minimum}; received {value!r}."
        )
    return int(items[0]), int(items[1])


def resolve_padding(
    padding: Padding,
    size: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """`padding` as (top, bottom, left, right).

    "same" follows TensorFlow: the output has ceil(size / stride) rows, and an odd row of padding goes to the bottom.

    Raises:
        ValueError: neither "valid", "same" nor ((top, bottom), (left, right)) of integers of at least 0.
    """
    if isinstance(padding, str):
        kind = padding.lower()
        if kind == "valid":
            return 0, 0, 0, 0
        if kind == "same":
            sides = []
            for length, taps, step, gap in zip(size, window, stride, dilation, strict=True):
                needed = max(0, (-(-length // step) - 1) * step + (taps - 1) * gap + 1 - length)
                sides += [needed // 2, needed - needed // 2]
            return sides[0], sides[1], sides[2], sides[3]
    else:
        rows = tuple(padding)
        if len(rows) == 2 and all(isinstance(row, Iterable) and not isinstance(row, str) for row in rows):
            return pair(rows[0], "padding", 0) + pair(rows[1], "padding", 0)
    raise ValueError(f'padding must be "valid", "same" or ((top, bottom), (left, right)); received {padding!r}.')


@dataclass(frozen=True)
class _Window2D:
    """The geometry that convolution and pooling share."""

    N: int
    H: int
    W: int
    C: int
    R: int
    S: int
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    pad_top: int = 0
    pad_bottom: int = 0
    pad_left: int = 0
    pad_right: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "dtype":
                if value not in _ITEMSIZE:
                    raise ValueError(f"dtype must be one of {sorted(_ITEMSIZE)}; received {value!r}.")
            elif value < (0 if field.name == "N" or field.name.startswith("pad_") else 1):
                raise ValueError(f"{field.name} must be positive; received {value}.")
        if self.P < 1 or self.Q < 1:
            raise ValueError(
                f"the window is larger than the padded input: input ({self.H}, {self.W}), padding "
                f"(({self.pad_top}, {self.pad_bottom}), ({self.pad_left}, {self.pad_right})), "
                f"window ({self.R}, {self.S}), dilation ({self.dilation_h}, {self.dilation_w}) leave an output of "
                f"({self.P}, {self.Q})."
            )

    @functools.cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in fields(self)))

    @functools.cached_property
    def P(self) -> int:
        """Rows of the output."""
        return (self.H + self.pad_top + self.pad_bottom - (self.R - 1) * self.dilation_h - 1) // self.stride_h + 1

    @functools.cached_property
    def Q(self) -> int:
        """Columns of the output."""
        return (self.W + self.pad_left + self.pad_right - (self.S - 1) * self.dilation_w - 1) // self.stride_w + 1

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _ITEMSIZE[self.dtype]

    @functools.cached_property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.H, self.W, self.C

    @property
    def pixels_read(self) -> int:
        """Pixels of an image that lie in any window: strides and dilations may leave some out."""
        rows = {p * self.stride_h - self.pad_top + r * self.dilation_h for p in range(self.P) for r in range(self.R)}
        columns = {
            q * self.stride_w - self.pad_left + s * self.dilation_w for q in range(self.Q) for s in range(self.S)
        }
        return len(rows & set(range(self.H))) * len(columns & set(range(self.W)))

    @functools.cached_property
    def flops(self) -> int:
        raise NotImplementedError

    @classmethod
    def parse(cls, text: str) -> Self:
        """A problem from text such as `N=64 H=13 W=13 C=32 K=64 R=3 S=3 stride=2 padding=same`.

        Besides the fields' own names: stride, dilation, pool ("2" or "2,1") and padding ("valid", "same" or
        "top,bottom,left,right").

        Raises:
            ValueError: an unknown, missing or repeated key, or a value that is no integer.
        """
        names = [field.name for field in fields(cls) if not field.name.startswith("pad_")]
        pairs = [name.removesuffix("_h") for name in names if name.endswith("_h")]
        numbers: dict[str, Any] = {"stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1}
        padding: Any = "valid"
        seen: set[str] = set()
        for item in text.split():
            key, _, value = item.partition("=")
            if key in seen or key not in (*names, *pairs, "padding"):
                raise ValueError(
                    f"{item!r} in {text!r}: expected key=value, each once, with a key of {names}, "
                    f"{', '.join(pairs)}, padding."
                )
            seen.add(key)
            try:
                if key == "padding":
                    padding = value
                elif key in pairs:
                    given = [int(part) for part in value.split(",")]
                    numbers[f"{key}_h"], numbers[f"{key}_w"] = pair(given * 2 if len(given) == 1 else given, key)
                else:
                    numbers[key] = value if key == "dtype" else int(value)
            except ValueError as error:
                raise ValueError(f"{item!r} in {text!r}: {error}") from None
        missing = [
            name for name in ("N", "H", "W", "C", "R", "S", *(("K",) if "K" in names else ())) if name not in numbers
        ]
        if missing:
            raise ValueError(f"{text!r} lacks {missing}.")
        window = numbers["R"], numbers["S"]
        stride = numbers["stride_h"], numbers["stride_w"]
        dilation = numbers["dilation_h"], numbers["dilation_w"]
        if padding not in ("valid", "same"):
            given = [int(part) for part in padding.split(",")]
            padding = (given[:2], given[2:])
        sides = resolve_padding(padding, (numbers["H"], numbers["W"]), window, stride, dilation)
        numbers.update(zip(("pad_top", "pad_bottom", "pad_left", "pad_right"), sides, strict=True))
        return cls(**numbers)

    def __str__(self) -> str:
        """The text that `parse` reads back."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("_h", "_w")) or field.name.startswith("pad_") or value == field.default:
                continue
            words.append(f"{field.name}={value}")
        for field in fields(self):
            key = field.name.removesuffix("_h")
            if key != field.name and (values := (getattr(self, f"{key}_h"), getattr(self, f"{key}_w"))) != (1, 1):
                words.append(f"{key}={values[0]},{values[1]}")
        sides = (self.pad_top, self.pad_bottom, self.pad_left, self.pad_right)
        if any(sides):
            words.append("padding=" + ",".join(map(str, sides)))
        return " ".join(words)


@dataclass(frozen=True)
class Conv2DProblem(_Window2D):
    """A convolution (cross-correlation, as everywhere in deep learning): x (N,H,W,C) * w (R,S,C/groups,K) -> y
    (N,P,Q,K).

    Forward, backward_data and backward_filter of one layer share one problem.
    """

    K: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.C % self.groups or self.K % self.groups:
            raise ValueError(f"groups={self.groups} must divide the channels C={self.C} and the filters K={self.K}.")

    @classmethod
    def of(
        cls,
        x_shape: Sequence[int],
        w_shape: Sequence[int],
        strides: Any = 1,
        padding: Padding = "valid",
        dilation_rate: Any = 1,
        dtype: Any = "float32",
    ) -> Self:
        """The problem of arrays of these shapes, x (N,H,W,C) and w (R,S,C/groups,K), with Keras's options.

        Raises:
            ValueError: a shape or an option that makes no convolution.
        """
        if len(x_shape) != 4 or len(w_shape) != 4:
            raise ValueError(
                f"a 2-D convolution takes inputs (N, H, W, C) and a kernel (R, S, C/groups, K); received shapes "
                f"{tuple(x_shape)} and {tuple(w_shape)}."
            )
        N, H, W, C = map(int, x_shape)
        R, S, group_channels, K = map(int, w_shape)
        if group_channels < 1 or C % group_channels:
            raise ValueError(
                f"the kernel of shape {tuple(w_shape)} takes {group_channels} channels a group, which does not "
                f"divide the inputs' {C}."
            )
        stride, dilation = pair(strides, "strides"), pair(dilation_rate, "dilation_rate")
        sides = resolve_padding(padding, (H, W), (R, S), stride, dilation)
        return cls(N, H, W, C, R, S, *stride, *dilation, *sides, str(dtype), K, C // group_channels)

    def __hash__(self) -> int:
        return self._hash  # a step looks problems up many times

    @functools.cached_property
    def w_shape(self) -> tuple[int, int, int, int]:
        return self.R, self.S, self.C // self.groups, self.K

    @functools.cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.P, self.Q, self.K

    @functools.cached_property
    def flops(self) -> int:
        """Two for each multiply-add, padding counted as data."""
        return 2 * self.N * self.P * self.Q * self.K * self.R * self.S * (self.C // self.groups)

    @functools.cached_property
    def is_matrix_product(self) -> bool:
        """Whether it is that of x (N * H * W, C) and w (C, K)."""
        same_pixels = (self.P, self.Q) == (self.H, self.W)
        return same_pixels and (self.R, self.S, self.stride_h, self.stride_w, self.groups) == (1, 1, 1, 1, 1)


@dataclass(frozen=True)
class ConvPool2DProblem(Conv2DProblem):
    """A convolution and max pooling of its output (N,P,Q,K) by windows that lie side by side -> y (N, P // pool_h, Q //
    pool_w, K). Rows and columns of the convolution that fill no window are left out.
    """

    pool_h: int = 1
    pool_w: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool_h > self.P or self.pool_w > self.Q:
            raise ValueError(
                f"the pooling window ({self.pool_h}, {self.pool_w}) is larger than the convolution's output "
                f"({self.P}, {self.Q})."
            )

    @classmethod
    def pooled(cls, convolution: Conv2DProblem, pool: tuple[int, int]) -> Self:
        """The problem of a convolution and pooling windows of `pool` pixels."""
        numbers = {field.name: getattr(convolution, field.name) for field in fields(Conv2DProblem)}
        return cls(**numbers, pool_h=pool[0], pool_w=pool[1])

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.P // self.pool_h, self.Q // self.pool_w, self.K

    @functools.cached_property
    def flops(self) -> int:
        """Of the convolution at the pixels that are pooled, and a comparison for each."""
        _, rows, columns, _ = self.y_shape
        pixels = self.N * rows * self.pool_h * columns * self.pool_w
        return pixels * self.K * (2 * self.R * self.S * (self.C // self.groups) + 1)


@dataclass(frozen=True)
class Pool2DProblem(_Window2D):
    """Pooling of x (N,H,W,C) by windows of R by S into y (N,P,Q,C). Padding is never part of a window."""

    @classmethod
    def of(
        cls,
        x_shape: Sequence[int],
        pool_size: Any,
        strides: Any = None,
        padding: Padding = "valid",
        dtype: Any = "float32",
    ) -> Self:
        """The problem of x (N,H,W,C) with Keras's options; `strides` of None means `pool_size`.

        Raises:
            ValueError: a shape or an option that makes no pooling.
        """
        if len(x_shape) != 4:
            raise ValueError(f"2-D pooling takes inputs (N, H, W, C); received shape {tuple(x_shape)}.")
        N, H, W, C = map(int, x_shape)
        window = pair(pool_size, "pool_size")
        stride = window if strides is None else pair(strides, "strides")
        sides = resolve_padding(padding, (H, W), window, stride, (1, 1))
        return cls(N, H, W, C, *window, *stride, 1, 1, *sides, str(dtype))

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.pad_top, self.pad_bottom) >= self.R or max(self.pad_left, self.pad_right) >= self.S:
            raise ValueError(f"padding of a window's size or more would pool nothing but padding: {self}.")

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def y_shape(self) -> tuple[int, int, int, int]:
        return self.N, self.P, self.Q, self.C

    @functools.cached_property
    def flops(self) -> int:
        """One comparison or addition for each element of a window."""
        return self.N * self.P * self.Q * self.C * self.R * self.S
