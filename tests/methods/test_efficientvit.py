"""EfficientViT's head and LR-ASPP on networks of timm: what they count, what they read, and the authors' names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.activation import Activation
from intarsia.methods.efficientvit import EfficientViTHead
from intarsia.weights.maps import recognise
from tests.recipes.test_recipes import own

PUBLISHED = {
    "b0": (0.7, 4.4),
    "b1": (4.8, 25),
    "b2": (15, 74),
    "b3": (40, 179),
    "l1": (40, 282),
    "l2": (53, 396),
}
"""Size -> millions of parameters and G multiply-adds on 1024 x 2048, with 19 classes."""


def network(name: str, **changes: Any) -> Any:
    pytest.importorskip("timm", reason="timm is not installed")
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values(own(name, num_classes=19, **changes), file=name)))
    return task.model.eval()


@pytest.mark.parametrize("size", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(size: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = network(f"efficientvit_timm:efficientvit_{size}")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 1024, 2048, device="meta"))
    found = sum(p.numel() for p in model.parameters()) / 1e6, counter.get_total_flops() / 2e9
    for value, published in zip(found, PUBLISHED[size], strict=True):
        digits = 1 if published < 10 else 0
        assert round(value, digits) == published


def test_levels_are_enlarged_smoothly_and_added() -> None:
    head = EfficientViTHead(in_channels=(4, 6), in_index=(1, 2), channels=5, num_classes=3, num_blocks=2).eval()
    levels = [torch.zeros(0), torch.randn(2, 4, 9, 12), torch.randn(2, 6, 5, 6)]
    with torch.no_grad():
        fine, coarse = head.inputs[0](levels[1]), head.inputs[1](levels[2])
        x = fine + F.interpolate(coarse, size=(9, 12), mode="bicubic")
        for block in head.middle:
            x = x + block.point_conv(block.depth_conv(block.inverted_conv(x)))
        torch.testing.assert_close(head(levels), head.conv_seg(head.final(x)))


def test_the_large_series_has_fused_blocks_and_its_own_gelu() -> None:
    model = network("efficientvit_timm:efficientvit_l1")
    block = model.decode_head.middle[0]
    assert [name for name, _ in block.named_children()] == ["spatial_conv", "point_conv"]
    assert block.spatial_conv.activate.approximate == "tanh"
    assert block.spatial_conv.bn.eps == 1e-7
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(Activation("GELUTanh")()(x), F.gelu(x, approximate="tanh"))


def theirs(name: str, *, large: bool) -> str:
    """A tensor's name in the authors' files, by their modules; the files are at Hugging Face and were not read."""
    stem = "backbone.stages.0" if large else "backbone.input_stem"
    name = name.replace("backbone.stem.in_conv.", f"{stem}.op_list.0.").replace(
        "backbone.stem.res0.", f"{stem}.op_list.1."
    )
    name = re.sub(
        r"backbone\.stages\.(\d)\.blocks\.(\d+)\.",
        lambda found: f"backbone.stages.{int(found[1]) + large}.op_list.{found[2]}.",
        name,
    )
    if not name.startswith("decode_head."):
        return name
    name = name.replace(".bn.", ".norm.")
    for ours, their in {
        "decode_head.inputs.2.": "head.input_ops.0.op_list.0.",
        "decode_head.inputs.1.": "head.input_ops.1.op_list.0.",
        "decode_head.inputs.0.": "head.input_ops.2.",
        "decode_head.final.": "head.output_ops.0.op_list.0.",
        "decode_head.conv_seg.": f"head.output_ops.0.op_list.{0 if large else 1}.conv.",
    }.items():
        name = name.replace(ours, their)
    return re.sub(r"decode_head\.middle\.(\d+)\.", r"head.middle.op_list.\1.main.", name)


@pytest.mark.parametrize("size", ["b0", "b1", "l1"])
def test_the_authors_names_are_read(size: str) -> None:
    ours = network(f"efficientvit_timm:efficientvit_{size}").state_dict()
    there = {theirs(name, large=size == "l1"): value for name, value in ours.items()}
    assert len(there) == len(ours)
    found = recognise(there)
    assert found is not None
    converted, unknown = found.convert(there)
    assert not unknown
    assert {name: value.shape for name, value in converted.items()} == {name: v.shape for name, v in ours.items()}


def test_other_networks_take_either_head() -> None:
    model = network("efficientvit_timm:test_convnext")
    assert model.decode_head.in_channels == (32, 48, 64)
    assert model.decode_head.inputs[0].conv.out_channels == 32
    lraspp = network("lraspp_timm:test_resnet")
    assert [level.stride for level in lraspp.backbone.features] == [4, 8, 16], "dilated"
    assert [level.stride for level in network("lraspp_timm:test_convnext").backbone.features] == [4, 8, 16]
    undilated = network("lraspp_timm:efficientvit_b0")
    assert [level.stride for level in undilated.backbone.features] == [4, 8, 32]
    for name in ("lraspp_timm:test_vit", "efficientvit_timm:test_vit"):
        with pytest.raises(ValueError, match=r"test_vit has levels of strides \[16, .*: take upernet or segformer"):
            network(name)
    assert recipes.method("efficientvit_timm:efficientvit_b0").name == "EfficientViT"  # type: ignore[union-attr]
