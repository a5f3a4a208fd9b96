"""The AGD-Autoencoder as a plain Functional model."""

import keras
from keras import layers

from agd_keras.layers import AttentionGate, ConvBlock, EdgeAttention
from agd_keras.layers.conv_block import DATA_FORMAT


def agd_autoencoder(
    image_shape: tuple[int | None, int | None, int] = (128, 128, 3),
    filters: tuple[int, ...] = (512, 256, 128, 64),
    depth: int = 1,
    stem_stride: int = 1,
    skips: tuple[int, ...] = (2,),
    attention: bool = True,
    attention_at: tuple[int, ...] = (2,),
    light_decoder: bool = False,
    edge: bool = True,
    edge_filters: int = 16,
    edge_gate: str = "residual",
    activation: str = "elu",
    dropout: float = 0.0,
    l2: float = 0.0,
    regions: int = 1,
    name: str = "agd_autoencoder",
) -> keras.Model:
    """Builds the attention-gated autoencoder: edge attention, encoder, gated skips, decoder.

    The defaults are the network of the paper. The image first passes the edge detector, which
    weights it; each encoder block halves the resolution; the decoder mirrors the encoder and takes
    back, through an attention gate, what the skip connections carry. The gating signal is the
    bottleneck. Levels count from 1, the first block of the encoder.

    Args:
        image_shape: Height, width and channels of the input; height and width multiples of
            `stem_stride · 2 ** len(filters)`, or None for any such.
        filters: Channels of the encoder blocks, first to last, mirrored by the decoder.
        depth: Convolutions in each block.
        stem_stride: Stride of a convolution ahead of the first block, undone by the last layer.
            At 1 there is none. The layers at full resolution take most of the time and gain
            little: a stride of 2 makes the network about four times faster.
        skips: Levels with a skip connection.
        attention: Whether skip connections are gated; `False` is the ablation.
        attention_at: Levels whose skip connection is gated, a subset of `skips`.
        light_decoder: Whether a decoder block is one convolution to as many channels as the next
            finer level has. The mirror image, which upsamples more channels and then convolves
            twice, takes two thirds of all multiply-adds.
        edge: Whether the edge detector is there; `False` is the ablation.
        edge_filters: Channels of the edge detector.
        edge_gate: How the edge weights the image, see `EdgeAttention`.
        activation: Activation of the blocks.
        dropout: Share of the bottleneck's channels dropped in training.
        l2: Factor of the L2 penalty on all kernels of encoder, decoder and gates.
        regions: What is found, each by a channel of the mask; they may overlap.
        name: Name of the model.

    Returns:
        A `keras.Model` with input `image`, float32, `(batch, height, width, channels)`, normalised
        per patient, and the outputs `mask` and, unless `edge=False`, `edge`: probabilities,
        float32, `(batch, height, width, regions)` and `(batch, height, width, 1)`.

    Raises:
        ValueError: If the size does not fit the number of levels, or a level does not exist.

    Reference:
        Cvetko 2021, arXiv 2107.03323, section 3.3.

    Example:

    >>> model = agd_autoencoder((64, 64, 3), filters=(8, 16))
    >>> sorted(model.output_names)
    ['edge', 'mask']
    """
    _check(image_shape, filters, stem_stride, skips, attention_at if attention else ())

    def encode(level: int) -> ConvBlock:
        return ConvBlock(filters[level - 1], depth, activation, l2, name=f"encoder_{level}")

    def decode(level: int) -> ConvBlock:
        name = f"decoder_{level}"
        if light_decoder:
            return ConvBlock(filters[max(level - 2, 0)], 1, activation, l2, name=name)
        return ConvBlock(filters[level - 1], depth, activation, l2, name=name)

    image = keras.Input(image_shape, dtype="float32", name="image")
    outputs = {}
    x = image
    if edge:
        x, outputs["edge"] = EdgeAttention(edge_filters, gate=edge_gate, l2=l2, name="edge")(x)
    if stem_stride > 1:
        x = layers.Conv2D(
            filters[0],
            2 * stem_stride,
            strides=stem_stride,
            padding="same",
            data_format=DATA_FORMAT,
            activation=activation,
            kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
            name="stem",
        )(x)

    carried = {}
    levels = range(1, len(filters) + 1)
    for level in levels:
        x = encode(level)(x)
        if level in skips:
            carried[level] = x
        x = layers.MaxPooling2D(2, data_format=DATA_FORMAT, name=f"pool_{level}")(x)
    bottleneck = x
    if dropout:
        x = layers.SpatialDropout2D(dropout, data_format=DATA_FORMAT, name="dropout")(x)

    for level in reversed(levels):
        # Resizing is float32 in any policy; to make its result half precision again, Keras clips
        # it first, which the next layer does not.
        x = layers.UpSampling2D(
            2,
            data_format=DATA_FORMAT,
            interpolation="bilinear",
            dtype="float32",
            name=f"up_{level}",
        )(x)
        if level in carried:
            skip = carried[level]
            if attention and level in attention_at:
                skip, _ = AttentionGate(l2=l2, name=f"gate_{level}")([skip, bottleneck])
            x = layers.Concatenate(name=f"join_{level}")([x, skip])
        x = decode(level)(x)

    # Kernel and stride of equal size: a 1×1 convolution to each pixel of the original grid.
    x = layers.Conv2DTranspose(
        regions, stem_stride, strides=stem_stride, data_format=DATA_FORMAT, name="head"
    )(x)
    outputs["mask"] = layers.Activation("sigmoid", dtype="float32", name="mask")(x)
    return keras.Model(image, outputs, name=name)


def _check(image_shape, filters, stem_stride, skips, attention_at):
    multiple = stem_stride * 2 ** len(filters)
    if any(side is not None and side % multiple for side in image_shape[:2]):
        raise ValueError(
            f"Height and width must be multiples of {multiple} for {len(filters)} levels and a "
            f"stem stride of {stem_stride}. Received: image_shape={image_shape}"
        )
    if not set(skips) <= set(range(1, len(filters) + 1)):
        raise ValueError(f"`skips` must be levels 1 to {len(filters)}. Received: skips={skips}")
    if not set(attention_at) <= set(skips):
        raise ValueError(
            f"`attention_at` must be levels with a skip connection, {tuple(skips)}. "
            f"Received: attention_at={attention_at}"
        )
