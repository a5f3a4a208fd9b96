"""Results are put up as a whole, and only those that lost little."""

import os

import pytest

from agd_keras.errors import InputError
from agd_keras.export.parity import refuse_drop
from agd_keras.export.release import check_out, load_source, staging


def test_what_a_killed_export_left_is_in_nobodys_way(tmp_path):
    out = tmp_path / "agd"
    left = out / f".tmp-{os.getpid()}"
    left.mkdir(parents=True)
    for text in ("one", "two"):
        check_out(out, ("note.txt",), overwrite=True)
        with staging(out, ("note.txt",), overwrite=True) as work:
            assert work.parent == out
            (work / "note.txt").write_text(text)
        assert (out / "note.txt").read_text() == text
    assert sorted(out.iterdir()) == [left, out / "note.txt"]


def test_the_second_of_two_exports_is_refused(tmp_path):
    with staging(tmp_path / "agd", ("a.onnx",)) as work:
        (work / "a.onnx").write_text("first")
        with pytest.raises(InputError, match="another process is writing here"):
            staging(tmp_path / "agd", ("a.onnx",)).__enter__()
    with pytest.raises(InputError, match="found an export; --overwrite"):  # it came meanwhile
        staging(tmp_path / "agd", ("a.onnx",)).__enter__()
    assert os.listdir(tmp_path / "agd") == ["a.onnx"]


def test_nothing_is_left_after_an_error(tmp_path):
    def export():
        with staging(tmp_path / "new" / "agd") as work:
            (work / "note.txt").write_text("half")
            raise OSError("full")

    with pytest.raises(InputError, match="agd: cannot write the export: full"):
        export()
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("patient", "single", "allowed"),
    [(0.796, 0.5, True), (0.79, 0.8, False), (float("nan"), 0.8, False)],
)
def test_the_signature_for_patients_must_keep_up(patient, single, allowed):
    dice = {"keras": 0.8, "artefact": 0.8, "serving_default": single, "patient": patient}
    parity = {"slices": 9, "dice": dice, "patient_dice": dice}
    if allowed:
        refuse_drop(parity, 0.005, "agd/1")
    else:
        with pytest.raises(InputError, match=r"agd/1: dice of patient falls from 0\.8000 to"):
            refuse_drop(parity, 0.005, "agd/1")


def test_another_backend_is_named_before_any_work(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    expected = "^agd-export needs the TensorFlow backend, found KERAS_BACKEND=jax$"
    with pytest.raises(InputError, match=expected):
        load_source("no/such/model")
