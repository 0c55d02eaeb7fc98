"""VWFormer: which pixels a window sees, and the attention of both heads, written out."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.engine.optim.param_groups import by_depth, trained_parameters
from intarsia.layers.attention import MultiheadAttention
from intarsia.layers.norm import BN
from intarsia.methods.vwformer import (
    VWA,
    VWCityHead,
    VWHead,
    attended,
    contexts,
    joined,
    over_maps,
    shifted_borders,
    windows_of,
)

LEVELS = (8, 16, 24, 32)


def seen(length: int, ratio: int, window: int) -> list[int]:
    """The rows that the context of a window consists of, each by its place in the map.

    A context lies around its window, R windows long. Before the first row come those from the middle of the first
    context on, (R + 1) / 2 windows to R, and behind the last those that lie as far from the end (section 3.4).
    """
    size = length // 8
    start, end = (ratio + 1) * size // 2, ratio * size
    before, behind = list(range(start, end)), list(range(length - end, length - start))
    rows = [*before, *range(length), *behind]
    return rows[window * size : window * size + ratio * size]


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("size", [(16, 24), (24, 40), (64, 16)])
def test_contexts(ratio: int, size: tuple[int, int]) -> None:
    """Each window sees R a x R b pixels, R x R of which are the channels of one."""
    height, width = size
    a, b = height // 8, width // 8
    x = torch.randn(2, 3, height, width)
    found = contexts(x, ratio).unflatten(0, (2, 8, 8)).unflatten(3, (ratio, ratio, 3))  # (2, 8, 8, R, R, 3, a, b)
    for row, column in ((0, 0), (0, 7), (3, 4), (7, 0), (7, 7)):
        rows, columns = seen(height, ratio, row), seen(width, ratio, column)
        context = x[:, :, rows][:, :, :, columns]  # (2, 3, R a, R b)
        for i in range(ratio):
            for j in range(ratio):
                expected = context[:, :, i::ratio, j::ratio]  # (2, 3, a, b)
                assert expected.shape[2:] == (a, b)
                assert torch.equal(found[:, row, column, i, j], expected)


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("length", [8, 16, 24])
def test_borders_are_the_same_in_compiled_networks(ratio: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 2, length, 3)
    expected = shifted_borders(x, ratio, dim=2)
    assert expected.shape[2] == (7 + ratio) * length // 8
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(shifted_borders(x, ratio, dim=2), expected)


def test_a_context_in_the_middle_lies_around_its_window() -> None:
    assert seen(64, 2, 3) == list(range(20, 36)), "of the window 24 to 31, four rows more on both sides"


def test_windows_are_joined_as_they_were_cut() -> None:
    x = torch.randn(2, 3, 16, 24)
    assert torch.equal(windows_of(x)[8 + 2], x[0, :, 2:4, 6:9])
    assert torch.equal(joined(windows_of(x)), x)


def softmax_of(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """(P, C) each -> (P, C), head by head."""
    parts = zip(*(x.chunk(heads, dim=1) for x in (query, key, value)), strict=True)
    return torch.cat([(q @ k.T / q.shape[1] ** 0.5).softmax(dim=1) @ v for q, k, v in parts], dim=1)


def test_attention_of_a_window() -> None:
    attention: Any = VWA(8, num_heads=2, norm=BN).eval()
    query, context = torch.randn(3, 8, 2, 3), torch.randn(3, 8, 2, 3)
    with torch.no_grad():
        assert not attention(query, context).any(), "it starts at 0"
        attention.conv_out.bn.weight.fill_(1.0)
        maps = attention.theta(query), attention.phi(context), attention.g(context)
        q, k, v = (x[1].flatten(1).T for x in maps)
        mean = softmax_of(q, k, v, 2).T.reshape(1, 8, 2, 3)
        torch.testing.assert_close(attention(query, context)[1:2], attention.conv_out(mean))


def test_torchs_attention_of_a_window() -> None:
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    ours = MultiheadAttention(8, 2)
    ours.load_state_dict(theirs.state_dict())
    query, context = torch.randn(3, 8, 2, 3), torch.randn(3, 8, 2, 3)
    pixels, others = (x.flatten(2).mT for x in (query, context))
    expected = theirs(pixels, others, others)[0].mT.reshape(3, 8, 2, 3)
    torch.testing.assert_close(over_maps(ours, query, context), expected)


def features(side: int) -> list[Tensor]:
    return [torch.randn(2, c, side // s, side // s) for c, s in zip(LEVELS, (4, 8, 16, 32), strict=True)]


def test_head_step_by_step() -> None:
    """What is concatenated, and in which order; the last fusion is that of the concatenation at stride 4."""
    head: Any = VWHead(in_channels=LEVELS, channels=64, num_classes=5).eval()
    levels = features(128)
    with torch.no_grad():
        for attention in head.attn:
            attention.conv_out.bn.weight.fill_(1.0)
        c1, c2, c3, c4 = (head.get_submodule(f"linear_c{i + 1}")(x) for i, x in enumerate(levels))
        c3, c4 = (F.interpolate(x, size=(16, 16), mode="bilinear") for x in (c3, c4))
        x = head.linear_fuse(torch.cat([c4, c3, c2], dim=1))
        outputs = [head.short_path(x), head.image_pool(x).expand_as(x)]
        for place, ratio in enumerate((2, 4, 8)):
            border = (ratio // 2 - 1, ratio // 2) * 2
            context = contexts(head.ds[place](F.pad(x, border)), ratio)
            outputs.append(joined(head.attn[place](windows_of(x), context)) + x)
        x = F.interpolate(head.cat(torch.cat(outputs, dim=1)), size=(32, 32), mode="bilinear")
        expected = head.conv_seg(head.low_level_fuse(torch.cat([x, c1], dim=1)))
        torch.testing.assert_close(head(levels), expected, rtol=1e-4, atol=1e-5)
        head.short_cut = False
        assert not torch.allclose(head(levels), expected)


def test_city_head_step_by_step() -> None:
    head: Any = VWCityHead(in_channels=LEVELS, channels=64, num_classes=5, nheads=2).eval()
    levels = features(128)
    with torch.no_grad():
        c1, c2, c3, c4 = (head.get_submodule(f"linear_c{i + 1}")(x) for i, x in enumerate(levels))
        c3, c4 = (F.interpolate(x, size=(16, 16), mode="nearest") for x in (c3, c4))
        x = head.linear_fuse(torch.cat([c4, c3, c2], dim=1))
        outputs = [head.short_path(x)]
        for place, ratio in enumerate((2, 4, 8)):
            border = (ratio // 2 - 1, ratio // 2) * 2
            context = contexts(head.ds[place](F.pad(x, border)), ratio)
            outputs.append(joined(over_maps(head.attn[place], windows_of(x), context)))
        x = F.interpolate(head.cat(torch.cat(outputs, dim=1)), size=(32, 32), mode="bilinear")
        expected = head.conv_seg(head.low_level_fuse(torch.cat([x, c1], dim=1)))
        torch.testing.assert_close(head(levels), expected, rtol=1e-4, atol=1e-5)


def test_sides_that_are_no_multiples_are_repeated_and_cut() -> None:
    """A map of 13 x 9 is one of 16 x 16 whose last row and column are repeated."""
    head: Any = VWHead(in_channels=LEVELS, channels=64, num_classes=5, short_cut=False).eval()
    x = torch.randn(1, 64, 13, 9)
    padded = F.pad(x, (0, 7, 0, 3), mode="replicate")
    with torch.no_grad():
        for attention in head.attn:
            attention.conv_out.bn.weight.fill_(1.0)
        small = attended(x, head.ds, head.attn, short_cut=False)
        large = attended(padded, head.ds, head.attn, short_cut=False)
    for found, whole in zip(small, large, strict=True):
        torch.testing.assert_close(found, whole[:, :, :13, :9])


def test_channels_and_levels_are_checked() -> None:
    with pytest.raises(ValueError, match=r"VWHead must be a multiple of 64.*got 96"):
        VWHead(in_channels=LEVELS, channels=96, num_classes=5)
    with pytest.raises(ValueError, match="VWCityHead reads four levels"):
        VWCityHead(in_channels=(8, 16), in_index=(0, 1), channels=64, num_classes=5)
    with pytest.raises(ValueError, match="64 channels cannot be divided among 3"):
        VWHead(in_channels=LEVELS, channels=64, nheads=3, num_classes=5)


@pytest.mark.parametrize(
    ("name", "head", "layers", "start"),
    [
        ("convnext-tiny_vwformer_4xb4-amp-160k_ade20k-512x512", "VWHead", 6, "tiny_3rdparty_32xb128"),
        ("convnext-large_vwformer_4xb4-amp-160k_ade20k-640x640", "VWHead", 12, "large_3rdparty_in21k"),
        ("convnext-small_vwformer_4xb4-amp-160k_cityscapes-512x1024", "VWCityHead", 12, "small_3rdparty_32xb128"),
        ("convnext-base_vwformer_4xb4-amp-160k_cityscapes-512x1024", "VWCityHead", 12, "base_3rdparty_in21k"),
    ],
)
def test_published_recipes_have_the_settings_of_the_authors(name: str, head: str, layers: int, start: str) -> None:
    config = recipes.get(name)
    assert check(Config.from_values(config, file=name)) == []
    model, optim = config["model"], config["optim_wrapper"]
    assert (model["decode_head"]["type"], model["test_cfg"]) == (head, {"mode": "whole"})
    assert (model["decode_head"]["short_cut"], model["decode_head"]["nheads"]) == (
        (True, 1) if head == "VWHead" else (False, 16)
    )
    assert model["backbone"]["drop_path_rate"] == 0.4
    assert f"convnext-{start}" in model["backbone"]["init_cfg"]["checkpoint"]
    assert (optim["optimizer"]["lr"], optim["optimizer"]["weight_decay"], optim["loss_scale"]) == (
        1e-4,
        0.05,
        "dynamic",
    )
    assert optim["paramwise_cfg"] == {"decay_rate": 0.9, "decay_type": "stage_wise", "num_layers": layers}
    assert config["train_dataloader"]["batch_size"] == 4
    multiples = [step for step in config["val_dataloader"]["dataset"]["pipeline"] if step["type"] == "ResizeToMultiple"]
    assert bool(multiples) == (head == "VWHead")


@pytest.mark.parametrize(("size", "short_cut"), [("base", True), ("large", False)])
def test_published_recipes_on_swin_have_the_settings_of_the_authors(size: str, short_cut: bool) -> None:
    name = f"swin-{size}_vwformer_4xb4-160k_ade20k-640x640"
    config = recipes.get(name)
    assert check(Config.from_values(config, file=name)) == []
    backbone, head, optim = config["model"]["backbone"], config["model"]["decode_head"], config["optim_wrapper"]
    assert (backbone["window_size"], backbone["pretrain_img_size"], backbone["drop_path_rate"]) == (12, 384, 0.3)
    assert f"swin_{size}_patch4_window12_384_22k" in backbone["init_cfg"]["checkpoint"]
    assert (head["short_cut"], head["nheads"], head["channels"]) == (short_cut, 1, 512)
    assert optim["type"] == "OptimWrapper"
    assert (optim["optimizer"]["lr"], optim["optimizer"]["weight_decay"]) == (1e-4, 0.05)
    assert optim["paramwise_cfg"] == {"decay_rate": 0.85, "decay_type": "layer_wise", "num_layers": 12}
    steps = config["train_dataloader"]["dataset"]["pipeline"]
    assert [step.get("scale", step.get("crop_size")) for step in steps[2:4]] == [(2560, 640), (640, 640)]
    tested = config["val_dataloader"]["dataset"]["pipeline"]
    assert {"type": "ResizeToMultiple", "size_divisor": 64} in tested


def test_layers_of_swin_learn_at_the_rates_of_the_authors() -> None:
    """Of 13 rates: patches have the slowest, the last stage 0.85, norms of levels and the head the whole one."""
    values = recipes.network("swin-base_vwformer_4xb4-160k_ade20k-640x640")
    values["backbone"].pop("init_cfg")
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values({"model": values}, file="x")))
    parameters = [parameter for parameter, _ in trained_parameters(task.model)]
    rules = {"decay_rate": 0.85, "decay_type": "layer_wise", "num_layers": 12}
    behind: dict[str, set[int]] = {}
    for parameter, one in zip(parameters, by_depth(parameters, rules, 1.0, 0.05), strict=True):
        place = re.sub(r"(blocks\.\d+|downsample)\..*", r"\1", parameter.name)
        place = place if ".stages." in place else place.rpartition(".")[0].split(".projection")[0]
        behind.setdefault(place, set()).add(round(math.log(one["lr"]) / math.log(0.85)))
    assert all(len(found) == 1 for found in behind.values())
    layers = {place: 13 - min(found) for place, found in behind.items()}
    expected = {"backbone.patch_embed": 0, "backbone.patch_embed.norm": 0}
    expected |= {f"backbone.stages.{stage}.blocks.{block}": stage + 1 for stage in (0, 1) for block in (0, 1)}
    expected |= {f"backbone.stages.2.blocks.{block}": 3 + block // 2 for block in range(18)}
    expected |= {f"backbone.stages.3.blocks.{block}": 12 for block in (0, 1)}
    expected |= {f"backbone.stages.{stage}.downsample": stage + 1 for stage in range(3)}
    assert {place: layer for place, layer in layers.items() if layer < 13} == expected
    assert {f"backbone.norm{level}" for level in range(4)} <= set(layers)
