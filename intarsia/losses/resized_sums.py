"""What overlap losses need of enlarged logits, without the enlarged logits: sums over pixels, class by class.

A loss that is a fraction of sums (Dice, Tversky) knows the gradient of a pixel only when it has seen all of them. So
there are two passes over the strips (`strips.py`): forwards they are added up, and nothing is kept; backwards each is
made anew, and its gradient brought back to the size of the logits.

Shape letters: N images, K logits, H, W height and width of the labels, h, w of the logits, P pixels of a strip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from intarsia.losses.resized_logits import ResizedLogits, refuse_second_derivative
from intarsia.losses.strips import Strip, directions_of, exp_, strips
from intarsia.losses.targets import is_on_cpu

Activation = Literal["softmax", "sigmoid", "none"]


class ClassSums(NamedTuple):
    """Of each image and class, (N, K): the sum of p t, of p (or p p), and of t, which has no gradient."""

    overlap: Tensor
    predicted: Tensor
    wanted: Tensor


def class_sums(
    logits: ResizedLogits,
    target: Tensor,
    *,
    activation: Activation,
    counted: Tensor | None,
    squares: bool = False,
) -> ClassSums:
    """The sums of probabilities p and of truth t in {0, 1}, of labels (N, H, W), over the pixels that count.

    A label that is no class is of none of them. A single logit stands for the class 1 among labels 0 and 1.

    activation: what makes probabilities of the logits. counted: (N, H, W) bool, None for all.
    squares: p p is summed and not p.
    """
    what = _Summands(target, counted, activation, squares)
    return ClassSums(*_Sums.apply(logits.low, logits, what))


@dataclass(frozen=True)
class _Summands:
    """See `class_sums`."""

    target: Tensor
    counted: Tensor | None
    activation: Activation
    squares: bool

    def probabilities(self, strip: Strip) -> Tensor:
        """(K, P), 0 where a pixel does not count; spoils the strip."""
        x = strip.x
        if self.activation == "softmax":
            assert strip.largest is not None
            x = exp_(x.sub_(strip.largest))
            x.div_(x.sum(dim=0))
        elif self.activation == "sigmoid":
            x.sigmoid_()
        if self.counted is not None:
            ignored = ~strip.of(self.counted)
            if not is_on_cpu(x) or ignored.any():
                x.masked_fill_(ignored, 0.0)
        return x

    def own(self, strip: Strip) -> tuple[Tensor, Tensor]:
        """The class of each pixel, as a place among the logits, and whether it is one of them and counts: (P,) each."""
        labels, classes = strip.of(self.target), len(strip.x)
        has_own = labels == 1 if classes == 1 else (labels >= 0) & (labels < classes)
        if self.counted is not None:
            has_own &= strip.of(self.counted)
        return labels.long().clamp(0, classes - 1), has_own

    def sums(self, strip: Strip) -> tuple[Tensor, Tensor, Tensor]:
        """Those of a strip, (K,) each."""
        p = self.probabilities(strip)
        label, has_own = self.own(strip)
        classes = len(p)
        of_own = p.gather(0, label[None])[0].where(has_own, 0.0)
        if is_on_cpu(p):  # where it is repeatable, and one number of each pixel is enough
            overlap = label.bincount(of_own.double(), minlength=classes).to(p.dtype)
            wanted = label.bincount(has_own.double(), minlength=classes).to(p.dtype)
        else:
            hit = (label == torch.arange(classes, device=label.device)[:, None]) & has_own  # (K, P)
            overlap, wanted = (of_own * hit).sum(dim=1), hit.sum(dim=1).to(p.dtype)
        return overlap, (p.square_() if self.squares else p).sum(dim=1), wanted

    def gradient(self, strip: Strip, of_overlap: Tensor, of_predicted: Tensor) -> Tensor:
        """That of the logits of a strip (K, P), from those of the sums of its image (K,)."""
        p = self.probabilities(strip)
        label, has_own = self.own(strip)
        index, of_each = label[None], of_predicted[:, None]
        own = p.gather(0, index)[0]
        more = of_overlap[label].where(has_own, 0.0)  # (P,), what the probability of the own class counts more
        of_p = p * (2 * of_each) if self.squares else of_each.expand_as(p).clone()  # (K, P)
        if self.activation == "none":
            of_p.scatter_add_(0, index, more[None])
            return of_p if self.counted is None else of_p.masked_fill_(~strip.of(self.counted), 0.0)
        if self.activation == "sigmoid":
            of_p.scatter_add_(0, index, more[None])
            return of_p.mul_(p).mul_(p.neg_().add_(1))
        mean = (p * of_p).sum(dim=0).add_(own * more)  # (P,)
        return of_p.sub_(mean).mul_(p).scatter_add_(0, index, (own * more)[None])


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, low: Tensor, logits: ResizedLogits, what: _Summands) -> tuple[Tensor, Tensor, Tensor]:
        found: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in range(len(low))]
        ctx.directions = directions_of(logits)
        for strip in strips(logits, ctx.directions, largest=what.activation == "softmax"):
            found[strip.place[0]].append(what.sums(strip))
        of_images = ([torch.stack([each[part] for each in image]).sum(dim=0) for image in found] for part in range(3))
        overlap, predicted, wanted = (
            torch.stack(sums) if sums else low.new_zeros(low.shape[:2])  # a batch without images
            for sums in of_images
        )
        # The logits themselves, not `logits`, which would keep them alive without autograd's knowing.
        ctx.save_for_backward(low)
        ctx.what, ctx.size, ctx.align_corners = what, logits.size, logits.align_corners
        ctx.mark_non_differentiable(wanted)
        return overlap, predicted, wanted

    @staticmethod
    def backward(ctx: Any, of_overlap: Tensor, of_predicted: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivative()
        (low,) = ctx.saved_tensors
        gradient = torch.zeros_like(low, memory_format=torch.contiguous_format)
        logits, what = ResizedLogits(low, ctx.size, ctx.align_corners), ctx.what
        for strip in strips(logits, ctx.directions, largest=what.activation == "softmax"):
            image = strip.place[0]
            strip.add_gradient(what.gradient(strip, of_overlap[image], of_predicted[image]), gradient)
        return gradient, None, None
