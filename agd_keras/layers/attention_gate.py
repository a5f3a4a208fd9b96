"""The additive attention gate on a skip connection."""

import keras
from keras import ops

from agd_keras.layers.conv_block import DATA_FORMAT, NORM_MOMENTUM


@keras.saving.register_keras_serializable(package="agd_keras")
class AttentionGate(keras.layers.Layer):
    """Weights a feature map by where a coarser, more semantic map says that it matters.

    With skip features `x` and the gating signal `g`:

        f = relu(θ(x) + resize(φ(g)))
        α = resize(sigmoid(ψ(f)))
        y = norm(W(α · x))

    θ is a convolution whose kernel and stride are `subsample`, without bias; φ, ψ and W are 1×1
    convolutions with bias; both resizes are bilinear.

    Args:
        inter_channels: Channels of the space in which `x` and `g` are added; half of those of `x`
            if `None`.
        subsample: Factor by which θ reduces height and width.
        output_transform: Whether W and its batch normalisation are applied; without them the
            result is `α · x`.
        psi_bias: Initial bias of ψ. At 3.0 the gate starts open (α ≈ 0.95).
        l2: Factor of the L2 penalty on the kernels.
        **kwargs: `name`, `dtype` and `trainable`, as every Keras layer takes them.

    Call arguments:
        inputs: List of `x`, `(batch, height, width, channels)`, and `g`, `(batch, height / n,
            width / n, gating channels)` for any n.

    Output:
        Tuple of the gated features, shape of `x`, and the attention coefficients α, float32,
        `(batch, height, width, 1)`, values 0 to 1.

    Reference:
        Schlemper et al. 2019, Attention gated networks, doi 10.1016/j.media.2019.01.012, mode
        "concatenation".

    Example:

    >>> gate = AttentionGate(inter_channels=8)
    >>> gated, attention = gate([keras.ops.ones((1, 32, 32, 16)), keras.ops.ones((1, 8, 8, 32))])
    >>> gated.shape, attention.shape
    (TensorShape([1, 32, 32, 16]), TensorShape([1, 32, 32, 1]))
    """

    def __init__(
        self,
        inter_channels: int | None = None,
        subsample: int = 2,
        output_transform: bool = True,
        psi_bias: float = 0.0,
        l2: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.inter_channels = inter_channels
        self.subsample = subsample
        self.output_transform = output_transform
        self.psi_bias = psi_bias
        self.l2 = l2

    def build(self, input_shape):
        features, gating = input_shape
        inter = self.inter_channels or max(1, features[-1] // 2)

        def conv(name, filters, size=1, use_bias=True, **kwargs):
            return keras.layers.Conv2D(
                filters,
                size,
                strides=size,
                data_format=DATA_FORMAT,
                use_bias=use_bias,
                kernel_initializer="he_normal",
                kernel_regularizer=keras.regularizers.L2(self.l2) if self.l2 else None,
                dtype=self.dtype_policy,
                name=name,
                **kwargs,
            )

        self.theta = conv("theta", inter, self.subsample, use_bias=False)
        self.phi = conv("phi", inter)
        self.psi = conv("psi", 1, bias_initializer=keras.initializers.Constant(self.psi_bias))
        self.theta.build(features)
        self.phi.build(gating)
        self.psi.build((*self.theta.compute_output_shape(features)[:-1], inter))
        if self.output_transform:
            self.transform = conv("transform", features[-1])
            self.norm = keras.layers.BatchNormalization(
                momentum=NORM_MOMENTUM, dtype=self.dtype_policy, name="norm"
            )
            self.transform.build(features)
            self.norm.build(features)
        self.built = True

    def call(self, inputs, training=None):
        features, gating = inputs
        theta = self.theta(features)
        phi = _resize(self.phi(gating), ops.shape(theta)[1:3])
        logits = self.psi(ops.relu(theta + phi))
        # The coefficients are looked at by people: float32 whatever the precision policy.
        attention = _resize(ops.sigmoid(ops.cast(logits, "float32")), ops.shape(features)[1:3])
        gated = features * ops.cast(attention, features.dtype)
        if self.output_transform:
            gated = self.norm(self.transform(gated), training=training)
        return gated, attention

    def compute_output_spec(self, inputs, training=None):
        features, _ = inputs
        shape = (*features.shape[:-1], 1)
        return (
            keras.KerasTensor(features.shape, dtype=self.compute_dtype),
            keras.KerasTensor(shape, dtype="float32"),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "inter_channels": self.inter_channels,
            "subsample": self.subsample,
            "output_transform": self.output_transform,
            "psi_bias": self.psi_bias,
            "l2": self.l2,
        }


def _resize(images, size):
    size = tuple(size)
    if tuple(images.shape[1:3]) == size:
        return images
    return ops.image.resize(images, size, interpolation="bilinear", data_format=DATA_FORMAT)
