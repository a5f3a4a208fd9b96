"""Puts a trained network into the package: `python benchmarks/ship_weights.py --help`.

The network comes from a run on all patients (`--folds 0`). How good it is, only a tested run of the
same recipe can say: its figures go into the model card, and the mean temperature of its folds into
the network, as the patients kept from the own training are too few. `make weights` does all of it.

With `--elsewhere` it only adds to a card what `elsewhere.py` printed of scans of another source,
with `--describe` it only describes the images that shipped networks were trained on anew.
"""

import argparse
import hashlib
import shutil
import sys
from pathlib import Path

from agd_keras.config import RunConfig, differences, save_config
from agd_keras.data.cache import build_cache
from agd_keras.data.datasets import find_data
from agd_keras.data.preprocessor import preprocessor_of
from agd_keras.data.splits import select
from agd_keras.errors import InputError
from agd_keras.files import filled, write_text
from agd_keras.inference.calibration import read_calibration, write_calibration
from agd_keras.inference.familiarity import (
    familiar_with,
    read_familiarity,
    write_familiarity,
)
from agd_keras.inference.stored_preprocessor import write_preprocessor
from agd_keras.runs.report import write_model_card
from agd_keras.runs.result_files import METRICS, read_json
from agd_keras.runs.run_folder import FINGERPRINTS, RunFolder
from agd_keras.runs.seen import write_fingerprints
from agd_keras.weights import CHECKSUM, FOLDER, MODEL, shipped

ELSEWHERE = """## Scans from elsewhere
Three high-grade gliomas of BraTS 2018: heads without skull, 1 mm, FLAIR and T1, FLAIR in place of
the T1 after contrast agent. The recipe was chosen by these three cases, so that this is no test.
Confidence is the mean probability of what is marked; precision is the share of it that is right.
"""
LIMIT = 8_000_000  # bytes of a network that ships
# Options that are not of the recipe: which patients, and on what machine.
SPLIT = {"data.path", "data.folds", "data.portions", "data.validation_portions"}
MACHINE = {"training.precision", "training.strategy"}


def ship(run: Path, tested: Path, data: str) -> Path:
    """Copies the network of a run with its log, calibrates it, and writes its model card.

    Args:
        run: A run folder made with `data.folds` of 0.
        tested: A finished run of the same recipe with a test, or a tested fold of one.
        data: The data in words, for the card; also takes the place of the path in the config.

    Returns:
        The folder in the package.

    Raises:
        InputError: The runs do not belong together, or the network is too large.
    """
    fold_alone = tested.name.startswith("fold-")
    folders = (run, tested.parent if fold_alone else tested)
    config, recipe = (RunFolder(one).read_config() for one in folders)
    other = set(differences(config, recipe)) - SPLIT - MACHINE
    if other or config.data.folds:
        what = ", ".join(sorted(other)) or "data.folds other than 0"
        raise InputError(f"{run}: expected the recipe of {tested} on all, found {what}")
    metrics = read_json(tested / METRICS)
    record = RunFolder(run).fold(0).read_record()
    if metrics["protocol"]["data_fingerprint"] != record["data_fingerprint"]:
        raise InputError(f"{run}: trained on other data than {tested}")
    content = (run / MODEL).read_bytes()
    if len(content) > LIMIT:
        raise InputError(f"{run / MODEL}: expected at most {LIMIT:,} bytes, found {len(content):,}")

    fold = RunFolder(run).read_folds()[0]
    with filled(FOLDER / config.preset, True) as made:
        (made / MODEL).parent.mkdir()
        (made / MODEL).write_bytes(content)
        if familiarity := read_familiarity(run / MODEL):
            write_familiarity(made / MODEL, familiarity)
        calibrated = tested / Path(MODEL).name if fold_alone else tested
        write_calibration(made / MODEL, read_calibration(calibrated))
        write_preprocessor(made / MODEL, preprocessor_of(config.data))
        for name in ("folds.json", FINGERPRINTS, "fold-0/history.csv", "fold-0/environment.json"):
            shutil.copyfile(run / name, made / name)
        values = config.model_dump(mode="json")
        values["data"]["path"] = data
        save_config(RunConfig.model_validate(values), RunFolder(made).config_file)
        checksum = hashlib.sha256((made / MODEL).read_bytes()).hexdigest()
        write_text(made / CHECKSUM, f"{checksum}  {MODEL}\n")
        write_model_card(
            made / "MODEL_CARD.md",
            metrics,
            model=f"{config.preset}, {config.data.image_size}×{config.data.image_size} pixels",
            data=f"{data}: trained on {len(fold.train)} patients; {len(fold.validation)} others "
            "picked the epoch. The figures below are of networks of the same recipe that did not "
            "see the patients they were tested on, not of this file; its temperature is the mean "
            f"of theirs.{' Only one fold was tested.' if fold_alone else ''}",
            data_license="CC BY-NC-SA 4.0 (TCGA-LGG by way of kaggle_3m); so these weights, too, "
            "are for non-commercial use",
            parameters=record["parameters"],
        )
    return FOLDER / config.preset


