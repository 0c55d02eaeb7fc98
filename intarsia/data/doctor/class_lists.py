"""Class lists as annotation tools and benchmarks put them beside the data: names, with numbers or colours or neither.

Read are text and tables (`classes.txt`, `_classes.csv`, `class_dict.csv`, `label_colors.txt`, `labelmap.txt`,
`objectInfo150.txt`, label descriptions of ITK-SNAP), JSON and YAML (`classes.json`, `meta.json`, `dataset.json`,
`data.yaml`) and `label_map.pbtxt`.
What is a title, a number or a colour is told by the content of the whole file, not by one line.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from intarsia.data.description.model import BACKGROUND, IGNORE
from intarsia.data.doctor.affixes import words
from intarsia.data.doctor.class_names import cleaned, colour_of
from intarsia.data.doctor.class_trees import NoClassListError, entries_of_text
from intarsia.data.doctor.folders import split_of
from intarsia.data.image_io import is_image_name
from intarsia.data.labels import Colour
from intarsia.io.text import lines_of, read_text

TEXT_SUFFIXES = (".txt", ".csv", ".tsv", ".names", ".lst", ".clr", ".gpl", ".label", ".lbl")
TREE_SUFFIXES = (".json", ".yaml", ".yml", ".pbtxt")

_STEMS = (
    *("categories", "codes", "names", "legend", "lut", "labelcolor", "colormaps", "objectinfo", "classinfo"),
    *("labelinfo", "paletteinfo"),
    *(
        f"{first}{second}"
        for first in ("class", "label", "category", "colour", "color", "palette", "object")
        for second in (
            *("", "es", "s", "name", "names", "list", "dict", "dictionary", "map", "mapping", "colors", "colours"),
        )
    ),
)
_STEMS_OF_TREES = (
    *("dataset", "meta", "data", "notes", "ontology", "taxonomy", "config", "id2label", "label2id", "idtolabel"),
    *("objclasstomachinecolor", "indextoclass", "classindex", "classids"),
)
_PURPOSES = ("seg", "segmentation", "semantic", "semseg")
_ITK_SNAP = re.compile(r"(?P<number>\d+)(?P<colour>(?:\s+\d{1,3}){3})\s+[\d.]+\s+[01]\s+[01]\s+\"(?P<name>.*)\"")
_LARGEST = 2**18
_DEEPEST = 4
_MOST = 200
_LONGEST_NAME = 60

_NAME_TITLES = (
    *("name", "class", "classes", "label", "labels", "classname", "classnames", "labelname", "category"),
    *("categoryname", "title", "names", "description"),
)
_NUMBER_TITLES = (
    *("id", "idx", "index", "value", "code", "pixel", "pixelvalue", "classid", "labelid", "categoryid", "number"),
    *("no", "classindex", "classvalue", "gridcode", "grayvalue", "greyvalue", "gray", "grey", "dn", "labelvalue"),
)
_COLOUR_TITLES = (("r", "g", "b"), ("red", "green", "blue"))
_TITLES = (*_NAME_TITLES, *_NUMBER_TITLES, *(title for titles in _COLOUR_TITLES for title in titles))


@dataclass(frozen=True, slots=True)
class ClassEntry:
    """A class with what its pixels hold, as far as the list says it."""

    name: str
    number: int | None = None
    colour: Colour | None = None


@dataclass(frozen=True, slots=True)
class ClassList:
    """The entries of a file, in its order. counts_from_zero: the file says so, though it gives no numbers."""

    file: str
    entries: tuple[ClassEntry, ...]
    counts_from_zero: bool = False


def class_list_files(root: Path, others: Iterable[str]) -> list[str]:
    """The files that are called like a class list, the nearest to the root first."""
    found = []
    for path in others:
        pure = PurePosixPath(path)
        trees = (*_STEMS, *_STEMS_OF_TREES) if pure.suffix.lower() in TREE_SUFFIXES else ()
        wanted = _STEMS if pure.suffix.lower() in TEXT_SUFFIXES else trees
        if len(pure.parts) <= _DEEPEST and not _ends(pure.stem).isdisjoint(wanted):
            found.append((len(pure.parts), path))
    chosen = [path for _, path in sorted(found)[:_MOST]]
    return [path for path in chosen if (root / path).stat().st_size <= _LARGEST]


def is_told_by_name(file: str) -> bool:
    """Whether a file is called a class list plainly, so that it is told if it cannot be read as one."""
    stem = PurePosixPath(file).stem
    return split_of(stem) is None and not _ends(stem).isdisjoint(_STEMS)


def _ends(stem: str) -> set[str]:
    """The last words of a file name, joined: "label_class_dict" -> dict, classdict, labelclassdict.

    What they are for does not count: "class_dict_seg".
    """
    parts = words(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", stem))
    while len(parts) > 1 and parts[-1] in _PURPOSES:
        parts.pop()
    return {"".join(parts[-count:]) for count in range(1, 5)} | {re.sub(r"[^a-z0-9]", "", stem.lower())}


def read_class_list(root: Path, file: str, stems: frozenset[str] = frozenset()) -> ClassList:
    """The classes in a file. stems: names of the images, which no class is called like.

    Raises NoClassListError if it holds something else.
    """
    path = root / file
    try:
        text = read_text(path, largest=_LARGEST)
    except ValueError as error:
        raise NoClassListError(str(error).removeprefix(f"{path}: ")) from None
    from_zero = False
    if path.suffix.lower() in TREE_SUFFIXES:
        entries = [ClassEntry(*entry) for entry in entries_of_text(text, path.suffix.lower())]
    else:
        lines = _content(text)
        from_zero = lines[:1] == ["__ignore__"]  # labelme: this is -1
        entries = _of_lines(lines[from_zero:], path.suffix.lower())
    return ClassList(file, _checked(entries, stems), from_zero)


def _checked(found: Sequence[ClassEntry], stems: frozenset[str]) -> tuple[ClassEntry, ...]:
    """The entries with clean names. Raises NoClassListError if they cannot be classes."""
    if not found:
        raise NoClassListError("it names no class")
    first_words = [PurePosixPath((entry.name.replace("\\", "/").split() or [""])[0]) for entry in found]
    files = sum(is_image_name(word.as_posix()) or word.stem in stems for word in first_words)
    if 2 * files >= len(found):
        raise NoClassListError("it lists files, no classes", is_other=True)
    if any(not letter.isprintable() and letter != "\t" for entry in found for letter in entry.name):
        raise NoClassListError("it holds letters that cannot be printed")
    names = _short_names([entry.name for entry in found])
    entries = [ClassEntry(names[entry.name], entry.number, entry.colour) for entry in found]
    if any(not entry.name or len(entry.name) > _LONGEST_NAME for entry in entries):
        raise NoClassListError(f"it holds empty names, or some of more than {_LONGEST_NAME} letters")
    for what in ("number", "colour"):
        meanings: dict[object, str] = {}
        for entry in entries:
            value = getattr(entry, what)
            if value is not None and meanings.setdefault(value, entry.name) != entry.name:
                both = f"{meanings[value]!r} and {entry.name!r}"
                raise NoClassListError(f"{what} {value} stands for {both}")
    bare = [entry.name for entry in entries if entry.number is None and entry.colour is None and entry.name != IGNORE]
    if len(set(bare)) < len(bare):
        raise NoClassListError("it lists a name twice")
    return tuple(dict.fromkeys(entries)) if not bare else tuple(entries)


def _short_names(texts: Sequence[str]) -> dict[str, str]:
    """The first synonym of each text; two of them where different texts share the first: "screen door"."""
    short = {text: cleaned(text) for text in texts}
    shared = Counter(short.values())
    for text, name in short.items():
        if shared[name] > 1 and name != IGNORE:
            synonyms = [part.strip() for part in re.split(r"[,;]", text) if part.strip()]
            short[text] = " ".join(synonyms[:2]) or name
    return short


# --- Text ---------------------------------------------------------------------------------------------------------


def _content(text: str) -> list[str]:
    """Lines without comments and the head of a palette file. A "#" may begin a colour."""
    lines = [line for line in lines_of(text) if line]
    lines = [line for line in lines if not line.startswith("//") and not re.match(r"#(?![0-9a-fA-F]{6}\b)", line)]
    lines = [line for line in lines if not re.match(r"(GIMP Palette$|Name:|Columns:)", line)]
    return [_BRACKETED.sub(lambda m: _as_hex(m[0]), line) for line in lines]


def _as_hex(text: str) -> str:
    colour = colour_of(text)
    return text if colour is None else " #{:02x}{:02x}{:02x} ".format(*colour)


def _of_lines(lines: Sequence[str], suffix: str) -> list[ClassEntry]:
    if not lines:
        raise NoClassListError("it is empty")
    cvat = [re.fullmatch(r"(?P<name>[^:]+):(?P<colour>\d+,\d+,\d+):.*", line) for line in lines]
    if all(cvat):
        return [ClassEntry(m["name"], None, colour_of(m["colour"])) for m in cvat if m is not None]
    snap = [_ITK_SNAP.fullmatch(line) for line in lines]
    if all(snap):
        return [ClassEntry(_itk_name(m), int(m["number"]), colour_of(m["colour"])) for m in snap if m is not None]
    for mark in "\t,;|":
        rows = [_row(line, mark) for line in lines]
        widths = {len(row) for row in rows}
        if widths != {1} and (len(widths) == 1 or (suffix in (".csv", ".tsv") and len(rows[0]) == max(widths))):
            entries = _of_table(rows)
            if entries is not None:
                return entries
            if suffix in (".csv", ".tsv"):
                raise NoClassListError("its columns are not names with numbers or colours")
    if len(lines) == 1 and not re.search(r"\d", lines[0]):  # all names in one line
        return [ClassEntry(name.strip()) for name in re.split(r"[\t,;|]", lines[0]) if name.strip()]
    entries = _of_words(lines)
    if entries is None:
        raise NoClassListError("its lines are neither names, nor names with numbers or colours in one order")
    return entries


def _itk_name(found: re.Match[str]) -> str:
    """The name of a label; ITK-SNAP calls 0 the clear label."""
    return BACKGROUND if found["number"] == "0" and found["name"].lower() == "clear label" else found["name"]


def _row(line: str, mark: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=mark, skipinitialspace=True), [line])]
    except csv.Error:
        return [line]


def _of_table(rows: Sequence[Sequence[str]]) -> list[ClassEntry] | None:
    """Columns by their titles and their content; None if it is no table of classes."""
    width = max(map(len, rows))
    rows = [[*row, *[""] * (width - len(row))] for row in rows]
    titles = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in rows[0]]
    known = sum(title in _TITLES for title in titles)
    has_titles = known > 1 or any(
        (not _is_number(rows[0][c]) and len(rows) > 1 and all(_is_number(row[c]) for row in rows[1:]))
        or (colour_of(rows[0][c]) is None and len(rows) > 1 and all(colour_of(row[c]) for row in rows[1:]))
        for c in range(width)
    )
    body = rows[1:] if has_titles else rows
    if not has_titles:
        titles = [""] * width
    numeric = [c for c in range(width) if body and all(_is_number(row[c]) for row in body)]
    channels = _channels(titles, numeric, body)
    colours = [c for c in range(width) if c not in numeric and body and all(colour_of(row[c]) for row in body)]
    texts = [c for c in range(width) if c not in numeric and c not in colours and any(row[c] for row in body)]
    texts.sort(key=lambda c: titles[c] not in _NAME_TITLES)
    numbers = [c for c in numeric if c not in channels and len({row[c] for row in body}) == len(body)]
    numbers.sort(key=lambda c: titles[c] not in _NUMBER_TITLES)
    if not texts or not (numbers or channels or colours):
        return None
    result = []
    for row in body:
        colour = colour_of(" ".join(row[c] for c in channels) if channels else row[colours[0]] if colours else "")
        result.append(ClassEntry(row[texts[0]], int(row[numbers[0]]) if numbers else None, colour))
    return result


def _channels(titles: Sequence[str], numeric: Sequence[int], body: Sequence[Sequence[str]]) -> list[int]:
    """The columns of red, green and blue: by their titles, or three neighbours of numbers below 256."""
    for names in _COLOUR_TITLES:
        if all(name in titles for name in names):
            found = [titles.index(name) for name in names]
            return found if all(c in numeric for c in found) else []
    if any(titles):
        return []
    for start in (numeric[-3:], numeric[:3]):
        neighbours = len(start) == 3 and start[2] - start[0] == 2
        if neighbours and all(0 <= int(row[c]) <= 255 for row in body for c in start):
            return list(start)
    return []


_BRACKETED = re.compile(r"[(\[]\s*\d{1,3}[\s,;]+\d{1,3}[\s,;]+\d{1,3}(?:[\s,;]+\d{1,3})?\s*[)\]]")
_WORDS = re.compile(
    r"(?P<before>(?:[(\[]?-?\d+[)\]]?[\s,;:|=.]+)*)(?P<name>[^\d\s].*?)(?P<after>(?:[\s,;:|=]+[(\[]?\d+[)\]]?)*)[\s,;:|]*"
)
_HEX = re.compile(r"#[0-9a-fA-F]{6}\b")


def _of_words(lines: Sequence[str]) -> list[ClassEntry] | None:
    """Lines of one form: names with one number, three numbers (a colour), or both, before or after them."""
    hexes = [_HEX.search(line) for line in lines]
    if all(hexes):
        lines = [_HEX.sub(" ", line).strip(" \t,;:|=") for line in lines]
    elif any(hexes):
        return None
    if not all(hexes) and re.sub(r"[^a-z0-9]", "", lines[0].lower()) in _NAME_TITLES and len(lines) > 2:
        lines, hexes = lines[1:], hexes[1:]  # a column of names with its title
    matches = [_WORDS.fullmatch(line) for line in lines]
    found = [match for match in matches if match is not None]
    if len(found) < len(lines):
        return None
    numbers = [(_integers(match["before"]), _integers(match["after"])) for match in found]
    forms = {(len(before), len(after)) for before, after in numbers}
    names = [match["name"] for match in found]
    if forms == {(0, 1)} and len(set(names)) < len(names):
        return [ClassEntry(line) for line in lines]  # "crop 1", "crop 2" are names
    if len(forms) > 1:
        bare = all(not re.search(r"\d[\s,;:|=.]+\d", line) for line in lines) and {b for b, _ in forms} == {0}
        return [ClassEntry(line) for line in lines] if bare and not all(hexes) else None
    result = []
    for name, (before, after), hexed in zip(names, numbers, hexes, strict=True):
        parts = [*before, *after]
        if len(parts) not in (0, 1, 3, 4):
            return None
        number = parts[0] if len(parts) in (1, 4) else None
        text = " ".join(map(str, parts[-3:])) if len(parts) >= 3 else hexed[0] if hexed is not None else ""
        colour = colour_of(text)
        if text and colour is None:
            return None
        result.append(ClassEntry(name, number, colour))
    return result


def _integers(text: str) -> list[int]:
    return [int(digits[:10]) for digits in re.findall(r"-?\d+", text)]


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"-?\d{1,9}", cell) is not None
