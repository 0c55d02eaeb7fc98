"""Checks made when parts are put together, before a wrong shape can surface somewhere inside a convolution."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.contracts import FeatureSpec, Head


def check_head(name: str, head: Head, giver: str, features: Sequence[FeatureSpec]) -> None:
    """Raises ValueError, naming both sides, unless every level that `head` reads exists with the channels it expects.

    name: what the head is called in the config. giver: who gives `features`, for the message.
    """
    indices = head.in_index if isinstance(head.in_index, tuple) else (head.in_index,)
    expected = head.in_channels if isinstance(head.in_channels, tuple) else (head.in_channels,)
    for index, channels in zip(indices, expected, strict=True):
        if not -len(features) <= index < len(features):
            raise ValueError(
                f"{name} {type(head).__name__} reads level {index} (in_index), but {giver} gives {len(features)} "
                f"levels: {_table(features)}"
            )
        if features[index].channels != channels:
            raise ValueError(
                f"{name} {type(head).__name__} expects in_channels={channels} at level {index}, but {giver} gives "
                f"{features[index].channels} channels there; its levels are {_table(features)}. "
                f"Set in_channels={features[index].channels}, or in_index to the level you mean."
            )


def _table(features: Sequence[FeatureSpec]) -> str:
    return ", ".join(f"{i}: {level.channels} channels at stride {level.stride}" for i, level in enumerate(features))
