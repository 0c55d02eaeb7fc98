from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from intarsia.engine.optim.param_groups import (
    MULTIPLES,
    Parameter,
    by_depth,
    by_forced_rules,
    by_rules,
    convnext_layer,
    trained_parameters,
    transformer_layer,
)


class DeformConv2d(nn.Module):
    """As such layers look: a convolution inside says where the samples are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4, 3, 3))
        self.bias = nn.Parameter(torch.ones(4))
        self.conv_offset = nn.Conv2d(4, 18, 3)


class Parts(nn.Module):
    """One layer for every rule."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4))
        self.layer_norm = nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.ones(4))
        self.deformable = DeformConv2d()
        self.head = nn.Linear(4, 2)


NORM_WEIGHTS = ("backbone.2.weight", "layer_norm.weight")
NORM_BIASES = ("backbone.2.bias", "layer_norm.bias")
BIASES = ("backbone.0.bias", "backbone.1.bias", "deformable.bias", "head.bias")
OFFSETS = ("deformable.conv_offset.weight", "deformable.conv_offset.bias")


def settings(
    rules: dict[str, Any], module: nn.Module | None = None, constructor: Any = by_rules
) -> dict[str, tuple[float, float]]:
    described = [parameter for parameter, _ in trained_parameters(module or Parts())]
    found = constructor(described, rules, 1.0, 0.1)
    return {p.name: (s["lr"], s["weight_decay"]) for p, s in zip(described, found, strict=True)}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, {}),
        ({"norm_decay_mult": 0.0}, dict.fromkeys((*NORM_WEIGHTS, *NORM_BIASES), (1, 0))),
        # The biases of norms have the learning rate of norms, but take part in the decay of biases.
        (
            {"bias_lr_mult": 2.0, "bias_decay_mult": 0.0},
            {**dict.fromkeys(BIASES, (2, 0)), **dict.fromkeys(NORM_BIASES, (1, 0))},
        ),
        (
            {"bias_decay_mult": 0.0, "norm_decay_mult": 0.5},
            {**dict.fromkeys(BIASES, (1, 0)), **dict.fromkeys((*NORM_WEIGHTS, *NORM_BIASES), (1, 0.05))},
        ),
        ({"dwconv_decay_mult": 0.0}, dict.fromkeys(("backbone.1.weight", "backbone.1.bias"), (1, 0))),
        (
            {"dwconv_decay_mult": 0.0, "bias_decay_mult": 0.5},
            {**dict.fromkeys((*BIASES, *NORM_BIASES), (1, 0.05)), "backbone.1.weight": (1, 0)},
        ),
        (
            {"flat_decay_mult": 0.0},
            dict.fromkeys((*BIASES, *NORM_WEIGHTS, *NORM_BIASES, "scale"), (1, 0)),
        ),
        (
            {"dcn_offset_lr_mult": 0.1, "bias_lr_mult": 2.0},
            {**dict.fromkeys(OFFSETS, (0.1, 0.1)), **dict.fromkeys(BIASES, (2, 0.1))},
        ),
        ({"norm_decay_mult": None, "bypass_duplicate": True}, {}),
        ({"custom_keys": {"head": {"lr_mult": 10.0}}}, {"head.weight": (10, 0.1), "head.bias": (10, 0.1)}),
        # An absolute value comes after the multiples.
        ({"custom_keys": {"head.bias": {"lr": 0.7, "lr_mult": 10.0, "weight_decay": 3}}}, {"head.bias": (0.7, 3)}),
        # A custom key shuts out the other rules; the longest one wins, whatever the order in the file.
        (
            {
                "custom_keys": {"backbone": {"lr_mult": 0.5}, "backbone.2": {"decay_mult": 0.5}, "d.b": {"lr_mult": 9}},
                "norm_decay_mult": 0.0,
            },
            {
                **{f"backbone.{i}.{p}": (0.5, 0.1) for i in (0, 1) for p in ("weight", "bias")},
                **{f"backbone.2.{p}": (1, 0.05) for p in ("weight", "bias")},
                "layer_norm.weight": (1, 0),
                "layer_norm.bias": (1, 0),
                "head.bias": (9, 0.1),
            },
        ),
        # Of equally long keys the first in the alphabet.
        (
            {"custom_keys": {"eight": {"lr_mult": 3}, "ad.we": {"lr_mult": 7}}},
            {
                **dict.fromkeys(("backbone.0.weight", "backbone.1.weight", *NORM_WEIGHTS, OFFSETS[0]), (3, 0.1)),
                "deformable.weight": (3, 0.1),
                "head.weight": (7, 0.1),
            },
        ),
    ],
)
def test_rules(rules: dict[str, Any], expected: dict[str, tuple[float, float]]) -> None:
    found = settings(rules)
    assert set(found) == {name for name, _ in Parts().named_parameters()}
    for name, pair in found.items():
        assert pair == pytest.approx(expected.get(name, (1.0, 0.1))), name


