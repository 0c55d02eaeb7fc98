"""Writes a data description as YAML that is made to be read and edited by people."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from intarsia.data.annotations.formats import FORMATS
from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.description.contained import PackedSplit, TarSplit
from intarsia.data.description.input_kinds import input_lines
from intarsia.data.description.mixed import MixedDescription
from intarsia.data.description.mixed_yaml import member_lines
from intarsia.data.description.model import DataDescription, LabelValue, show_value
from intarsia.data.description.pairing import MaskRule
from intarsia.data.description.splits import FolderSplit, JoinedSplit, ListSplit, PairSplit, ShareSplit, Split
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.scenes.rule import SceneSplit
from intarsia.io.whole_files import write_text
from intarsia.label_sets import Regions

_WIDTH = 100
_HEAD = """\
Data description of Intarsia: which files belong together and what the values in the label files mean.
Check it with `intarsia data check THIS_FILE`, train with `intarsia train RECIPE --data THIS_FILE --out RUN`."""
_ONE_CLASS = """\
One class is one foreground: the model has one output, and what is not the class is "background".
For a model with two outputs write `classes: [background, {name}]` and leave `labels` as it is."""
_TWO_CLASSES = """\
Two classes, two outputs. For a model with one output, a foreground, write `classes: [{name}]`, leave one colour
in `palette` and everything in `labels`: "background" then means what is left."""
_LABELS = """\
What is stored in the label files -> class name, or ignore: such pixels count neither in training nor in scores.
A value that is not listed here stops with an error (write `outside: ignore` to ignore those instead)."""

_TOLERANCE = """\
A value that differs by so much from a listed one, in each channel of a colour, counts as the nearest such."""
_GROUPS = """\
Images with the same part in their path stay together when they are divided: shares, `data split`, folds, `cv`."""
_MASKS = """\
One mask for each class: where it is not 0 the label has the class, and where no mask is set it is 0. A pixel in two
masks stops with an error; with `overlap: last` the later one counts."""

_MULTI_LABEL = """\
A pixel may have several of the classes, and has none where there is no mask or shape: the model answers yes or no for
each. For one class a pixel, leave this line out, write `labels: {0: background, 1: FIRST, 2: SECOND ...}` and add
background to `classes`; of masks, `overlap: last` in the splits says that the later one counts."""

_REGIONS = """\
A pixel may have several of the classes, which lie within each other: a class is a region of several values of the label
files. Predicted label files get the values of `region_order`, class after class, the later over the earlier."""

_MASKS_UNITED = """\
One mask for each class: a pixel has the classes of all masks that are not 0 there. `ignore` is possible, too."""

_SCENES = """\
Windows of scenes. A share takes or leaves whole blocks, which no window of training leaves. An evaluation counts of
each window what is further than `margin` from its border, so that each pixel counts once."""

_SHARE = """\
Each file, or what belongs together (a volume, a patient of DICOM headers, `groups`), falls to a side by a hash of its
name: new files move no old one. Of a single volume or series a block of neighbours is taken."""

_CLASS_OF = """\
The label files say objects besides classes; `labels` lists what this makes of their values."""
_SHARES = """\
Of the labelled training pixels, as measured; what is chosen by them is said when a training begins."""
_ANNOTATIONS = """\
Shapes of an annotation tool, drawn when a sample is read, the later over the earlier: a shape has the value of its
class in `labels`, and where there is none the label is 0. `classes: {NAME: CLASS}` says what a tool's name means."""


def write_description(description: DataDescription, path: Path) -> None:
    """Write a description with comments that explain it; `read_description` gives an equal one back.

    Raises ValueError if the file cannot be written.
    """
    folder = Path(os.path.abspath(path)).parent
    try:
        write_text(path, render(description, folder))
    except OSError as error:
        raise ValueError(f"cannot write the data description {path}: {error.strerror or error}") from error


