"""The exercises: they can be failed and solved, what is said of wrong answers fits, and no file is overwritten."""

import html
import linecache
import re
import string
from pathlib import Path

import browser
import pytest
from browser import NEEDS_BROWSER
from cuda_cases import NEEDS_TOOLKIT
from learn_cases import WRONG

from fastconv import kernels, learn
from fastconv.cli import main
from fastconv.learn.exercise import Blank
from fastconv.learn.goals import Goal
from fastconv.learn.hints import GENERAL
from fastconv.learn.ladder import EXERCISES, find
from fastconv.learn.trials import _TRAITS
from fastconv.learn.warmups import cuda_axpy, cuda_transpose

pytestmark = pytest.mark.usefixtures("forget_user_kernels")
every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)


def words(text):
    return " ".join(str(text).split())


# Each exercise.

OPENED = {  # what a check stops at as long as nothing is done, and what its first hint speaks of
    "cuda_axpy": ("unwritten", "c[i=256] is no thread's"),
    "cuda_transpose": ("sectors", "grows by 1 with x"),
    "cuda_max_pool2d": ("out of bounds", "more threads than outputs"),
    "cuda_conv2d": ("wrong", "sum of R * S * group_C products"),
    "cuda_conv2d_coalesced": ("sectors", "Which of n, p, q, k differ"),
    "cuda_conv2d_shared": ("requests", "how often does a block load one element of x"),
    "cuda_conv2d_backward_data": ("wrong", "Which p used row h by tap r"),
    "cuda_conv2d_backward_filter": ("wrong", "Which r, s, c and k has its thread"),
}


@every_exercise
def test_the_opened_file_runs_and_fails_with_a_fitting_hint(exercise):
    result = learn.check(exercise.text)
    symptom, hint = OPENED[exercise.name]
    assert not result.solved and result.steps[0].passed, result
    assert result.symptom.name == symptom, result
    assert hint in result.hints[0] and len(result.hints) >= 2
    count = len(exercise.blanks)
    assert exercise.text.count("# TODO ") == count > 0
    assert [number for number, _ in exercise.open_todos(exercise.text)] == list(range(1, count + 1))
    for number, line in exercise.open_todos(exercise.text):
        assert f"# TODO {number}:" in exercise.text.splitlines()[line - 1]


@every_exercise
def test_the_projects_own_kernel_is_a_solution(exercise):
    result = learn.check(exercise.solution)
    assert result.solved, result
    assert str(result).endswith("\nSolved.") and not result.hints and not result.todo
    assert "# TODO" not in exercise.solution and exercise.open_todos(exercise.solution) == []
    assert "Yours is the same." in result.solution() and exercise.kernel_file in result.solution()


@every_exercise
def test_its_text_can_be_read_and_kept(exercise):
    assert len(re.findall(r"[.:](?:\s|$)", exercise.goal)) >= 2, "the goal is two sentences"
    assert exercise.name.startswith("cuda_") and exercise.name.isidentifier(), "the registry takes it"
    long = [line for line in exercise.text.splitlines() if len(line) > 120 and not line.startswith("@kernel(")]
    assert not long


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.exercise}-{wrong.idea}")
def test_what_is_said_of_a_wrong_answer(wrong):
    result = learn.check(wrong.text).hint()
    assert not result.solved
    assert result.symptom.name == wrong.symptom, result
    assert wrong.said in words(result), result


@every_exercise
def test_there_are_wrong_answers(exercise):
    assert sum(wrong.exercise == exercise.name for wrong in WRONG) >= 3


FACTS = {  # what a symptom's hints may be filled in with
    "not simulated": ("line",),
    "endless": ("line",),
    "inputs": ("array",),
    "unwritten": ("array", "place"),
    "wrong": ("array", "place"),
    **dict.fromkeys(("sectors", "requests", "conflicts", "float64"), ("value", "limit", "line", "ideal")),
}
FINDING_FACTS = ("line", "other_line", "thread", "block", "array")
SUBJECTS = {"plain", "with a NaN in the data", *_TRAITS}


