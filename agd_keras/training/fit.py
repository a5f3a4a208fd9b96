"""Trains one network on the training patients of one fold."""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agd_keras.config import RunConfig
from agd_keras.data.cache import Cache
from agd_keras.data.dataset import make_dataset, naming_files
from agd_keras.data.slices import Slice, by_case
from agd_keras.errors import InputError
from agd_keras.evaluation.patients import score_regions
from agd_keras.evaluation.summary import summarize
from agd_keras.inference.calibration import Calibration
from agd_keras.inference.predictor import Predictor
from agd_keras.regions import names_of
from agd_keras.training.build import compile_model, make_network, make_variables
from agd_keras.training.callbacks import LogEpochs, ScoreValidation
from agd_keras.training.checkpoint import STATE, SaveState
from agd_keras.training.devices import open_devices, set_seed
from agd_keras.training.interrupt import noticed
from agd_keras.training.precision import resolve_precision
from agd_keras.training.warm_start import copy_weights, freeze, layers_anew, load_start

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
    its last full epoch, or from the step at which it was asked to stop.

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
        InputError: The training diverged, or its state cannot be saved.
        Interrupted: Ctrl-C or SIGTERM asked for a stop; the state is saved.
    """
    options = config.training
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    set_seed(options.seed, options.deterministic)
    steps = max(1, len(train) // options.batch_size)
    devices = open_devices(options.strategy)
    if options.batch_size % devices.replicas:
        raise InputError(
            f"training.batch_size {options.batch_size}: expected a multiple of the "
            f"{devices.replicas} devices"
        )

    precision = resolve_precision(options.precision)
    names = names_of(cache.regions)
    regions = max(1, len(names))
    # What was trained already holds the weights that it was started from.
    begun = (folder / "resume" / STATE).is_file()
    start = load_start(options.init) if options.init and not begun else None
    channels = config.data.channels
    with devices.scope():
        # Stages of several sizes share one network of any size.
        side = None if options.sizes else config.data.image_size
        counts = len(channels), regions
        model, heads = make_network(config.model, side, precision, *counts)
        if start:
            anew = layers_anew(options.init, cache.regions)
            copy_weights(model, start[0], options.init, channels, start[1], anew)
        freeze(model, options.freeze)
        compile_model(model, options, steps, devices, heads)
        make_variables(model, devices, heads)
    scored, own_heads = make_network(config.model, config.data.image_size, "float32", *counts)
    freeze(scored, options.freeze)  # its statistics are measured anew, but for these
    compile_model(scored, options, steps, heads=own_heads)

    @functools.cache  # what is traced for seconds, the calibration shares
    def stream(start: int, size: int = config.data.image_size):
        data = make_dataset(
            cache,
            train,
            options.batch_size,
            augment=config.data.augment,
            seed=options.seed,
            training=True,
            tumor_sampling=config.data.tumor_sampling,
            start=start,
            size=size,
        )
        return data.map(
            lambda image, masks: (image, {k: one.target(masks["mask"]) for k, one in heads.items()})
        )

    def part(start: int, size: int):
        share = options.batch_size // devices.processes
        own = slice(devices.process * share, (devices.process + 1) * share)
        return stream(start, size).map(
            lambda image, masks: (image[own], {k: mask[own] for k, mask in masks.items()})
        )

    def calibration():
        return stream(0).take(CALIBRATION).map(lambda image, _: image) if options.ema else ()

    reading = Calibration(regions=cache.regions)
    predictor = Predictor([scored], calibration=reading, preprocessor=cache.preprocessor)
    stages = stages_of(config)
    scorer = ScoreValidation(
        scored,
        lambda: score_cached(predictor, cache, validation),
        folder / "resume",
        folder / "model.keras",
        options.monitor,
        calibration,
        devices,
        first=stages[-1][0],
        regions=names,
    )
    keep: dict[keras.callbacks.Callback, tuple[str, ...]] = {scorer: ("best", "best_epoch")}
    mode = {"dice": "max", "bce": "min"}[options.monitor]
    monitor = {"monitor": f"val_{options.monitor}", "mode": mode}
    adaptive: list[keras.callbacks.Callback] = []
    if options.schedule == "plateau":
        adaptive.append(keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=5, **monitor))
        keep[adaptive[-1]] = ("best", "wait", "cooldown_counter")
    if options.patience:
        adaptive.append(keras.callbacks.EarlyStopping(patience=options.patience, **monitor))
        keep[adaptive[-1]] = ("best", "wait", "stopped_epoch")

    log = LogEpochs(options.epochs)
    with noticed() as notice:
        state = SaveState(
            *(folder / "resume", folder / "history.csv", keep, [model, scored], notice),
            on_saved=scorer.publish,
        )
        state.restore(model)
        ended = state.stopped_early(options.patience)
        while len(state.rows) < options.epochs and not ended:
            done, step = len(state.rows), state.step
            end, size = next((end, size) for _, end, size in stages if done < end)
            # Traced anew for each size, which a function that saw two would take for any size.
            model.train_function = None
            with devices.fitting(), naming_files():
                model.fit(
                    part(done * steps + step, size),
                    initial_epoch=done,
                    # What is left of an epoch that was stopped in its middle, then all others.
                    epochs=done + 1 if step else end,
                    steps_per_epoch=steps - step,
                    verbose=1 if sys.stdout.isatty() else 0,  # a bar for each epoch
                    callbacks=[
                        scorer,  # first: the others read its figures
                        *adaptive,
                        state,
                        keras.callbacks.TerminateOnNaN(),
                        keras.callbacks.TensorBoard(folder / "logs", write_graph=False),
                        log,
                        *callbacks,
                    ],
                )
            ended = model.stop_training
            notice.obey()
            state.restore(model)  # `fit` ends by averaging the weights
    return scorer.path


def stages_of(config: RunConfig) -> list[tuple[int, int, int]]:
    """Shares out the epochs among the sizes that a network is trained on, one after the other.

    Args:
        config: Options of the run.

    Returns:
        First epoch, the one after the last, and side of the input in pixels, of each stage.

    Example:

    >>> from agd_keras.config import make_config
    >>> stages_of(make_config({"training": {"epochs": 10, "sizes": [64, 96]}}))
    [(0, 3, 64), (3, 7, 96), (7, 10, 128)]
    """
    sides = (*config.training.sizes, config.data.image_size)
    ends = [round(config.training.epochs * (n + 1) / len(sides)) for n in range(len(sides))]
    return list(zip([0, *ends[:-1]], ends, sides, strict=True))


def score_cached(predictor: Predictor, cache: Cache, slices: Sequence[Slice]) -> dict[str, Any]:
    """Scores slices by the one measure, from what the cache holds of them.

    Nothing is decoded or normalised again at each epoch, and in a split by slice the slices keep
    the normalisation over their whole patient.

    Args:
        predictor: What predicts.
        cache: The prepared data.
        slices: Slices to score, of whole patients or not.

    Returns:
        The groups of `summarize`; surface distances, which take long, are None.
    """
    subjects = {}
    names = names_of(cache.regions)
    for case, own in by_case(slices).items():
        entry = cache.cases[case]
        (top, left), (height, width) = entry["corner"], entry["shape"]
        prepared = np.stack([cache.read(one)[0] for one in own])
        seen = predictor.predict_prepared(prepared, tuple(entry["view"]))
        probability = seen[:, top : top + height, left : left + width]
        truth = cache.read_mask(case)[[one.place for one in own]]
        subjects[case] = score_regions(truth, probability, names, surface=False)
    return summarize(subjects)
