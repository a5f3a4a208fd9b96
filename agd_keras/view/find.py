"""What `agd-view` was given: scans to predict, a folder of predictions, or a run."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agd_keras.errors import InputError
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.labels import read_labelled
from agd_keras.region_masks import first
from agd_keras.runs.fold_folder import FoldFolder
from agd_keras.runs.result_files import CARD, METRICS
from agd_keras.runs.run_folder import RunFolder
from agd_keras.training.quiet import load_keras
from agd_keras.view.case import Entry, Listing, Shown, inside, shown_axial
from agd_keras.view.predictions import TABLE, list_predictions
from agd_keras.weights import find_model

if TYPE_CHECKING:
    from agd_keras.inference.predictor import Predictor


def find_listing(inputs: Sequence[str | Path], model: str, data: str | None = None) -> Listing:
    """Lists the cases of what was given.

    Args:
        inputs: Scans or folders of them; or a run folder; or a folder that `agd-predict` wrote,
            with the scans after it.
        model: What predicts scans, see `load_predictor`.
        data: The data set of a run, if it is elsewhere now.

    Returns:
        The `Listing`. Cases are read, and predicted, once they are opened.

    Raises:
        InputError: Nothing is there, or it is none of these.
    """
    paths = [Path(one) for one in inputs]
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: expected a scan, predictions or a run, found nothing")
    first = paths[0]
    run = RunFolder(first)
    if run.folds_file.is_file() and run.config_file.is_file():
        if len(paths) > 1:
            raise InputError(f"{paths[1]}: expected nothing after a run; --data names its scans")
        return list_run(first, data)
    if data is not None:
        raise InputError("--data: only with a run folder")
    if (first / TABLE).is_file():
        return list_predictions(first, paths[1:])
    return list_scans(paths, model)


def keep_inside(sources: Sequence[CaseRef], roots: Sequence[Path]) -> list[CaseRef]:
    """Leaves out cases with a file that lies elsewhere: behind a link that leads out."""
    return [one for one in sources if all(inside(path, roots) for path in (*one.files, *one.label))]


def list_scans(paths: Sequence[Path], model: str) -> Listing:
    """Lists scans, each to be predicted."""
    place = find_model(model)
    if not place.exists():
        raise InputError(f"--model {model}: expected a model, found nothing")
    sources = keep_inside(find_cases(paths), paths)
    loaded: list[Predictor] = []

    def load(source: CaseRef) -> Shown:
        if not loaded:
            loaded.append(_load_predictor(place))
        taken = loaded[0].preprocessor
        if source.channels != taken.channels:
            # Only now is it known what the model takes.
            found = find_cases(paths, wanted=taken.channels)
            source = next(one for one in found if one.case_id == source.case_id)
            [source] = keep_inside([source], paths)
        case = read_case(taken.claim(source))
        from agd_keras.view.maps import predict_layers

        layers = predict_layers(loaded[0], case.images, case.spacing)
        facts = _size(layers["prediction"][1], case.spacing)
        return shown_axial(Shown(case.flair, case.spacing, layers, facts, case.notes), case)

    entries = [Entry(one.case_id, partial(load, one)) for one in sources]
    return Listing(f"{paths[0].resolve().name} by {model}", entries, card=_card(place))


def list_run(run: Path, data: str | None = None) -> Listing:
    """Lists the patients that the folds of a run were tested on, the worst first.

    Of several regions, the first is shown.
    """
    from agd_keras.data.datasets import cases_of, data_root

    config = RunFolder(run).read_config()
    place = data or config.data.path
    cases = cases_of(config.data.model_copy(update={"path": str(place)}))
    root = data_root(place)
    if root.is_dir():  # a table names its files one by one, wherever they are
        cases = keep_inside(cases, [root])
    whole = {case.case_id: case for case in cases}
    tested: dict[str, tuple[FoldFolder, dict[str, Any]]] = {}
    for fold in RunFolder(run).begun_folds():
        if inside(fold.path, [run]) and fold.is_done:
            for patient, figures in fold.read_metrics().get("subjects", {}).items():
                tested[patient] = (fold, figures)
    if not tested:
        raise InputError(f"{run}: expected folds with {METRICS}: none is finished")
    predictors: dict[str, Predictor] = {}

    def load(patient: str) -> Shown:
        fold, figures = tested[patient]
        if patient not in whole:
            raise InputError(f"{patient}: not in {place} any more; --data names the data set")
        if fold.name not in predictors:
            predictors.clear()  # one at a time in memory
            predictors[fold.name] = _load_predictor(fold.model)
        from agd_keras.view.maps import predict_layers

        case, truth = read_labelled(whole[patient])
        layers = {
            "truth": ("truth", first(truth)),
            **predict_layers(predictors[fold.name], case.images, case.spacing),
        }
        known = {key: figures.get(key) for key in ("dice", "hd95", "voxels_true", "voxels_pred")}
        names = {"dice": "Dice", "hd95": "HD95, pixels", "voxels_true": "Voxels of truth"}
        names["voxels_pred"] = "Voxels predicted"
        facts = {names[key]: _show(value) for key, value in known.items() if value is not None}
        facts["Tested in"] = fold.name
        unknown = "Pictures do not tell their spacing: drawn as a head of usual height."
        notes = case.notes if case.spacing else (*case.notes, unknown)
        return shown_axial(Shown(case.flair, case.spacing, layers, facts, notes), case)

    order = sorted(tested, key=lambda patient: (tested[patient][1].get("dice") or 0, patient))
    entries = [
        Entry(patient, partial(load, patient), tested[patient][1].get("dice")) for patient in order
    ]
    return Listing(f"{run.resolve().name}: test patients", entries, "Dice", _card(run))


def _load_predictor(model: Path) -> "Predictor":
    """Loads a model once one is needed: a list is on the screen long before Keras is there."""
    load_keras()
    from agd_keras.inference.predictor import load_predictor

    return load_predictor(model)


def _card(model: Path) -> str:
    """The card beside a model or within its folder, if there is one."""
    path = (model if model.is_dir() else model.parent) / CARD
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _show(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _size(mask: Any, spacing: Any) -> dict[str, str]:
    from agd_keras.inference.postprocess import measure

    found = measure(mask, mask.astype("f4"), spacing)
    volume = found["volume_mm3"]
    size = f"{found['voxels']:,} voxels" if volume is None else f"{volume / 1000:.2f} ml"
    return {
        "Tumour": size,
        "Slices with tumour": f"{found['slices_with_tumour']} of {found['slices']}",
    }
