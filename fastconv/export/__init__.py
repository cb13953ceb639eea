"""Models for other programs: `model.export("model.onnx")`.

`onnx_graph` builds a graph, `onnx_layers` has a function for each class of layers, `onnx_activations` one for each
activation.
"""

from fastconv.export.onnx_file import export_model
from fastconv.export.onnx_layers import converts, supported_layers

__all__ = ["converts", "export_model", "supported_layers"]
