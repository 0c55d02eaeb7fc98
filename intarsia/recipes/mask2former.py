"""Mask2Former: MaskFormer with attention within the masks found so far.

13 published recipes, on residual networks and on Swin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from intarsia.recipes import swin
from intarsia.recipes.benchmarks import CITYSCAPES, Config, augmentation, shortest_edges
from intarsia.recipes.dilated import widths
from intarsia.recipes.maskformer import SIZES, class_loss, decoder, dice_loss, matching, own_resnet, own_swin, spared
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import adamw, loops, poly

_SMALL = ("r50", "r101", "swin-t", "swin-s")
_LARGE = ("swin-b-in22k-384x384-pre", "swin-l-in22k-384x384-pre")
ROWS = (
    Rows("mask2former", (*_SMALL, *_LARGE), 8, 2, ("90k",), ("cityscapes-512x1024",)),
    Rows("mask2former", _SMALL, 8, 2, ("160k",), ("ade20k-512x512",)),
    Rows("mask2former", ("swin-b-in1k-384x384-pre", *_LARGE), 8, 2, ("160k",), ("ade20k-640x640",)),
)


def _pixel_decoder() -> Config:
    attention = {
        "embed_dims": 256,
        "num_heads": 8,
        "num_levels": 3,
        "num_points": 4,
        "im2col_step": 64,
        "dropout": 0.0,
        "batch_first": True,
        "norm_cfg": None,
        "init_cfg": None,
    }
    forward = {
        "embed_dims": 256,
        "feedforward_channels": 1024,
        "num_fcs": 2,
        "ffn_drop": 0.0,
        "act_cfg": {"type": "ReLU", "inplace": True},
    }
    return {
        "type": "mmdet.MSDeformAttnPixelDecoder",
        "num_outs": 3,
        "norm_cfg": {"type": "GN", "num_groups": 32},
        "act_cfg": {"type": "ReLU"},
        "encoder": {
            "num_layers": 6,
            "layer_cfg": {"self_attn_cfg": attention, "ffn_cfg": forward},
            "init_cfg": None,
        },
        "positional_encoding": {"num_feats": 128, "normalize": True},
        "init_cfg": None,
    }


def head(stages: Sequence[int], num_classes: int) -> Config:
    """The head on four levels of strides 4 to 32, of so many channels each."""
    matched = matching(
        {"type": "mmdet.ClassificationCost", "weight": 2.0},
        {"type": "mmdet.CrossEntropyLossCost", "weight": 5.0, "use_sigmoid": True},
        {"type": "mmdet.DiceCost", "weight": 5.0, "pred_act": True, "eps": 1.0},
    )
    return {
        "type": "Mask2FormerHead",
        "in_channels": list(stages),
        "strides": [4, 8, 16, 32],
        "feat_channels": 256,
        "out_channels": 256,
        "num_classes": num_classes,
        "num_queries": 100,
        "num_transformer_feat_level": 3,
        "align_corners": False,
        "pixel_decoder": _pixel_decoder(),
        "enforce_decoder_input_project": False,
        "positional_encoding": {"num_feats": 128, "normalize": True},
        "transformer_decoder": decoder(9, 0.0),
        "loss_cls": class_loss(num_classes, 2.0),
        "loss_mask": {
            "type": "mmdet.CrossEntropyLoss",
            "use_sigmoid": True,
            "reduction": "mean",
            "loss_weight": 5.0,
        },
        "loss_dice": dice_loss(5.0),
        "train_cfg": {"num_points": 12544, "oversample_ratio": 3.0, "importance_sample_ratio": 0.75, **matched},
    }


def _resnet(depth: int) -> Config:
    return {
        "type": "ResNet",
        "depth": depth,
        "deep_stem": False,
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "frozen_stages": -1,
        "norm_cfg": {"type": "SyncBN", "requires_grad": False},
        "style": "pytorch",
        "init_cfg": {"type": "Pretrained", "checkpoint": f"torchvision://resnet{depth}"},
    }


def _swin(network: str) -> tuple[Config, str]:
    """(backbone, its size) of a name such as "swin-b-in22k-384x384-pre"."""
    size, start = SIZES[network[:6]], network[7:]
    window = 12 if start else 7
    weights = swin.weights(f"{size}-patch4-window{window}-{start or 'in1k-pre'}")
    backbone = {
        **swin.bare(size, window=window),
        **({"pretrain_img_size": 384} if start else {}),
        "with_cp": False,
        "frozen_stages": -1,
        "init_cfg": {"type": "Pretrained", "checkpoint": weights},
    }
    return backbone, size


def _published(recipe: Published) -> Parts:
    rules: Config = {
        "backbone": {"lr_mult": 0.1, "decay_mult": 1.0},
        **{name: {"lr_mult": 1.0, "decay_mult": 0.0} for name in ("query_embed", "query_feat", "level_embed")},
    }
    if recipe.backbone.startswith("swin"):
        backbone, size = _swin(recipe.backbone)
        stages = swin.stages(size)
        rules |= spared(swin.SIZES[size][1], 0.1)
        rules["absolute_pos_embed"] = rules["relative_position_bias_table"]
    else:
        depth = int(recipe.backbone[1:])
        backbone, stages = _resnet(depth), widths(depth)
    setting = recipe.setting
    divisor: Config = {} if setting.crop == (640, 640) else {"test_cfg": {"size_divisor": 32}}
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor(setting.crop, **divisor),
        "backbone": backbone,
        "decode_head": head(stages, recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    optim = adamw(
        1e-4,
        0.05,
        paramwise_cfg={"custom_keys": rules, "norm_decay_mult": 0.0},
        clip_grad={"max_norm": 0.01, "norm_type": 2},
    )
    optim["optimizer"]["eps"] = 1e-8
    streets = setting.benchmark is CITYSCAPES
    side = 1024 if streets else setting.crop[0]
    resize = shortest_edges(side, largest=4 * side)
    others = loops(recipe.steps, every=5000, log_every=50)
    others["default_hooks"]["checkpoint"]["save_best"] = "mIoU"
    if recipe.backbone in _SMALL and not streets:
        others["custom_imports"] = {"imports": "mmdet.models", "allow_failed_imports": False}
    others["auto_scale_lr"] = {"enable": False, "base_batch_size": 16}
    return Parts(
        model,
        optim,
        poly(recipe.steps, eta_min=0),
        others,
        setting=replace(setting, augment=augmentation(setting, resize=resize)),
        workers=2 if streets else 4,
    )


_OWN = {f"mask2former_r{depth}": partial(own_resnet, head, depth) for depth in (50, 101)}

METHOD = Method(
    "Mask2Former",
    "masks",
    "Masked-attention Mask Transformer for Universal Image Segmentation",
    "Cheng, Misra, Schwing, Kirillov, Girdhar",
    "CVPR",
    2022,
    "https://arxiv.org/abs/2112.01527",
)
FAMILY = Family(
    ROWS,
    _published,
    own={**_OWN, "mask2former_swin-t": partial(own_swin, head, "tiny")},
    learning_rate=1e-4,
    method=METHOD,
)
