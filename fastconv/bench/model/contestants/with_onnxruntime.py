"""ONNX Runtime: inference only, NCHW, its inputs and outputs bound so that nothing is copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

_NODES = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax"}


class load:  # noqa: N801  called as a function
    """A graph of standard nodes."""

    trainer = None

    def __init__(
        self, description: dict[str, Any], weights: list[np.ndarray], configuration: str, threads: int
    ) -> None:
        nodes, constants = _graph(description["layers"], weights)
        nodes[-1].output[0] = "y"
        floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
        graph = helper.make_graph(nodes, "model", floats[:1], floats[1:], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )

    def predictor(self, x: np.ndarray) -> Callable[[], Any]:
        images = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x
        shape = self._session.run(None, {"x": images})[0].shape
        binding, y = self._session.io_binding(), np.empty(shape, np.float32)
        binding.bind_cpu_input("x", images)
        binding.bind_output("y", "cpu", 0, np.float32, list(shape), y.ctypes.data)

        def predict() -> np.ndarray:
            self._session.run_with_iobinding(binding)
            return y

        return predict

    @staticmethod
    def to_numpy(result: Any) -> np.ndarray:
        return np.asarray(result)


def _graph(layers: list[dict[str, Any]], weights: list[np.ndarray]) -> tuple[list[Any], list[Any]]:
    arrays = iter(weights)
    nodes: list[Any] = []
    constants: list[Any] = []

    def add(kind: str, *extra: np.ndarray, **options: Any) -> None:
        names = []
        for array in extra:
            names.append(f"c{len(constants)}")
            constants.append(numpy_helper.from_array(np.ascontiguousarray(array), names[-1]))
        before = nodes[-1].output[0] if nodes else "x"
        nodes.append(helper.make_node(kind, [before, *names], [f"t{len(nodes)}"], **options))

    for layer in layers:
        kind = layer["kind"]
        if "padding" in layer:
            top, bottom, left, right = layer["padding"]
            options = {"strides": layer["strides"], "pads": [top, left, bottom, right]}
        if kind == "conv2d":
            w = next(arrays).transpose(3, 2, 0, 1)  # (K, C/groups, R, S)
            bias = [next(arrays)] if layer["bias"] else []
            add("Conv", w, *bias, **options, dilations=layer["dilation"], group=layer["groups"])
        elif kind == "dense":
            w = next(arrays)
            if "images" in layer:  # flattened from (H, W, C): ONNX flattens (C, H, W)
                w = w.reshape(*layer["images"], -1).transpose(2, 0, 1, 3).reshape(w.shape)
            bias = [next(arrays)] if layer["bias"] else []
            add("Gemm", w, *bias)
        elif kind == "max_pool2d":
            add("MaxPool", **options, kernel_shape=layer["window"])
        elif kind == "average_pool2d":
            add("AveragePool", **options, kernel_shape=layer["window"], count_include_pad=0)
        elif kind == "flatten":
            add("Flatten")
        name = layer.get("activation", "linear")
        if name != "linear":
            add(_NODES[name])
    return nodes, constants
