"""What ``intarsia predict`` was given, and where it goes: images, one image for one file, frames, a video, a raster."""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from intarsia.data.gdal import raster_library
from intarsia.data.image_io import is_image_name
from intarsia.data.scenes.georeference import is_local, is_placed
from intarsia.data.slices import is_volume, suffix_of
from intarsia.inference.inputs.finding import FoundImages, ImageFile, Pages, find_images, means_many, numbered
from intarsia.inference.inputs.remote import is_pattern
from intarsia.inference.inputs.video import VIDEO_SUFFIXES, is_video
from intarsia.inference.outputs.image_files import OUTLINES
from intarsia.inference.outputs.remote_folder import RemoteFolder, check_writable
from intarsia.inference.outputs.video import codec_of
from intarsia.inference.outputs.writer import check_kinds
from intarsia.io.stores import PROTOCOLS, is_address, is_web, path_of, public, scheme_of
from intarsia.io.text import as_on_disk, decoded, lines_of, read_lines
from intarsia.io.whole_files import write_bytes
from intarsia.terminal import warn
from intarsia.workflows.raster_job import RasterSource

STANDARD = "-"
"""Standard input as an input, standard output as --out."""

_RASTERS = (".tif", ".tiff")

_SCENES = (*_RASTERS, ".jp2")
"""Files behind addresses that are read window by window."""

_OF_GDAL = ("s3", "gs", "az", "https", "http", "ftp", "zip", "tar", "gzip", "oss", "file")
"""Schemes that rasterio has GDAL open, also several with a plus."""

_FILES: Mapping[str, str] = {
    ".png": "label", ".jpg": "overlay", ".jpeg": "overlay", ".webp": "overlay", ".npy": "probs",
    ".geojson": "polygons", ".json": "rle",
}  # fmt: skip
"""Suffix of a single file -> what it holds if nothing else is said."""

_FORMATS: Mapping[str, tuple[str, ...]] = {
    "label": (".png",), "color": (".png",), "overlay": (".jpg", ".jpeg", ".png", ".webp"), "probs": (".npy",),
    "logits": (".npy",), "confidence": (".png",), "entropy": (".png",), "polygons": (".geojson", ".json"),
    "rle": (".json",),
}  # fmt: skip
"""Kind -> suffixes of a single file of it."""

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}")
"""What looks like the ending of a file's name, and not like a version or a date."""

_ALSO: Mapping[str, tuple[str, ...]] = {
    "one": ("--format",), "raster": ("--devices",), "rasters": ("--skip-existing", "--part", "--devices"),
}  # fmt: skip
"""Kind of job -> options of images in a folder that it has, too."""

_WHOLE: Mapping[str, str] = {
    "video": "a video", "raster": "a raster", "rasters": "rasters", "one": "a single file",
    "frames": "a video of images", "volume": "a volume",
}  # fmt: skip


@dataclass(frozen=True)
class Given:
    """One job: "images" into a folder, "one" image into a file or standard output, "frames": images into a video file,
    a "video", a "raster" into a GeoTIFF, "rasters" into a folder of them, a "volume" into one of labels.

    found: the images. source: the video or the raster. rasters: those among "images", or all. out: as it was given.
    remote: the folder of an object store that it names.
    """

    kind: Literal["images", "one", "frames", "video", "raster", "rasters", "volume"]
    out: str
    found: FoundImages | None = None
    source: str = ""
    rasters: tuple[RasterSource, ...] = ()
    remote: RemoteFolder | None = None

    @property
    def folder(self) -> Path:
        """Where files are made."""
        return Path(self.out) if self.remote is None else self.remote.folder

    def check_options(self, given: Mapping[str, bool]) -> None:
        """Raises ValueError for an option that was given and is only there for images in a folder."""
        if self.kind == "images":
            return
        for option, is_given in given.items():
            if is_given and option not in _ALSO.get(self.kind, ()):
                of_raster = option == "--areas" and self.kind in ("raster", "rasters")
                hint = "; --save areas makes a table beside it" if of_raster else ""
                what = _WHOLE[self.kind]
                raise ValueError(f"{option} is for images that are written into a folder, not for {what}{hint}")

    def check_raster_options(self, given: Mapping[str, bool]) -> None:
        """Raises ValueError for an option that was given and is only there for rasters."""
        for option, is_given in given.items():
            if is_given and self.kind != "raster" and not self.rasters:
                raise ValueError(f"{option} is for rasters: give --out the name of a GeoTIFF, as in  -o labels.tif")


