"""A kernel of the user's own: `fastconv new-kernel` writes it, `registry.load` reads it, `verify` checks it."""

import subprocess
import sys

import pytest

from fastconv import kernels
from fastconv.cli import main
from fastconv.kernels import registry
from fastconv.testing import check_kernel, shapes_for

SMALL = kernels.Conv2DProblem.parse("N=2 H=7 W=9 C=4 K=6 R=3 S=2 stride=2,1 padding=1,0,2,1 groups=2")

pytestmark = pytest.mark.usefixtures("forget_user_kernels")


def command(capsys, *argv, code=0):
    try:
        got = main(list(map(str, argv)))
    except SystemExit as stopped:
        got = stopped.code
    shown = capsys.readouterr()
    assert got == code, shown.out + shown.err
    return shown


# The template.


@pytest.mark.parametrize("op", kernels.ops())
def test_the_template_is_right(op, tmp_path, capsys):
    path = tmp_path / "cpu_mine.py"
    shown = command(capsys, "new-kernel", op, path)
    assert f"fastconv verify {op} --kernel {path}" in shown.out
    kernel = registry.load(op, path)
    assert (kernel.op, kernel.name, kernel.device) == (op, "cpu_mine", "cpu")
    assert kernels.get(op, "cpu_mine") is kernel and kernel in kernels.variants(op)
    check_kernel(kernel, shapes_for(op, "edge")["plain"])
    assert "run(problem, " in path.read_text(), "the op's contract is in the file"


def test_the_template_can_be_another_kernel(tmp_path, capsys):
    path = tmp_path / "cpu_mine.py"
    command(capsys, "new-kernel", "conv2d", path, "--start-from", "cpu_direct")
    kernel = registry.load("conv2d", path)
    assert kernel.fuses == kernels.get("conv2d", "cpu_direct").fuses
    check_kernel(kernel, SMALL)


def test_an_existing_file_is_left_alone(tmp_path, capsys):
    path = tmp_path / "cpu_mine.py"
    path.write_text("my work")
    assert "exists" in command(capsys, "new-kernel", "conv2d", path, code=2).err
    assert path.read_text() == "my work"


