"""`agd-search` as a user calls it."""

import re
import signal
import subprocess
import sys
import time

import pytest

from agd_keras.cli import search as search_command
from agd_keras.data.phantom import make_phantom

SMALL = [
    *("--image-size", "32", "--precision", "float32", "--set", "model.filters=[16, 32]"),
    *("--set", "model.skips=[1, 2]", "--set", "model.attention_at=[2]"),
    *("--set", "model.edge_filters=4"),
]


def run(arguments, capsys):
    """Exit status, standard output and the lines on standard error."""
    try:
        status = search_command.main(arguments)
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err.strip().splitlines()


@pytest.mark.slow
def test_rounds_of_the_paper(tmp_path, capsys):
    data = make_phantom(tmp_path / "data", patients=10, slices=4, size=32)
    out = tmp_path / "out"
    arguments = ["--rounds", "paper", "--data", str(data), "--out", str(out), *SMALL]
    status, shown, _ = run(arguments, capsys)
    assert status == 0
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (out / "table.md").read_text().splitlines()
        if re.match(r"\| \d", line)
    ]
    # trial, learning rate, filters, batch size, K, filter size and BCE of the paper, our BCE, Dice
    assert sorted(row[:7] for row in table) == [
        ["0", "0.0005", "4 8", "32", "5", "128", "0.11"],
        ["1", "0.0005", "8 16", "16", "5", "256", "0.34"],
        ["2", "0.001", "16 32", "32", "10", "512", "0.11"],
        ["3", "0.001", "8 16", "16", "5", "256", "0.11"],
        ["4", "0.01", "4 8", "128", "10", "128", "0.22"],
    ]
    bce = [float(row[7]) for row in table]
    assert bce == sorted(bce)
    assert "paper BCE" in shown and "test data had no part" in shown
    assert f"agd-train --config {out}/config.yaml" in shown


@pytest.mark.slow
def test_killed_in_the_middle_of_a_trial(small_phantom, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("training.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n")
    command = [sys.executable, "-m", "agd_keras.cli.search", "--space", str(space)]
    command += ["--trials", "3", "--epochs", "4", "--data", str(small_phantom), *SMALL]
    command += ["--set", "data.portions=6", "--set", "training.batch_size=4"]
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True)
    out = tmp_path / "parts"
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL)
    history = out / "trial-1" / "fold-0" / "history.csv"
    while not history.exists() or len(history.read_text().splitlines()) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "trial-1" / "result.json").exists()
    subprocess.run([*command, "--out", str(out), "--resume"], check=True)
    tables = [(tmp_path / name / "trials.csv").read_text() for name in ("whole", "parts")]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "one of the arguments --rounds --space is required"),
        (["--rounds", "paper", "--space", "x"], 2, "not allowed with"),
        (["--rounds", "paper", "--trials", "3"], 2, "--trials: not allowed with --rounds"),
        (["--rounds", "{tmp}/none.yaml"], 1, "{tmp}/none.yaml: expected a readable YAML file"),
        (["--space", "{tmp}/none.yaml"], 1, "{tmp}/none.yaml: expected a readable YAML file"),
        (["--rounds", "paper", "--data", "{tmp}/none"], 1, "{tmp}/none"),
        (
            ["--rounds", "paper", "--preset", "agd_huge"],
            1,
            "agd_tiny, agd_small, agd_paper",
        ),
        (["--rounds", "paper", "--out", "{tmp}/mine"], 1, "something else than a search"),
    ],
)
def test_bad_input_gets_one_line(arguments, status, message, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    out = tmp_path / "out"
    got, _, lines = run(["--out", str(out), *arguments], capsys)
    assert got == status
    assert message.format(tmp=tmp_path) in lines[-1]
    assert len(lines) == 1 or status == 2  # argparse shows the usage too
    assert not out.exists()
