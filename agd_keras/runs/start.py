"""The model that a run starts from: found, and what the network must be so that it fits."""

from typing import Any

from agd_keras.errors import InputError
from agd_keras.presets import PRESETS
from agd_keras.run_layout import fold_models
from agd_keras.runs.run_folder import RunFolder
from agd_keras.weights import find_model


def resolve_init(init: str) -> str:
    """Returns the model to start from by a name that holds in any folder.

    Args:
        init: A preset with weights, a `.keras` file, or a run folder of one fold.

    Returns:
        The preset as it is, or the absolute path of a file.

    Raises:
        InputError: There is no such model, or the run has several folds.

    Example:

    >>> resolve_init("agd_small")
    'agd_small'
    """
    try:
        path = find_model(init)
    except InputError as error:
        raise InputError(f"--init {error}") from None
    if init in PRESETS:
        return init
    files = fold_models(path) if path.is_dir() else [path]
    if len(files) > 1:
        raise InputError(
            f"--init {init}: expected one network, found {len(files)} folds; "
            f"name one, as {files[0]}"
        )
    if not files or not files[0].is_file():
        raise InputError(f"--init {init}: expected a .keras file or a run folder, found nothing")
    return str(files[0].resolve())


def network_of(init: str) -> dict[str, Any]:
    """Returns the preset, the network, and how images are made, that a model was trained with.

    Args:
        init: As for `resolve_init`.

    Returns:
        Values for `make_config`; none for a file that lies in no run.

    Raises:
        InputError: There is no such model, or the config of its run is none of this version.

    Example:

    >>> network_of("agd_small")["model"]["filters"]
    [32, 64, 96, 128]
    """
    run, _ = RunFolder.of_model(find_model(resolve_init(init)))
    if not run.config_file.is_file():
        return {}
    config = run.read_config()
    own = ("image_size", "channels", "plane")
    return {
        "preset": config.preset,
        "data": {name: getattr(config.data, name) for name in own},
        "model": config.model.model_dump(mode="json"),
    }
