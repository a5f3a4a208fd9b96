"""The options of a run: defined once here, the commands' flags and the files derive from them."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from agd_keras.errors import InputError
from agd_keras.files import write_text
from agd_keras.model_config import AGD, ModelConfig, OwnModelConfig, Section, which_builder
from agd_keras.presets import preset_values
from agd_keras.regions import FROM_DATA, parse_regions
from agd_keras.text import clean
from agd_keras.values import merge

Contrast = Literal["T1", "FLAIR", "T1c", "T2"]  # as `io.contrasts` names them
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]


def _as_regions(value: Any) -> Any:
    """Regions as a file or a command line has them; `dataset` stays until the data is known."""
    return FROM_DATA if value in (FROM_DATA, [FROM_DATA]) else parse_regions(value)


class DataConfig(Section):
    """Which data, how it is split and how it is changed on the way to the network."""

    path: str = Field(
        "phantom", description="`phantom`, a folder of scans, or a table of cases as CSV"
    )
    layout: str = Field(
        "auto", description="layout of the folder, as agd-inspect names it, or auto"
    )
    persons: str | None = Field(
        None, description="regular expression on case names; its first group is the patient"
    )
    channels: tuple[Contrast, ...] = Field(
        ("T1", "FLAIR", "T1c"), description="contrasts that the network takes: t1,flair,t1c,t2"
    )
    missing: Literal["fill", "error"] = Field(
        "fill", description="missing contrasts of a case: filled by FLAIR, or refused"
    )
    plane: Literal["auto", "axial", "coronal", "sagittal"] = Field(
        "axial",
        description="in which the slices lie; auto: as acquired, across the largest spacing",
    )
    regions: Annotated[
        dict[str, tuple[int, ...]] | Literal["dataset"], BeforeValidator(_as_regions)
    ] = Field(
        {},
        description="regions to segment, each by its labels, as whole=1,2,4 core=1,4; dataset: "
        "those of dataset.json (default: one region of all labels)",
    )
    image_size: int = Field(128, ge=16, le=1024, description="side of the network's input, pixels")
    split: Literal["subject", "record"] = Field(
        "subject", description="unit of splitting: patients (subject) or slices (record)"
    )
    folds: int = Field(
        1, ge=0, description="number of folds; 1 for a single test on one fifth, 0 for no test"
    )
    folds_file: str = Field(
        "auto",
        description="file with the split, splits_final.json or folds.json; auto: that beside an "
        "nnU-Net dataset.json; none: make a new split",
    )
    portions: int = Field(
        10, ge=3, description="equal parts of the data that the folds are made of"
    )
    validation_portions: int = Field(1, ge=1, description="parts for validation in a fold")
    normalization: Literal["tissue", "brain"] = Field(
        "tissue", description="reference of the intensity normalisation"
    )
    augment: Literal["none", "paper", "strong", "heavy", "scanners"] = Field(
        "strong", description="augmentation recipe"
    )
    tumor_sampling: float = Field(
        0.0, ge=0, le=1, description="foreground oversampling: share of slices drawn by area"
    )

    @field_validator("channels", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        known = {name.lower(): name for name in get_args(Contrast)}
        return [known.get(str(name).strip().lower(), name) for name in names]

    @model_validator(mode="after")
    def _has_reference(self):
        if "FLAIR" not in self.channels or len(set(self.channels)) < len(self.channels):
            raise ValueError(
                f"channels {','.join(self.channels)}: expected each once, flair among them"
            )
        return self


class TrainingConfig(Section):
    """How the network is trained."""

    init: str = Field("", description="model to start from: a preset, a .keras file, a run folder")
    freeze: Literal["none", "encoder"] = Field("none", description="part whose weights stay fixed")
    epochs: int = Field(
        60, ge=1, description="epochs, each of as many slices as the training set has"
    )
    batch_size: int = Field(16, ge=1, description="slices in a batch")
    sizes: tuple[PositiveInt, ...] = Field(
        (),
        description="input sizes of stages before the last, which has full size; none is larger",
    )
    optimizer: Literal["adam", "adamw"] = Field("adamw", description="optimiser")
    learning_rate: float = Field(2e-3, gt=0, description="highest learning rate")
    schedule: Literal["constant", "cosine", "plateau"] = Field(
        "cosine", description="learning rate schedule"
    )
    warmup_epochs: float = Field(1.0, ge=0, description="epochs of linear warm-up, with cosine")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of adamw")
    clip_norm: float = Field(1.0, ge=0, description="gradient clipping by norm, 0 for none")
    ema: float = Field(0.0, ge=0, lt=1, description="momentum of the weight average, 0 for none")
    loss: Literal[
        "cross_entropy", "focal", "dice", "focal_dice", "focal_tversky", "cross_entropy_dice"
    ] = Field("cross_entropy_dice", description="loss of the mask")
    edge_weight: float = Field(0.2, ge=0, description="weight of the edge's cross-entropy")
    monitor: Literal["dice", "bce"] = Field(
        "dice", description="validation metric for the best epoch and early stopping"
    )
    patience: int = Field(
        0, ge=0, description="epochs without improvement before stopping, 0 for no early stopping"
    )
    precision: Precision = Field("auto", description="precision policy")
    strategy: Literal["auto", "cpu", "gpu", "mirrored", "multiworker", "tpu"] = Field(
        "auto", description="devices to train on; mirrored: all of this machine"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of split, weights, order, augmentation")
    deterministic: bool = Field(False, description="same bits in every run, slower")


class RunConfig(Section):
    """Everything that defines a run.

    Args:
        preset: Name of the preset that the run started from.
        data: See `DataConfig`.
        model: See `ModelConfig`; with another `name`, the arguments of that builder.
        training: See `TrainingConfig`.

    Example:

    >>> RunConfig().data.image_size
    128
    """

    preset: str = "agd_tiny"
    data: DataConfig = DataConfig()
    model: Annotated[
        Annotated[ModelConfig, Tag("agd")] | Annotated[OwnModelConfig, Tag("own")],
        Discriminator(which_builder),
    ] = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def network(self) -> str:
        """What reports call the network: the preset, or the function that builds it."""
        return self.preset if self.model.name == AGD else self.model.name.rpartition(":")[2]

    @model_validator(mode="after")
    def _size_fits_levels(self):
        if not isinstance(self.model, ModelConfig):
            return self
        multiple = self.model.stem_stride * 2 ** len(self.model.filters)
        stages = [("training.sizes", side) for side in self.training.sizes]
        for option, side in [("data.image_size", self.data.image_size), *stages]:
            if side % multiple:
                raise ValueError(
                    f"{option} {side}: expected a multiple of {multiple}, "
                    f"for {len(self.model.filters)} levels and a stem of {self.model.stem_stride}"
                )
        return self

    @model_validator(mode="after")
    def _stages_end(self):
        adapts = self.training.patience or self.training.schedule == "plateau"
        if self.training.sizes and adapts:
            raise ValueError(
                f"training.sizes {list(self.training.sizes)}: expected without patience and "
                "plateau, as only the last stage is validated; [] for one size"
            )
        return self


def make_config(values: dict[str, Any]) -> RunConfig:
    """Validates nested values, `{"preset": ..., "data": {...}, "model": {...}, "training": {...}}`.

    Args:
        values: Values by section, over those of the preset and the defaults. The preset's `model`
            counts for its own builder only.

    Returns:
        The frozen `RunConfig`.

    Raises:
        InputError: An option is unknown or its value not allowed; names the option.

    Example:

    >>> make_config({"preset": "agd_small", "data": {"image_size": 64}}).model.filters
    (32, 64, 96, 128)
    """
    below = preset_values(values.get("preset", "agd_tiny"))
    if which_builder(values.get("model", {})) == "own":
        below.pop("model", None)
    try:
        return RunConfig.model_validate(merge(below, values))
    except ValidationError as error:
        first = error.errors()[0]
        parts = [str(part) for part in first["loc"]]
        where = ".".join(parts[:1] + parts[2:] if parts[:1] == ["model"] else parts)  # no tag
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "no such option"
        if first["type"] != "value_error":  # ours say what they received
            message += f", received {clean(repr(first['input']))}"
        raise InputError(f"{where}: {message}".removeprefix(": ")) from None


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """Names the options in which two configs differ, as `SECTION.OPTION`.

    Example:

    >>> differences(make_config({}), make_config({"data": {"augment": "none"}}))
    ['data.augment']
    """
    first, second = (config.model_dump(exclude={"preset"}) for config in (one, other))
    if one.model.name != other.model.name:  # nothing else of theirs can be compared
        first["model"], second["model"] = ({"name": each.model.name} for each in (one, other))
    nothing = object()
    return [
        f"{section}.{option}"
        for section, options in first.items()
        for option in dict.fromkeys([*options, *second[section]])
        if options.get(option, nothing) != second[section].get(option, nothing)
    ]


def save_config(config: RunConfig, path: str | Path) -> None:
    """Writes the resolved config as YAML, through a temporary name.

    Args:
        config: What `make_config` returned.
        path: The file; an older one is replaced.

    Raises:
        OSError: The folder is missing or cannot be written; names the file.
    """
    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
