"""transformers (Hugging Face): SegFormer, UPerNet, Mask2Former, MaskFormer, and the backbones ResNet, Swin, MiT.

Two sets of names are in use: those of the files, which are also the library's before version 5, and those of the
modules in version 5. Both are here.

How their networks differ from OpenMMLab's of the same name, and what stands for it here:

    SegFormer     levels are projected without norm and activation, as in the paper (`linear_projection` of the head);
                  layer norms add 1e-5, not 1e-6; the fused levels come coarsest first
    Swin          patch merging goes neighbour by neighbour, here channel by channel
    MaskFormer, Mask2Former, UPerNet: in nothing but names

Behind the network there is one difference more: Mask2Former's masks are enlarged there to 384 x 384 whatever the image,
and only after the sigmoid to the image's size; here, as in the paper, to the image's size at once.
"""

from __future__ import annotations

from intarsia.weights.maps.rearrange import (
    as_convolution,
    merged_channel_by_channel,
    relative_positions,
    reversed_groups,
)
from intarsia.weights.maps.rules import KeyMap, KeyRule, Names, rules

# --- Backbones ----------------------------------------------------------------------------------------------------

_RESNET = rules(
    "",
    "backbone.",
    {
        "embedder.embedder.convolution.weight": "conv1.weight",
        "embedder.embedder.normalization.*": "bn1.*",
        "encoder.stages.{stage}.layers.{block}.layer.{i}.convolution.weight": "layer{stage+1}.{block}.conv{i+1}.weight",
        "encoder.stages.{stage}.layers.{block}.layer.{i}.normalization.*": "layer{stage+1}.{block}.bn{i+1}.*",
        "encoder.stages.{stage}.layers.{block}.shortcut.convolution.weight": (
            "layer{stage+1}.{block}.downsample.0.weight"
        ),
        "encoder.stages.{stage}.layers.{block}.shortcut.normalization.*": "layer{stage+1}.{block}.downsample.1.*",
    },
)

_POSITIONS = "attention.(self|relative_position_bias).relative_position_bias_table"

_SWIN = (
    *rules(
        "((swin|model).)?embeddings.",
        "backbone.patch_embed.",
        {"patch_embeddings.projection.*": "projection.*", "norm.*": "norm.*"},
    ),
    *rules(
        "((swin|model).)?encoder.layers.{stage}.blocks.{block}.",
        "backbone.stages.{stage}.blocks.{block}.",
        {
            "layernorm_before.*": "norm1.*",
            "layernorm_after.*": "norm2.*",
            _POSITIONS: "attn.w_msa.relative_position_bias_table",
            ("attention.self.query.*", "attention.self.key.*", "attention.self.value.*"): "attn.w_msa.qkv.*",
            ("attention.q_proj.*", "attention.k_proj.*", "attention.v_proj.*"): "attn.w_msa.qkv.*",
            "attention.(output.dense|o_proj).*": "attn.w_msa.proj.*",
            "(intermediate.dense|mlp.fc1).*": "ffn.layers.0.0.*",
            "(output.dense|mlp.fc2).*": "ffn.layers.1.*",
        },
    ),
    *rules(
        "((swin|model).)?encoder.layers.{stage}.blocks.{block}.",
        "backbone.stages.{stage}.blocks.{block}.",
        {_POSITIONS: ("attn.w_msa.relative_position_index", relative_positions)},
    ),
    *rules(
        "((swin|model).)?encoder.layers.{stage}.downsample.",
        "backbone.stages.{stage}.downsample.",
        {
            "norm.*": ("norm.*", merged_channel_by_channel),
            "reduction.weight": ("reduction.weight", merged_channel_by_channel),
        },
    ),
    *rules(
        "hidden_states_norms.",
        "backbone.",
        {"stage{level}.*": "norm{level-1}.*", "{level}.*": "norm{level}.*"},
    ),
)

