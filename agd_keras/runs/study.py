"""Studies: variants of one config, trained on the same folds with the same seed, in one table."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agd_keras.config import RunConfig, save_config
from agd_keras.run_layout import CONFIG
from agd_keras.runs.open_run import check_existing, check_folder
from agd_keras.runs.resolve import refuse_multiworker, resolve
from agd_keras.runs.run_folder import RunFolder
from agd_keras.runs.study_report import CONFUSION, RESULTS, TABLE, report_study
from agd_keras.runs.train import train
from agd_keras.runs.variants import make_variants

FILES = (CONFIG, TABLE, RESULTS, CONFUSION)


def run_study(
    name: str,
    config: RunConfig,
    out: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    only: Sequence[int] | None = None,
    progress: Callable[[int, int], object] | None = None,
    executor: str = "local",
    cpus: int = 1,
    gpus: float | None = None,
) -> dict[str, Any] | None:
    """Trains all variants of a study, each a run in its own folder, and compares them.

    Args:
        name: `paper`, `leak` or `ablation`.
        config: What the variants are variants of; see `make_variants`.
        out: Folder of the study, made here: a run folder for each variant, `table.md` and
            `results.json`.
        resume: Go on with the study of that folder. Finished runs stay as they are.
        overwrite: Replace the runs of that folder.
        only: The folds to train, from 0, in each variant. Default: all.
        progress: Called as `progress(done, total)`, in cases, while data is prepared.
        executor: Where the folds of a run are trained, with `cpus` and `gpus`: as for `train`.
        cpus: Cores for a fold, with Ray.
        gpus: GPUs for a fold, with Ray.

    Returns:
        What `results.json` holds; None while folds are missing.

    Raises:
        InputError: The data, the config or the folder cannot be used.

    Example:

    >>> results = run_study("leak", make_config({}), "runs/leak")  # doctest: +SKIP
    >>> results["differences"]["record"]["dice"]["value"]  # doctest: +SKIP
    0.05
    """
    refuse_multiworker(config, f"--recipe {name}")
    out = Path(out).resolve()
    configs = {variant: resolve(one) for variant, one in make_variants(name, config).items()}
    _check_study(out, name, configs, resume, overwrite)
    begun = {v: (out / v).is_dir() and any((out / v).iterdir()) for v in configs}
    for variant, one in configs.items():
        check_folder(out / variant, one, resume and begun[variant], overwrite)
    # All are opened before the first is trained: what cannot be trained is known at once, and a
    # replaced study has no older run left to go on with.
    for variant, one in configs.items():
        if overwrite or not begun[variant]:
            train(one, out / variant, overwrite=overwrite, only=(), progress=progress)
    if overwrite:
        for file in FILES:
            (out / file).unlink(missing_ok=True)
    save_config(next(iter(configs.values())), out / CONFIG)
    how: dict[str, Any] = {"executor": executor, "cpus": cpus, "gpus": gpus}
    how |= {"only": only, "progress": progress, "again": f"--recipe {name} --resume"}
    done = [
        _is_done(out / variant) or train(one, out / variant, resume=True, **how) is not None
        for variant, one in configs.items()
    ]
    return report_study(name, configs, out) if all(done) else None


def _check_study(
    out: Path, name: str, variants: Mapping[str, Any], resume: bool, overwrite: bool
) -> None:

    own = "|".join(map(re.escape, (*variants, *FILES)))
    own_or_left_by_a_kill = re.compile(rf"({own})(\.(tmp|old)-\d+)?")
    check_existing(out, f"study {name}", own_or_left_by_a_kill, resume, overwrite)


def _is_done(folder: Path) -> bool:
    run = RunFolder(folder)
    return run.metrics_file.is_file() and not run.unfinished()
