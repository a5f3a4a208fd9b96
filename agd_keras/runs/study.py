"""Studies: variants of one config, trained on the same folds with the same seed, in one table."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from agd_keras.config import RunConfig, differences, make_config, merge, save_config
from agd_keras.errors import InputError
from agd_keras.files import naming, write_text
from agd_keras.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

# Imports of NumPy, Keras and matplotlib stand in the functions: a command's help lists STUDIES.

FOLDS = 5
FILES = ("config.yaml", "table.md", "results.json", "confusion.png")

Changes = dict[str, dict[str, dict[str, Any]]]


class Study(NamedTuple):
    """What is varied.

    Args:
        title: Heading of its table.
        changes: Function of the number of encoder blocks that returns, by name of the variant, the
            values that it changes in the config. The others are compared with the first.
        values: Values of the config below those that a user gives.
    """

    title: str
    changes: Callable[[int], Changes]
    values: Mapping[str, Any] = MappingProxyType({})


def _leak(levels: int) -> Changes:
    return {split: {"data": {"split": split}} for split in ("subject", "record")}


def _ablation(levels: int) -> Changes:
    every = list(range(1, levels + 1))
    changes: dict[str, dict[str, Any]] = {
        "full": {},
        "no_gate": {"attention": False},
        "no_edge": {"edge": False},
        "neither": {"attention": False, "edge": False},
        "all_gates": {"skips": every, "attention_at": every},  # a gate sits on a skip connection
    }
    both = {"attention": True, "edge": True}
    return {variant: {"model": both | changed} for variant, changed in changes.items()}


def _paper(levels: int) -> Changes:
    portions = {"portions": 10, "validation_portions": 2}
    return {
        f"{split}_{name}": {"data": {"split": split, "augment": augment, **portions}}
        for split in ("record", "subject")
        for name, augment in (("plain", "none"), ("augmented", "paper"))
    }


STUDIES = {
    "paper": Study("The paper's protocols", _paper, {"preset": "agd_paper"}),
    "leak": Study("The leak: slices of one patient on both sides", _leak),
    "ablation": Study("The ablation: gates and edge detector", _ablation),
}


def make_variants(name: str, config: RunConfig) -> dict[str, RunConfig]:
    """Returns the config of each variant of a study.

    Args:
        name: `paper`, `leak` or `ablation`.
        config: What the variants are variants of; 5 folds where it has a single test.

    Returns:
        By name of the variant, the one to compare with first.

    Raises:
        InputError: There is no such study, or two variants are the same with this config.

    Example:

    >>> variants = make_variants("ablation", make_config({"preset": "agd_paper"}))
    >>> variants["all_gates"].model.attention_at, variants["full"].data.folds
    ((1, 2, 3, 4), 5)
    """
    if name not in STUDIES:
        raise InputError(f"study {name!r}: expected one of {', '.join(STUDIES)}")
    folds = config.data.folds if config.data.folds > 1 else FOLDS
    values = merge(config.model_dump(mode="json"), {"data": {"folds": folds}})
    made: dict[str, RunConfig] = {}
    for variant, changes in STUDIES[name].changes(_levels(config)).items():
        made[variant] = make_config(merge(values, changes))
        for other in list(made)[:-1]:
            if not differences(made[variant], made[other]):
                raise InputError(f"study {name}: {variant} is the same as {other} with this config")
    return made


def _levels(config: RunConfig) -> int:
    """Encoder blocks of `agd_autoencoder`; another network takes what a study changes as it is."""
    return len(getattr(config.model, "filters", ()))


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
    from agd_keras.runs.run_folder import check_folder, refuse_multiworker, resolve
    from agd_keras.runs.train import train

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
    save_config(next(iter(configs.values())), out / "config.yaml")
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
    from agd_keras.runs.run_folder import check_existing

    own = "|".join(map(re.escape, (*variants, *FILES)))
    own_or_left_by_a_kill = re.compile(rf"({own})(\.(tmp|old)-\d+)?")
    check_existing(out, f"study {name}", own_or_left_by_a_kill, resume, overwrite)


def _is_done(run: Path) -> bool:
    from agd_keras.runs.aggregate import unfinished

    return (run / "metrics.json").is_file() and not unfinished(run)


def report_study(name: str, configs: Mapping[str, RunConfig], out: Path) -> dict[str, Any]:
    """Compares the finished runs of a study and writes `table.md` and `results.json`.

    Args:
        name: `paper`, `leak` or `ablation`.
        configs: Resolved config by variant, the one to compare with first.
        out: Folder of the study; `paper` gets its confusion matrices there, `confusion.png`.

    Returns:
        What `results.json` holds.

    Raises:
        InputError: As `gather` and `compare`.
    """
    from agd_keras.evaluation.compare import compare
    from agd_keras.runs.aggregate import gather
    from agd_keras.runs.paper import beside_paper, confusion_matrices, read_one_test
    from agd_keras.runs.report import render

    runs = {variant: gather(out / variant) for variant in configs}
    baseline = next(iter(configs))
    config = configs[baseline]
    if name == "paper":
        tests = {}
        for variant, rotated in runs.items():
            title = variant.replace("_", "-wise, ")
            tests[f"{title}, {config.data.folds}-fold"] = rotated
            tests[f"{title}, one test"] = read_one_test(out / variant)
        compared = beside_paper(tests)
        with naming(out / "confusion.png"):
            confusion_matrices(tests).save(out / "confusion.png")
    else:
        compared = compare(runs, baseline)
    testing, validating = config.data.portions // config.data.folds, config.data.validation_portions
    results = {
        "study": name,
        "title": STUDIES[name].title,
        "protocol": {
            "folds": config.data.folds,
            "portions": [config.data.portions - validating - testing, validating, testing],
            "patients": len(runs[baseline]["subjects"]),
            "data": Path(config.data.path).name,
            "data_fingerprint": runs[baseline]["protocol"]["data_fingerprint"],
            "preset": config.network,
            "image_size": config.data.image_size,
            "seed": config.training.seed,
        },
        "command": _command(name, config, out),
        **_provenance([fold for variant in configs for fold in (out / variant).glob("fold-*")]),
        **compared,
    }
    write_text(out / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    text = render("study.md", results=results, tables=_tables(results))
    write_text(out / "table.md", text + "\n")
    return results


def study_tables(results: Mapping[str, Any]) -> "list[Table]":
    """Makes the tables of a study for the screen.

    Args:
        results: What `run_study` returned.

    Returns:
        Those of `table.md`.
    """
    from agd_keras.evaluation.compare import to_rich

    return [to_rich(table) for table in _tables(results)]


def _tables(results: Mapping[str, Any]) -> list[Any]:
    from agd_keras.evaluation.compare import comparison_tables
    from agd_keras.runs.paper import paper_tables

    return (paper_tables if results["study"] == "paper" else comparison_tables)(results)


def _command(name: str, config: RunConfig, out: Path) -> str:
    """The command that trains this study, with paths as seen from where it runs."""
    words = ["agd-train", "--recipe", name, "--preset", config.preset]
    set_by_study = next(iter(STUDIES[name].changes(_levels(config)).values()))
    if config.network != config.preset:
        words += ["--model-fn", config.model.name]
    own = {"preset": config.preset, "model": {"name": config.model.name}}
    for key in differences(config, make_config(own)):
        section, option = key.split(".")
        value = getattr(getattr(config, section), option)
        if key == "data.path":
            words += ["--data", _near(value)]
        elif option not in set_by_study.get(section, {}):
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, "--out", _near(out)])


def _near(path: str | Path) -> str:
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _provenance(folds: Sequence[Path]) -> dict[str, Any]:
    """What the folds ran on, how large the networks are, and how long all took, None if unknown."""
    from agd_keras.runs.aggregate import read_json

    parameters, hardware, software, seconds = {}, set(), set(), []
    for fold in folds:
        record = read_json(fold / "fold.json")
        parameters[fold.parent.name] = record["parameters"]
        starts = read_json(fold / "environment.json")
        for start in starts:
            versions = [f"{name} {start['packages'][name]}" for name in ("agd_keras", "keras")]
            versions += [f"Python {start['python']}", start["commit"] or "no commit"]
            software.add(", ".join([*versions, start["backend"]]))
            machine = [start[key] for key in ("device", "processor", "precision")]
            machine.append(counted(start["cores"], "core"))
            hardware.add(", ".join([*machine, f"{start['memory_gb']} GB"]))
        # Of an interrupted fold, or one of an earlier version, it is not known.
        seconds.append(record.get("seconds"))
    known = [one for one in seconds if one is not None]
    return {
        "parameters": parameters,
        "hardware": sorted(hardware),
        "software": sorted(software),
        "seconds": round(sum(known)) if len(known) == len(seconds) else None,
    }
