"""DANet: attention over positions and over channels."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family, Method

HEAD: Config = {"type": "DAHead", "pam_channels": 64}

METHOD = Method(
    "DANet",
    "context",
    "Dual Attention Network for Scene Segmentation",
    "Fu et al.",
    "CVPR",
    2019,
    "https://arxiv.org/abs/1809.02983",
)
FAMILY = Family(
    usual_rows("danet"), with_head(HEAD), own=own("danet", HEAD, (50, 101)), learning_rate=5e-4, method=METHOD
)
