"""How many logits a file's classifier has, told from names and shapes alone."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia.weights.legacy_names import MAPS as LEGACY
from intarsia.weights.maps import recognise

CLASSIFIERS = {
    "decode_head.conv_seg.weight": 0,
    "decode_head.class_head.weight": 1,
    "decode_head.cls_embed.weight": 1,
}
"""The matrix whose rows are logits -> how many of these stand for no class."""


def count_logits(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Logits of the head, by the shapes of a file's tensors under names of any origin; None without a classifier."""
    older = next((found for found in LEGACY if found.fits(shapes)), None)
    maps = [found for found in (recognise(shapes), older) if found is not None]
    for name, shape in shapes.items():
        ours = [name, *(place[0] for found in maps if (place := found.source(name)) is not None)]
        for classifier, others in CLASSIFIERS.items():
            if classifier in ours and shape:
                return shape[0] - others
    return None
