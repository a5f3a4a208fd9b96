"""Several regions from labels to figures: cache, network, history, metrics, masks."""

import csv
import json
import sys
from types import MappingProxyType

import keras
import nibabel
import numpy as np
import pytest
import tensorflow as tf

from agd_keras.cli import evaluate as evaluate_command
from agd_keras.cli import export as export_command
from agd_keras.cli import train as train_command
from agd_keras.data.cache import build_cache
from agd_keras.data.dataset import make_dataset
from agd_keras.data.datasets import find_data
from agd_keras.data.preprocess import resize_mask
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.inference.model_file import load_model
from agd_keras.inference.predict_files import predict_files
from agd_keras.inference.predictor import load_predictor
from agd_keras.io.labels import read_labelled
from agd_keras.io.nifti import read_label_map
from agd_keras.region_masks import masks_of
from agd_keras.runs.train import train
from agd_keras.training.build import check_network, make_network
from agd_keras.training.warm_start import copy_weights, layers_anew

REGIONS = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}
pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def config(labelled, tiny):
    return tiny(data={"path": str(labelled), "regions": REGIONS, "folds": 2})


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGD_KERAS_CACHE", str(out.parent / "cache"))
        return out, train(config, out)


@pytest.fixture(scope="module")
def labels(labelled):
    """The label map of each case, by nibabel alone: `(slices, rows, columns)`."""
    return {
        path.name.removesuffix(".nii.gz"): np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)
        for path in sorted((labelled / "labelsTr").iterdir())
    }


def test_labels_are_read_by_region(labelled, labels):
    for ref in find_data(labelled, regions=REGIONS):
        _, masks = read_labelled(ref)
        expected = [np.isin(labels[ref.case_id], values) for values in REGIONS.values()]
        np.testing.assert_array_equal(masks, np.stack(expected, axis=-1))
    for ref in find_data(labelled, regions={"core": (1, 4)}):
        np.testing.assert_array_equal(read_labelled(ref)[1], np.isin(labels[ref.case_id], (1, 4)))
    for ref in find_data(labelled):
        np.testing.assert_array_equal(read_labelled(ref)[1], labels[ref.case_id] > 0)


def test_cache_holds_a_bit_for_each_region(labelled, labels, tmp_path):
    several = build_cache(find_data(labelled, regions=REGIONS), Preprocessor(16), tmp_path)
    again = build_cache(find_data(labelled, regions=REGIONS), Preprocessor(16), tmp_path)
    one = build_cache(find_data(labelled), Preprocessor(16), tmp_path)
    core = build_cache(find_data(labelled, regions={"core": (1, 4)}), Preprocessor(16), tmp_path)
    assert len({several.fingerprint, one.fingerprint, core.fingerprint}) == 3
    assert several == again
    assert list(again.regions) == list(REGIONS)  # in the order of the channels
    assert several.areas == one.areas  # of the union
    assert several.data_fingerprint == one.data_fingerprint
    for slice_ in several.slices:
        plane = labels[slice_.case][slice_.place]
        expected = [resize_mask(np.isin(plane, values), 16) for values in REGIONS.values()]
        image, mask = several.read(slice_)
        np.testing.assert_array_equal(mask, np.stack(expected, axis=-1))
        np.testing.assert_array_equal(image, one.read(slice_)[0])
        np.testing.assert_array_equal(core.read(slice_)[1], expected[1])
        raw, whole = (
            np.frombuffer(cache.path(slice_).read_bytes()[several.image_bytes :], np.uint8)
            for cache in (several, one)
        )
        np.testing.assert_array_equal(raw & 0b11, whole)  # tumour and brain, as of one region
    for case, own in labels.items():
        np.testing.assert_array_equal(several.read_mask(case), masks_of(own, REGIONS))
        np.testing.assert_array_equal(core.read_mask(case), np.isin(own, (1, 4)))


def test_batches_move_all_regions_alike(labelled, tmp_path):
    cache = build_cache(find_data(labelled, regions=REGIONS), Preprocessor(32), tmp_path)
    plain, strong = (
        make_dataset(cache, cache.slices, 8, recipe, seed=3, training=True, tumor_sampling=1.0)
        for recipe in ("none", "strong")
    )
    _, targets = next(iter(plain))
    assert targets["mask"].shape == (8, 32, 32, 3)
    assert targets["edge"] is not None
    assert tf.reduce_all(tf.reduce_any(targets["mask"] > 0, axis=(1, 2, 3)))  # drawn by the union
    _, targets = next(iter(strong))
    whole, core, enhancing = np.moveaxis(targets["mask"].numpy(), -1, 0)
    assert ((whole >= core) & (core >= enhancing)).all()  # one inside the other, as before
    assert enhancing.any()


