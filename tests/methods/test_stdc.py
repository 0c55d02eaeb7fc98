"""STDC: blocks, context path, and details as targets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch, FeatureSpec, TargetInput
from intarsia.layers.activation import RELU
from intarsia.layers.norm import BN
from intarsia.methods.stdc import DetailMap, ShortTermDenseConcat, STDCContextPathNet, STDCHead, STDCNet

ODD = (97, 65)


def levels(*specs: tuple[int, int]) -> list[Tensor]:
    """Maps of (channels, stride) each, of images of 64 x 96."""
    return [torch.randn(2, channels, 64 // stride, 96 // stride) for channels, stride in specs]


def shapes(maps: Any) -> list[tuple[int, ...]]:
    return [tuple(level.shape) for level in maps]


def details(head: STDCHead, labels: Tensor, threshold: float = 0.1) -> Tensor:
    given = levels((head.in_channels, 8))  # type: ignore[arg-type]
    outputs = {name: x.value for name, x in head.training_outputs(given).items() if isinstance(x, TargetInput)}
    assert set(outputs) == {"laplacian", "fusion"}
    return DetailMap(boundary_threshold=threshold)(labels, torch.zeros(1), outputs, {})


def test_details_are_where_labels_rise_above_their_surroundings() -> None:
    head = STDCHead(in_channels=8, channels=4)
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    assert not details(head, labels).any()
    labels[0, 5:11, 5:11] = 3
    found = details(head, labels)
    assert found.shape == labels.shape
    assert set(found.unique().tolist()) == {0, 1}
    ring = torch.zeros_like(labels)
    ring[0, 5:11, 5:11] = 1
    ring[0, 6:10, 6:10] = 0
    assert (found >= ring).all(), "the finest scale alone is enough"
    with torch.no_grad():
        head.fusion_kernel.copy_(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
    assert details(head, labels).equal(ring)
    assert not details(head, labels, threshold=1.0).any()


def test_details_of_coarser_scales_are_weighed_less() -> None:
    """Of the weights 0.6, 0.3 and 0.1, the last alone is not above the threshold."""
    head = STDCHead(in_channels=8, channels=4)
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[0, 8:, 8:] = 3
    scales = []
    for scale in range(3):
        single = STDCHead(in_channels=8, channels=4)
        with torch.no_grad():
            single.fusion_kernel.copy_(F.one_hot(torch.tensor(scale), 3).float().view(1, 3, 1, 1))
        scales.append(details(single, labels).bool())
    assert all(scale.any() for scale in scales)
    assert (scales[2] & ~scales[0] & ~scales[1]).any()
    assert details(head, labels).bool().equal(scales[0] | scales[1])


def test_the_detail_head_is_trained_on_details() -> None:
    head = {"type": "STDCHead", "in_channels": 16, "in_index": 0, "channels": 8, "num_classes": 2, "num_convs": 1,
            "concat_input": False, "boundary_threshold": 0.1, "align_corners": True,
            "loss_decode": [{"type": "CrossEntropyLoss", "use_sigmoid": True}, {"type": "DiceLoss"}]}  # fmt: skip
    model = {
        "type": "EncoderDecoder",
        "backbone": {"type": "STDCContextPathNet", "last_in_channels": (32, 24), "out_channels": 8,
                     "ffm_cfg": {"in_channels": 24, "out_channels": 16, "scale_factor": 4},
                     "backbone_cfg": {"type": "STDCNet", "stdc_type": "STDCNet1", "channels": (4, 8, 16, 24, 32),
                                      "bottleneck_type": "cat"}},
        "decode_head": {"type": "FCNHead", "in_channels": 16, "in_index": 3, "channels": 8, "num_classes": 5},
        "auxiliary_head": [head],
    }  # fmt: skip
    config = Config.from_values({"model": model}, file="own")
    assert check(config, shapes=True) == []
    torch.manual_seed(0)
    task: Any = build_task(lower(config)).eval()
    images, labels = torch.randint(0, 256, (2, 3, 64, 96)), torch.randint(0, 5, (2, 8, 12))
    labels = labels.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    terms = {term.name: term for term in task.training_terms(Batch(images, labels, ((64, 96),) * 2, ()))}
    assert list(terms)[2:] == ["aux_0.loss_ce", "aux_0.loss_dice", "aux_0.acc_seg"]
    logits = F.interpolate(
        task.model.auxiliary_head[0](task.model.backbone(task.preprocess(images, ((64, 96),) * 2, train=True))),
        size=(64, 96), mode="bilinear", align_corners=True,
    )  # fmt: skip
    wanted = details(task.model.auxiliary_head[0], labels)
    expected = F.binary_cross_entropy_with_logits(logits, F.one_hot(wanted, 2).movedim(3, 1).float())
    torch.testing.assert_close(terms["aux_0.loss_ce"].value, expected)
    accuracy = 100 * (logits.argmax(dim=1) == wanted).float().mean()
    torch.testing.assert_close(terms["aux_0.acc_seg"].value, accuracy)
    model["backbone"]["ffm_cfg"]["in_channels"] = 25
    [problem] = check(Config.from_values({"model": model}, file="own"), shapes=True)
    assert "so in_channels of ffm_cfg is 24; got 25" in str(problem)


@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_add_or_concatenate(stride: int) -> None:
    x = torch.randn(2, 16, 9, 12)
    for fusion in ("cat", "add"):
        torch.manual_seed(0)
        block: Any = ShortTermDenseConcat(
            16, 16, stride=stride, num_convs=3, fusion=fusion, norm=BN, activation=RELU
        ).eval()  # fmt: skip
        first = block.layers[0](x)
        if fusion == "cat":
            second = block.layers[1](first if stride == 1 else block.downsample(first))
            expected = torch.cat([first if stride == 1 else F.avg_pool2d(first, 3, 2, 1), second,
                                  block.layers[2](second)], dim=1)  # fmt: skip
        else:
            second = block.layers[1](first)
            shortcut = x if stride == 1 else block.skip(x)
            expected = torch.cat([first, second, block.layers[2](second)], dim=1) + shortcut
        torch.testing.assert_close(block(x), expected)
        assert expected.shape == (2, 16, -(-9 // stride), 12 // stride)


def test_stdcnet_of_either_size_and_with_a_last_convolution() -> None:
    widths = (4, 8, 16, 24, 32)
    for kind, blocks in (("STDCNet1", [2, 2, 2]), ("STDCNet2", [4, 5, 3])):
        network = STDCNet(stdc_type=kind, channels=widths, bottleneck_type="add")
        assert [len(stage) for stage in network.stages[2:]] == blocks
        assert shapes(network(torch.randn(2, 3, *ODD))) == [(2, 16, 13, 9), (2, 24, 7, 5), (2, 32, 4, 3)]
    network = STDCNet(stdc_type="STDCNet1", channels=widths, with_final_conv=True)
    assert network.features[-1] == FeatureSpec(1024, 32)
    assert network(torch.randn(2, 3, 64, 64))[-1].shape == (2, 1024, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stdc_type": "STDCNet3"}, "stdc_type must be one of STDCNet1, STDCNet2; got 'STDCNet3'"),
        ({"channels": (4, 8, 16)}, "two convolutions and three stages"),
        ({"bottleneck_type": "sum"}, "must be 'cat' or 'add'; got 'sum'"),
        ({"num_convs": 1}, "at least two layers"),
    ],
)
def test_stdcnet_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        STDCNet(**{"stdc_type": "STDCNet1", **arguments})


def test_the_context_path_of_stdc() -> None:
    inner = STDCNet(stdc_type="STDCNet1", channels=(4, 8, 16, 24, 32))
    with pytest.raises(ValueError, match="the last two of last_in_channels"):
        STDCContextPathNet(backbone=inner, last_in_channels=(24, 32))
    fine: Any = STDCContextPathNet(
        backbone=inner, last_in_channels=(32, 24), out_channels=8, upsample_mode="bilinear", align_corners=True
    )
    assert fine.features == (FeatureSpec(16, 8), FeatureSpec(8, 16), FeatureSpec(8, 8), FeatureSpec(256, 8))
    fine.eval()
    images = torch.randn(2, 3, *ODD)
    x8, x16, x32 = inner(images)
    refined = fine.arms[0](x32) + fine.conv_avg(F.adaptive_avg_pool2d(x32, 1))
    context16 = fine.convs[0](F.interpolate(refined, size=x16.shape[2:], mode="bilinear", align_corners=True))
    refined = fine.arms[1](x16) + context16
    context8 = fine.convs[1](F.interpolate(refined, size=x8.shape[2:], mode="bilinear", align_corners=True))
    for found, expected in zip(fine(images), (x8, context16, context8, fine.ffm(x8, context8)), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_detail_head_without_convolutions_keeps_its_channels() -> None:
    with pytest.raises(ValueError, match="cannot turn 8 channels into channels=4"):
        STDCHead(in_channels=8, channels=4, num_convs=0)
    assert STDCHead(in_channels=8, channels=8, num_convs=0, concat_input=False)(levels((8, 8))).shape == (2, 2, 8, 12)