@pytest.mark.parametrize("own", [GENERAL, *(exercise.hints for exercise in EXERCISES)])
def test_hints_are_for_what_can_happen_and_can_be_filled_in(own):
    for key, texts in own.items():
        name = next(
            name for name in sorted(GENERAL, key=len, reverse=True) if key == name or key.startswith(f"{name} ")
        )
        subject = key[len(name) + 1 :]
        if name == "wrong" and subject:
            assert subject in SUBJECTS, key
        for text in texts:
            fields = {field for _, field, _, _ in string.Formatter().parse(text) if field}
            todos = {f"todo{number}" for number in range(1, 10)}
            assert fields <= {*FACTS.get(name, FINDING_FACTS), *todos}, key
    for exercise in EXERCISES:
        if exercise.hints is own:
            asked = {field for texts in own.values() for text in texts for field in re.findall(r"{(todo\d)}", text)}
            assert asked <= exercise.todo_lines.keys()


def test_a_line_that_is_gone_from_the_kernel_is_an_error():
    lines = ["a = 1", "b = 2", "a = 3"]
    assert Blank("b = 2", "", "").find(lines) == slice(1, 2)
    assert Blank("b =", "", "", last="a =").find(lines) == slice(1, 3)
    with pytest.raises(ValueError, match="'a =' is in 2 lines"):
        Blank("a =", "", "").find(lines)
    with pytest.raises(ValueError, match="'c' is in 0 lines"):
        Blank("c", "", "").find(lines)
    with pytest.raises(ValueError, match="'c' is in no line of the kernel after 'b = 2'"):
        Blank("b = 2", "", "", last="c").find(lines)


def test_a_todo_that_is_done_is_no_longer_named():
    exercise = find("cuda_axpy")
    text = exercise.text.replace("uint32(cuda.threadIdx.x)", "uint32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)")
    result = learn.check(text)
    assert result.todo.startswith("Still to do: TODO 2 (line ")
    assert (result.symptom.name, result.symptom.subject) == ("out of bounds", "c")
    text = text.replace("c[i] = 0.5", "if i < uint32(size):\n        c[i] = 0.5")
    result = learn.check(text)
    assert result.symptom.name == "float64" and not result.todo
    assert [step.passed for step in result.steps] == [True, True, True, True, False]
    assert learn.check(text.replace("0.5", "float32(0.5)")).solved


def test_goals_are_measured():
    (report,) = learn.check(find("cuda_transpose").text).reports
    value, line = Goal("sectors", 4).measure([report])
    assert value == 18 and "b[uint32(column * rows + row)] = a[" in line.text  # loads of 4, stores of 32
    assert Goal("requests").measure([report])[0] == 2 * 64 * 96 / 32
    assert Goal("conflicts").measure([report])[0] == Goal("float64").measure([report])[0] == 0
    assert Goal("sectors", 4).measure([]) == (0, None)


@NEEDS_TOOLKIT
@pytest.mark.parametrize("kernel", [cuda_axpy._axpy, cuda_transpose._transpose], ids=lambda kernel: kernel.name)
def test_the_warm_ups_compile_without_float64(kernel):
    ptx = kernel.ptx((9, 0))
    assert ".entry" in ptx and "f64" not in ptx


# What can be wrong before the kernel runs.

