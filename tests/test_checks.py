"""check_kernel itself: faults are planted in right kernels, and each must be caught.

A planted kernel wraps the reference. It must be caught on at least one named edge shape, by the check that is meant for
such a fault; `pytest -rP` says where each one was first caught, and by which.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest

from fastconv import kernels
from fastconv.testing import KernelMismatch, check_kernel, load_shapes, shapes_for

SHAPES = Path(__file__).parent.parent / "bench" / "shapes"
CONV2D = load_shapes(SHAPES / "conv2d_edge.txt", kernels.Conv2DProblem)
POOL2D = load_shapes(SHAPES / "pool2d_edge.txt", kernels.Pool2DProblem)
FAULTS = []


def fault(op, *checks, **changes):
    """Plant the decorated function as a kernel of `op`; one of `checks` must catch it."""

    def plant(run):
        kernel = replace(kernels.get(op, "reference"), run=run, name=run.__name__, **changes)
        FAULTS.append(pytest.param(kernel, checks, id=f"{op}-{run.__name__}"))
        return run

    return plant


def right(op, problem, *arrays, **epilogue):
    kernels.get(op, "reference").run(problem, *arrays, None, **epilogue)


def swapped(problem, *names):
    """The problem with pairs of fields exchanged, or None where the output would have another size."""
    values = {name: getattr(problem, name) for name in names}
    order = [name for pair in zip(names[1::2], names[::2], strict=True) for name in pair]
    try:
        other = replace(problem, **dict(zip(order, values.values(), strict=True)))
    except ValueError:
        return problem
    return other if other.y_shape == problem.y_shape else problem


# conv2d


@fault("conv2d", "integers")
def flips_the_filter(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w[::-1, ::-1], bias, y, relu=relu)


@fault("conv2d", "integers", exact=False)
def writes_nothing_and_is_not_exact(problem, x, w, bias, y, workspace, relu=False):
    pass


def with_other_steps(problem, x, w, bias, y, relu, **steps):
    """conv2d with other strides or dilations but as many windows: the image goes on in zeros as far as they need."""
    more = replace(problem, pad_bottom=problem.pad_bottom + 60, pad_right=problem.pad_right + 60, **steps)
    large = np.empty(more.y_shape)
    right("conv2d", more, x, w, bias, large, relu=relu)
    y[...] = large[:, : problem.P, : problem.Q]


@fault("conv2d", "integers")
def swaps_the_strides(problem, x, w, bias, y, workspace, relu=False):
    p = problem
    with_other_steps(p, x, w, bias, y, relu, stride_h=p.stride_w, stride_w=p.stride_h)


@fault("conv2d", "integers")
def swaps_the_dilations(problem, x, w, bias, y, workspace, relu=False):
    p = problem
    with_other_steps(p, x, w, bias, y, relu, dilation_h=p.dilation_w, dilation_w=p.dilation_h)


@fault("conv2d", "integers")
def dilates_only_without_strides(problem, x, w, bias, y, workspace, relu=False):
    p = problem
    gap = 1 if p.stride_h > 1 else p.dilation_h
    with_other_steps(p, x, w, bias, y, relu, dilation_h=gap)


@fault("conv2d", "integers")
def misses_the_last_row(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    y[:, -1] = 0


@fault("conv2d", "integers")
def misses_the_last_columns_of_a_ragged_tile(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    if problem.Q > 12:
        y[:, :, problem.Q // 12 * 12 :] = 0


@fault("conv2d", "integers")
def misses_the_last_filters_of_a_ragged_vector(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    if problem.K > 16:
        y[..., problem.K // 16 * 16 :] = 0


@fault("conv2d", "integers")
def pads_the_wrong_side(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", swapped(problem, "pad_top", "pad_bottom", "pad_left", "pad_right"), x, w, bias, y, relu=relu)


@fault("conv2d", "integers")
def swaps_the_paddings_axes(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", swapped(problem, "pad_top", "pad_left", "pad_bottom", "pad_right"), x, w, bias, y, relu=relu)


@fault("conv2d", "integers")
def clips_padding_to_the_window(problem, x, w, bias, y, workspace, relu=False):
    p = problem
    right("conv2d", p, x, w, bias, y, relu=relu)
    if p.pad_top > p.R:
        y[:, 0] = y[:, p.pad_top // p.stride_h]


@fault("conv2d", "integers")
def writes_nan(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    y[-1:, -1, -1, -1] = np.nan


@fault("conv2d", "integers")
def leaves_an_element_unwritten(problem, x, w, bias, y, workspace, relu=False):
    result = np.empty_like(y)
    right("conv2d", problem, x, w, bias, result, relu=relu)
    y.reshape(-1)[:-1] = result.reshape(-1)[:-1]


@fault("conv2d", "integers")
def adds_to_what_was_there(problem, x, w, bias, y, workspace, relu=False):
    result = np.empty_like(y)
    right("conv2d", problem, x, w, bias, result, relu=relu)
    y += result


@fault("conv2d", "integers")
def ignores_the_bias(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, None, y, relu=relu)


@fault("conv2d", "optional")
def needs_a_bias(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, np.ones(problem.K) if bias is None else bias, y, relu=relu)


@fault("conv2d", "integers")
def mixes_up_the_groups(problem, x, w, bias, y, workspace, relu=False):
    p = problem
    turned = x.reshape(*x.shape[:3], p.groups, p.C // p.groups)[:, :, :, ::-1].reshape(x.shape)
    right("conv2d", p, turned, w, bias, y, relu=relu)


@fault("conv2d", "integers")
def interleaves_the_groups(problem, x, w, bias, y, workspace, relu=False):
    p = problem
    strided = x.reshape(*x.shape[:3], p.C // p.groups, p.groups).swapaxes(3, 4).reshape(x.shape)
    right("conv2d", p, strided, w, bias, y, relu=relu)


@fault("conv2d", "integers", "floats")
def swaps_two_images(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x[::-1], w, bias, y, relu=relu)


@fault("conv2d", "floats")
def computes_in_half_precision(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x.astype(np.float16), w.astype(np.float16), bias, y, relu=relu)


@fault("conv2d", "floats")
def rounds_float64_to_float32(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    y[...] = y.astype(np.float32)


@fault("conv2d", "relu")
def relu_drops_nan(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y)
    if relu:
        y[...] = np.where(y > 0, y, 0)


@fault("conv2d", "relu")
def relu_comes_before_the_bias(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, None, y, relu=relu)
    y += 0 if bias is None else bias


@fault("conv2d", "special values")
def skips_products_with_zero(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, np.nan_to_num(x), w, bias, y, relu=relu)


@fault("conv2d", "inputs")
def changes_its_input(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    x *= 2


@fault("conv2d", "inputs")
def changes_the_bias(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    if bias is not None:
        bias[-1] += 1


def beyond(array, elements):
    """The view of `array`'s memory that is `elements` longer at its end (or, negative, begins so much before)."""
    start = min(0, elements)
    address = array.__array_interface__["data"][0] + start * array.itemsize
    interface = {"data": (address, False), "shape": (array.size + abs(elements),), "typestr": array.dtype.str}
    return np.asarray(type("View", (), {"__array_interface__": {**interface, "version": 3}})())


