"""`agd-export`: make a trained model run without this package."""

import argparse
import sys
from importlib.util import find_spec
from typing import Any

from agd_keras.cli import common, options
from agd_keras.errors import InputError
from agd_keras.training.quiet import load_keras
from agd_keras.web import find_page

NEEDED = {
    "saved_model": ("tensorflow_serving",),
    "tflite": ("ai_edge_litert",),
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "web": ("onnx", "tf2onnx", "onnxruntime"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-export` and returns its exit status."""
    parser = common.parser("agd-export", "Export a trained model, compared with the original.")
    options.add_model_option(parser, "a .keras file, or a run folder", required=True)
    options.add_model_fn(parser)
    parser.add_argument("--format", required=True, choices=tuple(NEEDED))
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="new folder; for saved_model the folder of the served model, which gets a new version",
    )
    parser.add_argument(
        "--data",
        help="data to compare on: `phantom`, a folder or a table (default: the data of the run)",
    )
    parser.add_argument(
        "--quantize",
        choices=("float32", "float16", "int8"),
        help="numeric type of a tflite file (default: float32)",
    )
    parser.add_argument(
        "--model-version",
        type=options.number(int, ge=1),
        metavar="N",
        help="version number of a saved_model (default: the next free one)",
    )
    parser.add_argument(
        "--threshold",
        type=options.number(float, gt=0, lt=1),
        metavar="P",
        help="lowest probability that is marked (default: that of the model)",
    )
    parser.add_argument(
        "--max-drop",
        type=options.number(float, ge=0, le=1),
        default=0.005,
        metavar="DICE",
        help="refuse an export that loses more Dice (default: %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a tflite, onnx or web export there"
    )
    arguments = parser.parse_args(argv)
    for option, kinds in {
        "quantize": ("tflite",),
        "model_version": ("saved_model",),
        "overwrite": ("tflite", "onnx", "web"),
    }.items():
        if getattr(arguments, option) and arguments.format not in kinds:
            flag = f"--{option.replace('_', '-')}"
            parser.error(f"{flag}: only with --format {' or '.join(kinds)}")
    return common.run(_export, arguments)


def _export(arguments: argparse.Namespace) -> None:
    for module in NEEDED[arguments.format]:
        if find_spec(module) is None:
            raise InputError(
                f"--format {arguments.format}: expected {module.replace('_', '-')} to be "
                "installed, in a clone `pip install -e .[export]`"
            )
    if arguments.format == "web":
        find_page()
    load_keras()
    options.import_model_fn(arguments)
    from agd_keras.export.onnx import export_onnx
    from agd_keras.export.parity import parity_table, read_parity
    from agd_keras.export.saved_model import export_saved_model
    from agd_keras.export.tflite import export_tflite
    from agd_keras.export.web import export_web

    shared: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("model", "out", "data", "threshold", "max_drop")
    }
    if arguments.format == "saved_model":
        made = export_saved_model(**shared, version=arguments.model_version)
    elif arguments.format == "tflite":
        shared["quantize"] = arguments.quantize or "float32"
        made = export_tflite(**shared, overwrite=arguments.overwrite)
    else:
        export = {"onnx": export_onnx, "web": export_web}[arguments.format]
        made = export(**shared, overwrite=arguments.overwrite)
    common.print_table(parity_table(read_parity(made)))
    print(f"export: {made}")
    if arguments.format == "web":
        print(f"to see it: {sys.executable} -m http.server -b 127.0.0.1 -d {made.parent}")


if __name__ == "__main__":
    sys.exit(main())
