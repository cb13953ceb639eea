"""`fastconv bench`: who is timed, who is refused, what the numbers say, and what the command line turns away."""

import csv
import json
import re
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from fastconv import kernels
from fastconv.bench import compare as compare_module
from fastconv.bench import contestant, cuda_timing, peers, table
from fastconv.bench.compare import compare, cost
from fastconv.bench.limits import Limits
from fastconv.bench.result import Result, Row, best_first
from fastconv.bench.timing import Timing
from fastconv.cli import main
from fastconv.kernels import Conv2DProblem, Kernel, Pool2DProblem
from fastconv.testing.comparison import rough_difference

CONV = Conv2DProblem.parse("N=2 H=7 W=9 C=3 K=5 R=3 S=2 padding=1,1,1,1")
STRIDED = kernels.Conv2DProblem.parse("N=2 H=9 W=11 C=3 K=7 R=1 S=1 stride=2,3")
POOL = Pool2DProblem.parse("N=2 H=6 W=8 C=3 R=2 S=2 stride=2")
LIMITS = Limits("cpu", 2, {"float32": 100.0, "float64": 50.0}, {1 << 20: 200.0, 1 << 28: 20.0})


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    """The machine is not measured for each test."""
    monkeypatch.setattr(compare_module, "measured", lambda device, threads: LIMITS)


def a_kernel(run, name="cpu_mine", op="conv2d", device="cpu", unsupported=lambda problem: None):
    return Kernel(op, name, device, run, "nothing", unsupported, lambda problem: 0, ())


def right(problem, x, w, bias, y, workspace):
    kernels.get("conv2d", "reference").run(problem, x, w, bias, y, workspace)


def slow(problem, x, w, bias, y, workspace):
    time.sleep(0.02)
    right(problem, x, w, bias, y, workspace)


def wrong(problem, x, w, bias, y, workspace):
    right(problem, x, w, bias, y, workspace)
    y[1, 2, 3, 4] += 0.5


def failing(problem, x, w, bias, y, workspace):
    raise ZeroDivisionError("no such pixel")


def rows_of(*variants, **options):
    result = compare([("conv2d", "small", CONV)], {"conv2d": variants}, seconds=0.05, **options)
    return {row.contestant: row for row in result.rows}, result


def test_a_wrong_kernel_is_shown_with_its_first_mismatch_and_not_timed():
    rows, _ = rows_of(a_kernel(wrong), kernels.get("conv2d", "cpu_direct"))
    row = rows["cpu_mine"]
    assert row.status == "wrong" and row.median_ms is None and row.rank is None
    assert "1 of" in row.message and "y[1, 2, 3, 4]: expected" in row.message
    assert rows["cpu_direct"].status == "timed" and rows["cpu_direct"].default


def test_a_kernel_that_writes_nothing_is_wrong():
    rows, _ = rows_of(a_kernel(lambda *arrays: None))
    assert rows["cpu_mine"].status == "wrong" and "got nan" in rows["cpu_mine"].message


def test_a_slow_but_right_kernel_is_timed_and_ranked_last():
    rows, result = rows_of(a_kernel(slow), kernels.get("conv2d", "cpu_direct"), kernels.get("conv2d", "cpu_naive"))
    assert {row.status for row in rows.values()} == {"timed"}
    assert rows["cpu_mine"].rank == 3 and rows["cpu_mine"].median_ms >= 20
    assert best_first(result.rows)[-1] is rows["cpu_mine"]


def test_kernels_that_cannot_or_fail_are_rows_too():
    picky = a_kernel(right, "cpu_picky", unsupported=lambda problem: "K is odd" if problem.K % 2 else None)
    rows, _ = rows_of(a_kernel(failing), picky)
    assert (rows["cpu_picky"].status, rows["cpu_picky"].message) == ("unsupported", "K is odd")
    assert (rows["cpu_mine"].status, rows["cpu_mine"].message) == ("failed", "ZeroDivisionError: no such pixel")


def test_a_refused_kernel_is_not_run():
    kernel = a_kernel(lambda *arrays: pytest.fail("it ran"))
    rows, _ = rows_of(kernel, refused={kernel: "y[0]: expected 1, got 2"})
    assert (rows["cpu_mine"].status, rows["cpu_mine"].message) == ("wrong", "y[0]: expected 1, got 2")


