"""Which pretrained weights a backbone starts from: those that the published recipes of its size name.

Where recipes of one size name several, it is the file trained on ImageNet-1k at the smaller images, or else the only
one there is. A backbone whose sizes are not in the table has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.weights.pretrained import timm_hub
from intarsia.weights.pretrained.table import PRETRAINED, Pretrained

_RESNET: dict[str, Any] = {"stem_channels": 64, "base_channels": 64, "num_stages": 4}
_TOKENS: dict[str, Any] = {"embed_dims": 768, "num_layers": 12, "patch_size": 16}

DEFAULTS: dict[str, dict[str, Any]] = {
    "ResNet": {**_RESNET, "deep_stem": False, "avg_down": False},
    "ResNetV1c": _RESNET,
    "ResNetV1d": _RESNET,
    "ResNeXt": {**_RESNET, "groups": 1, "base_width": 4},
    "ResNeSt": {"stem_channels": 64, "base_channels": 64, "radix": 2},
    "SwinTransformer": {"embed_dims": 96, "depths": (2, 2, 6, 2), "window_size": 7, "patch_size": 4},
    "MobileNetV2": {"widen_factor": 1.0},
    "MobileNetV3": {"arch": "small", "widen_factor": 1.0},
    "VisionTransformer": {**_TOKENS, "final_norm": False},
    "BEiT": _TOKENS,
    "MAE": _TOKENS,
    "ConvNeXt": {"arch": "tiny", "stem_patch_size": 4},
    "STDCNet": {"num_convs": 4, "bottleneck_type": "cat"},
    "DDRNet": {"channels": 32},
    "PIDNet": {"channels": 64, "num_branch_blocks": 3, "num_stem_blocks": 2},
    "PoolFormer": {"arch": "s12"},
}
"""Type of a backbone -> what its arguments are where they are not given, as far as they decide which weights fit."""


def _swin(dims: int, third: int, window: int = 7) -> dict[str, Any]:
    return {"embed_dims": dims, "depths": (2, 2, third, 2), "window_size": window, "patch_size": 4}


def _stages(depths: Sequence[int], dims: Sequence[int]) -> dict[str, Any]:
    return {"depths": depths, "embed_dims": dims}


def _tokens(dims: int, layers: int = 12) -> dict[str, Any]:
    return {"embed_dims": dims, "num_layers": layers, "patch_size": 16}


_PVT = (64, 128, 320, 512)

USUAL: tuple[tuple[str, dict[str, Any], str], ...] = (
    *(("ResNet", {"depth": depth, **DEFAULTS["ResNet"]}, f"resnet{depth}") for depth in (18, 34, 50, 101, 152)),
    *(("ResNetV1c", {"depth": depth, **_RESNET}, f"resnet{depth}_v1c") for depth in (18, 50, 101)),
    *(("ResNetV1d", {"depth": depth, **_RESNET}, f"mmcls_resnet{depth}_v1d") for depth in (50, 101)),
    ("ResNeXt", {**_RESNET, "depth": 50, "groups": 32, "base_width": 4}, "torchvision_resnext50_32x4d"),
    ("ResNeXt", {**_RESNET, "depth": 101, "groups": 32, "base_width": 8}, "torchvision_resnext101_32x8d"),
    ("ResNeSt", {"depth": 50, "stem_channels": 64, "base_channels": 64, "radix": 2}, "resnest50_d2"),
    ("ResNeSt", {"depth": 101, "stem_channels": 128, "base_channels": 64, "radix": 2}, "resnest101_d2"),
    ("HRNet", {"channels.1": (18, 36), "num_modules.2": 3}, "hrnetv2_w18_small"),
    ("HRNet", {"channels.1": (18, 36), "num_modules.2": 4}, "hrnetv2_w18"),
    ("HRNet", {"channels.1": (32, 64), "num_modules.2": 4}, "hrnetv2_w32"),
    ("HRNet", {"channels.1": (40, 80), "num_modules.2": 4}, "hrnetv2_w40"),
    ("HRNet", {"channels.1": (48, 96), "num_modules.2": 4}, "hrnetv2_w48"),
    ("MobileNetV2", {"widen_factor": 1.0}, "mobilenet_v2"),
    ("MobileNetV3", {"arch": "small", "widen_factor": 1.0}, "mobilenet_v3_small"),
    ("MobileNetV3", {"arch": "large", "widen_factor": 1.0}, "mobilenet_v3_large"),
    ("SwinTransformer", _swin(96, 6), "swin_tiny_patch4_window7_224"),
    ("SwinTransformer", _swin(96, 18), "swin_small_patch4_window7_224"),
    ("SwinTransformer", _swin(128, 18), "swin_base_patch4_window7_224"),
    ("SwinTransformer", _swin(128, 18, 12), "swin_base_patch4_window12_384"),
    ("SwinTransformer", _swin(192, 18), "swin_large_patch4_window7_224_22k"),
    ("SwinTransformer", _swin(192, 18, 12), "swin_large_patch4_window12_384_22k"),
    ("MixVisionTransformer", {"embed_dims": 32, "num_layers": (2, 2, 2, 2)}, "mit_b0"),
    ("MixVisionTransformer", {"embed_dims": 64, "num_layers": (2, 2, 2, 2)}, "mit_b1"),
    ("MixVisionTransformer", {"embed_dims": 64, "num_layers": (3, 4, 6, 3)}, "mit_b2"),
    ("MixVisionTransformer", {"embed_dims": 64, "num_layers": (3, 4, 18, 3)}, "mit_b3"),
    ("MixVisionTransformer", {"embed_dims": 64, "num_layers": (3, 8, 27, 3)}, "mit_b4"),
    ("MixVisionTransformer", {"embed_dims": 64, "num_layers": (3, 6, 40, 3)}, "mit_b5"),
    ("PCPVT", _stages((3, 4, 6, 3), _PVT), "pcpvt_small"),
    ("PCPVT", _stages((3, 4, 18, 3), _PVT), "pcpvt_base"),
    ("PCPVT", _stages((3, 8, 27, 3), _PVT), "pcpvt_large"),
    ("SVT", _stages((2, 2, 10, 4), (64, 128, 256, 512)), "alt_gvt_small"),
    ("SVT", _stages((2, 2, 18, 2), (96, 192, 384, 768)), "alt_gvt_base"),
    ("SVT", _stages((2, 2, 18, 2), (128, 256, 512, 1024)), "alt_gvt_large"),
    ("MSCAN", _stages((3, 3, 5, 2), (32, 64, 160, 256)), "mscan_t"),
    ("MSCAN", _stages((2, 2, 4, 2), _PVT), "mscan_s"),
    ("MSCAN", _stages((3, 3, 12, 3), _PVT), "mscan_b"),
    ("MSCAN", _stages((3, 5, 27, 3), _PVT), "mscan_l"),
    *(
        ("ConvNeXt", {"arch": arch, "stem_patch_size": 4}, f"convnext-{arch}_3rdparty_32xb128-noema_in1k")
        for arch in ("tiny", "small", "base")
    ),
    *(
        ("ConvNeXt", {"arch": arch, "stem_patch_size": 4}, f"convnext-{arch}_3rdparty_in21k")
        for arch in ("large", "xlarge")
    ),
    *(
        ("PoolFormer", {"arch": arch}, f"poolformer-{arch}_3rdparty_32xb128_in1k")
        for arch in ("s12", "s24", "s36", "m36", "m48")
    ),
    ("STDCNet", {"stdc_type": "STDCNet1", **DEFAULTS["STDCNet"]}, "stdc1"),
    ("STDCNet", {"stdc_type": "STDCNet2", **DEFAULTS["STDCNet"]}, "stdc2"),
    ("DDRNet", {"channels": 32}, "ddrnet23s-in1kpre_3rdparty"),
    ("DDRNet", {"channels": 64}, "ddrnet23-in1kpre_3rdparty"),
    ("PIDNet", {"channels": 32, "num_branch_blocks": 3, "num_stem_blocks": 2}, "pidnet-s_imagenet1k"),
    ("PIDNet", {"channels": 64, "num_branch_blocks": 3, "num_stem_blocks": 2}, "pidnet-m_imagenet1k"),
    ("PIDNet", {"channels": 64, "num_branch_blocks": 4, "num_stem_blocks": 3}, "pidnet-l_imagenet1k"),
    ("VisionTransformer", {**_tokens(192), "final_norm": True}, "vit_tiny_p16_384"),
    ("VisionTransformer", {**_tokens(384), "final_norm": True}, "vit_small_p16_384"),
    ("VisionTransformer", {**_tokens(768), "final_norm": True}, "vit_base_p16_384"),
    ("VisionTransformer", {**_tokens(1024, 24), "final_norm": True}, "vit_large_p16_384"),
    ("VisionTransformer", {**_tokens(384), "final_norm": False}, "deit_small_patch16_224"),
    ("VisionTransformer", {**_tokens(768), "final_norm": False}, "jx_vit_base_p16_224"),
    ("VisionTransformer", {**_tokens(1024, 24), "final_norm": False}, "jx_vit_large_p16_384"),
    ("BEiT", _tokens(768), "beit_base_patch16_224_pt22k_ft22k"),
    ("BEiT", _tokens(1024, 24), "beit_large_patch16_224_pt22k_ft22k"),
    ("MAE", _tokens(768), "mae_pretrain_vit_base"),
)  # fmt: skip
"""Type of a backbone, what its arguments must be ("channels.1": an item of one), name in the table of weights."""


def usual_weights(backbone: str, args: Mapping[str, Any]) -> Pretrained | None:
    """The weights for a backbone of a type, with arguments under its constructor's names; None where there are none."""
    if backbone in timm_hub.KINDS:
        return timm_hub.entry(str(args.get("model_name")))
    given = {**DEFAULTS.get(backbone, {}), **args}
    for kind, wanted, name in USUAL:
        if kind == backbone and all(_plain(_at(given, key)) == _plain(value) for key, value in wanted.items()):
            return PRETRAINED[name]
    return None


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(values, Mapping):
            values = values.get(key)
        else:
            values = values[int(key)] if isinstance(values, (list, tuple)) and int(key) < len(values) else None
    return values


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
