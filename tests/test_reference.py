"""The references against numbers worked out by hand, the formulas as plain loops, their transposes, and PyTorch."""

import itertools

import numpy as np
import pytest

from fastconv.kernels.average_pool2d.reference import average_pool2d
from fastconv.kernels.average_pool2d_backward.reference import average_pool2d_backward
from fastconv.kernels.col2im.reference import col2im
from fastconv.kernels.conv2d.reference import conv2d
from fastconv.kernels.conv2d_backward_data.reference import conv2d_backward_data
from fastconv.kernels.conv2d_backward_filter.reference import conv2d_backward_filter
from fastconv.kernels.im2col.reference import im2col
from fastconv.kernels.max_pool2d.reference import max_pool2d
from fastconv.kernels.max_pool2d_backward.reference import max_pool2d_backward

NAN, INF = float("nan"), float("inf")


def image(rows):
    """(1,H,W,1) of nested lists."""
    return np.array(rows, float)[None, :, :, None]


def window(rows):
    """(R,S,1,1) of nested lists."""
    return np.array(rows, float)[:, :, None, None]


def expect(got, rows):
    np.testing.assert_array_equal(got, image(rows))


NINE = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]])


class TestConv2DByHand:
    def test_is_a_correlation_not_a_convolution(self):
        expect(conv2d(NINE, window([[1, 10], [100, 1000]])), [[5421, 6532], [8754, 9865]])

    def test_same_with_stride_2_pads_an_even_row_at_its_end(self):
        x, w = image([[1, 2, 3, 4]]), window([[1, 10, 100]])
        expect(conv2d(x, w, strides=(1, 2), padding="same"), [[321, 43]])
        x, w = x.transpose(0, 2, 1, 3), w.transpose(1, 0, 2, 3)
        expect(conv2d(x, w, strides=(2, 1), padding="same"), [[321], [43]])

    def test_same_with_stride_2_pads_an_odd_row_at_both_ends(self):
        y = conv2d(image([[1, 2, 3, 4, 5]]), window([[1, 10, 100]]), strides=(1, 2), padding="same")
        expect(y, [[210, 432, 54]])

    def test_same_with_an_even_window_pads_at_the_end(self):
        expect(conv2d(image([[1, 2, 3]]), window([[1, 10]]), padding="same"), [[21, 32, 3]])

    def test_same_with_a_stride_larger_than_the_window_pads_nothing(self):
        expect(conv2d(image([[1, 2, 3, 4, 5]]), window([[1, 10]]), strides=(1, 3), padding="same"), [[21, 54]])

    def test_dilation_for_each_axis(self):
        expect(conv2d(image([[1, 2, 3, 4, 5]]), window([[1, 10]]), dilation=(1, 3)), [[41, 52]])
        expect(conv2d(NINE, window([[1, 10], [100, 1000]]), dilation=(2, 1)), [[8721, 9832]])

    def test_stride_and_dilation_together(self):
        x = image([[1, 2, 3, 4, 5, 6, 7]])
        expect(conv2d(x, window([[1, 10]]), strides=(1, 2), dilation=(1, 2)), [[31, 53, 75]])

    def test_padding_of_four_sides_larger_than_the_window(self):
        y = conv2d(image([[5]]), window([[2]]), padding=((1, 2), (3, 0)))
        expect(y, [[0, 0, 0, 0], [0, 0, 0, 10], [0, 0, 0, 0], [0, 0, 0, 0]])

    def test_channels_filters_and_bias(self):
        x = np.array([1.0, 2]).reshape(1, 1, 1, 2)
        w = np.array([[1.0, 10, 100], [1000, 10000, 100000]]).reshape(1, 1, 2, 3)
        y = conv2d(x, w, np.array([0.5, 0.25, 0.125]))
        np.testing.assert_array_equal(y, np.array([2001.5, 20010.25, 200100.125]).reshape(1, 1, 1, 3))

    def test_groups_see_their_own_channels(self):
        x = np.array([1.0, 2, 3, 4]).reshape(1, 1, 1, 4)
        w = np.array([[1.0, 10], [100, 1000]]).reshape(1, 1, 2, 2)
        np.testing.assert_array_equal(conv2d(x, w, groups=2).ravel(), [201, 4030])

    def test_depthwise_with_a_channel_multiplier(self):
        x = np.array([1.0, 2]).reshape(1, 1, 1, 2)
        w = np.array([1.0, 10, 100, 1000]).reshape(1, 1, 1, 4)
        np.testing.assert_array_equal(conv2d(x, w, groups=2).ravel(), [1, 10, 200, 2000])


