"""Slices decoded, normalised and resized once, then read from disk at random."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.data.cache_entry import make_entry
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.root import cache_root
from agd_keras.data.slices import Slice
from agd_keras.errors import InputError
from agd_keras.files import unique_number
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.data_set import check_cases, problems_error
from agd_keras.io.fingerprint import digest_cases, fingerprint_of
from agd_keras.io.labels import count_labels
from agd_keras.regions import Regions

CACHE_VERSION = 5
REGIONS = (1, 4, 8, 16, 32, 64, 128)  # bits of the regions, the first of which was there first
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Cache:
    """A folder with one raw file a slice, ready for the network, and an index of them.

    A file holds the image as float16, shape `(image_size, image_size,
    channels)`, then the mask as uint8,
    shape `(image_size, image_size)`, both in C order: TensorFlow reads and decodes it without
    Python. The first bit of the mask is the tumour, or the first of several regions, the second the
    brain, tumour included, each further one another region. Float16 keeps 3 decimals of the
    normalised values, a tenth of a grey level. Beside them lies each case's mask at its original
    size, a bit a pixel, or a bit for each region.

    Args:
        folder: Where the files lie.
        preprocessor: What made the images.
        fingerprint: Hexadecimal key of these files and settings.
        cases: By case its `patient`; `numbers` of the slices; `areas` of tumour in pixels of the
            original mask; `shape`, height and width of the original; `view`, those of the square
            field of view that the network sees, and `corner`, where in it the original begins;
            `likeness`, see `describe_likeness`; `scan` and `stripped`, see `ScanProfile`, as the
            scan is and without its skull.
        data_fingerprint: Key of the data alone, the same for every copy, see `data_fingerprint`.
        digests: What that key is made of, see `digest_cases`.
        regions: What the masks are of, as the cases have it.
    """

    folder: Path
    preprocessor: Preprocessor
    fingerprint: str
    cases: dict[str, dict[str, Any]]
    data_fingerprint: str
    digests: Mapping[str, str] = field(default_factory=dict)
    regions: Regions = field(default_factory=dict)

    @property
    def image_size(self) -> int:
        """Side of images and masks in pixels."""
        return self.preprocessor.image_size

    @property
    def image_bytes(self) -> int:
        """Length of the image in a file; the mask follows."""
        return 2 * prod(self.preprocessor.input_shape)

    @cached_property
    def slices(self) -> list[Slice]:
        """All slices, by patient, case and number."""
        return sorted(
            Slice(entry["patient"], case, number, place)
            for case, entry in self.cases.items()
            for place, number in enumerate(entry["numbers"])
        )

    @cached_property
    def areas(self) -> dict[str, int]:
        """Tumour area by slice name, of all regions together, in pixels of the original mask."""
        return {one.name: self.cases[one.case]["areas"][one.place] for one in self.slices}

    def path(self, slice_: Slice) -> Path:
        """Returns the raw file of a slice."""
        return self.folder / f"{slice_.name}.raw"

    def read(self, slice_: Slice) -> tuple[np.ndarray, np.ndarray]:
        """Reads a slice: image, float32, values -5 to 5, and mask, boolean, both square.

        The mask has an axis for the regions at its end where there are several.
        """
        raw = self.path(slice_).read_bytes()
        side = self.image_size
        image = np.frombuffer(raw[: self.image_bytes], "<f2")
        image = image.reshape(self.preprocessor.input_shape)
        mask = np.frombuffer(raw[self.image_bytes :], np.uint8).reshape(side, side)
        masks = [(mask & bit).astype(bool) for bit in self.bits]
        return image.astype(np.float32), np.stack(masks, axis=-1) if len(masks) > 1 else masks[0]

    @property
    def bits(self) -> tuple[int, ...]:
        """The bit of each region in a mask."""
        return REGIONS[: max(1, len(self.regions))]

    def read_mask(self, case: str) -> np.ndarray:
        """Reads a case's mask at its original size: boolean, as `read_labelled` returns it."""
        entry = self.cases[case]
        several = [len(self.bits)] if len(self.bits) > 1 else []
        shape = (len(entry["numbers"]), *entry["shape"], *several)
        bits = np.fromfile(self.folder / f"{case}.mask", np.uint8)
        return np.unpackbits(bits, count=prod(shape)).reshape(shape).astype(bool)


