"""EoMT's published recipes: the numbers of its authors' configurations, and what these become."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from intarsia import catalog, recipes
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.data.transforms.resize import RandomResize
from intarsia.engine.optim.optimizers import parameter_settings
from intarsia.engine.optim.schedules import Schedule
from intarsia.methods.eomt import EoMTHead
from intarsia.spec import RunSpec, ScheduleSpec

pytest.importorskip("timm", reason="timm is not installed")

ADE, CITYSCAPES, ADE_V3 = (
    "eomt_vit-l-dinov2_4xb4-31e_ade20k-512x512",
    "eomt_vit-l-dinov2_4xb4-107e_cityscapes-1024x1024",
    "eomt_vit-l-dinov3_4xb4-16e_ade20k-512x512",
)
ARGS = {"start_factor", "T_max", "eta_min"}
PMT = "pmt_vit-l-dinov3_4xb4-16e_ade20k-512x512"
PUBLISHED: dict[str, dict[str, Any]] = {
    ADE: {
        "steps": 31 * (20210 // 16), "rate": 1e-4, "side": 512, "warm_up": (500, 1000),
        "start": (6520, 13040, 19560, 26080), "end": (13040, 19560, 26080, 32600),
    },
    CITYSCAPES: {
        "steps": 107 * (2975 // 16), "rate": 1e-4, "side": 1024, "warm_up": (500, 1000),
        "start": (3317, 6634, 9951, 13268), "end": (6634, 9951, 13268, 16585),
    },
    ADE_V3: {
        "steps": 16 * (20210 // 16), "rate": 2e-4, "side": 512, "warm_up": (2000, 3000),
        "start": (0, 6520, 9780, 13040), "end": (3000, 9780, 13040, 16300),
    },
}  # fmt: skip


def spec_of(name: str) -> RunSpec:
    config = Config.from_values(recipes.get(name), file=f"recipe {name}")
    assert check(config, shapes=True) == []
    return lower(config)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_are_those_of_the_authors(name: str) -> None:
    spec, facts = spec_of(name), PUBLISHED[name]
    assert spec.optim is not None
    assert spec.train is not None
    assert spec.duration is not None
    assert (spec.duration.value, spec.written_for, spec.train.batch_size) == (facts["steps"], 16, 4)
    assert (spec.optim.precision, spec.optim.clip) == ("bf16-mixed", {"max_norm": 0.01, "norm_type": 2})
    optimizer = spec.optim.optimizer
    assert (optimizer.type, optimizer.args["lr"], optimizer.args["weight_decay"]) == ("AdamW", facts["rate"], 0.05)
    side = (facts["side"],) * 2
    assert (spec.inference.mode, spec.inference.crop_size) == ("slide_even", side)
    resize = spec.val.transforms[0] if spec.val is not None else None
    assert resize is not None
    assert (resize.type, resize.args["scale"]) == ("ResizeShortestEdge", facts["side"])
    head = spec.model.args["decode_head"].args
    assert (head["num_queries"], head["num_blocks"], head["num_upscales"]) == (100, 4, 2)
    assert spec.objective is not None
    assert spec.objective.args["loss_weights"] == (2.0, 5.0, 5.0)
    assert spec.objective.args["class_weight"][-1] == 0.1
    assert [spec.objective.args[key] for key in ("num_points", "oversample_ratio", "importance_ratio")] == [
        12544, 3.0, 0.75
    ]  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_masked_attention_fades_at_the_authors_steps(name: str) -> None:
    facts = PUBLISHED[name]
    given = spec_of(name).model.args["decode_head"].args
    head = EoMTHead(in_channels=8, num_classes=3, **{key: given[key] for key in ("annealing_start", "annealing_end")})
    edges = {0, *facts["start"], *facts["end"], facts["steps"] - 1}
    for step in sorted(edges | {edge + 1 for edge in edges} | {max(edge - 1, 0) for edge in edges} | {7000, 15000}):
        head.set_training_progress(min(step / facts["steps"], 1.0))
        expected = [
            1.0 if step < start else 0.0 if step >= end else (1 - (step - start) / (end - start)) ** 0.9
            for start, end in zip(facts["start"], facts["end"], strict=True)
        ]
        torch.testing.assert_close(head.attn_mask_probs, torch.tensor(expected), rtol=1e-6, atol=1e-7)


def published_rate(base: float, step: int, total: int, warm_up: tuple[int, int], *, trunk: bool) -> float:
    """Of their two-stage schedule."""
    delay, length = (warm_up[0], warm_up[1]) if trunk else (0, warm_up[0])
    if step < delay:
        return 0.0
    if step < delay + length:
        return base * (step - delay) / length
    return base * (1 - (step - delay - length) / (total - delay - length)) ** 0.9


@pytest.mark.parametrize("name", PUBLISHED)
def test_heads_warm_up_before_the_transformer(name: str) -> None:
    spec, facts = spec_of(name), PUBLISHED[name]
    assert spec.optim is not None
    schedule = Schedule.of(spec.optim.schedules)
    first, second = facts["warm_up"]
    total = facts["steps"]
    for step in (0, 1, first - 1, first, first + 1, first + second - 1, first + second, total // 2, total - 1):
        for trunk, course in ((False, schedule), (True, schedule.parts["backbone"])):
            expected = published_rate(1e-4, step, total, facts["warm_up"], trunk=trunk)
            assert course.lr(1e-4, step) == pytest.approx(expected, rel=1e-12), (step, trunk)


class Network(nn.Module):
    """A transformer of 24 narrow blocks, as deep as the published ones, and something behind it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        options = {"embed_dim": 16, "depth": 24, "num_heads": 2}
        self.backbone = catalog.resolve("backbone", "TIMM")(name, open_blocks=4, options=options)
        self.decode_head = nn.Linear(16, 2)


