"""Hostile names of patients, files and options, driven through the commands to their outputs."""

import csv
import os
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from agd_keras.cli import evaluate, predict
from agd_keras.config import make_config, save_config
from agd_keras.models import agd_autoencoder
from agd_keras.runs.provenance import find_origin
from agd_keras.runs.report import write_model_card
from agd_keras.runs.result_files import write_metrics

NAMES = [
    *(r"$\bad$", "[b]", "<b>x", "=1+1", "-2", "@x", "a|b", "new\nline", "\x1b[31mred", "`x`"),
    *("a\u202eb", "not-\udcff-utf8", "CON", "x" * 200, "a;=1", "# a", "CASE", "case"),
]
ON_SCREEN = ("\x1b", "\u202e", "\udcff")


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def write_slices(folder: Path, name: str, rng) -> None:
    (folder / name).mkdir(parents=True)
    for number in (1, 2):
        image = rng.integers(0, 90, (32, 32, 3), np.uint8)
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, 8 : 16 + number] = 255
        Image.fromarray(image).save(folder / name / f"{name}_{number}.tif")
        Image.fromarray(mask).save(folder / name / f"{name}_{number}_mask.tif")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder whose config holds what no run writes."""
    folder = tmp_path_factory.mktemp("runs") / "<script>run"
    (folder / "fold-0").mkdir(parents=True)
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(folder / "fold-0" / "model.keras")
    values = {"split": "[/b]", "folds": "<script>", "augment": 10**15}
    text = yaml.safe_dump({"preset": "<script>|\n", "data": values, "training": {"seed": "x\x1b"}})
    (folder / "config.yaml").write_text(text + "  when: 2020-01-01\n")
    return folder


@pytest.fixture
def data(tmp_path):
    if sys.platform != "linux":
        pytest.skip("names that only Linux has")
    rng = np.random.default_rng(0)
    for name in NAMES:
        write_slices(tmp_path / "data", name, rng)
    return tmp_path / "data"


def test_evaluate_ends_and_shows_text_only(run, data, tmp_path, capsys):
    out = tmp_path / "results"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks
        arguments = ["--model", str(run), "--data", str(data), "--out", str(out)]
        assert evaluate.main(arguments) == 0
    shown = "".join(capsys.readouterr())
    assert not any(letter in shown for letter in ON_SCREEN)
    assert "[/b]" in shown
    page = (out / "report.html").read_text(encoding="utf-8")
    assert not {"script", "b"} & set(Tags(page).found)
    assert "&lt;b&gt;x" in page and "not-\\udcff-utf8" in page and "\u202e" not in page
    assert {path.name for path in (out / "figures").iterdir()} >= {"cases.png"}


def test_predict_writes_every_case_and_a_table_without_formulas(run, data, tmp_path, capsys):
    out = tmp_path / "out"
    (data / "-2" / "broken\x1b\n.png").write_bytes(b"none")
    arguments = [str(data), "--model", str(run), "--out", str(out), "--no-overlays"]
    assert predict.main(arguments) == 1  # the broken one
    shown = "".join(capsys.readouterr())
    assert not any(letter in shown for letter in ON_SCREEN)
    assert all(len(line) < 500 for line in shown.splitlines())
    with open(out / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(NAMES) + 1
    assert sum(row["notes"].startswith("not predicted") for row in rows) == 1
    for row in rows:
        for cell in filter(None, row.values()):
            assert cell[0] not in "=+@\t\r" and (cell[0] != "-" or float(cell))
    masks = {os.fsencode(path.relative_to(out)) for path in out.rglob("*_mask*") if path.is_file()}
    assert len(masks) >= len(NAMES)


def test_a_name_too_long_for_its_mask_costs_only_itself(run, tmp_path, caplog):
    rng = np.random.default_rng(0)
    long, short = f"{'y' * 251}.png", "z.png"
    for name in (long, short):
        Image.fromarray(rng.integers(0, 90, (32, 32, 3), np.uint8)).save(tmp_path / name)
    out = tmp_path / "out"
    inputs = [str(tmp_path / long), str(tmp_path / short)]
    assert predict.main([*inputs, "--model", str(run), "--out", str(out)]) == 1
    assert "the name is too long for outputs" in caplog.text
    assert sorted(path.name for path in out.iterdir()) == [
        *("predictions.csv", "z_mask.png", "z_overlay.png"),
    ]


def test_a_card_holds_the_config_as_text(run, tmp_path):
    origin = find_origin(run, [])
    entry = {"dice": 1.0, "voxels_true": 1, "voxels_pred": 1}
    subject = {f"{name}_dice": 1.0 for name in ("mean", "median", "std", "min")}
    metrics = {"protocol": origin, "threshold": 0.5, "subjects": {"<b>|": entry}}
    metrics |= {"subject": subject, "pooled": {}, "calibration": {}}
    metrics["slice"] = {"empty_false_positive_rate": None}
    write_metrics({**metrics, "subjects": {}}, tmp_path / "metrics.json")  # JSON can hold it
    card = write_model_card(tmp_path / "CARD.md", metrics, origin["model"], "<i>", "a").read_text()
    assert not any(tag in card for tag in ("<script", "<b>", "<i>"))
    assert "| &lt;b>\\| |" in card
    config = make_config({"data": {"path": "<b>\udcff"}})
    save_config(config, tmp_path / "config.yaml")
