"""ONNX Runtime on the CPU: inference only, one node a model, inputs and outputs bound so that nothing is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from fastconv.bench.contestant import Contestant, Unsupported
from fastconv.testing.kernel_cases import Arrays

_NODES = {"conv2d": "Conv", "max_pool2d": "MaxPool", "average_pool2d": "AveragePool"}
_threads = 0


def use_threads(count: int) -> None:
    """Sessions made from now on use `count` threads."""
    global _threads
    _threads = count


def contestants(op: str, problem: Any, inputs: Arrays, device: str = "cpu") -> list[Contestant]:
    """ONNX Runtime in NCHW, the only layout of its standard ops; the filter and bias are constants of the model.

    Raises:
        Unsupported: it is no inference op, or not in float32.
    """
    if device != "cpu":
        raise Unsupported("compared on the CPU only")
    if op not in _NODES:
        raise Unsupported("ONNX Runtime has inference ops only")
    p = problem
    if p.dtype != "float32":
        raise Unsupported("only float32 is compared")
    options: dict[str, Any] = {
        "kernel_shape": [p.R, p.S],
        "strides": [p.stride_h, p.stride_w],
        "pads": [p.pad_top, p.pad_left, p.pad_bottom, p.pad_right],
        "dilations": [p.dilation_h, p.dilation_w],
    }
    constants = []
    if op == "conv2d":
        options["group"] = p.groups
        w = np.ascontiguousarray(inputs["w"].transpose(3, 2, 0, 1))  # (K, C/groups, R, S)
        constants = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(inputs["bias"], "bias")]
    elif op == "average_pool2d":
        options["count_include_pad"] = 0
    N, P, Q, K = p.y_shape
    node = helper.make_node(_NODES[op], ["x", *(constant.name for constant in constants)], ["y"], **options)
    x_info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [p.N, p.C, p.H, p.W])
    y_info = helper.make_tensor_value_info("y", TensorProto.FLOAT, [N, K, P, Q])
    graph = helper.make_graph([node], op, [x_info], [y_info], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = _threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    x = np.ascontiguousarray(inputs["x"].transpose(0, 3, 1, 2))  # (N, C, H, W)
    y = np.empty((N, K, P, Q), np.float32)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def call(keep: Any = x) -> None:  # the binding holds an address only
        session.run_with_iobinding(binding)

    return [Contestant("onnxruntime", "peer", call, lambda: {"y": y.transpose(0, 2, 3, 1)}, "NCHW")]
