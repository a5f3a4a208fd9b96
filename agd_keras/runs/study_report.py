"""The variants of a study side by side: its table, and where its figures come from."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agd_keras.config import RunConfig, differences, make_config
from agd_keras.evaluation.compare import compare, comparison_tables, to_rich
from agd_keras.files import naming, write_text
from agd_keras.runs.aggregate import gather
from agd_keras.runs.fold_folder import FoldFolder
from agd_keras.runs.paper import beside_paper, confusion_matrices, paper_tables, read_one_test
from agd_keras.runs.render import render
from agd_keras.runs.result_files import read_json
from agd_keras.runs.run_folder import RunFolder
from agd_keras.runs.variants import STUDIES, levels_of
from agd_keras.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

TABLE, RESULTS, CONFUSION = "table.md", "results.json", "confusion.png"


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
        with naming(out / CONFUSION):
            confusion_matrices(tests).save(out / CONFUSION)
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
        **_provenance([fold for one in configs for fold in RunFolder(out / one).begun_folds()]),
        **compared,
    }
    write_text(out / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
    text = render("study.md", results=results, tables=_tables(results))
    write_text(out / TABLE, text + "\n")
    return results


def study_tables(results: Mapping[str, Any]) -> "list[Table]":
    """Makes the tables of a study for the screen.

    Args:
        results: What `run_study` returned.

    Returns:
        Those of `table.md`.
    """
    return [to_rich(table) for table in _tables(results)]


def _tables(results: Mapping[str, Any]) -> list[Any]:

    return (paper_tables if results["study"] == "paper" else comparison_tables)(results)


def _command(name: str, config: RunConfig, out: Path) -> str:
    """The command that trains this study, with paths as seen from where it runs."""
    words = ["agd-train", "--recipe", name, "--preset", config.preset]
    set_by_study = next(iter(STUDIES[name].changes(levels_of(config)).values()))
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


def _provenance(folds: Sequence[FoldFolder]) -> dict[str, Any]:
    """What the folds ran on, how large the networks are, and how long all took, None if unknown."""
    parameters, hardware, software, seconds = {}, set(), set(), []
    for fold in folds:
        record = fold.read_record()
        parameters[fold.path.parent.name] = record["parameters"]
        starts = read_json(fold.environment_file)
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
