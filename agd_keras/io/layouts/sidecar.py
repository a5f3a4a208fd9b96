"""The JSON file that dcm2niix writes beside a volume: what the DICOM series was called."""

import json
from pathlib import Path

from agd_keras.io.contrasts import OTHER, name_contrast
from agd_keras.io.layouts.names import stem_of

_MAX_BYTES = 2**20


def read_sidecar(path: Path) -> str | None:
    """Reads the contrast of a volume whose own name says none.

    Args:
        path: A NIfTI file.

    Returns:
        As `name_contrast`; None also where there is no such file, or it cannot be read.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "scan.nii.gz"
    >>> _ = path.with_name("scan.json").write_text('{"SeriesDescription": "AX T2 FLAIR"}')
    >>> read_sidecar(path)
    'FLAIR'
    """
    file = path.with_name(f"{stem_of(path)}.json")
    try:
        if not file.is_file() or file.stat().st_size > _MAX_BYTES:
            return None
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    told = name_contrast(str(content.get("SeriesDescription", "")))
    # A protocol is often that of all series.
    protocol = name_contrast(str(content.get("ProtocolName", "")))
    return told or (protocol if protocol != OTHER else None)
