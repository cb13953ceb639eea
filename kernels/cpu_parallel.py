"""`parallel_for(worker, count, arguments)`: run `worker(i, *arguments)` for i in 0 .. count on Numba's threads.

It does what a `prange` loop around one call does, on the same thread pool, and exists for what the loop costs to
compile: analysing and lowering it takes longer than the kernel inside (17 of 29 seconds measured for conv2d, on a
slow machine). Numba's threading layers export one C function, `numba_parallel_for`, that calls a task for every i;
here a task is a few instructions that unpack the arguments and call the worker.

In a task denormal numbers (below 1e-38 in float32) count as zero, as in TensorFlow: a trained network's gradients and
an optimizer's means fade into them, and many processors compute with them far more slowly.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable

import numba.np.ufunc.parallel
from llvmlite import ir
from numba import get_num_threads, types
from numba.core import cgutils
from numba.extending import intrinsic

# Waking the other threads costs about as much as this many multiply-adds or moved elements of one thread.
OPERATIONS_PER_THREAD = 1 << 17

# Bits of x86's register of floating-point modes: denormal operands, and results, are zeros.
_DENORMALS_ARE_ZERO, _FLUSH_TO_ZERO = 1 << 6, 1 << 15

_WORD = ir.IntType(cgutils.intp_t.width)
_BYTES = ir.IntType(8).as_pointer()


@functools.cache
def _count() -> Callable[[], int]:
    """Numba's `get_num_threads` without the lock that it takes each time; starts the threads, as code compiled earlier
    does not."""
    get_num_threads()
    return getattr(numba.np.ufunc.parallel, "_get_num_threads", get_num_threads)


def thread_count() -> int:
    """Numba's threads that this Python thread may use."""
    return _count()()


def threads_for(operations: int) -> int:
    """How many threads so many multiply-adds, or moved elements, are worth: at most Numba's, at least one."""
    return max(1, min(_count()(), operations // max(1, OPERATIONS_PER_THREAD)))


@intrinsic
def parallel_for(typingctx, worker, count, arguments):
    """Call `worker(i, *arguments)` for every i below `count`; a count of 1 stays on this thread.

    worker: a compiled function that returns nothing and raises nothing. arguments: a tuple. The caller has called
    `numba.get_num_threads()`, which starts the threads.
    """
    called_with = worker.get_call_type(typingctx, (types.intp, *arguments.types), {})

    def codegen(context, builder, signature, args):
        _, total, packed = args
        compiled = worker.dispatcher.overloads[called_with.args]
        context.active_code_library.add_linking_library(compiled.library)
        task = _task(context, builder.module, compiled.fndesc, called_with, arguments)

        # For task i the layer passes args[0] + i * steps[0]: with a base of 0 and a step of 1 that pointer is i.
        base = cgutils.alloca_once_value(builder, _WORD(0).inttoptr(_BYTES))
        step = cgutils.alloca_once_value(builder, _WORD(1))
        extent = cgutils.alloca_once_value(builder, total)
        data = builder.bitcast(cgutils.alloca_once_value(builder, packed), _BYTES)
        with builder.if_else(builder.icmp_signed("==", total, _WORD(1))) as (alone, together):
            with alone:
                builder.call(task, [base, extent, step, data])
            with together:
                threads = builder.call(_function(builder, _WORD, [], "get_num_threads"), [])
                run = _function(builder, ir.VoidType(), [_BYTES] * 5 + [_WORD] * 3, "numba_parallel_for")
                pointers = [builder.bitcast(value, _BYTES) for value in (task, base, extent, step, data)]
                builder.call(run, [*pointers, _WORD(0), _WORD(1), threads])
        return context.get_dummy_value()

    return types.void(worker, types.intp, arguments), codegen


def _function(builder, result, arguments, name):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _task(context, module, worker, called_with, arguments):
    """void task(char **args, size_t *extent, size_t *steps, void *data): a run of extent[0] calls of the worker."""
    words = _WORD.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [_BYTES.as_pointer(), words, words, _BYTES])
    function = ir.Function(module, kind, module.get_unique_name("parallel_for_task"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    args, extent, _, data = function.args
    first = builder.ptrtoint(builder.load(args), _WORD)
    tuple_type = context.get_value_type(arguments)
    packed = builder.load(builder.bitcast(data, tuple_type.as_pointer()))
    values = [builder.extract_value(packed, i) for i in range(len(arguments.types))]
    modes = _without_denormals(builder)
    with cgutils.for_range(builder, builder.load(extent)) as loop:
        index = builder.add(first, loop.index)
        context.call_internal_no_propagate(builder, worker, called_with, [index, *values])
    if modes is not None:
        builder.call(_function(builder, ir.VoidType(), [_BYTES], "llvm.x86.sse.ldmxcsr"), [modes])
    builder.ret_void()
    return function


def _without_denormals(builder):
    """Where the modes are kept as they were before; None for processors other than x86, whose modes stay."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    number = ir.IntType(32)
    before, during = cgutils.alloca_once(builder, number), cgutils.alloca_once(builder, number)
    modes = builder.bitcast(before, _BYTES)
    builder.call(_function(builder, ir.VoidType(), [_BYTES], "llvm.x86.sse.stmxcsr"), [modes])
    builder.store(builder.or_(builder.load(before), number(_DENORMALS_ARE_ZERO | _FLUSH_TO_ZERO)), during)
    builder.call(_function(builder, ir.VoidType(), [_BYTES], "llvm.x86.sse.ldmxcsr"), [builder.bitcast(during, _BYTES)])
    return modes
