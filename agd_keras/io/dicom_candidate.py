"""What the headers of a DICOM series say: its contrast by tags, then by words, and its extent."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.case import AXIAL, one_line
from agd_keras.io.contrasts import OTHER, agent_given, enhancement, name_contrast, words_of
from agd_keras.io.dicom_decode import read_header

if TYPE_CHECKING:
    from pydicom import Dataset

# Of every file in a folder only these are read before the series are chosen.
_TAGS = [
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("ProtocolName", "Modality", "ImageType", "ContrastBolusAgent", "ContrastBolusAgentSequence"),
    *("ContrastBolusVolume", "ContrastBolusTotalDose", "ContrastBolusStartTime"),
    *("AcquisitionContrast", "ScanningSequence", "EchoTime", "RepetitionTime", "InversionTime"),
    *("Rows", "Columns", "NumberOfFrames", "ImageOrientationPatient", "ImagePositionPatient"),
    *("SliceThickness", "SpacingBetweenSlices"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
_IMAGE_TYPES = re.compile(  # values of ImageType that are of no scan of one contrast
    r"LOCALIZER|ADC.*|E?ADC|DIFFUSION.*|TRACE.*|FA|PERFUSION.*|.*PROJECTION.*|MIP.*|MINIP|"
    r"SUB|SUBTRACT.*|T[12].?MAP|.*_MAP|CSA.*|VRT|PHASE.*|P|R|I|ASL|CBF.*|CBV.*|SCREEN.*|SWI"
)
_ACQUISITION = {"FLUID_ATTENUATED": "FLAIR", "T1": "T1", "T2": "T2"}
_REFORMATTED = ("rfmt", "reformat", "reformatted", "rekon", "reco", "reconstruction")
_SHOWN, _READ = 40, 256


def _values(header: "Dataset", keyword: str) -> Iterator[Any]:
    """Values of an attribute, also where an enhanced file has it: in its groups of frames."""
    if header.get(keyword) not in (None, ""):
        yield header.get(keyword)
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in (header.get(groups) or [])[:1]:
            for element in item:
                if element.VR == "SQ" and element.value:
                    value = element.value[0].get(keyword)
                    if value not in (None, ""):
                        yield value


def _number(header: "Dataset", *keywords: str) -> float:
    for keyword in keywords:
        for value in _values(header, keyword):
            try:
                return float(np.ravel(value)[0])
            except (TypeError, ValueError, IndexError):
                continue
    return np.nan


@dataclass(eq=False)
class Candidate:
    """A series of a study, of which the headers alone were read.

    Args:
        files: Its files.
        headers: Of each file, the attributes that tell series apart.
    """

    files: list[Path] = field(default_factory=list)
    headers: list["Dataset"] = field(default_factory=list)

    def text(self, keyword: str) -> str:
        """An attribute as text, several values with blanks between; empty if there is none."""
        value = next(_values(self.headers[0], keyword), "")
        several = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
        return " ".join(map(str, value)) if several else str(value)

    @cached_property
    def description(self) -> str:
        """SeriesDescription, of printable letters and not longer than fits in a line."""
        text = "".join(letter if letter.isprintable() else " " for letter in self.raw)
        text = " ".join(text.split())
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"

    @cached_property
    def raw(self) -> str:
        """SeriesDescription as it is, unless it is longer than any may be."""
        return self.text("SeriesDescription")[:_READ]

    @cached_property
    def study(self) -> set[tuple[str, str]]:
        """Patients and studies of its files."""
        return {
            (str(one.get("PatientID") or ""), str(one.get("StudyInstanceUID") or ""))
            for one in self.headers
        }

    @cached_property
    def agent(self) -> bool:
        """Whether a tag names a contrast agent, or tells of one where none is named."""
        header, name = self.headers[0], self.text("ContrastBolusAgent").strip()
        if name or header.get("ContrastBolusAgentSequence"):
            return agent_given(name) or bool(header.get("ContrastBolusAgentSequence"))
        amount = _number(header, "ContrastBolusVolume", "ContrastBolusTotalDose")
        return amount > 0 or bool(header.get("ContrastBolusStartTime"))

    @cached_property
    def contrast(self) -> str | None:
        """`FLAIR`, `T1`, `T1c`, `T2`, `other`, or None where nothing tells."""
        types = np.ravel(self.headers[0].get("ImageType") or []).tolist()
        if any(_IMAGE_TYPES.fullmatch(str(value).upper().strip()) for value in types[2:]):
            return OTHER
        agent = "given" if self.agent else ""
        named = name_contrast(self.raw, agent)
        if named is None:
            named = name_contrast(self.text("ProtocolName"), agent)
            named = None if named == OTHER else named  # a protocol is often that of all series
        weighted = self._weighting()
        if weighted == "FLAIR" and named in (None, "T2"):
            return "FLAIR"
        if weighted == "T1" and named in (None, "FLAIR"):
            given = enhancement(words_of(self.raw))
            return "T1c" if given or (given is None and self.agent) else "T1"
        if named is None and weighted == OTHER:
            return OTHER
        return named

    def _weighting(self) -> str | None:
        """What acquisition tags say: by name in enhanced files, else by times in ms."""
        name = self.text("AcquisitionContrast").upper()
        if name and name not in ("UNKNOWN", "MIXED"):
            return _ACQUISITION.get(name, OTHER)
        header = self.headers[0]
        echo = _number(header, "EchoTime", "EffectiveEchoTime")
        repeat = _number(header, "RepetitionTime")
        inversion = _number(header, "InversionTime", "InversionTimes")
        sequence = self.text("ScanningSequence").upper().split()
        if 1500 <= inversion <= 3500 and echo > 60:
            return "FLAIR"
        if "EP" in sequence:
            return OTHER
        if 300 <= inversion <= 1400 and echo < 40:
            return "T1"
        if np.isnan(inversion) or inversion == 0:
            gradient = "GR" in sequence
            spin = "SE" in sequence and not gradient
            if (spin and 0 < repeat < 1200 and 0 < echo < 30) or (
                gradient and 0 < repeat < 15 and 0 < echo < 6
            ):
                return "T1"
        return None

    @cached_property
    def plane(self) -> str:
        """The plane that its slices are closest to, empty where nothing tells."""
        for value in _values(self.headers[0], "ImageOrientationPatient"):
            row, column = np.array(value, float).reshape(2, 3)
            return ("sagittal", "coronal", AXIAL)[int(np.abs(np.cross(row, column)).argmax())]
        return ""

    @cached_property
    def original(self) -> bool:
        """Whether it is as acquired rather than made of another series."""
        derived = self.text("ImageType").upper().split()[:1] == ["DERIVED"]
        return not derived and not set(words_of(self.raw)) & set(_REFORMATTED)

    @cached_property
    def slices(self) -> int:
        """Number of planes."""
        return sum(int(one.get("NumberOfFrames") or 1) for one in self.headers)

    @cached_property
    def extent(self) -> float:
        """Length from the first plane to the last in mm."""
        if len(self.headers) == 1:
            step = _number(self.headers[0], "SpacingBetweenSlices", "SliceThickness")
            return self.slices * step if step > 0 else float(self.slices)
        places = [one.get("ImagePositionPatient") for one in self.headers]
        points = np.array([place for place in places if place is not None], float).reshape(-1, 3)
        return float(np.linalg.norm(np.ptp(points, axis=0))) if len(points) else 0.0

    @cached_property
    def grid(self) -> tuple[object, ...]:
        """What series on one grid have in common."""
        header = self.headers[0]
        size = (header.get("Rows"), header.get("Columns"), self.slices)
        return (*size, self.plane, round(self.extent))


def read_candidates(path: Path, files: Sequence[Path]) -> list[Candidate]:
    """Reads the headers of files and sorts them by series.

    Args:
        path: The file or folder, for the error.
        files: DICOM files in any order; what is no image is left out.

    Returns:
        The series of MR images; those of another modality only where there are no others.

    Raises:
        InputError: A file is damaged, or there is no image.
    """
    series: dict[str, Candidate] = defaultdict(Candidate)
    for file in files:
        header = read_header(file, stop_before_pixels=True, specific_tags=_TAGS)
        with one_line(file, "DICOM file"):
            if "Rows" in header and header.get("Modality") != "SEG":
                one = series[str(header.get("SeriesInstanceUID"))]
                one.files.append(file)
                one.headers.append(header)
    if not series:
        raise InputError(f"{path}: expected an MR image, found other DICOM files only")
    found = list(series.values())
    with one_line(path, "DICOM file"):
        return [one for one in found if one.headers[0].get("Modality") == "MR"] or found


def is_segmentation(path: Path) -> bool:
    """Says whether a DICOM file is a segmentation rather than an image.

    Args:
        path: A DICOM file.

    Returns:
        False also where it cannot be read.

    Example:

    >>> is_segmentation(Path("none.dcm"))
    False
    """
    try:
        header = read_header(path, stop_before_pixels=True, specific_tags=["Modality"])
        return header.get("Modality") == "SEG"
    except InputError:
        return False
