"""MobileNetV3 and its head beyond what the reference figures cover."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.norm import BN
from intarsia.methods.mobilenet_v3 import LRASPPHead, MobileNetV3, WindowPooling


# torchvision's published totals less the two layers behind the pooling.
@pytest.mark.parametrize(
    ("arch", "total"),
    [("large", 5_483_032 - 961 * 1280 - 1281 * 1000), ("small", 2_542_856 - 577 * 1024 - 1025 * 1000)],
)
def test_parameter_counts_of_the_literature(arch: Any, total: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in MobileNetV3(arch=arch).parameters()) == total


@pytest.mark.parametrize(("arch", "dilated", "widely"), [("large", 7, 13), ("small", 4, 9)])
def test_late_layers_are_dilated_instead_of_striding(arch: Any, dilated: int, widely: int) -> None:
    network = MobileNetV3(arch=arch)
    for layer, name in enumerate(network.layer_names[1:-1], start=1):
        conv = getattr(network, name).depthwise_conv.conv
        expected = 1 if layer < dilated else 2 if layer < widely else 4
        assert conv.dilation == (expected, expected)
        assert expected == 1 or conv.stride == (1, 1)


def test_every_layer_can_be_returned() -> None:
    network = MobileNetV3(out_indices=tuple(range(13))).eval()
    levels = network(torch.randn(1, 3, 65, 97))
    for level, feature in zip(levels, network.features, strict=True):
        assert tuple(level.shape[1:]) == (feature.channels, -(-65 // feature.stride), -(-97 // feature.stride))
    assert [feature.stride for feature in network.features[:5]] == [2, 4, 8, 8, 8]


def test_the_last_stage_can_be_narrower() -> None:
    network = MobileNetV3(arch="large", reduction_factor=2, out_indices=(12, 13, 15, 16))
    assert network.features == tuple(FeatureSpec(channels, 8) for channels in (112, 80, 80, 960))
    assert network.layer13.depthwise_conv.conv.out_channels == 336
    assert MobileNetV3(reduction_factor=2, out_indices=(8, 9, 11)).features[1].channels == 48


def test_frozen_layers_stay_as_loaded() -> None:
    network = MobileNetV3(frozen_stages=3).train()
    for layer, name in enumerate(network.layer_names):
        part = getattr(network, name)
        assert part.training is (layer > 3)
        assert all(parameter.requires_grad is (layer > 3) for parameter in part.parameters())
    assert network.train().layer0.bn.training is False
    still = MobileNetV3(norm_eval=True).train()
    assert not any(m.training for m in still.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "medium"}, "must be one of large, small; got 'medium'"),
        ({"out_indices": (13,)}, "out_indices must name layers from 0 to 12"),
        ({"frozen_stages": 13}, r"between -1 \(none\) and 12; got 13"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MobileNetV3(**arguments)


@pytest.mark.parametrize("size", [(49, 49), (64, 90), (128, 50)])
def test_large_maps_are_pooled_as_by_torch(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    assert WindowPooling(49, (16, 20))(x).equal(nn.functional.avg_pool2d(x, 49, (16, 20)))


@pytest.mark.parametrize("size", [(48, 48), (1, 1), (20, 70), (70, 30)])
def test_small_maps_are_averaged_over_what_there_is(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    window = (min(49, size[0]), min(49, size[1]))
    torch.testing.assert_close(WindowPooling(49, (16, 20))(x), nn.functional.avg_pool2d(x, window, (16, 20)))


@pytest.mark.parametrize(("size", "others"), [((20, 30), [(48, 9), (49, 55)]), ((90, 100), [(70, 120), (121, 88)])])
def test_pooling_is_exported_for_one_window_and_for_several(
    size: tuple[int, int], others: list[tuple[int, int]]
) -> None:
    """Not for both at once: torch.export takes a single window for something special.

    Before 2.14, torch guards that a size divides by the stride, though the graph holds for others.
    """
    pool, dynamic = WindowPooling(49, (16, 20)), torch.export.Dim.DYNAMIC
    program = torch.export.export(pool, (torch.randn(1, 3, *size),), dynamic_shapes=({2: dynamic, 3: dynamic},))
    module = program.module(check_guards=torch.__version__ >= torch.torch_version.TorchVersion("2.14"))
    for size in others:
        x = torch.randn(1, 3, *size)
        torch.testing.assert_close(module(x), pool(x))


def test_the_head_needs_a_branch_for_each_finer_level() -> None:
    with pytest.raises(ValueError, match=r"branch_channels needs 2 entries; got \(8,\)"):
        LRASPPHead(in_channels=(4, 8, 16), channels=8, num_classes=3, branch_channels=(8,))
    head = LRASPPHead(in_channels=(4, 16), in_index=(0, 1), channels=8, num_classes=3, branch_channels=(8,), norm=BN)
    assert head.eval()([torch.randn(1, 4, 20, 20), torch.randn(1, 16, 5, 5)]).shape == (1, 3, 20, 20)