AXPY = find("cuda_axpy").solution


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("if i < uint32(size):", "if i < uint32(size:", "line 27: SyntaxError: "),
        ("    if i < uint32(size):", "  if i < uint32(size):", "line 27: IndentationError"),
        ("THREADS = 256", "THREADS = 25b", "line 17: SyntaxError"),
        ("THREADS = 256", "THREADS = many", "line 17: NameError: name 'many' is not defined"),
        ("return [Launch(", "return [launch(", "line 21: NameError"),
        ("return [Launch(_axpy,", "return _axpy, [Launch(_axpy,", "must return a list of Launch, not tuple"),
        ("def cuda_axpy(", "def my_axpy(", "it has no function cuda_axpy"),
        ("(a, b, c, c.size)", "(a, b, c)", "missing a required argument: 'size'"),
        ("a[i] + b[i]", "a[j] + b[i]", "line 28: j has no value"),
        ("a[i] + b[i]", "a[i] + sorted(b)", "line 28: `sorted` is not simulated"),
        ("cuda.threadIdx.x", "cuda.threadIndex.x", "line 26: `cuda.threadIndex` is not simulated"),
    ],
)
def test_what_python_or_the_simulator_cannot_run(old, new, message):
    assert AXPY.count(old) == 1
    result = learn.check(AXPY.replace(old, new), "cuda_axpy")
    assert not result.solved and result.steps[0].passed is False and message in words(result), result
    simulated = "has no value" in message or "not simulated" in message
    assert result.symptom.name == ("not simulated" if simulated else "python") and bool(result.hints) is simulated


def test_an_endless_loop_ends():
    result = learn.check(AXPY.replace("    if i <", "    while i <"))
    assert result.symptom.name == "endless" and "still running after" in words(result)


def test_an_input_that_is_changed():
    result = learn.check(AXPY + "        b[i] = float32(1)\n")
    assert result.symptom.name == "inputs" and "the kernel changed its input b" in str(result)


def test_findings_are_cut():
    text = find("cuda_conv2d").solution.replace("    if thread >= pixels * g.K:\n        return\n", "")
    result = learn.check(text)
    assert "and 2 more" in str(result) and result.steps[1].details[1].startswith("line "), result
    assert "writes y[24]" in result.steps[1].details[1], "threads beyond the last output come first"


# What can be given to check.


def a_cell(text, number):
    """The functions of a notebook's cell; its source is known as IPython makes it known."""
    file = f"/tmp/ipykernel_1/{number}.py"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    namespace = {"__name__": "__main__"}
    exec(compile(text, file, "exec"), namespace)
    return namespace


@every_exercise
def test_a_notebooks_function(exercise):
    for number, (text, solved) in enumerate([(exercise.text, False), (exercise.solution, True)]):
        function = a_cell(text, number)[exercise.name]
        result = learn.check(function)
        assert result.solved is solved and not result.todo, result
    assert exercise.solution in result.solution()
    if exercise.op is not None:
        assert kernels.get(exercise.op, exercise.name).run is function


def test_a_path_or_a_function_of_another_name(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(AXPY)
    assert learn.check(path).solved and learn.check(str(path)).solved
    function = a_cell(AXPY, 2)["cuda_axpy"]
    function.__name__ = "mine"
    assert learn.check(function, "cuda_axpy").solved
    path.write_text(AXPY.replace("0.5", "1.5"))
    assert not learn.check(path).solved, "a file is read anew"


@pytest.mark.parametrize(
    "given, exercise, error, message",
    [
        (3, None, TypeError, "not int"),
        ("nowhere.py", None, ValueError, "nowhere.py cannot be read: No such file"),
        ("a = 1\nb = 2\n", None, ValueError, "the source answers no exercise: it has none of the functions cuda_axpy"),
        (AXPY, "cuda_nothing", ValueError, "no exercise 'cuda_nothing'; there are cuda_axpy"),
        (AXPY, "cuda_naive", ValueError, "kernel of several exercises: cuda_max_pool2d, cuda_conv2d"),
        (len, None, ValueError, "answers no exercise"),
    ],
)
def test_what_cannot_be_checked(given, exercise, error, message):
    with pytest.raises(error, match=message):
        learn.check(given, exercise)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "cuda_axpy.py"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="it is no text"):
        learn.check(path)
    assert dict((exercise.name, state) for exercise, state in learn.list(tmp_path).states)["cuda_axpy"] == "begun"


