"""The slices of a data set in the `kaggle_3m` layout, found by name and checked by content."""

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.io.image_files import SUFFIXES, read_bytes, read_image, read_mask
from agd_keras.io.table import LAYOUT, TABLE, dataset_root, read_table

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<case>.+)_(?P<index>\d+)(?P<mask>_mask)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, order=True)
class Slice:
    """One axial slice of one patient: where its files lie, nothing decoded.

    Example:

    >>> Slice("TCGA_CS_4941", 7, Path("TCGA_CS_4941_7.tif"), None).name
    'TCGA_CS_4941_7'
    """

    patient: str
    index: int
    image: Path
    mask: Path | None

    @property
    def name(self) -> str:
        """The key of the slice, unique in its data set."""
        return f"{self.patient}_{self.index}"


def _scan_patient(folder: Path, require_masks: bool) -> tuple[list[Slice], list[str], list[Path]]:
    """Slices, problems and ignored entries of one folder."""
    images: dict[int, Path] = {}
    masks: dict[int, Path] = {}
    problems, ignored = [], []
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.stem)
        wanted = match and match["case"] == folder.name and path.suffix.lower() in SUFFIXES
        if match is None or not wanted or not path.is_file():
            ignored.append(path)
            continue
        found = masks if match["mask"] else images
        first = found.setdefault(int(match["index"]), path)
        if first != path:
            problems.append(f"{path}: the same slice as {first.name}")
    if require_masks:
        problems += [f"{images[i]}: has no mask" for i in sorted(images.keys() - masks.keys())]
    problems += [f"{masks[i]}: mask without image" for i in sorted(masks.keys() - images.keys())]
    slices = [Slice(folder.name, i, images[i], masks.get(i)) for i in sorted(images)]
    return slices, problems, ignored


def _letters(name: str) -> str:
    return re.match(r"[A-Za-z]*", name)[0]  # type: ignore[index]  # matches the empty string too


def problems_error(root: str | Path, problems: list[str]) -> InputError:
    """One clear line, then every problem on a line of its own.

    Args:
        root: The data set, named in the first line.
        problems: Lines that name a file and what is wrong with it.

    Returns:
        The error to raise.

    Example:

    >>> print(problems_error("data", ["a_1.tif: has no mask"]))
    data: 1 problem in the data set
      a_1.tif: has no mask
    """
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return InputError(f"{root}: {count} in the data set", *problems)


def find_slices(root: str | Path, require_masks: bool = True) -> list[Slice]:
    """Finds images and masks of all patients, paired by name.

    Files and folders that belong to no patient are ignored, which a logged line mentions.

    Args:
        root: Folder in the layout `<case>/<case>_<n>.tif` with `<case>_<n>_mask.tif` beside it
            (also `.tiff` and `.png`), or the folder above it that holds `kaggle_3m/`.
        require_masks: Whether an image without a mask is a problem.

    Returns:
        Slices sorted by patient, then by number (2 before 10).

    Raises:
        InputError: The folder is no data set, or it has missing or orphan masks or patients
            without slices: all of them, one a line, with what `check_slices` finds then.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> len(find_slices(ensure_phantom(patients=3, slices=2, size=32)))
    6
    """
    root = dataset_root(root)
    slices: list[Slice] = []
    problems, ignored, empty = [], [], []
    table: Mapping[str, object] = {}
    try:
        table = read_table(root)
    except InputError as error:
        problems.append(str(error))
    for entry in sorted(root.iterdir()):
        if not entry.is_dir() or entry.name.startswith((".", "_")):
            if entry.name not in (TABLE, "README.md"):
                ignored.append(entry)
            continue
        found, wrong, other = _scan_patient(entry, require_masks)
        slices += found
        problems += wrong
        if found or wrong:
            ignored += other
        else:
            empty.append(entry)
    if not slices and not problems:
        raise InputError(f"{root}: not a data set, {LAYOUT}")
    # A folder without slices is a patient if it is called like one, and else merely in the way.
    prefixes = {_letters(one.patient) for one in slices}
    for entry in empty:
        if entry.name in table or _letters(entry.name) in prefixes:
            problems.append(f"{entry}: patient without slices")
        else:
            ignored.append(entry)
    if problems:  # all of them at once, also those within the files
        raise problems_error(root, problems + check_slices(slices))
    if ignored:
        names = ", ".join(str(path.relative_to(root)) for path in ignored[:5])
        more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
        logger.warning("%s: ignored what is no slice: %s%s", root, names, more)
    return slices