@pytest.mark.parametrize(
    "argv, message",
    [
        (["conv3d", "cpu_mine.py"], "there is no op 'conv3d'; there are"),
        (["conv2d", "mine.py"], "<backend>_<idea>.py"),
        (["conv2d", "cpu_mine.txt"], "expected a Python file"),
        (["conv2d", "cpu-mine.py"], "expected a Python file"),
        (["conv2d", "cpu_direct.py"], "a kernel cpu_direct already"),
        (["conv2d", "cpu_mine.py", "--start-from", "cpu_magic"], "no algorithm 'cpu_magic'"),
        (["conv2d", "cuda_mine.py", "--start-from", "cpu_naive"], "no kernel of the backend 'cuda'"),
        (["conv2d", "no/such/folder/cpu_mine.py"], "cannot write"),
    ],
)
def test_new_kernel_refuses_in_one_line(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = command(capsys, "new-kernel", *argv, code=2)
    assert message in shown.err and len(shown.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# Reading a file.


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("mine.py", "", "<backend>_<idea>"),
        ("cpu_mine.txt", "", r"ending in \.py"),
        ("cpu_mine.py", "a = (", "line 1, SyntaxError"),
        ("cpu_mine.py", "import numpy\nnumpy.no_such()", "line 2, AttributeError"),
        ("cpu_mine.py", "pass", "it registers nothing"),
        (
            "cpu_mine.py",
            "from fastconv.kernels import kernel\n"
            "@kernel(op='im2col', limited_by='nothing')\ndef cpu_mine(problem, x, col, workspace): pass",
            "it registers a kernel of im2col",
        ),
        (
            "cpu_direct.py",
            "from fastconv.kernels import get, kernel\nget('conv2d', 'cpu_direct')\n"
            "@kernel(op='conv2d', limited_by='nothing')\ndef cpu_direct(problem, x, w, bias, y, workspace): pass",
            "named cpu_direct already",
        ),
    ],
)
def test_a_file_that_is_no_kernel(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        registry.load("conv2d", path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        registry.load("conv2d", tmp_path / "cpu_mine.py")


def test_compiled_code_is_found_by_the_next_process(tmp_path, capsys, monkeypatch):
    path = tmp_path / "cpu_mine.py"
    command(capsys, "new-kernel", "conv2d", path)
    code = "import sys; from fastconv.cli import main; sys.exit(main())"
    run = [sys.executable, "-c", code, "verify", "conv2d", "--kernel", str(path), "--count", "2"]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    for _ in range(2):
        shown = subprocess.run(run, capture_output=True, text=True)
        assert shown.returncode == 0, shown.stdout + shown.stderr


# fastconv verify.


def test_verify_says_what_it_tried(capsys):
    shown = command(capsys, "verify", "max_pool2d", "--count", 6, "--seed", 3)
    assert "max_pool2d: 6 problems; checked cpu_direct 6, cpu_naive 6" in shown.out
    assert "with " in shown.out and "strides" in shown.out
    assert "Checked 6 problems, 12 runs of kernels" in shown.out and "(seed 3): all right." in shown.out


def test_verify_goes_through_all_ops(capsys):
    shown = command(capsys, "verify", "--count", 1)
    for op in kernels.ops():
        assert f"{op}: 1 problems; checked " in shown.out


WRONG = """
import numpy as np
from fastconv.kernels import get, kernel

@kernel(op="conv2d", limited_by="NumPy")
def cpu_wrong(problem, x, w, bias, y, workspace):
    get("conv2d", "reference").run(problem, x, w, bias, y, workspace)
    if problem.dilation_w == 3:
        {fault}
"""


@pytest.mark.parametrize(
    "fault, message",
    [("y[..., -1] += 1", "y[0, 0, 0, "), ("raise KeyError('x')", "KeyError: 'x'"), ("y[-1:] = np.nan", "got nan")],
)
def test_verify_finds_a_planted_fault_and_says_how_to_repeat_it(fault, message, tmp_path, capsys):
    path = tmp_path / "cpu_wrong.py"
    path.write_text(WRONG.format(fault=fault))
    shown = command(capsys, "verify", "conv2d", "--kernel", path, "--algorithm", "cpu_naive", "--count", 30, code=1)
    assert "cpu_wrong is wrong" in shown.out and message in shown.out and "1 wrong" in shown.out
    assert "cpu_naive 30" in shown.out, "the others are checked to the end"
    (place,) = [line for line in shown.out.splitlines() if "repeat:" in line or "on N=" in line or "on (" in line] or [
        ""
    ]
    assert "dilation" in place


@pytest.mark.parametrize(
    "argv, message",
    [
        (["conv3d"], "there is no op 'conv3d'"),
        (["conv2d", "--algorithm", "cpu_magic"], "no algorithm 'cpu_magic'"),
        (["--kernel", "cpu_mine.py"], "--kernel needs an op"),
        (["conv2d", "--count", "0"], "a whole number from 1"),
        (["conv2d", "--seed", "-1"], "a whole number from 0"),
        (["col2im", "--device", "gpu"], "cannot run here"),
    ],
)
def test_verify_refuses_in_one_line(argv, message, capsys):
    shown = command(capsys, "verify", *argv, code=2)
    assert message in shown.err and "Traceback" not in shown.err


@pytest.mark.parametrize("options", [["--device", "gpu"], ["--algorithm", "cuda_naive"]])
@pytest.mark.parametrize("name", ["verify", "bench"])
def test_kernels_for_a_gpu_are_refused_where_there_is_none(name, options, monkeypatch, capsys):
    monkeypatch.setattr("fastconv.kernels.cuda.unavailable", lambda: "no GPU was found")
    shown = command(capsys, name, "conv2d", *options, code=2)
    assert shown.err == f"fastconv {name}: error: kernels for a GPU cannot run here: no GPU was found.\n"


def test_ctrl_c_prints_what_is_done(monkeypatch, capsys):
    calls = []

    def interrupted(kernel, problem):
        calls.append(kernel)
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("fastconv.testing.check_kernel", interrupted)
    shown = command(capsys, "verify", "max_pool2d", code=130)
    assert "max_pool2d: 2 problems; checked cpu_direct 2, cpu_naive 2" in shown.out
    assert "Interrupted after 2 problems" in shown.out
