"""What `agd-view` lists, from which files, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from agd_keras.data.anatomy import make_patient
from agd_keras.data.datasets import find_data
from agd_keras.data.preprocess import resize_probability
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.inference.predict_files import predict_files
from agd_keras.inference.predictor import Predictor
from agd_keras.models import agd_autoencoder
from agd_keras.view.find import find_listing
from agd_keras.view.maps import predict_layers


class Bright:
    """Takes what is bright on FLAIR for tumour."""

    def predict_patient(self, images):
        flair = images[..., 1] / images.max()
        return (flair > 0.8).astype(np.float32)


@pytest.fixture
def scans(tmp_path):
    """Three heads as NIfTI, two of them with a truth."""
    folder = tmp_path / "scans"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        volume = rng.integers(0, 1000, (20, 24, 5)).astype(np.int16)
        affine = np.diag([-1.0, 1.0, 4.0, 1.0])
        nibabel.Nifti1Image(volume, affine).to_filename(folder / f"head{number}.nii.gz")
        if number:
            truth = (volume > 1000 - 150 * number).astype(np.uint8)
            nibabel.Nifti1Image(truth, affine).to_filename(folder / f"head{number}_seg.nii.gz")
    return folder


@pytest.fixture
def predictions(scans, tmp_path):
    out = tmp_path / "predictions"
    predict_files(Bright(), [scans], out, uncertainty="tta", overlays=False)
    return out


def test_predictions_with_truth_come_worst_first(predictions, scans):
    listing = find_listing([predictions, scans], "none")
    assert listing.figure == "Dice"
    assert [entry.name for entry in listing.entries] == ["head2", "head1", "head0"]
    assert listing.entries[0].figure < listing.entries[1].figure
    assert listing.entries[2].figure is None
    shown = listing.entries[0].load()
    assert list(shown.layers) == ["truth", "prediction", "probability", "uncertainty"]
    truth, mask = (shown.layers[name][1] for name in ("truth", "prediction"))
    dice = 2 * (truth & mask).sum() / (truth.sum() + mask.sum())
    assert listing.entries[0].figure == pytest.approx(dice)
    assert shown.facts["Dice"] == f"{dice:.3f}" and shown.spacing == (4.0, 1.0, 1.0)
    flair = nibabel.load(scans / "head2.nii.gz").get_fdata()
    # Slices lie nose up with the patient's left on the right: axes to the left, back and up.
    np.testing.assert_array_equal(shown.scan, flair[:, ::-1].transpose(2, 1, 0))


def test_predictions_alone_show_the_masks_and_say_what_is_missing(predictions):
    listing = find_listing([predictions], "none")
    assert listing.figure == "ml"
    assert sorted(e.figure for e in listing.entries)[::-1] == [e.figure for e in listing.entries]
    shown = listing.entries[0].load()
    assert not shown.scan.any() and "folder of the scans" in shown.notes[0]
    assert shown.layers["prediction"][1].any()


def test_pictures_of_a_patient(small_phantom, tmp_path):
    patient = sorted(small_phantom.iterdir())[1]
    predict_files(Bright(), [patient], tmp_path / "out", overlays=False)
    listing = find_listing([tmp_path / "out", patient], "none")
    [entry] = listing.entries
    shown = entry.load()
    [ref] = [one for one in find_data(small_phantom) if one.case_id == patient.name]
    truth = np.stack([np.asarray(Image.open(path)) > 0 for path in ref.label])
    np.testing.assert_array_equal(shown.layers["truth"][1], truth)
    assert shown.spacing is None


@pytest.mark.parametrize("masks", ["../secret.nii.gz", "/etc/passwd", "../scans/head1_seg.nii.gz"])
def test_a_table_that_names_a_file_elsewhere_shows_nothing(predictions, masks, tmp_path):
    nibabel.Nifti1Image(np.ones((4, 4, 4)), np.eye(4)).to_filename(tmp_path / "secret.nii.gz")
    table = predictions / "predictions.csv"
    table.write_text(f"case,masks\nhead1,{masks}\n")
    with pytest.raises(InputError, match="leads out of the folders"):
        find_listing([predictions], "none").entries[0].load()


def test_links_that_lead_out_show_nothing(predictions, scans, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (scans / "head1_seg.nii.gz").rename(secret / "truth.nii.gz")
    (scans / "head1_seg.nii.gz").symlink_to(secret / "truth.nii.gz")
    with pytest.raises(InputError, match="leads out of the folders"):
        find_listing([predictions, scans], "none")
    (scans / "head1_seg.nii.gz").unlink()
    (scans / "head0.nii.gz").rename(secret / "head0.nii.gz")
    (scans / "head0.nii.gz").symlink_to(secret / "head0.nii.gz")
    names = {entry.name for entry in find_listing([scans], "agd_tiny").entries}
    assert names == {"head1", "head2"}
    # Within the folders a link is a file like any other.
    (scans / "again.nii.gz").symlink_to(scans / "head2.nii.gz")
    assert "again" in {entry.name for entry in find_listing([scans], "agd_tiny").entries}


@pytest.fixture
def run(small_phantom, tmp_path):
    """What a view needs of a run of two folds, with untrained networks."""
    folder = tmp_path / "run"
    patients = [one.case_id for one in find_data(small_phantom)]
    for index, tested in enumerate((patients[:3], patients[3:])):
        fold = folder / f"fold-{index}"
        fold.mkdir(parents=True)
        agd_autoencoder((32, 32, 3), filters=(4, 8)).save(fold / "model.keras")
        (fold / "fold.json").write_text(json.dumps({"test": tested}))
        subjects = {name: {"dice": 0.1 * int(name[-1]), "voxels_true": 5} for name in tested}
        (fold / "metrics.json").write_text(json.dumps({"subjects": subjects}))
    (folder / "config.yaml").write_text(f"preset: agd_tiny\ndata:\n  path: {small_phantom}\n")
    (folder / "folds.json").write_text("{}")
    (folder / "MODEL_CARD.md").write_text("# Card of the run")
    return folder


def test_a_run_lists_its_test_patients_worst_first(run):
    listing = find_listing([run], "none")
    assert [entry.name for entry in listing.entries] == [f"phantom_00{n}" for n in range(1, 7)]
    assert listing.entries[0].figure == pytest.approx(0.1) and listing.card == "# Card of the run"
    shown = listing.entries[4].load()
    names = ["truth", "prediction", "probability", "uncertainty", "edge", "attention, level 2"]
    assert list(shown.layers) == names
    for _, values in shown.layers.values():
        assert values.shape == shown.scan.shape == (6, 32, 32)
        assert values.min() >= 0 and values.max() <= 1
    assert shown.facts["Tested in"] == "fold-1"


def test_a_run_whose_data_moved(run, tmp_path):
    config = run / "config.yaml"
    config.write_text("preset: agd_tiny\ndata:\n  path: nowhere\n")
    with pytest.raises(InputError, match="nowhere"):
        find_listing([run], "none")


def test_a_run_whose_data_are_a_table_or_of_a_named_layout(run, scans, tmp_path):
    (scans / "head0.nii.gz").unlink()  # has no label
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "cases.csv"
    rows = [f"head{n},../scans/head{n}.nii.gz,../scans/head{n}_seg.nii.gz" for n in (1, 2)]
    table.write_text("\n".join(["case,flair,label", *rows]))
    subjects = {f"head{n}": {"dice": 0.1 * n} for n in (1, 2)}
    for fold in run.glob("fold-*"):
        (fold / "metrics.json").write_text(json.dumps({"subjects": subjects}))
    config = run / "config.yaml"
    for data in (f"path: {table}", f"path: {scans}\n  layout: named"):
        config.write_text(f"preset: agd_tiny\ndata:\n  {data}\n")
        listing = find_listing([run], "none")
        assert [entry.name for entry in listing.entries] == ["head1", "head2"]
        assert listing.entries[0].load().layers["truth"][1].any()
    config.write_text(f"preset: agd_tiny\ndata:\n  path: {scans}\n  layout: kaggle_3m\n")
    with pytest.raises(InputError):
        find_listing([run], "none")


def test_what_a_network_sees_is_normalised_as_it_was_in_training():
    images = np.stack(make_patient(1, 0, 4, 48)[0])
    model = agd_autoencoder((32, 32, 3), filters=(4, 8))
    for kind in ("tissue", "brain"):
        predictor = Predictor([model], preprocessor=Preprocessor(32, normalization=kind))
        layers = predict_layers(predictor, images, None)
        edge = predictor.explain(images, 1)["edge"]
        np.testing.assert_allclose(
            layers["edge"][1][1], resize_probability(edge, images.shape[1:3]), atol=1e-5
        )


@pytest.mark.parametrize(
    ("inputs", "model", "data", "said"),
    [
        (["no/such"], "agd_tiny", None, "no/such: expected a scan, predictions or a run"),
        (["."], "no/model", None, "--model no/model: expected a model"),
        (["."], "agd_tiny", "d", "--data: only with a run folder"),
    ],
)
def test_what_cannot_be_shown(inputs, model, data, said):
    with pytest.raises(InputError, match=said):
        find_listing(inputs, model, data)


def test_the_command_serves_until_ctrl_c(predictions, page, monkeypatch):
    script = (
        "import sys; from pathlib import Path; import agd_keras.cli.view as view; "
        f"view.find_page = lambda: Path({str(page)!r}); sys.exit(view.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, str(predictions), "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Tests may run where Ctrl-C is ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        first, second = (process.stdout.readline().strip() for _ in range(2))
        assert first == "cases: 3; Ctrl-C ends"
        url = second.removeprefix("page: ")
        listing = json.loads(urllib.request.urlopen(url + "cases.json").read())
        assert len(listing["cases"]) == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
