"""The pictures of tiles: what they show is what the op's formula asks for, and they can be drawn for any kernel."""

import base64
import re
from xml.etree import ElementTree

import browser
import numpy as np
import pytest
from browser import NEEDS_BROWSER

from fastconv import kernels
from fastconv.cli import main
from fastconv.inspecting import footprint
from fastconv.inspecting.footprint import BLOCK_LEVEL, THREAD_LEVEL, WARP_LEVEL, footprints
from fastconv.inspecting.tiles import draw, small_problem
from fastconv.kernels import registry

SMALL = kernels.Conv2DProblem.parse("N=1 H=5 W=6 C=3 K=7 R=3 S=2 stride=1,2 padding=1,0,2,1")
FULL = kernels.Conv2DProblem.parse("N=1 H=12 W=16 C=8 K=64 R=3 S=3 padding=same")  # a thread has nothing to leave out
# One launch, and each thread computes what it writes.
DIRECT = [
    "cuda_naive",
    "cuda_coalesced",
    "cuda_shared",
    "cuda_shared_filter",
    "cuda_register_tile",
    "cuda_implicit_gemm",
]


def touched(parts, name):
    """The arrays of that name in all launches."""
    return [array for part in parts for array in part.arrays if array.name == name]


def window(problem, y_elements):
    """The elements of x and of w that elements of y are sums of: from the formula."""
    x, w = np.zeros(problem.x_shape, bool), np.zeros(problem.w_shape, bool)
    for _, p, q, k in np.argwhere(y_elements.reshape(problem.y_shape)):
        for r in range(problem.R):
            for s in range(problem.S):
                h = p * problem.stride_h - problem.pad_top + r * problem.dilation_h
                j = q * problem.stride_w - problem.pad_left + s * problem.dilation_w
                if 0 <= h < problem.H and 0 <= j < problem.W:
                    x[0, h, j] = w[r, s, :, k] = True
    return x.reshape(-1), w.reshape(-1)


@pytest.mark.parametrize("level", [BLOCK_LEVEL, WARP_LEVEL, THREAD_LEVEL])
@pytest.mark.parametrize("name", DIRECT)
def test_what_is_used_is_the_window_of_what_is_written(name, level):
    (part,) = footprints(kernels.get("conv2d", name), SMALL)
    (x,), (w,), (y,) = (touched([part], name) for name in "xwy")
    shares = any(array.space == "shared" for array in part.arrays)
    for array, expected in zip((x, w), window(SMALL, y.levels >= level), strict=True):
        used = array.levels >= level
        assert used[expected].all() and y.levels.any()
        assert shares or (used == expected).all(), "whole tiles may be copied, nothing else"


@pytest.mark.parametrize("name", DIRECT)
def test_a_thread_with_a_full_tile_uses_nothing_else(name):
    (part,) = of(name)
    (x,), (w,), (y,) = (touched([part], name) for name in "xwy")
    for array, expected in zip((x, w), window(FULL, y.levels == THREAD_LEVEL), strict=True):
        assert ((array.levels == THREAD_LEVEL) == expected).all()


def of(name):
    return footprints(kernels.get("conv2d", name), FULL)


def test_an_element_is_loaded_once_where_shared_memory_holds_it():
    (part,) = of("cuda_shared")
    (x,), (w,), (tile,), (y,) = (touched([part], name) for name in ("x", "w", "tile", "y"))
    assert x.loads.max() == 1 and x.loads.sum() == 5 * 5 * 8  # 6 x 6 pixels, less the padding above and to the left
    assert tile.stores.sum() == 6 * 6 * 8 and tile.held == ("x", "zeros") and tile.space == "shared"
    assert w.loads.max() == 16 and y.stores.sum() == 4 * 4 * 32
    pixels = (x.levels == THREAD_LEVEL).reshape(12, 16, 8).all(axis=2)
    assert pixels[:3, :3].all() and pixels.sum() == 9, "of thread (0, 5): the window of pixel (1, 1)"
    assert part.warp == 5 and part.thread == 160


def test_what_a_warp_asks_for_at_once():
    (naive,), (coalesced,), (gemm,) = (of(name) for name in ("cuda_naive", "cuda_coalesced", "cuda_implicit_gemm"))

    def costs(part):
        return {(one.what, one.array): (one.count, one.moved, one.ideal) for one in part.requests}

    assert costs(naive) == {("reads", "x"): (72, 32, 4), ("reads", "w"): (72, 1, 1), ("writes", "y"): (1, 32, 4)}
    assert costs(coalesced) == {("reads", "x"): (48, 1, 1), ("reads", "w"): (48, 4, 4), ("writes", "y"): (1, 4, 4)}
    wide = next(one for one in gemm.requests if (one.what, one.array) == ("reads", "x"))
    assert len(wide.addresses) == 128 and wide.moved == 16, "four floats a thread"
    assert costs(gemm)["reads", "xs"][1:] == (4, 4), "the four passes that 512 bytes need"


