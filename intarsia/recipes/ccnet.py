"""CCNet: criss-cross attention.

Huang et al.: "CCNet: Criss-Cross Attention for Semantic Segmentation", ICCV 2019.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family

HEAD: Config = {"type": "CCHead", "recurrence": 2}

FAMILY = Family(usual_rows("ccnet"), with_head(HEAD), own=own("ccnet", HEAD, (50, 101)), learning_rate=5e-4)
