"""Plain vision transformers (ViT, DeiT) under UPerNet.

DeiT is the same network, trained as in Touvron et al.: "Training Data-Efficient Image Transformers & Distillation
through Attention", ICML 2021.

11 published recipes. ``ln`` ends the network in a norm; ``mln`` makes levels of other sizes of its layers.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, transformer
from intarsia.recipes.upernet import uper_heads

_ADE20K = ("ade20k-512x512",)
_LEVELS = tuple(f"{size}{norm}_mln_upernet" for size in ("deit-s16", "deit-b16", "vit-b16") for norm in ("", "-ln"))
ROWS = (
    Rows("vit", tuple(name for name in _LEVELS if name != "vit-b16_mln_upernet"), 8, 2, ("160k",), _ADE20K),
    Rows("vit", ("deit-s16_upernet", "deit-b16_upernet", "vit-b16_mln_upernet"), 8, 2, ("80k", "160k"), _ADE20K),
)
_WEIGHTS = {
    "vit-b16": "pretrain/vit_base_patch16_224.pth",
    "deit-b16": "pretrain/deit_base_patch16_224-b5f2ef4d.pth",
    "deit-s16": "pretrain/deit_small_patch16_224-cd65a155.pth",
}


def _parts(width: int, num_classes: int, bands: int, *, norm: Config | None = None) -> Config:
    stages = (width, width, width, width)
    heads = uper_heads(stages, num_classes, **({} if norm is None else {"norm": norm}))
    heads["auxiliary_head"] |= {"in_index": 3}
    return {
        "backbone": {
            "type": "VisionTransformer",
            "img_size": (512, 512),
            "patch_size": 16,
            "in_channels": bands,
            "embed_dims": width,
            "num_layers": 12,
            "num_heads": width // 64,
            "mlp_ratio": 4,
            "out_indices": (2, 5, 8, 11),
            "qkv_bias": True,
            "drop_rate": 0.0,
            "attn_drop_rate": 0.0,
            "drop_path_rate": 0.1,
            "with_cls_token": True,
            "norm_cfg": {"type": "LN", "eps": 1e-6},
            "act_cfg": {"type": "GELU"},
            "norm_eval": False,
            "interpolate_mode": "bicubic",
        },
        "neck": {
            "type": "MultiLevelNeck",
            "in_channels": list(stages),
            "out_channels": width,
            "scales": [4, 2, 1, 0.5],
        },
        **heads,
    }


def _published(recipe: Published) -> Parts:
    network, *levels, _ = recipe.backbone.split("_")
    size = network.removesuffix("-ln")
    parts = _parts(384 if size == "deit-s16" else 768, recipe.num_classes, 3)
    if network.endswith("-ln"):
        parts["backbone"]["final_norm"] = True
    elif size == "vit-b16":
        parts["backbone"]["drop_path_rate"] = 0.0
    if not levels:
        parts["neck"] = None
    model = {
        "type": "EncoderDecoder",
        "pretrained": _WEIGHTS[size],
        **parts,
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    rules = {name: {"decay_mult": 0.0} for name in ("pos_embed", "cls_token", "norm")}
    return Parts(model, adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": rules}), transformer(recipe.steps), workers=4)


_OWN = {"upernet_vit-s16": 384, "upernet_vit-b16": 768}

METHOD = Method(
    "ViT",
    "transformer",
    "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
    "Dosovitskiy et al.",
    "ICLR",
    2021,
    "https://arxiv.org/abs/2010.11929",
)
FAMILY = Family(
    ROWS,
    _published,
    own={name: partial(_parts, width, norm=NORM) for name, width in _OWN.items()},
    learning_rate=3e-4,
    method=METHOD,
)
