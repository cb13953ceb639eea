"""Arrays in, arrays out: convolution and pooling under `keras.ops` names, each run by a kernel of choice.

`algorithm="auto"` takes the default for the problem, a name forces that variant (`fastconv.kernels.variants("conv2d")`
lists them) and raises where it cannot run. `out=` receives the result, in the result's shape and dtype. Arrays may be
NumPy arrays, nested lists or anything NumPy reads through DLPack; float32 and float64 are kept, integers become
`config.floatx()`.
"""

from fastconv.ops.conv import conv, conv_backward_data, conv_backward_filter, depthwise_conv
from fastconv.ops.pool import average_pool, average_pool_backward, max_pool, max_pool_backward

__all__ = [
    "average_pool",
    "average_pool_backward",
    "conv",
    "conv_backward_data",
    "conv_backward_filter",
    "depthwise_conv",
    "max_pool",
    "max_pool_backward",
]
