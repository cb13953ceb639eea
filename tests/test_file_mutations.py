"""Damaged files of every kind: each is opened or refused with an error that is documented, and nothing else happens.

The files are opened in a process of their own, so that a crash of a library or an endless loop would be seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mutated_files
import pytest

CASES = 1000 if os.environ.get("FASTCONV_TEST_EVERYTHING") else 200


def test_damaged_files(tmp_path):
    (tmp_path / "files").mkdir()
    command = [sys.executable, mutated_files.__file__, str(tmp_path / "files"), "0", str(CASES)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60 + CASES * mutated_files.SECONDS)
    *cases, last = run.stdout.splitlines()
    assert run.returncode == 0, f"{cases[-1:]} ended the process:\n{run.stderr[-3000:]}"
    found = json.loads(last)
    assert not found["problems"], "\n".join(found["problems"])
    assert sum(found["outcomes"].values()) == CASES
    assert found["outcomes"]["opened"] > CASES // 20, (
        "the mutations are too coarse: nothing behind the first check is tried"
    )
    assert found["outcomes"]["refused"] > CASES // 2, "the mutations are too fine"


def test_what_a_file_may_not_do_is_noticed(tmp_path):
    """The watch itself: what it must see it sees, and reading a file is none of that."""
    (tmp_path / "read").write_text("x")
    watch = mutated_files.Watch()
    for number, act in enumerate(
        [
            lambda: (tmp_path / "written").write_text("x"),
            lambda: os.remove(tmp_path / "written"),
            lambda: os.mkdir(tmp_path / "made"),
            lambda: os.system("true"),
            lambda: subprocess.run(["true"]),
            lambda: eval("1 + 1"),
            lambda: __import__("this_is_no_module"),
        ]
    ):
        watch.seen.clear()
        watch.on = True
        try:
            act()
        except ImportError:
            pass
        watch.on = False
        assert watch.seen, f"action {number} went unnoticed"
    watch.seen.clear()
    watch.on = True
    (tmp_path / "read").read_text()
    watch.on = False
    assert not watch.seen


def test_a_refusal_that_has_changed_the_model_is_noticed():
    model = mutated_files.small()

    def change():
        model.weights[0].value[...] += 1
        raise ValueError("too late")

    with pytest.raises(AssertionError, match="the model was changed"):
        mutated_files.unchanged_where_refused(model, change)
