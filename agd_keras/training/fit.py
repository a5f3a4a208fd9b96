"""Trains one network on the training patients of one fold."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agd_keras.config import RunConfig, TrainingConfig
from agd_keras.data.cache import Cache
from agd_keras.data.dataset import make_dataset, naming_files
from agd_keras.data.slices import Slice, by_case
from agd_keras.errors import InputError
from agd_keras.evaluation.patients import score_regions
from agd_keras.evaluation.summary import summarize
from agd_keras.inference.calibration import Calibration
from agd_keras.inference.predictor import Predictor
from agd_keras.models.registry import Head
from agd_keras.regions import Regions, names_of
from agd_keras.run_layout import HISTORY, MODEL
from agd_keras.training.build import compile_model, make_network, make_variables
from agd_keras.training.callbacks import LogEpochs, ScoreValidation
from agd_keras.training.checkpoint import STATE, SaveState
from agd_keras.training.devices import Devices, open_devices, set_seed
from agd_keras.training.interrupt import noticed
from agd_keras.training.precision import resolve_precision
from agd_keras.training.warm_start import copy_weights, freeze, layers_anew, load_start

# Batches from which the averaged weights get their statistics: with a momentum of 0.9 the older
# ones weigh an eighth.
CALIBRATION = 20
RESUME = "resume"  # folder of the state


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

    # What was trained already holds the weights that it was started from.
    begun = (folder / RESUME / STATE).is_file()
    model, heads = _make_trained(config, cache.regions, steps, devices, begun)
    scored = _make_scored(config, cache.regions, steps)
    # They are traced for seconds, which the scorer shares.
    batches = functools.cache(functools.partial(_make_batches, config, cache, train, heads))
    scorer = _make_scorer(config, cache, scored, validation, folder, batches, devices)
    adaptive = _make_adaptive(options)
    keep = {scorer: ("best", "best_epoch"), **adaptive}
    log = LogEpochs(options.epochs)
    with noticed() as notice:
        state = SaveState(
            *(folder / RESUME, folder / HISTORY, keep, [model, scored], notice),
            on_saved=scorer.publish,
        )
        state.restore(model)
        ended = state.stopped_early(options.patience)
        while len(state.rows) < options.epochs and not ended:
            every = [
                scorer,  # first: the others read its figures
                *adaptive,
                state,
                keras.callbacks.TerminateOnNaN(),
                keras.callbacks.TensorBoard(folder / "logs", write_graph=False),
                log,
                *callbacks,
            ]
            _fit_stage(model, config, batches, steps, devices, state, every)
            ended = model.stop_training
            notice.obey()
            state.restore(model)  # `fit` ends by averaging the weights
    return scorer.path


def _make_trained(
    config: RunConfig, regions: Regions, steps: int, devices: Devices, begun: bool
) -> tuple[keras.Model, Mapping[str, Head]]:
    """The network that is trained, compiled, and its heads; of its start's weights if not begun."""
    options, channels = config.training, config.data.channels
    precision = resolve_precision(options.precision)
    start = load_start(options.init) if options.init and not begun else None
    with devices.scope():
        # Stages of several sizes share one network of any size.
        side = None if options.sizes else config.data.image_size
        counts = len(channels), len(regions) or 1
        model, heads = make_network(config.model, side, precision, *counts)
        if start:
            anew = layers_anew(options.init, regions)
            copy_weights(model, start[0], options.init, channels, start[1], anew)
        freeze(model, options.freeze)
        compile_model(model, options, steps, devices, heads)
        make_variables(model, devices, heads)
    return model, heads


def _make_scored(config: RunConfig, regions: Regions, steps: int) -> keras.Model:
    """The network that is scored and kept: of one size, in float32."""
    counts = len(config.data.channels), len(regions) or 1
    scored, heads = make_network(config.model, config.data.image_size, "float32", *counts)
    freeze(scored, config.training.freeze)  # its statistics are measured anew, but for these
    compile_model(scored, config.training, steps, heads=heads)
    return scored


