"""A run by a split of one's own: of nnU-Net, on a table that `agd-inspect` wrote."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from agd_keras.cli import inspect
from agd_keras.cli import train as train_command
from agd_keras.config import make_config
from agd_keras.data.splits import load_folds
from agd_keras.errors import InputError
from agd_keras.runs.resolve import resolve
from agd_keras.runs.train import train
from agd_keras.values import load_config

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def nnunet(small_phantom, tmp_path_factory):
    """The phantom as nnU-Net has it, with a split of its own."""
    root = tmp_path_factory.mktemp("nnunet")
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    for source in sorted(path for path in small_phantom.iterdir() if path.is_dir()):
        name = source.name
        images, mask = (
            np.stack([np.asarray(Image.open(source / f"{name}_{n}{end}.tif")) for n in range(1, 7)])
            for end in ("", "_mask")
        )
        volumes = {f"imagesTr/{name}_{n:04}": images[..., n] for n in range(3)}
        volumes[f"labelsTr/{name}"] = (mask > 0).astype(np.uint8)
        for where, volume in volumes.items():
            turned = np.ascontiguousarray(volume.transpose(2, 1, 0))
            nibabel.Nifti1Image(turned, affine).to_filename(root / f"{where}.nii.gz")
    names = {"0": "T1", "1": "FLAIR", "2": "T1ce"}
    spec = {"channel_names": names, "labels": {"background": 0, "tumor": 1}}
    (root / "dataset.json").write_text(json.dumps(spec | {"file_ending": ".nii.gz"}))
    names = [f"phantom_00{number}" for number in range(1, 7)]
    folds = [{"train": names[:4], "val": names[4:]}, {"train": names[2:], "val": names[:2]}]
    (root / "splits_final.json").write_text(json.dumps(folds))
    return root


def test_a_run_by_the_split_of_nnunet_on_a_table(nnunet, tiny, tmp_path, capsys):
    table, split = tmp_path / "cases.csv", nnunet / "splits_final.json"
    assert inspect.main([str(nnunet), "--write-table", str(table)]) == 0
    config = tiny()
    options = ["--data", str(table), "--folds-file", str(split), "--out", str(tmp_path / "run")]
    for section in ("data", "model", "training"):
        for option, value in getattr(config, section).model_dump(mode="json").items():
            if option not in ("path", "folds", "folds_file", "persons", "epochs"):
                options += ["--set", f"{section}.{option}={value}"]
    options += ["--epochs", "1"]
    assert train_command.main([*options, "--fold", "0"]) == 0
    run = tmp_path / "run"
    first, second = load_folds(run / "folds.json")
    assert (first.test, second.test) == (
        ("phantom_005", "phantom_006"),
        ("phantom_001", "phantom_002"),
    )
    assert json.loads((run / "splits_final.json").read_text()) == json.loads(split.read_text())
    kept = make_config(load_config(run / "config.yaml")).data
    assert (kept.folds, kept.folds_file) == (2, str(split.resolve()))
    scored = json.loads((run / "fold-0" / "metrics.json").read_text())["subjects"]
    assert set(scored) == set(first.test)
    capsys.readouterr()
    assert train_command.main(["--out", str(run), "--resume", "--fold", "0"]) == 0

    edited = json.loads(split.read_text())
    edited[0] = {"train": [*edited[0]["val"], "phantom_004"], "val": ["phantom_003"]}
    (tmp_path / "mine.json").write_text(json.dumps(edited))
    path = run / "config.yaml"
    path.write_text(path.read_text().replace(str(split.resolve()), str(tmp_path / "mine.json")))
    assert train_command.main(["--out", str(run), "--resume"]) == 1
    assert "--resume expected the folds it was started with" in capsys.readouterr().err


def test_the_split_beside_dataset_json_is_used_and_told(nnunet, tiny, caplog):
    caplog.set_level("INFO")
    found = resolve(tiny(data={"path": str(nnunet)})).data
    assert (found.folds, found.folds_file) == (2, str(nnunet / "splits_final.json"))
    assert "splits_final.json: its folds are used; --folds-file none deals others" in caplog.text
    dealt = resolve(tiny(data={"path": str(nnunet), "folds": 3, "folds_file": "none"})).data
    assert (dealt.folds, dealt.folds_file) == (3, "none")


def test_a_split_that_does_not_fit_leaves_nothing(nnunet, tiny, tmp_path):
    wrong = tmp_path / "splits_final.json"
    wrong.write_text(json.dumps([{"train": ["phantom_001", "phantom_9"], "val": ["phantom_002"]}]))
    config = tiny(data={"path": str(nnunet), "folds_file": str(wrong)})
    with pytest.raises(InputError, match="fold 0: case phantom_9 is not in the data"):
        train(config, tmp_path / "run")
    with pytest.raises(InputError, match=r"none\.json: expected splits_final.json or folds.json"):
        train(tiny(data={"folds_file": "none.json"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