_SWIN_UNUSED = (
    "((swin|model).)?layernorm.*",  # behind the last stage, which has a norm among the levels'
    "((swin|model).)?encoder.layers.{stage}.blocks.{block}.attention.self.relative_position_index",
)


def _mit_block(theirs: str) -> tuple[KeyRule, ...]:
    return rules(
        theirs,
        "backbone.layers.{stage}.1.{block}.",
        {
            "(layer_norm_1|layernorm_before).*": "norm1.*",
            ("attention.self.query.weight", "attention.self.key.weight", "attention.self.value.weight"): (
                "attn.attn.in_proj_weight"
            ),
            ("attention.self.query.bias", "attention.self.key.bias", "attention.self.value.bias"): (
                "attn.attn.in_proj_bias"
            ),
            ("attention.q_proj.weight", "attention.k_proj.weight", "attention.v_proj.weight"): (
                "attn.attn.in_proj_weight"
            ),
            ("attention.q_proj.bias", "attention.k_proj.bias", "attention.v_proj.bias"): "attn.attn.in_proj_bias",
            "attention.(output.dense|o_proj).*": "attn.attn.out_proj.*",
            "attention.(self.sr|sequence_reduction.sequence_reduction).*": "attn.sr.*",
            "attention.(self|sequence_reduction).layer_norm.*": "attn.norm.*",
            "(layer_norm_2|layernorm_after).*": "norm2.*",
            "mlp.(dense1|fc1).weight": ("ffn.layers.0.weight", as_convolution),
            "mlp.(dense1|fc1).bias": "ffn.layers.0.bias",
            "mlp.dwconv.dwconv.*": "ffn.layers.1.*",
            "mlp.(dense2|fc2).weight": ("ffn.layers.4.weight", as_convolution),
            "mlp.(dense2|fc2).bias": "ffn.layers.4.bias",
        },
    )


_MIT = (
    *_mit_block("segformer.encoder.block.{stage}.{block}."),
    *_mit_block("segformer.stages.{stage}.blocks.{block}."),
    *rules(
        "segformer.",
        "backbone.layers.{stage}.",
        {
            "encoder.patch_embeddings.{stage}.proj.*": "0.projection.*",
            "encoder.patch_embeddings.{stage}.layer_norm.*": "0.norm.*",
            "encoder.layer_norm.{stage}.*": "2.*",
            "stages.{stage}.patch_embeddings.proj.*": "0.projection.*",
            "stages.{stage}.patch_embeddings.layer_norm.*": "0.norm.*",
            "stages.{stage}.layer_norm.*": "2.*",
        },
    ),
)


def _backbones(theirs: str) -> tuple[KeyRule, ...]:
    """Whichever backbone a model stands on."""
    return tuple(rule.within(theirs, "") for rule in (*_RESNET, *_SWIN))


def _backbones_unused(theirs: str) -> tuple[str, ...]:
    return tuple(theirs + pattern for pattern in _SWIN_UNUSED)


# --- Heads --------------------------------------------------------------------------------------------------------

_SEGFORMER = rules(
    "decode_head.",
    "decode_head.",
    {
        "linear_(c|projections).{level}.proj.weight": ("convs.{level}.conv.weight", as_convolution),
        "linear_(c|projections).{level}.proj.bias": "convs.{level}.conv.bias",
        "linear_fuse.weight": ("fusion_conv.conv.weight", reversed_groups),
        "batch_norm.*": "fusion_conv.bn.*",
        "classifier.*": "conv_seg.*",
    },
)

_CONV: Names = {"conv.weight": "conv.weight", "batch_norm.*": "bn.*"}

