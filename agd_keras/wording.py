"""Numbers and names in sentences."""

from collections.abc import Sequence

_CONTRASTS = {"T1": "pre-contrast T1", "T1c": "post-contrast T1"}  # others as they are called


def counted(number: int, noun: str) -> str:
    """Says how many there are of something.

    Example:

    >>> counted(1, "patient"), counted(1200, "slice")
    ('1 patient', '1,200 slices')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Says how long something took, in the unit of a clock that fits it.

    Example:

    >>> duration(9.4), duration(69), duration(3661)
    ('9 seconds', '1:09 minutes', '1:01:01 hours')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return counted(rest, "second")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} hours" if hours else f"{minutes}:{rest:02d} minutes"


def name_channels(channels: Sequence[str]) -> str:
    """Names the channels of a network in words.

    Example:

    >>> name_channels(("T1", "FLAIR", "T1c"))
    'pre-contrast T1, FLAIR and post-contrast T1'
    """
    *first, last = (_CONTRASTS.get(name, name) for name in channels)
    return f"{', '.join(first)} and {last}" if first else last
