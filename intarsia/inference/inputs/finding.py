"""The images that files, folders, patterns and lists of these stand for, and the names of what is made of them.

One rule for one path, a list of paths, and a stream of them: each entry stands for itself, in its place, as often as it
is there; an entry that stands for nothing is set aside by name, unless it is the only one.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from intarsia.contracts import PathLike
from intarsia.data.image_io import IMAGE_SUFFIXES, is_image_name
from intarsia.data.pages import count_pages
from intarsia.data.slices import suffix_of, without_suffix
from intarsia.inference.inputs.remote import files_of, results_among, stands_for_many
from intarsia.inference.outputs.manifest import ResultFinder
from intarsia.io.folders import is_passed_over, loops, natural_order, walk_files
from intarsia.io.stores import is_address, path_of, public
from intarsia.io.text import as_on_disk

Failure: TypeAlias = "tuple[str, str]"
"""What could not be used, and why."""

Pages = Literal["first", "all"]
"""Of a file that holds several images: the first, or each as an image of its own."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file and the name of what is made of it: folder below the input and stem, unique in its list ("day/0001").

    page: of a file that holds several images, counted from 0; None for the first or only one. address: where the file
    is, if that is not this machine; of `path` nothing but the names counts then.
    """

    path: Path
    name: str
    page: int | None = None
    address: str = ""

    @property
    def source(self) -> PathLike:
        """What is read: the address or the path."""
        return self.address or self.path


@dataclass(frozen=True, slots=True)
class FoundImages:
    """files: in the order of the inputs, those of a folder or pattern in natural order.

    skipped: how many files of each other suffix lay beside them. failures: inputs that stand for nothing, and why.
    results: files that an earlier prediction has written beside them. repeated: files that were left out because they
    had been named before.
    """

    files: tuple[ImageFile, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    results: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file and what it is called, relative to its input."""

    path: Path
    relative: Path
    address: str = ""

    @property
    def key(self) -> str:
        """One for each file."""
        return self.address or os.path.abspath(self.path)


def find_images(inputs: PathLike | Sequence[PathLike], *, pages: Pages = "first", once: bool = False) -> FoundImages:
    """The image files that files, folders (searched recursively) and patterns stand for.

    A file is taken whatever its suffix; folders and patterns give the suffixes of `IMAGE_SUFFIXES`, no hidden files,
    and no results of an earlier prediction (files that `intarsia predict` has marked, in a folder with its manifest).
    pages: see `Pages`. once: for results in files, leave out what was named before, and files that are named although
    they are results themselves.

    Raises ValueError naming the input that does not exist or holds no image, if there is no other.
    """
    listed = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not listed:
        raise ValueError("expected at least one image file, folder or glob, found an empty list")
    search = _Search(take_results=not once or len(listed) == 1)
    entries: list[_Entry] = []
    failures: list[Failure] = []
    for given in listed:
        try:
            entries += search.expanded(given)
        except ValueError as error:
            if len(listed) == 1:
                raise
            failures.append((str(given), str(error).removeprefix(f"{given}: ")))
    if not entries:
        name, reason = (*failures, (str(listed[0]), "`intarsia predict` has written it"))[0]
        raise ValueError(f"not one of {len(listed)} inputs is an image; the first: {name}: {reason}")
    repeated = len(entries)
    if once:
        entries = list({entry.key: entry for entry in reversed(entries)}.values())[::-1]
    repeated -= len(entries)
    files = tuple(_paged(_named(entries), pages))
    return FoundImages(files, dict(search.skipped), tuple(failures), search.results, repeated)


def means_many(given: PathLike) -> bool:
    """Whether a path or address stands for the images of a folder or of a pattern, and not for one."""
    if is_address(given):
        return stands_for_many(str(given))
    path = Path(given).expanduser()
    return os.path.isdir(path) or (glob.has_magic(str(given)) and not os.path.exists(path))


