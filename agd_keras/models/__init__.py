"""The network and the views of it."""

from agd_keras.models.agd_autoencoder import agd_autoencoder
from agd_keras.models.registry import Head
from agd_keras.models.views import as_network, attention_model, explain_model, inference_model

__all__ = [
    "Head",
    "agd_autoencoder",
    "as_network",
    "attention_model",
    "explain_model",
    "inference_model",
]
