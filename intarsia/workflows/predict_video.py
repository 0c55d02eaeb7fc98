"""Videos and cameras for ``intarsia predict``: frames in, an overlay video or label maps out."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from intarsia.inference.inputs.finding import FoundImages
from intarsia.inference.inputs.image_frames import ImageFrames
from intarsia.inference.inputs.video import VIDEO_SUFFIXES, Frame, Frames
from intarsia.inference.outputs.coco import CocoImage
from intarsia.inference.outputs.image_files import Fields
from intarsia.inference.outputs.video import CODECS, VideoWriter, codec_of
from intarsia.inference.outputs.writer import Look, Outputs, OutputWriter, fields_of
from intarsia.terminal import err, say, warn
from intarsia.visual.legend import Entry, with_legend
from intarsia.visual.overlay import HATCHED
from intarsia.visual.text import PAPER

if TYPE_CHECKING:
    from intarsia.inference.prediction import Prediction
    from intarsia.inference.predictor import Predictor

Picture = npt.NDArray[np.uint8]
Advance = Callable[[Frame], None]

MOVING = ("overlay", "color")
"""Kinds of output that are a picture of each frame: one video; of the others there is a file for each frame."""


def predict_video(
    predictor: Predictor,
    source: str,
    out: Path,
    *,
    kinds: frozenset[str] | None,
    look: Look,
    min_confidence: float | None,
    every: int = 1,
    start: float = 0.0,
    stop: float | None = None,
    claim: Callable[[Outputs], None] = lambda outputs: None,
) -> bool:
    """Predict the frames of a video file, or of a camera ("camera:0") until Ctrl-C.

    out: a video file, for one of `MOVING`; or a folder, for NAME_overlay.mp4, NAME_color.mp4, and for all other kinds
    files named by the frame, NAME_000012.png. kinds: of `outputs.KINDS`; None stands for overlay in a file, for label
    and overlay in a folder. look: with a legend, videos become wider by a list of all classes, which stays the same.
    every, start, stop: as those of `Frames`. claim: is called with the outputs of single frames before there are any.

    What a broken file gives is kept, the rest is named. Gives whether all frames were there. After Ctrl-C everything
    written so far plays, and KeyboardInterrupt is raised but for a camera, which has no other end.

    Raises ValueError for what cannot be read or written.
    """
    _keep_input(source, out)
    plan = _plan(source, out, kinds, look, min_confidence)
    frames = Frames(source, start=start, stop=stop, every=every)
    if plan.files is not None:
        claim(plan.files)
    return _predict(predictor, frames, plan)


def predict_frames(
    predictor: Predictor,
    found: FoundImages,
    out: Path,
    *,
    kinds: frozenset[str] | None,
    look: Look,
    min_confidence: float | None,
    rate: float,
) -> bool:
    """Predict images as the frames of one video, `rate` of them a second. Gives whether all could be used.

    out, kinds, look: as those of `predict_video`. Raises ValueError if images differ in size, or not one can be used.
    """
    frames = ImageFrames(found, rate=rate, reader=predictor.reader)
    whole = _predict(predictor, frames, _plan(frames.source, out, kinds, look, min_confidence))
    for name, reason in frames.failures:
        say(f"failed: {name}: {reason}", style="red")
    return whole and not frames.failures


FrameSource: TypeAlias = "Frames | ImageFrames"


def _predict(predictor: Predictor, frames: FrameSource, plan: _Plan) -> bool:
    try:
        began = time.monotonic()
        with _told_to_stop() as told:
            _run(predictor, frames, plan, told)
        return _conclude(frames, plan, time.monotonic() - began, told=told.is_set())
    finally:
        frames.close()


@dataclass(frozen=True)
class _Plan:
    """What is written. videos: kind -> file. files: of single frames, or None."""

    videos: Mapping[str, Path]
    files: Outputs | None
    look: Look
    min_confidence: float | None

    @property
    def fields(self) -> Fields:
        """What the predictor is asked for besides the label map."""
        return fields_of(frozenset() if self.files is None else self.files.kinds, self.min_confidence)

    @property
    def places(self) -> str:
        """Where to find it, in words."""
        places = [str(path) for path in self.videos.values()]
        return ", ".join(places if self.files is None else [*places, f"{self.files.folder} (a file for each frame)"])


def _plan(source: str, out: Path, kinds: frozenset[str] | None, look: Look, min_confidence: float | None) -> _Plan:
    if out.suffix.lower() in VIDEO_SUFFIXES and not out.is_dir():
        chosen = kinds or frozenset({"overlay"})
        if len(chosen) > 1 or not chosen & set(MOVING):
            raise ValueError(
                f"{out}: one video shows one of {' and '.join(MOVING)}, found --save {','.join(sorted(chosen))}; "
                "give a folder for several videos, and for a file of each frame"
            )
        codec_of(out)  # says which can be written
        return _Plan({next(iter(chosen)): out}, None, look, min_confidence)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give a folder, or a video: NAME{', NAME'.join(CODECS)}")
    chosen = kinds or frozenset({"label", "overlay"})
    name, suffix = _name_and_suffix(source)
    videos = {kind: out / f"{name}_{kind}{suffix}" for kind in MOVING if kind in chosen}
    single = chosen - set(MOVING)
    return _Plan(videos, Outputs(out, single, look, min_confidence) if single else None, look, min_confidence)


def _name_and_suffix(source: str) -> tuple[str, str]:
    """What outputs in a folder are called, and what kind of video they are: that of the input if it can be written."""
    suffix = Path(source).suffix.lower()
    return Path(source.replace(":", "")).stem, suffix if suffix in CODECS else ".mp4"


def _keep_input(source: str, out: Path) -> None:
    if out.is_file() and Path(source).is_file() and out.samefile(source):
        raise ValueError(f"--out {out} is the input itself; give another name")


# --- The run ------------------------------------------------------------------------------------------------------


def _run(predictor: Predictor, frames: FrameSource, plan: _Plan, told: threading.Event) -> None:
    """All frames through the network, while others are decoded, painted and written."""
    with ExitStack() as stack:
        painters = [
            _Painter(kind, plan, stack.enter_context(VideoWriter(path, rate=frames.rate)))
            for kind, path in plan.videos.items()
        ]
        advance = stack.enter_context(_progress(frames))
        writer = stack.enter_context(OutputWriter())  # the first to end: videos are closed when all is in them

        def write(frame: Frame, prediction: Prediction) -> None:
            for painter in painters:
                painter.write(frame, prediction)
            if plan.files is not None:
                plan.files.write(prediction, image=CocoImage(prediction.name, frame.index + 1))

        for frame in frames:
            prediction = predictor.predict(frame.image, **plan.fields)
            prediction = replace(prediction, name=f"{frames.name}_{frame.index:06d}")
            writer.put(prediction.name, lambda f=frame, p=prediction: write(f, p))  # type: ignore[misc]
            advance(frame)
            if writer.failures or told.is_set():
                break
        writer.close()
        if writer.failures:
            name, reason = writer.failures[0]
            raise ValueError(f"{name}: {reason}")


_FEW = 3
"""Classes whose sets, eight, have room in a legend."""


class _Painter:
    """Writes one kind of picture of each frame into a video, at the frame's time."""

    def __init__(self, kind: str, plan: _Plan, video: VideoWriter) -> None:
        self._kind, self._look, self._min_confidence, self._video = kind, plan.look, plan.min_confidence, video
        self._legend: Picture | None = None

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Add a frame."""
        self._video.write(self._painted(prediction), time=frame.time)

    def _painted(self, prediction: Prediction) -> Picture:
        look = self._look
        if self._kind == "color":
            picture = prediction.coloured(min_confidence=self._min_confidence)
        else:
            picture = prediction.overlay(
                look.opacity, False, contours=look.contours, min_confidence=self._min_confidence
            )
        if not look.legend:
            return picture
        if self._legend is None:
            self._legend = _legend(prediction, self._min_confidence)
        height = len(self._legend)  # more than that of the frame if one line of text is
        canvas = np.full((height, picture.shape[1] + self._legend.shape[1], 3), PAPER, np.uint8)
        canvas[: len(picture), : picture.shape[1]] = picture
        canvas[:, picture.shape[1] :] = self._legend
        return canvas


def _legend(prediction: Prediction, min_confidence: float | None) -> Picture:
    """All classes in their order, to stand at the right of frames of this size; of few that overlap, all their sets."""
    several = prediction.multi_label and len(prediction.classes) <= _FEW
    names, palette = prediction.shown_values if several else (prediction.classes, prediction.palette)
    entries = [Entry(name, colour) for name, colour in zip(names, palette, strict=True)]
    if min_confidence is not None:
        entries.append(Entry(f"uncertain (< {min_confidence:g})", HATCHED, hatched=True))
    height, width = prediction.label.shape
    return with_legend(np.zeros((height, width, 3), np.uint8), entries)[:, width:]


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C, or SIGTERM, to stop after the present frame; another Ctrl-C interrupts as usual."""
    told = threading.Event()

    def receive(number: int, frame: FrameType | None) -> None:
        if told.is_set():
            raise KeyboardInterrupt
        told.set()

    in_main = threading.current_thread() is threading.main_thread()  # Python lets nobody else handle signals
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM) if in_main}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- What is said -------------------------------------------------------------------------------------------------


