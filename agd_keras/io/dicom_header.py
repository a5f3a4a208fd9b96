"""What a mask's header takes over from its source: patient and study, repaired or left out."""

import re
from datetime import date, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

# Nothing else of the source's header reaches a mask, but for geometry and references.
COPIED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
    *("IssuerOfPatientID", "PatientAge", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("StudyDescription", "LossyImageCompression"),
)
_WORDS = {
    "PatientSex": {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"},
    "PatientIdentityRemoved": {"YES": "YES", "NO": "NO"},
    "LossyImageCompression": {"00": "00", "01": "01"},
}
_DATE = re.compile(r"(\d{4})(?:(\d\d)(\d\d)|[-/.:](\d{1,2})[-/.:](\d{1,2}))")
_TIME = re.compile(r"(\d{1,2}):?(\d\d)?:?(\d\d)?(?:[.,](\d{1,6})\d*)?")


def copied_values(header: "Dataset") -> tuple[dict[str, str | list[str]], tuple[str, ...]]:
    """Takes what names the patient and the study, as the standard has it.

    Archives hold dates with dashes, the sex `U`, texts in an unknown character set, elements that
    cannot be decoded. What has one meaning is written in the standard's way, the rest is left out.

    Args:
        header: A header of the source.

    Returns:
        Valid values, by keyword, without empty ones; and a note on what was changed, which holds
        none of the values.

    Example:

    >>> from pydicom import Dataset
    >>> header = Dataset()
    >>> header.PatientID, header.StudyDate, header.PatientSex = "7", "2001-02-03", "U"
    >>> copied_values(header)  # doctest: +NORMALIZE_WHITESPACE
    ({'PatientID': '7', 'StudyDate': '20010203'},
     ('mask without PatientSex, which is not valid', 'mask with a repaired StudyDate'))
    """
    unsure = _encoding_is_unsure(header)
    values: dict[str, str | list[str]] = {}
    left_out, repaired = [], []
    for keyword in COPIED:
        try:
            found = _texts(header, keyword)
            valid = [_repair(keyword, text, unsure) for text in found]
        except Exception:  # whatever an element holds
            left_out.append(keyword)
            continue
        if any(valid):
            values[keyword] = valid if len(valid) > 1 else valid[0]
        if valid != found:
            repaired.append(keyword)
    notes = []
    if left_out:
        notes.append(f"mask without {', '.join(left_out)}, which is not valid")
    if repaired:
        notes.append(f"mask with a repaired {', '.join(repaired)}")
    return values, tuple(notes)


def _encoding_is_unsure(header: "Dataset") -> bool:
    """Whether texts beyond ASCII may be in any character set: none is named, or an unknown one."""
    from pydicom.charset import convert_encodings, default_encoding

    try:
        named = header.get("SpecificCharacterSet") or ""
        return set(convert_encodings(named)) == {default_encoding}
    except Exception:
        return True


def _texts(header: "Dataset", keyword: str) -> list[str]:
    from pydicom.datadict import dictionary_VM
    from pydicom.multival import MultiValue

    found = header.get(keyword)
    if isinstance(found, MultiValue):
        if dictionary_VM(keyword) == "1":
            raise ValueError("expected one value")
        return [str(value).strip(" \0") for value in found]
    return [str(found or "").strip(" \0")]


def _repair(keyword: str, text: str, unsure: bool) -> str:
    """Returns the one valid value that a text can mean; raises if there is none."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    if not text:
        return text
    vr = dictionary_VR(keyword)
    if unsure and not text.isascii():
        text = text.encode("latin-1").decode("utf-8")  # which does not happen by chance
    if keyword in _WORDS:
        text = _WORDS[keyword][text.upper()]
    elif vr == "DA":
        text = _date(text)
    elif vr == "TM":
        text = _time(text)
    if not text.isprintable() or "\\" in text or "\ufffd" in text:
        raise ValueError("expected printable letters")
    validate_value(vr, text, RAISE)
    return text


def _date(text: str) -> str:
    match = _DATE.fullmatch(text)
    if not match:
        raise ValueError("expected year, month and day")
    year, month, day = (int(part) for part in match.groups() if part)
    return date(year, month, day).isoformat().replace("-", "")


def _time(text: str) -> str:
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError("expected hours, minutes and seconds")
    hours, *rest = [part for part in match.groups()[:3] if part]
    time.fromisoformat(":".join([hours.zfill(2), *rest]))  # raises if there is no such time
    fraction = f".{match[4]}" if match[4] and len(rest) == 2 else ""
    return f"{hours.zfill(2)}{''.join(rest)}{fraction}"
