"""`agd-search`: try options on the validation patients, and rank them."""

import argparse
import sys
from pathlib import Path

from agd_keras.cli import common, options
from agd_keras.config import AGD, ModelConfig
from agd_keras.errors import InputError
from agd_keras.training.quiet import load_keras

PAPER = "paper"
FLAGS = {
    "--data": "data.path",
    "--layout": "data.layout",
    "--persons": "data.persons",
    "--regions": "data.regions",
    "--model-fn": "model.name",
    "--split": "data.split",
    "--folds": "data.folds",
    "--folds-file": "data.folds_file",
    "--channels": "data.channels",
    "--missing": "data.missing",
    "--plane": "data.plane",
    "--image-size": "data.image_size",
    "--epochs": "training.epochs",
    "--monitor": "training.monitor",
    "--precision": "training.precision",
    "--seed": "training.seed",
}
DESCRIPTION = """Try options and rank them by their metric on the validation patients.

Test patients are not used. A file of --rounds is a list of trials:

  - {training.learning_rate: 0.001, model.filters: [16, 32, 48, 64]}
  - {training.learning_rate: 0.002}

A file of --space gives choices or a range for each option, and Optuna chooses:

  training.loss: [focal, dice, cross_entropy_dice]
  training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
  training.batch_size: {low: 8, high: 32, step: 8}

Later ones override earlier ones: preset, --config, the options below, --set, the trial's own."""


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-search` and returns its exit status."""
    parser = common.parser("agd-search", DESCRIPTION, epilog=options.describe_options())
    tried = parser.add_mutually_exclusive_group(required=True)
    tried.add_argument(
        "--rounds",
        metavar="FILE",
        help="trials in YAML, or `paper`: the rounds of the paper's Table 1, by validation BCE",
    )
    tried.add_argument("--space", metavar="FILE", help="search space in YAML")
    parser.add_argument(
        "--trials",
        type=options.number(int, ge=1),
        metavar="N",
        help="trials of a space (default: 20)",
    )
    parser.add_argument(
        "--no-pruning",
        dest="prune",
        action="store_false",
        help="train every trial to its end, also those worse than the median",
    )
    options.add_config_options(parser, FLAGS)
    parser.add_argument(
        "--fold",
        metavar="I,J",
        type=options.indices,
        default=[0],
        help="folds to train each trial on, from 0, or `all` (default: 0)",
    )
    options.add_executor_options(parser)
    parser.add_argument("--out", metavar="DIR", help="folder (default: runs/search-DATA-PRESET)")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume", action="store_true", help="continue the search of that folder"
    )
    existing.add_argument("--overwrite", action="store_true", help="replace that folder's search")
    arguments = parser.parse_args(argv)
    if arguments.rounds and arguments.trials is not None:
        parser.error("--trials: not allowed with --rounds, which says how many")
    return common.run(_search, arguments)


def _search(arguments: argparse.Namespace) -> None:
    from agd_keras.runs.search.rounds import PAPER_NOTES, load_rounds, paper_rounds
    from agd_keras.runs.search.space import load_space

    paper = arguments.rounds == PAPER
    below = {"training": {"monitor": "bce"}} if paper else None
    config = options.read_config(arguments, FLAGS, below=below)
    out = arguments.out or f"runs/search-{Path(config.data.path).name}-{config.network}"
    if paper:
        if not isinstance(config.model, ModelConfig):
            raise InputError(
                f"--rounds {PAPER}: expected the model {AGD}, whose filters they scale"
            )
        rounds = paper_rounds(config.model.filters)
    else:
        rounds = load_rounds(arguments.rounds) if arguments.rounds else []
    space = load_space(arguments.space) if arguments.space else None

    load_keras()
    from agd_keras.runs.search.ranking import ranking_table
    from agd_keras.runs.search.search import search

    try:
        ranking = search(
            config,
            out,
            rounds,
            space,
            arguments.trials or 20,
            arguments.fold,
            arguments.prune,
            PAPER_NOTES if paper else (),
            arguments.resume,
            arguments.overwrite,
            arguments.executor,
            arguments.cpus,
            arguments.gpus,
            common.progress_bar("preparing"),
        )
    except KeyboardInterrupt:
        print("to go on: the same command with --resume", file=sys.stderr)
        raise
    common.print_table(ranking_table(ranking))
    print(common.effort())
    print(f"folder: {out}")
    print(f"best: agd-train --config {out}/config.yaml")


if __name__ == "__main__":
    sys.exit(main())