@contextmanager
def sort_inputs(inputs: Sequence[str], out: str, *, pages: Pages = "first", as_rasters: bool = True) -> Iterator[Given]:
    """What the words of a command line stand for; standard input is kept in a file for as long as this lasts.

    as_rasters: several images for a folder, of which some lie somewhere on Earth: those are rasters.

    Raises ValueError for an input that does not exist, a mixture that is no job, or an `out` that does not fit.
    """
    words = list(_listed(inputs))
    if scheme_of(out):
        check_writable(out)
        with (
            tempfile.TemporaryDirectory(prefix="intarsia-") as made,
            sort_inputs(words, f"{made}/", pages=pages, as_rasters=as_rasters) as given,
        ):
            _check_into_store(given, out)
            yield replace(given, out=out, remote=RemoteFolder.opened(out, Path(made)))
        return
    special = [word for word in words if is_video(word) or word == STANDARD]
    if special and len(words) > 1:
        what = "standard input is one image" if STANDARD in special else f"{special[0]} is a video"
        raise ValueError(f"{what}: predict it by itself, not together with other inputs")
    if special and special[0] != STANDARD:
        if is_address(special[0]):
            raise ValueError(f"{public(special[0])}: videos are read from this machine: copy it here first")
        if out == STANDARD:
            raise ValueError(f"{special[0]}: a video cannot be written to standard output; give a file or a folder")
        if Path(out).suffix.lower() not in VIDEO_SUFFIXES:
            _check_folder(out)
        yield Given("video", out, source=special[0])
        return
    if Path(out).suffix.lower() in _RASTERS and not Path(out).is_dir():
        if len(words) > 1 or STANDARD in words or Path(words[0]).is_dir():
            raise ValueError(f"--out {out} is one raster, made of one; give a folder for several:  -o {Path(out).stem}")
        if _is_path(words[0]) and not Path(words[0]).is_file():
            raise ValueError(f"{words[0]}: no such file (in {Path.cwd()})")
        yield Given("raster", out, source=words[0])
        return
    by_gdal = [
        word for word in words if word != STANDARD and not _is_path(word) and not _is_of_images(word, as_rasters)
    ]
    if by_gdal:
        yield _of_rasters(by_gdal, [word for word in words if word not in by_gdal], out, pages)
        return
    with tempfile.TemporaryDirectory(prefix="intarsia-") as scratch:
        found = _from_standard_input(Path(scratch)) if special else find_images(words, pages=pages, once=True)
        given = _of_images(found, out)
        several = len(words) > 1 or means_many(words[0])  # one by its name is an image, unless --out names a raster
        yield _with_rasters(given) if as_rasters and several and given.kind == "images" else given


def _is_path(word: str) -> bool:
    """Whether an input is one of this machine's own files, and not something that only GDAL can open."""
    return is_local(word) or Path(word).exists()


