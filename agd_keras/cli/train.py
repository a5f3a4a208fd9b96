"""`agd-train`: train and test a network, with one command."""

import argparse
import sys
from pathlib import Path

from agd_keras.cli import common
from agd_keras.config import load_config, make_config, merge, parse_setting
from agd_keras.errors import InputError
from agd_keras.presets import PRESETS

FLAGS = {
    "--data": "data.path",
    "--split": "data.split",
    "--folds": "data.folds",
    "--augment": "data.augment",
    "--image-size": "data.image_size",
    "--epochs": "training.epochs",
    "--batch-size": "training.batch_size",
    "--learning-rate": "training.learning_rate",
    "--precision": "training.precision",
    "--strategy": "training.strategy",
    "--seed": "training.seed",
}
DESCRIPTION = """Train and test an attention-gated network: one split of the data, or --folds K.

Without any option: the phantom data set and the preset agd_tiny, a few minutes on two CPU cores.
Options weigh, from least to most: preset, --config, the options below, --set."""


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-train` and returns its exit status."""
    parser = common.parser("agd-train", DESCRIPTION, epilog=common.describe_options())
    parser.add_argument("--preset", metavar="NAME", help=f"one of {', '.join(PRESETS)}")
    common.add_config_options(parser, FLAGS)
    parser.add_argument(
        "--one-test",
        dest="data.folds",
        action="store_const",
        const=1,
        help="one split, no rotation (the default)",
    )
    parser.add_argument(
        "--fold",
        metavar="I,J",
        type=_indices,
        help="train only these folds, from 0; the last to finish, anywhere, pools all",
    )
    parser.add_argument("--config", metavar="FILE", help="config in YAML, as a run folder has it")
    parser.add_argument(
        "--set",
        metavar="SECTION.OPTION=VALUE",
        action="append",
        default=[],
        help="any option of the config, as training.loss=dice",
    )
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/DATA-PRESET)")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the run of that folder")
    existing.add_argument("--overwrite", action="store_true", help="replace the run of that folder")
    return common.run(_train, parser.parse_args(argv))


def _train(arguments: argparse.Namespace) -> None:
    file = arguments.config
    if arguments.resume and arguments.out and not file:
        file = Path(arguments.out) / "config.yaml"
    values = load_config(file) if file else {}
    if arguments.preset and values.get("preset", arguments.preset) != arguments.preset:
        raise InputError(f"--preset {arguments.preset}: {file} is of {values['preset']}")
    config = make_config(
        merge(
            values,
            {"preset": arguments.preset} if arguments.preset else {},
            common.config_values(arguments, FLAGS),
            *map(parse_setting, arguments.set),
        )
    )
    out = arguments.out or Path("runs") / f"{Path(config.data.path).name}-{config.preset}"

    common.load_tensorflow()
    from agd_keras.evaluation.report import summary_table
    from agd_keras.training.train import train

    try:
        metrics = train(
            config,
            out,
            arguments.resume,
            arguments.overwrite,
            arguments.fold,
            common.progress_bar("preparing"),
        )
    except KeyboardInterrupt:
        if (Path(out) / "config.yaml").exists():
            print(f"to go on: agd-train --out {out} --resume", file=sys.stderr)
        raise
    if metrics:
        common.print_table(summary_table(metrics))
    print(common.effort())
    print(f"run folder: {out}")
    if metrics:
        print(f"report: {out}/report.html")


def _indices(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers, as 0,3") from None


if __name__ == "__main__":
    sys.exit(main())
