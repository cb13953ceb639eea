"""datasets: the embedded digits, where published sets are looked for, damaged files."""

import gzip
import hashlib
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv.datasets import fashion_mnist, mnist, mnist_5k
from fastconv.datasets.files import IDX_NAMES, NPZ_NAMES

ROOT = Path(__file__).parent.parent
PUBLISHED = Path(os.environ.get("FASTCONV_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def nothing_on_this_machine(tmp_path, monkeypatch):
    """No data is found but what a test puts there, and nothing can be downloaded."""
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setitem(sys.modules, "pooch", None)


def small_set(seed, n_train=7, n_test=3):
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (n_train, n_test)]
    labels = [rng.integers(0, 10, n, dtype=np.uint8) for n in (n_train, n_test)]
    return images[0], labels[0], images[1], labels[1]


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(IDX_NAMES, arrays, strict=True):
        (folder / name).write_bytes(gzip.compress(idx_bytes(array)))
    return folder


def write_npz(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **dict(zip(NPZ_NAMES, arrays, strict=True)))
    return path


def assert_same(loaded, arrays):
    (x_train, y_train), (x_test, y_test) = loaded
    for got, expected in zip((x_train, y_train, x_test, y_test), arrays, strict=True):
        assert got.dtype == np.uint8 and got.flags.writeable
        np.testing.assert_array_equal(got, expected)


def test_embedded_digits():
    (x_train, y_train), (x_test, y_test) = mnist_5k.load_data()
    assert x_train.shape == (4000, 28, 28) and x_test.shape == (1000, 28, 28)
    assert x_train.dtype == x_test.dtype == y_train.dtype == y_test.dtype == np.uint8
    assert np.bincount(y_train).tolist() == [400] * 10
    assert np.bincount(y_test).tolist() == [100] * 10
    images = np.concatenate([x_train, x_test]).reshape(5000, -1)
    assert len({row.tobytes() for row in images}) == 5000, "a held-out digit is also in the training set"


def test_embedded_file_is_the_described_one():
    folder = ROOT / "fastconv" / "datasets"
    digest = hashlib.sha256((folder / "mnist_5k.npz").read_bytes()).hexdigest()
    assert digest in (folder / "mnist_5k.txt").read_text()


def test_embedded_digits_are_the_first_500_of_each_in_mnist():
    (images, labels), _ = mnist.load_data(published("mnist"))
    (x_train, y_train), (x_test, y_test) = mnist_5k.load_data()
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    for digit in range(10):
        np.testing.assert_array_equal(x[y == digit], images[labels == digit][:500])


def published(name):
    folder = PUBLISHED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here; set FASTCONV_DATA")
    return folder


@pytest.mark.parametrize("dataset", [mnist, fashion_mnist], ids=lambda module: module.SOURCE.name)
def test_published_files(dataset):
    folder = published(dataset.SOURCE.name)
    for name in IDX_NAMES:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == dataset.SOURCE.sha256[name]
    (x_train, y_train), (x_test, y_test) = dataset.load_data(folder)
    assert x_train.shape == (60000, 28, 28) and y_train.shape == (60000,)
    assert x_test.shape == (10000, 28, 28) and y_test.shape == (10000,)
    assert np.bincount(y_test).size == 10


def test_given_folder_and_given_npz(tmp_path):
    first, second = small_set(1), small_set(2)
    assert_same(mnist.load_data(write_idx(tmp_path / "a", first)), first)
    assert_same(mnist.load_data(str(write_npz(tmp_path / "b" / "any.npz", second))), second)
    assert_same(fashion_mnist.load_data(write_npz(tmp_path / "c" / "fashion_mnist.npz", first).parent), first)


def test_order_of_the_places(tmp_path, monkeypatch):
    sets = [small_set(seed) for seed in range(4)]
    write_npz(tmp_path / "keras" / "datasets" / "mnist.npz", sets[3])
    assert_same(mnist.load_data(), sets[3])
    write_idx(tmp_path / "cache" / "fastconv" / "datasets" / "mnist", sets[2])
    assert_same(mnist.load_data(), sets[2])
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "data"))
    assert_same(mnist.load_data(), sets[2])
    write_idx(tmp_path / "data" / "mnist", sets[1])
    assert_same(mnist.load_data(), sets[1])
    assert_same(mnist.load_data(write_idx(tmp_path / "given", sets[0])), sets[0])


def test_keras_cache_of_fashion_mnist_and_keras_argument(tmp_path):
    arrays = small_set(5)
    write_idx(tmp_path / "keras" / "datasets" / "fashion-mnist", arrays)
    assert_same(fashion_mnist.load_data(), arrays)
    write_npz(tmp_path / "keras" / "datasets" / "mnist.npz", arrays)
    assert_same(mnist.load_data(path="mnist.npz"), arrays)


def test_a_half_filled_cache_is_passed_over(tmp_path):
    cache = write_idx(tmp_path / "cache" / "fastconv" / "datasets" / "mnist", small_set(1))
    (cache / IDX_NAMES[2]).unlink()
    arrays = small_set(2)
    write_npz(tmp_path / "keras" / "datasets" / "mnist.npz", arrays)
    assert_same(mnist.load_data(), arrays)


def test_given_path_errors_name_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        mnist.load_data(tmp_path / "nowhere")
    folder = write_idx(tmp_path / "part", small_set(1))
    (folder / IDX_NAMES[3]).unlink()
    with pytest.raises(FileNotFoundError, match=f"part has neither mnist.npz nor {IDX_NAMES[3]}"):
        mnist.load_data(folder)


