"""PSPNet: the image averaged over regions of several sizes.

66 published recipes. Some are tested on other streets: at night and at dusk.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import BOTH, CITYSCAPES, own, published, usual_rows
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, steps_down

_AERIAL = ("loveda-512x512", "potsdam-512x512", "vaihingen-512x512")
_NIGHT = ("cityscapes-512x1024_dark-zurich-1920x1080", "cityscapes-512x1024_night-driving-1920x1080")

ROWS = (
    *usual_rows("pspnet", "cityscapes", "ade20k", "voc12aug", "context"),
    Rows("pspnet", ("r18-d8", "r18b-d8", "r50b-d8", "r101b-d8"), 4, 2, ("80k",), CITYSCAPES),
    Rows("pspnet", ("r50-d32", "r50b-d32"), 4, 2, ("80k",), ("cityscapes-512x1024",)),
    Rows("pspnet", ("r101-d8",), 4, 2, ("80k",), ("cityscapes-512x1024",), note="amp"),
    Rows("pspnet", ("r50-d8",), 4, 2, ("40k", "80k"), _NIGHT),
    Rows("pspnet", ("r101-d8",), 4, 2, ("40k",), _NIGHT),
    Rows("pspnet", ("r101b-d8",), 4, 2, ("80k",), _NIGHT),
    Rows("pspnet", ("r50-d32_rsb", "r50-d8-rsb"), 4, 2, ("80k",), ("cityscapes-512x1024",), note="adamw"),
    Rows("pspnet", BOTH, 4, 4, ("20k", "40k"), ("coco-stuff10k-512x512",)),
    Rows("pspnet", BOTH, 4, 4, ("80k", "160k", "320k"), ("coco-stuff164k-512x512",)),
    Rows("pspnet", ("r18-d8", "r50-d8", "r101-d8"), 4, 4, ("80k",), _AERIAL),
    Rows("pspnet", ("r18-d8", "r50-d8"), 4, 4, ("80k",), ("isaid-896x896",)),
)
HEAD: Config = {"type": "PSPHead", "pool_scales": (1, 2, 3, 6)}

_RSB = (
    "https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_8xb256-rsb-a1-600e_in1k_20211228-20e21305.pth"
)


def _published(recipe: Published) -> Parts:
    """`rsb` starts at weights of a better training of ResNet ("ResNet strikes back"), and goes on with AdamW."""
    parts = published(recipe, HEAD)
    if not recipe.backbone.endswith("rsb"):
        return parts
    start = {"type": "Pretrained", "prefix": "backbone.", "checkpoint": _RSB}
    model = {
        **parts.model,
        "pretrained": None,
        "backbone": {**parts.model["backbone"], "type": "ResNet", "init_cfg": start},
    }
    optim = adamw(0.0005, 0.05, betas=None, clip_grad={"max_norm": 1, "norm_type": 2})
    return Parts(model, optim, steps_down(recipe.steps))


METHOD = Method(
    "PSPNet",
    "convolutional",
    "Pyramid Scene Parsing Network",
    "Zhao, Shi, Qi, Wang, Jia",
    "CVPR",
    2017,
    "https://arxiv.org/abs/1612.01105",
)
FAMILY = Family(ROWS, _published, own=own("pspnet", HEAD), learning_rate=5e-4, method=METHOD)
