"""EMANet: attention by expectation maximisation."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import BOTH, CITYSCAPES, own, with_head
from intarsia.recipes.published import Family, Method, Rows

HEAD: Config = {
    "type": "EMAHead",
    "channels": 256,
    "ema_channels": 512,
    "num_bases": 64,
    "num_stages": 3,
    "momentum": 0.1,
}

METHOD = Method(
    "EMANet",
    "context",
    "Expectation-Maximization Attention Networks for Semantic Segmentation",
    "Li et al.",
    "ICCV",
    2019,
    "https://arxiv.org/abs/1907.13426",
)
FAMILY = Family(
    (Rows("emanet", BOTH, 4, 2, ("80k",), CITYSCAPES),),
    with_head(HEAD),
    own=own("emanet", HEAD, (50, 101)),
    learning_rate=5e-4,
    method=METHOD,
)
