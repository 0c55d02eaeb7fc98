"""What a training on own data takes from the network of timm or transformers that its recipe is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from intarsia import recipes
from intarsia.weights.pretrained import timm_hub
from intarsia.workflows.hub_trunks import normalisation_at

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

Values = tuple[float, ...]


def normalisation(
    recipe: str, description: DataDescription, pretrained: str | None, say: Callable[[str], None]
) -> tuple[Values, Values]:
    """Mean and deviation of each band that images are normalised with.

    Those of the data; but where colours go into such a network that starts from weights, those of its weights, which is
    said.
    """
    wanted = pretrained != "none" and description.bands != "raw" and description.channels == 3
    known = normalisation_of(recipe) if wanted else None
    if known is None:
        count = description.channels
        return description.mean or (128.0,) * count, description.std or (64.0,) * count
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (known.mean, known.std))
    whose = f"timm's {recipes.trunk(recipe)}" if recipes.hf_trunk(recipe) is None else recipes.hf_trunk(recipe)
    say(f"colours are normalised as for the weights of {whose}: mean {mean}; deviation {std}")
    return known.mean, known.std


def normalisation_of(recipe: str) -> timm_hub.Normalisation | None:
    """Of colours, as for the pretrained weights of the network that a recipe is on; None where that is not known."""
    network, place = recipes.trunk(recipe), recipes.hf_trunk(recipe)
    if network is not None:
        return timm_hub.normalisation(network)
    return None if place is None else normalisation_at(place)
