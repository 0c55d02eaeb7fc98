"""The second stage of `check`: the network's parts, built without memory and compared where they meet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from intarsia.config.build import build, head_loss, import_parts
from intarsia.config.errors import ConfigError, FindOrigin, Problem
from intarsia.config.schema.fates import bare
from intarsia.contracts import FeatureSpec
from intarsia.models.assembly import block_mismatch, mismatches, prefix_mismatch, token_mismatch, unclaimed
from intarsia.spec import Component, RunSpec


def shape_problems(spec: RunSpec, wrong: Collection[str], origin: FindOrigin) -> list[Problem]:
    """Necks and heads that are not given the levels that they expect, parts that refuse their arguments, losses that
    are for no output of the network, and samplers of pixels beside losses that take no weights for them.

    wrong: paths of components that have problems already; they, and what contains them, are left alone.
    """
    try:
        import_parts(spec)
    except ConfigError as error:
        return list(error.problems)
    built: dict[str, Any] = {}
    problems = list(_parts(spec.model.args, wrong, origin, built))
    return [*(problems or _network(spec, wrong, origin, built)), *_losses(spec, wrong, origin)]


def _parts(
    args: Mapping[str, Any], wrong: Collection[str], origin: FindOrigin, built: dict[str, Any]
) -> Iterator[Problem]:
    """Problems of backbone, neck, encoders and heads; those that could be built are put into `built`, by their keys."""
    source: tuple[str, str] = ("", "")
    features: tuple[FeatureSpec, ...] | None = None
    for key in ("backbone", "image_encoder", "neck"):
        part = args.get(key)
        if isinstance(part, Component):
            built[key], problems = _try(part, wrong)
            yield from problems
            given, features = features, getattr(built[key], "features", None)
            if key == "neck" and built[key] is not None and given is not None:
                problems = list(_mismatches(part, built[key], source, given, origin))
                yield from problems
                if not problems:
                    features, problems = _connected(part, built[key], given)
                    yield from problems
            source = (key, bare(part.type))
    if isinstance(encoder := args.get("text_encoder"), Component):
        built["text_encoder"], problems = _try(encoder, wrong)
        yield from problems
    for key in ("decode_head", "auxiliary_head"):
        heads = args.get(key)
        found: list[Any] = []
        for head in heads if isinstance(heads, tuple) else (heads,):
            if isinstance(head, Component):
                module, problems = _try(head, wrong)
                found.append(module)
                yield from problems
                if module is not None and features is not None:
                    yield from _mismatches(head, module, source, features, origin)
        if found:
            built[key] = tuple(found) if isinstance(heads, tuple) else found[0]


def _connected(
    part: Component, neck: Any, given: tuple[FeatureSpec, ...]
) -> tuple[tuple[FeatureSpec, ...] | None, Sequence[Problem]]:
    """The levels that a neck makes of those that it is given, or None and why it does not."""
    if not hasattr(neck, "connect"):
        message = f"{part.type} states no connect(features) -> features, as contracts.Neck has it"
        return None, [Problem(part.path, message, part.origin)]
    try:
        return neck.connect(given), ()
    except ValueError as error:
        return None, [Problem(part.path, str(error), part.origin)]


def _network(spec: RunSpec, wrong: Collection[str], origin: FindOrigin, built: Mapping[str, Any]) -> Iterator[Problem]:
    """What the network as a whole refuses about its parts, and losses that do not meet its outputs."""
    parts = [part for value in built.values() for part in (value if isinstance(value, tuple) else (value,))]
    if wrong or None in parts:
        return
    model, problems = _try(replace(spec.model, args={**spec.model.args, **built}), wrong)
    yield from problems
    outputs = getattr(model, "output_names", None)
    if outputs is not None and spec.objective is None:
        for problem in unclaimed(outputs, [loss.head for loss in spec.losses]):
            yield Problem(spec.model.path, f"{bare(spec.model.type)}: {problem}", origin(spec.model.path))


def _losses(spec: RunSpec, wrong: Collection[str], origin: FindOrigin) -> Iterator[Problem]:
    """Losses that refuse their arguments, or the sampler beside them."""
    for head in spec.losses:
        parts = [part for part in (*head.losses, head.sampler) if part is not None]
        if any(path.startswith(part.path) for part in parts for path in wrong):
            continue
        try:
            head_loss(head)
        except ConfigError as error:
            yield from error.problems
        except ValueError as error:
            yield Problem(parts[-1].path, str(error), origin(parts[-1].path))


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
    part: Component, built: Any, source: tuple[str, str], features: Sequence[FeatureSpec], origin: FindOrigin
) -> Iterator[Problem]:
    """Level by level: what a neck or head expects against what it is given."""
    inner = part.args.get("kernel_generate_head", part.args.get("head"))
    place = inner.path if isinstance(inner, Component) else part.path
    key, name = source
    for found in mismatches(built, features):
        path = f"{place}.{found.argument}"
        if found.argument == "in_index" and found.level is None:
            message = f"{path} has {found.given} entries but {place}.in_channels has {found.expected}"
        elif found.argument == "in_index":
            message = f"{path} is {found.level} but the {key} {name} gives {found.given} levels"
        elif found.argument == "feature_strides":
            message = f"{path} is {list(found.expected)} but the {key} {name} gives strides {list(found.given)}"
        elif found.argument == "in_tokens":
            path = place
            message = f"{path} {token_mismatch(found, f'the {key} {name}')}"
        elif found.argument == "in_blocks":
            path = place
            message = f"{path} {block_mismatch(found, f'the {key} {name}')}"
        elif found.argument == "in_prefix":
            path = place
            message = f"{path} {prefix_mismatch(found, f'the {key} {name}')}"
        elif found.level is None:
            message = f"{path} has {found.expected} entries but the {key} {name} gives {found.given} levels"
        else:
            level = found.level % len(features)
            message = f"{path} is {found.expected} but {key} level {level} of {name} gives {found.given} channels"
        yield Problem(path, message, origin(path), found.fix.removesuffix("."))
