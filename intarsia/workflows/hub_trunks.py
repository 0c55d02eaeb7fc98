"""Backbones of transformers that a config names by a folder or an address: the values of its config.json put in.

    backbone=dict(type="HFBackbone", config="hf://facebook/dinov2-small", pretrained=True)

becomes a config of plain values, so that the run's own config and its weights file say all of the network, and neither
needs the hub again. Only config.json is fetched here, and read as data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from intarsia import catalog
from intarsia.config.language.reader import Config
from intarsia.config.schema.fates import bare
from intarsia.terminal import printable, say
from intarsia.weights.maps.folder import CONFIG, config_values, is_folder
from intarsia.workflows import hub

KIND = "HFBackbone"


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
    kept, unknown = catalog.resolve("backbone", KIND).known_values(found)
    if unknown:
        names = printable(", ".join(map(str, unknown)), 300)
        say(f"note: {place}: its {CONFIG} has values that {found['model_type']} of transformers does not know: {names}")
    return {"model_type": found["model_type"], **kept}


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
