"""Stand-ins for arrays in a GPU's memory, and for the part of CuPy that takes them."""

import types

import numpy as np


class GpuArray:
    """A CuPy array: no NumPy array, but one is its memory."""

    def __init__(self, host):
        self.host = host
        self.shape, self.ndim, self.size, self.dtype, self.nbytes = (
            getattr(host, name) for name in ("shape", "ndim", "size", "dtype", "nbytes")
        )
        self.flags = types.SimpleNamespace(c_contiguous=host.flags.c_contiguous)

    def __dlpack_device__(self):
        return 2, 0

    @property
    def __cuda_array_interface__(self):
        return self.host.__array_interface__

    def __len__(self):
        return len(self.host)

    def __getitem__(self, key):
        return GpuArray(self.host[key])

    def __setitem__(self, key, value):
        self.host[key] = value.host

    def transpose(self, *axes):
        return GpuArray(self.host.transpose(*axes))

    def reshape(self, *shape):
        return GpuArray(self.host.reshape(*shape))

    def view(self, dtype):
        return GpuArray(self.host.view(dtype))


class Tensor:
    """Another library's array on a GPU, which knows DLPack only."""

    def __init__(self, host):
        self.host, self.shape = host, host.shape

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **options):
        raise AssertionError("CuPy asks for it")


def stand_in():
    """A module in CuPy's place."""
    module = types.ModuleType("cupy")
    module.ndarray = GpuArray
    module.asarray = lambda array: array
    module.from_dlpack = lambda array: GpuArray(array.host)
    module.ascontiguousarray = lambda array, dtype=None: (
        array
        if array.flags.c_contiguous and dtype in (None, array.dtype)
        else GpuArray(np.ascontiguousarray(array.host, dtype))
    )
    module.empty = lambda shape, dtype: GpuArray(np.empty(shape, dtype))
    module.shares_memory = lambda one, other: np.shares_memory(one.host, other.host)
    module.asnumpy = lambda array: np.array(array.host)
    return module
