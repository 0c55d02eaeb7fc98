"""What recipes ask of the network that they are on, whoever's it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.hf_facts import OfTransformers
from intarsia.recipes.timm_facts import OfTIMM

Levels = tuple[tuple[int, int], ...]
"""(channels, stride) of each level."""


class Network(Protocol):
    """A network; in texts it stands as its name. It is built without memory for what is asked."""

    @property
    def name(self) -> str:
        """What stands behind the mark in a recipe's name."""

    @property
    def mark(self) -> str:
        """What stands between a head and it in a recipe's name."""

    @property
    def dilates(self) -> bool:
        """Whether networks of its library can be dilated at all."""

    @property
    def is_plain(self) -> bool:
        """Whether all levels are alike: those of a plain transformer."""

    @property
    def has_tokens(self) -> bool:
        """Whether it gives a token that stands in front of the patches of a plain transformer."""

    @property
    def last_norm(self) -> Config:
        """What puts the last norm of a plain transformer behind each of its levels."""

    def levels(self, **arguments: Any) -> Levels:
        """(channels, stride) of the levels; of a plain transformer, of four. Raises ValueError as its backbone."""

    def backbone(self, bands: int, **arguments: Any) -> Config:
        """It as a config's backbone. out_indices: places in `levels`; of a plain transformer, blocks from the end."""

    def patches_of_16(self) -> Config:
        """What makes patches of 14 pixels 16, so that a pyramid of strides 4, 8, 16 ... can be made of them."""

    def depth(self) -> int:
        """The blocks of a plain transformer. Raises ValueError for one whose last a head cannot run."""

    def heads(self) -> int:
        """The heads of attention of a plain transformer. Raises ValueError for one that does not give its tokens."""


def strides_of(backbone: Mapping[str, Any]) -> list[int]:
    """Of the levels that a config's backbone gives, which is a pyramid and says which these are."""
    own = OfTransformers.strides if backbone["type"] == OfTransformers.type else OfTIMM.strides
    return own(backbone)


def of_strides(levels: Levels, strides: tuple[int, ...]) -> list[int | None]:
    """The last level of each stride, or None where there is none."""
    last = {stride: index for index, (_, stride) in enumerate(levels)}
    return [last.get(stride) for stride in strides]


def dilated_levels(heads: str, network: Network, stride: int) -> tuple[tuple[int, int], ...]:
    """(channels, stride) of the levels, the last dilated to `stride`. heads: who wants that, with the verb.

    Raises ValueError for a network that cannot be dilated so far.
    """
    try:
        return network.levels(output_stride=stride)
    except ValueError as error:
        raise ValueError(
            f"{heads} for networks that can be dilated to stride {stride}: {error}; take upernet or segformer, or dpt "
            "for a plain transformer"
        ) from error
