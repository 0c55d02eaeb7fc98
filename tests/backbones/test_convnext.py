"""ConvNeXt beyond what the reference figures cover: sizes of the paper, a block written out, frozen stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

from intarsia.backbones.convnext import LN2D, Block, ConvNeXt
from intarsia.layers.activation import GELU
from intarsia.layers.global_response import GlobalResponseNorm

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


def test_the_second_version_weighs_channels_by_their_global_response() -> None:
    """Written out, and against timm's layer; the names are those of OpenMMLab's weights."""
    timm = pytest.importorskip("timm.layers.grn")
    torch.manual_seed(0)
    block = Block(4, layer_scale_init_value=0.0, drop_path_rate=0.0, norm=LN2D, activation=GELU, use_grn=True).eval()
    assert block.grn is not None
    x = torch.randn(2, 4, 9, 8)
    plain = Block(4, layer_scale_init_value=0.0, drop_path_rate=0.0, norm=LN2D, activation=GELU).eval()
    plain.load_state_dict({name: value for name, value in block.state_dict().items() if "grn" not in name})
    torch.testing.assert_close(block(x), plain(x))  # it starts without an effect
    nn.init.normal_(block.grn.gamma)
    nn.init.normal_(block.grn.beta)
    out = F.conv2d(x, block.depthwise_conv.weight, block.depthwise_conv.bias, padding=3, groups=4)
    out = F.gelu(block.pointwise_conv1(F.layer_norm(out.permute(0, 2, 3, 1), (4,), eps=1e-6)))  # (N, h, w, 4 C)
    share = out.square().sum((1, 2)).sqrt()
    share = share / (share.mean(dim=1, keepdim=True) + 1e-6)  # (N, 4 C)
    weighed = out + block.grn.gamma * out * share[:, None, None] + block.grn.beta
    torch.testing.assert_close(block(x), x + block.pointwise_conv2(weighed).permute(0, 3, 1, 2))
    other = timm.GlobalResponseNorm(16, channels_last=True)
    other.load_state_dict({"weight": block.grn.gamma, "bias": block.grn.beta})
    torch.testing.assert_close(block.grn(out), other(out))
    traced = torch.fx.symbolic_trace(block)
    torch.testing.assert_close(traced(x), block(x))
    names = ConvNeXt(**SMALL, layer_scale_init_value=0.0, use_grn=True).state_dict()
    assert names["stages.2.1.grn.gamma"].shape == names["stages.2.1.grn.beta"].shape == (64,)


def test_loud_channels_of_half_precision_stay_finite() -> None:
    norm = GlobalResponseNorm(2).half()
    nn.init.ones_(norm.gamma)
    loud = torch.full((1, 64, 64, 2), 100.0).half()  # whose squares have a sum of 4e7
    torch.testing.assert_close(norm(loud), 2 * loud)


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
