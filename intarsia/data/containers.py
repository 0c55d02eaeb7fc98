"""Files within files, as paths: ``city.pack/train/a.png`` in packed data, ``shards/0000.tar/a.jpg`` in a tar.

A member is an image like any other, and so needs a name like any other, which lists, splits and messages can hold. What
stands before the member must be a file; folders may be called what they like. The label of a packed sample has the name
of its image with ``#label`` behind it.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from intarsia.data.packed.reader import PackFile, Plane, opened
from intarsia.data.slices import file_of
from intarsia.data.tars import tar_index

LABEL = "#label"
PACK_SUFFIX = ".pack"
_INSIDE = re.compile(r"\.(pack|tar)[/\\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Inside:
    """A member of a container. kind: which of the two `file` is."""

    file: str
    member: str
    kind: Literal["pack", "tar"]


def inside(path: str | Path) -> Inside | None:
    """What a path means inside of a container; None for a path that leads to a file of its own."""
    text = str(path)
    for match in _INSIDE.finditer(text):
        file = text[: match.end() - 1]
        if os.path.isfile(file):
            kind: Literal["pack", "tar"] = "pack" if match[1].lower() == "pack" else "tar"
            return Inside(file, text[match.end() :].replace("\\", "/"), kind)
    return None


def file_on_disk(path: str) -> str:
    """The file that a path needs: the container of a member, the volume of a slice, else the path itself."""
    found = inside(path)
    return file_of(path) if found is None else found.file


def files_on_disk(root: str, names: Iterable[str]) -> dict[str, str]:
    """`file_on_disk` of paths below a root, quick for many members of few containers."""
    found: dict[str, str] = {}
    known: dict[str, str] = {}
    for name in names:
        match = _INSIDE.search(name)
        container = name[: match.end() - 1] if match is not None else ""
        if container in known:
            found[name] = known[container]
            continue
        path = os.path.join(root, name)
        found[name] = file_on_disk(path)
        if container and found[name] == os.path.join(root, container):
            known[container] = found[name]
    return found


def all_packed(root: str, names: Iterable[str]) -> bool:
    """Whether all paths below a root lead into packed files. Quick for many members of few files."""
    known: dict[str, bool] = {}
    for name in names:
        match = _INSIDE.search(name)
        if match is None:
            found = inside(os.path.join(root, name))  # the root may lie in one
            if found is None or found.kind != "pack":
                return False
            continue
        container = name[: match.end() - 1]
        if container not in known:
            within = inside(os.path.join(root, name))
            known[container] = within is not None and within.kind == "pack"
        if not known[container]:
            return False
    return True


def member_name(path: str) -> str:
    """The name of a sample's image without the container and, in packed data, the split: what its files were called.

    The path may be relative to anywhere, since only its letters are looked at.
    """
    match = _INSIDE.search(path)
    if match is None:
        return path
    rest = path[match.end() :].replace("\\", "/")
    return rest.partition("/")[2] if match[1].lower() == "pack" else path[: match.start()] + "/" + rest


def packed_sample(path: str | Path) -> tuple[PackFile, int] | None:
    """The packed file and the number of a sample; None for a path that leads elsewhere.

    Raises ValueError naming the file if it has no such sample, or is damaged.
    """
    found = inside(path)
    if found is None or found.kind != "pack":
        return None
    pack = opened(found.file)
    return pack, pack.find(found.member.removesuffix(LABEL))


def packed_image(path: str | Path) -> Plane | None:
    """The image that a path means in packed data; None for a path that leads elsewhere. Raises as `packed_sample`."""
    found = packed_sample(path)
    return None if found is None else found[0].image(found[1])


def packed_label(path: str | Path) -> Plane | None:
    """The label that a path means in packed data; None for a path that leads elsewhere. Raises as `packed_sample`,
    and if the sample has none.
    """
    found = packed_sample(path)
    if found is None:
        return None
    label = found[0].label(found[1])
    if label is None:
        raise ValueError(f"{path}: the sample has no label")
    return label


def member_bytes(path: str | Path) -> bytes | None:
    """The content of a member of a tar; None for a path that leads elsewhere.

    Raises OSError, and ValueError naming a tar that is none.
    """
    found = inside(path)
    return None if found is None or found.kind == "pack" else tar_index(found.file).read(found.member)


def file_or_member(path: Path) -> Path | io.BytesIO:
    """What libraries open: the file, or the bytes of a member of a tar. Raises as `member_bytes`."""
    data = member_bytes(path)
    return path if data is None else io.BytesIO(data)
