"""Networks in Keras that are compared: the presets of this package and Buda's U-Net."""

import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from agd_keras.config import RunConfig, TrainingConfig
from agd_keras.inference.predictor import Predictor
from agd_keras.training.callbacks import ScoreValidation
from agd_keras.training.fit_fold import CALIBRATION
from agd_keras.training.network import build_model, compile_model, make_variables
from agd_keras.training.strategy import resolve_precision


def unet(size: int, precision: str, filters: int = 32) -> keras.Model:
    """The U-Net of Buda et al.: four levels of two convolutions, each with batch normalisation.

    Args:
        size: Side of the input in pixels, a multiple of 16.
        precision: Name of a Keras dtype policy.
        filters: Channels of the first level, which double from level to level.

    Returns:
        The model: input `image` and output `mask` as those of `agd_autoencoder`.

    Reference:

    - [Buda et al., 2019](https://doi.org/10.1016/j.compbiomed.2019.05.002), as published in
      [mateuszbuda/brain-segmentation-pytorch](https://github.com/mateuszbuda/brain-segmentation-pytorch).
    """
    policy = keras.DTypePolicy(precision)

    def block(x: Any, channels: int) -> Any:
        for _ in range(2):
            x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, dtype=policy)(x)
            # PyTorch's default momentum, which it writes as 0.1.
            x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=policy)(x)
            x = keras.layers.ReLU(dtype=policy)(x)
        return x

    image = x = keras.Input((size, size, 3), name="image")
    skips = []
    for level in range(4):
        skips.append(block(x, filters * 2**level))
        x = keras.layers.MaxPooling2D(2, dtype=policy)(skips[-1])
    x = block(x, filters * 16)
    for level in reversed(range(4)):
        x = keras.layers.Conv2DTranspose(filters * 2**level, 2, strides=2, dtype=policy)(x)
        x = block(keras.layers.Concatenate(dtype=policy)([x, skips[level]]), filters * 2**level)
    x = keras.layers.Conv2D(1, 1, dtype=policy)(x)
    mask = keras.layers.Activation("sigmoid", dtype="float32", name="mask")(x)
    return keras.Model(image, {"mask": mask}, name="unet")


def count_macs(model: keras.Model) -> int:
    """Multiply-adds of convolutions and products of matrices, for one slice."""
    shape = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    function = tf.function(lambda image: model(image, training=False))
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    kinds = ["Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"]
    counted = builder(builder.float_operation()).with_accounted_types(kinds).with_empty_output()
    graph = function.get_concrete_function(shape).graph
    return tf.compat.v1.profiler.profile(graph, options=counted.build()).total_float_ops // 2


class KerasPeer:
    """A network in Keras while it is trained.

    Args:
        config: Network and training of a preset.
        size: Side of the input in pixels.
        stream: Batches as in training, for the statistics of averaged weights.
        common: Optimiser settings of the networks that are not ours, with which Buda's U-Net is
            trained in the place of the preset.
    """

    def __init__(
        self,
        config: RunConfig,
        size: int,
        stream: tf.data.Dataset,
        common: dict[str, float] | None = None,
    ):
        precision = resolve_precision("auto")
        # The course of the learning rate follows the clock: `step` sets it.
        changes: dict[str, Any] = {"schedule": "constant"}
        if common is None:
            self.model, self.scored = (
                build_model(config.model, size, one) for one in (precision, "float32")
            )
            options = config.training.model_copy(update=changes)
        else:
            self.model, self.scored = unet(size, precision), unet(size, "float32")
            options = TrainingConfig(**changes, **common, loss="cross_entropy_dice")
        for model in (self.model, self.scored):
            compile_model(model, options, steps=1)
        make_variables(self.model)
        self.rate = options.learning_rate
        self.averaged = options.ema > 0
        self.parameters = sum(int(np.prod(w.shape)) for w in self.model.trainable_weights)
        self.macs = count_macs(self.scored)
        self.settings = precision
        self.stream = stream.take(CALIBRATION).map(lambda image, _: image)

    def step(self, image: tf.Tensor, mask: tf.Tensor, factor: float) -> None:
        """Trains on one batch with a share of the highest learning rate."""
        self.model.optimizer.learning_rate = self.rate * factor
        self.model.train_on_batch(image, dict.fromkeys(self.model.output_names, mask))

    def predictor(self) -> Predictor:
        """What predicts with the weights of now, averaged where the training averages them."""
        with tempfile.TemporaryDirectory() as folder:
            nothing = {"subject": {"mean_dice": 0.0}, "pooled": {"iou": 0.0, "bce": 0.0}}
            average = ScoreValidation(
                *(self.scored, lambda: nothing, folder, f"{folder}/model.keras"),
                calibration=self.stream if self.averaged else (),
            )
            average.set_model(self.model)
            average.on_epoch_end(0, {"loss": 0.0})
        return Predictor([self.scored])

    def infer(self, images: np.ndarray) -> None:
        """The network alone, in float32."""
        self.scored.predict_on_batch(images)
