"""A folder for any file server: a page that segments scans in the browser of who opens it."""

import hashlib
import shutil
from pathlib import Path

import nibabel
import numpy as np

from agd_keras.data.anatomy import make_patient
from agd_keras.errors import InputError
from agd_keras.export import onnx, patient
from agd_keras.export.parity import PARITY
from agd_keras.export.release import CARD, RECORDS, check_out, describe, load_source, staging
from agd_keras.files import write_text
from agd_keras.io.case import AXIAL, CHANNELS
from agd_keras.regions import names_of
from agd_keras.web import INDEX, find_page

EXAMPLE = "example.nii.gz"
WORKER = "sw.js"  # keeps the files for visits without a network
_SPACING = (1.8, 1.8, 5.0)  # of the example, in mm


def export_web(
    model: str | Path,
    out: str | Path,
    data: str | Path | None = None,
    threshold: float | None = None,
    max_drop: float = 0.005,
    overwrite: bool = False,
) -> Path:
    """Exports a trained model as a page that runs it in the browser, with nothing sent anywhere.

    Args:
        model: A `.keras` file, or a run folder, whose folds are averaged.
        out: New folder, gets the page, `patient.onnx`, `calibration.json`, `parity.json`, a
            computed example and `MODEL_CARD.md`. Any server of files can host it.
        data: Data for the comparison with the Keras model; by default that of the run.
        threshold: A pixel is tumour at or above this probability, 0 to 1. Default: the model's.
        max_drop: Largest loss of Dice against the Keras model, 0 to 1.
        overwrite: Replace an earlier export in that folder.

    Returns:
        The page's `index.html`.

    Raises:
        InputError: The page is not built, model, data or folder cannot be used, the model finds
            several regions or takes other slices than axial ones, or too much Dice is lost.

    Example:

    >>> export_web("runs/first", "site")  # doctest: +SKIP
    PosixPath('site/index.html')
    """
    out, page = Path(out), find_page()
    built = sorted(path.name for path in page.iterdir())
    check_out(out, (*built, patient.FILE, EXAMPLE, PARITY, CARD, *RECORDS), overwrite)
    source = load_source(model, data)
    if source.preprocessor.channels != CHANNELS:
        taken = ", ".join(source.preprocessor.channels)
        raise InputError(f"--format web: the page takes {', '.join(CHANNELS)}, the model {taken}")
    if source.preprocessor.plane != AXIAL:
        plane = source.preprocessor.plane
        raise InputError(f"--format web: the page takes axial slices, {model} plane {plane}")
    if found := names_of(source.calibration.regions):
        raise InputError(
            f"--format web: the page shows one region, {model} finds {', '.join(found)}"
        )
    with staging(out) as work:
        parity = onnx.write_onnx(source, work, threshold)
        (work / onnx.FILE).unlink()  # the page has no use for it
        size = parity.pop("patient_bytes")
        usage = patient.USAGE.format(channels=len(CHANNELS))
        parity |= {"artefact": patient.FILE, "format": "web", "bytes": size}
        describe(work, source, parity, max_drop, f"{out}/{patient.FILE}", usage)
        write_example(work / EXAMPLE)
        for name in built:
            shutil.copyfile(page / name, work / name)
        fill_service_worker(work)
    return out / INDEX


def write_example(path: Path) -> Path:
    """Writes a computed head, of no patient, to try the page with.

    Args:
        path: A `.nii.gz` file.

    Returns:
        The file: 20 slices of 128 × 128 in the three contrasts.

    Example:

    >>> import tempfile
    >>> path = write_example(Path(tempfile.mkdtemp()) / "example.nii.gz")
    >>> nibabel.load(path).shape
    (128, 128, 20, 3)
    """
    images, _, _ = make_patient(seed=7, number=1, slices=20, size=128)
    # Columns and rows of a slice run to the left and back: the first two axes of RAS, turned.
    affine = np.diag([-_SPACING[0], -_SPACING[1], _SPACING[2], 1.0])
    affine[:3, 3] = 114, 114, -45
    volume = np.array(images).transpose(2, 1, 0, 3)
    nibabel.Nifti1Image(volume, affine).to_filename(path)
    return path


def fill_service_worker(folder: Path) -> None:
    """Tells the service worker which files to keep, and a sum over them that any change changes.

    Args:
        folder: The folder of the page, with all files in place.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name not in (WORKER, PARITY))
    total = hashlib.sha256()
    for name in names:
        total.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
    worker = folder / WORKER
    text = worker.read_text(encoding="utf-8")
    text = text.replace("__VERSION__", total.hexdigest()[:16])
    write_text(worker, text.replace("__FILES__", "|".join(["./", *names])))