def _make_batches(
    config: RunConfig,
    cache: Cache,
    train: Sequence[Slice],
    heads: Mapping[str, Head],
    start: int,
    size: int,
) -> Any:
    """The training batches of a size from a step on, without end, with a target for each head."""
    data = make_dataset(
        cache,
        train,
        config.training.batch_size,
        augment=config.data.augment,
        seed=config.training.seed,
        training=True,
        tumor_sampling=config.data.tumor_sampling,
        start=start,
        size=size,
    )
    return data.map(
        lambda image, masks: (image, {k: one.target(masks["mask"]) for k, one in heads.items()})
    )


def _make_scorer(
    config: RunConfig,
    cache: Cache,
    scored: keras.Model,
    validation: Sequence[Slice],
    folder: Path,
    batches: Callable[..., Any],
    devices: Devices,
) -> ScoreValidation:
    """What scores the validation slices after each epoch and keeps the best network."""
    options = config.training

    def read_images() -> Any:
        if not options.ema:
            return ()
        return batches(0, config.data.image_size).take(CALIBRATION).map(lambda image, _: image)

    reading = Calibration(regions=cache.regions)
    predictor = Predictor([scored], calibration=reading, preprocessor=cache.preprocessor)
    return ScoreValidation(
        scored,
        lambda: score_cached(predictor, cache, validation),
        folder / RESUME,
        folder / MODEL,
        options.monitor,
        read_images,
        devices,
        first=stages_of(config)[-1][0],
        regions=names_of(cache.regions),
    )


def _make_adaptive(options: TrainingConfig) -> dict[keras.callbacks.Callback, tuple[str, ...]]:
    """What adapts the training to the validation, each with what of it belongs to its state."""
    mode = {"dice": "max", "bce": "min"}[options.monitor]
    monitor = {"monitor": f"val_{options.monitor}", "mode": mode}
    adaptive: dict[keras.callbacks.Callback, tuple[str, ...]] = {}
    if options.schedule == "plateau":
        plateau = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=5, **monitor)
        adaptive[plateau] = ("best", "wait", "cooldown_counter")
    if options.patience:
        stopping = keras.callbacks.EarlyStopping(patience=options.patience, **monitor)
        adaptive[stopping] = ("best", "wait", "stopped_epoch")
    return adaptive


def _fit_stage(
    model: keras.Model,
    config: RunConfig,
    batches: Callable[..., Any],
    steps: int,
    devices: Devices,
    state: SaveState,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains to the end of a stage, or of an epoch that was stopped in its middle."""
    done, step = len(state.rows), state.step
    end, size = next((end, size) for _, end, size in stages_of(config) if done < end)
    share = config.training.batch_size // devices.processes
    own = slice(devices.process * share, (devices.process + 1) * share)
    # Traced anew for each size, which a function that saw two would take for any size.
    model.train_function = None
    with devices.fitting(), naming_files():
        model.fit(
            batches(done * steps + step, size).map(
                lambda image, masks: (image[own], {k: mask[own] for k, mask in masks.items()})
            ),
            initial_epoch=done,
            # What is left of an epoch that was stopped in its middle, then all others.
            epochs=done + 1 if step else end,
            steps_per_epoch=steps - step,
            verbose=1 if sys.stdout.isatty() else 0,  # a bar for each epoch
            callbacks=callbacks,
        )


def stages_of(config: RunConfig) -> list[tuple[int, int, int]]:
    """Shares out the epochs among the sizes that a network is trained on, one after the other.

    The last stage, which is the only one that is validated, has an epoch at least: where there are
    fewer epochs than stages, some of the others have none.

    Args:
        config: Options of the run.

    Returns:
        First epoch, the one after the last, and side of the input in pixels, of each stage.

    Example:

    >>> from agd_keras.config import make_config
    >>> stages_of(make_config({"training": {"epochs": 10, "sizes": [64, 96]}}))
    [(0, 3, 64), (3, 7, 96), (7, 10, 128)]
    """
    full, epochs = config.data.image_size, config.training.epochs
    sides = [*(min(side, full) for side in config.training.sizes), full]
    ends = [round(epochs * (n + 1) / len(sides)) for n in range(len(sides))]
    ends = [*(min(end, epochs - 1) for end in ends[:-1]), epochs]
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
