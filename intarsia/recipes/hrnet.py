"""HRNet with a plain head on all of its resolutions.

45 published recipes. ``hr18s`` is the narrow network with fewer blocks.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import CONTEXT, NORM, SYNC_NORM, cross_entropy, optimiser, testing
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly

SIZES: dict[str, tuple[int, int, tuple[int, int, int, int], str]] = {
    "hr18": (18, 4, (1, 1, 4, 3), "w18"),
    "hr18s": (18, 2, (1, 1, 3, 2), "w18_small"),
    "hr48": (48, 4, (1, 1, 4, 3), "w48"),
}
"""size -> channels of the finest resolution, blocks of each branch, modules per stage, name of the ImageNet weights."""

_ALL = tuple(SIZES)
_AERIAL = ("isaid-896x896", "loveda-512x512", "potsdam-512x512", "vaihingen-512x512")
ROWS = (
    Rows("fcn", _ALL, 4, 2, ("40k", "80k", "160k"), ("cityscapes-512x1024",)),
    Rows("fcn", _ALL, 4, 4, ("80k", "160k"), ("ade20k-512x512",)),
    Rows("fcn", _ALL, 4, 4, ("20k", "40k"), ("voc12aug-512x512",)),
    Rows("fcn", _ALL, 4, 4, ("40k", "80k"), CONTEXT),
    Rows("fcn", _ALL, 4, 4, ("80k",), _AERIAL),
)


def backbone(size: str, *, norm: Config = SYNC_NORM) -> Config:
    """The network as a config writes it."""
    width, blocks, modules, _ = SIZES[size]

    def stage(number: int) -> Config:
        return {
            "num_modules": modules[number - 1],
            "num_branches": number,
            "block": "BASIC" if number > 1 else "BOTTLENECK",
            "num_blocks": (blocks,) * number,
            "num_channels": tuple(width * 2**branch for branch in range(number)) if number > 1 else (64,),
        }

    extra = {f"stage{number}": stage(number) for number in (1, 2, 3, 4)}
    return {"type": "HRNet", "norm_cfg": norm, "norm_eval": False, "extra": extra}


def weights(size: str) -> str:
    """The published weights to start from."""
    return f"open-mmlab://msra/hrnetv2_{SIZES[size][3]}"


def on_all(size: str, num_classes: int, *, norm: Config = SYNC_NORM) -> Config:
    """What heads on all four resolutions have in common."""
    return {
        "in_channels": [SIZES[size][0] * 2**level for level in range(4)],
        "in_index": (0, 1, 2, 3),
        "input_transform": "resize_concat",
        "dropout_ratio": -1,
        "num_classes": num_classes,
        "norm_cfg": norm,
        "align_corners": False,
    }


def plain_head(size: str, num_classes: int, *, norm: Config = SYNC_NORM, weight: float = 1.0) -> Config:
    """One convolution of all resolutions together."""
    return {
        "type": "FCNHead",
        **on_all(size, num_classes, norm=norm),
        "channels": 15 * SIZES[size][0],
        "kernel_size": 1,
        "num_convs": 1,
        "concat_input": False,
        "loss_decode": cross_entropy(weight),
    }


def _published(recipe: Published) -> Parts:
    model = {
        "type": "EncoderDecoder",
        "pretrained": weights(recipe.backbone),
        "backbone": backbone(recipe.backbone),
        "decode_head": plain_head(recipe.backbone, recipe.num_classes),
        "train_cfg": {},
        "test_cfg": testing(recipe),
    }
    return Parts(model, optimiser(recipe), poly(recipe.steps))


def _own(size: str, num_logits: int, bands: int) -> Config:
    return {
        "backbone": {**backbone(size, norm=NORM), "in_channels": bands},
        "decode_head": plain_head(size, num_logits, norm=NORM),
    }


METHOD = Method(
    "HRNet",
    "convolutional",
    "Deep High-Resolution Representation Learning for Visual Recognition",
    "Wang et al.",
    "TPAMI",
    2020,
    "https://arxiv.org/abs/1908.07919",
)
FAMILY = Family(
    ROWS, _published, own={f"fcn_{size}": partial(_own, size) for size in SIZES}, learning_rate=1e-3, method=METHOD
)
