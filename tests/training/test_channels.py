"""Networks of other contrasts than three: what they read, learn from, predict and are served by."""

import csv
import json

import keras
import nibabel
import numpy as np
import pytest
import tensorflow as tf

from agd_keras.cli.predict import main as predict_command
from agd_keras.config import make_config
from agd_keras.data.augment import random_intensity
from agd_keras.data.cache import build_cache
from agd_keras.data.datasets import find_data
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.recipes import Recipe
from agd_keras.errors import InputError
from agd_keras.export.graph import OVER_PATIENT, normalize_by_brain, to_planes
from agd_keras.export.saved_model import export_saved_model
from agd_keras.export.web import export_web
from agd_keras.inference.predict_files import predict_files
from agd_keras.inference.predictor import load_predictor
from agd_keras.io.data_set import check_cases, find_data_set
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.labels import read_labelled
from agd_keras.models import agd_autoencoder
from agd_keras.runs.evaluate_model import evaluate_model
from agd_keras.runs.start import network_of
from agd_keras.runs.train import train
from agd_keras.training.warm_start import copy_weights

FOUR = ("T1", "T1c", "T2", "FLAIR")
SMALL = {"filters": (4, 8), "skips": (1, 2), "attention_at": (2,), "edge_filters": 4}


@pytest.fixture(scope="module")
def table(small_phantom, tmp_path_factory):
    """The phantom as volumes of four contrasts, of which T2 is a copy of T1c turned dark."""
    folder = tmp_path_factory.mktemp("four")
    rows = []
    for ref in find_data_set(small_phantom):
        case, label = read_labelled(ref)
        t1, flair, t1c = np.moveaxis(case.images, -1, 0)
        volumes = {"t1": t1, "flair": flair, "t1c": t1c, "t2": t1c // 2, "label": label}
        row = {"case": ref.case_id}
        for name, slices in volumes.items():
            row[name] = f"{ref.case_id}_{name}.nii.gz"
            voxels = np.ascontiguousarray(slices.transpose(2, 1, 0).astype(np.uint8))
            image = nibabel.Nifti1Image(voxels, np.diag([-1.0, -1.0, 5.0, 1.0]))
            image.to_filename(folder / row[name])
        rows.append(row)
    with open(folder / "cases.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "cases.csv"


def stacked(path, case, names):
    """What is in the files of some contrasts, slices first."""
    volumes = [
        np.asarray(nibabel.load(path.with_name(f"{case}_{name}.nii.gz")).dataobj) for name in names
    ]
    return np.stack(volumes, axis=-1).transpose(2, 1, 0, 3)


@pytest.mark.parametrize("channels", [("FLAIR",), FOUR, ("T2", "FLAIR")])
def test_a_case_holds_the_channels_that_are_named_in_their_order(table, channels):
    for ref in find_data(table, channels=channels):
        case = read_case(ref)
        assert (case.channels, case.notes) == (channels, ())
        expected = stacked(table, ref.case_id, [name.lower() for name in channels])
        np.testing.assert_array_equal(case.images, expected)
        np.testing.assert_array_equal(case.flair, stacked(table, ref.case_id, ["flair"])[..., 0])


def test_files_are_chosen_by_the_channels_that_are_wanted(table):
    folder = table.parent
    [first, *_] = find_data(folder)
    assert first.contrasts == ("T1", "FLAIR", "T1c")
    assert any("_t2.nii.gz (T2)" in note for note in first.notes)
    [first, *_] = find_data(folder, channels=("T2", "FLAIR"))
    assert first.contrasts == ("T2", "FLAIR")
    assert [path.name for path in first.files] == [
        f"{first.case_id}_t2.nii.gz",
        f"{first.case_id}_flair.nii.gz",
    ]
    [alone, *_] = find_cases([folder], wanted=("FLAIR",))
    assert read_case(alone).images.shape[-1] == 1
    given = {name: folder / f"phantom_001_{name.lower()}.nii.gz" for name in ("FLAIR", "T2")}
    [told] = find_cases([], contrasts=given)
    assert (told.contrasts, told.notes) == (("FLAIR",), ("left out: T2",))
    [told] = find_cases([], contrasts=given, wanted=("T2", "FLAIR"))
    assert (told.contrasts, read_case(told).notes) == (("FLAIR", "T2"), ())


def test_a_damaged_file_is_not_told_as_missing_contrasts(table, tmp_path):
    for path in table.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "phantom_002_t1.nii.gz").write_bytes(b"no volume")
    cases = find_data(tmp_path / table.name, channels=FOUR, missing="error")
    [problem] = check_cases(cases)
    assert "phantom_002_t1.nii.gz: damaged NIfTI file" in problem


@pytest.mark.parametrize("normalization", ["tissue", "brain"])
@pytest.mark.parametrize("channels", [("FLAIR",), ("T1c", "FLAIR", "T1"), ("FLAIR", "T1")])
def test_network_input_of_a_channel_does_not_depend_on_the_others(
    small_phantom, tmp_path, channels, normalization
):
    cases = find_data_set(small_phantom)[:2]
    whole = Preprocessor(16, normalization=normalization)
    places = [whole.channels.index(name) for name in channels]
    before = build_cache(cases, whole, tmp_path)
    after = build_cache(cases, Preprocessor(16, channels, normalization), tmp_path)
    assert before.fingerprint != after.fingerprint
    for one in before.slices:
        (image, mask), (own, own_mask) = before.read(one), after.read(one)
        np.testing.assert_array_equal(own, image[..., places])
        np.testing.assert_array_equal(own_mask, mask)


def test_flair_stands_in_by_name():
    images = tf.random.stateless_uniform((4, 8, 8, 4), (0, 1))
    recipe = Recipe(replacement=1.0)
    seeds = tf.constant([[0, 1], [2, 3]], tf.int64)
    found = random_intensity(images, tf.zeros((4, 1, 1, 4)), seeds, recipe, FOUR)
    np.testing.assert_allclose(found, tf.repeat(images[..., 3:], 4, axis=-1), atol=1e-6)


def test_brain_is_found_in_flair_in_the_graph_too(small_phantom):
    images = read_case(find_data_set(small_phantom)[0]).images[..., [1, 0]]
    preprocessor = Preprocessor(16, ("FLAIR", "T1"), "brain")
    planes = to_planes(tf.constant(images[None]))
    found = normalize_by_brain(planes, OVER_PATIENT, preprocessor.flair)
    found = np.moveaxis(found[0].numpy(), 1, -1)
    # Levels are of voxels there, and of steps of the grey scale here.
    np.testing.assert_allclose(found, preprocessor.normalize(images), atol=2e-3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("t1,flair,t3", "data.channels.*'T1', 'FLAIR', 'T1c' or 'T2'"),
        ("t1,t1c", "data: channels T1,T1c: expected each once, flair among them"),
        ("flair,FLAIR", "data: channels FLAIR,FLAIR: expected each once"),
        ("", "data.channels"),
    ],
)
def test_channels_that_are_none(value, message):
    with pytest.raises(InputError, match=message):
        make_config({"data": {"channels": value}})


