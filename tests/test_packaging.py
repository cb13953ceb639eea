"""What is installed: the list of packages, the wheel, and what an import costs."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import fastconv
import fastconv.kernels

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OPTIONAL = {"numba", "llvmlite", "h5py", "rich", "matplotlib", "pooch", "cupy", "scipy", "PIL"}

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not run from a checkout")


def python(code, cwd):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=cwd, capture_output=True, text=True)


def folders(top, package):
    """The packages that a folder holds: every folder with Python files in it."""
    for folder in [top, *(path for path in top.rglob("*") if path.is_dir())]:
        if "__pycache__" not in folder.parts and list(folder.glob("*.py")):
            assert (folder / "__init__.py").exists(), f"{folder} has no __init__.py"
            yield ".".join([package, *folder.relative_to(top).parts])


def test_packages_are_the_folders():
    found = [
        *folders(ROOT / "fastconv", "fastconv"),
        *folders(ROOT / "kernels", "fastconv.kernels"),
        "fastconv.bench.shapes",
    ]
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(found)


def test_core_dependencies():
    names = [re.match(r"[\w-]+", text).group() for text in PROJECT["project"]["dependencies"]]
    assert sorted(names) == ["h5py", "numba", "numpy", "rich"]


def test_versions_agree():
    assert PROJECT["project"]["version"] == fastconv.__version__
    assert f"## {fastconv.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_kernels_are_one_registry(tmp_path):
    shown = python("import fastconv.kernels as k; print(k.__file__)", tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert Path(shown.stdout.strip()) == Path(fastconv.__path__[0], "..", "kernels", "__init__.py").resolve()


def test_bare_kernels_refuses(tmp_path):
    from_root = python("import kernels", ROOT)
    assert from_root.returncode == 1
    assert "import fastconv.kernels instead" in from_root.stderr
    elsewhere = python("import kernels", tmp_path)
    assert "No module named 'kernels'" in elsewhere.stderr, "the checkout leaks onto the path"


@pytest.mark.parametrize(
    "module", ["fastconv", "fastconv.kernels", "fastconv.datasets", "fastconv.cli", "fastconv.bench"]
)
def test_import_is_light(module, tmp_path):
    shown = python(f"import sys, {module}; print(*sorted(m.partition('.')[0] for m in sys.modules))", tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert OPTIONAL.isdisjoint(shown.stdout.split())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy: setuptools leaves a build folder that would end in the next wheel."""
    pytest.importorskip("setuptools", reason="without setuptools nothing can be built")
    source = tmp_path_factory.mktemp("source")
    for name in ("fastconv", "kernels", "bench"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    options = [
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        "-q",
        "-w",
        str(out),
    ]
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(source)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("*.whl")
    return path


def test_wheel_holds_every_file(wheel):
    expected = {"fastconv/py.typed", "fastconv/datasets/mnist_5k.npz", "fastconv/datasets/mnist_5k.txt"}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "fastconv").rglob("*.py")}
    expected |= {"fastconv/" + path.relative_to(ROOT).as_posix() for path in (ROOT / "kernels").rglob("*.py")}
    expected |= {"fastconv/" + path.relative_to(ROOT).as_posix() for path in (ROOT / "kernels").rglob("*.cu*")}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "fastconv" / "testing" / "shim").glob("*.[hc]*")}
    expected |= {"fastconv/" + path.relative_to(ROOT).as_posix() for path in (ROOT / "bench" / "shapes").iterdir()}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "fastconv").rglob("*.html")}
    expected = {name for name in expected if "__pycache__" not in name}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    kinds = (".py", ".typed", ".npz", ".txt", ".html", ".cu", ".cuh", ".h", ".cpp")
    assert {name for name in names if name.endswith(kinds)} == expected
    assert all(name.startswith("fastconv/") for name in names)


def test_wheel_has_the_command_and_the_licence(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "fastconv = fastconv.cli:main" in archive.read(entry_points).decode()
    assert any(name.endswith("LICENSE") for name in archive.namelist())


def test_wheel_runs_alone(wheel, tmp_path):
    """Unpacked where the checkout is not on the path, it imports as fastconv and fastconv.kernels."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import sys\n"
        "sys.path.insert(0, '.')\n"
        "sys.meta_path = [finder for finder in sys.meta_path if 'editable' not in repr(finder)]\n"
        "import fastconv.kernels as k; from fastconv.datasets import mnist_5k\n"
        "print(k.__file__, len(k.ops()), mnist_5k.load_data()[0][0].shape)"
    )
    shown = python(code, tmp_path)
    assert shown.returncode == 0, shown.stderr
    file, *rest = shown.stdout.split(maxsplit=1)
    assert Path(file) == tmp_path / "fastconv" / "kernels" / "__init__.py"
    assert rest[0].strip() == f"{len(fastconv.kernels.ops())} (4000, 28, 28)"
