"""PyTorch, in both memory layouts, under inference mode: oneDNN on the CPU, cuDNN on a GPU.

On a GPU convolutions come three times: in float32 as such, with TF32 switched off; in float32 with products in TF32;
and on arrays in BF16. What only changes a layout to make an input fit belongs to a call; the profiler tells it apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fastconv.bench.contestant import Contestant, Unsupported
from fastconv.testing.kernel_cases import Arrays

_LAYOUTS = {"NHWC": torch.channels_last, "NCHW": torch.contiguous_format}
Tensors = dict[str, torch.Tensor]
DEVICES = {"cpu": "cpu", "gpu": "cuda"}
_ATEN = torch.ops.aten


def use_threads(count: int) -> None:
    """Let PyTorch use `count` threads from now on."""
    torch.set_num_threads(count)


def contestants(op: str, problem: Any, inputs: Arrays, device: str = "cpu") -> list[Contestant]:
    """PyTorch in both layouts, or in the only one that an op has; device is "cpu" or "gpu".

    Raises:
        Unsupported: PyTorch's op has no such option.
    """
    if op not in _OPS:
        raise Unsupported(f"no such op is compared: {op}")
    torch.set_default_device(DEVICES[device])  # of tensors made from now on
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    layouts = ["NCHW"] if op in ("im2col", "col2im") else list(_LAYOUTS)
    precisions = ["", "tf32", "bfloat16"] if device == "gpu" and op.startswith("conv2d") else [""]
    found = []
    for precision in precisions:
        tensors = {name: _tensor(array, precision) for name, array in inputs.items()}
        found += [_in_precision(_OPS[op](problem, tensors, layout), precision, device) for layout in layouts]
    return found


def _tensor(array: np.ndarray, precision: str) -> torch.Tensor:
    tensor = torch.tensor(array)
    return tensor.bfloat16() if precision == "bfloat16" else tensor


def _in_precision(entry: Contestant, precision: str, device: str) -> Contestant:
    """The contestant, which on a GPU uses TF32 if it shall, and only then, and can be profiled."""
    if device == "cpu":
        return entry

    def call() -> None:
        torch.backends.cudnn.allow_tf32 = precision == "tf32"  # for all calls from now on
        entry.call()

    return replace(entry, call=call, precision=precision, device_kernels=lambda: _device_kernels(call))


def _device_kernels(call: Callable[[], object]) -> dict[str, float]:
    """Seconds that the device spent in each kernel of a call."""
    device = DEVICES["gpu"]
    with torch.profiler.profile(activities=[getattr(torch.profiler.ProfilerActivity, device.upper())]) as profile:
        call()
        getattr(torch, device).synchronize()
    events = [event for event in profile.key_averages() if event.device_type.name == device.upper()]
    return {event.key: 1e-6 * event.self_device_time_total for event in events}


def _images(array: torch.Tensor, layout: str) -> torch.Tensor:
    """(N,H,W,C) as a (N,C,H,W) tensor in that order of memory."""
    return array.permute(0, 3, 1, 2).contiguous(memory_format=_LAYOUTS[layout])


def _filters(w: torch.Tensor, layout: str) -> torch.Tensor:
    """(R,S,C/groups,K) as (K,C/groups,R,S)."""
    return w.permute(3, 2, 0, 1).contiguous(memory_format=_LAYOUTS[layout])


def _nhwc(tensor: torch.Tensor) -> np.ndarray:
    return _numpy(tensor.permute(0, 2, 3, 1))


def _hwio(tensor: torch.Tensor) -> np.ndarray:
    return _numpy(tensor.permute(2, 3, 1, 0))


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """Contiguous and in the host's memory; NumPy has no bfloat16."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy(force=True)


def _padding(problem: Any) -> tuple[int, int]:
    p = problem
    if (p.pad_top, p.pad_left) != (p.pad_bottom, p.pad_right):
        raise Unsupported("padding differs between two opposite sides")
    return p.pad_top, p.pad_left


def _make(layout: str, call: Callable[[], Any], read: Callable[[Any], Arrays]) -> Contestant:
    last: list[Any] = [None]

    def timed() -> None:
        with torch.inference_mode():
            last[0] = call()

    return Contestant("torch", "peer", timed, lambda: read(last[0]), layout)


def _options(problem: Any) -> tuple[list[int], list[int], list[int]]:
    p = problem
    return [p.stride_h, p.stride_w], list(_padding(p)), [p.dilation_h, p.dilation_w]


def _conv2d(p: Any, inputs: Tensors, layout: str) -> Contestant:
    x, w = _images(inputs["x"], layout), _filters(inputs["w"], layout)
    bias, (stride, padding, dilation) = inputs["bias"], _options(p)
    return _make(
        layout,
        lambda: torch.nn.functional.conv2d(x, w, bias, stride, padding, dilation, p.groups),
        lambda y: {"y": _nhwc(y)},
    )


