"""SegFormer.

13 published recipes: six backbones on ADE20K and Cityscapes, the largest also at 640 x 640.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, transformer

_WEIGHTS = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_{}.pth"

BACKBONES: dict[str, tuple[int, tuple[int, int, int, int], str]] = {
    "b0": (32, (2, 2, 2, 2), "b0_20220624-7e0fe6dd"),
    "b1": (64, (2, 2, 2, 2), "b1_20220624-02e5a6a1"),
    "b2": (64, (3, 4, 6, 3), "b2_20220624-66e8bf70"),
    "b3": (64, (3, 4, 18, 3), "b3_20220624-13b1141c"),
    "b4": (64, (3, 8, 27, 3), "b4_20220624-d588d980"),
    "b5": (64, (3, 6, 40, 3), "b5_20220624-658746d9"),
}
"""size -> channels per attention head, layers per stage, file of the ImageNet weights."""

_HEADS = (1, 2, 5, 8)
_ALL = tuple(f"mit-{size}" for size in BACKBONES)

ROWS = (
    Rows("segformer", _ALL, 8, 1, ("160k",), ("cityscapes-1024x1024",)),
    Rows("segformer", _ALL, 8, 2, ("160k",), ("ade20k-512x512",)),
    Rows("segformer", ("mit-b5",), 8, 2, ("160k",), ("ade20k-640x640",)),
)


def _parts(size: str, num_logits: int, bands: int, *, norm: str) -> Config:
    width, layers, _ = BACKBONES[size]
    return {
        "backbone": {
            "type": "MixVisionTransformer",
            "in_channels": bands,
            "embed_dims": width,
            "num_stages": 4,
            "num_layers": list(layers),
            "num_heads": list(_HEADS),
            "patch_sizes": [7, 3, 3, 3],
            "sr_ratios": [8, 4, 2, 1],
            "out_indices": (0, 1, 2, 3),
            "mlp_ratio": 4,
            "qkv_bias": True,
            "drop_rate": 0.0,
            "attn_drop_rate": 0.0,
            "drop_path_rate": 0.1,
        },
        "decode_head": {
            "type": "SegformerHead",
            "in_channels": [width * heads for heads in _HEADS],
            "in_index": [0, 1, 2, 3],
            "channels": 256,
            "dropout_ratio": 0.1,
            "num_classes": num_logits,
            "norm_cfg": {"type": norm, "requires_grad": True},
            "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        },
    }


def _published(recipe: Published) -> Parts:
    size = recipe.backbone.removeprefix("mit-")
    parts = _parts(size, recipe.num_classes, 3, norm="SyncBN")
    parts["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": _WEIGHTS.format(BACKBONES[size][2])}
    slide = {"mode": "slide", "crop_size": (1024, 1024), "stride": (768, 768)}
    model = {
        "type": "EncoderDecoder",
        "pretrained": None,
        **parts,
        "train_cfg": {},
        "test_cfg": slide if recipe.setting.crop == (1024, 1024) else {"mode": "whole"},
    }
    setting = recipe.setting
    if setting.crop == (640, 640):  # images are resized to a shorter side than in other families
        setting = replace(setting, scale=(2048, 640))
    return Parts(model, _optimiser(), transformer(recipe.steps), setting=setting)


def _optimiser() -> Config:
    """The paper's rates are for pretrained backbones: the head learns ten times faster, norms do not decay."""
    rules = {"pos_block": {"decay_mult": 0.0}, "norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}}
    return adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": rules})


METHOD = Method(
    "SegFormer",
    "transformer",
    "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
    "Xie et al.",
    "NeurIPS",
    2021,
    "https://arxiv.org/abs/2105.15203",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"segformer_mit-{size}": partial(_parts, size, norm="BN") for size in BACKBONES},
    learning_rate=1e-3,
    method=METHOD,
)
