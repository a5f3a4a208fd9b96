"""Random moves of a batch of images with their masks, and random changes of intensity."""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from agd_keras.data.lesions import vary_lesions
from agd_keras.data.preprocess import CLIP
from agd_keras.data.recipes import Recipe
from agd_keras.io.case import CHANNELS, REFERENCE


def augment(
    images: tf.Tensor,
    masks: tf.Tensor,
    seed: tf.Tensor,
    recipe: Recipe,
    brains: tf.Tensor | None = None,
    size: int | None = None,
    channels: Sequence[str] = CHANNELS,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves images and masks together and changes the intensity of the images.

    All moves of a slice are composed into one matrix about its centre, so that it is interpolated
    once: the image bilinear, the mask by the nearest pixel. What comes in from outside is
    background: the least value of that image's channel, without tumour.

    Args:
        images: Float32 tensor of shape `(batch, height, width, channels)`, normalised, -5 to 5.
        masks: Tensor of shape `(batch, height, width, regions)`, values 0 or 1, uint8 or float32.
        seed: Integer tensor of shape `(2,)`: the same seed gives the same draws.
        recipe: What to draw from.
        brains: Where the brain is, of the type of `masks`, with one channel. Default: everywhere.
        size: Side of the results in pixels. Default: that of the images.
        channels: Contrast of each channel of the images.

    Returns:
        Images and masks of the same types and ranges, and the same shapes but for `size`.

    Example:

    >>> from agd_keras.data.recipes import RECIPES
    >>> images, masks = tf.random.normal((2, 8, 8, 3)), tf.ones((2, 8, 8, 1))
    >>> moved, moved_masks = augment(images, masks, (0, 1), RECIPES["none"])
    >>> bool(tf.reduce_all(moved == images))
    True
    """
    height, width = images.shape[1:3]
    size = size or height
    if recipe == Recipe() and size == height:
        return images, masks
    seeds = tf.random.split(tf.cast(seed, tf.int64), 3)
    batch = tf.shape(images)[0]
    background = _over_pixels(tf.reduce_min, images)
    images -= _along_rows(background, (height, width))
    if brains is not None and recipe.stripped:
        images *= _strip(tf.cast(brains, images.dtype), seeds[0], recipe.stripped)
    if recipe.faint or recipe.core:
        normal = -background
        order = [channels.index(REFERENCE)] + [
            i for i in range(len(channels)) if i != channels.index(REFERENCE)
        ]
        back = [order.index(i) for i in range(len(channels))]
        changed = vary_lesions(
            tf.gather(images, order, axis=-1),
            masks,
            tf.gather(normal, order, axis=-1),
            seeds[0] + 7,
            recipe.faint,
            recipe.core,
        )
        images = tf.gather(changed, back, axis=-1)
    matrices = random_affine((batch,), (height, width), seeds[0], recipe)
    shape = (size, size * width // height)
    images = warp(images, matrices, "BILINEAR", shape)
    if recipe.changes_intensity:
        images = random_intensity(images, background, seeds[1:], recipe, channels)
    else:
        images += _along_rows(background, shape)
    return images, warp(masks, matrices, "NEAREST", shape)


def _strip(brains: tf.Tensor, seed: tf.Tensor, chance: float) -> tf.Tensor:
    """The brain in some slices and all that there is in the others, `(batch, h, w, 1)`."""
    drawn = tf.random.stateless_uniform((tf.shape(brains)[0], 1, 1, 1), seed + 1)
    return tf.where(drawn < chance, brains, 1.0)


def warp(
    images: tf.Tensor,
    matrices: tf.Tensor,
    interpolation: str,
    shape: tuple[int, int] | None = None,
) -> tf.Tensor:
    """Moves each image by its matrix; zeros come in from outside.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        matrices: Float32 tensor of shape `(batch, 8)` as `random_affine` returns it.
        interpolation: `"BILINEAR"` or `"NEAREST"`.
        shape: Height and width of the result, to which the moved image is scaled. Default: those
            of the images.

    Returns:
        Tensor of shape `(batch, *shape, channels)`.
    """
    source = images.shape[1:3]
    shape = shape or tuple(source)
    if shape != tuple(source):
        matrices = _coarser(matrices, source[1] / shape[1], source[0] / shape[0])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=shape,
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(moved, (images.shape[0], *shape, images.shape[3]))


def _coarser(matrices: tf.Tensor, right: float, down: float) -> tf.Tensor:
    """Matrices for results whose pixels are `right` times as wide and `down` times as high."""
    a, b, c, d, e, f, *rest = tf.unstack(matrices, axis=1)
    x, y = (right - 1) / 2, (down - 1) / 2  # where the centre of the first pixel lies
    c, f = c + a * x + b * y, f + d * x + e * y
    return tf.stack([a * right, b * down, c, d * right, e * down, f, *rest], axis=1)


def random_affine(
    batch: tuple[int | tf.Tensor], shape: tuple[int, int], seed: tf.Tensor, recipe: Recipe
) -> tf.Tensor:
    """Draws one matrix for each slice, all of its moves in one.

    Args:
        batch: Number of matrices, as a shape.
        shape: Height and width of the images in pixels.
        seed: Integer tensor of shape `(2,)`.
        recipe: What to draw from.

    Returns:
        Float32 tensor of shape `(batch, 8)`, rows `a b c d e f 0 0`: the pixel at column x and row
        y of the result comes from column `a x + b y + c` and row `d x + e y + f`.
    """
    draw, happens = _draws(batch, 16, seed)
    turn = happens(recipe.probability)
    angle = turn * draw() * math.radians(recipe.rotation)
    width_shear = turn * draw() * recipe.width_shear
    height_shear = happens(recipe.probability) * draw() * recipe.height_shear
    low, high = (math.log(limit) for limit in recipe.zoom)
    zoom = tf.exp(happens(recipe.probability) * (low + (high - low) * (draw() + 1) / 2))
    kept = 1 - happens(recipe.probability) * (1 - recipe.crop) * (draw() + 1) / 2
    shift = happens(recipe.probability) * recipe.translation
    right = shift * draw() + draw() * (1 - kept) / 2
    down = shift * draw() + draw() * (1 - kept) / 2
    flip, turn_over = 1 - 2 * happens(recipe.flip), 1 - 2 * happens(recipe.turn_over)

    # From result to source, about the centre: flips, shear by height then by width, rotate, scale.
    scale, cosine, sine = kept / zoom, tf.cos(angle), tf.sin(angle)
    along_x = 1 + width_shear * height_shear
    a = scale * flip * (cosine * along_x - sine * height_shear)
    b = scale * turn_over * (cosine * width_shear - sine)
    d = scale * flip * (sine * along_x + cosine * height_shear)
    e = scale * turn_over * (sine * width_shear + cosine)
    height, width = shape
    x, y = (width - 1) / 2, (height - 1) / 2
    c = x + right * width - a * x - b * y
    f = y + down * height - d * x - e * y
    zero = tf.zeros_like(a)
    return tf.stack([a, b, c, d, e, f, zero, zero], axis=1)


def random_intensity(
    images: tf.Tensor,
    background: tf.Tensor,
    seeds: tf.Tensor,
    recipe: Recipe,
    channels: Sequence[str] = CHANNELS,
) -> tf.Tensor:
    """Changes gain, offset, contrast and noise of each channel, and adds the background.

    Args:
        images: Float32 tensor of shape `(batch, height, width, channels)`, background at 0.
        background: Float32 tensor of shape `(batch, 1, 1, channels)`.
        seeds: Integer tensor of shape `(2, 2)`.
        recipe: What to draw from.
        channels: Contrast of each channel.

    Returns:
        Tensor of the shape of `images`, values -5 to 5.
    """
    batch, shape = tf.shape(images)[0], images.shape[1:3]
    count, flair = len(channels), channels.index(REFERENCE)
    draw, happens = _draws((batch, 1, 1, count), 16, seeds[0])
    change = happens(recipe.probability)
    gain = 1 + change * draw() * recipe.gain
    offset = background + change * draw() * recipe.offset
    bend = happens(recipe.probability) * draw() * recipe.contrast
    deviation = happens(recipe.probability) * (draw() + 1) / 2 * recipe.noise
    others = [float(place != flair) for place in range(count)]
    replaced = happens(recipe.replacement) * tf.constant(others)

    if recipe.sharpness:
        amount = happens(recipe.probability) * draw() * recipe.sharpness
        blurred = tf.nn.avg_pool2d(images, 3, 1, "SAME")
        images += _along_rows(amount, shape) * tf.where(amount > 0, 1.0, 0.5) * (blurred - images)
    if recipe.field:
        tilts = [happens(recipe.probability) * draw() * recipe.field for _ in range(3)]
        images *= _field(tilts, shape)

    # The grey scale is bent to gain * (x + bend * x * (1 - x / peak)).
    peak = _over_pixels(tf.reduce_max, images)
    curvature = tf.math.divide_no_nan(gain * bend, peak)
    linear, curvature, offset, deviation = (
        _along_rows(values, shape) for values in (gain * (1 + bend), curvature, offset, deviation)
    )
    noise = deviation * _noise(tf.shape(images), seeds[1])
    images = tf.clip_by_value((linear - curvature * images) * images + offset + noise, -CLIP, CLIP)

    # Each channel of the result is one of those drawn: itself, or FLAIR.
    source = tf.eye(count) * (1 - replaced) + tf.one_hot([flair], count, axis=0) * replaced
    pixels = tf.reshape(images, (batch, -1, count))
    return tf.reshape(tf.matmul(pixels, source[:, 0]), tf.shape(images))


def _field(tilts: list[tf.Tensor], shape: tuple[int, int]) -> tf.Tensor:
    """A gain around 1 that changes along rows, along columns and from the centre outwards."""
    y, x = (tf.linspace(-1.0, 1.0, side) for side in shape)
    y, x = y[None, :, None, None], x[None, None, :, None]
    across, along, outwards = tilts
    return (1 + across * x + along * y) * (1 + outwards * (x * x + y * y - 2 / 3) / 2)


def _over_pixels(reduce: Callable[..., tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Least or greatest value of each channel, shape `(batch, 1, 1, channels)`."""
    # One axis at a time: several times faster than both at once.
    return reduce(reduce(images, axis=1, keepdims=True), axis=2, keepdims=True)


def _along_rows(values: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
    """Repeats `(batch, 1, 1, channels)` along the width: faster to combine with whole images."""
    return tf.tile(values, (1, 1, shape[1], 1))


def _noise(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Even noise of mean 0 and standard deviation 1, in 256 steps: four values a random number."""
    count = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform(((count + 3) // 4,), seed, None, None, tf.int32)
    steps = tf.reshape(tf.reshape(tf.bitcast(words, tf.int8), (-1,))[:count], shape)
    return (tf.cast(steps, tf.float32) + 0.5) * (12 / (256**2 - 1)) ** 0.5


def _draws(
    shape: tuple[int | tf.Tensor, ...], count: int, seed: tf.Tensor
) -> tuple[Callable[[], tf.Tensor], Callable[[float], tf.Tensor]]:
    """Two functions that draw tensors of a shape: from -1 to 1, and 1 with a chance or else 0."""
    columns = iter(tf.unstack(tf.random.stateless_uniform((count, *shape), seed)))
    return (
        lambda: 2 * next(columns) - 1,
        lambda chance: tf.cast(next(columns) < chance, tf.float32),
    )
