"""Predicts files and folders, a case at a time, and writes masks, pictures and a table."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from agd_keras.errors import InputError
from agd_keras.files import FULL, write_csv
from agd_keras.inference.familiarity import UNLIKE, Familiarity
from agd_keras.inference.outputs import (
    MAPS,
    flat_name,
    name_masks,
    name_volumes,
    replacing,
    resolve_outputs,
    write_maps,
    write_masks,
    write_volumes,
)
from agd_keras.inference.overlay import add_title, draw_overlay
from agd_keras.inference.postprocess import (
    THRESHOLD,
    Postprocessing,
    measure,
    measure_regions,
)
from agd_keras.inference.predict_case import predict_case, predict_maps
from agd_keras.inference.uncertainty import PatientPredictor, UncertaintyPredictor
from agd_keras.io.case import AXIAL, CHANNELS, FILL
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.locks import locked
from agd_keras.region_masks import by_region, union
from agd_keras.regions import Regions, names_of, nesting
from agd_keras.text import clean

logger = logging.getLogger(__name__)

TABLE = "predictions.csv"
COLUMNS = (
    *("case", "slices", "slices_with_tumour", "voxels", "area_mm2", "volume_mm3", "confidence"),
    *("uncertainty", "masks", "notes"),
)


def _place(source: CaseRef) -> Path:
    return source.files[0] if len(source.files) == 1 else source.files[0].parent


def _describe(source: CaseRef, error: Exception) -> str:
    """One line on why a case was not predicted, which names its file."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{_place(source)}: not enough memory"
    reason = getattr(error, "strerror", None) or clean(error)
    where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{_place(source)}: cannot be read or its results written ({where}{reason})"


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
    regions: Regions = getattr(predictor, "regions", {})
    if mask_format == "nnunet" and names_of(regions) and not nesting(regions):
        raise InputError(f"--format nnunet: expected nested regions, found {', '.join(regions)}")
    uncertain = None
    if uncertainty:
        threshold = settled.threshold or THRESHOLD
        uncertain = UncertaintyPredictor(predictor, uncertainty, threshold=threshold)
    [table] = resolve_outputs(out, [TABLE], [], overwrite)
    taken = getattr(predictor, "preprocessor", None)
    wanted = taken.channels if taken else CHANNELS
    missing = missing or (taken.missing if taken else FILL)
    plane = plane or (taken.plane if taken else AXIAL)
    sources = find_cases(inputs, channels, contrasts, wanted, missing, plane)
    flat = mask_format == "nnunet"
    if flat:
        _check_flat([source.case_id for source in sources])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot make the folder: {error.strerror}") from None
    rows: list[dict[str, Any]] = []
    failed: list[InputError] = []

    def predict_source(source: CaseRef) -> dict[str, Any]:
        case = read_case(source, descriptions)
        stem = flat_name(source.case_id) if flat else source.case_id
        try:
            masks = name_masks(source.case_id, case, mask_format, regions)
        except InputError as error:  # knows of no file
            raise InputError(f"{_place(source)}: {error}") from None
        extra = [f"{stem}_uncertainty.{kind}" for kind in ("npz", "png")]
        parts = [f"_{name}" for name in names_of(regions)] or [""]
        own_maps = [f"{name}{part}" for name in MAPS for part in parts]
        volumes = name_volumes(stem, case, own_maps)
        kept = volumes[: len(volumes) if uncertain else len(parts)] if save_probability else []
        overlay = [f"{stem}_overlay.png"]
        wanted = [*masks, *extra * bool(uncertain), *kept, *overlay * overlays]
        paths = resolve_outputs(out, wanted, source.files, overwrite)
        unwanted = [name for name in (*extra, *volumes, *overlay) if name not in wanted]
        stale = resolve_outputs(out, unwanted, source.files, overwrite) if overwrite else []
        try:
            maps = predict_maps(uncertain, case) if uncertain else None
            probability = maps.probability if maps else predict_case(predictor, case, settled.flips)
        except InputError as error:  # knows of no file
            raise InputError(f"{_place(source)}: {error}") from None
        found_masks = settled.mask(probability, regions)
        mask = union(found_masks)
        found = measure(mask, union(probability), case.spacing)
        by_name = measure_regions(found_masks, case.spacing, regions)
        with replacing(paths) as made:
            more = write_masks(case, found_masks, made[: len(masks)], mask_format, regions)
            if maps:
                write_maps(maps, case, *made[len(masks) :][:2])
            if kept:
                given = [getattr(maps, name) for name in MAPS] if maps else [probability]
                stacks = [one for maps_ in given for one in np.moveaxis(by_region(maps_), -1, 0)]
                start = len(masks) + len(extra) * bool(maps)
                own = made[start : start + len(kept)]
                write_volumes(dict(zip(own_maps, stacks, strict=False)), own, case)
            if overlays:
                picture = draw_overlay(case.flair, mask, case.spacing, source.numbers, case.sides)
                picture = add_title(picture, source.case_id, found["volume_mm3"], int(mask.sum()))
                # The default saves a fiftieth of the bytes and takes as long as all else together.
                picture.save(made[-1], compress_level=1)
        for path in stale:
            path.unlink(missing_ok=True)
        unlike = familiarity.judge(case) if familiarity else []
        told = [UNLIKE + ", ".join(unlike)] if unlike else []
        notes = "; ".join([*case.notes, *more, *told])
        if notes:
            logger.info("%s: %s", source.case_id, notes)
        doubt = {"uncertainty": f"{maps.score:.3f}"} if maps else {}
        where = masks[0] if len(masks) == 1 else f"{source.case_id}/"
        if not all(name.startswith(where) for name in masks):  # regions in files of their own
            where = "; ".join(masks)
        row = {"case": source.case_id, **found, **doubt, **by_name}
        return {**row, "masks": where, "notes": notes}

    with locked(out, tidy=True):
        resolve_outputs(out, [TABLE], [], overwrite)  # another process may have ended meanwhile
        try:
            for done, source in enumerate(sources, start=1):
                try:
                    rows.append(predict_source(source))
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
                write_csv(table, rows, _columns(regions))
    if failed and len(sources) == 1:
        raise failed[0]
    if failed:
        raise InputError(f"{len(failed)} of {len(sources)} cases could not be predicted")
    return rows
