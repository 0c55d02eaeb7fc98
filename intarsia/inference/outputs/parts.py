"""Parts of many images or scenes, for as many commands that know nothing of each other: jobs of a cluster.

Which part a file belongs to follows from its name alone, so that no list is kept and no file is moved by another one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from intarsia.io.folders import walk_files

_TABLE = re.compile(r"_part\d+of\d+")


@dataclass(frozen=True, slots=True)
class Part:
    """One of `count` parts; number: from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Part:
        """The part that --part means: "3/8"; "auto", the task of an array of SLURM's; or "auto/8", the job of this
        number, from 0, among eight of Kubernetes' or SLURM's.

        Raises ValueError for anything else, and where the environment does not say which part it is.
        """
        which, _, count = text.strip().partition("/")
        if which == "auto":
            number, total = _from_environment(int(count) if count.isdecimal() else None, environment)
        elif which.isdecimal() and count.isdecimal():
            number, total = int(which), int(count)
        else:
            raise ValueError(f"--part takes the number of a part and how many there are, 3/8, or auto; found {text!r}")
        if not 1 <= number <= total:
            if total < 1:
                raise ValueError(f"--part {text}: there must be one part at least, as in 1/1")
            raise ValueError(f"--part {text}: of {total} parts, the first is 1/{total} and the last {total}/{total}")
        return cls(number, total)

    def has(self, name: str) -> bool:
        """Whether what is called so belongs to this part: by a hash of the name, the same on all machines."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def of(self, file: Path) -> Path:
        """The file of this part in the place of one for all: "areas.csv" -> "areas_part3of8.csv"."""
        return file.with_name(f"{file.stem}_part{self.number}of{self.count}{file.suffix}")


def files_of_parts(file: Path) -> list[Path]:
    """What `Part.of` has named, of all parts, as far as they are there."""
    if not file.parent.is_dir():
        return []
    found = (Path(other) for other in walk_files(file.parent, recursive=False))
    names = (other.name for other in found if other.suffix == file.suffix)
    ours = [name for name in names if _TABLE.fullmatch(Path(name).stem.removeprefix(file.stem))]
    return [file.with_name(name) for name in sorted(ours)]


def _from_environment(count: int | None, environment: Mapping[str, str]) -> tuple[int, int]:
    """Number from 1, and how many there are."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        task = int(environment["SLURM_ARRAY_TASK_ID"])
        if count is not None:
            if task >= count:
                raise ValueError(
                    f"--part auto/{count}: this is task {task} of SLURM's array, and tasks count from 0: "
                    f"--array=0-{count - 1}"
                )
            return task + 1, count
        names = ("COUNT", "MIN", "MAX")
        tasks, first, last = (int(environment.get(f"SLURM_ARRAY_TASK_{name}", -1)) for name in names)
        if tasks < 1 or last - first + 1 != tasks:
            raise ValueError(
                "--part auto takes an array of SLURM's without gaps, such as --array=0-7; a task that is to run once "
                "more is named with the number of all:  --part auto/8"
            )
        return task - first + 1, tasks
    if "JOB_COMPLETION_INDEX" in environment:
        if count is None:
            raise ValueError(
                "Kubernetes says which job this is and not how many there are: --part auto/8 for completions: 8"
            )
        return int(environment["JOB_COMPLETION_INDEX"]) + 1, count
    raise ValueError(
        "--part auto reads SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX, and neither is set; give it as 3/8"
    )
