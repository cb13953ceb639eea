"""`fastconv inspect`: kernels compiled without a GPU, read back, and shown in a terminal and in a real browser."""

import html
import json
import re
from pathlib import Path

import browser
import pytest
from browser import BOTH_SCHEMES, NEEDS_BROWSER
from cuda_cases import NEEDS_TOOLKIT, why_no_toolkit

from fastconv import kernels
from fastconv.cli import main
from fastconv.inspecting import compile as compiling
from fastconv.inspecting import sass
from fastconv.inspecting.architectures import find
from fastconv.inspecting.compile import ToolkitError, compile_kernel, parse_resources
from fastconv.inspecting.listing import ptx_listing, sass_listing
from fastconv.inspecting.page import render
from fastconv.inspecting.report import inspect_kernel
from fastconv.kernels.cuda import FLOATS, cuda, cuda_jit, device_function, float32, int32, shared_line

PROBLEM = kernels.Conv2DProblem.parse("N=2 H=9 W=11 C=3 K=5 R=3 S=2")


# What the tools print.

LISTING = """
	.target	sm_90
.text._conv2d:
	//## File "/k/cuda_a.py", line 7
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P3 BRA `(.L_x_0) ;
	//## File "/k/cuda_a.py", line 9
        /*0020*/                   FFMA R28, R5, R28, R22 ;
.L_x_0:
        /*0030*/               @P0 LDG.E.128.CONSTANT R4, [R2.64] ;
        /*0040*/                   EXIT ;
.L_x_1:
        /*0050*/                   BRA `(.L_x_1);
        /*0060*/                   NOP;
        /*0070*/                   NOP;
"""


def test_a_listing_is_read():
    found = sass.parse(LISTING)
    assert [(i.address, i.opcode, i.line, i.label) for i in found] == [
        (0x00, "LDC", 7, ""),
        (0x10, "BRA", 7, ""),
        (0x20, "FFMA", 9, ""),
        (0x30, "LDG.E.128.CONSTANT", 9, ".L_x_0"),
        (0x40, "EXIT", 9, ""),
        (0x50, "BRA", 9, ".L_x_1"),
    ]
    assert found[1].text == "@!P3 BRA `(.L_x_0)" and found[0].file == "/k/cuda_a.py"
    assert sass.mix(found) == {"FFMA": 1, "move": 1, "LDG 16 bytes": 1, "branch": 3}
    assert sass.densest_loop(found) == (), "a branch forwards, and one to itself behind the end, are no loops with FFMA"


def test_the_loop_with_most_multiply_adds():
    outer = """
.L_x_0:
        /*0000*/                   IADD3 R1, R1, 0x1, RZ ;
.L_x_1:
        /*0010*/                   FFMA R28, R5, R28, R22 ;
        /*0020*/                   FFMA R28, R5, R28, R22 ;
        /*0030*/              @!P3 BRA `(.L_x_1) ;
        /*0040*/                   FFMA R28, R5, R28, R22 ;
        /*0050*/               @P0 BRA `(.L_x_0) ;
        /*0060*/                   HMMA.1688.F32.TF32 R4, R8, R12, R4 ;
        /*0070*/                   EXIT ;
"""
    found = sass.parse(outer)
    loop = sass.densest_loop(found)
    assert [one.address for one in loop] == [0x10, 0x20, 0x30] and sass.multiply_add_share(loop) == 2 / 3
    assert sass.multiply_add_share(found) == 4 / 8 and sass.multiply_add_share(()) == 0