def test_history_and_metrics_are_by_region(run, read_history):
    out, metrics = run
    for fold in ("fold-0", "fold-1"):
        for row in read_history(out / fold):
            own = [row[f"val_dice_{name}"] for name in REGIONS]
            assert row["val_dice"] == pytest.approx(np.mean(own), rel=1e-9)
    written = json.loads((out / "metrics.json").read_text())
    assert list(written["regions"]) == list(REGIONS)
    for key in ("pooled", "subject", "slice", "calibration", "errors", "distance_unit"):
        assert written[key] == written["regions"]["whole"][key]
        assert written["regions"]["core"][key] == metrics["regions"]["core"][key]
    assert len(written["subjects"]) == 6
    for entry in written["subjects"].values():
        assert entry["dice"] == entry["regions"]["whole"]["dice"]


def test_figures_are_those_of_the_masks(run, labelled, labels):
    """Evaluated once more with NumPy, from the probabilities of the model of each fold."""
    out, metrics = run
    dices = {name: [] for name in REGIONS}
    folds = json.loads((out / "folds.json").read_text())["folds"]
    for fold in folds:
        predictor = load_predictor(out / f"fold-{fold['index']}" / "model.keras")
        assert list(predictor.regions.items()) == list(REGIONS.items())
        for ref in find_data(labelled):
            if ref.case_id not in fold["test"]:
                continue
            case, _ = read_labelled(ref)
            found = predictor.predict_patient(case.images) >= 0.5
            found[..., 1] |= found[..., 2]  # what lies inside belongs to what it lies in
            found[..., 0] |= found[..., 1]
            for place, (name, values) in enumerate(REGIONS.items()):
                truth, mask = np.isin(labels[ref.case_id], values), found[..., place]
                both = (truth & mask).sum()
                size = truth.sum() + mask.sum()
                dice = 2 * both / size if size else 1.0
                entry = metrics["subjects"][ref.case_id]["regions"][name]
                assert entry["dice"] == pytest.approx(dice, rel=1e-12)
                assert entry["voxels_true"] == truth.sum()
                dices[name].append(dice)
    for name, own in dices.items():
        assert metrics["regions"][name]["subject"]["mean_dice"] == pytest.approx(np.mean(own))


def test_report_has_tables_by_region(run):
    page = (run[0] / "report.html").read_text()
    assert "All metrics and pictures are of the region whole" in page
    for heading in ("Figures by region", "Patients by region"):
        assert f"<summary>{heading}</summary>" in page


def test_model_file_knows_its_regions_and_loads_by_itself(run):
    file = run[0] / "fold-0" / "model.keras"
    assert load_model(file).output["mask"].shape[-1] == 3
    assert keras.saving.load_model(file, safe_mode=True).output["edge"].shape[-1] == 1


def test_evaluate_reads_labels_by_the_regions_of_the_model(run, labelled, tmp_path, capsys):
    out, _ = run
    results = tmp_path / "results"
    arguments = ["--model", str(out), "--data", str(labelled), "--out", str(results)]
    assert evaluate_command.main([*arguments, "--uncertainty", "ensemble"]) == 0
    written = json.loads((results / "metrics.json").read_text())
    assert list(written["regions"]) == list(REGIONS)
    doubt = json.loads((results / "uncertainty.json").read_text())
    assert list(doubt["regions"]) == list(REGIONS)
    assert doubt["qu_brats"] == doubt["regions"]["whole"]["qu_brats"]
    assert len(doubt["regions"]["core"]["subjects"]) == 6
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in REGIONS)


def test_masks_are_label_maps_where_regions_are_nested(run, labelled, tmp_path):
    predictor = load_predictor(run[0])
    rows = predict_files(predictor, [labelled / "imagesTr"], tmp_path, save_probability=True)
    for row in rows:
        path = tmp_path / f"{row['case']}_mask.nii.gz"
        written = np.asarray(nibabel.load(path).dataobj)
        assert set(np.unique(written)) <= {0, 1, 2, 4}
        for name, values in REGIONS.items():
            assert row[f"voxels_{name}"] == np.isin(written, values).sum()
            assert row[f"volume_mm3_{name}"] == 5 * row[f"voxels_{name}"]
            probability = nibabel.load(tmp_path / f"{row['case']}_probability_{name}.nii.gz")
            assert (np.isin(written, values) >= (np.asarray(probability.dataobj) >= 0.5)).all()
        assert row["voxels"] == (written > 0).sum()
        affine = nibabel.load(path).affine
        assert read_label_map(path, affine).shape == (6, 32, 32)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["voxels_core"]) for row in table] == [row["voxels_core"] for row in rows]


