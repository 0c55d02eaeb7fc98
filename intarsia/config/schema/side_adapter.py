"""The vocabulary of SAN's head: SideAdapterCLIPHead and everything inside it."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, Fate, nothing, refused, to
from intarsia.config.schema.notation import SCOPE

_OWN_START = refused("parts initialise themselves as their papers say", None)
_MEAN = refused("how losses are averaged is fixed", "mean")
_KIND = to("nothing: there is one kind, others are refused", "str")
_LOSS: dict[str, Fate] = SCOPE | {
    "type": _KIND,
    "loss_name": to("objective argument `names`", "str"),
    "loss_weight": to("objective argument `loss_weights`", "float"),
    "reduction": _MEAN,
}

SIDE_ADAPTER_AREAS: dict[str, Area] = {
    "SideAdapterCLIPHead": SCOPE
    | {
        "type": to("what it is"),
        "num_classes": to("argument `num_classes`, objective argument `num_classes`, inference.num_classes", "int"),
        "san_cfg": to("arguments of the head", "dict"),
        "maskgen_cfg": to("arguments of the head", "dict"),
        "deep_supervision_idxs": to("argument `deep_supervision_idxs`, objective argument `layers`", "Sequence[int]"),
        "train_cfg": to("objective", "dict | None"),
        "test_cfg": refused("how images are predicted is said in model.test_cfg", None, {}),
        "loss_decode": to("objective", "list[dict]"),
        "ignore_index": to("objective argument `ignore_index`", "int"),
        "align_corners": to("argument `align_corners`, inference.align_corners", "bool"),
        "init_cfg": _OWN_START,
    },
    "SideAdapterCLIPHead: san_cfg": {
        "in_channels": to("argument `image_channels`", "int"),
        "clip_channels": to("argument `clip_channels`", "int"),
        "embed_dims": to("argument `embed_dims`", "int"),
        "patch_size": to("argument `patch_size`", "int"),
        "patch_bias": to("argument `patch_bias`", "bool"),
        "num_queries": to("argument `num_queries`", "int"),
        "fusion_index": to("arguments `fusion_index`, `in_index`", "Sequence[int]"),
        "cfg_encoder": to("arguments `num_layers`, `num_heads`, `mlp_ratio`", "dict"),
        "cfg_decoder": to("arguments `bias_heads`, `bias_layers`, `mask_channels` ...", "dict"),
        "norm_cfg": to("argument `norm`", "dict"),
        "init_cfg": _OWN_START,
    },
    "SideAdapterCLIPHead: cfg_encoder": {
        "num_encode_layer": to("argument `num_layers`", "int"),
        "num_heads": to("argument `num_heads`", "int"),
        "mlp_ratio": to("argument `mlp_ratio`", "int"),
    },
    "SideAdapterCLIPHead: cfg_decoder": {
        "num_heads": to("argument `bias_heads`", "int"),
        "num_layers": to("argument `bias_layers`", "int"),
        "embed_channels": to("argument `mask_channels`", "int"),
        "mlp_channels": to("argument `mask_hidden`", "int"),
        "num_mlp": to("argument `mask_layers`", "int"),
        "rescale": to("argument `rescale_bias`", "bool"),
    },
    "SideAdapterCLIPHead: maskgen_cfg": {
        "sos_token_format": refused("the queries' tokens start as CLIP's class token", "cls_token"),
        "sos_token_num": to("nothing: it is num_queries of san_cfg, or refused", "int"),
        "cross_attn": refused("the queries' tokens go through CLIP's own layers", False),
        "num_layers": to("argument `clip_layers`", "int"),
        "embed_dims": to("nothing: it is clip_channels of san_cfg, or refused", "int"),
        "num_heads": to("argument `clip_heads`", "int"),
        "mlp_ratio": to("argument `clip_mlp_ratio`", "int"),
        "num_fcs": refused("the perceptron has two layers", 2),
        "qkv_bias": to("argument `clip_qkv_bias`", "bool"),
        "out_dims": to("argument `out_dims`", "int"),
        "final_norm": to("argument `final_norm`", "bool"),
        "act_cfg": to("argument `clip_activation`", "dict"),
        "norm_cfg": to("argument `clip_norm`", "dict"),
        "frozen_exclude": to("argument `frozen_exclude`", "Sequence[str]"),
        "init_cfg": _OWN_START,
    },
    "SideAdapterCLIPHead: train_cfg": {
        "assigner": to("objective argument `match_weights`", "dict"),
        "sampler": refused("all masks are learnt from", {"type": "mmdet.MaskPseudoSampler"}),
        "num_points": to("objective argument `num_points`", "int"),
        "oversample_ratio": to("objective argument `oversample_ratio`", "float"),
        "importance_sample_ratio": to("objective argument `importance_ratio`", "float"),
    },
    "SideAdapterCLIPHead: loss_cls": _LOSS
    | {
        "use_sigmoid": refused("a query has one class", False),
        "class_weight": to("objective argument `class_weight`", "Sequence[float]"),
    },
    "SideAdapterCLIPHead: loss_mask": _LOSS
    | {"use_sigmoid": to("nothing: it is True, since a mask is a yes or no for each pixel, or refused", "bool")},
    "SideAdapterCLIPHead: loss_dice": _LOSS
    | {
        "use_sigmoid": refused("a mask is a yes or no for each pixel", True),
        "activate": refused("masks are logits", True),
        "naive_dice": to("nothing: it is True, or refused", "bool"),
        "eps": to("objective argument `dice_eps`", "float"),
        "ignore_index": nothing("a mask says yes or no everywhere"),
    },
}
"""Section -> key -> what becomes of it."""
