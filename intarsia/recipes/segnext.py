"""SegNeXt: attention by large convolutions, and a head that factorises features."""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import adamw, transformer

_NARROW, _WIDE = (32, 64, 160, 256), (64, 128, 320, 512)
SIZES: dict[str, tuple[tuple[int, int, int, int], tuple[int, int, int, int], int, float, str]] = {
    "t": (_NARROW, (3, 3, 5, 2), 256, 0.1, "t_20230227-119e8c9f"),
    "s": (_WIDE, (2, 2, 4, 2), 256, 0.1, "s_20230227-f33ccdf2"),
    "b": (_WIDE, (3, 3, 12, 3), 512, 0.1, "b_20230227-3ab7d230"),
    "l": (_WIDE, (3, 5, 27, 3), 1024, 0.3, "l_20230227-cef260d4"),
}
"""size -> channels and blocks of the stages, channels of the head, drop path, file of the ImageNet weights."""

_WEIGHTS = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segnext/mscan_{}.pth"
_ALL = tuple(f"mscan-{size}" for size in SIZES)
ROWS = (Rows("segnext", _ALL, 1, 16, ("160k",), ("ade20k-512x512",), note="adamw"),)


def _parts(size: str, num_classes: int, bands: int) -> Config:
    widths, depths, channels, drop_path, _ = SIZES[size]
    backbone = {
        "type": "MSCAN",
        "embed_dims": list(widths),
        "mlp_ratios": [8, 8, 4, 4],
        "drop_rate": 0.0,
        "drop_path_rate": drop_path,
        "depths": list(depths),
        "attention_kernel_sizes": [5, [1, 7], [1, 11], [1, 21]],
        "attention_kernel_paddings": [2, [0, 3], [0, 5], [0, 10]],
        "act_cfg": {"type": "GELU"},
        "norm_cfg": NORM,
    }
    return {
        "backbone": backbone if bands == 3 else {**backbone, "in_channels": bands},
        "decode_head": {
            "type": "LightHamHead",
            "in_channels": list(widths[1:]),
            "in_index": [1, 2, 3],
            "channels": channels,
            "ham_channels": channels,
            "dropout_ratio": 0.1,
            "num_classes": num_classes,
            "norm_cfg": {"type": "GN", "num_groups": 32, "requires_grad": True},
            "align_corners": False,
            "loss_decode": cross_entropy(),
            "ham_kwargs": {
                "MD_S": 1,
                "MD_R": 16,
                "train_steps": 6,
                "eval_steps": 7,
                "inv_t": 100,
                "rand_init": True,
            },
        },
    }


def _published(recipe: Published) -> Parts:
    size = recipe.backbone.removeprefix("mscan-")
    parts = _parts(size, recipe.num_classes, 3)
    parts["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": _WEIGHTS.format(SIZES[size][4])}
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor(recipe.setting.crop, test_cfg={"size_divisor": 32}),
        "pretrained": None,
        **parts,
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    rules = {"pos_block": {"decay_mult": 0.0}, "norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}}
    return Parts(model, adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": rules}), transformer(recipe.steps))


METHOD = Method(
    "SegNeXt",
    "transformer",
    "SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation",
    "Guo et al.",
    "NeurIPS",
    2022,
    "https://arxiv.org/abs/2209.08575",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"segnext_mscan-{size}": partial(_parts, size) for size in SIZES},
    learning_rate=1e-3,
    method=METHOD,
)
