"""The files of a prediction: made under another name, never over others, never outside."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.files import unique_number
from agd_keras.inference.uncertainty import UncertaintyMaps
from agd_keras.io.case import AXIAL, Case
from agd_keras.io.nifti import SUFFIXES
from agd_keras.io.volume import write_volume
from agd_keras.region_masks import label_map, union
from agd_keras.regions import Regions, names_of, nesting
from agd_keras.viz import overlays

MAPS = ("probability", "entropy", "mutual_information")
LONGEST_NAME = 255  # bytes, of nearly every file system


def resolve_outputs(
    out: Path, names: Sequence[str], sources: Sequence[Path], overwrite: bool
) -> list[Path]:
    """Turns names of output files into paths that may be written.

    Args:
        out: The output folder.
        names: Relative names.
        sources: The files that the case was read from.
        overwrite: Whether files of an earlier prediction may be replaced, which none in a folder
            with input may: they could be truth.

    Returns:
        A path for each name; nothing is made yet.

    Raises:
        InputError: A file exists already, would lie outside the folder, or has too long a name.

    Example:

    >>> resolve_outputs(Path("out"), ["a/b_mask.png"], [], overwrite=False)
    [PosixPath('out/a/b_mask.png')]
    """
    inputs = {path.parent.resolve() for path in sources}
    for path in (paths := [out / name for name in names]):
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            source = next(iter(sources), path)
            raise InputError(f"{source}: the name is too long for outputs, {LONGEST_NAME} bytes")
        if not path.parent.resolve().is_relative_to(out.resolve()):
            raise InputError(f"{path}: leads out of {out}")
        if os.path.lexists(path):
            if not overwrite:
                raise InputError(f"{path}: exists already; --overwrite replaces it")
            if path.parent.resolve() in inputs or not path.is_file():
                raise InputError(f"{path}: exists beside the input and is not replaced")
    return paths


@contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Gives names to write to, and renames them into place once all are written.

    Args:
        paths: The files; older ones are replaced, missing folders made.

    Raises:
        OSError: One cannot be written; names it.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "note.txt"
    >>> with replacing([path]) as (temporary,):
    ...     _ = temporary.write_text("done")
    >>> path.read_text()
    'done'
    """
    number = unique_number()
    # The end of the name tells the format; the whole could be too long.
    temporary = [
        path.with_name(f".tmp-{number}-{place}-{path.name[-12:]}")
        for place, path in enumerate(paths)
    ]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for made, path in zip(temporary, paths, strict=True):
            os.replace(made, path)
    except OSError as error:
        # They are written in order: a full disk was met by the last one that was begun.
        begun = [path for made, path in zip(temporary, paths, strict=True) if made.exists()]
        where = begun[-1] if begun else paths[0]
        raise OSError(error.errno, error.strerror or str(error), str(where)) from error
    finally:
        for made in temporary:
            made.unlink(missing_ok=True)


def name_masks(
    case_id: str, case: Case, mask_format: str, regions: Regions = MappingProxyType({})
) -> tuple[str, ...]:
    """Names the mask files of a case.

    Of several regions, a label map or a DICOM segmentation holds all; where regions are not nested
    and a NIfTI file would have to be a label map, and of pictures, each has its own mask files.

    Args:
        case_id: What the case is called, also with folders.
        case: What was read.
        mask_format: `source`, as the case came, or `nnunet`, one NIfTI file in no folder.
        regions: What is found. Default: one region.

    Raises:
        InputError: `nnunet` of pictures, which do not tell where their voxels lie.

    Example:

    >>> case = Case(np.zeros((1, 2, 2, 3)), None, ("a_mask.dcm",), print, affine=np.eye(4))
    >>> name_masks("site/a", case, "nnunet")
    ('a.nii.gz',)
    """
    masks = case.masks
    if mask_format != "source":
        if case.affine is None:
            raise InputError("--format nnunet: expected NIfTI or DICOM, pictures have no geometry")
        masks = (f"{flat_name(case_id)}.nii.gz",)
    return tuple(_with_region(name, one) for one in _apart(masks, regions) for name in masks)


def _apart(masks: Sequence[str], regions: Regions) -> tuple[str, ...]:
    """The regions that have mask files of their own; an empty name for all in one."""
    together = masks[0].endswith(".dcm") or (masks[0].endswith(SUFFIXES) and nesting(regions))
    return names_of(regions) if not together and names_of(regions) else ("",)


