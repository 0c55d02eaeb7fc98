"""PMT: queries in blocks of their own, on a plain transformer of timm that stands still.

On own data as ``pmt_timm:NAME`` (see `trunk_heads.py`); and what its authors published a score of, by their
configuration (https://github.com/tue-mps/pmt, MIT), as facts.
"""

from __future__ import annotations

from collections.abc import Callable

from intarsia.recipes import eomt
from intarsia.recipes.benchmarks import ADE20K, Config
from intarsia.recipes.published import Method

LEARNING_RATE = 2e-4
FROZEN: Config = {"intarsia": {"freeze": ["backbone"]}}
WARM_UP, STEPS, LOWEST = 6000, 20_208, 1e-9
METHOD = Method(
    "PMT",
    "masks",
    "Plain Mask Transformer",
    "Mobile Perception Systems Lab, TU Eindhoven",
    "arXiv",
    2026,
    "https://github.com/tue-mps/pmt",
)


def head(channels: int, heads: int, patch: int, num_logits: int) -> Config:
    """The head on a transformer of so many channels and heads, of patches of so many pixels."""
    common = eomt.head(channels, patch, 1, num_logits)
    return {
        **common,
        "type": "PMTHead",
        "in_channels": [channels] * 4,
        "in_index": [0, 1, 2, 3],
        "num_blocks": 6,
        "num_heads": heads,
        "hidden_channels": 1024,
    }


def trunk(name: str, bands: int, **others: object) -> Config:
    """The transformer, seen at quarters of its depth, with the final norm and all tokens."""
    return {"type": "TIMM", "model_name": name, "in_channels": bands, "norm": True, "prefix": True, **others}


def warm_up_and_cosine(steps: int, warm_up: int) -> list[Config]:
    """From 0 up along a line, then half a cosine down to next to nothing."""
    warm_up = warm_up if warm_up > 1 else 0  # of two steps, the first would leave nothing for the second to begin with
    cosine: Config = {"type": "CosineAnnealingLR", "T_max": steps - warm_up, "eta_min": LOWEST, "begin": warm_up,
                      "end": steps, "by_epoch": False}  # fmt: skip
    if not warm_up:
        return [cosine]
    rise = {"type": "LinearLR", "start_factor": 0.0, "begin": 0, "end": warm_up + 1, "by_epoch": False}
    return [rise, cosine]


def own_schedule(steps: int) -> list[Config]:
    """The same shares of a training of any length as of the published one."""
    return warm_up_and_cosine(steps, WARM_UP * steps // STEPS)


def training() -> Config:
    """The optimizer of the head, and that the transformer stands still."""
    return {"optim_wrapper": eomt.optimizer(LEARNING_RATE), **FROZEN}


def _published() -> Config:
    fading = eomt.annealed(
        STEPS, (0, 5384, 7403, 9422, 11442, 13461), (3000, 8749, 10769, 12788, 14807, 16826)
    )  # fmt: skip
    model = {
        "backbone": trunk("vit_large_patch16_dinov3_qkvb.lvd1689m", 3, pretrained=True, out_indices=(5, 11, 17, 23)),
        "decode_head": {**head(1024, 16, 16, 150), **fading},
    }
    schedule = warm_up_and_cosine(STEPS, WARM_UP)
    return {**eomt.published(ADE20K, 512, STEPS, model, eomt.optimizer(LEARNING_RATE), schedule), **FROZEN}


PUBLISHED: dict[str, Callable[[], Config]] = {"pmt_vit-l-dinov3_4xb4-16e_ade20k-512x512": _published}
