"""A user's own network, as the guide has it: trained, gone on with, scored, loaded."""

import argparse
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from agd_keras.cli import evaluate as evaluate_command
from agd_keras.cli import options
from agd_keras.cli import train as train_command
from agd_keras.config import make_config
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.inference.model_file import load_model
from agd_keras.inference.predictor import Predictor, load_predictor
from agd_keras.runs.train import train
from agd_keras.values import load_config

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "own_network.md"
pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, with the code of the guide in `my_network.py`."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "my_network.py").write_text("\n".join(blocks))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_network", None)


@pytest.fixture
def command(small_phantom):
    def make(*more):
        fixed = ["--data", str(small_phantom), "--image-size", "32", "--epochs", "1"]
        return [*fixed, "--set", "data.portions=6", "--precision", "float32", "--seed", "3", *more]

    return make


def test_network_of_the_guide_is_trained_gone_on_with_and_scored(
    folder, command, read_history, small_phantom, capsys
):
    own = ["--model-fn", "my_network:with_area", "--set", "model.weight=0.5", "--folds", "2"]
    assert train_command.main(command(*own, "--fold", "0", "--out", "run")) == 0
    config = make_config(load_config("run/config.yaml"))
    assert config.model.model_dump() == {"name": "my_network:with_area", "weight": 0.5}
    assert config.network == "with_area"
    sys.modules.pop("my_network")
    assert train_command.main(["--out", "run", "--resume"]) == 0
    assert "with_area on" in Path("run/report.html").read_text()
    (row,) = read_history(folder / "run" / "fold-1")
    assert row["loss"] == pytest.approx(row["mask_loss"] + 0.5 * row["area_loss"], rel=1e-4)
    assert len(load_predictor("run").models) == 2
    arguments = ["--model", "run", "--data", str(small_phantom), "--out", "results"]
    assert evaluate_command.main(arguments) == 0
    capsys.readouterr()
    again = ["--out", "run", "--resume", "--set", "model.weight=0.2"]
    assert train_command.main(again) == 1
    assert "not other model.weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my_network:unet"], "my_network:unet: expected a function unet in my_network"),
        (["my_network"], "model.name 'my_network': expected agd_autoencoder or package.module"),
        (["my_network:small_unet", "--set", "model.filter=[8]"], "model.filter: no such argument"),
        (["my_network:small_unet", "--set", "model.filters=8"], "model.filters: Input should be"),
        (["my_network:small_unet", "--set", "model.dropout=2"], "my_network:small_unet: ValueErr"),
        (["broken:half_edge"], "broken:half_edge: its losses cannot be computed"),
        (["broken:scalar"], r"broken:scalar: expected a mask of the input's size"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_leaves_nothing(
    arguments, message, folder, command, capsys
):
    (folder / "broken.py").write_text("""
import keras
def half_edge(shape):
    image = keras.Input(shape)
    edge = keras.layers.Conv2D(1, 2, strides=2, name="edge")(image)
    return keras.Model(image, [edge, keras.layers.Conv2D(1, 1, name="mask")(image)])
def scalar(shape):
    image = keras.Input(shape)
    return keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(image)))
""")
    assert train_command.main(command("--model-fn", *arguments, "--out", "run")) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not Path("run").exists()


def test_preset_gives_its_training_and_not_its_network():
    config = make_config({"preset": "agd_small", "model": {"name": "my_network:small_unet"}})
    assert config.model.model_dump() == {"name": "my_network:small_unet"}
    assert config.training == make_config({"preset": "agd_small"}).training
    assert make_config({"model": {"name": "a:b", "x": (1, (2,))}}).model.x == [1, [2]]
    with pytest.raises(InputError, match=r"model\.x: input was not a valid JSON value"):
        make_config({"model": {"name": "a:b", "x": object()}})


def test_run_folders_without_a_name_of_the_builder_go_on(tiny, tmp_path):
    train(tiny(), tmp_path / "run", only=())
    path = tmp_path / "run" / "config.yaml"
    before = path.read_text()
    assert "  name: agd_autoencoder\n" in before
    path.write_text(before.replace("  name: agd_autoencoder\n", ""))
    assert make_config(load_config(path)) == make_config(load_config_text(before, tmp_path))
    train(tiny(), tmp_path / "run", resume=True, only=())
    with pytest.raises(InputError, match=r"not other model\.depth"):
        train(tiny(model={"depth": 2}), tmp_path / "run", resume=True, only=())
    own = make_config({**tiny().model_dump(), "model": {"name": "my_network:small_unet"}})
    with pytest.raises(InputError, match="cannot import my_network"):
        train(own, tmp_path / "run", resume=True, only=())


def load_config_text(text, folder):
    (folder / "other.yaml").write_text(text)
    return load_config(folder / "other.yaml")


class Unknown(layers.Layer):
    def call(self, x):
        return x


def foreign(*own, channels=3):
    image = x = keras.Input((32, 32, channels))
    for layer in own:
        x = layer(x)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name="tumour")(x))


def test_model_from_elsewhere_is_loaded_and_predicts(tmp_path):
    model = foreign()
    model.compile("sgd", "mse")
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 255, (3, 40, 30, 3)).astype("uint8")
    expected = Predictor([model]).predict_patient(images)
    assert expected.shape == (3, 40, 30)
    loaded = load_predictor(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_patient(images), expected)
    assert set(loaded.explain(images, 1)) == {"mask"}
    assert load_model(tmp_path / "model.keras").output_names == ["mask"]


def test_layers_that_are_not_known_are_named(tmp_path, folder):
    foreign(Unknown()).save(tmp_path / "model.keras")
    with pytest.raises(InputError, match=r"model.keras: has a Unknown, .* --model-fn PACKAGE"):
        load_model(tmp_path / "model.keras")
    options.import_model_fn(argparse.Namespace(model_fn="my_network:small_unet"))
    assert "my_network" in sys.modules
    options.import_model_fn(argparse.Namespace(model_fn=None))


def test_predictor_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="a network of 4 channels, and nothing is stored with it"):
        Predictor([foreign(channels=4)])
    own = Preprocessor(32, ("T1", "T1c", "T2", "FLAIR"))
    predictor = Predictor([foreign(channels=4)], preprocessor=own)
    images = np.zeros((2, 32, 32, 3), "uint8")
    for predict in (predictor.predict_patient, lambda images: predictor.explain(images, 0)):
        with pytest.raises(InputError, match="slices of 3 channels: the model takes 4 channels"):
            predict(images)
    with pytest.raises(InputError, match=r"one shape of input, found \[\(32, 32, 3\), \(32, 32, 4"):
        Predictor([foreign(), foreign(channels=4)])
    with pytest.raises(InputError, match="one shape of input, found no model"):
        Predictor([])
