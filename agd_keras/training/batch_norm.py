"""How batch normalisation computes while a network is trained: fused, or over all replicas."""

from typing import Any

import keras


def synchronize(model: keras.Model) -> None:
    """Makes batch normalisation measure the whole batch, not the part on its replica."""
    for layer in model._flatten_layers():  # those inside of blocks too
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def fuse_normalization(model: keras.Model) -> None:
    """Makes batch normalisation one kernel forth and one back, where the backend has such.

    Keras makes it of single operations, which take a fifth of a training step on a CPU. Losses and
    statistics stay the same but for rounding. Float16 is left to Keras: a training with the kernel
    ended 0.02 of Dice lower there, which may be chance. The model is changed as it lies in memory
    only: what is saved of it and loaded again is as Keras has it.

    Args:
        model: A model whose batch normalisation is over the last axis of images, trained on one
            device: the kernel knows nothing of others.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    def fused(layer: Any, inputs: Any, training: bool) -> Any:
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(layer.gamma),
            offset=tf.convert_to_tensor(layer.beta),
            mean=[] if training else tf.convert_to_tensor(layer.moving_mean),
            variance=[] if training else tf.convert_to_tensor(layer.moving_variance),
            epsilon=layer.epsilon,
            is_training=training,
        )
        if training:
            # The kernel divides by one less than the number of values, Keras by the number.
            count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
            moving = (layer.moving_mean, mean), (layer.moving_variance, variance * (1 - 1 / count))
            for variable, value in moving:
                variable.assign(variable * layer.momentum + value * (1 - layer.momentum))
        return outputs

    for layer in model._flatten_layers():  # those inside of blocks too
        batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        if batch_norm and layer.compute_dtype != "float16":
            layer.call = lambda inputs, training=False, mask=None, layer=layer: fused(
                layer, inputs, bool(training and layer.trainable)
            )
