"""The Brain Imaging Data Structure: names of entities and a suffix, `sub-01_ce-gd_T1w`."""

import re
from collections.abc import Mapping

from agd_keras.io.contrasts import OTHER, agent_given, enhancement, name_contrast, words_of

_NAME = re.compile(r"(sub-[a-zA-Z0-9+]+)((?:_[a-zA-Z]+-[a-zA-Z0-9+]+)*)_([a-zA-Z][a-zA-Z0-9]*)")
_CONTRASTS = {"FLAIR": "FLAIR", "T1w": "T1", "T2w": "T2", "UNIT1": "T1"}
_OTHERS = (
    "asllabeling|aslcontext|m0scan|sbref|phasediff|phase[12]|magnitude[12]?|megre|mese|mtr|mts|mpm|vfa|"
    "irt1|inplane.*|chimap|.*map|tb1.*|tem|pet|photo|defacemask|channels|events|physio|stim|eeg|meg"
)
_CASE = ("sub", "ses")


def read_entities(stem: str) -> dict[str, str]:
    """Splits a name into its entities, the last part under `suffix`; empty if it is none of BIDS.

    Example:

    >>> read_entities("sub-01_ses-a_ce-gadolinium_T1w")
    {'sub': '01', 'ses': 'a', 'ce': 'gadolinium', 'suffix': 'T1w'}
    >>> read_entities("subject_T1w")
    {}
    """
    match = _NAME.fullmatch(stem)
    if not match:
        return {}
    pairs = re.findall("([a-zA-Z]+)-([a-zA-Z0-9+]+)", match[1] + match[2])
    return {**dict(pairs), "suffix": match[3]}


def case_of(entities: Mapping[str, str]) -> str:
    """Returns the case: the person and the session.

    Example:

    >>> case_of({"sub": "01", "ses": "a", "run": "1", "suffix": "FLAIR"})
    'sub-01_ses-a'
    """
    return "_".join(f"{key}-{entities[key]}" for key in _CASE if key in entities)


def contrast_of(entities: Mapping[str, str]) -> tuple[str | None, bool]:
    """Returns the contrast, and whether nothing else is said of the image.

    A suffix that is no word for an image, and none of BIDS, says nothing: None.

    Example:

    >>> contrast_of({"sub": "01", "ce": "gadolinium", "suffix": "T1w"})
    ('T1c', True)
    >>> contrast_of({"sub": "01", "acq": "fast", "suffix": "bold"})
    ('other', False)
    """
    plain = not set(entities) - {*_CASE, "run", "ce", "suffix"}  # a second run is no better one
    if entities.get("part", "mag") != "mag" or "inv" in entities:
        return OTHER, plain
    suffix = entities["suffix"]
    contrast = _CONTRASTS.get(suffix) or name_contrast(suffix)
    if contrast is None and re.fullmatch(_OTHERS, suffix.lower()):
        return OTHER, plain
    said = [word for key in ("acq", "rec", "desc") for word in words_of(entities.get(key, ""))]
    if contrast == "T2" and name_contrast(said) == "FLAIR":
        return "FLAIR", plain
    if contrast == "T1":
        agent = entities.get("ce", "")
        given = enhancement(said) if not agent else agent_given(agent)
        return ("T1c" if given and enhancement(words_of(agent)) is not False else "T1"), plain
    return contrast, plain
