"""The named lists of shapes: they are read, they hold what they say, and the chosen kernels are right on them."""

import math
import re
from dataclasses import replace

import pytest

from fastconv import kernels
from fastconv.kernels import Conv2DProblem, ConvPool2DProblem, Pool2DProblem
from fastconv.testing import check_kernel, find_shapes, load_shapes, shape_lists

LISTS = shape_lists()
BOTH = [name for name in LISTS if "conv_pool2d" in name]
POOLINGS = [name for name in LISTS if "pool2d" in name and name not in BOTH]
CONVOLUTIONS = [name for name in LISTS if name not in POOLINGS + BOTH]


def problem_type(name):
    return Pool2DProblem if name in POOLINGS else ConvPool2DProblem if name in BOTH else Conv2DProblem


def shapes(name):
    return load_shapes(LISTS[name], problem_type(name))


def test_the_lists_that_are_promised_are_there():
    promised = {"seeds", "lenet", "cifar", "vgg16", "resnet50", "mobilenet", "dilated", "grouped", "strided"}
    assert promised | {"pointwise", "tiny_batch", "conv2d_edge", "conv2d_lab", "conv2d_tiles"} == set(CONVOLUTIONS)
    assert set(POOLINGS) == {"seeds_pool2d", "pool2d_nets", "pool2d_edge", "pool2d_lab", "pool2d_tiles"}
    assert set(BOTH) == {"seeds_conv_pool2d", "conv_pool2d_edge"}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_says_where_it_is_from_and_repeats_nothing(name):
    assert LISTS[name].read_text(encoding="utf-8").startswith("# ")
    problems = list(shapes(name).values())
    assert len(problems) >= 3 and len(set(problems)) == len(problems)


def test_each_list_holds_what_its_name_says():
    assert all(max(p.dilation_h, p.dilation_w) > 1 for p in shapes("dilated").values())
    assert all(1 < p.groups < p.C for p in shapes("grouped").values())
    assert all(max(p.stride_h, p.stride_w) > 1 for p in shapes("strided").values())
    assert all((p.R, p.S, p.stride_h) == (1, 1, 1) for p in shapes("pointwise").values())
    assert all(p.N == 1 for p in shapes("tiny_batch").values())
    depthwise = [p for name, p in shapes("mobilenet").items() if name.startswith("dw")]
    assert len(depthwise) == 9 and all(p.groups == p.C == p.K for p in depthwise)


def multiply_adds(problem):
    return problem.P * problem.Q * problem.K * problem.R * problem.S * problem.C // problem.groups


@pytest.mark.parametrize("name, layers, giga", [("vgg16", 13, 15.35), ("resnet50", 53, 4.09)])
def test_a_network_has_the_work_that_is_published(name, layers, giga):
    problems, text = shapes(name), LISTS[name].read_text(encoding="utf-8")
    counts = dict(re.findall(r"^(\w+) +N=.*# x(\d+)$", text, re.MULTILINE))
    assert counts.keys() == problems.keys()
    assert sum(map(int, counts.values())) == layers
    total = sum(int(counts[name]) * multiply_adds(problem) for name, problem in problems.items())
    assert total / 1e9 == pytest.approx(giga, abs=0.01)


def shrunk(problem):
    """The same channels, window and options on a few pixels of one or two images."""
    rows = max(6 * problem.stride_h, 1) + (problem.R - 1) * problem.dilation_h
    columns = max(5 * problem.stride_w, 1) + (problem.S - 1) * problem.dilation_w
    count = min(problem.N, 2 if problem.C < 256 else 1)
    return replace(problem, N=count, H=min(problem.H, rows), W=min(problem.W, columns))


@pytest.mark.parametrize("name", [name for name in LISTS if "edge" not in name])
def test_the_chosen_kernels_are_right_on_them(name):
    """On whole images the reference alone would take minutes; `fastconv bench` checks those it times."""
    ops = [op for op in kernels.ops() if kernels.problem_type(op) is problem_type(name) and "col" not in op]
    for problem in {shrunk(problem) for problem in shapes(name).values()}:
        for op in ops:
            check_kernel(kernels.choose(op, problem), problem)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("resnet51", "there is no list or file of shapes 'resnet51'; the lists are .*resnet50"),
        ("N=64 H=28", "lacks"),
        ("N=64 H=28 W=28 C=1 K=32 R=3 S=3 T=1", "T"),
        ("N=64 H=28 W=28 C=1 K=thirty R=3 S=3", "thirty"),
        ("seeds_pool2d", "seeds_pool2d.txt, line 2, mnist_pool1: "),
    ],
)
def test_what_names_no_shapes(spec, message):
    with pytest.raises(ValueError, match=message) as raised:
        find_shapes(spec, Conv2DProblem)
    assert "\n" not in str(raised.value)


def test_a_file_and_a_text_name_shapes(tmp_path):
    text = "N=2 H=9 W=8 C=3 K=4 R=3 S=2"
    (given,) = find_shapes(text, Conv2DProblem).values()
    assert math.prod(given.y_shape) == 2 * 7 * 7 * 4
    file = tmp_path / "mine.txt"
    file.write_text(f"# mine\n\nfirst {text}  # a comment\n")
    assert find_shapes(str(file), Conv2DProblem) == {"first": given}
