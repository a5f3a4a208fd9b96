"""Each option of a config arrives where it acts: optimiser, loss, schedule, stream, monitor."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from agd_keras.config import make_config
from agd_keras.data.cache import build_cache
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.io.data_set import find_data_set
from agd_keras.losses import EdgeCrossEntropy, make_loss
from agd_keras.models.registry import Head, Network
from agd_keras.optimizers import AdamW
from agd_keras.runs.search.space import open_study
from agd_keras.training import fit as fit_fold_module
from agd_keras.training.build import build_model, compile_model, make_variables
from agd_keras.training.callbacks import ScoreValidation
from agd_keras.training.fit import fit_fold, stages_of

MODEL = {"filters": [2, 4], "skips": [1, 2], "attention_at": [2], "edge_filters": 2}


def one_layer(*_):
    """Stands for the network, which takes seconds to build."""
    image = keras.Input((16, 16, 3))
    heads = {name: keras.layers.Conv2D(1, 1, name=name)(image) for name in ("mask", "edge")}
    return Network(keras.Model(image, heads), dict.fromkeys(heads, Head()))


def compiled(steps=10, model=None, **training):
    made = model or one_layer().model
    compile_model(made, make_config({"training": training}).training, steps)
    return made


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"optimizer": "adamw"}, {"__class__": AdamW}),
        ({"optimizer": "adam"}, {"__class__": keras.optimizers.Adam, "weight_decay": None}),
        ({"optimizer": "adamw", "weight_decay": 0.03}, {"weight_decay": 0.03}),
        ({"clip_norm": 0.5}, {"global_clipnorm": 0.5}),
        ({"clip_norm": 2.0, "optimizer": "adam"}, {"global_clipnorm": 2.0}),
        ({"clip_norm": 0.0}, {"global_clipnorm": None, "clipnorm": None, "clipvalue": None}),
        ({"ema": 0.0}, {"use_ema": False}),
        ({"ema": 0.9}, {"use_ema": True, "ema_momentum": 0.9}),
        ({"ema": 0.5, "optimizer": "adam"}, {"use_ema": True, "ema_momentum": 0.5}),
    ],
)
def test_optimizer(options, expected):
    optimizer = compiled(**options).optimizer
    assert {name: getattr(optimizer, name) for name in expected} == expected


def test_weight_decay_spares_biases_and_what_normalises():
    options = {"learning_rate": 0.1, "weight_decay": 0.2, "schedule": "constant", "ema": 0.0}
    config = make_config({"model": MODEL, "data": {"image_size": 16}})
    model = compiled(model=build_model(config.model, 16), **options)
    make_variables(model)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    model.optimizer.apply([np.zeros(variable.shape, "float32") for variable in variables])
    left = {one.path: float(np.ravel(one.numpy())[0]) for one in variables}
    # Kernels have more than one axis, biases and what normalises have one.
    kernels = {one.path for one in variables if len(one.shape) > 1}
    assert {path: value for path, value in left.items() if path in kernels} == pytest.approx(
        dict.fromkeys(kernels, 1 - 0.1 * 0.2), rel=1e-6
    )
    assert len(kernels) >= 8 and len(left) - len(kernels) >= 8
    assert {value for path, value in left.items() if path not in kernels} == {1.0}


def test_gradients_are_clipped_by_their_common_norm():
    model = compiled(clip_norm=1.0, optimizer="adam", learning_rate=1.0, schedule="constant")
    make_variables(model)
    variables = model.trainable_variables
    seen = []
    model.optimizer.update_step = lambda gradient, *_: seen.append(np.asarray(gradient))
    model.optimizer.apply([np.full(one.shape, 3.0, "float32") for one in variables])
    norm = math.sqrt(sum(float((one**2).sum()) for one in seen))
    assert norm == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("loss", ["dice", "focal", "cross_entropy", "cross_entropy_dice"])
@pytest.mark.parametrize("edge_weight", [0.0, 0.2, 3.0])
def test_loss_is_that_of_the_mask_and_a_share_of_the_edge(loss, edge_weight):
    model = compiled(loss=loss, edge_weight=edge_weight)
    random = np.random.default_rng(0)
    truth = (random.random((2, 16, 16, 1)) > 0.8).astype("float32")
    mask, edge = random.uniform(0.1, 0.9, (2, *truth.shape)).astype("float32")
    outputs = {"mask": mask, "edge": edge}
    total = model.compute_loss(y=dict.fromkeys(outputs, truth), y_pred=outputs)
    expected = make_loss(loss)(truth, mask) + edge_weight * EdgeCrossEntropy()(truth, edge)
    assert float(total) == pytest.approx(float(expected), rel=1e-5)


def rates(steps, at, **training):
    rate = compiled(steps, **training).optimizer._learning_rate
    return [float(rate(step)) if callable(rate) else float(rate.numpy()) for step in at]


@pytest.mark.parametrize(("warmup_epochs", "steps"), [(1.0, 10), (0.5, 10), (3.0, 7), (0.0, 10)])
def test_learning_rate_rises_over_the_warmup_and_falls_by_a_cosine(warmup_epochs, steps):
    highest, epochs = 4e-3, 8
    options = {"learning_rate": highest, "epochs": epochs, "warmup_epochs": warmup_epochs}
    last, warmup = epochs * steps, round(warmup_epochs * steps)
    at = range(last + 1)
    rise = [highest / 20 + (highest - highest / 20) * step / max(warmup, 1) for step in at[:warmup]]
    shares = [(step - warmup) / (last - warmup) for step in at[warmup:]]
    fall = [highest * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2) for share in shares]
    found = rates(steps, at, schedule="cosine", **options)
    assert found == pytest.approx(rise + fall, rel=1e-4)


def test_warmup_of_a_whole_training_leaves_a_step_to_fall():
    found = rates(5, range(11), schedule="cosine", epochs=2, warmup_epochs=9.0, learning_rate=1.0)
    assert max(found) == found[9] == pytest.approx(1.0)
    assert found[10] == pytest.approx(0.01)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_learning_rate_that_does_not_follow_the_steps(schedule):
    assert rates(5, [0, 7, 99], schedule=schedule, learning_rate=0.3) == pytest.approx([0.3] * 3)


# --- what `fit_fold` hands on


@pytest.fixture(scope="module")
def fold(small_phantom, tmp_path_factory):
    cache = build_cache(
        find_data_set(small_phantom), Preprocessor(16), tmp_path_factory.mktemp("cache")
    )
    return cache, cache.slices[:24], cache.slices[24:]


class StopError(Exception):
    pass


@pytest.fixture
def handed_on(fold, tmp_path, monkeypatch):
    """Runs `fit_fold` up to the first step; returns the calls of `make_dataset` and of `fit`."""
    monkeypatch.setattr(fit_fold_module, "make_network", one_layer)
    monkeypatch.setattr(fit_fold_module, "make_variables", lambda *_: None)

    def run(**values):
        cache, train, validation = fold
        streams, fits = [], []

        def make_dataset(*arguments, **options):
            names = ("cache", "slices", "batch_size")
            streams.append(dict(zip(names, arguments, strict=True)) | options)
            image, mask = np.zeros((4, 16, 16, 3)), np.zeros((4, 16, 16, 1))
            batch = tf.data.Dataset.from_tensors((image, {"mask": mask, "edge": mask}))
            return batch.repeat()

        def fit(model, data, **options):
            fits.append({"model": model, **options})
            raise StopError

        monkeypatch.setattr(fit_fold_module, "make_dataset", make_dataset)
        monkeypatch.setattr(keras.Model, "fit", fit)
        training = {"precision": "float32", "batch_size": 4} | values.pop("training", {})
        data = {"image_size": 16} | values.pop("data", {})
        config = make_config({"model": MODEL, "training": training, "data": data, **values})
        with pytest.raises(StopError):
            fit_fold(config, cache, train, validation, tmp_path / "fold")
        return streams, fits[0]

    return run


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"data": {"augment": "heavy"}}, {"augment": "heavy"}),
        ({"data": {"augment": "none"}}, {"augment": "none"}),
        ({"data": {"tumor_sampling": 0.7}}, {"tumor_sampling": 0.7}),
        ({"data": {"tumor_sampling": 0.0}}, {"tumor_sampling": 0.0}),
        ({"training": {"batch_size": 3}}, {"batch_size": 3}),
        ({"training": {"seed": 11}}, {"seed": 11}),
    ],
)
def test_stream(values, expected, handed_on, fold):
    streams, fit = handed_on(**values)
    cache, train, _ = fold
    always = {"cache": cache, "slices": train, "training": True, "start": 0}
    for stream in streams:  # the training's, and that of averaged weights' statistics
        assert {name: stream[name] for name in (*always, *expected)} == always | expected
    batch_size = expected.get("batch_size", 4)
    assert fit["steps_per_epoch"] == len(train) // batch_size


@pytest.mark.parametrize(("epochs", "ema"), [(3, 0.0), (5, 0.9)])
def test_epochs_and_averages(epochs, ema, handed_on):
    streams, fit = handed_on(training={"epochs": epochs, "ema": ema})
    assert fit["epochs"] == epochs
    assert fit["initial_epoch"] == 0
    scorer = fit["callbacks"][0]
    assert isinstance(scorer, ScoreValidation)
    assert len(list(scorer.calibration())) == (fit_fold_module.CALIBRATION if ema else 0)
    assert len(streams) == 1  # which the statistics of averaged weights share


@pytest.mark.parametrize(("monitor", "mode"), [("dice", "max"), ("bce", "min")])
def test_monitor_and_its_direction(monitor, mode, handed_on, tmp_path):
    training = {"monitor": monitor, "patience": 4, "schedule": "plateau"}
    _, fit = handed_on(training=training)
    found = {type(one): one for one in fit["callbacks"]}
    assert found[ScoreValidation].monitor == monitor
    stop = found[keras.callbacks.EarlyStopping]
    assert (stop.monitor, stop.mode, stop.patience) == (f"val_{monitor}", mode, 4)
    plateau = found[keras.callbacks.ReduceLROnPlateau]
    assert (plateau.monitor, plateau.mode) == (f"val_{monitor}", mode)
    assert (plateau.factor, plateau.patience) == (0.5, 5)
    study = open_study(tmp_path, monitor, prune=False)
    assert study.direction.name == {"max": "MAXIMIZE", "min": "MINIMIZE"}[mode]


def test_without_patience_and_plateau_nothing_stops_or_slows(handed_on):
    _, fit = handed_on(training={"patience": 0, "schedule": "cosine"})
    adaptive = keras.callbacks.EarlyStopping | keras.callbacks.ReduceLROnPlateau
    assert not any(isinstance(one, adaptive) for one in fit["callbacks"])


# --- what is scored and kept


def scorer_of(model, score, folder, **options):
    made = ScoreValidation(compiled(), score, folder / "resume", folder / "model.keras", **options)
    made.set_model(model)
    return made


@pytest.mark.parametrize(("monitor", "best"), [("dice", 2), ("bce", 3)])
def test_best_epoch_is_by_the_monitor(monitor, best, tmp_path):
    figures = iter([(0.5, 0.4), (0.8, 0.5), (0.7, 0.1), (0.6, 0.2)])

    def score():
        dice, bce = next(figures)
        return {"subject": {"mean_dice": dice}, "pooled": {"iou": 0.0, "bce": bce}}

    scorer = scorer_of(compiled(ema=0.0), score, tmp_path, monitor=monitor)
    for epoch in range(4):
        logs = {"loss": 1.0}
        scorer.on_epoch_end(epoch, logs)
    assert scorer.best_epoch == best
    assert logs["val_dice"] == 0.6 and logs["val_bce"] == 0.2
    scorer.publish()
    assert (tmp_path / "model.keras").is_file()


@pytest.mark.parametrize("ema", [0.0, 0.75])
def test_averaged_weights_are_what_is_scored(ema, tmp_path):
    model = compiled(ema=ema, schedule="constant", learning_rate=0.1)
    make_variables(model)
    variables = model.trainable_variables
    random = np.random.default_rng(0)
    average = None
    for _ in range(3):
        gradients = [random.normal(size=one.shape).astype("float32") for one in variables]
        model.optimizer.apply(gradients)
        now = [one.numpy().copy() for one in variables]
        average = (
            now
            if average is None or not ema
            else [
                ema * before + (1 - ema) * after for before, after in zip(average, now, strict=True)
            ]
        )
    nothing = {"subject": {"mean_dice": 0.5}, "pooled": {"iou": 0.0, "bce": 0.0}}
    scorer = scorer_of(model, lambda: nothing, tmp_path)
    scorer.on_epoch_end(0, {"loss": 1.0})
    scored = [one.numpy() for one in scorer.scored_model.trainable_variables]
    for found, expected in zip(scored, average, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for variable, value in zip(variables, now, strict=True):  # the training's own are untouched
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize(
    ("epochs", "size", "expected"),
    [
        (40, 128, [(0, 10, 64), (10, 20, 64), (20, 30, 96), (30, 40, 128)]),
        # Fewer epochs than stages: the last one, which is validated, has one.
        (3, 128, [(0, 1, 64), (1, 2, 64), (2, 2, 96), (2, 3, 128)]),
        (1, 128, [(0, 0, 64), (0, 0, 64), (0, 0, 96), (0, 1, 128)]),
        # No stage is larger than the whole.
        (4, 64, [(0, 1, 64), (1, 2, 64), (2, 3, 64), (3, 4, 64)]),
    ],
)
def test_stages(epochs, size, expected):
    training = {"epochs": epochs, "sizes": [64, 64, 96]}
    config = make_config({"training": training, "data": {"image_size": size}})
    assert stages_of(config) == expected
