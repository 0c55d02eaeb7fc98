"""UPerNet on a ViT-Adapter, as its authors train it on ADE20K.

Facts of https://github.com/czczup/ViT-Adapter (fd64a51, Apache-2.0), segmentation/configs/ade20k. The transformers are
those of timm, whose weights have the very sources that are named there. Left out are the recipes on BEiT, BEiT v2 and
Uni-Perceiver, which `ViTAdapter` has not, and with them those of Mask2Former. For own data there is
``upernet-adapter_timm:NAME``, on any plain transformer (`trunk_heads.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import SYNC_NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import adamw, transformer
from intarsia.recipes.upernet import uper_heads


@dataclass(frozen=True)
class _Start:
    """A transformer, what the recipe takes otherwise by its size, and how it learns."""

    network: str
    channels: int
    drop_path: float
    learning_rate: float
    weight_decay: float = 0.01
    heads: int = 6
    ratio: float = 1.0
    layers: int = 12
    centred: bool = False
    by_depth: bool = True
    mixed: bool = True


_AUGREG = "augreg_in21k_ft_in1k"
_BASE: Config = {"channels": 768, "drop_path": 0.3, "heads": 12, "ratio": 0.5}
_LARGE: Config = {"channels": 1024, "drop_path": 0.4, "heads": 16, "ratio": 0.5, "layers": 24}
STARTS = {
    "deit-t": _Start("deit_tiny_patch16_224.fb_in1k", 192, 0.1, 12e-5),
    "deit-s": _Start("deit_small_patch16_224.fb_in1k", 384, 0.2, 6e-5),
    "deit-b": _Start("deit_base_patch16_224.fb_in1k", **_BASE, learning_rate=6e-5),
    "augreg-t": _Start(f"vit_tiny_patch16_224.{_AUGREG}", 192, 0.1, 12e-5),
    "augreg-b": _Start(f"vit_base_patch16_384.{_AUGREG}", **_BASE, learning_rate=2e-5, centred=True, by_depth=False),
    "augreg-l": _Start(
        f"vit_large_patch16_384.{_AUGREG}",
        **_LARGE,
        learning_rate=2e-5,
        weight_decay=0.05,
        centred=True,
        mixed=False,
    ),
}
"""What a published name says of the transformer.

centred: values of pixels become -1 to 1. by_depth: layers learn the slower, the nearer they are to the patches. mixed:
in 16 bits; else in 32, with activations computed again instead of kept.
"""

ROWS = tuple(
    Rows(f"vit-adapter-{name}", ("upernet",), 8, 2, ("160k",), ("ade20k-512x512",), note="amp" if start.mixed else "")
    for name, start in STARTS.items()
)


def _published(recipe: Published) -> Parts:
    """Tested in windows, of images whose sides are multiples of 32."""
    start, setting = STARTS[recipe.method.removeprefix("vit-adapter-")], recipe.setting
    resize: Config = {"type": "Resize", "scale": setting.scale, "keep_ratio": True}
    setting = replace(setting, test_resize=(resize, {"type": "ResizeToMultiple", "size_divisor": 32}))
    width = start.channels
    backbone = {
        "type": "ViTAdapter",
        "model_name": start.network,
        "pretrained": True,
        "drop_path_rate": start.drop_path,
        "deform_num_heads": start.heads,
        "deform_ratio": start.ratio,
        "prefix_tokens": False,
        "norm_cfg": SYNC_NORM,
        **({} if start.mixed else {"with_cp": True}),
    }
    middle, crop = (127.5, 127.5, 127.5), setting.crop
    model: Config = {
        "type": "EncoderDecoder",
        **({"data_preprocessor": preprocessor(crop, mean=middle, std=middle)} if start.centred else {}),
        "pretrained": None,
        "backbone": backbone,
        **uper_heads((width, width, width, width), recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "slide", "crop_size": crop, "stride": (341, 341)},
    }
    return Parts(model, _optimizer(start), transformer(recipe.steps), setting=setting, workers=4)


def _optimizer(start: _Start) -> Config:
    rules: Config = {"paramwise_cfg": {"custom_keys": _without_decay()}}
    if start.by_depth:
        rules = {
            "constructor": "LayerDecayOptimizerConstructor",
            "paramwise_cfg": {"num_layers": start.layers, "layer_decay_rate": 0.95},
        }
    mixed: Config = {"type": "AmpOptimWrapper", "loss_scale": {"init_scale": 512.0}} if start.mixed else {}
    return adamw(start.learning_rate, start.weight_decay, **rules) | mixed


def _without_decay() -> Config:
    """Parameters that weight decay spares, and heads, which learn ten times as fast."""
    spared = {name: {"decay_mult": 0.0} for name in ("level_embed", "pos_embed", "norm", "bias")}
    return {**spared, "head": {"lr_mult": 10.0}}


METHOD = Method(
    "ViT-Adapter",
    "transformer",
    "Vision Transformer Adapter for Dense Predictions",
    "Chen, Duan, Wang, He, Lu, Dai, Qiao",
    "ICLR",
    2023,
    "https://arxiv.org/abs/2205.08534",
)
FAMILY = Family(further=ROWS, published=_published, method=METHOD)
