"""Numbers for each band: configs write them in the order B, G, R, colour images have R, G, B here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from intarsia.config.schema.fates import bare
from intarsia.spec import Component

_KEYS = {
    "CoarseDropout": "fill",
    "ElasticTransform": "pad_val",
    "RGB2Gray": "weights",
    "RandAugment": "pad_val",
    "RandomAffine": "pad_val",
    "RandomCutOut": "fill_in",
    "RandomPerspective": "pad_val",
    "RandomRotate": "pad_val",
}
"""Transform -> argument with a number for each band."""
_WEIGHTS = (0.299, 0.587, 0.114)
"""Of RGB2Gray where a config says nothing: for B, G, R too, since that is what the original does with them."""


def in_rgb(transform: Component, dataset: Mapping[str, Any]) -> Component:
    """The transform with its colours as R, G, B, unless the data set's arguments say that bands are those of files."""
    name, args = bare(transform.type), dict(transform.args)
    if dataset.get("bands"):
        return transform
    if name == "Pad":
        values = args.get("pad_val")
        if isinstance(values, Mapping) and "img" in values:
            args["pad_val"] = {**values, "img": _turned(values["img"])}
    elif name == "RGB2Gray" or _KEYS.get(name) in args:
        key = _KEYS[name]
        args[key] = _turned(args.get(key, _WEIGHTS))
    return replace(transform, args=args)


def _turned(value: Any) -> Any:
    return value[::-1] if isinstance(value, tuple) and len(value) == 3 else value
