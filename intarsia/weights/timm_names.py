"""What checkpoints of MMSegmentation's `TIMMBackbone` call the tensors of a network of timm, and what timm calls them.

There, the network is one that gives levels (`features_only`), of which timm has three kinds:

    model.blocks.0.norm1.weight    a network inside another (transformers)
    stages_0.blocks.0.norm1.weight a network whose sequences were taken apart (most others)
    layer1.0.conv1.weight          a network as it is published
"""

from __future__ import annotations

import re

WRAPPER = "timm_model."
_WHOLE = ("model.", "body.")
_APART = re.compile(r"(stem|features|stages|layers|levels|blocks|patch_embed)_(\w+\.)")


def published_name(name: str) -> str:
    """A tensor's name behind "backbone.", as timm publishes it; a name that is no such one stays as it is."""
    if not name.startswith(WRAPPER):
        return name
    inner = name.removeprefix(WRAPPER)
    for whole in _WHOLE:
        if inner.startswith(whole):
            return inner.removeprefix(whole)
    return _APART.sub(r"\1.\2", inner, count=1) if _APART.match(inner) else inner