def test_an_interruption_keeps_the_problems_that_are_done():
    calls = []

    def interrupted(*arrays):
        calls.append(1)
        if arrays[0].N == 3:
            raise KeyboardInterrupt
        right(*arrays)

    second = Conv2DProblem.parse("N=3 H=7 W=9 C=3 K=5 R=3 S=2")
    work = [("conv2d", "first", CONV), ("conv2d", "second", second)]
    result = compare(work, {"conv2d": [a_kernel(interrupted)]}, seconds=0.01)
    assert result.interrupted
    assert [(row.shape, row.rank) for row in result.rows] == [("first", 1)]


def test_more_threads_than_there_are_is_refused():
    with pytest.raises(ValueError, match="at most .* received 4096"):
        rows_of(threads=[4096])


def test_the_numbers_of_a_row():
    row = Row("conv2d", "s", str(CONV), "cpu", 2, "cpu_mine", "kernel")
    row.fill(CONV, 4_000_000, 1_000_000, Timing(1e-3, 0.9e-3, 1.2e-3, 11), LIMITS)
    assert (row.median_ms, row.p20_ms, row.p80_ms, row.repeats) == (1.0, 0.9, 1.2, 11)
    assert (row.gflop_per_s, row.gbyte_per_s, row.intensity) == pytest.approx((4.0, 1.0, 4.0))
    assert row.bound == "FLOPs" and row.limit_ms == pytest.approx(0.04) and row.percent_of_limit == pytest.approx(4)


def test_ratio_and_rank():
    def row(name, kind, ms, shape="s", layout="NHWC"):
        made = Row("conv2d", shape, "", "cpu", 2, name, kind, layout)
        made.median_ms = ms
        return made

    rows = [
        row("a", "kernel", 2.0),
        row("b", "kernel", 1.0),
        row("p", "peer", 4.0),
        row("p", "peer", 3.0, layout="NCHW"),
    ]
    alone = row("a", "kernel", 5.0, shape="t")
    Result("", [], [*rows, alone]).compare()
    assert [r.rank for r in rows] == [2, 1, 4, 3]
    assert [r.ratio for r in rows] == [1.5, 3.0, 0.75, 1.0], "against the best peer in its best layout"
    assert (alone.rank, alone.ratio) == (1, None)


def test_a_ratio_is_to_peers_of_the_same_precision():
    rows = [
        Row("conv2d", "s", "", "gpu", 0, name, kind) for name, kind in (("a", "kernel"), ("p", "peer"), ("p", "peer"))
    ]
    rows[2].precision = "tf32"
    for row, ms in zip(rows, (4.0, 3.0, 1.0), strict=True):
        row.median_ms = ms
    Result("", [], rows).compare()
    assert [row.ratio for row in rows] == [0.75, 1.0, 1.0]


def test_bfloat16_moves_half_the_bytes_and_has_a_limit_of_its_own():
    limits = Limits("gpu", 0, {"float32": 1e5, "bfloat16": 4e5}, {1 << 28: 2000.0})
    timing = Timing(1e-3, 9e-4, 2e-3, 9)
    rows = [Row("conv2d", "s", "", "gpu", 0, "p", "peer", precision=name) for name in ("", "bfloat16", "tf32")]
    for row in rows:
        row.fill(CONV, 10**9, 8 * 10**6, timing, limits)
    assert [row.bytes for row in rows] == [8 * 10**6, 4 * 10**6, 8 * 10**6]
    assert [row.limit_ms for row in rows] == [pytest.approx(0.01), pytest.approx(0.0025), None]
    assert rows[2].median_ms == 1.0 and rows[2].gflop_per_s == pytest.approx(1000)


def test_layout_transposes_are_told_apart():
    row = Row("conv2d", "s", "", "gpu", 0, "p", "peer", "NCHW")
    spent = {"void cudnn::engines_precompiled::nchwToNhwcKernel<float>": 2e-5, "sm80_xmma_fprop_nhwc": 3e-5}
    row.fill_kernels({**spent, "nhwc_to_nchw": 1e-5})
    assert row.transpose_ms == pytest.approx(0.03)
    assert row.device_kernels["sm80_xmma_fprop_nhwc"] == pytest.approx(30)


