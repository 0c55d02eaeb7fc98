"""Tensor names that MMSegmentation's world used before, and what they are called today.

Most names never changed: the 626 checkpoints that MMSegmentation 1.2.2 lists, the oldest of 2020, load there without
being renamed. What did change:

    1.0.0rc2 to rc4    MaskFormer's and Mask2Former's transformer layers were generic ones: numbered attentions, whose
                       order is that in which they run, and a numbered feed-forward network
    0.x                averaged weights (EMA) lay beside the others, under names of their own, with "_" for "."
    VPD                had what makes images in its checkpoints, which nothing runs
    RegSeg             has other words for the backbone and the head
    SCTNet             named the layers of its pooling by their numbers, and kept its teacher
    offset learning    has the layer under a name of its own, beside the classifier whose place it takes
    authors' forks     Swin Transformer and SegFormer published checkpoints from their own copies of 0.x, with the names
                       of their papers' code for the backbone (and, SegFormer, the head)

Files of backbones alone have today's names but for the "backbone." before them. With the names of their papers' code
they are other libraries' files: see `maps/`, in whose language these tables are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from intarsia.weights.maps.rearrange import as_convolution, reversed_groups
from intarsia.weights.maps.rules import KeyMap, Names, rules
from intarsia.weights.maps.timm import MAPS as BACKBONES
from intarsia.weights.timm_names import WRAPPER, published_name

if TYPE_CHECKING:
    from torch import Tensor

# --- MaskFormer and Mask2Former of the release candidates ---------------------------------------------------------

_DECODER = "decode_head.transformer_decoder.layers.{layer}."
_ENCODER = "decode_head.pixel_decoder.encoder.layers.{layer}."

_ATTENTIONS = f"{_DECODER}attentions.0.attn.in_proj_weight"

_MASK2FORMER_RC = KeyMap(
    "Mask2Former of MMSegmentation 1.0.0rc2 to rc4",
    (_ATTENTIONS, "decode_head.query_feat.weight"),
    (
        *rules(
            _DECODER,
            _DECODER,
            {"attentions.0.*": "cross_attn.*", "attentions.1.*": "self_attn.*", "ffns.0.*": "ffn.*"},
        ),
        *rules(_ENCODER, _ENCODER, {"attentions.0.*": "self_attn.*", "ffns.0.*": "ffn.*"}),
    ),
)
_MASKFORMER_RC = KeyMap(
    "MaskFormer of MMSegmentation 1.0.0rc2 to rc4",
    (_ATTENTIONS, "decode_head.query_embed.weight"),
    rules(_DECODER, _DECODER, {"attentions.0.*": "self_attn.*", "attentions.1.*": "cross_attn.*", "ffns.0.*": "ffn.*"}),
)

# --- The authors' forks -------------------------------------------------------------------------------------------

_SWIN_BACKBONE = next(found for found in BACKBONES if found.name == "Swin Transformer of its original code")

_SWIN = KeyMap(
    "Swin Transformer's own segmentation code",
    tuple(f"backbone.{pattern}" for pattern in _SWIN_BACKBONE.signature),
    tuple(rule.within("backbone.", "") for rule in _SWIN_BACKBONE.rules),
    unused=("backbone.layers.{stage}.blocks.{block}.(attn_mask|attn.relative_position_index)",),
)

_MIT_BLOCK: Names = {
    "norm{i}.*": "norm{i}.*",
    ("attn.q.*", "attn.kv.*"): "attn.attn.in_proj_*",
    "attn.proj.*": "attn.attn.out_proj.*",
    "attn.sr.*": "attn.sr.*",
    "attn.norm.*": "attn.norm.*",
    "mlp.fc1.weight": ("ffn.layers.0.weight", as_convolution),
    "mlp.fc1.bias": "ffn.layers.0.bias",
    "mlp.dwconv.dwconv.*": "ffn.layers.1.*",
    "mlp.fc2.weight": ("ffn.layers.4.weight", as_convolution),
    "mlp.fc2.bias": "ffn.layers.4.bias",
}


def _mit(prefix: str) -> KeyMap:
    """SegFormer's backbone, and its head, which is ours with `linear_projection`.

    Norms of patches add 1e-5 to the variance there, and 1e-6 here, as everywhere in OpenMMLab's conversion of it.
    """
    return KeyMap(
        "SegFormer's own code" if prefix else "Mix Transformer of SegFormer's own code",
        (f"{prefix}block1.0.attn.q.weight", f"{prefix}patch_embed1.proj.weight"),
        (
            *rules(f"{prefix}block{{stage}}.{{block}}.", "backbone.layers.{stage-1}.1.{block}.", _MIT_BLOCK),
            *rules(
                f"{prefix}patch_embed{{stage}}.",
                "backbone.layers.{stage-1}.0.",
                {"proj.*": "projection.*", "norm.*": "norm.*"},
            ),
            *rules(f"{prefix}norm{{stage}}.", "backbone.layers.{stage-1}.2.", {"*": "*"}),
            *rules(
                "decode_head.",
                "decode_head.",
                {
                    "linear_c{level}.proj.weight": ("convs.{level-1}.conv.weight", as_convolution),
                    "linear_c{level}.proj.bias": "convs.{level-1}.conv.bias",
                    "linear_fuse.conv.weight": ("fusion_conv.conv.weight", reversed_groups),
                    "linear_fuse.bn.*": "fusion_conv.bn.*",
                    "linear_pred.*": "conv_seg.*",
                },
            ),
        ),
        # The fork's head inherited a classifier that it never used, and backbones bring one for ImageNet.
        unused=("decode_head.conv_seg.*", "head.*"),
    )


# --- Offset learning ----------------------------------------------------------------------------------------------

_OFFSETS = KeyMap(
    "offset learning's own code",
    ("decode_head.offset_learning.cls_repr",),
    rules("decode_head.", "decode_head.", {"offset_learning.*": "conv_seg.*"}),
    # Its heads inherited a classifier that they never use.
    unused=("decode_head.conv_seg.*",),
)

# --- RegSeg -------------------------------------------------------------------------------------------------------

_REGSEG = KeyMap(
    "RegSeg's own code",
    ("body.stage16.0.se.conv1.weight", "decoder.head16.conv.weight"),
    (
        *rules("stem.", "backbone.stem.", {"*": "*"}),
        *rules("body.", "backbone.body.", {"*": "*"}),
        *rules("decoder.", "decode_head.", {f"{part}.*": f"{part}.*" for part in ("head16", "head8", "head4")}),
        *rules("decoder.", "decode_head.", {"conv8.*": "conv8.*", "conv4.*": "conv4.*", "classifier.*": "conv_seg.*"}),
    ),
)

# --- SCTNet -------------------------------------------------------------------------------------------------------

_POOLING: Names = {
    "scale0.0.*": "scales.0.bn.*",
    "scale0.2.*": "scales.0.conv.*",
    "scale{scale}.1.*": "scales.{scale}.1.bn.*",
    "scale{scale}.3.*": "scales.{scale}.1.conv.*",
    "process{scale}.0.*": "processes.{scale-1}.bn.*",
    "process{scale}.2.*": "processes.{scale-1}.conv.*",
    "compression.0.*": "compression.bn.*",
    "compression.2.*": "compression.conv.*",
    "shortcut.0.*": "shortcut.bn.*",
    "shortcut.2.*": "shortcut.conv.*",
}
_SCTNET = KeyMap(
    "SCTNet's own code",
    ("backbone.layer3_2.attn_l.kv", "backbone.spp.scale0.0.weight"),
    rules("backbone.spp.", "backbone.spp.", _POOLING),
    unused=("auxiliary_head.1.*",),  # the transformer that it learnt from
)

# --- Backbones alone ----------------------------------------------------------------------------------------------

_BACKBONE_SIGNATURES = {
    "ResNet with a deep stem": ("stem.0.weight", "layer4.0.conv1.weight"),
    "HRNet": ("transition1.0.0.weight", "stage4.0.branches.0.0.conv1.weight"),
    "Swin Transformer": ("patch_embed.projection.weight", "stages.0.blocks.0.attn.w_msa.qkv.weight"),
    "Mix Transformer": ("layers.0.0.projection.weight", "layers.0.1.0.attn.attn.in_proj_weight"),
}
"""What MMSegmentation starts trainings from: files of the backbone, whose names lack the word before them."""

_BACKBONES = tuple(
    KeyMap(f"the backbone alone ({name})", signature, rules("", "backbone.", {"*": "*"}))
    for name, signature in _BACKBONE_SIGNATURES.items()
)

# --- Latent diffusion ---------------------------------------------------------------------------------------------

_UNET_PARTS = ("time_embed", "input_blocks", "middle_block", "output_blocks")
_ENCODER_PARTS = ("encoder", "quant_conv")

_VPD = KeyMap(
    "VPD of MMSegmentation, which keeps what makes images",
    ("backbone.encoder_vq.decoder.*",),
    (),
    unused=(
        "backbone.encoder_vq.(decoder|post_quant_conv).*",
        "backbone.unet.unet.diffusion_model.out.*",
    ),
)
_STABLE_DIFFUSION = KeyMap(
    "Stable Diffusion, of which VPD takes the U-Net and the encoder",
    ("model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.encoder.conv_in.weight"),
    (
        *rules("first_stage_model.", "backbone.encoder_vq.", {f"{part}.*": f"{part}.*" for part in _ENCODER_PARTS}),
        *rules(
            "model.diffusion_model.",
            "backbone.unet.unet.diffusion_model.",
            {f"{part}.*": f"{part}.*" for part in _UNET_PARTS},
        ),
    ),
    unused=(
        "(first_stage_model|model|cond_stage_model|model_ema).*",
        "(alphas|log|lvlb|posterior|sqrt)_*",
        "(betas|logvar|scale_factor)",
    ),
)

MAPS = (
    _MASK2FORMER_RC, _MASKFORMER_RC, _SWIN, _mit("backbone."), _mit(""), _VPD, _OFFSETS, _SCTNET, _REGSEG,
    _STABLE_DIFFUSION, *_BACKBONES,
)  # fmt: skip

_AVERAGED = "ema_"
_BACKBONE = "backbone."


def with_present_names(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """A state dict of MMSegmentation's world under today's names, and notes on what was renamed or left out."""
    notes = []
    plain = {name.replace(".", "_") for name in state}
    averaged = {name for name in state if name.startswith(_AVERAGED) and name.removeprefix(_AVERAGED) in plain}
    if averaged:
        notes.append(f"{len(averaged)} averaged weights of a hook of MMSegmentation 0.x (ema_...) are left out")
    kept = {name: value for name, value in state.items() if name not in averaged}
    if any(name.startswith(f"{_BACKBONE}{WRAPPER}") for name in kept):
        notes.append("names of MMSegmentation's TIMMBackbone became those of timm")
        inner = {name: name.removeprefix(_BACKBONE) for name in kept}
        return {
            name if inner[name] == name else f"{_BACKBONE}{published_name(inner[name])}": value
            for name, value in kept.items()
        }, notes
    found = next((candidate for candidate in MAPS if candidate.fits(kept)), None)
    if found is None:
        return kept, notes
    converted, unknown = found.convert(kept)
    notes.append(f"names of {found.name} were brought up to date")
    return {name: kept[name] for name in unknown} | converted, notes
