"""The options of the network: those of `agd_autoencoder`, or of a builder of one's own."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

AGD = "agd_autoencoder"


class Section(BaseModel):
    """A section of the config: nothing in it changes, and nothing unknown is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(Section):
    """The arguments of `agd_autoencoder`."""

    name: str = Field(
        AGD, description=f"builder of the network: {AGD}, or your own as package.module:function"
    )
    filters: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        (16, 32, 48, 64), min_length=1, max_length=8, description="channels of the encoder blocks"
    )
    depth: int = Field(1, ge=1, le=16, description="convolutions per stage")
    stem_stride: int = Field(2, ge=1, le=4, description="stride before the first block")
    skips: tuple[int, ...] = Field((1, 2, 3, 4), description="levels with a skip connection")
    attention: bool = Field(True, description="gate the skip connections")
    attention_at: tuple[int, ...] = Field((2, 3), description="levels whose skip is gated")
    light_decoder: bool = Field(
        False, description="decoder blocks of one convolution and fewer channels"
    )
    edge: bool = Field(True, description="edge detector before the encoder")
    edge_filters: int = Field(16, ge=1, le=4096, description="channels of the edge detector")
    edge_gate: Literal["residual", "multiply", "concatenate"] = Field(
        "residual", description="how the edge weights the image"
    )
    activation: Literal["elu", "gelu", "leaky_relu", "relu", "silu"] = Field(
        "relu", description="activation of the blocks"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of bottleneck channels dropped")
    l2: float = Field(0.0, ge=0, description="factor of the L2 penalty on the kernels")

    @model_validator(mode="after")
    def _levels_exist(self):
        levels = tuple(range(1, len(self.filters) + 1))
        if not set(self.skips) <= set(levels):
            raise ValueError(f"skips {self.skips}: expected some of the levels {levels}")
        if self.attention and not set(self.attention_at) <= set(self.skips):
            raise ValueError(f"attention_at {self.attention_at}: expected some of {self.skips}")
        return self


def _as_lists(value: Any) -> Any:
    """What comes back from a file, where tuples are lists."""
    return [_as_lists(one) for one in value] if isinstance(value, list | tuple) else value


class OwnModelConfig(BaseModel):
    """Another builder and its arguments, which `models.registry` checks against its signature."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Annotated[JsonValue, BeforeValidator(_as_lists)]]

    name: str


def which_builder(model: Any) -> str:
    """Says whose arguments these are.

    Args:
        model: A section `model`, as a mapping or a config; without `name`, `agd_autoencoder`.

    Returns:
        `agd` for the arguments of `agd_autoencoder`, else `own`.

    Example:

    >>> which_builder({"filters": [8, 16]}), which_builder({"name": "my_network:unet"})
    ('agd', 'own')
    """
    name = model.get("name", AGD) if isinstance(model, dict) else getattr(model, "name", AGD)
    return "agd" if name == AGD else "own"