def test_forced_multiples_overrule_custom_keys_where_they_apply() -> None:
    rules = {"custom_keys": {"head": {"lr_mult": 0.01, "decay_mult": 2.0}}, "bias_decay_mult": 0, "bias_lr_mult": 3}
    gentle = settings(rules, constructor=by_forced_rules)
    assert gentle == settings(rules)
    forced = settings({**rules, "force_default_settings": True}, constructor=by_forced_rules)
    assert forced["head.weight"] == gentle["head.weight"] == pytest.approx((0.01, 0.2))
    assert (gentle["head.bias"], forced["head.bias"]) == (pytest.approx((0.01, 0.2)), (3, 0))
    assert {name for name in forced if forced[name] != gentle[name]} == {"head.bias"}


@given(
    multiples=st.dictionaries(st.sampled_from(MULTIPLES), st.sampled_from([0.0, 0.5, 2.0])),
    custom=st.dictionaries(st.sampled_from(["norm", "bias", "head", "a.b", "backbone"]), st.just({"lr_mult": 4.0})),
)
def test_settings_depend_on_nothing_but_the_parameter(multiples: dict[str, Any], custom: dict[str, Any]) -> None:
    """Neither the other parameters nor the order of the rules change anything."""
    described = [parameter for parameter, _ in trained_parameters(Parts())]
    rules = {**multiples, "custom_keys": custom}
    turned = {"custom_keys": dict(reversed(custom.items())), **dict(reversed(multiples.items()))}
    together = by_rules(described, rules, 0.1, 0.01)
    assert together == [by_rules([parameter], turned, 0.1, 0.01)[0] for parameter in described]


def test_without_weight_decay_there_is_none_to_set() -> None:
    assert by_rules([Parameter("a.bias", (3,))], {"bias_decay_mult": 0.0}, 0.1, None) == [{"lr": 0.1}]


def test_frozen_and_shared_parameters() -> None:
    module = Parts()
    module.backbone.requires_grad_(False)
    module.deformable.requires_grad_(False)
    module.again = module.head
    module.twin = nn.Linear(4, 2)
    module.twin.weight = module.head.weight
    names = [parameter.name for parameter, _ in trained_parameters(module)]
    assert sorted(names) == [
        "head.bias", "head.weight", "layer_norm.bias", "layer_norm.weight", "scale", "twin.bias",
    ]  # fmt: skip


def test_wrong_rules_are_named() -> None:
    for rules, said in (
        ({"norm_decay_mul": 0.0}, r"unknown rule 'norm_decay_mul' in paramwise_cfg; did you mean 'norm_decay_mult'"),
        ({"force_default_settings": True}, "unknown rule 'force_default_settings'"),
        ({"custom_keys": {"head": {"wd_mult": 0.0}}}, "unknown rule 'wd_mult' in the custom key 'head'"),
        ({"custom_keys": {"head": {"decay_mul": 0.0}}}, "did you mean 'decay_mult'"),
    ):
        with pytest.raises(ValueError, match=said):
            settings(rules)


# --- By depth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("backbone.cls_token", 0),
        ("backbone.pos_embed", 0),
        ("backbone.patch_embed.projection.weight", 0),
        ("backbone.layers.0.ln1.weight", 1),
        ("backbone.layers.11.attn.qkv.weight", 12),
        ("backbone.norm.weight", 13),
        ("neck.upsample_4x.0.weight", 13),
        ("decode_head.conv_seg.bias", 13),
    ],
)
def test_layers_of_a_transformer(name: str, layer: int) -> None:
    assert transformer_layer(name, 12) == layer


