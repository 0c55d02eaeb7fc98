"""What people give `intarsia.create_model`, brought into the form that recipes have; errors that say what is wanted."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from intarsia.contracts import PathLike
from intarsia.recipes.decoder_options import whole_number
from intarsia.recipes.hf_facts import MARK as OF_TRANSFORMERS
from intarsia.recipes.timm_shown import MARK as OF_TIMM
from intarsia.terminal import say
from intarsia.weights.maps.smp_encoders import known_encoder
from intarsia.workflows.hub import PREFIX
from intarsia.workflows.hub_trunks import is_of_transformers, place_of

_OF_TIMM_AT_THE_HUB = r"^(timm://|(hf[-_]hub:|hf://)?timm/)"
"""What stands before a name of timm where the Hugging Face Hub lists it."""
_OF_TENSORS = (".pth", ".pt", ".ckpt", ".bin", ".pkl")
_COLOURS = 3


def counted(what: str, count: Any) -> int | None:
    """How many classes or bands. Raises ValueError for what is not 1 or more of them."""
    if count is None:
        return None
    number = whole_number(what, count)
    if number < 1:
        raise ValueError(f"{what} is 1 or more, found {number}")
    return number


def check_name(name: Any) -> None:
    """Raises ValueError for a name that is none, and for a file of tensors alone, which says no network."""
    if not isinstance(name, (str, os.PathLike)):
        raise ValueError(
            f"expected the name of a decoder ('unet', with trunk='resnet34'), of a recipe, or a weights file; found a "
            f"{type(name).__name__}"
        )
    if os.fspath(name).endswith(_OF_TENSORS):
        raise ValueError(
            f"{os.fspath(name)!r} has tensors and does not say of which network: name that, and give the file as its "
            "weights, create_model('unet', trunk='resnet34', num_classes=..., weights=FILE)"
        )


def recipe_mark(trunk: PathLike) -> str:
    """A trunk as it stands in a recipe's name, behind the mark that says whose it is. Raises ValueError for no name."""
    if not isinstance(trunk, (str, os.PathLike)):
        raise ValueError(_no_module(trunk))
    written = os.fspath(trunk)
    network = re.sub(_OF_TIMM_AT_THE_HUB, "", written)
    if network == written and is_of_transformers(written):
        return f"{OF_TRANSFORMERS}{place_of(written).removeprefix(PREFIX)}"
    return f"{OF_TIMM}{_name_in_timm(network, written)}"


def _no_module(trunk: Any) -> str:
    cfg = getattr(trunk, "pretrained_cfg", None)
    known = cfg.get("architecture") if isinstance(cfg, dict) else None
    fix = f"say trunk={known!r}" if known else "a backbone of your own goes into a config (docs/own-parts.md)"
    return f"trunk is a name, so that it can be written into a weights file; found a {type(trunk).__name__}: {fix}"


def _name_in_timm(name: str, trunk: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name):
        at_hub = re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) and not os.path.isdir(os.path.dirname(name))
        near = f" (did you mean 'hf://{name}'?)" if at_hub else ""
        raise ValueError(
            f"trunk is the name of a network of timm, as 'resnet34' or 'convnext_tiny.in12k'; found {trunk[:100]!r}. A "
            f"backbone of transformers is 'hf://OWNER/NAME', or a folder with a config.json{near}"
        )
    if name.startswith("tu-"):
        raise ValueError(f"trunk has the name that timm has, without 'tu-': trunk={name.removeprefix('tu-')!r}")
    _refuse_name_of_smp(name)
    return name


def _refuse_name_of_smp(name: str) -> None:
    """Raises ValueError for an encoder of segmentation_models.pytorch whose name timm does not have."""
    encoder = None
    with suppress(ValueError):  # of an encoder that cannot be read; timm may have a network of that name
        encoder = known_encoder(name)
    if encoder is not None and encoder.network != name:
        its = f"the network itself is trunk={encoder.network!r}" if encoder.network else "timm has no such network"
        raise ValueError(
            f"{name!r} is an encoder of segmentation_models.pytorch: intarsia.smp takes it, smp.Unet({name!r}, ...); "
            f"{its}"
        )


def say_if_of_another_scale(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Say so where colours are given the figures of images in 0..1, as most of the field writes them."""
    if any(values is None or not hasattr(values, "__len__") or len(values) != _COLOURS for values in (mean, std)):
        return
    assert mean is not None
    assert std is not None
    figures = [*map(float, mean), *map(float, std)]
    if max(figures) <= 1 and any(figures[:_COLOURS]):
        shown = " and ".join(
            f"{what}=({', '.join(f'{255 * float(value):g}' for value in values)})"
            for what, values in (("mean", mean), ("std", std))
        )
        say(
            "note: mean and std are those of images in 0..1, but are taken for those of stored values. Of images "
            f"stored as 0 to 255 they are {shown}"
        )
