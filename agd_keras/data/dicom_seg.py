"""Writing a mask as a DICOM segmentation that refers to the images it was made from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agd_keras.data.case import one_line
from agd_keras.data.dicom_series import Series
from agd_keras.data.orientation import from_axial

# A segmentation copies these; scanners and anonymisers leave them out.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def write_segmentation(mask: np.ndarray, paths: Sequence[Path], path: Path, source: Series) -> None:
    """Writes a mask as a DICOM segmentation object of one segment, "tumour", made by a machine.

    It belongs to the study and the patient of the series, and each frame names the image it was
    made from.

    Args:
        mask: Bool array of shape `(slices, height, width)`, slices upwards, as in `Case.images`.
        paths: The one file to write.
        path: The file or folder that the series was read from, which an error names.
        source: The series; its headers get the attributes that they lack, empty.

    Raises:
        InputError: The headers do not allow it.
        OSError: The file cannot be written.

    Reference:
        https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_A.51.html

    Example:

    >>> series = read_series([Path("scan.dcm")])  # doctest: +SKIP
    >>> mask = np.zeros((1, 256, 256), bool)
    >>> write_segmentation(mask, [Path("mask.dcm")], Path("scan.dcm"), series)  # doctest: +SKIP
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian

    from agd_keras import __version__

    planes = from_axial(mask, source.affine).transpose(2, 1, 0)
    frames = planes
    if len(source.sources) == 1:
        frames = np.empty_like(planes)
        frames[source.order] = planes
    with one_line(path, "DICOM series"):
        for header in source.sources:
            for attribute in _MAY_BE_EMPTY:
                if attribute not in header:
                    setattr(header, attribute, None)
        segment = hd.seg.SegmentDescription(
            segment_number=1,
            segment_label="tumour",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="agd_keras",
                version=__version__,
                family=codes.DCM.ArtificialIntelligence,
            ),
        )
        segmentation = hd.seg.Segmentation(
            source_images=source.sources,
            pixel_array=np.ascontiguousarray(frames, np.uint8),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[segment],
            series_instance_uid=hd.UID(),
            series_number=9000,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="agd_keras",
            manufacturer_model_name="agd_keras",
            software_versions=__version__,
            device_serial_number="0",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_description="Predicted tumour",
        )
    segmentation.save_as(paths[0])