def digest_slices(slices: Iterable[Slice]) -> dict[str, str]:
    """Digests the content of every file: size and time of a file may stay as its content changes.

    Args:
        slices: What `find_slices` found, in any order.

    Returns:
        For each slice, by name and in order, the SHA-256 of its image, and of its mask behind that.

    Raises:
        InputError: A file cannot be read.
    """

    def digest(one: Slice) -> str:
        paths = (one.image, one.mask) if one.mask else (one.image,)
        return "".join(hashlib.sha256(read_bytes(path)).hexdigest() for path in paths)

    slices = sorted(slices)
    with ThreadPoolExecutor() as threads:
        return dict(zip([one.name for one in slices], threads.map(digest, slices), strict=True))


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """Digests what `digest_slices` returned: 16 hexadecimal digits."""
    total = hashlib.sha256()
    for name, digest in digests.items():
        total.update(name.encode("utf-8", "surrogateescape") + bytes.fromhex(digest))
    return total.hexdigest()[:16]


def data_fingerprint(slices: Iterable[Slice]) -> str:
    """Digests the contents of a data set: the same for every copy of it, in any folder.

    Args:
        slices: What `find_slices` found, in any order.

    Returns:
        16 hexadecimal digits.

    Raises:
        InputError: A file cannot be read.
    """
    return fingerprint_of(digest_slices(slices))


def changed_files(
    before: Mapping[str, str], slices: Iterable[Slice], now: Mapping[str, str]
) -> list[str]:
    """Names what changed in a data set.

    Args:
        before: What `digest_slices` returned then.
        slices: The slices as they are.
        now: What `digest_slices` returns of them.

    Returns:
        The path of each file with other content, of each new image, and the name of each slice
        that is gone.

    Example:

    >>> slices = [Slice("a", 1, Path("a_1.tif"), Path("a_1_mask.tif"))]
    >>> changed_files({"a_1": "0" * 128}, slices, {"a_1": "0" * 127 + "1"})
    ['a_1_mask.tif']
    """
    changed = []
    for one in slices:
        then, digest = before.get(one.name), now[one.name]
        if then is None:
            changed.append(f"{one.image} (new)")
        elif then[:64] != digest[:64]:
            changed.append(str(one.image))
        elif then != digest:
            changed.append(str(one.mask or one.image))
    return changed + [f"{name} (gone)" for name in before if name not in now]


def _check_slice(one: Slice) -> tuple[tuple[int, int] | None, list[str]]:
    problems = []
    shapes: list[tuple[int, int]] = []
    for path, read in ((one.image, read_image), (one.mask, read_mask)):
        try:
            shapes += [read(path).shape[:2]] if path else []
        except InputError as error:
            problems.append(str(error))
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        sizes = " and ".join(f"{height}x{width}" for height, width in shapes)
        problems.append(f"{one.mask}: mask of another size than its image ({sizes})")
    return (shapes[0] if shapes else None), problems


def check_slices(slices: Iterable[Slice]) -> list[str]:
    """Opens every file and reports all that is wrong, in one pass.

    Args:
        slices: What `find_slices` found.

    Returns:
        One line for each problem, naming the file: unreadable or truncated, of a wrong type, a
        mask that is not 0/255 or of another size than its image, a patient whose slices differ in
        size. Empty if all is well.

    Example:

    >>> check_slices([Slice("a", 1, Path("a/a_1.tif"), None)])
    ['a/a_1.tif: cannot be read (No such file or directory)']
    """
    slices = list(slices)
    problems: list[str] = []
    sizes: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    with ThreadPoolExecutor() as threads:
        for one, (shape, wrong) in zip(slices, threads.map(_check_slice, slices), strict=True):
            problems += wrong
            if shape:
                sizes[one.patient][shape] += 1
    for patient, counts in sizes.items():
        if len(counts) > 1:
            listed = ", ".join(f"{n} of {h}x{w}" for (h, w), n in counts.most_common())
            problems.append(f"{patient}: slices of different sizes ({listed})")
    return problems
