"""Swin transformers under UPerNet.

9 published recipes; one finds changes between two images of a place.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config, train_loader, val_loader
from intarsia.recipes.dilated import NORM
from intarsia.recipes.published import IMAGENET_MEAN, IMAGENET_STD, Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import adamw, transformer
from intarsia.recipes.upernet import uper_heads

SIZES: dict[str, tuple[int, tuple[int, int, int, int], int]] = {
    "tiny": (96, (2, 2, 6, 2), 3),
    "small": (96, (2, 2, 18, 2), 3),
    "base": (128, (2, 2, 18, 2), 4),
    "large": (192, (2, 2, 18, 2), 6),
}
"""size -> channels, blocks per stage, attention heads of the first stage."""

_PRETRAINED = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/swin_{}.pth"
WEIGHTS = {
    "tiny-patch4-window7-in1k-pre": "tiny_patch4_window7_224_20220317-1cdeb081",
    "small-patch4-window7-in1k-pre": "small_patch4_window7_224_20220317-7ba6d6dd",
    "base-patch4-window7-in1k-pre": "base_patch4_window7_224_20220317-e9b98025",
    "base-patch4-window7-in22k-pre": "base_patch4_window7_224_22k_20220317-4f79f7c0",
    "base-patch4-window12-in1k-384x384-pre": "base_patch4_window12_384_20220317-55b0104a",
    "base-patch4-window12-in22k-384x384-pre": "base_patch4_window12_384_22k_20220317-e5c09f74",
    "large-patch4-window7-in22k-pre": "large_patch4_window7_224_22k_20220412-aeecf2aa",
    "large-patch4-window12-in22k-384x384-pre": "large_patch4_window12_384_22k_20220412-6580f57d",
}
"""What a published name says of the network -> file of the weights it starts from."""

ROWS = (
    *(Rows(f"swin-{start}", ("upernet",), 8, 2, ("160k",), ("ade20k-512x512",)) for start in WEIGHTS),
    Rows("swin-tiny-patch4-window7", ("upernet",), 1, 8, ("20k",), ("levir-256x256",)),
)


def weights(start: str) -> str:
    """Address of the weights that a published name says."""
    return _PRETRAINED.format(WEIGHTS[start])


def stages(size: str) -> tuple[int, int, int, int]:
    """Channels of the four stages."""
    width = SIZES[size][0]
    return width, 2 * width, 4 * width, 8 * width


def bare(size: str, *, window: int = 7, drop_path: float = 0.3) -> Config:
    """The keys that every recipe with this network writes."""
    width, depths, heads = SIZES[size]
    return {
        "type": "SwinTransformer",
        "embed_dims": width,
        "depths": list(depths),
        "num_heads": [heads, 2 * heads, 4 * heads, 8 * heads],
        "window_size": window,
        "mlp_ratio": 4,
        "qkv_bias": True,
        "qk_scale": None,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": drop_path,
        "patch_norm": True,
        "out_indices": (0, 1, 2, 3),
    }


def backbone(size: str, *, window: int = 7, image: int = 224) -> Config:
    """The network as UPerNet's and MaskFormer's recipes write it."""
    return {
        **bare(size, window=window),
        "pretrain_img_size": image,
        "patch_size": 4,
        "strides": (4, 2, 2, 2),
        "use_abs_pos_embed": False,
        "act_cfg": {"type": "GELU"},
        "norm_cfg": {"type": "LN", "requires_grad": True},
    }


def _changes(recipe: Published) -> Parts:
    """Two images of a place, one behind the other: six bands."""
    crop = recipe.setting.crop
    mean, std = 2 * IMAGENET_MEAN, 2 * IMAGENET_STD
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor(crop, mean=mean, std=std),
        "pretrained": None,
        "backbone": {**backbone("tiny"), "in_channels": 6},
        **uper_heads(stages("tiny"), recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    flips: Config = {
        "type": "Albu",
        "transforms": [
            {"type": "RandomBrightnessContrast", "p": 0.2},
            {"type": "HorizontalFlip", "p": 0.5},
            {"type": "VerticalFlip", "p": 0.5},
        ],
    }
    load, pair, pack = {"type": "LoadMultipleRSImageFromFile"}, {"type": "ConcatCDInput"}, {"type": "PackSegInputs"}
    labels = {"type": "LoadAnnotations"}
    train, val = train_loader(recipe.setting, 4), val_loader(recipe.setting)
    train["dataset"] |= {"pipeline": [load, labels, flips, pair, pack]}
    val["dataset"] |= {"pipeline": [load, labels, pair, pack]}
    for loader, split in ((train, "train"), (val, "test")):
        loader["dataset"]["data_prefix"]["img_path2"] = f"{split}/B"
    others = {
        "train_dataloader": train,
        "val_dataloader": val,
        "test_dataloader": val,
        "tta_pipeline": [load, {"type": "TestTimeAug", "transforms": [[labels], [pair], [pack]]}],
    }
    optim = adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": without_decay()})
    return Parts(model, optim, transformer(recipe.steps), others)


def _published(recipe: Published) -> Parts:
    if recipe.setting_name == "levir-256x256":
        return _changes(recipe)
    start = recipe.method.removeprefix("swin-")
    size, window, image = start.partition("-")[0], *((12, 384) if "window12" in start else (7, 224))
    network = backbone(size, window=window, image=image)
    model = {
        "type": "EncoderDecoder",
        "pretrained": None,
        "backbone": {**network, "init_cfg": {"type": "Pretrained", "checkpoint": weights(start)}},
        **uper_heads(stages(size), recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    return Parts(
        model, adamw(6e-5, 0.01, paramwise_cfg={"custom_keys": without_decay()}), transformer(recipe.steps), workers=4
    )


def without_decay() -> Config:
    """Parameters that weight decay spares."""
    return {name: {"decay_mult": 0.0} for name in ("absolute_pos_embed", "relative_position_bias_table", "norm")}


def _own(size: str, num_logits: int, bands: int) -> Config:
    return {
        "backbone": {**backbone(size), "in_channels": bands},
        **uper_heads(stages(size), num_logits, norm=NORM),
    }


METHOD = Method(
    "Swin",
    "transformer",
    "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
    "Liu et al.",
    "ICCV",
    2021,
    "https://arxiv.org/abs/2103.14030",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"upernet_swin-{size[0]}": partial(_own, size) for size in SIZES},
    learning_rate=3e-4,
    method=METHOD,
)
