"""Online hard example mining, pixel by pixel: only the pixels that are predicted worst are learnt from.

Shrivastava, Gupta, Girshick, Training Region-based Object Detectors with Online Hard Example Mining, arXiv:1604.03540,
applied to pixels as segmentation does it since FRRN (arXiv:1611.08323). It comes in two forms:

    OHEMPixelSampler    beside any loss that is a sum over pixels, whose mean is still over all of them
    OhemCrossEntropy    a cross entropy that is a mean over the hard pixels, as HRNet, DDRNet and PIDNet are trained

Nothing here waits for an accelerator: no shape depends on how many pixels are labelled, or hard.

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers import determinism
from intarsia.layers.precision import full_precision, without_autocast
from intarsia.losses.class_weights import as_buffer, in_precision_of
from intarsia.losses.resized_cross_entropy import pixel_losses, softmax_sum
from intarsia.losses.resized_logits import ResizedLogits
from intarsia.losses.targets import classes_of, is_on_cpu, on_known_labels, refuse_unknown_labels, unknown_labels


@torch.no_grad()
def below_threshold(nll: Tensor, labelled: Tensor, thresh: float, kept: int) -> Tensor:
    """Minus the log-probability of each pixel's class, and whether the pixel is labelled, both of one shape -> whether
    it is and that probability is below the threshold, of the same shape.

    The threshold is `thresh`, or, where fewer than `kept` pixels lie below that, as high as it takes for so many. Of
    pixels fewer than that, the best is left out unless `thresh` takes it. What is not a number counts as below, so that
    a diverging training shows in its loss.
    """
    if not nll.numel():  # a batch without images
        return labelled
    probability = (-nll).exp()
    lowest = probability.where(labelled, -1.0).max()  # -1 without any
    if kept < probability.numel():
        each = probability.where(labelled, 2.0).flatten()
        of_kept = each.sort().values[kept] if determinism.wanted_of(each) else each.kthvalue(kept + 1).values
        lowest = torch.where(labelled.sum() > kept, of_kept, lowest)
    return labelled & ~(probability >= lowest.clamp(min=thresh))


class OHEMPixelSampler:
    """Gives the hard pixels of a batch weight 1, all others 0.

    A pixel is hard if the softmax probability of its own class is below `thresh`. Where fewer than `min_kept` pixels an
    image are, the threshold rises until that many of the whole batch lie below it; images need not contribute equally.
    Without `thresh`, exactly the worst `min_kept` pixels an image are chosen from the batch, or all if it has no more.

    Args:
        thresh: probability in (0, 1], or None.
        min_kept: pixels an image, on average over the batch; at least 1.
        ignore_index: label of pixels that are never chosen.

    Class weights of the losses do not change which pixels are hard.
    """

    def __init__(self, *, thresh: float | None = None, min_kept: int = 100_000, ignore_index: int = 255) -> None:
        if thresh is not None and not 0.0 < thresh <= 1.0:
            raise ValueError(f"thresh of OHEMPixelSampler is a probability in (0, 1]; got {thresh}")
        if min_kept < 1:
            raise ValueError(f"min_kept of OHEMPixelSampler counts pixels an image, at least 1; got {min_kept}")
        self.thresh = thresh
        self.min_kept = min_kept
        self.ignore_index = ignore_index

    @torch.no_grad()
    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> weights (N, H, W) of the logits' type.

        Raises ValueError for a single logit, which has no softmax, and, on the processor, for labels that are no class;
        on an accelerator such a pixel is not chosen, and the loss says nan (`on_known_labels`).
        """
        target = self._known(logits, target)
        with without_autocast(logits):
            nll = F.cross_entropy(
                full_precision(logits), target, ignore_index=self.ignore_index, reduction="none"
            )  # (N, H, W)
            return self._hard(nll, target).to(logits.dtype)

    @torch.no_grad()
    def of_resized(self, logits: ResizedLogits, target: Tensor) -> Tensor:
        """What the sampler gives for `logits.whole`, which are never made."""
        target = self._known(logits.low, target)
        with without_autocast(logits.low):
            nll = pixel_losses(logits, target, ignore_index=self.ignore_index)  # (N, H, W)
            return self._hard(nll, target).to(logits.low.dtype)

    def _known(self, logits: Tensor, target: Tensor) -> Tensor:
        """The target without labels that are no class."""
        if logits.shape[1] == 1:
            raise ValueError("OHEMPixelSampler needs one logit per class; this head has a single one")
        target = target.long()
        unknown = unknown_labels(target, classes_of(logits), ignore_index=self.ignore_index)  # (N, H, W)
        if is_on_cpu(target):
            refuse_unknown_labels(unknown, target, classes_of(logits), ignore_index=self.ignore_index)
        return target.masked_fill(unknown, self.ignore_index)

    def _hard(self, nll: Tensor, target: Tensor) -> Tensor:
        """Minus the log-probability of each pixel's class, and the target, both (N, H, W) -> whether it is chosen."""
        labelled, kept = target != self.ignore_index, self.min_kept * len(target)
        if self.thresh is not None:
            return below_threshold(nll, labelled, self.thresh, kept)
        worst = nll.where(labelled, -torch.inf).flatten().topk(min(kept, nll.numel())).indices
        hard = torch.zeros_like(labelled.flatten())
        hard[worst] = True
        return hard.view_as(labelled) & labelled