class _Search:
    """Looks for images and counts what else it comes by. take_results: a file that is named is one, whatever it is."""

    def __init__(self, *, take_results: bool) -> None:
        self._take_results = take_results
        self.skipped: Counter[str] = Counter()
        self.results = 0
        self._finder = ResultFinder()

    def expanded(self, given: PathLike) -> list[_Entry]:
        """The images of an input."""
        if is_address(given):
            return self._remote(str(given))
        path = Path(given).expanduser()
        if not os.path.exists(path) and not glob.has_magic(str(path)):
            path = as_on_disk(path)
        if os.path.isdir(path):
            root, found = path, sorted(walk_files(path), key=natural_order)
        elif os.path.exists(path):
            if not self._take_results and self._finder.is_result(path):
                self.results += 1
                return []
            return [_Entry(path, Path(path.name))]
        elif glob.has_magic(str(path)):
            root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
            found = _matching(path, root)
            if not found:
                raise ValueError(f"{given}: the pattern matches no file (in {Path.cwd()})")
        else:
            raise ValueError(f"{given}: no such file or folder (in {Path.cwd()})")
        return self._images(given, root, found)

    def _images(self, given: PathLike, root: Path, found: Sequence[str]) -> list[_Entry]:
        others: Counter[str] = Counter()
        images, results = list[_Entry](), 0
        for relative in found:
            suffix = suffix_of(relative)
            if suffix not in IMAGE_SUFFIXES:
                if not self._finder.is_claimed(root / relative):  # where results have such files, too
                    others[suffix] += 1
            elif self._finder.is_result(root / relative):
                results += 1
            else:
                images.append(_Entry(root / relative, Path(relative)))
        return self._counted(str(given), images, others, results)

    def _remote(self, address: str) -> list[_Entry]:
        """The images of an address."""
        found = files_of(address)
        entries = [_Entry(Path(path_of(file.address)), Path(file.relative), file.address) for file in found]
        if [file.address for file in found] == [address]:
            return entries
        results = results_among(found)
        kept = [entry for entry in entries if entry.address not in results]
        images = [entry for entry in kept if is_image_name(entry.path)]
        others = Counter(suffix_of(entry.path) for entry in kept if not is_image_name(entry.path))
        return self._counted(address, images, others, sum(is_image_name(path_of(result).name) for result in results))

    def _counted(self, given: str, images: list[_Entry], others: Counter[str], results: int) -> list[_Entry]:
        """The images, with what lies beside them taken note of. Raises ValueError if there are none."""
        if not images:
            beside = [f"{count} {suffix or 'without suffix'}" for suffix, count in others.most_common(5)]
            beside += [f"{results} that `intarsia predict` has written"] if results else []
            raise ValueError(
                f"{given}: no image; looked for {' '.join(IMAGE_SUFFIXES)}, "
                f"found {', '.join(beside) or 'no file at all'}"
            )
        self.skipped.update(others)
        self.results += results
        return images


def _matching(pattern: Path, root: Path) -> list[str]:
    """The files that a pattern matches, relative to its fixed part: by the rules of `io.folders`."""
    found = []
    for match in glob.glob(str(pattern), recursive=True):
        relative = Path(match).relative_to(root)
        inside = [part for part in relative.parts[:-1] if is_passed_over(part)]
        if not inside and os.path.isfile(match) and not loops(root, relative.parent):
            found.append(relative.as_posix())
    return sorted(set(found), key=natural_order)


def _named(entries: Sequence[_Entry]) -> Iterator[ImageFile]:
    """Unique names: relative to the inputs, or where that collides, to the folder that holds all; suffixes last."""
    distinct = {entry.key: entry for entry in reversed(entries)}
    names = {key: _bare(entry.relative) for key, entry in distinct.items()}
    if len(set(names.values())) < len(names):
        paths = {
            key: os.path.abspath(os.path.join(os.sep, entry.path) if entry.address else entry.path)
            for key, entry in distinct.items()
        }
        common = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
        names = {key: _bare(Path(path).relative_to(common)) for key, path in paths.items()}
    count = Counter(names.values())
    taken: Counter[str] = Counter()
    for entry in entries:
        name = names[entry.key]
        unique = name if count[name] == 1 else name.with_name(entry.path.name)  # only the suffix tells a.jpg from a.png
        yield ImageFile(entry.path, numbered(unique.as_posix(), taken), address=entry.address)


def _bare(path: Path) -> Path:
    return Path(without_suffix(path.as_posix()))


def numbered(name: str, taken: Counter[str]) -> str:
    """The name, with a number if it was given out before: "a", "a_2", "a_3"."""
    taken[name] += 1
    while taken[name] > 1:
        other = f"{name}_{taken[name]}"
        if not taken[other]:
            taken[other] += 1
            return other
        taken[name] += 1
    return name


def _paged(files: Iterator[ImageFile], pages: Pages) -> Iterator[ImageFile]:
    for file in files:
        if file.address and pages == "all":
            raise ValueError(f"{public(file.address)}: pages are counted in files of this machine: copy it here first")
        count = count_pages(file.path) if pages == "all" else 1
        if count == 1:
            yield file
            continue
        digits = len(str(count))
        for page in range(count):
            yield replace(file, name=f"{file.name}_page{page + 1:0{digits}}", page=page)
