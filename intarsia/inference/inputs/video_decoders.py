"""Video files decoded in order, each frame with the time at which it is to be shown.

PyAV (the extra ``intarsia[video]``) is FFmpeg with its errors as exceptions and its times as they are in the file.
Without it OpenCV decodes: the same FFmpeg, without the exact length of a file or the reason for what goes wrong.

A container's own count of frames is a guess in many kinds of file, and its rate an average: nothing relies on them.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size

Picture = npt.NDArray[np.uint8]
USUAL_RATE = 25.0
"""Frames per second where a file or a camera does not say."""

PATIENCE = 2000
"""Frames in a row that cannot be decoded, after which a file is given up."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One frame of a file. index: its place, from 0. time: in seconds from the first one.

    picture: makes (H, W, 3) uint8 RGB of it, upright; None for a frame that could not be decoded.
    """

    index: int
    time: float
    picture: Callable[[], Picture] | None


class Decoder(Protocol):
    """A video file that is read once, from `start` on.

    size: (height, width) of the frames as they are shown. rate: frames per second, on average. duration: seconds, or
    None where the file does not say. announced: how many frames its table lists, 0 where it has none.
    """

    size: Size
    rate: float
    duration: float | None
    announced: int

    def frames(self, start: float) -> Iterator[Decoded]:
        """The frames in the order in which they are shown, from one at or before `start` seconds on."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def open_video(path: Path) -> Decoder:
    """Open a file. Raises ValueError for what is missing, empty, or no video."""
    if not path.is_file():
        raise ValueError(f"{path}: " + ("a folder, not a video" if path.is_dir() else "no such file"))
    with open(path, "rb") as readable:  # says by itself who may not read it
        if not readable.read(1):
            raise ValueError(f"{path}: the file is empty")
    av = pyav()
    return OpenCVDecoder(path) if av is None else PyAVDecoder(path, av)


def pyav() -> Any:
    """The module `av`, or None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av


def no_video(path: Path, reason: str = "") -> ValueError:
    """The error for a file that FFmpeg does not know."""
    cut = "; an .mp4 or .mov whose recording or copy was cut off has lost its table of frames"
    hint = cut if path.suffix.lower() in (".mp4", ".mov", ".m4v") else ""
    return ValueError(f"{path}: no video that FFmpeg can read{f' ({reason})' if reason else ''}{hint}")


# --- PyAV ---------------------------------------------------------------------------------------------------------


class PyAVDecoder:
    """A file by PyAV; see `Decoder`."""

    def __init__(self, path: Path, av: Any) -> None:
        self._path, self._av = path, av
        self._open()
        self._unit = float(self._stream.time_base)
        self._origin = (self._stream.start_time or 0) * self._unit
        self.announced = int(self._stream.frames)
        self.duration = self._length()
        self.rate = self._average_rate()
        self.size: Size = (self._stream.codec_context.height, self._stream.codec_context.width)
        self._turn_size()

    def _open(self) -> None:
        """Begin with the first frame."""
        av = self._av
        try:
            self._file = av.open(str(self._path))
        except (av.error.FFmpegError, OSError) as error:
            raise no_video(self._path, getattr(error, "strerror", "") or str(error)) from None
        if not self._file.streams.video:
            self._file.close()
            raise no_video(self._path, "it has no pictures")
        self._stream = self._file.streams.video[0]
        self._stream.thread_type = "AUTO"

    def _length(self) -> float | None:
        """Of the pictures alone; a container's own length includes the sound."""
        if self._stream.duration:
            return float(self._stream.duration * self._unit)
        tag = self._stream.metadata.get("DURATION", "")
        with contextlib.suppress(ValueError):
            hours, minutes, seconds = tag.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - self._origin
        if self._file.duration and not self._file.streams.audio:
            return float(self._file.duration / self._av.time_base) - self._origin
        return None

    def _average_rate(self) -> float:
        if self.announced and self.duration:
            return self.announced / self.duration
        found = float(self._stream.average_rate or 0)
        return found if 0 < found < 1000 else USUAL_RATE

    def _turn_size(self) -> None:
        """The first frame says whether the pictures are shown turned."""
        with contextlib.suppress(self._av.error.FFmpegError):
            first = next(self._file.decode(self._stream), None)
            if first is not None and first.rotation % 180:
                self.size = self.size[::-1]
            if self._stream.start_time is None and first is not None and first.pts is not None:
                self._origin = first.pts * self._unit
        self._rewind(0)

    def _rewind(self, offset: int) -> bool:
        """Go back to a key frame; False where that cannot be done, as in a stream without a container: the file is then
        opened again, and begins with its first frame.
        """
        try:
            self._file.seek(offset, stream=self._stream, backward=True)
        except (self._av.error.FFmpegError, OSError):
            self._file.close()
            self._open()
            return False
        return True

    def frames(self, start: float) -> Iterator[Decoded]:
        """See `Decoder`."""
        index, first = self._seek(start) if start > 0 else (0, 0.0)
        broken, time = 0, first - 1 / self.rate
        packets = self._file.demux(self._stream)
        while broken < PATIENCE:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                found = packet.decode()
            except self._av.error.FFmpegError:
                broken += 1
                yield Decoded(index, time + 1 / self.rate, None)
                index += 1
                continue
            for frame in found:
                broken = 0
                time = time + 1 / self.rate if frame.pts is None else frame.pts * self._unit - self._origin
                yield Decoded(index, max(0.0, time), None if frame.is_corrupt else partial(_upright, frame))
                index += 1

    def _seek(self, start: float) -> tuple[int, float]:
        """Go to the last key frame at or before `start`: (its place, its time). Packets are counted, not decoded."""
        key, before, at, count = None, 0, 0.0, 0
        for packet in self._file.demux(self._stream):
            if packet.pts is None:
                continue
            time = packet.pts * self._unit - self._origin
            if time > start + 1e-9 and packet.is_keyframe:
                break
            if packet.is_keyframe and time <= start + 1e-9:
                key, before, at = packet.pts, count, time
            count += 1
        return (before, at) if self._rewind(0 if key is None else key) else (0, 0.0)

    def close(self) -> None:
        """See `Decoder`."""
        self._file.close()


