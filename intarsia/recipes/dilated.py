"""A head on a residual network, most often a dilated one: what some thirty methods' recipes have in common.

A backbone's name is its depth, then "b" where it is the plain ResNet of torchvision and not ResNetV1c (a stem of three
3 x 3 convolutions), then the stride that dilation keeps: ``r50-d8``, ``r18b-d8``, ``r101-d16``; ``r50`` has all
of its strides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial

from intarsia.recipes.benchmarks import PASCAL_CONTEXT, PASCAL_CONTEXT_59, Config
from intarsia.recipes.published import Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

SYNC_NORM: Config = {"type": "SyncBN", "requires_grad": True}
NORM: Config = {"type": "BN", "requires_grad": True}
CITYSCAPES = ("cityscapes-512x1024", "cityscapes-769x769")
CONTEXT = ("pascal-context-480x480", "pascal-context-59-480x480")
BOTH = ("r50-d8", "r101-d8")
WINDOWS = {(769, 769): (513, 513), (480, 480): (320, 320)}
"""Training size -> stride, where a recipe is evaluated by sliding a window of the training size."""

_DILATED = {
    8: ((1, 2, 1, 1), (1, 1, 2, 4)),
    16: ((1, 2, 2, 1), (1, 1, 1, 2)),
    32: ((1, 2, 2, 2), (1, 1, 2, 4)),
}
"""Stride in a backbone's name -> strides and dilations of its stages; at 32 the dilations remain in the last two."""

_NAME = re.compile(r"r(\d+)(b?)(?:s?-d(\d+))?")


def usual_rows(method: str, *benchmarks: str) -> tuple[Rows, ...]:
    """Both depths with the schedules that most methods were published with; as given, on three benchmarks."""
    rows = {
        "cityscapes": Rows(method, BOTH, 4, 2, ("40k", "80k"), CITYSCAPES),
        "ade20k": Rows(method, BOTH, 4, 4, ("80k", "160k"), ("ade20k-512x512",)),
        "voc12aug": Rows(method, BOTH, 4, 4, ("20k", "40k"), ("voc12aug-512x512",)),
        "context": Rows(method, BOTH, 4, 4, ("40k", "80k"), CONTEXT),
    }
    return tuple(rows[name] for name in benchmarks or ("cityscapes", "ade20k", "voc12aug"))


def cross_entropy(weight: float = 1.0, *, use_sigmoid: bool = False) -> Config:
    """The loss of nearly every head."""
    return {"type": "CrossEntropyLoss", "use_sigmoid": use_sigmoid, "loss_weight": weight}


def widths(depth: int) -> tuple[int, int, int, int]:
    """Channels of a residual network's four stages."""
    return (64, 128, 256, 512) if depth < 50 else (256, 512, 1024, 2048)


def resnet(kind: str, depth: int, *, norm: Config = SYNC_NORM, stride: int | None = 8) -> Config:
    """A residual network as a config writes it; stride None is the ordinary one."""
    strides, dilations = _DILATED[stride] if stride else ((1, 2, 2, 2), (1, 1, 1, 1))
    return {
        "type": kind,
        "depth": depth,
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "strides": strides,
        "dilations": dilations,
        "norm_cfg": norm,
        "norm_eval": False,
        "style": "pytorch",
        "contract_dilation": True,
    }


def named_resnet(name: str) -> tuple[Config, str, int]:
    """(backbone, its published weights, depth) of a name such as "r101b-d8"."""
    found = _NAME.match(name)
    assert found is not None, name
    depth, plain, stride = int(found[1]), bool(found[2]), int(found[3]) if found[3] else None
    weights = f"torchvision://resnet{depth}" if plain else f"open-mmlab://resnet{depth}_v1c"
    return resnet("ResNet" if plain else "ResNetV1c", depth, stride=stride), weights, depth


def heads(
    head: Config,
    stages: tuple[int, int, int, int],
    num_classes: int,
    *,
    norm: Config = SYNC_NORM,
    align_corners: bool = False,
    auxiliary: Config | None = None,
) -> Config:
    """A head and the auxiliary FCN on the stage before the last.

    head: its type and what is particular to it; `in_channels` follows from its `in_index` (as given: the last stage).
    stages: channels of the backbone's stages. auxiliary: what is particular to it.
    """
    common = {"dropout_ratio": 0.1, "num_classes": num_classes, "norm_cfg": norm, "align_corners": align_corners}
    index = head.get("in_index", 3)
    decode = {
        "in_channels": [stages[level] for level in index] if isinstance(index, list | tuple) else stages[index],
        "in_index": 3,
        "channels": stages[3] // 4,
        "loss_decode": cross_entropy(),
    }
    beside = {
        "type": "FCNHead",
        "in_channels": stages[2],
        "in_index": 2,
        "channels": stages[3] // 8,
        "num_convs": 1,
        "concat_input": False,
        "loss_decode": cross_entropy(0.4),
    }
    return {
        "decode_head": {**common, **decode, **head},
        "auxiliary_head": {**common, **beside, **(auxiliary or {})},
    }


def testing(recipe: Published) -> Config:
    """How a recipe is evaluated: with a sliding window where it trains on squares of an odd size."""
    crop = recipe.setting.crop
    return {"mode": "slide", "crop_size": crop, "stride": WINDOWS[crop]} if crop in WINDOWS else {"mode": "whole"}


def optimiser(recipe: Published) -> Config:
    """SGD, with the rates of Pascal Context where a recipe trains on that."""
    context = recipe.setting.benchmark in (PASCAL_CONTEXT, PASCAL_CONTEXT_59)
    return sgd(0.004, 1e-4) if context else sgd(0.01, 5e-4, mixed=recipe.mixed)


def published(recipe: Published, head: Config, auxiliary: Config | None = None) -> Parts:
    """A head on the residual network that the recipe's name says."""
    backbone, weights, depth = named_resnet(recipe.backbone)
    model = {
        "type": "EncoderDecoder",
        "pretrained": weights,
        "backbone": backbone,
        **heads(
            head,
            widths(depth),
            recipe.num_classes,
            align_corners=recipe.setting.crop == (769, 769),
            auxiliary=auxiliary,
        ),
        "train_cfg": {},
        "test_cfg": testing(recipe),
    }
    return Parts(model, optimiser(recipe), poly(recipe.steps))


def with_head(head: Config) -> Callable[[Published], Parts]:
    """`published` for methods whose head is the same in all recipes."""
    return partial(published, head=head)


def own(
    method: str, head: Config | Callable[[int], Config], depths: Iterable[int] = (18, 50, 101)
) -> dict[str, Callable[[int, int], Config]]:
    """Short names for a user's own data, such as "pspnet_r50"; head: or a function of the network's depth."""
    return {f"{method}_r{depth}": partial(_own, head(depth) if callable(head) else head, depth) for depth in depths}


def _own(head: Config, depth: int, num_logits: int, bands: int) -> Config:
    return {
        "backbone": {**resnet("ResNetV1c", depth, norm=NORM), "in_channels": bands},
        **heads(head, widths(depth), num_logits, norm=NORM),
    }
