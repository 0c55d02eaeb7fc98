"""What the tensors of published files are called and how large they are, by the authors' own class definitions.

Written down from their repositories, module by module, as names and sizes, and not from our networks:

    GCNet           gyyang23/GCNet f100e63 (backbones/gcnet.py), e49618d (decode_heads/gcnet_head.py)
    SCTNet          xzz777/SCTNet 295f4d2 (backbones/sctnet.py, decode_heads/sct_head*.py, vit_guidance_head.py)
    RegSeg          RolandGao/RegSeg 3769434 (blocks.py), 15d427c (model.py)

Transformers, and what learnt from them, are in `authors_transformers`.
"""

from __future__ import annotations

from collections.abc import Sequence

Shapes = dict[str, tuple[int, ...]]


def under(prefix: str, *parts: Shapes) -> Shapes:
    return {prefix + name: shape for part in parts for name, shape in part.items()}


def conv(out: int, before: int, kernel: int | tuple[int, int] = 1, *, bias: bool = False) -> Shapes:
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    return {"weight": (out, before, *sides)} | ({"bias": (out,)} if bias else {})


def linear(out: int, before: int, *, bias: bool = True) -> Shapes:
    return {"weight": (out, before)} | ({"bias": (out,)} if bias else {})


def layer_norm(width: int) -> Shapes:
    return {"weight": (width,), "bias": (width,)}


def batch_norm(width: int) -> Shapes:
    return {**layer_norm(width), "running_mean": (width,), "running_var": (width,), "num_batches_tracked": ()}


def conv_module(out: int, before: int, kernel: int = 1, *, before_it: bool = False) -> Shapes:
    """OpenMMLab's: a convolution and its norm, which may stand before it."""
    return {
        **under("conv.", conv(out, before, kernel)),
        **under("bn.", batch_norm(before if before_it else out)),
    }


# --- GCNet --------------------------------------------------------------------------------------------------------


def _gc_block(before: int, out: int, stride: int) -> Shapes:
    found: Shapes = under("path_residual.", batch_norm(out)) if before == out and stride == 1 else {}
    for path, kernel in (("path_3x3_1", 3), ("path_3x3_2", 3), ("path_1x1", 1)):
        found |= under(f"{path}.conv1.", conv_module(out, before, kernel))
        found |= under(f"{path}.conv2.", conv_module(out, out))
    return found


def _gc_blocks(widths: Sequence[tuple[int, int, int]], first: int = 0) -> Shapes:
    found: Shapes = {}
    for place, (before, out, stride) in enumerate(widths, start=first):
        found |= under(f"{place}.", _gc_block(before, out, stride))
    return found


def gcnet_s() -> Shapes:
    c, ppm, head, classes = 32, 128, 64, 19
    stem = under("0.", conv_module(c, 3, 3)) | under("1.", conv_module(c, c, 3))
    stem |= _gc_blocks([(c, c, 1)] * 4 + [(c, 2 * c, 2)] + [(2 * c, 2 * c, 1)] * 3, first=2)
    spp: Shapes = under("scales.0.", conv_module(ppm, 16 * c, before_it=True))
    for scale in range(1, 5):
        spp |= under(f"scales.{scale}.1.", conv_module(ppm, 16 * c, before_it=True))
        spp |= under(f"processes.{scale - 1}.", conv_module(ppm, ppm, 3, before_it=True))
    spp |= under("compression.", conv_module(4 * c, 5 * ppm, before_it=True))
    spp |= under("shortcut.", conv_module(4 * c, 16 * c, before_it=True))

    def before_classifier(width: int) -> Shapes:
        return under("0.", batch_norm(width)) | under("2.", conv_module(head, width, 3))

    backbone = {
        **under("stem.", stem),
        **under("semantic_branch_layers.0.", _gc_blocks([(2 * c, 4 * c, 2), *[(4 * c, 4 * c, 1)] * 4])),
        **under("semantic_branch_layers.1.", _gc_blocks([(4 * c, 8 * c, 2), *[(8 * c, 8 * c, 1)] * 4])),
        **under("semantic_branch_layers.2.", _gc_blocks([(8 * c, 16 * c, 2), (16 * c, 16 * c, 1)])),
        **under("detail_branch_layers.0.", _gc_blocks([(2 * c, 2 * c, 1)] * 4)),
        **under("detail_branch_layers.1.", _gc_blocks([(2 * c, 2 * c, 1)] * 4)),
        **under("detail_branch_layers.2.", _gc_blocks([(2 * c, 4 * c, 1), (4 * c, 4 * c, 1)])),
        **under("compression_1.", conv_module(2 * c, 4 * c)),
        **under("down_1.", conv_module(4 * c, 2 * c, 3)),
        **under("compression_2.", conv_module(2 * c, 8 * c)),
        **under("down_2.0.", conv_module(4 * c, 2 * c, 3)),
        **under("down_2.1.", conv_module(8 * c, 4 * c, 3)),
        **under("spp.", spp),
    }
    decode_head = {
        **under("conv_seg.", conv(classes, head, bias=True)),
        **under("head.", before_classifier(4 * c)),
        **under("aux_head_c4.", before_classifier(2 * c)),
        **under("aux_cls_seg_c4.", conv(classes, head, bias=True)),
    }
    return under("backbone.", backbone) | under("decode_head.", decode_head)


# --- SCTNet -------------------------------------------------------------------------------------------------------


