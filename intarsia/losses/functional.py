"""The losses as functions, for anybody's own loop: `intarsia.losses.dice(logits, labels)`.

All have one signature: logits (N, K, H, W) of a network, labels (N, H, W) of the same size, and by keyword the label
that counts for nothing and what the loss can be told besides. They give a scalar, computed in float32 at least, by the
very losses that a training uses: each function makes the loss of its name and calls it.

Labels are integers of any type, 0 to K - 1 or `ignore_index`, which is None where nothing is ignored; (N, 1, H, W) will
do. A single logit (K = 1) asks for the class 1 among labels 0 and 1, where a loss has that form. Labels that are no
class are a ValueError on the processor; on an accelerator, where asking would wait for it in every step, the loss is
nan. Weights of classes are copied there in each call; a loss that is kept (`CrossEntropyLoss(class_weight=...)`) has
them there.
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
from intarsia.losses.targets import classes_of, is_on_cpu, refuse_unknown_labels, unknown_labels
from intarsia.losses.tversky import TverskyLoss

_NO_LABEL = -(2**31)
"""What is ignored where nothing is: losses compare labels with a number."""


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = IGNORE_INDEX,
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
        class_weight=_numbers(class_weight),
        ignore_index=_ignored(ignore_index),
        avg_non_ignore=avg_non_ignore,
        label_smoothing=label_smoothing,
    )
    return _value(loss, logits, labels, ignore_index)


def ohem(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    threshold: float = 0.7,
    min_kept: int = 100_000,
) -> Tensor:
    """Cross entropy of the hard pixels alone: their class has less than `threshold`. At least `min_kept` of a batch."""
    loss = OhemCrossEntropy(
        thres=threshold, min_kept=min_kept, class_weight=_numbers(class_weight), ignore_index=_ignored(ignore_index)
    )
    return _value(loss, logits, labels, ignore_index)


def dice(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = IGNORE_INDEX,
    use_sigmoid: bool = False,
    naive_dice: bool = False,
    eps: float = 1e-3,
) -> Tensor:
    """Dice loss of each image over all its pixels and classes (V-Net); the mean over images.

    use_sigmoid: of each class on its own, as a single logit always is; otherwise softmax over classes.
    naive_dice, eps: which of two forms, and what keeps it from dividing by 0, see `DiceLoss`.
    """
    loss = DiceLoss(use_sigmoid=use_sigmoid, naive_dice=naive_dice, eps=eps, ignore_index=_ignored(ignore_index))
    return _value(loss, logits, labels, ignore_index)


def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    gamma: float = 2.0,
    alpha: float | Sequence[float] = 0.5,
) -> Tensor:
    """Focal loss: cross entropy of each class on its own, turned down by `gamma` where the answer is right already.

    alpha: weight of yes against no, one number or one for each class.
    """
    loss = FocalLoss(gamma=gamma, alpha=alpha, class_weight=_numbers(class_weight), ignore_index=_ignored(ignore_index))
    return _value(loss, logits, labels, ignore_index)


def lovasz(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = IGNORE_INDEX,
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
        class_weight=_numbers(class_weight),
        ignore_index=_ignored(ignore_index),
        reduction="mean" if per_image else "none",
    )
    return _value(loss, logits, labels, ignore_index)


def tversky(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
) -> Tensor:
    """Tversky loss: Dice with the price `alpha` for false positives, and `beta` for what is missed; together 1."""
    loss = TverskyLoss(
        alpha=alpha, beta=beta, smooth=smooth, class_weight=_numbers(class_weight), ignore_index=_ignored(ignore_index)
    )
    return _value(loss, logits, labels, ignore_index)


def overlap(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = IGNORE_INDEX,
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
        alpha=alpha, beta=beta, gamma=gamma, smooth=smooth, log=log, classes=classes,
        class_weight=_numbers(class_weight), ignore_index=_ignored(ignore_index),
    )  # fmt: skip
    return _value(loss, logits, labels, ignore_index)


def matthews(logits: Tensor, labels: Tensor, *, ignore_index: int | None = IGNORE_INDEX, eps: float = 1e-5) -> Tensor:
    """1 minus the Matthews correlation of a single logit (N, 1, H, W), over the whole batch."""
    return _value(MatthewsLoss(eps=eps, ignore_index=_ignored(ignore_index)), logits, labels, ignore_index)


def hausdorff(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int | None = IGNORE_INDEX,
    class_weight: Sequence[float] | None = None,
) -> Tensor:
    """Hausdorff distance loss: errors count the more, the farther they are inside of a mask; class 0 is background."""
    loss = HausdorffDistanceLoss(class_weight=_numbers(class_weight), ignore_index=_ignored(ignore_index))
    return _value(loss, logits, labels, ignore_index)


def boundary(logits: Tensor, labels: Tensor, *, ignore_index: int | None = IGNORE_INDEX) -> Tensor:
    """Boundary loss of a head of edges: a single logit (N, 1, H, W), and labels that are 1 at edges and 0 elsewhere."""
    return _value(BoundaryLoss(ignore_index=_ignored(ignore_index)), logits, labels, ignore_index)


def _single(logits: Tensor) -> bool:
    return logits.dim() > 1 and logits.shape[1] == 1


def _ignored(ignore_index: int | None) -> int:
    return _NO_LABEL if ignore_index is None else ignore_index


def _numbers(weights: Sequence[float] | None) -> Sequence[float] | None:
    """Weights of classes as numbers; an array or a tensor, on whichever device, will do."""
    found: Sequence[float] | None = getattr(weights, "tolist", lambda: weights)()
    return found


def _value(loss: nn.Module, logits: Tensor, labels: Tensor, ignore_index: int | None) -> Tensor:
    """Raises ValueError for logits and labels that do not belong together."""
    for what, given in (("logits", logits), ("labels", labels)):
        if not isinstance(given, Tensor):
            raise ValueError(f"{what} are a tensor, found a {type(given).__name__}; torch.as_tensor(...) makes one")
    if labels.dim() == 4 and labels.shape[1] == 1:
        labels = labels[:, 0]
    _check_shapes(logits, labels)
    if labels.is_floating_point():
        raise ValueError(f"labels are class indices, integers; found {labels.dtype}. Say labels.long()")
    labels = labels.long()
    if ignore_index is None and is_on_cpu(labels):  # here, where the message can say that nothing is ignored
        classes = classes_of(logits)
        refuse_unknown_labels(unknown_labels(labels, classes, ignore_index=None), labels, classes, ignore_index=None)
    value: Tensor = loss.to(logits.device)(logits, labels)
    return value


def _check_shapes(logits: Tensor, labels: Tensor) -> None:
    if logits.dim() != 4 or labels.dim() != 3 or len(logits) != len(labels):
        planes = logits.dim() == labels.dim() == 4 and logits.shape == labels.shape
        hint = "; of a plane for each class take labels.argmax(dim=1)" if planes else ""
        raise ValueError(
            f"expected logits (N, K, H, W) and labels (N, H, W), found {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}{hint}"
        )
    if logits.shape[2:] != labels.shape[1:]:
        raise ValueError(
            f"logits and labels are of one size, found {tuple(logits.shape[2:])} and {tuple(labels.shape[1:])}; a "
            "network that ends at its own stride needs F.interpolate(logits, labels.shape[-2:], mode='bilinear')"
        )
    if not labels.numel():
        raise ValueError(f"there is no pixel to learn from: labels are {tuple(labels.shape)}. Leave such a batch out")
