"""The vocabulary of heads that classify masks: MaskFormerHead, Mask2FormerHead and everything inside them.

They are written as OpenMMLab's detection library writes its transformers, layer by layer. What their papers fix is
fixed here: such a key is legal with the papers' value and refused with any other, never read and forgotten.
"""

from __future__ import annotations

from intarsia.config.schema.fates import Area, Fate, nothing, refused, to

_SCOPE = {"_scope_": nothing("one table holds the parts of all registries")}
_WIDTH = to("nothing: it is feat_channels, or refused", "int")
_DROPOUT = to("argument `dropout`, the same everywhere in the decoder", "float")
_RELU = refused(
    "the activation is ReLU", {"type": "ReLU"}, {"type": "ReLU", "inplace": True}, {"type": "ReLU", "inplace": False}
)
_LAYER_NORM = refused("the norm is LN", None, {"type": "LN"})
_OWN_START = refused("parts initialise themselves as their papers say", None)
_PSEUDO_SAMPLER = ({"type": "mmdet.MaskPseudoSampler"}, {"type": "MaskPseudoSampler"})
_KIND = to("nothing: there is one kind, others are refused", "str")
_MEAN = refused("how losses are averaged is fixed", "mean")
_WEIGHT = to("objective argument `loss_weights`", "float")
_COST = to("objective argument `match_weights`", "float")

_HEAD: dict[str, Fate] = _SCOPE | {
    "type": to("what it is"),
    "in_channels": to("argument `in_channels`", "Sequence[int]"),
    "in_index": to("argument `in_index`", "Sequence[int]"),
    "num_classes": to("argument `num_classes`, objective argument `num_classes`, inference.num_classes", "int"),
    "feat_channels": to("argument `channels`", "int"),
    "out_channels": to("argument `mask_channels`", "int"),
    "num_queries": to("argument `num_queries`", "int"),
    "ignore_index": to("objective argument `ignore_index`", "int"),
    "align_corners": to("inference.align_corners", "bool"),
    "strides": nothing("places are fractions of the image"),
    "pixel_decoder": to("arguments of the head", "dict"),
    "transformer_decoder": to("arguments `num_layers`, `num_heads`, `hidden`, `dropout`", "dict"),
    "positional_encoding": to("nothing: it is as in the paper, or refused", "dict"),
    "loss_cls": to("objective", "dict"),
    "loss_mask": to("objective", "dict"),
    "loss_dice": to("objective", "dict"),
    "train_cfg": to("objective", "dict | None"),
    "test_cfg": refused("how images are predicted is said in model.test_cfg", None, {}),
    "init_cfg": _OWN_START,
}
_PIXEL_DECODER: dict[str, Fate] = _SCOPE | {
    "type": _KIND,
    "norm_cfg": to("argument `norm`", "dict"),
    "act_cfg": _RELU,
    "init_cfg": _OWN_START,
}

