"""UPerNet: a pyramid over all stages, and the image averaged over regions at its top.

22 published recipes on residual networks; many transformers were published with this head, in files of their own.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import CITYSCAPES, NORM, SYNC_NORM, heads, published, resnet, widths
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor

_ALL = ("r18", "r50", "r101")
ROWS = (
    Rows("upernet", ("r50", "r101"), 4, 2, ("40k", "80k"), CITYSCAPES),
    Rows("upernet", ("r18",), 4, 2, ("40k", "80k"), ("cityscapes-512x1024",)),
    Rows("upernet", _ALL, 4, 4, ("80k", "160k"), ("ade20k-512x512",)),
    Rows("upernet", _ALL, 4, 4, ("20k", "40k"), ("voc12aug-512x512",)),
)
HEAD: Config = {"type": "UPerHead", "in_index": [0, 1, 2, 3], "pool_scales": (1, 2, 3, 6), "channels": 512}


def uper_heads(stages: tuple[int, int, int, int], num_classes: int, *, norm: Config = SYNC_NORM) -> Config:
    """The head and its auxiliary head on stages of so many channels."""
    return heads(HEAD, stages, num_classes, norm=norm, auxiliary={"channels": 256})


def _published(recipe: Published) -> Parts:
    parts = published(recipe, HEAD, auxiliary={"channels": 256})
    if recipe.backbone == "r18" and recipe.batch == 4:
        parts.model["data_preprocessor"] = preprocessor(None)
    return parts


def _own(depth: int, num_logits: int, bands: int) -> Config:
    return {
        "backbone": {**resnet("ResNetV1c", depth, norm=NORM, stride=None), "in_channels": bands},
        **uper_heads(widths(depth), num_logits, norm=NORM),
    }


METHOD = Method(
    "UPerNet",
    "convolutional",
    "Unified Perceptual Parsing for Scene Understanding",
    "Xiao, Liu, Zhou, Jiang, Sun",
    "ECCV",
    2018,
    "https://arxiv.org/abs/1807.10221",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"upernet_r{depth}": partial(_own, depth) for depth in (18, 50, 101)},
    learning_rate=5e-4,
    method=METHOD,
)
