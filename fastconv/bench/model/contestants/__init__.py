"""How each framework builds a described model and runs it; worker.py loads these files without importing fastconv.

CONFIGURATIONS says in which ways each is set up, on a CPU and on a GPU; the variable FASTCONV_DEVICE says which of the
two it shall be. A file has `load(description, weights, configuration, threads)`.
What that returns has

    predictor(x), trainer(x, y): a function without arguments that predicts a batch, or does a training step on it, with
        its data in the framework's own arrays and layout already; complete when it returns; `trainer` is None where the
        framework does not train
    to_numpy(result): what `predictor`'s function returned as a NumPy array, what `trainer`'s returned as the loss

x is (N, H, W, C) float32; y is (N,) integers or (N, classes) as the loss takes them. `description` is what
description.py makes. What a framework cannot do raises NotImplementedError with the reason.
"""

CONFIGURATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "cpu": {
        "fastconv": ("NHWC",),
        "torch": ("NCHW", "channels_last", "compile"),
        "keras": ("XLA", "graph"),
        "jax": ("jit",),
        "onnxruntime": ("NCHW",),
    },
    "gpu": {
        "fastconv": ("NHWC",),
        "torch": ("NCHW", "channels_last", "compile", "CUDA graphs"),
    },
}
