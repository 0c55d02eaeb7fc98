"""Video out: pictures written as a file that plays, each shown at its own time.

PyAV (the extra ``intarsia[video]``) writes H.264, VP9 and Motion JPEG with the time of each frame. OpenCV's wheels have
few encoders and one constant rate: there, a frame is repeated until the next one is due.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.inference.inputs.video_decoders import pyav, quiet
from intarsia.io.whole_files import DiskFullError, whole_file

Picture = npt.NDArray[np.uint8]

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
"""Suffix of a file to write -> the FourCC of its codec, one that OpenCV's wheels can encode on every system."""

ENCODERS: dict[str, tuple[str, ...]] = {
    ".avi": ("mjpeg",),
    ".webm": ("libvpx-vp9", "libvpx"),
    "": ("libx264", "libopenh264", "mpeg4"),
}
"""Suffix -> PyAV's encoders for it, the best first; under "" those of all other suffixes."""

OPTIONS = {"libx264": {"crf": "16", "preset": "veryfast"}, "libvpx-vp9": {"crf": "24", "b": "0", "cpu-used": "6"}}
"""Encoder -> quality near that of the pictures, at a speed that does not hold the network up."""

CLOCK = 90_000
"""Ticks a second of the times in a file."""


class VideoWriter:
    """Pictures (H, W, 3) RGB of one size, in order, as a video. Use it as a context.

    rate: frames per second, on average. The file is written aside and takes its name when the context ends, with
    Ctrl-C, too: it plays as far as it was written. Any other error leaves none. An odd last row or column is left out,
    as the codecs need it. written: pictures so far.

    Raises ValueError for a suffix or a codec that cannot be written, DiskFullError where there is no room.
    """

    def __init__(self, path: Path, *, rate: float) -> None:
        codec_of(path)
        self.path, self.rate, self.written = path, rate, 0
        self._stack = ExitStack()
        self._encoder: Encoder | None = None
        self._size: Size = (0, 0)
        self._origin: float | None = None

    def write(self, picture: Picture, *, time: float | None = None) -> None:
        """Add a picture. time: seconds from any moment, growing; by default it follows the one before at the rate."""
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
        if self._encoder is None:
            aside = self._stack.enter_context(whole_file(self.path, keep_on=(KeyboardInterrupt,)))
            self._size = (height, width)
            self._encoder = _encoder(self.path, aside, self._size, self.rate)
        if (height, width) != self._size:
            raise ValueError(
                f"{self.path}: frames of {self._size[1]} x {self._size[0]} pixels are followed by one of "
                f"{width} x {height}; a video has one size"
            )
        if time is None:
            time = self.written / self.rate
        self._origin = time if self._origin is None else self._origin
        self._encoder.write(np.ascontiguousarray(picture[:height, :width]), time - self._origin)
        self.written += 1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._encoder is not None:
            try:
                self._encoder.close(whole=kind is None or issubclass(kind, KeyboardInterrupt))
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)


class Encoder(Protocol):
    """Where the pictures of a `VideoWriter` go."""

    def write(self, picture: Picture, time: float) -> None:
        """Add a picture of even width and height, to be shown from `time` on, in seconds from the first one."""
        ...

    def close(self, *, whole: bool) -> None:
        """Finish the file. whole: False where it will be thrown away."""
        ...


def codec_of(path: Path) -> str:
    """The FourCC that OpenCV writes a file of this name with. Raises ValueError for a suffix outside `CODECS`."""
    suffix = path.suffix.lower()
    if suffix not in CODECS:
        raise ValueError(f"{path}: videos are written as {', '.join(CODECS)}, found {suffix or 'no suffix'!r}")
    return CODECS[suffix]


def _encoder(path: Path, aside: Path, size: Size, rate: float) -> Encoder:
    av = pyav()
    if av is not None:
        names = ENCODERS.get(path.suffix.lower(), ENCODERS[""])
        known = [name for name in names if _has_encoder(av, name)]
        if known:
            return PyAVEncoder(path, aside, size, rate, known[0], av)
    return OpenCVEncoder(path, aside, size, rate)


