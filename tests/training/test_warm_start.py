"""Training that starts from another model: what is copied, what stays, what cannot fit."""

import json

import keras
import numpy as np
import pytest

from agd_keras.cli import train as command
from agd_keras.data.splits import load_folds
from agd_keras.errors import InputError
from agd_keras.inference.model_file import load_model
from agd_keras.io.data_set import find_data_set
from agd_keras.models import agd_autoencoder
from agd_keras.runs.provenance import find_origin
from agd_keras.runs.seen import find_seen
from agd_keras.runs.start import network_of, resolve_init
from agd_keras.runs.train import train
from agd_keras.training.build import fuse_normalization
from agd_keras.training.warm_start import copy_weights, freeze
from agd_keras.values import load_config

SMALL = {"filters": (4, 8), "skips": (1, 2), "attention_at": (2,), "edge_filters": 4}


@pytest.fixture
def base(finished):
    """A run to start from, of patients that it calls by its own names."""
    return finished[0]


def test_weights_are_copied_whatever_the_size_of_the_image():
    one, other = agd_autoencoder((32, 32, 3), **SMALL), agd_autoencoder((64, 64, 3), **SMALL)
    copy_weights(one, other, "other")
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((32, 32, 1), {}, "takes 1 channels, expected 3"),
        ((32, 32, 3), {"filters": (4, 6)}, "its layer encoder_2 has weights of 3x3x4x6"),
        ((32, 32, 3), {"depth": 2}, "another architecture, its layer encoder_1 has weights"),
        ((32, 32, 3), {"attention": False}, "another architecture"),
    ],
)
def test_what_cannot_fit_is_told_and_changes_nothing(shape, options, message):
    model = agd_autoencoder((32, 32, 3), **SMALL)
    before = model.get_weights()
    with pytest.raises(InputError, match=rf"^--init other: .*{message}[^\n]*$"):
        copy_weights(model, agd_autoencoder(shape, **{**SMALL, **options}), "other")
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("fused", [False, True])
def test_frozen_layers_keep_weights_and_statistics(fused):
    keras.utils.set_random_seed(0)
    model = agd_autoencoder((32, 32, 3), **SMALL)
    freeze(model, "encoder")
    if fused:
        fuse_normalization(model)
    model.compile(keras.optimizers.Adam(0.1), {"mask": "binary_crossentropy"}, run_eagerly=True)
    before = {one.path: one.numpy() for one in model.weights}
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    model.train_on_batch(images, {"mask": images[..., :1] > 0})
    moved = {one.path for one in model.weights if not np.array_equal(one, before[one.path])}
    frozen = {path for path in before if path.startswith(("edge", "stem", "encoder"))}
    assert not moved & frozen
    assert {path.split("/")[0] for path in set(before) - moved - frozen} <= {"gate_2"}
    assert any("moving_mean" in path for path in moved)  # those of the decoder


def test_what_was_never_trained_is_not_frozen(tiny, tmp_path):
    with pytest.raises(InputError, match="--freeze encoder: expected --init"):
        train(tiny(training={"freeze": "encoder"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_freezing_what_has_no_encoder():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, {"mask": keras.layers.Conv2D(1, 1, name="mask")(image)})
    with pytest.raises(InputError, match=r"training.freeze encoder: expected layers called stem"):
        freeze(model, "encoder")


def test_fine_tuning_goes_on_from_the_model_and_tells_whom_it_had_seen(
    base, tiny, tmp_path, no_pictures, small_phantom
):
    first = load_model(base).get_weights()
    other = tmp_path / "data"
    other.mkdir()
    for folder in small_phantom.iterdir():  # the same scans under other names
        if folder.is_dir():
            (other / f"new_{folder.name}").mkdir()
            for file in folder.iterdir():
                (other / f"new_{folder.name}" / f"new_{file.name}").write_bytes(file.read_bytes())
    options = {"init": str(base), "freeze": "encoder", "epochs": 1, "schedule": "constant"}
    run = tmp_path / "tuned"
    train(tiny(data={"path": str(other)}, training=options), run)
    stored = load_config(run / "config.yaml")["training"]["init"]
    assert stored == str(base / "fold-0" / "model.keras")
    model = load_model(run)
    names = [one.path for one in model.weights]
    for name, now, then in zip(names, model.get_weights(), first, strict=True):
        if name.startswith(("edge", "stem", "encoder")):
            np.testing.assert_array_equal(now, then, err_msg=name)
    assert any(not np.array_equal(*pair) for pair in zip(model.get_weights(), first, strict=True))

    [before], [own] = load_folds(base / "folds.json"), load_folds(run / "folds.json")
    units = {*before.train, *before.validation, *own.train, *own.validation}
    assert find_seen(run).names == units and find_seen(run).complete
    # Those of the base are known by their names, though this run has not seen them.
    seen = find_origin(run, find_data_set(small_phantom))["patients_seen_in_training"]
    assert seen == len({*before.train, *before.validation})
    train(tiny(data={"path": str(other)}, training=options), run, resume=True)


def test_a_file_from_elsewhere_tells_nothing(base, tiny, tmp_path):
    alone = tmp_path / "model.keras"
    alone.write_bytes((base / "fold-0" / "model.keras").read_bytes())
    run = tmp_path / "tuned"
    options = {"init": str(alone)}
    train(tiny(data={"folds": 0}, training=options), run, only=())
    assert network_of(str(alone)) == {}
    assert json.loads((run / "init.json").read_text())["complete"] is False
    alone.write_bytes(b"other")
    with pytest.raises(InputError, match="expected a .keras file made by"):
        train(tiny(data={"folds": 0}, training=options), run, resume=True)


def test_which_model_to_start_from(tmp_path):
    for index in (0, 1):
        (tmp_path / f"fold-{index}").mkdir()
        (tmp_path / f"fold-{index}" / "model.keras").touch()
    with pytest.raises(InputError, match=r"found 2 folds; name one, as .*fold-0.model\.keras"):
        resolve_init(str(tmp_path))
    with pytest.raises(InputError, match="--init agd_smal: no such .* did you mean agd_small"):
        resolve_init("agd_smal")
    with pytest.raises(InputError, match="--init agd_paper: expected a preset that comes with"):
        resolve_init("agd_paper")


def test_the_command_takes_the_network_of_the_model(monkeypatch, tmp_path, capsys):
    taken = []
    monkeypatch.setattr("agd_keras.runs.train.train", lambda config, out, **_: taken.append(config))
    assert command.main(["--init", "agd_small", "--freeze", "encoder", "--out", str(tmp_path)]) == 0
    [config] = taken
    assert (config.preset, config.model.filters) == ("agd_small", (32, 64, 96, 128))
    assert config.data.plane == "axial"
    assert (config.training.init, config.training.freeze) == ("agd_small", "encoder")
    assert command.main(["--init", "agd_small", "--preset", "agd_tiny"]) == 1
    assert "--preset agd_tiny: expected agd_small, as --init agd_small" in capsys.readouterr().err
