"""Video in and out: frames of a file or a camera, read ahead in a thread, and pictures written as a file that plays.

OpenCV's wheels bring FFmpeg with decoders for nearly everything and with few encoders: `CODECS` names one for each kind
of file that can be written. They keep two colours for four pixels, so that width and height are even.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.io.whole_files import aside_name, put_in_place

Picture = npt.NDArray[np.uint8]

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
"""Suffix of a file to write -> the FourCC of its codec, one that OpenCV's wheels can encode on every system."""

VIDEO_SUFFIXES = (*CODECS, ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".mxf", ".vob")
"""What is taken for a video by its name."""

CAMERA = re.compile(r"camera:(\d+)")
USUAL_RATE = 25.0
"""Frames per second where a file or a camera does not say."""

AHEAD = 3
"""Frames that wait decoded for whoever needs them next."""

PATIENCE = 2000
"""Frames in a row that cannot be decoded, after which a file is given up."""


def is_video(source: str) -> bool:
    """Whether an input is a video by its name, or a camera ("camera:0")."""
    return CAMERA.fullmatch(source) is not None or Path(source).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """image: (H, W, 3) uint8 RGB. index: its place in the video, from 0. time: seconds from the first one."""

    index: int
    time: float
    image: Picture


class Frames(Iterator[Frame]):
    """The frames of a video file, or of a camera as they come, turned as their file says they should be seen.

    A file gives each frame exactly once. A camera gives the newest one and has no end: what nobody had time for is
    dropped. Frames that cannot be decoded are passed over and their numbers kept in `lost`; the rest of a file that
    breaks off counts as lost, too.

    start, stop: seconds, the part of a file that is given. every: only each so many-th of its frames.
    name: of the file without suffix, or "camera0". size: of the frames. rate: frames per second of those given.
    total: how many will be given, None if nobody knows. announced: how many the file says it has, 0 if it does not say.

    Raises ValueError for what cannot be opened, and for a part that the file does not have.
    """

    def __init__(self, source: str, *, start: float = 0.0, stop: float | None = None, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        if not 0 <= start < (math.inf if stop is None else stop):
            raise ValueError(f"expected 0 <= start < stop in seconds, found start {start:g} and stop {stop}")
        camera = CAMERA.fullmatch(source)
        self.live = camera is not None
        if self.live and (start or stop is not None or every > 1):
            raise ValueError(f"{source}: start, stop and every are for files; a recording ends with Ctrl-C")
        self._capture = _open_file(Path(source).expanduser()) if camera is None else _open_camera(int(camera[1]))
        self.name = source.replace(":", "") if self.live else Path(source).stem
        self.source = source
        self.size: Size = (self._number(cv2.CAP_PROP_FRAME_HEIGHT), self._number(cv2.CAP_PROP_FRAME_WIDTH))
        found = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = found if 0 < found < 1000 else USUAL_RATE
        self.rate = self._rate / every
        self.announced = 0 if self.live else max(0, self._number(cv2.CAP_PROP_FRAME_COUNT))
        self._every, self._first = every, math.ceil(start * self._rate - 1e-6)
        self._end = math.inf if stop is None else max(self._first + 1, math.ceil(stop * self._rate - 1e-6))
        self.total: int | None = None
        if self.announced:
            if self._first >= self.announced:
                self._capture.release()
                raise ValueError(f"{source} is {self.announced / self._rate:.2f} s long; nothing is left at {start:g}")
            self.total = math.ceil((min(self._end, self.announced) - self._first) / every)
        self.given = 0
        self._tried = 0
        self._failed: list[int] = []
        self._frames = self._newest() if self.live else self._ahead()

    def __next__(self) -> Frame:
        frame = next(self._frames)
        self.given += 1
        return frame

    @property
    def lost(self) -> tuple[int, ...]:
        """Numbers of the frames that could not be decoded so far.

        Where they lack at the very end, and are few, the file only rounded its length up: see `rounded`.
        """
        return () if self.rounded else tuple(self._failed)

    @property
    def rounded(self) -> int:
        """How many frames a whole file has less than it says: some kinds give a length that includes the sound."""
        few = max(1, min(round(self._rate / 2), self.announced // 10))
        at_end = self._failed == list(range(self.announced - len(self._failed), self.announced))
        return len(self._failed) if at_end and len(self._failed) <= few < self.announced else 0

    def close(self) -> None:
        """Stop reading and let go of the file or the camera."""
        self._frames.close()
        self._capture.release()

    def _number(self, what: int) -> int:
        return int(self._capture.get(what))

    # --- A file: frame by frame, none left out ----------------------------------------------------------------------

    def _ahead(self) -> Generator[Frame, None, None]:
        """Frames in order; a single thread reads, so that it is always at the next one."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="intarsia-video") as pool:
            waiting = deque(pool.submit(self._read) for _ in range(AHEAD))
            try:
                while (frame := waiting.popleft().result()) is not None:
                    waiting.append(pool.submit(self._read))
                    yield frame
            finally:
                pool.shutdown(cancel_futures=True)

    def _read(self) -> Frame | None:
        """The next frame of those asked for; None after the last."""
        broken = 0
        while self._tried < self._end and broken < PATIENCE:
            index = self._tried
            wanted = index >= self._first and (index - self._first) % self._every == 0
            arrived, image = self._capture.read() if wanted else (self._capture.grab(), None)
            if not arrived and index >= self.announced:
                break  # the end, as announced or, where nothing was, as it is
            self._tried += 1
            if image is not None:
                return Frame(index, index / self._rate, _rgb(image))
            if not arrived:
                broken += 1
                self._failed.append(index)
        if broken >= PATIENCE:  # what follows was not even tried
            last = int(min(self._end, self.announced))
            self._failed.extend(range(self._tried, last))
            self._tried, self._end = last, 0
        return None

    # --- A camera: the newest frame ---------------------------------------------------------------------------------

    def _newest(self) -> Generator[Frame, None, None]:
        """The newest frame each time; a thread empties the camera's own queue all the while."""
        newest: queue.Queue[Frame | None] = queue.Queue(maxsize=1)
        closed = threading.Event()

        def watch() -> None:
            began, index = 0.0, 0
            while not closed.is_set():
                arrived, image = self._capture.read()
                began = began or time.monotonic()
                with contextlib.suppress(queue.Empty):
                    newest.get_nowait()  # nobody had time for it
                newest.put(Frame(index, time.monotonic() - began, _rgb(image)) if arrived else None)
                if not arrived:
                    return
                index += 1

        thread = threading.Thread(target=watch, name="intarsia-camera", daemon=True)
        thread.start()
        try:
            while (frame := newest.get()) is not None:
                yield frame
        finally:
            closed.set()
            thread.join(timeout=5)


def _rgb(image: npt.NDArray[Any]) -> Picture:
    converted: Picture = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    return converted


def _open_file(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise ValueError(f"{path}: " + ("a folder, not a video" if path.is_dir() else "no such file"))
    with open(path, "rb") as readable:  # says by itself who may not read it
        if not readable.read(1):
            raise ValueError(f"{path}: the file is empty")
    with _silent():
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        cut = "; an .mp4 or .mov whose recording or copy was cut off has lost its table of frames"
        hint = cut if path.suffix.lower() in (".mp4", ".mov", ".m4v") else ""
        raise ValueError(f"{path}: no video that FFmpeg can read{hint}")
    return capture


def _open_camera(number: int) -> cv2.VideoCapture:
    with _silent():
        capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise ValueError(
            f"camera:{number} cannot be opened; is it connected, free, and may this program use it? "
            "Cameras are counted from 0"
        )
    return capture


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what OpenCV and FFmpeg say on standard error: what matters of it becomes an error of ours."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when FFmpeg is first used
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


# --- Writing ------------------------------------------------------------------------------------------------------


class VideoWriter:
    """Pictures (H, W, 3) RGB of one size, in order, as a video of `rate` frames per second. Use it as a context.

    The file is written aside and takes its name when the context ends, with Ctrl-C, too: it plays as far as it was
    written. Any other error leaves none. An odd last row or column is left out, as the codecs need it.

    Raises ValueError for a suffix or a codec that cannot be written, and for a file that did not come out whole.
    """

    def __init__(self, path: Path, *, rate: float) -> None:
        self.path, self.rate, self.written = path, rate, 0
        self._codec = codec_of(path)
        self._aside = path.with_name(aside_name(path.suffix))
        self._file: cv2.VideoWriter | None = None
        self._size: Size = (0, 0)

    def write(self, picture: Picture, *, copies: int = 1) -> None:
        """Add a picture, shown for as many frames."""
        height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
        if self._file is None:
            self._file, self._size = self._open(height, width), (height, width)
        if (height, width) != self._size:
            raise ValueError(
                f"{self.path}: frames of {self._size[1]} x {self._size[0]} pixels are followed by one of "
                f"{width} x {height}; a video has one size"
            )
        bands = cv2.cvtColor(np.ascontiguousarray(picture[:height, :width]), cv2.COLOR_RGB2BGR)
        for _ in range(copies):
            self._file.write(bands)
        self.written += copies

    def _open(self, height: int, width: int) -> cv2.VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _silent():
            fourcc = cv2.VideoWriter.fourcc(*self._codec)
            file = cv2.VideoWriter(str(self._aside), cv2.CAP_FFMPEG, fourcc, self.rate, (width, height))
        if not file.isOpened():
            self._aside.unlink(missing_ok=True)
            raise ValueError(
                f"{self.path}: cannot write {width} x {height} pixels with the codec {self._codec} into "
                f"{self.path.parent}; if the folder is writable, this OpenCV lacks the codec: try another "
                f"suffix, {', '.join(CODECS)} (.avi needs least), or --out FOLDER for single frames"
            )
        return file

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        self._file.release()
        try:
            if kind is None or issubclass(kind, KeyboardInterrupt):
                self._check()
                put_in_place(self._aside, self.path)
        finally:
            self._aside.unlink(missing_ok=True)

    def _check(self) -> None:
        """OpenCV does not say when a disk is full. A file that is not whole has no index, or fewer frames in it."""
        with _silent():
            capture = cv2.VideoCapture(str(self._aside), cv2.CAP_FFMPEG)
            found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
            capture.release()
        if found < self.written - max(1, self.written // 100):  # some kinds of file only know their length in time
            raise ValueError(f"{self.path}: only {found} of {self.written} frames arrived; is the disk full?")


def codec_of(path: Path) -> str:
    """The FourCC that a file of this name is written with. Raises ValueError for a suffix that is none of `CODECS`."""
    suffix = path.suffix.lower()
    if suffix not in CODECS:
        raise ValueError(f"{path}: videos are written as {', '.join(CODECS)}, found {suffix or 'no suffix'!r}")
    return CODECS[suffix]
