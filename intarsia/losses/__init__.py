"""One file per loss: logits and target to a scalar. As functions, all with one signature: `losses.functional`.

    from intarsia.losses.dice import DiceLoss      the module that a config names
    intarsia.losses.dice(logits, labels)           the same as a function

A function has the name of the file that its loss is in, and stands here in its place.
"""

from intarsia.losses.functional import (
    boundary,
    cross_entropy,
    dice,
    focal,
    hausdorff,
    lovasz,
    matthews,
    ohem,
    overlap,
    tversky,
)

__all__ = [
    "boundary", "cross_entropy", "dice", "focal", "hausdorff", "lovasz", "matthews", "ohem", "overlap", "tversky",
]  # fmt: skip
