"""FCN on dilated residual networks.

45 published recipes. ``fcn-d6`` dilates the head's convolutions by 6 and keeps the backbone at stride 16.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import CITYSCAPES, own, published, usual_rows
from intarsia.recipes.published import Family, Method, Parts, Published, Rows

ROWS = (
    *usual_rows("fcn", "cityscapes", "ade20k", "voc12aug", "context"),
    Rows("fcn", ("r18-d8", "r18b-d8", "r50b-d8", "r101b-d8"), 4, 2, ("80k",), CITYSCAPES),
    Rows("fcn", ("r101-d8",), 4, 2, ("80k",), ("cityscapes-512x1024",), note="amp"),
    Rows("fcn-d6", ("r50-d16", "r101-d16"), 4, 2, ("40k", "80k"), CITYSCAPES),
    Rows("fcn-d6", ("r50b-d16", "r101b-d16"), 4, 2, ("80k",), CITYSCAPES),
)
HEAD: Config = {"type": "FCNHead", "num_convs": 2, "concat_input": True}


def _published(recipe: Published) -> Parts:
    spread = {"dilation": 6} if recipe.method == "fcn-d6" else {}
    return published(recipe, {**HEAD, **spread}, auxiliary=spread)


METHOD = Method(
    "FCN",
    "convolutional",
    "Fully Convolutional Networks for Semantic Segmentation",
    "Long, Shelhamer, Darrell",
    "CVPR",
    2015,
    "https://arxiv.org/abs/1411.4038",
)
FAMILY = Family(ROWS, _published, own=own("fcn", HEAD), learning_rate=5e-4, method=METHOD)
