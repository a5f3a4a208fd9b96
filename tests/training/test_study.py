"""Studies: what their variants change, what resumes, what is refused, what the tables hold.

Folds are tested with a known fault instead of a network; one slow test trains real ones.
"""

import json
import shlex
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from agd_keras.config import differences, make_config
from agd_keras.data.cache import build_cache
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.slices import Slice, places
from agd_keras.data.splits import load_folds, make_folds, select
from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.io.data_set import find_data_set
from agd_keras.runs import train as train_module
from agd_keras.runs.aggregate import gather
from agd_keras.runs.environment import record_environment
from agd_keras.runs.result_files import write_metrics
from agd_keras.runs.run_folder import RunFolder
from agd_keras.runs.study import run_study
from agd_keras.runs.study_report import study_tables
from agd_keras.runs.train import train
from agd_keras.runs.variants import STUDIES, make_variants
from agd_keras.values import load_config, merge, parse_setting

TINY = {
    "data": {"image_size": 32, "folds": 3, "portions": 6},
    "model": {"filters": [4, 8], "skips": [1, 2], "attention_at": [2], "edge_filters": 4},
    "training": {"epochs": 1, "batch_size": 4, "precision": "float32"},
}
LEVELS = (1, 2, 3, 4)


def tiny(path, **values):
    return make_config(merge(TINY, {"data": {"path": str(path)}}, values))


@pytest.fixture
def trained(monkeypatch):
    """Stands in for training: marks whole columns more than the truth in the worse variants.

    Returns the folders of the folds in the order they were asked for, finished before or not.
    """
    asked = []

    def train_fold(run, index):
        folder = run / f"fold-{index}"
        asked.append(f"{run.name}/{folder.name}")
        if RunFolder(run).fold(index).is_done:
            return
        config = make_config(load_config(run / "config.yaml"))
        fold = load_folds(run / "folds.json")[index]
        cases = find_data_set(config.data.path)
        pairs = [pair for ref in cases for pair in zip(ref.files, ref.label, strict=True)]
        truths = {name: np.asarray(Image.open(label)) > 0 for name, label in pairs}
        images = {np.asarray(Image.open(name)).tobytes(): name for name in truths}
        columns = 2 if config.data.split == "subject" else 1
        columns += config.model.attention is False

        def predict(case):
            known = [truths[images[image.tobytes()]] for image in case.images]
            probability = np.stack(known) * 0.9
            probability[:, :, :columns] = 0.9
            return probability

        folder.mkdir()
        record_environment(folder / "environment.json", config, "same")
        protocol = {"split": config.data.split, "augmentation": config.data.augment}
        slices = build_cache(cases, Preprocessor(32)).slices
        scored = places(select(slices, fold.test, config.data.split))
        test = [ref for ref in cases if ref.case_id in scored]
        metrics = evaluate(predict, test, surface=False, protocol=protocol, scored=scored)
        write_metrics(metrics, folder / "metrics.json")
        own = RunFolder(run).fold(index)
        own.write_record(config, fold, "same", parameters=1234, seconds=2.5)

    def pool(run):
        write_metrics(metrics := gather(run), run / "metrics.json")
        return metrics

    monkeypatch.setattr(train_module, "train_fold", train_fold)
    monkeypatch.setattr(train_module, "report_run", pool)  # without the charts
    return asked


def dices(root, columns):
    """Dice of each patient when the first columns are marked in every slice, from the files."""
    masks = {}
    for path in sorted(root.glob("*/*_mask.tif")):
        masks.setdefault(path.parent.name, []).append(np.asarray(Image.open(path)) > 0)
    found = {}
    for patient, stack in masks.items():
        truth = np.stack(stack)
        prediction = truth.copy()
        prediction[:, :, :columns] = True
        found[patient] = 2 * (truth & prediction).sum() / (truth.sum() + prediction.sum())
    return np.array([found[patient] for patient in sorted(found)])


# --- variants


