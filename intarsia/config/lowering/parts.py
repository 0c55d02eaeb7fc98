"""Parts of a model: dicts with a `type` become Components, their arguments get the constructors' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.config.lowering.fields import Context, Fields, nearest, shown
from intarsia.config.lowering.names import ABSENT_IF_NONE, CHILDREN, NORMS, WITHOUT_EFFECT, argument_name, kind_of
from intarsia.config.lowering.nested import NESTED
from intarsia.config.lowering.timm import is_of_timm, without_weights
from intarsia.config.schema.fates import Fate, bare
from intarsia.spec import Component

SKIPPED = {"type", "_scope_"}
WEIGHTS = ("init_cfg", "pretrained")
PRETRAINED = "Pretrained"


def component(context: Context, kind: str, values: Mapping[str, Any], path: str) -> Component:
    """The part that stands at `path`. A `type` that is missing or no name is reported."""
    name = values.get("type")
    context.part()
    context.opened(path)
    if not isinstance(name, str):
        message = "'type' is missing" if name is None else f"expected the name of a {kind}, found {shown(name)}"
        context.problem(path if name is None else f"{path}.type", message, "Write dict(type='Name', ...)")
        name = ""
    if kind in ("norm", "activation"):
        return _layer(context, kind, name, values, path)
    see(context, kind, name, "type", f"{path}.type")
    given = {key: item for key, item in values.items() if key not in SKIPPED}
    return Component(kind, name, arguments(context, kind, name, given, path), path, context.origin(path))


def arguments(context: Context, kind: str, name: str, values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The arguments of a part under its constructor's names. First weights are moved out of them."""
    args: dict[str, Any] = {}
    if is_of_timm(kind, name):
        values = without_weights(context, name, values, path)
    for key, item in values.items():
        at, target = f"{path}.{key}", argument_name(kind, str(key))
        if key in WEIGHTS:
            weights(context, key, item, at, part=path.removeprefix("model."))
        elif key == "conv_cfg" and item is None:
            context.saw(at, f"{kind} {bare(name)}", key, Fate("no effect", "None is an ordinary convolution"))
        elif item is None and (bare(name), key) in ABSENT_IF_NONE:
            see(context, kind, name, str(key), at)
        elif (bare(name), key) in WITHOUT_EFFECT:
            Fields(context, path, {key: item}, f"{kind} {bare(name)}", table={key: WITHOUT_EFFECT[bare(name), key]})
        elif (bare(name), key) in NESTED:
            lowered = NESTED[bare(name), key](context, item, at)
            for target in args.keys() & lowered.keys():
                context.problem(at, f"{key!r} says the same as another key here", f"Both are {target!r}; keep one")
            args |= lowered
        else:
            if target in args:
                context.problem(at, f"{key!r} says the same as another key here", f"Both are {target!r}; keep one")
            see(context, kind, name, str(key), at)
            known = len(context.pretrained)
            args[target] = argument(context, str(key), item, at)
            if (bare(name), key) in CHILDREN:
                place, moved = f"{path}.{key}", f"{path}.{CHILDREN[bare(name), key]}"
                context.pretrained[known:] = [
                    (f"model.{part}".replace(place, moved, 1).removeprefix("model."), source)
                    for part, source in context.pretrained[known:]
                ]
    return args


def see(context: Context, kind: str, name: str, key: str, path: str) -> None:
    """Remember that a key is the argument of a part."""
    text = "its name in the catalogue" if key == "type" else f"argument `{argument_name(kind, key)}`"
    context.saw(path, f"{kind} {bare(name)}", key, Fate("lowered", text))


def argument(context: Context, key: str, value: Any, path: str) -> Any:
    """An argument of a part, with the parts inside it: lists become tuples, nested dicts keep their keys."""
    kind = kind_of(key)
    if kind is not None and isinstance(value, Mapping):
        return component(context, kind, value, path)
    if isinstance(value, Mapping):
        return {
            argument_name("", str(k)): argument(context, str(k), item, f"{path}.{k}")
            for k, item in value.items()
            if not (k == "init_cfg" and item is None)
        }
    if isinstance(value, list | tuple):
        return tuple([argument(context, key, item, f"{path}.{index}") for index, item in enumerate(value)])
    return value


def _layer(context: Context, kind: str, name: str, values: Mapping[str, Any], path: str) -> Component:
    """A norm or activation: `type` is an argument of the factory that builds it."""
    known = NORMS.get(name, name)
    if known == "SyncBN":
        context.synchronise = True
    args: dict[str, Any] = {"kind": known}
    area = "Norm" if kind == "norm" else "Activation"
    context.saw(f"{path}.type", f"{kind} {area}", "type", Fate("lowered", "argument `kind`"))
    for key, item in values.items():
        if key not in SKIPPED:
            args[str(key)] = argument(context, str(key), item, f"{path}.{key}")
            see(context, kind, area, str(key), f"{path}.{key}")
    return Component(kind, area, args, path, context.origin(path))


def weights(context: Context, key: str, value: Any, path: str, part: str) -> None:
    """`init_cfg` or `pretrained` of a part: where its first weights come from."""
    area = f"any part ({key})"
    context.saw(path, area, key, Fate("lowered", "pretrained"))
    if value is None:
        return
    if key == "pretrained":
        if isinstance(value, str):
            context.pretrained.append((part, value))
        else:
            context.problem(path, f"expected str | None, found {shown(value)}")
        return
    if not isinstance(value, Mapping):
        several = "a list of initialisers" if isinstance(value, list | tuple) else shown(value)
        context.problem(path, f"expected dict(type='Pretrained', checkpoint=...), found {several}", _INITIALISERS)
        return
    if value.get("type") != PRETRAINED:
        hint = nearest(value["type"], [PRETRAINED]) if isinstance(value.get("type"), str) else ""
        hint = hint if hint.startswith("Did") else _INITIALISERS
        context.problem(path, f"init_cfg of type {value.get('type')!r} is not supported", hint)
        return
    fields = Fields(context, path, value, "init_cfg")
    source = fields.require("checkpoint", None, present=value)
    prefix = fields.get("prefix")
    if source is not None:
        context.pretrained.append((part, f"{source}#{prefix}" if prefix else source))


_INITIALISERS = "Parts initialise themselves as their papers say; only type='Pretrained' can be chosen"


def without_places(value: Any) -> Any:
    """A tree of components reduced to what they are, for comparison."""
    if isinstance(value, Component):
        return (value.kind, value.type, without_places(dict(value.args)))
    if isinstance(value, Mapping):
        return {key: without_places(item) for key, item in value.items()}
    return tuple(map(without_places, value)) if isinstance(value, list | tuple) else value