def rates(name: str) -> dict[str, tuple[float, float]]:
    spec = spec_of(name)
    assert spec.optim is not None
    args = spec.optim.optimizer.args
    constructor = catalog.resolve("constructor", spec.optim.constructor)
    network = Network(spec.model.args["backbone"].args["model_name"].partition(".")[0])
    given = parameter_settings(network, constructor, spec.optim.paramwise, args["lr"], args["weight_decay"])
    return {parameter.name: (settings["lr"], settings["weight_decay"]) for parameter, _, settings in given}


def test_each_block_learns_at_a_rate_of_its_own_and_everything_decays() -> None:
    found = rates(ADE)
    assert {decay for _, decay in found.values()} == {0.05}
    for name, (rate, _) in found.items():
        parts = name.split(".")
        block = int(parts[2]) if parts[1] == "blocks" else 23 if parts[0] == "decode_head" or parts[1] == "norm" else 0
        assert rate == pytest.approx(1e-4 * 0.8 ** (23 - block), rel=1e-12), name
    assert {"backbone.pos_embed", "backbone.cls_token", "backbone.reg_token", "backbone.norm.bias"} <= found.keys()


def test_on_dinov3_all_but_the_last_blocks_learn_at_a_tenth() -> None:
    found = rates(ADE_V3)
    assert {decay for _, decay in found.values()} == {0.05}
    for name, (rate, _) in found.items():
        last = name.startswith(("decode_head", "backbone.norm", *(f"backbone.blocks.{i}." for i in range(20, 24))))
        assert rate == pytest.approx(2e-4 if last else 2e-5, rel=1e-12), name


def test_images_are_scaled_relative_to_fitting_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchvision's ScaleJitter does it, but for the rounding of a side."""
    transforms = pytest.importorskip("torchvision.transforms.v2", reason="torchvision is not installed")
    ours = RandomResize((512, 512), ratio_range=(0.5, 2.0), keep_ratio=True)
    theirs = transforms.ScaleJitter(target_size=(512, 512), scale_range=(0.5, 2.0))
    rng = np.random.default_rng(0)
    for height, width in ((512, 683), (683, 512), (1024, 2048), (300, 300), (97, 1001)):
        for share in (0.0, 0.1, 0.5, 0.77, 1.0):
            monkeypatch.setattr(torch, "rand", lambda *_, share=share: torch.tensor([share]))
            expected = theirs.make_params([torch.zeros(3, height, width)])["size"]

            class Drawn:
                def uniform(self, low: float, high: float, share: float = share) -> float:
                    return low + share * (high - low)

            found = ours.target((height, width), Drawn())  # type: ignore[arg-type]
            assert np.abs(np.subtract(found, expected)).max() <= 1, (height, width, share)
    assert ours.target((512, 683), rng) != ours.target((512, 683), rng)


