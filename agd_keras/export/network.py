"""The trained network as one function that no file of weights belongs to."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from agd_keras.errors import InputError

Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def ensemble_model(models: Sequence[keras.Model]) -> keras.Model:
    """Returns one model whose outputs are the means of those of several.

    Args:
        models: Models made by `agd_autoencoder` with one input size, such as the folds of a run.

    Returns:
        The model itself if there is one only, else a `keras.Model` that shares their weights.

    Raises:
        InputError: The models differ in input size or outputs.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> folds = [agd_autoencoder((32, 32, 3), filters=(4, 8)) for _ in range(2)]
    >>> sorted(ensemble_model(folds).output_names)
    ['edge', 'mask']
    """
    first = models[0]
    if len(models) == 1:
        return first
    if len({(model.input_shape, tuple(sorted(model.output))) for model in models}) > 1:
        raise InputError("folds of different input size or outputs: cannot be exported as one")
    image = keras.Input(first.input_shape[1:], dtype="float32", name="image")
    folds = [
        keras.Model(model.input, model.output, name=f"fold_{index}")(image)
        for index, model in enumerate(models)
    ]
    outputs = {
        name: keras.layers.Average(dtype="float32", name=name)([fold[name] for fold in folds])
        for name in sorted(first.output)
    }
    return keras.Model(image, outputs, name=first.name)


def freeze(model: keras.Model) -> Network:
    """Returns the network as a function in which the weights are constants.

    TensorFlow then multiplies the batch normalisation into the kernels once, when it loads the
    file, and no variable can be lost while the file is converted or loaded.

    Args:
        model: A float32 model made by `agd_autoencoder`.

    Returns:
        Function of the network's input, `(batch, image_size, image_size, 3)`, that returns its
        outputs by name; for use within a `tf.function`.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> network = freeze(agd_autoencoder((32, 32, 3), filters=(4, 8)))
    >>> network(tf.zeros((2, 32, 32, 3)))["mask"].shape
    TensorShape([2, 32, 32, 1])
    """
    trained = [variable.numpy() for variable in model.trainable_variables]
    other = [variable.numpy() for variable in model.non_trainable_variables]

    def network(image: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = ([tf.constant(value) for value in values] for values in (trained, other))
        outputs, _ = model.stateless_call(*weights, image, training=False)
        return dict(outputs)

    return network
