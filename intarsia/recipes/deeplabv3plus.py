"""DeepLabV3+: DeepLabV3 in separable convolutions, joined by an early stage."""

from __future__ import annotations

from dataclasses import replace

from intarsia.recipes.benchmarks import Config, augmented_test
from intarsia.recipes.deeplabv3 import multi_grid
from intarsia.recipes.dilated import CITYSCAPES, own, published, usual_rows, widths
from intarsia.recipes.mapillary import MAPILLARY
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import adamw, poly

_AERIAL = ("loveda-512x512", "potsdam-512x512", "vaihingen-512x512")
_VISTAS = "{model}_{devices}xb{batch}-{schedule}_mapillay_v1_65-1280x1280"

ROWS = (
    *usual_rows("deeplabv3plus", "cityscapes", "ade20k", "voc12aug", "context"),
    Rows("deeplabv3plus", ("r18-d8", "r18b-d8", "r50b-d8", "r101b-d8"), 4, 2, ("80k",), CITYSCAPES),
    Rows("deeplabv3plus", ("r101-d8",), 4, 2, ("80k",), ("cityscapes-512x1024",), note="amp"),
    Rows("deeplabv3plus", ("r101-d16-mg124",), 4, 2, ("40k", "80k"), ("cityscapes-512x1024",)),
    Rows("deeplabv3plus", ("r18-d8", "r50-d8", "r101-d8"), 4, 4, ("80k",), _AERIAL),
    Rows("deeplabv3plus", ("r18-d8", "r50-d8"), 4, 4, ("80k",), ("isaid-896x896",)),
    Rows("deeplabv3plus", ("r50-d8",), 4, 2, ("300k",), ("cityscapes-512x1024",), form=_VISTAS),
)


def head(depth: int) -> Config:
    """The head on a residual network; on the small one it takes less of the early stage."""
    return {
        "type": "DepthwiseSeparableASPPHead",
        "dilations": (1, 12, 24, 36),
        "c1_in_channels": widths(depth)[0],
        "c1_channels": 12 if depth < 50 else 48,
    }


def _vistas(recipe: Published, parts: Parts) -> Parts:
    """On Mapillary Vistas, in all but the padding of batches with the sizes of Cityscapes."""
    for head in ("decode_head", "auxiliary_head"):
        parts.model[head]["num_classes"] = MAPILLARY.num_classes
    parts.model["data_preprocessor"] = preprocessor((1280, 1280))
    rules = {"backbone": {"lr_mult": 0.1, "decay_mult": 1.0}}
    clip = {"max_norm": 0.01, "norm_type": 2}
    test = augmented_test()
    test[0] = {"type": "LoadImageFromFile", "file_client_args": {"backend": "disk"}}
    return Parts(
        parts.model,
        adamw(1e-4, 1e-4, paramwise_cfg={"custom_keys": rules}, clip_grad=clip),
        poly(recipe.steps, eta_min=0),
        {"tta_pipeline": test, "auto_scale_lr": {"enable": False, "base_batch_size": 8}},
        setting=replace(recipe.setting, benchmark=MAPILLARY),
        workers=4,
    )


def _published(recipe: Published) -> Parts:
    parts = published(recipe, head(int(recipe.backbone.partition("-")[0].strip("rb"))))
    if recipe.form == _VISTAS:
        return _vistas(recipe, parts)
    return multi_grid(parts) if recipe.backbone.endswith("mg124") else parts


METHOD = Method(
    "DeepLabV3+",
    "convolutional",
    "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
    "Chen et al.",
    "ECCV",
    2018,
    "https://arxiv.org/abs/1802.02611",
)
FAMILY = Family(ROWS, _published, own=own("deeplabv3plus", head), learning_rate=5e-4, method=METHOD)