def _backward(p: Any, gy: Any, x: Any, w: Any, mask: list[bool]) -> Callable[[], Any]:
    stride, padding, dilation = _options(p)
    return lambda: _ATEN.convolution_backward(gy, x, w, [p.K], stride, padding, dilation, False, [0, 0], p.groups, mask)


def _conv2d_backward_data(p: Any, inputs: Tensors, layout: str) -> Contestant:
    gy, w = _images(inputs["gy"], layout), _filters(inputs["w"], layout)
    x = _images(inputs["gy"].new_zeros(p.x_shape), layout)
    return _make(layout, _backward(p, gy, x, w, [True, False, False]), lambda g: {"gx": _nhwc(g[0])})


def _conv2d_backward_filter(p: Any, inputs: Tensors, layout: str) -> Contestant:
    x, gy = _images(inputs["x"], layout), _images(inputs["gy"], layout)
    w = _filters(inputs["x"].new_zeros(p.w_shape), layout)
    call = _backward(p, gy, x, w, [False, True, True])
    return _make(layout, call, lambda g: {"gw": _hwio(g[1]), "gb": _numpy(g[2])})


def _pool_options(p: Any) -> tuple[list[int], list[int], list[int]]:
    top, left = _padding(p)
    if top > p.R // 2 or left > p.S // 2:
        raise Unsupported("padding of more than half a window")
    return [p.R, p.S], [p.stride_h, p.stride_w], [top, left]


def _max_pool2d(p: Any, inputs: Tensors, layout: str) -> Contestant:
    x, dilation = _images(inputs["x"], layout), [p.dilation_h, p.dilation_w]
    options = _pool_options(p)
    call = lambda: torch.nn.functional.max_pool2d(x, *options, dilation)  # noqa: E731
    return _make(layout, call, lambda y: {"y": _nhwc(y)})


def _max_pool2d_backward(p: Any, inputs: Tensors, layout: str) -> Contestant:
    x, gy = _images(inputs["x"], layout), _images(inputs["gy"], layout)
    options, dilation = _pool_options(p), [p.dilation_h, p.dilation_w]
    _, where = torch.nn.functional.max_pool2d(x, *options, dilation, return_indices=True)
    call = lambda: _ATEN.max_pool2d_with_indices_backward(gy, x, *options, dilation, False, where)  # noqa: E731
    return _make(layout, call, lambda g: {"gx": _nhwc(g)})


def _average_pool2d(p: Any, inputs: Tensors, layout: str) -> Contestant:
    x, options = _images(inputs["x"], layout), _pool_options(p)
    _no_dilation(p)
    call = lambda: torch.nn.functional.avg_pool2d(x, *options, count_include_pad=False)  # noqa: E731
    return _make(layout, call, lambda y: {"y": _nhwc(y)})


def _average_pool2d_backward(p: Any, inputs: Tensors, layout: str) -> Contestant:
    gy, x = _images(inputs["gy"], layout), _images(inputs["gy"].new_zeros(p.x_shape), layout)
    options = _pool_options(p)
    _no_dilation(p)
    call = lambda: _ATEN.avg_pool2d_backward(gy, x, *options, False, False, None)  # noqa: E731
    return _make(layout, call, lambda g: {"gx": _nhwc(g)})


def _no_dilation(p: Any) -> None:
    if (p.dilation_h, p.dilation_w) != (1, 1):
        raise Unsupported("no dilated average pooling")


def _im2col(p: Any, inputs: Tensors, layout: str) -> Contestant:
    x = _images(inputs["x"], layout)
    stride, padding, dilation = _options(p)

    def read(col: torch.Tensor) -> Arrays:  # (N, C*R*S, P*Q)
        return {"col": _numpy(col.reshape(p.N, p.C, p.R, p.S, p.P, p.Q).permute(0, 4, 5, 2, 3, 1))}

    return _make(layout, lambda: torch.nn.functional.unfold(x, (p.R, p.S), dilation, padding, stride), read)


def _col2im(p: Any, inputs: Tensors, layout: str) -> Contestant:
    col = inputs["col"].permute(0, 5, 3, 4, 1, 2)  # (N, C, R, S, P, Q)
    col = col.reshape(p.N, p.C * p.R * p.S, p.P * p.Q).contiguous()
    stride, padding, dilation = _options(p)
    call = lambda: torch.nn.functional.fold(col, (p.H, p.W), (p.R, p.S), dilation, padding, stride)  # noqa: E731
    return _make(layout, call, lambda x: {"gx": _nhwc(x)})


_OPS = {
    "conv2d": _conv2d,
    "conv2d_backward_data": _conv2d_backward_data,
    "conv2d_backward_filter": _conv2d_backward_filter,
    "max_pool2d": _max_pool2d,
    "max_pool2d_backward": _max_pool2d_backward,
    "average_pool2d": _average_pool2d,
    "average_pool2d_backward": _average_pool2d_backward,
    "im2col": _im2col,
    "col2im": _col2im,
}
