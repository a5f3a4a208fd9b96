"""Files and folders appear whole, whoever else writes them at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from agd_keras.files import new_folder, write_csv, write_text


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
            with new_folder(tmp_path / "run", replace=False) as made:
                write_text(made / "number.txt", str(number))
        except OSError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(16))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["number.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for text in ("one", "two"):
        with new_folder(tmp_path / "run", replace=True) as made:
            write_text(made / f"{text}.txt", text)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["two.txt"]

    def fail():
        with new_folder(tmp_path / "run", replace=True) as made:
            write_text(made / "three.txt", "half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["two.txt"]


def test_what_a_row_lacks_stays_empty(tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"a": 1}, {"b": "x,y", "a": None}], ["a", "b"])
    assert path.read_text() == 'a,b\n1,\n,"x,y"\n'
    with pytest.raises(ValueError, match="not in fieldnames"):
        write_csv(path, [{"c": 1}], ["a"])
    assert path.read_text() == 'a,b\n1,\n,"x,y"\n'
