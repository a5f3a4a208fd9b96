"""`agd-predict`: outline the tumour in images."""

import argparse
import sys

from agd_keras.cli import common, options
from agd_keras.training.quiet import load_keras

_EPILOG = """\
inputs: TIFF, PNG, NIfTI and DICOM files, folders of them at any depth, kaggle_3m patients.
Files of one contrast each are joined to a case by their names (BraTS, BIDS, dcm2niix, nnU-Net with
its dataset.json), DICOM series by tags and descriptions. If these are ambiguous, use --flair, --t1,
--t1c or --channels. Colour is pre-contrast T1, FLAIR and post-contrast T1; FLAIR replaces missing
contrasts.
results: <case>_mask in the input's format and geometry, <case>_overlay.png, predictions.csv;
with --uncertainty <case>_uncertainty.npz and .png; with --save-probability <case>_probability.
"""

CONTRASTS = ("FLAIR", "T1", "T1c", "T2")


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-predict` and returns its exit status."""
    parser = common.parser("agd-predict", "Outline the tumour in images.", _EPILOG)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="a file or folder")
    for contrast in CONTRASTS:
        parser.add_argument(
            f"--{contrast.lower()}",
            metavar="FILE",
            help=f"the {contrast} of a case: a NIfTI file, or a folder or file of a DICOM series",
        )
    parser.add_argument(
        "--channels",
        metavar="NAME,...",
        help="order of channels of 4-D NIfTI and of files _0000, _0001, ...: t1,t1c,t2,flair",
    )
    options.add_reading_options(parser)
    parser.add_argument(
        "--series-descriptions",
        action="store_true",
        help="write descriptions of DICOM series, typed by hand, into the table",
    )
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
    options.add_mask_options(parser, "write maps of how sure the prediction is")
    parser.add_argument(
        "--batch-size",
        type=options.number(int, ge=1),
        metavar="N",
        help="slices that the network predicts at a time",
    )
    parser.add_argument(
        "--save-probability",
        action="store_true",
        help="write the probability, and with --uncertainty its entropy and mutual information, as "
        "NIfTI in the scan's geometry (.npz of pictures)",
    )
    parser.add_argument(
        "--format",
        choices=("source", "nnunet"),
        default="source",
        help="masks in the input's format, or <case>.nii.gz as for a challenge (default: source)",
    )
    parser.add_argument("--no-overlays", action="store_true", help="draw no pictures")
    arguments = parser.parse_args(argv)
    if not arguments.inputs and not _contrasts(arguments):
        parser.error("expected an INPUT, or --flair FILE")
    return common.run(_predict, arguments)


def _contrasts(arguments: argparse.Namespace) -> dict[str, str]:
    """Files by contrast that the user names."""
    given = {contrast: getattr(arguments, contrast.lower()) for contrast in CONTRASTS}
    return {contrast: file for contrast, file in given.items() if file}


def _predict(arguments: argparse.Namespace) -> None:
    channels: tuple[str, ...] = ()
    if arguments.channels:
        from agd_keras.io.layouts.dataset_json import parse_order

        channels = parse_order(arguments.channels)
    load_keras()
    options.import_model_fn(arguments)
    from agd_keras.inference.familiarity import UNLIKE
    from agd_keras.inference.predict_files import TABLE, predict_files
    from agd_keras.inference.predictor import Predictor, load_predictor
    from agd_keras.inference.serving import ServingClient

    predictor: ServingClient | Predictor
    if arguments.server:
        predictor = ServingClient(arguments.server)
    else:
        predictor = load_predictor(arguments.model)
    postprocessing = options.read_postprocessing(arguments).settle(predictor.calibration.threshold)
    if arguments.batch_size:
        predictor.batch_size = arguments.batch_size
    rows = predict_files(
        predictor,
        arguments.inputs,
        arguments.out,
        postprocessing=postprocessing,
        overlays=not arguments.no_overlays,
        uncertainty=arguments.uncertainty,
        save_probability=arguments.save_probability,
        mask_format=arguments.format,
        overwrite=arguments.overwrite,
        channels=channels,
        contrasts=_contrasts(arguments),
        descriptions=arguments.series_descriptions,
        missing=arguments.missing,
        plane=arguments.plane,
        familiarity=None if isinstance(predictor, ServingClient) else predictor.familiarity,
        progress=common.progress_bar("predicting"),
    )
    slices = sum(row["slices"] for row in rows)
    notes = [row["notes"] for row in rows]
    if len(rows) > 1:
        told = {"with warnings: ": "warning: ", UNLIKE: UNLIKE}
        counts = {words: sum(sign in note for note in notes) for words, sign in told.items()}
        notes = [f"{words}{count}" for words, count in counts.items() if count]
    print(
        "; ".join([f"cases: {len(rows)}, slices: {slices}", *filter(None, notes), common.effort()])
    )
    print(f"table: {arguments.out}/{TABLE}")


if __name__ == "__main__":
    sys.exit(main())
