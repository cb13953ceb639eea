"""Matrix products by tensor cores: one instruction in which the 32 threads of a warp multiply 16 x 8 by 8 x 8.

    d = mma_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)    # D = A B + C, D as a tuple of four

Each thread (lane) holds a part of every matrix, its fragment; g = lane // 4 and t = lane % 4 say which (the PTX manual,
"Matrix Fragments for mma.m16n8k8", has the pictures):

    A (16, 8)       a0 = A[g, t]       a1 = A[g + 8, t]      a2 = A[g, t + 4]       a3 = A[g + 8, t + 4]
    B (8, 8)        b0 = B[t, g]       b1 = B[t + 4, g]
    C, D (16, 8)    c0 = C[g, 2 t]     c1 = C[g, 2 t + 1]    c2 = C[g + 8, 2 t]     c3 = C[g + 8, 2 t + 1]

A and B are TF32: float32 with 10 bits of mantissa in place of 23, made by `tf32`. So a product is off by 2**-10 of
itself at most; it is exact before it is added, and sums are float32. Integers up to 2048 are exact in TF32.

The models do the same exchange between lanes in NumPy. They add eight products and c as float64 and round once; a GPU
rounds towards zero, in an order of its own, so that the last bits may differ.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import float32, types

from fastconv.kernels.cuda import device_function, instruction, uint32
from fastconv.kernels.cuda_vectors import store2

NEEDS = (8, 0)  # the first compute capability with these instructions
_FLOAT, _BITS = ir.FloatType(), ir.IntType(32)
_DROPPED = 13  # bits of a float32 that TF32 has not
_NAN = np.uint32(0x7FFFFFFF)

_LANES = np.arange(32)
_G, _T = _LANES // 4, _LANES % 4
A_ROWS, A_COLUMNS = np.stack([_G, _G + 8, _G, _G + 8]), np.stack([_T, _T, _T + 4, _T + 4])  # (4 registers, 32 lanes)
B_ROWS, B_COLUMNS = np.stack([_T, _T + 4]), np.stack([_G, _G])
C_ROWS, C_COLUMNS = np.stack([_G, _G, _G + 8, _G + 8]), np.stack([2 * _T, 2 * _T + 1] * 2)


def _tf32(value):
    bits = np.asarray(value, np.float32).view(np.uint32)
    with np.errstate(over="ignore"):  # of a NaN
        rounded = bits + np.uint32(1 << (_DROPPED - 1))  # a carry goes into the exponent, at last to infinity
    rounded &= ~np.uint32((1 << _DROPPED) - 1)
    return np.where(np.isnan(value), _NAN, rounded).view(np.float32)[()]


@instruction(model=_tf32, kind="threads")
def tf32(typing, value):
    """The TF32 number next to a float32; of two equally near ones that further from zero."""

    def emit(context, builder, signature, arguments):
        return builder.bitcast(_ptx(builder, "cvt.rna.tf32.f32 $0, $1;", _BITS, arguments), _FLOAT)

    return float32(float32), emit


def _mma_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    for name, fragment in (("A", (a0, a1, a2, a3)), ("B", (b0, b1))):
        _check_rounded(name, np.stack(fragment))
    a, b, c = (np.empty((len(a0), rows, 8)) for rows in (16, 8, 16))  # float64, in which a product of two is exact
    a[:, A_ROWS, A_COLUMNS] = np.stack([a0, a1, a2, a3], axis=1)
    b[:, B_ROWS, B_COLUMNS] = np.stack([b0, b1], axis=1)
    c[:, C_ROWS, C_COLUMNS] = np.stack([c0, c1, c2, c3], axis=1)
    with np.errstate(all="ignore"):
        d = np.sum(a[:, :, :, None] * b[:, None, :, :], axis=2) + c  # (warps, 16, 8)
        return tuple(d[:, rows, columns].astype(np.float32) for rows, columns in zip(C_ROWS, C_COLUMNS, strict=True))


def _check_rounded(name, fragment):
    """PTX leaves open what comes of other numbers; a GPU cuts their last bits off, which doubles the error."""
    wrong = (fragment != _tf32(fragment)) & ~np.isnan(fragment)
    if wrong.any():
        lane = int(np.argwhere(wrong)[0][-1])
        raise ValueError(f"mma_tf32: lane {lane} holds {fragment[wrong][0]!r} of {name}, which is no TF32: call tf32")


@instruction(model=_mma_tf32, kind="warps", flops=2 * 16 * 8 * 8 // 32)
def mma_tf32(typing, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """D = A B + C for a whole warp: this thread's four elements of D, in the order of C's."""
    result = types.UniTuple(float32, 4)

    def emit(context, builder, signature, arguments):
        text = (
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
            "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
        )
        factors = [builder.bitcast(argument, _BITS) for argument in arguments[:6]]  # PTX wants TF32 as plain bits
        d = _ptx(builder, text, ir.LiteralStructType([_FLOAT] * 4), [*factors, *arguments[6:]])
        return context.make_tuple(builder, result, [builder.extract_value(d, i) for i in range(4)])

    return result(*[float32] * 10), emit


def _ptx(builder, text, result, operands):
    """One instruction of PTX that touches no memory, so that its place may change; but not into a branch."""
    outputs = result.elements if isinstance(result, ir.LiteralStructType) else [result]
    letters = {_FLOAT: "f", _BITS: "r"}
    constraints = ["=" + letters[kind] for kind in outputs] + [letters[operand.type] for operand in operands]
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    code = ir.InlineAsm(kind, text, ",".join(constraints), side_effect=False)
    return builder.call(code, operands, attrs=("convergent",))


@device_function
def store_pairs(y, sums, i, at, filters, wide):
    """Four pairs of a thread's sums, from i on and 4 apart, to y[at], y[at + 8] and so on; `filters` are left there.

    wide: whether y's pairs lie on multiples of 8 bytes.
    """
    for j in range(4):
        first, second = sums[i + j * 4], sums[i + j * 4 + 1]
        if wide:
            if filters > j * 8:
                store2(y, uint32(at + j * 8), first, second)
        else:
            if filters > j * 8:
                y[uint32(at + j * 8)] = first
            if filters > j * 8 + 1:
                y[uint32(at + j * 8 + 1)] = second
