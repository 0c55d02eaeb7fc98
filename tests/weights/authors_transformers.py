"""As `authors`, of transformers and heads on them.

VWFormer        yan-hao-tian/VW 43d205b (decode_heads/vw_head.py), on ConvNeXt of MMClassification
ViT-Adapter     czczup/ViT-Adapter 0ae64bb (vit_adapter.py, base/vit.py), 5cf0b2d (adapter_modules.py)
EfficientViT    mit-han-lab/efficientvit 0049597 (backbone.py), 0dcf43d (ops.py), 5c423e5 (seg.py)
PMT             tue-mps/pmt 5813efb (image/models/pmt.py, pmd.py, layers.py)
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.weights.authors import Shapes, batch_norm, conv, conv_module, layer_norm, linear, under

# --- VWFormer -----------------------------------------------------------------------------------------------------


def _convnext_t() -> Shapes:
    widths, found = (96, 192, 384, 768), under("downsample_layers.0.0.", conv(96, 3, 4, bias=True))
    found |= under("downsample_layers.0.1.", layer_norm(96))
    for stage, (width, depth) in enumerate(zip(widths, (3, 3, 9, 3), strict=True)):
        if stage:
            found |= under(f"downsample_layers.{stage}.0.", layer_norm(widths[stage - 1]))
            found |= under(f"downsample_layers.{stage}.1.", conv(width, widths[stage - 1], 2, bias=True))
        for block in range(depth):
            found |= under(
                f"stages.{stage}.{block}.",
                {"gamma": (width,)},
                under("depthwise_conv.", conv(width, 1, 7, bias=True)),
                under("norm.", layer_norm(width)),
                under("pointwise_conv1.", linear(4 * width, width)),
                under("pointwise_conv2.", linear(width, 4 * width)),
            )
        found |= under(f"norm{stage}.", layer_norm(width))
    return found


def vwformer_ade20k() -> Shapes:
    """VWHead. `g`, `theta` and `phi` of non-local blocks have no norms, and so biases."""
    c, classes = 512, 150
    head = under("conv_seg.", conv(classes, c, bias=True))
    for level, width in zip((4, 3, 2), (768, 384, 192), strict=True):
        head |= under(f"linear_c{level}.proj.", linear(c, width))
    head |= under("linear_c1.proj.", linear(48, 96))
    for window, ratio in enumerate((2, 4, 8)):
        head |= under(f"attn.{window}.conv_out.", conv_module(c, c))
        for name in ("g", "theta", "phi"):
            head |= under(f"attn.{window}.{name}.conv.", conv(c, c, bias=True))
        head |= under(f"ds.{window}.", conv_module(c // ratio**2, c, ratio))
    for name, before in (("linear_fuse", 3 * c), ("short_path", c), ("image_pool.1", c), ("cat", 5 * c)):
        head |= under(f"{name}.", conv_module(c, before))
    head |= under("low_level_fuse.", conv_module(c, c + 48))
    return under("backbone.", _convnext_t()) | under("decode_head.", head)


def vwformer_cityscapes() -> Shapes:
    """VWCityHead."""
    c, classes = 512, 19
    head = under("conv_seg.", conv(classes, c, bias=True))
    for level, width in zip((4, 3, 2), (768, 384, 192), strict=True):
        head |= under(f"linear_c{level}.", conv_module(c, width))
    head |= under("linear_c1.", conv_module(48, 96))
    for window, ratio in enumerate((2, 4, 8)):
        head |= under(f"attn.{window}.", {"in_proj_weight": (3 * c, c), "in_proj_bias": (3 * c,)})
        head |= under(f"attn.{window}.out_proj.", linear(c, c))
        head |= under(f"ds.{window}.", conv_module(c // ratio**2, c, ratio))
    for name, before in (("linear_fuse", 3 * c), ("short_path", c), ("cat", 4 * c), ("low_level_fuse", c + 48)):
        head |= under(f"{name}.", conv_module(c, before))
    return under("backbone.", _convnext_t()) | under("decode_head.", head)


# --- ViT-Adapter --------------------------------------------------------------------------------------------------


def vit_adapter_s() -> Shapes:
    """DeiT-S under UPerNet on ADE20K: 6 heads of deformable attention of 4 points; no class token, no last norm."""
    c, heads, points, classes = 384, 6, 4, 150

    def deformable(levels: int) -> Shapes:
        places = heads * levels * points
        return under(
            "attn.",
            under("sampling_offsets.", linear(2 * places, c)),
            under("attention_weights.", linear(places, c)),
            under("value_proj.", linear(c, c)),
            under("output_proj.", linear(c, c)),
        )

    norms = under("query_norm.", layer_norm(c)) | under("feat_norm.", layer_norm(c))
    ffn = under("ffn.fc1.", linear(c // 4, c)) | under("ffn.dwconv.dwconv.", conv(c // 4, 1, 3, bias=True))
    ffn |= under("ffn.fc2.", linear(c, c // 4)) | under("ffn_norm.", layer_norm(c))
    extractor = {**norms, **deformable(1), **ffn}
    spm = {}
    for place, out, before in (("stem.0", 64, 3), ("stem.3", 64, 64), ("stem.6", 64, 64), ("conv2.0", 128, 64),
                               ("conv3.0", 256, 128), ("conv4.0", 256, 256)):  # fmt: skip
        name, _, index = place.partition(".")
        spm |= under(f"{place}.", conv(out, before, 3)) | under(f"{name}.{int(index) + 1}.", batch_norm(out))
    for level, before in enumerate((64, 128, 256, 256), start=1):
        spm |= under(f"fc{level}.", conv(c, before, bias=True))
    found: Shapes = {"pos_embed": (1, 197, c), "level_embed": (3, c)}
    found |= under("patch_embed.proj.", conv(c, 3, 16, bias=True)) | under("spm.", spm)
    for block in range(12):
        found |= under(
            f"blocks.{block}.",
            under("norm1.", layer_norm(c)),
            under("attn.qkv.", linear(3 * c, c)),
            under("attn.proj.", linear(c, c)),
            under("norm2.", layer_norm(c)),
            under("mlp.fc1.", linear(4 * c, c)),
            under("mlp.fc2.", linear(c, 4 * c)),
        )
    for place in range(4):
        found |= under(f"interactions.{place}.injector.", norms, deformable(3), {"gamma": (c,)})
        found |= under(f"interactions.{place}.extractor.", extractor)
        found |= under(f"norm{place + 1}.", batch_norm(c))
    for place in range(2):
        found |= under(f"interactions.3.extra_extractors.{place}.", extractor)
    found |= under("up.", {"weight": (c, c, 2, 2), "bias": (c,)})
    return under("backbone.", found) | _upernet([c] * 4, classes) | _fcn(c, classes)


def _upernet(widths: Sequence[int], classes: int, c: int = 512) -> Shapes:
    """MMSegmentation's."""
    head = under("conv_seg.", conv(classes, c, bias=True))
    for place in range(4):
        head |= under(f"psp_modules.{place}.1.", conv_module(c, widths[-1]))
    head |= under("bottleneck.", conv_module(c, widths[-1] + 4 * c, 3)) | under(
        "fpn_bottleneck.", conv_module(c, 4 * c, 3)
    )
    for place, width in enumerate(widths[:-1]):
        head |= under(f"lateral_convs.{place}.", conv_module(c, width)) | under(
            f"fpn_convs.{place}.", conv_module(c, c, 3)
        )
    return under("decode_head.", head)


