"""The linear head on a backbone that stands still, and its recipes, as DINOv2 and DINOv3 have them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.engine.optim.schedules import Schedule
from intarsia.methods.linear_head import LinearHead
from intarsia.recipes.trunk_heads import warm_up_and_cosine
from tests.recipes.test_recipes import own


def levels() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 8, 6, 10, generator=generator), torch.randn(2, 12, 3, 5, generator=generator)]


def test_dropout_then_norm_then_classifier() -> None:
    """In training a dropped channel is 0 before the norm, which makes a shift of it; behind the norm it stays 0."""
    head = LinearHead(in_channels=8, in_index=0, num_classes=3, dropout_ratio=0.5).train()
    seen: dict[str, Tensor] = {}
    head.bn.register_forward_hook(lambda module, given, made: seen.update(given=given[0], made=made))
    torch.manual_seed(0)
    logits = head(levels())
    dropped = seen["given"].flatten(2).eq(0).all(dim=2)
    assert 0 < dropped.sum() < dropped.numel()
    mixed = dropped.any(dim=0) & ~dropped.all(dim=0)
    assert seen["made"][:, mixed].flatten(2).ne(0).any(dim=2).all()
    torch.testing.assert_close(logits, head.conv_seg(seen["made"]))
    assert [name for name, _ in head.named_children()] == ["dropout", "bn", "conv_seg"]


def test_starts_as_published() -> None:
    torch.manual_seed(0)
    head = LinearHead(in_channels=384, in_index=0, num_classes=150)
    assert isinstance(head.dropout, nn.Dropout2d)
    assert head.dropout.p == 0.1
    assert head.conv_seg.weight.shape == (150, 384, 1, 1)
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert abs(head.conv_seg.weight.mean().item()) < 2e-4
    assert head.conv_seg.bias is not None
    assert not head.conv_seg.bias.any()
    state = head.bn.state_dict()
    assert state["weight"].eq(1).all()
    assert not state["bias"].any()


def test_several_levels_are_put_side_by_side_at_the_size_of_the_first() -> None:
    head = LinearHead(in_channels=(8, 12), in_index=(0, 1), num_classes=3).eval()
    first, second = levels()
    with torch.no_grad():
        head.bn.load_state_dict({**head.bn.state_dict(), "running_mean": torch.arange(20.0)})
        found = head([first, second])
        joined = torch.cat([first, F.interpolate(second, size=(6, 10), mode="bilinear")], dim=1)
        normed = (joined - torch.arange(20.0)[:, None, None]) / math.sqrt(1 + 1e-5)
        torch.testing.assert_close(found, F.conv2d(normed, head.conv_seg.weight, head.conv_seg.bias))
    for wrong in ({"in_channels": (8, 12), "in_index": 0}, {"in_channels": 8, "in_index": (0, 1)}):
        with pytest.raises(ValueError, match="LinearHead reads several levels"):
            LinearHead(num_classes=3, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [40_000, 400, 4])
def test_the_rate_warms_up_and_falls_like_a_cosine(steps: int) -> None:
    values = {**own("segformer_mit-b0", steps=steps), "param_scheduler": warm_up_and_cosine(steps)}
    optim = lower(Config.from_values(values, file="x")).optim
    assert optim is not None
    rate = Schedule.of(optim.schedules).lr
    warm_up = max(steps * 1500 // 40_000, 2)
    assert warm_up == {40_000: 1500, 400: 15, 4: 2}[steps]
    assert rate(1e-3, 0) == pytest.approx(1e-9)
    assert rate(1e-3, warm_up) == pytest.approx(1e-3)
    for step in (warm_up + (steps - warm_up) // 2, steps - 1):
        expected = 1e-3 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2
        assert rate(1e-3, step) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("head", "indices", "channels"), [("linear", (-1,), 64), ("multilevel", (-4, -3, -2, -1), 256)]
)
def test_recipes_train_the_head_alone(head: str, indices: tuple[int, ...], channels: int) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    config = own(f"{head}_timm:test_vit", steps=40_000)
    backbone = config["model"]["backbone"]
    assert (backbone["out_indices"], backbone["norm"]) == (indices, True)
    assert config["intarsia"]["freeze"] == ["backbone"]
    assert config["optim_wrapper"]["optimizer"] == {"type": "AdamW", "lr": 1e-3, "weight_decay": 1e-3,
                                                    "betas": (0.9, 0.999)}  # fmt: skip
    assert "paramwise_cfg" not in config["optim_wrapper"]
    assert [part["type"] for part in config["param_scheduler"]] == ["LinearLR", "CosineAnnealingLR"]
    task: Any = build_task(lower(Config.from_values(config, file=head)))
    assert isinstance(task.model.decode_head, LinearHead)
    assert task.model.decode_head.conv_seg.in_channels == channels
    assert task.model(torch.zeros(1, 3, 160, 160)).shape[2:] == (10, 10)


def test_several_levels_of_a_pyramid() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    head = own("multilevel_timm:test_convnext")["model"]["decode_head"]
    assert (head["in_index"], head["in_channels"]) == ([0, 1, 2, 3], [24, 32, 48, 64])
