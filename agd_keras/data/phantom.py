"""A procedural data set: heads with lesions that no patient had, to try things out and to test."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from agd_keras.data.anatomy import make_patient
from agd_keras.data.root import cache_root
from agd_keras.errors import InputError
from agd_keras.files import write_csv
from agd_keras.io.table import TABLE

# Counts up whenever the pictures change, so that kept phantoms are made anew.
PHANTOM_VERSION = 1


def make_phantom(
    root: str | Path, patients: int = 24, slices: int = 20, size: int = 128, seed: int = 0
) -> Path:
    """Writes a phantom data set in the `kaggle_3m` layout.

    Each patient has a head of its own (anatomy, grey levels, bias field, noise) and one lesion,
    bright on FLAIR and faint in every fourth; about a third of the slices and 1 % of the pixels
    show it. The same arguments give the same bytes, and a larger number of patients the same
    first ones.

    Args:
        root: Folder to make; must not exist yet.
        patients: Number of patients.
        slices: Slices of each patient, numbered from 1.
        size: Height and width in pixels, at least 16.
        seed: Seed of everything.

    Returns:
        `root`, which appears once it is complete.

    Raises:
        InputError: The folder exists, or a number is too small.

    Example:

    >>> root = make_phantom(Path(tempfile.mkdtemp()) / "phantom", patients=1, slices=2, size=32)
    >>> sorted(path.name for path in (root / "phantom_001").iterdir())[:2]
    ['phantom_001_1.tif', 'phantom_001_1_mask.tif']
    """
    root = Path(root)
    least = {
        "patients": (patients, 1),
        "slices": (slices, 1),
        "size": (size, 16),
        "seed": (seed, 0),
    }
    for name, (value, minimum) in least.items():
        if value < minimum:
            raise InputError(f"phantom {name} {value}: expected at least {minimum}")
    if root.exists():
        raise InputError(f"{root}: exists already, expected a new folder for the phantom")
    root.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{root.name}.tmp-", dir=root.parent))
    try:
        rows = []
        for number in range(1, patients + 1):
            case = f"phantom_{number:03d}"
            (work / case).mkdir()
            images, masks, row = make_patient(seed, number, slices, size)
            for index, (image, mask) in enumerate(zip(images, masks, strict=True), start=1):
                Image.fromarray(image).save(work / case / f"{case}_{index}.tif")
                grey = Image.fromarray(mask.astype(np.uint8) * 255)
                grey.save(work / case / f"{case}_{index}_mask.tif")
            rows.append({"patient": case, **row})
        write_csv(work / TABLE, rows, list(rows[0]))
        work.chmod(0o755)
        os.replace(work, root)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def ensure_phantom(
    folder: str | Path | None = None,
    patients: int = 24,
    slices: int = 20,
    size: int = 128,
    seed: int = 0,
) -> Path:
    """Makes a phantom data set once and finds it again later.

    Args:
        folder: Folder for caches. Default: `$AGD_KERAS_CACHE`, or `~/.cache/agd_keras`.
        patients: As in `make_phantom`, like those that follow.
        slices: Slices of each patient.
        size: Height and width in pixels.
        seed: Seed of everything.

    Returns:
        Folder of the data set.

    Raises:
        InputError: The folder for caches cannot be written, or a number is too small.

    Example:

    >>> ensure_phantom(patients=3, slices=2, size=32).name
    'phantom-v1-3x2x32-seed0'
    """
    name = f"phantom-v{PHANTOM_VERSION}-{patients}x{slices}x{size}-seed{seed}"
    root = cache_root(folder) / name
    if not root.is_dir():
        try:
            make_phantom(root, patients, slices, size, seed)
        except InputError:
            if not root.is_dir():  # or else another process made it meanwhile
                raise
        except OSError as error:
            if not root.is_dir():
                raise InputError(
                    f"{root.parent}: cannot write the phantom ({error.strerror}); "
                    "AGD_KERAS_CACHE names another folder"
                ) from error
    return root