class Apart:
    """Finds two regions of which neither holds the other."""

    regions = MappingProxyType({"left": (1,), "right": (2,)})

    def predict_patient(self, images):
        found = np.zeros((*images.shape[:3], 2), np.float32)
        found[:, :, :20, 0] = found[:, :, 12:, 1] = 1
        return found


def test_regions_side_by_side_have_files_of_their_own(labelled, small_phantom, tmp_path):
    [first, *_] = predict_files(Apart(), [labelled / "imagesTr"], tmp_path / "nifti")
    volumes = [
        np.asarray(nibabel.load(tmp_path / "nifti" / f"{first['case']}_mask_{side}.nii.gz").dataobj)
        for side in Apart.regions
    ]
    sums = [volume.sum() for volume in volumes]
    assert sums == [first["voxels_left"], first["voxels_right"]] == [6 * 32 * 20] * 2
    assert first["voxels"] == 6 * 32 * 32
    assert first["masks"] == "; ".join(
        f"{first['case']}_mask_{side}.nii.gz" for side in Apart.regions
    )
    predict_files(Apart(), [small_phantom / "phantom_001"], tmp_path / "pictures")
    names = {path.name for path in (tmp_path / "pictures").rglob("*_mask*")}
    assert len(names) == 12
    assert "phantom_001_1_mask_left.tif" in names
    with pytest.raises(InputError, match="--format nnunet: expected nested regions, found left"):
        predict_files(Apart(), [labelled], tmp_path / "flat", mask_format="nnunet")


def test_one_named_region_is_a_model_like_any_other(labelled, tiny, tmp_path):
    config = tiny(data={"path": str(labelled), "regions": {"core": (1, 4)}}, training={"epochs": 1})
    metrics = train(config, tmp_path / "run")
    assert "regions" not in metrics
    predictor = load_predictor(tmp_path / "run")
    assert dict(predictor.regions) == {"core": (1, 4)}
    assert predictor.predict_patient(np.ones((2, 40, 30, 3))).shape == (2, 40, 30)
    (patient,) = metrics["subjects"]
    [ref] = [one for one in find_data(labelled) if one.case_id == patient]
    truth = np.isin(read_label_map(ref.label[0], read_labelled(ref)[0].affine), (1, 4))
    assert metrics["subjects"][patient]["voxels_true"] == truth.sum()


