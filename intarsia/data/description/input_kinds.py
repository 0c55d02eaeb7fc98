"""Several images of each sample as a description file says them: their rules, and how each is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from intarsia.data.bands import rgb_bands
from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.pairing import MaskRule, Pair, Source
from intarsia.data.description.splits import MemberSplit, ShareSplit, Split, list_split, sources
from intarsia.data.description.yaml_tree import Located, kind
from intarsia.data.image_io import decode_image
from intarsia.data.image_spec import InputSpec


def image_rules(value: Any, path: tuple[object, ...]) -> tuple[MaskRule, ...]:
    """``images: {rgb: FOLDER, dsm: FOLDER/*_dsm.tif}`` as rules, in order; the name stands where masks have a class.

    None of anything but a mapping. Raises DescriptionError for less than two, or what is no folder or pattern.
    """
    if not isinstance(value, Located):
        return ()
    rules = []
    for name, pattern in value.items():
        if not isinstance(name, str) or not name or not set(name) <= _LETTERS:
            raise DescriptionError((*path, name), "expected a name of letters, digits, - and _ for these images")
        if not isinstance(pattern, str):
            raise DescriptionError((*path, name), f"expected a folder or a pattern, found {kind(pattern)}")
        is_pattern = "*" in PurePosixPath(pattern.replace("\\", "/")).name
        try:
            rules.append(MaskRule.parse(name, pattern if is_pattern else f"{pattern}/*"))
        except ValueError as error:
            raise DescriptionError((*path, name), str(error)) from None
    if len(rules) > _MOST:
        raise DescriptionError(path, f"expected at most {_MOST} images for each sample, found {len(rules):,}")
    if len(rules) < 2:
        raise DescriptionError(
            path, "expected several images by name, such as {rgb: photos, dsm: heights}, or a folder"
        )
    return tuple(rules)


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


_MOST = 64
_KEYS = ("bands", "channels", "names", "values")


def named_inputs(sources: Mapping[str, Sequence[Source]]) -> tuple[str, ...]:
    """The names of the images of each sample, the same in all splits; none where there is one image each.

    sources: the rules of each split with files of its own; none of lists.

    Raises DescriptionError where splits differ.
    """
    named = {
        split: [tuple(n for n in (rule.input_name, *(one.class_name for one in rule.partners)) if n) for rule in rules]
        for split, rules in sources.items()
    }
    usual = next((names for rules in named.values() for names in rules if names), ())
    for split, rules in named.items():
        if usual and (not rules or any(names != usual for names in rules)):
            raise DescriptionError(
                ("splits", split), f"expected `images:` with {', '.join(usual)}, in this order, as other splits have"
            )
    return usual


def input_specs(value: Any, names: Sequence[str], root: Path, first: Sequence[Pair]) -> tuple[InputSpec, ...]:
    """How the images of each name are read: as the file says, else as the first of them looks.

    value: of the key ``image.inputs``. first: a pair of files, or none.

    Raises DescriptionError for an unknown name or word.
    """
    path = ("image", "inputs")
    given = Located() if value is None else value
    if not isinstance(given, Located):
        raise DescriptionError(path, f"expected {{NAME: {{bands: ..., channels: ...}}}}, found {kind(given)}")
    for name in given:
        if name not in names:
            raise DescriptionError((*path, name), f"no images have this name; there are {', '.join(names) or 'none'}")
    return tuple(_spec(given.get(name), (*path, name), name, number, root, first) for number, name in enumerate(names))


def _spec(value: Any, path: tuple[object, ...], name: str, number: int, root: Path, first: Sequence[Pair]) -> InputSpec:
    if value is None:
        if not first:
            raise DescriptionError(path[:2], f"nothing says how {name} is read, and there is no image to look at")
        files = (first[0].image, *first[0].partners)
        return looks_like(name, root / files[number])
    if not isinstance(value, Located):
        raise DescriptionError(path, f"expected {{bands: ..., channels: ...}}, found {kind(value)}")
    for key in value:
        if key not in _KEYS:
            raise DescriptionError((*path, key), f"unknown key; expected one of {', '.join(_KEYS)}")
    try:
        return InputSpec.from_json({**value, "name": name})
    except (TypeError, ValueError, KeyError) as error:
        raise DescriptionError(path, f"expected bands (rgb or raw), channels, names, values: {error}") from None


def looks_like(name: str, file: Path) -> InputSpec:
    """How images like this one are read: 8-bit colours as such, everything else with the bands that it has.

    Raises ValueError if it cannot be read.
    """
    decoded = decode_image(file)
    bands = decoded.file
    try:
        is_array = file.suffix.lower() == ".npy"  # which has no colours of its own
        is_coloured = not is_array and decoded.samples.dtype == "uint8" and len(set(rgb_bands(bands))) == 3
    except ValueError:
        is_coloured = False
    if is_coloured:
        return InputSpec(name)
    names = bands.names if sum(map(bool, bands.names)) > 1 else ()
    return InputSpec(name, "raw", decoded.samples.shape[2], names)


def input_lines(inputs: Sequence[InputSpec]) -> Iterator[str]:
    """As a description says it."""
    yield "  inputs:  # one image of the bands of all, in this order; others are resized to the first (bilinear)"
    for one in inputs:
        entries = [f"bands: {one.bands}", f"channels: {one.channels}"]
        if any(one.names):
            quoted = ", ".join(f'"{name}"' for name in one.names)
            entries.append(f"names: [{quoted}]")
        if one.values is not None:
            entries.append(f"values: {{{', '.join(f'{k}: {v}' for k, v in one.values.to_json().items())}}}")
        yield f"    {one.name}: {{{', '.join(entries)}}}"


def image_inputs(given: Any, root: Path, splits: Mapping[str, Split]) -> tuple[InputSpec, ...]:
    """The several images of each sample, if there are such, as the file says or as the first of them look."""
    own = {name: rule for name, rule in splits.items() if not isinstance(rule, ShareSplit | MemberSplit)}
    names = named_inputs({name: sources(rule) for name, rule in own.items()})
    if not names and given is None:
        return ()
    first = next(iter(own.values()), None)
    listed = () if first is None or _says_all(given, names) else list_split(root, first).pairs[:1]
    return input_specs(given, names, root, listed)


def _says_all(given: Any, names: Sequence[str]) -> bool:
    return isinstance(given, Located) and set(given) >= set(names)
