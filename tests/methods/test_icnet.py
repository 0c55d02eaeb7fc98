"""ICNet and its neck: what the contracts and the figures do not see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia.backbones.resnet import ResNet
from intarsia.contracts import FeatureSpec
from intarsia.methods.icnet import ICNeck, ICNet
from intarsia.methods.stdc import STDCNet


def levels(*specs: tuple[int, int]) -> list[Tensor]:
    """Maps of (channels, stride) each, of images of 64 x 96."""
    return [torch.randn(2, channels, 64 // stride, 96 // stride) for channels, stride in specs]


def shapes(maps: Any) -> list[tuple[int, ...]]:
    return [tuple(level.shape) for level in maps]


def resnet(**arguments: Any) -> ResNet:
    return ResNet(18, base_channels=8, stem_channels=8, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), **arguments)


def test_sizes_of_icnet_are_those_of_the_original() -> None:
    network = ICNet(backbone=resnet(), layer_channels=(16, 64), psp_out_channels=8, out_channels=(8, 12, 16)).eval()
    for size, expected in (
        ((128, 192), [(16, 24), (9, 13), (4, 6)]),
        ((97, 65), [(13, 9), (7, 5), (3, 2)]),
        ((832, 832), [(104, 104), (53, 53), (26, 26)]),
    ):
        with torch.no_grad():
            assert [level.shape[2:] for level in network(torch.randn(1, 3, *size))] == [torch.Size(s) for s in expected]


@pytest.mark.parametrize(
    ("strides", "expected", "least"),
    [((1, 2, 1, 1), (8, 16, 32), 14), ((1, 1, 2, 1), (8, 8, 32), 6), ((2, 2, 1, 2), (8, 32, 128), 30)],
)
def test_strides_and_least_size_of_icnet(strides: tuple[int, ...], expected: tuple[int, ...], least: int) -> None:
    backbone = ResNet(18, base_channels=8, stem_channels=8, strides=strides)
    network = ICNet(backbone=backbone, layer_channels=(16, 64), psp_out_channels=8, out_channels=(8, 12, 16)).eval()
    assert tuple(level.stride for level in network.features) == expected
    assert network.least_size == least
    with torch.no_grad():
        network(torch.randn(1, 3, least, least + 1))
        with pytest.raises(RuntimeError):
            network(torch.randn(1, 3, least - 1, 64))


def test_icnet_recomputes_its_backbone_where_that_says_so() -> None:
    torch.manual_seed(0)
    plain = ICNet(backbone=resnet(), layer_channels=(16, 64), psp_out_channels=8, out_channels=(8, 12, 16))
    saving = ICNet(backbone=resnet(checkpoint_activations=True), layer_channels=(16, 64), psp_out_channels=8,
                   out_channels=(8, 12, 16), checkpoint_activations=True)  # fmt: skip
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 96)
    for network in (plain, saving):
        torch.stack([output.square().mean() for output in network(images)]).sum().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for a, b in zip(plain.buffers(), saving.buffers(), strict=True):
        assert a.equal(b)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (resnet(out_indices=(1, 3)), "expects a ResNet of 4 stages that returns all of them .* has 4 and returns 2"),
        (STDCNet(stdc_type="STDCNet1", channels=(4, 8, 16, 24, 32)), "has 0 and returns 3"),
        (resnet(), r"expects layer_channels=\(16, 32\) .* but ResNet gives \(16, 64\)"),
    ],
)
def test_icnet_refuses_other_backbones(backbone: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ICNet(backbone=backbone, layer_channels=(16, 32))


def test_the_neck_of_icnet() -> None:
    neck = ICNeck(in_channels=(8, 12, 16), out_channels=4)
    given = (FeatureSpec(8, 8), FeatureSpec(12, 16), FeatureSpec(16, 32))
    assert neck.connect(given) == (FeatureSpec(4, 16), FeatureSpec(4, 8), FeatureSpec(4, 8))
    assert shapes(neck(levels((8, 8), (12, 16), (16, 32)))) == [(2, 4, 4, 6), (2, 4, 8, 12), (2, 4, 8, 12)]
    with pytest.raises(ValueError, match=r"in_channels has three entries; got \(8, 12\)"):
        ICNeck(in_channels=(8, 12))
