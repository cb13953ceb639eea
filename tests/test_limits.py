"""The limits of a machine: the kernels that measure them do what is counted, and what was measured is kept."""

import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from fastconv.bench import limits as limits_module
from fastconv.bench.limits import Limits, measured
from fastconv.cli import main
from fastconv.kernels import cpu_limits, cuda_limits

LIMITS = Limits("cpu", 2, {"float32": 200.0, "float64": 100.0}, {1 << 20: 100.0, 1 << 28: 25.0})


# What the kernels compute.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_fma_does_the_multiply_adds_it_is_counted_for(dtype, threads):
    a_shape, b_shape, out_shape = cpu_limits.fma_shapes(threads, dtype)
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 3, a_shape, endpoint=True).astype(dtype)
    b = rng.integers(-3, 3, b_shape, endpoint=True).astype(dtype)
    out = np.full(out_shape, np.nan, dtype)
    cpu_limits.fma(a, b, out, 3)
    assert (out == 3 * (a @ b)).all()
    (rows, steps), (_, columns) = a_shape, b_shape
    assert cpu_limits.fma_flops(threads, dtype, 3) == 3 * threads * 2 * rows * steps * columns


@pytest.mark.parametrize("size", [1, 63, 64, 1000, 4097])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_copy_copies_every_element_and_no_other(size, threads):
    source = np.arange(size, dtype="float32")
    guarded = np.full(size + 64, -1, "float32")
    cpu_limits.copy(source, guarded[32 : 32 + size], threads, 2)
    assert (guarded[32 : 32 + size] == source).all()
    assert (guarded[:32] == -1).all() and (guarded[32 + size :] == -1).all()


# The model.


def test_the_larger_of_computing_and_moving_is_the_limit():
    assert LIMITS.least_seconds(4 * 10**9, 1 << 20) == (0.02, "FLOPs")
    assert LIMITS.least_seconds(4 * 10**9, 1 << 20, "float64") == (0.04, "FLOPs")
    seconds, bound = LIMITS.least_seconds(1, 10**9)
    assert (seconds, bound) == (pytest.approx(0.04), "bytes")


@pytest.mark.parametrize("bytes_, rate", [(0, 100), (1 << 20, 100), ((1 << 20) + 1, 25), (1 << 28, 25), (1 << 40, 25)])
def test_bandwidth_is_that_of_a_working_set_as_large(bytes_, rate):
    assert LIMITS.bandwidth(bytes_) == rate


def test_limits_survive_json():
    assert Limits.from_dict(json.loads(json.dumps(LIMITS.to_dict()))) == LIMITS


