"""Files of each image, one for each kind of result: which, whether they are there, and each whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from intarsia.inference.outputs.coco import CocoImage
from intarsia.inference.outputs.manifest import MANIFEST, Manifest
from intarsia.inference.outputs.remote_folder import RemoteFolder
from intarsia.io.whole_files import put_in_place

FIELDS = {"probs": "probabilities", "logits": "logits"}
"""Kind whose file is nothing but an array -> the field of a `Prediction` that it is."""

OUTLINES = ("polygons", "rle")
"""Kinds that are made of the label map and write themselves: by-products, whatever fails in them."""


JOINED = ("rle",)
"""Kinds whose files become one of all images at the end."""


class Fields(TypedDict):
    """Fields of a `Prediction` that are not always filled."""

    probabilities: bool
    confidence: bool
    entropy: bool
    logits: bool


@dataclass(frozen=True)
class ImageFiles(ABC):
    """What predictions of one sort leave behind, in a folder. Subclasses say what is in each kind of file.

    remote: of an object store, in whose place `folder` is; finished files are put there.
    """

    folder: Path
    kinds: frozenset[str]
    remote: RemoteFolder | None = field(default=None, kw_only=True)

    def shown(self, file: Path) -> str:
        """What messages call a file of the folder, or itself."""
        if self.remote is None or not file.is_relative_to(self.folder):
            return str(file)
        return self.remote.of(file).removesuffix("/.")

    @property
    def least_confidence(self) -> float | None:
        """Below which pixels count as uncertain, None if none do."""
        return None

    @property
    def fields(self) -> Fields:
        """What the predictor is asked for besides the answer itself, as arguments of `Predictor.predict`."""
        return {"probabilities": False, "confidence": False, "entropy": False, "logits": False}

    @abstractmethod
    def files(self, name: str) -> dict[str, Path]:
        """Kind -> file of the image of this name."""

    @abstractmethod
    def encoded(self, prediction: Any, kind: str, *, suffix: str = ".jpg") -> bytes:
        """The content of one file. suffix: of the format, where a kind has several."""

    @abstractmethod
    def write_one(self, prediction: Any, kind: str, file: Path, *, image: CocoImage | None = None) -> None:
        """Write one file, whose suffix says in which format, where there are several."""

    def finished(self, name: str) -> bool:
        """Whether all files of an image are there, and none is empty, as a crash of the machine may leave it."""
        if self.remote is not None:
            return all(map(self.remote.has, self.files(name).values()))
        return all(file.is_file() and file.stat().st_size > 0 for file in self.files(name).values())

    def write(
        self, prediction: Any, ready: Mapping[str, Path] | None = None, *, image: CocoImage | None = None
    ) -> None:
        """Write all files of one image, each whether or not another could be written.

        ready: field of the prediction -> file that holds it already, whole, and only needs its name (`Scratch`).
        image: what annotations call it.

        Raises ValueError naming the kinds that could not be written, and why.
        """
        ready = ready or {}
        failed: dict[str, list[str]] = {}  # reason -> kinds
        try:
            for kind, file in self.files(prediction.name).items():
                try:
                    aside = ready.get(FIELDS.get(kind, ""))
                    if aside is not None:
                        put_in_place(aside, file)
                    else:
                        self.write_one(prediction, kind, file, image=image)
                    self.publish(file, keep=kind in JOINED)
                except (OSError, ValueError) as error:
                    failed.setdefault(reason_of(error), []).append(kind)
                except Exception as error:
                    if kind not in OUTLINES:
                        raise
                    failed.setdefault(f"cannot be made: {type(error).__name__}: {error}", []).append(kind)
        finally:
            for aside in ready.values():
                aside.unlink(missing_ok=True)
        if failed:
            raise ValueError("; ".join(f"{', '.join(kinds)} {reason}" for reason, kinds in failed.items()))

    def publish(self, file: Path, *, keep: bool = True) -> None:
        """Put a finished file of the folder in its place, if that is an object store. keep: it is needed here, too.

        Raises ValueError if that is not possible.
        """
        if self.remote is not None and file.is_relative_to(self.folder):
            self.remote.send(file, keep=keep)

    def discard(self, file: Path) -> None:
        """Remove a file of the folder."""
        if self.remote is not None and file.is_relative_to(self.folder):
            self.remote.remove(file)
        else:
            file.unlink()

    def claim(self, manifest: Manifest, *, overwrite: bool = False, resume: bool = False) -> None:
        """Say in the folder whose results are to come. Raises ValueError as `Manifest.claim`."""
        try:
            manifest.claim(self.folder, overwrite=overwrite, resume=resume)
        except ValueError as error:
            raise ValueError(str(error).replace(str(self.folder), self.shown(self.folder))) from None
        self.publish(self.folder / MANIFEST)


def reason_of(error: OSError | ValueError) -> str:
    """Why a file could not be written, in words."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be written: {error.strerror}"
    return str(error)
