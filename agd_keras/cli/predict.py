"""`agd-predict`: outline the tumour in images."""

import argparse
import sys

from agd_keras.cli import common, options
from agd_keras.training.quiet import load_keras

_EPILOG = """\
inputs: TIFF, PNG, NIfTI and DICOM files, folders of them at any depth, kaggle_3m patients.
Contrasts in files of their own (BraTS' _t1, _flair, _t1ce) are one case. Colour is pre-contrast T1,
FLAIR and post-contrast T1; a single contrast is FLAIR, which also stands in for missing ones.
results: <case>_mask in the input's format and geometry, <case>_overlay.png, predictions.csv;
with --uncertainty <case>_uncertainty.npz and .png.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-predict` and returns its exit status."""
    parser = common.parser("agd-predict", "Outline the tumour in images.", _EPILOG)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a file or folder")
    source = parser.add_mutually_exclusive_group(required=True)
    options.add_model_option(source, options.ANY_MODEL)
    source.add_argument(
        "--server",
        metavar="URL",
        help="a TensorFlow Serving: http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME",
    )
    options.add_model_fn(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results there")
    parser.add_argument(
        "--threshold",
        type=options.number(float, gt=0, le=1),
        metavar="P",
        help="least probability (default: the model's, 0.5)",
    )
    several = parser.add_mutually_exclusive_group()
    several.add_argument(
        "--flips", action="store_true", help="average with the prediction of the mirrored head"
    )
    options.add_uncertainty_option(several, "write maps of how sure the prediction is")
    parser.add_argument(
        "--largest-component", action="store_true", help="keep the largest tumour of a case only"
    )
    parser.add_argument(
        "--min-size",
        type=options.number(int, ge=0),
        default=0,
        metavar="N",
        help="leave out smaller ones, in voxels",
    )
    parser.add_argument(
        "--batch-size",
        type=options.number(int, ge=1),
        metavar="N",
        help="slices through the network at a time",
    )
    parser.add_argument("--no-overlays", action="store_true", help="draw no pictures")
    return common.run(_predict, parser.parse_args(argv))


def _predict(arguments: argparse.Namespace) -> None:
    load_keras()
    options.import_model_fn(arguments)
    from agd_keras.export.serving import ServingClient
    from agd_keras.inference.predict_files import TABLE, predict_files
    from agd_keras.inference.predictor import Predictor, load_predictor

    predictor: ServingClient | Predictor
    if arguments.server:
        predictor = ServingClient(arguments.server)
    else:
        predictor = load_predictor(arguments.model)
    threshold = predictor.calibration.threshold
    if arguments.batch_size:
        predictor.batch_size = arguments.batch_size
    rows = predict_files(
        predictor,
        arguments.inputs,
        arguments.out,
        threshold=threshold if arguments.threshold is None else arguments.threshold,
        flips=arguments.flips,
        largest_component=arguments.largest_component,
        min_size=arguments.min_size,
        overlays=not arguments.no_overlays,
        uncertainty=arguments.uncertainty,
        overwrite=arguments.overwrite,
        progress=common.progress_bar("predicting"),
    )
    slices = sum(row["slices"] for row in rows)
    print(f"cases: {len(rows)}, slices: {slices}; {common.effort()}")
    print(f"table: {arguments.out}/{TABLE}")


if __name__ == "__main__":
    sys.exit(main())