@pytest.mark.parametrize(
    ("name", "layerwise", "stagewise"),
    [
        ("backbone.downsample_layers.0.0.weight", 0, 0),
        ("backbone.stages.0.2.depthwise_conv.weight", 1, 1),
        ("backbone.downsample_layers.1.1.weight", 2, 0),
        ("backbone.stages.1.0.gamma", 2, 2),
        ("backbone.downsample_layers.2.0.weight", 3, 0),
        ("backbone.stages.2.0.gamma", 3, 3),
        ("backbone.stages.2.2.gamma", 3, 3),
        ("backbone.stages.2.3.gamma", 4, 3),
        ("backbone.stages.2.26.gamma", 11, 3),
        ("backbone.downsample_layers.3.0.weight", 12, 0),
        ("backbone.stages.3.1.gamma", 12, 4),
        ("backbone.norm0.weight", 13, 13),
        ("auxiliary_head.conv_seg.weight", 13, 13),
    ],
)
def test_layers_and_stages_of_convnext(name: str, layerwise: int, stagewise: int) -> None:
    assert convnext_layer(name, 12) == layerwise
    described = [Parameter("backbone.downsample_layers.0.0.weight", (4, 3, 4, 4)), Parameter(name, (4, 4))]
    for decay_type, layer in (("layer_wise", layerwise), ("stage_wise", stagewise)):
        rules = {"num_layers": 12, "decay_rate": 0.5, "decay_type": decay_type}
        assert by_depth(described, rules, 1.0, None)[1]["lr"] == 0.5 ** (13 - layer)


def test_flat_parameters_are_not_decayed() -> None:
    described = [
        Parameter("backbone.layers.0.ffn.weight", (4, 4)),
        Parameter("backbone.layers.0.ffn.bias", (4,)),
        Parameter("backbone.layers.0.gamma", (4,)),
        Parameter("backbone.cls_token", (1, 1, 4)),
    ]
    found = by_depth(described, {"num_layers": 1, "layer_decay_rate": 0.5}, 1.0, 0.3)
    assert [s["weight_decay"] for s in found] == [0.3, 0, 0, 0.3]
    assert [s["lr"] for s in found] == [0.5, 0.5, 0.5, 0.25]


def test_blocks_of_a_plain_transformer_of_timm() -> None:
    """EoMT's rates: 0.8 for each block before the last, and everything is decayed."""
    names = {
        "backbone.cls_token": 11, "backbone.reg_token": 11, "backbone.pos_embed": 11,
        "backbone.patch_embed.proj.weight": 11, "backbone.blocks.0.attn.qkv.weight": 11,
        "backbone.blocks.5.ls1.gamma": 6, "backbone.blocks.10.norm1.bias": 1, "backbone.blocks.11.mlp.fc1.weight": 0,
        "backbone.norm.weight": 0, "decode_head.q.weight": 0,
    }  # fmt: skip
    described = [Parameter(name, (4,) if "norm" in name else (4, 4)) for name in names]
    rules = {"num_layers": 12, "decay_rate": 0.8, "decay_type": "block_wise", "flat_decay_mult": 1.0}
    found = by_depth(described, rules, 1e-4, 0.05)
    assert [s["lr"] for s in found] == [pytest.approx(1e-4 * 0.8**power) for power in names.values()]
    assert {s["weight_decay"] for s in found} == {0.05}
    layer_wise = by_depth(described, {**rules, "decay_type": "layer_wise"}, 1.0, 0.05)
    assert layer_wise[4]["lr"] == pytest.approx(0.8**12)
    assert layer_wise[0]["lr"] == pytest.approx(0.8**13)


@pytest.mark.parametrize(
    ("names", "rules", "said"),
    [
        (["backbone.layers.0.w"], {"num_layers": 12}, "needs 'decay_rate'"),
        (["backbone.layers.0.w"], {"decay_rate": 0.9}, "needs 'num_layers'"),
        (["backbone.layers.0.w"], {"decay_rate": 0.9, "num_layer": 12}, "did you mean 'num_layers'"),
        (
            ["backbone.layers.0.w"],
            {"decay_rate": 0.9, "num_layers": 12, "decay_type": "stage_wise"},
            "does not suit this backbone; possible: layer_wise",
        ),
        (["backbone.layer1.0.conv1.weight"], {"decay_rate": 0.9, "num_layers": 12}, "begins with backbone.layer1.0"),
    ],
)
def test_depth_that_is_not_known(names: list[str], rules: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        by_depth([Parameter(name, (4, 4)) for name in names], rules, 1.0, None)
