"""The building blocks of the network, each a registered Keras layer."""

from agd_keras.layers.attention_gate import AttentionGate
from agd_keras.layers.conv_block import ConvBlock
from agd_keras.layers.edge_attention import EdgeAttention

__all__ = ["AttentionGate", "ConvBlock", "EdgeAttention"]
