"""Reading a case together with its label, on one grid."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS, FILL, Case, find_missing, one_line
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import read_case
from agd_keras.io.geometry import from_slices, to_slices
from agd_keras.io.image_files import read_image, read_mask
from agd_keras.io.nifti import read_label_map
from agd_keras.region_masks import masks_of


def read_labelled(ref: CaseRef) -> tuple[Case, np.ndarray]:
    """Reads a case and where its tumour is.

    Args:
        ref: A case with a label.

    Returns:
        The `Case`, and a boolean array of shape `(slices, height, width)` on its grid, with an axis
        for the regions at its end where the case has several.

    Raises:
        InputError: A file is damaged, there is no label, or it lies on another grid.

    Example:

    >>> from agd_keras.io.data_set import find_data_set
    >>> from agd_keras.data.phantom import ensure_phantom
    >>> case, label = read_labelled(find_data_set(ensure_phantom(patients=3, slices=2, size=32))[0])
    >>> case.images.shape, label.shape
    ((2, 32, 32, 3), (2, 32, 32))
    """
    if not ref.label:
        raise InputError(f"{ref.files[0]}: expected a mask beside it")
    case = read_case(ref)
    label = _READERS[ref.kind](ref, case)
    if label.shape[:3] != case.images.shape[:3]:
        sizes = _sizes(case.images.shape[:3], label.shape[:3])
        raise InputError(f"{ref.label[0]}: label of another size than its scan ({sizes})")
    return case, label


def _sizes(*shapes: tuple[int, ...]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes)


def _read_pictures(ref: CaseRef, case: Case) -> np.ndarray:
    masks = [read_mask(path) for path in ref.label]
    for path, mask in zip(ref.label, masks, strict=True):
        if mask.shape != case.images.shape[1:3]:
            found = _sizes(case.images.shape[1:3], mask.shape)
            raise InputError(f"{path}: mask of another size than its image ({found})")
    return np.stack(masks)


def _read_nifti(ref: CaseRef, case: Case) -> np.ndarray:
    [path] = ref.label
    values = read_label_map(path, _affine(case), case.plane)
    other = sorted(set(np.unique(values).tolist()) - {0, *ref.values}) if ref.values else []
    if other:
        allowed = ", ".join(map(str, (0, *ref.values)))
        raise InputError(f"{path}: label {other[0]}, expected {allowed}")
    if ref.regions:
        return masks_of(values, ref.regions)
    return np.isin(values, ref.values) if ref.values else values > 0


def _read_dicom(ref: CaseRef, case: Case) -> np.ndarray:
    """All segments of segmentations, or of each region its own, by the place of their voxels."""
    wanted = list(ref.regions.items()) or [("", ())]
    masks = [_read_segments(ref, case, *region) for region in wanted]
    return np.stack(masks, axis=-1) if len(masks) > 1 else masks[0]


def _read_segments(ref: CaseRef, case: Case, name: str, numbers: tuple[int, ...]) -> np.ndarray:
    affine = _affine(case)
    volume = from_slices(np.zeros(case.images.shape[:3], bool), affine, case.plane).copy()
    for path in ref.label:
        points = _segmented_points(path, name, numbers)
        found = np.linalg.inv(affine) @ np.column_stack([points, np.ones(len(points))]).T
        voxels = np.rint(found[:3]).astype(int)
        off = np.abs(found[:3] - voxels).max(initial=0)
        inside = ((voxels >= 0) & (voxels < np.array(volume.shape)[:, None])).all()
        if off > 0.1 or not inside:
            raise InputError(f"{path}: label on another grid than the scan")
        volume[tuple(voxels)] = True
    return to_slices(volume, affine, case.plane)


def _affine(case: Case) -> np.ndarray:
    if case.affine is None:
        raise InputError("expected a scan that tells where its voxels lie")
    return case.affine


def _segmented_points(path: Path, name: str = "", numbers: tuple[int, ...] = ()) -> np.ndarray:
    """Where the marked voxels of a DICOM segmentation lie: mm to right, front and top.

    Of the segment that is called like a region, else of those of its numbers; or of all.
    """
    import highdicom as hd

    with one_line(path, "DICOM segmentation"):
        segmentation = hd.seg.segread(path)
        known = segmentation.segment_numbers if numbers else ()
        named = [
            number
            for number in known
            if segmentation.get_segment_description(number).segment_label == name
        ]
        chosen = named or [number for number in numbers if number in known]
        if numbers and not chosen:
            return np.empty((0, 3))
        volume = segmentation.get_volume(
            segment_numbers=chosen or None, combine_segments=True, skip_overlap_checks=True
        )
        indices = np.argwhere(volume.array > 0)
        places = volume.map_indices_to_reference(indices) if len(indices) else np.empty((0, 3))
        return places * np.array([-1.0, -1.0, 1.0])  # DICOM runs to the left and the back


def count_labels(ref: CaseRef, case: Case | None = None) -> dict[int, int]:
    """Says which values a label has beside 0, and of how many voxels.

    Args:
        ref: A case with a label.
        case: What `read_case` returned of it, if it was read already.

    Returns:
        By value the number of voxels: of label maps their values, of DICOM segmentations the
        numbers of segments, which may overlap; masks in pictures have one value.

    Raises:
        InputError: A file is damaged.

    Example:

    >>> from agd_keras.io.data_set import find_data_set
    >>> from agd_keras.data.phantom import ensure_phantom
    >>> list(count_labels(find_data_set(ensure_phantom(patients=3, slices=2, size=32))[0]))
    [1]
    """
    import highdicom as hd

    if ref.kind == "picture":
        return {1: sum(int(read_mask(path).sum()) for path in ref.label)}
    if ref.kind == "nifti":
        whole = read_label_map(ref.label[0], _affine(case or read_case(ref)))
        values, counts = np.unique(whole[whole != 0], return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    found: Counter[int] = Counter()
    for path in ref.label:
        with one_line(path, "DICOM segmentation"):
            numbers = hd.seg.segread(path).segment_numbers
        found.update({number: len(_segmented_points(path, "", (number,))) for number in numbers})
    return dict(found)


_READERS = {"picture": _read_pictures, "nifti": _read_nifti, "dicom": _read_dicom}


def check_pictures(ref: CaseRef) -> list[str]:
    """Opens every file of a case of pictures and reports all that is wrong with them.

    Args:
        ref: A case of pictures.

    Returns:
        One line for each problem, naming the file: unreadable or truncated, of a wrong type, a mask
        that is not 0/255 or of another size than its image, slices that differ in size.

    Example:

    >>> check_pictures(CaseRef("a", "picture", (Path("a/a_1.tif"),)))
    ['a/a_1.tif: expected a file, found nothing']
    """
    problems: list[str] = []
    try:
        find_missing(ref.files[0], ref.contrasts or CHANNELS, ref.channels, ref.missing)
    except InputError as error:
        problems.append(str(error))
    sizes: Counter[tuple[int, ...]] = Counter()
    for image, mask in zip(ref.files, ref.label or [None] * len(ref.files), strict=True):
        shapes = _shapes(image, mask, problems)
        sizes.update(shapes[:1])
        if len(set(shapes)) > 1:
            problems.append(f"{mask}: mask of another size than its image ({_sizes(*shapes)})")
    if len(sizes) > 1:
        listed = ", ".join(f"{n} of {h}x{w}" for (h, w), n in sizes.most_common())
        problems.append(f"{ref.case_id}: slices of different sizes ({listed})")
    return problems


def _shapes(image: Path, mask: Path | None, problems: list[str]) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    for path, read in ((image, read_image), (mask, read_mask)):
        try:
            shapes += [read(path).shape[:2]] if path else []
        except InputError as error:
            problems.append(str(error))
    return shapes


def check_volumes(ref: CaseRef) -> list[str]:
    """Reads a case of NIfTI or DICOM and reports all that is wrong with it.

    Args:
        ref: A case of either kind; without a label, only its images are read.

    Returns:
        One line for each problem, naming the file: each damaged one, then what is wrong with the
        rest together, as a label on another grid.

    Example:

    >>> check_volumes(CaseRef("a", "nifti", (Path("a.nii"),)))
    ['a.nii: expected a file, found nothing']
    """
    first = _problem(ref)
    if first is None:
        return []
    if ref.kind != "nifti" or len(ref.contrasts) != len(ref.files):
        return [first]
    # One after the other; of the contrast, no more is said than that each is read alone.
    alone = {
        path: _problem(replace(ref, files=(path,), contrasts=("FLAIR",), label=(), missing=FILL))
        for path in (*ref.files, *ref.label)
    }
    damaged = [line for line in alone.values() if line is not None]
    kept = [
        (path, name)
        for path, name in zip(ref.files, ref.contrasts, strict=True)
        if alone[path] is None
    ]
    if not damaged or "FLAIR" not in [name for _, name in kept]:
        return damaged or [first]
    files, contrasts = zip(*kept, strict=True)
    label = tuple(path for path in ref.label if alone[path] is None)
    rest = _problem(replace(ref, files=files, contrasts=contrasts, label=label, missing=FILL))
    return damaged + ([rest] if rest is not None else [])


def _problem(ref: CaseRef) -> str | None:
    """What is raised when a case is read."""
    try:
        if ref.label:
            read_labelled(ref)
        else:
            read_case(ref)
    except InputError as error:
        return str(error)
    return None
