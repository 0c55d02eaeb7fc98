"""Networks by the constructors of segmentation_models.pytorch: its twelve models, its encoders, its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intarsia import recipes
from intarsia.recipes.timm_shown import MARK
from intarsia.recipes.trunk_heads import HEADS
from intarsia.workflows.create_model import Source, built_model

if TYPE_CHECKING:
    from intarsia.tasks.segmentation_model import SegmentationModel


def smp_model(
    kind: str,
    *,
    encoder_name: str,
    encoder_weights: str | None,
    in_channels: int,
    classes: int,
    activation: str | None,
    arguments: Mapping[str, Any],
) -> SegmentationModel:
    """`kind` as that library calls it ("Unet"), with the arguments of its constructor.

    With `aux_params` it gives the scores of pixels and of whole images, as there. Raises ValueError for what has no
    counterpart here, and for a last activation of the pixels, which would change what comes out.
    """
    from intarsia.weights.maps.smp_config import describe_smp

    if activation not in (None, "identity"):
        raise ValueError(
            f"smp.{kind}: the scores are logits, found activation={activation!r}. Leave it out, and apply it to them"
        )
    given = {"encoder_name": encoder_name, "in_channels": in_channels, "classes": classes, **arguments}
    try:
        described = describe_smp({**given, "_model_class": kind})
    except ValueError as error:
        raise ValueError(f"smp.{kind}: {str(error).replace('config.json', 'the call')}") from error
    values = described.config["model"]
    labels = arguments.get("aux_params")
    source = Source(
        _recipe(kind, values),
        values,
        in_channels,
        classifies=labels is not None,
        label_activation=None if labels is None else labels.get("activation"),
    )
    return built_model(source, pretrained=_pretrained(kind, encoder_weights), normalise=False, mean=None, std=None)


def _pretrained(kind: str, encoder_weights: str | None) -> bool:
    if encoder_weights not in (None, "imagenet"):
        raise ValueError(
            f"smp.{kind}: encoder_weights must be 'imagenet', which are those that timm has first for the network, or "
            f"None; found {encoder_weights!r}. For others: encoder_weights=None, then intarsia.create_model(..., "
            "trunk='NETWORK.WEIGHTS') with a name of timm"
        )
    return encoder_weights is not None


def _recipe(kind: str, values: Mapping[str, Any]) -> str:
    """The recipe that says how such a model is trained; "" where there is none."""
    name, network = kind.lower(), values["backbone"].get("model_name")
    recipe = f"{name}{MARK}{network}"
    return recipe if name in HEADS and network and recipes.trunk(recipe) is not None else ""
