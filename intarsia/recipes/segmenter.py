"""Segmenter: one token a class, masks as products of tokens."""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import SETTINGS, Config
from intarsia.recipes.dilated import cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import poly, sgd

SIZES: dict[str, tuple[int, int, int, str]] = {
    "t": (192, 12, 512, "tiny_p16_384_20220308-cce8c795"),
    "s": (384, 12, 512, "small_p16_384_20220308-410f6037"),
    "b": (768, 12, 512, "base_p16_384_20220308-96dfe169"),
    "l": (1024, 24, 640, "large_p16_384_20220308-d4efb41d"),
}
"""size -> channels, layers, side of the training images, file of the ImageNet weights."""

_WEIGHTS = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segmenter/vit_{}.pth"
_ALL = (*(f"vit-{size}_mask" for size in SIZES), "vit-s_fcn")
ROWS = (Rows("segmenter", _ALL, 8, 1, ("160k",), ("ade20k-512x512",)),)


def _parts(size: str, kind: str, num_classes: int, bands: int) -> Config:
    width, layers, side, _ = SIZES[size]
    head: Config = {"type": "FCNHead", "num_convs": 0, "concat_input": False}
    if kind == "mask":
        head = {
            "type": "SegmenterMaskTransformerHead",
            "num_layers": 2,
            "num_heads": width // 64,
            "embed_dims": width,
        }
    return {
        "backbone": {
            "type": "VisionTransformer",
            "img_size": (side, side),
            "patch_size": 16,
            "in_channels": bands,
            "embed_dims": width,
            "num_layers": layers,
            "num_heads": width // 64,
            "drop_path_rate": 0.1,
            "attn_drop_rate": 0.0,
            "drop_rate": 0.0,
            "final_norm": True,
            "norm_cfg": {"type": "LN", "eps": 1e-6, "requires_grad": True},
            "with_cls_token": True,
            "interpolate_mode": "bicubic",
        },
        "decode_head": {
            **head,
            "in_channels": width,
            "channels": width,
            "dropout_ratio": 0.0,
            "num_classes": num_classes,
            "loss_decode": cross_entropy(),
        },
    }


def _published(recipe: Published) -> Parts:
    size, kind = recipe.backbone.removeprefix("vit-").split("_")
    side = SIZES[size][2]
    middle = (127.5, 127.5, 127.5)
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor((side, side), mean=middle, std=middle),
        "pretrained": _WEIGHTS.format(SIZES[size][3]),
        **_parts(size, kind, recipe.num_classes, 3),
        "test_cfg": {"mode": "slide", "crop_size": (side, side), "stride": (side - 32, side - 32)},
    }
    setting = SETTINGS[f"ade20k-{side}x{side}"]
    return Parts(model, sgd(0.001, 0.0), poly(recipe.steps), setting=setting)


METHOD = Method(
    "Segmenter",
    "transformer",
    "Segmenter: Transformer for Semantic Segmentation",
    "Strudel, Garcia, Laptev, Schmid",
    "ICCV",
    2021,
    "https://arxiv.org/abs/2105.05633",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"segmenter_vit-{size}": partial(_parts, size, "mask") for size in SIZES},
    learning_rate=2e-4,
    method=METHOD,
)
