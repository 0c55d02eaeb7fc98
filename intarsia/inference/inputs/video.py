"""Video in: frames of a file or a camera, read ahead in a thread, each with the time at which it is shown."""

from __future__ import annotations

import contextlib
import math
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2

from intarsia.inference.inputs.video_decoders import USUAL_RATE, Decoder, Picture, open_video, quiet, rgb

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp",
    ".ogv", ".mxf", ".vob",
)  # fmt: skip
"""What is taken for a video by its name."""

CAMERA = re.compile(r"camera:(\d+)")

AHEAD = 3
"""Frames that wait decoded for whoever needs them next."""

NEARLY = 1e-6
"""Seconds by which times are rounded when they are compared."""


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
    dropped. Frames that cannot be decoded are passed over and their numbers kept in `lost`.

    start, stop: seconds of presentation, the part of a file that is given. every: only each so many-th of its frames.
    name: of the file without suffix, or "camera0". size: of the frames. rate: frames per second of those given, on
    average. duration: seconds that will be given, None if nobody knows. announced: how many frames the file's table
    lists, 0 where it has none.

    Raises ValueError for what cannot be opened, and with the first frame if the file ends before `start`.
    """

    def __init__(self, source: str, *, start: float = 0.0, stop: float | None = None, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        if not 0 <= start < (math.inf if stop is None else stop):
            raise ValueError(f"expected 0 <= start < stop in seconds, found start {start:g} and stop {stop}")
        camera = CAMERA.fullmatch(source)
        self.live = camera is not None
        self.source, self.given = source, 0
        self.name = source.replace(":", "") if self.live else Path(source).stem
        self.duration: float | None = None
        self.announced = 0
        self._start, self._stop, self._every = start, math.inf if stop is None else stop, every
        self._failed: list[int] = []
        self._times: tuple[float, float] | None = None
        self._length: float | None = None
        self._reached, self._finished = 0.0, False
        if camera is not None:
            if start or stop is not None or every > 1:
                raise ValueError(f"{source}: start, stop and every are for files; a recording ends with Ctrl-C")
            self._open_camera(int(camera[1]))
        else:
            self._open_file(open_video(Path(source).expanduser()))

    def _open_file(self, decoder: Decoder) -> None:
        self.size, self.rate, self.announced = decoder.size, decoder.rate / self._every, decoder.announced
        self._length, self._close = decoder.duration, decoder.close
        if self._length is not None and self._length > self._start:
            self.duration = min(self._stop, self._length) - self._start
        self._frames = self._ahead(self._chosen(decoder))

    def _open_camera(self, number: int) -> None:
        capture = _open_camera(number)
        self.size = (int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)))
        found = capture.get(cv2.CAP_PROP_FPS)
        self.rate = found if 0 < found < 1000 else USUAL_RATE
        self._close = capture.release
        self._frames = _newest(capture)

    def __next__(self) -> Frame:
        frame = next(self._frames)
        self.given += 1
        self._times = (self._times[0] if self._times else frame.time, frame.time)
        return frame

    @property
    def shown(self) -> float:
        """Seconds for which the frames that were given so far are shown."""
        return self._times[1] - self._times[0] + 1 / self.rate if self._times else 0.0

    @property
    def lost(self) -> tuple[int, ...]:
        """Numbers of the frames that could not be decoded so far, those included that the file lists and does not hold.

        Where they lack at the very end, and are few, the file only rounded its length up: see `rounded`.
        """
        return () if self.rounded else tuple(self._failed)

    @property
    def rounded(self) -> int:
        """How many frames a whole file has less than it lists: some kinds give a length that includes the sound."""
        few = max(1, min(round(self.rate * self._every / 2), self.announced // 10))
        at_end = self._failed == list(range(self.announced - len(self._failed), self.announced))
        return len(self._failed) if at_end and len(self._failed) <= few < self.announced else 0

    @property
    def breaks_off(self) -> tuple[float, float] | None:
        """Seconds that were there, and that the file says it has, if its end is missing and it lists no frames."""
        if self.live or self.announced or self._length is None or self._stop < self._length or not self._finished:
            return None
        missing = self._length - self._reached
        usual = max(1.0, 3 / (self.rate * self._every), 0.1 * self._length)
        return (self._reached, self._length) if missing > usual else None

    def close(self) -> None:
        """Stop reading and let go of the file or the camera."""
        self._frames.close()
        self._close()

    # --- A file: frame by frame, none left out ----------------------------------------------------------------------

    def _ahead(self, chosen: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
        """Frames in order; a single thread reads, so that it is always at the next one."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="intarsia-video") as pool:
            waiting = deque(pool.submit(next, chosen, None) for _ in range(AHEAD))
            try:
                while (frame := waiting.popleft().result()) is not None:
                    waiting.append(pool.submit(next, chosen, None))
                    yield frame
            finally:
                pool.shutdown(cancel_futures=True)

    def _chosen(self, decoder: Decoder) -> Generator[Frame, None, None]:
        """The frames that were asked for."""
        counted, last, time = 0, -1, 0.0
        for decoded in decoder.frames(self._start):
            if decoded.time >= self._stop - NEARLY:
                return
            last, time = decoded.index, decoded.time
            if decoded.time < self._start - NEARLY:
                continue
            self._reached = decoded.time if decoded.picture is not None else self._reached
            if decoded.picture is None:
                self._failed.append(decoded.index)
            elif counted % self._every == 0:
                yield Frame(decoded.index, decoded.time, decoded.picture())
            counted += 1
        self._finished = True
        if not counted and self._start:
            raise ValueError(f"{self.source}: its last frame is at {time:.2f} s; nothing is left at {self._start:g}")
        if self._stop == math.inf:
            self._failed.extend(range(last + 1, self.announced))


# --- A camera: the newest frame -------------------------------------------------------------------------------------


def _newest(capture: cv2.VideoCapture) -> Generator[Frame, None, None]:
    """The newest frame each time; a thread empties the camera's own queue all the while."""
    newest: queue.Queue[Frame | None] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def watch() -> None:
        began, index = 0.0, 0
        while not closed.is_set():
            arrived, image = capture.read()
            began = began or time.monotonic()
            with contextlib.suppress(queue.Empty):
                newest.get_nowait()  # nobody had time for it
            newest.put(Frame(index, time.monotonic() - began, rgb(image)) if arrived else None)
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


def _open_camera(number: int) -> cv2.VideoCapture:
    quiet()
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise ValueError(
            f"camera:{number} cannot be opened; is it connected, free, and may this program use it? "
            "Cameras are counted from 0"
        )
    return capture