@pytest.mark.parametrize("precision, error, right", [("tf32", 1e-4, True), ("tf32", 1e-2, False), ("", 1e-4, False)])
def test_errors_are_judged_by_precision(precision, error, right):
    expected = np.random.default_rng(0).standard_normal((4, 50))
    got = (expected * (1 + error)).astype("float32")
    assert (rough_difference("y", got, expected, np.abs(expected), precision) is None) == right
    assert rough_difference("y", np.zeros_like(got), expected, np.abs(expected), "bfloat16") is not None


@pytest.mark.parametrize(
    "op, problem, expected",
    [
        ("conv2d", CONV, (2 * 2 * 7 * 10 * 5 * 18, 4 * (2 * 63 * 3 + 90 + 5 + 2 * 70 * 5))),
        ("conv2d_backward_data", CONV, (2 * 2 * 7 * 10 * 5 * 18, 4 * (2 * 70 * 5 + 90 + 2 * 63 * 3))),
        ("max_pool2d", POOL, (2 * 12 * 3 * 4, 4 * (2 * 48 * 3 + 2 * 12 * 3))),
        ("max_pool2d_backward", POOL, (2 * 12 * 3 * 4, 4 * (2 * 48 * 3 * 2 + 2 * 12 * 3))),
        ("conv2d", STRIDED, (2 * 2 * 5 * 4 * 7 * 3, 4 * (2 * 5 * 4 * 3 + 3 * 7 + 7 + 2 * 5 * 4 * 7))),
        ("conv2d_backward_data", STRIDED, (2 * 2 * 5 * 4 * 7 * 3, 4 * (2 * 5 * 4 * 7 + 3 * 7 + 2 * 99 * 3))),
        ("im2col", CONV, (0, 4 * (2 * 63 * 3 + 2 * 70 * 18))),
    ],
)
def test_cost(op, problem, expected):
    assert cost(op, problem) == expected


def test_contestants_get_arrays_of_nan_and_share_inputs():
    kernel = kernels.get("conv2d", "cpu_naive")
    x = np.ones(CONV.x_shape, "float32")
    inputs = {"x": x, "w": np.ones(CONV.w_shape, "float32"), "bias": np.zeros(5, "float32")}
    entry = contestant.of_kernel(kernel, CONV, inputs, default=False)
    assert np.isnan(entry.outputs()["y"]).all()
    entry.call()
    assert entry.outputs()["y"].max() == 18


# Peers: each in a process of its own, since some change settings of the whole process.

PEER_CASES = {
    "conv2d": "grouped N=2 H=8 W=9 C=6 K=8 R=3 S=3 groups=2 stride=2 padding=1,1,1,1\n"
    "depthwise N=2 H=8 W=9 C=6 K=12 R=3 S=3 groups=6 padding=same\n"
    "same_odd N=2 H=7 W=10 C=3 K=5 R=2 S=4 stride=2 padding=same\n",
    "conv2d_backward_data": "plain N=2 H=8 W=9 C=4 K=6 R=3 S=2 stride=2,1 padding=1,1,0,0\n",
    "conv2d_backward_filter": "plain N=2 H=8 W=9 C=4 K=6 R=3 S=2 stride=2,1 padding=1,1,0,0\n",
    "max_pool2d": "overlap N=2 H=8 W=9 C=5 R=3 S=3 stride=2 padding=1,1,1,1\n",
    "max_pool2d_backward": "overlap N=2 H=8 W=9 C=5 R=3 S=3 stride=2 padding=1,1,1,1\n",
    "average_pool2d": "same N=2 H=8 W=9 C=5 R=3 S=3 padding=same\n",
    "average_pool2d_backward": "same N=2 H=8 W=9 C=5 R=3 S=3 padding=same\n",
}
_RUN = """
import json, sys
from fastconv import kernels
from fastconv.bench import compare as module
from fastconv.bench.limits import Limits
module.measured = lambda device, threads: Limits("cpu", 2, {"float32": 1.0}, {1: 1.0})
peer, cases = json.loads(sys.argv[1])
work = []
for op, text in cases.items():
    kind = kernels.Pool2DProblem if "pool" in op else kernels.Conv2DProblem
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        work.append((op, name, kind.parse(rest)))
result = module.compare(work, dict.fromkeys(cases, ()), [peer], seconds=0.02)
print(json.dumps([[r.op, r.shape, r.layout, r.status, r.message] for r in result.rows]))
"""


