"""The registry: files are variants, folders are ops, and choosing says what there is."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastconv import kernels
from fastconv.kernels import registry

FOLDER = Path(kernels.__file__).parent
OPS = [
    "average_pool2d",
    "average_pool2d_backward",
    "col2im",
    "conv2d",
    "conv2d_backward_data",
    "conv2d_backward_filter",
    "conv2d_max_pool2d",
    "conv2d_max_pool2d_backward_filter",
    "im2col",
    "max_pool2d",
    "max_pool2d_backward",
]
PROBLEM = kernels.Conv2DProblem.parse("N=1 H=4 W=5 C=2 K=3 R=2 S=1")


@pytest.fixture
def registered(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_kernels", dict(registry._kernels))


def function(module):
    """A kernel function that was, by the look of it, defined in that module."""

    def run(problem, *arrays):
        pass

    run.__module__ = module
    return run


def test_ops_are_the_folders():
    assert kernels.ops() == OPS


@pytest.mark.parametrize("op", OPS)
def test_every_file_is_a_variant_and_every_default_exists(op):
    files = {file.stem for file in (FOLDER / op).glob("*.py")} - {"__init__"}
    found = kernels.variants(op)
    assert {kernel.name for kernel in found} == files
    assert {kernel.op for kernel in found} == {op}
    default = sys.modules[f"fastconv.kernels.{op}"].DEFAULT
    assert set(default) == {"cpu", "gpu"}
    assert [kernel.name for kernel in found][: len(default["cpu"])] == list(default["cpu"])
    assert default["cpu"][-1] == "reference"
    assert {name for names in default.values() for name in names} <= files
    assert {kernels.get(op, name).precision for name in default["cpu"]} == {""}
    for kernel in found:
        assert kernel.limited_by and kernel.precision in ("", "tf32", "bfloat16")
        assert kernels.get(op, kernel.name) is kernel
        assert kernel.device == ("gpu" if kernel.name.startswith("cu") else "cpu")


@pytest.mark.parametrize("op", OPS)
def test_every_op_has_a_naive_and_a_reference_kernel(op):
    assert {"cpu_naive", "reference"} <= {kernel.name for kernel in kernels.variants(op, "cpu")}


def test_conv_ops_have_the_three_rungs():
    for op in OPS:
        if op.startswith("conv2d") and kernels.problem_type(op) is kernels.Conv2DProblem:
            assert {"cpu_naive", "cpu_im2col", "cpu_direct"} <= {kernel.name for kernel in kernels.variants(op)}


def test_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match="no op 'conv3d'.*conv2d"):
        kernels.variants("conv3d")
    with pytest.raises(ValueError, match="no algorithm 'cpu_magic'.*cpu_direct.*reference.*cpu_naive"):
        kernels.get("conv2d", "cpu_magic")
    with pytest.raises(ValueError, match="no op"):
        kernels.get("", "__init__")
    with pytest.raises(ValueError, match="no algorithm '__init__'"):
        kernels.get("conv2d", "__init__")


def test_choose_takes_the_first_default_that_supports_the_problem(registered, monkeypatch):
    only_reference = ("cpu_picky", "reference", "cpu_naive")
    monkeypatch.setattr(sys.modules["fastconv.kernels.conv2d"], "DEFAULT", {"cpu": only_reference, "gpu": ()})
    decorate = kernels.kernel(limited_by="nothing", unsupported=lambda p: "K is odd" if p.K % 2 else None)
    decorate(function("fastconv.kernels.conv2d.cpu_picky"))
    assert kernels.choose("conv2d", PROBLEM).name == "reference"
    even = kernels.Conv2DProblem.parse("N=1 H=4 W=5 C=2 K=4 R=2 S=1")
    assert kernels.choose("conv2d", even).name == "cpu_picky"
    assert kernels.choose("conv2d", PROBLEM, "cpu_naive").name == "cpu_naive"
    with pytest.raises(ValueError, match="cpu_picky: K is odd"):
        kernels.choose("conv2d", PROBLEM, "cpu_picky")


def test_choose_says_that_no_gpu_kernel_exists(monkeypatch):
    monkeypatch.setattr(sys.modules["fastconv.kernels.conv2d"], "DEFAULT", {"cpu": (), "gpu": ()})
    with pytest.raises(ValueError, match="conv2d on gpu can run .*none exists"):
        kernels.choose("conv2d", PROBLEM, device="gpu")


def test_a_kernel_from_outside_registers_with_its_op(registered):
    run = function("somebody.cpu_theirs")
    kernels.kernel(limited_by="nothing", op="conv2d", fuses=("relu",))(run)
    kernel = kernels.get("conv2d", "cpu_theirs")
    assert (kernel.run, kernel.device, kernel.fuses) == (run, "cpu", ("relu",))
    assert kernel.workspace_bytes(PROBLEM) == 0
    assert kernel.unsupported(PROBLEM) is None
    assert kernels.variants("conv2d")[-1] is kernel or kernel in kernels.variants("conv2d")


def test_a_files_name_must_begin_with_a_backend(registered):
    with pytest.raises(ValueError, match="fast_conv.*<backend>_<idea>"):
        kernels.kernel(limited_by="nothing")(function("fastconv.kernels.conv2d.fast_conv"))


def test_two_kernels_of_one_name_are_refused(registered):
    with pytest.raises(ValueError, match="conv2d has a kernel named reference already"):
        kernels.kernel(limited_by="nothing", op="conv2d")(function("somebody.reference"))


def test_in_a_notebook_the_functions_name_counts_and_a_cell_can_be_run_again(registered):
    first, second = function("__main__"), function("__main__")
    second.__code__ = second.__code__.replace(co_filename="/another/cell.py")
    for run in (first, second):
        run.__name__ = "cpu_in_a_cell"
        kernels.kernel(limited_by="nothing", op="conv2d")(run)
        assert kernels.get("conv2d", "cpu_in_a_cell").run is run
    first.__name__ = "reference"
    with pytest.raises(ValueError, match="conv2d has a kernel named reference already"):
        kernels.kernel(limited_by="nothing", op="conv2d")(first)


def test_the_folder_refuses_to_be_a_second_registry():
    code = f"import sys; sys.path.insert(0, {str(FOLDER.parent)!r}); import kernels"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode != 0
    assert "import fastconv.kernels instead" in result.stderr


def test_the_registry_does_not_import_numba():
    code = "import sys; from fastconv import kernels; kernels.get('conv2d', 'reference'); print('numba' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
