"""SCTNet: its attention, what it counts, and the names of published files."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.norm import BN
from intarsia.methods.sctnet import KERNELS, ConvolutionalAttention, SCTNet
from intarsia.weights.legacy_names import with_present_names
from tests.recipes.test_recipes import own


def test_attention_compares_pixels_and_then_shares_them_out_within_groups() -> None:
    """Written out for one kernel and one pixel at a time."""
    attention = ConvolutionalAttention(3, num_heads=16, norm=BN).eval().double()
    with torch.no_grad():
        attention.kv.normal_()
        attention.kv3.normal_()
        x = torch.randn(1, 3, 4, 5, dtype=torch.float64)
        normed, expected = attention.norm(x), torch.zeros_like(x)
        for kernels, padding in ((attention.kv, (3, 0)), (attention.kv3, (0, 3))):
            scores = F.conv2d(normed, kernels, padding=padding).exp()  # (1, 64, 4, 5)
            over_pixels = scores / scores.sum(dim=(2, 3), keepdim=True)
            shares = torch.stack([
                over_pixels[0, k] / (over_pixels[0, k // 4 * 4 : k // 4 * 4 + 4].sum(dim=0) + 1e-6)
                for k in range(KERNELS)
            ])  # fmt: skip
            expected += F.conv2d(shares[None], kernels.permute(1, 0, 2, 3), padding=padding)
        torch.testing.assert_close(attention(x), expected, rtol=1e-9, atol=1e-9)


def network(size: str) -> Any:
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values(own(f"sctnet-{size}", num_classes=19), file=size)))
    return task.model.eval()


@pytest.mark.parametrize(
    ("size", "millions", "image", "giga"), [("s", 4.65, (512, 1024), 7.1), ("b", 17.44, (1024, 2048), 112.3)]
)
def test_parameters_and_multiply_adds_are_the_published_ones(
    size: str, millions: float, image: tuple[int, int], giga: float
) -> None:
    """4.6 and 17.4 million, without the auxiliary head. The table of the Golden Cudgel Network counts modules: not the
    attention's convolutions, which are functions.
    """
    from torch.utils.flop_counter import FlopCounterMode

    model = network(size)
    used = [part for name, part in model.named_children() if name != "auxiliary_head"]
    assert round(sum(p.numel() for part in used for p in part.parameters()) / 1e6, 2) == millions
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, *image, device="meta"))
    pixels = image[0] * image[1]
    width = model.backbone.conv1[0].out_channels
    blocks = ((4 * width, 16), (8 * width, 32), (8 * width, 32))
    attention = sum(4 * KERNELS * 7 * channels * pixels / stride**2 for channels, stride in blocks)
    assert (counter.get_total_flops() / 2 - attention) / 1e9 == pytest.approx(giga, rel=0.005)


def test_published_names_are_read() -> None:
    """Of the authors' modules; their files are on Google Drive and were not read."""
    ours = network("s").state_dict()
    assert {"backbone.conv1.3.bias", "backbone.layer2.0.downsample.1.weight", "backbone.layer3_2.attn_l.kv3",
            "backbone.layer5.mlp_l.conv2.bias", "backbone.convdown4.1.weight", "decode_head.bn2.weight",
            "decode_head.conv_seg.weight", "auxiliary_head.0.conv1.bias"} <= set(ours)  # fmt: skip
    there = {name: value for name, value in ours.items() if not name.startswith("backbone.spp.")}
    layers = {"scale0": (0, "scales.0"), "compression": (0, "compression"), "shortcut": (0, "shortcut"),
              **{f"scale{i}": (1, f"scales.{i}.1") for i in (1, 2, 3, 4)},
              **{f"process{i}": (0, f"processes.{i - 1}") for i in (1, 2, 3, 4)}}  # fmt: skip
    for theirs, (first, own_name) in layers.items():
        for position, layer in ((first, "bn"), (first + 2, "conv")):
            for name, value in ours.items():
                if name.startswith(f"backbone.spp.{own_name}.{layer}."):
                    there[f"backbone.spp.{theirs}.{position}.{name.rpartition('.')[2]}"] = value
    assert len(there) == len(ours)
    found, _ = with_present_names({**there, "auxiliary_head.1.teacher_backbone.norm1.weight": torch.ones(1)})
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in ours.items()}


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"its three stages; got \(2, 2\)"):
        SCTNet(layer_nums=(2, 2))
    with pytest.raises(ValueError, match="must divide the 64 kernels of its attention; got 7"):
        SCTNet(num_heads=7)
    deep = SCTNet(base_channels=4, spp_channels=4, layer_nums=(1, 3, 2, 2))
    assert [len(list(stage.children())) for stage in (deep.layer1, deep.layer2, deep.layer3)] == [1, 3, 2]


def test_published_recipes_have_the_settings_of_the_authors_without_the_teacher() -> None:
    streets = recipes.get("sctnet-s_2xb8-seg75-160k_cityscapes-512x1024")
    rooms = recipes.get("sctnet-b_4xb8-160k_ade20k-512x512")
    for name, config in (("streets", streets), ("rooms", rooms)):
        assert check(Config.from_values(config, file=name)) == []
        assert config["train_dataloader"]["batch_size"] == 8
        assert [head["loss_decode"]["loss_weight"] for head in config["model"]["auxiliary_head"]] == [0.4]
        assert config["optim_wrapper"]["paramwise_cfg"]["custom_keys"]["head"] == {"lr_mult": 10.0}
        assert config["param_scheduler"][0]["end"] == 1500
    assert streets["optim_wrapper"]["optimizer"] | {"betas": None} == {
        "type": "AdamW", "lr": 4e-4, "betas": None, "weight_decay": 0.0125}  # fmt: skip
    assert (rooms["optim_wrapper"]["optimizer"]["lr"], rooms["param_scheduler"][1]["eta_min"]) == (5e-4, 0.0)
    assert streets["param_scheduler"][1]["eta_min"] == 1e-6
    resize = streets["train_dataloader"]["dataset"]["pipeline"][2]
    assert (resize["type"], resize["ratio_range"]) == ("RandomResize", (0.25, 1.5))
    assert streets["val_dataloader"]["dataset"]["pipeline"][1]["scale"] == (1536, 768)
