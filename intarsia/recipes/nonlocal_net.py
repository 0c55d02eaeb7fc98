"""Non-local networks.

Wang, Girshick, Gupta, He: "Non-local Neural Networks", CVPR 2018.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family

HEAD: Config = {"type": "NLHead", "reduction": 2, "use_scale": True, "mode": "embedded_gaussian"}

FAMILY = Family(usual_rows("nonlocal"), with_head(HEAD), own=own("nonlocal", HEAD, (50, 101)), learning_rate=5e-4)
