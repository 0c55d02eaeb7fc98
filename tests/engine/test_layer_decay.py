"""Layer-wise decay of the learning rate: blocks counted in trunks of every kind, and rates as others have them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from intarsia.backbones.convnext import ConvNeXt
from intarsia.backbones.mit import MixVisionTransformer
from intarsia.backbones.resnet import ResNet
from intarsia.backbones.swin import SwinTransformer
from intarsia.backbones.vit import VisionTransformer
from intarsia.engine.optim.layer_decay import by_any_depth, layers_behind
from intarsia.engine.optim.param_groups import Parameter, by_depth, trained_parameters
from intarsia.methods.linear_head import LinearHead
from intarsia.models.encoder_decoder import EncoderDecoder


def described(trunk: Any) -> list[Parameter]:
    head = LinearHead(in_channels=trunk.features[-1].channels, num_classes=3)
    return [parameter for parameter, _ in trained_parameters(EncoderDecoder(backbone=trunk, decode_head=head))]


def timm(name: str) -> Any:
    pytest.importorskip("timm", reason="timm is not installed")
    from intarsia.backbones.timm import TIMM

    with torch.device("meta"):
        return TIMM(name)


def dinov2() -> Any:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from intarsia.backbones.hf import HFBackbone

    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "patch_size": 8, "image_size": 32}
    return HFBackbone({"model_type": "dinov2", **sizes})


def plain() -> VisionTransformer:
    return VisionTransformer(
        img_size=(16, 16), patch_size=4, embed_dims=16, num_layers=4, num_heads=2, out_indices=(1, 3), final_norm=True
    )


TRUNKS: dict[str, tuple[Any, int, dict[str, int]]] = {
    "timm ViT": (lambda: timm("test_vit"), 6, {"cls_token": 7, "patch_embed.proj.bias": 7, "blocks.0.norm1.weight": 6,
                                               "blocks.5.mlp.fc2.bias": 1}),
    "timm ConvNeXt": (lambda: timm("convnext_tiny"), 18, {"stem.0.weight": 19, "stages.0.blocks.0.gamma": 18,
                                                          "stages.1.downsample.1.weight": 16}),
    "timm ResNet": (lambda: timm("resnet50"), 16, {"conv1.weight": 17, "layer1.0.conv1.weight": 16,
                                                   "layer4.2.bn3.bias": 1}),
    "timm Swin": (lambda: timm("swin_tiny_patch4_window7_224"), 12, {"patch_embed.proj.bias": 13,
                                                                     "layers.3.blocks.1.mlp.fc1.bias": 1}),
    "transformers": (dinov2, 4, {"embeddings.cls_token": 5, "encoder.layer.0.norm1.bias": 4, "layernorm.weight": 0}),
    "ViT": (plain, 4, {"pos_embed": 5, "layers.0.ln1.weight": 4, "layers.3.ffn.layers.0.0.bias": 1, "ln1.weight": 0}),
    "Swin": (lambda: SwinTransformer(embed_dims=8, depths=(2, 1, 1, 1), num_heads=(1, 2, 2, 4), window_size=2), 5,
             {"stages.0.blocks.1.norm1.weight": 4, "stages.0.downsample.norm.weight": 4, "norm0.weight": 0}),
    "MiT": (lambda: MixVisionTransformer(embed_dims=8, num_layers=(2, 1, 1, 1), num_heads=(1, 1, 1, 1)), 5,
            {"layers.0.0.projection.weight": 6, "layers.0.1.1.norm1.weight": 4, "layers.1.0.projection.weight": 4}),
    "ResNet": (lambda: ResNet(depth=18), 8, {"conv1.weight": 9, "layer1.0.conv1.weight": 8, "layer4.1.bn2.bias": 1}),
    "ConvNeXt": (lambda: ConvNeXt(arch={"depths": [1, 1, 3, 1], "channels": [8, 8, 8, 8]}), 6,
                 {"downsample_layers.0.0.weight": 7, "stages.2.1.gamma": 3}),
}  # fmt: skip
"""Trunk -> its blocks, and how many layers lie between some of its parameters and the heads."""


@pytest.mark.parametrize("name", TRUNKS)
def test_blocks_are_counted(name: str) -> None:
    make, blocks, some = TRUNKS[name]
    parameters = described(make())
    behind = dict(zip([p.name for p in parameters], layers_behind([p.name for p in parameters]), strict=True))
    for part, expected in some.items():
        assert behind[f"backbone.{part}"] == expected, part
    trunk = [layers for known, layers in behind.items() if known.startswith("backbone.")]
    assert max(trunk) == blocks + 1
    assert {layers for known, layers in behind.items() if not known.startswith("backbone.")} == {0}


@pytest.mark.parametrize("make", [plain, lambda: timm("test_vit")])
def test_the_rates_of_plain_transformers_are_those_of_the_original_constructor(make: Any) -> None:
    parameters = described(make())
    layers = max(layers_behind([parameter.name for parameter in parameters])) - 1
    rules = {"decay_rate": 0.7, "flat_decay_mult": 0.0}
    found = by_any_depth(parameters, rules, 1e-3, 0.05)
    original = by_depth(parameters, {**rules, "num_layers": layers}, 1e-3, 0.05)
    for parameter, mine, theirs in zip(parameters, found, original, strict=True):
        assert mine == pytest.approx(theirs), parameter.name


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 'decay_rate'"):
        by_any_depth([], {}, 1.0, None)
    with pytest.raises(ValueError, match="did you mean 'decay_rate'"):
        by_any_depth([], {"decay_rat": 0.5}, 1.0, None)
    with pytest.raises(ValueError, match=r"begin with backbone\.conv\.weight\. Write custom_keys"):
        by_any_depth([Parameter("backbone.conv.weight", (4, 4))], {"decay_rate": 0.5}, 1.0, None)
