"""Cross entropy of enlarged logits without the enlarged logits: neither they nor their gradients are ever there.

    softmax_sum     over classes         sigmoid_sum   over each class on its own
    pixel_losses    that of each pixel, without a gradient

On a processor this goes strip by strip: some rows of one image are enlarged, their loss and its gradient computed,
and the gradient is brought back to the size of the logits, all while the numbers are in the cache. So the gradient is
there when the loss is; the backward pass only multiplies it. On GPUs a Triton kernel does the same pixel by pixel
(`triton_cross_entropy`); where there is none, strips again, larger ones.

There is no second derivative: who asks for one (create_graph=True) is told to take the plain loss of
`ResizedLogits.whole`.

Shape letters: N images, K classes, H, W height and width of the labels, h, w of the logits, P pixels of a strip, s rows
of the logits that it is made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intarsia.layers import triton
from intarsia.losses.bilinear import Direction
from intarsia.losses.resized_logits import ResizedLogits, refuse_second_derivative
from intarsia.losses.targets import is_on_cpu

_STRIP = 1 << 19
_STRIP_ON_DEVICES = 1 << 24
"""Numbers of a strip: what stays in the cache of a processor; what keeps a GPU busy."""


def softmax_sum(
    logits: ResizedLogits,
    target: Tensor,
    *,
    ignore_index: int,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The sum over pixels of F.cross_entropy, of labels (N, H, W) that are all classes or ignored -> scalar.

    weight: (N, H, W), multiplies what each pixel adds; without a gradient. class_weight: (K,).
    """
    labels, weight = _labels_and_weights(logits, target, weight, ignore_index)
    form = Softmax(class_weight, label_smoothing)
    if _has_kernels(logits.low):
        from intarsia.losses import triton_cross_entropy

        parts = form.parts(labels, weight, logits.shape[1])
        return triton_cross_entropy.pixel_losses(logits, labels, parts, form.spread_by).sum()
    return _summed(logits, labels, weight, form)


