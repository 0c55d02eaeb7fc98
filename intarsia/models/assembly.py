"""What assemblies share: the naming of heads, and checks made when parts are put together, before a wrong shape can
surface somewhere inside a convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from intarsia.contracts import Backbone, FeatureSpec, Head, MaskClassificationHead, Neck, PointLogits, StagedHead


def source_of_levels(backbone: Backbone, neck: Neck | None) -> tuple[str, tuple[FeatureSpec, ...]]:
    """Who gives the levels that heads read, for messages, and what they are."""
    if neck is None:
        return f"backbone {type(backbone).__name__}", backbone.features
    return f"neck {type(neck).__name__}", neck.features


def as_module(heads: Head | Sequence[Head] | None) -> nn.Module | None:
    """The child that published weights know: one head under its own name, several numbered below it."""
    if isinstance(heads, Sequence):
        return nn.ModuleList(cast("Sequence[nn.Module]", heads))
    return cast("nn.Module | None", heads)


def named(name: str, heads: nn.Module | None) -> list[tuple[str, Head]]:
    """Heads by the names of their outputs: `name` for one head, `name_0`, `name_1` ... for several."""
    if heads is None:
        return []
    if isinstance(heads, nn.ModuleList):
        return [(f"{name}_{i}", cast("Head", head)) for i, head in enumerate(heads)]
    return [(name, cast("Head", heads))]


def training_outputs(
    name: str, head: Head | StagedHead, features: Sequence[Tensor], *previous_logits: Tensor
) -> dict[str, Tensor | PointLogits]:
    """What training looks at in a head: its logits under its name, or those of its stages below it."""
    if isinstance(head, StagedHead):
        stages = head.training_outputs(features, *previous_logits)
        return {f"{name}.{stage}" if stage else name: output for stage, output in stages.items()}
    return {name: head(features, *previous_logits)}


def check_head(name: str, head: Head | MaskClassificationHead, source: str, features: Sequence[FeatureSpec]) -> None:
    """Raises ValueError, naming both sides, unless every level that `head` reads exists with the channels it expects.

    name: what the head is called in the config. source: who gives `features`, for the message.
    """
    indices = head.in_index if isinstance(head.in_index, tuple) else (head.in_index,)
    expected = head.in_channels if isinstance(head.in_channels, tuple) else (head.in_channels,)
    for index, channels in zip(indices, expected, strict=True):
        if not -len(features) <= index < len(features):
            raise ValueError(
                f"{name} {type(head).__name__} reads level {index} (in_index), but {source} gives {len(features)} "
                f"levels: {_table(features)}"
            )
        if features[index].channels != channels:
            raise ValueError(
                f"{name} {type(head).__name__} expects in_channels={channels} at level {index}, but {source} gives "
                f"{features[index].channels} channels there; its levels are {_table(features)}. "
                f"Set in_channels={features[index].channels}, or in_index to the level you mean."
            )


def _table(features: Sequence[FeatureSpec]) -> str:
    return ", ".join(f"{i}: {level.channels} channels at stride {level.stride}" for i, level in enumerate(features))
