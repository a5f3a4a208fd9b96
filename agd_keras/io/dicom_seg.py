"""Writing a mask as a DICOM segmentation that refers to the images it was made from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agd_keras.io.case import AXIAL, one_line
from agd_keras.io.dicom_decode import silence
from agd_keras.io.dicom_header import COPIED, copied_values
from agd_keras.io.dicom_series import Series
from agd_keras.io.geometry import from_slices
from agd_keras.region_masks import by_region

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from pydicom import Dataset

_ALWAYS = 9  # so many of what may be copied are empty where there is no value
_MR = "1.2.840.10008.5.1.4.1.1.4"
_UNKNOWN_THICKNESS = 1.0  # in mm: readers want a number


def write_segmentation(
    mask: np.ndarray,
    paths: Sequence[Path],
    path: Path,
    source: Series,
    regions: Sequence[str] = (),
    plane: str = AXIAL,
) -> tuple[str, ...]:
    """Writes a mask as a DICOM segmentation object of one segment, "tumour", made by a machine.

    Of several regions each is a segment of its name; they may overlap.

    It belongs to the study and the patient of the series, and each frame names the image it was
    made from. There is a frame for every slice, empty or not, and for those that are missing from
    an even stack, as readers such as ITK take frames for neighbours. Of the source's header only
    valid values of `dicom_header.COPIED` are taken over, so that nothing in it can stop a mask from
    being written or read.

    Args:
        mask: Bool array of shape `(slices, height, width)`, slices as in `Case.images`, with an
            axis for several regions at its end.
        paths: The one file to write.
        path: The file or folder that the series was read from, which an error names.
        source: The series.
        regions: Names of several regions.
        plane: In which the slices lie.

    Returns:
        Notes on what was left out or changed.

    Raises:
        OSError: The file cannot be written.

    Reference:
        https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_A.51.html

    Example:

    >>> series = read_series([Path("scan.dcm")])  # doctest: +SKIP
    >>> mask = np.zeros((1, 256, 256), bool)
    >>> write_segmentation(mask, [Path("mask.dcm")], Path("scan.dcm"), series)  # doctest: +SKIP
    ()
    """
    from pydicom.config import disable_value_validation
    from pydicom.uid import generate_uid

    silence()
    labels = regions or ("tumour",)
    stacks = [
        from_slices(one, source.affine, plane).transpose(2, 1, 0)
        for one in np.moveaxis(by_region(mask), -1, 0)
    ]
    frames = np.ascontiguousarray(np.stack(stacks, axis=-1), np.uint8)
    with one_line(path, "DICOM series"), disable_value_validation():
        values, notes = copied_values(source.header)
        if not source.frame_of_reference:
            source = replace(source, frame_of_reference=generate_uid())
            notes += ("no FrameOfReferenceUID; the mask has one of its own",)
        try:
            content = _encode(frames, source, values, labels)
        except Exception:  # what no one thought of must not cost the mask
            content = _encode(frames, source, {}, labels)
            notes += ("mask without data of patient and study, which could not be written",)
    paths[0].write_bytes(content)
    return notes


def _encode(
    frames: np.ndarray,
    source: Series,
    values: Mapping[str, str | Sequence[str]],
    labels: Sequence[str],
) -> bytes:
    """The file, from frames of the planes of the source, `(planes, rows, columns, segments)`."""
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian

    from agd_keras import __version__

    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="agd_keras",
                version=__version__,
                family=codes.DCM.ArtificialIntelligence,
            ),
        )
        for number, label in enumerate(labels, start=1)
    ]
    stack = np.zeros((source.places[-1] + 1, *frames.shape[1:]), np.uint8)
    stack[source.places] = frames
    segmentation = hd.seg.Segmentation(
        source_images=_stand_ins(source, values),
        pixel_array=stack if len(segments) > 1 else stack[..., 0],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
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
        omit_empty_frames=False,
        specific_character_set="ISO_IR 192",
    )
    _refer(segmentation, dict(zip(source.places.tolist(), source.sources, strict=True)))
    content = BytesIO()
    segmentation.save_as(content)
    return content.getvalue()


def _stand_ins(source: Series, values: Mapping[str, str | Sequence[str]]) -> list["Dataset"]:
    """Headers of an even stack that hold what the reader made sure of, and valid values.

    highdicom takes geometry and all it copies from here; source headers as they are, with their
    many ways to be wrong, it never sees.
    """
    from pydicom import Dataset
    from pydicom.valuerep import DS

    def rounded(*numbers: float) -> list:
        return [DS(float(value), auto_format=True) for value in numbers]

    places = np.arange(source.places[-1] + 1)
    positions = [np.interp(places, source.places, axis) for axis in source.positions.T]
    thickness = next(filter(np.isfinite, (source.thickness, source.gap, _UNKNOWN_THICKNESS)))
    headers = []
    for place, *position in zip(places.tolist(), *positions, strict=True):
        header = Dataset()
        for keyword in COPIED[:_ALWAYS]:
            setattr(header, keyword, None)
        for keyword, value in values.items():
            setattr(header, keyword, value)
        header.SOPClassUID, header.SOPInstanceUID = _MR, f"2.25.{place}"
        header.StudyInstanceUID = str(source.header.StudyInstanceUID)
        header.SeriesInstanceUID = str(source.header.SeriesInstanceUID)
        header.FrameOfReferenceUID, header.Modality = source.frame_of_reference, "MR"
        header.Columns, header.Rows, _ = source.volume.shape
        header.ImagePositionPatient = rounded(*position)
        header.ImageOrientationPatient = rounded(*source.orientation)
        header.PixelSpacing = rounded(*source.spacing)
        [header.SliceThickness] = rounded(thickness)
        if np.isfinite(source.gap):
            [header.SpacingBetweenSlices] = rounded(source.gap)
        headers.append(header)
    return headers


def _refer(segmentation: "Segmentation", sources: dict[int, tuple[str, str, int | None]]) -> None:
    """Puts references to the true images in place of those to stand-ins."""
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        [reference] = group.DerivationImageSequence[0].SourceImageSequence
        source = sources.get(int(reference.ReferencedSOPInstanceUID.split(".")[-1]))
        if source is None:
            del group.DerivationImageSequence  # of a slice that is missing
            continue
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID, frame = source
        if frame:
            reference.ReferencedFrameNumber = frame
    files = dict.fromkeys((class_uid, uid) for class_uid, uid, _ in sources.values())
    whole = list(segmentation.SourceImageSequence)[: len(files)]
    for reference, file in zip(whole, files, strict=True):
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = file
    segmentation.SourceImageSequence = whole
    segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence = whole
