"""The rule of `io.background` as TensorFlow operations, to lie in an exported file."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from agd_keras.io.background import AWAY, BORDER, DARKER, SHARE

# `io.background.LIMIT` in steps: a file of float16 weights has zero in place of its inverse.
STEP = 2.0**-20


def finite(values: tf.Tensor) -> tf.Tensor:
    """Tells which values are numbers that can be reckoned with, below `LIMIT`."""
    return tf.abs(values) * STEP * STEP * STEP < 1.0


def settle_background(planes: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Brings what is no tissue to the lowest value of each channel.

    Args:
        planes: Float32 tensor of shape `(..., channels, height, width)`.
        axes: What belongs together: `(-1, -2)` for each image by itself, or `(-1, -2, -4)` for all
            slices of the axis ahead of the channels.

    Returns:
        Float32 tensor of the same shape, all finite.

    Example:

    >>> planes = tf.reshape(tf.constant([float("nan"), -2.0, 3.0]), (1, 1, 1, 3))
    >>> settle_background(planes, (-1, -2)).numpy().ravel().tolist()
    [-2.0, -2.0, 3.0]
    """

    def over(reduce: Callable[..., tf.Tensor], values: tf.Tensor) -> tf.Tensor:
        for axis in axes:  # one after the other, as long sums in float32 lose digits
            values = reduce(values, axis, keepdims=True)
        return values

    def count(where: tf.Tensor) -> tf.Tensor:
        return over(tf.reduce_sum, tf.cast(where, tf.float32))

    usable = finite(planes)
    lowest = over(tf.reduce_min, tf.where(usable, planes, float("inf")))
    lowest = tf.where(lowest < float("inf"), lowest, 0.0)
    edge = _border(planes, usable & (planes > lowest), axes)
    air, known = _find_air(edge, lowest[..., 0])
    in_air = usable & (planes == air[..., None])
    rest = usable & ~in_air
    darkest = over(tf.reduce_min, tf.where(rest, planes, float("inf")))
    brightest = over(tf.reduce_max, tf.where(rest, planes, -float("inf")))
    away = tf.where(rest, planes - air[..., None], 0.0)
    darker, brighter = count(away < 0), count(away > 0)
    below, above = over(tf.reduce_sum, tf.nn.relu(-away)), over(tf.reduce_sum, tf.nn.relu(away))
    found = known[..., None] & (SHARE * count(in_air) >= count(usable)) & (darkest < brightest)
    found &= (DARKER * darker >= count(rest)) & (AWAY * below * brighter >= above * darker)
    settled = usable & ~(found & in_air)
    return tf.where(settled, planes, tf.where(found, darkest, lowest))


def _border(planes: tf.Tensor, inside: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """The border of the smallest box around `inside`, `(..., channels, pixels)`.

    Of all slices together, `(patients, 1, channels, pixels)`, where they belong together.
    """
    rank = len(planes.shape)
    sides = []
    for along, across in ((-2, -1), (-1, -2)):
        used = tf.cast(inside, tf.float32)
        for axis in (across, *axes[2:]):
            used = tf.reduce_max(used, axis, keepdims=True)
        used = tf.squeeze(used, across)
        first = tf.argmax(used, -1, tf.int32)
        last = tf.shape(used)[-1] - 1 - tf.argmax(tf.reverse(used, [-1]), -1, tf.int32)
        for place in (first, last):
            places = place + tf.zeros(tf.shape(planes)[:-2], tf.int32)  # the same in all slices
            sides.append(tf.gather(planes, places, axis=rank + along, batch_dims=rank - 2))
    edge = tf.concat(sides, axis=-1)
    if len(axes) == 2:
        return edge
    shape = tf.shape(edge)  # (patients, slices, channels, pixels)
    together = tf.stack([shape[0], 1, shape[2], shape[1] * shape[3]])
    return tf.reshape(tf.transpose(edge, (0, 2, 1, 3)), together)


def _find_air(edge: tf.Tensor, lowest: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The value that most of the border above the lowest has, and whether that is enough of it."""
    above = finite(edge) & (edge > lowest)
    size = tf.reduce_sum(tf.cast(above, tf.float32), -1, keepdims=True)
    ordered = tf.sort(tf.where(above, edge, float("inf")))
    places = tf.cast(tf.range(tf.shape(edge)[-1]), tf.float32)
    middle = places == tf.floor((size - 1.0) / 2.0)
    air = tf.reduce_sum(tf.where(middle, ordered, 0.0), -1, keepdims=True)
    same = tf.reduce_sum(tf.cast(above & (edge == air), tf.float32), -1, keepdims=True)
    return air, (size > 0) & (BORDER[1] * same >= BORDER[0] * size)
