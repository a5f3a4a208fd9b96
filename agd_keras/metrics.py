"""Running figures over the pixels of all slices seen, for use while training.

Each keeps confusion counts, so its value is the pooled figure: that of one huge image, not a mean
of values per batch. Truth and prediction are of shape `(batch, height, width, 1)`, or with a
channel for each of several regions, over which the value is the mean.
"""

from typing import Any

import keras
from keras import ops

Tensor = Any  # a tensor of whichever backend runs
# Metrics have a namespace of their own: a loss is called Dice, too.
_PACKAGE = "agd_keras.metrics"
# Float32 counts exactly to 2**24, which is 256 slices of 256 by 256 pixels. Counts are therefore
# kept as two digits of base 4096, exact to 2**36.
_BASE = 4096.0


class _PixelMetric(keras.metrics.Metric):
    """Counts true positive, false positive and false negative pixels; subclasses divide them."""

    def __init__(
        self,
        threshold: float = 0.5,
        name: str | None = None,
        dtype: str = "float32",
        regions: int = 1,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.threshold = threshold
        self.regions = regions
        shape = (3,) if regions == 1 else (3, regions)
        self.high = self.add_variable(shape, "zeros", dtype="float32", name="high")
        self.low = self.add_variable(shape, "zeros", dtype="float32", name="low")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> None:
        """Adds the counts of a batch.

        Args:
            y_true: Masks of shape `(batch, height, width, regions)`, values 0 or 1.
            y_pred: Probabilities of the same shape.
            sample_weight: One weight for each image, of shape `(batch,)`, or `None`.
        """
        images = ops.shape(y_true)[0]
        truth, probability = (
            ops.reshape(ops.cast(y, "float32"), (images, -1, self.regions))
            for y in (y_true, y_pred)
        )
        truth, prediction = truth > 0.5, probability >= self.threshold
        pixels = (
            ops.logical_and(truth, prediction),
            ops.logical_and(ops.logical_not(truth), prediction),
            ops.logical_and(truth, ops.logical_not(prediction)),
        )
        counts = ops.stack([ops.sum(ops.cast(p, "float32"), axis=1) for p in pixels])
        if sample_weight is not None:
            counts = counts * ops.reshape(ops.cast(sample_weight, "float32"), (1, images, 1))
        high = ops.floor(counts / _BASE)
        low = self.low + ops.reshape(ops.sum(counts - high * _BASE, axis=1), self.low.shape)
        carry = ops.floor(low / _BASE)
        self.low.assign(low - carry * _BASE)
        self.high.assign(self.high + ops.reshape(ops.sum(high, axis=1), self.high.shape) + carry)

    def result(self) -> Tensor:
        hit, false_alarm, miss = ops.unstack(self.high * _BASE + self.low)
        value = ops.divide_no_nan(*self._fraction(hit, false_alarm, miss))
        return ops.mean(ops.where(hit + false_alarm + miss == 0.0, 1.0, value))

    def _fraction(self, hit: Tensor, false_alarm: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        several = {"regions": self.regions} if self.regions > 1 else {}  # older files have none
        return {**super().get_config(), "threshold": self.threshold, **several}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Dice(_PixelMetric):
    """Pooled Dice, `2 TP / (2 TP + FP + FN)`, the same as pooled F1.

    No tumour pixel anywhere, neither in truth nor in prediction, counts as 1.

    Args:
        threshold: A pixel is predicted as tumour at or above this probability.
        name: Name of the metric; Keras puts the name of the output before it (`mask_dice`).
        dtype: Type of the result.
        regions: Channels of masks and probabilities.

    Example:

    >>> import numpy as np
    >>> metric = Dice()
    >>> metric.update_state(np.ones((1, 2, 2, 1)), np.full((1, 2, 2, 1), 0.6))
    >>> metric.update_state(np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), 0.6))
    >>> round(float(metric.result()), 4)  # 8 / (8 + 4)
    0.6667
    """

    def __init__(
        self,
        threshold: float = 0.5,
        name: str = "dice",
        dtype: str = "float32",
        regions: int = 1,
    ) -> None:
        super().__init__(threshold, name, dtype, regions)

    def _fraction(self, hit: Tensor, false_alarm: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return 2.0 * hit, 2.0 * hit + false_alarm + miss


@keras.saving.register_keras_serializable(package=_PACKAGE)
class IoU(_PixelMetric):
    """Pooled intersection over union, `TP / (TP + FP + FN)`.

    No tumour pixel anywhere, neither in truth nor in prediction, counts as 1.

    Args:
        threshold: A pixel is predicted as tumour at or above this probability.
        name: Name of the metric; Keras puts the name of the output before it (`mask_iou`).
        dtype: Type of the result.
        regions: Channels of masks and probabilities.

    Example:

    >>> import numpy as np
    >>> metric = IoU()
    >>> metric.update_state(np.eye(2).reshape(1, 2, 2, 1), np.ones((1, 2, 2, 1)))
    >>> float(metric.result())
    0.5
    """

    def __init__(
        self,
        threshold: float = 0.5,
        name: str = "iou",
        dtype: str = "float32",
        regions: int = 1,
    ) -> None:
        super().__init__(threshold, name, dtype, regions)

    def _fraction(self, hit: Tensor, false_alarm: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return hit, hit + false_alarm + miss


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Precision(_PixelMetric):
    """Pooled precision, `TP / (TP + FP)`: the share of predicted pixels that are tumour.

    No tumour pixel anywhere, neither in truth nor in prediction, counts as 1; nothing predicted
    where there is tumour counts as 0.

    Args:
        threshold: A pixel is predicted as tumour at or above this probability.
        name: Name of the metric; Keras puts the name of the output before it (`mask_precision`).
        dtype: Type of the result.
        regions: Channels of masks and probabilities.

    Example:

    >>> import numpy as np
    >>> metric = Precision()
    >>> metric.update_state(np.eye(2).reshape(1, 2, 2, 1), np.ones((1, 2, 2, 1)))
    >>> float(metric.result())
    0.5
    """

    def __init__(
        self,
        threshold: float = 0.5,
        name: str = "precision",
        dtype: str = "float32",
        regions: int = 1,
    ) -> None:
        super().__init__(threshold, name, dtype, regions)

    def _fraction(self, hit: Tensor, false_alarm: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return hit, hit + false_alarm


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Recall(_PixelMetric):
    """Pooled recall, `TP / (TP + FN)`: the share of tumour pixels that are found.

    No tumour pixel anywhere, neither in truth nor in prediction, counts as 1; false alarms where
    there is no tumour count as 0.

    Args:
        threshold: A pixel is predicted as tumour at or above this probability.
        name: Name of the metric; Keras puts the name of the output before it (`mask_recall`).
        dtype: Type of the result.
        regions: Channels of masks and probabilities.

    Example:

    >>> import numpy as np
    >>> metric = Recall()
    >>> metric.update_state(np.ones((1, 2, 2, 1)), np.eye(2).reshape(1, 2, 2, 1))
    >>> float(metric.result())
    0.5
    """

    def __init__(
        self,
        threshold: float = 0.5,
        name: str = "recall",
        dtype: str = "float32",
        regions: int = 1,
    ) -> None:
        super().__init__(threshold, name, dtype, regions)

    def _fraction(self, hit: Tensor, false_alarm: Tensor, miss: Tensor) -> tuple[Tensor, Tensor]:
        return hit, hit + miss
