"""The simulator's page: what is in it, and its stepper in a real browser."""

import html
import json
import re

import browser
import numpy as np
import pytest
from browser import BOTH_SCHEMES, NEEDS_BROWSER
from numba import cuda, float32

from fastconv.testing import simulate
from fastconv.testing.simulator.page import render


def transposed(a, b):
    """</script><script>alert(1)</script> {{ROWS}}"""
    s = cuda.shared.array((32, 32), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    x, y = cuda.blockIdx.x * 32, cuda.blockIdx.y * 32
    for r in range(ty, 32, 8):
        s[r, tx] = a[y + r, x + tx]  # in
    cuda.syncthreads()
    for r in range(ty, 32, 8):
        b[x + r, y + tx] = s[tx, r]  # out
    b[x, y - 1] = 0  # BUG


@pytest.fixture(scope="module")
def report():
    return simulate(transposed, (2, 2), (32, 8), np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32))


def test_everything_is_in_the_page_and_nothing_is_loaded(report, tmp_path):
    page = report.html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == render(report)
    assert not re.search(r"https?://|src=|@import|url\(", page)
    text = html.unescape(page)
    for line in report.lines:
        assert line.text in text
    for finding in report.findings:
        assert finding.message in text
    out = report.line("# out")
    assert f">{out.bank_conflicts}</td>" in page and "grid (2, 2, 1), block (32, 8, 1)" in page


def test_source_is_escaped(report):
    page = render(report)
    assert page.count("<script") == page.count("</script>") == 2
    assert html.unescape(page).count("{{ROWS}}") == 2, "in the source and in the data; braces there are no placeholders"


def test_the_trace_is_of_one_block(report):
    # 4 turns of a load and a store, a barrier, 4 turns of a load and a store, and a store that block (0, 0) drops.
    assert len(report.trace.steps) == 17 and not report.trace.cut
    first = report.trace.steps[0]
    assert first["array"] == "a" and first["elements"] == [y * 64 + x for y in range(8) for x in range(32)]
    other = simulate(transposed, (2, 2), (32, 8), *np.zeros((2, 64, 64), np.float32), trace_block=(1, 1, 0))
    assert other.trace.steps[0]["elements"] == [32 * 65 + e for e in first["elements"]]
    assert len(other.trace.steps) == 18
    alone = simulate(
        *(transposed, (2, 2), (32, 8), *np.zeros((2, 64, 64), np.float32)), trace_block=(1, 1, 0), only_traced=True
    )
    assert [step["elements"] for step in alone.trace.steps] == [step["elements"] for step in other.trace.steps]
    assert 4 * alone.totals.loads.requests == report.totals.loads.requests
    none = simulate(transposed, (2, 2), (32, 8), *np.zeros((2, 64, 64), np.float32), trace_block=None)
    assert not none.trace.steps and "no block was traced" in render(none)


def other_tile(a):
    s = cuda.shared.array(16, float32)
    if cuda.threadIdx.x < 16:
        s[cuda.threadIdx.x] = a[cuda.threadIdx.x]


def two_tiles(a):
    s = cuda.shared.array((4, 32), float32)
    s[1, cuda.threadIdx.x] = a[cuda.threadIdx.x]
    other_tile(a)


def test_arrays_of_one_name_are_told_apart():
    trace = simulate(two_tiles, 1, 32, np.zeros(32, np.float32)).trace
    assert [step["array"] for step in trace.steps] == ["a", "s", "a", "s of other_tile"]
    assert trace.arrays["s"]["shape"] == (4, 32) and trace.arrays["s of other_tile"]["shape"] == (16,)


def long(a):
    for _ in range(10000):
        a[cuda.threadIdx.x] += 1


def test_a_long_trace_is_cut():
    report = simulate(long, 1, 32, np.zeros(32), max_steps=10**6)
    assert report.trace.cut and len(report.trace.steps) == 3000 and "The trace was cut" in render(report)


def counting(a):
    if cuda.threadIdx.x < 3:
        a[cuda.threadIdx.x] += 1


def test_the_trace_has_the_values_after_each_access():
    trace = simulate(counting, 1, 4, np.array([5.0, 6, 7, 8], np.float32)).trace
    load, store = trace.steps
    assert load["values"].tolist() == [[5, 6, 7, 0]] and store["values"].tolist() == [[6, 7, 8, 0]]
    assert store["elements"] == [0, 1, 2, -1] and store["values"].dtype == np.float32
    whole = simulate(long, 1, 32, np.zeros(32), max_steps=10**6, trace_steps=30_000).trace
    assert not whole.cut and len(whole.steps) == 20_000 and whole.steps[-1]["values"][0, 7] == 10_000


