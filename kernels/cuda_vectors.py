"""Several floats in one instruction: the loads and stores of 128 and 64 bits that Numba has no functions for.

    a, b, c, d = load4(x, i)     # x[i] to x[i + 3]
    store4(x, i, a, b, c, d)
    store2(x, i, a, b)

x is a flat array in global or shared memory. x[i] must lie on a multiple of 16 bytes (`store2`: 8): i is a multiple of
4, and so must be the array's own place (`aligned`, or `cuda.shared.array(n, float32, ALIGNMENT)`).

A thread that moves four floats at a time sends a quarter of the requests. Each function here is emitted as LLVM's
vector operation, which becomes LDG.E.128, STG.E.128, LDS.128 or STS.128, and with two floats STG.E.64. The model beside
it says the same in Python; it is what simulators run, where it counts as one access of 16 bytes, or 8.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config, float32, types

from fastconv.kernels.cuda import device_function, instruction, uint32

BYTES = 16
ALIGNMENT = None if config.ENABLE_CUDASIM else BYTES  # of a shared array: Numba's simulator takes none
_FLOAT4 = types.UniTuple(float32, 4)
_VECTOR = ir.VectorType(ir.FloatType(), 4)


def aligned(*arrays):
    """Whether all arrays, NumPy's or on a GPU, begin on a multiple of 16 bytes; None counts as one."""
    interfaces = [
        getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
        for array in arrays
        if array is not None
    ]
    return all(interface["data"][0] % BYTES == 0 for interface in interfaces)


def _load4(array, i):
    return array[i], array[i + 1], array[i + 2], array[i + 3]


@instruction(model=_load4)
def load4(typing, array, i):
    """The four floats from array[i] on, as a tuple."""

    def emit(context, builder, signature, arguments):
        vector = builder.load(_place(context, builder, signature, arguments, _VECTOR), align=BYTES)
        lanes = [builder.extract_element(vector, ir.IntType(32)(lane)) for lane in range(4)]
        return context.make_tuple(builder, _FLOAT4, lanes)

    return _FLOAT4(array, i), emit


@device_function
def load_four(array, i, wide):
    """The four floats from array[i] on, by `load4` if `wide`; array[i] may lie anywhere if not."""
    if wide:
        return load4(array, i)
    return array[i], array[uint32(i + 1)], array[uint32(i + 2)], array[uint32(i + 3)]


def _store4(array, i, a, b, c, d):
    array[i] = a
    array[i + 1] = b
    array[i + 2] = c
    array[i + 3] = d


@instruction(model=_store4)
def store4(typing, array, i, a, b, c, d):
    """array[i], array[i + 1], array[i + 2], array[i + 3] = a, b, c, d."""

    return types.void(array, i, *[float32] * 4), _emit_store


def _store2(array, i, a, b):
    array[i] = a
    array[i + 1] = b


@instruction(model=_store2)
def store2(typing, array, i, a, b):
    """array[i], array[i + 1] = a, b."""
    return types.void(array, i, *[float32] * 2), _emit_store


def _emit_store(context, builder, signature, arguments):
    values = arguments[2:]
    vector = ir.Constant(ir.VectorType(ir.FloatType(), len(values)), ir.Undefined)
    for lane, value in enumerate(values):
        vector = builder.insert_element(vector, value, ir.IntType(32)(lane))
    place = _place(context, builder, signature, arguments, vector.type)
    builder.store(vector, place, align=len(values) * BYTES // 4)
    return context.get_dummy_value()


def _place(context, builder, signature, arguments, vector):
    """A pointer to the floats, as one to a vector of them."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    i = context.cast(builder, arguments[1], signature.args[1], types.int64)
    return builder.bitcast(builder.gep(array.data, [i]), vector.as_pointer())
