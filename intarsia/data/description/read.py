"""Reads a data description from YAML and tells the line of every mistake."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from intarsia.data.annotations.formats import FORMATS
from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.band_indices import Index, known_indices
from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.input_kinds import image_inputs, image_rules
from intarsia.data.description.mixed_yaml import mixed_description
from intarsia.data.description.model import DataDescription, LabelValue, show_value
from intarsia.data.description.pairing import MaskRule, Source
from intarsia.data.description.splits import FolderSplit, JoinedSplit, ListSplit, PairSplit, ShareSplit, Split
from intarsia.data.description.yaml_tree import Located, construct, kind, line_of
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.instance_ids import ClassOf
from intarsia.data.labels import Colour
from intarsia.data.scenes.rule import BLOCK, WINDOW, SceneSplit
from intarsia.data.stack import channel_names
from intarsia.data.value_range import ValueRange
from intarsia.io.text import read_text

_KEYS = (
    "root", "classes", "palette", "labels", "outside", "tolerance", "class_of", "ignore_index", "image", "shares",
    "groups", "splits",
)  # fmt: skip
_IMAGE_KEYS = ("inputs", "bands", "channels", "names", "indices", "scale", "mean", "std", "values")
_VALUE_KEYS = ("type", "low", "high", "dimmest")
_FOLDER_KEYS = (
    *("images", "labels", "image_prefix", "label_prefix", "image_suffix", "label_suffix"),
    *("recursive", "list", "where", "exclude", "missing", "overlap", "annotations", "slices", "empty_slices"),
)
_LIST_KEYS = ("list", "where", "missing")
_ANNOTATION_KEYS = ("format", "file", "folder", "names", "subset", "classes")
_SCENE_KEYS = (
    *("scenes", "labels", "layer", "column", "classes", "areas", "where", "exclude", "window", "margin", "block"),
    "missing",
)
_SHARE_KEYS = ("share", "of", "seed")
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")
_MOST_VALUES = 65536
_MOST_BYTES = 8 * 2**20
_TOO_DEEP = "the YAML is nested too deeply for a data description"


def read_description(path: str | Path) -> DataDescription:
    """Read a description file.

    Raises:
        ValueError: naming file, line and key of what is wrong, and the nearest valid name.
    """
    return _read(Path(path), is_member=False)


def _read(path: Path, *, is_member: bool) -> DataDescription:
    """is_member: whether it is one of several data sets, and so not made of several itself."""
    try:
        text = read_text(path, largest=_MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"cannot read the data description {error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise ValueError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise ValueError(f"{path}: {_TOO_DEEP}") from None
    top = Located()
    try:
        if node is None:
            raise DescriptionError((), f"the file is empty; expected {', '.join(_KEYS)}")
        tree = construct(node)
        if not isinstance(tree, Located):
            raise DescriptionError((), f"expected the keys {', '.join(_KEYS)}, found {kind(tree)}")
        top = tree
        if "datasets" not in top:
            return _description(top, path.parent)
        if is_member:
            raise DescriptionError(("datasets",), "it is itself made of several data sets; list these")
        return mixed_description(top, path.parent, _description, lambda file: _read(file, is_member=True))
    except DescriptionError as error:
        raise ValueError(f"{path}:{error.line or line_of(top, error.path)}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: {_TOO_DEEP}") from None


def _description(top: Located, folder: Path, given: Mapping[str, Split] | None = None) -> DataDescription:
    """given: the splits, if they are not read from the file."""
    _known(top, _KEYS, ())
    for key in ("classes", "splits"):
        if key not in top and not (key == "splits" and given is not None):
            raise DescriptionError((), f"the key {key!r} is missing")
    image = _mapping(top.get("image", Located()), ("image",))
    _known(image, _IMAGE_KEYS, ("image",))
    root = Path(os.path.expanduser(_text(top.get("root", "."), ("root",))))
    splits = Located() if given is not None else _mapping(top["splits"], ("splits",))
    _known(splits, ("train", "val", "test"), ("splits",))
    classes = _texts(top["classes"], ("classes",))
    root = Path(os.path.normpath(folder / root))
    rules = given or {name: _split(rule, ("splits", name)) for name, rule in splits.items()}
    inputs = image_inputs(image.get("inputs"), root, rules)
    bands = _text(image.get("bands", "raw" if inputs else "rgb"), ("image", "bands"))
    outside = _text(top.get("outside", "error"), ("outside",))
    return DataDescription(
        root=root,
        classes=classes,
        splits=rules,
        labels=_labels(top["labels"]) if top.get("labels") is not None else None,
        palette=_palette(top["palette"]) if top.get("palette") is not None else None,
        ignore_index=_integer(top.get("ignore_index", 255), ("ignore_index",)),
        outside=outside,  # type: ignore[arg-type]  # any other word is refused by the description itself
        tolerance=_integer(top.get("tolerance", 0), ("tolerance",)),
        class_of=_class_of(top["class_of"]) if top.get("class_of") is not None else None,
        bands=bands,  # type: ignore[arg-type]  # likewise
        channels=_integer(image.get("channels", sum(one.channels for one in inputs) or 3), ("image", "channels")),
        names=_texts(image.get("names", list(channel_names(inputs))), ("image", "names")),
        inputs=inputs,
        indices=_indices(image["indices"]) if image.get("indices") is not None else (),
        scale=_scale(image.get("scale")),
        values=_value_range(image["values"]) if image.get("values") is not None else None,
        mean=_numbers(image.get("mean"), ("image", "mean")),
        std=_numbers(image.get("std"), ("image", "std")),
        shares=_shares(top["shares"]) if top.get("shares") is not None else None,
        groups=None if top.get("groups") is None else _text(top["groups"], ("groups",)),
    )


def _indices(value: Any) -> tuple[Index, ...]:
    """Expressions by name, or a list of names that are known."""
    path = ("image", "indices")
    if isinstance(value, Located):
        return tuple((_text(name, path), _text(text, (*path, name))) for name, text in value.items())
    try:
        return known_indices(_texts(value, path))
    except ValueError as error:
        raise DescriptionError(path, str(error)) from None


def _class_of(value: Any) -> ClassOf:
    try:
        return ClassOf.parse(_text(value, ("class_of",)))
    except DescriptionError:
        raise
    except ValueError as error:
        raise DescriptionError(("class_of",), str(error)) from None


def _value_range(value: Any) -> ValueRange:
    path = ("image", "values")
    found = _mapping(value, path)
    _known(found, _VALUE_KEYS, path)
    try:
        return ValueRange.from_json(found)
    except ValueError as error:
        raise DescriptionError(path, str(error)) from None


def _labels(value: Any) -> dict[LabelValue, str]:
    result: dict[LabelValue, str] = {}
    for key, name in _mapping(value, ("labels",)).items():
        path = ("labels", key)
        for parsed in _file_values(key, path):
            if parsed in result:
                raise DescriptionError(path, f"the value {show_value(parsed)} is listed twice")
            result[parsed] = _text(name, path)
    return result


def _file_values(key: Any, path: tuple[object, ...]) -> Iterable[LabelValue]:
    """The file values of one key: a number, a range ``12-254``, or a colour."""
    if isinstance(key, int) and not isinstance(key, bool):
        return (key,)
    match = _RANGE.fullmatch(key) if isinstance(key, str) else None
    if match is None:
        return (_colour(key, path),)
    first, last = int(match.group(1)), int(match.group(2))
    if not first <= last < _MOST_VALUES:
        raise DescriptionError(path, f"expected a range of rising values below {_MOST_VALUES}")
    return range(first, last + 1)


def _palette(value: Any) -> tuple[Colour, ...]:
    if not isinstance(value, list):
        raise DescriptionError(("palette",), f"expected a list of colours, found {kind(value)}")
    return tuple(_colour(entry, ("palette", index)) for index, entry in enumerate(value))


def _split(value: Any, path: tuple[str, ...]) -> Split:
    """A rule, or several of them whose files are taken together."""
    if isinstance(value, list) and value:
        parts = [_rule(_mapping(entry, path), path) for entry in value]
        folders = tuple(part for part in parts if isinstance(part, FolderSplit))
        if len(folders) < len(parts):
            raise DescriptionError(path, "expected images and labels (folders) in each of several sources")
        return JoinedSplit(folders)
    return _rule(_mapping(value, path), path)


def _rule(rule: Located, path: tuple[str, ...]) -> Split:
    if "pairs" in rule:
        _known(rule, ("pairs",), path)
        return PairSplit(_file_pairs(rule["pairs"], (*path, "pairs")))
    if "share" in rule:
        _known(rule, _SHARE_KEYS, path)
        (fraction,) = _numbers([rule["share"]], (*path, "share")) or (0.0,)
        of = _text(rule.get("of", "train"), (*path, "of"))
        return ShareSplit(fraction, of, _integer(rule.get("seed", 0), (*path, "seed")))
    missing = _choice(rule, "missing", ("error", "skip"), path)
    if "scenes" in rule:
        return _scene_split(rule, missing, path)
    if "list" in rule and "images" not in rule:
        _known(rule, _LIST_KEYS, path)
        return ListSplit(_folder(rule["list"], (*path, "list")), _where(rule, path), missing)  # type: ignore[arg-type]
    return _folder_split(rule, missing, path)


def _folder_split(rule: Located, missing: str, path: tuple[str, ...]) -> FolderSplit:
    _known(rule, _FOLDER_KEYS, path)
    if "images" not in rule:
        raise DescriptionError(path, "expected images and labels (folders), or list, or share, or pairs, or scenes")
    recursive = rule.get("recursive", True)
    if not isinstance(recursive, bool):
        raise DescriptionError((*path, "recursive"), f"expected true or false, found {recursive!r}")
    labels = rule.get("labels")
    masks = _masks(labels, (*path, "labels")) if isinstance(labels, Located) else ()
    images, several = rule["images"], image_rules(rule["images"], (*path, "images"))
    source = Source(
        images=several[0].folder if several else _folder(images, (*path, "images")),
        labels=None if labels is None or masks else _folder(labels, (*path, "labels")),
        image_suffix=_texts(
            rule.get("image_suffix", list(several[0].suffixes if several else IMAGE_SUFFIXES)), (*path, "image_suffix")
        ),
        label_suffix=_texts(rule.get("label_suffix", list(IMAGE_SUFFIXES)), (*path, "label_suffix")),
        image_prefix=_text(rule.get("image_prefix", several[0].prefix if several else ""), (*path, "image_prefix")),
        label_prefix=_text(rule.get("label_prefix", ""), (*path, "label_prefix")),
        recursive=recursive,
        masks=masks,
        overlap=_choice(rule, "overlap", ("error", "last"), path),  # type: ignore[arg-type]
        annotations=_annotations(rule, path),
        slices=_choice(rule, "slices", ("", "x", "y", "z"), path),  # type: ignore[arg-type]
        empty_slices=_choice(rule, "empty_slices", ("keep", "skip"), path),  # type: ignore[arg-type]
        input_name=several[0].class_name if several else "",
        partners=several[1:],
    )
    names = None if rule.get("list") is None else _text(rule["list"], (*path, "list"))
    exclude = _texts(rule.get("exclude", []), (*path, "exclude"))
    return FolderSplit(source, names, exclude, missing, _where(rule, path))  # type: ignore[arg-type]


def _scene_split(rule: Located, missing: str, path: tuple[str, ...]) -> SceneSplit:
    """Windows of scenes: see `SceneSplit`."""
    _known(rule, _SCENE_KEYS, path)

    def optional(key: str) -> str:
        return "" if rule.get(key) is None else _folder(rule[key], (*path, key))

    window = _integer(rule.get("window", WINDOW), (*path, "window"))
    block = rule.get("block", max(BLOCK, window))
    stand = {} if rule.get("classes") is None else _mapping(rule["classes"], (*path, "classes"))
    found = SceneSplit(
        scenes=tuple(_folder(entry, (*path, "scenes")) for entry in _texts(rule["scenes"], (*path, "scenes"))),
        labels=optional("labels") or None,
        layer=_text(rule.get("layer", ""), (*path, "layer")),
        column=_text(rule.get("column", ""), (*path, "column")),
        classes=tuple((str(says), _text(own, (*path, "classes", says))) for says, own in stand.items()),
        areas=optional("areas"),
        where=_where(rule, path),
        exclude=_texts(rule.get("exclude", []), (*path, "exclude")),
        window=window,
        margin=_integer(rule.get("margin", window // 8), (*path, "margin")),
        block=0 if block == "scene" else _integer(block, (*path, "block")),
        missing=missing,  # type: ignore[arg-type]  # one of the two words
    )
    if (wrong := found.check()) is not None:
        raise DescriptionError((*path, wrong[0]), wrong[1])
    return found


def _annotations(rule: Located, path: tuple[str, ...]) -> AnnotationSource | None:
    """Annotations of a tool: their format, with the file of all images or the folder of a file for each image."""
    if rule.get("annotations") is None:
        return None
    found, path = _mapping(rule["annotations"], (*path, "annotations")), (*path, "annotations")
    _known(found, _ANNOTATION_KEYS, path)
    for key in ("labels", "label_prefix", "label_suffix"):
        if rule.get(key) is not None:
            raise DescriptionError(path, f"stands beside {key!r}; labels come from annotations or from files")
    name = _choice(found, "format", ("", *FORMATS), path)
    if not name:
        raise DescriptionError(path, f"expected a format: one of {', '.join(FORMATS)}")
    key = "folder" if FORMATS[name].per_image else "file"
    if key not in found or len({"file", "folder"} & set(found)) > 1:
        raise DescriptionError(path, f"the format {name} needs `{key}: PATH` and no other place")
    classes = found.get("classes")
    stand = {} if classes is None else _mapping(classes, (*path, "classes"))
    return AnnotationSource(
        name,
        _folder(found[key], (*path, key)),
        _folder(found["names"], (*path, "names")) if found.get("names") is not None else "",
        _text(found.get("subset", ""), (*path, "subset")),
        tuple((_text(tool, (*path, "classes")), _text(own, (*path, "classes", tool))) for tool, own in stand.items()),
    )


def _where(rule: Located, path: tuple[str, ...]) -> tuple[str, str] | None:
    """The rows of a list that belong to a split: ``{split: train}``."""
    if rule.get("where") is None:
        return None
    where = _mapping(rule["where"], (*path, "where"))
    if len(where) != 1 or not isinstance(text := next(iter(where.values())), str | int):
        raise DescriptionError((*path, "where"), "expected the title of one column, and the text of the rows to take")
    return str(next(iter(where))), str(text)


def _masks(labels: Located, path: tuple[str, ...]) -> tuple[MaskRule, ...]:
    """One mask for each class: class name -> ``FOLDER/*SUFFIX``, several of them in a list."""
    rules = []
    for name, patterns in labels.items():
        for pattern in _texts(patterns, (*path, name)):
            try:
                rules.append(MaskRule.parse(_text(name, path), pattern))
            except ValueError as error:
                raise DescriptionError((*path, name), str(error)) from None
    if not rules:
        raise DescriptionError(path, "expected a folder, or a pattern such as masks/*_leaf.png for each class")
    return tuple(rules)


def _choice(rule: Located, key: str, allowed: Sequence[str], path: tuple[str, ...]) -> str:
    """One of the words allowed, the first of which is meant where none is given."""
    word = _text(rule.get(key, allowed[0]), (*path, key))
    if word not in allowed:
        raise DescriptionError((*path, key), f"expected {' or '.join(allowed)}, found {word!r}")
    return word


def _file_pairs(value: Any, path: tuple[object, ...]) -> tuple[tuple[str, str | None], ...]:
    entries = value if isinstance(value, list) else []
    if not entries or not all(isinstance(entry, list) and len(entry) == 2 for entry in entries):
        raise DescriptionError(path, "expected a list of [image, label] pairs of paths")
    return tuple((_text(image, path), None if label is None else _text(label, path)) for image, label in entries)


def _known(found: Located, keys: Sequence[str], path: tuple[object, ...]) -> None:
    for key in found:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(keys)}"
            raise DescriptionError((*path, key), f"unknown key; {hint}")


def _mapping(value: Any, path: tuple[object, ...]) -> Located:
    if not isinstance(value, Located):
        raise DescriptionError(path, f"expected keys with values, found {kind(value)}")
    return value


def _text(value: Any, path: tuple[object, ...]) -> str:
    if isinstance(value, str):
        return value
    hint = f'; write it in quotes: "{str(value).lower()}"' if isinstance(value, (bool, int, float)) else ""
    raise DescriptionError(path, f"expected text, found {kind(value)}{hint}")


def _texts(value: Any, path: tuple[object, ...]) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise DescriptionError(path, f"expected text or a list of texts, found {kind(value)}")
    return tuple(_text(entry, (*path, index)) for index, entry in enumerate(value))


def _folder(value: Any, path: tuple[object, ...]) -> str:
    text = _text(value, path)
    return PurePosixPath(text.replace("\\", "/")).as_posix()


def _integer(value: Any, path: tuple[object, ...]) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DescriptionError(path, f"expected a whole number, found {value!r}")
    return value


def _numbers(value: Any, path: tuple[object, ...]) -> tuple[float, ...] | None:
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in entries):
        raise DescriptionError(path, f"expected numbers, found {value!r}")
    return tuple(float(entry) for entry in entries)


def _scale(value: Any) -> tuple[float | str, ...] | None:
    """Numbers, windows and percentiles: what they are worth is looked at by the description itself."""
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    numbers = iter(_numbers([entry for entry in entries if not isinstance(entry, str)], ("image", "scale")) or ())
    return tuple(entry if isinstance(entry, str) else next(numbers) for entry in entries)


def _shares(value: Any) -> dict[str, float]:
    shares = {}
    for name, given in _mapping(value, ("shares",)).items():
        numbers = _numbers(given, ("shares", name))
        if numbers is None or len(numbers) != 1 or isinstance(given, list):
            raise DescriptionError(("shares", name), f"expected a number, found {given!r}")
        shares[_text(name, ("shares", name))] = numbers[0]
    return shares


def _colour(value: Any, path: tuple[object, ...]) -> Colour:
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    if isinstance(value, (list, tuple)) and len(value) == 3 and all(_is_level(part) for part in value):
        return int(value[0]), int(value[1]), int(value[2])
    what = "a file value: a whole number, a range such as 12-254, or " if path[0] == "labels" else ""
    raise DescriptionError(path, f'expected {what}a colour such as "#c08000" or [192, 128, 0], found {value!r}')


def _is_level(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
