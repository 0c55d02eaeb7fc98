"""`data_preprocessor.batch_augments`: what is done to a batch becomes a transform of the samples, or padding.

MMSegmentation 1.2.2 takes the key and calls what it is given as a function, so that no config with it has ever trained
there. What can be meant are the names of its sister packages: `dict(augments=..., probs=...)` of MMPretrain, of which
one is drawn for a batch, and lists as MMDetection has them, of which each is applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.config.lowering.fields import Context, Fields, nearest, shown
from intarsia.config.lowering.names import BATCH_AUGMENTS
from intarsia.config.schema.fates import Fate, bare
from intarsia.spec import Component

AREA = "batch_augments"


def lower_batch_augments(context: Context, preprocessor: Fields) -> tuple[int, int] | None:
    """The size that batches are padded to, if an entry says it. Transforms go to `context.batch_transforms`."""
    path, values = preprocessor.at("batch_augments"), preprocessor.get("batch_augments")
    if values is None:
        return None
    context.opened(path)
    size = None
    for at, entry, chance in _entries(context, values, path):
        name = bare(str(entry.get("type")))
        fate = BATCH_AUGMENTS.get(name)
        context.saw(at, AREA, name, fate or Fate("refused", "no augmentation of batches has this name"))
        if fate is None:
            context.problem(f"{at}.type", f"unknown {shown(entry.get('type'))}", nearest(name, BATCH_AUGMENTS))
        elif fate.outcome == "refused":
            context.problem(at, f"{name!r} is not supported: {fate.text}")
        elif name == "BatchFixedSizePad":
            size = _padded(context, preprocessor, Fields(context, at, entry, f"{AREA}: {name}"))
        else:
            context.batch_transforms.append(_cut_mix(context, Fields(context, at, entry, f"{AREA}: {name}"), chance))
    return size


def _entries(context: Context, values: Any, path: str) -> Sequence[tuple[str, Mapping[str, Any], float]]:
    """Each entry under its path, with the chance that it is applied to a sample."""
    if isinstance(values, Mapping) and "type" not in values:
        fields = Fields(context, path, values, AREA)
        chosen = fields.get("augments", [])
        at = fields.at("augments")
        context.opened(at)
        several = [chosen] if isinstance(chosen, Mapping) else list(chosen)
        given = fields.get("probs")
        chances = [1.0] if given is None else list(given) if isinstance(given, list | tuple) else [given]
        if len(several) != 1 or len(chances) != 1 or not 0 <= chances[0] <= 1:
            hint = "Write one, with probs=[its chance]; further ones are transforms of train_dataloader's pipeline"
            found = f"found {len(several)} with probs={given!r}"
            context.problem(at, f"expected one augmentation with its chance, 0 to 1; {found}", hint)
            return []
        places = [at if isinstance(chosen, Mapping) else f"{at}.0"]
    else:
        several = [values] if isinstance(values, Mapping) else list(values)
        places = [path] if isinstance(values, Mapping) else [f"{path}.{index}" for index in range(len(several))]
        chances = [1.0] * len(several)
    return list(zip(places, several, chances, strict=True))


def _cut_mix(context: Context, fields: Fields, chance: float) -> Component:
    alpha = fields.get("alpha", 1.0)
    if not alpha > 0:
        context.problem(fields.at("alpha"), f"expected a number above 0, found {alpha}")
    args: dict[str, Any] = {"prob": float(chance), "alpha": float(alpha)}
    sides = fields.get("cutmix_minmax")
    if sides is not None:
        if not 0 <= sides[0] <= sides[1] <= 1:
            message = f"expected two shares of a side, the smaller first, found {list(sides)}"
            context.problem(fields.at("cutmix_minmax"), message)
        args["sides"] = tuple(map(float, sides))
    return Component("transform", "CutMix", args, fields.path, context.origin(fields.path))


def _padded(context: Context, preprocessor: Fields, fields: Fields) -> tuple[int, int] | None:
    """MMDetection's padding is what `size` says already."""
    size = fields.get("size")
    for key, same, usual in (("img_pad_value", "pad_val", 0), ("seg_pad_value", "seg_pad_val", 255)):
        if key in fields and fields.get(key) != preprocessor.get(same, usual):
            message = f"{fields.get(key)} is not data_preprocessor.{same}, {preprocessor.get(same, usual)}"
            context.problem(fields.at(key), message, "One value pads; leave this one out")
    for key in ("size", "size_divisor"):
        if size is not None and preprocessor.get(key) not in (None, size, list(size)):
            context.problem(fields.at("size"), f"data_preprocessor.{key} says another size", "Keep one of them")
    return None if size is None else (size[0], size[1])
