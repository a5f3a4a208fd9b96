import keras
import numpy as np
import pytest

from agd_keras.layers import ConvBlock

to_numpy = keras.ops.convert_to_numpy


def numpy_block(images, weights, depth, training):
    """3×3 convolution with zeros around, batch normalisation and ELU, in float64."""
    weights = iter(to_numpy(w).astype("float64") + 0 for w in weights)
    x = images
    for _ in range(depth):
        kernel, gamma, beta, mean, variance = (next(weights) for _ in range(5))
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = x.shape[1:3]
        x = sum(
            padded[:, i : i + height, j : j + width] @ kernel[i, j]
            for i in range(3)
            for j in range(3)
        )
        if training:
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        x = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    return x


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_equals_numpy(depth, training):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 6, 5, 3))
    block = ConvBlock(4, depth)
    block.build(images.shape)
    for variable in block.weights:
        low = 0.5 if variable.name == "moving_variance" else -0.7
        variable.assign(rng.uniform(low, 1.5, variable.shape))
    order = ("kernel", "gamma", "beta", "moving_mean", "moving_variance")
    by_step = {}
    for variable in block.weights:
        by_step.setdefault(variable.path.split("/")[-2][-1], {})[variable.name] = variable
    weights = [by_step[str(step)][name] for step in range(1, depth + 1) for name in order]
    expected = numpy_block(images, weights, depth, training)
    got = to_numpy(block(images.astype("float32"), training=training))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_parameters():
    block = ConvBlock(8, depth=2)
    block.build((None, 4, 4, 3))
    assert block.count_params() == (27 * 8 + 4 * 8) + (9 * 8 * 8 + 4 * 8)


@pytest.mark.parametrize("depth", [1, 3])
def test_layer_contract(check_layer, depth):
    check_layer(
        ConvBlock,
        {"filters": 6, "depth": depth, "activation": "relu", "l2": 1e-4},
        inputs=[(2, 8, 8, 3)],
        outputs=[(2, 8, 8, 6)],
        trainable=3 * depth,
        non_trainable=2 * depth,
    )


def test_l2_penalises_kernels_only():
    block = ConvBlock(4, depth=2, l2=0.1)
    block.build((None, 4, 4, 3))
    kernels = [to_numpy(w) for w in block.weights if w.name == "kernel"]
    expected = 0.1 * sum(np.square(k).sum() for k in kernels)
    assert float(sum(block.losses)) == pytest.approx(expected, rel=1e-5)


def test_registered_name():
    assert keras.saving.get_registered_name(ConvBlock) == "agd_keras>ConvBlock"
