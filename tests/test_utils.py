"""utils: labels, norms, seeds and optional imports."""

import random

import numpy as np
import pytest

import fastconv.random
from fastconv import config
from fastconv.utils import clear_session, normalize, session, set_random_seed, to_categorical
from fastconv.utils.files import atomic_write
from fastconv.utils.optional import require


def test_one_hot_by_hand():
    rows = to_categorical([2, 0, 1], num_classes=4)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]])


def test_one_hot_counts_the_classes_and_keeps_the_shape():
    labels = np.array([[3, 1], [0, 2], [2, 2]], dtype=np.uint8)
    rows = to_categorical(labels)
    assert rows.shape == (3, 2, 4)
    np.testing.assert_array_equal(rows.argmax(axis=-1), labels)
    np.testing.assert_array_equal(rows.sum(axis=-1), np.ones((3, 2)))


def test_one_hot_drops_a_last_axis_of_one():
    assert to_categorical([[1], [4], [2]]).shape == (3, 5)
    assert to_categorical([3]).shape == (1, 4)


def test_one_hot_takes_whole_floats_and_floatx():
    config.set_floatx("float64")
    try:
        assert to_categorical(np.array([1.0, 0.0])).dtype == np.float64
    finally:
        config.set_floatx("float32")


@pytest.mark.parametrize(
    "labels, num_classes", [([0, 5], 5), ([-1, 2], None), ([0.5], 3), ([float("nan")], 3), ([], None)]
)
def test_one_hot_refuses(labels, num_classes):
    with pytest.raises(ValueError, match="x must hold|num_classes must be given"):
        to_categorical(labels, num_classes)


def test_normalize_by_hand():
    np.testing.assert_allclose(normalize([[3.0, 4.0], [0.0, 0.0]]), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-15)
    np.testing.assert_allclose(normalize([[1.0, 4.0], [3.0, -4.0]], axis=0, order=1), [[0.25, 0.5], [0.75, -0.5]])


def draws():
    return random.random(), np.random.random(), fastconv.random.generator().random()  # noqa: NPY002


def test_a_seed_repeats_all_three_generators():
    set_random_seed(7)
    first = draws()
    set_random_seed(7)
    assert draws() == first
    set_random_seed(8)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


@pytest.mark.parametrize("seed, error", [(-1, ValueError), (2**32, ValueError), (1.5, TypeError), ("1", TypeError)])
def test_a_bad_seed_changes_nothing(seed, error):
    set_random_seed(3)
    expected = draws()
    set_random_seed(3)
    with pytest.raises(error, match="seed must be"):
        set_random_seed(seed)
    assert draws() == expected


def test_a_missing_extra_is_named():
    assert require("json", extra="data").loads("1") == 1
    with pytest.raises(ImportError, match=r"no_such_module.*pip install 'fastconv\[plot\]'"):
        require("no_such_module", extra="plot")


def test_clear_session_calls_what_was_registered(monkeypatch):
    monkeypatch.setattr(session, "_resets", [])
    calls = []
    session.on_clear_session(lambda: calls.append("first"))
    session.on_clear_session(lambda: calls.append("second"))
    clear_session()
    assert calls == ["first", "second"]


def test_an_unfinished_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "kept.bin"
    with atomic_write(path) as stream:
        stream.write(b"first")
        assert not path.exists()
    with pytest.raises(RuntimeError, match="halfway"):
        with atomic_write(path) as stream:
            stream.write(b"sec")
            raise RuntimeError("halfway")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_an_atomic_write_follows_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with atomic_write(link) as stream:
        stream.write(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
