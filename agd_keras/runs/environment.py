"""What a run's figures depend on beside its config: versions, commit, machine."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import psutil

from agd_keras.config import RunConfig
from agd_keras.files import write_text
from agd_keras.training.devices import find_devices
from agd_keras.training.precision import cpu_info


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


def record_environment(path: Path, config: RunConfig, fingerprint: str) -> int:
    """Adds what this start of the run runs on to `environment.json`.

    Args:
        path: The file, made here if it does not exist.
        config: Resolved options of the run.
        fingerprint: Fingerprint of the data.

    Returns:
        How many starts there were, this one among them.
    """
    starts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    started = datetime.now(UTC).isoformat(timespec="seconds")
    seeds = {"seed": config.training.seed, "data_fingerprint": fingerprint}
    starts.append({"started": started, **describe_environment(config.training.precision), **seeds})
    write_text(path, json.dumps(starts, indent=2) + "\n")
    return len(starts)


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
