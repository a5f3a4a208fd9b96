"""The folder of the page, with a stand-in for what node builds."""

import json
import re

import nibabel
import numpy as np
import pytest

from agd_keras.cli.export import main
from agd_keras.errors import InputError
from agd_keras.export import web
from agd_keras.inference.predictor import load_predictor
from agd_keras.web import find_page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for name in ("index.html", "page.js", "LICENCES.txt"):
        (folder / name).write_text(f"content of {name}")
    (folder / "sw.js").write_text('const v = "__VERSION__", f = "__FILES__".split("|")')
    return folder


@pytest.fixture(scope="module")
def site(page, model_file, small_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("web") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "find_page", lambda: page)
        assert web.export_web(model_file, out, small_phantom) == out / "index.html"
    return out


def test_the_folder_holds_all_that_the_page_needs(site, images, model):
    names = {path.name for path in site.iterdir()}
    records = {"calibration.json", "preprocessor.json", "familiarity.json", "parity.json"}
    made = {"patient.onnx", "MODEL_CARD.md", "example.nii.gz", *records}
    assert names == made | {"index.html", "page.js", "LICENCES.txt", "sw.js"}
    parity = json.loads((site / "parity.json").read_text())
    assert (parity["artefact"], parity["format"]) == ("patient.onnx", "web")
    assert parity["bytes"] == (site / "patient.onnx").stat().st_size
    assert "`patient.onnx`" in (site / "MODEL_CARD.md").read_text()
    predictor = load_predictor(site / "patient.onnx")
    assert predictor.predict_patient(images).shape == images.shape[:3]
    assert predictor.familiarity.scans == 9


def test_the_service_worker_keeps_every_file_and_knows_a_new_export(site, tmp_path):
    version, files = re.fullmatch(
        r'const v = "(\w{16})", f = "(.*)"\.split\("\|"\)', (site / "sw.js").read_text()
    ).groups()
    kept = {path.name for path in site.iterdir()} - {"sw.js", "parity.json"}
    assert set(files.split("|")) == {"./", *kept}
    for name in ("sw.js", "patient.onnx"):
        (tmp_path / name).write_text("__VERSION__ __FILES__")
    web.fill_service_worker(tmp_path)
    assert (tmp_path / "sw.js").read_text().split()[0] != version


def test_the_example_is_a_head_with_its_left_on_the_left(site):
    image = nibabel.load(site / "example.nii.gz")
    assert image.shape == (128, 128, 20, 3)
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    assert np.asarray(image.dataobj).max() > 100


def test_an_export_is_kept_unless_told(site, page, model_file, monkeypatch):
    monkeypatch.setattr(web, "find_page", lambda: page)
    with pytest.raises(InputError, match="--overwrite"):
        web.export_web(model_file, site)


def test_without_the_page_one_line_says_how_to_build_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("agd_keras.web.BUILT", tmp_path)
    with pytest.raises(InputError, match="make web"):
        find_page()
    code = main(["--model", "agd_tiny", "--format", "web", "--out", str(tmp_path / "site")])
    assert code == 1 and not (tmp_path / "site").exists()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the page is not built: `make web`")
