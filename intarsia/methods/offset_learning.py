"""Offset learning: classes that move towards what an image shows of them, and pixels that move towards their classes.

Paper: Zhang et al., Revisiting Efficient Semantic Segmentation: Learning Offsets for Better Spatial and Class Feature
    Alignment, arXiv:2508.08811, ICCV 2025.
Original code: https://github.com/HVision-NKU/OffSeg

It takes the place of a head's last convolution, `classifier=dict(type="OffsetClassifier")`, in any head whose logits
are a convolution of one map. The same paper's network, OffSeg, is not here, nor its form for mask classifiers.

Ours: where that convolution looks at more than a pixel (U-Nets: 3 x 3), one of that size gathers what lies around a
pixel before it is compared with classes; without offsets and norm, the logits are those of one convolution then. Of
nnU-Net's head the layers of all levels are replaced.

Deviations: the offsets of pixels are those of the classes, projected before they are summed and not after, which is the
same sum of far fewer products. The dropout of the head stays where it is; the published networks have none, so that
theirs is `dropout_ratio=0`.

Published scores, single scale, mIoU on ADE20K, with and without: SegFormer-B0 +2.7, SegNeXt-T +1.9.

Shape letters: N images, C channels, K classes, P pixels, h, w of the map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from intarsia.contracts import Head
from intarsia.layers import precision


class OffsetClassifier(nn.Module):
    """Logits by how alike each pixel and each class are, after both have moved towards the other (section 3.3).

    Args:
        channels: of the map.
        num_classes: number of logits. They are normalised against each other, so that there are two or more.
        kernel_size: of what a pixel is told by its neighbours first, odd; 1: nothing, as in the paper.

    Weights start as a truncated normal distribution of deviation 0.02, the norm as identity.

    Raises ValueError for fewer than two logits.
    """

    def __init__(self, channels: int, *, num_classes: int, kernel_size: int = 1) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                "OffsetClassifier normalises the logits of a pixel against each other, which leaves nothing of one; "
                f"got {num_classes}. Let two classes have two logits: leave out_channels out"
            )
        self.gather: nn.Module = nn.Identity()
        if kernel_size > 1:
            self.gather = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)
        self.cls_repr = nn.Parameter(torch.empty(1, num_classes, channels))
        self.mask_norm = nn.LayerNorm(num_classes)
        self.cls_offset_proj = nn.Linear(channels, channels, bias=False)
        self.feat_offset_proj = nn.Linear(channels, channels, bias=False)
        for weight in (self.cls_repr, self.cls_offset_proj.weight, self.feat_offset_proj.weight):
            nn.init.trunc_normal_(weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> logits (N, K, h, w)."""
        pixels, classes = self.gather(x).flatten(2), self.cls_repr  # (N, C, P), (1, K, C)
        likeness = precision.full_precision(classes @ pixels)  # (N, K, P)
        seen = precision.sums_over_pixels(likeness.softmax(dim=2), pixels).to(x.dtype)  # (N, K, C)
        moved_classes = classes + self.cls_offset_proj(seen)  # (N, K, C)
        offsets = self.feat_offset_proj(classes).transpose(1, 2)  # (1, C, K)
        moved_pixels = pixels + offsets @ likeness.softmax(dim=1).to(x.dtype)  # (N, C, P)
        logits = (moved_classes @ moved_pixels).transpose(1, 2)  # (N, P, K)
        out: Tensor = self.mask_norm(logits).transpose(1, 2).unflatten(2, x.shape[2:])
        return out


def offset_classified(*, head: Head) -> Head:
    """The head, its classifier replaced: what was `conv_seg` (of nnU-Net's head all `seg_layers`) is an
    `OffsetClassifier` now.

    Raises ValueError for a head that does not end with a convolution of that name.
    """
    classified: Any = head
    layers = getattr(head, "seg_layers", None)
    if isinstance(layers, nn.ModuleList):
        for i, conv in enumerate(layers):
            layers[i] = _in_place_of(conv, head).requires_grad_(bool(conv.weight.requires_grad))
    else:
        classified.conv_seg = _in_place_of(getattr(head, "conv_seg", None), head)
    return head


def _in_place_of(conv: Any, head: Head) -> OffsetClassifier:
    if not isinstance(conv, nn.Conv2d) or conv.stride != (1, 1) or conv.kernel_size[0] != conv.kernel_size[1]:
        found = "has none" if conv is None else f"has {conv}"
        raise ValueError(
            f"OffsetClassifier replaces a head's last convolution, whose input is compared with classes; "
            f"{type(head).__name__} {found}. Leave `classifier` out, or take another head, such as SegformerHead"
        )
    return OffsetClassifier(conv.in_channels, num_classes=conv.out_channels, kernel_size=conv.kernel_size[0])
