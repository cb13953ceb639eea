"""The READMEs count and draw every CUDA kernel: nothing is missing, and the pictures are the kernels'."""

import importlib.util
import re
from pathlib import Path

import pytest
from cuda_cases import NEEDS_TOOLKIT, cuda_kernels

from fastconv import kernels
from fastconv.cli import main
from fastconv.inspecting.architectures import find
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels import registry

ROOT = Path(__file__).parent.parent
SHAPE = "N=1 H=5 W=6 C=3 K=7 R=3 S=2"


@pytest.fixture(scope="module")
def ladders():
    """bench/ladders.py as a module."""
    specification = importlib.util.spec_from_file_location("ladders", ROOT / "bench" / "ladders.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kernel", cuda_kernels(), ids=lambda kernel: f"{kernel.op}-{kernel.name}")
def test_the_picture_is_the_kernels(ladders, kernel):
    file, drawing = ladders.picture(kernel), ladders.drawing(kernel)
    up_to_date = file.is_file() and file.read_text(encoding="utf-8") == drawing
    assert up_to_date, f"{file.name} is missing or of an older kernel: python bench/ladders.py"
    assert len(drawing.encode()) < 45_000


def test_the_readmes_have_every_kernel(ladders):
    readmes = {file.parent.name: file.read_text(encoding="utf-8") for file in ladders.READMES}
    assert list(ladders.wrong_in(readmes)) == []
    assert ladders.superfluous_pictures() == []


def test_what_is_missing_is_named(ladders):
    readmes = {file.parent.name: file.read_text(encoding="utf-8") for file in ladders.READMES}
    picture = "![max_pool2d cuda_naive: its tiles](../../docs/tiles/max_pool2d-cuda_naive.svg)\n\n"
    assert picture in readmes["max_pool2d"]
    readmes["max_pool2d"] = readmes["max_pool2d"].replace(picture, "")
    readmes["conv2d"] = re.sub(r"\| `cuda_shared` \| \d.*\n", "", readmes["conv2d"])
    del readmes["im2col"]
    wrong = "\n".join(ladders.wrong_in(readmes))
    assert "max_pool2d: the pictures of max_pool2d are not those of its kernels" in wrong
    tables = readmes["conv2d"].count("<!-- counts: conv2d ")
    assert wrong.count("conv2d: the counts of conv2d N=1 ") == tables > 0
    assert "im2col cuda_rows is in no README: <!-- counts: im2col ... -->" in wrong
    assert "im2col cuda_rows is in no README: <!-- tiles: im2col ... -->" in wrong


@NEEDS_TOOLKIT
def test_a_new_kernel_gets_its_counts_and_its_picture(ladders, tmp_path, forget_user_kernels):
    readme = f"`cuda_naive`\n<!-- counts: conv2d {SHAPE} -->\n<!-- end of counts -->\n<!-- tiles: conv2d -->\n"
    readme += "old\n<!-- end of tiles -->\nthe end\n"
    path = tmp_path / "cuda_mine.py"
    assert main(["new-kernel", "conv2d", str(path)]) == 0
    registry.load("conv2d", path)
    filled = ladders.filled(readme)
    assert filled.startswith("`cuda_naive`\n<!-- counts") and filled.endswith("<!-- end of tiles -->\nthe end\n")
    assert "old\n" not in filled and ladders.filled(filled) == filled
    rows = [row.split(" | ") for row in re.findall(r"^\| (`cuda_naive`.*|`cuda_mine`.*) \|$", filled, re.MULTILINE)]
    assert [row[0] for row in rows] == ["`cuda_naive`", "`cuda_mine`"], "the README names the first"
    assert "(../../docs/tiles/conv2d-cuda_mine.svg)" in filled
    assert re.search(r"on sm_90; numba-cuda .*, ptxas \d+\.\d+", filled)
    problem = kernels.Conv2DProblem.parse(SHAPE)
    (inspected,) = inspect_kernel(kernels.get("conv2d", "cuda_naive"), problem, [find("sm_90")])
    assert rows[0][1] == str(inspected.compiled.resources.registers)
    assert rows[0][3] == str(inspected.instruction_count)


@NEEDS_TOOLKIT
def test_what_the_counts_say(ladders):
    table = ladders.counts("conv2d", "N=1 H=4 W=8 C=8 K=64 R=1 S=1", "")
    heads, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    column = {head: number for number, head in enumerate(heads)}

    def cell(kernel, head):
        return next(row for row in rows if row[0].startswith(f"`{kernel}`"))[column[head]].strip()

    loads = "global loads a multiply-add"
    # 32 x 64 outputs of 8 multiply-adds, each of which loads an element of x and one of w; and the bias.
    assert cell("cuda_naive", loads) == cell("cuda_coalesced", loads) == f"{2 + 1 / 8:.2f}"
    # The warp's 32 pixels lie a sector apart, in x and in y; w and the bias are one sector. 8 of x and of w, 1 of y.
    assert cell("cuda_naive", "sectors a request").split()[0] == f"{(8 * 32 + 8 + 1 + 32) / 18:.1f}"
    assert cell("cuda_shared", "bank conflicts") == "0" and cell("cuda_naive", "bank conflicts") == ""
    assert cell("cuda_shared", "shared bytes") != "0"
