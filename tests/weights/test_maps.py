"""The language of the key maps, and what is taken for what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from intarsia.backbones.swin import PatchMerging, SwinTransformer
from intarsia.layers.norm import Norm
from intarsia.weights.maps import MAPS, rearrange, recognise, translated
from intarsia.weights.maps.rules import KeyMap, KeyRule, rules

TABLE = KeyMap(
    "test",
    signature=("backbone.{i}.q.weight", "(head|classifier).weight"),
    rules=(
        *rules("backbone.{i}.", "backbone.{i+1}.", {("q.*", "k.*"): "qk.*", "norm.weight": "norm.weight"}),
        *rules("(old.)?", "", {"head.weight": ("decode_head.weight", torch.neg), "head.bias": "decode_head.bias"}),
        KeyRule(("head.bias",), "decode_head.copy"),
    ),
    unused=("{i}.counter",),
)


def test_names_are_filled_in_and_parts_stacked() -> None:
    state = {
        "backbone.0.k.weight": torch.tensor([2.0]),
        "backbone.0.q.weight": torch.tensor([1.0]),
        "backbone.12.norm.weight": torch.tensor([5.0]),
        "old.head.weight": torch.tensor([3.0]),
        "head.bias": torch.tensor([4.0]),
        "7.counter": torch.tensor([0.0]),
    }
    converted, unknown = TABLE.convert(state)
    assert {name: value.tolist() for name, value in converted.items()} == {
        "backbone.1.qk.weight": [1.0, 2.0],
        "backbone.13.norm.weight": [5.0],
        "decode_head.weight": [-3.0],
        "decode_head.bias": [4.0],
        "decode_head.copy": [4.0],
    }
    assert unknown == ()


def test_what_no_rule_knows_and_what_lacks_a_part_is_named() -> None:
    state = {
        "backbone.0.q.weight": torch.zeros(1),
        "backbone.x.norm.weight": torch.zeros(1),
        "backbone.0.norm.weightless": torch.zeros(1),
    }
    assert TABLE.convert(state) == ({}, ("backbone.x.norm.weight", "backbone.0.norm.weightless", "backbone.0.q.weight"))


def test_all_of_a_signature_must_be_there() -> None:
    assert TABLE.fits(["backbone.3.q.weight", "classifier.weight", "more"])
    assert not TABLE.fits(["backbone.3.q.weight"])
    assert not TABLE.fits(["backbone.3.q.weight", "xclassifier.weight"])


def test_a_name_that_a_map_does_not_know_stays_for_loading_to_list() -> None:
    state = {f"segformer.encoder.layer_norm.{i}.weight": torch.full((2,), float(i)) for i in range(4)}
    state["segformer.surprise"] = torch.zeros(1)
    found = translated(state)
    assert sorted(found) == [*(f"backbone.layers.{i}.2.weight" for i in range(4)), "segformer.surprise"]
    assert found["backbone.layers.3.2.weight"].tolist() == [3.0, 3.0]
    ours = {"backbone.conv.weight": torch.zeros(1)}
    assert translated(ours) == ours


def test_no_published_model_of_openmmlab_is_taken_for_anothers(shared: Path) -> None:
    """Neither whole nor as a backbone alone, as their files for pretraining are."""
    for path in sorted((shared / "golden" / "models").glob("*.json")):
        names = list(json.loads(path.read_text())["state"])
        assert recognise(names) is None, path.name
        parts = [name.removeprefix("backbone.") for name in names if name.startswith("backbone.")]
        found = recognise(parts)
        assert found is None or found.name == "ResNet of torchvision", path.name  # whose names are the same


def test_every_map_has_a_name_of_its_own() -> None:
    assert len({found.name for found in MAPS}) == len(MAPS)


# --- Rearranging --------------------------------------------------------------------------------------------------


@given(channels=st.integers(1, 4), groups=st.integers(1, 5))
def test_groups_of_a_fusing_convolution(channels: int, groups: int) -> None:
    """The convolution of maps side by side is the same when maps and weights change places together."""
    weight = torch.randn(channels, groups * channels, 1, 1, dtype=torch.float64)
    maps = list(torch.randn(groups, 1, channels, 2, 2, dtype=torch.float64))
    expected = torch.conv2d(torch.cat(maps, 1), weight)
    found = torch.conv2d(torch.cat(maps[::-1], 1), rearrange.reversed_groups(weight))
    assert torch.allclose(found, expected)
    found = torch.conv2d(torch.cat([maps[-1], *maps[:-1]], 1), rearrange.last_group_first(weight))
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_patch_merging_in_the_original_order(channels: int) -> None:
    ours = PatchMerging(channels, norm=Norm("LN")).double()
    weight = torch.randn(2 * channels, 4 * channels, dtype=torch.float64)
    scale, shift = torch.randn(2, 4 * channels, dtype=torch.float64)
    ours.reduction.weight.data = rearrange.merged_channel_by_channel(weight)
    ours.norm.weight.data = rearrange.merged_channel_by_channel(scale)
    ours.norm.bias.data = rearrange.merged_channel_by_channel(shift)
    x = torch.randn(1, 4, 6, channels, dtype=torch.float64)
    neighbours = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
    expected = torch.nn.functional.layer_norm(neighbours, (4 * channels,), scale, shift) @ weight.T
    assert torch.allclose(ours(x), expected)


@pytest.mark.parametrize("side", [1, 3, 7])
def test_relative_positions_are_those_of_our_backbone(side: int) -> None:
    ours = SwinTransformer(embed_dims=4, depths=(1,), num_heads=(2,), strides=(4,), out_indices=(0,), window_size=side)
    state = ours.state_dict()
    table = state["stages.0.blocks.0.attn.w_msa.relative_position_bias_table"]
    expected = state["stages.0.blocks.0.attn.w_msa.relative_position_index"]
    assert torch.equal(rearrange.relative_positions(table), expected)
