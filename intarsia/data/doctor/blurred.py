"""Labels whose values are not exact: written as JPEG, resized with interpolation, or not classes but objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from intarsia.data.description.model import BACKGROUND, LabelValue
from intarsia.data.doctor.findings import Finding
from intarsia.data.doctor.measure import Measured, count_images
from intarsia.data.doctor.table import COLOUR_NAMES, TableProposal
from intarsia.data.labels import Colour

LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp")

_MANY = 64
_MAIN_SHARE = 0.005
_NOISE = 24
_NEAR_NAME = 64
_HAZE = 0.3
_FEW_OBJECTS = 8
_FLAT = 0.3
_FAR_NUMBERS = 32


def blurred_mask(counts: Mapping[int, int], inner: Mapping[int, int], name: str) -> TableProposal | None:
    """Masks of two values with a haze of greys between: written as JPEG, or resized with interpolation.

    Either many greys that hug both ends, or greys without flat areas of their own between ends that have them.
    """
    total = sum(counts.values())
    haze = [value for value in counts if 0 < value < 255]
    if max(counts) > 255 or len(haze) < 2 or max(haze) < 128:
        return None
    near = sum(count for value, count in counts.items() if value <= 16 or value >= 239)
    hugging = len(haze) >= 8 and max(haze) >= 200 and min(haze) <= 55 and near >= 0.8 * total
    ends, ends_inner = (sum(table.get(value, 0) for value in (0, 255)) for table in (counts, inner))
    haze_inner = sum(inner.get(value, 0) for value in haze)
    thin = haze_inner < 0.35 * (total - ends) and ends_inner > 0.5 * ends and ends >= 0.4 * total
    if not (hugging or (thin and min(counts.get(0, 0), counts.get(255, 0)) > 0)):
        return None
    labels: dict[LabelValue, str] = {value: BACKGROUND if value < 128 else name for value in range(256)}
    notes = [
        f"the masks hold {len(counts)} greys between 0 and 255, as JPEG or a resize with interpolation leaves them: "
        "below 128 becomes background, the rest foreground"
    ]
    return TableProposal((BACKGROUND, name), labels, notes=tuple(notes), blurred=True, main=(0, 255))


def blurred_numbers(measured: Sequence[Measured], counts: Mapping[int, int]) -> TableProposal | None:
    """Numbers that JPEG has changed: well apart, they are joined; close together, nothing can be told."""
    if not _is_lossy(measured) or len(counts) < 3:
        return None
    centres = _centres(Counter({(value, value, value): count for value, count in counts.items()}))
    levels = sorted(colour[0] for colour in centres)
    is_apart = len(levels) > 1 and min(b - a for a, b in pairwise(levels)) >= _FAR_NUMBERS
    names: dict[LabelValue, str] = {value: f"class_{value}" for value in levels}
    notes = (f"the labels are JPEGs with {len(counts)} numbers: {len(levels)} are classes, those near them are joined",)
    problems: tuple[Finding, ...] = ()
    if not is_apart:
        text = f"the label files are JPEGs, which changes values, and hold {len(counts)} numbers close to each other"
        problems = (Finding("JPEG labels", text, "save the labels again, from their source, as PNG"),)
        names = {value: f"class_{value}" for value in sorted(counts)[:_MANY]}
        if len(names) < 2:
            names = {0: BACKGROUND, 1: "foreground"}
    return TableProposal(
        tuple(names.values()),
        names,
        None,
        "ignore",
        _NOISE,
        notes if is_apart else (),
        problems=problems,
        blurred=is_apart,
        main=tuple(names),
    )


def blurred_colours(measured: Sequence[Measured], counts: Counter[LabelValue]) -> TableProposal | None:
    """Many colours: near ones are joined to those that cover most; in-between ones are ignored.

    A problem if too little lies near the main colours to tell what the rest means, or if they tell objects apart.
    None where the colours are few and exact.
    """
    colours = Counter({value: count for value, count in counts.items() if isinstance(value, tuple)})
    objects = _object_colours(measured, colours)
    if objects is None and not (_is_lossy(measured) or _many(measured, colours)):
        return None
    centres = _centres(colours)
    total = colours.total()
    near = sum(count for colour, count in colours.items() if _distance(colour, centres) <= _NOISE)
    largest = sum(count for colour, count in colours.items() if _distance(colour, centres[:1]) <= _NOISE)
    names = _colour_names(sorted(centres))
    labels: dict[LabelValue, str] = {}
    for colour, name in names.items():
        labels[colour] = name
    problems = [objects] if objects is not None else []
    if objects is None and total - near > _HAZE * max(1, total - largest):
        text = (
            f"the label files hold {len(colours)} colours, and besides the most frequent one most pixels are in "
            "between: JPEG or smoothing has mixed thin areas"
        )
        advice = (
            "save the labels again, from their source, as PNG; or list the true colours in `labels` and write "
            "`tolerance: 127`: every pixel then counts as the nearest of them"
        )
        problems.append(Finding("blurred colours", text, advice))
    notes = (
        ()
        if objects is not None
        else (
            f"the label files hold {len(colours)} colours, as JPEG or a resize with interpolation leaves them: "
            f"{len(names)} become classes, those near them are joined, all others are ignored",
            "the labels are colours; each becomes a class: rename them, or write ignore for what means nothing",
        )
    )
    return TableProposal(
        tuple(names.values()),
        labels,
        tuple(names),
        "ignore",
        _NOISE,
        notes,
        problems=tuple(problems),
        blurred=objects is None,
        main=tuple(names),
    )


def _object_colours(measured: Sequence[Measured], colours: Counter[Colour]) -> Finding | None:
    """Colours that nearly all occur in one file only, in flat areas, tell objects apart and not classes."""
    images = count_images(measured)
    labels = [entry.label for entry in measured if entry.label is not None]
    first = colours.most_common(1)[0][0]
    others = [colour for colour in colours if colour != first]
    once = sum(images[colour] == 1 for colour in others)
    flat = sorted(label.flat for label in labels)[len(labels) // 2]
    if len(labels) < 2 or len(others) < max(_FEW_OBJECTS, 2 * len(labels)) or once < 0.8 * len(others) or flat < _FLAT:
        return None
    return Finding(
        "instance colours",
        f"{once} of {len(colours)} colours occur in one label file only: these look like colours of objects, not of "
        "classes",
        "convert them to one number for each class (of COCO's panoptic PNGs, the JSON beside them says which), or name "
        "another label folder in a description",
    )


def _many(measured: Sequence[Measured], colours: Counter[Colour]) -> bool:
    """Whether there are more colours than classes have, or a crowd of rare ones around few."""
    if len(colours) > _MANY or any(entry.label is not None and entry.label.many for entry in measured):
        return True
    rare = sum(count < 0.0005 * colours.total() for count in colours.values())
    return len(colours) > 12 and 2 * rare > len(colours)


def _centres(colours: Counter[Colour]) -> list[Colour]:
    """The colours that cover something, the most frequent first, without those near a more frequent one."""
    centres: list[Colour] = []
    covered: Counter[Colour] = Counter()
    for colour, count in colours.most_common():
        near = next((centre for centre in centres if _distance(colour, [centre]) <= _NOISE), None)
        if near is None and len(centres) < 4 * _MANY:
            centres.append(colour)
        covered[near or colour] += count
    main = [centre for centre in centres if covered[centre] >= _MAIN_SHARE * colours.total()]
    return sorted(main or centres[:1], key=lambda centre: -covered[centre])[:_MANY]


def _distance(colour: Colour, centres: Sequence[Colour]) -> int:
    return min(max(abs(a - b) for a, b in zip(colour, centre, strict=True)) for centre in centres)


def _colour_names(centres: Sequence[Colour]) -> dict[Colour, str]:
    """Names of at least two classes."""
    if len(centres) < 2:
        return {(0, 0, 0): BACKGROUND, (255, 255, 255): "foreground"}
    names = {colour: _colour_name(colour, number) for number, colour in enumerate(centres)}
    is_clear = len(set(names.values())) == len(names)
    return names if is_clear else {colour: f"class_{number}" for number, colour in enumerate(centres)}


def _colour_name(colour: Colour, number: int) -> str:
    """The name of a plain colour that is near, else a number."""
    near = min(COLOUR_NAMES, key=lambda known: _distance(colour, [known]))
    return COLOUR_NAMES[near] if _distance(colour, [near]) <= _NEAR_NAME else f"class_{number}"


def _is_lossy(measured: Sequence[Measured]) -> bool:
    labels = [entry.pair.label for entry in measured if entry.pair.label is not None]
    return 2 * sum(PurePosixPath(name).suffix.lower() in LOSSY for name in labels) > len(labels)
