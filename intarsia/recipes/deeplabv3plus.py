"""DeepLabV3+: DeepLabV3 in separable convolutions, joined by an early stage.

Chen et al.: "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.deeplabv3 import multi_grid
from intarsia.recipes.dilated import CITYSCAPES, own, published, usual_rows, widths
from intarsia.recipes.published import Family, Parts, Published, Rows

_AERIAL = ("loveda-512x512", "potsdam-512x512", "vaihingen-512x512")

ROWS = (
    *usual_rows("deeplabv3plus", "cityscapes", "ade20k", "voc12aug", "context"),
    Rows("deeplabv3plus", ("r18-d8", "r18b-d8", "r50b-d8", "r101b-d8"), 4, 2, ("80k",), CITYSCAPES),
    Rows("deeplabv3plus", ("r101-d8",), 4, 2, ("80k",), ("cityscapes-512x1024",), note="amp"),
    Rows("deeplabv3plus", ("r101-d16-mg124",), 4, 2, ("40k", "80k"), ("cityscapes-512x1024",)),
    Rows("deeplabv3plus", ("r18-d8", "r50-d8", "r101-d8"), 4, 4, ("80k",), _AERIAL),
    Rows("deeplabv3plus", ("r18-d8", "r50-d8"), 4, 4, ("80k",), ("isaid-896x896",)),
)


def head(depth: int) -> Config:
    """The head on a residual network; on the small one it takes less of the early stage."""
    return {
        "type": "DepthwiseSeparableASPPHead",
        "dilations": (1, 12, 24, 36),
        "c1_in_channels": widths(depth)[0],
        "c1_channels": 12 if depth < 50 else 48,
    }


def _published(recipe: Published) -> Parts:
    parts = published(recipe, head(int(recipe.backbone.partition("-")[0].strip("rb"))))
    return multi_grid(parts) if recipe.backbone.endswith("mg124") else parts


FAMILY = Family(ROWS, _published, own=own("deeplabv3plus", head), learning_rate=5e-4)