def test_a_kernels_name_will_do():
    assert find("cuda_shared").name == "cuda_conv2d_shared" and find("cuda_conv2d").kernel == "cuda_naive"


# Files.


def test_a_file_is_never_overwritten(tmp_path):
    opened = learn.open("cuda_axpy", tmp_path)
    assert opened.path == tmp_path / "cuda_axpy.py" and opened.path.read_text() == find("cuda_axpy").text
    assert "Exercise 1 of 8, cuda_axpy: " in repr(opened) and "2 TODOs" in repr(opened)
    opened.path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists; it was left as it is"):
        learn.open("cuda_axpy", tmp_path)
    assert opened.path.read_text() == "mine"
    with pytest.raises(FileNotFoundError):
        learn.open("cuda_axpy", tmp_path / "nowhere")


def test_the_list_says_what_is_solved(tmp_path):
    (tmp_path / "cuda_axpy.py").write_text(AXPY)
    learn.open("cuda_shared", tmp_path)
    listing = learn.list(tmp_path)
    states = [state for _, state in listing.states]
    assert states == ["solved", "", "", "", "", "begun", "", ""]
    lines = repr(listing).splitlines()
    assert lines[0].split()[:3] == ["1", "solved", "cuda_axpy"] and lines[5].split()[:2] == ["6", "begun"]


# On the command line.


def command(capsys, *argv, code=0):
    try:
        got = main(["learn", *map(str, argv)])
    except SystemExit as stopped:
        got = stopped.code
    shown = capsys.readouterr()
    assert got == code, shown.out + shown.err
    return shown


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_way_through_an_exercise(folder, capsys):
    assert "Next: fastconv learn open cuda_axpy\n" in command(capsys).out
    shown = command(capsys, "open", "cuda_axpy").out
    assert "Wrote cuda_axpy.py." in shown and shown.endswith("Next: fastconv learn check cuda_axpy.py\n")
    assert "Next: fastconv learn check cuda_axpy.py\n" in command(capsys, "list").out

    shown = command(capsys, "check", "cuda_axpy.py", code=1).out
    assert "Hint 1 of 3" in shown and "Hint 2" not in shown
    assert shown.endswith("More: fastconv learn check cuda_axpy.py --hint\n")
    shown = command(capsys, "check", "cuda_axpy.py", "--hint", code=1).out
    assert "Hint 2 of 3" in shown and shown.endswith("--hint 2\n")
    shown = command(capsys, "check", "cuda_axpy.py", "--hint", "2", code=1).out
    assert "Hint 3 of 3: TODO 1:\n    i = uint32(" in shown and shown.endswith("--solution\n")
    shown = command(capsys, "check", "cuda_axpy.py", "--solution", code=1).out
    assert "+    i = uint32(cuda.blockIdx.x" in shown and "-    # TODO 1" in shown

    (folder / "cuda_axpy.py").write_text(AXPY)
    shown = command(capsys, "check", "cuda_axpy.py").out
    assert "\nSolved.\n" in shown and "Next:              fastconv learn open cuda_transpose\n" in shown
    assert "inspect" not in shown, "a warm-up is no kernel of an op"
    assert "Next: fastconv learn open cuda_transpose\n" in command(capsys).out


def test_the_end_of_the_ladder(folder, capsys):
    for exercise in EXERCISES:
        (folder / exercise.file).write_text(exercise.solution)
    assert command(capsys).out.endswith("\nAll are solved.\n")
    last = EXERCISES[-1]
    shown = command(capsys, "check", last.file).out
    assert f"fastconv inspect {last.file} --op {last.op}\n" in shown and "Next:" not in shown


@NEEDS_TOOLKIT
def test_a_solved_exercise_can_be_inspected(folder, capsys):
    file = find("cuda_shared").file
    (folder / file).write_text(find("cuda_shared").solution)
    assert main(["inspect", file, "--op", "conv2d"]) == 0
    assert "cuda_conv2d_shared" in capsys.readouterr().out


