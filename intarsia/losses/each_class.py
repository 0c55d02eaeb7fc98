"""Losses of pixels that may have several classes: each class is a yes or no of its own, with a loss of its own.

Every loss that knows a single logit asks for class 1 among labels 0 and 1. `EachClass` has one ask so for each class in
turn, of its logits and of the bit that its class has in the labels, and averages over the classes.

Shape letters: N images, K classes, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import Loss
from intarsia.label_sets import has, set_count
from intarsia.losses.targets import is_on_cpu, unknown_labels

_NO_ANSWER = 2
"""What is neither no nor yes: losses take it for a wrong label."""


class EachClass(nn.Module):
    """Logits (N, K, H, W) and sets of classes (N, H, W), see `label_sets` -> scalar: the mean over the classes.

    Args:
        losses: of a single logit: one for all classes, or one for each, which may weigh theirs.
        ignore_index: label of pixels that are ignored, for all classes.
    """

    def __init__(self, losses: Sequence[Loss], *, ignore_index: int = 255) -> None:
        super().__init__()
        if not losses:
            raise ValueError("EachClass needs a loss for all classes, or one for each")
        self.losses = tuple(losses)
        self.ignore_index = ignore_index
        self.parts = nn.ModuleList(loss for loss in self.losses if isinstance(loss, nn.Module))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) of sets -> scalar.

        On the processor, raises ValueError for another number of losses than of logits, and for labels that are no set
        of K classes; on an accelerator the loss is nan then (`targets.on_known_labels`).
        """
        count = logits.shape[1]
        if len(self.losses) not in (1, count):
            raise ValueError(f"EachClass has {len(self.losses)} losses for {count} logits")
        unknown = unknown_labels(target, set_count(count), ignore_index=self.ignore_index)  # (N, H, W)
        if is_on_cpu(target) and unknown.any():
            raise ValueError(unknown_sets_message(target[unknown], count, ignore_index=self.ignore_index))
        ignored = target == self.ignore_index
        values = []
        for k in range(count):
            answers = has(target, k).masked_fill(unknown, _NO_ANSWER).masked_fill(ignored, self.ignore_index)
            values.append(self.losses[k % len(self.losses)](logits[:, k : k + 1], answers))
        return torch.stack(values).mean()


class RightAnswers(nn.Module):
    """Logits (N, K, H, W) and sets of classes (N, H, W) -> the percentage of right answers, K for each labelled pixel.

    No loss: it has no gradient. Without a labelled pixel it is 0.
    """

    def __init__(self, *, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """See the class."""
        labelled = target != self.ignore_index  # (N, H, W)
        right = torch.stack([((logits[:, k] > 0) == (has(target, k) == 1)) & labelled for k in range(logits.shape[1])])
        return 100.0 * right.sum().float() / (labelled.sum() * len(right)).clamp(min=1)


def unknown_sets_message(labels: Tensor, num_classes: int, *, ignore_index: int, where: str = "the labels") -> str:
    """What to say of labels (P,) that are no sets of so many classes. Waits for the device. where: whose they are."""
    values = labels.unique().tolist()
    shown = ", ".join(map(str, values[:5])) + (" ..." if len(values) > 5 else "")
    return (
        f"{where} have the value{'s' if len(values) > 1 else ''} {shown}, but sets of {num_classes} classes, a bit for "
        f"each, are 0 to {set_count(num_classes) - 1}, and {ignore_index} is ignored (ignore_index). Are these labels "
        "of one class for each pixel? Then leave out intarsia.multi_label"
    )
