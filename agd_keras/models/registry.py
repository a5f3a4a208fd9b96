"""The networks that can be trained: by name, or a function of one's own."""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import Parameter, signature
from typing import Any, NamedTuple

import keras
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from agd_keras.errors import InputError
from agd_keras.models.agd_autoencoder import agd_autoencoder
from agd_keras.models.views import as_network

logger = logging.getLogger(__name__)

Builder = Callable[..., Any]
BUILDERS: dict[str, Builder] = {"agd_autoencoder": agd_autoencoder}


class Head(NamedTuple):
    """What an output of a network is trained on.

    Args:
        loss: A Keras loss or its name. Default: for `mask` that of the config, for `edge` the
            `EdgeCrossEntropy`.
        weight: Its share of the whole loss. Default: 1, for `edge` `training.edge_weight`.
        target: Function of the mask, a TensorFlow tensor `(batch, height, width, regions)` of 0, 1,
            that returns the target; it runs in the input pipeline. Default: the mask itself.
    """

    loss: Any = None
    weight: float | None = None
    target: Callable[[Any], Any] = lambda mask: mask


class Network(NamedTuple):
    """A model that is not compiled, and what each of its outputs is trained on."""

    model: keras.Model
    heads: dict[str, Head]


def find_builder(name: str) -> Builder:
    """Returns the function that builds a network.

    Args:
        name: A key of `BUILDERS`, or `package.module:function`, which is imported, also from the
            current directory.

    Raises:
        InputError: There is no such function, or its module cannot be imported.

    Example:

    >>> find_builder("agd_autoencoder").__name__
    'agd_autoencoder'
    """
    if name in BUILDERS:
        return BUILDERS[name]
    module, _, function = name.partition(":")
    if not (function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        known = ", ".join(BUILDERS)
        raise InputError(f"model.name {name!r}: expected {known} or package.module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it, and console scripts do not
    try:
        found = getattr(import_module(module), function, None)
    except Exception as error:  # whatever a user's module raises
        raise InputError(f"{name}: cannot import {module} ({_in_words(error)})") from error
    if not callable(found):
        raise InputError(f"{name}: expected a function {function} in {module}, found none")
    return found


def check_arguments(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Checks what a builder is to be called with against its signature.

    Args:
        name: As for `find_builder`.
        arguments: All but the first, which is the shape of the image.

    Returns:
        The arguments as the annotations have them: a list becomes a tuple where one is expected.

    Raises:
        InputError: There is no such builder, an argument is unknown or missing, or its value does
            not fit the annotation; names the argument.

    Example:

    >>> check_arguments("agd_autoencoder", {"filters": [8, 16]})
    {'filters': (8, 16)}
    """
    builder = find_builder(name)
    try:
        declared = signature(builder, eval_str=True)
    except NameError:  # annotations of names that are imported for type checkers only
        declared = signature(builder)
    parameters = list(declared.parameters.values())
    if not parameters or parameters[0].kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD):
        raise InputError(f"{name}: expected a function of the image's shape, and of its options")
    options = {one.name: one for one in parameters[1:] if one.kind is not one.VAR_POSITIONAL}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in options.values())
    checked = {}
    for option, parameter in options.items():
        if option in arguments:
            checked[option] = _as_kind(parameter.annotation, arguments[option], option)
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            raise InputError(f"model.{option}: expected a value, as {name} has no default for it")
    for option, value in arguments.items():
        if option not in options and not takes_any:
            known = f"some of {', '.join(options)}" if options else "none"
            raise InputError(f"model.{option}: no such argument of {name}, expected {known}")
        checked.setdefault(option, value)
    return checked


def build_network(
    name: str,
    arguments: Mapping[str, Any],
    image_shape: tuple[int | None, int | None, int],
    regions: int = 1,
) -> Network:
    """Builds a network and says what its outputs are trained on.

    A builder takes the shape of the image and its arguments, and returns a `keras.Model`, or one
    and a dict of `Head` by output. Of several outputs one is called `mask`; a single one may be
    called anything.

    Args:
        name: As for `find_builder`.
        arguments: All but the first.
        image_shape: Height and width of the input, None for any, and its channels.
        regions: Channels of the mask; of more than one, an argument of the builder, too.

    Returns:
        The `Network`, with an output `mask`.

    Raises:
        InputError: The arguments do not fit, the builder fails, or what it returns cannot be
            trained; names the builder.

    Example:

    >>> network = build_network("agd_autoencoder", {"filters": (4, 8)}, (32, 32, 3))
    >>> sorted(network.heads)
    ['edge', 'mask']
    """
    several = {"regions": regions} if regions > 1 else {}
    checked = check_arguments(name, {**arguments, **several})
    try:
        made = find_builder(name)(image_shape, **checked)
    except Exception as error:  # whatever a user's builder raises
        raise InputError(f"{name}: {_in_words(error)}") from error
    model, declared = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
    if not isinstance(declared, Mapping):
        raise InputError(f"{name}: expected a model, or a model and a dict of Head")
    network = as_network(model, name, any_size=image_shape[0] is None, regions=regions)
    if network.input_shape[1:] != image_shape:
        raise InputError(
            f"{name}: expected an input of {image_shape}, found {network.input_shape[1:]}"
        )
    if any(one.dtype != "float32" for one in model.outputs):
        logger.warning('%s: its last layers train better with dtype="float32"', name)
    return Network(network, _heads(name, network, dict(declared)))


def _heads(name: str, network: keras.Model, declared: dict[str, Any]) -> dict[str, Head]:
    """The head of each output: as declared, or what `mask` and `edge` have by themselves."""
    outputs = list(network.output)
    if len(outputs) == len(declared) == 1:  # it may have been called anything
        declared = dict(zip(outputs, declared.values(), strict=True))
    unknown = declared.keys() - set(outputs)
    if unknown:
        raise InputError(f"{name}: no output {min(unknown)!r}, expected of {', '.join(outputs)}")
    heads = {}
    for output in outputs:
        head = declared.get(output, Head())
        if not isinstance(head, Head):
            raise InputError(f"{name}: output {output!r}: expected a Head, found {head!r}")
        if head.loss is None and output not in ("mask", "edge"):
            raise InputError(f"{name}: output {output!r}: expected a Head with a loss for it")
        try:
            loss = keras.losses.get(head.loss)
        except ValueError:
            raise InputError(f"{name}: output {output!r}: no loss {head.loss!r}") from None
        heads[output] = head._replace(loss=loss)
    return heads


def _as_kind(kind: Any, value: Any, option: str) -> Any:
    if kind is Parameter.empty:
        return value
    try:
        adapter = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
        return adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(f"model.{option}: {reason}, received {value!r}") from None
    except PydanticUserError:  # an annotation that says nothing to pydantic
        return value


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