def render(description: DataDescription, folder: Path) -> str:
    """The text of a description file that will lie in `folder`."""
    names = description.classes
    lines = [*_comment(_HEAD), *(line for note in description.notes for line in _comment(note))]
    lines += [f"root: {_quoted(_root_text(description.root, folder))}", ""]
    if len(names) == 1:
        lines += _comment(_ONE_CLASS.format(name=_quoted(names[0])))
    elif len(names) == 2 and names[0] == "background":
        lines += _comment(_TWO_CLASSES.format(name=_quoted(names[1])))
    lines += _flow("classes", [_quoted(name) for name in names])
    if description.multi_label:
        lines += [*_comment(_MULTI_LABEL if description.regions is None else _REGIONS), "multi_label: true"]
    if description.regions is not None:
        lines += _region_lines(description.regions, names)
    if description.palette is not None:
        lines += _flow("palette", [f"[{r}, {g}, {b}]" for r, g, b in description.palette])
    if description.labels is not None:
        lines += ["", *_comment(_LABELS), "labels:"]
        lines += _label_lines(description.labels)
    if description.outside != "error":
        lines.append(f"outside: {description.outside}")
    if description.tolerance:
        lines += _comment(_TOLERANCE)
        lines.append(f"tolerance: {description.tolerance}")
    if description.class_of is not None:
        lines += _comment(_CLASS_OF)
        lines.append(f'class_of: "{description.class_of}"')
    lines += [f"ignore_index: {description.ignore_index}", "", *_image_lines(description), ""]
    if description.shares is not None:
        lines += _comment(_SHARES)
        lines += _flow(
            "shares", [f"{_quoted(name)}: {_number(share)}" for name, share in description.shares.items()], "{}"
        )
        lines.append("")
    if description.groups is not None:
        lines += [*_comment(_GROUPS), f"groups: {_quoted(description.groups)}"]
    if isinstance(description, MixedDescription):
        return "\n".join([*lines, *member_lines(description, _quoted, lambda one: render(one, folder))]) + "\n"
    lines.append("splits:")
    for split, rule in description.splits.items():
        lines += _split_lines(split, rule, united=description.multi_label)
    return "\n".join(lines) + "\n"


def _region_lines(regions: Regions, names: Sequence[str]) -> list[str]:
    ignored = [("ignore", regions.ignored)] if regions.ignored else []
    named = [*((_quoted(name), values) for name, values in zip(names, regions.values, strict=True)), *ignored]
    lines = ["regions:", *(f"  {name}: [{', '.join(map(str, values))}]" for name, values in named)]
    return [*lines, f"region_order: [{', '.join(map(str, regions.order))}]"]


def _label_lines(labels: Mapping[LabelValue, str]) -> list[str]:
    """A line for each value; three and more consecutive values of one name make a range."""
    runs: list[list[LabelValue]] = []
    for value, name in labels.items():
        last = runs[-1][-1] if runs else None
        if isinstance(value, int) and isinstance(last, int) and value == last + 1 and labels[last] == name:
            runs[-1].append(value)
        else:
            runs.append([value])
    lines = []
    for run in runs:
        keys = [f"{run[0]}-{run[-1]}"] if len(run) >= 3 else [_label_key(value) for value in run]
        lines += [f"  {key}: {_quoted(labels[run[0]])}" for key in keys]
    return lines


def _label_key(value: LabelValue) -> str:
    return str(value) if isinstance(value, int) else f'"{show_value(value)}"'


def _image_lines(description: DataDescription) -> list[str]:
    lines = ["image:"]
    if description.inputs:
        lines += input_lines(description.inputs)
    elif description.bands == "rgb":
        lines.append("  bands: rgb  # as 8-bit RGB, whatever the file holds: alpha dropped, grey repeated")
    else:
        lines.append("  bands: raw  # every band of the file in its own type")
    if not description.inputs:
        lines.append(f"  channels: {description.channels}")
    if any(description.names) and not description.inputs:
        named = ", ".join(_quoted(name) if name else '""' for name in description.names)
        lines.append(f"  names: [{named}]  # of the bands; those of files that say the same are found by them")
    if description.indices:
        lines.append("  indices:  # further channels, computed of the bands by their names")
        lines += [f"    {_quoted(name)}: {_quoted(text)}" for name, text in description.indices]
    if description.scale is not None:
        ends = (end if isinstance(end, str) else _number(end) for end in description.scale)
        lines.append(f"  scale: [{', '.join(ends)}]  # become 0 and 255; p1 is a percentile of each image or volume")
    for key, numbers in (("mean", description.mean), ("std", description.std)):
        if numbers is not None:
            lines.append(f"  {key}: [{', '.join(map(_number, numbers))}]")
    if description.values is not None:
        pairs = ", ".join(f"{key}: {value}" for key, value in description.values.to_json().items())
        lines.append(f"  values: {{{pairs}}}  # what the files hold; weights say it, and refuse images of others")
    return lines


