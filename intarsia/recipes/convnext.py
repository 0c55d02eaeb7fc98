"""ConvNeXt under UPerNet."""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, transformer
from intarsia.recipes.upernet import uper_heads

SIZES: dict[str, tuple[int, float]] = {
    "tiny": (96, 0.4),
    "small": (96, 0.3),
    "base": (128, 0.4),
    "large": (192, 0.4),
    "xlarge": (256, 0.4),
}
"""size -> channels of the first stage, share of residual branches left out in training."""

_WEIGHTS = {
    ("tiny", 512): "tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634",
    ("small", 512): "small_3rdparty_32xb128-noema_in1k_20220301-303e75e3",
    ("base", 512): "base_3rdparty_32xb128-noema_in1k_20220301-2a0ee547",
    ("base", 640): "base_3rdparty_in21k_20220301-262fd037",
    ("large", 640): "large_3rdparty_in21k_20220301-e6e0ea0a",
    ("xlarge", 640): "xlarge_3rdparty_in21k_20220301-08aa5ddc",
}
"""(size, training size) -> file of the ImageNet weights."""

_ADDRESS = "https://download.openmmlab.com/mmclassification/v0/convnext/downstream/convnext-{}.pth"
ROWS = tuple(
    Rows(f"convnext-{size}", ("upernet",), 8, 2, ("160k",), (f"ade20k-{side}x{side}",), note="amp")
    for size, side in _WEIGHTS
)


def stages(size: str) -> tuple[int, int, int, int]:
    """Channels of the four stages."""
    width = SIZES[size][0]
    return width, 2 * width, 4 * width, 8 * width


def weights(size: str, side: int) -> str:
    """Address of the weights of ImageNet that trainings on crops of this size start from."""
    return _ADDRESS.format(_WEIGHTS[size, side])


def backbone(size: str) -> Config:
    """The network as every recipe writes it."""
    return {
        "type": "mmpretrain.ConvNeXt",
        "arch": size,
        "out_indices": [0, 1, 2, 3],
        "drop_path_rate": SIZES[size][1],
        "layer_scale_init_value": 1.0,
        "gap_before_final_norm": False,
    }


def _parts(size: str, num_classes: int, *, norm: Config | None = None) -> Config:
    heads = uper_heads(stages(size), num_classes, **({} if norm is None else {"norm": norm}))
    return {"backbone": backbone(size), **heads}


def _published(recipe: Published) -> Parts:
    size, side = recipe.method.removeprefix("convnext-"), recipe.setting.crop[0]
    parts = _parts(size, recipe.num_classes)
    start = {"type": "Pretrained", "checkpoint": weights(size, side), "prefix": "backbone."}
    parts["backbone"]["init_cfg"] = start
    stride = {512: (341, 341), 640: (426, 426)}[side]
    window = {"mode": "slide", "crop_size": recipe.setting.crop, "stride": stride}
    model = {"type": "EncoderDecoder", "pretrained": None, **parts, "train_cfg": {}, "test_cfg": window}
    layers = 6 if size == "tiny" else 12
    optim = {
        **adamw(8e-5 if size == "xlarge" else 1e-4, 0.05),
        "type": "AmpOptimWrapper",
        "loss_scale": "dynamic",
        "constructor": "LearningRateDecayOptimizerConstructor",
        "paramwise_cfg": {"decay_rate": 0.9, "decay_type": "stage_wise", "num_layers": layers},
    }
    imports = {"custom_imports": {"imports": "mmpretrain.models", "allow_failed_imports": False}}
    return Parts(model, optim, transformer(recipe.steps), imports, workers=4)


def _own(size: str, num_logits: int, bands: int) -> Config:
    parts = _parts(size, num_logits, norm=NORM)
    return {**parts, "backbone": {**parts["backbone"], "in_channels": bands}}


METHOD = Method(
    "ConvNeXt",
    "transformer",
    "A ConvNet for the 2020s",
    "Liu et al.",
    "CVPR",
    2022,
    "https://arxiv.org/abs/2201.03545",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"convnext-{size[0]}_upernet": partial(_own, size) for size in SIZES},
    learning_rate=3e-4,
    method=METHOD,
)