def sctnet_s() -> Shapes:
    """Of Cityscapes. Of the teacher beside it, some tensors stand for all."""
    c, classes = 32, 19

    def biased(out: int, before: int, kernel: int = 3) -> Shapes:
        return conv(out, before, kernel, bias=True)

    def block(before: int, out: int, *, down: bool) -> Shapes:
        found = under("conv1.", biased(out, before)) | under("bn1.", batch_norm(out))
        found |= under("conv2.", biased(out, out)) | under("bn2.", batch_norm(out))
        if down:
            found |= under("downsample.0.", biased(out, before, 1)) | under("downsample.1.", batch_norm(out))
        return found

    def attention(width: int) -> Shapes:
        return {
            "attn_l.kv": (64, width, 7, 1),
            "attn_l.kv3": (64, width, 1, 7),
            **under("attn_l.norm.", batch_norm(width)),
            **under("mlp_l.norm.", batch_norm(width)),
            **under("mlp_l.conv1.", biased(width, width)),
            **under("mlp_l.conv2.", biased(width, width)),
        }

    def pooled(out: int, before: int, kernel: int, first: int) -> Shapes:
        return under(f"{first}.", batch_norm(before)) | under(f"{first + 2}.", biased(out, before, kernel))

    wide, inner = 8 * c, 64
    spp = under("scale0.", pooled(inner, wide, 1, 0))
    for scale in range(1, 5):
        spp |= under(f"scale{scale}.", pooled(inner, wide, 1, 1)) | under(
            f"process{scale}.", pooled(inner, inner, 3, 0)
        )
    spp |= under("compression.", pooled(2 * c, 5 * inner, 1, 0)) | under("shortcut.", pooled(2 * c, wide, 1, 0))

    def head(width: int) -> Shapes:
        return {
            **under("conv_seg.", conv(classes, width, bias=True)),
            **under("bn1.", batch_norm(width)),
            **under("conv1.", biased(width, width)),
            **under("bn2.", batch_norm(width)),
        }

    backbone = {
        **under("conv1.0.", biased(c, 3)), **under("conv1.1.", batch_norm(c)),
        **under("conv1.3.", biased(c, c)), **under("conv1.4.", batch_norm(c)),
        **under("layer1.0.", block(c, c, down=False)), **under("layer1.1.", block(c, c, down=False)),
        **under("layer2.0.", block(c, 2 * c, down=True)), **under("layer2.1.", block(2 * c, 2 * c, down=False)),
        **under("layer3.0.", block(2 * c, 4 * c, down=True)), **under("layer3.1.", block(4 * c, 4 * c, down=False)),
        **under("layer3_2.", attention(4 * c)),
        **under("layer4.", attention(wide)), **under("layer5.", attention(wide)),
        **under("convdown4.0.", biased(wide, 4 * c)), **under("convdown4.1.", batch_norm(wide)),
        **under("spp.", spp),
    }  # fmt: skip
    teacher = {
        **under("feature_transforms.", conv(1024, 4 * c, bias=True)),
        **under("teacher_backbone.layers.0.0.projection.", conv(64, 3, 7, bias=True)),
        **under("teacher_head.conv_seg.", conv(classes, 256, bias=True)),
    }
    return {
        **under("backbone.", backbone),
        **under("decode_head.", head(4 * c)),
        **under("auxiliary_head.0.", head(2 * c)),
        **under("auxiliary_head.1.", teacher),
    }


# --- RegSeg -------------------------------------------------------------------------------------------------------


def _conv_bn(out: int, before: int, kernel: int = 1) -> Shapes:
    return under("conv.", conv(out, before, kernel)) | under("bn.", batch_norm(out))


def _d_block(before: int, out: int, dilations: int, group: int, stride: int) -> Shapes:
    found = under("conv1.", conv(out, before)) | under("bn1.", batch_norm(out))
    if dilations == 1:
        found |= under("conv2.", conv(out, group, 3))
    else:
        for branch in range(dilations):
            found |= under(f"conv2.convs.{branch}.", conv(out // dilations, group, 3))
    found |= under("bn2.", batch_norm(out)) | under("conv3.", conv(out, out)) | under("bn3.", batch_norm(out))
    found |= under("se.conv1.", conv(before // 4, out, bias=True)) | under(
        "se.conv2.", conv(out, before // 4, bias=True)
    )
    if stride != 1 or before != out:
        found |= under("shortcut.", _conv_bn(out, before))
    return found


def regseg() -> Shapes:
    """exp48_decoder26, which the paper calls RegSeg."""
    found = under("stem.", _conv_bn(32, 3, 3)) | under("body.stage4.", _d_block(32, 48, 1, 16, 2))
    for place, before in enumerate((48, 128, 128)):
        found |= under(f"body.stage8.{place}.", _d_block(before, 128, 1, 16, 2 if place == 0 else 1))
    found |= under("body.stage16.0.", _d_block(128, 256, 1, 16, 2))
    branches = [1, 2, *[2] * 4, *[2] * 7]
    for place, count in enumerate(branches, start=1):
        found |= under(f"body.stage16.{place}.", _d_block(256, 320 if place == len(branches) else 256, count, 16, 1))
    for name, out, before, kernel in (
        ("head16", 128, 320, 1), ("head8", 128, 128, 1), ("head4", 8, 48, 1), ("conv8", 64, 128, 3),
        ("conv4", 64, 72, 3),
    ):  # fmt: skip
        found |= under(f"decoder.{name}.", _conv_bn(out, before, kernel))
    return found | under("decoder.classifier.", conv(19, 64, bias=True))