@pytest.mark.parametrize("peer", peers.PEERS)
def test_a_peer_computes_what_the_reference_does(peer):
    if peer not in peers.installed():
        pytest.skip(f"{peer} is not installed: pip install {' '.join(peers.PEERS[peer])}")
    run = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps([peer, PEER_CASES])], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout.splitlines()[-1])
    assert {(op, shape) for op, shape, *_ in rows} == {
        (op, line.split()[0]) for op, text in PEER_CASES.items() for line in text.splitlines()
    }
    assert not [row for row in rows if row[3] in ("wrong", "failed")]
    assert ["conv2d", "depthwise"] in [row[:2] for row in rows if row[3] == "timed"]


_ON_A_GPU = """
import numpy as np, torch
from fastconv.bench.peers import with_torch
from fastconv.kernels import Conv2DProblem, Pool2DProblem
from fastconv.testing.kernel_cases import float_case
with_torch.DEVICES["gpu"] = "cpu"
problem = Conv2DProblem.parse("N=2 H=8 W=9 C=6 K=8 R=3 S=3 groups=2 stride=2 padding=1,1,1,1")
for op in ("conv2d", "conv2d_backward_data", "conv2d_backward_filter"):
    case = float_case(op, problem)
    for entry in with_torch.contestants(op, problem, case.inputs, "gpu"):
        entry.call()
        errors = [np.abs(entry.outputs()[name] - case.expected[name]).max() for name in case.expected]
        print(op, entry.label, torch.backends.cudnn.allow_tf32, max(errors) < 1e-4, max(errors) < 0.3, sep=",")
        assert entry.device_kernels()
pool = Pool2DProblem.parse("N=2 H=8 W=9 C=5 R=3 S=3 stride=2 padding=1,1,1,1")
case = float_case("max_pool2d", pool)
print(*[entry.label for entry in with_torch.contestants("max_pool2d", pool, case.inputs, "gpu")], sep=",")
"""


