"""What the commands print, wherever it goes."""

import io
import sys

import pytest
from rich.table import Table

from agd_keras.cli import common


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_letter_ends_a_command(encoding, monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding, write_through=True))
    common.parser("agd-try", "±")
    table = Table(title="mean ± std, 128×128")
    table.add_column("Dice … \udcff")
    table.add_row("0.8 ± 0.1")
    common.print_table(table)
    print("folder: runs/ü\udcff")
    text = out.getvalue().decode(encoding)
    assert ("0.8 ? 0.1" if encoding == "ascii" else "0.8 ± 0.1") in text
    assert "folder: runs/" in text