def _fcn(width: int, classes: int) -> Shapes:
    return under(
        "auxiliary_head.",
        under("conv_seg.", conv(classes, 256, bias=True)),
        under("convs.0.", conv_module(256, width, 3)),
    )


# --- EfficientViT -------------------------------------------------------------------------------------------------


def _layer(out: int, before: int, kernel: int, *, norm: bool = True, bias: bool = False) -> Shapes:
    found = under("conv.", conv(out, before, kernel, bias=bias))
    return found | (under("norm.", batch_norm(out)) if norm else {})


def _mb_conv(before: int, out: int, expand: int, *, fewer_norm: bool = False) -> Shapes:
    """A layer without a norm has a bias."""
    inner = before * expand
    kept = {"norm": not fewer_norm, "bias": fewer_norm}
    found = under("inverted_conv.", _layer(inner, before, 1, **kept))
    return found | under("depth_conv.", _layer(inner, 1, 3, **kept)) | under("point_conv.", _layer(out, inner, 1))


def _fused(before: int, out: int, expand: int) -> Shapes:
    inner = before * expand
    return under("spatial_conv.", _layer(inner, before, 3)) | under("point_conv.", _layer(out, inner, 1))


def _efficientvit_block(width: int, dim: int, expand: int) -> Shapes:
    heads = width // dim
    total = heads * dim
    attention = under("qkv.", _layer(3 * total, width, 1, norm=False))
    attention |= under("aggreg.0.0.", conv(3 * total, 1, 5)) | under("aggreg.0.1.", conv(3 * total, dim, 1))
    attention |= under("proj.", _layer(width, 2 * total, 1))
    local = _mb_conv(width, width, expand, fewer_norm=True)
    return under("context_module.main.", attention) | under("local_module.main.", local)


def _efficientvit_head(
    levels: Sequence[int], width: int, blocks: Sequence[Shapes], expand: int, classes: int
) -> Shapes:
    """levels: coarsest first, whose first two are enlarged."""
    found: Shapes = {}
    for place, before in enumerate(levels):
        found |= under(f"input_ops.{place}.{'op_list.0.' if place < 2 else ''}", _layer(width, before, 1))
    for place, block in enumerate(blocks):
        found |= under(f"middle.op_list.{place}.main.", block)
    if expand:
        found |= under("output_ops.0.op_list.0.", _layer(width * expand, width, 1))
    last = f"output_ops.0.op_list.{1 if expand else 0}."
    return found | under(last, _layer(classes, width * (expand or 1), 1, norm=False, bias=True))


