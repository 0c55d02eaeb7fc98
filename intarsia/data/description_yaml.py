"""The data description as a YAML file: read with the line of every mistake, written to be read by people."""

from __future__ import annotations

import difflib
import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from intarsia.data.description import (
    DataDescription,
    DescriptionError,
    FolderSplit,
    LabelValue,
    PairSplit,
    ShareSplit,
    Split,
    show_value,
)
from intarsia.data.files import IMAGE_SUFFIXES
from intarsia.data.labels import Colour
from intarsia.data.pairs import Source

_KEYS = ("root", "classes", "palette", "labels", "outside", "ignore_index", "image", "splits")
_IMAGE_KEYS = ("bands", "channels", "mean", "std")
_FOLDER_KEYS = (
    *("images", "labels", "image_prefix", "label_prefix", "image_suffix", "label_suffix"),
    *("recursive", "list", "exclude", "missing"),
)
_SHARE_KEYS = ("share", "of", "seed")
_WIDTH = 100


class _Located(dict[Any, Any]):
    """A mapping that knows the line of each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Any, int] = {}


# --- Reading ------------------------------------------------------------------------------------------------------


def read_description(path: Path) -> DataDescription:
    """See `DataDescription.read`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the data description {path}: {error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise ValueError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    top = _Located()
    try:
        if node is None:
            raise DescriptionError((), f"the file is empty; expected {', '.join(_KEYS)}")
        tree = _construct(node, ())
        if not isinstance(tree, _Located):
            raise DescriptionError((), f"expected the keys {', '.join(_KEYS)}, found {_kind(tree)}")
        top = tree
        return _description(top, path.parent)
    except DescriptionError as error:
        raise ValueError(f"{path}:{_line_of(top, error.path)}: {error}") from None


def _construct(node: yaml.Node, path: tuple[object, ...]) -> Any:
    """The plain value of a node; mappings remember lines, keys given twice are refused."""
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*path, index)) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result = _Located()
        for key_node, value_node in node.value:
            key = _construct(key_node, path)
            key = tuple(key) if isinstance(key, list) else key
            line = key_node.start_mark.line + 1
            if key in result:
                first = result.lines[key]
                raise DescriptionError((*path, key), f"given twice, in lines {first} and {line}")
            result[key] = _construct(value_node, (*path, key))
            result.lines[key] = line
        return result
    return yaml.SafeLoader("").construct_object(node, deep=True)


def _line_of(top: _Located, path: Sequence[object]) -> int:
    """The line of the innermost key on the way that the file has."""
    line, here = 1, top
    for key in path:
        match = next((own for own in here if own == key or str(own) == key or _colour_text(own) == key), None)
        if match is None:
            break
        line = here.lines[match]
        if not isinstance(here[match], _Located):
            break
        here = here[match]
    return line


def _description(top: _Located, folder: Path) -> DataDescription:
    _known(top, _KEYS, ())
    for key in ("classes", "splits"):
        if key not in top:
            raise DescriptionError((), f"the key {key!r} is missing")
    image = _mapping(top.get("image", _Located()), ("image",))
    _known(image, _IMAGE_KEYS, ("image",))
    root = Path(os.path.expanduser(_text(top.get("root", "."), ("root",))))
    splits = _mapping(top["splits"], ("splits",))
    _known(splits, ("train", "val", "test"), ("splits",))
    classes = _texts(top["classes"], ("classes",))
    bands = _text(image.get("bands", "colour"), ("image", "bands"))
    outside = _text(top.get("outside", "error"), ("outside",))
    return DataDescription(
        root=Path(os.path.normpath(folder / root)),
        classes=classes,
        splits={name: _split(_mapping(rule, ("splits", name)), ("splits", name)) for name, rule in splits.items()},
        labels=_labels(top["labels"]) if top.get("labels") is not None else None,
        palette=_palette(top["palette"]) if top.get("palette") is not None else None,
        ignore_index=_integer(top.get("ignore_index", 255), ("ignore_index",)),
        outside=outside,  # type: ignore[arg-type]  # any other word is refused by the description itself
        bands=bands,  # type: ignore[arg-type]  # likewise
        channels=_integer(image.get("channels", 3), ("image", "channels")),
        mean=_numbers(image.get("mean"), ("image", "mean")),
        std=_numbers(image.get("std"), ("image", "std")),
    )


def _labels(value: Any) -> dict[LabelValue, str]:
    result: dict[LabelValue, str] = {}
    for key, name in _mapping(value, ("labels",)).items():
        path = ("labels", key)
        parsed = key if isinstance(key, int) and not isinstance(key, bool) else _colour(key, path)
        if parsed in result:
            raise DescriptionError(path, "this value is listed twice")
        result[parsed] = _text(name, path)
    return result


def _palette(value: Any) -> tuple[Colour, ...]:
    if not isinstance(value, list):
        raise DescriptionError(("palette",), f"expected a list of colours, found {_kind(value)}")
    return tuple(_colour(entry, ("palette", index)) for index, entry in enumerate(value))


