"""Problems: sizes against counted positions, text there and back, and bad input refused."""

import dataclasses

import pytest

from fastconv.kernels import Conv2DProblem, Pool2DProblem

TEXT = "N=2 H=9 W=11 C=4 R=3 S=2"


def conv(more="", **changes):
    return dataclasses.replace(Conv2DProblem.parse(f"{TEXT} K=6 {more}"), **changes)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("sides", [(0, 0), (1, 0), (2, 5)])
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_output_size_counts_the_windows_that_fit(taps, sides, dilation, stride):
    for size in range(1, 15):
        reach = (taps - 1) * dilation
        starts = [start for start in range(-sides[0], size + sides[1], stride) if start + reach < size + sides[1]]
        text = f"N=1 C=1 K=1 H={size} W={size + 1} R={taps} S=1 stride={stride},1 dilation={dilation},1"
        text += f" padding={sides[0]},{sides[1]},0,0"
        if starts:
            problem = Conv2DProblem.parse(text)
            assert (problem.P, problem.Q) == (len(starts), size + 1)
        else:
            with pytest.raises(ValueError, match="window is larger"):
                Conv2DProblem.parse(text)


@pytest.mark.parametrize(
    ("text", "padding", "output"),
    [
        ("H=5 W=6 R=3 S=3", (1, 1, 1, 1), (5, 6)),
        ("H=5 W=6 R=2 S=4", (0, 1, 1, 2), (5, 6)),
        ("H=5 W=6 R=3 S=3 stride=2", (1, 1, 0, 1), (3, 3)),
        ("H=6 W=7 R=2 S=3 stride=2,3", (0, 0, 1, 1), (3, 3)),
        ("H=7 W=7 R=2 S=2 stride=4,3", (0, 0, 0, 1), (2, 3)),
        ("H=7 W=8 R=3 S=2 stride=2,3 dilation=3,2", (3, 3, 0, 1), (4, 3)),
        ("H=1 W=2 R=5 S=5", (2, 2, 2, 2), (1, 2)),
    ],
)
def test_same_is_tensorflows(text, padding, output):
    problem = Conv2DProblem.parse(f"N=1 C=1 K=1 {text} padding=same")
    assert (problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right) == padding
    assert (problem.P, problem.Q) == output


def test_a_convolutions_shapes_and_costs():
    problem = conv("groups=2 stride=2,3 padding=1,2,3,0")
    assert (problem.P, problem.Q) == (5, 5)
    assert problem.x_shape == (2, 9, 11, 4)
    assert problem.w_shape == (3, 2, 2, 6)
    assert problem.y_shape == (2, 5, 5, 6)
    assert problem.flops == 2 * (2 * 5 * 5 * 6) * (3 * 2 * 2)


def test_a_poolings_shapes_and_costs():
    problem = Pool2DProblem.parse(f"{TEXT} stride=3,2")
    assert problem.y_shape == (2, 3, 5, 4)
    assert problem.flops == 2 * 3 * 5 * 4 * 3 * 2


def test_an_empty_batch_is_a_problem():
    assert conv(N=0).y_shape == (0, 7, 10, 6)
    assert conv(N=0).flops == 0


@pytest.mark.parametrize(
    "text, pixels",
    [
        ("H=9 W=11 R=3 S=2", 9 * 11),
        ("H=9 W=11 R=1 S=1 stride=2,3", 5 * 4),
        ("H=9 W=11 R=2 S=2 stride=3", 6 * 8),
        ("H=9 W=11 R=2 S=3 stride=4,1 dilation=2,4", 4 * 9),
        ("H=9 W=11 R=1 S=1 stride=2 padding=1,0,1,0", 4 * 5),
        ("H=8 W=8 R=3 S=3 stride=3", 6 * 6),
    ],
)
def test_pixels_in_no_window_are_not_read(text, pixels):
    assert Conv2DProblem.parse(f"N=2 C=4 K=3 {text}").pixels_read == pixels


@pytest.mark.parametrize(
    "text",
    [
        f"{TEXT} K=6",
        f"{TEXT} K=6 groups=2 dtype=float64",
        f"{TEXT} K=6 stride=2,3 dilation=3,1 padding=same",
        f"{TEXT} K=6 stride=4 padding=7,0,0,9",
        "N=0 H=1 W=2 C=3 R=1 S=1 K=1",
    ],
)
def test_text_there_and_back(text):
    problem = Conv2DProblem.parse(text)
    assert Conv2DProblem.parse(str(problem)) == problem
    pool = Pool2DProblem.parse("N=3 H=5 W=6 C=2 R=2 S=3 stride=1,2 padding=1,0,2,1 dtype=float64")
    assert Pool2DProblem.parse(str(pool)) == pool