def describe(data: Path) -> None:
    """Writes `fingerprints.json` and `familiarity.json` of the shipped networks.

    Args:
        data: The data that they were trained on.

    Raises:
        InputError: It is other data.
    """
    for preset in shipped():
        folder = FOLDER / preset
        config = RunFolder(folder).read_config()
        cache = build_cache(find_data(data), preprocessor_of(config.data))
        expected = read_json(folder / "fold-0" / "environment.json")[-1]["data_fingerprint"]
        if cache.data_fingerprint != expected:
            raise InputError(f"{data}: other data than {preset} was trained on")
        print(write_fingerprints(folder, cache))
        [fold] = RunFolder(folder).read_folds()
        trained_on = {one.case for one in select(cache.slices, fold.train, config.data.split)}
        familiarity = familiar_with(cache, trained_on, config.data.augment)
        print(write_familiarity(folder / MODEL, familiarity))


def add_elsewhere(preset: str, table: Path) -> Path:
    """Ends the card of a shipped network with what it reaches on scans of another source.

    Args:
        preset: Name of the network.
        table: What `benchmarks/elsewhere.py` printed of it.

    Returns:
        The card.

    Raises:
        InputError: The network does not ship, or the file has no line about it.
    """
    if preset not in shipped():
        raise InputError(f"{preset}: expected one of {', '.join(shipped())}")
    lines = table.read_text(encoding="utf-8").splitlines()
    own = [line for line in lines if line.startswith(f"| {preset} |")]
    if not own:
        raise InputError(f"{table}: expected lines about {preset}, as elsewhere.py prints them")
    card = FOLDER / preset / "MODEL_CARD.md"
    text = card.read_text(encoding="utf-8").partition(ELSEWHERE)[0]
    write_text(card, "\n".join([text.rstrip(), "", ELSEWHERE, *lines[:2], *own, ""]))
    return card


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="run folder of --folds 0")
    parser.add_argument("--tested", type=Path, help="run with a test")
    parser.add_argument("--data", default="data/kaggle_3m", help="what it was trained on, in words")
    parser.add_argument(
        "--elsewhere",
        nargs=2,
        metavar=("PRESET", "TABLE"),
        help="only add what benchmarks/elsewhere.py printed to the card",
    )
    parser.add_argument("--describe", metavar="DATA", type=Path, help="only describe this data")
    arguments = parser.parse_args()
    single = arguments.describe or arguments.elsewhere
    if not (single or (arguments.run and arguments.tested)):
        parser.error("expected --run and --tested, --elsewhere or --describe")
    try:
        if arguments.elsewhere:
            preset, table = arguments.elsewhere
            print(add_elsewhere(preset, Path(table)))
            return 0
        if arguments.describe:
            describe(arguments.describe)
            return 0
        print(ship(arguments.run, arguments.tested, arguments.data))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
