"""`agd-train`: train and test a network, with one command."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from agd_keras.cli import common, options
from agd_keras.config import RunConfig
from agd_keras.errors import InputError
from agd_keras.run_layout import CONFIG
from agd_keras.runs.variants import STUDIES
from agd_keras.training.quiet import load_keras

FLAGS = {
    "--data": "data.path",
    "--layout": "data.layout",
    "--persons": "data.persons",
    "--regions": "data.regions",
    "--model-fn": "model.name",
    "--split": "data.split",
    "--folds": "data.folds",
    "--folds-file": "data.folds_file",
    "--augment": "data.augment",
    "--channels": "data.channels",
    "--missing": "data.missing",
    "--plane": "data.plane",
    "--image-size": "data.image_size",
    "--epochs": "training.epochs",
    "--batch-size": "training.batch_size",
    "--learning-rate": "training.learning_rate",
    "--precision": "training.precision",
    "--strategy": "training.strategy",
    "--seed": "training.seed",
    "--init": "training.init",
    "--freeze": "training.freeze",
}
DESCRIPTION = """Train and test an attention-gated network: one split of the data, or --folds K.

Without any option: the phantom data set and the preset agd_tiny, a few minutes on two CPU cores.
Later ones override earlier ones: preset, --config, the options below, --set."""


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-train` and returns its exit status."""
    parser = common.parser("agd-train", DESCRIPTION, epilog=options.describe_options())
    options.add_config_options(parser, FLAGS)
    parser.add_argument(
        "--one-test",
        dest="data.folds",
        action="store_const",
        const=1,
        help="one split, no cross-validation (the default)",
    )
    parser.add_argument(
        "--fold",
        metavar="I,J",
        type=options.indices,
        help="train only these folds, from 0; the process that finishes last pools all folds",
    )
    parser.add_argument(
        "--recipe",
        choices=STUDIES,
        help="a study of several runs with one table: the paper's eight protocols, slice-wise "
        "against patient-wise split (leak), ablation of gates and edge detector",
    )
    options.add_executor_options(parser)
    parser.add_argument(
        "--track",
        choices=("mlflow",),
        help="log each fold to MLflow, to the server of its environment variables",
    )
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/DATA-PRESET)")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="continue the run of that folder")
    existing.add_argument("--overwrite", action="store_true", help="replace the run of that folder")
    arguments = parser.parse_args(argv)
    if arguments.recipe and getattr(arguments, "data.folds") in (0, 1):
        parser.error("--recipe: expected --folds of 2 or more, as a study rotates its test")
    for option in ("init", "track"):
        if arguments.recipe and getattr(arguments, {"init": "training.init"}.get(option, option)):
            parser.error(f"--{option}: not together with --recipe")
    return common.run(_train, arguments)


def _train(arguments: argparse.Namespace) -> None:
    recipe = arguments.recipe
    file = None
    if arguments.resume and arguments.out and not arguments.config:
        file = Path(arguments.out) / CONFIG
        if recipe and not file.is_file():  # of runs that were trained one by one
            file = None
    below = STUDIES[recipe].values if recipe else None
    config = options.read_config(arguments, FLAGS, file, below)
    if config.training.init and not (recipe or arguments.resume):
        config = _as_init(arguments, config.training.init)
    name = f"{Path(config.data.path).name}-{config.network}" + (f"-{recipe}" if recipe else "")
    out = Path(arguments.out or Path("runs") / name)

    load_keras()
    from agd_keras.runs.report import summary_table
    from agd_keras.runs.study import run_study
    from agd_keras.runs.study_report import study_tables
    from agd_keras.runs.train import train

    choices: dict[str, Any] = {
        "resume": arguments.resume,
        "overwrite": arguments.overwrite,
        "only": arguments.fold,
        "progress": common.progress_bar("preparing"),
        "executor": arguments.executor,
        "cpus": arguments.cpus,
        "gpus": arguments.gpus,
    }
    try:
        if recipe:
            results = run_study(recipe, config, out, **choices)
            tables = study_tables(results) if results else []
        else:
            metrics = train(config, out, track=arguments.track, **choices)
            tables = [summary_table(metrics)] if metrics else []
    except KeyboardInterrupt:
        if (out / CONFIG).exists():
            print(f"to go on: {_again(arguments, out)}", file=sys.stderr)
        raise
    for table in tables:
        common.print_table(table)
    print(common.effort())
    print(f"folder: {out}")
    if tables:
        print(f"report: {out}/{'table.md' if recipe else 'report.html'}")


def _as_init(arguments: argparse.Namespace, init: str) -> RunConfig:
    """The config with the network of the model to start from."""
    from agd_keras.runs.start import network_of

    network = network_of(init)
    if arguments.preset and network.get("preset", arguments.preset) != arguments.preset:
        raise InputError(
            f"--preset {arguments.preset}: expected {network['preset']}, as --init {init}, or none"
        )
    return options.read_config(arguments, FLAGS, below=network)


def _again(arguments: argparse.Namespace, out: Path) -> str:
    """The command that goes on with this one."""
    words = ["agd-train", "--out", str(out), "--resume"]
    if arguments.recipe:
        words += ["--recipe", arguments.recipe]
    if arguments.fold is not None:
        words += ["--fold", ",".join(map(str, arguments.fold))]
    if arguments.executor != "local":
        words += ["--executor", arguments.executor, "--cpus", str(arguments.cpus)]
        words += ["--gpus", str(arguments.gpus)] if arguments.gpus is not None else []
    words += ["--track", arguments.track] if arguments.track else []
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