def efficientvit_b1(*, expand: int = 4, classes: int = 19) -> Shapes:
    """Of Cityscapes; of ADE20K without a last convolution."""
    widths, depths, dim = (16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16
    found = under("input_stem.op_list.0.", _layer(16, 3, 3))
    light = under("depth_conv.", _layer(16, 1, 3)) | under("point_conv.", _layer(16, 16, 1))
    found |= under("input_stem.op_list.1.main.", light)
    for stage in range(4):
        before, width = widths[stage], widths[stage + 1]
        first = f"stages.{stage}.op_list."
        found |= under(f"{first}0.main.", _mb_conv(before, width, 4, fewer_norm=stage > 1))
        for block in range(1, depths[stage + 1] + (stage > 1)):
            more = _efficientvit_block(width, dim, 4)
            found |= under(f"{first}{block}.", more if stage > 1 else under("main.", _mb_conv(width, width, 4)))
    head = _efficientvit_head((256, 128, 64), 64, [_mb_conv(64, 64, 4)] * 3, expand, classes)
    return under("backbone.", found) | under("head.", head)


def efficientvit_l1(*, streets: bool = True) -> Shapes:
    """Of Cityscapes, or of ADE20K with another head."""
    widths, depths = (32, 64, 128, 256, 512), (1, 1, 1, 6, 6)
    found = under("stages.0.op_list.0.", _layer(32, 3, 3))
    residual = under("conv1.", _layer(32, 32, 3)) | under("conv2.", _layer(32, 32, 3))
    found |= under("stages.0.op_list.1.main.", residual)
    for stage in range(1, 5):
        before, width, first = widths[stage - 1], widths[stage], f"stages.{stage}.op_list."
        grown = (
            _fused(before, width, 16)
            if stage < 3
            else _mb_conv(before, width, 16 if stage == 3 else 24, fewer_norm=True)
        )
        found |= under(f"{first}0.main.", grown)
        for block in range(1, depths[stage] + 1):
            if stage == 4:
                found |= under(f"{first}{block}.", _efficientvit_block(width, 32, 6))
            else:
                same = _fused(width, width, 4) if stage < 3 else _mb_conv(width, width, 4, fewer_norm=True)
                found |= under(f"{first}{block}.main.", same)
    head = _efficientvit_head((512, 256, 128), 256, [_fused(256, 256, 1)] * 3, 0, 19)
    if not streets:
        head = _efficientvit_head((512, 256, 128), 128, [_fused(128, 128, 4)] * 3, 8, 150)
    return under("backbone.", found) | under("head.", head)


# --- EoMT and PMT -------------------------------------------------------------------------------------------------


def _enlarged(width: int) -> Shapes:
    """Two scale blocks."""
    found: Shapes = {}
    for place in range(2):
        found |= under(f"upscale.{place}.conv1.", {"weight": (width, width, 2, 2), "bias": (width,)})
        found |= under(f"upscale.{place}.conv2.", conv(width, 1, 3))
        found |= under(f"upscale.{place}.norm.", layer_norm(width))
    return found


def _queries(width: int, blocks: int, classes: int) -> Shapes:
    found: Shapes = {"attn_mask_probs": (blocks,), "q.weight": (100, width), **_enlarged(width)}
    for place in (0, 2, 4):
        found |= under(f"mask_head.{place}.", linear(width, width))
    return found | under("class_head.", linear(classes + 1, width))


def eomt_l(backbone: Shapes, classes: int = 150) -> Shapes:
    """Of ADE20K. backbone: of timm's network."""
    found = under("network.encoder.backbone.", backbone) | under("network.", _queries(1024, 4, classes))
    found |= {"network.encoder.pixel_mean": (1, 3, 1, 1), "network.encoder.pixel_std": (1, 3, 1, 1)}
    return found | {"criterion.empty_weight": (classes + 1,)}


def pmt_head(width: int = 1024, hidden: int = 1024, blocks: int = 6, levels: int = 4, classes: int = 150) -> Shapes:
    """Of ADE20K, on DINOv3-L, which is not in the file. Keys have no bias."""
    decoder = _queries(width, blocks, classes) | under("decoder_norm.", layer_norm(width))
    for level in range(levels):
        decoder |= under(f"lateral_projections.{level}.0.", linear(width // 2, width))
        decoder |= under(f"lateral_projections.{level}.2.", linear(width, width // 2))
        decoder[f"scalers.{level}"] = (width,)
    for block in range(blocks):
        decoder |= under(
            f"blocks.{block}.",
            under("norm1.", layer_norm(width)),
            under("attention.k_proj.", linear(width, width, bias=False)),
            *(under(f"attention.{name}_proj.", linear(width, width)) for name in ("v", "q", "o")),
            {"layer_scale1.lambda1": (width,), "layer_scale2.lambda1": (width,)},
            under("norm2.", layer_norm(width)),
            under("mlp.up_proj.", linear(hidden, width)),
            under("mlp.down_proj.", linear(width, hidden)),
        )
    found = under("network.decoder.", decoder)
    for level in range(levels):
        found |= under(f"network.bn.{level}.", batch_norm(width))
    return found | {"criterion.empty_weight": (classes + 1,)}
