import keras
import numpy as np
import pytest
from scipy.signal import correlate2d

from agd_keras.layers import EdgeAttention

to_numpy = keras.ops.convert_to_numpy


def numpy_convolve(images, kernel, bias, stride):
    """Convolution with padding as TensorFlow's "same": less of it on the top and left side."""
    size = kernel.shape[0]
    height, width = images.shape[1:3]
    out = [-(-length // stride) for length in (height, width)]
    pad = [max((o - 1) * stride + size - n, 0) for o, n in zip(out, (height, width), strict=True)]
    padded = np.pad(images, ((0, 0), *((p // 2, p - p // 2) for p in pad), (0, 0)))
    maps = [
        [
            sum(
                correlate2d(image[..., i], kernel[..., i, o], mode="valid")
                for i in range(kernel.shape[2])
            )[::stride, ::stride]
            + bias[o]
            for o in range(kernel.shape[3])
        ]
        for image in padded
    ]
    return np.moveaxis(np.array(maps), 1, -1)


def double(images):
    """Bilinear to twice the size, half-pixel centres: three quarters of the nearest, a quarter of
    the next."""
    for axis in (1, 2):
        first, last = images.take([0], axis), images.take([-1], axis)
        before = np.concatenate([first, images.take(range(images.shape[axis] - 1), axis)], axis)
        after = np.concatenate([images.take(range(1, images.shape[axis]), axis), last], axis)
        pair = np.stack([0.75 * images + 0.25 * before, 0.75 * images + 0.25 * after], axis + 1)
        shape = list(images.shape)
        shape[axis] *= 2
        images = pair.reshape(shape)
    return images


@pytest.mark.parametrize("gate", ["residual", "multiply", "concatenate"])
@pytest.mark.parametrize("stride", [1, 2])
def test_equals_numpy(gate, stride):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 6, 8, 3))
    layer = EdgeAttention(filters=4, stride=stride, gate=gate)
    layer.build(images.shape)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    reduce, reduce_b, features, features_b, head, head_b = (
        to_numpy(w).astype("float64") for w in layer.weights
    )
    low = np.maximum(numpy_convolve(images, reduce, reduce_b, stride), 0)
    low = np.maximum(numpy_convolve(low, features, features_b, 1), 0)
    logits = low @ head[0, 0] + head_b
    edge = 1 / (1 + np.exp(-(double(logits) if stride == 2 else logits)))
    expected = {
        "residual": images * (1 + edge),
        "multiply": images * edge,
        "concatenate": np.concatenate([images, edge], axis=-1),
    }[gate]
    gated, got = map(to_numpy, layer(images.astype("float32")))
    np.testing.assert_allclose(got, edge, atol=1e-5)
    np.testing.assert_allclose(gated, expected, atol=1e-4)


def test_parameters():
    layer = EdgeAttention(filters=16)
    layer.build((None, 8, 8, 3))
    assert layer.count_params() == (27 * 16 + 16) + (9 * 16 * 16 + 16) + (16 + 1)


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({"filters": 4, "stride": 2, "gate": "residual", "l2": 1e-4}, 3),
        ({"filters": 4, "stride": 4, "gate": "multiply"}, 3),
        ({"filters": 4, "stride": 1, "gate": "concatenate"}, 4),
    ],
)
def test_layer_contract(check_layer, options, channels):
    check_layer(
        EdgeAttention,
        options,
        inputs=[(2, 8, 8, 3)],
        outputs=[(2, 8, 8, channels), (2, 8, 8, 1)],
        trainable=6,
        non_trainable=0,
        float32_outputs=(1,),
    )


def test_l2_penalises_kernels_only():
    layer = EdgeAttention(filters=2, l2=0.5)
    layer.build((None, 4, 4, 3))
    kernels = [to_numpy(w) for w in layer.weights if w.name == "kernel"]
    expected = 0.5 * sum(np.square(k).sum() for k in kernels)
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-5)


def test_unknown_gate():
    with pytest.raises(ValueError, match="residual.*multiply.*concatenate.*gate='add'"):
        EdgeAttention(gate="add")


def test_registered_name():
    assert keras.saving.get_registered_name(EdgeAttention) == "agd_keras>EdgeAttention"
