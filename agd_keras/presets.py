"""Named models with the settings they are trained with."""

from typing import Any

from agd_keras.errors import InputError

# Values over the defaults of config.py.
PRESETS: dict[str, dict[str, Any]] = {
    # Trains in minutes on two CPU cores.
    "agd_tiny": {
        "data": {"tumor_sampling": 0.4},
        "training": {"epochs": 40, "batch_size": 8, "ema": 0.99},
    },
    # The one to take, also for heads without skull and other scanners: a quarter of an hour on one
    # CPU core for LGG, see docs/results.md.
    "agd_small": {
        "model": {"filters": [32, 64, 96, 128], "depth": 2, "light_decoder": True},
        "data": {"tumor_sampling": 0.4, "normalization": "brain", "augment": "scanners"},
        "training": {
            "epochs": 40,
            "batch_size": 8,
            "sizes": [64, 64, 96],
            "learning_rate": 1e-3,
            "ema": 0.99,
        },
    },
    # The paper, literally where it says something: for reproduction, on a GPU.
    "agd_paper": {
        "model": {
            "filters": [512, 256, 128, 64],
            "depth": 1,
            "stem_stride": 1,
            "skips": [2],
            "attention_at": [2],
            "activation": "elu",
            "l2": 0.004,
        },
        "data": {"augment": "paper", "validation_portions": 2},
        "training": {
            "epochs": 100,
            "optimizer": "adam",
            "learning_rate": 4e-4,
            "schedule": "constant",
            "clip_norm": 0.0,
            "loss": "focal",
            "edge_weight": 1.0,
            "monitor": "bce",
            "patience": 1,
        },
    },
}

# Names that older runs have, whose files hold every option: what takes their place.
FORMER = {"agd_scanners": "agd_small"}


def preset_values(name: str) -> dict[str, Any]:
    """Returns what a preset sets over the defaults, by section.

    Args:
        name: `agd_tiny`, `agd_small` or `agd_paper`, or a name of older runs.

    Raises:
        InputError: There is no preset of that name; lists those there are.

    Example:

    >>> preset_values("agd_paper")["model"]["filters"]
    [512, 256, 128, 64]
    """
    name = FORMER.get(name, name) if isinstance(name, str) else name
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"preset {name!r}: expected one of {', '.join(PRESETS)}")
    return {"preset": name, **PRESETS[name]}
