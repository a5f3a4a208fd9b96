"""The optimiser of a training: AdamW whose weight decay leaves out biases and normalisations."""

import keras

# Biases, and scale and offset of normalisations.
SPARED = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable(package="agd_keras")
class AdamW(keras.optimizers.AdamW):
    """AdamW that decays neither biases nor scale and offset of normalisations.

    Keras forgets what `exclude_from_weight_decay` was told once a model is saved; this does not.

    Args:
        **kwargs: As `keras.optimizers.AdamW` takes them.

    Example:

    >>> AdamW.from_config(AdamW(weight_decay=0.01).get_config()).weight_decay
    0.01
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.exclude_from_weight_decay(var_names=list(SPARED))


def spare(model: keras.Model) -> None:
    """Gives a compiled model that was saved with Keras' own AdamW, untrained since, the one above.

    Args:
        model: A model that was just loaded; one with another optimiser stays as it is.
    """
    optimizer = model.optimizer
    if type(optimizer) is keras.optimizers.AdamW:
        model.optimizer = AdamW.from_config(optimizer.get_config())
        model.optimizer.build(model.trainable_variables)
