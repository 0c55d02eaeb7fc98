"""Which places of a config name code outside of the catalogue, and whether the person has agreed to run it.

Asked once, for all places together and before anything is imported or built: by `check`, and again by `build`, since
a model is also opened without being checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from intarsia import catalog, consent
from intarsia.config.errors import ConfigError, FindOrigin, Problem
from intarsia.spec import Component, Origin, RunSpec
from intarsia.terminal import printable

LISTED = 12
"""Places that a message lists."""


@dataclass(frozen=True, slots=True)
class ForeignName:
    """A name at `path` that asks for `module`, which nobody has agreed to run."""

    path: str
    name: str
    module: str
    origin: Origin | None = None

    def __str__(self) -> str:
        where = f" ({printable(str(self.origin), 100)})" if self.origin is not None else ""
        return f"{printable(self.path, 100)}: {printable(self.name, 100)}{where}"


def components(spec: RunSpec) -> Iterator[Component]:
    """Every component of a run, a part before its own parts."""
    roots: list[Any] = [spec.model, spec.objective]
    for loss in spec.losses:
        roots += [*loss.losses, *(term.target for term in loss.terms), loss.sampler]
    for stream in (spec.train, spec.val, spec.test):
        roots += [] if stream is None else [stream.dataset, *stream.transforms]
    roots += [] if spec.unlabelled is None else [spec.unlabelled.strong]
    roots += [spec.metric, spec.test_metric, None if spec.optim is None else spec.optim.optimizer, *spec.observers]
    yield from _inside(roots)


def _inside(value: Any) -> Iterator[Component]:
    if isinstance(value, Component):
        yield value
        yield from _inside(value.args)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _inside(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _inside(item)


def foreign_names(spec: RunSpec, origin: FindOrigin | None = None) -> list[ForeignName]:
    """All names that need consent and do not have it, each place once. origin: where a path was written."""
    found = [
        ForeignName("custom_imports.imports", module, module)
        for module in spec.imports
        if not consent.given(module) and not catalog.is_declared(module)
    ]
    named = [(part.kind, part.type, f"{part.path}.type", part.origin) for part in components(spec)]
    if spec.optim is not None:
        named.append(("constructor", spec.optim.constructor, "optim_wrapper.constructor", None))
    for kind, name, path, where in named:
        module = catalog.module_to_trust(kind, name)
        if module is not None and not consent.given(module):
            found.append(ForeignName(path, name, module, where))
    if origin is not None:
        found = [replace(one, origin=origin(one.path)) for one in found]
    return list({(one.path, one.name): one for one in found}.values())


def consent_problem(spec: RunSpec, origin: FindOrigin | None = None) -> Problem | None:
    """What the person is asked, as one problem that lists every place; None where there is nothing to ask."""
    found = foreign_names(spec, origin)
    if not found:
        return None
    lines = [f"  {one}" for one in found[:LISTED]]
    if len(found) > LISTED:
        lines.append(f"  and {len(found) - LISTED} more")
    places = "a place names" if len(found) == 1 else f"{len(found)} places name"
    message = "\n".join([f"{places} code outside of Intarsia's catalogue:", *lines])
    return Problem(found[0].path, f"{message}\n{consent.how([one.module for one in found])}", found[0].origin)


def require_consent(spec: RunSpec) -> None:
    """Raise ConfigError, listing every place, unless the person has agreed to all code that a run names."""
    problem = consent_problem(spec)
    if problem is not None:
        raise ConfigError([problem])
