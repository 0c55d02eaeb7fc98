"""Assembly: names of children, outputs of heads, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from intarsia.backbones.resnet import ResNet
from intarsia.contracts import FeatureSpec
from intarsia.methods.fcn import FCNHead
from intarsia.methods.semantic_fpn import FPNHead
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.necks.fpn import FPN


def backbone() -> ResNet:
    return ResNet(18, base_channels=4, stem_channels=4)


def head(in_channels: int = 32, in_index: int = -1) -> FCNHead:
    return FCNHead(
        in_channels=in_channels, channels=4, num_classes=3, in_index=in_index, num_convs=1, concat_input=False
    )


class Halving(nn.Module):
    """A neck that keeps one level, at half its channels."""

    def __init__(self, in_channels: tuple[int, ...] = (4, 8, 16, 32)) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv = nn.Conv2d(32, 16, 1)

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        return (FeatureSpec(16, features[-1].stride),)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (self.conv(features[-1]),)


def test_outputs_by_name() -> None:
    images = torch.randn(2, 3, 64, 96)
    alone = EncoderDecoder(backbone=backbone(), decode_head=head()).eval()
    assert list(alone.training_outputs(images)) == ["decode"]
    one = EncoderDecoder(backbone=backbone(), decode_head=head(), auxiliary_head=head(16, 2)).eval()
    outputs = one.training_outputs(images)
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {"decode": (2, 3, 2, 3), "aux": (2, 3, 4, 6)}
    assert one(images).equal(outputs["decode"])
    several = EncoderDecoder(backbone=backbone(), decode_head=head(), auxiliary_head=[head(16, 2), head(8, 1)])
    assert list(several.training_outputs(images)) == ["decode", "aux_0", "aux_1"]


@pytest.mark.parametrize(
    ("of_backbone", "of_neck", "of_head", "expected"),
    [(1, 1, 1, 1), (40, 1, 1, 40), (1, 2, 1, 64), (70, 2, 1, 70), (1, 1, 3, 96), (1, 4, 3, 128)],
)
def test_the_least_size_is_that_of_the_part_that_needs_most(
    of_backbone: int, of_neck: int, of_head: int, expected: int
) -> None:
    """Parts behind the backbone say it in cells of the coarsest level that they read."""
    parts: list[Any] = [backbone(), Halving(), head(16, 0)]
    parts[0].least_size, parts[1].least_cells, parts[2].least_cells = of_backbone, of_neck, of_head
    assert EncoderDecoder(backbone=parts[0], neck=parts[1], decode_head=parts[2]).least_size == expected


def test_the_least_size_follows_the_levels_that_a_head_reads() -> None:
    finest: Any = head(4, 0)
    finest.least_cells = 3
    assert EncoderDecoder(backbone=backbone(), decode_head=finest).least_size == 12


def test_names_of_children() -> None:
    one = EncoderDecoder(backbone=backbone(), neck=Halving(), decode_head=head(16, 0), auxiliary_head=head(16, 0))
    assert [name for name, _ in one.named_children()] == ["backbone", "neck", "decode_head", "auxiliary_head"]
    assert "auxiliary_head.conv_seg.weight" in one.state_dict()
    several = EncoderDecoder(backbone=backbone(), decode_head=head(), auxiliary_head=[head(16, 2)])
    assert "auxiliary_head.0.conv_seg.weight" in several.state_dict()


def test_heads_see_what_the_neck_gives() -> None:
    model = EncoderDecoder(backbone=backbone(), neck=Halving(), decode_head=head(16, 0))
    assert model.features == (FeatureSpec(16, 32),)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 3, 2, 2)
    with pytest.raises(ValueError, match="neck Halving gives 16 channels there"):
        EncoderDecoder(backbone=backbone(), neck=Halving(), decode_head=head(32, 0))


def test_wrong_channels_name_both_sides_and_the_fix() -> None:
    with pytest.raises(ValueError, match="in_channels") as error:
        EncoderDecoder(backbone=backbone(), decode_head=head(64))
    for part in ("decode_head FCNHead expects in_channels=64 at level -1", "backbone ResNet gives 32 channels there",
                 "2: 16 channels at stride 16", "Set in_channels=32"):  # fmt: skip
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("in_channels", "message"),
    [((4, 8, 16, 64), "neck Halving expects in_channels=64 at level 3, but backbone ResNet gives 32 channels there"),
     ((4, 8, 32), r"neck Halving expects 3 levels \(in_channels\), but is given 4 by backbone ResNet")],
)  # fmt: skip
def test_a_neck_is_checked_like_a_head(in_channels: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}.*Set in_channels=.4, 8, 16, 32.") as caught:
        EncoderDecoder(backbone=backbone(), neck=Halving(in_channels), decode_head=head(16, 0))
    assert "3: 32 channels at stride 32" in str(caught.value)


def test_a_neck_that_states_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="neck Identity must state in_channels and connect"):
        EncoderDecoder(backbone=backbone(), neck=nn.Identity(), decode_head=head(16, 0))  # type: ignore[arg-type]


def test_a_list_of_decode_heads_is_a_cascade() -> None:
    with pytest.raises(ValueError, match=r"has one decode_head; got a list of 1\. CascadeEncoderDecoder"):
        EncoderDecoder(backbone=backbone(), decode_head=[head()])  # type: ignore[arg-type]


def pyramid(strides: Sequence[int], feature_strides: Sequence[int]) -> EncoderDecoder:
    dilations = [1, *(2 if stride == 1 else 1 for stride in strides[1:])]
    backbone = ResNet(18, base_channels=4, stem_channels=4, strides=strides, dilations=dilations)
    neck = FPN(in_channels=(4, 8, 16, 32), out_channels=8, num_outs=4)
    fpn_head = FPNHead(in_channels=(8,) * 4, channels=4, num_classes=3, feature_strides=feature_strides)
    return EncoderDecoder(backbone=backbone, neck=neck, decode_head=fpn_head)


def test_strides_are_those_of_the_backbone_behind_a_neck() -> None:
    """A dilated one has the same stride several times."""
    assert pyramid((1, 2, 2, 2), (4, 8, 16, 32)).features == tuple(FeatureSpec(8, s) for s in (4, 8, 16, 32))
    dilated = pyramid((1, 2, 1, 1), (4, 8, 8, 8))
    assert dilated.features == tuple(FeatureSpec(8, s) for s in (4, 8, 8, 8))
    assert dilated.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 3, 16, 16)
    assert pyramid((1, 2, 2, 2), (1, 2, 4, 8)).features  # used as multiples of the first, and these are the same


@pytest.mark.parametrize("wrong", [(4, 8, 16, 64), (4, 8, 8, 8), (4, 4, 8, 16)])
def test_strides_that_a_head_does_not_get_are_refused(wrong: Sequence[int]) -> None:
    with pytest.raises(ValueError, match="but neck FPN gives strides") as caught:
        pyramid((1, 2, 2, 2), wrong)
    assert f"decode_head FPNHead expects feature_strides={list(wrong)}" in str(caught.value)
    assert "Set feature_strides=[4, 8, 16, 32]" in str(caught.value)


def test_missing_levels_and_wrong_auxiliary_heads_are_named() -> None:
    with pytest.raises(ValueError, match=r"reads level 4 \(in_index\), but backbone ResNet gives 4 levels"):
        EncoderDecoder(backbone=backbone(), decode_head=head(32, 4))
    with pytest.raises(ValueError, match=r"auxiliary_head \(aux_1\) FCNHead expects in_channels=99"):
        EncoderDecoder(backbone=backbone(), decode_head=head(), auxiliary_head=[head(16, 2), head(99, 1)])
