import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from agd_keras.evaluation import scores
from agd_keras.metrics import Dice, IoU, Precision, Recall

METRICS = {
    Dice: sklearn_metrics.f1_score,
    IoU: sklearn_metrics.jaccard_score,
    Precision: sklearn_metrics.precision_score,
    Recall: sklearn_metrics.recall_score,
}
SCORES = {Dice: scores.dice, IoU: scores.iou, Precision: scores.precision, Recall: scores.recall}
SHAPE = (2, 4, 4, 1)


def value(metric_class, truth, prediction):
    metric = metric_class()
    metric.update_state(truth, prediction)
    return float(metric.result())


@settings(deadline=None, max_examples=20)
@given(hnp.arrays(bool, (2, *SHAPE)), hnp.arrays("float32", (2, *SHAPE), elements=st.floats(0, 1)))
def test_running_values_are_pooled_values(truth, probability):
    for metric_class, oracle in METRICS.items():
        metric = metric_class()
        for batch in zip(truth, probability, strict=True):
            metric.update_state(*batch)
        flat = truth.ravel(), probability.ravel() >= 0.5
        expected = oracle(*flat, zero_division=1.0 if not (flat[0] | flat[1]).any() else 0.0)
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
        # The same figure, by the same rules, as the evaluation prints after training.
        assert float(metric.result()) == pytest.approx(
            SCORES[metric_class](scores.count(*flat)), abs=1e-6
        )


@pytest.mark.parametrize("metric_class", METRICS)
def test_empty_rules(metric_class):
    empty, full = np.zeros(SHAPE), np.ones(SHAPE)
    assert value(metric_class, empty, empty) == 1.0
    assert value(metric_class, full, empty) == 0.0
    assert value(metric_class, empty, full) == 0.0
    assert value(metric_class, full, full) == 1.0
    assert float(metric_class().result()) == 1.0  # nothing seen yet


def test_values_by_hand():
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0]).reshape(1, 2, 4, 1)
    probability = np.array([0.9, 0.5, 0.7, 0.1, 0.8, 0.2, 0.49, 0.0]).reshape(1, 2, 4, 1)
    # 3 hits (0.5 is one), 1 false alarm, 1 miss
    assert value(Dice, truth, probability) == pytest.approx(6 / 8)
    assert value(IoU, truth, probability) == pytest.approx(3 / 5)
    assert value(Precision, truth, probability) == pytest.approx(3 / 4)
    assert value(Recall, truth, probability) == pytest.approx(3 / 4)
    assert float(Recall(threshold=0.6)(truth, probability)) == pytest.approx(2 / 4)


def counts(metric):
    high, low = (keras.ops.convert_to_numpy(v).astype("int64") for v in (metric.high, metric.low))
    return (high * 4096 + low).tolist()


def test_counts_are_exact_beyond_float32():
    # 25 million pixels, of which one false alarm and one miss a batch: in float32 a sum of ones
    # stops growing at 2**24 = 16.8 million.
    metric = Precision()
    truth = np.ones((16, 512, 512, 1), bool)
    truth[0, 0, 0] = False
    probability = np.ones(truth.shape, "float32")
    probability[1, 0, 0] = 0.0
    for _ in range(6):
        metric.update_state(truth, probability)
    assert counts(metric) == [6 * (truth.size - 2), 6, 6]
    assert float(metric.result()) == pytest.approx(1 - 1 / (truth.size - 1), abs=1e-7)


def test_one_batch_beyond_float32():
    metric = Recall()
    metric.update_state(np.ones((17, 1024, 1024, 1), bool), np.ones((17, 1024, 1024, 1), "float16"))
    assert counts(metric) == [17 * 1024 * 1024, 0, 0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_input(dtype):
    rng = np.random.default_rng(0)
    truth = rng.random((2, 256, 256, 1)) < 0.5
    probability = keras.ops.convert_to_tensor(rng.random(truth.shape), dtype)
    same = keras.ops.cast(probability, "float32")
    for metric_class in METRICS:
        assert value(metric_class, keras.ops.cast(truth, dtype), probability) == pytest.approx(
            value(metric_class, truth, same), abs=1e-7
        )


def test_reset_and_sample_weight():
    metric = Dice()
    truth, prediction = np.ones(SHAPE), np.stack([np.ones(SHAPE[1:]), np.zeros(SHAPE[1:])])
    metric.update_state(truth, prediction)
    assert float(metric.result()) == pytest.approx(2 / 3)
    metric.reset_state()
    metric.update_state(truth, prediction, sample_weight=[1.0, 0.0])
    assert float(metric.result()) == 1.0
    metric.reset_state()
    metric.update_state(truth, prediction, sample_weight=[0.5, 0.25])
    assert float(metric.result()) == pytest.approx(2 * 0.5 / (2 * 0.5 + 0.25))


@pytest.mark.parametrize("metric_class", METRICS)
def test_config_round_trip(metric_class):
    metric = metric_class(threshold=0.25, name="other")
    config = keras.metrics.serialize(metric)
    again = keras.metrics.deserialize(config)
    assert type(again) is metric_class
    assert keras.metrics.serialize(again) == config
    assert again.threshold == 0.25


def test_value_is_pooled_over_the_batches_of_an_epoch():
    truth = np.zeros((3, 4, 4, 1), "float32")
    truth[0, :2] = 1.0
    image = np.full((3, 4, 4, 1), 0.9, "float32")
    inputs = keras.Input((4, 4, 1), name="image")
    outputs = {name: keras.layers.Identity(name=name)(inputs) for name in ("mask", "edge")}
    model = keras.Model(inputs, outputs)
    model.compile(loss="binary_crossentropy", metrics={"mask": [Dice(), IoU()]})
    got = model.evaluate(
        image, {"mask": truth, "edge": truth}, batch_size=2, verbose=0, return_dict=True
    )
    assert got["mask_dice"] == pytest.approx(2 * 8 / (2 * 8 + 40))
    assert got["mask_iou"] == pytest.approx(8 / 48)


@settings(deadline=None, max_examples=10)
@given(
    hnp.arrays(bool, (2, 2, 4, 4, 3)),
    hnp.arrays("float32", (2, 2, 4, 4, 3), elements=st.floats(0, 1)),
    hnp.arrays("float32", (2, 2), elements=st.sampled_from([0.0, 1.0, 2.0])),
)
def test_value_of_regions_is_their_mean(truth, probability, weights):
    for metric_class in METRICS:
        several, *own = (metric_class(regions=n) for n in (3, 1, 1, 1))
        for y_true, y_pred, weight in zip(truth, probability, weights, strict=True):
            several.update_state(y_true, y_pred, weight)
            for place, metric in enumerate(own):
                one = slice(place, place + 1)
                metric.update_state(y_true[..., one], y_pred[..., one], weight)
        expected = np.mean([float(metric.result()) for metric in own])
        assert float(several.result()) == pytest.approx(expected, abs=1e-6)
        assert metric_class.from_config(several.get_config()).high.shape == (3, 3)
    assert "regions" not in Dice().get_config()  # as in files of before there were any