QUERY_AREAS: dict[str, Area] = {
    "MaskFormerHead": _HEAD | {"enforce_decoder_input_project": to("argument `enforce_decoder_input_project`", "bool")},
    "MaskFormerHead: pixel_decoder": _PIXEL_DECODER,
    "MaskFormerHead: loss_mask": _SCOPE
    | {
        "type": _KIND,
        "use_sigmoid": refused("a mask is a yes or no for each pixel", True),
        "alpha": to("objective argument `focal_alpha`", "float"),
        "gamma": to("objective argument `focal_gamma`", "float"),
        "loss_weight": _WEIGHT,
        "reduction": _MEAN,
    },
    "MaskFormerHead: train_cfg": {
        "assigner": to("objective argument `match_weights`", "dict"),
        "sampler": refused("all masks are learnt from", *_PSEUDO_SAMPLER),
    },
    "Mask2FormerHead": _HEAD
    | {
        "enforce_decoder_input_project": refused("the levels have the decoder's width already", False),
        "num_transformer_feat_level": refused("the queries look at three levels", 3),
    },
    "Mask2FormerHead: pixel_decoder": _PIXEL_DECODER
    | {
        "num_outs": refused("the queries look at three levels", 3),
        "encoder": to("arguments `encoder_layers`, `encoder_heads`, `encoder_points`, `encoder_hidden`", "dict"),
        "positional_encoding": to("nothing: it is as in the paper, or refused", "dict"),
    },
    "Mask2FormerHead: pixel_decoder.encoder": {
        "num_layers": to("argument `encoder_layers`", "int"),
        "layer_cfg": to("arguments `encoder_heads`, `encoder_points`, `encoder_hidden`", "dict"),
        "init_cfg": _OWN_START,
    },
    "Mask2FormerHead: pixel_decoder.encoder.layer_cfg": {
        "self_attn_cfg": to("arguments `encoder_heads`, `encoder_points`", "dict"),
        "ffn_cfg": to("argument `encoder_hidden`", "dict"),
        "norm_cfg": _LAYER_NORM,
        "init_cfg": _OWN_START,
    },
    "Mask2FormerHead: pixel_decoder.encoder.layer_cfg.self_attn_cfg": {
        "embed_dims": _WIDTH,
        "num_heads": to("argument `encoder_heads`", "int"),
        "num_points": to("argument `encoder_points`", "int"),
        "num_levels": to("nothing: it is 3, or refused", "int"),
        "dropout": to("nothing: it is 0, or refused", "float"),
        "im2col_step": nothing("of a compiled kernel"),
        "batch_first": nothing("the order of axes is the layer's own affair"),
        "norm_cfg": refused("the norm behind the attention is layer_cfg.norm_cfg", None),
        "init_cfg": _OWN_START,
    },
    "Mask2FormerHead: loss_mask": _SCOPE
    | {
        "type": _KIND,
        "use_sigmoid": to("nothing: it is True, since a mask is a yes or no for each pixel, or refused", "bool"),
        "loss_weight": _WEIGHT,
        "reduction": _MEAN,
    },
    "Mask2FormerHead: train_cfg": {
        "assigner": to("objective argument `match_weights`", "dict"),
        "sampler": refused("all masks are learnt from", *_PSEUDO_SAMPLER),
        "num_points": to("objective argument `num_points`", "int"),
        "oversample_ratio": to("objective argument `oversample_ratio`", "float"),
        "importance_sample_ratio": to("objective argument `importance_ratio`", "float"),
    },
    "mask classifier: transformer_decoder": {
        "num_layers": to("argument `num_layers`", "int"),
        "layer_cfg": to("arguments `num_heads`, `hidden`, `dropout`", "dict"),
        "return_intermediate": refused("every layer is trained", True),
        "post_norm_cfg": _LAYER_NORM,
        "init_cfg": _OWN_START,
    },
    "mask classifier: transformer_decoder.layer_cfg": {
        "self_attn_cfg": to("arguments `num_heads`, `dropout`", "dict"),
        "cross_attn_cfg": to("arguments `num_heads`, `dropout`", "dict"),
        "ffn_cfg": to("arguments `hidden`, `dropout`", "dict"),
        "norm_cfg": _LAYER_NORM,
        "init_cfg": _OWN_START,
    },
    "mask classifier: self_attn_cfg, cross_attn_cfg": {
        "embed_dims": _WIDTH,
        "num_heads": to("argument `num_heads`, the same in both attentions", "int"),
        "attn_drop": _DROPOUT,
        "proj_drop": _DROPOUT,
        "dropout_layer": refused("attn_drop and proj_drop say it", None),
        "batch_first": nothing("the order of axes is the layer's own affair"),
        "init_cfg": _OWN_START,
    },
    "mask classifier: ffn_cfg": {
        "embed_dims": _WIDTH,
        "feedforward_channels": to("argument `hidden`, or `encoder_hidden`", "int"),
        "num_fcs": refused("the perceptron has two layers", 2),
        "ffn_drop": to("argument `dropout`; 0 in the encoder, or refused", "float"),
        "act_cfg": _RELU,
        "dropout_layer": refused("ffn_drop says it", None),
        "add_identity": refused("every sub-layer has a residual connection", True),
        "init_cfg": _OWN_START,
    },
    "mask classifier: positional_encoding": _SCOPE
    | {
        "type": _KIND,
        "num_feats": to("nothing: it is half of feat_channels, or refused", "int"),
        "normalize": to("nothing: it is True, or refused", "bool"),
        "temperature": refused("wavelengths grow to 10000", 10000),
        "init_cfg": _OWN_START,
    },
    "mask classifier: loss_cls": _SCOPE
    | {
        "type": _KIND,
        "use_sigmoid": refused("a query has one class", False),
        "class_weight": to("objective argument `class_weight`", "Sequence[float]"),
        "loss_weight": _WEIGHT,
        "reduction": _MEAN,
    },
    "mask classifier: loss_dice": _SCOPE
    | {
        "type": _KIND,
        "use_sigmoid": refused("a mask is a yes or no for each pixel", True),
        "activate": refused("masks are logits", True),
        "naive_dice": to("nothing: it is True, or refused", "bool"),
        "eps": to("objective argument `dice_eps`", "float"),
        "loss_weight": _WEIGHT,
        "reduction": _MEAN,
    },
    "mask classifier: assigner": _SCOPE
    | {"type": _KIND, "match_costs": to("objective argument `match_weights`", "list[dict]")},
    "ClassificationCost": _SCOPE | {"type": _KIND, "weight": _COST},
    "CrossEntropyLossCost": _SCOPE
    | {"type": _KIND, "weight": _COST, "use_sigmoid": refused("a mask is a yes or no for each pixel", True)},
    "FocalLossCost": _SCOPE
    | {
        "type": _KIND,
        "weight": _COST,
        "alpha": to("nothing: it is that of loss_mask, or refused", "float"),
        "gamma": to("nothing: it is that of loss_mask, or refused", "float"),
        "eps": nothing("the cost is computed from logits, where no logarithm meets a 0"),
        "binary_input": to("nothing: it is True, or refused", "bool"),
    },
    "DiceCost": _SCOPE
    | {
        "type": _KIND,
        "weight": _COST,
        "eps": to("nothing: it is that of loss_dice, or refused", "float"),
        "pred_act": to("nothing: it is True, since masks are logits, or refused", "bool"),
        "naive_dice": refused("the cost is the loss", True),
    },
}
"""Section -> key -> what becomes of it."""