def test_without_pooch_the_error_tells_every_way(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "data"))
    with pytest.raises(FileNotFoundError) as error:
        fashion_mnist.load_data()
    for hint in (
        "load_data(path)",
        "--data",
        "FASTCONV_DATA",
        "fastconv[data]",
        *fashion_mnist.SOURCE.mirrors,
    ):
        assert hint in str(error.value)
    for place in (
        "data/fashion_mnist",
        "cache/fastconv/datasets/fashion_mnist",
        "keras/datasets/fashion-mnist",
    ):
        assert str(tmp_path / place) in str(error.value)


class FakePooch:
    """Stands in for pooch; `serve(url)` gives the bytes or raises."""

    def __init__(self, serve):
        self.serve = serve
        self.asked = []

    def HTTPDownloader(self, timeout):
        return timeout

    def retrieve(self, url, known_hash, fname, path, downloader):
        self.asked.append(url)
        data = self.serve(url)
        if known_hash != "sha256:" + hashlib.sha256(data).hexdigest():
            raise ValueError(f"the hash of {url} differs")
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(data)


def test_download_goes_on_to_the_next_mirror(monkeypatch):
    arrays = small_set(3)
    files = {name: gzip.compress(idx_bytes(array), mtime=0) for name, array in zip(IDX_NAMES, arrays, strict=True)}
    for name, data in files.items():
        monkeypatch.setitem(mnist.SOURCE.sha256, name, hashlib.sha256(data).hexdigest())

    def serve(url):
        if url.startswith(mnist.SOURCE.mirrors[0]):
            raise OSError("no route to host")
        if url.startswith(mnist.SOURCE.mirrors[1]):
            return b"<html>sign in to the hotel's network</html>"
        return files[url.rpartition("/")[2]]

    pooch = FakePooch(serve)
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    assert_same(mnist.load_data(), arrays)
    assert pooch.asked == [mirror + name for name in IDX_NAMES for mirror in mnist.SOURCE.mirrors]
    assert_same(mnist.load_data(), arrays)
    assert len(pooch.asked) == 12, "the second time everything is in the cache"


def test_without_a_network_the_error_names_each_mirror(monkeypatch):
    def serve(url):
        raise OSError("name or service not known")

    monkeypatch.setitem(sys.modules, "pooch", FakePooch(serve))
    with pytest.raises(FileNotFoundError) as error:
        mnist.load_data()
    for mirror in mnist.SOURCE.mirrors:
        assert f"{mirror}{IDX_NAMES[0]}: name or service not known" in str(error.value)


def cut(data):
    return gzip.compress(gzip.decompress(data)[:-2])


def lengthen(data):
    return gzip.compress(gzip.decompress(data) + b"\0")


def other_magic(data):
    return gzip.compress(b"\0\0\x0d" + gzip.decompress(data)[3:])


DAMAGE = {
    "short": (cut, "has only"),
    "long": (lengthen, "has more"),
    "magic": (other_magic, "magic number"),
    "gzip cut": (lambda data: data[:-20], "not a whole idx"),
    "not gzip": (gzip.decompress, "not a whole idx"),
    "empty": (lambda data: b"", "not a whole idx"),
}


@pytest.mark.parametrize("name", IDX_NAMES)
@pytest.mark.parametrize("damage, message", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_idx_file_is_named(tmp_path, name, damage, message):
    folder = write_idx(tmp_path / "d", small_set(1))
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        mnist.load_data(folder)
    assert str(folder / name) in str(error.value)


WRONG = {
    "image size": (0, np.zeros((7, 28, 27), np.uint8), "shape"),
    "label count": (1, np.zeros(6, np.uint8), "7 uint8 labels"),
    "label range": (3, np.array([1, 10, 2], np.uint8), "0 to 9, got 10"),
}


@pytest.mark.parametrize("position, array, message", WRONG.values(), ids=WRONG.keys())
def test_arrays_that_do_not_fit_are_named(tmp_path, position, array, message):
    arrays = list(small_set(1))
    arrays[position] = array
    with pytest.raises(ValueError, match=message) as error:
        mnist.load_data(write_idx(tmp_path / "i", arrays))
    assert IDX_NAMES[position] in str(error.value)
    with pytest.raises(ValueError, match=message) as error:
        mnist.load_data(write_npz(tmp_path / "n.npz", arrays))
    assert f"n.npz: {NPZ_NAMES[position]}" in str(error.value)


class Pickled:
    def __reduce__(self):
        return pytest.fail, ("the archive ran code",)


def test_npz_never_unpickles(tmp_path):
    arrays = list(small_set(1))
    arrays[1] = np.array([Pickled()] * 7, dtype=object)
    path = tmp_path / "evil.npz"
    np.savez(path, **dict(zip(NPZ_NAMES, arrays, strict=True)))
    with pytest.raises(ValueError, match="evil.npz.*allow_pickle=False"):
        mnist.load_data(path)


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: b"", lambda data: b"text"])
def test_a_damaged_npz_is_named(tmp_path, damage):
    path = write_npz(tmp_path / "m.npz", small_set(1))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="m.npz is not an .npz with the arrays"):
        mnist.load_data(path)


def test_an_npz_without_an_array_and_a_bare_npy_are_named(tmp_path):
    np.savez(tmp_path / "three.npz", **dict(zip(NPZ_NAMES[:3], small_set(1)[:3], strict=True)))
    with pytest.raises(ValueError, match="three.npz.*y_test"):
        mnist.load_data(tmp_path / "three.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match="one.npy is not an .npz"):
        mnist.load_data(tmp_path / "one.npy")
