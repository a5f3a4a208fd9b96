"""Random changes of what tumours look like: fainter towards their outline, with a dark core."""

import tensorflow as tf

# Side of the neighbourhood that tells how deep in a tumour a pixel lies, as a share of the image.
_NEIGHBOURHOOD = 0.1


def vary_lesions(
    images: tf.Tensor,
    masks: tf.Tensor,
    normal: tf.Tensor,
    seed: tf.Tensor,
    chance: float,
    core: float,
) -> tf.Tensor:
    """Makes tumours fainter or gives them a core, in some of the slices.

    Args:
        images: Float32 tensor of shape `(batch, height, width, channels)`, background at 0.
        masks: Tensor of shape `(batch, height, width, regions)`, values 0 or 1.
        normal: Value of normal brain in each channel, shape `(batch, 1, 1, channels)`.
        seed: Integer tensor of shape `(2,)`.
        chance: Probability of either change, drawn apart.

    Returns:
        Tensor of the shape of `images`.
    """
    batch, height, width, count = tf.shape(images)[0], *images.shape[1:]
    numbers = tf.random.stateless_uniform((8, batch, 1, 1, 1), seed)
    faint = tf.cast(numbers[0] < chance, tf.float32) * numbers[1] * 0.7
    even = tf.cast(numbers[2] < 0.3, tf.float32)
    dark = tf.cast(numbers[3] < core, tf.float32) * (0.3 + 0.7 * numbers[4])
    size = 0.55 + 0.4 * numbers[5]
    others = tf.random.stateless_uniform((batch, 1, 1, count), seed + 1)
    texture = tf.random.stateless_uniform((batch, 8, 8, 1), seed + 2, -0.2, 0.2)
    texture = tf.image.resize(texture, (height, width))

    tumour = tf.cast(tf.reduce_max(masks, axis=-1, keepdims=True), tf.float32)
    side = 2 * int(_NEIGHBOURHOOD * height / 2) + 1
    depth = tf.nn.avg_pool2d(tumour, side, 1, "SAME")  # a half at a straight outline, 1 inside
    outer = tf.clip_by_value(2 * (1 - depth), 0, 1)
    images = normal + (images - normal) * (1 - tumour * faint * (even + (1 - even) * outer))
    inside = tumour * tf.clip_by_value((depth + texture - size) / 0.1, 0, 1)
    depths = dark * tf.concat([tf.ones_like(others[..., :1]), others[..., 1:]], axis=-1)
    return images * (1 - inside * 0.7 * depths)
