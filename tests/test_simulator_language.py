"""What the simulator understands of a kernel: Numba's types and rounding, control flow, and errors that say where."""

import ast
import itertools
import math
import operator
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from numba import cuda, float32, int32, types, uint32
from numba.core.registry import cpu_target

from fastconv.testing import SimulationError, simulate
from fastconv.testing.simulator import values

TYPES = ["bool", "int8", "int32", "int64", "uint8", "uint32", "uint64", "float32", "float64"]
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}


def type_in_numba(function, *names):
    context = cpu_target.typing_context
    context.refresh()
    arguments = tuple(getattr(types, {"bool": "boolean"}.get(name, name)) for name in names)
    return str(context.resolve_function_type(function, arguments, {}).return_type)


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
def test_the_types_of_expressions_are_numbas(kind):
    names = [name for name in TYPES if not name.startswith("float")] if kind in list(OPERATORS)[7:] else TYPES
    for a, b in itertools.product(names, names):
        if kind is ast.Pow and a == "bool":
            continue
        result = values.type_of(values.binary(kind, np.ones(2, a), np.ones(2, b)))
        assert str(result) == type_in_numba(OPERATORS[kind], a, b), (a, b)
        scalar = values.binary(kind, values.plain(np.ones(1, a)[0]), values.plain(np.ones(1, b)[0]))
        assert values.type_of(scalar) == result, (a, b)


def test_the_types_of_unary_operators_are_numbas():
    for name, (kind, function) in itertools.product(
        TYPES[1:], [(ast.USub, operator.neg), (ast.Invert, operator.invert)]
    ):
        if not (kind is ast.Invert and name.startswith("float")):
            assert str(values.type_of(values.unary(kind, np.ones(2, name)))) == type_in_numba(function, name)


def rounding(a, b, c, out):
    i = cuda.grid(1)
    out[0, i] = a[i] * b[i] + c[i]
    out[1, i] = a[i] / b[i]
    out[2, i] = math.sqrt(abs(a[i]))
    out[3, i] = a[i] * 0.1
    out[4, i] = a[i] * float32(0.1)
    out[5, i] = cuda.fma(a[i], b[i], c[i])


def test_float32_is_rounded_at_every_step():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 256), dtype=np.float32)
    out = np.zeros((6, 256))
    simulate(rounding, 2, 128, a, b, c, out).raise_if_wrong()
    assert (out[0] == a * b + c).all() and (out[1] == a / b).all() and (out[2] == np.sqrt(abs(a))).all()
    assert (out[3] == a.astype(np.float64) * 0.1).all(), "a literal is float64, as in Numba"
    assert (out[4] == a * np.float32(0.1)).all()
    exact = [
        np.float32(Fraction(x) * Fraction(y) + Fraction(z))
        for x, y, z in zip(*map(np.ndarray.tolist, (a, b, c)), strict=True)
    ]
    assert (out[5] == exact).mean() > 0.999, "Fraction to float32 goes by float64 and may itself round twice"


def test_fma_rounds_once_where_float64_would_round_twice():
    a, b = np.float32(1 + 2**-12), np.float32(1 + 2**-12)  # a * b = 1 + 2^-11 + 2^-24: half way between two floats
    for c, expected in ((2**-80, 1 + 2**-11 + 2**-23), (-(2**-80), 1 + 2**-11), (0.0, 1 + 2**-11)):
        got = values.fma(np.array([a]), np.array([b]), np.array([c], np.float32))
        assert got.dtype == np.float32 and got[0] == expected
        assert values.fma(a, b, np.float32(c)) == expected


def integers(out):
    i = cuda.grid(1)
    out[0, i] = -7 // (i + 1)
    out[1, i] = -7 % (i + 1)
    out[2, i] = int32(2147483647) + i
    out[3, i] = int32(int32(2147483647) + i)
    out[4, i] = uint32(i) - uint32(1) > uint32(5)
    out[5, i] = uint32(uint32(i) - uint32(1))
    out[6, i] = (i << 3 | 1) ^ 0xFF & ~i
    out[7, i] = int(-2.7 * i)
    out[8, i] = round(2.5) + math.floor(-0.5) + math.ceil(0.5)
    out[9, i] = min(i, 3) + max(i, 3, 5) - abs(2 - i)
    out[10, i] = cuda.popc(i) + 100 * cuda.clz(int32(i)) + 10000 * cuda.ffs(i) + 1000000 * cuda.clz(i)
    out[11, i] = cuda.brev(uint32(i))
    out[12, i] = cuda.selp(i > 3, i, -i)
    out[13, i] = 1 if 2 < i <= 5 and i != 4 or not i else 0
    out[14, i] = float32(i) ** 2 + i**2 + 2**i


