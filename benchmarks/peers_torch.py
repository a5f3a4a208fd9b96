"""Networks in PyTorch that are compared: MONAI's and that of segmentation-models-pytorch."""

import itertools
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from monai.losses import DiceLoss
from monai.networks.nets import AttentionUnet, UNet
from torch.utils.flop_counter import FlopCounterMode

from agd_keras.config import RunConfig
from agd_keras.data.cache import Cache
from agd_keras.data.dataset import make_dataset
from agd_keras.data.slices import Slice
from agd_keras.inference.predictor import Predictor

# A torchvision made for CUDA finds no libraries beside a torch without. Nothing here uses its
# operators, but importing it, as the next one does, asks for two of them by name.
try:
    torch.ops.load_library(Path(find_spec("torchvision").origin).with_name("_C.so"))
except OSError:
    for name in ("nms", "qnms"):
        form = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", form)
import segmentation_models_pytorch

# Channels, strides and residual units of MONAI's own tutorials. The encoder of the last has no
# pretrained weights.
LEVELS = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)}
MONAI = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1, **LEVELS}
NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "monai_attention_unet": lambda: AttentionUnet(**MONAI),
    "monai_unet": lambda: UNet(**MONAI, num_res_units=2, norm="batch"),
    "smp_unet": lambda: segmentation_models_pytorch.Unet("resnet34", encoder_weights=None),
}


class TorchPeer:
    """A network in PyTorch while it is trained.

    Layout in memory and precision are those of the quickest of a few steps on a copy.

    Args:
        name: One of `NETWORKS`.
        size: Side of the input in pixels.
        batch: Slices in a batch.
        common: Settings of the optimiser.
        seed: Seed of the weights.
    """

    def __init__(self, name: str, size: int, batch: int, common: dict[str, float], seed: int):
        self.common = common
        self.size = size
        self.make = NETWORKS[name]
        # Sums over the batch and a smoothing of 1, as in ours.
        self.dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
        self.cross_entropy = torch.nn.BCEWithLogitsLoss()
        layouts = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
        precisions = {"float32": torch.float32, "mixed_bfloat16": torch.bfloat16}
        times = {}
        for chosen in itertools.product(layouts, precisions):
            self._build(layouts[chosen[0]], precisions[chosen[1]], seed)
            times[chosen] = self._step_time(batch)
        layout, precision = min(times, key=lambda chosen: times[chosen])
        self._build(layouts[layout], precisions[precision], seed)
        self.settings = f"{precision}, {layout}"
        self.parameters = sum(one.numel() for one in self.network.parameters())
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            self.network.eval()(torch.zeros(1, 3, size, size))
        self.macs = counter.get_total_flops() // 2

    def _build(self, layout: torch.memory_format, precision: torch.dtype, seed: int) -> None:
        torch.manual_seed(seed)
        self.layout, self.precision = layout, precision
        self.network = self.make().to(memory_format=layout)
        # As in ours: neither biases nor what normalises decays.
        weights = list(self.network.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [w for w in weights if w.ndim > 1]},
                {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=self.common["learning_rate"],
            weight_decay=self.common["weight_decay"],
        )

    def _step_time(self, batch: int, steps: int = 5) -> float:
        image = tf.random.stateless_normal((batch, self.size, self.size, 3), (0, 0))
        mask = tf.cast(image[..., :1] > 2, tf.float32)
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step(image, mask, 1.0)
            times.append(time.perf_counter() - start)
        return median(times[1:])  # the first one tunes

    def _images(self, images: np.ndarray) -> torch.Tensor:
        planes = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)  # TensorFlow owns its own
        return planes.contiguous(memory_format=self.layout)

    def step(self, image: tf.Tensor, mask: tf.Tensor, factor: float) -> None:
        """Trains on one batch with a share of the highest learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.common["learning_rate"] * factor
        self.network.train()
        truth = self._images(mask.numpy())
        half = self.precision != torch.float32
        with torch.autocast("cpu", self.precision, enabled=half):
            logits = self.network(self._images(image.numpy()))
        logits = logits.float()
        loss = self.cross_entropy(logits, truth) + self.dice(logits, truth)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.common["clip_norm"])
        self.optimizer.step()

    def feed(self, cache: Cache, slices: Sequence[Slice], config: RunConfig) -> None:
        """Says what it is trained on: the batches that `fit_fold` would draw with a config."""
        self.batches = make_dataset(
            *(cache, slices, config.training.batch_size),
            *(config.data.augment, config.training.seed),
            training=True,
            tumor_sampling=config.data.tumor_sampling,
        )

    def train(self, clock: Any) -> None:
        """Trains until the clock's minutes are over."""
        batches = iter(self.batches)
        while not clock.over:
            clock.start()
            image, targets = next(batches)
            self.step(image, targets["mask"], clock.factor)
            clock.stop()

    @property
    def input_shape(self) -> tuple[int | None, int, int, int]:
        """Shape of the images that `predict_on_batch` takes, as Keras models have it."""
        return (None, self.size, self.size, 3)

    def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts as a Keras model does, in float32."""
        with torch.inference_mode():
            mask = torch.sigmoid(self.network.eval()(self._images(images)))
        return {"mask": mask.permute(0, 2, 3, 1).numpy()}

    def predictor(self) -> Predictor:
        """What predicts with the weights of now."""
        return Predictor([self])

    def infer(self, images: np.ndarray) -> None:
        """The network alone, in float32."""
        self.predict_on_batch(images)
