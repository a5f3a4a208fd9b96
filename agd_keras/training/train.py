"""A whole run: data, split, training, test, report, in one folder."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agd_keras.config import RunConfig, load_config, make_config, save_config
from agd_keras.data.cache import Cache, build_cache
from agd_keras.data.datasets import find_data
from agd_keras.data.folds import Fold, load_folds, make_folds, save_folds, select
from agd_keras.data.slices import Slice, data_fingerprint
from agd_keras.errors import InputError

logger = logging.getLogger(__name__)


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
    out = open_run(config, folds, out, resume, overwrite)
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
    # Here since they take seconds to import: bad data and options are told before.
    from agd_keras.evaluation.report import write_model_card
    from agd_keras.inference.assess import assess
    from agd_keras.inference.predictor import load_predictor
    from agd_keras.training.fit_fold import fit_fold
    from agd_keras.training.strategy import describe_environment, resolve_precision

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
    environment = describe_environment(resolve_precision(config.training.precision))
    fingerprint = data_fingerprint(slices)
    write_json({**environment, "data_fingerprint": fingerprint}, out / "environment.json")

    folder = out / f"fold-{fold.index}"
    model = fit_fold(config, cache, parts["train"], parts["validation"], folder)
    protocol = {
        "split": config.data.split,
        "folds": f"{fold.index} of {config.data.folds}",
        "augmentation": config.data.augment,
        "seed": config.training.seed,
        "model": config.preset,
        "data_fingerprint": fingerprint,
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


def open_run(
    config: RunConfig, folds: list[Fold], out: str | Path, resume: bool, overwrite: bool
) -> Path:
    """Makes the run folder with config and folds, or checks the one there to go on with.

    Args:
        config: Options of the run.
        folds: All folds of the run.
        out: The run folder.
        resume: The folder may hold an earlier start of the same run.
        overwrite: The folder may hold a run, which is removed.

    Returns:
        The folder.

    Raises:
        InputError: The folder exists without either option, holds something else than a run, or
            holds a run of another config or other data.
    """
    out = Path(out)
    config_file, folds_file = out / "config.yaml", out / "folds.json"
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not config_file.is_file():
            raise InputError(f"{out}: expected a new folder, found one that holds no run")
        if resume:
            if make_config(load_config(config_file)) != config:
                raise InputError(f"{out}: --resume expected the config it was started with")
            if load_folds(folds_file) != folds:
                raise InputError(f"{out}: --resume expected the data it was started with")
            return out
        if not overwrite:
            raise InputError(f"{out}: expected a new folder, found a run; --resume or --overwrite")
        shutil.rmtree(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        save_folds(folds, folds_file, config.data.split, config.training.seed)
        save_config(config, config_file)
    except OSError as error:
        raise InputError(f"{out}: cannot write the run folder: {error.strerror}") from None
    return out


def write_json(values: dict[str, Any], path: str | Path) -> None:
    """Writes JSON through a temporary name."""
    temporary = Path(f"{path}.tmp")
    temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
