"""Charts and pictures: what they draw is what the metrics say."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from agd_keras.errors import InputError
from agd_keras.evaluation import reliability
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.viz import charts, overlays

HISTORY = {
    "epoch": [1.0, 2.0, 3.0],
    "learning_rate": [1e-3, 5e-4, 1e-4],
    "loss": [0.9, 0.5, 0.4],
    "val_loss": [0.8, 0.6, 0.7],
    "val_dice": [0.4, 0.8, 0.7],
    "val_bce": [0.3, 0.2, 0.1],
    "seconds": [9.0, 8.0, 8.0],
}


def draw(figure):
    """Pixels of the figure; it must draw without a display."""
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    assert pixels[..., :3].std() > 0
    return pixels


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_dice_per_patient_is_sorted(metrics):
    axes = charts.dice_per_patient(metrics).axes[0]
    dots = next(line for line in axes.lines if line.get_marker() == "o")
    ranked = sorted(metrics["subjects"], key=lambda name: metrics["subjects"][name]["dice"])
    assert [label.get_text() for label in axes.get_xticklabels()] == ranked
    np.testing.assert_array_equal(
        dots.get_ydata(), [metrics["subjects"][name]["dice"] for name in ranked]
    )
    heights = {line.get_label().split()[0]: line.get_ydata()[0] for line in axes.lines}
    assert heights["mean"] == metrics["subject"]["mean_dice"]
    assert heights["median"] == metrics["subject"]["median_dice"]


def test_confusion_matrix_holds_the_counts(metrics):
    axes = charts.confusion_matrix(metrics).axes[0]
    total = {
        key: sum(entry[key] for entry in metrics["subjects"].values())
        for key in ("tp", "fn", "fp", "tn")
    }
    assert [text.split("\n")[0] for text in texts(axes)] == [f"{n:,}" for n in total.values()]
    recall = metrics["pooled"]["recall"]
    assert texts(axes)[0].endswith(f"{100 * recall:.2f} %")
    assert axes.images[0].get_array()[1, 1] == pytest.approx(100 * metrics["pooled"]["specificity"])


def test_reliability_diagram_holds_the_curve(metrics):
    curve, histogram = charts.reliability_diagram(metrics).axes
    entries = metrics["subjects"].values()
    sums = reliability.add_calibration([entry["calibration"] for entry in entries])
    model = next(line for line in curve.lines if line.get_label() == "model")
    np.testing.assert_array_equal(model.get_xydata().T, reliability.reliability(sums)[:2])
    assert [bar.get_height() for bar in histogram.patches] == sums["pixels"]
    assert texts(curve)[0].startswith(f"ECE {metrics['calibration']['ece']:.3f}")


def test_training_curves_have_a_panel_for_each_unit():
    figure = charts.training_curves(HISTORY)
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert list(panels) == ["loss", "score (0 to 1)", "cross-entropy", "learning rate"]
    drawn = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    for name in set(HISTORY) - {"epoch", "seconds"}:
        np.testing.assert_array_equal(drawn[name].get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(drawn[name].get_ydata(), HISTORY[name])
    assert "seconds" not in drawn
    assert panels["score (0 to 1)"].get_title() == "best val_dice: 0.800 at 2"
    assert panels["cross-entropy"].get_title() == "best val_bce: 0.100 at 3"


def test_training_curves_count_epochs_from_one():
    (loss,) = charts.training_curves({"loss": [0.9, 0.5]}).axes[0].lines
    np.testing.assert_array_equal(loss.get_xdata(), [1, 2])


@pytest.mark.parametrize("history", [{}, {"epoch": [1.0], "val_dice": [float("nan")]}])
def test_training_curves_of_nearly_nothing(history):
    FigureCanvasAgg(charts.training_curves(history)).draw()


def test_history_reads_what_keras_writes(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,val_dice\n1,0.5,\n2,0.25,0.75\n")
    history = charts.read_history(path)
    assert history["epoch"] == [1, 2]
    assert history["loss"] == [0.5, 0.25]
    assert np.isnan(history["val_dice"][0])
    assert history["val_dice"][1] == 0.75


@pytest.mark.parametrize("content", ["epoch,loss\n0,high\n", None])
def test_history_that_is_none(tmp_path, content):
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"history\.csv: expected a history"):
        charts.read_history(path)


def test_empty_history(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("")
    assert charts.read_history(path) == {}


def test_cases_are_best_and_worst_at_their_largest_slice(dataset, metrics, shifted):
    chosen = overlays.pick_cases(shifted, dataset, metrics)
    assert [case.rank for case in chosen] == ["best", "median"]
    assert [case.title.split(":")[0] for case in chosen] == ["Best", "Median"]
    assert "a, slice 6" in chosen[0].title
    assert "b, slice 2" in chosen[1].title
    median = metrics["subject"]["median_dice"]  # of all patients: another one's than b's
    assert f"{metrics['subjects']['b']['dice']:.3f}, next to {median:.3f}" in chosen[1].title
    assert f"{metrics['subjects']['a']['dice']:.3f}" in chosen[0].title
    [source] = [ref for ref in dataset if ref.case_id == "a"]
    place = source.numbers.index(6)
    np.testing.assert_array_equal(
        chosen[0].image, np.asarray(Image.open(source.files[place]))[..., 1]
    )
    np.testing.assert_array_equal(chosen[0].truth, np.asarray(Image.open(source.label[place])) > 0)
    np.testing.assert_array_equal(chosen[0].prediction, np.roll(chosen[0].truth, 2, axis=1))
    for case, patient in zip(chosen, "ab", strict=True):
        film = Image.open(io.BytesIO(case.film))
        assert film.n_frames == {"a": 12, "b": 3}[patient]


def test_a_film_has_the_slices_that_were_scored(dataset, shifted):
    part, scored = dataset[:1], {"a": list(range(5, 12))}
    metrics = evaluate(shifted, part, scored=scored)
    [case] = overlays.pick_cases(shifted, part, metrics, scored)
    assert Image.open(io.BytesIO(case.film)).n_frames == 7


def test_saved_figures_and_films(dataset, metrics, shifted, tmp_path):
    chosen = overlays.pick_cases(shifted, dataset, metrics)
    drawn = {"cases": overlays.cases(chosen), "scroll_best": chosen[0].film}
    charts.save_figures(drawn, tmp_path / "figures")
    found = {path.name: Image.open(path) for path in (tmp_path / "figures").iterdir()}
    assert {name: one.format for name, one in found.items()} == {
        "cases.png": "PNG",
        "scroll_best.gif": "GIF",
    }


def test_no_patient_with_tumour_makes_no_case(dataset, shifted):
    part = [ref for ref in dataset if ref.case_id == "c"]
    assert overlays.pick_cases(shifted, part, evaluate(shifted, part)) == []


def test_outlines_lie_on_the_border_of_the_mask():
    truth = np.zeros((20, 30), dtype=bool)
    truth[0:6, 10:20] = True  # meets the upper border of the picture
    blank = np.zeros_like(truth)
    case = overlays.Shown("one", np.zeros((20, 30, 3), np.uint8), truth, blank)
    figure = overlays.cases([case])
    plain, outlined = figure.axes
    assert plain.get_title() == "one"
    (contour,) = outlined.collections  # an empty prediction has no outline
    points = contour.get_paths()[0].vertices
    assert (points.min(axis=0), points.max(axis=0)) == (
        pytest.approx([9.5, -0.5]),
        pytest.approx([19.5, 5.5]),
    )
    assert outlined.get_aspect() == 1.0
    draw(figure)


def test_sides_and_number_are_written_where_they_are_known():
    image, blank = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), bool)
    for sides, letters in (("RL", ["R", "L"]), ("AP", ["A", "P"]), ("", [])):
        case = overlays.Shown("one", image, blank, blank, number=7, sides=sides)
        maps = overlays.maps(image, {"gate": np.eye(4)}, number=case.number, sides=sides)
        assert maps.axes[0].get_title() == "FLAIR, slice 7"
        for axes in (*overlays.cases([case]).axes, *maps.axes[:2]):
            at = {text.get_text(): text.get_position()[0] for text in axes.texts}
            assert sorted(at, key=at.get) == letters


def test_maps_are_stretched_over_the_slice():
    figure = overlays.maps(np.zeros((20, 30, 3), np.uint8), {"gate": np.eye(4), "edge": np.eye(20)})
    gate = figure.axes[1].images[1]
    assert gate.get_extent() == [-0.5, 29.5, 19.5, -0.5]
    assert gate.get_clim() == (0, 1)
    assert "0 to 1" in figure.axes[-1].get_ylabel()
    draw(figure)


def test_every_figure_draws(dataset, metrics, shifted):
    chosen = overlays.pick_cases(shifted, dataset, metrics)
    for figure in (
        overlays.cases(chosen),
        charts.dice_per_patient(metrics),
        charts.confusion_matrix(metrics),
        charts.reliability_diagram(metrics),
        charts.training_curves(HISTORY),
    ):
        draw(figure)


def test_figures_of_one_patient_without_tumour(dataset, make_predictor):
    predict = make_predictor(lambda truth: np.zeros(truth.shape))
    metrics = evaluate(predict, [ref for ref in dataset if ref.case_id == "c"])
    for make in (charts.dice_per_patient, charts.confusion_matrix, charts.reliability_diagram):
        draw(make(metrics))
