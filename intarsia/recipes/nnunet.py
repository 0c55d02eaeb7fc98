"""nnU-Net in two dimensions on own data: plain convolutions, and its residual encoder in three sizes.

The networks here are those for patches of 512 x 512. `workflows/plan_nnunet.py` puts those in their place that its
rules choose for the data, with patch, batch, augmentation and windows; M, L and XL differ in the memory that these are
chosen for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.published import Family, Method
from intarsia.recipes.schedules import poly

PLAIN, RESIDUAL = "PlainConvEncoder", "ResidualEncoder"
FIRST, WIDEST = 32, 512
"""Channels of the first stage; each has twice as many as the one before, up to the widest."""
LEARNING_RATE, STEPS, EPOCH = 1e-2, 250_000, 250
"""Steps of a whole training are 1000 epochs of 250."""
LOSSES = (
    {"type": "CrossEntropyLoss", "avg_non_ignore": True, "loss_weight": 1.0},
    {"type": "BatchDiceLoss", "loss_weight": 1.0},
)
_BLOCKS = (1, 3, 4)
_MORE_BLOCKS = 6
"""Residual blocks of the first stages, and of all others."""


def counts(kind: str, stages: int) -> list[int]:
    """Convolutions, or residual blocks, of each stage of an encoder."""
    if kind == PLAIN:
        return [2] * stages
    return [*_BLOCKS, *[_MORE_BLOCKS] * stages][:stages]


def parts(
    kind: str,
    num_logits: int,
    bands: int,
    *,
    strides: Sequence[tuple[int, int]] = ((1, 1), *[(2, 2)] * 7),
    kernel_sizes: Sequence[tuple[int, int]] | int = 3,
) -> Config:
    """Backbone and head of a network with such stages; kind: PLAIN or RESIDUAL."""
    stages = len(strides)
    channels = [min(FIRST * 2**stage, WIDEST) for stage in range(stages)]
    levels = {"kernel_sizes": kernel_sizes, "strides": strides}
    encoder: Config = {"type": kind, "in_channels": bands, "channels": channels, **levels}
    encoder["num_convs" if kind == PLAIN else "num_blocks"] = counts(kind, stages)
    head: Config = {
        "type": "NNUNetHead",
        "in_channels": channels,
        "in_index": list(range(stages)),
        **levels,
        "num_convs": 2 if kind == PLAIN else 1,
        "num_classes": num_logits,
        "align_corners": False,
        "loss_decode": [dict(loss) for loss in LOSSES],
    }
    return {"backbone": encoder, "decode_head": head}


def _optimiser() -> Config:
    optimizer = {"type": "SGD", "lr": LEARNING_RATE, "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}
    return {"type": "OptimWrapper", "optimizer": optimizer, "clip_grad": {"max_norm": 12, "norm_type": 2}}


def _schedule(steps: int) -> list[Config]:
    return poly(steps, eta_min=0.0)


FAMILY = Family(
    own={
        "nnunet": partial(parts, PLAIN),
        "nnunet_resenc-m": partial(parts, RESIDUAL),
    },
    same={"nnunet_resenc-l": "nnunet_resenc-m", "nnunet_resenc-xl": "nnunet_resenc-m"},
    learning_rate=LEARNING_RATE,
    method=Method(
        "nnU-Net",
        "convolutional",
        "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
        "Isensee, Jaeger, Kohl, Petersen, Maier-Hein",
        "Nature Methods",
        2021,
        "https://doi.org/10.1038/s41592-020-01008-z",
    ),
    others={"optim_wrapper": _optimiser()},
    schedule=_schedule,
)
