"""How much a slice may change in training: named ranges, readable without TensorFlow."""

from dataclasses import dataclass, replace

from agd_keras.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """Ranges from which each slice draws its own augmentation.

    Args:
        probability: Probability of each kind of change, 0 to 1, drawn apart for each kind:
            rotation with width shear, height shear, zoom, crop, translation, and for each channel
            gain with offset, contrast, noise.
        rotation: Largest angle in degrees, either way.
        width_shear: Largest shift along the width, in pixels per pixel of height, either way.
        height_shear: Largest shift along the height, in pixels per pixel of width, either way.
        zoom: Smallest and largest magnification, drawn evenly on a logarithmic scale.
        crop: Smallest side of the crop that is resized back, as a share of the side; its place is
            drawn too.
        translation: Largest shift along each axis, as a share of the side, either way.
        flip: Probability of swapping left and right.
        turn_over: Probability of swapping top and bottom.
        gain: Largest relative change of a channel's distance from the background, either way.
        offset: Largest shift of a channel, in standard deviations of the tissue, either way.
        contrast: Largest relative change of a channel's darkest greys against its brightest one,
            which stays: a bend of the grey scale like that of gamma, either way.
        noise: Largest standard deviation of the noise, in standard deviations of the tissue.
        sharpness: Largest share of the difference to a blurred image that is taken away or added.
        field: Largest relative change of gain from the centre to a side, as coils make it.
        stripped: Probability that all but the brain is taken away, as many data sets have it.
        replacement: Probability that FLAIR stands in for the pre-contrast channel, and the same
            for the post-contrast one, as it does in patients who lack that sequence.
    """

    probability: float = 0.0
    rotation: float = 0.0
    width_shear: float = 0.0
    height_shear: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    crop: float = 1.0
    translation: float = 0.0
    flip: float = 0.0
    turn_over: float = 0.0
    gain: float = 0.0
    offset: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0
    sharpness: float = 0.0
    field: float = 0.0
    stripped: float = 0.0
    replacement: float = 0.0
    faint: float = 0.0
    core: float = 0.0

    @property
    def changes_intensity(self) -> bool:
        """Whether anything but the place of a pixel can change."""
        changes = (self.gain, self.offset, self.contrast, self.noise, self.sharpness, self.field)
        return any((*changes, self.replacement))


_STRONG = Recipe(
    probability=0.7,
    rotation=20,
    width_shear=0.12,
    height_shear=0.12,
    zoom=(0.75, 1.3),
    crop=0.85,
    translation=0.08,
    flip=0.5,
    gain=0.2,
    offset=0.3,
    contrast=0.3,
    noise=0.15,
    replacement=0.05,
)
RECIPES = {
    "none": Recipe(),
    # The four kinds of the paper. With a third each, a fifth of the slices stay as they are: the
    # original beside four copies.
    "paper": Recipe(
        probability=1 / 3, rotation=15, width_shear=0.3, height_shear=0.3, zoom=(0.8, 1.2), crop=0.8
    ),
    "strong": _STRONG,
    # Moves that no head makes and twice the changes of intensity: docs/results.md has what it gave.
    "heavy": replace(
        _STRONG, rotation=45, turn_over=0.5, gain=0.35, offset=0.5, contrast=0.5, noise=0.2
    ),
    # Other scanners, other sequences, heads without skull.
    "scanners": replace(
        _STRONG, gain=0.3, contrast=0.4, sharpness=1.0, field=0.2, stripped=0.4, replacement=0.15
    ),
    "lesions": replace(
        _STRONG,
        gain=0.3,
        contrast=0.4,
        sharpness=1.0,
        field=0.2,
        stripped=0.4,
        replacement=0.15,
        faint=0.4,
        core=0.25,
    ),
    "lesions25": replace(
        _STRONG,
        gain=0.3,
        contrast=0.4,
        sharpness=1.0,
        field=0.2,
        stripped=0.25,
        replacement=0.15,
        faint=0.4,
        core=0.25,
    ),
}


def get_recipe(name: str) -> Recipe:
    """Returns the recipe of a name.

    Args:
        name: `none`, `paper`, `strong`, `heavy` or `scanners`.

    Raises:
        InputError: The name is not known.

    Example:

    >>> get_recipe("paper").rotation
    15
    """
    if name not in RECIPES:
        raise InputError(f"augment {name!r}: expected one of {', '.join(RECIPES)}")
    return RECIPES[name]