# What is kept.


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Measuring takes no time and is counted; the cache folder is an empty one."""
    calls = []

    def measure(threads):
        calls.append(threads)
        return Limits("cpu", threads, {"float32": 100.0 * threads}, {1 << 20: 50.0})

    monkeypatch.setattr("fastconv.kernels.cpu_jit.cache_folder", lambda: tmp_path / "new" / "folder")
    monkeypatch.setattr(limits_module, "_measure_cpu", measure)
    return calls


def test_limits_are_measured_once_for_a_number_of_threads(counted):
    assert measured("cpu", 1) == measured("cpu", 1)
    assert measured("cpu", 2).gflop_per_s == {"float32": 200.0}
    assert counted == [1, 2]
    measured("cpu", 1, refresh=True)
    assert counted == [1, 2, 1]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"device": "cpu"}', '{"device":"cpu","threads":1,"gflop_per_s":3}'])
def test_a_damaged_file_is_measured_again(counted, tmp_path, damage):
    expected = measured("cpu", 1)
    (file,) = (tmp_path / "new" / "folder").iterdir()
    file.write_text(damage)
    assert measured("cpu", 1) == expected
    assert counted == [1, 1]


def test_nowhere_to_keep_it_is_no_error(counted, tmp_path):
    (tmp_path / "new").write_text("a file where the folder should be")
    assert measured("cpu", 1).threads == 1


def test_this_machine():
    """Bounds that any processor of this century meets, and that a count or a clock gone wrong does not."""
    found = limits_module._measure_cpu(1)
    assert 0.5 < found.gflop_per_s["float64"] < found.gflop_per_s["float32"] < 1000
    assert found.gflop_per_s["float32"] < 3 * found.gflop_per_s["float64"]
    assert sorted(found.gbyte_per_s) == list(limits_module._WORKING_SETS)
    assert all(0.2 < rate < 2000 for rate in found.gbyte_per_s.values())


def test_info_shows_them(monkeypatch, capsys):
    monkeypatch.setattr(limits_module, "measured", lambda device, threads=0, refresh=False: _fake(device, threads))
    assert main(["info", "--measure"]) == 0
    shown = capsys.readouterr().out
    assert "Limits, measured now" in shown and "float32" in shown and "1 MiB" in shown
    assert re.search(r"cpu, 1 thread\W+200\W+100", shown)
    assert "gpu: not measured: no GPU here" in shown


def _fake(device, threads):
    if device == "gpu":
        raise RuntimeError("no GPU here")
    return Limits("cpu", threads, LIMITS.gflop_per_s, LIMITS.gbyte_per_s)


# The GPU's: compiled for real architectures; counted on a stand-in for CuPy. What it reaches is not measured here.

SOURCE = Path(cuda_limits.__file__).with_suffix(".cu")
NO_NVCC = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed: pip install nvidia-cuda-nvcc")


@NO_NVCC
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
def test_the_kernels_of_a_gpu_compile_without_spills(arch, tmp_path):
    command = ["nvcc", "-std=c++17", f"-arch={arch}", "-cubin", "-Xptxas", "-v", "-o", tmp_path / "l.cubin", SOURCE]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "warning" not in shown.stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", shown.stderr)
    assert spills == [("0", "0")] * 4


@NO_NVCC
def test_the_compiler_keeps_the_work(tmp_path):
    command = ["nvcc", "-std=c++17", "-arch=sm_80", "-ptx", "-o", tmp_path / "l.ptx", SOURCE]
    subprocess.run(command, check=True, capture_output=True)
    functions = re.split(r"\.visible \.entry ", (tmp_path / "l.ptx").read_text())[1:]
    text = {re.match(r"\w+", function).group(): function for function in functions}
    sums, rest = cuda_limits._SUMS, 1  # the unrolled loop, and what is left of it
    assert text["fma_float32"].count("fma.rn.f32") == sums * (16 + rest)
    assert text["fma_tf32"].count("m16n8k8.row.col.f32.tf32") == sums * (4 + rest)
    assert text["fma_bfloat16"].count("m16n8k16.row.col.f32.bf16") == sums * (4 + rest)
    assert "ld.global.v4.u32" in text["copy_16_bytes"] and "st.global.v4.u32" in text["copy_16_bytes"]


class FakeDevice:
    """A GPU of 10 multiprocessors that does a million repeats, or copies, a second."""

    def __init__(self, capability):
        self.compute_capability, self.attributes, self.now = capability, {"MultiProcessorCount": 10}, 0.0

    def launch(self, name):
        def run(grid, block, arguments):
            assert (grid, block) == ((80,), (256,))
            self.now += 1e-6 * (1 if name.startswith("copy") else int(arguments[-1]))

        return run


@pytest.fixture
def fake_cupy(monkeypatch):
    def make(capability):
        device, cupy = FakeDevice(capability), types.ModuleType("cupy")

        class Event:
            def record(self):
                self.at = device.now

            def synchronize(self):
                pass

        cupy.cuda = types.SimpleNamespace(
            is_available=lambda: True,
            Device=lambda: device,
            Event=Event,
            get_elapsed_time=lambda begin, end: 1e3 * (end.at - begin.at),
        )
        cupy.RawModule = lambda code, options: types.SimpleNamespace(get_function=device.launch)
        cupy.empty, cupy.float32, cupy.uint32, cupy.int32, cupy.int64 = (
            lambda count, dtype: None,
            np.float32,
            np.uint32,
            np.int32,
            np.int64,
        )
        cupy.zeros = lambda count, dtype: types.SimpleNamespace(size=count)
        monkeypatch.setitem(sys.modules, "cupy", cupy)

    return make


def test_what_a_gpu_did_is_counted(fake_cupy):
    fake_cupy("90")
    rates, copies = cuda_limits.measure(sys.modules["cupy"])
    warps = 80 * 256 // 32
    assert rates == {
        "float32": pytest.approx(warps * 32 * 8 * 2 * 1e6 / 1e9),
        "tf32": pytest.approx(warps * 8 * 16 * 8 * 8 * 2 * 1e6 / 1e9),
        "bfloat16": pytest.approx(warps * 8 * 16 * 8 * 16 * 2 * 1e6 / 1e9),
    }
    assert copies == {size: pytest.approx(size * 1e6 / 1e9) for size in cuda_limits._COPIES}


def test_an_older_gpu_has_no_rates_of_what_it_cannot_do(fake_cupy):
    fake_cupy("75")
    rates, _ = cuda_limits.measure(sys.modules["cupy"])
    assert list(rates) == ["float32"]


def test_no_cupy_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"pip install 'fastconv\[cuda13\]'"):
        measured("gpu", refresh=True)
