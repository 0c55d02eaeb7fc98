from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from intarsia.engine.optim import build_groups, optimizer_for, parameter_settings
from intarsia.spec import Component, OptimSpec


class Parts(nn.Module):
    """One layer for every rule."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4))
        self.layer_norm = nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 2)


def settings(rules: dict[str, object], module: nn.Module | None = None) -> dict[str, tuple[float, float]]:
    found = parameter_settings(module or Parts(), rules, 1.0, 0.1)
    return {name: (s["lr"], s["weight_decay"]) for name, _, s in found}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, {}),
        (
            {"norm_decay_mult": 0.0},
            dict.fromkeys(("backbone.2.weight", "backbone.2.bias", "layer_norm.weight", "layer_norm.bias"), (1, 0)),
        ),
        (
            {"bias_lr_mult": 2.0, "bias_decay_mult": 0.0},
            dict.fromkeys(("backbone.0.bias", "backbone.1.bias", "head.bias"), (2, 0)),
        ),
        ({"dwconv_decay_mult": 0.0}, dict.fromkeys(("backbone.1.weight", "backbone.1.bias"), (1, 0))),
        (
            {"flat_decay_mult": 0.0},
            dict.fromkeys(
                (
                    "scale",
                    "backbone.0.bias",
                    "backbone.1.bias",
                    "backbone.2.weight",
                    "backbone.2.bias",
                    "layer_norm.weight",
                    "layer_norm.bias",
                    "head.bias",
                ),
                (1, 0),
            ),
        ),
        ({"custom_keys": {"head": {"lr_mult": 10.0}}}, {"head.weight": (10, 0.1), "head.bias": (10, 0.1)}),
        # A custom key shuts out the other rules; the longest one wins, whatever the order in the file.
        (
            {
                "custom_keys": {"backbone": {"lr_mult": 0.5}, "backbone.2": {"decay_mult": 0.5}, "b": {"lr_mult": 9}},
                "norm_decay_mult": 0.0,
            },
            {
                **{f"backbone.{i}.{p}": (0.5, 0.1) for i in (0, 1) for p in ("weight", "bias")},
                **{f"backbone.2.{p}": (1, 0.05) for p in ("weight", "bias")},
                "layer_norm.weight": (1, 0),
                "layer_norm.bias": (9, 0.1),
                "head.bias": (9, 0.1),
            },
        ),
        # Of equally long keys the first in the alphabet.
        (
            {"custom_keys": {"eight": {"lr_mult": 3}, "ad.we": {"lr_mult": 7}}},
            {
                "backbone.0.weight": (3, 0.1),
                "backbone.1.weight": (3, 0.1),
                "backbone.2.weight": (3, 0.1),
                "layer_norm.weight": (3, 0.1),
                "head.weight": (7, 0.1),
            },
        ),
    ],
)
def test_rules(rules: dict[str, object], expected: dict[str, tuple[float, float]]) -> None:
    found = settings(rules)
    assert set(found) == {name for name, _ in Parts().named_parameters()}
    for name, pair in found.items():
        assert pair == pytest.approx(expected.get(name, (1.0, 0.1))), name


def test_frozen_and_shared_parameters() -> None:
    module = Parts()
    module.backbone.requires_grad_(False)
    module.again = module.head
    assert set(settings({}, module)) == {"layer_norm.weight", "layer_norm.bias", "scale", "head.weight", "head.bias"}
    module.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter to train"):
        build_groups(module, {}, 1.0, None)


def test_equal_settings_share_a_group() -> None:
    groups = build_groups(Parts(), {"custom_keys": {"head": {"lr_mult": 10.0}}, "norm_decay_mult": 0.0}, 0.1, 0.01)
    assert [(len(g["params"]), g["lr"], g["initial_lr"], g["weight_decay"]) for g in groups] == [
        (1 + 4, 0.1, 0.1, 0.01),
        (4, 0.1, 0.1, 0.0),
        (2, 1.0, 1.0, 0.01),
    ]


def test_wrong_rules_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown rule 'norm_decay_mul'.*did you mean 'norm_decay_mult'"):
        settings({"norm_decay_mul": 0.0})
    with pytest.warns(UserWarning, match="'wd_mult' of the custom key 'head' has no effect"):
        found = settings({"custom_keys": {"head": {"wd_mult": 0.0}}})
    assert found["head.weight"] == (1.0, 0.1)


def spec(name: str, **args: object) -> OptimSpec:
    return OptimSpec(Component("optimizer", name, args))


def test_optimizers_by_name() -> None:
    optimizer = optimizer_for(Parts(), spec("AdamW", lr=0.1, weight_decay=0.01, betas=(0.9, 0.99)))
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    assert type(optimizer_for(Parts(), spec("RAdam", lr=0.1))) is torch.optim.RAdam
    for wrong, said in (
        (spec("AdamWW", lr=0.1), "no optimizer 'AdamWW'; did you mean 'AdamW'"),
        (spec("SGD"), "needs a learning rate"),
        (spec("SGD", lr=0.1, beta=1), "SGD takes no beta; it takes: params, lr, momentum"),
        (OptimSpec(Component("optimizer", "SGD", {"lr": 0.1}), constructor="MyConstructor"), "'MyConstructor' is not"),
    ):
        with pytest.raises(ValueError, match=said):
            optimizer_for(Parts(), wrong)


def test_own_optimizer_class() -> None:
    class Own(torch.optim.SGD): ...

    assert type(optimizer_for(Parts(), spec("Own", lr=0.1), optimizer_class=Own)) is Own


@pytest.mark.parametrize("name", ["segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"])
def test_groups_of_the_original(shared: Path, name: str) -> None:
    """Parameter for parameter, for the models that exist."""
    facts = json.loads(gzip.decompress((shared / "facts/param_groups.json.gz").read_bytes()))[name]
    config = json.loads(gzip.decompress((shared / "facts/mmseg_configs.json.gz").read_bytes()))[name]["optim_wrapper"]
    model = segformer_b0()
    optimizer = config["optimizer"]
    found = {
        n: [s["lr"], s["weight_decay"]]
        for n, _, s in parameter_settings(model, config["paramwise_cfg"], optimizer["lr"], optimizer["weight_decay"])
    }
    assert found == facts


def segformer_b0() -> nn.Module:
    from intarsia.backbones.mit import MixVisionTransformer
    from intarsia.layers.norm import Norm
    from intarsia.methods.segformer import SegformerHead
    from intarsia.models.encoder_decoder import EncoderDecoder

    backbone = MixVisionTransformer(
        embed_dims=32,
        num_stages=4,
        num_layers=(2, 2, 2, 2),
        num_heads=(1, 2, 5, 8),
        patch_sizes=(7, 3, 3, 3),
        sr_ratios=(8, 4, 2, 1),
        out_indices=(0, 1, 2, 3),
        mlp_ratio=4,
        qkv_bias=True,
    )
    head = SegformerHead(
        in_channels=(32, 64, 160, 256), in_index=(0, 1, 2, 3), channels=256, num_classes=19, norm=Norm("BN")
    )
    return EncoderDecoder(backbone=backbone, decode_head=head)