@contextmanager
def _progress(frames: FrameSource) -> Iterator[Advance]:
    """A bar along the time of the video, on standard error; gives the function that takes the frame that was done."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    state = TextColumn("{task.fields[state]}")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), state)
    console, began = err(), time.monotonic()
    title = "recording (Ctrl-C ends it)" if frames.live else "predicting"
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=frames.duration, state="")

        def advance(frame: Frame) -> None:
            rate = _rate(frames, frames.given, frames.shown, time.monotonic() - began)
            bar.update(task, completed=frames.shown, state=f"{frame.time:.1f} s, {rate}")

        yield advance


def _rate(frames: FrameSource, done: int, shown: float, seconds: float) -> str:
    """Frames per second, and how much faster than they are shown, which takes `shown` seconds."""
    seconds = max(seconds, 1e-9)
    return f"{done / seconds:.1f} frames/s" + ("" if frames.live else f", {shown / seconds:.2g} x real time")


def _conclude(frames: FrameSource, plan: _Plan, seconds: float, *, told: bool) -> bool:
    """Say what became of the frames. Gives whether all were there."""
    if not frames.given:
        raise ValueError(f"{frames.source}: not one frame " + ("arrived" if frames.live else "could be decoded"))
    count = f"{frames.given:,} frames" if frames.given > 1 else "1 frame"
    say(f"{count} in {seconds:.1f} s ({_rate(frames, frames.given, frames.shown, seconds)}): {plan.places}")
    if frames.rounded and not told:
        warn(f"{frames.source} lists {frames.rounded} frames more than it holds, as files with sound do")
    if frames.lost:
        of = f" of {frames.announced:,}" if frames.announced else ""
        many = f"{len(frames.lost):,}{of} frames could not be decoded"
        say(f"failed: {frames.source}: {many}: {_ranges(frames.lost)}", style="red")
        return False
    if frames.breaks_off is not None:
        there, whole = frames.breaks_off
        say(f"failed: {frames.source} breaks off at {there:.1f} of {whole:.1f} s", style="red")
        return False
    if told and not frames.live:
        raise KeyboardInterrupt(f"stopped after {count}; what is written is whole up to there")
    return True


def _ranges(numbers: tuple[int, ...], most: int = 8) -> str:
    """Ascending numbers in words: "3, 8-19, 40"."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in found[:most]]
    return ", ".join(words) + (f" and {len(found) - most} more" if len(found) > most else "")