def _with_region(name: str, region: str) -> str:
    """The name of a mask file of one region, before all that tells its format."""
    if not region:
        return name
    suffix = next((end for end in SUFFIXES if name.endswith(end)), Path(name).suffix)
    return f"{name.removesuffix(suffix)}_{region}{suffix}"


def flat_name(case_id: str) -> str:
    """Returns what a case is called in a folder of all cases.

    Example:

    >>> flat_name("site/BRATS_001")
    'BRATS_001'
    """
    return case_id.rpartition("/")[2]


def write_masks(
    case: Case,
    mask: np.ndarray,
    paths: Sequence[Path],
    mask_format: str,
    regions: Regions = MappingProxyType({}),
) -> tuple[str, ...]:
    """Writes the mask of a case to files named by `name_masks`.

    Args:
        case: What was read.
        mask: Boolean array of shape `(slices, height, width)`, with an axis for the regions at its
            end where there are several.
        paths: The files.
        mask_format: As for `name_masks`.
        regions: As for `name_masks`.

    Returns:
        Notes on what was left out or changed.
    """
    if len(own := _apart([path.name for path in paths], regions)) > 1:
        share = len(paths) // len(own)
        notes: tuple[str, ...] = ()
        for place in range(len(own)):
            part = paths[place * share : (place + 1) * share]
            notes += write_masks(case, mask[..., place], part, mask_format)
        return tuple(dict.fromkeys(notes))
    if names_of(regions) and paths[0].name.endswith(SUFFIXES):
        mask = label_map(mask, regions, nesting(regions))
    elif names_of(regions):
        return case.write_masks(mask, paths, regions=names_of(regions)) or ()
    # A NIfTI scan writes its own header, compressed or not as the name of the file says.
    if mask_format == "source" or case.masks[0].endswith(SUFFIXES) or case.affine is None:
        return case.write_masks(mask, paths) or ()
    write_volume(paths[0], mask.astype(np.uint8), case.affine, case.plane)
    return ()


def name_volumes(stem: str, case: Case, maps: Sequence[str]) -> list[str]:
    """Names a file for each map: NIfTI, or `.npz` of pictures, which have no geometry.

    Example:

    >>> case = Case(np.zeros((1, 2, 2, 3)), None, ("a_mask.png",), print)
    >>> name_volumes("a", case, ["probability"])
    ['a_probability.npz']
    """
    suffix = ".npz" if case.affine is None else ".nii.gz"
    return [f"{stem}_{name}{suffix}" for name in maps]


def write_volumes(volumes: Mapping[str, np.ndarray], paths: Sequence[Path], case: Case) -> None:
    """Writes maps of a case to files named by `name_volumes`, float32.

    Args:
        volumes: By name of the map an array of shape `(slices, height, width)`.
        paths: A file for each.
        case: What was read.
    """
    for (name, values), path in zip(volumes.items(), paths, strict=True):
        if case.affine is None:
            named: dict[str, Any] = {name: values.astype(np.float32)}
            np.savez_compressed(path, **named)
        else:
            write_volume(path, values.astype(np.float32), case.affine, case.plane)


def write_maps(maps: UncertaintyMaps, case: Case, arrays: Path, picture: Path) -> None:
    """Writes maps of uncertainty: all of them as arrays, those of one slice as a picture.

    Args:
        maps: Maps of shape `(slices, height, width)`, with an axis for the regions at the end where
            there are several; the picture shows the highest value over the regions.
        case: What was read.
        arrays: An `.npz` file, float16: `probability`, and in nats `entropy` and
            `mutual_information`; and `plane`, in which the slices lie, if it is not axial.
        picture: A `.png` file: the slice with most entropy, in bits, so that 1 is the highest.
    """
    values = {name: getattr(maps, name) for name in MAPS}
    kept = {name: value.astype("f2") for name, value in values.items()}
    if case.plane != AXIAL:
        kept["plane"] = np.array(case.plane)
    np.savez_compressed(arrays, **kept)
    values = {name: union(value) for name, value in values.items()}
    place = int(values["entropy"].sum(axis=(1, 2)).argmax())
    shown = {"probability": values["probability"][place]}
    for name in MAPS[1:]:
        shown[f"{name.replace('_', ' ')} (bits)"] = values[name][place] / np.log(2)
    overlays.maps(
        case.flair[place], shown, label="probability, or bits", aspect=case.aspect
    ).savefig(picture, dpi=150)
