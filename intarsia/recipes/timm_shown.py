"""Recipes on networks of timm as lists show them: the papers of their heads, and which stand for all the others."""

from __future__ import annotations

from intarsia.recipes import (
    deeplabv3,
    deeplabv3plus,
    dpt,
    efficientvit,
    eomt,
    mask2former,
    mobilenet_v3,
    pmt,
    pspnet,
    segformer,
    sem_fpn,
    unet,
    upernet,
)
from intarsia.recipes.published import Method

MARK = "_timm:"
"""Stands between the head and the network in a recipe's name."""

UNETPLUSPLUS = Method(
    "UNet++",
    "convolutional",
    "UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
    "Zhou, Siddiquee, Tajbakhsh, Liang",
    "DLMIA",
    2018,
    "https://arxiv.org/abs/1807.10165",
)
MANET = Method(
    "MA-Net",
    "convolutional",
    "MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation",
    "Fan, Wang, Li, Wang",
    "IEEE Access",
    2020,
    "https://doi.org/10.1109/ACCESS.2020.3025372",
)
LINKNET = Method(
    "LinkNet",
    "convolutional",
    "LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation",
    "Chaurasia, Culurciello",
    "VCIP",
    2017,
    "https://arxiv.org/abs/1707.03718",
)
PAN = Method(
    "PAN",
    "convolutional",
    "Pyramid Attention Network for Semantic Segmentation",
    "Li, Xiong, An, Wang",
    "BMVC",
    2018,
    "https://arxiv.org/abs/1805.10180",
)
DINOV3 = Method(
    "Linear head (DINOv3)",
    "transformer",
    "DINOv3",
    "Simeoni et al.",
    "arXiv",
    2025,
    "https://arxiv.org/abs/2508.10104",
)
DINOV2 = Method(
    "Linear head on several levels (DINOv2)",
    "transformer",
    "DINOv2: Learning Robust Visual Features without Supervision",
    "Oquab et al.",
    "TMLR",
    2024,
    "https://arxiv.org/abs/2304.07193",
)
METHODS: dict[str, Method] = {
    "upernet": upernet.METHOD,
    "segformer": segformer.METHOD,
    "fpn": sem_fpn.METHOD,
    "deeplabv3plus": deeplabv3plus.METHOD,
    "deeplabv3": deeplabv3.METHOD,
    "pspnet": pspnet.METHOD,
    "dpt": dpt.METHOD,
    "unet": unet.METHOD,
    "unetplusplus": UNETPLUSPLUS,
    "linknet": LINKNET,
    "manet": MANET,
    "pan": PAN,
    "efficientvit": efficientvit.METHOD,
    "lraspp": mobilenet_v3.METHOD,
    "linear": DINOV3,
    "eomt": eomt.METHOD,
    "pmt": pmt.METHOD,
    "mask2former": mask2former.METHOD,
    "multilevel": DINOV2,
}
"""What stands before the mark in a name -> the paper that its head is of."""

_SERIES = tuple(f"efficientvit_{size}" for size in ("b0", "b1", "b2", "b3", "l1", "l2"))
_DINOV3 = tuple(f"vit_{size}_patch16_dinov3.lvd1689m" for size in ("small", "base", "large"))
_DINOV2 = tuple(f"vit_{size}_patch14_dinov2.lvd142m" for size in ("small", "base", "large"))
SHOWN: tuple[str, ...] = tuple(
    f"{head}{MARK}{network}"
    for head, networks in {
        "upernet": ("convnext_tiny",),
        "upernet-sfp": ("vit_base_patch16_224",),
        "upernet-adapter": tuple(f"deit_{size}_patch16_224" for size in ("tiny", "small", "base")),
        "segformer": ("convnext_tiny",),
        "fpn": ("resnet34",),
        "deeplabv3plus": ("resnet34",),
        "deeplabv3": ("resnet50",),
        "pspnet": ("resnet50",),
        "dpt": ("vit_base_patch16_224",),
        "unet": ("resnet34", "efficientnet_b0", "convnext_tiny"),
        "unetplusplus": ("resnet34",),
        "linknet": ("resnet34",),
        "manet": ("resnet34",),
        "pan": ("resnet34",),
        "linear": (*_DINOV3, "convnext_tiny.dinov3_lvd1689m"),
        "multilevel": _DINOV2,
        "eomt": _DINOV3[:2],
        "pmt": _DINOV3[:2],
        "efficientvit": _SERIES,
        "lraspp": ("mobilenetv3_large_100", "mobilenetv4_conv_small"),
        "mask2former": ("resnet50", "convnext_tiny"),
    }.items()
    for network in networks
)
"""Recipes that stand for all others in lists: each head with networks of its authors, or with a usual one."""
