"""What turns a case's images into network input, as one value that is kept with every model."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from agd_keras.config import DataConfig
from agd_keras.data.preprocess import (
    NORMALIZATIONS,
    PREPROCESS_VERSION,
    Scales,
    channel_of,
    measure_scales,
    scale_channels,
)
from agd_keras.data.resize import resample
from agd_keras.errors import InputError
from agd_keras.io.case import AXIAL, CHANNELS, FILL, MISSING, PLANES, REFERENCE
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.contrasts import CONTRASTS

# By version what measures a patient: a function for each channel that normalises any part of it.
# A later version adds its own here, and models of this one keep predicting what they did.
VERSIONS: dict[int, Callable[[np.ndarray, str, int], Scales]] = {3: measure_scales}
UNSTORED = 3  # of models with which none is stored
MAX_SIDE = 1024  # of a network's input in pixels, as in the config


@dataclass(frozen=True)
class Preprocessor:
    """Makes network input of a patient's images: normalises over the patient, then resizes.

    Args:
        image_size: Side of the network's square input in pixels.
        channels: Names of the network's channels, in their order.
        normalization: `"tissue"` or `"brain"`, see `normalize_patient`.
        missing: What becomes of channels that a patient lacks, see `stack_channels`.
        plane: In which a patient's slices are to lie, see `choose_plane`.
        version: Of the arithmetic; a model keeps the one that it was trained with.

    Raises:
        InputError: A value is none of these, or the version is not known here.

    Example:

    >>> Preprocessor(4).prepare(np.zeros((2, 8, 6, 3), "uint8")).shape
    (2, 4, 4, 3)
    """

    image_size: int
    channels: tuple[str, ...] = CHANNELS
    normalization: str = "tissue"
    missing: str = FILL
    plane: str = AXIAL
    version: int = PREPROCESS_VERSION

    def __post_init__(self) -> None:
        if type(self.version) is not int or self.version not in VERSIONS:
            known = ", ".join(map(str, VERSIONS))
            raise InputError(
                f"preprocessing of version {self.version!r}: this version of agd_keras knows "
                f"{known}, a newer one may know more"
            )
        size, names = self.image_size, self.channels
        if type(size) is not int or not 1 <= size <= MAX_SIDE:
            raise InputError(f"image_size {size!r}: expected 1 to {MAX_SIDE}")
        if not set(names) <= set(CONTRASTS) or len(set(names)) < len(names):
            raise InputError(f"channels {names!r}: expected some of {', '.join(CONTRASTS)}")
        if REFERENCE not in names:
            raise InputError(f"channels {names!r}: expected {REFERENCE} among them")
        if self.missing not in MISSING:
            raise InputError(f"missing {self.missing!r}: expected one of {', '.join(MISSING)}")
        if self.plane not in PLANES:
            raise InputError(f"plane {self.plane!r}: expected one of {', '.join(PLANES)}")
        if self.normalization not in NORMALIZATIONS:
            raise InputError(
                f"normalization {self.normalization!r}: expected one of {', '.join(NORMALIZATIONS)}"
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of a slice as the network takes it, `(height, width, channels)`."""
        return self.image_size, self.image_size, len(self.channels)

    def claim(self, case: CaseRef) -> CaseRef:
        """Has a case read as the network wants it: its channels, in its plane."""
        return replace(case, channels=self.channels, missing=self.missing, plane=self.plane)

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Makes network input of one patient's slices: per-patient normalisation, then resizing.

        Args:
            images: Array of shape `(slices, height, width, channels)`: all slices of one patient.

        Returns:
            Float32 array of shape `(slices, image_size, image_size, channels)`.
        """
        images = np.asarray(images)
        size = self.image_size
        prepared = np.empty((len(images), size, size, images.shape[-1]), np.float32)
        for channel, scale in enumerate(self._scales(images)):
            values = channel_of(images, channel)
            for place, plane in enumerate(values):  # one at a time stays in the processor's cache
                prepared[place, ..., channel] = resample(scale(plane), size, size)
        return prepared

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """Normalises one patient's slices at their own size, see `normalize_patient`.

        Args:
            images: As for `prepare`.

        Returns:
            Float32 array of the same shape, values -5 to 5.
        """
        images = np.asarray(images)
        return scale_channels(images, self._scales(images))

    @property
    def flair(self) -> int:
        """Index of the channel of FLAIR."""
        return self.channels.index(REFERENCE)

    def _scales(self, images: np.ndarray) -> Scales:
        return VERSIONS[self.version](images, self.normalization, self.flair)

    def to_values(self) -> dict[str, Any]:
        """Returns what JSON can hold, and `from_values` takes back.

        Example:

        >>> kept = Preprocessor(32, normalization="brain")
        >>> Preprocessor.from_values(kept.to_values()) == kept
        True
        """
        return {**asdict(self), "channels": list(self.channels)}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Preprocessor":
        """Makes one of what `to_values` returned.

        Args:
            values: By name; the version is looked at first, as a later one may have more of them.

        Raises:
            InputError: The version is not known here, or a value is missing or none of these.
        """
        cls(MAX_SIDE, version=values.get("version", -1))
        try:
            return cls(**{**values, "channels": tuple(values["channels"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"expected the values of a preprocessor ({error})") from None

    def check_network(self, input_shape: tuple[Any, ...]) -> None:
        """Refuses a network of another input.

        Args:
            input_shape: Its `(batch, height, width, channels)`; sides that are no number are any.

        Raises:
            InputError: It takes another size or number of channels.

        Example:

        >>> Preprocessor(32).check_network((None, 64, 64, 3))
        Traceback (most recent call last):
        ...
        agd_keras.errors.InputError: expected a network of 32×32 pixels and 3 channels (T1, FLAIR, \
T1c), found one of 64×64×3
        """
        size, names = self.image_size, self.channels
        _, height, width, channels = input_shape
        sides = {side for side in (height, width) if isinstance(side, int) and side > 0}
        if sides - {size} or channels != len(names):
            raise InputError(
                f"expected a network of {size}×{size} pixels and {len(names)} channels "
                f"({', '.join(names)}), found one of {height}×{width}×{channels}"
            )


def preprocessor_of(data: DataConfig) -> Preprocessor:
    """Returns the preprocessor that the options of a run ask for.

    Example:

    >>> preprocessor_of(DataConfig(normalization="brain")).normalization
    'brain'
    """
    return Preprocessor(
        data.image_size, data.channels, data.normalization, data.missing, data.plane
    )


def preprocessor_for(input_shape: tuple[Any, ...], normalization: str = "tissue") -> Preprocessor:
    """Returns the preprocessor of a network with which none is stored.

    Args:
        input_shape: `(batch, height, width, channels)` of the network.
        normalization: See `normalize_patient`.

    Raises:
        InputError: It takes another number of channels than three.

    Example:

    >>> preprocessor_for((None, 64, 64, 3)).image_size
    64
    """
    if input_shape[-1] != len(CHANNELS):
        raise InputError(
            f"a network of {input_shape[-1]} channels, and nothing is stored with it that says "
            f"which; expected {len(CHANNELS)}: {', '.join(CHANNELS)}"
        )
    side = input_shape[1]  # no number where the graph itself resizes
    size = side if isinstance(side, int) and side > 0 else DataConfig().image_size
    return Preprocessor(size, normalization=normalization, version=UNSTORED)
