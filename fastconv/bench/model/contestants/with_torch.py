"""PyTorch in both memory layouts, and compiled by Inductor in the one that is usually the faster; on a GPU also with
Inductor's CUDA graphs. Products are of float32 in full, also on a GPU: TF32 is off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

_COMPILED = {"compile": "default", "CUDA graphs": "reduce-overhead"}
_DRY_RUN = "FASTCONV_GPU_DRY_RUN"  # in which a CPU takes a GPU's place
_ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class load:  # noqa: N801  called as a function
    """The same layers as modules; a softmax at the end is left to the loss in training."""

    def __init__(
        self, description: dict[str, Any], weights: list[np.ndarray], configuration: str, threads: int
    ) -> None:
        if configuration in _COMPILED and not (shutil.which("g++") or shutil.which("clang++")):
            raise NotImplementedError("torch.compile needs a C++ compiler")
        torch.set_num_threads(threads)
        layers = description["layers"]
        self._softmax = layers[-1].get("activation") == "softmax"
        on_gpu = os.environ.get("FASTCONV_DEVICE") == "gpu" and not os.environ.get(_DRY_RUN)
        self._device = "cuda" if on_gpu else "cpu"
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self._layout = torch.contiguous_format if configuration == "NCHW" else torch.channels_last
        model = nn.Sequential(*_modules(layers, weights)).to(device=self._device, memory_format=self._layout)
        self._description = description
        self._parameters = list(model.parameters())
        mode = _COMPILED.get(configuration)
        self._model: Any = model if mode is None else torch.compile(model, mode=mode)

    def _images(self, x: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(x).to(self._device)
        return tensor.permute(0, 3, 1, 2).contiguous(memory_format=self._layout) if x.ndim == 4 else tensor

    def predictor(self, x: np.ndarray) -> Callable[[], Any]:
        images = self._images(x)
        self._model.eval()

        def predict() -> torch.Tensor:
            with torch.inference_mode():
                logits = self._model(images)
                y = logits.softmax(-1) if self._softmax else logits
                return y if y.device.type == "cpu" else y.cpu()

        return predict

    def trainer(self, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
        if not (self._softmax and self._description["loss"].endswith("categorical_crossentropy")):
            raise NotImplementedError("only softmax with a categorical cross-entropy is compared")
        images, labels, loss_of = self._images(x), torch.from_numpy(y).to(self._device), nn.CrossEntropyLoss()
        optimizer = _optimizer(self._description["optimizer"], self._parameters)
        self._model.train()

        def step() -> float:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(self._model(images), labels)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    @staticmethod
    def to_numpy(result: Any) -> np.ndarray:
        return result.numpy() if isinstance(result, torch.Tensor) else np.asarray(result)


def _modules(layers: list[dict[str, Any]], weights: list[np.ndarray]) -> Any:
    arrays = iter(weights)
    for layer in layers:
        kind = layer["kind"]
        if kind == "conv2d":
            w = torch.from_numpy(next(arrays).transpose(3, 2, 0, 1).copy())  # (K, C/groups, R, S)
            top, bottom, left, right = layer["padding"]
            if (top, left) != (bottom, right):
                yield nn.ZeroPad2d((left, right, top, bottom))
                top = left = 0
            conv = nn.Conv2d(
                w.shape[1] * layer["groups"],
                w.shape[0],
                w.shape[2:],
                layer["strides"],
                (top, left),
                layer["dilation"],
                layer["groups"],
                layer["bias"],
            )
            _set(conv, w, torch.from_numpy(next(arrays)) if layer["bias"] else None)
            yield conv
        elif kind == "dense":
            w = next(arrays)
            if "images" in layer:  # flattened from (H, W, C): PyTorch flattens (C, H, W)
                w = w.reshape(*layer["images"], -1).transpose(2, 0, 1, 3).reshape(w.shape)
            dense = nn.Linear(*w.shape, layer["bias"])
            _set(dense, torch.from_numpy(w.T.copy()), torch.from_numpy(next(arrays)) if layer["bias"] else None)
            yield dense
        elif kind in ("max_pool2d", "average_pool2d"):
            top, bottom, left, right = layer["padding"]
            if (top, left) != (bottom, right):
                raise NotImplementedError("PyTorch's pooling pads opposite sides alike")
            options = layer["window"], layer["strides"], (top, left)
            yield nn.MaxPool2d(*options) if kind == "max_pool2d" else nn.AvgPool2d(*options, count_include_pad=False)
        elif kind == "flatten":
            yield nn.Flatten()
        elif kind == "dropout":
            yield nn.Dropout(layer["rate"])
        name = layer.get("activation", "linear")
        if name in _ACTIVATIONS:
            yield _ACTIVATIONS[name]()


def _set(module: Any, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    with torch.no_grad():
        module.weight.copy_(weight)
        if bias is not None:
            module.bias.copy_(bias)


def _optimizer(described: dict[str, Any], parameters: Any) -> Any:
    name, rate = described["name"], described["learning_rate"]
    if name == "SGD":
        return torch.optim.SGD(parameters, rate, described["momentum"], nesterov=described["nesterov"], fused=True)
    if name == "RMSprop":
        return torch.optim.RMSprop(parameters, rate, described["rho"], described["epsilon"], foreach=True)
    betas = described["beta_1"], described["beta_2"]
    return torch.optim.Adam(parameters, rate, betas, described["epsilon"], fused=True)