@fault("conv2d", "bounds")
def writes_after_the_output(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    beyond(y, 1)[-1] = 0


@fault("conv2d", "bounds")
def writes_before_the_output(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    beyond(y, -1)[0] = 0


@fault("conv2d", "integers")
def reads_beyond_its_input(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    y.reshape(-1)[-1:] += 0 * beyond(x, 1)[-1]


@fault("conv2d", "bounds", workspace_bytes=lambda problem: 40)
def overruns_its_workspace(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    beyond(workspace, 4)[:] = 0


@fault("conv2d", "integers", workspace_bytes=lambda problem: 8)
def takes_its_workspace_for_zeroed(problem, x, w, bias, y, workspace, relu=False):
    right("conv2d", problem, x, w, bias, y, relu=relu)
    y += workspace.view("float64").astype(y.dtype)


@fault("conv2d", "repeat")
def is_not_deterministic(problem, x, w, bias, y, workspace, relu=False, calls=itertools.count()):  # noqa: B008
    right("conv2d", problem, x, w, bias, y, relu=relu)
    if next(calls) % 2:
        y[...] = np.nextafter(y, y.dtype.type(0), where=y % 1 != 0, out=y.copy())


# The backward ops


@fault("conv2d_backward_data", "integers")
def uses_the_forward_filter(problem, gy, w, gx, workspace):
    right("conv2d_backward_data", problem, gy, w[::-1, ::-1], gx)


@fault("conv2d_backward_data", "integers")
def leaves_unused_pixels_unwritten(problem, gy, w, gx, workspace):
    result = np.empty_like(gx)
    right("conv2d_backward_data", problem, gy, w, result)
    gx[result != 0] = result[result != 0]


@fault("conv2d_backward_data", "integers")
def sends_the_padding_to_the_border(problem, gy, w, gx, workspace):
    right("conv2d_backward_data", swapped(problem, "pad_top", "pad_bottom"), gy, w, gx)


@fault("conv2d_backward_filter", "integers")
def transposes_the_filter(problem, x, gy, gw, gb, workspace):
    right("conv2d_backward_filter", problem, x, gy, gw, gb)
    gw[...] = gw.swapaxes(0, 1).reshape(gw.shape)


@fault("conv2d_backward_filter", "integers")
def transposes_the_gradient(problem, x, gy, gw, gb, workspace):
    right("conv2d_backward_filter", problem, x, gy.swapaxes(1, 2).reshape(gy.shape), gw, gb)


@fault("conv2d_backward_filter", "integers")
def forgets_an_image(problem, x, gy, gw, gb, workspace):
    right("conv2d_backward_filter", replace(problem, N=min(1, problem.N)), x[:1], gy[:1], gw, gb)


@fault("conv2d_backward_filter", "integers")
def leaves_the_filter_of_an_empty_batch_unwritten(problem, x, gy, gw, gb, workspace):
    if problem.N:
        right("conv2d_backward_filter", problem, x, gy, gw, gb)


@fault("conv2d_backward_filter", "integers")
def means_the_bias(problem, x, gy, gw, gb, workspace):
    right("conv2d_backward_filter", problem, x, gy, gw, gb)
    if gb is not None:
        gb /= max(1, problem.N)


@fault("conv2d_backward_filter", "optional")
def skips_the_filter_without_a_bias(problem, x, gy, gw, gb, workspace):
    if gb is not None:
        right("conv2d_backward_filter", problem, x, gy, gw, gb)


# Columns


@fault("im2col", "integers")
def leaves_padding_unwritten(problem, x, col, workspace):
    result = np.empty_like(col)
    right("im2col", problem, x, result)
    col[result != 0] = result[result != 0]


@fault("im2col", "integers")
def puts_channels_before_columns(problem, x, col, workspace):
    right("im2col", problem, x, col)
    col[...] = col.swapaxes(4, 5).reshape(col.shape)


@fault("col2im", "integers")
def overwrites_where_windows_overlap(problem, col, gx, workspace):
    p = problem
    gx[...] = 0
    for q in range(p.P):
        for r in range(p.R):
            h = q * p.stride_h - p.pad_top + r * p.dilation_h
            if 0 <= h < p.H:
                part = np.zeros_like(gx)
                only = np.zeros_like(col)
                only[:, q, :, r] = col[:, q, :, r]
                right("col2im", p, only, part)
                gx[:, h] = part[:, h]


# Pooling


@fault("max_pool2d", "special values")
def max_drops_nan(problem, x, y, workspace):
    right("max_pool2d", problem, np.where(np.isnan(x), -np.inf, x), y)


@fault("max_pool2d", "integers")
def max_counts_padding_as_zero(problem, x, y, workspace):
    p = problem
    padding = (0, 0), (p.pad_top, p.pad_bottom), (p.pad_left, p.pad_right), (0, 0)
    padded = np.pad(x, padding)
    sides = dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0)
    right("max_pool2d", replace(p, H=padded.shape[1], W=padded.shape[2], **sides), padded, y)


@fault("max_pool2d", "special values")
def max_begins_with_the_smallest_number(problem, x, y, workspace):
    right("max_pool2d", problem, np.maximum(x, np.finfo(x.dtype).min), y)


@fault("max_pool2d", "integers")
def max_swaps_the_window(problem, x, y, workspace):
    right("max_pool2d", swapped(problem, "R", "S"), x, y)


@fault("max_pool2d_backward", "integers")
def gives_ties_to_the_last_position(problem, x, gy, gx, workspace):
    p = replace(
        problem,
        pad_top=problem.pad_bottom,
        pad_bottom=problem.pad_top,
        pad_left=problem.pad_right,
        pad_right=problem.pad_left,
    )
    rest_h = (problem.H + p.pad_top + p.pad_bottom - (p.R - 1) * p.dilation_h - 1) % p.stride_h
    rest_w = (problem.W + p.pad_left + p.pad_right - (p.S - 1) * p.dilation_w - 1) % p.stride_w
    if rest_h or rest_w:  # turned round, the windows would begin elsewhere
        right("max_pool2d_backward", problem, x, gy, gx)
    else:
        right("max_pool2d_backward", p, x[:, ::-1, ::-1], gy[:, ::-1, ::-1], gx[:, ::-1, ::-1])


@fault("max_pool2d_backward", "integers")
def gives_to_every_maximum(problem, x, gy, gx, workspace):
    p = problem
    y = np.empty(p.y_shape)
    right("max_pool2d", p, x, y)
    gx[...] = 0
    for n, i, j in itertools.product(range(p.N), range(p.P), range(p.Q)):
        for r, s in itertools.product(range(p.R), range(p.S)):
            h, k = i * p.stride_h - p.pad_top + r * p.dilation_h, j * p.stride_w - p.pad_left + s * p.dilation_w
            if 0 <= h < p.H and 0 <= k < p.W:
                gx[n, h, k] += np.where(x[n, h, k] == y[n, i, j], gy[n, i, j], 0)


@fault("max_pool2d_backward", "special values")
def loses_the_gradient_of_nan(problem, x, gy, gx, workspace):
    right("max_pool2d_backward", problem, np.nan_to_num(x, nan=-np.inf, posinf=np.inf, neginf=-np.inf), gy, gx)


@fault("max_pool2d_backward", "integers")
def keeps_one_gradient_where_windows_overlap(problem, x, gy, gx, workspace):
    right("max_pool2d_backward", problem, x, gy, gx)
    np.clip(gx, -3, 3, out=gx)


@fault("average_pool2d", "integers")
def counts_padding(problem, x, y, workspace):
    p = problem
    padded = np.pad(x, ((0, 0), (p.pad_top, p.pad_bottom), (p.pad_left, p.pad_right), (0, 0)))
    sides = dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0)
    right("average_pool2d", replace(p, H=padded.shape[1], W=padded.shape[2], **sides), padded, y)


@fault("average_pool2d_backward", "integers")
def shares_with_padding(problem, gy, gx, workspace):
    p = problem
    sides = dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0)
    padded = np.empty((p.N, p.H + p.pad_top + p.pad_bottom, p.W + p.pad_left + p.pad_right, p.C))
    right("average_pool2d_backward", replace(p, H=padded.shape[1], W=padded.shape[2], **sides), gy, padded)
    gx[...] = padded[:, p.pad_top : p.pad_top + p.H, p.pad_left : p.pad_left + p.W]


# conv2d_max_pool2d and its gradient


@fault("conv2d_max_pool2d", "integers")
def last_of_equal_maxima(problem, x, w, bias, y, winners, workspace, relu=False):
    right("conv2d_max_pool2d", problem, x, w, bias, y, winners, relu=relu)
    if winners is not None:
        winners[winners == 0] = problem.pool_h * problem.pool_w - 1


@fault("conv2d_max_pool2d", "integers")
def windows_from_the_end(problem, x, w, bias, y, winners, workspace, relu=False):
    p = problem
    right("conv2d_max_pool2d", p, x[:, ::-1], w[::-1], bias, y, winners, relu=relu)
    y[...] = y[:, ::-1].copy()


@fault("conv2d_max_pool2d", "relu")
def gradients_below_zero(problem, x, w, bias, y, winners, workspace, relu=False):
    right("conv2d_max_pool2d", problem, x, w, bias, y, winners)
    if relu:
        np.maximum(y, 0, out=y)


@fault("conv2d_max_pool2d", "special values")
def overlooks_nan(problem, x, w, bias, y, winners, workspace, relu=False):
    right("conv2d_max_pool2d", problem, np.nan_to_num(x, nan=-1), w, bias, y, winners, relu=relu)


@fault("conv2d_max_pool2d", "optional")
def adds_a_bias_that_is_not_there(problem, x, w, bias, y, winners, workspace, relu=False):
    bias = np.ones(problem.K, y.dtype) if bias is None else bias
    right("conv2d_max_pool2d", problem, x, w, bias, y, winners, relu=relu)


@fault("conv2d_max_pool2d_backward_filter", "integers")
def takes_rows_for_columns(problem, x, gy, winners, gw, gb, workspace):
    p = problem
    turned = np.where(winners < 0, -1, winners % p.pool_h * p.pool_w + winners // p.pool_h)
    right("conv2d_max_pool2d_backward_filter", p, x, gy, turned, gw, gb)


@fault("conv2d_max_pool2d_backward_filter", "integers")
def gives_to_the_first(problem, x, gy, winners, gw, gb, workspace):
    right("conv2d_max_pool2d_backward_filter", problem, x, gy, np.maximum(winners, 0), gw, gb)


@fault("conv2d_max_pool2d_backward_filter", "repeat")
def sum_depends_on_the_threads(problem, x, gy, winners, gw, gb, workspace):
    right("conv2d_max_pool2d_backward_filter", problem, x, gy, winners, gw, gb)
    if numba.get_num_threads() == 1 and gw.size:
        gw.flat[0] = np.nextafter(gw.flat[0], np.inf)


@pytest.mark.parametrize(("kernel", "checks"), FAULTS)
def test_a_planted_fault_is_caught(kernel, checks):
    caught = {}
    for name, problem in shapes_for(kernel.op, "edge").items():
        try:
            check_kernel(kernel, problem)
        except KernelMismatch as mismatch:
            caught.setdefault(mismatch.check, name)
            assert f"{kernel.op} {kernel.name}, check {mismatch.check!r}" in str(mismatch)
            assert f'parse("{problem}")' in str(mismatch)
            if mismatch.check in checks:
                break
    print(f"{kernel.op} {kernel.name}: caught by", ", ".join(f"{check} on {name}" for check, name in caught.items()))
    assert set(caught) & set(checks), f"caught by {caught}, but it was to be caught by {checks}"


def test_a_right_kernel_passes():
    for op in kernels.ops():
        check_kernel(kernels.get(op, "reference"), shapes_for(op, "edge")["strides"])


def test_every_op_has_planted_faults():
    assert {param.values[0].op for param in FAULTS} == set(kernels.ops())


def test_the_message_repeats_the_failure():
    kernel = replace(kernels.get("conv2d", "reference"), run=writes_nan, name="cpu_wrong")
    with pytest.raises(KernelMismatch) as caught:
        check_kernel(kernel, CONV2D["strides"], seed=7)
    text = str(caught.value)
    assert caught.value.check == "integers"
    assert "conv2d cpu_wrong" in text
    assert "1 of 200 elements of y are wrong" in text
    assert "y[1, 4, 3, 4]: expected" in text and "got nan" in text
    assert text.splitlines()[-1] == (
        'repeat: check_kernel(kernels.get("conv2d", "cpu_wrong"), '
        'kernels.Conv2DProblem.parse("N=2 H=11 W=13 C=3 R=3 S=4 K=5 stride=2,3"), seed=7)'
    )


def test_an_unsupported_problem_is_refused():
    kernel = replace(kernels.get("conv2d", "reference"), unsupported=lambda problem: "only on Sundays")
    with pytest.raises(ValueError, match="only on Sundays"):
        check_kernel(kernel, CONV2D["plain"])


def test_the_seed_decides_the_data():
    seen = []

    def spy(problem, x, w, bias, y, workspace, relu=False):
        seen.append(x.copy())
        right("conv2d", problem, x, w, bias, y, relu=relu)

    kernel = replace(kernels.get("conv2d", "reference"), run=spy)
    for seed in (0, 0, 1):
        check_kernel(kernel, CONV2D["plain"], seed)
    first, again, other = np.split(np.array(seen), 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


class TestLoadShapes:
    def load(self, tmp_path, text):
        file = tmp_path / "shapes.txt"
        file.write_text(text)
        return load_shapes(file, kernels.Pool2DProblem)

    def test_names_comments_and_blank_lines(self, tmp_path):
        shapes = self.load(
            tmp_path, "# all\n\none N=1 H=2 W=3 C=4 R=1 S=2  # a remark\n two   N=2 H=2 W=3 C=4 R=1 S=2\n"
        )
        assert list(shapes) == ["one", "two"]
        assert shapes["two"].N == 2

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("one N=1 H=2 W=3 C=4 R=1 S=2\none N=2 H=2 W=3 C=4 R=1 S=2", "line 2.*'one' comes twice"),
            ("\none N=1 H=2", "line 2, one: .*lacks"),
            ("one", "line 1, one: .*lacks"),
        ],
    )
    def test_bad_lines_are_refused(self, tmp_path, text, words):
        with pytest.raises(ValueError, match=words):
            self.load(tmp_path, text)