def test_on_a_gpu_torch_comes_in_three_precisions():
    if "torch" not in peers.installed():
        pytest.skip("torch is not installed: pip install torch")
    run = subprocess.run([sys.executable, "-c", _ON_A_GPU], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    *convs, pools = (line for line in run.stdout.splitlines() if "," in line)
    expected = [
        f"{op},torch {layout}{precision},{precision == ' tf32'},{precision != ' bfloat16'},True"
        for op in ("conv2d", "conv2d_backward_data", "conv2d_backward_filter")
        for precision in ("", " tf32", " bfloat16")
        for layout in ("NHWC", "NCHW")
    ]
    assert convs == expected
    assert pools == "torch NHWC,torch NCHW"


# The command.


def bench(capsys, *argv, code=0):
    try:
        got = main(["bench", *argv])
    except SystemExit as stopped:
        got = stopped.code
    shown = capsys.readouterr()
    assert got == code, shown.out + shown.err
    return shown


SMALL = "N=2 H=7 W=9 C=3 K=5 R=3 S=2"


@pytest.mark.parametrize(
    "argv, message",
    [
        (["conv3d"], "there is no op 'conv3d'; there are"),
        (["conv2d", "--algorithm", "cpu_magic"], "no algorithm 'cpu_magic'; there are"),
        (["conv2d", "--shapes", "resnet51"], "resnet50"),
        (["conv2d", "--shapes", "N=64 H=28"], "lacks"),
        (["conv2d", "--shapes", "N=1 H=2 W=2 C=1 K=1 R=3 S=3"], "larger than the padded input"),
        (["conv2d", "--peers", "caffe"], "there is no peer 'caffe'; there are torch, keras, onnxruntime, jax"),
        (["conv2d", "--threads", "0"], "a whole number from 1, got '0'"),
        (["conv2d", "--threads", "4096"], "at most"),
        (["conv2d", "--seconds", "-1"], "seconds above 0"),
        (["conv2d", "--kernel", "no_such.py"], "no_such.py"),
        (["--kernel", "cpu_a.py"], "--kernel needs an op"),
        (["--algorithm", "cpu_naive"], "--algorithm needs an op"),
        (["conv2d", "mnist"], "unexpected 'mnist'"),
        (["conv2d", "--algorithm", "cpu_naive,cuda_naive"], "cuda_naive runs on a GPU, the others on the processor"),
        (["conv2d", "--algorithm", "cuda_naive", "--device", "cpu"], "a GPU, --device cpu was asked for"),
        (["col2im", "--device", "gpu"], "no kernel for a GPU yet"),
        (["conv2d", "--html", "r.txt"], "a name ending in .html"),
        (["model", "--csv", "r.csv"], "--csv has no meaning for bench model"),
        (["model", "--threads", "1,2"], "takes one number"),
        (["model", "resnet"], "resnet"),
    ],
)
def test_refused_in_one_line(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = bench(capsys, *argv, code=2)
    assert message in shown.err and "Traceback" not in shown.err
    assert shown.err.strip().splitlines()[-1].startswith("fastconv bench: error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_peer_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(peers.PEERS, "torch", ("no_such_package",))
    shown = bench(capsys, "conv2d", "--peers", "torch", code=2)
    assert "peer 'torch' is not installed (pip install no_such_package); installed:" in shown.err


def test_table_and_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    files = {name: tmp_path / f"r.{name}" for name in ("json", "csv", "html")}
    options = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    shown = bench(
        capsys, "conv2d", "--shapes", SMALL, "--algorithm", "cpu_direct,cpu_naive", "--seconds", "0.05", *options
    )
    assert re.search(r"cpu_direct\* +[\d.]+", shown.out) and "cpu_naive" in shown.out
    whole = json.loads(files["json"].read_text())
    assert {row["contestant"]: row["status"] for row in whole["rows"]} == {"cpu_direct": "timed", "cpu_naive": "timed"}
    assert sorted(row["rank"] for row in whole["rows"]) == [1, 2]
    assert whole["limits"] == [LIMITS.to_dict()] and whole["machine"]["cpu"] and whole["versions"]["numba"]
    with files["csv"].open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [float(line["median_ms"]) for line in lines] == [row["median_ms"] for row in whole["rows"]]
    assert all(line["cpu"] and line["versions"] for line in lines)
    page = files["html"].read_text()
    assert "cpu_direct" in page and "cpu_naive" in page


USER = """
from fastconv.kernels import get, kernel

@kernel(op="conv2d", limited_by="NumPy")
def {name}(problem, x, w, bias, y, workspace):
    get("conv2d", "reference").run(problem, x, w, bias, y, workspace)
    {fault}
"""


@pytest.mark.usefixtures("forget_user_kernels")
def test_a_planted_wrong_kernel_is_refused_with_the_index(tmp_path, capsys):
    path = tmp_path / "cpu_planted.py"
    path.write_text(USER.format(name="cpu_planted", fault="y[:, -1, -1, -1] += 1"))
    shown = bench(capsys, "conv2d", "--kernel", str(path), "--shapes", SMALL, "--algorithm", "cpu_direct", code=1)
    text = " ".join(shown.out.split())
    assert "cpu_planted wrong: on plain" in text and re.search(r"y\[0, \d+, \d+, \d+\]: expected", text)
    assert "repeat: check_kernel" in text and "cpu_direct" in text


@pytest.mark.usefixtures("forget_user_kernels")
def test_a_users_kernel_takes_its_place_in_the_table(tmp_path, capsys):
    path, kept = tmp_path / "cpu_right_but_slow.py", tmp_path / "r.json"
    fault = "import time; time.sleep(0.005)"
    path.write_text(USER.format(name="cpu_right_but_slow", fault=fault))
    options = ["--shapes", SMALL, "--algorithm", "cpu_direct", "--seconds", "0.1", "--json", str(kept)]
    bench(capsys, "conv2d", "--kernel", str(path), *options)
    ranks = {row["contestant"]: row["rank"] for row in json.loads(kept.read_text())["rows"]}
    assert ranks == {"cpu_direct": 1, "cpu_right_but_slow": 2}


# The GPU's clock, on a stand-in for CuPy: what is counted, not how long it takes.


class FakeEvent:
    def __init__(self, device):
        self.device, self.at = device, None

    def record(self):
        self.at = self.device.now


class FakeCuda:
    """A device whose kernels take 2 ms and whose buffer takes 7 ms to write."""

    def __init__(self):
        self.now, self.flushed = 0.0, 0

    def is_available(self):
        return True

    def Device(self):  # noqa: N802
        return types.SimpleNamespace(attributes={"L2CacheSize": 1 << 20}, synchronize=lambda: None)

    def Event(self):  # noqa: N802
        return FakeEvent(self)

    def get_elapsed_time(self, begin, end):
        return 1e3 * (end.at - begin.at)


@pytest.fixture
def fake_cupy(monkeypatch):
    cuda = FakeCuda()

    class Buffer(np.ndarray):
        def fill(self, value):
            if self.size == 2 << 20:
                cuda.now += 7e-3
                cuda.flushed += 1
            super().fill(value)

    cupy = types.ModuleType("cupy")
    cupy.cuda, cupy.asarray, cupy.full, cupy.asnumpy = cuda, np.array, np.full, np.asarray
    cupy.empty = lambda shape, dtype: np.zeros(shape, dtype).view(Buffer)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cuda


def test_gpu_times_are_the_devices_own_with_a_cold_cache(fake_cupy):
    def run(problem, x, w, bias, y, workspace):
        fake_cupy.now += 2e-3
        right(problem, x, w, bias, y, workspace)

    gpu = cuda_timing.Gpu()
    inputs = {
        "x": np.ones(CONV.x_shape, "float32"),
        "w": np.ones(CONV.w_shape, "float32"),
        "bias": np.ones(5, "float32"),
    }
    entry, overhead = gpu.of_kernel(a_kernel(run, "cuda_mine", device="gpu"), CONV, inputs, False)
    assert entry.outputs()["y"].max() == 19
    assert min(overhead.compile_ms, overhead.launch_us, overhead.transfer_ms) > 0
    before = fake_cupy.flushed
    assert gpu.measure(entry.call, 5) == pytest.approx(5 * 2e-3)
    assert fake_cupy.flushed == before + 1 + 5, "the head start of a quick host, and a cold cache for each call"


def test_a_slow_host_gets_a_head_start(fake_cupy):
    gpu, before = cuda_timing.Gpu(), fake_cupy.flushed
    gpu.measure(lambda: time.sleep(0.01), 5)
    head_start = fake_cupy.flushed - before - 5
    assert 5 * 2 * 0.01 / 7e-3 <= head_start <= 0.5 / 7e-3 + 1


def test_few_launches_of_a_slow_kernel(fake_cupy):
    calls = []

    def run(problem, x, w, bias, y, workspace):
        calls.append(1)
        fake_cupy.now += 30e-3

    cuda_timing.Gpu().of_kernel(
        a_kernel(run, "cuda_mine", device="gpu"), CONV, dict.fromkeys(("x", "w", "bias")), False
    )
    assert len(calls) == 2 + 2 + 3, "bound, compiled, timed, launched for a tenth of a second"


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match="pip install 'fastconv"):
        cuda_timing.Gpu()


def test_the_table_says_what_was_disturbed(capsys):
    from rich.console import Console

    rows = [Row("conv2d", shape, str(CONV), "cpu", 2, "cpu_naive", "kernel") for shape in ("calm", "noisy")]
    for row, percent in zip(rows, (97.0, 71.0), strict=True):
        row.fill(CONV, 1000, 100, Timing(1e-3, 9e-4, 2e-3, 9), LIMITS)
        row.percent_of_limits_meanwhile = percent
    table.show(Result("", [LIMITS], rows), Console())
    shown = capsys.readouterr().out
    assert "conv2d noisy: the machine was busy" in shown and "conv2d calm: the machine" not in shown


def test_the_table_says_once_why_a_kernel_is_refused(capsys):
    from rich.console import Console

    options = {"status": "wrong", "message": "y[0]: expected 1, got 2"}
    rows = [Row("conv2d", shape, str(CONV), "cpu", 2, "cpu_mine", "kernel", **options) for shape in "abcde"]
    table.show(Result("", [LIMITS], rows), Console())
    assert "conv2d a, b, c and 2 more: cpu_mine wrong: y[0]: expected 1, got 2\n" in capsys.readouterr().out


@pytest.mark.parametrize("costs", [{}, {"compile_ms": 812.0, "launch_us": 6.5, "transfer_ms": 31.0}])
def test_the_table_shows_what_a_launch_costs(costs, capsys):
    from rich.console import Console

    timed = Row("conv2d", "a", str(CONV), "gpu", 0, "cuda_naive", "kernel", **costs)
    timed.fill(CONV, 1000, 100, Timing(1e-3, 9e-4, 2e-3, 9), LIMITS)
    table.show(Result("", [LIMITS], [timed]), Console())
    shown = capsys.readouterr().out
    assert ("launch us" in shown) == bool(costs)
    assert bool(re.search(r"cuda_naive .* 812 +6\.50 +31\.0\n", shown)) == bool(costs)
