"""PP-LiteSeg: how levels are fused, what it counts, and its recipes."""

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
from intarsia.contracts import Batch
from intarsia.layers.activation import RELU
from intarsia.layers.norm import BN
from intarsia.methods.ppliteseg import AttentionFusion, PPLiteSegHead, SimplePyramidPooling
from tests.recipes.test_recipes import own


def test_each_pixel_takes_its_share_of_both_maps() -> None:
    """Equations 2 to 4 of the paper."""
    fusion = AttentionFusion(3, 4, 5, norm=BN, activation=RELU, align_corners=False).eval().double()
    fine, coarse = torch.randn(2, 3, 6, 8).double(), torch.randn(2, 4, 3, 4).double()
    with torch.no_grad():
        low, high = fusion.conv_x(fine), F.interpolate(coarse, size=(6, 8), mode="bilinear")
        seen = torch.stack([low.mean(1), low.max(1).values, high.mean(1), high.max(1).values], dim=1)
        alpha = torch.sigmoid(fusion.conv_xy_atten(seen))
        assert alpha.shape == (2, 1, 6, 8)
        torch.testing.assert_close(fusion(fine, coarse), fusion.conv_out(low * alpha + high * (1 - alpha)))


def test_context_is_a_sum_over_grids() -> None:
    pooling = SimplePyramidPooling(
        3, 4, pool_scales=(1, 2, 4), norm=BN, activation=RELU, align_corners=False
    ).eval()  # fmt: skip
    x = torch.randn(2, 3, 8, 12)
    with torch.no_grad():
        grids = [F.adaptive_avg_pool2d(x, cells) for cells in (1, 2, 4)]
        projected = [stage[1](grid) for stage, grid in zip(pooling.stages.children(), grids, strict=True)]
        resized = [F.interpolate(grid, size=(8, 12), mode="bilinear") for grid in projected]
        torch.testing.assert_close(pooling(x), pooling.conv_out(sum(resized)))


@pytest.mark.parametrize(("size", "parameters"), [("t", 8_027_827), ("b", 12_234_259)])
def test_parameters_as_it_is_used(size: str, parameters: int) -> None:
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values(own(f"ppliteseg-{size}", num_classes=19), file="x")))
    head = task.model.decode_head
    only_in_training = [*head.seg_heads[1:].parameters(), *head.aux_cls_seg.parameters()]
    found = sum(p.numel() for p in task.model.parameters()) - sum(p.numel() for p in only_in_training)
    assert found == parameters


def test_every_fusion_learns_from_the_labels_by_its_hard_pixels() -> None:
    task: Any = build_task(lower(Config.from_values(own("ppliteseg-t"), file="x")))
    images = torch.randint(0, 255, (2, 3, 64, 96), dtype=torch.uint8)
    batch = Batch(images, torch.randint(0, 7, (2, 64, 96)), ((64, 96),) * 2, ({}, {}))
    terms = {term.name: term for term in task.train().training_terms(batch)}
    losses = {name: term.weight for name, term in terms.items() if "loss" in name}
    assert losses == {f"decode.loss_ohem{stage}": 1.0 for stage in ("", ".aux_1", ".aux_2")}


def test_levels_and_channels_go_together() -> None:
    with pytest.raises(ValueError, match=r"for each level, finest first: expected 3, got \(8, 4\)"):
        PPLiteSegHead(in_channels=(8, 8, 8), channels=(8, 4), num_classes=2)


@pytest.mark.parametrize(("note", "sizes", "test"), [("", 7, (2048, 1024)), ("scale0.5-", 12, (1024, 512))])
def test_published_recipes_have_the_settings_of_paddleseg(note: str, sizes: int, test: tuple[int, int]) -> None:
    name = f"ppliteseg-b_4xb4-{note}160k_cityscapes-512x1024"
    config = recipes.get(name)
    assert check(Config.from_values(config, file=name)) == []
    assert config["optim_wrapper"]["optimizer"] == {"type": "SGD", "lr": 0.005, "momentum": 0.9, "weight_decay": 5e-4}
    warm_up, decay = config["param_scheduler"]
    assert warm_up["end"] == 1000
    assert warm_up["start_factor"] * 0.005 == pytest.approx(1e-5)
    assert (decay["power"], decay["eta_min"], decay["end"]) == (0.9, 0.0, 160_000)
    assert config["model"]["data_preprocessor"]["mean"] == config["model"]["data_preprocessor"]["std"] == [127.5] * 3
    pipeline = config["train_dataloader"]["dataset"]["pipeline"]
    scales = next(step["scales"] for step in pipeline if step["type"] == "RandomChoiceResize")
    assert len(scales) == sizes
    assert scales[0] == ((1024, 512) if sizes == 7 else (256, 128))
    assert scales[-1] == ((4096, 2048) if sizes == 7 else (3072, 1536))
    resize = config["val_dataloader"]["dataset"]["pipeline"][1]
    assert resize["scale"] == test
