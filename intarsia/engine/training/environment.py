"""Where and with what a run happens: versions, hardware, state of the sources. For run.json and bug reports."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from intarsia.contracts import Dataset
from intarsia.data.datasets.folder import FolderDataset
from intarsia.io.cores import available_cores
from intarsia.version import versions_of

PACKAGES = ("intarsia", "torch", "lightning-fabric", "numpy", "opencv-python-headless", "safetensors")


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    return versions_of(PACKAGES)


def hardware() -> dict[str, Any]:
    """System, processor, cores and accelerators."""
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "system": platform.platform(),
        "host": platform.node(),
        "processor": _processor(),
        "cores": available_cores(),
        "accelerators": [f"{d.name}, {d.total_memory / 2**30:.0f} GiB" for d in devices],
        "cuda": torch.version.cuda if devices else None,
    }


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit and whether files differ from it, of the repository around `folder` (the working directory)."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


MEASURED, LOADED = 1000, 8
"""Samples of a folder whose file sizes go into a fingerprint; samples of any other data set that are loaded for it."""


def fingerprint(dataset: Dataset) -> str:
    """16 hexadecimal digits that are the same for the same data, wherever they lie, and others once something changed.

    What counts: classes, label table, the names of all files and the sizes of some; in a data set that is no folder,
    the content of a few samples. Nothing counts that takes more than a moment for a large data set.
    """
    digest = hashlib.sha256()
    for entry in _entries(dataset):
        digest.update(f"{entry}\n".encode())
    return digest.hexdigest()[:16]


def _entries(dataset: Any) -> Iterator[object]:
    yield tuple(dataset.classes), dataset.ignore_index, len(dataset)
    parts: Sequence[Dataset] = getattr(dataset, "datasets", None) or (
        [dataset.dataset] if hasattr(dataset, "dataset") else []
    )
    for part in parts:
        yield from _entries(part)
    if isinstance(dataset, FolderDataset):
        yield dataset.label_table, dataset.bands
        measured = _spread(len(dataset), MEASURED)
        for index, pair in enumerate(dataset.pairs):
            for path in (*pair, *dataset.partners(index)):
                size = os.path.getsize(path) if path and index in measured and os.path.exists(path) else None
                yield path and path.removeprefix(dataset.root), size
    elif not parts:
        for index in sorted(_spread(len(dataset), LOADED)):
            sample = dataset.load(index)
            for array in (sample.image, sample.label):
                yield None if array is None else (array.dtype, array.shape, hashlib.sha256(array.tobytes()).hexdigest())


def _spread(length: int, most: int) -> set[int]:
    count = min(length, most)
    return {length * i // count for i in range(count)}


def _git(folder: Path | None, *command: str) -> str | None:
    try:
        done = subprocess.run(["git", *command], cwd=folder, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
