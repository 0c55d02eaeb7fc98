"""Data sets that are described in DSDL, the data set description language of OpenDataLab (version 0.5).

A description is a YAML file that imports others: one with a class domain, one with the structure of a sample. The
samples are a list in a JSON file beside it. Of this language, what a semantic segmentation needs is read here: the
names of a class domain, and which fields of a sample are its `Image` and its `LabelMap`. Nothing is executed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from intarsia.colours import distinct_colours
from intarsia.contracts import IGNORE_INDEX
from intarsia.data.datasets.family import Family
from intarsia.data.datasets.folder import FolderDataset
from intarsia.io.text import read_text

_LARGEST_YAML, _LARGEST_JSON = 4_000_000, 1_000_000_000
_MOST_FILES, _DEEPEST = 50, 20
_TYPE = re.compile(r"\s*(?P<name>\w+)\s*(\[(?P<arguments>.*)\])?\s*")
"""A type of DSDL: `LabelMap[dom=$cdom]`."""


def DSDLSegDataset(  # noqa: N802  (the name that configurations use for this data set)
    *,
    root: str = "",
    split_file: str,
    images: str = "",
    labels: str | None = "",
    used_labels: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_zero_label: bool = False,
    bands: str = "rgb",
) -> FolderDataset:
    """The samples of one DSDL description, in its order.

    root: folder to which all other paths are relative. split_file: the description (YAML). images, labels: folders to
    which the paths in the samples are relative; labels=None: there is no ground truth.
    used_labels, or classes: some of the description's classes, in an order of one's own; pixels of the others are
    ignored. By default, all: label value 0 is "background", and those of the class domain count from 1.

    Raises ValueError, naming the file, if something is missing or is not the part of DSDL that is read here.
    """
    description = Path(os.path.expanduser(root), split_file)
    definitions, data = _read_all(description)
    sample_type = _parsed(data.get("sample-type"), description, "data.sample-type")
    every = ("background", *_class_names(definitions, sample_type["arguments"] or "", description))
    fields = list(_fields(definitions, sample_type["name"], description, ()))
    family = Family(
        name=str(description), classes=every, palette=distinct_colours(len(every)), root="", images="", labels=""
    )
    chosen = used_labels or classes
    pairs = []
    for number, sample in enumerate(_samples(data, description)):
        image = _file_of(sample, fields, "Image", f"{description}: sample {number}")
        label = None if labels is None else _file_of(sample, fields, "LabelMap", f"{description}: sample {number}")
        pairs.append((os.path.join(images, image), None if label is None else os.path.join(labels or "", label)))
    return FolderDataset(
        root=root,
        image_suffix=tuple({os.path.splitext(image)[1] for image, _ in pairs}) or ".jpg",
        classes=every if chosen is None else chosen,
        palette=family.colours(chosen, palette),
        label_table=family.table(chosen, ignore_index=ignore_index, reduce_zero_label=reduce_zero_label),
        bands=bands,
        pairs=pairs,
    )


def _read_all(description: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The definitions of a description and of all that it imports, by name; and its `data` section."""
    definitions: dict[str, Any] = {}
    waiting, seen = [description], set[Path]()
    data: Any = None
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        if len(seen) > _MOST_FILES:
            raise ValueError(f"{description}: imports more than {_MOST_FILES} files")
        content = _yaml(file)
        data = content.get("data") if file == description else data
        definitions |= {str(key): value for key, value in content.items() if not str(key).startswith("$")}
        for name in _texts(content.get("$import") or [], file, "$import"):
            waiting.append(Path(os.path.normpath(file.parent / f"{name.removesuffix('.yaml')}.yaml")))
    if not isinstance(data, Mapping):
        raise ValueError(f"{description}: expected a section `data` with `sample-type` and `sample-path`, found none")
    return definitions, data


def _yaml(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(read_text(file, largest=_LARGEST_YAML))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{file}: expected a DSDL description, a mapping of names, found {type(content).__name__}")
    return content


def _texts(value: Any, file: Path, where: str) -> list[str]:
    """A list of names. What else stands there is not repeated: YAML can make it endless with a few aliases."""
    if not isinstance(value, list) or not all(isinstance(item, str | int) for item in value):
        raise ValueError(f"{file}: {where}: expected a list of names, found {type(value).__name__} of something else")
    return [str(item) for item in value]


def _parsed(written: Any, file: Path, where: str) -> re.Match[str]:
    found = _TYPE.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        shown = repr(written[:100]) if isinstance(written, str) else type(written).__name__
        raise ValueError(f"{file}: {where}: expected a type such as SegmentationSample[cdom=Classes], found {shown}")
    return found


def _class_names(definitions: Mapping[str, Any], arguments: str, file: Path) -> list[str]:
    """The names of the one class domain that the sample type is given; supercategories in brackets are left out."""
    domains = {
        name.partition("[")[0].strip(): item
        for name, item in definitions.items()
        if isinstance(item, Mapping) and item.get("$def") == "class_domain"
    }
    named = [word for word in re.findall(r"\w+", arguments) if word in domains]
    found = named or (list(domains) if len(domains) == 1 else [])
    if len(set(found)) != 1:
        there = ", ".join(domains) or "none"
        raise ValueError(f"{file}: expected one class domain for the samples, found {', '.join(named) or 'none'}; "
                         f"those defined: {there}")  # fmt: skip
    classes = _texts(domains[found[0]].get("classes"), file, f"{found[0]}.classes")
    return [name.partition("[")[0].strip() for name in classes]


def _fields(
    definitions: Mapping[str, Any], struct: str, file: Path, above: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(type, path of keys) of every field of a structure that is no structure itself."""
    item = definitions.get(struct)
    if not isinstance(item, Mapping) or not isinstance(item.get("$fields"), Mapping) or len(above) > _DEEPEST:
        raise ValueError(f"{file}: the structure {struct} of the samples is not defined with $fields")
    for key, written in item["$fields"].items():
        kind = _parsed(written, file, f"{struct}.{key}")["name"]
        if isinstance(definitions.get(kind), Mapping) and definitions[kind].get("$def") == "struct":
            yield from _fields(definitions, kind, file, (*above, str(key)))
        else:
            yield kind, (*above, str(key))


def _samples(data: Mapping[str, Any], description: Path) -> list[Any]:
    samples, file = data.get("samples"), description
    if samples is None:
        if not isinstance(data.get("sample-path"), str):
            raise ValueError(f"{description}: expected data.sample-path, the JSON file with the samples")
        file = description.parent / data["sample-path"]
        try:
            content = json.loads(read_text(file, largest=_LARGEST_JSON))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{file}: not valid JSON: {error}") from None
        samples = content.get("samples") if isinstance(content, Mapping) else content
    if not isinstance(samples, list) or not samples:
        raise ValueError(f"{file}: expected a list `samples` that is not empty")
    return samples


def _file_of(sample: Any, fields: Sequence[tuple[str, tuple[str, ...]]], kind: str, where: str) -> str:
    """The path in the first field of a kind."""
    path = next((path for found, path in fields if found == kind), None)
    if path is None:
        raise ValueError(f"{where}: its structure has no field of type {kind}, only {', '.join(k for k, _ in fields)}")
    value = sample
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: expected the path of a file in {'.'.join(path)}, found {type(value).__name__}")
    return value
