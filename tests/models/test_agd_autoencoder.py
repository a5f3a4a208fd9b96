import keras
import numpy as np
import pytest
import tensorflow as tf

from agd_keras.config import make_config
from agd_keras.layers import AttentionGate, ConvBlock, EdgeAttention
from agd_keras.losses import EdgeCrossEntropy, make_loss
from agd_keras.metrics import Dice
from agd_keras.models import agd_autoencoder
from agd_keras.presets import preset_values

SMALL = {"image_shape": (32, 32, 3), "filters": (4, 6, 8)}


def layers_of(model, cls):
    return [layer.name for layer in model.layers if isinstance(layer, cls)]


def batch(shape=(4, 32, 32), seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((*shape, 1), "float32")
    mask[: shape[0] // 2, 4:10, 5:12] = 1.0
    return (rng.normal(size=(*shape, 3)) + mask).astype("float32"), {"mask": mask, "edge": mask}


def preset(name):
    config = make_config(preset_values(name))
    return agd_autoencoder((128, 128, 3), **config.model.model_dump())


@pytest.mark.parametrize(
    ("name", "most_parameters", "most_macs"),
    [("agd_tiny", 0.3e6, 0.3e9), ("agd_small", 2e6, 1e9)],
)
def test_presets_keep_their_budget(count_macs, name, most_parameters, most_macs):
    model = preset(name)
    assert model.count_params() <= most_parameters
    assert 0.1 * most_macs < count_macs(model) <= most_macs


def conv_macs(size, kernel, inputs, outputs):
    return size * size * kernel * kernel * inputs * outputs


def test_paper_preset_counts_by_hand(count_macs):
    filters = (512, 256, 128, 64)
    encoder = list(zip((3, *filters), filters, strict=False))
    # The decoder mirrors the encoder; level 2 also takes the gated skip connection back.
    decoder = [(64, 64), (64, 128), (128 + 256, 256), (256, 512)]
    parameters = sum(9 * i * o + 4 * o for i, o in encoder + decoder) + 512 + 1
    sizes = (128, 64, 32, 16)
    macs = sum(conv_macs(s, 3, i, o) for s, (i, o) in zip(sizes, encoder, strict=True))
    macs += sum(conv_macs(s, 3, i, o) for s, (i, o) in zip(sizes[::-1], decoder, strict=True))
    macs += conv_macs(128, 1, 512, 1)
    # Gate: θ (stride 2, no bias), φ from the bottleneck, ψ, W, batch normalisation.
    parameters += 4 * 256 * 128 + (64 * 128 + 128) + (128 + 1) + (256 * 256 + 256) + 4 * 256
    macs += conv_macs(32, 2, 256, 128) + conv_macs(8, 1, 64, 128)
    macs += conv_macs(32, 1, 128, 1) + conv_macs(64, 1, 256, 256)
    # Edge detector: two 3×3 convolutions at half the resolution and a 1×1 head.
    parameters += (27 * 16 + 16) + (9 * 16 * 16 + 16) + (16 + 1)
    macs += conv_macs(64, 3, 3, 16) + conv_macs(64, 3, 16, 16) + conv_macs(64, 1, 16, 1)

    model = preset("agd_paper")
    assert model.count_params() == parameters
    assert count_macs(model) == macs
    assert 20e9 < macs < 40e9  # the paper's descending filters are costly


def test_light_decoder_counts_by_hand(count_macs):
    model = agd_autoencoder(
        (32, 32, 3),
        (4, 6, 8),
        depth=2,
        light_decoder=True,
        edge=False,
        skips=(1, 2, 3),
        attention=False,
    )
    convolutions = [
        *((32, 3, 4), (32, 4, 4), (16, 4, 6), (16, 6, 6), (8, 6, 8), (8, 8, 8)),
        # Level 3 hands on 6 channels, level 2 and 1 hand on 4: one convolution each.
        *((8, 8 + 8, 6), (16, 6 + 6, 4), (32, 4 + 4, 4)),
    ]
    assert model.count_params() == sum(9 * i * o + 4 * o for _, i, o in convolutions) + 4 + 1
    macs = sum(conv_macs(size, 3, i, o) for size, i, o in convolutions)
    assert count_macs(model) == macs + conv_macs(32, 1, 4, 1)


def test_mac_counter_agrees_with_tensorflow(count_macs):
    model = agd_autoencoder(skips=(1, 2), **SMALL)
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 32, 32, 3)))
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    profile = tf.compat.v1.profiler.profile(function.graph, cmd="op", options=options)

    def flops(node, name):
        return node.float_ops * (node.name == name) + sum(flops(n, name) for n in node.children)

    # The head is a transposed convolution, 1×1 here, which TensorFlow counts under another name.
    head = 32 * 32 * 4
    assert count_macs(model) == flops(profile, "Conv2D") // 2 + head


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("edge", [True, False])
def test_ablations(attention, edge):
    model = agd_autoencoder(attention=attention, edge=edge, **SMALL)
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert model.input.shape == (None, 32, 32, 3)
    assert sorted(model.output) == (["edge", "mask"] if edge else ["mask"])
    assert sorted(model.output_names) == sorted(model.output)
    assert layers_of(model, AttentionGate) == (["gate_2"] if attention else [])
    assert layers_of(model, EdgeAttention) == (["edge"] if edge else [])
    images, _ = batch()
    for output in model(images).values():
        output = np.asarray(output)
        assert output.shape == (4, 32, 32, 1)
        assert output.dtype == np.float32
        assert ((output > 0) & (output < 1)).all()


