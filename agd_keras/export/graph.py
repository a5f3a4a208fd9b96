"""The whole way from an image to a mask as TensorFlow operations, to lie in an exported file.

It follows `data.preprocess` with elementary operations only (sums, products of matrices), which
every runtime has built in: TensorFlow Serving as well as LiteRT.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from agd_keras.data.brain import FLAIR, GRID, LIKE_SHARE, LIKE_WIDTH, NARROW, REACH, WIDTHS
from agd_keras.data.preprocess import BRAIN_SCALE, CLIP
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.evaluation.reliability import SURE
from agd_keras.export.background import settle_background
from agd_keras.export.network import Network

OVER_IMAGE, OVER_PATIENT = (-1, -2), (-1, -2, -4)


def to_planes(images: tf.Tensor) -> tf.Tensor:
    """Brings images of any type from `(..., height, width, channels)` to channels ahead.

    Sums over whole planes are several times faster than over interleaved channels.

    Returns:
        Float32 tensor of shape `(..., channels, height, width)`.

    Example:

    >>> to_planes(tf.zeros((2, 4, 6, 3), tf.uint8)).shape
    TensorShape([2, 3, 4, 6])
    """
    rank = len(images.shape)
    order = (*range(rank - 3), rank - 1, rank - 3, rank - 2)
    return tf.cast(tf.transpose(images, order), tf.float32)


def normalize(
    planes: tf.Tensor, axes: Sequence[int] = OVER_IMAGE, _flair: int = FLAIR
) -> tf.Tensor:
    """Scales each channel to zero mean and unit deviation of the tissue.

    The rule of `data.preprocess.normalize_patient`, in float32.

    Args:
        planes: Float32 tensor of shape `(..., channels, height, width)`.
        axes: What the tissue is measured over: `OVER_IMAGE` for each image by itself, or
            `OVER_PATIENT` for all slices of the axis ahead of the channels together.

    Returns:
        Float32 tensor of the same shape, values -5 to 5.

    Example:

    >>> normalize(tf.reshape(tf.constant([0.0, 0, 0, 8, 12]), (1, 1, 1, 5))).numpy().ravel()
    array([-5., -5., -5., -1.,  1.], dtype=float32)
    """

    def mean(values: tf.Tensor) -> tf.Tensor:
        for axis in axes:  # one after the other, as long sums in float32 lose digits
            values = tf.reduce_mean(values, axis, keepdims=True)
        return values

    planes = settle_background(planes, axes)
    # The mean of what remains takes back the rounding of the first: a constant is then exact.
    centred = planes - mean(planes)
    centred -= mean(centred)
    # What lies at the mean is not above it, whichever way it was rounded.
    tissue = tf.cast(centred > 5e-7 * mean(tf.abs(centred)), tf.float32)
    share = mean(tissue)
    # Not by tiny constants, here and below: a file of float16 weights has zeros in their place.
    some = tf.where(share > 0, share, 1.0)
    height = mean(centred * tissue) / some
    centred -= height
    centred -= mean(centred * tissue) / some
    deviation = tf.sqrt(mean(tf.square(centred) * tissue) / some)
    # One or two grey levels: no spread but rounding, and all that is not tissue is air.
    flat = deviation <= 5e-7 * height
    scaled = centred / tf.where(flat, 1.0, deviation)
    scaled = tf.where(flat, -CLIP * (1 - tissue), scaled)
    return tf.clip_by_value(scaled, -CLIP, CLIP)


def normalize_by_brain(
    planes: tf.Tensor, axes: Sequence[int] = OVER_IMAGE, flair: int = FLAIR
) -> tf.Tensor:
    """Puts air at -2.5 and normal brain at 0 in each channel.

    The rule of `data.brain.brain_levels`, over voxels and not over their histogram.

    Args:
        planes: As for `normalize`.
        axes: As for `normalize`.
        flair: Index of the channel of FLAIR; of a single channel, that is it.

    Returns:
        Float32 tensor of the same shape, values -5 to 5.

    Example:

    >>> stack = tf.constant([0.0] * 5 + [9.0, 10.0, 11.0] + [30.0])
    >>> normalize_by_brain(tf.reshape(stack, (1, 1, 1, 9))).numpy().ravel()[[0, 6]].round(2)
    array([-2.5,  0. ], dtype=float32)
    """

    def total(values: tf.Tensor) -> tf.Tensor:
        for axis in axes:
            values = tf.reduce_sum(values, axis, keepdims=True)
        return values

    def ratio(part: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
        return part / tf.where(whole > 0, whole, 1.0)

    def peak(
        values: tf.Tensor,
        weights: tf.Tensor | float = 1.0,
        widths: Sequence[float] = WIDTHS,
        start: tf.Tensor | None = None,
    ) -> tf.Tensor:
        mean = values
        for axis in axes:
            mean = tf.reduce_mean(mean, axis, keepdims=True)
        tissue = tf.cast(values > mean, tf.float32)
        mean = ratio(total(values * tissue), total(tissue))
        level = mean if start is None else start
        weights *= tf.cast(values < REACH * mean, tf.float32)
        for width in widths:
            seen = weights * window(ratio(values, level) - 1.0, width)
            found = total(seen)
            level = tf.where(found > 0, ratio(total(seen * values), found), level)
        return level

    def window(distance: tf.Tensor, width: float) -> tf.Tensor:
        return tf.square(tf.nn.relu(1.0 - tf.square(distance / width)))

    planes = settle_background(planes, axes)
    air = planes
    for axis in axes:
        air = tf.reduce_min(air, axis, keepdims=True)
    planes -= air
    channels = tf.split(planes, planes.shape[-3], axis=-3)
    reference = channels[min(flair, len(channels) - 1)]
    level = peak(reference)
    likeness = window(ratio(reference, level) - 1.0, LIKE_WIDTH)
    shape = tf.shape(reference)
    # Of three dimensions: a product over single channels, (12, 1, 96, 96), crashes TensorFlow 2.21.
    squares = resize(tf.reshape(likeness, (-1, shape[-2], shape[-1])), GRID, GRID)
    around = tf.reshape(resize(squares, shape[-2], shape[-1]), shape)
    likeness = tf.where(level > 0, likeness * tf.nn.relu(around - LIKE_SHARE), 1.0)
    levels = [
        peak(one, likeness, NARROW, level) if one is reference else peak(one, likeness)
        for one in channels
    ]
    scaled = ratio(planes, tf.concat(levels, axis=-3)) - 1.0
    return tf.clip_by_value(BRAIN_SCALE * scaled, -CLIP, CLIP)


# By the version of `Preprocessor`, as there.
NORMALIZE = {3: {"tissue": normalize, "brain": normalize_by_brain}}


def resize(planes: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Resizes planes as Pillow's `BILINEAR` does: bilinear, averaging where it shrinks.

    Args:
        planes: Float32 tensor of shape `(..., height, width)`.
        height: Height of the result in pixels.
        width: Width of the result in pixels.

    Returns:
        Float32 tensor of shape `(..., height, width)`.

    Reference:
        Pillow, `src/libImaging/Resample.c`: a triangle that is as wide as the step between the
        pixels of the smaller image.

    Example:

    >>> resize(tf.ones((1, 3, 4, 6)), 2, 2).shape
    TensorShape([1, 3, 2, 2])
    """
    shape = tf.shape(planes)
    rows = tf.matmul(planes, _triangles(shape[-1], width), transpose_b=True)
    return tf.matmul(_triangles(shape[-2], height), rows)


