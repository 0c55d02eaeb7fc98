"""ConvNeXt beyond what the reference figures cover: sizes of the paper, a block written out, frozen stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from intarsia.backbones.convnext import LN2D, Block, ConvNeXt
from intarsia.layers.activation import GELU

SMALL: dict[str, Any] = {"arch": {"depths": (1, 1, 2, 1), "channels": (8, 12, 16, 24)}}


@pytest.mark.parametrize(
    ("arch", "millions"), [("tiny", 28.6), ("small", 50.2), ("base", 88.6), ("large", 197.8), ("xlarge", 350.2)]
)
def test_parameter_counts(arch: str, millions: float) -> None:
    """Table 1, with its classifier of 1000 classes and one norm instead of a norm for each level."""
    with torch.device("meta"):
        model = ConvNeXt(arch=arch, out_indices=(3,))
    total = sum(parameter.numel() for parameter in model.parameters()) + 1001 * model.features[-1].channels - 1000
    assert (total + 1000) / 1e6 == pytest.approx(millions, abs=0.05)


def test_a_block_written_out() -> None:
    torch.manual_seed(0)
    block = Block(4, layer_scale_init_value=0.5, drop_path_rate=0.0, norm=LN2D, activation=GELU).eval()
    x = torch.randn(2, 4, 9, 8)
    out = F.conv2d(x, block.depthwise_conv.weight, block.depthwise_conv.bias, padding=3, groups=4)
    out = F.layer_norm(out.permute(0, 2, 3, 1), (4,), eps=1e-6)
    out = block.pointwise_conv2(F.gelu(block.pointwise_conv1(out)))
    torch.testing.assert_close(block(x), x + 0.5 * out.permute(0, 3, 1, 2))


def test_no_factors_where_they_start_at_zero() -> None:
    assert not [name for name in ConvNeXt(**SMALL, layer_scale_init_value=0.0).state_dict() if "gamma" in name]


def test_frozen_stages_stand_still() -> None:
    backbone = ConvNeXt(**SMALL, frozen_stages=2).train()
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    prefixes = ("downsample_layers.0", "downsample_layers.1", "stages.0", "stages.1")
    assert frozen == {name for name, _ in backbone.named_parameters() if name.startswith(prefixes)}
    assert [stage.training for stage in backbone.stages] == [False, False, True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"arch": "gigantic"}, "arch must be one of atto"), ({"arch": {"depths": (1,)}}, "arch needs depths and channels"),
     ({"arch": {"depths": (1,), "channels": (8, 8)}}, "entry for each stage"), ({"frozen_stages": 5}, "between 0")],
)  # fmt: skip
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvNeXt(**arguments)


def test_the_smallest_image() -> None:
    backbone = ConvNeXt(**SMALL).eval()
    assert backbone.least_size == 32
    assert backbone(torch.randn(1, 3, 32, 32))[-1].shape == (1, 24, 1, 1)