class OhemCrossEntropy(nn.Module):
    """Logits (N, K, H, W) and class indices (N, H, W) -> scalar: the mean cross entropy of the hard pixels.

    A pixel is hard if the softmax probability of its own class is below `thres`. Where fewer than `min_kept` pixels of
    the batch are, the threshold rises until that many lie below it.

    Args:
        thres: probability in [0, 1].
        min_kept: pixels of a batch, not of an image; at least 1.
        class_weight: one weight per class, multiplies what a hard pixel adds. Neither which pixels are hard nor what
            the mean divides by, their number, depends on it.
        ignore_index: label of pixels that are never hard.

    A batch without a hard pixel gives 0. Half-precision logits are lifted to float32.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        thres: float = 0.7,
        min_kept: int = 100_000,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        if not 0.0 <= thres <= 1.0:
            raise ValueError(f"thres of OhemCrossEntropy is a probability in [0, 1]; got {thres}")
        if min_kept < 1:
            raise ValueError(f"min_kept of OhemCrossEntropy counts pixels of a batch, at least 1; got {min_kept}")
        self.thres = thres
        self.min_kept = min_kept
        self.ignore_index = ignore_index
        self._class_weight = class_weight
        self.register_buffer("class_weight", as_buffer(class_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of class indices -> scalar.

        Raises ValueError for a single logit, which has no softmax, for class weights of another number, and for labels
        that are no class (`on_known_labels`).
        """
        self._check(logits.shape[1])
        return on_known_labels(self._loss, logits, target, ignore_index=self.ignore_index)

    def of_resized(self, logits: ResizedLogits, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """What the loss gives for `logits.whole`, which are never made. It takes no weights of pixels."""
        assert weight is None
        self._check(logits.shape[1])

        def loss(low: Tensor, target: Tensor) -> Tensor:
            nll = pixel_losses(logits, target, ignore_index=self.ignore_index)  # (N, H, W)
            hard = below_threshold(nll, target != self.ignore_index, self.thres, self.min_kept)  # (N, H, W)
            total = softmax_sum(
                logits, target, ignore_index=self.ignore_index, weight=hard, class_weight=self._weights(low)
            )
            return total / hard.sum().clamp(min=1)

        return on_known_labels(loss, logits.low, target, ignore_index=self.ignore_index)

    def _check(self, classes: int) -> None:
        if classes == 1:
            raise ValueError("OhemCrossEntropy needs one logit per class; this head has a single one")
        if self.class_weight is not None and len(self.class_weight) != classes:
            raise ValueError(f"class_weight has {len(self.class_weight)} entries for {classes} logits")

    def _weights(self, like: Tensor) -> Tensor | None:
        if self.class_weight is None or self._class_weight is None:
            return None
        return in_precision_of(like, self.class_weight, self._class_weight)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        labelled = target != self.ignore_index  # (N, H, W)
        loss = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none")  # (N, H, W)
        hard = below_threshold(loss, labelled, self.thres, self.min_kept)  # (N, H, W)
        weight = self._weights(loss)
        if weight is not None:
            loss = loss * weight[target.where(labelled, 0)]
        return loss.where(hard, 0.0).sum() / hard.sum().clamp(min=1)
