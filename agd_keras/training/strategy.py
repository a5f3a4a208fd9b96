"""Which device and precision the network is trained with."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import psutil


def resolve_precision(precision: str) -> str:
    """Turns `auto` into the policy that is quickest here without losing accuracy.

    Float16 with loss scaling on a GPU, bfloat16 on a CPU that has the instructions, else float32.

    Args:
        precision: `auto`, `float32`, `mixed_bfloat16` or `mixed_float16`.

    Returns:
        The name of a Keras dtype policy.

    Example:

    >>> resolve_precision("float32")
    'float32'
    """
    if precision != "auto":
        return precision
    if _has_gpu():
        return "mixed_float16"
    return "mixed_bfloat16" if {"avx512_bf16", "amx_bf16"} & _cpu_flags() else "float32"


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


def describe_environment(precision: str) -> dict[str, Any]:
    """Records what a run's figures depend on beside its config.

    Args:
        precision: The resolved precision policy.

    Returns:
        Versions, git commit if there is one, device, cores and memory, ready for JSON.
    """
    packages = ("agd_keras", "keras", "tensorflow", "numpy", "scikit-learn", "pillow")
    return {
        "packages": {name: _version(name) for name in packages},
        "python": platform.python_version(),
        "backend": keras.backend.backend(),
        "platform": platform.platform(),
        "commit": _commit(),
        "device": "gpu" if _has_gpu() else "cpu",
        "processor": _processor(),
        "cores": _cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "precision": precision,
    }


def _cores() -> int:
    process = psutil.Process()  # has no affinity on macOS
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else os.cpu_count() or 1


def _has_gpu() -> bool:
    if keras.backend.backend() != "tensorflow":
        return any("gpu" in device for device in keras.distribution.list_devices())
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _cpu_flags() -> set[str]:
    return set(_cpuinfo("flags").split())


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree that this package runs from, `-dirty` if it was changed."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # Fails where the package is installed inside a repository of something else.
        _run([*git, "ls-files", "--error-unmatch", Path(__file__).name])
        return _run([*git, "describe", "--always", "--dirty"])
    except (OSError, subprocess.SubprocessError):
        return None


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return result.stdout.strip()