_UPERNET = (
    *rules("decode_head.psp_modules.{scale}.1.", "decode_head.psp_modules.{scale}.1.", _CONV),
    *rules("decode_head.bottleneck.", "decode_head.bottleneck.", _CONV),
    *rules("decode_head.lateral_convs.{level}.", "decode_head.lateral_convs.{level}.", _CONV),
    *rules("decode_head.fpn_convs.{level}.", "decode_head.fpn_convs.{level}.", _CONV),
    *rules("decode_head.fpn_bottleneck.", "decode_head.fpn_bottleneck.", _CONV),
    *rules("decode_head.", "decode_head.", {"classifier.*": "conv_seg.*"}),
    *rules("auxiliary_head.convs.{i}.", "auxiliary_head.convs.{i}.", _CONV),
    *rules("auxiliary_head.conv_cat.", "auxiliary_head.conv_cat.", _CONV),
    *rules("auxiliary_head.", "auxiliary_head.", {"classifier.*": "conv_seg.*"}),
)


def _attention(theirs: str, ours: str) -> tuple[KeyRule, ...]:
    """Attention of DETR, whose projections are apart there and stacked here."""
    return rules(
        theirs,
        ours,
        {
            ("q_proj.weight", "k_proj.weight", "v_proj.weight"): "attn.in_proj_weight",
            ("q_proj.bias", "k_proj.bias", "v_proj.bias"): "attn.in_proj_bias",
            "(out_proj|o_proj).*": "attn.out_proj.*",
        },
    )


_MASK2FORMER = (
    *rules(
        "model.pixel_level_module.decoder.",
        "decode_head.pixel_decoder.",
        {
            "level_embed": "level_encoding.weight",
            "input_projections.{level}.0.*": "input_convs.{level}.conv.*",
            "input_projections.{level}.1.*": "input_convs.{level}.gn.*",
            "encoder.layers.{i}.self_attn.*": "encoder.layers.{i}.self_attn.*",
            "encoder.layers.{i}.self_attn_layer_norm.*": "encoder.layers.{i}.norms.0.*",
            "encoder.layers.{i}.fc1.*": "encoder.layers.{i}.ffn.layers.0.0.*",
            "encoder.layers.{i}.fc2.*": "encoder.layers.{i}.ffn.layers.1.*",
            "encoder.layers.{i}.final_layer_norm.*": "encoder.layers.{i}.norms.1.*",
            "adapter_{i}.0.weight": "lateral_convs.{i-1}.conv.weight",
            "adapter_{i}.1.*": "lateral_convs.{i-1}.gn.*",
            "layer_{i}.0.weight": "output_convs.{i-1}.conv.weight",
            "layer_{i}.1.*": "output_convs.{i-1}.gn.*",
            "mask_projection.*": "mask_feature.*",
        },
    ),
    *_attention(
        "model.transformer_module.decoder.layers.{i}.self_attn.",
        "decode_head.transformer_decoder.layers.{i}.self_attn.",
    ),
    *rules(
        "model.transformer_module.decoder.layers.{i}.",
        "decode_head.transformer_decoder.layers.{i}.",
        {
            "cross_attn.*": "cross_attn.attn.*",
            "cross_attn_layer_norm.*": "norms.0.*",
            "self_attn_layer_norm.*": "norms.1.*",
            "fc1.*": "ffn.layers.0.0.*",
            "fc2.*": "ffn.layers.1.*",
            "final_layer_norm.*": "norms.2.*",
        },
    ),
    *rules(
        "model.transformer_module.",
        "decode_head.",
        {
            "queries_embedder.weight": "query_embed.weight",
            "queries_features.weight": "query_feat.weight",
            "level_embed.weight": "level_embed.weight",
            "decoder.layernorm.*": "transformer_decoder.post_norm.*",
            "decoder.mask_predictor.mask_embedder.0.0.*": "mask_embed.0.*",
            "decoder.mask_predictor.mask_embedder.1.0.*": "mask_embed.2.*",
            "decoder.mask_predictor.mask_embedder.2.0.*": "mask_embed.4.*",
        },
    ),
    *rules("class_predictor.", "decode_head.cls_embed.", {"*": "*"}),
)

