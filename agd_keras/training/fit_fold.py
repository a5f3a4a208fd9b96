"""Trains one network on the training patients of one fold."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agd_keras.config import ModelConfig, RunConfig, TrainingConfig
from agd_keras.data.cache import Cache
from agd_keras.data.dataset import make_dataset
from agd_keras.data.formats import read_mask
from agd_keras.data.slices import Slice
from agd_keras.evaluation.evaluate import by_patient
from agd_keras.evaluation.subjects import score_patient, summarize
from agd_keras.inference.predictor import Predictor
from agd_keras.losses import EdgeCrossEntropy, make_loss
from agd_keras.metrics import Dice
from agd_keras.models import agd_autoencoder
from agd_keras.training.callbacks import LogEpochs, SaveState, ScoreValidation
from agd_keras.training.strategy import resolve_precision, set_seed

# Batches from which the averaged weights get their statistics: with a momentum of 0.9 the older
# ones weigh an eighth.
CALIBRATION = 20


def fit_fold(
    config: RunConfig,
    cache: Cache,
    train: Sequence[Slice],
    validation: Sequence[Slice],
    folder: str | Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Path:
    """Trains one network and keeps the weights of the best epoch on the validation slices.

    If the folder holds the state of an earlier call with the same config, training goes on from
    its last full epoch.

    Args:
        config: Options of the run.
        cache: The prepared data, see `build_cache`.
        train: Slices to train on.
        validation: Slices to pick the best epoch by.
        folder: Where `model.keras`, `history.csv`, `logs/` and `resume/` go.
        callbacks: Further Keras callbacks.

    Returns:
        The path of `model.keras`: the float32 network, compiled, with the best weights.

    Raises:
        InputError: The training diverged.
    """
    options = config.training
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    set_seed(options.seed, options.deterministic)
    steps = max(1, len(train) // options.batch_size)

    precision = resolve_precision(options.precision)
    model = build_model(config.model, config.data.image_size, precision)
    compile_model(model, options, steps)
    make_variables(model)
    scored = build_model(config.model, config.data.image_size, "float32")
    compile_model(scored, options, steps)

    def stream(start: int):
        data = make_dataset(
            cache,
            train,
            options.batch_size,
            augment=config.data.augment,
            seed=options.seed,
            training=True,
            tumor_sampling=config.data.tumor_sampling,
            start=start,
        )
        # Without the edge detector there is no output that its target could go to.
        return data.map(lambda image, masks: (image, {k: masks[k] for k in model.output_names}))

    calibration = stream(0).take(CALIBRATION).map(lambda image, _: image) if options.ema else ()
    predictor = Predictor([scored])
    scorer = ScoreValidation(
        scored,
        lambda: score_cached(predictor, cache, validation),
        folder / "model.keras",
        options.monitor,
        calibration,
    )
    keep: dict[keras.callbacks.Callback, tuple[str, ...]] = {scorer: ("best",)}
    mode = {"dice": "max", "bce": "min"}[options.monitor]
    monitor = {"monitor": f"val_{options.monitor}", "mode": mode}
    adaptive: list[keras.callbacks.Callback] = []
    if options.schedule == "plateau":
        adaptive.append(keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=5, **monitor))
        keep[adaptive[-1]] = ("best", "wait", "cooldown_counter")
    if options.patience:
        adaptive.append(keras.callbacks.EarlyStopping(patience=options.patience, **monitor))
        keep[adaptive[-1]] = ("best", "wait", "stopped_epoch")

    state = SaveState(folder / "resume", folder / "history.csv", keep, [model, scored])
    state.restore(model)
    done = len(state.rows)
    if done >= options.epochs or state.stopped_early(options.patience):
        return scorer.path
    model.fit(
        stream(done * steps),
        initial_epoch=done,
        epochs=options.epochs,
        steps_per_epoch=steps,
        verbose=1 if sys.stdout.isatty() else 0,  # a bar for each epoch, with its time left
        callbacks=[
            scorer,  # first: the others read its figures
            *adaptive,
            state,
            keras.callbacks.TensorBoard(folder / "logs", write_graph=False),
            keras.callbacks.TerminateOnNaN(),
            LogEpochs(options.epochs),
            *callbacks,
        ],
    )
    return scorer.path


def make_variables(model: keras.Model) -> None:
    """Makes the variables of a compiled model's optimiser, losses and metrics.

    Otherwise the first step makes them, and TensorFlow traces it a second time without: seconds.

    Args:
        model: A compiled model made by `agd_autoencoder`.
    """
    model.optimizer.build(model.trainable_variables)
    height, width = model.input_shape[1:3]
    masks = {name: np.zeros((1, height, width, 1), "float32") for name in model.output_names}
    model.compute_loss(y=masks, y_pred=masks)
    model.compute_metrics(None, masks, masks)
    model.reset_metrics()


def score_cached(predictor: Predictor, cache: Cache, slices: Sequence[Slice]) -> dict[str, Any]:
    """Scores slices by the one measure, from what the cache holds of them.

    Nothing is decoded or normalised again at each epoch, and in a record-wise split the slices keep
    the normalisation over their whole patient.

    Args:
        predictor: What predicts.
        cache: The prepared data.
        slices: Slices to score, of whole patients or not.

    Returns:
        The groups of `summarize`; surface distances, which take long, are None.
    """
    subjects = {}
    for patient, stack in by_patient(slices).items():
        prepared = np.stack([cache.read(one)[0] for one in stack])
        truth = np.stack([read_mask(one.mask) for one in stack if one.mask])
        probability = predictor.predict_prepared(prepared, truth.shape[1:])
        subjects[patient] = score_patient(truth, probability, surface=False)
    return summarize(subjects)


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


def compile_model(model: keras.Model, options: TrainingConfig, steps: int) -> None:
    """Compiles a network with the loss and the optimiser of a config.

    Args:
        model: A model made by `agd_autoencoder`.
        options: Options of the training.
        steps: Steps in an epoch, for the course of the learning rate.
    """
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
        optimizer = keras.optimizers.AdamW(weight_decay=options.weight_decay, **common)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(**common)
    loss, weights = {"mask": make_loss(options.loss)}, {"mask": 1.0}
    if "edge" in model.output_names:
        loss["edge"], weights["edge"] = EdgeCrossEntropy(), options.edge_weight
    model.compile(optimizer, loss, loss_weights=weights, metrics={"mask": [Dice()]})