# In a browser. A frame 360 pixels wide holds the page; the outer page acts as a user would and notes what it sees.

_OUTER = """<!doctype html><iframe id="frame" width="360" height="700" srcdoc="{page}"></iframe><script>
addEventListener("error", (event) => {{ document.title = event.message; }});
document.getElementById("frame").addEventListener("load", (event) => {{
  const inner = event.target.contentDocument, root = inner.documentElement, seen = {{}};
  const text = (id) => inner.getElementById(id).textContent;
  const press = (key) => inner.body.dispatchEvent(new KeyboardEvent("keydown", {{ key, bubbles: true }}));
  const set = (id, value) => {{
    const control = inner.getElementById(id);
    control.value = value;
    control.dispatchEvent(new Event(id === "slider" ? "input" : "change"));
  }};
  const on = (id) => inner.querySelectorAll(`#${{id}} i.on`).length;
  const look = () => ({{
    position: text("position"), what: text("what"), cost: text("cost"), memory: text("memory-name"),
    threads: on("threads"), cells: on("memory"), sectors: inner.querySelectorAll("#memory i.sector").length,
    now: inner.querySelectorAll("tr.now").length }});
  seen.ready = root.dataset.ready;
  seen.overflow = root.scrollWidth - root.clientWidth;
  seen.first = look();
  press("ArrowRight"); seen.second = look();
  press("End"); seen.last = look();
  press("ArrowRight"); seen.after = look();
  press("Home"); press("ArrowLeft"); seen.before = look();
  set("slider", 8); seen.barrier = look();
  const buttons = [...inner.querySelectorAll("td.number button")];
  buttons.find((button) => button.closest("tr").textContent.includes("# out")).click(); seen.line = look();
  set("warp", "3"); seen.warp = look();
  inner.querySelector("#threads i.on").dispatchEvent(new MouseEvent("mouseover", {{ bubbles: true }}));
  seen.marked = inner.querySelectorAll(".mark").length;
  seen.findings = [...inner.querySelectorAll("tr.finding")].map((row) => row.previousElementSibling.textContent);
  seen.links = [...inner.querySelectorAll(".verdict a")].every((a) => inner.querySelector(a.getAttribute("href")));
  seen.paper = getComputedStyle(inner.body).backgroundColor;
  document.body.dataset.seen = JSON.stringify(seen);
}});</script>"""


@NEEDS_BROWSER
@BOTH_SCHEMES
def test_in_a_browser_of_a_phones_width(report, tmp_path, scheme, paper):
    seen = json.loads(browser.seen(_OUTER.format(page=html.escape(render(report))), tmp_path, scheme))
    assert seen["ready"] == "true" and seen["overflow"] <= 0 and seen["paper"] == paper
    first, second, last = seen["first"], seen["second"], seen["last"]
    assert first["position"] == "1 of 17" and first["what"].endswith("# in") and first["now"] == 1
    assert first["memory"] == "a, global memory" and (first["threads"], first["cells"], first["sectors"]) == (256,) * 3
    assert first["cost"] == "256 threads read a: 8 requests, 32 sectors, 4 per request."
    assert second["position"] == "2 of 17" and second["memory"] == "s, shared memory" and second["cells"] == 256
    assert second["cost"] == "256 threads write s: 8 requests, 8 wavefronts, 0 of them for bank conflicts."
    assert last["position"] == "17 of 17" and last == seen["after"] and seen["before"] == first
    assert last["cost"] == "256 threads write b: 8 requests, 32 sectors, 4 per request."
    assert seen["barrier"]["cost"] == "256 threads in syncthreads." and seen["barrier"]["cells"] == 0
    assert seen["line"]["position"] == "1 of 8" and seen["line"]["what"].endswith("# out")
    assert seen["line"]["cost"] == "256 threads read s: 8 requests, 256 wavefronts, 248 of them for bank conflicts."
    assert seen["warp"]["cost"] == "32 threads read s: 1 request, 32 wavefronts, 31 of them for bank conflicts."
    assert seen["warp"]["threads"] == seen["warp"]["cells"] == 32 and seen["marked"] == 2
    assert all("# BUG" in text for text in seen["findings"]) and len(seen["findings"]) == 1 and seen["links"]
