"""The HTML report and the roofline: what is in them, what they survive, and the page in a real browser."""

import html
import json
import re

import browser
import pytest
from browser import BOTH_SCHEMES, NEEDS_BROWSER

from fastconv.bench import roofline
from fastconv.bench.page import render

NASTY = "y[0, 1]: expected 1, got nan </pre><script>alert(1)</script> \"quoted\" 'too' {{ROWS}}"


def row(op, shape, contestant, ms, kind="kernel", layout="NHWC", **changes):
    flops = 2_000_000 * (1 + len(shape))
    made = {
        **{
            "op": op,
            "shape": shape,
            "problem": "N=8 H=56 W=56",
            "device": "cpu",
            "threads": 2,
            "contestant": contestant,
        },
        **{"kind": kind, "layout": layout, "default": contestant == "cpu_direct", "status": "timed", "message": ""},
        **{"median_ms": ms, "p20_ms": 0.9 * ms, "p80_ms": 1.1 * ms, "repeats": 9, "flops": flops, "bytes": 500_000},
        **{"gflop_per_s": flops / ms / 1e6, "gbyte_per_s": 0.5 / ms, "intensity": flops / 500_000, "limit_ms": 0.1},
        **{"percent_of_limit": 10 / ms, "bound": "FLOPs", "ratio": 1 / ms, "rank": 1},
        **{"compile_ms": None, "launch_us": None, "transfer_ms": None},
    }
    made.update(changes)
    if made["status"] != "timed":
        made.update(dict.fromkeys(("median_ms", "p20_ms", "p80_ms", "gflop_per_s", "gbyte_per_s", "ratio", "rank")))
    return made


def result(*rows, limits=True):
    measured = {"float32": 228.0, "float64": 114.0}
    limit = {
        "device": "cpu",
        "threads": 2,
        "gflop_per_s": measured,
        "gbyte_per_s": {"1048576": 200.0, "268435456": 30.0},
    }
    machine = {
        "system": "Linux",
        "cpu": "A <CPU>",
        "cpu_features": ["avx2"],
        "simd_bits": 256,
        "cores": 2,
        "threads": 2,
    }
    return {
        "command": 'fastconv bench --shapes "N=1"',
        "date": "2026-11-25T19:30:00+00:00",
        "commit": None,
        "machine": {**machine, "gpus": []},
        "versions": {"python": "3.11.7", "numba": "0.68"},
        "limits": [limit] if limits else [],
        "interrupted": False,
        "rows": list(rows),
    }


@pytest.fixture(scope="module")
def sample():
    rows = []
    for op in ("conv2d", "max_pool2d"):
        for index, shape in enumerate(("a", "bb", "ccc", "dddd"), start=1):
            rows += [row(op, shape, "cpu_direct", 0.5 * index), row(op, shape, "cpu_naive", 90.0 / index)]
            rows += [row(op, shape, "torch", 0.7 * index, "peer", layout) for layout in ("NHWC", "NCHW")]
    rows.append(row("conv2d", "a", "cpu_mine", 1.0, status="wrong", message=NASTY))
    rows.append(row("conv2d", "a", "jax", 1.0, "peer", status="unsupported", message="no <such> option"))
    return result(*rows)


def test_everything_is_in_the_page_and_nothing_is_loaded(sample):
    page = render(sample)
    assert page.count("<tr data-series=") == 32
    for text in (
        "A &lt;CPU&gt;",
        "fastconv bench --shapes",
        "numba 0.68",
        "max_pool2d dddd",
        "peak: 228 GFLOP/s",
        "30 GB/s",
    ):
        assert text in html.unescape(page) or text in page
    assert not re.search(r"https?://|src=|@import|url\(", page)
    assert page.count('class="point"') == 32


def test_what_a_launch_costs_is_shown_where_there_are_launches(sample):
    page = render(sample)
    assert "x best peer" in page and "launch us" not in page
    costs = {"device": "gpu", "compile_ms": 812.0, "launch_us": 6.5, "transfer_ms": 31.0}
    page = render(result(row("conv2d", "a", "cuda_naive", 0.5, ratio=None, **costs)))
    for text in ("compile ms", "launch us", "transfer ms", ">812<", ">6.5<", ">31<"):
        assert text in page
    assert "x best peer" not in page


