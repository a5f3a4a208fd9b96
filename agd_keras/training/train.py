"""A whole run: data, split, training, test, report, in one folder."""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agd_keras.config import RunConfig, differences, load_config, make_config, save_config
from agd_keras.data.cache import Cache, build_cache
from agd_keras.data.datasets import find_data
from agd_keras.data.folds import Fold, load_folds, make_folds, save_folds, select
from agd_keras.data.slices import Slice
from agd_keras.errors import InputError
from agd_keras.files import write_text

logger = logging.getLogger(__name__)

# What a run folder may hold: nothing that --overwrite could be sorry for.
RUN_ENTRY = re.compile(
    r"config\.yaml|folds\.json|environment\.json|MODEL_CARD\.md|metrics\.json|sums\.json"
    r"|report\.html|figures|fold-\d+"
)


def train(
    config: RunConfig,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Trains on one split, scores the test patients and writes the run folder.

    Args:
        config: Options of the run.
        out: The run folder, made here.
        resume: Go on with the run of that folder, which must have the same config.
        overwrite: Replace the run of that folder.
        progress: Called as `progress(done, total)`, in slices, while data is prepared.

    Returns:
        The metrics of the test patients, as in `metrics.json`.

    Raises:
        InputError: The data, the config or the folder cannot be used.

    Example:

    >>> from agd_keras.config import make_config
    >>> metrics = train(make_config({}), "runs/first")  # doctest: +SKIP
    """
    out = Path(out).resolve()
    config = resolve(config)
    check_folder(out, config, resume, overwrite)
    slices = find_data(config.data.path)
    cache = build_cache(slices, config.data.image_size, progress=progress)
    data = config.data
    try:
        folds = make_folds(
            *(slices, cache.areas, data.folds, data.split, config.training.seed),
            *(data.portions, data.validation_portions),
        )
    except InputError as error:
        raise InputError(f"{data.path}: {error}") from None
    open_run(out, config, folds, resume, overwrite)
    return train_fold(config, cache, slices, folds[0], out)


def train_fold(
    config: RunConfig, cache: Cache, slices: list[Slice], fold: Fold, out: Path
) -> dict[str, Any]:
    """Trains and tests one fold of an opened run, and reports it.

    Args:
        config: Options of the run.
        cache: The prepared data.
        slices: All slices of the data.
        fold: The units of each part.
        out: The run folder.

    Returns:
        The metrics of the fold's test patients.
    """
    # Here, and not above, so that importing this module needs no Keras.
    from agd_keras.evaluation.report import write_model_card
    from agd_keras.inference.assess import assess
    from agd_keras.inference.predictor import load_predictor
    from agd_keras.training.fit_fold import fit_fold

    parts = {
        part: select(slices, getattr(fold, part), config.data.split)
        for part in ("train", "validation", "test")
    }
    logger.info(
        "fold %d: %s",
        fold.index,
        ", ".join(
            f"{len({one.patient for one in part})} patients ({len(part)} slices) for {name}"
            for name, part in parts.items()
        ),
    )
    record_environment(out / "environment.json", config, cache.data_fingerprint)

    folder = out / f"fold-{fold.index}"
    model = fit_fold(config, cache, parts["train"], parts["validation"], folder)
    protocol = {
        "split": config.data.split,
        "folds": f"fold {fold.index + 1} of {config.data.folds}: "
        + ", ".join(f"{len(getattr(fold, part))} {part}" for part in parts),
        "augmentation": config.data.augment,
        "seed": config.training.seed,
        "model": config.preset,
        "data_fingerprint": cache.data_fingerprint,
    }
    logger.info("scoring the test patients")
    predictor = load_predictor(model)
    metrics = assess(
        predictor,
        parts["test"],
        folder,
        protocol,
        title=f"{config.preset} on {config.data.path}, fold {fold.index}",
        history=folder / "history.csv",
        among=slices,
    )
    write_model_card(
        out / "MODEL_CARD.md",
        metrics,
        model=f"{config.preset}, {config.data.image_size}×{config.data.image_size} pixels",
        data=f"{config.data.path}: {len({one.patient for one in parts['train']})} patients.",
        data_license="that of the images; CC BY-NC-SA 4.0 for LGG (kaggle_3m)",
        parameters=predictor.models[0].count_params(),
    )
    return metrics


def resolve(config: RunConfig) -> RunConfig:
    """Returns the config with the path and the precision that it means here and now."""
    from agd_keras.training.strategy import resolve_precision

    data, training = config.data, config.training
    path = data.path if data.path == "phantom" else str(Path(data.path).resolve())
    precision = resolve_precision(training.precision)
    return config.model_copy(
        update={
            "data": data.model_copy(update={"path": path}),
            "training": training.model_copy(update={"precision": precision}),
        }
    )


def check_folder(out: Path, config: RunConfig, resume: bool, overwrite: bool) -> None:
    """Refuses a run folder that must not be touched, before any work is done.

    Args:
        out: The run folder.
        config: Resolved options of the run.
        resume: The folder must hold an earlier start of the same run.
        overwrite: The folder may hold a run, which will be replaced.

    Raises:
        InputError: The folder exists without either option, holds something else than a run, or
            holds a run of another config; or there is nothing to go on with.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        if resume:
            raise InputError(f"{out}: --resume expected a run folder, found nothing")
        return
    if not out.is_dir() or any(not RUN_ENTRY.fullmatch(entry.name) for entry in out.iterdir()):
        raise InputError(f"{out}: expected a new folder, found something else than a run")
    if resume:
        differing = differences(make_config(load_config(out / "config.yaml")), config)
        if differing:
            raise InputError(
                f"{out}: --resume expected the options it was started with, "
                f"not other {', '.join(differing)}"
            )
    elif not overwrite:
        raise InputError(f"{out}: expected a new folder, found a run; --resume or --overwrite")


def open_run(
    out: Path, config: RunConfig, folds: list[Fold], resume: bool, overwrite: bool
) -> None:
    """Makes the run folder with config and folds, or checks the folds of the one to go on with.

    Args:
        out: The run folder, which `check_folder` let pass.
        config: Resolved options of the run.
        folds: All folds of the run.
        resume: Keep what the folder holds.
        overwrite: Replace what the folder holds.

    Raises:
        InputError: The folder cannot be written, or holds a run of other data.
    """
    if resume:
        if load_folds(out / "folds.json") != folds:
            raise InputError(f"{out}: --resume expected the data it was started with")
        return
    # Made under another name, so that a folder of that name is always a whole run.
    made, old = (out.with_name(f"{out.name}.{what}-{os.getpid()}") for what in ("tmp", "old"))
    try:
        made.mkdir(parents=True)
        save_folds(folds, made / "folds.json", config.data.split, config.training.seed)
        save_config(config, made / "config.yaml")
        if overwrite and out.exists():
            out.rename(old)
        made.rename(out)  # fails if another run has begun in that folder meanwhile
    except OSError as error:
        raise InputError(f"{out}: cannot write the run folder: {error.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def record_environment(path: Path, config: RunConfig, fingerprint: str) -> None:
    """Adds what this start of the run runs on to `environment.json`, a list of starts."""
    from agd_keras.training.strategy import describe_environment

    starts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    seeds = {"seed": config.training.seed, "data_fingerprint": fingerprint}
    starts.append({"started": started, **describe_environment(config.training.precision), **seeds})
    write_text(path, json.dumps(starts, indent=2) + "\n")
