"""The README: Python runs; commands are known and take the options they are given."""

import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from agd_keras.cli import common

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SHELL = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_python_blocks_of_the_readme_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("line", SHELL)
def test_lines_for_the_shell(line, monkeypatch):
    """What they do takes minutes to hours: other tests and `make train` do it."""
    program, *arguments = shlex.split(line, comments=True)
    if program == "make":
        subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
    elif "agd-" in program:
        command = import_module(f"agd_keras.cli.{program.rpartition('agd-')[2]}")
        monkeypatch.setattr(common, "run", lambda function, arguments: 0)
        assert command.main(arguments) == 0
    elif program == "docker":
        assert (ROOT / "docker-compose.yml").is_file()
    else:
        assert program == "export"
