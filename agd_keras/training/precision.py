"""The precision that is quickest here, and what this processor can do."""

from pathlib import Path

from agd_keras.training.devices import find_devices


def resolve_precision(precision: str, device: str | None = None) -> str:
    """Turns `auto` into the policy that is quickest here without losing accuracy.

    Float16 with loss scaling on a GPU, bfloat16 on a TPU or a CPU that has the instructions, else
    float32.

    Args:
        precision: `auto`, `float32`, `mixed_bfloat16` or `mixed_float16`.
        device: Kind of device, `cpu`, `gpu` or `tpu`. Default: the best that the backend sees.

    Returns:
        The name of a Keras dtype policy.

    Example:

    >>> resolve_precision("float32"), resolve_precision("auto", "gpu")
    ('float32', 'mixed_float16')
    """
    if precision != "auto":
        return precision
    device = device or find_devices()[0].partition(":")[0]
    if device == "gpu":
        return "mixed_float16"
    fast = device == "tpu" or {"avx512_bf16", "amx_bf16"} & set(cpu_info("flags").split())
    return "mixed_bfloat16" if fast else "float32"


def cpu_info(key: str) -> str:
    """Returns a line of Linux' `/proc/cpuinfo`, empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
