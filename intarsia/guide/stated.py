"""Scores that authors state of networks whose files no name of ours fetches, and where they state them.

Those of MMSegmentation's checkpoints are in `published`, with the files. Here are single images as they are, unless a
note says more; of which split and size the sources tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ADE20K, CITYSCAPES = "ade20k", "cityscapes"


@dataclass(frozen=True)
class Stated:
    """mIoU in percent on a data set, the address of who says so, and what else there is to know of it."""

    data: str
    score: float
    source: str
    note: str = ""


_EOMT = "https://github.com/tue-mps/eomt"
_PMT = "https://github.com/tue-mps/pmt"
_GCNET = "https://github.com/gyyang23/GCNet"
_SCTNET = "https://github.com/xzz777/SCTNet"
_REGSEG = "https://github.com/RolandGao/RegSeg"
_EFFICIENTVIT = "https://github.com/mit-han-lab/efficientvit"
_PADDLE = "https://github.com/PaddlePaddle/PaddleSeg"
_VWFORMER = "https://github.com/yan-hao-tian/VW"
_ADAPTER = "https://github.com/czczup/ViT-Adapter"
_DINOV2 = "https://arxiv.org/abs/2304.07193"
_DINOV3 = "https://arxiv.org/abs/2508.10104"
_TEACHER = "learnt from a transformer, too"
_STANDS = "the backbone stands still"

_ROWS: tuple[tuple[str, str, float, str, str], ...] = (
    ("eomt_vit-l-dinov2_4xb4-31e_ade20k-512x512", ADE20K, 58.4, _EOMT, ""),
    ("eomt_vit-l-dinov2_4xb4-107e_cityscapes-1024x1024", CITYSCAPES, 84.2, _EOMT, ""),
    ("eomt_vit-l-dinov3_4xb4-16e_ade20k-512x512", ADE20K, 59.5, _EOMT, "their file holds differences to DINOv3"),
    ("pmt_vit-l-dinov3_4xb4-16e_ade20k-512x512", ADE20K, 58.5, _PMT, "their file holds the head alone"),
    ("gcnet-s", CITYSCAPES, 76.9, _GCNET, ""),
    ("gcnet-m", CITYSCAPES, 78.9, _GCNET, ""),
    ("gcnet-l", CITYSCAPES, 79.6, _GCNET, ""),
    ("sctnet-s", ADE20K, 37.91, _SCTNET, _TEACHER),
    ("sctnet-b", ADE20K, 43.04, _SCTNET, _TEACHER),
    ("sctnet-s", CITYSCAPES, 76.33, _SCTNET, f"on 768 x 1536; {_TEACHER}"),
    ("sctnet-b", CITYSCAPES, 80.51, _SCTNET, _TEACHER),
    ("regseg", CITYSCAPES, 78.3, _REGSEG, "of the test images"),
    ("regseg-l", CITYSCAPES, 79.5, _REGSEG, "of the test images"),
    ("regseg_1xb8-amp-371k_cityscapes-768x768", CITYSCAPES, 78.23, _REGSEG, "the mean of three trainings"),
    ("ppliteseg-t", CITYSCAPES, 77.04, _PADDLE, ""),
    ("ppliteseg-b", CITYSCAPES, 79.04, _PADDLE, ""),
    ("efficientvit_timm:efficientvit_b0", CITYSCAPES, 75.653, _EFFICIENTVIT, ""),
    ("efficientvit_timm:efficientvit_b1", CITYSCAPES, 80.547, _EFFICIENTVIT, ""),
    ("efficientvit_timm:efficientvit_b2", CITYSCAPES, 82.073, _EFFICIENTVIT, ""),
    ("efficientvit_timm:efficientvit_b3", CITYSCAPES, 83.016, _EFFICIENTVIT, ""),
    ("efficientvit_timm:efficientvit_l1", CITYSCAPES, 82.716, _EFFICIENTVIT, ""),
    ("efficientvit_timm:efficientvit_l2", CITYSCAPES, 83.228, _EFFICIENTVIT, ""),
    ("convnext-t_vwformer", ADE20K, 47.3, _VWFORMER, ""),
    ("convnext-b_vwformer", ADE20K, 53.3, _VWFORMER, ""),
    ("convnext-l_vwformer", ADE20K, 54.3, _VWFORMER, ""),
    ("convnext-x_vwformer", ADE20K, 54.6, _VWFORMER, ""),
    ("convnext-tiny_vwformer_4xb4-amp-160k_cityscapes-512x1024", CITYSCAPES, 81.3, _VWFORMER, ""),
    ("convnext-small_vwformer_4xb4-amp-160k_cityscapes-512x1024", CITYSCAPES, 82.2, _VWFORMER, ""),
    ("convnext-base_vwformer_4xb4-amp-160k_cityscapes-512x1024", CITYSCAPES, 83.2, _VWFORMER, ""),
    ("convnext-large_vwformer_4xb4-amp-160k_cityscapes-512x1024", CITYSCAPES, 83.4, _VWFORMER, ""),
    ("convnext-xlarge_vwformer_4xb4-amp-160k_cityscapes-512x1024", CITYSCAPES, 83.6, _VWFORMER, ""),
    ("swin-base_vwformer_4xb4-160k_ade20k-640x640", ADE20K, 52.5, _VWFORMER, ""),
    ("swin-large_vwformer_4xb4-160k_ade20k-640x640", ADE20K, 54.4, _VWFORMER, ""),
    ("vit-adapter-deit-t_upernet_8xb2-amp-160k_ade20k-512x512", ADE20K, 42.6, _ADAPTER, ""),
    ("vit-adapter-deit-s_upernet_8xb2-amp-160k_ade20k-512x512", ADE20K, 46.2, _ADAPTER, ""),
    ("vit-adapter-deit-b_upernet_8xb2-amp-160k_ade20k-512x512", ADE20K, 48.8, _ADAPTER, ""),
    ("vit-adapter-augreg-t_upernet_8xb2-amp-160k_ade20k-512x512", ADE20K, 43.9, _ADAPTER, ""),
    ("vit-adapter-augreg-b_upernet_8xb2-amp-160k_ade20k-512x512", ADE20K, 51.9, _ADAPTER, ""),
    ("vit-adapter-augreg-l_upernet_8xb2-160k_ade20k-512x512", ADE20K, 53.4, _ADAPTER, ""),
    ("multilevel_timm:vit_small_patch14_dinov2.lvd142m", ADE20K, 47.2, _DINOV2, _STANDS),
    ("multilevel_timm:vit_base_patch14_dinov2.lvd142m", ADE20K, 51.3, _DINOV2, _STANDS),
    ("multilevel_timm:vit_large_patch14_dinov2.lvd142m", ADE20K, 53.1, _DINOV2, _STANDS),
    ("linear_timm:vit_small_patch16_dinov3.lvd1689m", ADE20K, 47.0, _DINOV3, _STANDS),
    ("linear_timm:vit_base_patch16_dinov3.lvd1689m", ADE20K, 51.8, _DINOV3, _STANDS),
    ("linear_timm:vit_large_patch16_dinov3.lvd1689m", ADE20K, 54.9, _DINOV3, _STANDS),
    ("linear_timm:convnext_tiny.dinov3_lvd1689m", ADE20K, 42.7, _DINOV3, _STANDS),
)
"""Recipe, data set, score, source, note."""


def stated(recipes: Iterable[str]) -> tuple[Stated, ...]:
    """What is stated of any of these recipes, in the table's order."""
    wanted = set(recipes)
    return tuple(Stated(*said) for recipe, *said in _ROWS if recipe in wanted)  # type: ignore[arg-type]