def test_integers():
    out = np.zeros((15, 32), np.int64)
    simulate(integers, 1, 32, out).raise_if_wrong()
    i = np.arange(32)
    expected = [-7 // (i + 1), -7 % (i + 1), 2**31 - 1 + i, (2**31 - 1 + i).astype(np.int32), (i < 1) | (i > 6)]
    expected += [(i - 1) % 2**32, (i << 3 | 1) ^ 0xFF & ~i, (-2.7 * i).astype(int), np.full(32, 2 - 1 + 1)]
    expected += [np.minimum(i, 3) + np.maximum(i, 5) - abs(2 - i)]
    length = np.array([int(n).bit_length() for n in i])
    lowest = np.array([(int(n) & -int(n)).bit_length() for n in i])
    ones = np.array([int(n).bit_count() for n in i])
    expected += [ones + 100 * (32 - length) + 10000 * lowest + 1000000 * (64 - length)]
    expected += [np.array([int(f"{n:032b}"[::-1], 2) for n in i]), np.where(i > 3, i, -i)]
    expected += [(i > 2) & (i <= 5) & (i != 4) | (i == 0), 2 * i**2 + 2**i]
    for row, want in enumerate(expected):
        assert (out[row] == want).all(), row


def guarded(a, out):
    i = cuda.grid(1)
    if i < a.size and a[i] > 0 or i == 40:
        out[i] = 1
    out[i] += a[i] if i < a.size else 7


def test_what_is_not_reached_is_not_evaluated():
    a, out = np.arange(-10, 22), np.zeros(64, np.int64)
    report = simulate(guarded, 1, 64, a, out)
    report.raise_if_wrong()
    assert (out[:32] == a + (a > 0)).all() and out[40] == 8 and out[41] == 7


def loops(out):
    i = cuda.grid(1)
    total = 0
    for k in range(i, 0, -2):
        if k % 5 == 0:
            continue
        if k == 3:
            break
        total += k
    else:
        total += 1000
    n = i
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        total += 1
    a, b = total, n
    a, b = b, a
    out[i] = (a, b)[1]


def in_python(i):
    total = 0
    for k in range(i, 0, -2):
        if k % 5 == 0:
            continue
        if k == 3:
            break
        total += k
    else:
        total += 1000
    n = i
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        total += 1
    return total


def test_loops_of_different_length():
    out = np.zeros(64, np.int64)
    simulate(loops, 2, 32, out).raise_if_wrong()
    assert out.tolist() == [in_python(i) for i in range(64)]


def wrong_name(a):
    a[0] = missing  # noqa: F821


def comprehension(a):
    a[0] = sum([k for k in range(3)])


def calls_numpy(a):
    a[0] = np.linalg.norm(a)


def not_in_cuda(a):
    cuda.no_such_thing()


def tries(a):
    try:
        a[0] = 1
    finally:
        pass


def shape_by_thread(a):
    s = cuda.shared.array(cuda.threadIdx.x, float32)
    s[0] = a[0]


def read_only(a):
    a[cuda.threadIdx.x] = 1


READ_ONLY = np.zeros(32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "kernel, message",
    [
        (wrong_name, "missing has no value"),
        (comprehension, "`ListComp` is no part of what is simulated"),
        (calls_numpy, "`np.linalg.norm` is not simulated"),
        (not_in_cuda, "`cuda.no_such_thing` is not simulated"),
        (tries, "`Try` is no part"),
        (shape_by_thread, "must be constant integers"),
        (read_only, "a is read-only"),
    ],
)
def test_what_cannot_be_simulated_is_said_with_its_line(kernel, message):
    with pytest.raises(SimulationError, match=message) as caught:
        simulate(kernel, 1, 32, READ_ONLY if kernel is read_only else np.zeros(32))
    first = kernel.__code__.co_firstlineno
    assert caught.value.site.line in range(first + 1, first + 3) and f"{__file__}:{caught.value.site.line}" in str(
        caught.value
    )


def test_wrong_arguments():
    a = np.zeros(32)
    for call, error, message in (
        (lambda: simulate(read_only, 1, 32), ValueError, "missing a required argument: 'a'"),
        (lambda: simulate(read_only, 0, 32, a), ValueError, "grid must be 1 to 3 integers from 1 on, not 0"),
        (lambda: simulate(read_only, 1, (1, 2, 3, 4), a), ValueError, "block must be 1 to 3 integers"),
        (lambda: simulate(read_only, 1, 2.5, a), ValueError, "block must be 1 to 3 integers"),
        (lambda: simulate(read_only, 1, 32, "a"), TypeError, "argument a must be a NumPy array or a number, not str"),
        (lambda: simulate(read_only, 1, 32, a, arch="sm_20"), ValueError, "arch must be one of sm_75"),
        (lambda: simulate(min, 1, 32, a), TypeError, "kernel must be a function"),
        (lambda: simulate(lambda a: a, 1, 32, a), ValueError, "not made by `def`"),
        (lambda: simulate(eval("lambda a: a"), 1, 32, a), ValueError, "source of .* cannot be read"),
    ):
        with pytest.raises(error, match=message):
            call()


KERNEL = """
from numba import float32
try:
    from nowhere import cuda
except ImportError:
    cuda = None

def kernel(a):
    a[cuda.threadIdx.x] = float32(cuda.threadIdx.x)
"""
PROGRAM = """
import sys
import numpy
from fastconv.testing import simulate
import a_kernel
a = numpy.zeros(32)
simulate(a_kernel.kernel, 1, 32, a).raise_if_wrong()
assert a[31] == 31
assert not any(name.startswith("numba.cuda") for name in sys.modules)
"""


def test_numba_cuda_need_not_be_installed(tmp_path):
    (tmp_path / "a_kernel.py").write_text(KERNEL)
    ran = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
