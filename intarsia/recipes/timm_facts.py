"""What recipes ask of a network of timm: its levels, blocks and tokens. It is built without memory for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar

from intarsia import catalog
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.timm_shown import MARK


@dataclass(frozen=True)
class OfTIMM:
    """A network by its name there; see `trunk_facts.Network`."""

    name: str
    mark: ClassVar[str] = MARK
    type: ClassVar[str] = "TIMM"
    dilates: ClassVar[bool] = True

    def __str__(self) -> str:
        return self.name

    def levels(self, **arguments: Any) -> tuple[tuple[int, int], ...]:
        """(channels, stride) of the levels. Raises ValueError for arguments that the network does not take."""
        return _levels_of(self.name, **arguments)

    @staticmethod
    def strides(backbone: Mapping[str, Any]) -> list[int]:
        """Of the levels of a config's backbone."""
        return [_levels_of(backbone["model_name"])[index][1] for index in backbone["out_indices"]]

    def backbone(self, bands: int, **arguments: Any) -> Config:
        """The network as a config's backbone."""
        return {"type": self.type, "model_name": self.name, "in_channels": bands, **arguments}

    @property
    def is_plain(self) -> bool:
        """Whether all levels are alike: those of a plain transformer."""
        return len(set(self.levels())) == 1

    @property
    def has_tokens(self) -> bool:
        """Whether a plain transformer has a token in front of its patches."""
        return bool(getattr(_built(self.name).network[0], "num_prefix_tokens", 0))

    @property
    def last_norm(self) -> Config:
        """Only of a plain transformer."""
        return {"norm": True} if self.is_plain else {}

    def patches_of_16(self) -> Config:
        """Patches of 14 pixels become 16, so that a pyramid of strides 4, 8, 16 ... can be made of them."""
        stride = self.levels()[-1][1]
        return {} if stride & (stride - 1) == 0 else {"options": {"patch_size": 16}}

    def depth(self) -> int:
        """The blocks of a plain transformer. Raises ValueError for others, and where heads cannot run its last."""
        try:
            return len(_built(self.name, open_blocks=1).network[0].blocks)
        except ValueError as error:
            raise ValueError(
                f"eomt runs in the last blocks of a plain transformer: {error}; take mask2former"
            ) from error

    def heads(self) -> int:
        """The heads of attention of a plain transformer. Raises ValueError for one without tokens before patches."""
        return int(_built(self.name, norm=True, prefix=True).network[0].blocks[0].attn.num_heads)


@cache
def _levels_of(network: str, **arguments: Any) -> tuple[tuple[int, int], ...]:
    return tuple((level.channels, level.stride) for level in _built(network, **arguments).features)


@lru_cache(maxsize=8)
def _built(network: str, **arguments: Any) -> Any:
    """The backbone. Nothing is computed, and no memory is taken."""
    import torch

    with torch.device("meta"):
        return catalog.resolve("backbone", "TIMM")(network, **arguments)
