"""Scenes and images in one description: the three that say the same, to be copied from an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from intarsia.data.description.model import DataDescription
from intarsia.data.description.splits import ShareSplit, Split, scene_rules
from intarsia.data.description.write import render
from intarsia.data.description.yaml_tree import Located

SCENES, IMAGES = "scenes.yaml", "images.yaml"


def advice_of(description: DataDescription) -> str:
    """What to write for a description in which some splits are windows of scenes, and others are images.

    Shares of either go with what they are of.
    """

    def of_scenes(rule: Split) -> bool:
        own = description.splits.get(rule.of, rule) if isinstance(rule, ShareSplit) else rule
        return bool(scene_rules(own))

    parts = [
        replace(description, splits={n: rule for n, rule in description.splits.items() if of_scenes(rule) == scenes})
        for scenes in (True, False)
    ]
    return advice(*parts)


def advice(scenes: DataDescription, images: DataDescription) -> str:
    """The texts of the three files, which belong into the root of the data; comments are left out."""
    if scenes.multi_label:
        return (
            "Scenes and images are described in a file each, which `datasets:` of a third lists; but data with several "
            "labels per pixel are not put together so far: train on one of both"
        )
    files = {
        SCENES: _without_comments(scenes),
        IMAGES: _without_comments(images),
        "both.yaml": f"{_classes(scenes)}\ndatasets:\n  - {{data: {SCENES}}}\n  - {{data: {IMAGES}}}",
    }
    texts = ("\n".join([f"{name}:", *(f"    {line}" for line in text.splitlines())]) for name, text in files.items())
    return (
        f"Describe scenes and images in a file each, and list both in a third (here, all in {scenes.root}); "
        "then give both.yaml:\n" + "\n".join(texts)
    )


def of_one_kind(top: Located, *, scenes: bool) -> Located:
    """What a file says, with the sources alone that are scenes, or images; shares go with what they are of."""
    splits: dict[str, Any] = {}
    for name, rule in top["splits"].items():
        sources = [one for one in (rule if isinstance(rule, list) else [rule]) if ("scenes" in one) == scenes]
        if not (isinstance(rule, Located) and "share" in rule) and sources:
            splits[name] = sources
    for name, rule in top["splits"].items():
        if isinstance(rule, Located) and "share" in rule and rule.get("of", "train") in splits:
            splits[name] = rule
    found, own = Located(), Located()
    own.update({name: splits[name] for name in top["splits"] if name in splits})
    found.update({**top, "splits": own})
    return found


def _without_comments(description: DataDescription) -> str:
    bare = replace(description, notes=(), mean=None, std=None, shares=None)
    lines = render(bare, description.root).splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _classes(description: DataDescription) -> str:
    return next(line for line in _without_comments(description).splitlines() if line.startswith("classes:"))
