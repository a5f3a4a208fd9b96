import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agd_keras.layers import AttentionGate

to_numpy = keras.ops.convert_to_numpy
OPTIONS = {"inter_channels": 8, "subsample": 2}


def numpy_resize(images, height, width):
    """Bilinear interpolation with half-pixel centres, edges repeated."""
    for axis, size in ((1, height), (2, width)):
        length = images.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, length - 1)
        part = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        images = images.take(low, axis) * (1 - part) + images.take(high, axis) * part
    return images


def numpy_gate(x, g, weights, subsample, training):
    """The published equations, in float64, from the layer's weights by name."""
    theta, phi, phi_b, psi, psi_b = (
        np.asarray(weights[k], "float64")
        for k in ("theta/kernel", "phi/kernel", "phi/bias", "psi/kernel", "psi/bias")
    )
    batch, height, width, _ = x.shape
    rows, columns = height // subsample, width // subsample
    blocks = x[:, : rows * subsample, : columns * subsample].reshape(
        batch, rows, subsample, columns, subsample, -1
    )
    theta_x = np.einsum("brscqi,sqio->brco", blocks, theta)
    phi_g = numpy_resize(g @ phi[0, 0] + phi_b, rows, columns)
    f = np.maximum(theta_x + phi_g, 0)
    alpha = 1 / (1 + np.exp(-(f @ psi[0, 0] + psi_b)))
    alpha = numpy_resize(alpha, height, width)
    y = alpha * x
    if "transform/kernel" in weights:
        y = y @ np.asarray(weights["transform/kernel"], "float64")[0, 0] + weights["transform/bias"]
        mean, variance = weights["norm/moving_mean"], weights["norm/moving_variance"]
        if training:
            mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
        y = (y - mean) / np.sqrt(variance + 1e-3)
        y = y * weights["norm/gamma"] + weights["norm/beta"]
    return y, alpha


def randomize(layer, rng):
    """Every weight away from its initial 0 or 1; returns them by their name in the layer."""
    weights = {}
    for variable in layer.weights:
        values = rng.normal(size=variable.shape) * 0.5
        if variable.name == "moving_variance":
            values = rng.uniform(0.5, 2.0, variable.shape)
        variable.assign(values)
        weights["/".join(variable.path.split("/")[-2:])] = to_numpy(variable) + 0
    return weights


def test_parameters_are_the_published_ones():
    gate = AttentionGate(**OPTIONS)
    gate.build([(None, 32, 32, 16), (None, 16, 16, 32)])
    counts = {}
    for variable in gate.weights:
        part = variable.path.split("/")[-2]
        key = part if variable.trainable else f"{part} moving"
        counts[key] = counts.get(key, 0) + int(np.prod(variable.shape))
    assert counts == {
        "theta": 512, "phi": 264, "psi": 9, "transform": 272, "norm": 32, "norm moving": 32,
    }  # fmt: skip
    assert len(gate.trainable_variables) == 9
    assert len(gate.non_trainable_variables) == 2
    assert gate.count_params() == 1089 + 32


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("x_shape", "g_shape", "options"),
    [
        ((2, 8, 8, 16), (2, 4, 4, 32), OPTIONS),  # g already at the resolution of θ(x)
        ((2, 16, 8, 6), (2, 2, 2, 5), {"inter_channels": 3}),  # g far coarser, from the bottleneck
        ((1, 7, 9, 4), (1, 2, 2, 3), {"subsample": 3}),  # sizes that nothing divides
        ((2, 8, 8, 4), (2, 4, 4, 3), {"subsample": 1}),
        ((2, 8, 8, 4), (2, 4, 4, 3), {"output_transform": False}),
    ],
)
def test_equals_published_equations(x_shape, g_shape, options, training):
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=x_shape), rng.normal(size=g_shape)
    gate = AttentionGate(**options)
    gate.build([x_shape, g_shape])
    weights = randomize(gate, rng)
    outputs = gate([x.astype("float32"), g.astype("float32")], training=training)
    gated, alpha = map(to_numpy, outputs)
    expected = numpy_gate(x, g, weights, options.get("subsample", 2), training)
    np.testing.assert_allclose(gated, expected[0], atol=2e-5)
    np.testing.assert_allclose(alpha, expected[1], atol=1e-6)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**16), st.floats(0.1, 30))
def test_attention_is_a_share_and_gates_each_pixel(seed, scale):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(1, 8, 8, 3)) * scale).astype("float32")
    g = (rng.normal(size=(1, 2, 2, 4)) * scale).astype("float32")
    gate = AttentionGate(output_transform=False)
    gated, alpha = map(to_numpy, gate([x, g]))
    assert alpha.shape == (1, 8, 8, 1)
    assert ((alpha >= 0) & (alpha <= 1)).all()
    np.testing.assert_allclose(gated, alpha * x, rtol=1e-6)


def test_psi_bias_opens_the_gate():
    x, g = np.zeros((1, 4, 4, 2), "float32"), np.zeros((1, 2, 2, 2), "float32")
    for bias, start in ((0.0, 0.5), (3.0, 0.9526), (-3.0, 0.0474)):
        alpha = AttentionGate(psi_bias=bias)([x, g])[1]
        np.testing.assert_allclose(to_numpy(alpha), np.full((1, 4, 4, 1), start), atol=1e-4)


def test_default_inter_channels_are_half():
    gate = AttentionGate()
    gate.build([(None, 8, 8, 10), (None, 4, 4, 3)])
    assert gate.theta.filters == 5
    gate = AttentionGate()
    gate.build([(None, 8, 8, 1), (None, 4, 4, 3)])
    assert gate.theta.filters == 1


def test_l2_penalises_kernels_only():
    gate = AttentionGate(l2=0.1)
    gate.build([(None, 8, 8, 4), (None, 4, 4, 3)])
    kernels = [w for w in gate.weights if w.name == "kernel"]
    assert len(kernels) == 4
    expected = 0.1 * sum(float(np.square(to_numpy(k)).sum()) for k in kernels)
    assert float(sum(gate.losses)) == pytest.approx(expected, rel=1e-5)
    assert AttentionGate().losses == []


@pytest.mark.parametrize(
    ("options", "trainable", "non_trainable"),
    [
        (OPTIONS | {"l2": 1e-4}, 9, 2),
        ({"inter_channels": 4, "output_transform": False, "psi_bias": 3.0}, 5, 0),
    ],
)
def test_layer_contract(check_layer, options, trainable, non_trainable):
    check_layer(
        AttentionGate,
        options,
        inputs=[(2, 8, 8, 16), (2, 4, 4, 32)],
        outputs=[(2, 8, 8, 16), (2, 8, 8, 1)],
        trainable=trainable,
        non_trainable=non_trainable,
        float32_outputs=(1,),
    )


def test_registered_name():
    assert keras.saving.get_registered_name(AttentionGate) == "agd_keras>AttentionGate"
