"""Arrays of all classes at an image's size, kept in files instead of memory while they are computed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from intarsia.io.whole_files import aside_name

DTYPES = {"probabilities": np.float16, "logits": np.float32}
"""What is kept in a file, and as what type; 150 classes of 3000 x 4000 pixels take 3.6 GB in 16 bits."""


class Scratch:
    """Gives the predictor `.npy` files to fill, strip by strip, in a folder; what is finished is renamed by its taker.

    The files are mapped into memory, and the operating system writes out and forgets what is full: the peak does not
    grow with the image. They get their room when they are made, so that a full disk is an error that can be told, not a
    signal in the midst of the work.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}

    def __call__(self, field: str, shape: Sequence[int]) -> Tensor | None:
        """A tensor for a field of the image at hand; None if it should be in memory.

        Raises ValueError if there is no room on the disk for it.
        """
        if field not in DTYPES or os.name != "posix":  # elsewhere a mapped file cannot be renamed
            return None
        self._forget(field)
        file = self._files[field] = self._folder / aside_name()
        try:
            mapped = np.lib.format.open_memmap(file, mode="w+", dtype=DTYPES[field], shape=tuple(shape))
            _reserve(file, mapped.offset, mapped.nbytes)
        except OSError as error:
            self._forget(field)
            raise ValueError(f"no file for its {field} in {self._folder}: {error.strerror or error}") from None
        return torch.from_numpy(mapped)

    def take(self) -> dict[str, Path]:
        """Field -> file, of the image that was just finished; whoever takes them renames or removes them."""
        files, self._files = self._files, {}
        return files

    def close(self) -> None:
        """Remove what nobody took: of an image that could not be finished."""
        for field in list(self._files):
            self._forget(field)

    def _forget(self, field: str) -> None:
        file = self._files.pop(field, None)
        if file is not None:
            file.unlink(missing_ok=True)


def _reserve(file: Path, start: int, count: int) -> None:
    """Give a file its room on the disk. Raises OSError if there is none."""
    with open(file, "r+b") as handle:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle.fileno(), start, count)
            return
        handle.seek(start)
        zeros = bytes(2**20)
        for begin in range(0, count, len(zeros)):
            handle.write(zeros[: count - begin])
