"""K-Net: one kernel a class, improved in three rounds.

7 published recipes: four heads that make the first kernels on a ResNet, and UPerNet's on Swin.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes import deeplabv3, fcn, pspnet, swin, upernet
from intarsia.recipes.benchmarks import SETTINGS, Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, heads, resnet, widths
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, steps_down

_HEADS = {"fcn": fcn.HEAD, "pspnet": pspnet.HEAD, "deeplabv3": deeplabv3.HEAD, "upernet": upernet.HEAD}
_SIZES = {"swin-t": "tiny", "swin-l": "large"}
_WEIGHTS = {
    "swin-t": "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/"
    "swin_tiny_patch4_window7_224_20220308-f41b89d3.pth",
    "swin-l": "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/"
    "swin_large_patch4_window7_224_22k_20220308-d5bdebaf.pth",
}
_RESNET = tuple(f"r50-d8_{head}" for head in _HEADS)
ROWS = (
    Rows("knet-s3", (*_RESNET, "swin-t_upernet"), 8, 2, ("80k",), ("ade20k-512x512",), note="adamw"),
    Rows("knet-s3", ("swin-l_upernet",), 8, 2, ("80k",), ("ade20k-512x512", "ade20k-640x640"), note="adamw"),
)


def _round(num_classes: int) -> Config:
    """One improvement of the kernels."""
    relu = {"type": "ReLU", "inplace": True}
    return {
        "type": "KernelUpdateHead",
        "num_classes": num_classes,
        "num_ffn_fcs": 2,
        "num_heads": 8,
        "num_mask_fcs": 1,
        "feedforward_channels": 2048,
        "in_channels": 512,
        "out_channels": 512,
        "dropout": 0.0,
        "conv_kernel_size": 1,
        "ffn_act_cfg": relu,
        "with_ffn": True,
        "feat_transform_cfg": {"conv_cfg": {"type": "Conv2d"}, "act_cfg": None},
        "kernel_updator_cfg": {
            "type": "KernelUpdator",
            "in_channels": 256,
            "feat_channels": 256,
            "out_channels": 256,
            "act_cfg": relu,
            "norm_cfg": {"type": "LN"},
        },
    }


def _heads(method: str, stages: tuple[int, int, int, int], num_classes: int, *, norm: Config = SYNC_NORM) -> Config:
    both = heads({**_HEADS[method], "channels": 512}, stages, num_classes, norm=norm, auxiliary={"channels": 256})
    decode = {
        "type": "IterativeDecodeHead",
        "num_stages": 3,
        "kernel_update_head": [_round(num_classes) for _ in range(3)],
        "kernel_generate_head": both["decode_head"],
    }
    return {**both, "decode_head": decode}


def _published(recipe: Published) -> Parts:
    network, _, method = recipe.backbone.partition("_")
    clip = {"max_norm": 1, "norm_type": 2}
    if network in _SIZES:
        size = _SIZES[network]
        wide = recipe.setting.crop == (640, 640)
        backbone = {**swin.bare(size, drop_path=0.4 if wide else 0.3), "use_abs_pos_embed": False}
        weights, stages = _WEIGHTS[network], swin.stages(size)
        optim = adamw(6e-5, 5e-4, paramwise_cfg={"custom_keys": swin.without_decay()}, clip_grad=clip)
    else:
        backbone = resnet("ResNetV1c", 50, stride=None if method == "upernet" else 8)
        weights, stages = "open-mmlab://resnet50_v1c", widths(50)
        optim = adamw(1e-4, 5e-4, betas=None, clip_grad=clip)
    model = {
        "type": "EncoderDecoder",
        "pretrained": weights,
        "backbone": backbone,
        **_heads(method, stages, recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    setting = SETTINGS["ade20k-512x512"]  # whatever size the name says: only the padding of batches is of that size
    return Parts(model, optim, steps_down(recipe.steps), setting=setting)


def _own_resnet(method: str, num_logits: int, bands: int) -> Config:
    backbone = resnet("ResNetV1c", 50, norm=NORM, stride=None if method == "upernet" else 8)
    return {"backbone": {**backbone, "in_channels": bands}, **_heads(method, widths(50), num_logits, norm=NORM)}


def _own_swin(num_logits: int, bands: int) -> Config:
    backbone = {**swin.bare("tiny"), "in_channels": bands}
    return {"backbone": backbone, **_heads("upernet", swin.stages("tiny"), num_logits, norm=NORM)}


_OWN = {f"knet_r50_{method}": partial(_own_resnet, method) for method in _HEADS}

METHOD = Method(
    "K-Net",
    "masks",
    "K-Net: Towards Unified Image Segmentation",
    "Zhang, Pang, Chen, Loy",
    "NeurIPS",
    2021,
    "https://arxiv.org/abs/2106.14855",
)
FAMILY = Family(ROWS, _published, own={**_OWN, "knet_swin-t": _own_swin}, learning_rate=3e-4, method=METHOD)
