"""Which class list beside the data fits the values of the labels, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from intarsia.data.description.model import BACKGROUND, IGNORE, LabelValue, show_value
from intarsia.data.doctor.class_lists import ClassEntry, ClassList, class_list_files, is_told_by_name, read_class_list
from intarsia.data.doctor.class_trees import NoClassListError
from intarsia.data.doctor.findings import Finding
from intarsia.data.doctor.legend import Legend
from intarsia.data.labels import Colour, nearest

_MARKS = (255, 65535)
_VOC_BORDER = (224, 224, 192)
_MOSTLY = 0.5
_BLURRED = 0.995
_TOLERANCES = (8, 16, 32, 48)
_MOST_NEAR, _HALF_WAY = 0.8, 127
"""If so much lies near the listed colours, thin areas and edges are in between, and count as the nearest."""
_WAY_OUT = "write the values in `labels` (`--write data.yaml`)"


def find_legend(
    root: Path,
    others: Iterable[str],
    counts: Counter[LabelValue],
    *,
    stems: frozenset[str] = frozenset(),
    palette: Sequence[Colour] | None = None,
) -> tuple[Legend | None, list[Finding]]:
    """The class list that fits the label values best, and what to say of the others.

    others: files below the root that are no images. counts: pixels of every value. stems: names of the images.
    palette: of the label files, if they share one.
    """
    found: list[Legend] = []
    unfit: list[Finding] = []
    for file in class_list_files(root, others):
        try:
            classes = read_class_list(root, file, stems)
        except NoClassListError as reason:
            if is_told_by_name(file) and not reason.is_other:
                unfit.append(_unread(f"{file} could not be read as a class list: {reason}"))
            continue
        legend = fit_legend(classes, counts, palette)
        if isinstance(legend, Legend):
            found.append(legend)
        elif is_told_by_name(file):
            unfit.append(_unread(f"{file} is not used as the class list: {legend}"))
    if not found:
        return None, unfit
    best = min(found, key=lambda legend: (not legend.is_explicit, bool(legend.guesses)))
    rivals = [legend for legend in found if legend is not best and _disagree(best, legend, counts)]
    return best, [
        Finding("class lists disagree", f"{rival.source} gives other names than {best.source}, which is believed")
        for rival in rivals[:3]
    ]


def _unread(text: str) -> Finding:
    return Finding("class list not used", text, "correct it, or " + _WAY_OUT)


def _disagree(one: Legend, other: Legend, counts: Counter[LabelValue]) -> bool:
    return any(one.names.get(value) != other.names.get(value) for value in counts)


def fit_legend(
    classes: ClassList, counts: Counter[LabelValue], palette: Sequence[Colour] | None = None
) -> Legend | str:
    """The names of the values by a class list; or why it does not fit them, in words."""
    values = set(counts)
    source = f"the class list {classes.file}"
    colours = {entry.name: entry.colour for entry in classes.entries if entry.colour is not None}
    shown = {name: colour for name, colour in colours.items() if name != IGNORE}
    if any(isinstance(value, int) for value in values) and not all(isinstance(value, int) for value in values):
        return "the labels hold both numbers and colours"
    if all(isinstance(value, int) for value in values):
        result = _of_numbers(classes, counts, palette)
    else:
        result = _of_colours(classes.entries, counts)
    if isinstance(result, str):
        return result
    legend = replace(result, source=source, palette=shown)
    names = set(legend.names.values()) - {IGNORE}
    if not names or names == {BACKGROUND}:
        return "it names no class of theirs"
    return legend


# --- Numbers ------------------------------------------------------------------------------------------------------


def _of_numbers(classes: ClassList, counts: Counter[LabelValue], palette: Sequence[Colour] | None) -> Legend | str:
    entries = classes.entries
    reasons = []
    if all(entry.number is not None for entry in entries):
        table: dict[LabelValue, str] = {entry.number: entry.name for entry in entries if entry.number is not None}
        found = _accepted(table, counts)
        if isinstance(found, Legend):
            return replace(found, is_explicit=True)
        reasons.append(found)
    if all(entry.colour is not None for entry in entries):
        for named in (_grey_table(entries), _palette_table(entries, counts, palette)):
            found = _accepted(named, counts) if named else "its colours are not those of the labels"
            if isinstance(found, Legend):
                return replace(found, is_explicit=True)
            reasons.append(found)
        if palette is not None:
            return reasons[0]
    if any(entry.number is not None for entry in entries):
        return reasons[0] if reasons else "some of its classes have numbers, others have none"
    return _by_position(classes, counts)


def _accepted(table: Mapping[LabelValue, str], counts: Counter[LabelValue]) -> Legend | str:
    """The table completed by values that need no name: marks like 255, and 0 where it counts from 1."""
    values = set(counts)
    if len(table) == 2 and values == {0, 255} and set(table) == {0, 1}:
        table = {0: table[0], 255: table[1]}
    missing = values - set(table)
    marks = missing & set(_MARKS)
    extra: dict[LabelValue, str] = dict.fromkeys(sorted(marks, key=show_value), IGNORE)
    guesses: tuple[Finding, ...] = ()
    if 0 in missing and min((value for value in table if isinstance(value, int)), default=0) == 1:
        extra[0], guesses = _unnamed(0, table, counts)
    unnamed = missing - set(extra)
    if unnamed:
        known = ", ".join(f"{show_value(value)} {name}" for value, name in list(table.items())[:4])
        return f"it has no name for {_listed(unnamed)}; it says {known}" + (" ..." if len(table) > 4 else "")
    if not values & set(table):
        return "none of its values occurs"
    return Legend({**extra, **table}, "", guesses=guesses)


def _unnamed(
    value: LabelValue, table: Mapping[LabelValue, str], counts: Counter[LabelValue]
) -> tuple[str, tuple[Finding, ...]]:
    """What a value without a name means that may be the background: that, or nothing."""
    names = set(table.values()) - {IGNORE}
    share = counts[value] / max(1, counts.total())
    role = BACKGROUND if BACKGROUND not in names and (len(names) == 1 or share > _MOSTLY) else IGNORE
    if len(names) == 1:
        return role, ()
    other = IGNORE if role == BACKGROUND else "a class such as background"
    text = f"{show_value(value)} has no name in the class list and covers {share:.0%} of the pixels: taken as {role}"
    return role, (Finding("name guessed", text, f"write `{show_value(value)}: {other}` in `labels` if that is wrong"),)


def _grey_table(entries: Sequence[ClassEntry]) -> dict[LabelValue, str]:
    """Grey colours stand for the numbers that grey files hold."""
    greys = [entry.colour for entry in entries if entry.colour is not None and len(set(entry.colour)) == 1]
    return {entry.colour[0]: entry.name for entry in entries if entry.colour} if len(greys) == len(entries) else {}


def _palette_table(
    entries: Sequence[ClassEntry], counts: Counter[LabelValue], palette: Sequence[Colour] | None
) -> dict[LabelValue, str]:
    """Colours stand for the indices that have them in the palette of the label files."""
    by_colour = {entry.colour: entry.name for entry in entries}
    table: dict[LabelValue, str] = {
        value: by_colour[palette[value]]
        for value in counts
        if palette is not None and isinstance(value, int) and 0 <= value < len(palette) and palette[value] in by_colour
    }
    left = {name for name in by_colour.values() if name not in table.values()}
    for index, colour in enumerate(palette or ()):  # classes that do not occur, by the first index of their colour
        if colour in by_colour and by_colour[colour] in left and index not in table:
            table[index] = by_colour[colour]
            left.discard(by_colour[colour])
    return table if counts.keys() & table.keys() else {}


def _by_position(classes: ClassList, counts: Counter[LabelValue]) -> Legend | str:
    """Names without numbers count from 0; from 1 where only that fits and 0 may be a background."""
    names = [entry.name for entry in classes.entries]
    numbers = {value for value in counts if isinstance(value, int)}
    plain = numbers - set(_MARKS) if len(names) < 255 else numbers
    highest = max(plain, default=0)
    has_background = BACKGROUND in names
    from_zero: dict[LabelValue, str] = dict(enumerate(names))
    guesses: list[Finding] = []
    if any(entry.colour is not None for entry in classes.entries):
        text = f"{classes.file} gives colours, but the labels hold numbers: its lines are counted from 0"
        guesses.append(Finding("names guessed", text, f"if that is wrong, {_WAY_OUT}"))
    if len(names) == 2 and numbers == {0, 255}:
        return Legend({0: names[0], 255: names[1]}, "", guesses=tuple(guesses))
    if len(names) == 1 and not has_background and len(numbers) == 2 and min(numbers) == 0:
        return Legend({0: BACKGROUND, max(numbers): names[0]}, "", guesses=tuple(guesses))
    if highest < len(names):
        if not has_background and not classes.counts_from_zero and highest < len(names) - 1 and len(plain) > 1:
            text = f"{classes.file} gives no numbers and counts from 0; {len(names) - 1} ({names[-1]}) does not occur"
            advice = "if 0 is a background without a name, write `background` as its first line"
            guesses.append(Finding("names guessed", text, advice))
        found = _accepted(from_zero, counts)
        return found if isinstance(found, str) else replace(found, guesses=(*found.guesses, *guesses))
    if highest == len(names) and not has_background:
        text = f"{classes.file} names {len(names)} classes, no background; the labels hold 0-{highest}: counted from 1"
        advice = "write `background` (or another name for 0) as its first line"
        table: dict[LabelValue, str] = {0: BACKGROUND, **{number + 1: name for number, name in enumerate(names)}}
        found = _accepted(table, counts)
        guess = Finding("names guessed", text, advice)
        return found if isinstance(found, str) else replace(found, guesses=(guess, *guesses))
    if len(names) == len(numbers) and _are_even(sorted(numbers)):
        text = f"{classes.file} names as many classes as the labels have evenly spaced greys; taken in that order"
        table = dict(zip(sorted(numbers), names, strict=True))
        return Legend(table, "", guesses=(Finding("names guessed", text, f"if that is wrong, {_WAY_OUT}"), *guesses))
    return f"it names {len(names)} classes, the labels hold {_listed(numbers)}"


def _are_even(values: Sequence[int]) -> bool:
    step = 255 / max(1, len(values) - 1)
    return len(values) > 2 and all(abs(value - index * step) <= 2 for index, value in enumerate(values))


# --- Colours ------------------------------------------------------------------------------------------------------


def _of_colours(entries: Sequence[ClassEntry], counts: Counter[LabelValue]) -> Legend | str:
    table: dict[LabelValue, str] = {entry.colour: entry.name for entry in entries if entry.colour is not None}
    if not table:
        return "it gives no colours, and the labels hold colours"
    if len(table) < len(entries):
        return "some of its classes have colours, others have none"
    reversed_table: dict[LabelValue, str] = {
        value[::-1]: name for value, name in table.items() if isinstance(value, tuple)
    }
    found = _accepted_colours(table, counts)
    if isinstance(found, Legend):
        return found
    other = _accepted_colours(reversed_table, counts)
    if isinstance(other, Legend):
        text = "the labels hold the colours of the class list with red and blue exchanged; taken so"
        guess = Finding("colours guessed", text, "save the labels as RGB")
        return replace(other, guesses=(guess, *other.guesses))
    return found


def _accepted_colours(table: Mapping[LabelValue, str], counts: Counter[LabelValue]) -> Legend | str:
    """The table completed by black and a known border, and by colours that are near a listed one."""
    missing = set(counts) - set(table)
    extra: dict[LabelValue, str] = {}
    guesses: tuple[Finding, ...] = ()
    if not set(counts) & set(table):
        return f"none of its colours occurs in the labels, which hold {_listed(missing)}"
    tolerance = _near(table, counts, missing)
    if tolerance is not None:
        text = (
            f"the labels hold {len(missing)} colours besides those of the class list, as JPEG or smoothing leaves them"
        )
        guess = Finding("anti-aliased labels", f"{text}: near ones are joined, others ignored", "save labels as PNG")
        return Legend(table, "", {}, (guess,), True, tolerance, "ignore")
    if _VOC_BORDER in missing:
        extra[_VOC_BORDER] = IGNORE
    if (0, 0, 0) in missing:
        extra[0, 0, 0], guesses = _unnamed((0, 0, 0), table, counts)
    unnamed = missing - set(extra)
    if unnamed:
        return f"it has no name for {_listed(unnamed)}"
    return Legend({**extra, **table}, "", {}, guesses, True)


def _near(table: Mapping[LabelValue, str], counts: Counter[LabelValue], missing: set[LabelValue]) -> int | None:
    """How far unlisted colours lie from listed ones, if nearly all lie near."""
    if len(missing) <= len(table):
        return None
    listed = [value for value in table if isinstance(value, tuple)]
    for tolerance in _TOLERANCES:
        far = [value for value in missing if nearest(value, listed, tolerance) is None]
        if sum(counts[value] for value in far) <= (1 - _BLURRED) * counts.total():
            return tolerance
    within = [value for value in missing if nearest(value, listed, _TOLERANCES[-1]) is not None]
    listed_pixels = sum(counts[value] for value in listed)
    if listed_pixels + sum(counts[value] for value in within) >= _MOST_NEAR * counts.total():
        return _HALF_WAY
    return None


def _listed(values: Iterable[LabelValue], limit: int = 6) -> str:
    ordered = sorted(values, key=lambda value: value if isinstance(value, tuple) else (-1, value, 0))
    shown = ", ".join(show_value(value) for value in ordered[:limit])
    return shown + (f" and {len(ordered) - limit} more" if len(ordered) > limit else "")
