"""The signature `patient` as an ONNX graph: a patient's images in, probability and mask out."""

import warnings
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.export.saved_model import make_signatures

FILE = "patient.onnx"
PREPARED = "prepared"
OPSET = 17
USAGE = """
`patient.onnx` takes the images of a patient as they are: input `image`, float32 `(slices, height,
width, 3)`, any size and any positive scale, all slices together. Outputs `probability`, float32,
with the model's temperature applied, and `mask`, uint8 0 or 1, of `(slices, height, width, 1)`.
"""


def write_patient(
    model: keras.Model,
    file: Path,
    threshold: float = 0.5,
    temperature: float = 1.0,
    preprocessor: Preprocessor | None = None,
) -> Path:
    """Writes the whole way from a patient's images to the mask as one ONNX file.

    The tensor between the patient's normalisation and the network is called `prepared` and
    described in the file, so that a program can cut the graph there: to send slices through the
    network a few at a time, as the page in the browser does.

    Args:
        model: A float32 model made by `agd_autoencoder`.
        file: The file to write.
        threshold: A pixel is tumour at or above this probability, 0 to 1.
        temperature: What the logits of the probability are scaled by, above 0.
        preprocessor: What makes the network's input. Default: that of a model without one.

    Returns:
        The file.

    Raises:
        InputError: The model cannot be converted.
    """
    import onnx

    patient = make_signatures(model, threshold, temperature, preprocessor)["patient"]

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, "image")])
    def one_patient(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: output[0] for name, output in patient(image=image[None]).items()}

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="In the future `np.object`")
        import tf2onnx

        graph, _ = tf2onnx.convert.from_function(
            one_patient, one_patient.input_signature, opset=OPSET
        )
    _name_prepared(graph, model.input_shape[1])
    onnx.save(graph, file)
    return file


def _name_prepared(graph: Any, size: int) -> None:
    """Gives the network's input, which one reshape makes, its name and its type."""
    import onnx

    main = graph.graph
    values = {one.name: onnx.numpy_helper.to_array(one) for one in main.initializer}
    shape = (-1, 3, size, size)
    found = [
        node
        for node in main.node
        if node.op_type == "Reshape" and tuple(values.get(node.input[1], ())) == shape
    ]
    if len(found) != 1:
        raise InputError(f"the model cannot be converted to ONNX: {len(found)} tensors of {shape}")
    old = found[0].output[0]
    for node in main.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = PREPARED
    free = ("rows", 3, size, size)
    info = onnx.helper.make_tensor_value_info(PREPARED, onnx.TensorProto.FLOAT, free)
    main.value_info.append(info)
