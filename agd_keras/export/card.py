"""The page that goes with an exported model: what it is for, what it takes, how good it is."""

from collections.abc import Mapping
from typing import Any

import keras

from agd_keras.data.preprocessor import Preprocessor
from agd_keras.export.parity import dice_rows
from agd_keras.inference.familiarity import Familiarity
from agd_keras.io.case import AUTO
from agd_keras.text import markdown, markdown_code
from agd_keras.wording import counted, name_channels

CARD = """\
# {artefact}

Marks tumour in {plane}MRI slices of the brain, of the kind it was trained on, by an
attention-gated autoencoder made with `agd_keras` {version}.

**For research only. This is no medical device and must not be used for diagnosis.**

## Input and output

{usage}

Channels: {channels}, in this order; {missing}.
{lie}
A pixel is tumour where the probability is at least {threshold:g}.{regions}

## Where it comes from

{origin}

{familiar}## How it compares with the model it was made of

Measured on {slices} of {patients} of {data}, at their original size. These
figures compare two files; how good the model is, the report of its run tells.

{table}

Largest difference between the two networks' outputs on the same input: {differences}.
The file takes {bytes:,} bytes. The network alone takes {latency:.1f} ms for a slice on {cores} CPU
cores (Keras: {keras_latency:.1f} ms).
"""

NETWORK = """\
Input `image`, float32 `(batch, {size}, {size}, {channels})`: a slice brought to that size
(bilinear, averaging where it shrinks), normalised over all slices of the patient, each channel by
itself.
{normalized} Outputs {outputs}: probabilities, float32
`(batch, {size}, {size}, 1)`, `mask` that of tumour.
"""
MISSING = {"fill": "a missing one is filled with FLAIR", "error": "none may be missing"}
LIE = {
    "axial": "The lowest slice comes first; rows run to the back, columns to the patient's left.",
    "coronal": "The foremost slice comes first; rows run down, columns to the patient's left.",
    "sagittal": "The leftmost slice comes first; rows run down, columns to the back.",
    "auto": """\
Slices are those that were acquired, of the plane across the largest spacing: axial ones lowest
first, rows to the back, columns to the left; coronal ones from front to back, rows down, columns to
the left; sagittal ones from left to right, rows down, columns to the back.""",
}
REGIONS = """
Masks and probabilities have a channel for each region, in this order: {names}. Where a shape of
theirs is given with 1 at its end, it is their number."""
NORMALIZED = {
    "tissue": """\
Tissue is what is brighter than the channel's mean; subtract the tissue's mean, divide by its
standard deviation, clip to -5 to 5.""",
    "brain": """\
Air, the least value, is put at -2.5 and normal brain at 0, as `agd_keras.data.brain` finds it;
clip to -5 to 5.""",
}


FAMILIAR = """\
Trained on {scans} that look like this (`familiarity.json`); `agd-predict` and `agd-evaluate` tell
of a scan that does not:

{ways}

"""


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
    outputs = " and ".join(f"`{name}`" for name in sorted(model.output))
    size, normalized = preprocessor.image_size, NORMALIZED[preprocessor.normalization]
    return NETWORK.format(
        size=size, channels=len(preprocessor.channels), outputs=outputs, normalized=normalized
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
    familiar = ""
    if familiarity:
        ways = "\n".join(f"- {way}" for way in familiarity.describe())
        familiar = FAMILIAR.format(scans=counted(familiarity.scans, "scan"), ways=ways)
    lines = ["| | Dice over all pixels | mean Dice of patients |", "|---|---:|---:|"]
    for name, dice, patient_dice in dice_rows(parity):
        lines.append(f"| {markdown(name)} | {dice:.4f} | {patient_dice:.4f} |")
    known = [
        f"- {key.replace('_', ' ')}: {markdown(value)}" for key, value in origin.items() if value
    ]
    names = ", ".join(map(markdown, parity.get("regions", ())))
    differences = (f"{one['max']:.1e} (`{name}`)" for name, one in parity["difference"].items())
    return CARD.format(
        artefact=markdown(parity["artefact"]),
        threshold=parity["threshold"],
        slices=counted(parity["slices"], "slice"),
        patients=counted(parity["patients"], parity["scored"].removesuffix("s")),
        **{key: parity[key] for key in ("bytes", "cores")},
        data=markdown_code(parity["data"]),
        version=parity["versions"]["agd_keras"],
        usage=usage.strip(),
        channels=name_channels(preprocessor.channels),
        missing=MISSING[preprocessor.missing],
        plane="" if preprocessor.plane == AUTO else f"{preprocessor.plane} ",
        lie=LIE[preprocessor.plane],
        regions=REGIONS.format(names=names) if names else "",
        origin="\n".join(known),
        familiar=familiar,
        table="\n".join(lines),
        differences=", ".join(differences),
        latency=parity["latency_ms"]["artefact"],
        keras_latency=parity["latency_ms"]["keras"],
    )