def _split_lines(split: str, rule: Split, *, united: bool = False) -> list[str]:
    if isinstance(rule, ShareSplit):
        return [
            *(f"  {line}" for line in _comment(_SHARE)),
            f"  {split}: {{share: {rule.fraction!r}, of: {rule.of}, seed: {rule.seed}}}",
        ]
    if isinstance(rule, PairSplit):
        rows = [
            f"      - [{_quoted(image)}, {'null' if label is None else _quoted(label)}]" for image, label in rule.pairs
        ]
        return [f"  {split}:", "    pairs:", *rows]
    if isinstance(rule, ListSplit):
        entries = {"list": _quoted(rule.file)}
        if rule.where is not None:
            entries["where"] = _where(rule.where)
        if rule.missing != "error":
            entries["missing"] = rule.missing
        return [f"  {split}:", *(f"    {key}: {value}" for key, value in entries.items())]
    if isinstance(rule, JoinedSplit):
        parts = [
            _folder_lines(part, united)
            if isinstance(part, FolderSplit)
            else _scene_lines(part)
            if isinstance(part, SceneSplit)
            else _contained_lines(part)
            for part in rule.parts
        ]
        return [
            f"  {split}:",
            *(f"    {line}" for line in (_comment(_SCENES) if isinstance(rule.parts[0], SceneSplit) else ())),
            *(f"    {'- ' if not n else '  '}{line}" for lines in parts for n, line in enumerate(lines)),
        ]
    if isinstance(rule, SceneSplit):
        return [f"  {split}:", *(f"    {line}" for line in [*_comment(_SCENES), *_scene_lines(rule)])]
    if isinstance(rule, PackedSplit | TarSplit):
        return [f"  {split}:", *(f"    {line}" for line in _contained_lines(rule))]
    assert isinstance(rule, FolderSplit)
    return [f"  {split}:", *(f"    {line}" for line in _folder_lines(rule, united))]


def _contained_lines(rule: PackedSplit | TarSplit) -> list[str]:
    if isinstance(rule, PackedSplit):
        entries = {"packed": _quoted(rule.file), "part": _quoted(rule.part)}
    else:
        entries = {"layout": "tar", "shards": f"[{', '.join(map(_quoted, rule.shards))}]"}
        for key, suffixes in (("image_suffix", rule.image_suffix), ("label_suffix", rule.label_suffix)):
            if suffixes:
                entries[key] = f"[{', '.join(map(_quoted, suffixes))}]"
        if not rule.labels:
            entries["labels"] = "false"
        if rule.missing != "error":
            entries["missing"] = rule.missing
    if rule.names is not None:
        entries["list"] = _quoted(rule.names)
    return [f"{key}: {value}" for key, value in entries.items()]


def _scene_lines(rule: SceneSplit) -> list[str]:
    scenes = [_quoted(entry) for entry in rule.scenes]
    entries = {"scenes": scenes[0] if len(scenes) == 1 else f"[{', '.join(scenes)}]"}
    texts = (("labels", rule.labels), ("layer", rule.layer), ("column", rule.column), ("areas", rule.areas))
    entries |= {key: _quoted(text) for key, text in texts if text}
    if rule.classes:
        entries["classes"] = f"{{{', '.join(f'{_quoted(says)}: {_quoted(own)}' for says, own in rule.classes)}}}"
    if rule.where is not None:
        entries["where"] = _where(rule.where)
    if rule.exclude:
        entries["exclude"] = f"[{', '.join(_quoted(name) for name in rule.exclude)}]"
    entries |= {"window": str(rule.window), "margin": str(rule.margin), "block": str(rule.block or "scene")}
    if rule.missing != "error":
        entries["missing"] = rule.missing
    if rule.names is not None:
        entries["list"] = f"{_quoted(rule.names)}  # of blocks, as SCENE/ROW_COLUMN"
    if rule.gap:
        entries["gap"] = f"{rule.gap}  # pixels around blocks of other parts, of which nothing is learned"
    return [f"{key}: {value}" for key, value in entries.items()]


