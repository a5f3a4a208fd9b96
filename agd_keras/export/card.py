"""The page that goes with an exported model: what it is for, what it takes, how good it is."""

from collections.abc import Mapping
from typing import Any

import keras
from markupsafe import Markup

from agd_keras.data.preprocessor import Preprocessor
from agd_keras.export.parity import dice_rows
from agd_keras.inference.familiarity import Familiarity
from agd_keras.runs.render import render
from agd_keras.wording import counted, name_channels

MISSING = {"fill": "a missing one is filled with FLAIR", "error": "none may be missing"}


def network_usage(model: keras.Model, preprocessor: Preprocessor) -> str:
    """Tells what the network itself takes and returns, as Markdown.

    Args:
        model: A model made by `agd_autoencoder`.
        preprocessor: What makes its input.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> model = agd_autoencoder((32, 32, 3), filters=(4, 8))
    >>> "(batch, 32, 32, 3)" in network_usage(model, Preprocessor(32))
    True
    """
    return render(
        "NETWORK.md",
        size=preprocessor.image_size,
        channels=len(preprocessor.channels),
        normalization=preprocessor.normalization,
        outputs=sorted(model.output),
    )


def model_card(
    origin: Mapping[str, Any],
    parity: Mapping[str, Any],
    usage: str,
    preprocessor: Preprocessor,
    familiarity: Familiarity | None = None,
) -> str:
    """Writes the page.

    Args:
        origin: What `find_origin` returned.
        parity: What `measure_parity` returned, and `artefact`, the name of what was exported.
        usage: Markdown that tells what goes into the artefact and what comes out.
        preprocessor: What makes its input.
        familiarity: What scans the model was trained on; None if unknown.

    Returns:
        Markdown.
    """
    text = render(
        "EXPORT_CARD.md",
        origin=origin,
        parity=parity,
        regions=parity.get("regions", ()),
        usage=Markup(usage.strip()),
        channels=name_channels(preprocessor.channels),
        missing=MISSING[preprocessor.missing],
        plane=preprocessor.plane,
        familiarity=familiarity,
        scans=counted(familiarity.scans, "scan") if familiarity else "",
        slices=counted(parity["slices"], "slice"),
        patients=counted(parity["patients"], parity["scored"].removesuffix("s")),
        rows=dice_rows(parity),
    )
    return text + "\n"
