"""RegSeg: its blocks, what they count, and the names of published files."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.engine.optim.schedules import ValueSchedule
from intarsia.layers.norm import BN
from intarsia.methods.regseg import DBlock, RegSeg, RegSegHead
from intarsia.weights.legacy_names import with_present_names
from tests.recipes.test_recipes import own


def test_halves_of_the_channels_look_in_two_distances() -> None:
    block: Any = DBlock(8, 8, (1, 4), group_width=2, norm=BN).eval()
    x = torch.randn(2, 8, 12, 14)
    with torch.no_grad():
        found = block.conv2(x)
        for part, dilation in enumerate((1, 4)):
            channels, weight = slice(4 * part, 4 * part + 4), block.conv2.convs[part].weight
            expected = F.conv2d(x[:, channels], weight, padding=dilation, dilation=dilation, groups=2)
            torch.testing.assert_close(found[:, channels], expected)
        y = block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())).relu()
        gate = block.se.conv2(F.relu(block.se.conv1(F.adaptive_avg_pool2d(y, 1)))).sigmoid()
        torch.testing.assert_close(block(x), F.relu(block.bn3(block.conv3(y * gate)) + x))
    assert block.shortcut is None
    assert list(block.se.conv1.weight.shape) == [2, 8, 1, 1], "a quarter of what comes in"


def test_what_strides_has_an_average_in_its_shortcut() -> None:
    block: Any = DBlock(6, 8, group_width=2, stride=2, norm=BN).eval()
    x = torch.randn(1, 6, 7, 9)
    with torch.no_grad():
        averaged = F.avg_pool2d(x, 2, ceil_mode=True)
        assert averaged.shape[2:] == (4, 5)
        torch.testing.assert_close(block.shortcut(x), block.shortcut.bn(block.shortcut.conv(averaged)))
        assert block(x).shape == (1, 8, 4, 5)


def network(name: str) -> Any:
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values(own(name, num_classes=19), file=name)))
    return task.model.eval()


@pytest.mark.parametrize(("name", "parameters"), [("regseg", 3_334_951), ("regseg-l", 6_131_579)])
def test_parameters(name: str, parameters: int) -> None:
    """The paper says 3.34 million of the first."""
    assert sum(p.numel() for p in network(name).parameters()) == parameters


def test_published_names_are_read() -> None:
    """As the authors' modules are called; their files are at GitHub and were not read."""
    ours = network("regseg").state_dict()
    words = (("backbone.", ""), ("decode_head.conv_seg.", "decoder.classifier."), ("decode_head.", "decoder."))
    there = {}
    for name, value in ours.items():
        ours_word, their_word = next(pair for pair in words if name.startswith(pair[0]))
        there[their_word + name.removeprefix(ours_word)] = value
    assert {"stem.conv.weight", "stem.bn.weight", "body.stage4.conv2.weight", "body.stage4.shortcut.conv.weight",
            "body.stage8.2.se.conv2.bias", "body.stage16.0.shortcut.bn.weight", "body.stage16.1.conv2.weight",
            "body.stage16.2.conv2.convs.1.weight", "body.stage16.13.shortcut.conv.weight", "decoder.head4.bn.bias",
            "decoder.conv8.conv.weight", "decoder.classifier.weight"} <= set(there)  # fmt: skip
    found, notes = with_present_names(there)
    assert set(found) == set(ours)
    assert notes == ["names of RegSeg's own code were brought up to date"]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="one of base, large; got 'small'"):
        RegSeg(arch="small")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"whole groups of 16; got the dilations \(1, 2, 3\)"):
        RegSeg(dilations=((1,), (1, 2, 3), (1,)))
    with pytest.raises(ValueError, match="reads three levels"):
        RegSegHead(in_channels=(8, 16), in_index=(0, 1), num_classes=2)
    assert isinstance(RegSeg(arch="large").body.stage4, nn.Sequential)


def test_published_recipe_has_the_settings_of_the_author() -> None:
    name = "regseg_1xb8-amp-371k_cityscapes-768x768"
    config = recipes.get(name)
    assert check(Config.from_values(config, file=name)) == []
    spec = lower(Config.from_values(config, file=name))
    assert spec.train is not None
    data = spec.train
    assert (data.batch_size, data.workers) == (8, 6)
    assert data.rare is not None
    assert (data.rare.classes, data.rare.every) == (tuple(range(19)), 38)
    resize, crop, _, changes = config["train_dataloader"]["dataset"]["pipeline"][2:6]
    assert [side / 1024 for side in (400, 1600)] == list(resize["ratio_range"])
    assert (resize["scale"], crop["crop_size"]) == ((2048, 1024), (768, 768))
    assert changes == {"type": "RandAugment", "num_ops": 2, "magnitude": 0.2}
    assert config["optim_wrapper"]["optimizer"] == {
        "type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}  # fmt: skip


def test_warm_up_and_decay_are_multiplied() -> None:
    spec = lower(Config.from_values(recipes.get("regseg_1xb8-amp-371k_cityscapes-768x768"), file="x"))
    assert spec.optim is not None
    rate, steps = ValueSchedule(spec.optim.schedules), 371_000
    for step in (0, 1, 1000, 2999, 3000, 3001, 100_000, steps - 1):
        expected = 0.05 * (1 - step / steps) ** 0.9 * min(0.1 + 0.9 * step / 3000, 1.0)
        assert rate(0.05, step) == pytest.approx(expected, rel=1e-9)
