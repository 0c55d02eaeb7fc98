"""The simple feature pyramid against another statement of its paper, its names, and the recipes that take it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import FeatureSpec
from intarsia.necks.simple_feature_pyramid import SimpleFeaturePyramid
from intarsia.recipes.timm_facts import OfTIMM
from tests.recipes.test_recipes import own


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Over the channels of every pixel."""
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).square().mean(1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * scale[:, None, None] + shift[:, None, None]


def as_in_the_paper(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """From the tensors alone, level by level: section 3, with detectron2's names."""

    def norm(name: str, y: Tensor) -> Tensor:
        return layer_norm(y, state[f"{name}.weight"], state[f"{name}.bias"])

    def twice(name: str, y: Tensor) -> Tensor:
        return F.conv_transpose2d(y, state[f"{name}.weight"], state[f"{name}.bias"], stride=2)

    def out(level: str, first: int, y: Tensor) -> Tensor:
        for number, padding in ((first, 0), (first + 1, 1)):
            y = norm(f"{level}.{number}.norm", F.conv2d(y, state[f"{level}.{number}.weight"], padding=padding))
        return y

    finest = twice("simfp_2.3", F.gelu(norm("simfp_2.1", twice("simfp_2.0", x))))
    return [
        out("simfp_2", 4, finest),
        out("simfp_3", 1, twice("simfp_3.0", x)),
        out("simfp_4", 0, x),
        out("simfp_5", 1, F.max_pool2d(x, 2)),
    ]


def test_levels_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    neck = SimpleFeaturePyramid(embed_dim=16, out_channels=12).double()
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter)
    earlier, last = torch.randn(2, 2, 16, 6, 10, dtype=torch.float64)
    found = neck([earlier, last])
    for level, expected in zip(found, as_in_the_paper(neck.state_dict(), last), strict=True):
        torch.testing.assert_close(level, expected)
    assert [tuple(level.shape) for level in found] == [(2, 12, 24, 40), (2, 12, 12, 20), (2, 12, 6, 10), (2, 12, 3, 5)]
    assert neck.connect((FeatureSpec(16, 16),) * 2) == tuple(FeatureSpec(12, stride) for stride in (4, 8, 16, 32))


def test_tensors_of_vitdet_b() -> None:
    """d = 768, D = 256, as the sum of the paper's layers."""
    neck = SimpleFeaturePyramid(embed_dim=768)
    d, e = 768, 256

    def out(width: int) -> int:
        return width * e + e * e * 9 + 2 * 2 * e

    finer = d * (d // 2) * 4 + d // 2
    finest = finer + 2 * (d // 2) + (d // 2) * (d // 4) * 4 + d // 4
    expected = finest + out(d // 4) + finer + out(d // 2) + out(d) + out(d)
    assert sum(parameter.numel() for parameter in neck.parameters()) == expected
    names = set(neck.state_dict())
    assert {"simfp_2.0.bias", "simfp_2.1.weight", "simfp_2.3.weight", "simfp_2.5.norm.bias", "simfp_5.2.weight"} < names
    assert not {name for name in names if name.endswith(("4.bias", "5.bias", "simfp_4.0.bias"))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rescales": ()}, r"different ones of 4, 2, 1, 0\.5"),
        ({"rescales": (1, 1)}, "different ones"),
        ({"rescales": (3,)}, "different ones"),
        ({"embed_dim": 18}, "embed_dim of SimpleFeaturePyramid is divided by 4; got 18"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimpleFeaturePyramid(**{"embed_dim": 16, **arguments})
    with pytest.raises(ValueError, match="which must be whole numbers"):
        SimpleFeaturePyramid(embed_dim=8).connect((FeatureSpec(8, 2),))


@pytest.mark.parametrize(
    "name",
    [
        "upernet-sfp_timm:test_vit",
        "segformer-sfp_timm:test_vit",
        "mask2former-sfp_timm:test_vit",
        "unet-sfp_timm:test_vit",
    ],
)
def test_recipes_on_it(name: str) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    config = own(name)
    assert config["model"]["backbone"]["out_indices"] == (-1,)
    assert config["model"]["neck"]["type"] == "SimpleFeaturePyramid"
    task: Any = build_task(lower(Config.from_values(config, file=name)))
    task.eval()
    with torch.no_grad():
        levels = task.model.neck(task.model.backbone(torch.zeros(1, 3, 64, 96)))
        assert [tuple(level.shape[1:]) for level in levels] == [(256, 16, 24), (256, 8, 12), (256, 4, 6), (256, 2, 3)]
        assert task.model(torch.zeros(1, 3, 64, 96)).shape[:2] == (1, 7)


def test_recipes_without_a_use_for_it() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(ValueError, match="but linear reads none: take linear_timm:test_vit"):
        own("linear-sfp_timm:test_vit")
    with pytest.raises(
        ValueError, match="test_convnext has levels of several strides: take upernet_timm:test_convnext"
    ):
        own("upernet-sfp_timm:test_convnext")


def test_mask2former_needs_four_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    assert own("mask2former_timm:test_convnext")["model"]["decode_head"]["in_channels"] == [24, 32, 48, 64]
    assert own("mask2former_timm:test_vit")["model"]["neck"]["type"] == "Feature2Pyramid"
    monkeypatch.setattr(OfTIMM, "levels", lambda network: ((8, 4), (16, 8)))
    with pytest.raises(ValueError, match=r"strides 4, 8, 16 and 32; test_convnext has levels of strides \[4, 8\]"):
        own("mask2former_timm:test_convnext")
