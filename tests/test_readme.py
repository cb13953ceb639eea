"""The README's tables are those of the committed results, and its commands exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fastconv.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_are_the_results():
    checked = subprocess.run([sys.executable, ROOT / "bench" / "tables.py", "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "<!-- results: bench/results/" in README


COMMANDS = sorted(set(re.findall(r"^(?:\$ )?fastconv ([a-z-]+)", README, re.MULTILINE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_readme_exists(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert "usage: fastconv " + shlex.quote(command) in capsys.readouterr().out


GUIDE = (ROOT / "docs" / "keras.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("section", ["Models", "Transfer learning"])
def test_the_guides_programs_run(section):
    begin = GUIDE.index(f"\n## {section}\n")
    program = re.search(r"```python\n(.*?)```", GUIDE[begin:], re.DOTALL)[1]
    names = {}
    exec(compile(program, f"docs/keras.md, {section}", "exec"), names)
    assert names["model"].compiled and names["model"].count_params() > 1000


def test_the_guide_names_what_there_is():
    from fastconv import callbacks, layers, optimizers

    named = re.sub(r"1D/2D", "1D", GUIDE)
    passed_over = ("Layer", "Callback", "CallbackList", "Optimizer", "Input", "InputLayer")
    for module in (layers, callbacks, optimizers):
        for name, kind in vars(module).items():
            is_own = isinstance(kind, type) and kind.__name__ == name and name not in passed_over and name[0] != "_"
            if is_own and kind.__module__.startswith(module.__name__.rstrip("s")):
                assert f"`{name}`" in named or f"`{name.replace('2D', '1D')}`" in named, f"docs/keras.md: no {name}"