class TestConv2DBackwardByHand:
    def test_data_with_same_padding_and_stride_2(self):
        gx = conv2d_backward_data(image([[1, 2]]), window([[1, 10, 100]]), (1, 4), (1, 2), "same")
        expect(gx, [[1, 10, 102, 20]])

    def test_data_of_pixels_that_no_window_reads_is_zero(self):
        gx = conv2d_backward_data(image([[1, 2]]), window([[5]]), (1, 4), (1, 2))
        expect(gx, [[5, 0, 10, 0]])

    def test_data_with_groups(self):
        gy = np.array([2.0, 3]).reshape(1, 1, 1, 2)
        w = np.array([[1.0, 10], [100, 1000]]).reshape(1, 1, 2, 2)
        gx = conv2d_backward_data(gy, w, (1, 1), groups=2)
        np.testing.assert_array_equal(gx.ravel(), [2, 200, 30, 3000])

    def test_filter_with_same_padding_and_stride_2(self):
        gw, gb = conv2d_backward_filter(image([[1, 2, 3, 4]]), image([[5, 7]]), (1, 3), (1, 2), "same")
        np.testing.assert_array_equal(gw, window([[26, 38, 15]]))
        np.testing.assert_array_equal(gb, [12])

    def test_filter_with_dilation_sums_over_the_batch(self):
        x = np.concatenate([image([[1, 2, 3]]), image([[10, 20, 30]])])
        gw, gb = conv2d_backward_filter(x, np.concatenate([image([[1]]), image([[2]])]), (1, 2), dilation=(1, 2))
        np.testing.assert_array_equal(gw, window([[21, 63]]))
        np.testing.assert_array_equal(gb, [3])


class TestPoolingByHand:
    def test_max(self):
        expect(max_pool2d(NINE, (2, 2), (1, 1)), [[5, 6], [8, 9]])
        expect(max_pool2d(NINE, (2, 2), (2, 2)), [[5]])
        expect(max_pool2d(NINE, (2, 2), (2, 2), "same"), [[5, 6], [8, 9]])
        expect(max_pool2d(NINE, (2, 1), (1, 2), dilation=(2, 1)), [[7, 9]])

    def test_max_leaves_padding_out(self):
        expect(max_pool2d(-NINE, (3, 3), (2, 2), "same"), [[-1, -2], [-4, -5]])

    def test_max_of_a_window_with_nan_is_nan(self):
        expect(max_pool2d(image([[1, NAN, 2, 3]]), (1, 2), (1, 2)), [[NAN, 3]])

    def test_max_backward_gives_a_tie_to_the_first_position(self):
        expect(max_pool2d_backward(image([[7, 7], [7, 7]]), image([[3]]), (2, 2), (2, 2)), [[3, 0], [0, 0]])
        expect(max_pool2d_backward(image([[1, 9], [9, 1]]), image([[3]]), (2, 2), (2, 2)), [[0, 3], [0, 0]])

    def test_max_backward_adds_where_windows_overlap(self):
        expect(max_pool2d_backward(image([[1, 5, 2]]), image([[10, 1]]), (1, 2), (1, 1)), [[0, 11, 0]])

    def test_max_backward_gives_a_window_with_nan_to_its_first_nan(self):
        expect(max_pool2d_backward(image([[3, NAN, NAN]]), image([[2]]), (1, 3), (1, 1)), [[0, 2, 0]])
        expect(max_pool2d_backward(image([[NAN, 3]]), image([[2]]), (1, 2), (1, 1)), [[2, 0]])

    def test_max_backward_never_chooses_padding(self):
        gx = max_pool2d_backward(image([[-INF, -INF]]), image([[4, 8]]), (1, 2), (1, 1), ((0, 0), (1, 0)))
        expect(gx, [[12, 0]])

    def test_average_leaves_padding_out_of_the_count(self):
        expect(average_pool2d(image([[1, 2, 3]]), (1, 2), (1, 2), "same"), [[1.5, 3]])
        expect(average_pool2d(NINE, (3, 3), (1, 1), "same"), [[3, 3.5, 4], [4.5, 5, 5.5], [6, 6.5, 7]])

    def test_average_backward(self):
        expect(average_pool2d_backward(image([[10, 4]]), (1, 3), (1, 2), (1, 2), "same"), [[5, 5, 4]])
        expect(average_pool2d_backward(image([[2, 4]]), (1, 3), (1, 2), (1, 1)), [[1, 3, 2]])


