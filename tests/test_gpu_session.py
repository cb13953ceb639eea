"""`make gpu` without a GPU: the dry run goes through every step, and each part survives what may go wrong in it."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastconv import kernels
from fastconv.bench.gpu import marked_tests, sanitizer, session, table, timings
from fastconv.bench.gpu.session import Ended, Session
from fastconv.kernels import cuda

ROOT = Path(__file__).parent.parent
GPU_KERNELS = {(kernel.op, kernel.name) for op in kernels.ops() for kernel in kernels.variants(op, "gpu")}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load(ROOT / "bench" / "tables.py")


# The dry run.


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """What a dry run printed, and its folder."""
    out = tmp_path_factory.mktemp("gpu") / "results"
    before = sorted((ROOT / "bench" / "results").iterdir())
    command = [
        sys.executable,
        ROOT / "bench" / "gpu.py",
        "--dry-run",
        "--out",
        out,
        "--limit",
        "3000",
    ]  # a busy machine
    shown = subprocess.run(command, capture_output=True, text=True, cwd=out.parent)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert sorted((ROOT / "bench" / "results").iterdir()) == before
    return shown.stdout, out


@pytest.fixture(scope="module")
def record(dry):
    return json.loads((dry[1] / "gpu.json").read_text())


def test_every_part_ends_well(record):
    tools = [f"compute-sanitizer {tool}" for tool in sanitizer.TOOLS]
    assert list(record["parts"]) == ["facts", "tests", *tools, "training", *(f"timings {op}" for op in timings.ops())]
    assert {name: part["text"] for name, part in record["parts"].items() if part["status"] != "passed"} == {}
    assert re.match(r"\d+ passed", record["parts"]["tests"]["text"])


def test_every_kernel_is_timed(record):
    timed = [row for row in record["rows"] if row["kind"] == "kernel" and row["status"] == "timed"]
    assert {(row["op"], row["contestant"]) for row in timed} == GPU_KERNELS
    assert {row["status"] for row in record["rows"]} == {"timed", "unsupported"}


def test_nothing_in_the_facts_is_misspelt(record):
    assert record["facts"]["compute capability"] == "9.0"
    assert not [fact for fact in record["facts"].values() if re.search("AttributeError|TypeError|KeyError", fact)]


def test_the_folder_is_small_and_says_that_times_are_made_up(dry, record):
    printed, out = dry
    names = {path.name for path in out.iterdir()}
    assert names == {"gpu.json", "gpu.md", "facts.log", "tests.log", "sanitizer.log", "training.log", "timings.log"}
    text = (out / "gpu.md").read_text()
    assert record["dry_run"] and "every time here is made up" in text and "every time here is made up" in printed
    for op, name in GPU_KERNELS:
        assert f"## {op}\n" in text and name in text
    assert re.search(r"^\[ +\d+ s\]   conv2d plain: cuda_\w+ 10\.0 ms", printed, re.MULTILINE)


def test_made_up_times_are_not_taken(dry, capsys):
    assert tables.main(["--take", str(dry[1] / "gpu.json")]) == 2
    assert "is of a dry run" in capsys.readouterr().err


def test_without_a_gpu_one_line_says_so(tmp_path):
    if cuda.unavailable() is None:
        pytest.skip("there is a GPU")
    command = [sys.executable, ROOT / "bench" / "gpu.py", "--out", tmp_path / "results"]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 2 and shown.stdout == ""
    assert re.fullmatch(r"bench/gpu\.py: error: .*; --dry-run needs no GPU\.\n", shown.stderr)
    assert not (tmp_path / "results").exists()


def test_a_bare_checkout_is_importable(tmp_path):
    load(ROOT / "bench" / "gpu.py").link_package(tmp_path)
    code = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
        "import fastconv, fastconv.kernels as k; from fastconv.testing import shape_lists\n"
        "print(fastconv.__file__, len(k.ops()), 'resnet50' in shape_lists())"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split() == [str(tmp_path / "fastconv" / "__init__.py"), str(len(kernels.ops())), "True"]


# Programs that fail, hang or crash.


@pytest.fixture
def on_gpu(tmp_path):
    return Session(tmp_path / "out", 60.0, False, "python bench/gpu.py")


def test_a_program_that_hangs_is_stopped_with_what_it_started(on_gpu):
    sleep = "import time; time.sleep(60)"
    parent = f"import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', '{sleep}'])"
    started = time.monotonic()
    ended = on_gpu.run([sys.executable, "-c", parent], 3.0, "hangs")
    assert time.monotonic() - started < 20
    assert (ended.code, ended.lines) == (None, ["begun"])
    assert ended.why() == "stopped after 3 s, its time limit"
    assert "stopped after 3.0 s" in (on_gpu.out / "hangs.log").read_text()


def test_a_program_that_fails_leaves_its_last_line_and_a_log(on_gpu):
    ended = on_gpu.run([sys.executable, "-c", "print('one'); raise SystemExit('two')"], 30.0, "fails")
    assert (ended.code, ended.lines, ended.why()) == (1, ["one", "two"], "ended with exit code 1: two")
    assert on_gpu.run(["/no/such/program"], 1.0, "fails").code == 127
    log = (on_gpu.out / "fails.log").read_text()
    assert "one\ntwo\nexit code 1" in log and "/no/such/program" in log


@pytest.mark.parametrize("folders, found", [(["bin", "nvvm"], True), (["bin"], False)])
def test_the_toolkit_beside_nvcc_is_pointed_at(tmp_path, monkeypatch, folders, found):
    for folder in folders:
        (tmp_path / folder).mkdir()
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(session.shutil, "which", lambda name: str(tmp_path / "bin" / name))
    environment = Session(tmp_path / "out", 60.0, False, "").environment
    assert environment.get("CUDA_HOME") == (str(tmp_path) if found else None)
    monkeypatch.setenv("CUDA_HOME", "/mine")
    assert Session(tmp_path / "out", 60.0, False, "").environment["CUDA_HOME"] == "/mine"


class Scripted:
    """A session whose programs print what the test says."""

    def __init__(self, on_gpu, ended, then=lambda command: None):
        self.commands = []

        def run(command, limit_s, log, on_line=lambda line: None, environment=None):
            self.commands.append(command)
            then(command)
            for line in ended.lines:
                on_line(line)
            return ended

        on_gpu.run = run


def test_failed_tests_are_named(on_gpu):
    lines = ["tests/test_kernels.py::t[a b-plain] PASSED [ 1%]", "tests/test_kernels.py::t[b] FAILED [ 2%]"]
    Scripted(on_gpu, Ended(1, [*lines, "tests/test_kernels.py::t[c] SKIPPED (float64)", "1 failed"], 2.0))
    marked_tests.run(on_gpu, 10.0)
    part = on_gpu.record["parts"]["tests"]
    assert part["status"] == "failed" and part["failed"] == ["tests/test_kernels.py::t[b]"]
    assert part["text"] == "1 failed, 1 passed, 1 skipped; pytest ended with exit code 1: 1 failed"
    assert "- tests: tests/test_kernels.py::t[b]" in (on_gpu.out / "gpu.md").read_text()


def test_tests_that_are_all_skipped_have_not_passed(on_gpu):
    Scripted(on_gpu, Ended(0, ["tests/test_kernels.py::t[c] SKIPPED (no GPU)"], 2.0))
    marked_tests.run(on_gpu, 10.0)
    assert on_gpu.record["parts"]["tests"]["status"] == "failed"


LAUNCHED = "launched 96 of 96 runs, 0 wrong"


@pytest.mark.parametrize(
    "code, lines, status, text",
    [
        (0, [LAUNCHED, "========= ERROR SUMMARY: 0 errors"], "passed", "0 errors; 96 runs of kernels"),
        (0, [LAUNCHED, "========= RACECHECK SUMMARY: 0 hazards displayed"], "passed", "0 hazards"),
        (9, [LAUNCHED, "========= ERROR SUMMARY: 3 errors"], "failed", "3 errors"),
        (0, ["========= ERROR SUMMARY: 0 errors"], "failed", "ended with exit code 0"),
        (0, [LAUNCHED], "failed", "no summary"),
        (1, ["cuda_naive wrong", "========= ERROR SUMMARY: 0 errors"], "failed", "exit code 1"),
        (1, ["========= Error: Device not supported"], "skipped", "Device not supported"),
        (None, [], "failed", "stopped after 5 s"),
    ],
)
def test_what_the_sanitizer_says(code, lines, status, text):
    got = sanitizer.judge(Ended(code, lines, 5.0))
    assert got[0] == status and text in got[1]


def test_the_sanitizers_command(on_gpu, monkeypatch):
    monkeypatch.setattr(sanitizer, "find", lambda: ["compute-sanitizer"])
    scripted = Scripted(on_gpu, Ended(0, [LAUNCHED, "========= ERROR SUMMARY: 0 errors"], 5.0))
    sanitizer.run(on_gpu, "memcheck", 10.0)
    (command,) = scripted.commands
    assert (
        command[:3] == ["compute-sanitizer", "--tool", "memcheck"] and command[-1] == "fastconv.bench.gpu.every_kernel"
    )
    monkeypatch.setattr(sanitizer, "find", lambda: None)
    sanitizer.run(on_gpu, "racecheck", 10.0)
    assert on_gpu.record["parts"]["compute-sanitizer racecheck"]["status"] == "skipped"


def a_row(contestant, ms, kind="kernel", layout="NHWC", precision="", transpose_ms=None, status="timed", message=""):
    row = timings.Row("conv2d", "conv3_3x3", "N=8 H=28", "gpu", 0, contestant, kind, layout, status=status)
    row.median_ms, row.precision, row.transpose_ms, row.message = ms, precision, transpose_ms, message
    if ms is not None:
        row.gflop_per_s, row.gbyte_per_s, row.percent_of_limit = 1850.0 / ms, 20.0 / ms, 3.0 / ms
    return row


ROWS = [
    a_row("cuda_naive", 2.0),
    a_row("cuda_shared", 0.5),
    a_row("torch", 0.1, "peer"),
    a_row("torch", 0.08, "peer", "NCHW", "tf32", 0.03),
    a_row("cuda_wrong", None, status="wrong", message="y[0]: expected 1, got 2"),
]
LIMITS = {
    "device": "gpu",
    "threads": 0,
    "gflop_per_s": {"float32": 6e4, "tf32": 4e5},
    "gbyte_per_s": {"268435456": 3000.0},
}
FACTS = {"device": "NVIDIA H100 80GB HBM3", "CUDA runtime": "13.0", "cuDNN": "91900"}


def rows_as_kept():
    result = timings.Result("", [], [timings.Row(**vars(row)) for row in ROWS])
    result.compare()
    return result.to_dict()["rows"]


def test_an_op_that_crashes_keeps_the_shapes_that_were_done(on_gpu, tmp_path):
    def half_done(command):
        Path(command[-1]).write_text(json.dumps({"rows": rows_as_kept()[:4], "limits": [LIMITS], "interrupted": False}))

    ended = Ended(-11, ["conv2d conv3_3x3: cuda_shared 0.500 ms", "Segmentation fault"], 9.0)
    Scripted(on_gpu, ended, half_done)
    timings.run(on_gpu, "conv2d", 30.0)
    assert len(json.loads((on_gpu.out / "gpu.json").read_text())["rows"]) == 4
    part = on_gpu.record["parts"]["timings conv2d"]
    assert part["status"] == "failed"
    assert part["text"] == "4 times on 1 of 30 shapes; the program ended with exit code -11: Segmentation fault"


def test_an_op_that_ran_out_of_time_says_so(on_gpu):
    def half_done(command):
        Path(command[-1]).write_text(json.dumps({"rows": rows_as_kept()[:4], "limits": [LIMITS], "interrupted": True}))

    Scripted(on_gpu, Ended(0, ["conv2d conv3_3x3: cuda_shared 0.500 ms"], 9.0), half_done)
    timings.run(on_gpu, "conv2d", 30.0)
    part = on_gpu.record["parts"]["timings conv2d"]
    assert part == {"status": "passed", "text": "4 times on 1 of 30 shapes; then its time was up"}


def test_when_the_time_is_up_the_timings_stop_in_good_order(tmp_path):
    file = tmp_path / "t.json"
    environment = {**os.environ, "FASTCONV_GPU_DRY_RUN": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "fastconv.bench.gpu.timings", "conv2d", "0", str(file)]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    kept = json.loads(file.read_text())
    assert kept["interrupted"] and kept["rows"] == []


# What is made of the numbers.


def test_what_is_timed():
    convs = timings.work("conv2d", False)
    of_resnet = [problem.R for *_, problem in convs[:22]]
    assert of_resnet == sorted(of_resnet, reverse=True) == [3] * of_resnet.count(3) + [1] * of_resnet.count(1)
    assert {"seeds_mnist_conv1", "mobilenet_dw1", "grouped_resnext_conv3"} < {name for _, name, _ in convs[22:]}
    assert len(timings.work("max_pool2d", False)) == 9
    assert list(timings.ops())[0] == "conv2d" and set(timings.ops()) == {op for op, _ in GPU_KERNELS}


def test_a_table_names_kernels_precisions_and_transposes():
    lines = "\n".join(table.op_lines(rows_as_kept()))
    heads = "| shape (times in ms) | cuda_naive | cuda_shared | cuda_wrong | best: TFLOP/s | % of limit | x torch |"
    assert heads + " torch fp32 NHWC | torch tf32 NCHW |" in lines
    assert "| conv3_3x3 | 2.00 | 0.500 |  | 3.70 | 6.00 | 0.20 | 0.100 | 0.050 + 0.030 |" in lines
    assert "- cuda_wrong wrong on 1 shapes: y[0]: expected 1, got 2" in lines


def test_the_best_kernel_is_one_in_float32():
    fast = a_row("cuda_mma_tf32", 0.05, precision="tf32")
    result = timings.Result("", [], [timings.Row(**vars(row)) for row in [*ROWS[:2], fast, *ROWS[2:]]])
    result.compare()
    assert fast.ratio is None and result.rows[0].ratio is not None, "compared in copies"
    assert (
        timings.line(result.rows) == "conv2d conv3_3x3: cuda_shared 0.500 ms, 6.00% of the limit; torch NHWC 0.100 ms"
    )
    lines = "\n".join(table.op_lines(result.to_dict()["rows"]))
    assert "| 2.00 | 0.500 | 0.050 |  | 3.70 | 6.00 | 0.20 | 0.100 |" in lines


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one README and no results; gpu.json beside it."""
    (tmp_path / "bench" / "results").mkdir(parents=True)
    readme = tmp_path / "README.md"
    marker = "<!-- results: bench/results/nvidia_*.json conv2d{} -->\n<!-- end of results -->\n"
    readme.write_text(marker.format(" conv3_3x3") + marker.format(""))
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "READMES", (readme,))
    kept = {"dry_run": False, "sources": session.fingerprint(), "commit": None, "command": "python bench/gpu.py"}
    kept |= {"date": "2026-12-01T10:00:00", "machine": {"cpu": "a CPU"}, "versions": {"numba": "0.68"}, "facts": FACTS}
    kept |= {"rows": rows_as_kept(), "limits": [LIMITS], "parts": {}}
    return tmp_path, readme, kept