def test_channels_are_named_in_any_case():
    assert make_config({"data": {"channels": "T1,t1C, t2,Flair"}}).data.channels == FOUR


@pytest.fixture(scope="module", params=[("FLAIR",), FOUR], ids=["flair", "four"])
def run(request, tiny, table, tmp_path_factory):
    """A run of other channels."""
    out = tmp_path_factory.mktemp("runs") / "run"
    data = {"path": str(table), "channels": request.param, "normalization": "brain"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        train(tiny(data=data, training={"epochs": 1}), out)
    return out


def test_a_network_of_other_channels_is_evaluated_predicts_and_is_exported(
    run, table, tmp_path, no_pictures, capsys
):
    predictor = load_predictor(run)
    channels = predictor.preprocessor.channels
    assert channels == make_config(json.loads(json.dumps(network_of(str(run))))).data.channels
    assert predictor.models[0].input_shape == (None, 32, 32, len(channels))
    assert len(evaluate_model(run, table, tmp_path / "results")["subjects"]) == 6

    # The same as of what the files hold, put together by hand.
    own = [name.lower() for name in channels]
    images = stacked(table, "phantom_001", own)
    given = {name: table.with_name(f"phantom_001_{name.lower()}.nii.gz") for name in channels}
    predict_files(predictor, [], tmp_path / "masks", contrasts=given, save_probability=True)
    [saved] = (tmp_path / "masks").glob("*_probability.nii.gz")
    probability = predictor.predict_patient(images)
    written = np.asarray(nibabel.load(saved).dataobj).transpose(2, 1, 0)
    np.testing.assert_allclose(written, probability, atol=1e-6)

    served = export_saved_model(run, tmp_path / "served", table, threshold=1e-6)
    parity = json.loads((served / "parity.json").read_text())
    assert parity["difference"]["patient"]["max"] < 1e-3
    loaded = tf.saved_model.load(str(served))
    assert loaded.signatures["model"].structured_input_signature[1]["image"].shape[-1] == len(own)
    assert ("encoded" in loaded.signatures) == (len(own) == 1)
    assert load_predictor(served).preprocessor == predictor.preprocessor

    if len(channels) > 1:  # a scan of FLAIR alone is filled, or refused
        flair = str(given["FLAIR"])
        options = ["--model", str(run), "--flair", flair, "--no-overlays", "--out"]
        assert predict_command([*options, str(tmp_path / "filled")]) == 0
        assert "T1 and T1c and T2 filled by FLAIR" in capsys.readouterr().out
        assert predict_command([*options, str(tmp_path / "no"), "--missing", "error"]) == 1
        said = capsys.readouterr().err
        assert "expected T1, T1c, T2, FLAIR, missing: T1, T1c, T2; --missing fill" in said
        assert not (tmp_path / "no" / "predictions.csv").exists()


def test_the_page_takes_the_three_contrasts_only(run, tmp_path, monkeypatch):
    monkeypatch.setattr("agd_keras.export.web.find_page", lambda: tmp_path)
    with pytest.raises(InputError, match="--format web: the page takes T1, FLAIR, T1c, the model"):
        export_web(run, tmp_path / "site", "phantom")


def test_training_refuses_what_is_missing_all_at_once(small_phantom, tiny, tmp_path):
    data = {"channels": FOUR, "missing": "error"}
    with pytest.raises(InputError) as raised:
        train(tiny(data=data), tmp_path / "run")
    lines = str(raised.value).splitlines()
    assert len(lines) == 1 + 6 and all("missing: T2" in line for line in lines[1:])


def test_kernels_are_matched_by_the_names_of_channels():
    keras.utils.set_random_seed(1)
    three = ("T1", "FLAIR", "T1c")
    source = agd_autoencoder((32, 32, 3), **SMALL)
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    expected = source.predict_on_batch(image)["mask"]

    turned = agd_autoencoder((32, 32, 3), **SMALL)
    copy_weights(turned, source, "other", ("FLAIR", "T1c", "T1"), three)
    found = turned.predict_on_batch(image[..., [1, 2, 0]])["mask"]
    np.testing.assert_allclose(found, expected, atol=1e-5)

    for options in ({}, {"edge_gate": "concatenate"}, {"edge": False}, {"stem_stride": 1}):
        source = agd_autoencoder((32, 32, 3), **SMALL, **options)
        expected = source.predict_on_batch(image)["mask"]
        four = agd_autoencoder((32, 32, 4), **SMALL, **options)
        copy_weights(four, source, "other", FOUR, three)
        more = np.insert(image[..., [0, 2, 1]], 2, 0, axis=-1)  # a T2 of nothing adds nothing
        np.testing.assert_allclose(four.predict_on_batch(more)["mask"], expected, atol=1e-5)
    # T2 alone, in the place of the mean of the others, in the first layer.
    kernel, own = source.get_layer("encoder_1").get_weights()[0], four.get_layer("encoder_1")
    np.testing.assert_allclose(own.get_weights()[0][..., 2, :], kernel.mean(axis=-2), atol=1e-6)


def test_a_training_starts_from_a_model_of_other_channels(run, tiny, table, tmp_path, no_pictures):
    base = load_predictor(run)
    data = {"path": str(table), "channels": "t2,flair", "folds": 0}
    options = {"init": str(run), "freeze": "encoder", "epochs": 1}
    train(tiny(data=data, training=options), tmp_path / "tuned")
    kernel = base.models[0].get_layer("edge").get_weights()[0]
    own = load_predictor(tmp_path / "tuned").models[0].get_layer("edge").get_weights()[0]
    flair = base.preprocessor.channels.index("FLAIR")
    np.testing.assert_array_equal(own[..., 1, :], kernel[..., flair, :])
    place = base.preprocessor.channels.index("T2") if "T2" in base.preprocessor.channels else None
    t2 = kernel.mean(axis=-2) if place is None else kernel[..., place, :]
    np.testing.assert_allclose(own[..., 0, :], t2, atol=1e-6)
