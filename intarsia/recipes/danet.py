"""DANet: attention over positions and over channels.

Fu et al.: "Dual Attention Network for Scene Segmentation", CVPR 2019.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family

HEAD: Config = {"type": "DAHead", "pam_channels": 64}

FAMILY = Family(usual_rows("danet"), with_head(HEAD), own=own("danet", HEAD, (50, 101)), learning_rate=5e-4)