@pytest.mark.parametrize(
    "group, opcodes",
    [
        ("f64", "DADD DMUL DFMA DSETP.GT.AND F2F.F64.F32 I2F.F64 F2I.U32.F64.TRUNC MUFU.RCP64H"),
        ("tensor", "HMMA.16816.F32 IMMA.16816.S8.S8 HGMMA.64x64x16.F32 UTCHMMA"),
        ("FFMA", "FFMA FFMA.FTZ FFMA2"),
        ("FADD", "FADD FADD.FTZ"),
        ("FMUL", "FMUL"),
        ("move", "MOV UMOV IMAD.MOV.U32 S2R S2UR LDC ULDC ULDC.64 LDCU CS2R"),
        ("IMAD", "IMAD IMAD.WIDE.U32 IMAD.IADD UIMAD IMAD.HI.U32"),
        ("integer", "IADD3 IADD3.X VIADD UIADD3.X LEA.HI.X LOP3.LUT ISETP.GE.AND SHF.R.S32.HI SEL PLOP3.LUT USEL"),
        ("compare", "FSETP.GT.AND FSEL FMNMX FCHK"),
        ("convert", "I2F.U32.RP F2I.FTZ.U32.TRUNC.NTZ MUFU.RCP UI2F.U32.RP"),
        ("LDG 16 bytes", "LDG.E.128 LDG.E.128.CONSTANT LDG.E.CONSTANT.128"),
        ("LDG 8 bytes", "LDG.E.64 LDG.E.64.SYS"),
        ("LDG", "LDG.E LDG.E.SYS LDG.E.CONSTANT LDG.E.U8"),
        ("LDGSTS", "LDGSTS.E.128 UTMALDG.2D"),
        ("STG", "STG.E STG.E.128"),
        ("LDS", "LDS LDS.128 LDSM.16.M88.4"),
        ("STS", "STS STS.64"),
        ("local", "LDL LDL.64 STL STL.128"),
        ("atomic", "ATOMG.E.ADD.F32 RED.E.ADD.F32 ATOMS.ADD"),
        ("shuffle", "SHFL.BFLY VOTE.ANY"),
        ("barrier", "BAR.SYNC.DEFER_BLOCKING MEMBAR.SC.GPU WARPSYNC SYNCS.ARRIVE"),
        ("branch", "BRA EXIT BSSY BSYNC CALL.REL.NOINC RET.REL.NODEC BMOV.32.CLEAR"),
        ("other", "TEX NEWOPCODE"),
    ],
)
def test_groups(group, opcodes):
    for opcode in opcodes.split():
        assert sass.Instruction(0, opcode, opcode, None, None).group == group, opcode


def test_a_product_with_zero_is_a_move():
    for text, group in (("@P0 HFMA2 R5, -RZ, RZ, 0, 0", "move"), ("HFMA2.MMA R5, R4, R3, R2", "other")):
        opcode = text.removeprefix("@P0 ").split()[0]
        assert sass.Instruction(0, text, opcode, None, None).group == group


def test_what_the_assembler_says_is_read():
    said = """ptxas info    : Function properties for k
    16 bytes stack frame, 24 bytes spill stores, 40 bytes spill loads
ptxas info    : Used 32 registers, used 2 barriers, 16 bytes cumulative stack size, 400 bytes smem"""
    found = parse_resources(said)
    assert (found.registers, found.spill_bytes, found.stack_bytes) == (32, 64, 16)
    assert (found.static_shared_bytes, found.barriers) == (400, 2)
    assert parse_resources("ptxas info    : Used 8 registers").barriers == 0


# Kernels compiled for the test.


@device_function
def twice(value):
    return value * float32(2)


@cuda_jit(FLOATS, launch_bounds=64)
def small(x):
    tile = cuda.shared.array(100, float32)
    i = cuda.threadIdx.x
    tile[i] = x[i]
    cuda.syncthreads()
    x[i] = twice(tile[63 - i])


@cuda_jit(FLOATS, launch_bounds=64)
def surprising(x):
    i = cuda.threadIdx.x
    x[i] = x[i] * 2.0 + 1.0  # literals are float64


@cuda_jit(FLOATS, launch_bounds=64)
def in_local_memory(x):
    kept = cuda.local.array(100, float32)
    for i in range(100):
        kept[i] = x[i]
    for i in range(100):  # registers have no index
        x[i] = kept[int32(x[i])]


@NEEDS_TOOLKIT
def test_a_kernel_is_compiled_without_a_gpu():
    found = compile_kernel(small, find("sm_90"))
    assert found.resources.static_shared_bytes == 400 and found.resources.barriers == 1
    assert 4 <= found.resources.registers <= 32 and found.resources.spill_bytes == 0
    mixed = sass.mix(found.instructions)
    assert (mixed["LDG"], mixed["STG"], mixed["LDS"], mixed["STS"], mixed["barrier"]) == (1, 1, 1, 1, 1)
    assert "f64" not in mixed
    assert compile_kernel(small, find("sm_90")) is found, "it is compiled once"


