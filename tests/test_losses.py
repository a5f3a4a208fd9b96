import subprocess
import sys
import typing

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from agd_keras import losses, metrics
from agd_keras.config import TrainingConfig
from agd_keras.errors import InputError
from agd_keras.losses import (
    LOSSES,
    Dice,
    EdgeCrossEntropy,
    FocalTversky,
    WeightedSum,
    make_loss,
    mask_boundary,
)

SHAPE = (3, 8, 8, 1)


@st.composite
def batches(draw):
    truth = draw(hnp.arrays("float32", SHAPE, elements=st.sampled_from([0.0, 1.0])))
    probability = draw(hnp.arrays("float32", SHAPE, elements=st.floats(0, 1, width=32)))
    return truth, probability


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    truth = (rng.random(SHAPE) < 0.2).astype("float32")
    truth[0] = 0.0  # most slices hold no tumour
    return truth, rng.uniform(0.01, 0.99, SHAPE).astype("float32")


def tensor(values, dtype="float32"):
    return keras.ops.convert_to_tensor(values, dtype)


def numpy_gradient(loss, truth, probability):
    """Gradient with respect to the probability, by whichever backend runs."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(probability)
            value = loss(truth, probability)
        gradient = tape.gradient(value, probability)
    elif keras.backend.backend() == "jax":
        import jax

        gradient = jax.grad(lambda p: loss(truth, p))(probability)
    else:
        probability.requires_grad_(True)
        loss(truth, probability).backward()
        gradient = probability.grad
    return keras.ops.convert_to_numpy(keras.ops.cast(gradient, "float32"))


# The published equations in float64, one group of pixels at a time.


def numpy_dice(truth, probability, smooth):
    truth, probability = truth.astype("float64").ravel(), probability.astype("float64").ravel()
    overlap = 2 * (truth @ probability) + smooth
    return 1 - overlap / (truth.sum() + probability.sum() + smooth)


def numpy_focal_tversky(truth, probability, alpha, beta, gamma, smooth):
    truth, probability = truth.astype("float64").ravel(), probability.astype("float64").ravel()
    hit = truth @ probability
    false_alarm, miss = (1 - truth) @ probability, truth @ (1 - probability)
    index = (hit + smooth) / (hit + alpha * false_alarm + beta * miss + smooth)
    return (1 - index) ** gamma


def numpy_cross_entropy(truth, probability):
    right = np.where(truth > 0.5, probability, 1 - probability.astype("float64"))
    return -np.log(np.clip(right, 1e-7, 1))


def numpy_focal(truth, probability, alpha=0.75, gamma=2.0):
    right = np.where(truth > 0.5, probability, 1 - probability.astype("float64"))
    weight = np.where(truth > 0.5, alpha, 1 - alpha)
    return (weight * (1 - right) ** gamma * numpy_cross_entropy(truth, probability)).mean()


def scipy_boundary(mask, width):
    square = np.ones((2 * width + 1, 2 * width + 1), bool)
    dilation = ndimage.binary_dilation(mask, square, border_value=0)
    erosion = ndimage.binary_erosion(mask, square, border_value=1)
    return dilation & ~erosion


@pytest.mark.parametrize("smooth", [0.5, 1.0, 10.0])
def test_dice_equals_formula(batch, smooth):
    truth, probability = batch
    per_batch = Dice(smooth)(truth, probability)
    per_image = Dice(smooth, per="image", reduction="none")(truth, probability)
    assert float(per_batch) == pytest.approx(numpy_dice(truth, probability, smooth), abs=1e-6)
    expected = [numpy_dice(t, p, smooth) for t, p in zip(truth, probability, strict=True)]
    np.testing.assert_allclose(per_image, expected, atol=1e-6)


@pytest.mark.parametrize("options", [(0.3, 0.7, 0.75, 1.0), (0.7, 0.3, 1.0, 0.1), (1, 1, 2.0, 1)])
def test_focal_tversky_equals_formula(batch, options):
    loss = FocalTversky(*options)(*batch)
    assert float(loss) == pytest.approx(numpy_focal_tversky(*batch, *options), abs=1e-6)


def test_named_losses_equal_formulas(batch):
    cross_entropy = numpy_cross_entropy(*batch).mean()
    dice = numpy_dice(*batch, smooth=1.0)
    expected = {
        "cross_entropy": cross_entropy,
        "focal": numpy_focal(*batch),
        "dice": dice,
        "focal_dice": numpy_focal(*batch) + dice,
        "focal_tversky": numpy_focal_tversky(*batch, 0.3, 0.7, 0.75, 1.0),
        "cross_entropy_dice": cross_entropy + dice,
    }
    got = {name: float(make_loss(name)(*batch)) for name in LOSSES}
    assert got == pytest.approx(expected, abs=1e-6)
    assert {name: make_loss(name).name for name in LOSSES} == {name: name for name in LOSSES}


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("positive_weight", [1.0, 10.0])
def test_edge_cross_entropy_equals_formula(batch, width, positive_weight):
    truth, probability = batch
    boundary = np.stack([scipy_boundary(mask[..., 0] > 0, width) for mask in truth])[..., None]
    weight = np.where(boundary, positive_weight, 1.0)
    expected = (weight * numpy_cross_entropy(boundary, probability)).mean()
    loss = EdgeCrossEntropy(width, positive_weight)(truth, probability)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)), st.integers(1, 3))
def test_mask_boundary_equals_scipy(mask, width):
    got = keras.ops.convert_to_numpy(mask_boundary(mask[None, :, :, None], width))
    np.testing.assert_array_equal(got[0, :, :, 0], scipy_boundary(mask, width))


def test_mask_on_the_border_of_the_image_has_no_edge_there():
    assert not np.any(keras.ops.convert_to_numpy(mask_boundary(np.ones((1, 5, 5, 1)))))
    half = np.zeros((1, 4, 6, 1), bool)
    half[:, :, 3:] = True
    np.testing.assert_array_equal(mask_boundary(half)[0, :, :, 0], [[0, 0, 1, 1, 0, 0]] * 4)


@settings(deadline=None, max_examples=30)
@given(batches())
def test_ranges_and_symmetries(batch):
    truth, probability = batch
    dice = float(Dice()(truth, probability))
    assert 0 <= dice <= 1
    # Dice does not tell truth from prediction, nor the order of pixels.
    assert float(Dice()(probability, truth)) == pytest.approx(dice, abs=1e-5)
    order = np.random.default_rng(0).permutation(truth.size)
    shuffled = [y.ravel()[order].reshape(SHAPE) for y in batch]
    assert float(Dice()(*shuffled)) == pytest.approx(dice, abs=1e-5)
    # Focal Tversky with equal weights and gamma 1 is Dice; exchanging truth and prediction is the
    # same as exchanging its two weights.
    assert float(FocalTversky(0.5, 0.5, 1.0, 0.5)(*batch)) == pytest.approx(dice, abs=1e-5)
    skewed, mirrored = FocalTversky(0.2, 0.8), FocalTversky(0.8, 0.2)
    assert float(skewed(truth, probability)) == pytest.approx(
        float(mirrored(probability, truth)), abs=1e-5
    )
    for name in LOSSES:
        assert 0 <= float(make_loss(name)(*batch)) < 17.2  # -log(1e-7) + 1


def test_empty_masks():
    empty, full = np.zeros(SHAPE), np.ones(SHAPE)
    assert float(Dice()(empty, empty)) == 0.0
    assert float(Dice()(full, full)) == 0.0
    assert float(FocalTversky()(empty, empty)) < 1e-4
    assert float(Dice()(empty, full)) == pytest.approx(1 - 1 / (full.size + 1))
    assert float(EdgeCrossEntropy()(empty, empty)) < 1e-6


def test_keras_dice_is_what_smoothing_is_for():
    empty = np.zeros(SHAPE)
    assert float(keras.losses.Dice()(empty, empty)) == 1.0


ALL = [*(make_loss(name) for name in LOSSES), EdgeCrossEntropy(), Dice(per="image")]


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradients_are_finite_at_certainty(loss, dtype):
    truth = np.zeros((4, 4, 4, 1), "float32")
    truth[2:, :2] = 1.0
    certain = np.stack([truth[0], 1 - truth[1], truth[2], 1 - truth[3]])
    for target, prediction in ((truth, certain), (truth, truth), (truth * 0, truth * 0)):
        assert np.isfinite(float(loss(target, tensor(prediction, dtype))))
        assert np.isfinite(numpy_gradient(loss, target, tensor(prediction, dtype))).all()


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_computed_in_float32(loss, dtype):
    # 2 * 256 * 256 ones are beyond float16 (65,504) and beyond bfloat16's eight bits.
    truth = np.zeros((2, 256, 256, 1), "float32")
    truth[:, 3:] = 1.0
    probability = tensor(np.random.default_rng(1).random(truth.shape), dtype)
    value = loss(tensor(truth, dtype), probability)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    expected = loss(truth, keras.ops.cast(probability, "float32"))
    assert float(value) == pytest.approx(float(expected), rel=1e-6)


def test_batch_sum_keeps_an_axis(batch):
    # A scalar would escape Keras' division by the number of replicas.
    assert tuple(Dice().call(*map(tensor, batch)).shape) == (1,)
    assert tuple(FocalTversky().call(*map(tensor, batch)).shape) == (1,)


def test_sample_weight_selects_slices(batch):
    truth, probability = batch
    weight = np.array([0.0, 0.0, 1.0])
    got = Dice(per="image", reduction="sum")(truth, probability, weight)
    assert float(got) == pytest.approx(numpy_dice(truth[2], probability[2], 1.0), abs=1e-6)
    both = WeightedSum([Dice(per="image"), Dice(per="image")], [2.0, 1.0])
    single = Dice(per="image")(truth, probability, weight)
    assert float(both(truth, probability, weight)) == pytest.approx(3 * float(single), rel=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        Dice(2.0, "image", "a", "sum"),
        FocalTversky(0.1, 0.2, 0.5, 3.0, "image", "b", "sum"),
        EdgeCrossEntropy(2, 5.0, "c", "sum"),
        WeightedSum([Dice(2.0), keras.losses.BinaryCrossentropy()], [0.3, 0.7], "d"),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_config_round_trip(loss, batch):
    config = keras.losses.serialize(loss)
    again = keras.losses.deserialize(config)
    assert keras.losses.serialize(again) == config
    assert float(again(*batch)) == float(loss(*batch))


def test_config_offers_every_loss():
    offered = typing.get_args(TrainingConfig.model_fields["loss"].annotation)
    assert sorted(offered) == sorted(LOSSES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_loss("dise"), "loss 'dise': expected one of cross_entropy, focal, dice, "),
        (lambda: Dice(per="pixel"), "per: expected 'batch' or 'image', got 'pixel'"),
        (lambda: FocalTversky(per="x"), "per: expected 'batch' or 'image', got 'x'"),
        (lambda: EdgeCrossEntropy(width=0), "width: expected a whole number of pixels, 1 or more"),
        (lambda: EdgeCrossEntropy(width=1.5), "width: expected a whole number of pixels"),
        (lambda: WeightedSum([Dice()], [1, 2]), "expected one for each of the 1 losses, got 2"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InputError, match=message):
        make()


EVALUATE = """
import sys
import numpy as np
import keras
import agd_keras.losses, agd_keras.metrics
data = np.load(sys.argv[1] + "/data.npz")
model = keras.saving.load_model(sys.argv[1] + "/model.keras", safe_mode=True)
targets = {name: data["y"] for name in model.output_names}
got = model.train_on_batch(data["x"], targets, return_dict=True)
assert sorted(got) == data["names"].tolist(), got
np.testing.assert_allclose([got[name] for name in sorted(got)], data["values"], rtol=1e-5)
print("reloaded", len(got))
"""


def test_compiled_model_reloads_in_a_fresh_process(tmp_path, batch):
    truth, image = batch
    loss = {name: make_loss(name) for name in LOSSES} | {"edge": EdgeCrossEntropy(2, 5.0)}
    figures = [metrics.Dice, metrics.IoU, metrics.Precision, metrics.Recall]
    inputs = keras.Input(SHAPE[1:], name="image")
    outputs = {
        name: keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", name=name)(inputs)
        for name in loss
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss, metrics={"dice": [figure(threshold=0.4) for figure in figures]})
    model.save(tmp_path / "model.keras")
    values = model.train_on_batch(image, dict.fromkeys(loss, truth), return_dict=True)
    assert {"dice_dice", "dice_iou", "dice_precision", "dice_recall"} < set(values)
    names = sorted(values)
    np.savez(
        tmp_path / "data.npz", x=image, y=truth, names=names, values=[values[n] for n in names]
    )
    command = [sys.executable, "-c", EVALUATE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"reloaded {len(values)}")


def test_loss_and_metric_of_one_name_are_registered_apart():
    registered = keras.saving.get_registered_name
    assert registered(losses.Dice) != registered(metrics.Dice)


REGIONS = (3, 8, 8, 3)


@pytest.fixture
def regions():
    """Masks of three regions that overlap; nothing of the last one in the batch."""
    rng = np.random.default_rng(1)
    truth = (rng.random(REGIONS) < [0.4, 0.2, 0.0]).astype("float32")
    return truth, rng.uniform(0.01, 0.99, REGIONS).astype("float32")


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_regions_is_their_mean(name, regions):
    truth, probability = map(tensor, regions)
    own = [
        float(make_loss(name)(truth[..., n : n + 1], probability[..., n : n + 1])) for n in range(3)
    ]
    assert float(make_loss(name)(truth, probability)) == pytest.approx(np.mean(own), rel=1e-5)
    assert len({round(one, 3) for one in own}) == 3


@pytest.mark.parametrize("per", ["batch", "image"])
def test_dice_loss_of_regions_by_hand(per, regions):
    truth, probability = (one.astype("float64") for one in regions)
    over = (0, 1, 2) if per == "batch" else (1, 2)
    both = (truth * probability).sum(axis=over)
    expected = 1 - (2 * both + 1) / (truth.sum(axis=over) + probability.sum(axis=over) + 1)
    found = float(Dice(per=per)(*map(tensor, regions)))
    assert found == pytest.approx(expected.mean(), rel=1e-5)


def test_edge_of_regions_is_that_of_their_union(regions):
    truth, probability = regions
    union = truth.max(axis=-1, keepdims=True)
    edge = tensor(probability[..., :1])
    expected = float(EdgeCrossEntropy()(tensor(union), edge))
    assert float(EdgeCrossEntropy()(tensor(truth), edge)) == expected