def _is_of_images(word: str, as_rasters: bool) -> bool:
    """Whether an address is that of an image, or of a folder of a store; others are scenes, which GDAL opens.

    Raises ValueError for one that neither knows.
    """
    scheme = scheme_of(word)
    if scheme and not is_address(word) and not set(scheme.split("+")) <= set(_OF_GDAL):
        raise ValueError(
            f"{word[:200]}: {scheme}:// is not known here; images are found behind "
            f"{', '.join(f'{name}://' for name in PROTOCOLS)}, scenes also behind what GDAL opens"
        )
    if is_address(word) and is_web(word) and public(word).endswith("/"):
        raise ValueError(
            f"{public(word)}: the web has no folders that could be listed: write the addresses of the files into a "
            "text file, one a line, and give @FILE"
        )
    name = path_of(word).name
    if not is_address(word) or (as_rasters and _may_be_scene(word) and not is_pattern(word)):
        return False
    has_suffix = _SUFFIX.fullmatch(PurePosixPath(name).suffix) is not None
    is_folder = not is_web(word) and (word.endswith("/") or is_pattern(word) or not has_suffix)
    return is_folder or is_image_name(name)


def _is_scene(file: ImageFile) -> bool:
    """Whether a file lies somewhere on Earth; a TIFF behind an address that GDAL opens is taken for one, unseen."""
    if not file.address:
        return is_placed(file.path)
    return _may_be_scene(file.address)


def _may_be_scene(address: str) -> bool:
    return scheme_of(address) in _OF_GDAL and suffix_of(path_of(address).name) in _SCENES


def _check_into_store(given: Given, out: str) -> None:
    """Raises ValueError for what is not written into an object store."""
    is_volumes = given.found is not None and any(is_volume(file.path) for file in given.found.files)
    if given.kind not in ("images", "rasters") or is_volumes:
        what = "volumes" if is_volumes else _WHOLE[given.kind]
        raise ValueError(f"--out {public(out)}: of {what}, results are written to this machine: give a folder of it")


def _of_rasters(remote: Sequence[str], others: Sequence[str], out: str, pages: Pages) -> Given:
    """Rasters behind URLs or in files that only GDAL knows, and other inputs beside them, into a folder."""
    _check_folder(out)
    taken: Counter[str] = Counter()
    sources = [RasterSource(word, numbered(_stem(word), taken)) for word in remote]
    if not others:
        return Given("rasters", out, rasters=tuple(sources))
    given = _with_rasters(Given("images", out, find_images(others, pages=pages, once=True)))
    sources += [RasterSource(raster.location, numbered(raster.name, taken)) for raster in given.rasters]
    return replace(given, rasters=tuple(sources))


def _stem(location: str) -> str:
    """A name for what is made of a raster behind a URL: the last part that names something."""
    parts = [part.strip('"') for part in re.split(r"[/\\:]", location.partition("?")[0]) if part.strip('"')]
    return re.sub(r"\.[A-Za-z0-9]{1,6}$", "", parts[-1]) if parts else "raster"


def _with_rasters(given: Given) -> Given:
    """The images that lie somewhere on Earth taken for rasters, if rasterio is there."""
    found = given.found
    assert found is not None
    placed = [file for file in found.files if file.page is None and _is_scene(file)]
    if not placed:
        return given
    try:
        raster_library()
    except ValueError as error:
        warn(f"{len(placed)} images lie somewhere on Earth, but become PNG files in pixels: {error}")
        return given
    rest = tuple(file for file in found.files if file not in placed)
    rasters = tuple(RasterSource(str(file.source), file.name) for file in placed)
    kind: Literal["images", "rasters"] = "images" if rest or found.failures else "rasters"
    return replace(given, kind=kind, found=replace(found, files=rest), rasters=rasters)


def _of_images(found: FoundImages, out: str) -> Given:
    path = Path(out)
    suffix = path.suffix.lower()
    if is_volume(out) and not _is_folder(out):
        if len(found.files) != 1 or not is_volume(found.files[0].path):
            raise ValueError(
                f"--out {out} is one volume of labels, made of one volume; give a folder for anything else"
            )
        return Given("volume", out, found)
    if out == STANDARD or (suffix in _FILES and not _is_folder(out)):
        if len(found.files) > 1:
            raise ValueError(f"--out {out} is one file, and there are {len(found.files)} images; give a folder")
        return Given("one", out, found)
    if suffix in VIDEO_SUFFIXES and not _is_folder(out):
        codec_of(path)
        return Given("frames", out, found)
    _check_folder(out)
    return Given("images", out, found)