def _triangles(source: tf.Tensor, target: int | tf.Tensor) -> tf.Tensor:
    """Weights of shape `(target, source)`: how much of each pixel goes into each new one."""
    step = tf.cast(source, tf.float32) / tf.cast(target, tf.float32)
    centres = (tf.cast(tf.range(target), tf.float32) + 0.5) * step
    pixels = tf.cast(tf.range(source), tf.float32) + 0.5
    distance = tf.abs(pixels[None, :] - centres[:, None]) / tf.maximum(step, 1.0)
    weights = tf.nn.relu(1.0 - distance)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def scale_temperature(probability: tf.Tensor, temperature: float) -> tf.Tensor:
    """Scales the logits of probabilities, as `evaluation.calibration.scale_temperature` does.

    Args:
        probability: Float32 tensor of any shape, values 0 to 1.
        temperature: Above 1 draws towards 0.5, below 1 away from it.

    Returns:
        Float32 tensor of the same shape, at or above 0.5 exactly where `probability` is.

    Example:

    >>> scale_temperature(tf.constant([0.1, 0.5, 0.9]), 2.0).numpy().astype(float).round(3).tolist()
    [0.24, 0.5, 0.76]
    """
    # Both ends are kept at a distance of 1e-7 each, as 1 - 1e-7 itself is no float32.
    odds = (tf.maximum(share, 1e-7) for share in (probability, 1.0 - probability))
    logit = tf.subtract(*map(tf.math.log, odds))
    sure = tf.minimum(1.0, tf.square(logit / SURE)) if temperature > 1 else 0.0
    scaled = tf.sigmoid(logit * (sure + (1.0 - sure) / temperature))
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    return tf.where(probability < 0.5, tf.minimum(scaled, below), tf.maximum(scaled, 0.5))


def segment(
    network: Network,
    preprocessor: Preprocessor,
    images: tf.Tensor,
    threshold: float = 0.5,
    axes: Sequence[int] = OVER_IMAGE,
    temperature: float = 1.0,
) -> dict[str, tf.Tensor]:
    """Takes images of any size through normalisation and network, and back to their size.

    Args:
        network: Function from network input to outputs, one of them `mask`.
        preprocessor: What the network's input is made by.
        images: Tensor of any real type, of shape `(batch, height, width, channels)`, or
            `(patients, slices, height, width, channels)` with `OVER_PATIENT`.
        threshold: A pixel is tumour at or above this probability, 0 to 1.
        axes: What each image is normalised over, see `normalize`.
        temperature: What the logits of the probability are scaled by, above 0.

    Returns:
        `probability`, float32, and `mask`, uint8 0 or 1, of the shape of `images` with a channel
        for each region.

    Example:

    >>> def network(image):
    ...     return {"mask": image[..., :1]}
    >>> segment(network, Preprocessor(4), tf.ones((1, 6, 8, 3)))["mask"].shape
    TensorShape([1, 6, 8, 1])
    """
    planes = to_planes(images)
    shape = tf.shape(images)
    height, width = shape[-3], shape[-2]
    size, channels = preprocessor.image_size, len(preprocessor.channels)
    scale = NORMALIZE[preprocessor.version][preprocessor.normalization]
    normalized = scale(planes, axes, preprocessor.flair)
    small = tf.reshape(resize(normalized, size, size), (-1, channels, size, size))
    output = network(tf.transpose(small, (0, 2, 3, 1)))["mask"]
    regions = output.shape[-1]
    if regions == 1:
        probability = resize(output[..., 0], height, width)
    else:
        probability = resize(tf.transpose(output, (0, 3, 1, 2)), height, width)
        probability = tf.transpose(probability, (0, 2, 3, 1))
    probability = tf.reshape(probability, tf.concat([shape[:-1], [regions]], axis=0))
    if temperature != 1:
        probability = scale_temperature(probability, temperature)
    return {"probability": probability, "mask": tf.cast(probability >= threshold, tf.uint8)}
