"""Two processes, one folder: nothing is replaced in which another one trains. And mount points."""

import errno
import os
from pathlib import Path

import pytest

from agd_keras.errors import InputError
from agd_keras.export.release import staging
from agd_keras.files import content
from agd_keras.io.data_set import find_data_set
from agd_keras.io.fingerprint import digest_cases
from agd_keras.locks import locked
from agd_keras.runs.open_run import open_run
from agd_keras.runs.resolve import resolve
from agd_keras.runs.run_folder import RunFolder
from agd_keras.runs.search.search import search
from agd_keras.runs.search.search_folder import open_search
from agd_keras.runs.study import run_study
from agd_keras.runs.train import train

TRAINS = "another process is training here"


def tree(folder):
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


@pytest.mark.parametrize("held", ["fold-1", ""])
def test_overwriting_a_run_that_is_trained(held, tiny, tmp_path):
    out = tmp_path / "run"
    train(tiny(data={"folds": 3}), out, only=())
    (out / "fold-1").mkdir()
    (out / "fold-1" / "model.keras").write_text("trained")
    before = tree(out)
    with locked(out / held), pytest.raises(InputError, match=TRAINS):
        train(tiny(), out, overwrite=True, only=())
    assert tree(out) == before
    train(tiny(), out, overwrite=True, only=())
    assert {path.name for path in content(out)} == {
        *("config.yaml", "folds.json", "splits_final.json"),
        *("data.json", "fingerprints.json", "environment.json"),
    }


def test_the_other_one_begins_while_the_data_is_prepared(tiny, tmp_path, monkeypatch):
    """Neither of two that found nothing replaces the other's; nor does one that overwrites."""
    out = tmp_path / "run"

    def overtaken(*arguments):
        monkeypatch.setattr("agd_keras.runs.train.open_run", open_run)
        train(tiny(), out, only=())
        return open_run(*arguments)

    monkeypatch.setattr("agd_keras.runs.train.open_run", overtaken)
    with pytest.raises(InputError, match="found a run; --resume or --overwrite"):
        train(tiny(training={"seed": 7}), out, only=())
    assert "seed: 0" in (out / "config.yaml").read_text()


def test_folds_are_shared_and_each_is_trained_once(tiny, tmp_path):
    out = tmp_path / "run"
    config = tiny(data={"folds": 3})
    train(config, out, only=())
    with RunFolder(out).fold(1).locked():
        train(config, out, resume=True, only=())  # others may come
        with pytest.raises(InputError, match="fold-1: another process is training this fold"):
            train(config, out, resume=True, only=[1])
        with RunFolder(out).fold(2).locked():
            pass


def test_overwriting_a_study_of_which_one_run_is_trained(tiny, tmp_path):
    out, config = tmp_path / "leak", tiny(data={"folds": 3})
    run_study("leak", config, out, only=())
    before = tree(out)
    with RunFolder(out / "record").fold(2).locked():
        after = tree(out)
        with pytest.raises(InputError, match=TRAINS):
            run_study("leak", tiny(data={"folds": 2}), out, overwrite=True, only=())
        assert tree(out) == after
    assert before.items() <= tree(out).items()


@pytest.mark.parametrize(
    ("held", "option"), [("trial-0", "overwrite"), ("", "overwrite"), ("", "resume")]
)
def test_a_search_that_is_trained(held, option, tiny, small_phantom, tmp_path):
    out = tmp_path / "search"
    cases = find_data_set(small_phantom)
    settings = {
        **{
            "config": resolve(tiny()).model_dump(mode="json"),
            "rounds": [],
            "space": None,
        },
        **{"trials": 20, "folds": [0], "prune": True, "data_fingerprint": "f"},
    }
    open_search(out, settings, cases, digest_cases(cases), overwrite=False)
    (out / "trial-0").mkdir()
    before = tree(out)
    with locked(out / held), pytest.raises(InputError, match=TRAINS):
        search(tiny(), out, **{option: True})
    assert tree(out) == before


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Stands in for a mount point: it cannot be renamed, and no file goes over its border."""
    point = tmp_path / "mount [1]"
    point.mkdir()

    def guarded(original):
        def rename(source, target, *rest, **options):
            ends = [Path(os.path.abspath(end)) for end in (source, target)]
            if point in ends:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(source))
            if len({end.is_relative_to(point) for end in ends}) > 1:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))
            return original(source, target, *rest, **options)

        return rename

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    return point


def test_a_run_on_a_mount_point(mounted, tiny):
    for seed in (0, 1):
        train(tiny(training={"seed": seed}), mounted, overwrite=bool(seed), only=())
        assert f"seed: {seed}" in (mounted / "config.yaml").read_text()
    train(tiny(training={"seed": 1}), mounted, resume=True, only=())


def test_an_export_on_a_mount_point(mounted):
    for number in ("1", "2"):
        with staging(mounted) as work:
            (work / number).mkdir()
            (work / number / "graph.pb").write_text(number)
            (work / "batching.txt").write_text(number)
    assert [path.name for path in sorted(mounted.iterdir())] == ["1", "2", "batching.txt"]
    with locked(mounted), pytest.raises(InputError, match="another process is writing here"):
        staging(mounted).__enter__()
