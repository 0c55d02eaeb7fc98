"""Lovász-Softmax of enlarged logits without the enlarged logits: a class at a time.

It sorts the pixels of each class by how wrong they are, so that strips of rows are not enough. But it sorts one class
after the other, and what others have to do with it is the sum in the softmax, one number a pixel. So there are three
passes: strips give that sum; each class is enlarged by itself, sorted, and gives its part of the gradient at once; and
strips bring back what the softmax takes from all logits of a pixel. What is held are some maps of one class.

Shape letters: N images, K classes, H, W height and width of the labels, h, w of the logits, P pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from intarsia.layers.levels import resize
from intarsia.losses.resized_logits import ResizedLogits, refuse_second_derivative
from intarsia.losses.strips import directions_of, exp_, strips
from intarsia.losses.targets import is_on_cpu


class Steps(NamedTuple):
    """Of pixels from the most wrong on, (P,) each: their errors, what each adds to the Jaccard loss, and places."""

    errors: Tensor
    added: Tensor
    order: Tensor


def jaccard_steps(errors: Tensor, wanted: Tensor, labelled: Tensor) -> Steps:
    """Errors (P,) >= 0, whether a pixel is of the class, and whether it is labelled at all, (P,) bool."""
    errors, order = errors.where(labelled, -1.0).sort(descending=True)  # those that are not labelled come last
    errors, counts = errors.clamp(min=0), wanted[order].long()  # integers have sums without an order
    # How large the Jaccard loss is when the worst 1, 2, ... pixels are wrong, and what each of them adds to it.
    intersection = (counts.sum() - counts.cumsum(0)).to(errors.dtype)
    union = (counts.sum() + (1 - counts).cumsum(0)).to(errors.dtype)
    jaccard = 1 - intersection / union
    return Steps(errors, torch.diff(jaccard, prepend=jaccard.new_zeros(1)), order)


def lovasz_softmax(
    logits: ResizedLogits,
    target: Tensor,
    *,
    classes: Sequence[int],
    if_present: bool,
    class_weight: Sequence[float] | None,
    ignore_index: int,
    per_image: bool,
) -> Tensor:
    """The mean over `classes` of labels (N, H, W) -> (N,) of each image, or (1,) of all as one.

    if_present: only over those that the labels show.
    """
    what = _Classes(target, tuple(classes), if_present, class_weight, ignore_index, per_image)
    found: Tensor = _Lovasz.apply(logits.low, logits, what)
    return found


@dataclass(frozen=True)
class _Classes:
    """See `lovasz_softmax`."""

    target: Tensor
    classes: tuple[int, ...]
    if_present: bool
    class_weight: Sequence[float] | None
    ignore_index: int
    per_image: bool

    def loss(self, logits: ResizedLogits, softmax: _Softmax, images: slice, gradient: Tensor | None) -> Tensor:
        """Of some images as one; what each class gives is added to `gradient` (N, K, h, w) and `softmax.shared`."""
        target, largest, sums = self.target[images], softmax.largest[images], softmax.sums[images]
        labelled = target != self.ignore_index  # (n, H, W)
        total, count = softmax.sums.new_zeros(()), softmax.sums.new_zeros(())
        for k in self.classes:
            wanted = (target == k) & labelled
            counts = wanted.any() if self.if_present else labelled.new_ones(())
            if is_on_cpu(counts) and not counts:
                continue
            factor = counts * (1.0 if self.class_weight is None else self.class_weight[k])
            with torch.enable_grad():
                low = logits.low.detach()[images, k : k + 1].requires_grad_()
                enlarged = resize(low, logits.size, align_corners=logits.align_corners)  # (n, 1, H, W)
            p = exp_(enlarged.detach()[:, 0] - largest).div_(sums)  # (n, H, W)
            errors = (wanted.to(p.dtype) - p).abs_()
            steps = jaccard_steps(errors.flatten(), wanted.flatten(), labelled.flatten())
            total = total + factor * (steps.errors @ steps.added)
            count = count + counts
            if gradient is not None:
                of_errors = torch.empty_like(steps.added)
                of_errors[steps.order] = steps.added
                of_x = of_errors.view_as(p).mul_(p).mul_(factor)
                of_x = of_x.where(labelled, 0.0)
                of_x = torch.where(wanted, -of_x, of_x)  # an error falls where the probability of the own class rises
                softmax.shared[images] += of_x
                (found,) = torch.autograd.grad(enlarged, low, of_x.unsqueeze(1))
                gradient[images, k : k + 1] += found
        count = count.clamp(min=1)
        softmax.shared[images] /= count
        if gradient is not None:
            gradient[images] /= count
        return total / count


class _Softmax(NamedTuple):
    """Of each pixel, (N, H, W): the largest logit, the sum of exponentials, and of p times its gradient."""

    largest: Tensor
    sums: Tensor
    shared: Tensor


class _Lovasz(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, low: Tensor, logits: ResizedLogits, what: _Classes) -> Tensor:
        directions, width = directions_of(logits), logits.size[1]
        softmax = _Softmax(*(low.new_zeros(what.target.shape) for _ in range(3)))
        for strip in strips(logits, directions, largest=True):
            assert strip.largest is not None
            softmax.largest[strip.place] = strip.largest.view(-1, width)
            softmax.sums[strip.place] = exp_(strip.x.sub_(strip.largest)).sum(dim=0).view(-1, width)
        gradient = None
        if ctx.needs_input_grad[0]:
            gradient = torch.zeros_like(low, memory_format=torch.contiguous_format)
        groups = [slice(n, n + 1) for n in range(len(low))] if what.per_image else [slice(None)]
        losses = torch.stack([what.loss(logits, softmax, images, gradient) for images in groups])
        if gradient is not None:
            for strip in strips(logits, directions):
                p = exp_(strip.x.sub_(strip.of(softmax.largest))).div_(strip.of(softmax.sums))
                strip.add_gradient(p.mul_(strip.of(softmax.shared)).neg_(), gradient)
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, of_losses: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivative()
        (gradient,) = ctx.saved_tensors
        return gradient * of_losses.view(-1, 1, 1, 1), None, None
