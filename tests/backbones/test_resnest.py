"""ResNeSt beyond what the reference figures cover: split attention by its formula, sizes of the literature."""

from __future__ import annotations

import pytest
import torch

from intarsia.backbones.resnest import ResNeSt, SplitAttentionConv
from intarsia.contracts import FeatureSpec
from intarsia.layers.norm import BN

SMALL = {"base_channels": 8, "stem_channels": 16}


# The original's resnest50, resnest101, resnest200 (timm's resnest50d, resnest101e, resnest200e) less the classifier.
@pytest.mark.parametrize(
    ("depth", "stem", "total"), [(50, 64, 27_483_240), (101, 128, 48_275_016), (200, 128, 70_201_544)]
)
def test_parameter_counts_of_the_literature(depth: int, stem: int, total: int) -> None:
    with torch.device("meta"):
        network = ResNeSt(depth, stem_channels=stem)
    assert sum(parameter.numel() for parameter in network.parameters()) == total - 2049 * 1000


@pytest.mark.parametrize(("radix", "groups"), [(2, 1), (3, 1), (2, 2), (1, 1), (1, 2)])
def test_split_attention_channel_by_channel(radix: int, groups: int) -> None:
    torch.manual_seed(0)
    conv = SplitAttentionConv(
        12, stride=1, dilation=1, groups=groups, radix=radix, reduction_factor=4, norm=BN
    ).eval()  # fmt: skip
    x = 5 * torch.randn(2, 12, 4, 5)
    maps = conv.bn0(conv.conv(x)).relu()
    splits = [maps[:, split * 12 : (split + 1) * 12] for split in range(radix)]
    scores = conv.fc2(conv.bn1(conv.fc1(sum(splits).mean((2, 3), keepdim=True))).relu())[..., 0, 0]
    expected = torch.zeros(2, 12, 4, 5)
    for channel in range(12):
        group, within = divmod(channel, 12 // groups)
        own = torch.stack(
            [scores[:, (group * radix + split) * (12 // groups) + within] for split in range(radix)], dim=1
        )
        weights = own.softmax(1) if radix > 1 else own.sigmoid()
        for split in range(radix):
            expected[:, channel] += weights[:, split, None, None] * splits[split][:, channel]
    torch.testing.assert_close(conv(x), expected)


def test_hidden_channels_of_the_attention() -> None:
    def hidden(channels: int, radix: int, factor: int) -> int:
        conv = SplitAttentionConv(
            channels, stride=1, dilation=1, groups=1, radix=radix, reduction_factor=factor, norm=BN
        )
        return conv.fc1.out_channels

    assert hidden(64, 2, 4) == 32
    assert hidden(128, 2, 4) == 64
    assert hidden(96, 3, 4) == 72


def test_an_average_strides_or_the_convolution_does() -> None:
    block = ResNeSt(50, **SMALL).layer2[0]
    assert block.conv2.conv.stride == (1, 1)
    assert (block.avd_layer.kernel_size, block.avd_layer.stride, block.avd_layer.padding) == (3, 2, 1)
    plain = ResNeSt(50, avg_down_stride=False, **SMALL).layer2[0]
    assert plain.conv2.conv.stride == (2, 2)
    assert plain.avd_layer is None
    caffe = ResNeSt(50, style="caffe", **SMALL).layer2[0]
    assert caffe.conv1.stride == (2, 2)
    assert caffe.avd_layer is None


def test_groups_have_their_width() -> None:
    network = ResNeSt(50, groups=2, base_width=4, **SMALL)
    assert network.layer1[0].conv1.out_channels == 8
    assert network.layer3[0].conv2.conv.groups == 4
    assert ResNeSt(50, base_width=4, **SMALL).layer1[0].conv1.out_channels == 8


def test_features_are_told_at_odd_sizes() -> None:
    network = ResNeSt(50, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), contract_dilation=True, **SMALL).eval()
    assert network.features == tuple(map(FeatureSpec, (32, 64, 128, 256), (4, 8, 16, 16)))
    assert [tuple(level.shape[2:]) for level in network(torch.randn(1, 3, 65, 97))] == [
        (17, 25), (9, 13), (5, 7), (5, 7),
    ]  # fmt: skip
    assert [block.conv2.conv.dilation[0] for block in network.layer4] == [1, 2, 2]


def test_shallow_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="50 layers or more; got depth 34"):
        ResNeSt(34)
