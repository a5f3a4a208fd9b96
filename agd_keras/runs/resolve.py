"""What a config means here and now: its paths, split, precision and model to start from."""

import logging
from pathlib import Path

from agd_keras.config import RunConfig
from agd_keras.data.cache import Cache
from agd_keras.data.datasets import AUTO, PHANTOM, resolve_regions
from agd_keras.data.split_files import NNUNET, count_folds, read_split
from agd_keras.data.splits import Fold, make_folds
from agd_keras.errors import InputError
from agd_keras.io.layouts import nnunet
from agd_keras.runs.start import resolve_init

logger = logging.getLogger(__name__)

DEAL = "none"  # no file of a split, not even one that lies there


def resolve(config: RunConfig) -> RunConfig:
    """Returns the config with the paths, the split and the precision that it means here and now.

    Args:
        config: Options of a run, as a user gave them.

    Raises:
        InputError: The file of a split or of regions cannot be read, or there is no such model to
            start from.
    """
    from agd_keras.training.precision import resolve_precision

    data, training = config.data, config.training
    place = {"path": data.path if data.path == PHANTOM else str(Path(data.path).resolve())}
    given = find_split(Path(place["path"])) if data.folds_file == AUTO else data.folds_file
    split = {}
    if given != AUTO and given != DEAL:
        split = {"folds_file": str(Path(given).resolve()), "folds": count_folds(given)}
    # The device that is asked for may be another than the best of this machine.
    device = training.strategy if training.strategy in ("cpu", "gpu", "tpu") else None
    precision = resolve_precision(training.precision, device)
    return config.model_copy(
        update={
            "data": data.model_copy(
                update=place | split | {"regions": resolve_regions(data.path, data.regions)}
            ),
            "training": training.model_copy(
                update={
                    "precision": precision,
                    "init": resolve_init(training.init) if training.init else "",
                }
            ),
        }
    )


def find_split(data: Path) -> str:
    """Returns the split that lies beside the `dataset.json` of nnU-Net, else `auto`.

    Args:
        data: Folder of a data set.

    Example:

    >>> find_split(Path("nowhere"))
    'auto'
    """
    split = data / NNUNET
    if not (split.is_file() and nnunet.matches(data)):
        return AUTO
    logger.info("%s: its folds are used; --folds-file none deals others", split)
    return str(split)


def refuse_multiworker(config: RunConfig, option: str) -> None:
    """Refuses `multiworker` where one process must lead.

    Args:
        config: Options of a run.
        option: What cannot go with it, for the error.

    Raises:
        InputError: The config has that strategy.
    """
    if config.training.strategy == "multiworker":
        raise InputError(f"--strategy multiworker: not together with {option}")


def deal_folds(config: RunConfig, cache: Cache) -> list[Fold]:
    """Returns all folds of a config.

    Args:
        config: Says how the data is split.
        cache: The prepared data.

    Raises:
        InputError: The data cannot be split so.
    """
    data = config.data
    how = (data.split, config.training.seed, data.portions, data.validation_portions)
    if data.folds_file not in (AUTO, DEAL):
        folds = read_split(data.folds_file, cache.slices, cache.areas, *how)
        if count_folds(data.folds_file) != data.folds:
            raise InputError(f"data.folds {data.folds}: {data.folds_file} has {len(folds)}")
        return folds
    try:
        return make_folds(cache.slices, cache.areas, data.folds, *how)
    except InputError as error:
        raise InputError(f"{data.path}: {error}") from None