def test_regions_of_dataset_json_are_taken_when_asked_for(labelled):
    [ref, *_] = find_data(labelled, regions="dataset")
    expected = {"whole_tumour": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}
    assert list(ref.regions.items()) == list(expected.items())


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (["core=9"], "data.regions core: expected label 9 in some case, found 1, 2, 4"),
        (["whole=1,2", "core=3"], "data.regions core: expected label 3 in some case"),
        (["core=x"], "data.regions: core: expected labels from 1 to 255"),
    ],
)
def test_regions_that_name_no_label(regions, message, labelled, tmp_path, capsys):
    arguments = ["--data", str(labelled), "--out", str(tmp_path / "run"), "--regions", *regions]
    assert train_command.main(arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")
    assert not (tmp_path / "run").exists()


def test_labels_that_no_file_names_are_found_out_by_reading(labelled, tmp_path):
    """Without `dataset.json`, only the label maps tell."""
    table = tmp_path / "cases.csv"
    rows = [
        f"{name},{labelled}/imagesTr/{name}_0001.nii.gz,{labelled}/labelsTr/{name}.nii.gz"
        for name in ("phantom_005", "phantom_006")
    ]
    table.write_text("\n".join(["case,flair,label", *rows]))
    with pytest.raises(InputError, match="regions enhancing: expected label 4 in some case, found"):
        build_cache(find_data(table, regions=REGIONS), Preprocessor(16), tmp_path / "cache")


def test_what_there_is_for_one_region_only_is_refused_at_once(
    run, labelled, small_phantom, tmp_path, capsys
):
    out = ["--out", str(tmp_path / "results")]
    model = ["--model", str(run[0]), "--data"]
    second = ["--second-reader", str(tmp_path)]
    assert evaluate_command.main([*model, str(labelled), *out, *second]) == 1
    assert "--second-reader: expected a model of one region" in capsys.readouterr().err
    assert evaluate_command.main([*model, str(small_phantom), *out]) == 1
    assert "the masks of phantom_001 are pictures of one label" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_builder_needs_an_argument_for_them(labelled, tmp_path, monkeypatch, capsys):
    (tmp_path / "one_region.py").write_text(
        "import keras\n"
        "def build(image_shape, width: int = 2):\n"
        "    image = keras.Input(image_shape)\n"
        "    mask = keras.layers.Conv2D(1, 1, activation='sigmoid')(image)\n"
        "    return keras.Model(image, mask)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    arguments = ["--data", str(labelled), "--model-fn", "one_region:build", "--out", "run"]
    assert train_command.main([*arguments, "--regions", "whole=1,2,4", "core=1,4"]) == 1
    expected = "error: model.regions: no such argument of one_region:build, expected some of width"
    assert capsys.readouterr().err.splitlines()[-1] == expected
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["saved_model", "onnx", "tflite"])
def test_exports_have_a_channel_for_each_region(kind, run, labelled, tmp_path):
    model, data = run[0] / "fold-0" / "model.keras", ["--data", str(labelled)]
    arguments = ["--model", str(model), *data, "--format", kind, "--out", str(tmp_path / "out")]
    assert export_command.main(arguments) == 0
    predictor = load_predictor(model)
    ref = find_data(labelled)[0]
    images = read_labelled(ref)[0].images
    expected = predictor.predict_patient(images)
    files = {
        "saved_model": ["out/1"],
        "onnx": ["out/model.onnx", "out/patient.onnx"],
        "tflite": ["out/model.tflite"],
    }
    for name in files[kind]:
        made = load_predictor(tmp_path / name)
        assert list(made.regions) == list(REGIONS)
        np.testing.assert_allclose(made.predict_patient(images), expected, atol=1e-5)
        maps = made.explain(images, 2)
        assert {f"mask {one}" for one in REGIONS} <= maps.keys()
        assert all(one.shape in ((32, 32), images.shape[1:3]) for one in maps.values())
    folder = (tmp_path / files[kind][0]) if kind == "saved_model" else tmp_path / "out"
    parity = json.loads((folder / "parity.json").read_text())
    assert list(parity["regions"]) == list(REGIONS)
    assert parity["dice"] == parity["regions"]["whole"]["dice"]
    for one in parity["regions"].values():
        assert one["dice"]["artefact"] == pytest.approx(one["dice"]["keras"], abs=1e-3)
    assert "in this order: whole, core, enhancing" in (folder / "MODEL_CARD.md").read_text()


def test_the_page_shows_one_region(run, labelled, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("agd_keras.cli.export.find_page", lambda: tmp_path)
    monkeypatch.setattr("agd_keras.export.web.find_page", lambda: tmp_path)
    model = ["--model", str(run[0]), "--data", str(labelled)]
    assert export_command.main([*model, "--format", "web", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: --format web: the page shows one region, ")
    assert error.endswith("finds whole, core, enhancing")
    assert not (tmp_path / "out").exists()


def test_another_models_head_starts_anew_where_regions_differ(run, config, caplog):
    file = str(run[0] / "fold-0" / "model.keras")
    source = load_model(file, compiled=False)
    caplog.set_level("INFO")
    for regions, anew in (
        (REGIONS, False),
        ({"whole": (1, 2, 4), "core": (1, 4)}, True),
        ({"enhancing": (4,), "whole": (1, 2, 4), "core": (1, 4)}, True),  # another order
        ({}, True),
    ):
        assert layers_anew(file, regions) == (("head",) if anew else ())
        count = len(regions) or 1
        model, _ = make_network(config.model, 32, regions=count)
        before = model.get_layer("head").get_weights()
        copy_weights(model, source, file, anew=layers_anew(file, regions))
        for layer in source.layers:
            own = model.get_layer(layer.name).get_weights()
            kept = before if anew and layer.name == "head" else layer.get_weights()
            for mine, theirs in zip(own, kept, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        changed = {
            "data": config.data.model_copy(update={"regions": regions}),
            "training": config.training.model_copy(update={"init": file}),
        }
        caplog.clear()
        check_network(config.model_copy(update=changed))
        assert ("its head starts anew" in caplog.text) == anew
    with pytest.raises(InputError, match="--init .*another architecture"):
        copy_weights(make_network(config.model, 32)[0], source, file)
