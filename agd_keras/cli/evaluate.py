"""`agd-evaluate`: score a trained model on a data set."""

import argparse
import sys

from agd_keras.cli import common, options
from agd_keras.training.quiet import load_keras


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-evaluate` and returns its exit status."""
    parser = common.parser("agd-evaluate", "Score a model on every patient of a data set.")
    options.add_model_option(parser, options.ANY_MODEL, required=True)
    options.add_model_fn(parser)
    options.add_data_options(parser, "--data", required=True)
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder for the results")
    options.add_uncertainty_option(parser, "measure how well the model knows where it fails")
    parser.add_argument(
        "--second-reader",
        metavar="DIR",
        help="masks of a second reader, by case: compare the model with both, on the patients "
        "that have them",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results there")
    return common.run(_evaluate, parser.parse_args(argv))


def _evaluate(arguments: argparse.Namespace) -> None:
    load_keras()
    options.import_model_fn(arguments)
    from agd_keras.evaluation.compare import to_rich
    from agd_keras.evaluation.readers import readers_table
    from agd_keras.runs.evaluate_model import evaluate_model
    from agd_keras.runs.report import summary_table

    metrics = evaluate_model(
        arguments.model,
        arguments.data,
        arguments.out,
        arguments.overwrite,
        common.progress_bar("scoring"),
        arguments.uncertainty,
        arguments.second_reader,
        layout=arguments.layout,
        persons=arguments.persons,
    )
    common.print_table(summary_table(metrics))
    if study := metrics.get("readers"):
        common.print_table(to_rich(readers_table(study)))
    print(common.effort())
    print(f"report: {arguments.out}/report.html")


if __name__ == "__main__":
    sys.exit(main())
