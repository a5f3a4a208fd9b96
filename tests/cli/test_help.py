"""What all commands have: help at once, the version, and bad usage in one line."""

import importlib
import resource
import subprocess
import sys

import pytest

import agd_keras
from agd_keras.inference.uncertainty import METHODS
from agd_keras.runs.executor import EXECUTORS

COMMANDS = ("train", "evaluate", "predict", "export", "search", "view", "inspect")
REQUIRED = {
    "train": [],
    "evaluate": ["--model", "m", "--data", "d", "--out", "o"],
    "predict": ["a.png", "--model", "m", "--out", "o"],
    "export": ["--model", "m", "--format", "tflite", "--out", "o"],
    "search": ["--rounds", "paper"],
    "view": ["a.nii"],
    "inspect": ["d"],
}
HELP = """
import importlib, sys
main = importlib.import_module(f"agd_keras.cli.{sys.argv[1]}").main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0, end.code
data = {"numpy", "nibabel", "pydicom", "highdicom", "scipy", "sklearn", "matplotlib"}
heavy = {"tensorflow", "keras", "jax", "torch", "onnx", "optuna", "ray"} | data
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def refused(name, options, capsys):
    """The last line that a command says of options that it refuses."""
    main = importlib.import_module(f"agd_keras.cli.{name}").main
    with pytest.raises(SystemExit) as caught:
        main([*REQUIRED[name], *options])
    assert caught.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"agd-{name}: error: ")
    return last.removeprefix(f"agd-{name}: error: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_quick_and_loads_nothing_heavy(name):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", HELP, name], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert f"usage: agd-{name}" in done.stdout
    # Processor time, which other work on the machine does not add to.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("name", COMMANDS)
def test_version(name, capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"agd_keras.cli.{name}").main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"agd_keras {agd_keras.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_unknown_option(name, capsys):
    assert refused(name, ["--wrong"], capsys) == "unrecognized arguments: --wrong"


@pytest.mark.parametrize(
    ("name", "option", "choices"),
    [
        ("predict", "--uncertainty", METHODS),
        ("evaluate", "--uncertainty", METHODS),
        ("train", "--executor", EXECUTORS),
        ("search", "--executor", EXECUTORS),
    ],
)
def test_choices_are_those_of_the_function(name, option, choices, capsys):
    message = refused(name, [option, "wrong"], capsys)
    assert message.startswith(f"argument {option}: invalid choice: 'wrong' (choose from ")
    listed = message.partition("choose from ")[2].rstrip(")").replace("'", "")
    assert listed.split(", ") == list(choices)


@pytest.mark.parametrize(
    ("name", "option", "value", "expected"),
    [
        ("predict", "--threshold", "2", "a number above 0 and at most 1"),
        ("predict", "--threshold", "nan", "a number above 0 and at most 1"),
        ("predict", "--min-size", "-3", "a whole number at least 0"),
        ("predict", "--batch-size", "0", "a whole number at least 1"),
        ("export", "--threshold", "1", "a number above 0 and below 1"),
        ("export", "--max-drop", "-1", "a number at least 0 and at most 1"),
        ("export", "--model-version", "0", "a whole number at least 1"),
        ("train", "--fold", "-1", "numbers from 0 on, as 0,3, or all"),
        ("train", "--fold", "0,a", "numbers from 0 on, as 0,3, or all"),
        ("train", "--cpus", "0", "a whole number at least 1"),
        ("train", "--gpus", "-0.5", "a number at least 0"),
        # Of the config.
        ("train", "--batch-size", "0", "a whole number at least 1"),
        ("train", "--image-size", "2048", "a whole number at least 16 and at most 1024"),
        ("train", "--learning-rate", "0", "a number above 0"),
        ("train", "--learning-rate", "fast", "a number above 0"),
        ("train", "--seed", "1.5", "a whole number at least 0 and below 2147483648"),
        ("search", "--epochs", "0", "a whole number at least 1"),
        ("search", "--trials", "0", "a whole number at least 1"),
        ("search", "--fold", "a", "numbers from 0 on, as 0,3, or all"),
        ("search", "--cpus", "0", "a whole number at least 1"),
    ],
)
def test_numbers_have_bounds(name, option, value, expected, capsys):
    message = f"argument {option}: expected {expected}, received {value!r}"
    assert refused(name, [option, value], capsys) == message
