"""DeepLabV3: dilated convolutions side by side.

45 published recipes. ``mg124`` gives the blocks of the last stage dilations of their own.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import BOTH, CITYSCAPES, own, published, usual_rows
from intarsia.recipes.published import Family, Method, Parts, Published, Rows

ROWS = (
    *usual_rows("deeplabv3", "cityscapes", "ade20k", "voc12aug", "context"),
    Rows("deeplabv3", ("r18-d8", "r18b-d8", "r50b-d8", "r101b-d8"), 4, 2, ("80k",), CITYSCAPES),
    Rows("deeplabv3", ("r101-d8",), 4, 2, ("80k",), ("cityscapes-512x1024",), note="amp"),
    Rows("deeplabv3", ("r101-d16-mg124",), 4, 2, ("40k", "80k"), ("cityscapes-512x1024",)),
    Rows("deeplabv3", BOTH, 4, 4, ("20k", "40k"), ("coco-stuff10k-512x512",)),
    Rows("deeplabv3", BOTH, 4, 4, ("80k", "160k", "320k"), ("coco-stuff164k-512x512",)),
)
HEAD: Config = {"type": "ASPPHead", "dilations": (1, 12, 24, 36)}


def multi_grid(parts: Parts) -> Parts:
    """The form at stride 16: dilations within the last stage, smaller ones in the head, trained on hard pixels."""
    parts.model["backbone"]["multi_grid"] = (1, 2, 4)
    parts.model["decode_head"]["dilations"] = (1, 6, 12, 18)
    parts.model["decode_head"]["sampler"] = {"type": "OHEMPixelSampler", "min_kept": 100_000}
    return parts


def _published(recipe: Published) -> Parts:
    parts = published(recipe, HEAD)
    return multi_grid(parts) if recipe.backbone.endswith("mg124") else parts


METHOD = Method(
    "DeepLabV3",
    "convolutional",
    "Rethinking Atrous Convolution for Semantic Image Segmentation",
    "Chen, Papandreou, Schroff, Adam",
    "arXiv",
    2017,
    "https://arxiv.org/abs/1706.05587",
)
FAMILY = Family(ROWS, _published, own=own("deeplabv3", HEAD), learning_rate=5e-4, method=METHOD)