def _is_folder(out: str) -> bool:
    return out.endswith(("/", "\\")) or Path(out).is_dir()


def _check_folder(out: str) -> None:
    """Raises ValueError for a name that is no folder's."""
    path = Path(out)
    if path.exists() and not path.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    if _SUFFIX.fullmatch(path.suffix) and not _is_folder(out):
        files = ", ".join(suffix for suffix in _FILES if suffix != ".jpeg")
        raise ValueError(
            f"--out {out}: nothing is written as {path.suffix} here; one image becomes a file with {files}, one raster "
            f".tif, a video or a folder of images .mp4. For a folder of this name add a slash:  -o {out}/"
        )


def kinds_of(save: str | None, given: Given, file_format: str) -> frozenset[str]:
    """The kinds of outputs that were asked for, or those that suit the job."""
    if save is None:
        if given.kind == "one":
            kind = "label" if given.out == STANDARD else _FILES[Path(given.out).suffix.lower()]
            return _checked_libraries(frozenset({kind}))
        if given.kind == "frames":
            return frozenset({"overlay"})
        if given.kind == "volume":
            return frozenset({"label"})
        alone = file_format != "indices" or given.kind in ("raster", "rasters")
        return frozenset({"label"} if alone else {"label", "overlay"})
    words = [word.strip() for word in save.split(",") if word.strip()]
    if given.kind in ("raster", "rasters") and words:
        return frozenset(words)  # rasters have some kinds of their own, and check them
    kinds = _checked_libraries(check_kinds(words))
    if given.kind != "one":
        return kinds
    if len(kinds) > 1:
        raise ValueError(f"--out {given.out} is one file, and --save names {len(kinds)} things; give a folder")
    (kind,) = kinds
    if kind == "masks":
        raise ValueError(f"--out {given.out} is one file, and --save masks writes one for each class; give a folder")
    if given.out == STANDARD:
        if kind in OUTLINES:
            raise ValueError(f"--save {save} is not written to standard output: give a file or a folder with --out")
    elif Path(given.out).suffix.lower() not in _FORMATS[kind]:
        raise ValueError(f"--out {given.out}: {kind} is written as {' or '.join(_FORMATS[kind])}")
    return kinds


def _checked_libraries(kinds: frozenset[str]) -> frozenset[str]:
    if "polygons" in kinds:
        raster_library()  # says now if it is not there
    return kinds


def _listed(inputs: Sequence[str]) -> Iterator[str]:
    """The inputs, with @LIST replaced by the lines of that file (@- by those of standard input)."""
    for word in inputs:
        if not word.startswith("@"):
            yield word
            continue
        try:
            lines = lines_of(_standard_text()) if word == "@-" else read_lines(Path(word[1:]), pipe=True)
        except ValueError as error:
            raise ValueError(f"the list {error}") from None
        lines = [line for line in lines if line]
        if not lines:
            raise ValueError(f"{word}: the list {word[1:]} is empty; it holds one path per line")
        yield from (line if scheme_of(line) else str(as_on_disk(Path(line).expanduser())) for line in lines)


def _standard_text() -> str:
    """Standard input as text, whatever encoding it has."""
    try:
        return decoded(sys.stdin.buffer.read())
    except ValueError as error:
        raise ValueError(f"of standard input cannot be read: {error}") from None


def _from_standard_input(folder: Path) -> FoundImages:
    data = sys.stdin.buffer.read()
    if not data:
        raise ValueError("standard input is empty: pipe an image into it, as in  cat photo.jpg | intarsia predict ...")
    file = write_bytes(folder / "stdin", data)
    return FoundImages((ImageFile(file, "stdin"),))
