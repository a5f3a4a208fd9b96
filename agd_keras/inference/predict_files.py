"""Predicts files and folders, a case at a time, and writes masks, pictures and a table."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from agd_keras.errors import InputError
from agd_keras.files import FULL, write_csv
from agd_keras.inference.familiarity import Familiarity
from agd_keras.inference.outputs import flat_name, resolve_outputs
from agd_keras.inference.postprocess import THRESHOLD, Postprocessing
from agd_keras.inference.uncertainty import PatientPredictor, UncertaintyPredictor
from agd_keras.inference.write_case import CaseWriter, place_of
from agd_keras.io.case import AXIAL, CHANNELS, FILL
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import find_cases
from agd_keras.locks import locked
from agd_keras.regions import Regions, names_of, nesting
from agd_keras.text import clean

logger = logging.getLogger(__name__)

TABLE = "predictions.csv"
COLUMNS = (
    *("case", "slices", "slices_with_tumour", "voxels", "area_mm2", "volume_mm3", "confidence"),
    *("uncertainty", "masks", "notes"),
)


def _describe(source: CaseRef, error: Exception) -> str:
    """One line on why a case was not predicted, which names its file."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{place_of(source)}: not enough memory"
    reason = getattr(error, "strerror", None) or clean(error)
    where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{place_of(source)}: cannot be read or its results written ({where}{reason})"


def _columns(regions: Regions) -> list[str]:
    """The columns of the table, with two more for each of several regions."""
    own = [f"{key}_{name}" for name in names_of(regions) for key in ("voxels", "volume_mm3")]
    return [*COLUMNS[:-2], *own, *COLUMNS[-2:]]


def _check_flat(cases: Sequence[str]) -> None:
    """Refuses cases of which one would replace another in a single folder."""
    first: dict[str, str] = {}
    for case in cases:
        if (other := first.setdefault(flat_name(case), case)) != case:
            raise InputError(f"--format nnunet: {other} and {case} would have one name")


