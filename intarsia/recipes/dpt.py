"""DPT: a plain transformer's layers made into images again."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, transformer

ROWS = (Rows("dpt", ("vit-b16",), 8, 2, ("160k",), ("ade20k-512x512",)),)


def _parts(num_classes: int, bands: int, *, norm: Config = NORM) -> Config:
    backbone = {
        "type": "VisionTransformer",
        "img_size": 224,
        "embed_dims": 768,
        "num_layers": 12,
        "num_heads": 12,
        "out_indices": (2, 5, 8, 11),
        "final_norm": False,
        "with_cls_token": True,
        "output_cls_token": True,
    }
    return {
        "backbone": backbone if bands == 3 else {**backbone, "in_channels": bands},
        "decode_head": {
            "type": "DPTHead",
            "in_channels": (768, 768, 768, 768),
            "in_index": (0, 1, 2, 3),
            "input_transform": "multiple_select",
            "channels": 256,
            "embed_dims": 768,
            "post_process_channels": [96, 192, 384, 768],
            "readout_type": "project",
            "num_classes": num_classes,
            "norm_cfg": norm,
            "loss_decode": cross_entropy(),
        },
    }


def _published(recipe: Published) -> Parts:
    model = {
        "type": "EncoderDecoder",
        "pretrained": "pretrain/vit-b16_p16_224-80ecf9dd.pth",
        **_parts(recipe.num_classes, 3, norm=SYNC_NORM),
        "auxiliary_head": None,
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    rules = {name: {"decay_mult": 0.0} for name in ("pos_embed", "cls_token", "norm")}
    optim = adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": rules})
    return Parts(model, optim, transformer(recipe.steps))


METHOD = Method(
    "DPT",
    "transformer",
    "Vision Transformers for Dense Prediction",
    "Ranftl, Bochkovskiy, Koltun",
    "ICCV",
    2021,
    "https://arxiv.org/abs/2103.13413",
)
FAMILY = Family(ROWS, _published, own={"dpt_vit-b16": _parts}, learning_rate=1e-4, method=METHOD)