def test_pmt_has_the_numbers_of_its_authors() -> None:
    spec = spec_of(PMT)
    assert spec.optim is not None
    assert spec.duration is not None
    total = 16 * (20210 // 16)
    assert (spec.duration.value, spec.written_for, spec.safeguards.freeze) == (total, 16, ("backbone",))
    assert (spec.optim.optimizer.args["lr"], spec.optim.optimizer.args["weight_decay"]) == (2e-4, 0.05)
    rate = Schedule.of(spec.optim.schedules).lr
    for step in (0, 1, 3000, 5999, 6000, 6001, 12000, total - 1):
        cosine = 1e-9 + 0.5 * (2e-4 - 1e-9) * (1 + math.cos(math.pi * max(step - 6000, 0) / (total - 6000)))
        expected = 2e-4 * step / 6000 if step < 6000 else cosine
        assert rate(2e-4, step) == pytest.approx(expected, rel=1e-9), step
    head = spec.model.args["decode_head"].args
    assert (head["num_queries"], head["num_blocks"], head["num_heads"], head["hidden_channels"]) == (100, 6, 16, 1024)
    found = [[share * total for share in head[key]] for key in ("annealing_start", "annealing_end")]
    assert found[0] == pytest.approx([0, 5384, 7403, 9422, 11442, 13461])
    assert found[1] == pytest.approx([3000, 8749, 10769, 12788, 14807, 16826])
    backbone = spec.model.args["backbone"].args
    assert (backbone["out_indices"], backbone["norm"], backbone["prefix"]) == ((5, 11, 17, 23), True, True)


@pytest.mark.parametrize("steps", [1, 3, 4, 500, 20_208])
def test_pmt_on_own_data_gets_shares_of_its_schedule(steps: int) -> None:
    family = recipes._family("pmt_timm:test_vit")
    assert family.schedule is not None
    model = recipes.network("pmt_timm:test_vit", num_classes=5)
    assert (model["decode_head"]["num_heads"], model["decode_head"]["num_classes"]) == (2, 5)
    assert family.others["intarsia"] == {"freeze": ["backbone"]}
    schedules = [
        ScheduleSpec(given["type"], given["begin"], given["end"], args={key: given[key] for key in given.keys() & ARGS})
        for given in family.schedule(steps)
    ]
    rate = Schedule.of(schedules).lr
    rates = [rate(1.0, step) for step in range(steps)]
    assert max(rates) == pytest.approx(1.0)
    assert all(0 <= value <= 1 for value in rates)
    assert rates[-1] < 0.9 or steps < 4


def test_the_names_are_known_everywhere() -> None:
    assert set(PUBLISHED) <= set(recipes.later_names())
    assert not set(recipes.later_names()) & set(recipes.names())
    assert all(recipes.is_published(name) for name in [*recipes.later_names(), recipes.names()[0]])
    assert not recipes.is_published("small_r18")
    for name in recipes.later_names():
        method = recipes.method(name)
        assert method is not None
        assert name.startswith(f"{method.name.lower()}_")
        assert recipes.network(name) == recipes.get(name)["model"]
    with pytest.raises(recipes.UnknownRecipeError, match="eomt_vit-l-dinov2_4xb4-31e_ade20k-512x512"):
        recipes.get("eomt_vit-l-dinov2_4xb4-31e_ade20k")
    recipes.get(ADE)["model"]["decode_head"]["num_classes"] = 2
    assert recipes.get(ADE)["model"]["decode_head"]["num_classes"] == 150


@pytest.mark.parametrize("steps", [1, 2, 100, 39_153, 80_000])
def test_own_data_get_shares_of_the_published_schedule(steps: int) -> None:
    family = recipes._family("eomt_timm:test_vit")
    assert family.schedule is not None
    head, trunk = family.schedule(steps)
    assert (head["end"], trunk["end"], trunk["part"]) == (steps, steps, "backbone")
    assert (head["warm_up"], trunk["delay"], trunk["warm_up"]) == (
        500 * steps // 39_153, 500 * steps // 39_153, 1000 * steps // 39_153
    )  # fmt: skip
