"""The second stage of `check`: the network's parts, built without memory and compared where they meet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from intarsia.config.build import build, import_parts
from intarsia.config.errors import ConfigError, FindOrigin, Problem
from intarsia.config.schema.fates import bare
from intarsia.contracts import FeatureSpec
from intarsia.spec import Component, RunSpec


def shape_problems(spec: RunSpec, wrong: Collection[str], origin: FindOrigin) -> list[Problem]:
    """Heads whose channels are not those of the level that they read, and parts that refuse their arguments.

    wrong: paths of components that have problems already; they, and what contains them, are left alone.
    """
    try:
        import_parts(spec)
    except ConfigError as error:
        return list(error.problems)
    return list(_problems(spec.model.args, wrong, origin))


def _problems(args: Mapping[str, Any], wrong: Collection[str], origin: FindOrigin) -> Iterator[Problem]:
    giver, features = ("", ""), None
    for key in ("backbone", "neck"):
        part = args.get(key)
        if isinstance(part, Component):
            built, problems = _try(part, wrong)
            yield from problems
            features = getattr(built, "features", None)
            giver = (key, bare(part.type))
    for key in ("decode_head", "auxiliary_head"):
        heads = args.get(key)
        for head in heads if isinstance(heads, tuple) else (heads,):
            if isinstance(head, Component):
                built, problems = _try(head, wrong)
                yield from problems
                if built is not None and features is not None:
                    yield from _mismatches(head, built, giver, features, origin)


def _try(part: Component, wrong: Collection[str]) -> tuple[Any, Sequence[Problem]]:
    """The part without its weights, or None and why it cannot be built.

    A constructor that computes with tensors cannot do so on the meta device; its part is built in memory after all.
    """
    import torch

    if any(path == part.path or path.startswith(f"{part.path}.") for path in wrong):
        return None, ()
    try:
        with torch.device("meta"):
            return build(part), ()
    except ConfigError as error:
        if not isinstance(error.__cause__, RuntimeError):
            return None, error.problems
    try:
        return build(part), ()
    except ConfigError as error:
        return None, error.problems


def _mismatches(
    head: Component, built: Any, giver: tuple[str, str], features: Sequence[FeatureSpec], origin: FindOrigin
) -> Iterator[Problem]:
    """Level by level: what the head expects against what it is given."""
    indices, channels = getattr(built, "in_index", None), getattr(built, "in_channels", None)
    if isinstance(indices, int) and isinstance(channels, int):
        indices, channels = (indices,), (channels,)
    if not isinstance(indices, list | tuple) or not isinstance(channels, list | tuple):
        return
    part, name = giver
    inner = head.args.get("kernel_generate_head")
    place = inner.path if isinstance(inner, Component) else head.path
    for index, expected in zip(indices, channels, strict=False):
        if not -len(features) <= index < len(features):
            path = f"{place}.in_index"
            message = f"{path} is {index} but the {part} {name} gives {len(features)} levels"
            yield Problem(path, message, origin(path), f"Levels count from 0 to {len(features) - 1}")
        elif features[index].channels != expected:
            path, given = f"{place}.in_channels", features[index].channels
            message = f"{path} is {expected} but {part} level {index % len(features)} of {name} gives {given} channels"
            yield Problem(path, message, origin(path), f"Set it to {given}, or read another level with in_index")