def test_leak_varies_the_split_only():
    variants = make_variants("leak", make_config({"training": {"epochs": 10}}))
    assert list(variants) == ["subject", "record"]
    assert differences(*variants.values()) == ["data.split"]
    assert {one.data.folds for one in variants.values()} == {5}
    assert make_variants("leak", make_config({"data": {"folds": 10}}))["record"].data.folds == 10


@pytest.mark.parametrize("preset", ["agd_tiny", "agd_small", "agd_paper"])
def test_ablation_varies_the_named_parts_only(preset):
    config = make_config({"preset": preset})
    variants = make_variants("ablation", config)
    assert {name: differences(variants["full"], one) for name, one in variants.items()} == {
        "full": [],
        "no_gate": ["model.attention"],
        "no_edge": ["model.edge"],
        "neither": ["model.attention", "model.edge"],
        "all_gates": [*(["model.skips"] if preset == "agd_paper" else []), "model.attention_at"],
    }
    assert variants["full"].model == config.model
    assert variants["all_gates"].model.attention_at == LEVELS
    assert variants["all_gates"].model.skips == LEVELS


def test_paper_has_its_eight_protocols_in_four_runs():
    config = make_config(dict(STUDIES["paper"].values))
    variants = make_variants("paper", config)
    assert config.preset == "agd_paper"
    assert {
        name: (one.data.split, one.data.augment, one.data.folds) for name, one in variants.items()
    } == {
        "record_plain": ("record", "none", 5),
        "record_augmented": ("record", "paper", 5),
        "subject_plain": ("subject", "none", 5),
        "subject_augmented": ("subject", "paper", 5),
    }
    assert {(d.portions, d.validation_portions) for d in (v.data for v in variants.values())} == {
        (10, 2)
    }


def test_variants_that_do_not_differ_are_refused():
    with pytest.raises(InputError, match="all_gates is the same as full"):
        make_variants("ablation", make_config({"model": {"attention_at": LEVELS}}))
    with pytest.raises(InputError, match="'leeks': expected one of paper, leak, ablation"):
        make_variants("leeks", make_config({}))


@pytest.mark.parametrize("split", ["subject", "record"])
@pytest.mark.parametrize("patients", [10, 23, 75])
def test_one_test_is_the_first_of_five_folds(split, patients):
    slices = [
        Slice(f"p{patient:02}", f"p{patient:02}", index, index - 1)
        for patient in range(patients)
        for index in (1, 2)
    ]
    rng = np.random.default_rng(patients)
    areas = {
        one.name: int(area) for one, area in zip(slices, rng.poisson(50, len(slices)), strict=True)
    }
    arguments = {"split": split, "portions": 10, "validation_portions": 2, "seed": 3}
    (single,) = make_folds(slices, areas, folds=1, **arguments)
    rotated = make_folds(slices, areas, folds=5, **arguments)
    assert single == rotated[0]
    sizes = np.array([len(single.train), len(single.validation), len(single.test)])
    units = patients * (1 if split == "subject" else 2)
    np.testing.assert_allclose(sizes / units, [0.6, 0.2, 0.2], atol=2 / units)


# --- whole studies


def test_leak_finds_the_known_difference(small_phantom, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "leak"
    results = run_study("leak", tiny(small_phantom), out)
    assert len(trained) == 6
    expected = dices(small_phantom, 1) - dices(small_phantom, 2)
    difference = results["differences"]["record"]
    assert difference["dice"]["value"] == pytest.approx(expected.mean())
    assert (difference["better"], difference["worse"], difference["patients"]) == (6, 0, 6)
    assert difference["p"] == pytest.approx(2 / 2**6)  # all signs alike, of 2^6 cases
    assert difference["p_holm"] == difference["p"]
    low, high = difference["dice"]["ci95"]
    assert low < expected.mean() < high
    assert results["runs"]["subject"]["mean_dice"]["value"] == pytest.approx(
        dices(small_phantom, 2).mean()
    )
    assert results["protocol"]["portions"] == [3, 1, 2]
    assert results["seconds"] == 15  # six folds
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))

    text = (out / "table.md").read_text()
    assert f"| record − subject | {expected.mean():+.3f} [" in text
    assert "- data: phantom, fingerprint same" in text
    assert str(tmp_path / "leak") not in text  # paths as seen from where it runs
    assert "--recipe leak --preset agd_tiny" in text
    assert "--set data.folds=3" in text
    assert "| 6 / 0 of 6 |" in text
    blocks = [[line for line in b.splitlines() if line[0] == "|"] for b in text.split("\n\n")]
    for block in blocks:  # every row of a table has as many cells as its header
        assert all(one.count("|") == other.count("|") for one, other in pairwise(block))
    assert [table.row_count for table in study_tables(results)] == [2, 1]


