"""MaskFormer: masks found by queries, then named."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from intarsia.recipes import swin
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, resnet, widths
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, poly, transformer

_ALL = ("r50-d32", "r101-d32", "swin-t_upernet", "swin-s_upernet")
ROWS = (Rows("maskformer", _ALL, 8, 2, ("160k",), ("ade20k-512x512",)),)
SIZES = {"swin-t": "tiny", "swin-s": "small", "swin-b": "base", "swin-l": "large"}
Head = Callable[[tuple[int, int, int, int], int], Config]
"""(channels of the stages, number of classes) -> a head."""

_RELU: Config = {"type": "ReLU", "inplace": True}


def class_loss(num_classes: int, weight: float) -> Config:
    """The loss of the names; a mask of nothing counts a tenth."""
    return {
        "type": "mmdet.CrossEntropyLoss",
        "use_sigmoid": False,
        "loss_weight": weight,
        "reduction": "mean",
        "class_weight": [1.0] * num_classes + [0.1],
    }


def dice_loss(weight: float) -> Config:
    """The loss of the masks as wholes."""
    return {
        "type": "mmdet.DiceLoss",
        "use_sigmoid": True,
        "activate": True,
        "reduction": "mean",
        "naive_dice": True,
        "eps": 1.0,
        "loss_weight": weight,
    }


def decoder(layers: int, dropout: float) -> Config:
    """The transformer whose queries look for masks."""
    attention = {
        "embed_dims": 256,
        "num_heads": 8,
        "attn_drop": dropout,
        "proj_drop": dropout,
        "dropout_layer": None,
        "batch_first": True,
    }
    forward = {
        "embed_dims": 256,
        "feedforward_channels": 2048,
        "num_fcs": 2,
        "act_cfg": _RELU,
        "ffn_drop": dropout,
        "dropout_layer": None,
        "add_identity": True,
    }
    layer = {"self_attn_cfg": attention, "cross_attn_cfg": attention, "ffn_cfg": forward}
    return {"return_intermediate": True, "num_layers": layers, "layer_cfg": layer, "init_cfg": None}


def matching(*costs: Config) -> Config:
    """Which mask answers which class of an image: the cheapest assignment."""
    return {
        "assigner": {"type": "mmdet.HungarianAssigner", "match_costs": list(costs)},
        "sampler": {"type": "mmdet.MaskPseudoSampler"},
    }


def spared(depths: tuple[int, ...], rate: float) -> Config:
    """Swin's norms and biases by name: no decay, and the backbone's rate."""
    kept = {"lr_mult": rate, "decay_mult": 0.0}
    blocks = [f"stages.{stage}.blocks.{block}" for stage, depth in enumerate(depths) for block in range(depth)]
    downsampling = [f"stages.{stage}.downsample" for stage in range(len(depths) - 1)]
    norms = [f"backbone.{name}.norm" for name in (*blocks, *downsampling, "patch_embed")]
    return dict.fromkeys((*norms, "backbone.norm", "relative_position_bias_table"), kept)


def _head(stages: tuple[int, int, int, int], num_classes: int) -> Config:
    focal = {"alpha": 0.25, "gamma": 2.0, "reduction": "mean", "loss_weight": 20.0}
    return {
        "type": "MaskFormerHead",
        "in_channels": list(stages),
        "in_index": [0, 1, 2, 3],
        "feat_channels": 256,
        "out_channels": 256,
        "num_classes": num_classes,
        "num_queries": 100,
        "pixel_decoder": {
            "type": "mmdet.PixelDecoder",
            "norm_cfg": {"type": "GN", "num_groups": 32},
            "act_cfg": {"type": "ReLU"},
        },
        "enforce_decoder_input_project": False,
        "positional_encoding": {"num_feats": 128, "normalize": True},
        "transformer_decoder": decoder(6, 0.1),
        "loss_cls": class_loss(num_classes, 1.0),
        "loss_mask": {"type": "mmdet.FocalLoss", "use_sigmoid": True, **focal},
        "loss_dice": dice_loss(1.0),
        "train_cfg": matching(
            {"type": "mmdet.ClassificationCost", "weight": 1.0},
            {"type": "mmdet.FocalLossCost", "weight": 20.0, "binary_input": True},
            {"type": "mmdet.DiceCost", "weight": 1.0, "pred_act": True, "eps": 1.0},
        ),
    }


def _published(recipe: Published) -> Parts:
    network = recipe.backbone.partition("_")[0]
    clip = {"max_norm": 0.01, "norm_type": 2}
    if network in SIZES:
        size = SIZES[network]
        stages, backbone = swin.stages(size), swin.backbone(size)
        weights = swin.weights(f"{size}-patch4-window7-in1k-pre")
        rules = {
            "backbone": {"lr_mult": 1.0},
            **spared(swin.SIZES[size][1], 1.0),
            "query_embed": {"decay_mult": 0.0},
        }
        optim = adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": rules}, clip_grad=clip)
        schedule = transformer(recipe.steps)
    else:
        depth = int(network.partition("-")[0].strip("r"))
        stages, weights = widths(depth), f"torchvision://resnet{depth}"
        backbone = {**resnet("ResNet", depth, norm=SYNC_NORM, stride=None), "norm_eval": True}
        rules = {"backbone": {"lr_mult": 0.1}}
        optim = adamw(1e-4, 1e-4, paramwise_cfg={"custom_keys": rules}, clip_grad=clip)
        schedule = poly(recipe.steps, eta_min=0)
    model = {
        "type": "EncoderDecoder",
        "backbone": {**backbone, "init_cfg": {"type": "Pretrained", "checkpoint": weights}},
        "decode_head": _head(stages, recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    return Parts(model, optim, schedule)


def own_resnet(head: Head, depth: int, num_logits: int, bands: int) -> Config:
    """A mask classifier's head on a residual network, for a user's own data."""
    backbone = {**resnet("ResNet", depth, norm=NORM, stride=None), "in_channels": bands}
    return {"backbone": backbone, "decode_head": head(widths(depth), num_logits)}


def own_swin(head: Head, size: str, num_logits: int, bands: int) -> Config:
    """A mask classifier's head on a Swin transformer, for a user's own data."""
    return {
        "backbone": {**swin.backbone(size), "in_channels": bands},
        "decode_head": head(swin.stages(size), num_logits),
    }


_OWN = {f"maskformer_r{depth}": partial(own_resnet, _head, depth) for depth in (50, 101)}

METHOD = Method(
    "MaskFormer",
    "masks",
    "Per-Pixel Classification is Not All You Need for Semantic Segmentation",
    "Cheng, Schwing, Kirillov",
    "NeurIPS",
    2021,
    "https://arxiv.org/abs/2107.06278",
)
FAMILY = Family(
    ROWS,
    _published,
    own={**_OWN, "maskformer_swin-t": partial(own_swin, _head, "tiny")},
    learning_rate=1e-4,
    method=METHOD,
)