def _split(rule: _Located, path: tuple[str, ...]) -> Split:
    if "pairs" in rule:
        _known(rule, ("pairs",), path)
        return PairSplit(_file_pairs(rule["pairs"], (*path, "pairs")))
    if "share" in rule:
        _known(rule, _SHARE_KEYS, path)
        (fraction,) = _numbers([rule["share"]], (*path, "share")) or (0.0,)
        of = _text(rule.get("of", "train"), (*path, "of"))
        return ShareSplit(fraction, of, _integer(rule.get("seed", 0), (*path, "seed")))
    _known(rule, _FOLDER_KEYS, path)
    if "images" not in rule:
        raise DescriptionError(path, "expected images and labels (folders), or share, or pairs")
    missing = _text(rule.get("missing", "error"), (*path, "missing"))
    if missing not in ("error", "skip"):
        raise DescriptionError((*path, "missing"), f"expected error or skip, found {missing!r}")
    recursive = rule.get("recursive", True)
    if not isinstance(recursive, bool):
        raise DescriptionError((*path, "recursive"), f"expected true or false, found {recursive!r}")
    source = Source(
        images=_folder(rule["images"], (*path, "images")),
        labels=None if rule.get("labels") is None else _folder(rule["labels"], (*path, "labels")),
        image_suffix=_texts(rule.get("image_suffix", list(IMAGE_SUFFIXES)), (*path, "image_suffix")),
        label_suffix=_texts(rule.get("label_suffix", list(IMAGE_SUFFIXES)), (*path, "label_suffix")),
        image_prefix=_text(rule.get("image_prefix", ""), (*path, "image_prefix")),
        label_prefix=_text(rule.get("label_prefix", ""), (*path, "label_prefix")),
        recursive=recursive,
    )
    names = None if rule.get("list") is None else _text(rule["list"], (*path, "list"))
    return FolderSplit(source, names, _texts(rule.get("exclude", []), (*path, "exclude")), missing)  # type: ignore[arg-type]


def _file_pairs(value: Any, path: tuple[object, ...]) -> tuple[tuple[str, str | None], ...]:
    entries = value if isinstance(value, list) else []
    if not entries or not all(isinstance(entry, list) and len(entry) == 2 for entry in entries):
        raise DescriptionError(path, "expected a list of [image, label] pairs of paths")
    return tuple((_text(image, path), None if label is None else _text(label, path)) for image, label in entries)


def _known(found: _Located, keys: Sequence[str], path: tuple[object, ...]) -> None:
    for key in found:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(keys)}"
            raise DescriptionError((*path, key), f"unknown key; {hint}")


def _mapping(value: Any, path: tuple[object, ...]) -> _Located:
    if not isinstance(value, _Located):
        raise DescriptionError(path, f"expected keys with values, found {_kind(value)}")
    return value


def _text(value: Any, path: tuple[object, ...]) -> str:
    if isinstance(value, str):
        return value
    hint = f'; write it in quotes: "{str(value).lower()}"' if isinstance(value, (bool, int, float)) else ""
    raise DescriptionError(path, f"expected text, found {_kind(value)}{hint}")


def _texts(value: Any, path: tuple[object, ...]) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise DescriptionError(path, f"expected text or a list of texts, found {_kind(value)}")
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


def _colour(value: Any, path: tuple[object, ...]) -> Colour:
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    if isinstance(value, (list, tuple)) and len(value) == 3:
        if all(isinstance(part, int) and not isinstance(part, bool) and 0 <= part <= 255 for part in value):
            return int(value[0]), int(value[1]), int(value[2])
    what = "a file value: a whole number, or " if path[0] == "labels" else ""
    raise DescriptionError(path, f'expected {what}a colour such as "#c08000" or [192, 128, 0], found {value!r}')


def _colour_text(value: object) -> str | None:
    return show_value(value) if isinstance(value, tuple) and len(value) == 3 else None  # type: ignore[arg-type]


def _kind(value: Any) -> str:
    kinds = {
        dict: "a mapping",
        _Located: "a mapping",
        list: "a list",
        str: f"the text {value!r}",
        type(None): "nothing",
    }
    return kinds.get(type(value), repr(value))


# --- Writing ------------------------------------------------------------------------------------------------------

_HEAD = """\
Data description of Intarsia: which files belong together and what the values in the label files mean.
Check it with `intarsia data check THIS_FILE`, train with `intarsia train RECIPE --data THIS_FILE --out RUN`."""
_ONE_CLASS = """\
One class is one foreground: the model has one output, and what is not the class is "background".
For a model with two outputs write `classes: [background, {name}]` and leave `labels` as it is."""
_TWO_CLASSES = """\
Two classes, two outputs. For a model with one output (a foreground) write `classes: [{name}]`, give the palette one
colour, and leave `labels` as it is: "background" then means what is left."""
_LABELS = """\
What is stored in the label files -> class name, or ignore: such pixels count neither in training nor in scores.
A value that is not listed here stops with an error (write `outside: ignore` to ignore those instead)."""