def sigmoid_sum(
    logits: ResizedLogits,
    target: Tensor,
    *,
    ignore_index: int,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """As `softmax_sum`, of F.binary_cross_entropy_with_logits: K > 1 questions for each pixel, the sum over all.

    class_weight: (K,), that of the positive answers.
    """
    labels, weight = _labels_and_weights(logits, target, weight, ignore_index)
    return _summed(logits, labels, weight, Sigmoid(class_weight, label_smoothing))


@torch.no_grad()
def pixel_losses(logits: ResizedLogits, target: Tensor, *, ignore_index: int) -> Tensor:
    """F.cross_entropy of each pixel (N, H, W), 0 where it is ignored, without a gradient."""
    labels, weight = _labels_and_weights(logits, target, None, ignore_index)
    if _has_kernels(logits.low):
        from intarsia.losses import triton_cross_entropy

        return triton_cross_entropy.pixel_losses(logits, labels, (weight, None, weight), None)
    found = torch.empty_like(weight)
    _go_through(logits, labels, weight, Softmax(), found, None)
    return found


def right_pixels(logits: ResizedLogits, labels: Tensor) -> Tensor:
    """Where the likeliest class is that of labels (N, H, W), as bool; of equally likely ones the first counts."""
    if logits.right is None or logits.labels is not labels:
        logits.labels, logits.right = labels, None
        pixel_losses(logits, labels, ignore_index=-1)
    assert logits.right is not None
    return logits.right


def _labels_and_weights(
    logits: ResizedLogits, target: Tensor, weight: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """A class for each pixel, and what it counts: nothing where it is ignored."""
    labelled = target != ignore_index  # (N, H, W)
    counted = labelled.to(logits.low.dtype) if weight is None else labelled * weight.to(logits.low.dtype)
    return target.long().clamp(0, logits.shape[1] - 1), counted


def _has_kernels(low: Tensor) -> bool:
    """Not for a tensor that only says that it is on a GPU, as FakeTensors do, nor for float64."""
    return type(low) is Tensor and low.dtype == torch.float32 and triton.available(low.device)


# --- What is computed of a strip ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Softmax:
    """Cross entropy over classes. class_weight: (K,), or None."""

    class_weight: Tensor | None = None
    label_smoothing: float = 0.0

    def __call__(self, x: Tensor, label: Tensor, weight: Tensor, *, gradient: bool) -> Tensor:
        """Logits (K, P) less the largest of each pixel, labels (P,), weights (P,) -> losses (P,).

        x becomes the gradient of their sum, if that is wanted; otherwise it is spoilt.
        """
        index = label[None]  # (1, P)
        own = x.gather(0, index)[0]
        of_own, of_each, of_all = self.parts(label, weight, len(x))
        classes = None if self.spread_by is None else self.spread_by[:, None]  # (K, 1)
        loss = -of_own * own
        if of_each is not None:
            loss -= of_each * (x if classes is None else x * classes).sum(dim=0)
        total = _exp_(x).sum(dim=0)
        loss += of_all * total.log()
        if gradient:
            x.mul_(of_all / total).scatter_add_(0, index, -of_own[None])
            if of_each is not None:
                x.sub_(of_each if classes is None else of_each * classes)
        return loss.where(weight != 0, 0.0)

    @property
    def spread_by(self) -> Tensor | None:
        """The weights of classes, where every logit counts by its own."""
        return self.class_weight if self.label_smoothing else None

    def parts(self, label: Tensor, weight: Tensor, num_classes: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """How much each pixel counts by its own logit; by every logit, times the weight of its class; by the logarithm
        of the sum of all exponentials. Labels and weights of any shape.
        """
        of_own = weight * (1 - self.label_smoothing)
        if self.class_weight is not None:
            of_own = of_own * self.class_weight[label]
        if not self.label_smoothing:
            return of_own, None, of_own
        of_each = weight * (self.label_smoothing / num_classes)
        of_all = of_own + of_each * (num_classes if self.class_weight is None else self.class_weight.sum())
        return of_own, of_each, of_all


@dataclass(frozen=True)
class Sigmoid:
    """A yes-or-no question for each class. class_weight: (K,) of the positive answers, or None."""

    class_weight: Tensor | None = None
    label_smoothing: float = 0.0

    def __call__(self, x: Tensor, label: Tensor, weight: Tensor, *, gradient: bool) -> Tensor:
        """As `Softmax`, but of the logits themselves."""
        index = label[None]  # (1, P)
        positive = x.new_ones(len(x)) if self.class_weight is None else self.class_weight  # (K,)
        yes, no = 1 - self.label_smoothing / 2, self.label_smoothing / 2
        of_no = (1 + (positive - 1) * no)[:, None]  # (K, 1), how much the softplus of -x counts where the answer is no
        of_yes = 1 + (positive[label] - 1) * yes - of_no[label, 0]  # (P,), and how much more where it is yes
        softplus = _softplus_of_minus(x)
        own = x.gather(0, index)[0] * (no - yes) + softplus.gather(0, index)[0] * of_yes
        loss = weight * (own + softplus.mul_(of_no).add_(x, alpha=1 - no).sum(dim=0))
        if gradient:
            unlikely = x.neg_().sigmoid_()
            of_own = (no - yes) - of_yes * unlikely.gather(0, index)[0]
            unlikely.mul_(-of_no).add_(1 - no).scatter_add_(0, index, of_own[None]).mul_(weight)
        return loss.where(weight != 0, 0.0)


def _exp_(x: Tensor) -> Tensor:
    """The exponential, in place; in float32 as a power of two, which is several times faster on processors."""
    return x.exp_() if x.dtype == torch.float64 else x.mul_(1 / math.log(2)).exp2_()


def _softplus_of_minus(x: Tensor) -> Tensor:
    """log(1 + exp(-x)), by log instead of log1p, which is ten times slower on processors; its rounding is mended."""
    small = _exp_(x.abs().neg_())
    one_more = small + 1
    small.sub_(one_more - 1)
    return one_more.log_().add_(small).sub_(x.clamp(max=0))


Form = Callable[..., Tensor]


# --- Strips -------------------------------------------------------------------------------------------------------


class _Summed(torch.autograd.Function):
    """The sum of the losses of all pixels, whose gradient is computed beside it."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, logits: ResizedLogits, labels: Tensor, weight: Tensor, form: Form) -> Tensor:
        gradient = torch.zeros_like(low, memory_format=torch.contiguous_format)
        ctx.save_for_backward(gradient)
        return _go_through(logits, labels, weight, form, None, gradient)

    @staticmethod
    def backward(ctx: Any, of_sum: Tensor) -> tuple[Tensor, None, None, None, None]:
        refuse_second_derivative()
        (gradient,) = ctx.saved_tensors
        return gradient * of_sum, None, None, None, None


def _summed(logits: ResizedLogits, labels: Tensor, weight: Tensor, form: Form) -> Tensor:
    if torch.is_grad_enabled() and logits.low.requires_grad:
        return _Summed.apply(logits.low, logits, labels, weight, form)  # type: ignore[no-any-return]
    return _go_through(logits, labels, weight, form, None, None)


def _go_through(
    logits: ResizedLogits, labels: Tensor, weight: Tensor, form: Form, losses: Tensor | None, gradient: Tensor | None
) -> Tensor:
    """The sum of the losses, which are written to `losses` (N, H, W), and their gradient to `gradient` (N, K, h, w)."""
    images, classes, height, width = logits.shape
    low = logits.low.detach()
    down, along = (
        Direction.of(before, after, low, align_corners=logits.align_corners)
        for before, after in zip(low.shape[2:], logits.size, strict=True)
    )
    watched = logits.labels if logits.right is None else None
    right = None if watched is None else torch.empty_like(watched, dtype=torch.bool)
    sums = []
    for image in range(images):
        for begin, end in _strips(height, width * classes, low):
            top, rows = down.part(begin, end, logits.align_corners)
            slab = low[image, :, top : top + rows.length]  # (K, s, w)
            turned = along.enlarge(slab.flatten(0, 1).t().contiguous(), 0)  # (W, K * s)
            x = rows.enlarge(turned.t().reshape(classes, -1, width), 1).view(classes, -1)  # (K, P)
            strip = (image, slice(begin, end))
            if right is None or watched is None:
                largest = x.amax(dim=0)
            else:
                of_strip, largest = _right_and_largest(x, watched[strip].flatten())
                right[strip] = of_strip.view(-1, width)
            if isinstance(form, Softmax):
                x.sub_(largest)
            loss = form(x, labels[strip].flatten(), weight[strip].flatten(), gradient=gradient is not None)
            sums.append(loss.sum())
            if losses is not None:
                losses[strip] = loss.view(-1, width)
            if gradient is not None:
                turned = rows.transposed(x.view(classes, -1, width), 1).flatten(0, 1).t().contiguous()  # (W, K * s)
                found = along.transposed(turned, 0)  # (w, K * s)
                gradient[image, :, top : top + rows.length] += found.t().view(classes, -1, low.shape[3])
    if right is not None:
        logits.right = right
    return torch.stack(sums).sum()


def _strips(height: int, row: int, like: Tensor) -> Iterator[tuple[int, int]]:
    """Rows from, to; of so many that all numbers of a strip, `row` in each, are about as many as they should be."""
    step = max((_STRIP if is_on_cpu(like) else _STRIP_ON_DEVICES) // row, 1)
    for begin in range(0, height, step):
        yield begin, min(begin + step, height)


def _right_and_largest(x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (K, P) and labels (P,) -> whether the first of the largest is the label's; the largest; (P,) each."""
    inside = (label >= 0) & (label < len(x))
    label = label.long().clamp(0, len(x) - 1)
    if not is_on_cpu(x):
        largest = x.max(dim=0)
        return (largest.indices == label) & inside, largest.values
    # On a processor max() is dear with its indices: compare with the largest of the others instead.
    index = label[None]
    own = x.gather(0, index)
    others = x.scatter_(0, index, -torch.inf).amax(dim=0)
    x.scatter_(0, index, own)
    right = own[0] > others
    equal = own[0] == others
    if equal.any():
        right[equal] = x[:, equal].max(dim=0).indices == label[equal]
    return right & inside, torch.maximum(own[0], others)