def test_launches_follow_each_other():
    first, second = of("cuda_im2col")
    (col,), (read,) = touched([first], "col"), touched([second], "col")
    assert col.shape == read.shape == (192, 72), "in the shape that the launch was given"
    assert touched([second], "a")[0].held == ("col",) and touched([second], "b")[0].held == ("w",)
    matrix, product = of("cupy_im2col")
    assert matrix.name == "_im2col" and (product.name, product.launch) == ("MatMul", None)


MINE = """
from fastconv.kernels.cuda import FLOATS, Launch, cuda, cuda_jit, float32, int32, uint32
from fastconv.kernels.registry import kernel


@kernel(op="average_pool2d", limited_by="nothing")
def cuda_mine(problem, x, y, workspace):
    return [Launch(_mine, (2,), (64,), (x, y[:, 1:], x.size)) for _ in range(2)]


@cuda_jit(FLOATS, FLOATS, int32)
def _mine(x, y, size):
    tile = cuda.shared.array(64, float32)
    i = uint32(cuda.threadIdx.x)
    tile[i] = x[i] * float32(2)
    cuda.syncthreads()
    y[i] = tile[63 - i]
"""


@pytest.fixture
def mine(tmp_path, forget_user_kernels):
    path = tmp_path / "cuda_mine.py"
    path.write_text(MINE)
    return path


def test_a_kernel_of_ones_own(mine, capsys):
    problem = kernels.Pool2DProblem.parse("N=1 H=8 W=4 C=8 R=1 S=1")
    kernel = registry.load("average_pool2d", mine)
    (part,) = footprints(kernel, problem)  # two launches of one function
    x, y, tile = part.arrays
    assert tile.held == ("results",) and (tile.levels > 0).all() and x.loads.max() == 1
    assert not y.stores[:32].any() and y.stores[32:96].all(), "the view begins in the second row"
    picture = mine.with_suffix(".svg")
    argv = ["inspect", str(mine), "--op", "average_pool2d", "--tiles", str(picture), "--shape", str(problem)]
    assert main(argv) == 0 and f"Wrote {picture}" in capsys.readouterr().out
    assert "holds results" in picture.read_text(encoding="utf-8")


def test_by_the_command_line(tmp_path, capsys):
    picture = tmp_path / "shared.svg"
    assert main(["inspect", "cuda_shared", "--tiles", str(picture)]) == 0
    kernel = kernels.get("conv2d", "cuda_shared")
    assert picture.read_text(encoding="utf-8") == draw(kernel, small_problem(kernel))


@pytest.mark.parametrize(
    "argv, message",
    [
        (["cpu_direct", "--op", "conv2d"], "cpu_direct runs on the CPU; only kernels for a GPU have tiles"),
        (
            ["cuda_few_channels", "--op", "conv2d", "--shape", "N=1 H=4 W=5 C=9 K=3 R=3 S=2"],
            "few_channels cannot run N=1 H=4",
        ),
        (["cuda_shared", "--shape", "N=1 H=4"], "lacks"),
    ],
)
def test_what_cannot_be_drawn(argv, message, tmp_path, capsys):
    assert main(["inspect", *argv, "--tiles", str(tmp_path / "t.svg")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_problem_that_is_too_large(monkeypatch):
    monkeypatch.setattr(footprint, "_STEPS", 20)
    with pytest.raises(ValueError, match="the first block does more than can be drawn"):
        of("cuda_naive")


def test_a_kernel_without_a_small_problem():
    never = type("Never", (), {"op": "conv2d", "name": "cuda_never", "unsupported": lambda self, problem: "no"})()
    with pytest.raises(ValueError, match="cuda_never supports none of the shapes that tiles are drawn for"):
        small_problem(never)


def test_it_is_an_svg_that_needs_nothing():
    picture = draw(
        kernels.get("conv2d", "cuda_implicit_gemm"), kernels.Conv2DProblem.parse("N=2 H=4 W=5 C=4 K=8 R=3 S=3")
    )
    root = ElementTree.fromstring(picture)
    assert root.get("width") == "880" and "<script" not in picture and "href" not in picture
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "2 × 4 × 5 pixels of 4" in texts and any(text.startswith("reads x") for text in texts)
    heights = [float(y) for y in re.findall(r' y="([\d.]+)"', picture)]
    assert max(heights) < float(root.get("height"))


@NEEDS_BROWSER
@pytest.mark.parametrize("scheme, paper", [(0, "13,17,23"), (1, "255,255,255")], ids=["dark", "light"])
def test_in_a_browser(tmp_path, scheme, paper):
    picture = draw(kernels.get("conv2d", "cuda_shared"), SMALL)
    source = base64.b64encode(picture.encode()).decode()
    page = f"""<!doctype html><body><img id="tiles" src="data:image/svg+xml;base64,{source}"><script>
      addEventListener("load", () => {{
        const canvas = document.createElement("canvas"), image = document.getElementById("tiles");
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const [r, g, b] = context.getImageData(440, 4, 1, 1).data;
        document.body.dataset.seen = `${{canvas.width}} ${{r}},${{g}},${{b}}`;
      }});</script>"""
    assert browser.seen(page, tmp_path, scheme) == f"880 {paper}"
