"""What ``intarsia predict`` was given: images, one image for one file, a video, a raster."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from intarsia.data.gdal import raster_library
from intarsia.inference.inputs.images import FoundImages, ImageFile, find_images
from intarsia.inference.outputs.writer import KINDS, OUTLINES, check_kinds
from intarsia.inference.video import is_video

STANDARD = "-"
"""Standard input as an input, standard output as --out."""

_RASTERS = (".tif", ".tiff")
_FILES = {".png": "label", ".jpg": "overlay", ".jpeg": "overlay", ".npy": "probs"}
_WHOLE: Mapping[str, str] = {"video": "a video", "raster": "a raster", "one": "a single file"}


@dataclass(frozen=True)
class Given:
    """One job. kind: "images" into a folder, "one" image into a file or standard output, a "video", a "raster".

    found: the images. source: the video or the raster. out: as it was given.
    """

    kind: Literal["images", "one", "video", "raster"]
    out: str
    found: FoundImages | None = None
    source: str = ""

    def check_options(self, given: Mapping[str, bool]) -> None:
        """Raises ValueError for an option that was given and is only there for images in a folder."""
        if self.kind == "images":
            return
        for option, is_given in given.items():
            if is_given and not (self.kind == "one" and option == "--format"):
                hint = "; --save areas makes a table beside it" if (option, self.kind) == ("--areas", "raster") else ""
                what = _WHOLE[self.kind]
                raise ValueError(f"{option} is for images that are written into a folder, not for {what}{hint}")

    def check_raster_options(self, given: Mapping[str, bool]) -> None:
        """Raises ValueError for an option that was given and is only there for rasters."""
        for option, is_given in given.items():
            if is_given and self.kind != "raster":
                raise ValueError(f"{option} is for rasters: give --out the name of a GeoTIFF, as in  -o labels.tif")


@contextmanager
def sort_inputs(inputs: Sequence[str], out: str) -> Iterator[Given]:
    """What the words of a command line stand for; standard input is kept in a file for as long as this lasts.

    Raises ValueError for an input that does not exist, a mixture that is no job, or an `out` that does not fit.
    """
    words = list(_listed(inputs))
    special = [word for word in words if is_video(word) or word == STANDARD]
    if special and len(words) > 1:
        what = "standard input is one image" if STANDARD in special else f"{special[0]} is a video"
        raise ValueError(f"{what}: predict it by itself, not together with other inputs")
    if special and special[0] != STANDARD:
        if out == STANDARD:
            raise ValueError(f"{special[0]}: a video cannot be written to standard output; give a file or a folder")
        yield Given("video", out, source=special[0])
        return
    if Path(out).suffix.lower() in _RASTERS and not Path(out).is_dir():
        if len(words) > 1 or STANDARD in words or Path(words[0]).is_dir():
            raise ValueError(f"--out {out} is one raster, made of one; give a folder for several images")
        if not Path(words[0]).is_file():
            raise ValueError(f"{words[0]}: no such file (in {Path.cwd()})")
        yield Given("raster", out, source=words[0])
        return
    with tempfile.TemporaryDirectory(prefix="intarsia-") as scratch:
        found = _from_standard_input(Path(scratch)) if special else find_images(words)
        if not _is_file(out):
            yield Given("images", out, found)
            return
        if len(found.files) > 1:
            raise ValueError(f"--out {out} is one file, and there are {len(found.files)} images; give a folder")
        yield Given("one", out, found)


def kinds_of(save: str | None, given: Given, file_format: str) -> frozenset[str]:
    """The kinds of outputs that were asked for, or those that suit the job."""
    if save is None:
        if given.kind == "one":
            kind = "label" if given.out == STANDARD else _FILES[Path(given.out).suffix.lower()]
            return frozenset({kind})
        alone = file_format != "indices" or given.kind == "raster"
        return frozenset({"label"} if alone else {"label", "overlay"})
    words = [word.strip() for word in save.split(",") if word.strip()]
    if given.kind == "raster" and words:
        return frozenset(words)  # rasters have some kinds of their own, and check them
    kinds = check_kinds(words)
    if "polygons" in kinds:
        raster_library()  # says now if it is not there
    if given.kind != "one":
        return kinds
    if len(kinds) > 1:
        raise ValueError(f"--out {given.out} is one file, and --save names {len(kinds)} things; give a folder")
    if kinds & set(OUTLINES):
        raise ValueError(f"--save {save} is written into a folder, not into one file: give one with --out")
    suffix = Path(f"NAME{KINDS[next(iter(kinds))]}").suffix
    found = Path(given.out).suffix.lower().replace(".jpeg", ".jpg")
    if given.out != STANDARD and found != suffix:
        raise ValueError(f"--out {given.out}: {next(iter(kinds))} is written as {suffix}")
    return kinds


def _is_file(out: str) -> bool:
    """Whether `out` is one file, by its name, and not a folder."""
    path = Path(out)
    if out == STANDARD:
        return True
    if path.exists() and not path.is_dir() and path.suffix.lower() not in _FILES:
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    return not path.is_dir() and path.suffix.lower() in _FILES


def _listed(inputs: Sequence[str]) -> Iterator[str]:
    """The inputs, with @LIST replaced by the lines of that file (@- by those of standard input)."""
    for word in inputs:
        if not word.startswith("@"):
            yield word
            continue
        try:
            text = sys.stdin.read() if word == "@-" else Path(word[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ValueError(f"{word}: the list {word[1:]} cannot be read: {reason}") from None
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise ValueError(f"{word}: the list {word[1:]} is empty; it holds one path per line")
        yield from lines


def _from_standard_input(folder: Path) -> FoundImages:
    data = sys.stdin.buffer.read()
    if not data:
        raise ValueError("standard input is empty: pipe an image into it, as in  cat photo.jpg | intarsia predict ...")
    file = folder / "stdin"
    file.write_bytes(data)
    return FoundImages((ImageFile(file, "stdin"),), {})
