"""ANN: asymmetric non-local networks."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family, Method

HEAD: Config = {
    "type": "ANNHead",
    "in_index": [2, 3],
    "project_channels": 256,
    "query_scales": (1,),
    "key_pool_scales": (1, 3, 6, 8),
}

METHOD = Method(
    "ANN",
    "context",
    "Asymmetric Non-local Neural Networks for Semantic Segmentation",
    "Zhu et al.",
    "ICCV",
    2019,
    "https://arxiv.org/abs/1908.07678",
)
FAMILY = Family(usual_rows("ann"), with_head(HEAD), own=own("ann", HEAD, (50, 101)), learning_rate=5e-4, method=METHOD)
