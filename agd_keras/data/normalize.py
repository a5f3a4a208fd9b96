"""The normalisation of `data.preprocess` as TensorFlow operations.

Elementary ones only (sums and products), which every runtime has built in: an exported file carries
them with it, to TensorFlow Serving as well as to LiteRT.
"""

from collections.abc import Sequence

import tensorflow as tf

from agd_keras.data.preprocess import CLIP

OVER_IMAGE, OVER_PATIENT = (-1, -2), (-1, -2, -4)


def normalize(planes: tf.Tensor, axes: Sequence[int] = OVER_IMAGE) -> tf.Tensor:
    """Scales each channel to zero mean and unit deviation of the tissue.

    The rule of `data.preprocess.normalize_patient`, in float32.

    Args:
        planes: Float32 tensor of shape `(..., channels, height, width)`.
        axes: What the tissue is measured over: `OVER_IMAGE` for each image by itself, or
            `OVER_PATIENT` for all slices of the axis ahead of the channels together. Where the
            channels are last, `(-2, -3)` is each image by itself.

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

    # The mean of what remains takes back the rounding of the first: a constant is then exact.
    centred = planes - mean(planes)
    centred -= mean(centred)
    tissue = tf.cast(centred > 0, tf.float32)
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
