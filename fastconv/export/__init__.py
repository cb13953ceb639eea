"""Models for other programs: `model.export("model.onnx")`.

`onnx_graph` builds a graph; `onnx_layers`, `onnx_images` and `onnx_normalization` have a function for each class of
layers, found in `onnx_table`; `onnx_activations` has one for each activation.
"""

from fastconv.export import onnx_images, onnx_layers, onnx_normalization  # noqa: F401  they fill the table
from fastconv.export.onnx_file import export_model
from fastconv.export.onnx_table import converts, supported_layers

__all__ = ["converts", "export_model", "supported_layers"]