def write_description(description: DataDescription, path: Path) -> None:
    """See `DataDescription.write`."""
    folder = Path(os.path.abspath(path)).parent
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(description, folder), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write the data description {path}: {error.strerror or error}") from error


def render(description: DataDescription, folder: Path) -> str:
    """The text of a description file that will lie in `folder`."""
    names = description.classes
    lines = [*_comment(_HEAD), *(line for note in description.notes for line in _comment(note))]
    lines += [f"root: {_quoted(_root_text(description.root, folder))}", ""]
    if len(names) == 1:
        lines += _comment(_ONE_CLASS.format(name=names[0]))
    elif len(names) == 2 and names[0] == "background":
        lines += _comment(_TWO_CLASSES.format(name=names[1]))
    lines += _flow("classes", [_quoted(name) for name in names])
    if description.palette is not None:
        lines += _flow("palette", [f"[{r}, {g}, {b}]" for r, g, b in description.palette])
    if description.labels is not None:
        lines += ["", *_comment(_LABELS), "labels:"]
        for value, name in description.labels.items():
            note = description.label_notes.get(value)
            key = str(value) if isinstance(value, int) else f'"{show_value(value)}"'
            lines.append(f"  {key}: {_quoted(name)}" + (f"  # {note}" if note else ""))
    if description.outside != "error":
        lines.append(f"outside: {description.outside}")
    lines += [f"ignore_index: {description.ignore_index}", "", *_image_lines(description), "", "splits:"]
    for split, rule in description.splits.items():
        lines += _split_lines(split, rule)
    return "\n".join(lines) + "\n"


def _image_lines(description: DataDescription) -> list[str]:
    lines = ["image:"]
    if description.bands == "colour":
        lines.append("  bands: colour  # as 8-bit RGB, whatever the file holds: alpha dropped, grey repeated")
    else:
        lines.append("  bands: stored  # every band of the file in its own type")
    lines.append(f"  channels: {description.channels}")
    for key, numbers in (("mean", description.mean), ("std", description.std)):
        if numbers is not None:
            lines.append(f"  {key}: [{', '.join(repr(float(number)) for number in numbers)}]")
    return lines


def _split_lines(split: str, rule: Split) -> list[str]:
    if isinstance(rule, ShareSplit):
        return [
            *(
                f"  {line}"
                for line in _comment("Each file falls to a side by a hash of its name: new files move no old one.")
            ),
            f"  {split}: {{share: {rule.fraction!r}, of: {rule.of}, seed: {rule.seed}}}",
        ]
    if isinstance(rule, PairSplit):
        rows = [
            f"      - [{_quoted(image)}, {'null' if label is None else _quoted(label)}]" for image, label in rule.pairs
        ]
        return [f"  {split}:", "    pairs:", *rows]
    source = rule.source
    entries: dict[str, str] = {"images": _quoted(source.images)}
    if source.labels is not None:
        entries["labels"] = _quoted(source.labels)
    for key, text in (("image_prefix", source.image_prefix), ("label_prefix", source.label_prefix)):
        if text:
            entries[key] = _quoted(text)
    for key, suffixes in (("image_suffix", source.image_suffix), ("label_suffix", source.label_suffix)):
        if suffixes != IMAGE_SUFFIXES and (key == "image_suffix" or source.labels is not None):
            listed = [_quoted(suffix) for suffix in suffixes]
            entries[key] = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    if not source.recursive:
        entries["recursive"] = "false"
    if rule.names is not None:
        entries["list"] = _quoted(rule.names)
    if rule.exclude:
        entries["exclude"] = f"[{', '.join(_quoted(name) for name in rule.exclude)}]"
    if rule.missing != "error":
        entries["missing"] = rule.missing
    return [f"  {split}:", *(f"    {key}: {value}" for key, value in entries.items())]


def _root_text(root: Path, folder: Path) -> str:
    """Relative where one folder contains the other, so that both can be moved together; absolute otherwise."""
    root = Path(os.path.abspath(root))
    if root == folder or root in folder.parents or folder in root.parents:
        return Path(os.path.relpath(root, folder)).as_posix()
    return root.as_posix()


def _flow(key: str, entries: Sequence[str]) -> list[str]:
    """``key: [a, b]``, wrapped between entries."""
    lines, line = [], f"{key}: ["
    for index, entry in enumerate(entries):
        text = entry + ("]" if index == len(entries) - 1 else ", ")
        if len(line) + len(text) > _WIDTH:
            lines.append(line.rstrip())
            line = "  "
        line += text
    return [*lines, line]


def _comment(text: str) -> list[str]:
    return [f"# {line}".rstrip() for part in text.splitlines() for line in (textwrap.wrap(part, 116) or [""])]


def _quoted(text: str) -> str:
    """Text as YAML reads it back, quoted only where it must be. Works in flow lists as well."""
    plain = re.fullmatch(r"[A-Za-z_./][\w ./*+-]*", text) is not None and text == text.strip()
    if plain and yaml.safe_load(text) == text:
        return text
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
