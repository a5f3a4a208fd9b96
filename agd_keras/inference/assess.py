"""Measures a predictor on a data set and writes what it found."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agd_keras.data.datasets import find_data
from agd_keras.data.slices import Slice, data_fingerprint
from agd_keras.errors import InputError
from agd_keras.evaluation import figures, pictures
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.evaluation.report import write_metrics, write_report
from agd_keras.inference.predictor import Predictor, load_predictor


def assess(
    predictor: Predictor,
    slices: list[Slice],
    folder: str | Path,
    protocol: dict[str, Any],
    title: str,
    history: str | Path | None = None,
    among: list[Slice] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Scores the slices and writes `metrics.json`, `figures/` and `report.html`.

    Args:
        predictor: What predicts.
        slices: Slices with masks to score.
        folder: Where the results go; must exist.
        protocol: How the model came about and what it is measured on.
        title: Heading of the report.
        history: The training's `history.csv`, for its curves.
        among: All slices of the patients, where only some are scored.
        progress: Called as `progress(done, total)`, in patients.

    Returns:
        The metrics, as in `metrics.json`.
    """
    folder = Path(folder)
    patients = len({one.patient for one in slices})
    done: list[str] = []

    def on_patient(patient: str, entry: dict[str, Any]) -> None:
        done.append(patient)
        if progress:
            progress(len(done), patients)

    metrics = evaluate(
        predictor.predict_patient, slices, protocol=protocol, among=among, on_patient=on_patient
    )
    chosen = pictures.pick_cases(
        predictor.predict_patient, slices, metrics, among, predictor.explain
    )
    drawn = {
        "cases": pictures.cases(chosen),
        "dice_per_patient": figures.dice_per_patient(metrics),
        "confusion_matrix": figures.confusion_matrix(metrics),
        "reliability": figures.reliability_diagram(metrics),
    }
    for case in chosen:
        drawn[f"maps_{case.title.split(':')[0].lower()}"] = pictures.maps(case.image, case.maps)
    if history:
        drawn["training"] = figures.training_curves(figures.read_history(history))
    (folder / "figures").mkdir(exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(folder / "figures" / f"{name}.png", dpi=150)
    write_report(folder, metrics, drawn, title=title)
    write_metrics(metrics, folder / "metrics.json")
    return metrics


def evaluate_model(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Scores a saved model on every patient of a data set.

    Args:
        model: What `load_predictor` takes: a `.keras` file or a run folder.
        data: `phantom` or a folder in the `kaggle_3m` layout.
        out: New folder for the results.
        overwrite: Replace the results of an earlier evaluation there.
        progress: Called as `progress(done, total)`, in patients.

    Returns:
        The metrics, as in `metrics.json`.

    Raises:
        InputError: The model, the data or the folder cannot be used.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        if not (out / "metrics.json").is_file() or (out / "config.yaml").exists():
            raise InputError(f"{out}: expected a new folder, found one that holds something else")
        if not overwrite:
            raise InputError(f"{out}: expected a new folder, found results; --overwrite replaces")
        shutil.rmtree(out)
    slices = find_data(data)
    predictor = load_predictor(model)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot make the folder: {error.strerror}") from None
    protocol = {
        "split": "all patients of the data",
        "model": str(model),
        "data_fingerprint": data_fingerprint(slices),
    }
    return assess(predictor, slices, out, protocol, f"{model} on {data}", progress=progress)
