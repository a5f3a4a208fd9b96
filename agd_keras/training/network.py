"""The network of a config, compiled with its loss and optimiser."""

import keras
import numpy as np

from agd_keras.config import ModelConfig, TrainingConfig
from agd_keras.losses import EdgeCrossEntropy, make_loss
from agd_keras.metrics import Dice
from agd_keras.models import agd_autoencoder
from agd_keras.optimizers import AdamW
from agd_keras.training.strategy import (
    Devices,
    fuse_normalization,
    over_replicas,
    synchronize,
)


def build_model(model: ModelConfig, image_size: int, precision: str = "float32") -> keras.Model:
    """Builds the network of a config under a precision policy.

    Args:
        model: The arguments of `agd_autoencoder`.
        image_size: Side of the input in pixels.
        precision: Name of a Keras dtype policy.

    Returns:
        The `keras.Model`, not compiled.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return agd_autoencoder((image_size, image_size, 3), **model.model_dump())
    finally:
        keras.config.set_dtype_policy(policy)


def compile_model(
    model: keras.Model, options: TrainingConfig, steps: int, devices: Devices | None = None
) -> None:
    """Compiles a network with the loss and the optimiser of a config.

    Args:
        model: A model made by `agd_autoencoder`, in the scope of the devices.
        options: Options of the training.
        steps: Steps in an epoch, for the course of the learning rate.
        devices: Where it is trained. Default: on one device.
    """
    devices = devices or Devices()
    # JAX sees a batch as a whole, wherever its parts are; TensorFlow's replicas see their part.
    replicated = devices.replicas > 1 and keras.backend.backend() == "tensorflow"
    if replicated:
        synchronize(model)
    else:
        fuse_normalization(model)
    rate: float | keras.optimizers.schedules.LearningRateSchedule = options.learning_rate
    if options.schedule == "cosine":
        warmup = min(round(options.warmup_epochs * steps), options.epochs * steps - 1)
        rate = keras.optimizers.schedules.CosineDecay(
            options.learning_rate / 20,
            options.epochs * steps - warmup,
            alpha=0.01,
            warmup_target=options.learning_rate,
            warmup_steps=warmup,
        )
    common = {
        "learning_rate": rate,
        "global_clipnorm": options.clip_norm or None,
        "use_ema": options.ema > 0,
        "ema_momentum": options.ema or 0.99,
    }
    if options.optimizer == "adamw":
        kind = over_replicas(AdamW, devices.replicas)
        optimizer = kind(weight_decay=options.weight_decay, **common)
    else:
        optimizer = over_replicas(keras.optimizers.Adam, devices.replicas)(**common)
    loss, weights = {"mask": make_loss(options.loss, devices.add_up)}, {"mask": 1.0}
    if "edge" in model.output_names:
        loss["edge"], weights["edge"] = EdgeCrossEntropy(), options.edge_weight
    model.compile(
        optimizer,
        loss,
        loss_weights=weights,
        metrics={"mask": [Dice()]},
        jit_compile=False if replicated else "auto",  # collectives do not go through XLA
    )


def make_variables(model: keras.Model, devices: Devices | None = None) -> None:
    """Makes the variables of a compiled model's optimiser, losses and metrics.

    Otherwise the first step makes them, and TensorFlow traces it a second time without: seconds.

    Args:
        model: A compiled model made by `agd_autoencoder`.
        devices: Where it is trained. Default: on one device.
    """
    model.optimizer.build(model.trainable_variables)
    height, width = model.input_shape[1:3]
    masks = {name: np.zeros((1, height, width, 1), "float32") for name in model.output_names}

    def first() -> None:
        model.compute_loss(y=masks, y_pred=masks)
        model.compute_metrics(None, masks, masks)

    (devices or Devices()).run(first)
    model.reset_metrics()
