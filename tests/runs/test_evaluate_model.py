"""Results are written whole, over nothing but results, for any data with masks."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from agd_keras.data.splits import Fold, save_folds
from agd_keras.errors import InputError
from agd_keras.inference.calibration import Calibration
from agd_keras.io.data_set import find_data_set
from agd_keras.models import agd_autoencoder
from agd_keras.runs import evaluate_model as module
from agd_keras.runs.evaluate_model import assess, evaluate_model
from agd_keras.runs.result_files import read_sums


class Bright:
    """Stands in for a network: what is bright on FLAIR is tumour."""

    calibration = Calibration()
    familiarity = None

    def predict_patient(self, images):
        return images[..., 1].astype(np.float32) / 255

    def explain(self, images, place):
        return {"mask": self.predict_patient(images)[place]}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(path)
    return path


@pytest.fixture
def data(small_phantom, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(small_phantom, tmp_path / "data")


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def content(folder):
    return {name: (folder / name).read_bytes() for name in files(folder)}


def clear_masks(root):
    for path in root.rglob("*_mask.tif"):
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.zeros_like(mask)).save(path)


def test_files_hold_what_is_returned(small_phantom, tmp_path):
    history = tmp_path / "history.csv"
    history.write_text("epoch,loss,val_dice,val_bce\n1,0.5,0.2,0.3\n2,0.4,0.3,0.2\n")
    out = tmp_path / "out"
    out.mkdir()
    calls = []
    metrics = assess(
        *(Bright(), find_data_set(small_phantom), out, {"seed": 3}, "Title"),
        history=history,
        progress=lambda *call: calls.append(call),
        uncertainty="tta",
        second_reader=small_phantom,  # who has drawn what the first has
    )
    assert files(out) == set(module.RESULTS)
    study = json.loads((out / "readers.json").read_text())
    assert study == metrics["readers"]
    assert (study["patients"], study["readers"]["value"]) == (6, 1.0)
    assert study["first"] == study["second"]
    assert study["first"]["value"] == pytest.approx(metrics["subject"]["mean_dice"])
    assert "Williams&#39; index" in (out / "report.html").read_text()
    with Image.open(out / "figures" / "scroll_worst.gif") as film:
        worst = min(metrics["subjects"], key=lambda patient: metrics["subjects"][patient]["dice"])
        assert film.n_frames == metrics["subjects"][worst]["slices"]
    assert (out / "report.html").read_text().count("data:image/gif;base64,") == 2
    assert calls == [(done, 6) for done in range(1, 7)] * 2  # scores, then uncertainty
    stored = json.loads((out / "metrics.json").read_text())
    assert stored["protocol"]["seed"] == 3
    assert {key: stored[key] for key in ("pooled", "subject")} == {
        key: metrics[key] for key in ("pooled", "subject")
    }
    assert read_sums(out / "sums.json") == metrics["subjects"]


def test_healthy_controls_have_no_case(data, tmp_path):
    clear_masks(data)
    out = tmp_path / "out"
    out.mkdir()
    metrics = assess(Bright(), find_data_set(data), out, {}, "Healthy")
    names = ("dice_per_patient", "confusion_matrix", "reliability")
    results = {"metrics.json", "sums.json", "report.html"}
    assert files(out) == results | {f"figures/{name}.png" for name in names}
    assert all(entry["voxels_true"] == 0 for entry in metrics["subjects"].values())


@pytest.mark.parametrize("tumor", [True, False])
def test_single_patient(model, data, tmp_path, tumor):
    first, *others = sorted(path for path in data.iterdir() if path.is_dir())
    for folder in others:
        shutil.rmtree(folder)
    (data / "data.csv").unlink(missing_ok=True)
    if not tumor:
        clear_masks(data)
    metrics = evaluate_model(model, data, tmp_path / "out")
    assert list(metrics["subjects"]) == [first.name]
    assert metrics["subject"]["ci95_dice"] == [None, None]
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "figures" / "maps_best.png").is_file() == tumor


def test_metrics_survive_a_failed_figure(small_phantom, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no figure")

    monkeypatch.setattr(module.charts, "confusion_matrix", fail)
    with pytest.raises(RuntimeError, match="no figure"):
        assess(Bright(), find_data_set(small_phantom), tmp_path, {}, "Title")
    assert json.loads((tmp_path / "metrics.json").read_text())["pooled"]


# --- a saved model on a folder


def test_overwrite_replaces_results_only(model, small_phantom, tmp_path):
    out = tmp_path / "deep" / "out"
    evaluate_model(model, small_phantom, out)
    with pytest.raises(InputError, match="found results; --overwrite"):
        evaluate_model(model, small_phantom, out)
    (out / "metrics.json").write_text("old")
    (out / "figures" / "training.png").write_text("old")  # of which this evaluation has none
    evaluate_model(model, small_phantom, out, overwrite=True)
    missing = {"figures/training.png", module.UNCERTAINTY, module.READERS}
    pictures = ("filtering_curves", "risk_coverage", "readers")
    missing |= {f"figures/{name}.png" for name in pictures}
    assert files(out) == set(module.RESULTS) - missing
    assert json.loads((out / "metrics.json").read_text())["threshold"] == 0.5


@pytest.mark.parametrize(
    "name", ["thesis.txt", "figures/own.png", "sub/metrics.json", "config.yaml", "fold-0/x"]
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_folder_with_anything_else_is_refused(model, small_phantom, tmp_path, name, overwrite):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    (out / "metrics.json").write_text("{}")
    before = content(out)
    with pytest.raises(InputError, match=f"holds {name.split('/')[0]}"):
        evaluate_model(model, small_phantom, out, overwrite)
    assert content(out) == before


@pytest.mark.parametrize("out", ["file", "file/out", "link"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_out_that_cannot_be_a_folder(model, small_phantom, tmp_path, out, overwrite):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match=f"{tmp_path / out}: .*folder"):
        evaluate_model(model, small_phantom, tmp_path / out, overwrite)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("wrong", ["model", "data"])
def test_bad_input_leaves_earlier_results(model, small_phantom, tmp_path, wrong):
    out = tmp_path / "out"
    evaluate_model(model, small_phantom, out)
    before = content(out)
    given = {"model": model, "data": small_phantom} | {wrong: tmp_path / "none"}
    with pytest.raises(InputError, match="none"):
        evaluate_model(given["model"], given["data"], out, overwrite=True)
    assert content(out) == before


def test_every_problem_of_the_data_is_told_at_once(model, data, tmp_path):
    first, second, *_ = sorted(path for path in data.rglob("*_1.tif"))
    first.write_bytes(first.read_bytes()[:100])
    Image.new("RGB", (8, 8)).save(second)
    with pytest.raises(InputError) as error:
        evaluate_model(model, data, tmp_path / "out")
    assert str(data) in str(error.value).splitlines()[0]
    assert str(first) in str(error.value)
    assert second.name.removesuffix(".tif") in str(error.value)
    assert not (tmp_path / "out").exists()


def test_patients_that_the_run_has_seen_are_counted(model, small_phantom, tmp_path):
    names = sorted(path.name for path in small_phantom.iterdir() if path.is_dir())
    run = tmp_path / "run"
    (run / "fold-0").mkdir(parents=True)
    shutil.copy(model, run / "fold-0")
    config = {"preset": "agd_tiny", "data": {"split": "subject", "folds": 3, "augment": "none"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"training": {"seed": 4}}))
    fold = Fold(0, tuple(names[:3]), tuple(names[3:4]), tuple(names[4:]))
    save_folds([fold], run / "folds.json", "subject", 4)
    protocol = evaluate_model(run, small_phantom, tmp_path / "out")["protocol"]
    fingerprint = protocol.pop("data_fingerprint")
    assert len(fingerprint) == 16
    assert protocol == {
        **{"split": "subject", "folds": "fold-0 of 3", "augmentation": "none", "seed": 4},
        **{"model": f"agd_tiny ({run})", "scored": "all patients of the data"},
        "patients_seen_in_training": 4,
    }
    report = (tmp_path / "out" / "report.html").read_text()
    assert "4 of 6 patients were trained or validated on" in report