def build_cache(
    cases: Sequence[CaseRef],
    preprocessor: Preprocessor,
    root: str | Path | None = None,
    progress: Progress | None = None,
) -> Cache:
    """Prepares all slices on disk, or finds them prepared.

    The folder is keyed by the settings and the contents of all files, which are read for it at each
    start: a second for the 0.75 GB of LGG. It is filled under another name and renamed when whole,
    so that an interrupted start leaves nothing that a later one could mistake for data, and
    processes that build the same cache at once end up with one of theirs. Memory holds a few
    cases at a time.

    Args:
        cases: Cases with labels: intensities are normalised by case.
        preprocessor: Makes the network's input.
        root: Folder for caches. Default: `$AGD_KERAS_CACHE`, or `~/.cache/agd_keras`.
        progress: Called as `progress(done, total)`, in cases, while building.

    Returns:
        The `Cache`.

    Raises:
        InputError: The data cannot be used (lists every problem), no case has a label of a region,
            or the folder cannot be written.

    Example:

    >>> import tempfile
    >>> from agd_keras.data.phantom import make_phantom
    >>> from agd_keras.io.data_set import find_data_set
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = make_phantom(f"{folder}/data", patients=1, slices=2, size=32)
    ...     cache = build_cache(find_data_set(root), Preprocessor(16), root=f"{folder}/cache")
    ...     image, mask = cache.read(cache.slices[0])
    >>> image.shape, mask.shape
    ((16, 16, 3), (16, 16))
    """
    root = cache_root(root)
    if not cases:
        raise InputError("the data set has no cases")
    cases = [preprocessor.claim(case) for case in sorted(cases)]
    for case in cases:
        if not case.label:
            raise InputError(f"{case.files[0]}: expected a mask beside it")
    try:
        digests = digest_cases(cases)
    except InputError:
        _refuse(cases, check_cases(cases))
        raise
    data_fingerprint = fingerprint_of(digests)
    made_by = f"{CACHE_VERSION} {preprocessor}"
    # The same files could be other cases of other persons.
    who = [(case.patient_id, case.case_id, case.contrasts, case.values) for case in cases]
    regions = cases[0].regions  # of all cases the same
    if regions:
        made_by += f" {list(regions.items())}"
    fingerprint = hashlib.sha256(f"{made_by} {data_fingerprint} {who}".encode()).hexdigest()[:16]
    folder = root / fingerprint
    if (cache := _load(folder)) is not None:
        return replace(cache, digests=digests, regions=regions)

    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        work = root / f"{fingerprint}.tmp-{unique_number()}"
        work.mkdir()
        try:
            cache = Cache(work, preprocessor, fingerprint, {}, data_fingerprint, digests, regions)
            _fill(cache, cases, progress)
            if digest_cases(cases) != digests:
                raise InputError("the data changed while it was prepared; start again")
            _publish(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"{root}: cannot write the cache: {error.strerror}; "
            "AGD_KERAS_CACHE names another folder"
        ) from error
    return replace(cache, folder=folder)


def _refuse(cases: Sequence[CaseRef], problems: list[str]) -> None:
    if problems:
        raise problems_error(os.path.commonpath([case.files[0].parent for case in cases]), problems)


def _load(folder: Path) -> Cache | None:
    """The cache in a folder, or None if it is not there in full."""
    try:
        index = json.loads((folder / "index.json").read_text())
        preprocessor = Preprocessor.from_values(index.pop("preprocessor"))
        cache = Cache(folder, preprocessor, **index)
        size = cache.image_bytes + cache.image_size**2
        names = [cache.path(one).name for one in cache.slices]
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    whole = all(f"{case}.mask" in sizes for case in cache.cases)
    return cache if whole and all(sizes.get(name) == size for name in names) else None


def _fill(cache: Cache, cases: Sequence[CaseRef], progress: Progress | None) -> None:
    found = np.zeros(len(cache.bits), bool)  # of the regions, in any case
    problems: dict[str, list[str]] = {}

    def prepare(ref: CaseRef) -> list[bool]:
        try:
            return write(ref)
        except InputError as error:  # the others are read all the same, to list all problems
            problems[ref.case_id] = check_cases([ref]) or [f"{ref.case_id}: {error}"]
            return [False] * len(found)

    def write(ref: CaseRef) -> list[bool]:
        own = make_entry(ref, cache.preprocessor, cache.bits)
        cache.cases[ref.case_id] = own.index
        np.packbits(own.label).tofile(cache.folder / f"{ref.case_id}.mask")
        for place, (number, raw) in enumerate(zip(own.index["numbers"], own.slices, strict=True)):
            name = Slice(ref.patient_id, ref.case_id, number, place)
            cache.path(name).write_bytes(raw)
        return own.found

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for done, own in enumerate(pool.map(prepare, cases), start=1):
            found |= own
            if progress:
                progress(done, len(cases))
    _refuse(cases, [line for ref in cases for line in problems.get(ref.case_id, ())])
    _check_regions(cases, found)
    index = {one.name: getattr(cache, one.name) for one in fields(cache)[2:-2]}
    index["preprocessor"] = cache.preprocessor.to_values()
    (cache.folder / "index.json").write_text(json.dumps(index, indent=1, sort_keys=True))


def _check_regions(cases: Sequence[CaseRef], found: np.ndarray) -> None:
    """Refuses a region of which no case has a label; without regions, tumour may be missing."""
    for (name, values), any_case in zip(cases[0].regions.items(), found, strict=False):
        if not any_case:
            own = sorted({value for case in cases for value in count_labels(case)})
            wanted, listed = (", ".join(map(str, labels)) for labels in (values, own))
            raise InputError(
                f"data.regions {name}: expected label {wanted} in some case, "
                f"found {listed or 'none'}"
            )


def _publish(work: Path, folder: Path) -> None:
    """Gives the filled folder its name, unless another process was first."""
    try:
        os.rename(work, folder)
    except OSError:
        if _load(folder) is None:  # damaged after it was made
            damaged = Path(f"{work}.damaged")
            os.rename(folder, damaged)
            os.rename(work, folder)
            shutil.rmtree(damaged, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Removes what killed processes left behind more than a day ago."""
    for left in root.glob(f"{'[0-9a-f]' * 16}.tmp-*"):  # no folder but ours
        with suppress(OSError):  # one that another process just renamed
            if time.time() - left.stat().st_mtime > 86400:
                shutil.rmtree(left, ignore_errors=True)
