"""Files of other makers that could be taken for an export."""

import numpy as np
import pytest

from agd_keras.errors import InputError
from agd_keras.inference.exported import load_artefact

IMAGE = (None, 8, 8, 3)
FOREIGN = [
    ("mask", (None, None, None, 3)),
    ("mask", (None, 4)),
    ("logits", IMAGE),
]
LINE = r": expected what agd-export writes \(expected one input .* found an input "


def write_onnx(path, output, shape):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape[1:]])
        for name in ("image", output)
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], [output])], "g", ends[:1], ends[1:]
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def write_saved_model(path, output, shape):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, "image")])
    def model(image):
        return {output: tf.identity(image)}

    tf.saved_model.save(tf.Module(), str(path), signatures={"model": model})


def write_tflite(path, output, shape):
    import tensorflow as tf

    folder = path.with_suffix("")
    write_saved_model(folder, output, shape)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["model"])
    path.write_bytes(converter.convert())


WRITERS = {"a.onnx": write_onnx, "a.tflite": write_tflite, "a": write_saved_model}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("output", "shape"), FOREIGN)
def test_another_network_is_refused(tmp_path, name, output, shape):
    WRITERS[name](tmp_path / name, output, shape)
    with pytest.raises(InputError, match=name + LINE) as raised:
        load_artefact(tmp_path / name)
    assert str(raised.value).endswith(f"outputs {output})")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_one_of_the_right_form_is_taken(tmp_path, name):
    WRITERS[name](tmp_path / name, "mask", IMAGE)
    artefact = load_artefact(tmp_path / name)
    batch = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    assert artefact.input_shape == (None, 8, 8, 3)
    np.testing.assert_array_equal(artefact.predict_on_batch(batch)["mask"], batch)