_MASKFORMER_LEVELS: Names = {  # their pyramid counts from the coarsest level, ours from the finest
    f"layers.{theirs}.{part}.{i}.*": f"{conv}.{2 - theirs}.{name}.*"
    for theirs in range(3)
    for part, conv in (("proj", "lateral_convs"), ("block", "output_convs"))
    for i, name in enumerate(("conv", "gn"))
}

_MASKFORMER = (
    *rules(
        "model.pixel_level_module.decoder.",
        "decode_head.pixel_decoder.",
        {
            "fpn.stem.0.weight": "last_feat_conv.conv.weight",
            "fpn.stem.1.*": "last_feat_conv.gn.*",
            "mask_projection.*": "mask_feature.*",
        },
    ),
    *rules("model.pixel_level_module.decoder.fpn.", "decode_head.pixel_decoder.", _MASKFORMER_LEVELS),
    *_attention(
        "model.transformer_module.decoder.layers.{i}.self_attn.",
        "decode_head.transformer_decoder.layers.{i}.self_attn.",
    ),
    *_attention(
        "model.transformer_module.decoder.layers.{i}.encoder_attn.",
        "decode_head.transformer_decoder.layers.{i}.cross_attn.",
    ),
    *rules(
        "model.transformer_module.decoder.layers.{i}.",
        "decode_head.transformer_decoder.layers.{i}.",
        {
            "self_attn_layer_norm.*": "norms.0.*",
            "encoder_attn_layer_norm.*": "norms.1.*",
            "(mlp.)?fc1.*": "ffn.layers.0.0.*",
            "(mlp.)?fc2.*": "ffn.layers.1.*",
            "final_layer_norm.*": "norms.2.*",
        },
    ),
    *rules(
        "model.transformer_module.",
        "decode_head.",
        {
            "queries_embedder.weight": "query_embed.weight",
            "input_projection.*": "decoder_input_proj.*",
            "decoder.layernorm.*": "transformer_decoder.post_norm.*",
        },
    ),
    *rules(
        "mask_embedder.",
        "decode_head.mask_embed.",
        {"0.0.*": "0.*", "1.0.*": "2.*", "2.0.*": "4.*"},
    ),
    *rules("class_predictor.", "decode_head.cls_embed.", {"*": "*"}),
)

_MASK_BACKBONE = "model.pixel_level_module.encoder."

MAPS = (
    KeyMap(
        "Mask2Former of transformers",
        ("model.transformer_module.queries_features.weight",),
        (*_backbones(_MASK_BACKBONE), *_MASK2FORMER),
        (*_backbones_unused(_MASK_BACKBONE), "criterion.empty_weight"),
    ),
    KeyMap(
        "MaskFormer of transformers",
        ("model.transformer_module.queries_embedder.weight", "mask_embedder.0.0.weight"),
        (*_backbones(_MASK_BACKBONE), *_MASKFORMER),
        (*_backbones_unused(_MASK_BACKBONE), "criterion.empty_weight"),
    ),
    KeyMap(
        "UPerNet of transformers",
        ("decode_head.classifier.weight", "decode_head.fpn_bottleneck.batch_norm.weight"),
        (*_backbones("backbone."), *_UPERNET),
        _backbones_unused("backbone."),
    ),
    KeyMap(
        "SegFormer of transformers",
        ("segformer.*", "decode_head.linear_fuse.weight"),
        (*_MIT, *_SEGFORMER),
    ),
    KeyMap("MiT of transformers", ("segformer.*",), _MIT, unused=("classifier.*",)),
    KeyMap(
        "ResNet of transformers",
        ("resnet.embedder.embedder.convolution.weight",),
        tuple(rule.within("resnet.", "") for rule in _RESNET),
        unused=("classifier.*",),
    ),
    KeyMap(
        "Swin Transformer of transformers",
        ("swin.embeddings.patch_embeddings.projection.weight",),
        _SWIN,
        unused=(*_SWIN_UNUSED, "classifier.*"),
    ),
)