def predict_files(
    predictor: PatientPredictor,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    postprocessing: Postprocessing | None = None,
    overlays: bool = True,
    uncertainty: str | None = None,
    save_probability: bool = False,
    mask_format: Literal["source", "nnunet"] = "source",
    overwrite: bool = False,
    channels: Sequence[str] = (),
    contrasts: Mapping[str, str | Path] | None = None,
    descriptions: bool = False,
    missing: str | None = None,
    plane: str | None = None,
    familiarity: Familiarity | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[dict[str, Any]]:
    """Predicts every case in files and folders, holding one at a time in memory.

    Masks are written in the format and geometry of their input, `<case>_mask.*`, with a picture
    `<case>_overlay.png` of the outline and a row in `predictions.csv`. Of several regions, picture
    and row are of their union, the row has voxels and volume of each, and `name_masks` says how
    the masks are written. A case that cannot be
    read, predicted or written is logged in one line, and the others are predicted all the same.

    Args:
        predictor: What predicts.
        inputs: TIFF, PNG, NIfTI or DICOM files, or folders of them, as `find_cases` takes them.
        out: Folder for the results; made if it does not exist.
        postprocessing: How masks are made of probabilities. Default: from 0.5 on.
        overlays: Whether to draw pictures.
        uncertainty: `tta`, `ensemble` or `mc_dropout`, see `UncertaintyPredictor`: also writes
            `<case>_uncertainty.npz`, the maps in the order of the slices, and a picture of the
            slice with most entropy; a score stands in the table. Not with flips.
        save_probability: Whether to write the probability and, with `uncertainty`, entropy and
            mutual information in nats, float32, as `<case>_probability.nii.gz` and so on in the
            geometry of the scan; of pictures, which have none, as `.npz`.
        mask_format: `source`, or `nnunet`, for masks called `<case>.nii.gz`, in no folder, as
            challenges expect them.
        overwrite: Replace files of an earlier prediction, and remove its pictures and maps of a
            case where none are made now.
        channels: Contrasts in the order of channels, and
        contrasts: files of one more case by contrast, see `find_cases`.
        descriptions: Whether notes may hold descriptions of DICOM series, which are typed by hand.
        missing: What becomes of contrasts that a case lacks, see `stack_channels`. Default: as the
            model was trained.
        plane: In which slices lie, see `choose_plane`. Default: as the model was trained.
        familiarity: What the predictor was trained on: in which ways a case is unlike it stands in
            the notes.
        progress: Called as `progress(done, total)`, in cases.

    Returns:
        The rows of `predictions.csv`.

    Raises:
        InputError: No case is found, two would have one name in `nnunet`, the folder cannot be
            used, another process writes there, or cases could not be predicted: after all the
            others have been.
        OSError: The disk is full; names the file.

    Example:

    >>> import tempfile
    >>> from agd_keras.data.phantom import ensure_phantom
    >>> class Bright:
    ...     def predict_patient(self, images):
    ...         return (images[..., 1] > 200).astype("float32")
    >>> data = ensure_phantom(patients=2, slices=2, size=32)
    >>> rows = predict_files(Bright(), [data], tempfile.mkdtemp())
    >>> [row["case"] for row in rows]
    ['phantom_001', 'phantom_002']
    """
    out = Path(out)
    settled = (postprocessing or Postprocessing()).settle(THRESHOLD)
    settled.check_uncertainty(uncertainty)
    uncertain = None
    if uncertainty:
        threshold = settled.threshold or THRESHOLD
        uncertain = UncertaintyPredictor(predictor, uncertainty, threshold=threshold)
    writer = CaseWriter(
        *(out, predictor, settled, uncertain),
        overlays=overlays,
        save_probability=save_probability,
        mask_format=mask_format,
        overwrite=overwrite,
        descriptions=descriptions,
        familiarity=familiarity,
    )
    regions = writer.regions
    if mask_format == "nnunet" and names_of(regions) and not nesting(regions):
        raise InputError(f"--format nnunet: expected nested regions, found {', '.join(regions)}")
    [table] = resolve_outputs(out, [TABLE], [], overwrite)
    taken = getattr(predictor, "preprocessor", None)
    wanted = taken.channels if taken else CHANNELS
    missing = missing or (taken.missing if taken else FILL)
    plane = plane or (taken.plane if taken else AXIAL)
    sources = find_cases(inputs, channels, contrasts, wanted, missing, plane)
    if mask_format == "nnunet":
        _check_flat([source.case_id for source in sources])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot make the folder: {error.strerror}") from None
    with locked(out, tidy=True):
        resolve_outputs(out, [TABLE], [], overwrite)  # another process may have ended meanwhile
        rows, failed = _predict_all(writer, sources, table, progress)
    if failed and len(sources) == 1:
        raise failed[0]
    if failed:
        raise InputError(f"{len(failed)} of {len(sources)} cases could not be predicted")
    return rows


def _predict_all(
    writer: CaseWriter,
    sources: Sequence[CaseRef],
    table: Path,
    progress: Callable[[int, int], object] | None,
) -> tuple[list[dict[str, Any]], list[InputError]]:
    """Predicts one case after the other and writes the table; returns its rows and all errors."""
    rows: list[dict[str, Any]] = []
    failed: list[InputError] = []
    try:
        for done, source in enumerate(sources, start=1):
            try:
                rows.append(writer.predict(source))
            except (InputError, MemoryError, OSError) as error:
                if getattr(error, "errno", None) in FULL:
                    raise  # so it would be for all others
                line = _describe(source, error)
                # Without a traceback, which would hold the case.
                failed.append(InputError(line))
                rows.append({"case": source.case_id, "notes": f"not predicted: {line}"})
                if len(sources) > 1:
                    logger.error("%s", line)
            if progress:
                progress(done, len(sources))
    finally:
        if len(rows) > len(failed):
            write_csv(table, rows, _columns(writer.regions))
    return rows, failed