def _upright(frame: Any) -> Picture:
    picture = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


# --- OpenCV -------------------------------------------------------------------------------------------------------


class OpenCVDecoder:
    """A file by OpenCV; see `Decoder`. It does not say how many frames there are, and its length includes the sound."""

    def __init__(self, path: Path) -> None:
        quiet()
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise no_video(path)
        self.size: Size = (self._number(cv2.CAP_PROP_FRAME_HEIGHT), self._number(cv2.CAP_PROP_FRAME_WIDTH))
        rate, count = self._capture.get(cv2.CAP_PROP_FPS), self._number(cv2.CAP_PROP_FRAME_COUNT)
        self.rate = rate if 0 < rate < 1000 else USUAL_RATE
        self.announced = 0
        self.duration = count / rate if count > 0 and rate > 0 else None

    def _number(self, what: int) -> int:
        return int(self._capture.get(what))

    def frames(self, start: float) -> Iterator[Decoded]:
        """See `Decoder`. Everything before `start` is decoded, too."""
        index, broken, before = 0, 0, -math.inf
        while broken < PATIENCE:
            if not self._capture.grab():
                broken += 1  # of no account if nothing follows: the length is a guess
                continue
            time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if time <= before:  # a stream without a container has no times
                time = before + (1 + broken) / self.rate
            before = time
            for number in range(broken):
                yield Decoded(index + number, time - (broken - number) / self.rate, None)
            index += broken
            broken = 0
            yield Decoded(index, time, self._picture)
            index += 1

    def _picture(self) -> Picture:
        _, image = self._capture.retrieve()
        return rgb(image)

    def close(self) -> None:
        """See `Decoder`."""
        self._capture.release()


def rgb(image: npt.NDArray[Any]) -> Picture:
    """A picture of OpenCV's with its bands in the order red, green, blue."""
    converted: Picture = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    return converted


def quiet() -> None:
    """Keep OpenCV's FFmpeg from standard error: what matters of it becomes an error of ours."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when FFmpeg is first used
