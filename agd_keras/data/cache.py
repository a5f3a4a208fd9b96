"""Slices decoded, normalised and resized once, then read from disk at random."""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from agd_keras.data.preprocess import PREPROCESS_VERSION, prepare_patient, resize_mask
from agd_keras.data.root import cache_root
from agd_keras.errors import InputError
from agd_keras.io.image_files import read_image, read_mask
from agd_keras.io.slices import (
    Slice,
    check_slices,
    digest_slices,
    fingerprint_of,
    problems_error,
)

CACHE_VERSION = 1
CHANNELS = 3
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Cache:
    """A folder with one raw file a slice, ready for the network, and an index of them.

    A file holds the image as float16, shape `(image_size, image_size, 3)`, then the mask as uint8
    0 or 1, shape `(image_size, image_size)`, both in C order: TensorFlow reads and decodes it
    without Python. Float16 keeps 3 decimals of the normalised values, a tenth of a grey level.

    Args:
        folder: Where the files lie.
        image_size: Side of images and masks in pixels.
        fingerprint: Hexadecimal key of these files and settings.
        areas: Tumour area by slice name, in pixels of the original mask.
        data_fingerprint: Key of the data alone, the same for every copy, see `slices`.
        digests: What that key is made of, by slice name, see `digest_slices`.
    """

    folder: Path
    image_size: int
    fingerprint: str
    areas: dict[str, int]
    data_fingerprint: str
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def image_bytes(self) -> int:
        """Length of the image in a file; the mask follows."""
        return 2 * CHANNELS * self.image_size**2

    def path(self, slice_: Slice) -> Path:
        """Returns the raw file of a slice."""
        return self.folder / f"{slice_.name}.raw"

    def read(self, slice_: Slice) -> tuple[np.ndarray, np.ndarray]:
        """Reads a slice: image, float32, values -5 to 5, and mask, boolean, both square."""
        raw = self.path(slice_).read_bytes()
        side = self.image_size
        image = np.frombuffer(raw[: self.image_bytes], "<f2").reshape(side, side, CHANNELS)
        mask = np.frombuffer(raw[self.image_bytes :], np.uint8).reshape(side, side)
        return image.astype(np.float32), mask.astype(bool)


def build_cache(
    slices: Sequence[Slice],
    image_size: int,
    root: str | Path | None = None,
    progress: Progress | None = None,
) -> Cache:
    """Prepares all slices on disk, or finds them prepared.

    The folder is keyed by the settings and the contents of all files, which are read for it at each
    start: a second for the 0.75 GB of LGG. It is filled under another name and renamed when whole,
    so that an interrupted start leaves nothing that a later one could mistake for data, and
    processes that build the same cache at once end up with one of theirs. Memory holds a few
    patients at a time.

    Args:
        slices: Slices with masks, of whole patients: intensities are normalised by patient.
        image_size: Side of the network's square input in pixels.
        root: Folder for caches. Default: `$AGD_KERAS_CACHE`, or `~/.cache/agd_keras`.
        progress: Called as `progress(done, total)`, in slices, while building.

    Returns:
        The `Cache`.

    Raises:
        InputError: The data cannot be used (lists every problem), or the folder not written.

    Example:

    >>> import tempfile
    >>> from agd_keras.data.phantom import make_phantom
    >>> from agd_keras.io.slices import find_slices
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = make_phantom(f"{folder}/data", patients=1, slices=2, size=32)
    ...     slices = find_slices(root)
    ...     image, mask = build_cache(slices, 16, root=f"{folder}/cache").read(slices[0])
    >>> image.shape, mask.shape
    ((16, 16, 3), (16, 16))
    """
    root = cache_root(root)
    if not slices:
        raise InputError("the data set has no slices")
    slices = sorted(slices)
    for one in slices:
        _mask_path(one)
    try:
        digests = digest_slices(slices)
    except InputError:
        _check(slices)
        raise
    data_fingerprint = fingerprint_of(digests)
    settings = f"{CACHE_VERSION} {PREPROCESS_VERSION} {image_size} {data_fingerprint}"
    fingerprint = hashlib.sha256(settings.encode()).hexdigest()[:16]
    folder = root / fingerprint
    if (cache := _load(folder)) is not None:
        return replace(cache, digests=digests)

    _check(slices)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        work = root / f"{fingerprint}.tmp-{uuid.uuid4().hex[:8]}"
        work.mkdir()
        try:
            cache = Cache(work, image_size, fingerprint, {}, data_fingerprint, digests)
            _fill(cache, slices, progress)
            if digest_slices(slices) != digests:
                raise InputError("the data changed while it was prepared; start again")
            _publish(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        needed = len(slices) * (2 * CHANNELS + 1) * image_size**2 / 2**20
        raise InputError(
            f"{root}: cannot write the cache of {needed:.0f} MiB: {error.strerror}; "
            "AGD_KERAS_CACHE names another folder"
        ) from error
    return replace(cache, folder=folder)


def _mask_path(slice_: Slice) -> Path:
    if slice_.mask is None:
        raise InputError(f"{slice_.image}: expected a mask beside it")
    return slice_.mask


def _check(slices: Sequence[Slice]) -> None:
    if problems := check_slices(slices):
        raise problems_error(os.path.commonpath([one.image.parent for one in slices]), problems)


def _load(folder: Path) -> Cache | None:
    """The cache in a folder, or None if it is not there in full."""
    try:
        index = json.loads((folder / "index.json").read_text())
        cache = Cache(folder, **index)
        size = cache.image_bytes + cache.image_size**2
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    except (OSError, ValueError, TypeError):
        return None
    return cache if all(sizes.get(f"{name}.raw") == size for name in cache.areas) else None


def _fill(cache: Cache, slices: Sequence[Slice], progress: Progress | None) -> None:
    def prepare(patient: list[Slice]) -> int:
        originals = np.stack([read_image(slice_.image) for slice_ in patient])
        images = prepare_patient(originals, cache.image_size)
        for slice_, image in zip(patient, images, strict=True):
            mask = read_mask(_mask_path(slice_))
            cache.areas[slice_.name] = int(mask.sum())
            small = resize_mask(mask, cache.image_size)
            raw = image.astype("<f2").tobytes() + small.astype(np.uint8).tobytes()
            cache.path(slice_).write_bytes(raw)
        return len(patient)

    patients = [list(group) for _, group in groupby(slices, key=lambda slice_: slice_.patient)]
    done = 0
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for count in pool.map(prepare, patients):
            done += count
            if progress:
                progress(done, len(slices))
    index = {one.name: getattr(cache, one.name) for one in fields(cache)[1:-1]}
    (cache.folder / "index.json").write_text(json.dumps(index, indent=1, sort_keys=True))


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