def _folder_lines(rule: FolderSplit, united: bool) -> list[str]:
    source = rule.source
    entries: dict[str, str] = {"images": _quoted(source.images)}
    if source.partners:
        others = "".join(f", {rule.class_name}: {_quoted(str(rule))}" for rule in source.partners)
        first = source.images
        if first.endswith("*"):  # as the last part, it would stand for the names of files
            first = PurePosixPath(first, f"{source.image_prefix}*{source.image_suffix[0]}").as_posix()
        entries["images"] = f"{{{source.input_name}: {_quoted(first)}{others}}}"
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
    if source.slices:
        entries["slices"] = f"{source.slices}  # of volumes, along this axis; the slices of a file stay together"
    if source.empty_slices != "keep":
        entries["empty_slices"] = source.empty_slices
    if source.overlap != "error":
        entries["overlap"] = source.overlap
    if rule.names is not None:
        entries["list"] = _quoted(rule.names)
    if rule.where is not None:
        entries["where"] = _where(rule.where)
    if rule.exclude:
        entries["exclude"] = f"[{', '.join(_quoted(name) for name in rule.exclude)}]"
    if rule.missing != "error":
        entries["missing"] = rule.missing
    lines = [f"{key}: {value}" for key, value in entries.items()]
    return [*lines, *_mask_lines(source.masks, united), *_annotation_lines(source.annotations)]


def _where(where: tuple[str, str]) -> str:
    return f"{{{_quoted(where[0])}: {_quoted(where[1])}}}"


def _mask_lines(masks: Sequence[MaskRule], united: bool) -> list[str]:
    if not masks:
        return []
    by_class: dict[str, list[str]] = {}
    for rule in masks:
        by_class.setdefault(rule.class_name, []).append(_quoted(str(rule)))
    rows = [f"  {_quoted(name)}: {p[0] if len(p) == 1 else '[' + ', '.join(p) + ']'}" for name, p in by_class.items()]
    return [*_comment(_MASKS_UNITED if united else _MASKS), "labels:", *rows]


def _annotation_lines(source: AnnotationSource | None) -> list[str]:
    if source is None:
        return []
    place = "folder" if FORMATS[source.format].per_image else "file"
    entries = {"format": source.format, place: _quoted(source.path)}
    if source.names:
        entries["names"] = _quoted(source.names)
    if source.subset:
        entries["subset"] = _quoted(source.subset)
    if source.classes:
        entries["classes"] = "{" + ", ".join(f"{_quoted(tool)}: {_quoted(own)}" for tool, own in source.classes) + "}"
    lines = [f"  {key}: {value}" for key, value in entries.items()]
    return [*_comment(_ANNOTATIONS), "annotations:", *lines]


def _root_text(root: Path, folder: Path) -> str:
    """Relative where one folder contains the other, so that both can be moved together; absolute otherwise."""
    root = Path(os.path.abspath(root))
    if root == folder or root in folder.parents or folder in root.parents:
        return Path(os.path.relpath(root, folder)).as_posix()
    return root.as_posix()


def _flow(key: str, entries: Sequence[str], brackets: str = "[]") -> list[str]:
    """``key: [a, b]``, wrapped between entries."""
    lines, line = [], f"{key}: {brackets[0]}"
    for index, entry in enumerate(entries):
        text = entry + (brackets[1] if index == len(entries) - 1 else ", ")
        if len(line) + len(text) > _WIDTH:
            lines.append(line.rstrip())
            line = "  "
        line += text
    return [*lines, line]


def _number(value: float) -> str:
    """All its digits, and never as 1e-05, which YAML takes for text."""
    return np.format_float_positional(value, trim="0")


def _comment(text: str) -> list[str]:
    text = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
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
