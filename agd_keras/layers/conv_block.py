"""The convolutional block of the encoder and the decoder."""

import keras

# Keras' default of 0.99 lags a hundred steps behind the weights, which makes the network unstable
# at inference for as long as the learning rate is high.
NORM_MOMENTUM = 0.9

# Stated by every layer: the default is that of `~/.keras/keras.json`, of whatever project.
DATA_FORMAT = "channels_last"


@keras.saving.register_keras_serializable(package="agd_keras")
class ConvBlock(keras.layers.Layer):
    """Repeats 3×3 convolution, batch normalisation and activation.

    The convolution carries no bias, since the normalisation that follows has one, and the
    normalisation directly follows the convolution, so that exporters fold the two into one.

    Args:
        filters: Number of output channels.
        depth: How many convolutions follow one another.
        activation: Name of the activation, `"elu"` in the paper.
        l2: Factor of the L2 penalty on the kernels.
        **kwargs: `name`, `dtype` and `trainable`, as every Keras layer takes them.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, height, width, filters)`.

    Reference:
        Cvetko 2021, arXiv 2107.03323, section 3.3.3.

    Example:

    >>> block = ConvBlock(8, depth=2)
    >>> block(keras.ops.zeros((1, 16, 16, 3))).shape
    TensorShape([1, 16, 16, 8])
    """

    def __init__(
        self, filters: int, depth: int = 1, activation: str = "elu", l2: float = 0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.depth = depth
        self.activation = activation
        self.l2 = l2
        self.steps = []
        for step in range(1, depth + 1):
            self.steps += [
                keras.layers.Conv2D(
                    filters,
                    3,
                    padding="same",
                    data_format=DATA_FORMAT,
                    use_bias=False,
                    kernel_initializer="glorot_uniform",
                    kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
                    dtype=self.dtype_policy,
                    name=f"conv_{step}",
                ),
                keras.layers.BatchNormalization(
                    momentum=NORM_MOMENTUM, dtype=self.dtype_policy, name=f"norm_{step}"
                ),
                keras.layers.Activation(
                    activation, dtype=self.dtype_policy, name=f"activation_{step}"
                ),
            ]

    def build(self, input_shape):
        for step in self.steps:
            step.build(input_shape)
            input_shape = step.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs, training=None):
        outputs = inputs
        for step in self.steps:
            if isinstance(step, keras.layers.BatchNormalization):
                outputs = step(outputs, training=training)
            else:
                outputs = step(outputs)
        return outputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "depth": self.depth,
            "activation": self.activation,
            "l2": self.l2,
        }