def test_tables_without_results_say_so(checkout):
    _, readme, _ = checkout
    assert tables.main([]) == 0
    assert readme.read_text().count("-->\nNot measured yet.\n<!-- end") == 2


def test_what_was_measured_comes_into_the_tables(checkout, monkeypatch):
    root, readme, kept = checkout
    monkeypatch.setattr(tables, "commit", lambda: "abc123")
    (root / "gpu.json").write_text(json.dumps(kept))
    assert tables.main(["--take", str(root / "gpu.json")]) == 0
    assert [path.name for path in (root / "bench" / "results").iterdir()] == ["nvidia_h100_80gb_hbm3.json"]
    text = readme.read_text()
    assert "Not measured" not in text
    assert "| conv2d | conv3_3x3 | cuda_shared | 0.500 | 3700 | 40.0 | 6.00 | torch NHWC | 0.20 |" in text
    assert "| torch NCHW tf32 (0.030 ms of it to change the layout) | 0.080 |" in text
    assert "NVIDIA H100 80GB HBM3, CUDA 13.0, cuDNN 91900; measured limits float32 60.0, tf32 400.0 TFLOP/s" in text
    assert "commit abc123; numba 0.68. Made with `python bench/gpu.py`." in text
    assert tables.main(["--check"]) == 0


@pytest.mark.parametrize("change, message", [({"rows": []}, "has no times"), ({"dry_run": True}, "is of a dry run")])
def test_what_is_no_measurement_is_refused(checkout, change, message, capsys):
    root, readme, kept = checkout
    (root / "gpu.json").write_text(json.dumps({**kept, **change}))
    assert tables.main(["--take", str(root / "gpu.json")]) == 2
    assert message in capsys.readouterr().err
    assert not list((root / "bench" / "results").iterdir())


def test_other_sources_than_were_measured_have_no_commit(checkout, monkeypatch):
    root, _, kept = checkout
    monkeypatch.setattr(tables, "commit", lambda: "abc123")
    (root / "gpu.json").write_text(json.dumps({**kept, "sources": "others"}))
    assert json.loads(tables.take(root / "gpu.json").read_text())["commit"] is None
