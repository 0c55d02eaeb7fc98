"""APCNet against its formula."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from intarsia.layers.activation import RELU
from intarsia.methods.apcnet import AdaptiveContext, APCHead


def test_context_is_mixed_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    context = AdaptiveContext(2, 6, 4, fusion=True, norm=None, activation=RELU).double().eval()
    x = torch.randn(1, 6, 4, 8).double()
    means = x.unflatten(3, (2, 4)).unflatten(2, (2, 2)).mean(dim=(3, 5))  # (1, 6, 2, 2)
    cells = context.pooled_redu_conv(means).flatten(2)[0]  # (4, 4 cells)
    pixels = context.input_redu_conv(x)  # (1, 4, 4, 8)
    whole = context.global_info(pixels.mean(dim=(2, 3), keepdim=True))
    affinity = context.gla(pixels + whole).sigmoid()  # (1, 4 cells, 4, 8)
    mixed = torch.stack([
        torch.stack([(cells * affinity[0, :, i, j]).sum(dim=1) for j in range(8)], dim=1) for i in range(4)
    ], dim=1)[None]  # fmt: skip
    expected = context.fusion_conv(F.relu(context.residual_conv(mixed) + pixels))
    torch.testing.assert_close(context(x), expected)


def test_the_last_convolution_may_be_left_out() -> None:
    plain = APCHead(in_channels=6, channels=4, num_classes=2, fusion=False).eval()
    assert not any("fusion_conv" in name for name in plain.state_dict())
    assert plain([torch.randn(1, 6, 5, 7)]).shape == (1, 2, 5, 7)
