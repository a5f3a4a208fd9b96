"""The networks of a cross-validation beside two readers, on patients they have not seen.

    python benchmarks/readers.py --run runs/agd_small-5fold --fold 0 1 2 3 4 --second-reader DIR

`agd-evaluate --second-reader` does it for one model on a data set; here each fold's network
predicts its own test patients, and the figures are over those that both readers have outlined.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from agd_keras.data.datasets import cases_of
from agd_keras.errors import InputError
from agd_keras.evaluation.readers import readers_table, study_readers, summarize_readers
from agd_keras.runs.run_folder import RunFolder
from agd_keras.training.quiet import load_keras


def study_fold(run: Path, index: int, second: Path) -> dict[str, dict[str, Any]]:
    """Compares the network of a fold with the readers: by test patient what they have in common."""
    from agd_keras.inference.predict_case import predict_case
    from agd_keras.inference.predictor import load_predictor

    folder = RunFolder(run)
    data = folder.read_config().data
    if data.split != "subject":
        raise InputError(f"{run}: expected a run by patient, found --split {data.split}")
    fold = folder.read_folds()[index]
    test = [case for case in cases_of(data) if case.patient_id in fold.test]
    predictor = load_predictor(folder.fold(index).model)
    predict = partial(predict_case, predictor)
    return study_readers(predict, test, second, predictor.calibration.threshold)["subjects"]


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--fold", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--second-reader", type=Path, required=True, help="masks, by case")
    options = parser.parse_args()
    load_keras()
    subjects: dict[str, dict[str, Any]] = {}
    try:
        for index in options.fold:
            subjects |= study_fold(options.run, index, options.second_reader)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = readers_table({**summarize_readers(subjects), "subjects": subjects})
    rows = [table.header, ["---"] * len(table.header), *table.rows]
    print(f"**{table.title}**\n")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    print("\n| patient | readers | model, reader 1 | model, reader 2 |\n|---|---:|---:|---:|")
    for patient, entry in sorted(subjects.items(), key=lambda item: item[1]["first"]):
        cells = (f"{entry[key]:.3f}" for key in ("readers", "first", "second"))
        print(f"| {patient} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
