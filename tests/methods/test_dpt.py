"""DPT beyond what the reference figures cover: the other readouts, odd grids, refusals, and its token contract."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from intarsia.backbones.vit import VisionTransformer
from intarsia.contracts import TokenLevel
from intarsia.layers.activation import RELU
from intarsia.layers.norm import BN
from intarsia.methods.dpt import DPTHead, ReassembleBlocks, ResidualConvUnit
from intarsia.methods.fcn import FCNHead
from intarsia.models.encoder_decoder import EncoderDecoder


def levels(height: int = 3, width: int = 4) -> list[TokenLevel]:
    generator = torch.Generator().manual_seed(1)
    return [
        TokenLevel(torch.randn(2, 6, height, width, generator=generator), torch.randn(2, 6, generator=generator))
        for _ in range(4)
    ]


def head(**arguments: Any) -> DPTHead:
    torch.manual_seed(0)
    given = {"in_channels": (6,) * 4, "channels": 5, "num_classes": 3, "post_process_channels": (4, 5, 6, 7)}
    return DPTHead(**{**given, **arguments}).eval()


# --- The class token ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", ["ignore", "add", "project"])
def test_what_becomes_of_the_class_token(readout: Literal["ignore", "add", "project"]) -> None:
    torch.manual_seed(0)
    blocks = ReassembleBlocks((6,) * 4, (4, 5, 6, 7), readout=readout)

    def read(i: int, level: TokenLevel) -> Tensor:
        if readout == "ignore":
            return level.map
        token = level.token[:, :, None, None].expand_as(level.map)
        if readout == "add":
            return level.map + token
        return blocks.readout_projects[i](torch.cat([level.map, token], dim=1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    for i, (level, found) in enumerate(zip(levels(), blocks(levels()), strict=True)):
        torch.testing.assert_close(found, blocks.resize_layers[i](blocks.projects[i](read(i, level))))


def test_only_the_projecting_readout_has_weights() -> None:
    names = [{name for name in head(readout_type=kind).state_dict() if "readout" in name}
             for kind in ("ignore", "add", "project")]  # fmt: skip
    assert [len(found) for found in names] == [0, 0, 8]


def plain(**arguments: Any) -> VisionTransformer:
    return VisionTransformer(embed_dims=6, num_layers=4, num_heads=2, out_indices=(0, 1, 2, 3), **arguments)


def test_whoever_reads_tokens_must_be_given_them() -> None:
    message = "decode_head DPTHead reads a class token with each level, but backbone VisionTransformer gives maps alone"
    with pytest.raises(ValueError, match=message + r".*Set output_cls_token=True in the backbone\."):
        EncoderDecoder(backbone=plain(), decode_head=head())
    model = EncoderDecoder(backbone=plain(output_cls_token=True), decode_head=head())
    assert model(torch.randn(1, 3, 64, 96)).shape == (1, 3, 32, 48)


def test_whoever_reads_maps_is_not_given_tokens() -> None:
    other = FCNHead(in_channels=6, channels=4, num_classes=3)
    message = "decode_head FCNHead reads maps alone, but backbone VisionTransformer gives a class token with each level"
    with pytest.raises(ValueError, match=message + r".*Set output_cls_token=False in the backbone\."):
        EncoderDecoder(backbone=plain(output_cls_token=True), decode_head=other)
    with pytest.raises(ValueError, match=r"auxiliary_head \(aux\) FCNHead reads maps alone"):
        EncoderDecoder(backbone=plain(output_cls_token=True), decode_head=head(), auxiliary_head=other)


# --- Fusion ---------------------------------------------------------------------------------------------------------


def test_the_residual_unit_leaves_what_it_reads_alone() -> None:
    unit, x = ResidualConvUnit(4, norm=BN, activation=RELU).eval(), torch.randn(1, 4, 5, 6)
    kept = x.clone()
    torch.testing.assert_close(unit(x), x + unit.conv2(unit.conv1(x.relu()).relu()))
    assert x.equal(kept)


@pytest.mark.parametrize(("grid", "size"), [((3, 4), (32, 32)), ((4, 6), (32, 48)), ((1, 1), (16, 16))])
def test_logits_are_twice_the_finest_level_whose_size_the_coarsest_decides(
    grid: tuple[int, int], size: tuple[int, int]
) -> None:
    """The coarsest level is rounded up, and each fusion doubles what comes from below."""
    assert head()(levels(*grid)).shape == (2, 3, *size)


def test_all_levels_are_read_from_the_last_to_the_first() -> None:
    made, given = head(in_index=(3, 2, 1, 0)), levels()
    same = head()
    torch.testing.assert_close(made(given), same(list(reversed(given))))
    for i in range(4):
        changed = [TokenLevel(x.map + (i == j), x.token) for j, x in enumerate(given)]
        assert not made(changed).equal(made(given))


@pytest.mark.parametrize(
    "arguments", [{"in_channels": (6,) * 3, "in_index": (0, 1, 2)}, {"post_process_channels": (4, 5, 6)}]
)
def test_four_levels_are_needed(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="DPTHead reads 4 levels"):
        head(**arguments)