def test_one_number_stands_for_both_axes():
    assert conv("stride=2 dilation=3") == conv("stride=2,2 dilation=3,3")


def test_problems_are_frozen_and_hashable():
    assert len({conv(), conv(), conv(N=3)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        conv().N = 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("N=2 H=9 W=11 C=4 R=3 S=2", "lacks.*K"),
        (f"{TEXT} K=6 K=7", "each once"),
        (f"{TEXT} K=6 colour=2", "colour"),
        (f"{TEXT} K=six", "six"),
        (f"{TEXT} K=0", "K must be positive.*0"),
        ("N=-1 H=9 W=11 C=4 R=3 S=2 K=1", "N must be .*-1"),
        (f"{TEXT} K=6 stride=0", "stride.*0"),
        (f"{TEXT} K=6 stride=1,2,3", "stride"),
        (f"{TEXT} K=6,7", "K=6,7"),
        (f"{TEXT} K=6 dilation=0,1", "dilation"),
        (f"{TEXT} K=6 padding=-1,0,0,0", "padding.*-1"),
        (f"{TEXT} K=6 padding=full", "full"),
        (f"{TEXT} K=6 dtype=float16", "dtype.*float16"),
        (f"{TEXT} K=6 groups=4", "groups=4.*C=4.*K=6"),
        (f"{TEXT} K=6 groups=3", "groups=3.*C=4"),
        (f"{TEXT} K=6 groups=0", "groups"),
        ("N=2 H=2 W=11 C=4 R=3 S=2 K=1", "window is larger"),
    ],
)
def test_bad_text_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        Conv2DProblem.parse(text)


def test_of_arrays_with_keras_options():
    problem = Conv2DProblem.of((2, 9, 11, 4), (3, 2, 2, 6), (2, 1), "SAME", 1, "float64")
    assert problem == conv("groups=2 stride=2,1 padding=same dtype=float64")
    assert Conv2DProblem.of((2, 9, 11, 4), (3, 2, 4, 6), padding=((1, 0), (2, 3))) == conv("padding=1,0,2,3")
    pool = Pool2DProblem.of((2, 9, 11, 4), (3, 2))
    assert (pool.stride_h, pool.stride_w) == (3, 2)
    assert Pool2DProblem.of((2, 9, 11, 4), 3, 2, "same").y_shape == (2, 5, 6, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((2, 9, 11), (3, 2, 4, 6)), r"\(2, 9, 11\)"),
        (((2, 9, 11, 4), (3, 2, 6)), r"\(3, 2, 6\)"),
        (((2, 9, 11, 4), (3, 2, 3, 6)), "3 channels.*4"),
        (((2, 9, 11, 4), (3, 2, 0, 6)), "0 channels"),
        (((2, 9, 11, 4), (3, 2, 1, 6)), "groups=4"),
        (((2, 9, 11, 4), (3, 2, 4, 6), (1, 2, 3)), "strides"),
        (((2, 9, 11, 4), (3, 2, 4, 6), 1.5), "strides.*1.5"),
        (((2, 9, 11, 4), (3, 2, 4, 6), True), "strides.*True"),
        (((2, 9, 11, 4), (3, 2, 4, 6), 1, "causal"), "padding.*causal"),
        (((2, 9, 11, 4), (3, 2, 4, 6), 1, (1, 2)), "padding"),
        (((2, 9, 11, 4), (3, 2, 4, 6), 1, "valid", "2"), "dilation_rate.*'2'"),
    ],
)
def test_bad_convolutions_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Conv2DProblem.of(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((2, 9, 11), 2), r"\(2, 9, 11\)"),
        (((2, 9, 11, 4), 0), "pool_size"),
        (((2, 9, 11, 4), 2, -1), "strides"),
        (((2, 9, 11, 4), 2, 1, ((2, 0), (0, 0))), "nothing but padding"),
        (((2, 9, 11, 4), 10), "window is larger"),
    ],
)
def test_bad_poolings_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Pool2DProblem.of(*arguments)
