"""SAN: a small network beside a frozen CLIP, classes named in words.

6 published recipes. Those on Pascal are for tests of what was trained on COCO-Stuff: their images are trained on as in
other families, and their losses still weigh its 171 classes.
"""

from __future__ import annotations

from dataclasses import replace

from intarsia.recipes.benchmarks import Config, Setting, shortest_edges
from intarsia.recipes.dilated import cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import adamw, loops, poly, transformer

_ADDRESS = "https://download.openmmlab.com/mmsegmentation/v0.5/san/clip_vit-{}.pth"
_LARGE_ON_OTHERS = "pretrain/jx_vit_base_p16_224-80ecf9dd.pth"
SIZES: dict[str, tuple[int, int, int, int, float, int, str, str]] = {
    "b16": (768, 9, 16, 224, 0.5, 512, "base-patch16-224_3rdparty-d08f8887", "pretrain/vit_base_patch16_224.pth"),
    "l14": (1024, 18, 14, 336, 0.7, 768, "large-patch14-336_3rdparty-0b5df9cb", _LARGE_ON_OTHERS),
}  # fmt: skip
"""size -> channels and layers of the image encoder, its patches and images, the share of the image's side that it is
given, channels of the text encoder, file of the weights on COCO-Stuff and on the others."""

_SETTINGS = {
    "coco-stuff164k": "coco-stuff164k-512x512",
    "pascal_context": "pascal-context-59-480x480",
    "voc12aug": "voc12aug-512x512",
}
"""Benchmark in the name -> the setting whose data it takes."""

_BATCH = {"b16": 8, "l14": 4}
ROWS = tuple(
    Rows(f"san-vit-{size}", ("",), 1, 2, ("160k",), (setting,), form=f"{{method}}_{benchmark}-640x640")
    for size in SIZES
    for benchmark, setting in _SETTINGS.items()
)
_OBJECTS = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def _colour(index: int) -> list[int]:
    """Of a class of Pascal VOC: the index's bits, dealt out to red, green and blue, the highest first."""
    return [sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]


