"""Model files, run folders and tables that are hostile or damaged: one line that blames them."""

import json
import logging
import os
import random
import shutil
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import yaml

from agd_keras import values
from agd_keras.config import make_config
from agd_keras.errors import InputError
from agd_keras.inference import model_file
from agd_keras.inference.exported import find_version, is_artefact
from agd_keras.inference.model_file import check_model_file, load_model
from agd_keras.inference.predictor import load_predictor
from agd_keras.io.discovery import find_cases
from agd_keras.io.table import read_table
from agd_keras.models import agd_autoencoder
from agd_keras.presets import PRESETS
from agd_keras.values import parse_setting, read_yaml
from agd_keras.weights import find_model


def one_line(call, *arguments):
    """Says what a call raises, which is one clear line, in little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as raised:
            call(*arguments)
        assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
    finally:
        tracemalloc.stop()
    shown = str(raised.value)
    assert "\n" not in shown and shown.isprintable() and len(shown) <= 400
    return shown


# YAML.

LEVELS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGES = "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
BOMBS = [
    "l0: &l0 [x, x]\n" + LEVELS,
    "m0: &m0 {a: 1}\n" + MERGES,
    "a: &a [*a, *a]",
    "a: " + "[" * 900 + "]" * 900,
    "\n".join(" " * n + f"k{n}:" for n in range(600)),
    *("- " * 5000, "a: " + "x" * 5000, "a: 0x" + "f" * 5000, "a: [" + "1," * 10_001 + "]"),
    *("a: 2020-13-45", "a: !!timestamp x", "a: !!int ''", "a: !!bool x", "{[a]: 1}", "{{a: 1}: 1}"),
    *(
        "a: !!python/object/apply:os.system ['true']",
        "a: 1\n---\nb: 2",
        "\x00",
        "a: '\\",
        "%YAML 9.9",
    ),
]


@pytest.mark.parametrize("number", range(len(BOMBS)))
def test_yaml_is_bounded(tmp_path, number):
    path = tmp_path / "config.yaml"
    path.write_text(BOMBS[number])
    if number < 3:  # what expands; measuring memory makes deep nesting slow
        assert str(path) in one_line(read_yaml, path)
    with pytest.raises(InputError, match="config.yaml: "):
        read_yaml(path)


def test_yaml_of_any_size_and_anchors_of_people(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: 1\n#" + b" " * values.MAX_BYTES)
    assert "at most 262144 bytes" in one_line(read_yaml, path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "readable YAML" in one_line(read_yaml, path)
    path.write_text("base: &base {epochs: 3}\ntraining: {<<: *base, seed: 1}\nagain: *base\n")
    expected = {"base": {"epochs": 3}, "training": {"epochs": 3, "seed": 1}, "again": {"epochs": 3}}
    assert read_yaml(path) == expected


@pytest.mark.parametrize(
    "setting",
    [
        *("model.filters=[1000000000]", "model.depth=1000000", "model.edge_filters=99999999"),
        *("model.filters=[8,8,8,8,8,8,8,8,8]", "training.learning_rate=.inf", "model.l2=.nan"),
        "data.path=[" + "[a]," * 500 + "]",
        "training.epochs=0x" + "f" * 1500,
    ],
)
def test_options_have_bounds(setting):
    assert one_line(lambda: make_config(parse_setting(setting)))


def check_yaml_mutants(tmp_path, numbers):
    sound = yaml.safe_dump(make_config({"preset": "agd_paper"}).model_dump(mode="json"))
    marks = (
        "&a",
        "*a",
        "[",
        "{",
        ": ",
        "- ",
        "!!int",
        "<<",
        "|",
        "'",
        "\t",
        "\n",
        ".inf",
        "9" * 99,
    )
    path = tmp_path / "config.yaml"
    for number in numbers:
        chance = random.Random(f"config {number}")
        content = bytearray(sound, "utf-8")
        for _ in range(chance.choice((1, 2, 4, 8))):
            place, length = chance.randrange(len(content)), chance.randrange(9)
            new = chance.choice(
                (b"", bytes([chance.randrange(256)]), chance.choice(marks).encode())
            )
            content[place : place + length] = new
        path.write_bytes(content)
        try:
            values = read_yaml(path)
            if isinstance(values, dict):
                make_config(values)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) <= 400


def test_a_few_mutated_configs(tmp_path):
    check_yaml_mutants(tmp_path, range(100))


@pytest.mark.nightly
def test_many_mutated_configs(tmp_path):
    check_yaml_mutants(tmp_path, range(100, 5000))


# Tables and trees.


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"patient,note\na," + b"x" * 200_000, "field larger"),
        (b"patient\n\xff\xfe", "UTF-8"),
        (b" " * (2**24 + 1), "more than 16,777,216 bytes"),
    ],
)
def test_a_table_that_is_none(tmp_path, content, line):
    (tmp_path / "data.csv").write_bytes(content)
    assert line in one_line(read_table, tmp_path)


@pytest.mark.parametrize(
    "content", ["", "\n\n", "patient", "\n1,2,3\n", "a,b\n1,2,3,4\n", '"', "\x00,\x00"]
)
def test_a_table_of_odd_form(tmp_path, content):
    (tmp_path / "data.csv").write_text(content)
    assert all(
        isinstance(cell, str) for row in read_table(tmp_path).values() for cell in row.values()
    )


def test_a_table_finds_folders_by_their_beginning(tmp_path):
    for name in ("a", "a_1", "a_2", "ab_1", "b_1"):
        (tmp_path / name).mkdir()
    (tmp_path / "data.csv").write_text('patient;note\na;"x\ny"\nb;\nc;z;more\n')
    rows = {"a": "x\ny", "a_1": "x\ny", "a_2": "x\ny", "b_1": "", "c": "z"}
    found = {name: row["note"] for name, row in read_table(tmp_path).items()}
    assert found == rows


@pytest.mark.nightly  # each level resolves its path
@pytest.mark.skipif(sys.platform != "linux", reason="deep paths")
def test_a_tree_of_absurd_depth(tmp_path):
    deepest = tmp_path
    for _ in range(1500):  # `parents=True` and rmtree call themselves for each level
        deepest /= "d"
        deepest.mkdir()
    try:
        with pytest.raises(InputError, match="folders nested too deep"):
            find_cases([tmp_path])
    finally:
        os.removedirs(deepest)


# Model files.


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "sound.keras"
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(path)
    return path


def rewrite(source, target, change):
    """Copies an archive with its `config.json` changed, as text or parsed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name == "config.json" else content)
    return target


