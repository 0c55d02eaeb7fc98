"""EncNet: what classes an image has, encoded and predicted beside the pixels."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import cross_entropy, own, published, usual_rows
from intarsia.recipes.published import Family, Method, Parts, Published, Rows

HEAD: Config = {
    "type": "EncHead",
    "in_index": (1, 2, 3),
    "num_codes": 32,
    "use_se_loss": True,
    "add_lateral": False,
    "loss_se_decode": cross_entropy(0.2, use_sigmoid=True),
}


def _published(recipe: Published) -> Parts:
    parts = published(recipe, HEAD)
    if recipe.backbone == "r50s-d8":
        parts.model["backbone"]["stem_channels"] = 128
    return parts


ROWS = (*usual_rows("encnet"), Rows("encnet", ("r50s-d8",), 4, 4, ("80k",), ("ade20k-512x512",)))

METHOD = Method(
    "EncNet",
    "context",
    "Context Encoding for Semantic Segmentation",
    "Zhang et al.",
    "CVPR",
    2018,
    "https://arxiv.org/abs/1803.08904",
)
FAMILY = Family(ROWS, _published, own=own("encnet", HEAD, (50, 101)), learning_rate=5e-4, method=METHOD)
