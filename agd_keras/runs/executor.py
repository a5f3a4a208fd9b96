"""Where the folds of a run and the trials of a search are trained: here, or on a Ray cluster."""

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from agd_keras.errors import InputError, Interrupted
from agd_keras.text import MESSAGE, clean
from agd_keras.training.quiet import load_keras

EXECUTORS = ("local", "ray")
RETRIES = 3  # times that a task is run again after its worker was lost
# What a task must take over from its caller; a cluster's workers have an environment of their own.
HANDED_ON = ("AGD_KERAS_CACHE", "KERAS_BACKEND")


def run_tasks(
    function: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    executor: str = "local",
    cpus: int = 1,
    gpus: float | None = None,
    name: str = "task",
) -> list[Any]:
    """Calls a function with each of several arguments, one after the other or as Ray tasks.

    Arguments are drawn only when their task can start, so that they may depend on what the tasks
    before did. After the first task that fails none is started; those running beside it are let
    finish.

    With `"ray"` tasks run in processes of their own, on the cluster that `RAY_ADDRESS` names or
    else on one made of this machine. A task whose process or machine is lost runs again, and what
    it finds of its own work in its folder is not done twice. The cluster's machines need this
    package, and folder and data of the run under the same path, as on a shared file system. The
    cache of prepared data may be each machine's own.

    Args:
        function: Function of a module that workers can import, such as `train_fold`.
        arguments: The positional arguments of each task; the last one tells tasks apart.
        executor: `"local"` or `"ray"`.
        cpus: Cores for a task of Ray, to which its threads are limited. Two trainings on one core
            each get more done than one after the other on two.
        gpus: GPUs for a task of Ray, such as 0.5 for two tasks to share one. Default: one where
            the cluster has any.
        name: What tasks are called where their log lines are shown, as in `fold 3`.

    Returns:
        What the function returned, in the order of the arguments.

    Raises:
        InputError: The first that a task raised; or Ray is not installed, or no machine of the
            cluster has so many cores or GPUs.
        RuntimeError: A task lost its worker time and again.

    Example:

    >>> run_tasks(pow, [(2, 3), (2, 4)])
    [8, 16]
    """
    if executor not in EXECUTORS:
        raise InputError(f"executor {executor!r}: expected one of {', '.join(EXECUTORS)}")
    if executor == "local":
        return [function(*one) for one in arguments]
    with _connection():
        return _run_on_ray(function, arguments, cpus, gpus, name)


@contextmanager
def _connection() -> Iterator[None]:
    """Connects to Ray, unless the caller is connected, and quietly."""
    # Nobody is told that Ray is used here, and no line is left out of the log.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise InputError(
            "--executor ray: expected Ray to be installed, in a clone `pip install -e .[cluster]`"
        ) from None
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address)
        ray.init(address, include_dashboard=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"RAY_ADDRESS={address}: expected a Ray cluster ({clean(error)})"
        ) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own in place
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Fails at once where Ray would try for minutes."""
    named = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
    if named:
        socket.create_connection((named[1], int(named[2])), timeout=10).close()


def _run_on_ray(
    function: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    cpus: int,
    gpus: float | None,
    name: str,
) -> list[Any]:
    import ray

    if gpus is None:
        gpus = min(1, ray.cluster_resources().get("GPU", 0))
    _check_resources(ray.nodes(), cpus, gpus)
    task = ray.remote(_task)
    options = {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "max_retries": RETRIES,
        "runtime_env": {"env_vars": _environment(cpus)},
    }
    waiting = enumerate(arguments)
    running: dict[Any, tuple[int, str]] = {}
    results: dict[int, Any] = {}
    failure: Exception | None = None
    while True:
        while failure is None and len(running) < _capacity(ray.cluster_resources(), cpus, gpus):
            index, one = next(waiting, (None, ()))
            if index is None:
                break
            label = f"{name} {one[-1]}"
            running[task.options(name=label, **options).remote(function, one)] = index, label
        if not running:
            break
        (done,), _ = ray.wait(list(running))
        index, label = running.pop(done)
        try:
            results[index] = ray.get(done)
        except InputError as error:
            failure = failure or InputError(*getattr(error, "cause", error).args)
        except ray.exceptions.RayTaskError as error:
            failure = failure or error.cause
        except ray.exceptions.RayError as error:
            reason = clean(error, MESSAGE)
            failure = failure or RuntimeError(f"{label}: worker lost {RETRIES + 1} times: {reason}")
    if failure is not None:
        raise failure
    return [results[index] for index in sorted(results)]


def _task(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Runs in the worker, whose log lines Ray shows with the name of the task."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    load_keras()
    try:
        return function(*arguments)
    except Interrupted:
        # The machine is taken away. Ray would take the exception for a wish to cancel the task;
        # a lost worker's task it runs again, which goes on from the step just saved.
        os._exit(1)


def _environment(cpus: int) -> dict[str, str]:
    """Environment of a worker, set before it imports TensorFlow."""
    threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {
        **dict.fromkeys(threads, str(cpus)),
        **{key: os.environ[key] for key in HANDED_ON if key in os.environ},
    }


def _check_resources(nodes: list[dict[str, Any]], cpus: int, gpus: float) -> None:
    """Ray would wait for ever for a machine that is not there."""
    for kind, count, least in (("CPU", cpus, 1), ("GPU", gpus, 0)):
        most = max(node["Resources"].get(kind, 0) for node in nodes if node["Alive"])
        if not least <= count <= most:
            raise InputError(
                f"--{kind.lower()}s {count}: expected {least} to {most:g}, "
                "what the largest machine of the cluster has"
            )


def _capacity(resources: dict[str, float], cpus: int, gpus: float) -> int:
    """How many tasks the cluster can run at once."""
    wanted = {"CPU": cpus, "GPU": gpus}
    fitting = [int(resources.get(kind, 0) / count) for kind, count in wanted.items() if count]
    return max(1, min(fitting))