def test_command_trains_the_same_study(small_phantom, trained, tmp_path):
    config = tiny(small_phantom)
    results = run_study("ablation", config, tmp_path / "ablation")
    words = shlex.split(results["command"])
    options = dict(zip(words[1:-1:2], words[2::2], strict=False))
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    data = {"data": {"path": options["--data"]}}
    again = make_config(merge({"preset": "agd_tiny"}, data, *map(parse_setting, settings)))
    assert make_variants("ablation", again) == make_variants("ablation", config)


def test_resume_trains_what_is_missing_and_gathers_runs_trained_before(
    small_phantom, trained, tmp_path
):
    config, out = tiny(small_phantom), tmp_path / "ablation"
    variants = make_variants("ablation", config)
    train(variants["full"], out / "full")
    train(variants["neither"], out / "neither", only=[1])
    starts = (out / "full" / "environment.json").read_text()
    trained.clear()
    results = run_study("ablation", config, out, resume=True)
    assert not [fold for fold in trained if fold.startswith("full/")]
    assert len(trained) == 4 * 3  # the fold done before is asked for, and stays
    assert (out / "full" / "environment.json").read_text() == starts
    assert set(results["runs"]) == set(variants)

    # Without a gate one column more is wrong; the edge detector and more gates change nothing.
    worse = (dices(small_phantom, 3) - dices(small_phantom, 2)).mean()
    found = {name: one["dice"]["value"] for name, one in results["differences"].items()}
    assert found == pytest.approx(
        {"no_gate": worse, "no_edge": 0, "neither": worse, "all_gates": 0}
    )
    p = {name: (one["p"], one["p_holm"]) for name, one in results["differences"].items()}
    assert p["no_gate"] == pytest.approx((2 / 2**6, 4 * 2 / 2**6))
    assert p["all_gates"] == (1.0, 1.0)

    trained.clear()
    assert run_study("ablation", config, out, resume=True)["differences"] == results["differences"]
    assert trained == []


def test_paper_puts_eight_protocols_beside_its_figures(small_phantom, trained, tmp_path):
    out = tmp_path / "paper"
    results = run_study("paper", tiny(small_phantom, data={"folds": 5}), out)
    assert len(results["tests"]) == 8
    assert [name for name in results["tests"] if name.startswith("subject-wise, plain")] == [
        "subject-wise, plain, 5-fold",
        "subject-wise, plain, one test",
    ]
    one = json.loads((out / "subject_plain" / "fold-0" / "metrics.json").read_text())
    assert results["tests"]["subject-wise, plain, one test"]["pooled"] == one["pooled"]
    whole = json.loads((out / "record_augmented" / "metrics.json").read_text())
    assert results["tests"]["record-wise, augmented, 5-fold"]["pooled"] == whole["pooled"]
    with Image.open(out / "confusion.png") as picture:
        assert picture.width > picture.height > 500
    text = (out / "table.md").read_text()
    assert "| precision | 0.893 |" in text
    assert "data.split" not in results["command"]  # what the study varies
    assert "protocol: 5-fold, portions to train, validate and test 6 / 2 / 2" in text
    assert [table.row_count for table in study_tables(results)] == [8, 8]


def test_folds_can_be_shared_out(small_phantom, trained, tmp_path, caplog):
    config, out = tiny(small_phantom), tmp_path / "leak"
    with caplog.at_level("INFO"):
        assert run_study("leak", config, out, only=[0, 2]) is None
    assert [line for line in caplog.messages if "still to do" in line] == [
        f"{variant}: still to do: --recipe leak --resume --fold 1"
        for variant in ("subject", "record")
    ]
    assert not (out / "table.md").exists()
    assert run_study("leak", config, out, resume=True, only=[1])["differences"]


