"""How label files write their values: where files of one set differ in it, or say themselves what means nothing.

Palettes that differ from file to file, numbers beside colours, masks of 0/1 beside masks of 0/255, declared no-data
values, negative numbers: what can be told is resolved here, before values are given names, and said; what cannot is a
problem.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from intarsia.data.description.model import LabelValue, show_value
from intarsia.data.doctor.findings import Finding
from intarsia.data.doctor.measure import Measured, Moments, combine, count_values
from intarsia.data.doctor.measure_labels import LabelFacts
from intarsia.data.labels import Colour

_MOST_COLOURS = 64
_WORTH_A_CLASS = 0.005
_TOP = (255, 65535)


@dataclass(slots=True)
class Encoding:
    """How the values of a set are to be read.

    counts: pixels of every value that may be a class. same: value -> the value of another encoding that it equals.
    ignored: values that the files themselves, or their sign, say to mean nothing.
    """

    counts: Counter[LabelValue]
    same: dict[LabelValue, LabelValue] = field(default_factory=dict)
    ignored: tuple[LabelValue, ...] = ()
    notes: list[str] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)

    def complete(self, labels: Mapping[LabelValue, str], ignore: str) -> dict[LabelValue, str]:
        """A table for `counts` with the other values added."""
        table = dict(labels)
        for value, equal in self.same.items():
            if equal in table:
                table[value] = table[equal]
        table.update(dict.fromkeys(self.ignored, ignore))
        return table


def read_encoding(measured: Sequence[Measured]) -> Encoding:
    """What the values of all label files have in common; `measured` is changed where palettes are to be looked up."""
    problems, warnings = _unify_colours(measured)
    encoding = Encoding(count_values(measured), warnings=warnings, problems=problems)
    labels = [entry.label for entry in measured if entry.label is not None]
    _take_out_nodata(encoding, labels)
    _take_out_negative(encoding)
    _join_binary(encoding, labels)
    return encoding


# --- Palettes and colours -----------------------------------------------------------------------------------------


def look_up_palettes(measured: Sequence[Measured]) -> None:
    """Read palette files as the colours that they show, and grey colour files likewise."""
    for entry in measured:
        if entry.label is None:
            continue
        if entry.label.palette is not None:
            _rename(entry, dict(enumerate(entry.label.palette)))
        elif entry.label.grey:
            _rename(entry, {value: (value, value, value) for value in entry.label.values if isinstance(value, int)})


def _unify_colours(measured: Sequence[Measured]) -> tuple[list[Finding], list[Finding]]:
    """One kind of value for all files: (problems, warnings)."""
    labels = [entry.label for entry in measured if entry.label is not None]
    with_colours = any(isinstance(value, tuple) for label in labels for value in label.values)
    differing = _differing_palettes(labels)
    if differing is not None and not with_colours and not _recurring(labels):
        text = f"the same index has different colours in different files ({differing}), and the colours do not recur"
        return [Finding("palettes differ", text, "save the labels again with one palette, or without any")], []
    if not with_colours and differing is None:
        return [], []
    look_up_palettes(measured)
    warnings = []
    if differing is not None:
        text = f"palettes differ from file to file ({differing}), so the colours are read, not the indices"
        warnings.append(Finding("palettes differ", text, "save the labels again with one palette, if that is wrong"))
    colours = {value for label in labels for value in label.values if isinstance(value, tuple)}
    grey = [e for e in measured if e.label is not None and any(isinstance(value, int) for value in e.label.values)]
    for entry in grey:
        assert entry.label is not None
        same = {value: (value, value, value) for value in entry.label.values if isinstance(value, int)}
        if set(same.values()) <= colours:
            _rename(entry, same)
    left = [e.pair.label or "" for e in grey if e.label and any(isinstance(value, int) for value in e.label.values)]
    if not left:
        return [], warnings
    text = f"{len(left)} label files hold numbers, {len(labels) - len(left)} hold colours"
    advice = 'convert them to one kind, or write both in `labels`: 1: leaf and "#ff0000": leaf'
    return [Finding("numbers and colours", text, advice, tuple(left))], warnings


def _differing_palettes(labels: Sequence[LabelFacts]) -> str | None:
    """An index that occurs with two colours, in words; None if the palettes agree in what is used."""
    seen: dict[LabelValue, Colour] = {}
    for label in labels:
        for index in label.values if label.palette is not None else ():
            assert label.palette is not None
            if isinstance(index, int) and index < len(label.palette):
                colour = label.palette[index]
                if seen.setdefault(index, colour) != colour:
                    return f"index {index} is {show_value(seen[index])} and {show_value(colour)}"
    return None


def _recurring(labels: Sequence[LabelFacts]) -> bool:
    """Whether the colours of palettes come back from file to file, as those of classes do."""
    files: Counter[Colour] = Counter()
    pixels: Counter[Colour] = Counter()
    for label in labels:
        own: Counter[Colour] = Counter()
        for index, count in label.values.items():
            if label.palette is not None and isinstance(index, int) and index < len(label.palette):
                own[label.palette[index]] += count
        files.update(own.keys())
        pixels.update(own)
    main = [colour for colour, count in pixels.items() if count >= _WORTH_A_CLASS * pixels.total()]
    once = [colour for colour in main if files[colour] == 1]
    return len(pixels) <= _MOST_COLOURS and (2 * len(once) < len(main) or len(main) <= 2)


def _rename(entry: Measured, names: Mapping[int, Colour]) -> None:
    """Give the values of a file other names, in its counts and in the statistics of the image."""
    assert entry.label is not None

    def of(value: LabelValue) -> LabelValue:
        return names.get(value, value) if isinstance(value, int) else value

    counts: Counter[LabelValue] = Counter()
    for value, count in entry.label.values.items():
        counts[of(value)] += count
    entry.label.values = dict(counts)
    groups: dict[LabelValue | None, list[Moments]] = defaultdict(list)
    for key, moments in entry.moments.items():
        groups[None if key is None else of(key)].append(moments)
    entry.moments = {key: joined for key, found in groups.items() if (joined := combine(found)) is not None}


# --- Numbers ------------------------------------------------------------------------------------------------------


def _take_out_nodata(encoding: Encoding, labels: Sequence[LabelFacts]) -> None:
    """Values that files declare as no data are ignored, unless nothing but one class would be left."""
    declared = {label.nodata for label in labels if label.nodata is not None} & set(encoding.counts)
    if not declared:
        return
    left = set(encoding.counts) - declared
    shown = ", ".join(show_value(value) for value in sorted(declared))
    if len(left) < 2:
        text = f"{shown} is declared as no data, but nothing but one class would be left without it: taken as a value"
        encoding.warnings.append(Finding("no data", text, "write `ignore` for it in `labels` if that is wrong"))
        return
    silent = [label for label in labels if label.nodata is None and declared & set(label.values)]
    if silent:
        text = f"{shown} is ignored: some label files declare it as no data, {len(silent)} hold it without doing so"
        encoding.warnings.append(Finding("no data", text, "give it a class in `labels` if it is one"))
    else:
        encoding.notes.append(f"{shown} is ignored: the label files declare it as no data")
    encoding.ignored += tuple(sorted(declared))
    for value in declared:
        del encoding.counts[value]


def _take_out_negative(encoding: Encoding) -> None:
    negative = sorted(value for value in encoding.counts if isinstance(value, int) and value < 0)
    if negative and len(negative) < len(encoding.counts):
        shown = ", ".join(map(str, negative[:6])) + (" ..." if len(negative) > 6 else "")
        encoding.notes.append(f"{shown} is ignored: negative numbers stand for no class")
        encoding.ignored += tuple(negative)
        for value in negative:
            del encoding.counts[value]


def _join_binary(encoding: Encoding, labels: Sequence[LabelFacts]) -> None:
    """Files of 0, 1 ... and others of 0, 255 (or evenly spaced greys up to it) mean the same by both."""
    values = {value for value in encoding.counts if isinstance(value, int)} - {0}
    if len(values) != len(encoding.counts) - (0 in encoding.counts):
        return
    for top in _TOP:
        low = sorted(values - {v for v in values if v > len(values)})
        high = sorted(values - set(low))
        if not low or low != list(range(1, len(low) + 1)) or len(low) != len(high) or high[-1] != top:
            continue
        if any(abs(value - top * index / len(high)) > 1 for index, value in enumerate(high, 1)):
            continue
        kinds = [(bool(set(low) & set(label.values)), bool(set(high) & set(label.values))) for label in labels]
        if any(a and b for a, b in kinds):
            return
        text = (
            f"{sum(a for a, _ in kinds)} label files hold {_listed(low)}, {sum(b for _, b in kinds)} hold "
            f"{_listed(high)}, none both: taken as two ways to write the same"
        )
        advice = "if 255 is a border or unlabelled, write `255: ignore` in `labels`" if top == 255 else ""
        encoding.warnings.append(Finding("two encodings", text, advice))
        for one, other in zip(low, high, strict=True):
            encoding.same[other] = one
            encoding.counts[one] += encoding.counts.pop(other)
        return


def _listed(values: Sequence[int]) -> str:
    return " and ".join(map(str, values)) if len(values) < 3 else f"{values[0]} to {values[-1]}"
