"""A model as an ONNX file, which ONNX Runtime and many others run."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastconv import __version__
from fastconv.export.onnx_graph import OnnxGraph
from fastconv.export.onnx_table import convert_layer
from fastconv.utils.files import atomic_write

# Of 2021 and 2022: every runtime that is still in use knows them.
_OPSET = 17
_IR_VERSION = 8


def export_model(
    model: Any, filepath: str | os.PathLike[str], format: str = "onnx", verbose: bool | None = None
) -> None:
    """Write what `predict` computes as an ONNX file; weights are in it, what `compile` was given is not.

    Inputs and outputs have the model's layouts and names; the batch may have any size, and so may axes whose size the
    model leaves open. `pip install 'fastconv[onnx]'` brings the library that is needed.

    Args:
        model: a built model.
        filepath: usually ends in ".onnx".
        format: must be "onnx".
        verbose: whether to print where the file is.

    Raises:
        ValueError: another format, the model is not built, or has a layer or an activation that has no ONNX form here;
            no file is written then.
        ImportError: the library is not installed.
    """
    if format != "onnx":
        raise ValueError(f'format must be "onnx"; received {format!r}.')
    if not model.built:
        raise ValueError(f"{model.name} cannot be exported before it is built: call build(input_shape).")
    contents = to_onnx(model).SerializeToString()
    with atomic_write(filepath) as stream:
        stream.write(contents)
    if verbose:
        print(f"{model.name} is in {os.fspath(filepath)}.")


def to_onnx(model: Any) -> Any:
    """The `onnx.ModelProto` of a built model."""
    graph = OnnxGraph(model.dtype)
    helper = graph.onnx.helper
    plan = model.forward_plan
    shapes = plan.shapes([tensor.shape for tensor in model.inputs])
    values: list[Any] = plan.values([_input(graph, tensor) for tensor in model.inputs])
    for step in plan.steps:
        graph.begin(step.layer.name)
        takes_one = isinstance(step.source, int)
        x = values[step.source] if takes_one else [values[place] for place in step.source]
        shape = shapes[step.source] if takes_one else [shapes[place] for place in step.source]
        values[step.target] = convert_layer(graph, step.layer, x, shape)
    graph.begin("")
    names = _unique(model.output_names, [tensor.node.layer.name for tensor in model.inputs])
    for name, place in zip(names, plan.outputs, strict=True):
        graph.nodes.append(helper.make_node("Identity", [values[place]], [name], name=name))
    graph.drop_unused(names)
    inputs = [_info(graph, tensor.node.layer.name, tensor.shape, tensor.dtype) for tensor in model.inputs]
    outputs = [_info(graph, name, shapes[place], model.dtype) for name, place in zip(names, plan.outputs, strict=True)]
    described = helper.make_graph(graph.nodes, model.name, inputs, outputs, list(graph.constants.values()))
    return helper.make_model(
        described,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="fastconv",
        producer_version=__version__,
    )


def _input(graph: OnnxGraph, tensor: Any) -> str:
    name = tensor.node.layer.name
    if np.dtype(tensor.dtype) == graph.dtype:
        return name
    return graph.op("Cast", [name], to=graph.onnx.helper.np_dtype_to_tensor_dtype(graph.dtype))


def _info(graph: OnnxGraph, name: str, shape: Any, dtype: Any) -> Any:
    """Name, dtype and shape of an input or output; names stand for sizes that are open."""
    batch, *sizes = shape
    open_sizes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(sizes, 1)]
    kind = graph.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return graph.onnx.helper.make_tensor_value_info(name, kind, ["batch" if batch is None else batch, *open_sizes])


def _unique(names: list[str], taken: list[str]) -> list[str]:
    """The names, changed where one is there already."""
    unique: list[str] = []
    for name in names:
        while name in taken or name in unique:
            name += "_output"
        unique.append(name)
    return unique
