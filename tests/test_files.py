"""Files and folders appear whole, whoever else writes them at the same time."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agd_keras.files import content, filled, without_patterns, write_csv, write_text
from agd_keras.locks import locked


def test_threads_write_one_file(tmp_path):
    path = tmp_path / "table.csv"
    texts = [str(number) * 50_000 for number in range(10)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(path, text), texts * 10))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_threads_make_one_folder(tmp_path):
    def make(number):
        try:
            with locked(tmp_path / "run", wait=60), filled(tmp_path / "run", replace=False) as made:
                write_text(made / "number.txt", str(number))
        except OSError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(16))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in content(tmp_path / "run")] == ["number.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    run = tmp_path / "run"
    for text in ("one", "two"):
        with filled(run, replace=True) as made:
            write_text(made / f"{text}.txt", text)
    assert [path.name for path in run.iterdir()] == ["two.txt"]

    def fail(replace, error):
        with filled(run, replace) as made:
            write_text(made / "three.txt", "half")
            if error:
                raise error

    with pytest.raises(OSError, match="full"):
        fail(True, OSError("full"))
    with pytest.raises(FileExistsError):
        fail(False, None)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in run.iterdir()] == ["two.txt"]


def test_what_a_kill_left_is_no_content_and_goes(tmp_path):
    run = tmp_path / "run"
    (run / "lost+found").mkdir(parents=True)
    (run / ".nfs0000000000a1").touch()
    (run / ".tmp-12").mkdir()
    (run / ".old-12").mkdir()
    (run / ".old-12" / "a.txt").touch()
    assert content(run) == []
    with filled(run, replace=False) as made:
        write_text(made / "a.txt", "a")
    assert {path.name for path in run.iterdir()} == {"a.txt", "lost+found", ".nfs0000000000a1"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_file_that_cannot_be_written_is_named_and_the_older_one_whole(
    tmp_path, monkeypatch, code
):
    path = write_text(tmp_path / "{a} 100 %.txt", "before")

    def full(self, content):
        with open(self, "wb") as file:
            file.write(b"half")
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="txt") as error:
            write_text(path, "after")
    assert (error.value.filename, error.value.errno) == (str(path), code)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["plain", "a [1] *", "{b}?", "ü 100 % $x"])
def test_a_path_without_patterns_leads_to_the_same_folder(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    with without_patterns(folder) as plain:
        (plain / "a.txt").write_text("a")
        assert not set("*?[") & set(str(plain))
    assert (folder / "a.txt").read_text() == "a"
    assert not plain.is_symlink()  # any more


def test_what_a_row_lacks_stays_empty(tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"a": 1}, {"b": "x,y", "a": None}], ["a", "b"])
    assert path.read_text() == 'a,b\n1,\n,"x,y"\n'
    with pytest.raises(ValueError, match="not in fieldnames"):
        write_csv(path, [{"c": 1}], ["a"])
    assert path.read_text() == 'a,b\n1,\n,"x,y"\n'