def test_ablation_takes_away_what_it_says():
    full = agd_autoencoder(**SMALL).count_params()
    gate = 4 * 6 * 3 + (8 * 3 + 3) + (3 + 1) + (6 * 6 + 6) + 4 * 6
    edge = (27 * 16 + 16) + (9 * 16 * 16 + 16) + (16 + 1)
    assert full - agd_autoencoder(attention=False, **SMALL).count_params() == gate
    assert full - agd_autoencoder(edge=False, **SMALL).count_params() == edge


@pytest.mark.parametrize(
    ("options", "gates"),
    [
        ({"skips": (1, 2, 3), "attention_at": (1, 3)}, ["gate_3", "gate_1"]),
        ({"skips": (), "attention_at": ()}, []),
        ({"skips": (2,), "attention": False, "attention_at": (1,)}, []),
    ],
)
def test_levels_of_gates(options, gates):
    model = agd_autoencoder(**SMALL, **options)
    assert layers_of(model, AttentionGate) == gates
    assert len(layers_of(model, keras.layers.Concatenate)) == len(options["skips"])


def test_gating_signal_is_the_bottleneck():
    model = agd_autoencoder(**SMALL)
    _, gating = model.get_layer("gate_2").input
    assert gating.shape == (None, 4, 4, 8)


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("shape", [(32, 64, 1), (64, 32, 4)])
def test_sizes(stem_stride, shape):
    model = agd_autoencoder(shape, (4, 6), depth=2, stem_stride=stem_stride, dropout=0.2)
    assert model(np.zeros((2, *shape)))["mask"].shape == (2, *shape[:2], 1)
    block = model.get_layer("encoder_1")
    assert isinstance(block, ConvBlock)
    assert block.output.shape[1:] == (shape[0] // stem_stride, shape[1] // stem_stride, 4)


def test_l2_and_dropout_act_in_training_only():
    model = agd_autoencoder(l2=0.1, **SMALL)
    assert float(sum(model.losses)) > 0
    assert agd_autoencoder(**SMALL).losses == []
    images, _ = batch()
    model = agd_autoencoder(dropout=0.5, **SMALL)
    assert np.array_equal(model(images)["mask"], model(images)["mask"])
    assert not np.array_equal(model(images, training=True)["mask"], model(images)["mask"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (36, 32, 3), "filters": (4, 4, 4)}, "multiples of 8 .*36, 32, 3"),
        ({"image_shape": (32, 36, 3), "filters": (4, 4), "stem_stride": 2}, "multiples of 8"),
        ({**SMALL, "skips": (4,), "attention_at": ()}, "levels 1 to 3"),
        ({**SMALL, "skips": (0,), "attention_at": ()}, "levels 1 to 3"),
        ({**SMALL, "skips": (1,), "attention_at": (2,)}, "`attention_at` must be levels with"),
        ({**SMALL, "edge_gate": "add"}, "`gate` must be one of"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        agd_autoencoder(**options)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_precision_policies_keep_probabilities_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = agd_autoencoder((16, 16, 3), (4, 6), stem_stride=2)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("encoder_1").compute_dtype == policy.removeprefix("mixed_")
    model.compile(
        "adam",
        {"mask": make_loss("focal_dice"), "edge": EdgeCrossEntropy()},
        metrics={"mask": [Dice()]},
        run_eagerly=True,
    )
    images, targets = batch((2, 16, 16))
    logs = model.train_on_batch(images, targets, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    outputs = model(images)
    # All weights are kept in float32, so that they load under every policy.
    full = agd_autoencoder((16, 16, 3), (4, 6), stem_stride=2)
    full.set_weights(model.get_weights())
    for name, expected in full(images).items():
        assert outputs[name].dtype == "float32"
        np.testing.assert_allclose(outputs[name], expected, atol=0.05)


def test_training_learns_and_reloads_compiled(tmp_path):
    keras.utils.set_random_seed(0)
    model = agd_autoencoder((16, 16, 3), (4, 6), stem_stride=2)
    model.compile(
        keras.optimizers.Adam(1e-2),
        {"mask": make_loss("cross_entropy_dice"), "edge": EdgeCrossEntropy()},
        metrics={"mask": [Dice()]},
    )
    images, targets = batch((4, 16, 16))
    before = [np.asarray(weight) + 0 for weight in model.trainable_variables]
    history = model.fit(images, targets, epochs=20, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert {"mask_loss", "edge_loss", "mask_dice"} <= set(history)
    for variable, was in zip(model.trainable_variables, before, strict=True):
        assert np.any(np.asarray(variable) != was), f"no gradient reached {variable.path}"

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for name, output in loaded(images).items():
        np.testing.assert_array_equal(output, model(images)[name])
    # Loss and optimiser came back, too: both take the same next step.
    logs = [m.train_on_batch(images, targets, return_dict=True) for m in (model, loaded)]
    assert logs[0]["loss"] == pytest.approx(history["loss"][-1], rel=0.2)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_json_round_trip():
    model = agd_autoencoder(dropout=0.1, l2=1e-3, **SMALL)
    again = keras.models.model_from_json(model.to_json())
    assert again.to_json() == model.to_json()
    again.set_weights(model.get_weights())
    images, _ = batch()
    for a, b in zip(model(images).values(), again(images).values(), strict=True):
        np.testing.assert_array_equal(a, b)
