"""Backbones of timm: which of their pretrained weights a config asks for.

MMSegmentation's `TIMMBackbone` has its weights from timm, by default, or from a file. Both become what the part starts
from, as everywhere: `timm://NAME` stands for the file that timm publishes for a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.config.lowering.fields import Context, shown
from intarsia.config.schema.fates import Fate, bare, to

SCHEME = "timm://"
BACKBONES = frozenset({"TIMM", "TIMMBackbone", "ViTAdapter"})
_BY_DEFAULT = {"TIMM": False, "TIMMBackbone": True, "ViTAdapter": False}
KEYS = ("pretrained", "checkpoint_path", "features_only")


def is_of_timm(kind: str, name: str) -> bool:
    """Whether a part is a network of timm."""
    return kind == "backbone" and bare(name) in BACKBONES


def without_weights(context: Context, name: str, values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The arguments without what says which weights are meant, which goes into `context.pretrained`."""
    area, part = f"backbone {bare(name)}", path.removeprefix("model.")
    asked = values.get("pretrained", _BY_DEFAULT[bare(name)])
    checkpoint = values.get("checkpoint_path") or None
    if "pretrained" in values:
        context.saw(f"{path}.pretrained", area, "pretrained", to("pretrained"))
    if "checkpoint_path" in values:
        context.saw(f"{path}.checkpoint_path", area, "checkpoint_path", to("pretrained"))
    if "features_only" in values:
        only = values["features_only"]
        context.saw(f"{path}.features_only", area, "features_only", Fate("no effect", "a backbone gives levels"))
        if only is not True:
            context.problem(f"{path}.features_only", f"expected True, found {shown(only)}", "A backbone gives levels")
    if not isinstance(asked, bool | str) and asked is not None:
        context.problem(f"{path}.pretrained", f"expected bool | str | None, found {shown(asked)}")
    elif not isinstance(checkpoint, str | None):
        context.problem(f"{path}.checkpoint_path", f"expected str, found {shown(checkpoint)}")
    elif checkpoint is not None:
        context.pretrained.append((part, checkpoint))
    elif isinstance(asked, str):
        context.pretrained.append((part, asked))
    elif asked and isinstance(values.get("model_name"), str):
        context.pretrained.append((part, f"{SCHEME}{values['model_name']}"))
    return {key: value for key, value in values.items() if key not in KEYS}
