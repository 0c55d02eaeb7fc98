"""What recipes ask of a network of timm: its levels, blocks and tokens. It is built without memory for that."""

from __future__ import annotations

from functools import cache
from typing import Any

from intarsia import catalog
from intarsia.recipes.benchmarks import Config


@cache
def levels_of(network: str, **arguments: Any) -> tuple[tuple[int, int], ...]:
    """(channels, stride) of the levels. Nothing is computed, and no memory is taken."""
    import torch

    with torch.device("meta"):
        built = catalog.resolve("backbone", "TIMM")(network, **arguments)
    return tuple((level.channels, level.stride) for level in built.features)


@cache
def depth_of(network: str) -> int:
    """The blocks of a plain transformer. Raises ValueError for other networks, and where heads cannot run its last."""
    import torch

    with torch.device("meta"):
        return len(catalog.resolve("backbone", "TIMM")(network, open_blocks=1).network[0].blocks)


@cache
def heads_of(network: str) -> int:
    """The heads of attention of a plain transformer. Raises ValueError for one without tokens before its patches."""
    import torch

    with torch.device("meta"):
        return int(
            catalog.resolve("backbone", "TIMM")(network, norm=True, prefix=True).network[0].blocks[0].attn.num_heads
        )


@cache
def has_tokens(network: str) -> bool:
    """Whether a plain transformer has a token in front of its patches."""
    import torch

    with torch.device("meta"):
        return bool(getattr(catalog.resolve("backbone", "TIMM")(network).network[0], "num_prefix_tokens", 0))


def is_plain(network: str) -> bool:
    """Whether all levels are alike: those of a plain transformer."""
    return len(set(levels_of(network))) == 1


def trunk(network: str, bands: int, **arguments: Any) -> Config:
    """The network as a config's backbone."""
    return {"type": "TIMM", "model_name": network, "in_channels": bands, **arguments}


def patches_of_16(stride: int) -> Config:
    """Patches of 14 pixels become 16, so that a pyramid of strides 4, 8, 16 ... can be made of them."""
    return {} if stride & (stride - 1) == 0 else {"options": {"patch_size": 16}}


def of_strides(levels: tuple[tuple[int, int], ...], strides: tuple[int, ...]) -> list[int | None]:
    """The last level of each stride, or None where there is none."""
    last = {stride: index for index, (_, stride) in enumerate(levels)}
    return [last.get(stride) for stride in strides]