@NEEDS_TOOLKIT
def test_instructions_know_their_line():
    file, lines = compiling.source(small)
    assert file == __file__
    by_line = {i.group: lines[i.line].strip() for i in compile_kernel(small, find("sm_90")).instructions if i.line}
    assert by_line["STS"] == by_line["LDG"] == "tile[i] = x[i]"
    assert by_line["barrier"] == "cuda.syncthreads()"
    assert by_line["STG"] == "x[i] = twice(tile[63 - i])"
    assert "return value * float32(2)" in {text.strip() for text in lines.values()}


@NEEDS_TOOLKIT
def test_lines_of_functions_that_kernels_share_are_found_in_their_files():
    problem = kernels.Conv2DProblem.parse("N=1 H=8 W=8 C=4 K=4 R=3 S=3 stride=2")
    (found,) = inspect_kernel(kernels.get("conv2d_backward_data", "cuda_implicit_gemm"), problem, [find("sm_90")])
    product = "sums[i * 8 + j] += left[i] * right[j]"
    (shared,) = {instruction.line for instruction in found.compiled.instructions if instruction.opcode == "FFMA"}
    file, number = shared_line(shared)
    assert file is not None and Path(file).name == "cuda_quads.py"
    assert Path(file).read_text(encoding="utf-8").splitlines()[number - 1].strip() == product
    row = {"file": file, "line": number, "source": f"{' ' * 20}{product}", "instructions": 128}
    assert row in found.to_dict()["lines"]
    assert f"// {number:>4}  {product}  # cuda_quads.py" in list(sass_listing(found))
    page = render([found], str(problem), "")
    assert f"<span>{number}</span>" in page and "<span># cuda_quads.py</span>" in page
    own = [line["line"] for line in found.to_dict()["lines"] if line["file"] == found.source_lines()[0]]
    assert own == sorted(own) and max(own) < 1000


@NEEDS_TOOLKIT
@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
def test_surprises_are_seen(arch):
    assert sass.mix(compile_kernel(surprising, find(arch)).instructions)["f64"] >= 2
    found = compile_kernel(in_local_memory, find(arch))
    assert found.resources.stack_bytes == 400 and sass.mix(found.instructions)["local"] > 0


@NEEDS_TOOLKIT
def test_listings_have_the_source_above_the_code():
    (found, _) = inspect_kernel(kernels.get("conv2d_backward_filter", "cuda_naive"), PROBLEM, [find("sm_80")])
    shown = list(sass_listing(found))
    place = next(index for index, line in enumerate(shown) if "total += a * b" in line)
    assert re.match(r"//  +\d+  total \+= a \* b$", shown[place]) and "FFMA" in shown[place + 1]
    assert sum(line.startswith("    ") for line in shown) == len(found.compiled.instructions)
    ptx = list(ptx_listing(found))
    assert any("total += a * b" in line for line in ptx) and any("fma.rn.f32" in line for line in ptx)
    assert not any(".loc" in line or ".debug" in line for line in ptx)


@NEEDS_TOOLKIT
def test_a_tool_that_refuses_its_input_is_one_line(tmp_path):
    (tmp_path / "kernel.ptx").write_text(".version 99.0\n.target sm_90\n")
    with pytest.raises(ToolkitError, match=r"^ptxas fails: .*99\.0"):
        compiling._run("ptxas", "kernel.ptx", folder=str(tmp_path))


# The command.


def command(capsys, *argv, code=0):
    try:
        got = main(["inspect", *map(str, argv)])
    except SystemExit as stopped:
        got = stopped.code
    shown = capsys.readouterr()
    assert got == code, shown.out + shown.err
    return shown


@NEEDS_TOOLKIT
def test_the_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = command(capsys, "cuda_shared", "--arch", "sm_80,sm_90", "--shape", PROBLEM).out
    assert "conv2d cuda_shared on N=2 H=9" in shown
    assert "_conv2d: 6 x 1 x 2 blocks of 32 x 16 threads, 360 bytes of dynamic shared memory" in shown
    rows = {
        words[0].strip(): words[1:] for line in shown.splitlines() if len(words := re.split("[│┃]", line)[1:-1]) > 1
    }
    numbers = {name: [int(cell) for cell in cells] for name, cells in rows.items() if cells[0].strip().isdecimal()}
    assert [cell.strip() for cell in rows[""]] in (["sm_80", "sm_90"], ["registers", "registers"])
    assert (numbers["spilled bytes"], numbers["shared bytes"]) == ([0, 0], [360, 360])
    assert numbers["threads / block"] == [512, 512] and min(numbers["registers"]) >= 16
    groups = ("FFMA", "move", "IMAD", "integer", "compare", "convert", "LDG", "STG", "LDS", "STS", "barrier", "branch")
    assert [sum(numbers[group][i] for group in groups) for i in (0, 1)] == numbers["instructions"]
    assert [cell.strip() for cell in rows["limited by"]] == ["warps", "warps"]


