"""Networks in Keras that are compared: the presets of this package and Buda's U-Net."""

import tempfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from agd_keras.config import RunConfig, make_config
from agd_keras.data.cache import Cache
from agd_keras.data.dataset import make_dataset
from agd_keras.data.slices import Slice
from agd_keras.inference.predictor import Predictor
from agd_keras.training.build import build_model, compile_model
from agd_keras.training.callbacks import ScoreValidation
from agd_keras.training.fit import CALIBRATION, fit_fold
from agd_keras.training.precision import resolve_precision
from agd_keras.values import merge


def buda_unet(image_shape: tuple[int, int, int], filters: int = 32) -> keras.Model:
    """The U-Net of Buda et al.: four levels of two convolutions, each with batch normalisation.

    It is built under the policy of the moment, for `agd-train --model-fn peers_keras:buda_unet`.

    Args:
        image_shape: Height, width and channels of the input, sides a multiple of 16.
        filters: Channels of the first level, which double from level to level.

    Returns:
        The model: input `image` and output `mask` as those of `agd_autoencoder`.

    Reference:

    - [Buda et al., 2019](https://doi.org/10.1016/j.compbiomed.2019.05.002), as published in
      [mateuszbuda/brain-segmentation-pytorch](https://github.com/mateuszbuda/brain-segmentation-pytorch).
    """

    def block(x: Any, channels: int) -> Any:
        for _ in range(2):
            x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
            # PyTorch's default momentum, which it writes as 0.1.
            x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
            x = keras.layers.ReLU()(x)
        return x

    image = x = keras.Input(image_shape, name="image")
    skips = []
    for level in range(4):
        skips.append(block(x, filters * 2**level))
        x = keras.layers.MaxPooling2D(2)(skips[-1])
    x = block(x, filters * 16)
    for level in reversed(range(4)):
        x = keras.layers.Conv2DTranspose(filters * 2**level, 2, strides=2)(x)
        x = block(keras.layers.Concatenate()([x, skips[level]]), filters * 2**level)
    x = keras.layers.Conv2D(1, 1)(x)
    mask = keras.layers.Activation("sigmoid", dtype="float32", name="mask")(x)
    return keras.Model(image, {"mask": mask}, name="buda_unet")


def count_macs(model: keras.Model) -> int:
    """Multiply-adds of convolutions and products of matrices, for one slice."""
    shape = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    function = tf.function(lambda image: model(image, training=False))
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    kinds = ["Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"]
    counted = builder(builder.float_operation()).with_accounted_types(kinds).with_empty_output()
    graph = function.get_concrete_function(shape).graph
    return tf.compat.v1.profiler.profile(graph, options=counted.build()).total_float_ops // 2


class ByTheClock(keras.callbacks.Callback):
    """Lets the learning rate follow a clock, and ends the training when its minutes are over.

    Args:
        clock: The `Clock` of the training.
        rate: Highest learning rate.
    """

    def __init__(self, clock: Any, rate: float):
        super().__init__()
        self.clock = clock
        self.rate = rate

    def on_train_batch_begin(self, batch, logs=None):
        self.clock.start()
        self.model.optimizer.learning_rate = self.rate * self.clock.factor

    def on_train_batch_end(self, batch, logs=None):
        self.clock.stop()
        self.model.stop_training = self.clock.over


class KerasPeer:
    """A network in Keras, trained as `agd-train` trains it.

    Args:
        config: Options of the run: the preset, or another network trained with other settings.
        cache: The prepared data.
        train: Slices to train on.
        validation: Slices to validate on.
    """

    def __init__(
        self, config: RunConfig, cache: Cache, train: Sequence[Slice], validation: Sequence[Slice]
    ):
        self.settings = resolve_precision("auto")
        # As long as the clock runs, and at the rate that it says.
        course = {"schedule": "constant", "epochs": 10**6, "precision": self.settings}
        self.config = make_config(merge(config.model_dump(), {"training": course}))
        self.cache, self.sides = cache, (train, validation)
        self.scored = build_model(config.model, cache.image_size, "float32")
        compile_model(self.scored, self.config.training, steps=1)
        self.parameters = sum(int(np.prod(w.shape)) for w in self.scored.trainable_weights)
        self.macs = count_macs(self.scored)

    def train(self, clock: Any) -> None:
        """Trains until the clock's minutes are over."""
        self.course = ByTheClock(clock, self.config.training.learning_rate)
        with tempfile.TemporaryDirectory() as folder:
            fit_fold(self.config, self.cache, *self.sides, folder, [self.course])

    def predictor(self) -> Predictor:
        """What predicts with the weights of now, averaged where the training averages them."""
        options = self.config.training
        calibration: Any = ()
        if options.ema:
            data = self.config.data
            stream = make_dataset(
                *(self.cache, self.sides[0], options.batch_size, data.augment, options.seed),
                training=True,
                tumor_sampling=data.tumor_sampling,
            )
            calibration = stream.take(CALIBRATION).map(lambda image, _: image)
        with tempfile.TemporaryDirectory() as folder:
            nothing = {"subject": {"mean_dice": 0.0}, "pooled": {"iou": 0.0, "bce": 0.0}}
            average = ScoreValidation(
                *(self.scored, lambda: nothing, folder, f"{folder}/model.keras"),
                calibration=lambda: calibration,
            )
            average.set_model(self.course.model)
            average.on_epoch_end(0, {"loss": 0.0})
        return Predictor([self.scored])

    def infer(self, images: np.ndarray) -> None:
        """The network alone, in float32."""
        self.scored.predict_on_batch(images)
