"""What recipes ask of a network of transformers: its levels, by the values of its config. It is measured for that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from intarsia import catalog
from intarsia.recipes.benchmarks import Config

MARK = "_hf:"
"""Stands between the head and the network in a recipe's name."""

_ELSEWHERE = "take a name of timm (HEAD_timm:NAME), or another head: upernet, dpt, mask2former"


@dataclass(frozen=True)
class OfTransformers:
    """A network; see `trunk_facts.Network`.

    name: OWNER/NAME of the hub, or a folder. text: the values of its config as JSON. weights: the address or folder of
    its pretrained tensors; "" where there are none.
    """

    name: str
    text: str
    weights: str = ""
    mark: ClassVar[str] = MARK
    type: ClassVar[str] = "HFBackbone"
    dilates: ClassVar[bool] = False
    has_tokens: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.name

    @property
    def values(self) -> dict[str, Any]:
        """The values of its config."""
        found: dict[str, Any] = json.loads(self.text)
        return found

    def levels(self, **arguments: Any) -> tuple[tuple[int, int], ...]:
        """(channels, stride) of all levels of a pyramid, its stem among them, or of four blocks.

        Raises ValueError for a network that does not take images of any size, and for any argument.
        """
        if arguments:
            raise ValueError(f"{self} is a network of transformers, which are not dilated")
        found = _measured(self.values)
        if found.policy.size is not None:
            raise ValueError(
                f"{self} takes images of {found.policy.size[0]} x {found.policy.size[1]} only, and a recipe is for "
                "images of any size: write it into a config, as HFBackbone with test_cfg mode 'slide'"
            )
        levels = found.features if self.is_plain else [level for level in found.stages if level is not None]
        return tuple((level.channels, level.stride) for level in levels)

    @property
    def is_plain(self) -> bool:
        """Whether all levels but the stem are alike: those of a plain transformer."""
        return len(set(_measured(self.values).features)) == 1

    @staticmethod
    def strides(backbone: Mapping[str, Any]) -> list[int]:
        """Of the levels of a config's backbone."""
        stages = _measured(backbone["config"]).stages
        return [stages[index].stride for index in backbone["out_indices"]]

    def backbone(self, bands: int, **arguments: Any) -> Config:
        """The network as a config's backbone, which starts from its pretrained weights where it has any."""
        values, side = self.values, arguments.pop("patch_size", None)
        if side is not None:
            values = catalog.resolve("backbone", self.type).with_patches(values, side)
        if not self.is_plain and "out_indices" in arguments:
            given = [index for index, level in enumerate(_measured(values).stages) if level is not None]
            arguments["out_indices"] = tuple(given[place] for place in arguments["out_indices"])
        weights = {"pretrained": self.weights} if self.weights else {}
        return {"type": self.type, "config": values, "in_channels": bands, **arguments, **weights}

    @property
    def last_norm(self) -> Config:
        """Nothing: transformers puts it behind every level."""
        return {}

    def patches_of_16(self) -> Config:
        """Patches of 14 pixels become 16, so that a pyramid of strides 4, 8, 16 ... can be made of them."""
        stride = self.levels()[-1][1]
        return {} if stride & (stride - 1) == 0 else {"patch_size": 16}

    def depth(self) -> int:
        """Raises ValueError: a head cannot run blocks of transformers."""
        raise ValueError(
            f"eomt runs its queries through blocks of timm's transformers, and {self} is not timm's: {_ELSEWHERE}"
        )

    def heads(self) -> int:
        """Raises ValueError: backbones of transformers give no tokens."""
        raise ValueError(f"pmt reads all tokens of timm's transformers, and {self} is not timm's: {_ELSEWHERE}")


def _measured(values: Mapping[str, Any]) -> Any:
    """The levels of all stages, and which images the network takes."""
    return catalog.resolve("backbone", OfTransformers.type).measured(values)
