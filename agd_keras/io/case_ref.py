"""Where a case lies: what is found before anything is decoded."""

from dataclasses import dataclass, field
from pathlib import Path

from agd_keras.io.case import AXIAL, CHANNELS, FILL
from agd_keras.regions import Regions


@dataclass(frozen=True, order=True)
class CaseRef:
    """One scan of one person, with its label if there is one; nothing decoded.

    Args:
        case_id: The scan, unique among those found together. Of a data set it is fit for a file's
            name; elsewhere it may be a path below the input that it was found in.
        kind: Which reader takes the files: `picture`, `nifti` or `dicom`.
        files: The files of the images, lowest slice first where the names tell.
        contrasts: Contrast of each file, or of each channel of one that holds several; empty where
            reading must tell.
        label: The files of the label, in the order of the images where those are slices; none of an
            unlabelled case.
        values: The values of the label that are tumour; empty for all above 0.
        numbers: What the source calls the slices, where it numbers files; empty where it does not.
        patient_id: The person, the unit of splitting. By default each case is one of its own.
        notes: What a user should know about how the files were chosen.
        problem: Why the case cannot be read, in one line; empty if it can.
        channels: Names of the channels that are read of it, in their order.
        missing: What becomes of those that it lacks, see `stack_channels`.
        plane: In which its slices are to lie, one of `PLANES`.
        regions: What of the label is wanted, each region by its values; empty for one region of all
            values that are tumour.

    Example:

    >>> CaseRef("a_2001", "nifti", (Path("a.nii.gz"),)).patient_id
    'a_2001'
    """

    case_id: str
    kind: str = field(compare=False)
    files: tuple[Path, ...] = field(compare=False)
    contrasts: tuple[str, ...] = field(default=(), compare=False)
    label: tuple[Path, ...] = field(default=(), compare=False)
    values: tuple[int, ...] = field(default=(), compare=False)
    numbers: tuple[int, ...] = field(default=(), compare=False)
    patient_id: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)
    problem: str = field(default="", compare=False)
    channels: tuple[str, ...] = field(default=CHANNELS, compare=False)
    missing: str = field(default=FILL, compare=False)
    plane: str = field(default=AXIAL, compare=False)
    regions: Regions = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.patient_id:
            object.__setattr__(self, "patient_id", self.case_id)  # frozen
