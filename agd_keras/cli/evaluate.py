"""`agd-evaluate`: score a trained model on a data set, or set results side by side."""

import argparse
import sys

from agd_keras.cli import common, options
from agd_keras.training.quiet import load_keras

_EPILOG = """\
results: metrics.json, sums.json, figures/ and report.html; --compare writes nothing.
The first folder of --compare is the one that the others are compared with, patient by patient.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-evaluate` and returns its exit status."""
    parser = common.parser("agd-evaluate", "Score a model on every patient of a data set.", _EPILOG)
    source = parser.add_mutually_exclusive_group(required=True)
    options.add_model_option(source, options.ANY_MODEL)
    source.add_argument(
        "--compare",
        nargs="+",
        metavar="[NAME=]FOLDER",
        help="instead of scoring, compare results of the same patients: folders of agd-evaluate "
        "or of agd-train",
    )
    options.add_model_fn(parser)
    options.add_data_options(parser, "--data", required=False)
    options.add_reading_options(parser)
    parser.add_argument("--out", metavar="DIR", help="new folder for the results")
    options.add_mask_options(parser, "measure how well the model knows where it fails")
    parser.add_argument(
        "--second-reader",
        metavar="DIR",
        help="masks of a second reader, by case: compare the model with both, on the patients "
        "that have them",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results there")
    arguments = parser.parse_args(argv)
    if not arguments.compare:
        if not (arguments.data and arguments.out):
            parser.error("--model: expected --data and --out with it")
        return common.run(_evaluate, arguments)
    for name, value in vars(arguments).items():
        if name not in ("compare", "debug") and value != parser.get_default(name):
            parser.error(f"--compare: not together with --{name.replace('_', '-')}")
    return common.run(_compare, arguments)


def _compare(arguments: argparse.Namespace) -> None:
    from agd_keras.evaluation.compare import to_rich
    from agd_keras.runs.compare_folders import compare_folders

    for table in compare_folders(arguments.compare):
        common.print_table(to_rich(table))


def _evaluate(arguments: argparse.Namespace) -> None:
    load_keras()
    options.import_model_fn(arguments)
    from agd_keras.evaluation.compare import to_rich
    from agd_keras.evaluation.readers import readers_table
    from agd_keras.inference.familiarity import UNLIKE
    from agd_keras.inference.postprocess import Postprocessing
    from agd_keras.runs.evaluate_model import evaluate_model
    from agd_keras.runs.report import summary_table
    from agd_keras.wording import counted

    postprocessing = options.read_postprocessing(arguments)
    metrics = evaluate_model(
        arguments.model,
        arguments.data,
        arguments.out,
        arguments.overwrite,
        common.progress_bar("scoring"),
        arguments.uncertainty,
        postprocessing if postprocessing != Postprocessing() else None,
        arguments.second_reader,
        layout=arguments.layout,
        persons=arguments.persons,
        missing=arguments.missing,
        plane=arguments.plane,
    )
    common.print_table(summary_table(metrics))
    if study := metrics.get("readers"):
        common.print_table(to_rich(readers_table(study)))
    subjects = metrics["subjects"].values()
    unlike = sum(bool(entry.get("unlike")) for entry in subjects)
    told = [f"{UNLIKE}{unlike} of {counted(len(subjects), 'case')}"] if unlike else []
    print("; ".join([*told, common.effort()]))
    print(f"report: {arguments.out}/report.html")


if __name__ == "__main__":
    sys.exit(main())
