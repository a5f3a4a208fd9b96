"""The files of an evaluation hold the figures of the evaluation, and nothing else is needed."""

import base64
import copy
import io
import json
import os
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.evaluation.summary import summarize
from agd_keras.runs.baselines import always_empty
from agd_keras.runs.headline import headline, main_metrics
from agd_keras.runs.report import summary_table, write_model_card, write_report
from agd_keras.runs.result_files import read_sums, write_metrics
from agd_keras.viz import charts, overlays

VOID = {"meta", "img", "link", "br", "hr", "input"}
GROUPS = ("pooled", "subject", "slice", "calibration", "confidence", "expected_volume")


class Page(HTMLParser):
    """Cells of the tables by their id, sources of images; fails on tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.images, self.text, self.tags = [], {}, [], "", set()
        self.folded, self.ids, self.targets = set(), set(), set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        if attributes.get("href", "").startswith("#"):
            self.targets.add(attributes["href"][1:])
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows = self.tables[attributes["id"]] = []
            if "details" in self.open:
                self.folded.add(attributes["id"])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.value = attributes.get("data-value")
            if self.value is not None:
                self.rows[-1].append(json.loads(self.value))
        elif tag == "img":
            self.images.append(attributes["src"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            cells = self.rows[-1]
            cells[-2 if self.value is not None else -1] += data


@pytest.fixture
def page(tmp_path, metrics):
    drawn = {
        "dice": charts.dice_per_patient(metrics),
        "reliability": charts.reliability_diagram(metrics),
    }
    path = write_report(tmp_path / "run", metrics, drawn, title="A <b>bold</b> & title")
    assert path == tmp_path / "run" / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_report_holds_the_numbers_of_metrics_json(page, metrics, tmp_path):
    stored = json.loads(write_metrics(metrics, tmp_path / "metrics.json").read_text())
    shown = {(group, name): value for group, name, _, value in page.tables["figures"][1:]}
    assert shown == {
        (group, name): value for group in GROUPS for name, value in stored[group].items()
    }
    written = {(group, name): text for group, name, text, _ in page.tables["figures"][1:]}
    assert written["pooled", "iou"] == f"{metrics['pooled']['iou']:.4f}"


def test_report_says_first_how_good(page, metrics):
    subject = metrics["subject"]
    low, high = subject["ci95_dice"]
    worst = min(metrics["subjects"], key=lambda name: metrics["subjects"][name]["dice"])
    said = (
        f"Mean Dice {subject['mean_dice']:.2f} (95 % interval {low:.2f} to {high:.2f}) over "
        f"3 patients. The worst is {worst} with {subject['min_dice']:.2f}."
    )
    assert said in page.text
    header, *lines = page.tables["main"]
    assert header == ["metric", "value"]
    assert [line[0] for line in lines] == [
        "Dice coefficient",
        "95th percentile Hausdorff distance",
        "Normalised surface Dice at 2 pixels",
        "Sensitivity (recall)",
        "Precision (positive predictive value)",
    ]
    values = [float(line[1].split()[0]) for line in lines]
    figures = [subject[name] for name in ("mean_dice", "mean_hd95", "mean_nsd")]
    figures += [metrics["pooled"][name] for name in ("recall", "precision")]
    assert values == pytest.approx(figures, abs=0.051)
    assert page.folded == {"protocol", "figures", "anchors", "subjects", "errors", "case_errors"}
    assert page.targets <= page.ids and len(page.targets) == 5


@pytest.mark.parametrize(
    ("unit", "shown"), [("mm", "2 mm"), ("px", "2 pixels"), (None, "2 pixels")]
)
def test_headline_and_units(metrics, unit, shown):
    missed = {"dice": 0.0, "voxels_true": 5}
    changed = {**metrics, "distance_unit": unit, "subjects": metrics["subjects"] | {"d": missed}}
    changed["protocol"] = {"patients_seen_in_training": 0}
    said = headline(changed)
    assert "over 4 patients that the model was not trained on." in said
    assert said.endswith("The worst is d with 0.00; in 1 patient the tumour was missed completely.")
    assert main_metrics(changed)[2].name == f"Normalised surface Dice at {shown}"
    assert main_metrics(changed)[1].value.endswith(", over 3 patients")


def test_pictures_of_folds_lead_to_their_reports(tmp_path, metrics):
    blank = np.zeros((8, 8), bool)
    drawn = overlays.cases([overlays.Shown("a", np.zeros((8, 8, 3), np.uint8), blank, blank)])
    path = write_report(tmp_path, metrics, {"fold-1/cases": drawn}, parts=["fold-0", "fold-1"])
    text = path.read_text(encoding="utf-8")
    assert text.count('href="fold-1/report.html"') == 2
    assert text.index("headline") < text.index("<img") < text.index('id="main"')


def test_report_lists_patients_worst_first(page, metrics):
    header, *lines = page.tables["subjects"]
    assert header == ["patient", "dice", "iou", "hd95", "nsd", "voxels true", "voxels pred"]
    assert {line[0] for line in lines} == set(metrics["subjects"])
    dices = [float(line[1]) for line in lines]
    assert dices == sorted(dices)
    for line in lines:
        assert line[5] == str(metrics["subjects"][line[0]]["voxels_true"])


def test_report_names_the_protocol_of_every_figure_beside_ours(page, metrics):
    header, own, empty, *anchors = page.tables["anchors"]
    table = {line[0]: dict(zip(header, line, strict=True)) for line in anchors}
    assert own[:2] == ["agd_tiny", "subject-wise, 5-fold"]
    assert own[header.index("iou")] == f"{metrics['pooled']['iou']:.4f}"
    assert own[header.index("median dice")] == f"{metrics['subject']['median_dice']:.4f}"
    assert empty[0] == "always empty"
    assert all(line["protocol"] for line in table.values())
    augmented = table["AGD paper (Cvetko 2021), augmented"]
    names = ("accuracy", "precision", "recall", "f1", "bce")
    assert [float(augmented[name]) for name in names] == [0.821, 0.893, 0.931, 0.88, 0.08]
    assert augmented["protocol"] == "record-wise, 10-fold"
    assert table["two expert readers"]["mean dice"] == "0.84 ± 0.02"
    assert dict(page.tables["protocol"])["seed"] == "0"
    assert dict(page.tables["protocol"])["augmentation"] == "-"


def test_report_needs_no_other_file(page):
    assert page.tags.isdisjoint({"script", "link", "iframe"})
    assert len(page.images) == 2
    for source in page.images:
        kind, data = source.split(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size > (100, 100)
    assert "A <b>bold</b> & title" in page.text  # shown as it is, not interpreted


def test_record_wise_figures_carry_a_warning(tmp_path, metrics, page):
    assert "are in training and in test" not in page.text
    record = copy.deepcopy(metrics)
    record["protocol"]["split"] = "record"
    text = write_report(tmp_path, record, {}).read_text(encoding="utf-8")
    assert "slices of one patient are in training and in test" in Page(text).text
    card = write_model_card(tmp_path / "MODEL_CARD.md", record, "m", "d", "l").read_text()
    assert "slices of one patient are in training and in test" in card
    assert "are in training and in test" in summary_table(record).caption
    record["protocol"]["patients_seen_in_training"] = 0
    text = write_report(tmp_path, record, {}).read_text(encoding="utf-8")
    assert "are in training and in test" not in Page(text).text
    assert summary_table(record).caption is None


@pytest.mark.parametrize("split", ["subject", "record"])
def test_patients_seen_in_training_carry_a_warning(tmp_path, metrics, split):
    sentence = "2 of 3 patients were trained or validated on: the metrics are too high."
    protocol = metrics["protocol"] | {"split": split, "patients_seen_in_training": 2}
    seen = {**metrics, "protocol": protocol}
    page = Page(write_report(tmp_path, seen, {}).read_text(encoding="utf-8"))
    card = write_model_card(tmp_path / "MODEL_CARD.md", seen, "m", "d", "l").read_text()
    caption = summary_table(seen).caption
    assert dict(page.tables["protocol"])["patients seen in training"] == "2"
    for text in (page.text, card, caption):
        assert sentence in text
        assert ("are in training and in test" in text) == (split == "record")


@pytest.mark.parametrize("seen", [0, None])
def test_no_warning_without_patients_seen(metrics, seen):
    protocol = metrics["protocol"] | {"patients_seen_in_training": seen}
    assert summary_table({**metrics, "protocol": protocol}).caption is None


def test_report_of_real_size_is_small(tmp_path, metrics):
    rng = np.random.default_rng(0)
    blank = np.zeros((256, 256), dtype=bool)
    noisy = [rng.normal(90, 12, (256, 256, 3)).clip(0, 255).astype(np.uint8) for _ in range(3)]
    drawn = {
        "cases": overlays.cases([overlays.Shown("noise", image, blank, blank) for image in noisy]),
        "maps": overlays.maps(
            noisy[0], {"mask": noisy[1][..., 0] / 255, "edge": rng.random((64, 64))}
        ),
        "dice": charts.dice_per_patient(metrics),
        "confusion": charts.confusion_matrix(metrics),
        "reliability": charts.reliability_diagram(metrics),
    }
    many = {f"patient {i}": entry for i in range(40) for entry in metrics["subjects"].values()}
    path = write_report(tmp_path, {**metrics, "subjects": many}, drawn)
    assert path.stat().st_size < 3_000_000


def test_always_empty_equals_an_evaluation(dataset, make_predictor, metrics):
    predict = make_predictor(lambda truth: np.zeros(truth.shape))
    expected = evaluate(predict, dataset, surface=False)
    baseline = always_empty(metrics)
    for name in ("accuracy", "precision", "recall", "f1", "iou"):
        assert baseline[name] == expected["pooled"][name]
    assert baseline["bce"] == pytest.approx(expected["pooled"]["bce"], rel=1e-5)
    assert baseline["mean dice"] == expected["subject"]["mean_dice"]
    assert baseline["median dice"] == expected["subject"]["median_dice"]


def test_metrics_come_back_exactly(tmp_path, metrics):
    path = write_metrics(metrics, tmp_path / "new" / "metrics.json")
    stored = json.loads(path.read_text())
    subjects = stored.pop("subjects")
    assert stored == {key: value for key, value in metrics.items() if key != "subjects"}
    keys = {"dice", "iou", "hd95", "nsd", "unit", "voxels_true", "voxels_pred", "errors"}
    keys |= {"confidence", "expected_volume"}
    assert subjects.keys() == metrics["subjects"].keys()
    for patient, entry in subjects.items():
        assert entry.keys() == keys
        assert entry.items() <= metrics["subjects"][patient].items()


def test_sums_of_folds_pool_to_the_whole(tmp_path, dataset, metrics, shifted):
    for names in ("ac", "b"):
        part = evaluate(shifted, [item for item in dataset if item.case_id in names])
        write_metrics(part, tmp_path / names / "metrics.json")
    entries = {
        **read_sums(tmp_path / "ac" / "sums.json"),
        **read_sums(tmp_path / "b" / "sums.json"),
    }
    whole = summarize({name: entries[name] for name in sorted(entries)})
    assert whole == {group: metrics[group] for group in (*GROUPS, "errors", "distance_unit")}


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"a": 1}'])
def test_sums_that_are_none(tmp_path, content):
    path = tmp_path / "sums.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"sums\.json: expected a sums\.json"):
        read_sums(path)


def test_failed_write_leaves_the_old_file(tmp_path, metrics):
    path = write_metrics(metrics, tmp_path / "metrics.json")
    sums = path.with_name("sums.json")
    before = path.read_bytes(), sums.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_metrics({**metrics, "threshold": float("nan")}, path)
    assert (path.read_bytes(), sums.read_bytes()) == before
    assert sorted(os.listdir(tmp_path)) == ["metrics.json", "sums.json"]


def test_interrupted_write_leaves_nothing(tmp_path, metrics, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_metrics(metrics, tmp_path / "metrics.json")
    assert os.listdir(tmp_path) == []


def test_table_on_screen(metrics):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(metrics))
    text = console.export_text()
    assert "subject-wise, 5-fold" in text
    for figure in (metrics["pooled"]["iou"], metrics["subject"]["mean_nsd"]):
        assert f"{figure:.4f}" in text
    low, high = metrics["subject"]["ci95_dice"]
    assert f"{low:.4f} to {high:.4f}" in text


def test_missing_figures_are_shown_as_missing(tmp_path, dataset, shifted):
    part = [item for item in dataset if item.case_id == "c"]
    bare = evaluate(shifted, part, surface=False)
    page = Page(write_report(tmp_path, bare, {}).read_text(encoding="utf-8"))
    shown = {name: (text, value) for _, name, text, value in page.tables["figures"][1:]}
    assert shown["mean_hd95"] == ("-", None)
    assert shown["ci95_dice"] == ("-", [None, None])
    assert page.tables["anchors"][1][:2] == ["this model", "-"]
    assert str(summary_table(bare).title) == "protocol not stated"
    write_model_card(tmp_path / "MODEL_CARD.md", bare, "m", "d", "l")


def test_model_card(tmp_path, metrics):
    text = write_model_card(
        tmp_path / "MODEL_CARD.md",
        metrics,
        model="agd_tiny, 128 px",
        data="75 patients of TCGA-LGG",
        data_license="CC BY-NC-SA 4.0",
        parameters=299_999,
    ).read_text()
    lines = text.splitlines()
    assert lines[0] == "# agd_tiny, 128 px"
    assert "Licence of the data: CC BY-NC-SA 4.0" in lines
    assert "299,999 parameters." in lines
    assert "**Not a medical device**" in text
    assert headline(metrics) in lines
    assert "glioma" not in text and "Groups of patients" not in text  # of these three
    assert "| group | figure (subject-wise, 5-fold) | value |" in lines
    for group in GROUPS:
        for name, value in metrics[group].items():
            if isinstance(value, float):
                assert f"| {group} | {name} | {value:.4f} |" in lines
    low, high = metrics["subject"]["ci95_dice"]
    assert f"| subject | ci95_dice | {low:.4f} to {high:.4f} |" in lines


def test_report_has_the_kinds_of_error(page, metrics):
    header, *lines = page.tables["errors"]
    assert header == ["kind", "wrong pixels", "share", "mean Dice if repaired"]
    assert [line[0] for line in lines] == ["outline", "missed", "invented", "region"]
    for line in lines:
        figures = metrics["errors"][line[0]]
        assert line[2] == f"{100 * figures['share']:.0f} %"
        assert line[3] == f"{figures['dice_if_repaired']:.4f}"
    by_patient = {line[0]: line[1:] for line in page.tables["case_errors"][1:]}
    assert by_patient.keys() == metrics["subjects"].keys()
    assert by_patient["c"] == ["-"] * 4  # nothing is wrong there
