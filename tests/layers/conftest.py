import keras
import numpy as np
import pytest

to_numpy = keras.ops.convert_to_numpy


def _as_list(value):
    return list(value) if isinstance(value, list | tuple) else [value]


def _model(layer, shapes):
    inputs = [keras.Input(shape[1:], name=f"input_{i}") for i, shape in enumerate(shapes)]
    return keras.Model(inputs, _as_list(layer(inputs if len(inputs) > 1 else inputs[0])))


@pytest.fixture
def check_layer(tmp_path):
    """What every layer must hold: shapes, weights, config, precision, saving, one training step.

    Args of the function: the class, its arguments, input shapes, output shapes, numbers of
    trainable and of other weight tensors; `float32_outputs` are the indices of the outputs that
    stay float32 under every precision policy.
    """

    def check(cls, options, inputs, outputs, trainable, non_trainable, float32_outputs=()):
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(0)
        values = [rng.normal(size=shape).astype("float32") for shape in inputs]

        layer = cls(**options)
        again = cls.from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
        assert options.items() <= layer.get_config().items()

        model = _model(layer, inputs)
        assert [(None, *shape[1:]) for shape in outputs] == [t.shape for t in model.outputs]
        assert len(layer.trainable_variables) == trainable
        assert len(layer.non_trainable_variables) == non_trainable
        before = _as_list(model.predict(values, verbose=0))
        assert [out.shape for out in before] == outputs

        # The architecture alone, by JSON, with the weights put back; then the whole file.
        from_json = keras.models.model_from_json(model.to_json())
        from_json.set_weights(model.get_weights())
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
        for other in (from_json, loaded):
            for a, b in zip(before, _as_list(other.predict(values, verbose=0)), strict=True):
                np.testing.assert_array_equal(a, b)

        model.compile("sgd", ["mse"] * len(outputs))
        old = [to_numpy(w) + 0 for w in layer.trainable_variables]
        model.train_on_batch(values, [np.ones(shape, "float32") for shape in outputs])
        for variable, was in zip(layer.trainable_variables, old, strict=True):
            assert np.isfinite(to_numpy(variable)).all()
            assert np.any(to_numpy(variable) != was), f"no gradient reached {variable.path}"

        for policy in ("mixed_bfloat16", "mixed_float16"):
            mixed = cls(**options, dtype=policy)
            tensors = [keras.ops.convert_to_tensor(v) for v in values]
            got = _as_list(mixed(tensors if len(tensors) > 1 else tensors[0]))
            assert {v.dtype for v in mixed.weights} == {"float32"}
            for index, tensor in enumerate(got):
                expected = "float32" if index in float32_outputs else policy.removeprefix("mixed_")
                assert keras.backend.standardize_dtype(tensor.dtype) == expected
            symbolic = _model(cls(**options, dtype=policy), inputs).outputs
            assert [t.dtype for t in symbolic] == [
                keras.backend.standardize_dtype(t.dtype) for t in got
            ]
            full = _as_list(_same_weights(cls(**options), mixed, values))
            for a, b in zip(got, full, strict=True):
                a, b = (to_numpy(keras.ops.cast(x, "float32")) for x in (a, b))
                np.testing.assert_allclose(a, b, atol=0.05 * max(1.0, np.abs(b).max()))

    return check


def _same_weights(layer, source, values):
    inputs = values if len(values) > 1 else values[0]
    layer(inputs)
    layer.set_weights(source.get_weights())
    return layer(inputs)
