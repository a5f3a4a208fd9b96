"""Label maps and what predictions leave behind, told from scans by name or else by content."""

import re

import numpy as np

from agd_keras.io.contrasts import kind_of, words_of

_LABEL = re.compile(
    r"[a-z]*(?:segm?|segmenta[a-z]+|segmentierung(?:en)?|masks?|labels?|labelmap|lbls?)\d*|msks?|"
    r"segs|masken?|masques?|annots?|annotat[a-z]+\d*|annotazion[ei]|aparc\w*|aseg|wmparc|gtv\w*|ctv|"
    r"ptv|rtstruct|parcellation|overlay|uncertainty|probmap|softmax"
)
_WEAK_LABEL = re.compile(
    r"tumou?rs?\d*|tumeur|lesions?\d*|[rv]ois?\d*|gt|truth|groundtruth|contours?|core|edema|oedema|"
    r"enhancing|necro\w*|delineations?|outlines?|consensus|segments?|segmented|labell?ed|laesion(?:en)?|"
    r"lasion(?:en)?|lesiones|wmh|ot|rater\d*|reader\d*|expert\d*|manual|prob|probs|probability|probabilities|pmap|entropy|mutual|"
    r"preds?|predictions?|wt|tc|et|information"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TRUTH = re.compile(r"gt|truth|groundtruth|[rv]ois?\d*")
_FEW = 16  # values: those of a label map
_LOOK = 2**14  # voxels that settle it for most scans

_FOLDER = re.compile(
    r"gt|truth|groundtruth|ground truth|[rv]ois?|segs|contours|delineations?|preds?|predictions?"
)


def is_label_folder(name: str) -> bool:
    """Says whether a folder of that name holds masks or maps, or what was made of scans.

    Example:

    >>> [is_label_folder(name) for name in ("labelsTr", "derivatives", "Task01_BrainTumour")]
    [True, True, False]
    """
    words = words_of(_CAMEL.sub("_", name))
    scans = {"image", "images", "scan", "scans", "img", "imgs"} & set(words)
    if "derivatives" in words or _FOLDER.fullmatch(" ".join(words)):
        return True
    return any(map(_LABEL.fullmatch, words)) and not scans


def is_label(stem: str) -> bool:
    """Says whether a file of that name holds masks or maps rather than scans.

    Args:
        stem: Its name without suffix.

    Example:

    >>> [is_label(name) for name in ("P_1_seg", "GT_W", "sub-1_desc-brain_mask", "tumor_001_t1")]
    [True, True, True, False]
    """
    words = words_of(_CAMEL.sub("_", stem))
    if any(map(_LABEL.fullmatch, words)):
        return True
    weak = [place for place, word in enumerate(words) if _WEAK_LABEL.fullmatch(word)]
    if not weak or any(map(kind_of, words[weak[-1] :])):
        return False
    # In front, with more behind, they may be what the data set is about: `tumor_001`.
    return weak[-1] > 0 or len(words) == 1 or bool(_TRUTH.fullmatch(words[0]))


def holds_labels(voxels: np.ndarray) -> bool:
    """Says whether voxels have few values, all whole numbers, as those of a label map.

    Args:
        voxels: Array of any shape and real type.

    Returns:
        False also for a constant, of which nothing can be told.

    Example:

    >>> holds_labels(np.array([0, 0, 4, 1])), holds_labels(np.arange(100))
    (True, False)
    """
    values = voxels.ravel()
    for some in (values[:: max(1, values.size // _LOOK)], values):
        found = np.unique(some)
        if len(found) > _FEW or not np.array_equal(found, np.round(found)):
            return False
    return len(found) > 1