def _has_encoder(av: Any, name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


class PyAVEncoder:
    """Encodes by PyAV; every frame keeps its time."""

    def __init__(self, path: Path, aside: Path, size: Size, rate: float, encoder: str, av: Any) -> None:
        self._path, self._av, self._last = path, av, -1
        try:
            self._file = av.open(str(aside), "w")
            self._stream = self._file.add_stream(encoder, rate=Fraction(rate).limit_denominator(CLOCK))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ValueError(f"{path}: cannot write a video of {size[1]} x {size[0]} pixels here ({error})") from error
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        self._stream.options = OPTIONS.get(encoder, {})
        self._constant = Fraction(rate).limit_denominator(CLOCK) if encoder in ("mjpeg", "mpeg4") else None
        self._stream.codec_context.time_base = Fraction(1, CLOCK) if self._constant is None else 1 / self._constant

    def write(self, picture: Picture, time: float) -> None:
        """See `Encoder`."""
        ticks = CLOCK if self._constant is None else self._constant
        frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.time_base = Fraction(1) / ticks
        frame.pts = self._last = max(self._last + 1, round(time * ticks))
        self._put(frame)

    def _put(self, frame: Any) -> None:
        try:
            self._file.mux(self._stream.encode(frame))
        except (self._av.error.FFmpegError, OSError) as error:
            raise _cannot_write(self._path, error) from error

    def close(self, *, whole: bool) -> None:
        """See `Encoder`."""
        try:
            if whole:
                self._put(None)
            self._file.close()
        except (self._av.error.FFmpegError, OSError) as error:
            if whole:
                raise _cannot_write(self._path, error) from error


def _cannot_write(path: Path, error: Exception) -> ValueError:
    free = shutil.disk_usage(path.parent).free / 1e6
    if getattr(error, "errno", None) in (28, 27) or free < 1:
        return DiskFullError(f"no room on the disk for {path}: {free:.0f} MB free")
    return ValueError(f"{path}: the video could not be written ({error}); {free:.0f} MB of the disk are free")


class OpenCVEncoder:
    """Encodes by OpenCV at one constant rate: pictures are repeated until the next one is due."""

    def __init__(self, path: Path, aside: Path, size: Size, rate: float) -> None:
        self._path, self._aside, self._rate, self._written = path, aside, rate, 0
        self._waiting: Picture | None = None
        quiet()
        fourcc = cv2.VideoWriter.fourcc(*codec_of(path))
        self._file = cv2.VideoWriter(str(aside), cv2.CAP_FFMPEG, fourcc, rate, (size[1], size[0]))
        if not self._file.isOpened():
            raise ValueError(
                f"{path}: cannot write {size[1]} x {size[0]} pixels with the codec {codec_of(path)}; if the folder is "
                "writable, this OpenCV lacks the codec: pip install 'intarsia[video]', try another suffix, "
                f"{', '.join(CODECS)} (.avi needs least), or --out FOLDER for single frames"
            )

    def write(self, picture: Picture, time: float) -> None:
        """See `Encoder`."""
        self._repeat(until=round(time * self._rate))
        self._waiting = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]

    def _repeat(self, *, until: int) -> None:
        """The picture that waits, until there are so many. One that another follows at once is left out."""
        while self._waiting is not None and self._written < until:
            self._file.write(self._waiting)
            self._written += 1

    def close(self, *, whole: bool) -> None:
        """See `Encoder`."""
        self._repeat(until=self._written + 1)
        self._file.release()
        if whole:
            self._check()

    def _check(self) -> None:
        """OpenCV does not say when a disk is full. A file that is not whole has no index, or fewer frames in it."""
        capture = cv2.VideoCapture(str(self._aside), cv2.CAP_FFMPEG)
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if found < self._written - max(1, self._written // 100):  # some kinds of file only know their length in time
            raise ValueError(f"{self._path}: only {found} of {self._written} frames arrived; is the disk full?")
