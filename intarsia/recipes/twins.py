"""Twins: attention within windows and, in between, over the whole image.

12 published recipes: two networks of three sizes each, under Semantic FPN and under UPerNet.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, poly, transformer
from intarsia.recipes.sem_fpn import pyramid, pyramid_head
from intarsia.recipes.upernet import uper_heads

_PCPVT = ((64, 128, 320, 512), (1, 2, 5, 8))
SIZES: dict[str, tuple[tuple[int, int, int, int], tuple[int, int, int, int], tuple[int, int, int, int], str]] = {
    "pcpvt-s": (*_PCPVT, (3, 4, 6, 3), "pcpvt_small_20220308-e638c41c"),
    "pcpvt-b": (*_PCPVT, (3, 4, 18, 3), "pcpvt_base_20220308-0621964c"),
    "pcpvt-l": (*_PCPVT, (3, 8, 27, 3), "pcpvt_large_20220308-37579dc6"),
    "svt-s": ((64, 128, 256, 512), (2, 4, 8, 16), (2, 2, 10, 4), "alt_gvt_small_20220308-7e1c3695"),
    "svt-b": ((96, 192, 384, 768), (3, 6, 12, 24), (2, 2, 18, 2), "alt_gvt_base_20220308-1b7eb711"),
    "svt-l": ((128, 256, 512, 1024), (4, 8, 16, 32), (2, 2, 18, 2), "alt_gvt_large_20220308-fb5936f3"),
}
"""size -> channels, attention heads and blocks of the stages, file of the ImageNet weights."""

_WEIGHTS = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/twins/{}.pth"
ROWS = (
    Rows("twins", tuple(f"{size}_fpn_fpnhead" for size in SIZES), 8, 4, ("80k",), ("ade20k-512x512",)),
    Rows("twins", tuple(f"{s}_uperhead" for s in SIZES if s != "pcpvt-s"), 8, 2, ("160k",), ("ade20k-512x512",)),
    Rows("twins", ("pcpvt-s_uperhead",), 8, 4, ("160k",), ("ade20k-512x512",)),
)
_DROPPING = ("pcpvt-b_uperhead", "pcpvt-l_uperhead", "svt-l_uperhead", "svt-l_fpn_fpnhead")
"""Recipes that leave out more of their residual branches in training."""


def _backbone(size: str, bands: int, *, drop_path: float = 0.2) -> Config:
    widths, heads, depths, _ = SIZES[size]
    common = {
        "in_channels": bands,
        "embed_dims": list(widths),
        "num_heads": list(heads),
        "patch_sizes": [4, 2, 2, 2],
        "strides": [4, 2, 2, 2],
        "out_indices": (0, 1, 2, 3),
        "qkv_bias": True,
        "norm_cfg": {"type": "LN"},
        "depths": list(depths),
        "sr_ratios": [8, 4, 2, 1],
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": drop_path,
    }
    if size.startswith("pcpvt"):
        return {"type": "PCPVT", **common, "mlp_ratios": [8, 8, 4, 4], "norm_after_stage": False}
    # the key is misspelt in the published configs and changes nothing
    return {
        "type": "SVT",
        **common,
        "mlp_ratios": [4, 4, 4, 4],
        "norm_after_stage": True,
        "windiow_sizes": [7, 7, 7, 7],
    }


def _published(recipe: Published) -> Parts:
    size, pyramids = recipe.backbone.partition("_")[0], recipe.backbone.endswith("fpnhead")
    start = {"type": "Pretrained", "checkpoint": _WEIGHTS.format(SIZES[size][3])}
    backbone = _backbone(size, 3, drop_path=0.3 if recipe.backbone in _DROPPING else 0.2)
    model = {
        "type": "EncoderDecoder",
        "backbone": {**backbone, "init_cfg": start},
        **(_pyramid(size, recipe.num_classes) if pyramids else uper_heads(SIZES[size][0], recipe.num_classes)),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    if pyramids:
        return Parts(model, adamw(1e-4, 1e-4, betas=None, clip_grad=None), poly(recipe.steps))
    rules = {name: {"decay_mult": 0.0} for name in ("pos_block", "norm")}
    return Parts(model, adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": rules}), transformer(recipe.steps))


def _pyramid(size: str, num_classes: int, *, norm: Config = SYNC_NORM) -> Config:
    return {"neck": pyramid(SIZES[size][0]), "decode_head": pyramid_head(num_classes, norm=norm)}


def _own(size: str, num_logits: int, bands: int) -> Config:
    backbone = _backbone(size, bands)
    backbone.pop("windiow_sizes", None)
    return {"backbone": backbone, **_pyramid(size, num_logits, norm=NORM)}


METHOD = Method(
    "Twins",
    "transformer",
    "Twins: Revisiting the Design of Spatial Attention in Vision Transformers",
    "Chu et al.",
    "NeurIPS",
    2021,
    "https://arxiv.org/abs/2104.13840",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"fpn_twins-{size}": partial(_own, size) for size in SIZES},
    learning_rate=3e-4,
    method=METHOD,
)
