"""Backbones of transformers that a config or a recipe names by a folder or an address: what their files say.

    backbone=dict(type="HFBackbone", config="hf://facebook/dinov2-small", pretrained=True)
    intarsia train upernet_hf:facebook/dinov2-small

become a config of plain values, so that the run's own config and its weights file say all of the network, and neither
needs the hub again. Only config.json and preprocessor_config.json are fetched here, and read as data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from intarsia import catalog
from intarsia.config.language.reader import Config
from intarsia.config.schema.fates import bare
from intarsia.recipes.hf_facts import OfTransformers
from intarsia.terminal import printable, say
from intarsia.weights.maps.folder import (
    CONFIG,
    PROCESSOR,
    TENSORS,
    config_values,
    is_folder,
    processor_normalisation,
    tensor_files,
)
from intarsia.weights.pretrained.timm_hub import Normalisation
from intarsia.workflows import hub

KIND = "HFBackbone"
_OF_THE_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[^/@]+)?", re.ASCII)


def is_of_transformers(name: str) -> bool:
    """Whether a name is an address of the hub, or a folder as transformers saves one."""
    return name.startswith((hub.PREFIX, *hub.PAGES)) or is_folder(Path(name))


def values_at(place: str) -> dict[str, Any]:
    """The values of the config.json of a folder or a repository, those that the network is made of, with its type.

    Raises ValueError if there is none, or transformers has no such backbone.
    """
    if place.startswith((hub.PREFIX, *hub.PAGES)):
        where = hub.HubAddress.parse(place)
        if where.file:
            raise ValueError(f"{where} is a file; expected a repository, as in hf://OWNER/NAME")
        found = config_values(hub.fetch(f"{where}/{CONFIG}"))
    else:
        found = config_values(Path(place) / CONFIG)
    try:
        kept, unknown = catalog.resolve("backbone", KIND).known_values(found)
    except ValueError as error:
        raise ValueError(f"{place}: {error}{_why(found)}") from error
    if unknown:
        names = printable(", ".join(map(str, unknown)), 300)
        say(f"note: {place}: its {CONFIG} has values that {found['model_type']} of transformers does not know: {names}")
    return {"model_type": found["model_type"], **kept}


def _why(found: Mapping[str, Any]) -> str:
    """What else there is to say of a config that is none of a backbone of transformers."""
    if "architecture" in found and "model_type" not in found:
        return f"; it is a network of timm: take {printable(str(found['architecture']), 100)} as a name of timm"
    return "; code of its own (auto_map) is never run" if found.get("auto_map") else ""


# --- Recipes ------------------------------------------------------------------------------------------------------


def place_of(name: str) -> str:
    """Where the network is that a recipe names: a folder on this machine, or an address of the hub.

    Raises ValueError for a name that is neither a folder with a config.json nor OWNER/NAME.
    """
    folder = Path(name).expanduser()
    if is_folder(folder):
        return str(folder.resolve())
    if name.startswith((hub.PREFIX, *hub.PAGES)):
        return str(hub.HubAddress.parse(name))
    if folder.is_dir():
        raise ValueError(f"{name} is a folder without {CONFIG}; expected one as transformers saves it")
    if _OF_THE_HUB.fullmatch(name) is None or name.startswith("."):
        raise ValueError(
            f"{name} is no network of transformers: expected OWNER/NAME of the Hugging Face Hub, or a folder with a "
            f"{CONFIG}; found neither (in {Path.cwd()})"
        )
    return f"{hub.PREFIX}{name}"


def network_at(name: str) -> OfTransformers:
    """What recipes ask of the network that one of them names. Raises ValueError as `place_of` and `values_at`."""
    place = place_of(name)
    return OfTransformers(name, json.dumps(values_at(place)), place if _has_tensors(place) else "")


def _has_tensors(place: str) -> bool:
    """Whether there are pretrained weights beside a config, as far as that is known without fetching them."""
    if place.startswith(hub.PREFIX):
        return True
    try:
        return bool(tensor_files(Path(place)))
    except ValueError as error:
        if any(any(Path(place).glob(f"{tensors}*")) for tensors in TENSORS):
            raise
        say(f"note: {error}: there are no weights to start from")
        return False


def normalisation_at(name: str) -> Normalisation | None:
    """Mean and deviation of the images that the weights of a network were trained with, by its image processor.

    None where there is no such file, or it says none of three bands. Raises ValueError for one that cannot be read.
    """
    place = place_of(name)
    if place.startswith(hub.PREFIX):
        try:
            file = hub.fetch(f"{place}/{PROCESSOR}")
        except hub.HubError as error:
            say(f"note: it is not known how {name} wants its images normalised: {error}")
            return None
    else:
        file = Path(place) / PROCESSOR
        if not file.is_file():
            say(f"note: it is not known how {name} wants its images normalised: there is no {PROCESSOR}")
            return None
    mean, std = processor_normalisation(file)
    if len(mean) != 3 or len(std) != 3:
        return None
    return Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


# --- Configs ------------------------------------------------------------------------------------------------------


def with_values_of_trunks(config: Config) -> Config:
    """The config with the values of backbones that it names by a folder or an address; the same if it names none.

    `pretrained=True` becomes that folder or address.

    Raises ValueError as `values_at`.
    """
    settings = []
    for path, part in _trunks(config.values, ""):
        place = part["config"]
        settings.append(f"{path}.config={values_at(place)!r}")
        if part.get("pretrained") is True:
            settings.append(f"{path}.pretrained={place!r}")
        elif part.get("pretrained") is False:
            settings.append(f"{path}.pretrained=None")
    return config.override(settings) if settings else config


def _trunks(values: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, part) of every such backbone in the model."""
    if not isinstance(values, Mapping):
        return
    kind = values.get("type")
    if isinstance(kind, str) and bare(kind) == KIND and isinstance(values.get("config"), str):
        yield path, values
    for key, value in values.items():
        if path or key == "model":
            yield from _trunks(value, f"{path}.{key}" if path else str(key))
