"""Cross entropy of enlarged logits without the enlarged logits: neither they nor their gradients are ever there.

    softmax_sum     over classes         sigmoid_sum   over each class on its own
    pixel_losses    that of each pixel, without a gradient

On a processor this goes strip by strip: some rows of one image are enlarged, their loss and its gradient computed,
and the gradient is brought back to the size of the logits, all while the numbers are in the cache. So the gradient is
there when the loss is; the backward pass only multiplies it. On GPUs a Triton kernel does the same pixel by pixel
(`triton_cross_entropy`); where there is none, strips again, larger ones.

There is no second derivative: who asks for one (create_graph=True) is told to take the plain loss of
`ResizedLogits.whole`.

Shape letters: N images, K classes, H, W height and width of the labels, h, w of the logits, P pixels of a strip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intarsia.layers import triton
from intarsia.losses.resized_logits import ResizedLogits, refuse_second_derivative
from intarsia.losses.strips import directions_of, exp_, strips


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
    if _has_kernels(logits.low):
        from intarsia.losses import triton_cross_entropy

        parts = (None, None, weight)
        no_share = label_smoothing / 2
        return triton_cross_entropy.pixel_losses(logits, labels, parts, class_weight, no_share=no_share).sum()
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
        total = exp_(x).sum(dim=0)
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


def _softplus_of_minus(x: Tensor) -> Tensor:
    """log(1 + exp(-x)), by log instead of log1p, which is ten times slower on processors; its rounding is mended."""
    small = exp_(x.abs().neg_())
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
    sums = []
    for strip in strips(logits, directions_of(logits), largest=isinstance(form, Softmax)):
        x = strip.x
        if isinstance(form, Softmax):
            assert strip.largest is not None
            x.sub_(strip.largest)
        loss = form(x, strip.of(labels), strip.of(weight), gradient=gradient is not None)
        sums.append(loss.sum())
        if losses is not None:
            losses[strip.place] = loss.view(losses[strip.place].shape)
        if gradient is not None:
            strip.add_gradient(x, gradient)
    return torch.stack(sums).sum() if sums else logits.low.new_zeros(())  # a batch without images
