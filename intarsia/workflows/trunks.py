"""What a training on own data takes from the network of timm that its recipe is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from intarsia import recipes
from intarsia.weights.pretrained import timm_hub

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

Values = tuple[float, ...]


def normalisation(
    recipe: str, description: DataDescription, pretrained: str | None, say: Callable[[str], None]
) -> tuple[Values, Values]:
    """Mean and deviation of each band that images are normalised with.

    Those of the data; but where colours go into a network of timm that starts from weights, those of its weights, which
    is said.
    """
    network = recipes.trunk(recipe)
    known = None if network is None or pretrained == "none" else timm_hub.normalisation(network)
    if known is None or description.bands == "raw" or description.channels != 3:
        count = description.channels
        return description.mean or (128.0,) * count, description.std or (64.0,) * count
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (known.mean, known.std))
    say(f"colours are normalised as for the weights of timm's {network}: mean {mean}; deviation {std}")
    return known.mean, known.std
