"""The last step of a head: dropout of whole channels and a 1 x 1 convolution to the logits.

Both are children of the head itself, because published weights name them `decode_head.conv_seg`.
"""

from __future__ import annotations

from torch import nn


def pixel_classifier(channels: int, num_classes: int) -> nn.Conv2d:
    """1 x 1 convolution (N, C, h, w) -> (N, K, h, w); weights normal with deviation 0.01, so that training starts
    near equal probabilities, bias 0.
    """
    conv = nn.Conv2d(channels, num_classes, kernel_size=1)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def channel_dropout(ratio: float) -> nn.Module:
    """Dropout of whole channels with this probability; nothing for 0 and for the -1 that recipes write for "none"."""
    return nn.Dropout2d(ratio) if ratio > 0 else nn.Identity()