@NEEDS_TOOLKIT
def test_two_kernels_side_by_side(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = command(capsys, "cuda_naive", "--op", "conv2d", "--compare", "cuda_shared", "--shape", PROBLEM).out
    threads = next(line for line in shown.splitlines() if "threads / block" in line)
    assert re.findall(r"[+\d]+", threads) == ["256", "512", "+256"]
    assert re.search(r"LDS\W+0\W+[1-9]\d*\W+\+\d+", shown)


@NEEDS_TOOLKIT
def test_one_kernel_launches_more_than_the_other(capsys, monkeypatch, tmp_path, forget_user_kernels):
    monkeypatch.setenv("COLUMNS", "200")
    mine = tmp_path / "cuda_mine.py"
    assert main(["new-kernel", "conv2d_backward_filter", str(mine)]) == 0
    text = mine.read_text().replace("if gb is not None:", "if False:")
    mine.write_text(text)
    shown = command(capsys, "cuda_naive", "--op", "conv2d_backward_filter", "--compare", mine).out
    assert shown.count("_backward_bias") == 2 and shown.count("sm_90 (H100, H200)") == 2


@NEEDS_TOOLKIT
def test_code_is_printed_on_request(capsys):
    shown = command(capsys, "cuda_naive", "--op", "max_pool2d", "--ptx", "--sass").out
    assert "== cuda_naive _max_pool2d, sm_90" in shown and ".entry _max_pool2d(" in shown
    assert re.search(r"^    [0-9a-f]{4}  .*EXIT$", shown, re.MULTILINE)
    assert "if value > best" in shown


@NEEDS_TOOLKIT
def test_files(capsys, tmp_path):
    files = {name: tmp_path / f"r.{name}" for name in ("json", "html")}
    argv = ["cuda_naive", "--op", "conv2d_backward_filter", "--json", files["json"], "--html", files["html"]]
    shown = command(capsys, *argv)
    assert all(f"Wrote {path}" in shown.out for path in files.values())
    kept = json.loads(files["json"].read_text())
    assert [launch["function"] for launch in kept["launches"]] == ["_backward_filter", "_backward_bias"]
    first = kept["launches"][0]
    assert first["instructions"] == sum(first["mix"].values()) and first["occupancy"]["blocks"] > 0
    assert sum(line["instructions"] for line in first["lines"]) <= first["instructions"]
    assert any(line["source"].strip() == "total += a * b" and line["instructions"] for line in first["lines"])
    assert kept["command"].startswith("fastconv inspect cuda_naive") and "numba-cuda" in kept["versions"]


@pytest.mark.parametrize(
    "argv, message",
    [
        (
            ["cuda_magic"],
            "there is no kernel 'cuda_magic'; for a GPU there are cuda_",
        ),
        (["cuda_magic", "--op", "conv2d"], "conv2d has no algorithm 'cuda_magic'; there are"),
        (["cuda_naive"], "say which with --op"),
        (["cuda_naive", "--op", "conv3d"], "there is no op 'conv3d'"),
        (["cuda_shared", "--arch", "sm_90,sm_91"], "there is no architecture 'sm_91' here; there are sm_75"),
        (["cuda_shared", "--arch", ","], "--arch names no architecture"),
        (["cpu_direct"], "cpu_direct runs on the CPU"),
        (["cuda_shared", "--compare", "cpu_naive"], "cpu_naive runs on the CPU"),
        (["cuda_shared", "--shape", "N=1 H=2"], "lacks"),
        (["cuda_shared", "--shape", "seeds"], "--shape takes one shape"),
        (["cuda_shared", "--shape", "N=1 H=4 W=5 C=2 K=3 R=3 S=2 dtype=float64"], "the CUDA kernels are for float32"),
        (["cuda_mine.py"], "a kernel in a file needs --op"),
        (["cuda_shared", "--html", "r.txt"], "a name ending in .html"),
        ([], "the following arguments are required: KERNEL"),
    ],
)
def test_refused_in_one_line(argv, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if why_no_toolkit() and "--compare" in argv:
        pytest.skip(why_no_toolkit())
    shown = command(capsys, *argv, code=2)
    assert message in shown.err and "Traceback" not in shown.err
    assert shown.err.strip().splitlines()[-1].startswith("fastconv inspect: error: ")


def test_a_missing_toolkit_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(
        compiling, "_find", lambda tool: _raise(f"{tool} is not installed: pip install 'fastconv[lab]'")
    )
    compile_kernel.cache_clear()
    shown = command(capsys, "cuda_shared", code=2)
    assert "pip install 'fastconv[lab]'" in shown.err and len(shown.err.splitlines()) == 1


def _raise(text):
    raise ToolkitError(text)


# The page in a browser 900 pixels wide; the outer page acts as a user would and notes what it sees.

_OUTER = """<!doctype html><iframe id="frame" width="900" height="1200" srcdoc="{page}"></iframe><script>
addEventListener("error", (event) => {{ document.title = event.message; }});
document.getElementById("frame").addEventListener("load", (event) => {{
  const inner = event.target.contentDocument, root = inner.documentElement, seen = {{}};
  const shown = (selector) => [...inner.querySelectorAll(selector)].filter((e) => e.getClientRects().length);
  const lit = () => shown(".sass .lit").map((row) => row.children[1].textContent);
  const point = (row, what) => row.dispatchEvent(new MouseEvent(what));
  seen.ready = root.dataset.ready;
  seen.overflow = root.scrollWidth - root.clientWidth;
  seen.views = shown(".view").length;
  shown("[data-show]")[1].click();
  seen.other = shown(".view").map((view) => view.id);
  const sum = shown(".source [data-line]").find((row) => row.textContent.includes("total += a * b"));
  point(sum, "mouseenter"); seen.pointed = lit();
  point(sum, "mouseleave"); seen.left = lit().length;
  sum.click(); point(sum, "mouseleave"); seen.pinned = lit().length;
  const pane = shown(".sass")[0], first = shown(".sass .lit")[0].getBoundingClientRect();
  seen.inSight = first.top >= pane.getBoundingClientRect().top && first.bottom <= pane.getBoundingClientRect().bottom;
  sum.click(); seen.released = lit().length;
  shown(".sass [data-line]")[0].dispatchEvent(new KeyboardEvent("keydown", {{key: "Enter"}}));
  seen.byKey = shown(".source .lit").length;
  seen.paper = getComputedStyle(inner.body).backgroundColor;
  document.body.dataset.seen = JSON.stringify(seen);
}});</script>"""


@pytest.fixture(scope="module")
def page():
    if why_no_toolkit():
        pytest.skip(why_no_toolkit())
    found = [
        inspected
        for name in ("cuda_naive", "cuda_shared")
        for inspected in inspect_kernel(kernels.get("conv2d", name), PROBLEM, [find("sm_90")])
    ]
    return render(found, str(PROBLEM), "fastconv inspect <made by> a 'test'")


def test_everything_is_in_the_page_and_nothing_is_loaded(page):
    for text in (
        "fastconv inspect &lt;made by&gt;",
        "cuda_naive",
        "cuda_shared",
        "limited by",
        "total += a * b",
        "FFMA",
    ):
        assert text in page
    assert "{{" not in page and page.count("<script>") == 1
    assert not re.search(r"https?://|src=|@import|url\(", page)
    assert page.count('class="view"') == 2


@NEEDS_BROWSER
@BOTH_SCHEMES
def test_the_page_in_a_browser(page, tmp_path, scheme, paper):
    seen = json.loads(browser.seen(_OUTER.format(page=html.escape(page)), tmp_path, scheme))
    assert seen["ready"] == "true" and seen["overflow"] <= 0
    assert seen["views"] == 1 and seen["other"] == ["view1"]
    assert seen["pointed"] and all("FFMA" in text for text in seen["pointed"])
    assert (seen["left"], seen["pinned"], seen["released"]) == (0, len(seen["pointed"]), 0)
    assert seen["inSight"] and seen["byKey"] == 1 and seen["paper"] == paper
