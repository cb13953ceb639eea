"""Copies from global to shared memory that no thread waits for, until it says so.

    copy4_async(to, i, x, j, inside)    # to[i] to to[i + 3] = x[j] to x[j + 3], or zeros where not `inside`
    copy1_async(to, i, x, j, inside)    # to[i] = x[j], or zero
    commit_async()                      # what was begun since the last commit is a group
    wait_async(n)                       # until all of this thread's groups but the last n have arrived; n is a constant

A load brings a number to a register, and a store from there to shared memory; a copy needs neither register nor store,
so that many may be under way while a thread computes. What has arrived is seen by the thread that waited for it, and
by others after the next barrier. Both places of `copy4_async` must lie on multiples of 16 bytes.

The models delay, too: to Numba's simulator a copy is done when it is waited for, and ours finds what is read before.
"""

from __future__ import annotations

import threading

from llvmlite import ir
from numba import int32, types

from fastconv.kernels.cuda import instruction

NEEDS = (8, 0)  # the first compute capability with these instructions
_INT8, _INT32, _INT64 = (ir.IntType(bits) for bits in (8, 32, 64))
_SHARED, _GLOBAL = 3, 1  # address spaces of LLVM


def _begin(count, to, i, array, j, inside):
    found = [array[j + element] if inside else 0 for element in range(count)]
    _mine("begun").append((to, i, found))


def _mine(what):
    """A list of this thread's."""
    return vars(threading.current_thread()).setdefault(f"copies_{what}", [])


def _copy4(to, i, array, j, inside):
    _begin(4, to, i, array, j, inside)


@instruction(model=_copy4, kind="copy", elements=4)
def copy4_async(typing, to, i, array, j, inside):
    """Begin to copy four floats past the level-1 cache, or to write zeros."""
    return types.void(to, i, array, j, int32), _emit_copy("cp.async.cg.shared.global [$0], [$1], 16, $2;", 16)


def _copy1(to, i, array, j, inside):
    _begin(1, to, i, array, j, inside)


@instruction(model=_copy1, kind="copy", elements=1)
def copy1_async(typing, to, i, array, j, inside):
    """Begin to copy one float, or to write a zero."""
    return types.void(to, i, array, j, int32), _emit_copy("cp.async.ca.shared.global [$0], [$1], 4, $2;", 4)


def _commit():
    _mine("groups").append(list(_mine("begun")))
    _mine("begun").clear()


@instruction(model=_commit, kind="commit")
def commit_async(typing):
    """Make a group of the copies begun since the last one; it may be empty."""

    def emit(context, builder, signature, arguments):
        _ptx(builder, "cp.async.commit_group;", [])
        return context.get_dummy_value()

    return types.void(), emit


def _wait(most):
    groups = _mine("groups")
    while len(groups) > most:
        for to, i, found in groups.pop(0):
            for element, value in enumerate(found):
                to[i + element] = value


@instruction(model=_wait, kind="wait")
def wait_async(typing, most):
    """Wait until at most the last `most` of this thread's groups are under way."""
    if not isinstance(most, types.IntegerLiteral):
        return None  # Numba then asks again, with the constant

    def emit(context, builder, signature, arguments):
        _ptx(builder, f"cp.async.wait_group {most.literal_value};", [])
        return context.get_dummy_value()

    return types.void(most), emit


def _emit_copy(text, size):
    def emit(context, builder, signature, arguments):
        to = _place(context, builder, signature, arguments, 0, _SHARED, _INT32)
        source = _place(context, builder, signature, arguments, 2, _GLOBAL, _INT64)
        inside = builder.icmp_signed("!=", arguments[4], _INT32(0))
        _ptx(builder, text, [to, source, builder.select(inside, _INT32(size), _INT32(0))])
        return context.get_dummy_value()

    return emit


def _place(context, builder, signature, arguments, which, space, width):
    """The address of an element as a number, in the address space of its memory."""
    array = context.make_array(signature.args[which])(context, builder, arguments[which])
    i = context.cast(builder, arguments[which + 1], signature.args[which + 1], types.int64)
    element = builder.bitcast(builder.gep(array.data, [i]), _INT8.as_pointer())
    return builder.ptrtoint(builder.addrspacecast(element, _INT8.as_pointer(space)), width)


def _ptx(builder, text, operands):
    """One instruction that reads or writes memory, so that it stays where it is."""
    constraints = ["l" if operand.type == _INT64 else "r" for operand in operands]
    kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
    code = ir.InlineAsm(kind, text, ",".join([*constraints, "~{memory}"]), side_effect=True)
    builder.call(code, operands)
