"""The network of a config, compiled with its loss and optimiser."""

import logging
from collections.abc import Mapping

import keras
import numpy as np

from agd_keras.config import ModelConfig, OwnModelConfig, RunConfig, TrainingConfig
from agd_keras.data.datasets import resolve_regions
from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS
from agd_keras.losses import EdgeCrossEntropy, make_loss
from agd_keras.metrics import Dice
from agd_keras.models.registry import Head, Network, build_network
from agd_keras.optimizers import AdamW
from agd_keras.text import clean
from agd_keras.training.batch_norm import fuse_normalization, synchronize
from agd_keras.training.devices import Devices, over_replicas
from agd_keras.training.warm_start import copy_weights, freeze, layers_anew, load_start

logger = logging.getLogger(__name__)

SIDE = 32  # of a batch that only makes variables, in pixels


def make_network(
    model: ModelConfig | OwnModelConfig,
    image_size: int | None,
    precision: str = "float32",
    channels: int = len(CHANNELS),
    regions: int = 1,
) -> Network:
    """Builds the network of a config under a precision policy.

    Args:
        model: A builder and its arguments.
        image_size: Side of the input in pixels, or None for any.
        precision: Name of a Keras dtype policy.
        channels: Number of channels of the input.
        regions: What is found, each by a channel of the mask.

    Returns:
        The `Network`: its model, not compiled, and what its outputs are trained on.

    Raises:
        InputError: There is no such builder, or what it makes cannot be trained.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        arguments = model.model_dump(exclude={"name"})
        shape = (image_size, image_size, channels)
        return build_network(model.name, arguments, shape, regions)
    finally:
        keras.config.set_dtype_policy(policy)


def build_model(
    model: ModelConfig | OwnModelConfig, image_size: int, precision: str = "float32"
) -> keras.Model:
    """Builds the model of a config alone; see `make_network`."""
    return make_network(model, image_size, precision).model


def compile_model(
    model: keras.Model,
    options: TrainingConfig,
    steps: int,
    devices: Devices | None = None,
    heads: Mapping[str, Head] | None = None,
) -> None:
    """Compiles a network with the loss and the optimiser of a config.

    Args:
        model: A model with the output `mask`, in the scope of the devices.
        options: Options of the training.
        steps: Steps in an epoch, for the course of the learning rate.
        devices: Where it is trained. Default: on one device.
        heads: What its outputs are trained on. Default: `mask` and `edge` as the options say.
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
    heads = heads or dict.fromkeys(model.output, Head())
    losses = {"mask": make_loss(options.loss, devices.add_up), "edge": EdgeCrossEntropy()}
    weights = {"edge": options.edge_weight}
    model.compile(
        optimizer,
        {name: head.loss or losses[name] for name, head in heads.items()},
        loss_weights={
            name: weights.get(name, 1.0) if head.weight is None else head.weight
            for name, head in heads.items()
        },
        metrics={"mask": [Dice(regions=model.output["mask"].shape[-1])]},
        jit_compile=False if replicated else "auto",  # collectives do not go through XLA
    )


def make_variables(
    model: keras.Model, devices: Devices | None = None, heads: Mapping[str, Head] | None = None
) -> None:
    """Makes the variables of a compiled model's optimiser, losses and metrics.

    Otherwise the first step makes them, and TensorFlow traces it a second time without: seconds.

    Args:
        model: A compiled model with the output `mask`.
        devices: Where it is trained. Default: on one device.
        heads: What its outputs are trained on, as for `compile_model`.
    """
    model.optimizer.build(model.trainable_variables)
    height, width = (side or SIDE for side in model.input_shape[1:3])
    mask = np.zeros((1, height, width, model.output["mask"].shape[-1]), "float32")
    heads = heads or dict.fromkeys(model.output, Head())
    truth = {name: head.target(mask) for name, head in heads.items()}
    answer = {
        name: np.zeros((1, *(side or SIDE for side in model.output[name].shape[1:])), "float32")
        for name in model.output
    }

    def first() -> None:
        model.compute_loss(y=truth, y_pred=answer)
        model.compute_metrics(None, truth, answer)

    (devices or Devices()).run(first)
    model.reset_metrics()


def check_network(config: RunConfig) -> None:
    """Tries once, before anything is written, what may not fit: a network of one's own, weights.

    Args:
        config: Options of a run.

    Raises:
        InputError: There is no such builder, what it makes cannot be trained, or another model's
            weights do not fit it.
    """
    options = config.training
    if options.freeze != "none" and not options.init:
        raise InputError(f"--freeze {options.freeze}: expected --init, a model that was trained")
    if isinstance(config.model, ModelConfig) and not options.init:
        return
    channels = config.data.channels
    regions = resolve_regions(config.data.path, config.data.regions)
    counts = len(channels), len(regions) or 1
    model, heads = make_network(config.model, config.data.image_size, "float32", *counts)
    if options.init:
        source, given = load_start(options.init)
        anew = layers_anew(options.init, regions)
        copy_weights(model, source, options.init, channels, given, anew)
        if anew:
            logger.info("--init %s: finds other regions, its head starts anew", options.init)
    freeze(model, options.freeze)
    if isinstance(config.model, ModelConfig):
        return
    compile_model(model, config.training, steps=1, heads=heads)
    try:
        make_variables(model, heads=heads)
    except Exception as error:  # whatever a user's loss or target raises
        reason = f"{type(error).__name__}: {clean(error, 300)}"
        raise InputError(
            f"{config.model.name}: its losses cannot be computed ({reason})"
        ) from error
