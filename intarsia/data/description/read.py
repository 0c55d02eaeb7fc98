"""Reads a data description from YAML and tells the line of every mistake."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from intarsia.data.band_indices import Index, known_indices
from intarsia.data.containers import PACK_SUFFIX
from intarsia.data.description.apart import advice, of_one_kind
from intarsia.data.description.contained import PackedSplit
from intarsia.data.description.errors import DescriptionError, ScenesAmongImagesError
from intarsia.data.description.input_kinds import image_inputs
from intarsia.data.description.mixed_yaml import mixed_description
from intarsia.data.description.model import IGNORE, DataDescription, LabelValue, show_value
from intarsia.data.description.read_splits import read_split
from intarsia.data.description.splits import Split
from intarsia.data.description.yaml_tree import Located, construct, kind, line_of
from intarsia.data.description.yaml_values import (
    colour_of,
    integer_of,
    known_keys,
    mapping_of,
    numbers_of,
    text_of,
    texts_of,
)
from intarsia.data.image_io import is_image_name
from intarsia.data.instance_ids import ClassOf
from intarsia.data.labels import Colour
from intarsia.data.packed.reader import is_packed_file, opened
from intarsia.data.stack import channel_names
from intarsia.data.tars import is_tar_name
from intarsia.data.value_range import ValueRange
from intarsia.io.stores import refuse_data
from intarsia.io.text import read_text
from intarsia.label_sets import Regions, ignored_value

_KEYS = (
    "root", "classes", "multi_label", "regions", "region_order", "palette", "labels", "outside", "tolerance",
    "class_of", "ignore_index", "image", "shares", "groups", "splits",
)  # fmt: skip
_IMAGE_KEYS = ("inputs", "bands", "channels", "names", "indices", "scale", "mean", "std", "values")
_VALUE_KEYS = ("type", "low", "high", "dimmest")
_ARCHIVES = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz")
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")
_MOST_VALUES = 65536
_MOST_BYTES = 8 * 2**20
_TOO_DEEP = "the YAML is nested too deeply for a data description"


def read_description(path: str | Path) -> DataDescription:
    """Read a description file, or the description in a packed file.

    Raises:
        ValueError: naming file, line and key of what is wrong, and the nearest valid name.
    """
    refuse_data(path)
    return _read(Path(path), is_member=False)


def _read(path: Path, *, is_member: bool) -> DataDescription:
    """is_member: whether it is one of several data sets, and so not made of several itself."""
    given: Mapping[str, Split] | None = None
    if is_packed_file(path):
        text, given = _packed(path)
    else:
        _refuse_others(path)
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
            return _description(top, path.parent, given)
        if is_member:
            raise DescriptionError(("datasets",), "it is itself made of several data sets; list these")
        return mixed_description(top, path.parent, _description, lambda file: _read(file, is_member=True))
    except ScenesAmongImagesError as error:
        parts = [_description(of_one_kind(top, scenes=scenes), path.parent) for scenes in (True, False)]
        raise ValueError(f"{path}:{line_of(top, error.path)}: {error}. {advice(*parts)}") from None
    except DescriptionError as error:
        raise ValueError(f"{path}:{error.line or line_of(top, error.path)}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: {_TOO_DEEP}") from None


def _refuse_others(path: Path) -> None:
    """Raises ValueError for files that are data themselves, and describe none."""
    if not path.is_file():
        return
    if is_tar_name(path):
        raise ValueError(
            f"{path} is a tar, and no data description: give the folder that it lies in, with all tars in it, or "
            f"name it in a description (splits: {{train: {{layout: tar, shards: {path.name}}}}})"
        )
    if is_image_name(path.name) or path.suffix.lower() in _ARCHIVES:
        what = "an archive, which is unpacked first" if path.suffix.lower() in _ARCHIVES else "an image"
        raise ValueError(f"{path} is {what}: give the folder of images and masks, or a data description (YAML)")


def _packed(path: Path) -> tuple[str, Mapping[str, Split]]:
    """The description in a packed file, and its splits, which go by the name that the file has now."""
    if path.suffix.lower() != PACK_SUFFIX:
        raise ValueError(f"{path}: is packed data, whose name must end in {PACK_SUFFIX}: rename it")
    header = opened(path).header
    return header.description, {part: PackedSplit(path.name, part) for part in header.parts}


def _description(top: Located, folder: Path, given: Mapping[str, Split] | None = None) -> DataDescription:
    """given: the splits, if they are not read from the file."""
    known_keys(top, _KEYS, ())
    for key in ("classes", "splits"):
        if key not in top and not (key == "splits" and given is not None):
            raise DescriptionError((), f"the key {key!r} is missing")
    image = mapping_of(top.get("image", Located()), ("image",))
    known_keys(image, _IMAGE_KEYS, ("image",))
    root = Path(os.path.expanduser(text_of(top.get("root", "."), ("root",))))
    try:
        refuse_data(root)
    except ValueError as error:
        raise DescriptionError(("root",), str(error)) from None
    splits = Located() if given is not None else mapping_of(top["splits"], ("splits",))
    known_keys(splits, ("train", "val", "test"), ("splits",))
    classes = texts_of(top["classes"], ("classes",))
    root = Path(os.path.normpath(folder / root))
    rules = given or {name: read_split(rule, ("splits", name)) for name, rule in splits.items()}
    inputs = image_inputs(image.get("inputs"), root, rules)
    bands = text_of(image.get("bands", "raw" if inputs else "rgb"), ("image", "bands"))
    outside = text_of(top.get("outside", "error"), ("outside",))
    several = top.get("multi_label", False)
    if not isinstance(several, bool):
        raise DescriptionError(("multi_label",), f"expected true or false, found {several!r}")
    return DataDescription(
        root=root,
        classes=classes,
        splits=rules,
        labels=_labels(top["labels"]) if top.get("labels") is not None else None,
        palette=_palette(top["palette"]) if top.get("palette") is not None else None,
        multi_label=several,
        regions=_regions(top, classes),
        ignore_index=integer_of(
            top.get("ignore_index", ignored_value(len(classes)) if several else 255), ("ignore_index",)
        ),
        outside=outside,  # type: ignore[arg-type]  # any other word is refused by the description itself
        tolerance=integer_of(top.get("tolerance", 0), ("tolerance",)),
        class_of=_class_of(top["class_of"]) if top.get("class_of") is not None else None,
        bands=bands,  # type: ignore[arg-type]  # likewise
        channels=integer_of(image.get("channels", sum(one.channels for one in inputs) or 3), ("image", "channels")),
        names=texts_of(image.get("names", list(channel_names(inputs))), ("image", "names")),
        inputs=inputs,
        indices=_indices(image["indices"]) if image.get("indices") is not None else (),
        scale=_scale(image.get("scale")),
        values=_value_range(image["values"]) if image.get("values") is not None else None,
        mean=numbers_of(image.get("mean"), ("image", "mean")),
        std=numbers_of(image.get("std"), ("image", "std")),
        shares=_shares(top["shares"]) if top.get("shares") is not None else None,
        groups=None if top.get("groups") is None else text_of(top["groups"], ("groups",)),
    )


def _regions(top: Located, classes: tuple[str, ...]) -> Regions | None:
    """`regions`, the values of each class and of what is ignored, and `region_order`, what is written for each."""
    if top.get("regions") is None and top.get("region_order") is None:
        return None
    if top.get("regions") is None or top.get("region_order") is None:
        raise DescriptionError((), "`regions` and `region_order` are of each other: one is missing")
    given = mapping_of(top["regions"], ("regions",))
    known_keys(given, (*classes, IGNORE), ("regions",))
    if missing := [name for name in classes if name not in given]:
        raise DescriptionError(("regions",), f"the values of {missing[0]!r} are missing")
    values = {name: _whole_numbers(value, ("regions", name)) for name, value in given.items()}
    order = _whole_numbers(top["region_order"], ("region_order",))
    try:
        return Regions(tuple(values[name] for name in classes), order, values.get(IGNORE, ()))
    except ValueError as error:
        raise DescriptionError(("regions",), str(error)) from None


def _whole_numbers(value: Any, path: tuple[object, ...]) -> tuple[int, ...]:
    return tuple(integer_of(entry, path) for entry in (value if isinstance(value, list) else [value]))


def _indices(value: Any) -> tuple[Index, ...]:
    """Expressions by name, or a list of names that are known."""
    path = ("image", "indices")
    if isinstance(value, Located):
        return tuple((text_of(name, path), text_of(text, (*path, name))) for name, text in value.items())
    try:
        return known_indices(texts_of(value, path))
    except ValueError as error:
        raise DescriptionError(path, str(error)) from None


def _class_of(value: Any) -> ClassOf:
    try:
        return ClassOf.parse(text_of(value, ("class_of",)))
    except DescriptionError:
        raise
    except ValueError as error:
        raise DescriptionError(("class_of",), str(error)) from None


def _value_range(value: Any) -> ValueRange:
    path = ("image", "values")
    found = mapping_of(value, path)
    known_keys(found, _VALUE_KEYS, path)
    try:
        return ValueRange.from_json(found)
    except ValueError as error:
        raise DescriptionError(path, str(error)) from None


def _labels(value: Any) -> dict[LabelValue, str]:
    result: dict[LabelValue, str] = {}
    for key, name in mapping_of(value, ("labels",)).items():
        path = ("labels", key)
        for parsed in _file_values(key, path):
            if parsed in result:
                raise DescriptionError(path, f"the value {show_value(parsed)} is listed twice")
            result[parsed] = text_of(name, path)
    return result


def _file_values(key: Any, path: tuple[object, ...]) -> Iterable[LabelValue]:
    """The file values of one key: a number, a range ``12-254``, or a colour."""
    if isinstance(key, int) and not isinstance(key, bool):
        return (key,)
    match = _RANGE.fullmatch(key) if isinstance(key, str) else None
    if match is None:
        return (colour_of(key, path),)
    first, last = int(match.group(1)), int(match.group(2))
    if not first <= last < _MOST_VALUES:
        raise DescriptionError(path, f"expected a range of rising values below {_MOST_VALUES}")
    return range(first, last + 1)


def _palette(value: Any) -> tuple[Colour, ...]:
    if not isinstance(value, list):
        raise DescriptionError(("palette",), f"expected a list of colours, found {kind(value)}")
    return tuple(colour_of(entry, ("palette", index)) for index, entry in enumerate(value))


def _scale(value: Any) -> tuple[float | str, ...] | None:
    """Numbers, windows and percentiles: what they are worth is looked at by the description itself."""
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    numbers = iter(numbers_of([entry for entry in entries if not isinstance(entry, str)], ("image", "scale")) or ())
    return tuple(entry if isinstance(entry, str) else next(numbers) for entry in entries)


def _shares(value: Any) -> dict[str, float]:
    shares = {}
    for name, given in mapping_of(value, ("shares",)).items():
        numbers = numbers_of(given, ("shares", name))
        if numbers is None or len(numbers) != 1 or isinstance(given, list):
            raise DescriptionError(("shares", name), f"expected a number, found {given!r}")
        shares[text_of(name, ("shares", name))] = numbers[0]
    return shares
