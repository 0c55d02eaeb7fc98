"""Image files that no split uses: nothing is left out without a word."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from intarsia.data.doctor.findings import Finding
from intarsia.data.doctor.folders import role_of
from intarsia.data.slices import suffix_of

_FEW = 2


def left_over(images: Sequence[str], used: Collection[str]) -> list[Finding]:
    """A warning of the image files that are not among `used`, folder by folder.

    Left aside: folders and names of instances, overlays, predictions; and one or two pictures that lie about singly.
    """
    unused = [path for path in images if path not in used and not _is_by_product(path)]
    folders: dict[str, list[str]] = defaultdict(list)
    for path in unused:
        folders[PurePosixPath(path).parent.as_posix()].append(path)
    telling = {folder: paths for folder, paths in folders.items() if len(paths) > _FEW or len(unused) > 4 * _FEW}
    if not telling:
        return []
    count = sum(map(len, telling.values()))
    numbers = Counter(f"{start}{suffix}" for start, number, suffix in map(_numbered, used) if number)
    channels = [path for paths in telling.values() for path in paths if _is_channel(path, used, numbers)]
    what = f"{count} image files are used by no split"
    if 2 * len(channels) > count:
        what += f": other channels of the same pictures, such as {PurePosixPath(channels[0]).name}; one is read"
    return [
        Finding(
            "images not used",
            what + ": " + _listed(telling.items()),
            "if they belong to the data, name them like the others, or describe them in a file (`--write data.yaml`)",
            tuple(path for paths in telling.values() for path in paths),
        )
    ]


def _listed(folders: Iterable[tuple[str, list[str]]], limit: int = 6) -> str:
    ordered = sorted(folders, key=lambda item: (-len(item[1]), item[0]))
    shown = [f"{folder} ({len(paths)}, such as {PurePosixPath(min(paths)).name})" for folder, paths in ordered[:limit]]
    return ", ".join(shown) + (f" and {len(ordered) - limit} more folders" if len(ordered) > limit else "")


def _is_by_product(path: str) -> bool:
    """Whether folder or name say that this is drawn or computed from labels."""
    pure = PurePosixPath(path)
    texts = [*pure.parts[:-1], "_".join(pure.stem.split("_")[1:])]
    return any(role_of(text)[0] in ("colour", "instance", "prediction") for text in texts)


def _is_channel(path: str, used: Collection[str], numbers: Mapping[str, int]) -> bool:
    """Whether a file differs from a used one in the number at its end: case_001_0001.png and case_001_0000.png.

    numbers: how many used files have a name but for that number: photos of a camera, DSC_0001.jpg, have one in common.
    """
    start, number, suffix = _numbered(path)
    first = f"{start}_{'0' * len(number)}{suffix}"
    return bool(number) and first in used and numbers[f"{start}{suffix}"] == 1


def _numbered(path: str) -> tuple[str, str, str]:
    """(folder and name, the number at its end or "", extension)."""
    suffix = path[len(path) - len(suffix_of(path)) :]
    start, line, number = path[: len(path) - len(suffix)].rpartition("_")
    return (start, number, suffix) if line and number.isdecimal() else (path, "", suffix)


def by_extension(others: Iterable[str]) -> dict[str, int]:
    """Files that are no images, counted by extension (by name without one)."""
    counts = Counter(PurePosixPath(path).suffix.lower() or PurePosixPath(path).name for path in others)
    return dict(sorted(counts.items()))
