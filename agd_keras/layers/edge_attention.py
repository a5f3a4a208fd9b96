"""The gated edge detector in front of the encoder."""

import keras
from keras import ops

from agd_keras.layers.conv_block import DATA_FORMAT

GATES = ("residual", "multiply", "concatenate")


@keras.saving.register_keras_serializable(package="agd_keras")
class EdgeAttention(keras.layers.Layer):
    """Finds the tumour's edge in the image and lets it weight the image.

    Convolutions at reduced resolution make a low-level feature map; a 1×1 convolution turns it
    into one edge logit a pixel, brought back to the size of the image. The edge probability `e`
    then gates the image:

    | gate | result |
    |---|---|
    | `"residual"` | image · (1 + e) |
    | `"multiply"` | image · e |
    | `"concatenate"` | image and e as one more channel |

    Args:
        filters: Channels of the low-level feature map.
        stride: Factor by which the feature map is smaller than the image.
        gate: One of the three gates above.
        l2: Factor of the L2 penalty on the kernels.
        **kwargs: `name`, `dtype` and `trainable`, as every Keras layer takes them.

    Call arguments:
        images: `(batch, height, width, channels)`; height and width multiples of `stride`.

    Output:
        Tuple of the gated image, `(batch, height, width, channels)`, one channel more for
        `"concatenate"`, and the edge probability, float32, `(batch, height, width, 1)`.

    Raises:
        ValueError: If `gate` is not one of the three.

    Reference:
        Cvetko 2021, arXiv 2107.03323, section 3.3.1; Fan et al. 2020, Inf-Net, arXiv 2004.14133.

    Example:

    >>> layer = EdgeAttention(filters=8)
    >>> gated, edge = layer(keras.ops.ones((1, 32, 32, 3)))
    >>> gated.shape, edge.shape
    (TensorShape([1, 32, 32, 3]), TensorShape([1, 32, 32, 1]))
    """

    def __init__(
        self,
        filters: int = 16,
        stride: int = 2,
        gate: str = "residual",
        l2: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if gate not in GATES:
            raise ValueError(f"`gate` must be one of {GATES}. Received: gate={gate!r}")
        self.filters = filters
        self.stride = stride
        self.gate = gate
        self.l2 = l2

        def conv(name, filters, size, **kwargs):
            return keras.layers.Conv2D(
                filters,
                size,
                padding="same",
                data_format=DATA_FORMAT,
                kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
                dtype=self.dtype_policy,
                name=name,
                **kwargs,
            )

        self.steps = [
            conv("reduce", filters, 3, strides=stride, activation="relu"),
            conv("features", filters, 3, activation="relu"),
            conv("head", 1, 1),
        ]

    def build(self, input_shape):
        for step in self.steps:
            step.build(input_shape)
            input_shape = step.compute_output_shape(input_shape)
        self.built = True

    def call(self, images):
        logits = images
        for step in self.steps:
            logits = step(logits)
        logits = ops.cast(logits, "float32")
        if self.stride > 1:
            logits = ops.image.resize(
                logits,
                ops.shape(images)[1:3],
                interpolation="bilinear",
                data_format=DATA_FORMAT,
            )
        edge = ops.sigmoid(logits)
        weight = ops.cast(edge, images.dtype)
        if self.gate == "residual":
            return images * (1 + weight), edge
        if self.gate == "multiply":
            return images * weight, edge
        return ops.concatenate([images, weight], axis=-1), edge

    def compute_output_spec(self, images):
        channels = images.shape[-1] + (self.gate == "concatenate")
        return (
            keras.KerasTensor((*images.shape[:-1], channels), dtype=self.compute_dtype),
            keras.KerasTensor((*images.shape[:-1], 1), dtype="float32"),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "stride": self.stride,
            "gate": self.gate,
            "l2": self.l2,
        }