def test_existing_folders(small_phantom, trained, tmp_path):
    config, out = tiny(small_phantom), tmp_path / "leak"
    with pytest.raises(InputError, match="expected the folder of a study leak, found nothing"):
        run_study("leak", config, out, resume=True)
    first = run_study("leak", config, out)
    with pytest.raises(InputError, match="--resume or --overwrite"):
        run_study("leak", config, out)
    other = tiny(small_phantom, training={"seed": 1})
    with pytest.raises(InputError, match=r"leak/subject: .* not other training.seed"):
        run_study("leak", other, out, resume=True)
    with pytest.raises(InputError, match="something else than a study ablation"):
        run_study("ablation", config, out, overwrite=True)
    assert run_study("leak", other, out, overwrite=True)["protocol"]["seed"] == 1
    assert first["protocol"]["seed"] == 0


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("where", ["notes.txt", "subject/notes.txt"])
def test_foreign_folder_is_refused_and_left_alone(options, where, small_phantom, trained, tmp_path):
    foreign = tmp_path / "leak" / where
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    with pytest.raises(InputError, match="expected a new folder"):
        run_study("leak", tiny(small_phantom), tmp_path / "leak", **options)
    assert foreign.read_text() == "mine"
    assert len(list((tmp_path / "leak").rglob("*"))) == len(where.split("/"))


def test_nothing_is_left_of_a_study_that_cannot_be_trained(small_phantom, trained, tmp_path):
    with pytest.raises(InputError, match="none"):
        run_study("leak", tiny(tmp_path / "none"), tmp_path / "leak")
    too_many = tiny(small_phantom, data={"folds": 7, "portions": 7})
    with pytest.raises(InputError, match="folds 7"):
        run_study("leak", too_many, tmp_path / "leak")
    assert not (tmp_path / "leak").exists()


def test_interrupted_overwriting_leaves_no_older_run(small_phantom, trained, tmp_path, monkeypatch):
    config, out = tiny(small_phantom), tmp_path / "leak"
    run_study("leak", config, out)

    def interrupted(run, index):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "train_fold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_study("leak", config, out, overwrite=True)
    assert not list(out.glob("*/fold-*"))
    assert sorted(path.name for path in out.iterdir()) == ["config.yaml", "record", "subject"]
    trained.clear()
    assert run_study("leak", config, out, resume=True)
    assert len(trained) == 6


def test_time_is_left_out_where_it_is_not_known(small_phantom, trained, tmp_path):
    config, out = tiny(small_phantom), tmp_path / "leak"
    run_study("leak", config, out)
    path = out / "record" / "fold-1" / "fold.json"
    record = json.loads(path.read_text())
    del record["seconds"]  # as of an earlier version
    path.write_text(json.dumps(record))
    assert run_study("leak", config, out, resume=True)["seconds"] is None
    assert "- time" not in (out / "table.md").read_text()


@pytest.mark.slow
def test_a_study_of_networks_that_resumes(small_phantom, tmp_path):
    config, out = tiny(small_phantom, data={"folds": 2}), tmp_path / "leak"
    assert run_study("leak", config, out, only=[1]) is None
    results = run_study("leak", config, out, resume=True)
    alone = train(make_variants("leak", config)["record"], tmp_path / "alone")
    record, subject = (
        json.loads((out / name / "metrics.json").read_text()) for name in ("record", "subject")
    )
    assert record["pooled"] == alone["pooled"]
    assert results["runs"]["record"]["folds"]["iou"] == alone["folds"]["pooled"]["iou"]
    changes = [
        record["subjects"][name]["dice"] - entry["dice"]
        for name, entry in subject["subjects"].items()
    ]
    assert len(changes) == 6
    assert results["differences"]["record"]["dice"]["value"] == pytest.approx(np.mean(changes))
    fingerprint = build_cache(find_data_set(small_phantom), Preprocessor(32)).data_fingerprint
    assert results["protocol"]["data_fingerprint"] == fingerprint
    assert (out / "record" / "report.html").is_file()
