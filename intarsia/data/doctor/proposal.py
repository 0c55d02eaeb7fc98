"""From the values that label files hold to a proposal of classes and a label table.

Every decision that a person might have taken otherwise is said in `notes`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from intarsia.data.description.model import BACKGROUND, IGNORE, LabelValue, default_colours, show_value
from intarsia.data.description.splits import FolderSplit, OwnSplit
from intarsia.data.doctor.affixes import words
from intarsia.data.doctor.annotated import Annotated
from intarsia.data.doctor.blurred import blurred_colours, blurred_mask, blurred_numbers
from intarsia.data.doctor.class_masks import ClassMasks
from intarsia.data.doctor.encodings import Encoding
from intarsia.data.doctor.findings import Finding
from intarsia.data.doctor.folders import role_of, split_of
from intarsia.data.doctor.legend import Legend
from intarsia.data.doctor.measure import Measured, count_inner
from intarsia.data.doctor.table import COLOUR_NAMES, TableProposal
from intarsia.data.labels import Colour, nearest, ranges

FOREGROUND = "foreground"

_WIDE_BORDER = 0.2
_UNCOVERED = 0.01
"""A share of the pixels that shapes may leave by mistake where a tool labels everything."""
_RELEASE = re.compile(r"[A-Za-z]+20\d\d(?!\d)")
_EMPTY_WORDS = (
    "dir",
    "dirs",
    "folder",
    "file",
    "files",
    "data",
    "raw",
    "png",
    "pngs",
    "jpg",
    "tif",
    "set",
    "final",
    "new",
    "task",
    "part",
    "phase",
)


def propose_table(
    measured: Sequence[Measured],
    encoding: Encoding,
    legend: Legend | None,
    rule: OwnSplit,
    palette: Sequence[Colour] | None,
) -> TableProposal:
    """The table for the values found.

    encoding: how they are to be read. legend: names, if any were found. rule: its label folder may name a foreground.
    palette: that the label files share.

    Raises:
        ValueError: no label could be read.
    """
    counts = encoding.counts
    if not counts:
        raise ValueError("no label could be read, so there is nothing to propose")
    if legend is not None:
        proposal = _from_legend(legend, counts)
    else:
        proposal = _without_names(measured, counts, _foreground_name(rule))
    proposal = _with_palette(proposal, palette)
    return replace(
        proposal,
        labels=encoding.complete(proposal.labels, IGNORE),
        notes=(*encoding.notes, *proposal.notes),
        warnings=(*encoding.warnings, *proposal.warnings),
        problems=(*encoding.problems, *proposal.problems),
    )


def table_of_masks(masks: ClassMasks) -> TableProposal:
    """The table of labels that are merged from a mask for each class."""
    background = (BACKGROUND,) if BACKGROUND in masks.labels.values() else ()
    classes = tuple(dict.fromkeys((*background, *(name for name in masks.classes if name != IGNORE))))
    return TableProposal(classes, masks.labels, default_colours(classes))


def table_of_shapes(annotated: Annotated, measured: Sequence[Measured]) -> TableProposal:
    """The table of labels that are drawn from annotations: where no shape is, the label is 0."""
    names = [name for name in annotated.classes if name not in (BACKGROUND, IGNORE)]
    counts = Counter[LabelValue]()
    for entry in measured:
        counts.update(entry.label.values if entry.label is not None else {})
    left = counts[0] / max(counts.total(), 1)
    ignored: dict[LabelValue, str] = {annotated.class_values.ignored: IGNORE}
    own = annotated.class_values.values.get(BACKGROUND)
    if own is not None or (left < _UNCOVERED and len(names) > 1):
        why = (
            "the background has shapes of its own" if own is not None else f"shapes cover {1 - left:.1%} of the pixels"
        )
        note = f"{why}, so what no shape covers is ignored; `0: background` in `labels` makes it background"
        classes = (*([BACKGROUND] if own is not None else []), *names)
        nothing = IGNORE
    else:
        note = (
            "what no shape covers is background, in images without any shape, too; `0: ignore` in `labels` ignores it"
        )
        classes = (BACKGROUND, *names)
        nothing = BACKGROUND
    labels: dict[LabelValue, str] = {0: nothing, **{v: n for n, v in annotated.class_values.values.items()}, **ignored}
    return TableProposal(classes, labels, default_colours(classes), notes=(note,))


def _without_names(measured: Sequence[Measured], counts: Counter[LabelValue], name: str) -> TableProposal:
    numbers = {value: count for value, count in counts.items() if isinstance(value, int)}
    if len(numbers) < len(counts):
        return blurred_colours(measured, counts) or _from_colours(counts, name)
    blurred = blurred_mask(numbers, count_inner(measured), name) or blurred_numbers(measured, numbers)
    return blurred or _from_numbers(measured, numbers, name)


# --- Kinds of labels ----------------------------------------------------------------------------------------------


def _from_legend(legend: Legend, counts: Counter[LabelValue]) -> TableProposal:
    classes = tuple(dict.fromkeys(name for name in legend.names.values() if name != IGNORE))
    notes = [f"the names of the classes come from {legend.source}"]
    ignored = [value for value, name in legend.names.items() if name == IGNORE and counts[value]]
    if ignored:
        notes.append(f"{_listed(ignored)} is ignored, by the same source")
    known = {name: legend.palette[name] for name in classes if name in legend.palette}
    palette = tuple(known[name] for name in classes) if len(known) == len(classes) else default_colours(classes)
    ordered = sorted(legend.names.items(), key=lambda item: item[0] if isinstance(item[0], tuple) else (-1, item[0], 0))
    return TableProposal(
        classes,
        dict(ordered),
        palette,
        legend.outside,
        legend.tolerance,
        notes=tuple(notes),
        warnings=legend.guesses,
        blurred=bool(legend.tolerance),
        main=tuple(value for value in counts if nearest(value, legend.names, legend.tolerance) is not None),
    )


def _from_numbers(measured: Sequence[Measured], counts: Mapping[int, int], name: str) -> TableProposal:
    values = sorted(counts)
    marks = [value for value in (255, 65535) if value in counts and not {value - 1, value + 1} & set(values)]
    others = [value for value in values if value not in marks]
    if len(values) <= 2:
        return _two_values(values, name)
    ignored = [value for value in values if value not in others]
    notes = []
    if ignored and _is_grey_coded(values):
        notes.append(f"the values {ranges(values)} are evenly spaced greys, so {ignored[0]} is taken for a class")
        others, ignored = values, []
    if len(others) == 2:
        notes.append(
            f"{ignored[0]} is ignored: {others[0]} and {others[1]} make two classes already, so it is a border"
        )
        labels = {**_two_values(others, name).labels, ignored[0]: IGNORE}
        warnings = _doubtful_border(measured, counts, others[1], ignored[0])
        return TableProposal((BACKGROUND, name), labels, notes=tuple(notes), warnings=warnings)
    if ignored:
        notes.append(f"{ranges(ignored)} is ignored: beside {len(others)} other values it marks what nobody labelled")
    names: dict[LabelValue, str] = {value: f"class_{value}" for value in others}
    gaps = sorted(set(range(max(others) + 1)) - set(others)) if max(others) < 1024 else []
    if gaps:
        which = f"the values {ranges(gaps)}" if len(gaps) <= 20 else f"{len(gaps)} values below {max(others)}"
        notes.append(
            f"{which} do not occur: class indices have no gaps, the names keep the file values; "
            "list the missing ones too if other data has them"
        )
    notes.append(
        "the classes have no names of their own: put a classes.txt beside the data (a name a line, counting from 0), "
        "or edit `classes` and `labels` alike; if a value means nothing (0 or the last one often does), write ignore"
    )
    return TableProposal(tuple(names.values()), {**names, **dict.fromkeys(ignored, IGNORE)}, notes=tuple(notes))


def _doubtful_border(
    measured: Sequence[Measured], counts: Mapping[int, int], foreground: int, border: int
) -> tuple[Finding, ...]:
    """A border lies beside the class, in the same files, and is thin; else it may be another way to write the class."""
    held = [entry.label.values for entry in measured if entry.label is not None and border in entry.label.values]
    alone = sum(foreground not in values for values in held)
    if 2 * alone <= len(held) and counts[border] <= counts[foreground] + _WIDE_BORDER * sum(counts.values()):
        return ()
    text = f"{border} is ignored as a border, but {alone} of the {len(held)} label files with it hold no {foreground}"
    advice = f"write `{border}: {{the class of {foreground}}}` in `labels` if it means the same"
    return (Finding("doubtful border", text, advice.replace("{", "").replace("}", "")),)


def _two_values(values: Sequence[int], name: str) -> TableProposal:
    """A mask: the lower value is the background. {0, 255} has no room for "ignore"."""
    low, high = (values[0], values[1]) if len(values) == 2 else (0, values[0] or 1)
    notes = []
    if high == 255:
        notes.append("255 is the second class, not ignore: the labels hold two values only")
    notes.append(f"two values: background and {name}; rename `{name}`, or exchange the two lines of `labels`")
    return TableProposal((BACKGROUND, name), {low: BACKGROUND, high: name}, notes=tuple(notes))


def _from_colours(counts: Counter[LabelValue], name: str) -> TableProposal:
    values = sorted(counts, key=lambda value: value if isinstance(value, tuple) else (-1, value, 0))
    if len(values) == 1:
        values = sorted([*values, (255, 255, 255) if values[0] == (0, 0, 0) else (0, 0, 0)])
    if len(values) == 2:
        names = dict(zip(values, (BACKGROUND, name), strict=True))
    else:
        names = {
            value: (COLOUR_NAMES.get(value, f"class_{number}") if isinstance(value, tuple) else f"class_{value}")
            for number, value in enumerate(values)
        }
    palette = [value if isinstance(value, tuple) else (value, value, value) for value in values]
    notes = ["the labels are colours; each becomes a class: rename them, or write ignore for what means nothing"]
    return TableProposal(tuple(names.values()), names, tuple(palette), notes=tuple(notes))


def _is_grey_coded(values: Sequence[int]) -> bool:
    """Whether few values divide 0 to 255 evenly: 0, 128, 255 or 0, 85, 170, 255."""
    if not 3 <= len(values) <= 9:
        return False
    step = 255 / (len(values) - 1)
    return all(abs(value - index * step) <= 2 for index, value in enumerate(values))


def _with_palette(proposal: TableProposal, palette: Sequence[Colour] | None) -> TableProposal:
    """Colours for the classes: of the label files' own palette where they differ, else distinct ones."""
    if proposal.palette is not None:
        return proposal
    colours = default_colours(proposal.classes)
    first = {name: value for value, name in reversed(list(proposal.labels.items()))}
    values = [first[name] for name in proposal.classes]
    if palette is not None:
        own = [palette[value] for value in values if isinstance(value, int) and value < len(palette)]
        if len(set(own)) == len(proposal.classes):
            colours = tuple(own)
    return replace(proposal, palette=colours)


def _foreground_name(rule: OwnSplit) -> str:
    """What the label folder or suffix says besides "mask" and "train": "crack_masks" -> crack."""
    if not isinstance(rule, FolderSplit) or rule.source.labels is None:
        return FOREGROUND
    source = rule.source
    assert source.labels is not None
    last = PurePosixPath(source.labels).name if source.labels not in (".", "*") else ""
    for text in (PurePosixPath(source.label_suffix[0]).stem if "_" in source.label_suffix[0] else "", last):
        left = [word for word in words(text) if role_of(word)[0] == "none" and split_of(word) is None]
        releases = words(" ".join(_RELEASE.findall(text)))  # ISIC2018 says who and when, and not what
        truth = ("ground",) if {"truth", "truths"} & {*words(text)} else ()  # "Ground Truth" is about no ground
        left = [word for word in left if word not in (*_EMPTY_WORDS, *releases, *truth)]
        if 1 <= len(left) <= 2 and all(len(word) >= 3 for word in left) and len(words(text)) > len(left):
            return "_".join(left)
    return FOREGROUND


def _listed(values: Iterable[LabelValue]) -> str:
    return ", ".join(show_value(value) for value in values)
