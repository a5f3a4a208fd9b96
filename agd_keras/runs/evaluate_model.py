"""Measures a predictor on a data set and writes what it found."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from agd_keras.data.datasets import AUTO, choose_regions, find_data
from agd_keras.data.preprocess import resize_probability
from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.evaluation.readers import readers_table, study_readers
from agd_keras.evaluation.uncertainty import evaluate_uncertainty
from agd_keras.files import content, write_text
from agd_keras.inference.postprocess import THRESHOLD, Postprocessing
from agd_keras.inference.predict_case import predict_case, predict_maps
from agd_keras.inference.predictor import Predictor, load_predictor
from agd_keras.inference.uncertainty import UncertaintyPredictor
from agd_keras.io.case import Case
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.data_set import check_cases, problems_error
from agd_keras.io.fingerprint import data_fingerprint
from agd_keras.io.geometry import square_view
from agd_keras.locks import locked
from agd_keras.regions import names_of
from agd_keras.runs.provenance import find_origin
from agd_keras.runs.report import write_report
from agd_keras.runs.result_files import FIGURES, METRICS, REPORT, SUMS, write_metrics
from agd_keras.viz import charts, overlays
from agd_keras.viz.readers import readers_figure

UNCERTAINTY = "uncertainty.json"
READERS = "readers.json"
DRAWN = (
    *("cases", "dice_per_patient", "confusion_matrix", "reliability", "training"),
    *("filtering_curves", "risk_coverage", "readers"),
    *(f"maps_{rank}" for rank in overlays.RANKS),
)
FILMS = overlays.RANKS[1:]
RESULTS = (
    *(METRICS, SUMS, UNCERTAINTY, READERS, REPORT),
    *(f"{FIGURES}/{name}.png" for name in DRAWN),
    *(f"{FIGURES}/scroll_{rank}.gif" for rank in FILMS),
)


def assess(
    predictor: Predictor,
    cases: Sequence[CaseRef],
    folder: str | Path,
    protocol: dict[str, Any],
    title: str,
    history: str | Path | None = None,
    scored: Mapping[str, Sequence[int]] | None = None,
    progress: Callable[[int, int], object] | None = None,
    uncertainty: str | None = None,
    postprocessing: Postprocessing | None = None,
    second_reader: str | Path | None = None,
) -> dict[str, Any]:
    """Scores cases and writes `metrics.json`, `sums.json`, `figures/` and `report.html`.

    Earlier results in the folder are replaced once the cases are scored.

    Args:
        predictor: What predicts.
        cases: Cases with labels to score, of the regions of the predictor.
        folder: Where the results go; must exist.
        protocol: How the model came about and what it is measured on.
        title: Heading of the report.
        history: The training's `history.csv`, for its curves.
        scored: By case the places of the slices to score, where they are only some of them.
        progress: Called as `progress(done, total)`, in cases.
        uncertainty: `tta`, `ensemble` or `mc_dropout`: also measure how well the prediction knows
            where it fails, on whole cases and by the threshold alone; writes `uncertainty.json`.
        postprocessing: How masks are made of probabilities. Default: by the model's threshold,
            which is also that of one without its own.
        second_reader: Folder of masks of a second reader: also compare the model with both, see
            `study_readers`; writes `readers.json`.

    Returns:
        The metrics, as `evaluate` returns them; `metrics.json` leaves out the sums of patients.
        With a second reader also `readers`, what `study_readers` returned.

    Raises:
        InputError: There is no case, one has no label, sizes do not fit, the history is none, or
            no patient has a second reader.

    Example:

    >>> import tempfile
    >>> from agd_keras.data.phantom import make_phantom
    >>> from agd_keras.io.data_set import find_data_set
    >>> from agd_keras.models import agd_autoencoder
    >>> predictor = Predictor([agd_autoencoder((32, 32, 3), filters=(4, 8))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cases = find_data_set(make_phantom(f"{folder}/data", patients=2, slices=4, size=32))
    ...     metrics = assess(predictor, cases, folder, {"model": "untrained"}, "A try")
    >>> len(metrics["subjects"])
    2
    """
    folder = Path(folder)
    done: list[str] = []

    def on_case(case: str, entry: dict[str, Any] | None = None) -> None:
        done.append(case)
        if progress:
            progress(len(done), len(cases))

    def explain(case: Case, place: int) -> dict[str, np.ndarray]:
        images, where = square_view(case.images, case.spacing)
        maps = predictor.explain(images, place)
        shape = images.shape[1:3]
        return {name: resize_probability(map_, shape)[where[1:]] for name, map_ in maps.items()}

    settled = (postprocessing or Postprocessing()).settle(predictor.calibration.threshold)
    settled.check_uncertainty(uncertainty)
    threshold = settled.threshold or THRESHOLD
    regions = next((case.regions for case in cases), {})
    make_mask = partial(settled.mask, regions=regions)
    predict = partial(predict_case, predictor, flips=settled.flips)
    uncertain = (
        UncertaintyPredictor(predictor, uncertainty, threshold=threshold) if uncertainty else None
    )
    metrics = evaluate(
        *(predict, cases, threshold),
        protocol=protocol,
        on_case=on_case,
        scored=scored,
        make_mask=make_mask,
        judge=predictor.familiarity.judge if predictor.familiarity else None,
    )
    study = None
    if second_reader:
        study = study_readers(predict, cases, second_reader, threshold, make_mask=make_mask)
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    write_metrics(metrics, folder / METRICS)

    chosen = overlays.pick_cases(predict, cases, metrics, scored, explain, make_mask)
    drawn = draw_cases(chosen) | charts.summary_figures(metrics)
    if uncertain:
        done.clear()
        found = evaluate_uncertainty(partial(predict_maps, uncertain), cases, threshold, on_case)
        _write_json({"method": uncertainty, **found}, folder / UNCERTAINTY)
        drawn["filtering_curves"] = charts.filtering_curves(found)
        drawn["risk_coverage"] = charts.risk_coverage(found)
    if study:
        _write_json(study, folder / READERS)
        drawn["readers"] = readers_figure(study)
    if history:
        drawn["training"] = charts.training_curves(charts.read_history(history))
    charts.save_figures(drawn, folder / FIGURES)
    tables = [readers_table(study)] if study else []
    write_report(folder, metrics, drawn, title=title, tables=tables)
    return {**metrics, "readers": study} if study else metrics


def draw_cases(chosen: Sequence[overlays.Shown]) -> dict[str, Figure | bytes]:
    """Draws what a report shows of its cases.

    Args:
        chosen: What `pick_cases` returned, nothing for healthy controls.

    Returns:
        Figures by the names of `RESULTS`, and films as `scroll` returns them.
    """
    drawn: dict[str, Figure | bytes] = {"cases": overlays.cases(chosen)} if chosen else {}
    for case in chosen:
        options: dict[str, Any] = {key: getattr(case, key) for key in ("number", "sides", "aspect")}
        drawn[f"maps_{case.rank}"] = overlays.maps(case.image, case.maps, **options)
    return drawn | {f"scroll_{case.rank}": case.film for case in chosen if case.rank in FILMS}


def _write_json(found: Mapping[str, Any], path: Path) -> None:
    write_text(path, json.dumps(found, indent=1, allow_nan=False) + "\n")


def evaluate_model(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
    uncertainty: str | None = None,
    postprocessing: Postprocessing | None = None,
    second_reader: str | Path | None = None,
    layout: str = AUTO,
    persons: str | None = None,
    missing: str | None = None,
    plane: str | None = None,
) -> dict[str, Any]:
    """Scores a saved model on every patient of a data set.

    Args:
        model: What `load_predictor` takes: a `.keras` file or a run folder.
        data: As for `find_data`, like `layout` and `persons`.
        out: New folder for the results, made once model and data have been read.
        overwrite: Replace the results of an earlier evaluation there.
        progress: Called as `progress(done, total)`, in cases.
        uncertainty: As for `assess`.
        postprocessing: As for `assess`.
        second_reader: As for `assess`.
        layout: How the files of the data lie.
        persons: Whose scan a case is.
        missing: What becomes of contrasts that a case lacks, see `stack_channels`. Default: as the
            model was trained.
        plane: In which slices lie, see `choose_plane`. Default: as the model was trained.

    Returns:
        The metrics, as `assess` returns them.

    Raises:
        InputError: The model, the data (every problem is told) or the folder cannot be used.

    Example:

    >>> metrics = evaluate_model("runs/first", "phantom", "results")  # doctest: +SKIP
    """
    out = Path(out)
    check_folder(out, overwrite)
    predictor = load_predictor(model)
    taken = predictor.preprocessor
    missing, plane = missing or taken.missing, plane or taken.plane
    cases = find_data(data, layout, persons, taken.channels, missing, plane=plane)
    cases = choose_regions(cases, predictor.regions)
    if second_reader and names_of(predictor.regions):
        found = ", ".join(predictor.regions)
        raise InputError(f"--second-reader: expected a model of one region, {model} finds {found}")
    settled = (postprocessing or Postprocessing()).settle(predictor.calibration.threshold)
    settled.check_uncertainty(uncertainty)
    problems = check_cases(cases)
    if problems:
        raise problems_error(data, problems)
    protocol = {
        **find_origin(model, cases),
        "scored": "all patients of the data",
        "data_fingerprint": data_fingerprint(cases),
        **({"postprocessing": asdict(settled)} if postprocessing else {}),
    }
    with locked(out, tidy=True):
        check_folder(out, overwrite)  # another process may have written there meanwhile
        return assess(
            *(predictor, cases, out, protocol, f"{model} on {data}"),
            progress=progress,
            uncertainty=uncertainty,
            postprocessing=settled,
            second_reader=second_reader,
        )


def check_folder(out: Path, overwrite: bool) -> None:
    """Refuses a folder in which results would replace anything else, without changing it.

    Args:
        out: The folder for the results.
        overwrite: It may hold results of an earlier evaluation.

    Raises:
        InputError: It is a file, cannot be read, holds something that is no result, or holds
            results without `overwrite`.

    Example:

    >>> check_folder(Path("no/such/folder"), overwrite=False)
    """
    try:
        if not out.exists():
            return
        if not out.is_dir():
            raise InputError(f"{out}: expected a new folder, found a file")
        pictured = out / FIGURES
        found = [path for path in content(out) if path != pictured or not path.is_dir()]
        found += pictured.iterdir() if pictured.is_dir() else ()
    except OSError as error:
        raise InputError(f"{out}: cannot read the folder: {error.strerror}") from None
    for path in sorted(found):
        name = path.relative_to(out).as_posix()
        if name not in RESULTS or not path.is_file():
            raise InputError(f"{out}: expected a new folder, found one that holds {name}")
    if found and not overwrite:
        raise InputError(f"{out}: expected a new folder, found results; --overwrite replaces")