class TestColumnsByHand:
    def test_im2col(self):
        col = im2col(image([[1, 2, 3]]), (1, 2), padding="same")
        assert col.shape == (1, 1, 3, 1, 2, 1)
        np.testing.assert_array_equal(col.reshape(3, 2), [[1, 2], [2, 3], [3, 0]])

    def test_im2col_orders_rows_columns_channels(self):
        x = np.arange(8.0).reshape(1, 2, 2, 2)
        np.testing.assert_array_equal(im2col(x, (2, 2)).ravel(), np.arange(8))

    def test_col2im_adds_overlaps_and_drops_padding(self):
        col = np.array([[1.0, 10], [2, 20], [3, 30]]).reshape(1, 1, 3, 1, 2, 1)
        expect(col2im(col, (1, 3), padding="same"), [[1, 12, 23]])


# (H, W, R, S, strides, padding, dilation, groups)
GEOMETRIES = [
    (7, 9, 3, 2, (1, 1), "valid", (1, 1), 1),
    (8, 11, 3, 4, (2, 3), "same", (1, 1), 1),
    (9, 10, 2, 3, (1, 2), "same", (3, 2), 2),
    (5, 6, 4, 3, (3, 2), ((2, 5), (0, 4)), (2, 1), 2),
    (3, 4, 5, 6, (2, 1), ((4, 3), (2, 5)), (1, 1), 1),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
class TestTransposes:
    """For random data: <op(x), gy> = <x, backward(gy)>, which fixes the backward ops once the forward is right."""

    def arrays(self, geometry):
        H, W, R, S, strides, padding, dilation, groups = geometry
        rng = np.random.default_rng(1)
        x, w = rng.normal(size=(2, H, W, 4)), rng.normal(size=(R, S, 4 // groups, 6))
        return rng, x, w, (strides, padding, dilation)

    def test_conv2d(self, geometry):
        rng, x, w, options = self.arrays(geometry)
        y = conv2d(x, w, None, *options, geometry[-1])
        gy = rng.normal(size=y.shape)
        gx = conv2d_backward_data(gy, w, x.shape[1:3], *options, geometry[-1])
        gw, gb = conv2d_backward_filter(x, gy, w.shape[:2], *options, geometry[-1])
        product = np.vdot(y, gy)
        assert np.vdot(x, gx) == pytest.approx(product, rel=1e-12)
        assert np.vdot(w, gw) == pytest.approx(product, rel=1e-12)
        with_bias = conv2d(x, w, np.arange(6.0), *options, geometry[-1])
        assert np.vdot(with_bias - y, gy) == pytest.approx(np.vdot(np.arange(6), gb), rel=1e-12)

    def test_im2col(self, geometry):
        rng, x, w, options = self.arrays(geometry)
        col = im2col(x, w.shape[:2], *options)
        other = rng.normal(size=col.shape)
        assert np.vdot(col, other) == pytest.approx(np.vdot(x, col2im(other, x.shape[1:3], *options)), rel=1e-12)
        if geometry[-1] == 1:
            np.testing.assert_allclose(np.tensordot(col, w, 3), conv2d(x, w, None, *options), atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same", ((1, 2), (2, 0))], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (3, 2)], ids=str)
def test_transposes_of_pooling(strides, padding):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 7, 9, 3))
    y = max_pool2d(x, (3, 4), strides, padding)
    gy = rng.normal(size=y.shape)
    gx = max_pool2d_backward(x, gy, (3, 4), strides, padding)
    assert np.vdot(y, gy) == pytest.approx(np.vdot(x, gx), rel=1e-12)
    y = average_pool2d(x, (3, 4), strides, padding)
    gx = average_pool2d_backward(gy, (7, 9), (3, 4), strides, padding)
    assert np.vdot(y, gy) == pytest.approx(np.vdot(x, gx), rel=1e-12)


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if not isinstance(g[5], str)], ids=str)
def test_conv2d_is_its_formula(geometry):
    H, W, R, S, (stride_h, stride_w), padding, (dilation_h, dilation_w), groups = geometry
    (top, bottom), (left, right) = padding
    rng = np.random.default_rng(3)
    x, w, bias = rng.normal(size=(2, H, W, 4)), rng.normal(size=(R, S, 4 // groups, 6)), rng.normal(size=6)
    y = conv2d(x, w, bias, *geometry[4:])
    P = (H + top + bottom - (R - 1) * dilation_h - 1) // stride_h + 1
    Q = (W + left + right - (S - 1) * dilation_w - 1) // stride_w + 1
    assert y.shape == (2, P, Q, 6)
    for n, p, q, k in np.ndindex(y.shape):
        total = bias[k]
        for r, s, c in np.ndindex(w.shape[:3]):
            h, j = p * stride_h - top + r * dilation_h, q * stride_w - left + s * dilation_w
            if 0 <= h < H and 0 <= j < W:
                total += x[n, h, j, k // (6 // groups) * (4 // groups) + c] * w[r, s, c, k]
        assert y[n, p, q, k] == pytest.approx(total, abs=1e-12)


class TestPyTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="PyTorch, the second opinion, is not installed")

    def test_convolution(self, torch):
        rng = np.random.default_rng(4)
        for stride, dilation, groups in itertools.product([(1, 1), (2, 3)], [(1, 1), (2, 1), (1, 3)], [1, 2]):
            x = torch.tensor(rng.normal(size=(2, 4, 9, 11)), requires_grad=True)
            w = torch.tensor(rng.normal(size=(6, 4 // groups, 3, 2)), requires_grad=True)
            bias = torch.tensor(rng.normal(size=6), requires_grad=True)
            y = torch.nn.functional.conv2d(x, w, bias, stride, (2, 1), dilation, groups)
            gy = torch.tensor(rng.normal(size=y.shape))
            y.backward(gy)
            last = [t.detach().numpy().transpose(0, 2, 3, 1) for t in (x, y, gy, x.grad)]
            ours, theirs = w.detach().numpy().transpose(2, 3, 1, 0), w.grad.numpy().transpose(2, 3, 1, 0)
            options = stride, ((2, 2), (1, 1)), dilation, groups
            np.testing.assert_allclose(conv2d(last[0], ours, bias.detach().numpy(), *options), last[1], atol=1e-12)
            np.testing.assert_allclose(conv2d_backward_data(last[2], ours, (9, 11), *options), last[3], atol=1e-12)
            gw, gb = conv2d_backward_filter(last[0], last[2], (3, 2), *options)
            np.testing.assert_allclose(gw, theirs, atol=1e-11)
            np.testing.assert_allclose(gb, bias.grad.numpy(), atol=1e-11)

    def test_pooling(self, torch):
        rng = np.random.default_rng(5)
        values = rng.integers(0, 4, (2, 3, 8, 9)).astype(float)  # with ties
        last = values.transpose(0, 2, 3, 1)
        options = (3, 2), (2, 1), ((1, 1), (1, 1))
        ours = max_pool2d, max_pool2d_backward, average_pool2d, average_pool2d_backward
        for average, forward, backward in ((False, *ours[:2]), (True, *ours[2:])):
            x = torch.tensor(values, requires_grad=True)
            if average:
                y = torch.nn.functional.avg_pool2d(x, (3, 2), (2, 1), (1, 1), count_include_pad=False)
            else:
                y = torch.nn.functional.max_pool2d(x, (3, 2), (2, 1), (1, 1))
            gy = torch.tensor(rng.normal(size=y.shape))
            y.backward(gy)
            np.testing.assert_allclose(forward(last, *options), y.detach().numpy().transpose(0, 2, 3, 1), atol=1e-13)
            ours_gy = gy.numpy().transpose(0, 2, 3, 1)
            gx = backward(ours_gy, (8, 9), *options) if average else backward(last, ours_gy, *options)
            np.testing.assert_allclose(gx, x.grad.numpy().transpose(0, 2, 3, 1), atol=1e-13)
