"""The network and the views of it."""

from agd_keras.models.agd_autoencoder import agd_autoencoder
from agd_keras.models.views import attention_model, explain_model, inference_model

__all__ = ["agd_autoencoder", "attention_model", "explain_model", "inference_model"]
