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
