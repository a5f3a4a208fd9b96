"""What a run's figures depend on beside its config: versions, commit, machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import psutil

from agd_keras.training.devices import cpu_info, find_devices


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
        "device": ", ".join(find_devices()),
        "processor": _processor(),
        "cores": _cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "precision": precision,
    }


def _cores() -> int:
    process = psutil.Process()  # has no affinity on macOS
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else os.cpu_count() or 1


def _processor() -> str:
    return cpu_info("model name") or platform.processor() or platform.machine()


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