def test_messages_are_escaped(sample):
    page = render(sample)
    assert "alert(1)" in page and "<script>alert" not in page
    assert page.count("<script>") == page.count("</script>") == 1
    assert html.unescape(page).count(NASTY) == 1, "braces in a message are no placeholders"


@pytest.mark.parametrize(
    "rows",
    [(), (row("conv2d", "a", "cpu_direct", 1.0),), (row("conv2d", "a", "cpu_mine", 1.0, status="wrong", message="x"),)],
)
@pytest.mark.parametrize("limits", [True, False])
def test_little_to_show(rows, limits):
    page = render(result(*rows, limits=limits))
    assert "All figures" in page and ("Nothing was timed" in page) == (not rows or rows[0]["status"] != "timed")


def test_no_peers_and_no_flops():
    page = render(result(row("im2col", "a", "cpu_rows", 1.0, ratio=None, gflop_per_s=0.0, flops=0, intensity=0.0)))
    assert "0.5 GB/s" in page and "geometric mean" not in page


def test_the_roofline_spans_all_points(sample):
    (x0, x1), (y0, y1) = roofline.ranges(sample)
    for point in roofline.points(sample):
        assert x0 <= point.x <= x1 and y0 <= point.y <= y1
    assert y1 > 228 and roofline.extent([5.0]) == (1.0, 10.0)


def test_the_picture_is_written(sample, tmp_path):
    pytest.importorskip("matplotlib")
    from fastconv.bench.plot import write_plot

    for name, magic in (("r.png", b"\x89PNG"), ("r.svg", b"<?xml")):
        write_plot(tmp_path / name, sample)
        assert (tmp_path / name).read_bytes().startswith(magic)


# In a browser. A frame 360 pixels wide holds the page; the outer page acts as a user would and notes what it sees.

_OUTER = """<!doctype html><iframe id="frame" width="360" height="700" srcdoc="{page}"></iframe><script>
addEventListener("error", (event) => {{ document.title = event.message; }});
document.getElementById("frame").addEventListener("load", (event) => {{
  const inner = event.target.contentDocument, root = inner.documentElement, seen = {{}};
  const column = (i) => [...inner.querySelectorAll("tbody tr")].map((row) => row.cells[i].textContent);
  const button = (text) => [...inner.querySelectorAll("th button")].find((b) => b.textContent === text);
  seen.ready = root.dataset.ready;
  seen.overflow = root.scrollWidth - root.clientWidth;
  button("ms").click(); seen.up = column(5);
  button("ms").click(); seen.down = column(5);
  seen.sort = button("ms").parentElement.getAttribute("aria-sort");
  inner.querySelector("[data-toggle=cpu_naive]").click();
  const shown = (selector) => [...inner.querySelectorAll(selector)].filter((e) => e.getClientRects().length).length;
  seen.points = shown(".point"); seen.rows = shown("tbody tr");
  inner.getElementById("filter").value = "max_pool2d dddd";
  inner.getElementById("filter").dispatchEvent(new Event("input"));
  seen.filtered = shown("tbody tr");
  seen.paper = getComputedStyle(inner.body).backgroundColor;
  document.body.dataset.seen = JSON.stringify(seen);
}});</script>"""


@NEEDS_BROWSER
@BOTH_SCHEMES
def test_in_a_browser_of_a_phones_width(sample, tmp_path, scheme, paper):
    seen = json.loads(browser.seen(_OUTER.format(page=html.escape(render(sample))), tmp_path, scheme))
    assert seen["ready"] == "true" and seen["overflow"] <= 0
    up = [float(text) for text in seen["up"]]
    assert up == sorted(up) and [float(text) for text in seen["down"]] == up[::-1] and len(set(up)) > 4
    assert seen["sort"] == "descending"
    assert (seen["points"], seen["rows"], seen["filtered"]) == (24, 24, 3)
    assert seen["paper"] == paper
