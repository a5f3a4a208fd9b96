"""Losses for masks of which one pixel in a hundred is tumour, and for the edges of such masks.

Every loss takes truth and probability of shape `(batch, height, width, 1)`, or with a channel for
each of several regions, over which it is the mean, is computed in float32 whatever the precision
policy, and reloads from a saved model.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
from keras import ops

from agd_keras.errors import InputError

Tensor = Any  # a tensor of whichever backend runs


def _whole(sums: Tensor) -> Tensor:
    """What a loss adds up over devices that share a batch, if there are none: itself."""
    return sums


def _tversky(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float,
    beta: float,
    smooth: float,
    per: str,
    add_up: Callable[[Tensor], Tensor],
) -> Tensor:
    """One minus the Tversky index, of shape `(1,)` per batch or `(batch,)` per image.

    The sum over a batch keeps its axis: Keras neither averages a scalar nor divides it by the
    number of replicas.
    """
    groups = 1 if per == "batch" else ops.shape(y_true)[0]
    truth, probability = (ops.reshape(y, (groups, -1)) for y in (y_true, y_pred))
    hit = ops.sum(truth * probability, axis=-1)
    false_alarm = ops.sum((1.0 - truth) * probability, axis=-1)
    miss = ops.sum(truth * (1.0 - probability), axis=-1)
    if per == "batch":
        hit, false_alarm, miss = (add_up(sums) for sums in (hit, false_alarm, miss))
    # The same as 1 - (hit + smooth) / (...), without the cancellation near a perfect prediction.
    wrong = alpha * false_alarm + beta * miss
    return wrong / (hit + wrong + smooth)


def _over_regions(
    loss: Callable[[Tensor, Tensor], Tensor], y_true: Tensor, y_pred: Tensor
) -> Tensor:
    """Mean over the regions of a loss that adds up over pixels; of one region the loss itself."""
    regions = y_pred.shape[-1]
    if regions == 1:
        return loss(y_true, y_pred)
    parts = [loss(y_true[..., n : n + 1], y_pred[..., n : n + 1]) for n in range(regions)]
    return sum(parts) / regions


def _check_per(per: str) -> None:
    if per not in ("batch", "image"):
        raise InputError(f"per: expected 'batch' or 'image', got {per!r}")


@keras.saving.register_keras_serializable(package="agd_keras")
class Dice(keras.losses.Loss):
    """Soft Dice loss with smoothing: `1 - (2 TP + smooth) / (2 TP + FP + FN + smooth)`.

    An empty mask that is predicted empty costs nothing. Sums over a whole batch are the default:
    most slices hold no tumour, and on such a slice alone Dice says almost nothing.

    Args:
        smooth: Pixels added to both sides of the fraction, above 0.
        per: `"batch"` sums over all pixels of the batch, `"image"` over each image.
        name: Name of the loss.
        reduction: How Keras reduces the values: one of the batch, or one of each image.

    Raises:
        InputError: If `per` is something else.

    Reference:

    - [Milletari et al., 2016](https://arxiv.org/abs/1606.04797), without the squares; sums over
      the batch as in [Isensee et al., 2021](https://doi.org/10.1038/s41592-020-01008-z).

    Example:

    >>> import numpy as np
    >>> truth = np.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
    >>> float(Dice(smooth=1.0)(truth, np.full((1, 2, 2, 1), 0.5)))  # 1 - 3 / 5
    0.4000000059604645
    """

    def __init__(
        self,
        smooth: float = 1.0,
        per: Literal["batch", "image"] = "batch",
        name: str = "dice",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype="float32")
        _check_per(per)
        self.smooth = smooth
        self.per = per
        self.add_up: Callable[[Tensor], Tensor] = _whole

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _over_regions(self._of_region, y_true, y_pred)

    def _of_region(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _tversky(y_true, y_pred, 0.5, 0.5, self.smooth / 2, self.per, self.add_up)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smooth": self.smooth, "per": self.per}


@keras.saving.register_keras_serializable(package="agd_keras")
class FocalTversky(keras.losses.Loss):
    """Focal Tversky loss: `(1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)) ** gamma`.

    With `beta` above `alpha` a missed tumour pixel costs more than a false alarm; `gamma` below 1
    keeps the gradient up where the prediction is already good.

    Args:
        alpha: Weight of false positives, 0 or more.
        beta: Weight of false negatives, 0 or more.
        gamma: Exponent, above 0 (the inverse of the reference's γ = 4/3).
        smooth: Pixels added to both sides of the fraction, above 0.
        per: `"batch"` sums over all pixels of the batch, `"image"` over each image.
        name: Name of the loss.
        reduction: How Keras reduces the values: one of the batch, or one of each image.

    Raises:
        InputError: If `per` is something else.

    Reference:

    - [Abraham & Khan, 2018](https://arxiv.org/abs/1810.07842), where α is the weight of false
      negatives; here `alpha` and `beta` mean what they mean in `keras.losses.Tversky`.

    Example:

    >>> import numpy as np
    >>> truth = np.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
    >>> loss = FocalTversky(alpha=0.5, beta=0.5, gamma=2.0)
    >>> round(float(loss(truth, np.full((1, 2, 2, 1), 0.5))), 4)  # (1 - 2 / 3) ** 2
    0.1111
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 0.75,
        smooth: float = 1.0,
        per: Literal["batch", "image"] = "batch",
        name: str = "focal_tversky",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype="float32")
        _check_per(per)
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.smooth = smooth
        self.per = per
        self.add_up: Callable[[Tensor], Tensor] = _whole

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return _over_regions(self._of_region, y_true, y_pred)

    def _of_region(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        loss = _tversky(
            *(y_true, y_pred, self.alpha, self.beta, self.smooth, self.per, self.add_up)
        )
        # A root has an infinite slope at 0, where a perfect prediction would give NaN gradients.
        return ops.maximum(loss, keras.config.epsilon()) ** self.gamma

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "gamma": self.gamma,
            "smooth": self.smooth,
            "per": self.per,
        }


@keras.saving.register_keras_serializable(package="agd_keras")
class WeightedSum(keras.losses.Loss):
    """Weighted sum of losses on the same output, such as cross-entropy plus Dice.

    Args:
        losses: Losses, each an object, a name known to Keras, or a serialised loss.
        weights: One factor for each loss; all 1 if `None`.
        name: Name of the loss.

    Raises:
        InputError: If there are not as many weights as losses.

    Example:

    >>> import numpy as np
    >>> half = np.full((1, 2, 2, 1), 0.5)
    >>> loss = WeightedSum([Dice(), keras.losses.BinaryCrossentropy()], weights=[1.0, 0.0])
    >>> float(loss(np.ones((1, 2, 2, 1)), half)) == float(Dice()(np.ones((1, 2, 2, 1)), half))
    True
    """

    def __init__(
        self,
        losses: Sequence[Any],
        weights: Sequence[float] | None = None,
        name: str = "weighted_sum",
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.losses = [keras.losses.get(loss) for loss in losses]
        self.weights = [1.0] * len(self.losses) if weights is None else list(weights)
        if len(self.weights) != len(self.losses):
            raise InputError(
                f"weights: expected one for each of the {len(self.losses)} losses, "
                f"got {len(self.weights)}"
            )

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        # Not `call`: each loss reduces its own values, which differ in shape.
        return sum(
            weight * loss(y_true, y_pred, sample_weight)
            for weight, loss in zip(self.weights, self.losses, strict=True)
        )

    def get_config(self) -> dict[str, Any]:
        losses = [keras.losses.serialize(loss) for loss in self.losses]
        return {"name": self.name, "losses": losses, "weights": self.weights}


def mask_boundary(mask: Tensor, width: int = 1) -> Tensor:
    """Marks the pixels within `width` pixels of a mask's outline, on both sides of it.

    Dilation minus erosion with a square, by max-pooling. Where a mask touches the border of the
    image it has no edge.

    Args:
        mask: Tensor of shape `(batch, height, width, 1)`, values 0 or 1.
        width: Pixels on each side of the outline, 1 or more.

    Returns:
        Float32 tensor of the same shape, values 0 or 1.

    Example:

    >>> import numpy as np
    >>> mask = np.array([0, 0, 0, 1, 1, 1], "float32").reshape(1, 1, 6, 1)
    >>> ops.convert_to_numpy(mask_boundary(mask)).ravel().tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    """
    mask = ops.cast(mask, "float32")
    window = 2 * width + 1
    dilation, inverse_erosion = (
        ops.max_pool(m, window, strides=1, padding="same", data_format="channels_last")
        for m in (mask, 1.0 - mask)
    )
    return dilation + inverse_erosion - 1.0


@keras.saving.register_keras_serializable(package="agd_keras")
class EdgeCrossEntropy(keras.losses.Loss):
    """Weighted binary cross-entropy of an edge map against the boundary of the mask.

    The target is the mask itself, of several regions their union: its boundary is derived here,
    after augmentation and on the device, and so always fits the mask.

    Args:
        width: Pixels on each side of the outline that count as edge, 1 or more.
        positive_weight: Factor on the cost of edge pixels, which are rare, above 0.
        name: Name of the loss.
        reduction: How Keras reduces the values of the pixels.

    Raises:
        InputError: If `width` is not a positive whole number.

    Reference:

    - [Fan et al., 2020 (Inf-Net)](https://arxiv.org/abs/2004.14133), with a weight of 1.

    Example:

    >>> import numpy as np
    >>> mask = np.array([0, 0, 1, 1], "float32").reshape(1, 1, 4, 1)
    >>> loss = EdgeCrossEntropy(positive_weight=1.0)
    >>> round(float(loss(mask, np.full((1, 1, 4, 1), 0.5))), 4)  # log 2
    0.6931
    """

    def __init__(
        self,
        width: int = 1,
        positive_weight: float = 10.0,
        name: str = "edge_cross_entropy",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if int(width) != width or width < 1:
            raise InputError(f"width: expected a whole number of pixels, 1 or more, got {width!r}")
        self.width = width
        self.positive_weight = positive_weight

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if y_true.shape[-1] > 1:
            y_true = ops.max(y_true, axis=-1, keepdims=True)
        boundary = mask_boundary(y_true, self.width)
        weight = 1.0 + (self.positive_weight - 1.0) * boundary
        return ops.mean(weight * ops.binary_crossentropy(boundary, y_pred), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "width": self.width,
            "positive_weight": self.positive_weight,
        }


def _cross_entropy() -> keras.losses.Loss:
    return keras.losses.BinaryCrossentropy(name="cross_entropy", dtype="float32")


def _focal() -> keras.losses.Loss:
    return keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, alpha=0.75, gamma=2.0, name="focal"
    )


LOSSES: dict[str, Callable[[], keras.losses.Loss]] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "dice": Dice,
    "focal_dice": lambda: WeightedSum([_focal(), Dice()], name="focal_dice"),
    "focal_tversky": FocalTversky,
    "cross_entropy_dice": lambda: WeightedSum(
        [_cross_entropy(), Dice()], name="cross_entropy_dice"
    ),
}


def make_loss(name: str, add_up: Callable[[Tensor], Tensor] = _whole) -> keras.losses.Loss:
    """Makes the loss for the mask that goes by a name in the configuration.

    Args:
        name: `"cross_entropy"`; `"focal"`, the class-weighted focal cross-entropy of
            [Lin et al., 2018](https://arxiv.org/abs/1708.02002) with three quarters of the weight
            on tumour; `"dice"`; `"focal_tversky"`; `"focal_dice"` and `"cross_entropy_dice"`, sums
            of the two.
        add_up: Adds a tensor up over the devices that share a batch, so that sums over a batch
            are those of the whole. It is not saved with the loss.

    Returns:
        A loss to compile a model with.

    Raises:
        InputError: If there is no such loss.

    Example:

    >>> make_loss("cross_entropy_dice").name
    'cross_entropy_dice'
    """
    if name not in LOSSES:
        raise InputError(f"loss {name!r}: expected one of {', '.join(LOSSES)}")
    loss = LOSSES[name]()
    for part in getattr(loss, "losses", [loss]):
        if isinstance(part, Dice | FocalTversky):
            part.add_up = add_up
    return loss
