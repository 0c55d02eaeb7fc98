"""The losses as functions, for anybody's own loop: `intarsia.losses.dice(logits, labels)`.

All have one signature: logits (N, K, H, W) of a network, labels (N, H, W) of the same size, and by keyword the label
that counts for nothing and what the loss can be told besides. They give a scalar, computed in float32 at least, by the
very losses that a training uses: each function makes the loss of its name and calls it.

Labels are integers of any type, 0 to K - 1 or `ignore_index`; (N, 1, H, W) will do. A single logit (K = 1) asks for the
class 1 among labels 0 and 1, where a loss has that form. Labels that are no class are a ValueError on the processor; on
an accelerator, where asking would wait for it in every step, the loss is nan. Weights of classes are copied there in
each call; a loss that is kept (`CrossEntropyLoss(class_weight=...)`) has them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from intarsia.contracts import IGNORE_INDEX
from intarsia.losses.boundary import BoundaryLoss
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.dice import DiceLoss
from intarsia.losses.focal import FocalLoss
from intarsia.losses.hausdorff import HausdorffDistanceLoss
from intarsia.losses.lovasz import LovaszLoss
from intarsia.losses.matthews import MatthewsLoss
from intarsia.losses.ohem import OhemCrossEntropy
from intarsia.losses.overlap import OverlapLoss
from intarsia.losses.tversky import TverskyLoss


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    avg_non_ignore: bool = False,
) -> Tensor:
    """Cross entropy: softmax over several logits, sigmoid of a single one.

    avg_non_ignore: divide by the pixels that are not ignored, as torch does; False, as trainings do, by all pixels.
    class_weight: one for each class. label_smoothing: share of the target that all classes have in equal parts.
    """
    loss = CrossEntropyLoss(
        use_sigmoid=_single(logits),
        class_weight=class_weight,
        ignore_index=ignore_index,
        avg_non_ignore=avg_non_ignore,
        label_smoothing=label_smoothing,
    )
    return _value(loss, logits, labels)


def ohem(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    threshold: float = 0.7,
    min_kept: int = 100_000,
) -> Tensor:
    """Cross entropy of the hard pixels alone: their class has less than `threshold`. At least `min_kept` of a batch."""
    loss = OhemCrossEntropy(thres=threshold, min_kept=min_kept, class_weight=class_weight, ignore_index=ignore_index)
    return _value(loss, logits, labels)


def dice(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    use_sigmoid: bool = False,
    naive_dice: bool = False,
    eps: float = 1e-3,
) -> Tensor:
    """Dice loss of each image over all its pixels and classes (V-Net); the mean over images.

    use_sigmoid: of each class on its own, as a single logit always is; otherwise softmax over classes.
    naive_dice, eps: which of two forms, and what keeps it from dividing by 0, see `DiceLoss`.
    """
    loss = DiceLoss(use_sigmoid=use_sigmoid, naive_dice=naive_dice, eps=eps, ignore_index=ignore_index)
    return _value(loss, logits, labels)


def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    gamma: float = 2.0,
    alpha: float | Sequence[float] = 0.5,
) -> Tensor:
    """Focal loss: cross entropy of each class on its own, turned down by `gamma` where the answer is right already.

    alpha: weight of yes against no, one number or one for each class.
    """
    loss = FocalLoss(gamma=gamma, alpha=alpha, class_weight=class_weight, ignore_index=ignore_index)
    return _value(loss, logits, labels)


def lovasz(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    classes: Literal["present", "all"] | Sequence[int] = "present",
    per_image: bool = False,
) -> Tensor:
    """Lovász-Softmax, or the Lovász hinge of a single logit.

    classes: those that are averaged. per_image: each image on its own; otherwise all pixels of the batch are one.
    """
    loss = LovaszLoss(
        loss_type="binary" if _single(logits) else "multi_class",
        classes=classes,
        per_image=per_image,
        class_weight=class_weight,
        ignore_index=ignore_index,
        reduction="mean" if per_image else "none",
    )
    return _value(loss, logits, labels)


def tversky(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
) -> Tensor:
    """Tversky loss: Dice with the price `alpha` for false positives, and `beta` for what is missed; together 1."""
    loss = TverskyLoss(alpha=alpha, beta=beta, smooth=smooth, class_weight=class_weight, ignore_index=ignore_index)
    return _value(loss, logits, labels)


def overlap(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    smooth: float = 0.0,
    log: bool = False,
    classes: Sequence[int] | None = None,
) -> Tensor:
    """What each class lacks of full overlap in the whole batch, averaged; a class that no label shows costs nothing.

    alpha, beta: prices of false positives and of what is missed; 1 each is the Jaccard loss, 0.5 each Dice. gamma: the
    power of the mean. smooth, log, classes: see `OverlapLoss`.
    """
    loss = OverlapLoss(
        alpha=alpha, beta=beta, gamma=gamma, smooth=smooth, log=log, classes=classes, class_weight=class_weight,
        ignore_index=ignore_index,
    )  # fmt: skip
    return _value(loss, logits, labels)


def matthews(logits: Tensor, labels: Tensor, *, ignore_index: int = IGNORE_INDEX, eps: float = 1e-5) -> Tensor:
    """1 minus the Matthews correlation of a single logit (N, 1, H, W), over the whole batch."""
    return _value(MatthewsLoss(eps=eps, ignore_index=ignore_index), logits, labels)


def hausdorff(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
) -> Tensor:
    """Hausdorff distance loss: errors count the more, the farther they are inside of a mask; class 0 is background."""
    return _value(HausdorffDistanceLoss(class_weight=class_weight, ignore_index=ignore_index), logits, labels)


def boundary(logits: Tensor, labels: Tensor, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Boundary loss of a head of edges: a single logit (N, 1, H, W), and labels that are 1 at edges and 0 elsewhere."""
    return _value(BoundaryLoss(ignore_index=ignore_index), logits, labels)


def _single(logits: Tensor) -> bool:
    return logits.dim() > 1 and logits.shape[1] == 1


def _value(loss: nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
    """Raises ValueError for logits and labels that do not belong together."""
    if labels.dim() == 4 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if logits.dim() != 4 or labels.dim() != 3 or len(logits) != len(labels):
        raise ValueError(
            f"expected logits (N, K, H, W) and labels (N, H, W), found {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    if logits.shape[2:] != labels.shape[1:]:
        raise ValueError(
            f"logits and labels are of one size, found {tuple(logits.shape[2:])} and {tuple(labels.shape[1:])}; a "
            "network that ends at its own stride needs F.interpolate(logits, labels.shape[-2:], mode='bilinear')"
        )
    if labels.is_floating_point():
        raise ValueError(f"labels are class indices, integers; found {labels.dtype}. Say labels.long()")
    value: Tensor = loss.to(logits.device)(logits, labels.long())
    return value
