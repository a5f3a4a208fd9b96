"""Which devices a network is trained on, of one machine or of several."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from agd_keras.errors import InputError
from agd_keras.text import clean

KINDS = ("TPU", "GPU", "CPU")
MULTIWORKER = (
    "--strategy multiworker: Keras 3 does not train under MultiWorkerMirroredStrategy; expected "
    "the JAX backend: on each host KERAS_BACKEND=jax, KERAS_DISTRIBUTION_JOB_ADDRESSES=HOST:PORT "
    "of the first, KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID"
)


@dataclass(frozen=True)
class Devices:
    """Where a network is trained.

    Args:
        replicas: Number of devices that share each batch, over all processes.
        scope: Context in which the network is made and compiled.
        fitting: Context in which it is trained.
        alone: Context, within that, of what each process does for itself.
        run: Calls a function as a training step is called, once for each replica here.
        add_up: Adds up a tensor over the replicas, within a step.
        process: Which process this is, from 0, the one that writes.
        processes: How many train together.
    """

    replicas: int = 1
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext
    fitting: Callable[[], AbstractContextManager[Any]] = nullcontext
    alone: Callable[[], AbstractContextManager[Any]] = nullcontext
    run: Callable[[Callable[[], None]], Any] = lambda function: function()
    add_up: Callable[[Any], Any] = lambda value: value
    process: int = 0
    processes: int = 1


def open_devices(strategy: str) -> Devices:
    """Finds the devices that a strategy names.

    One GPU or CPU; all GPUs of this machine (`mirrored`: MirroredStrategy); a TPU (TPUStrategy); or
    the devices of several hosts (`multiworker`: Keras' distribution API on the JAX backend).
    `auto` takes a TPU before all GPUs before the CPU. A batch is shared out over the replicas,
    whose statistics and gradients are those of the whole batch: the same losses as on one device.

    Args:
        strategy: `auto`, `cpu`, `gpu`, `mirrored`, `multiworker` or `tpu`.

    Returns:
        The `Devices`.

    Raises:
        InputError: There are no such devices, or the backend cannot use them.

    Example:

    >>> open_devices("cpu").replicas
    1
    """
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_devices(strategy)
    if keras.backend.backend() == "jax":
        return _jax_devices(strategy)
    if strategy not in ("auto", "cpu", "gpu"):
        raise InputError(f"--strategy {strategy}: expected the TensorFlow or the JAX backend")
    _refuse_other_device(strategy, "CUDA_VISIBLE_DEVICES=")
    return Devices()


def find_devices() -> list[str]:
    """Names the accelerators that the backend sees, or else its CPUs, as `gpu:0`."""
    if keras.backend.backend() == "jax":
        return keras.distribution.list_devices()
    if keras.backend.backend() != "tensorflow":
        import torch

        count = torch.cuda.device_count()
        return [f"gpu:{index}" for index in range(count)] or ["cpu:0"]
    import tensorflow as tf

    found = {kind: tf.config.list_logical_devices(kind) for kind in KINDS}
    devices = next(devices for devices in found.values() if devices)
    return [device.name.removeprefix("/device:").lower() for device in devices]


def _pick(strategy: str) -> tuple[str, list[str]]:
    """Kind of device and names of those that a strategy takes on this machine."""
    found = find_devices()
    kind = found[0].partition(":")[0]
    if strategy in ("auto", "multiworker"):
        several = kind != "cpu" or strategy == "multiworker"
        return kind, found if several else found[:1]
    if strategy == "mirrored":
        if len(found) < 2:
            raise InputError(f"--strategy mirrored: expected several devices, found {found[0]}")
        return kind, found
    if strategy != "cpu" and kind != strategy:
        raise InputError(f"--strategy {strategy}: expected a {strategy.upper()}, found {found[0]}")
    return strategy, found if strategy == "tpu" else found[:1]


def _refuse_other_device(strategy: str, setting: str) -> None:
    """Backends other than TensorFlow take the CPU only where they see nothing better."""
    if strategy == "cpu" and not find_devices()[0].startswith("cpu"):
        raise InputError(f"--strategy cpu: with this backend expected {setting} in the environment")


def _tensorflow_devices(strategy: str) -> Devices:
    import tensorflow as tf

    if strategy == "multiworker":
        raise InputError(MULTIWORKER)
    if strategy == "tpu" or (strategy == "auto" and "TPU_NAME" in os.environ):
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
            made = tf.distribute.TPUStrategy(resolver)
        except (ValueError, RuntimeError, tf.errors.OpError) as error:
            raise InputError(
                f"--strategy tpu: expected a TPU, found none ({clean(error)})"
            ) from None
    else:
        kind, names = _pick(strategy)
        if len(names) == 1:
            one = tf.distribute.OneDeviceStrategy("/cpu:0") if kind == "cpu" else None
            # A CPU needs no saying unless there is something else.
            elsewhere = kind == "cpu" and not find_devices()[0].startswith("cpu")
            return Devices(scope=one.scope) if one and elsewhere else Devices()
        made = tf.distribute.MirroredStrategy([f"/{name}" for name in names])

    def add_up(value: Any) -> Any:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, value) if context else value

    return Devices(made.num_replicas_in_sync, made.scope, run=made.run, add_up=add_up)


def _jax_devices(strategy: str) -> Devices:
    import jax

    join_hosts(strategy)
    _, names = _pick(strategy)
    _refuse_other_device(strategy, "JAX_PLATFORMS=cpu")
    if len(names) == 1:
        return Devices()
    layout = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)

    @contextmanager
    def under(distribution: Any) -> Iterator[None]:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(distribution)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    together, alone = partial(under, layout), partial(under, None)
    places = {"process": jax.process_index(), "processes": jax.process_count()}
    return Devices(len(names), together, together, alone, **places)


def join_hosts(strategy: str) -> int:
    """Joins the processes of a `multiworker` training; must come before anything else of JAX.

    Args:
        strategy: Name of the strategy; for any other there is one process.

    Returns:
        The number of this process, 0 for the one that writes.

    Raises:
        InputError: The environment does not say which processes there are, or the backend is not
            JAX.
    """
    if strategy != "multiworker":
        return 0
    if keras.backend.backend() != "jax" or "KERAS_DISTRIBUTION_JOB_ADDRESSES" not in os.environ:
        raise InputError(MULTIWORKER)
    import jax

    if not jax.distributed.is_initialized():
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # the default has none
        keras.distribution.initialize()
    return jax.process_index()


def wait_for_hosts(strategy: str) -> None:
    """Returns when all processes of a `multiworker` training have come here."""
    if strategy == "multiworker":
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("agd_keras")


def over_replicas(optimizer: type[keras.Optimizer], replicas: int) -> type[keras.Optimizer]:
    """Makes an optimiser clip the gradient of the whole batch, not the part of each replica.

    Args:
        optimizer: A Keras optimiser class.
        replicas: Number of replicas, of MirroredStrategy or TPUStrategy.

    Returns:
        The class to use in its place; the same for one replica.
    """
    if replicas == 1 or keras.backend.backend() != "tensorflow":
        return optimizer
    import tensorflow as tf

    class OverReplicas(optimizer):  # type: ignore[valid-type, misc]
        # Keras sums what each replica gives: each gives its share of the clipped sum.
        def __init__(self, *args, global_clipnorm=None, **kwargs):
            share = global_clipnorm / replicas if global_clipnorm else None
            super().__init__(*args, global_clipnorm=share, **kwargs)

        def apply(self, grads, trainable_variables=None):
            context = tf.distribute.get_replica_context()
            mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, list(grads))
            return super().apply(mean, trainable_variables)

    return OverReplicas


def set_seed(seed: int, deterministic: bool) -> None:
    """Seeds Python, NumPy and the backend.

    Args:
        seed: The seed.
        deterministic: Also pick kernels that give the same bits in every run, which is slower.
    """
    keras.utils.set_random_seed(seed)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
