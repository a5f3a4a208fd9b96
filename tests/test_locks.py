"""One process at a time in a folder, also over its sudden death, and on a mount point."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from agd_keras.errors import InputError
from agd_keras.files import LOCK
from agd_keras.locks import busy, locked

HOLD = """
import sys, time
from pathlib import Path
from agd_keras.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_a_killed_process_leaves_no_lock(tmp_path):
    folder = tmp_path / "a [1] {x} %s ü"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert busy(folder)
        with (
            pytest.raises(InputError, match="another process is training here"),
            locked(folder, "training here"),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not busy(folder)
    with locked(folder):
        assert busy(folder)


def test_what_stays_of_a_lock(tmp_path):
    for tidy, left in ((False, [LOCK]), (True, [])):
        folder = tmp_path / str(tidy)
        folder.mkdir()
        with locked(folder, tidy=tidy):
            pass
        assert os.listdir(folder) == left
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "new" / "folder"):
        raise ZeroDivisionError
    assert not (tmp_path / "new" / "folder").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="file/run: cannot write the export"),
        locked(tmp_path / "file" / "run", kind="export"),
    ):
        pass
    assert not busy(tmp_path / "file" / "run")


def on_small_disk(script, tmp_path, size="96k"):
    """Runs a script with the path of a mounted file system of that size, which is gone with it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = f'mount -t tmpfs -o size={size} tmpfs "$1" && exec "$2" -c "$3" "$1"'
    made = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", disk, sys.executable, textwrap.dedent(script)],
        **{"capture_output": True, "text": True, "timeout": 120, "check": False},
    )
    if "mount:" in made.stderr or "unshare:" in made.stderr:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system, as Linux does")
def test_a_mount_point_is_filled_replaced_and_full(tmp_path):
    told = on_small_disk(
        """
        import os, sys
        from pathlib import Path
        from agd_keras.files import content, filled, write_bytes, write_text
        from agd_keras.locks import locked
        disk = Path(sys.argv[1])
        for text in ("one", "two"):
            with locked(disk, tidy=True), filled(disk, replace=True) as made:
                write_text(made / f"{text}.txt", text)
        assert os.path.ismount(disk)
        before = write_bytes(disk / "state.bin", b"1" * 20_000)
        try:
            write_bytes(disk / "state.bin", b"2" * 200_000)
        except OSError as error:
            print(os.path.relpath(error.filename, disk), error.strerror)
        assert before.read_bytes() == b"1" * 20_000
        print(*sorted(os.listdir(disk)))
        """,
        tmp_path,
    )
    assert told == "state.bin No space left on device\nstate.bin two.txt\n"