def test_the_table_and_the_page(folder, capsys):
    command(capsys, "open", "cuda_transpose")
    shown = command(capsys, "check", "cuda_transpose.py", "--table", "--html", "page.html", code=1).out
    assert "sect/req" in shown and "Wrote page.html" in shown
    assert "cuda_transpose" in (folder / "page.html").read_text() or "_transpose" in (folder / "page.html").read_text()
    (folder / "broken.py").write_text("def cuda_axpy(:\n")
    shown = command(capsys, "check", "broken.py", "--html", "other.html", code=2)
    assert "nothing ran in the simulator" in shown.err and not (folder / "other.html").exists()


@pytest.mark.parametrize(
    "argv, message",
    [
        (["open", "cuda_nothing"], "there is no exercise 'cuda_nothing'; there are cuda_axpy, "),
        (["open", "cuda_naive"], "several exercises: cuda_max_pool2d, "),
        (["check", "nothing.py"], "nothing.py cannot be read"),
        (["check", "other.py"], "other.py answers no exercise"),
        (["open", "cuda_axpy"], "cuda_axpy.py exists; it was left as it is"),
        (["check", "other.py", "--hint", "0"], "a whole number from 1"),
        (["check"], "FILE.py"),
        (["solve"], "invalid choice"),
    ],
)
def test_bad_usage(argv, message, folder, capsys):
    (folder / "other.py").write_text("a = 1\n")
    (folder / "cuda_axpy.py").write_text("mine")
    assert message in command(capsys, *argv, code=2).err
    assert (folder / "cuda_axpy.py").read_text() == "mine"


def test_a_broken_file_is_no_bad_usage(folder, capsys):
    (folder / "cuda_axpy.py").write_text("def cuda_axpy(a, b, c:\n    pass\n")
    shown = command(capsys, "check", "cuda_axpy.py", code=1).out
    assert "line 1: SyntaxError: '(' was never closed" in shown and "def cuda_axpy(a, b, c:" in shown


def test_the_page_in_docs_shows_what_is_printed(folder):
    page = Path(__file__).parent.parent / "docs" / "learn.md"
    (folder / "cuda_transpose.py").write_text(find("cuda_transpose").solution.replace("    cuda.syncthreads()\n", ""))
    text = page.read_text(encoding="utf-8")
    assert f"```text\n{learn.check('cuda_transpose.py')}\n```" in text
    assert re.findall(r"^\| \d \| `(\w+)` \|", text, re.MULTILINE) == [exercise.name for exercise in EXERCISES]


# In a notebook.


@pytest.fixture(scope="module")
def shown_html():
    wrong = learn.check(find("cuda_transpose").text).hint()
    right = learn.check(AXPY)
    return f"<!doctype html><body>{learn.list()._repr_html_()}{wrong._repr_html_()}{right._repr_html_()}"


def test_html_is_escaped(shown_html, tmp_path):
    result = learn.check(AXPY.replace("if i < uint32(size):", "if i < uint32(size) and '<b>' == 0:"))
    assert "<b>'" not in result._repr_html_() and "&lt;b&gt;" in result._repr_html_()
    assert "<script" not in shown_html, "the simulator's page is in a frame"
    assert "Hint 2 of 3" in html.unescape(shown_html)
    opened = learn.open("cuda_axpy", tmp_path)
    assert html.escape(repr(opened)) in opened._repr_html_()


@NEEDS_BROWSER
def test_in_a_browser(shown_html, tmp_path):
    script = """<script>addEventListener("load", () => {
      for (const part of document.querySelectorAll("details")) part.open = true;
      setTimeout(() => { document.body.dataset.seen = [...document.querySelectorAll("iframe")].map((frame) =>
        frame.contentDocument.documentElement.dataset.ready + frame.clientHeight).join(); }, 1000); });</script>"""
    assert browser.seen(shown_html + script, tmp_path) == "true640,true640"