def _image_encoder(size: str) -> Config:
    width, layers, patch, side, *_ = SIZES[size]
    return {
        "type": "VisionTransformer",
        "img_size": (side, side),
        "patch_size": patch,
        "patch_pad": 0,
        "in_channels": 3,
        "embed_dims": width,
        "num_layers": layers,
        "num_heads": width // 64,
        "mlp_ratio": 4,
        "out_origin": True,
        "out_indices": tuple(layers // 3 * third - 1 for third in (1, 2, 3)),
        "qkv_bias": True,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": 0.0,
        "with_cls_token": True,
        "output_cls_token": True,
        "patch_bias": False,
        "pre_norm": True,
        "norm_cfg": {"type": "LN", "eps": 1e-5},
        "act_cfg": {"type": "QuickGELU"},
        "norm_eval": False,
        "interpolate_mode": "bicubic",
        "frozen_exclude": ["pos_embed"],
    }


def _text_encoder(size: str, vocabulary: str) -> Config:
    width = SIZES[size][5]
    return {
        "type": "CLIPTextEncoder",
        "dataset_name": vocabulary,
        "templates": "vild",
        "embed_dims": width,
        "num_layers": 12,
        "num_heads": width // 64,
        "mlp_ratio": 4,
        "output_dims": width,
        "cache_feature": True,
        "cat_bg": True,
        "norm_cfg": {"type": "LN", "eps": 1e-5},
    }


def _side_adapter(width: int) -> Config:
    return {
        "in_channels": 3,
        "clip_channels": width,
        "embed_dims": 240,
        "patch_size": 16,
        "patch_bias": True,
        "num_queries": 100,
        "cfg_encoder": {"num_encode_layer": 8, "num_heads": 6, "mlp_ratio": 4},
        "fusion_index": [0, 1, 2, 3],
        "cfg_decoder": {
            "num_heads": width // 64,
            "num_layers": 1,
            "embed_channels": 256,
            "mlp_channels": 256,
            "num_mlp": 3,
            "rescale": True,
        },
        "norm_cfg": {"type": "LN", "eps": 1e-6},
    }


def _head(size: str, num_classes: int) -> Config:
    width, layers, *_, text, _, _ = SIZES[size]
    dice = {"type": "DiceLoss", "ignore_index": None, "naive_dice": True, "eps": 1}
    costs = [
        {"type": "ClassificationCost", "weight": 2.0},
        {"type": "CrossEntropyLossCost", "weight": 5.0, "use_sigmoid": True},
        {"type": "DiceCost", "weight": 5.0, "pred_act": True, "eps": 1.0},
    ]
    return {
        "type": "SideAdapterCLIPHead",
        "num_classes": num_classes,
        "deep_supervision_idxs": [7],
        "align_corners": False,
        "san_cfg": _side_adapter(width),
        "maskgen_cfg": {
            "sos_token_format": "cls_token",
            "sos_token_num": 100,
            "cross_attn": False,
            "num_layers": layers // 3,
            "embed_dims": width,
            "num_heads": width // 64,
            "mlp_ratio": 4,
            "qkv_bias": True,
            "out_dims": text,
            "final_norm": True,
            "act_cfg": {"type": "QuickGELU"},
            "norm_cfg": {"type": "LN", "eps": 1e-5},
            "frozen_exclude": [],
        },
        "train_cfg": {
            "num_points": 12544,
            "oversample_ratio": 3.0,
            "importance_sample_ratio": 0.75,
            "assigner": {"type": "HungarianAssigner", "match_costs": costs},
        },
        "loss_decode": [
            {
                "type": "CrossEntropyLoss",
                "loss_name": "loss_cls_ce",
                "loss_weight": 2.0,
                "class_weight": [1.0] * 171 + [0.1],
            },
            {**cross_entropy(5.0, use_sigmoid=True), "loss_name": "loss_mask_ce"},
            {**dice, "loss_name": "loss_mask_dice", "loss_weight": 5.0},
        ],
    }


def _setting(usual: Setting, benchmark: str) -> Setting:
    """Tested at a shorter side of 640; labels of Pascal Context are left as they are there."""
    resized = replace(usual, test_resize=({"type": "ResizeShortestEdge", "scale": (640, 640), "max_size": 2560},))
    if benchmark == "coco-stuff164k":
        augment = (
            shortest_edges(640, largest=2560, tenths=range(5, 16)),
            {"type": "RandomCrop", "crop_size": (640, 640), "cat_max_ratio": 1.0},
            {"type": "PhotoMetricDistortion"},
            {"type": "RandomFlip", "prob": 0.5},
        )
        return replace(resized, augment=augment)
    keys = {}
    if benchmark == "voc12aug":
        keys = {"metainfo": {"classes": _OBJECTS, "palette": [_colour(index) for index in range(1, 21)]}}
    labels = replace(usual.benchmark, reduce_zero_label=False, keys=keys)
    return replace(usual, val=replace(resized, benchmark=labels))


def _published(recipe: Published) -> Parts:
    size = recipe.method.removeprefix("san-vit-")
    benchmark = recipe.name.removeprefix(f"{recipe.method}_").removesuffix("-640x640")
    coco = benchmark == "coco-stuff164k"
    usual = preprocessor(None, mean=(122.7709, 116.746, 104.0937), std=(68.5005, 66.6322, 70.3232))
    weights, others_weights = SIZES[size][6:]
    model = {
        "type": "MultimodalEncoderDecoder",
        "data_preprocessor": {**usual, "size_divisor": 640, "test_cfg": {"size_divisor": 32}},
        "pretrained": _ADDRESS.format(weights) if coco else others_weights,
        "asymetric_input": True,
        "encoder_resolution": SIZES[size][4],
        "image_encoder": _image_encoder(size),
        "text_encoder": _text_encoder(size, "voc" if benchmark == "voc12aug" else benchmark),
        "decode_head": _head(size, 20 if benchmark == "voc12aug" else recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    rules: Config = {name: {"decay_mult": 0.0} for name in ("pos_embed", "cls_token", "norm")}
    setting = _setting(recipe.setting, benchmark)
    if not coco:
        optim = adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": rules})
        return Parts(model, optim, transformer(recipe.steps), setting=setting, workers=4)
    rules["img_encoder"] = {"lr_mult": 0.1, "decay_mult": 1.0}
    optim = {
        **adamw(1e-4, 1e-4, paramwise_cfg={"custom_keys": rules}),
        "type": "AmpOptimWrapper",
        "loss_scale": "dynamic",
        "clip_grad": {"max_norm": 0.01, "norm_type": 2},
    }
    others = loops(60_000, every=500, log_every=50)
    others["train_cfg"]["val_begin"] = 55_000
    others["default_hooks"]["checkpoint"] |= {"interval": 10_000, "save_best": "mIoU"}
    schedule = poly(60_000, eta_min=0.0, power=1.0)
    return Parts(model, optim, schedule, others, setting=setting, batch=_BATCH[size])


METHOD = Method(
    "SAN",
    "words and depth",
    "Side Adapter Network for Open-Vocabulary Semantic Segmentation",
    "Xu, Zhang, Wei, Hu, Bai",
    "CVPR",
    2023,
    "https://arxiv.org/abs/2302.12242",
)
FAMILY = Family(ROWS, _published, method=METHOD)
