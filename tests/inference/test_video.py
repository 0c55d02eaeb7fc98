"""Frames read from videos and cameras, and videos written: none lost, none invented, nothing left half-written."""

from __future__ import annotations

import struct
import subprocess
import sys
import textwrap
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from intarsia.inference.inputs import video, video_decoders
from intarsia.inference.inputs.video import Frames, is_video
from intarsia.inference.inputs.video_decoders import Decoded
from intarsia.inference.outputs import video as video_out
from intarsia.inference.outputs.video import CODECS, VideoWriter

SIZE = (48, 64)


@pytest.fixture(autouse=True, params=["PyAV", "OpenCV"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with PyAV, and as where it is not installed."""
    if request.param == "PyAV":
        pytest.importorskip("av")
    else:
        monkeypatch.setattr(video_decoders, "pyav", lambda: None)
        monkeypatch.setattr(video_out, "pyav", lambda: None)
    return str(request.param)


def numbered(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A frame that says its number, up to 255, in eight black or white stripes; its first third is red, for colours."""
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    for bit in range(8):
        picture[height // 2 :, width * bit // 8 : width * (bit + 1) // 8] = 255 * (index >> bit & 1)
    picture[: height // 2, : width // 3] = (200, 30, 40)
    return picture


def number_of(picture: np.ndarray) -> int:
    height, width = picture.shape[:2]
    row = picture[3 * height // 4].mean(axis=1)
    return sum(int(row[width * (2 * bit + 1) // 16] > 127) << bit for bit in range(8))


def clip(path: Path, count: int = 30, rate: float = 10.0, size: tuple[int, int] = SIZE) -> Path:
    with VideoWriter(path, rate=rate) as writer:
        for index in range(count):
            writer.write(numbered(index, size))
    return path


def numbers(frames: Frames) -> list[int]:
    found = [number_of(frame.image) for frame in frames]
    frames.close()
    return found


@pytest.mark.parametrize("suffix", list(CODECS))
def test_frames_out_are_frames_in(tmp_path: Path, suffix: str) -> None:
    frames = Frames(str(clip(tmp_path / f"a{suffix}", rate=29.97)))
    assert frames.size == SIZE
    assert frames.duration == pytest.approx(30 / 29.97, abs=0.04)
    assert frames.rate == pytest.approx(29.97, rel=1e-2)
    found = list(frames)
    assert [number_of(frame.image) for frame in found] == [frame.index for frame in found] == list(range(30))
    assert found[15].time == pytest.approx(15 / 29.97, abs=1e-3 if suffix in (".webm", ".mkv") else 1e-4)
    assert np.abs(found[3].image[5:15, 5:15].mean(axis=(0, 1)) - (200, 30, 40)).max() < 12  # RGB, not BGR
    assert frames.lost == ()
    assert frames.rounded == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_part_and_every_third(tmp_path: Path) -> None:
    path = str(clip(tmp_path / "a.mp4"))
    frames = Frames(path, start=0.5, stop=2.0, every=3)
    assert (frames.duration, frames.rate) == (pytest.approx(1.5), pytest.approx(10 / 3))
    assert numbers(frames) == [5, 8, 11, 14, 17]
    assert (frames.given, frames.shown) == (5, pytest.approx(1.5))
    assert numbers(Frames(path, stop=0.01)) == [0]
    assert numbers(Frames(path, start=2.75, stop=99)) == [28, 29]
    for wrong, said in (
        ({"start": 3.0}, r"its last frame is at 2\.90 s; nothing is left at 3"),
        ({"start": 2.0, "stop": 1.0}, "0 <= start < stop"),
        ({"start": -1.0}, "0 <= start < stop"),
        ({"every": 0}, "every: expected at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            next(Frames(path, **wrong))  # type: ignore[arg-type]


def test_a_turned_video_is_seen_upright(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 44  # of the track header: nine numbers in 16.16, the last column in 2.30
    turned = (0, 65536, 0, -65536, 0, 0, SIZE[0] * 65536, 0, 1 << 30)
    content[matrix : matrix + 36] = struct.pack(">9i", *turned)
    path.write_bytes(content)
    frames = Frames(str(path))
    assert frames.size == (SIZE[1], SIZE[0])
    upright = np.rot90(numbered(0), -1)
    assert np.abs(next(frames).image.astype(int) - upright).mean() < 10
    frames.close()


# --- What is broken -----------------------------------------------------------------------------------------------


def test_a_file_that_breaks_off_gives_what_it_has(tmp_path: Path, library: str) -> None:
    path = clip(tmp_path / "a.avi", count=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = Frames(str(path))
    found = numbers(frames)
    assert 20 < len(found) < 40
    assert found[:-1] == list(range(len(found) - 1))  # half of the last one is there
    if library == "PyAV":  # knows how many frames the file lists
        assert frames.lost == tuple(range(len(found), 60))
    else:
        assert frames.breaks_off == pytest.approx(((len(found) - 1) / 10, 6.0))


def test_what_comes_after_damage_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with VideoWriter(tmp_path / "a.mp4", rate=10) as writer:
        for _ in range(60):
            writer.write(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    third = len(content) // 3
    content[third : third + len(content) // 6] = b"\x55" * (len(content) // 6)
    (tmp_path / "a.mp4").write_bytes(content)
    frames = Frames(str(tmp_path / "a.mp4"))
    given = [frame.index for frame in frames]
    assert given[-1] == 59  # behind the hole, with its own number
    assert sorted([*given, *frames.lost]) == list(range(60))
    assert 0 < len(frames.lost) < 30


@pytest.mark.parametrize(("listed", "lost", "rounded"), [(32, 0, 2), (5000, 4970, 0), (0, 0, 0), (30, 0, 0)])
def test_a_length_that_was_rounded_up_is_no_loss(
    listed: int, lost: int, rounded: int, tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "OpenCV":
        pytest.skip("OpenCV gives no table's count")
    frames = Frames(str(clip(tmp_path / "a.mp4")))
    monkeypatch.setattr(frames, "announced", listed)
    assert len(numbers(frames)) == 30
    assert len(frames.lost) == lost
    assert frames.rounded == rounded


class Nothing:
    """A file whose table lists five frames, and in which none can be found, not even a damaged one."""

    size, rate, duration, announced = SIZE, 10.0, 0.5, 5

    def frames(self, start: float) -> Iterator[Decoded]:
        return iter(())

    def close(self) -> None:
        pass


def test_frames_that_are_listed_and_not_there_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "open_video", lambda path: Nothing())
    frames = Frames(str(tmp_path / "a.mp4"))
    assert numbers(frames) == []
    assert (frames.lost, frames.shown, frames.rounded) == ((0, 1, 2, 3, 4), 0.0, 0)


# --- Times --------------------------------------------------------------------------------------------------------


def test_frames_are_shown_at_their_own_time(tmp_path: Path, library: str) -> None:
    """Two seconds at 30 frames a second, then two at 5: by the average rate, 2.0 s would be frame 35."""
    if library == "OpenCV":
        pytest.skip("writes one rate alone")
    times = [index / 30 for index in range(60)] + [2 + index / 5 for index in range(10)]
    for suffix in (".mp4", ".mkv", ".webm"):
        with VideoWriter(tmp_path / f"a{suffix}", rate=15) as writer:
            for index, time_ in enumerate(times):
                writer.write(numbered(index), time=time_)
        frames = list(Frames(str(tmp_path / f"a{suffix}")))
        assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-3)
        assert [number_of(frame.image) for frame in frames] == list(range(70))
        part = list(Frames(str(tmp_path / f"a{suffix}"), start=2.0, stop=3.1))
        assert [(frame.index, number_of(frame.image)) for frame in part] == [(index, index) for index in range(60, 66)]


def test_a_stream_without_a_container_loses_no_frame(tmp_path: Path) -> None:
    """It cannot be sought: going back after a look at the first frame means to open it again."""
    av = pytest.importorskip("av")
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(20):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(index), format="rgb24")))
        file.mux(stream.encode(None))
    frames = list(Frames(str(path)))
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    steps = np.diff([frame.time for frame in frames])
    assert frames[0].time == pytest.approx(0, abs=0.05)
    assert steps == pytest.approx(steps[0])
    assert steps[0] > 0
    part = list(Frames(str(path), start=frames[5].time))
    assert [number_of(frame.image) for frame in part] == list(range(5, 20))


def test_a_constant_rate_repeats_frames_until_the_next_is_due(tmp_path: Path, library: str) -> None:
    if library == "PyAV":
        pytest.skip("keeps the times themselves")
    with VideoWriter(tmp_path / "a.avi", rate=10) as writer:
        for index, time_ in enumerate((7.0, 7.1, 7.5, 7.52, 8.0)):
            writer.write(numbered(index), time=time_)
    assert numbers(Frames(str(tmp_path / "a.avi"))) == [0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 4]


@pytest.mark.parametrize(("suffix", "codec", "seconds"), [(".flv", "flv1", 2.0), (".mjpeg", "mjpeg", None)])
def test_lengths_that_only_the_file_knows_or_nothing(
    suffix: str, codec: str, seconds: float | None, tmp_path: Path, library: str
) -> None:
    if library == "OpenCV":
        pytest.skip("its length is a guess")
    import av

    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(20):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(index), format="rgb24")))
        file.mux(stream.encode(None))
    frames = Frames(str(path))
    assert frames.duration == (None if seconds is None else pytest.approx(seconds))
    assert numbers(frames) == list(range(20))
    assert (frames.lost, frames.breaks_off, frames.announced) == ((), None, 0)


@pytest.mark.parametrize(
    ("name", "frames", "seconds", "late"),
    [
        ("03-variable-frame-rate-seconds/vfr.mp4", 100, 9.8, [75, 76, 77, 78, 79]),
        ("04-webm-called-damaged/rec_file.webm", 100, 9.8, [75, 76, 77, 78, 79]),
        ("04-webm-called-damaged/jit_file.webm", 90, 3.57, []),
    ],
)
def test_files_of_phones_and_browsers(shared: Path, name: str, frames: int, seconds: float, late: list[int]) -> None:
    path = str(shared / "cases" / "inference" / name)
    found = Frames(path)
    last = list(found)[-1]
    assert (found.given, found.lost, found.rounded, found.breaks_off) == (frames, (), 0, None)
    assert last.time == pytest.approx(seconds, abs=0.01)
    if late:
        assert [frame.index for frame in Frames(path, start=5, stop=6)] == late


def test_what_cannot_be_opened_is_named(tmp_path: Path, library: str, capfd: pytest.CaptureFixture[str]) -> None:
    with wave.open(str(tmp_path / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.avi").write_text("no video " * 100)
    whole = clip(tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name, said in (
        ("empty.mp4", "the file is empty"),
        ("text.avi", "no video that FFmpeg can read"),
        ("sound.mp4", r"can read \(it has no pictures\)" if library == "PyAV" else "no video that FFmpeg can read"),
        ("cut.mp4", "no video that FFmpeg can read.*; an .mp4 or .mov whose recording"),
        ("absent.mp4", "no such file"),
        (".", "a folder, not a video"),
    ):
        with pytest.raises(ValueError, match=said):
            Frames(str(tmp_path / name))
    with pytest.raises(ValueError, match="camera:97 cannot be opened"):
        Frames("camera:97")
    assert capfd.readouterr().err == ""  # OpenCV and FFmpeg would print a dozen lines


def test_names_of_videos() -> None:
    assert all(is_video(name) for name in ("a.mp4", "b/c.MOV", "camera:0", "camera:12"))
    assert not any(is_video(name) for name in ("a.png", "camera:", "camera:x", "mp4", "a.mp4.txt"))


# --- A camera -----------------------------------------------------------------------------------------------------


class Camera:
    """A camera of 100 frames per second that counts, and is unplugged after 200 frames."""

    def __init__(self, number: int) -> None:
        assert number == 3
        self.count, self.released = 0, False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        sizes = {cv2.CAP_PROP_FRAME_HEIGHT: SIZE[0], cv2.CAP_PROP_FRAME_WIDTH: SIZE[1], cv2.CAP_PROP_FPS: 100}
        return float(sizes.get(what, -1))

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.01)
        self.count += 1
        return (True, numbered(self.count)) if self.count <= 200 else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_camera_gives_the_newest_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras: list[Camera] = []
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda number: cameras.append(Camera(number)) or cameras[-1])
    frames = Frames("camera:3")
    assert (frames.live, frames.duration, frames.name) == (True, None, "camera3")
    first = next(frames)
    time.sleep(0.5)
    later = next(frames), next(frames)
    assert later[0].index - first.index > 20  # not the ones that had queued up
    assert later[1].index > later[0].index
    assert 0.3 < later[0].time - first.time < 1
    rest = list(frames)
    assert rest[-1].index >= 190
    assert frames.lost == ()
    frames.close()
    assert cameras[0].released
    with pytest.raises(ValueError, match="start, stop and every are for files"):
        Frames("camera:3", every=2)


# --- Writing ------------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_a_video_that_plays_and_an_error_leaves_nothing(tmp_path: Path) -> None:
    for error, expected in ((KeyboardInterrupt, ["a.mp4"]), (ValueError, [])):
        for file in tmp_path.iterdir():
            file.unlink()
        with pytest.raises(error):
            write_and_raise(tmp_path / "a.mp4", error)
        assert [path.name for path in tmp_path.iterdir()] == expected
        if expected:
            assert numbers(Frames(str(tmp_path / "a.mp4"))) == list(range(7))


def write_and_raise(path: Path, error: type[BaseException]) -> None:
    with VideoWriter(path, rate=10) as writer:
        for index in range(7):
            writer.write(numbered(index))
        raise error


class Unfinished:
    """An encoder that makes its file and cannot bring it to an end."""

    def __init__(self, aside: Path) -> None:
        aside.touch()

    def write(self, picture: np.ndarray, time: float) -> None:
        pass

    def close(self, *, whole: bool) -> None:
        raise ValueError(f"no end, whole: {whole}")


@pytest.mark.parametrize(("error", "whole"), [(None, True), (KeyboardInterrupt, True), (OSError, False)])
def test_a_video_without_an_end_leaves_nothing(
    error: type[BaseException] | None, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_out, "_encoder", lambda path, aside, size, rate: Unfinished(aside))
    writer = VideoWriter(tmp_path / "a.mp4", rate=10)  # which still exists when its file is gone

    def write() -> None:
        with writer:
            writer.write(numbered(0))
            assert len(list(tmp_path.iterdir())) == 1
            if error is not None:
                raise error

    with pytest.raises(ValueError, match=f"no end, whole: {whole}"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out\.flv: videos are written as \.mp4.*found '\.flv'"):
        VideoWriter(tmp_path / "out.flv", rate=10)
    with VideoWriter(tmp_path / "a.mp4", rate=10) as writer:
        writer.write(numbered(0))
        with pytest.raises(ValueError, match="64 x 48 pixels are followed by one of 48 x 64"):
            writer.write(numbered(1, (64, 48)))
    assert len(list(Frames(str(tmp_path / "a.mp4")))) == 1


def test_a_codec_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, ".mp4", "Q0Q0")
    monkeypatch.setitem(video_out.ENCODERS, "", ())
    with (
        pytest.raises(ValueError, match=r"the codec Q0Q0.*lacks the codec: pip install .*try another suffix.*\.avi"),
        VideoWriter(tmp_path / "a.mp4", rate=10) as writer,
    ):
        writer.write(numbered(0))
    assert list(tmp_path.iterdir()) == []


def test_an_odd_row_and_column_are_left_out(tmp_path: Path) -> None:
    frames = Frames(str(clip(tmp_path / "a.mp4", count=3, size=(49, 67))))
    assert frames.size == (48, 66)
    assert len(list(frames)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="no limits for the size of files")
def test_a_full_disk_is_noticed(tmp_path: Path, library: str) -> None:
    """A limit for the size of files stands for it: to FFmpeg both are a write that fails."""
    code = f"""
        import resource, signal
        import numpy as np
        from pathlib import Path
        from intarsia.inference.outputs import video
        from intarsia.inference.outputs.video import VideoWriter
        if {library == "OpenCV"}:
            video.pyav = lambda: None
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        rng = np.random.default_rng(0)
        with VideoWriter(Path({str(tmp_path / "a.mp4")!r}), rate=10) as writer:
            for index in range(60):
                writer.write(rng.integers(0, 256, (120, 200, 3), dtype=np.uint8))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert ("no room on the disk" if library == "PyAV" else "of 60 frames arrived; is the disk full?") in done.stderr
    assert list(tmp_path.iterdir()) == []