def set_all(content, key, value):
    config = json.loads(content)
    left = [config]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if key in one:
                one[key] = value
            left += one.values()
        elif isinstance(one, list):
            left += one
    return json.dumps(config)


CHANGES = {
    "filters": lambda c: set_all(c, "filters", 10**9),
    "edge filters": lambda c: set_all(c, "kernel_size", [10**5, 10**5]),
    "image": lambda c: set_all(c, "batch_shape", [None, 12_000, 12_000, 3]),
    "channels": lambda c: set_all(c, "batch_shape", [None, 32, 32, 17]),
    "oblong": lambda c: set_all(c, "batch_shape", [None, 32, 64, 3]),
    "enlarged": lambda c: set_all(c, "size", [10**6, 10**6]),
    "depth": lambda c: b"[" * 10**5,
    "spaces": lambda c: b" " * 2**24 + c,
    "number": lambda c: b"9" * 10**5,
    "no object": lambda c: b"[]",
    "no network": lambda c: b"{}",
    "not a number": lambda c: set_all(c, "filters", float("nan")),
    "text": lambda c: set_all(c, "filters", "many"),
    "code": lambda c: set_all(c, "module", "os"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_model_is_blamed_before_it_is_made(sound, tmp_path, name):
    path = rewrite(sound, tmp_path / "model.keras", CHANGES[name])
    assert str(path) in one_line(load_model, path)


def test_files_that_are_no_models(sound, tmp_path):
    path = tmp_path / "model.keras"
    for content in (b"", b"PK", sound.read_bytes()[:2000], b"\x89HDF\r\n\x1a\n" + bytes(99)):
        path.write_bytes(content)
        assert str(path) in one_line(load_model, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a\x00b", b"")
    assert str(path) in one_line(load_model, path)


def test_unpacked_size_is_what_the_archive_says(sound, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match=r"bytes, unpacked"):
        check_model_file(sound)


def test_every_preset_has_room():
    for preset in PRESETS:
        config = make_config({"preset": preset})
        assert max(config.model.filters) * 256**2 <= model_file.MAX_VALUES
    check_model_file(find_model("agd_small") / "fold-0" / "model.keras")


def check_model_mutants(sound, tmp_path, numbers):
    for number in numbers:
        chance = random.Random(f"model {number}")

        def change(content, chance=chance):
            changed = bytearray(content)
            for _ in range(chance.choice((1, 1, 2, 4))):
                place = chance.randrange(len(changed))
                new = chance.choice((b"", b"null", b"1e999", b"[", b"99999999999", b"-1", b'"'))
                changed[place : place + chance.randrange(1, 6)] = new
            return bytes(changed)

        if chance.random() < 0.5:
            path = rewrite(sound, tmp_path / "model.keras", change)
        else:
            path = tmp_path / "model.keras"
            path.write_bytes(change(sound.read_bytes()))
        try:
            model = load_model(path, compiled=False)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) <= 400
        else:
            assert model.input_shape[1:] == (32, 32, 3)


def test_a_few_mutated_models(sound, tmp_path):
    check_model_mutants(sound, tmp_path, range(12))


@pytest.mark.nightly
def test_many_mutated_models(sound, tmp_path):
    check_model_mutants(sound, tmp_path, range(12, 300))


# What a folder is.


@pytest.fixture
def run(sound, tmp_path):
    """A run folder into which a program was put: it must not so much as be read."""
    folder = tmp_path / "run"
    (folder / "fold-0").mkdir(parents=True)
    shutil.copy(sound, folder / "fold-0" / "model.keras")
    (folder / "config.yaml").write_text("preset: agd_tiny\n")
    for place in (folder, folder / "1", folder / "99"):
        place.mkdir(exist_ok=True)
        (place / "saved_model.pb").write_bytes(b"a program")
        (place / "assets.extra").mkdir()
        (place / "assets.extra" / "calibration.json").write_text('{"temperature": 9.0}')
    return folder


def test_a_run_folder_runs_nothing(run, monkeypatch):
    monkeypatch.setattr("keras.layers.TFSMLayer", lambda *_, **__: pytest.fail("it ran"))
    assert not is_artefact(run)
    predictor = load_predictor(run)
    assert predictor.preprocessor.image_size == 32 and predictor.calibration.temperature == 1
    (run / "config.yaml").unlink()
    assert not is_artefact(run)  # a fold makes it one as well
    shutil.rmtree(run / "fold-0")
    (run / "config.yaml").write_text("")
    assert "expected a run folder" in one_line(load_predictor, run)


def test_a_saved_model_is_the_folder_or_its_version(tmp_path):
    elsewhere = tmp_path / "elsewhere" / "7"
    served = tmp_path / "served"
    for folder in (elsewhere, served / "2", served / "sub" / "3", served / "x5"):
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
    (served / "9").symlink_to(elsewhere, target_is_directory=True)
    (served / "٣").mkdir()
    (served / "٣" / "saved_model.pb").write_bytes(b"")
    assert find_version(served) == served / "2"
    assert find_version(served / "sub" / "3") == served / "sub" / "3"
    assert find_version(served / "sub" / "none") is None


def test_a_saved_model_says_that_it_is_a_program(tmp_path, caplog):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        one_line(load_predictor, tmp_path)
    assert f"{tmp_path}: a SavedModel is a program" in caplog.text


@pytest.mark.parametrize(("name", "meant"), [("agd_smal", "agd_small"), ("AGD_tiny", "agd_tiny")])
def test_a_misspelt_name_is_told_the_right_one(name, meant):
    line = one_line(load_predictor, name)
    assert line.endswith(f"did you mean {meant}?") and "agd_small" in line and "agd_tiny" in line


def test_a_path_is_not_corrected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "found nothing" in one_line(load_model, "runs/agd_smal")
    assert np.all([find_model(name).name == name for name in ("agd_smal.keras", "a.onnx")])
