"""The kernel that reads images at other places, against a plain reference of scipy.ndimage's rules."""

import numpy as np
import pytest

from fastconv.kernels.cpu_warp import MODES, ORDERS, warp

SIZE = (5, 7, 2)


def outside(place, size, mode):
    """A place that has what lies at `place`; None for the constant. Mirrors and repeats step by step."""
    if mode == "constant":
        return place if 0 <= place <= size - 1 else None
    if mode == "nearest":
        return min(max(place, 0.0), size - 1.0)
    if mode == "wrap":
        if size == 1:
            return 0.0
        while place < 0:
            place += size - 1
        while place > size - 1:
            place -= size - 1
        return place
    while not -0.5 <= place <= size - 0.5:
        place = -1 - place if place < 0 else 2 * size - 1 - place
    return min(max(place, 0.0), size - 1.0)


def reference(image, rows, columns, mode, fill, order):
    """float64, a pixel at a time."""
    height, width, channels = image.shape
    out = np.empty((rows.shape[1], columns.shape[1], channels))
    for i in range(rows.shape[1]):
        for j in range(columns.shape[1]):
            y = outside(rows[0, i] + columns[0, j], height, mode)
            x = outside(rows[1, i] + columns[1, j], width, mode)
            if y is None or x is None:
                out[i, j] = fill
            elif order == 0:
                out[i, j] = image[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))]
            else:
                top, left = int(y), int(x)
                bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                above = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
                below = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
                out[i, j] = above * (1 - y + top) + below * (y - top)
    return out


def run(images, which, rows, columns, mode="nearest", fill=0.0, order=1):
    out = np.full((len(which), rows.shape[2], columns.shape[2], images.shape[3]), np.nan, images.dtype)
    warp(images, np.asarray(which, np.int64), rows, columns, out, mode, fill, order)
    return out


def tables(matrix, start, size):
    """rows, columns of the map (i, j) -> start + matrix @ (i, j), for outputs of `size`."""
    i, j = np.arange(size[0], dtype=float), np.arange(size[1], dtype=float)
    rows = np.stack([start[0] + matrix[0][0] * i, start[1] + matrix[1][0] * i])
    return rows[np.newaxis], np.stack([matrix[0][1] * j, matrix[1][1] * j])[np.newaxis]


def drawn_images(size=SIZE, count=3, seed=0):
    return (np.random.default_rng(seed).random((count, *size)) * 255).astype(np.float32)


MAPS = {
    "turned": ([[0.9, -0.45], [0.4, 1.1]], (0.7, -1.3)),
    "far": ([[2.0, 0.3], [-0.5, 1.7]], (-17.1, 23.37)),
    "straight": ([[1.3, 0.0], [0.0, 0.6]], (-0.83, 2.21)),
    "half a pixel": ([[1.0, 0.0], [0.0, 1.0]], (0.25, -0.75)),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mode", MODES)
def test_against_the_reference(mode, order, name):
    images = drawn_images()
    rows, columns = tables(*MAPS[name], (4, 9))
    out = run(images, [2], rows, columns, mode, 7.5, order)[0]
    np.testing.assert_allclose(out, reference(images[2], rows[0], columns[0], mode, 7.5, order), atol=2e-5)


def test_wrong_kernels_would_be_noticed():
    """The reference tells the modes, the orders and neighbouring places apart."""
    image = drawn_images()[0]
    rows, columns = (table[0] for table in tables(*MAPS["turned"], (4, 9)))
    results = [reference(image, rows, columns, mode, 7.5, order) for mode in MODES for order in ORDERS]
    results.append(reference(image, rows + 0.01, columns, "nearest", 7.5, 1))
    for n, one in enumerate(results):
        assert all(np.abs(one - other).max() > 0.01 for other in results[:n])


# scipy.ndimage.affine_transform(row, [1.0], 2.5 or -6.25, order=1, mode=..., cval=9) of SciPy 1.17 for the row below
ROW = [10.0, 20.0, 40.0, 80.0]
SCIPY = {
    "nearest": ([60, 80, 80, 80], [10, 10, 10, 10]),
    "constant": ([60, 9, 9, 9], [9, 9, 9, 9]),
    "reflect": ([60, 80, 60, 30], [35, 70, 80, 50]),
    "wrap": ([60, 15, 30, 60], [70, 17.5, 35, 70]),
}


@pytest.mark.parametrize("mode", MODES)
def test_what_scipy_has_outside(mode):
    for start, expected in zip((2.5, -6.25), SCIPY[mode], strict=True):
        images = np.array(ROW, np.float32).reshape(1, 1, 4, 1)
        rows, columns = tables([[1, 0], [0, 1]], (0, start), (1, 4))
        np.testing.assert_allclose(run(images, [0], rows, columns, mode, 9.0).ravel(), expected, atol=1e-4)


def test_flips_and_the_identity_are_exact():
    images = drawn_images()
    rows, columns = tables([[1, 0], [0, 1]], (0, 0), SIZE)
    for order in ORDERS:
        np.testing.assert_array_equal(run(images, [1], rows, columns, order=order)[0], images[1])
        flipped = run(images, [1], rows[..., ::-1].copy(), columns[..., ::-1].copy(), order=order)[0]
        np.testing.assert_array_equal(flipped, images[1, ::-1, ::-1])


def test_a_batch_takes_images_in_any_order_and_leaves_them_alone():
    images = drawn_images()
    before = images.copy()
    rows, columns = (np.repeat(table, 4, axis=0) for table in tables(*MAPS["turned"], SIZE))
    rows[3] += 0.5
    out = run(images, [2, 0, 2, 2], rows, columns)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(out[0], out[2])
    np.testing.assert_allclose(out[1], reference(images[0], rows[1], columns[1], "nearest", 0, 1), atol=2e-5)
    np.testing.assert_allclose(out[3], reference(images[2], rows[3], columns[3], "nearest", 0, 1), atol=2e-5)


@pytest.mark.parametrize("mode", MODES)
def test_images_of_one_row_or_column(mode):
    for size in ((1, 6, 1), (6, 1, 1)):
        images = drawn_images(size)
        rows, columns = tables(*MAPS["far"], (3, 4))
        for order in ORDERS:
            out = run(images, [0], rows, columns, mode, 7.5, order)[0]
            np.testing.assert_allclose(out, reference(images[0], rows[0], columns[0], mode, 7.5, order), atol=2e-5)


def test_nan_spreads_to_its_neighbours_only():
    images = drawn_images((4, 5, 1))
    images[0, 1, 2] = np.nan
    rows, columns = tables([[1, 0], [0, 1]], (0.5, 0.5), (3, 4))
    out = run(images, [0], rows, columns)[0, :, :, 0]
    np.testing.assert_array_equal(np.argwhere(np.isnan(out)), [[0, 1], [0, 2], [1, 1], [1, 2]])
