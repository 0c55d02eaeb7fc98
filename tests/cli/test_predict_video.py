"""`intarsia predict` for videos and cameras: what comes out is what its frames say, frame by frame."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from intarsia.cli.main import main
from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes
from intarsia.inference.inputs import video
from intarsia.inference.inputs.video import Frames
from intarsia.inference.outputs.video import VideoWriter
from intarsia.inference.outputs.writer import Look
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec
from intarsia.workflows import predict_video as room
from intarsia.workflows.predict_video import predict_video

CLASSES = ("dark", "middle", "bright")
PALETTE = ((10, 20, 160), (0, 158, 115), (240, 228, 66))
SIZE = (48, 64)


class Thirds(nn.Module):
    """A task whose logits say how near the red of a pixel is to 1/6, 1/2 and 5/6."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([1.0, 3.0, 5.0]) / 6)
        self.calls = 0

    def preprocess(self, images: Tensor, sizes: Any, *, train: bool) -> Tensor:
        return images.float() / 255

    def model(self, images: Tensor) -> Tensor:
        self.calls += 1
        return -10 * (images[:, :1] - self.centres.view(1, 3, 1, 1)).abs()


def stand_in() -> Predictor:
    return Predictor(Thirds(), inference=InferenceSpec(num_classes=3), classes=CLASSES, palette=PALETTE)


@pytest.fixture
def predictor() -> Predictor:
    return stand_in()


def band(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A dark frame with a bright band that moves by two pixels each time, and a middling one at the bottom."""
    picture = np.full((*size, 3), 20, np.uint8)
    picture[:, (2 * index) % 40 : (2 * index) % 40 + 16] = 240
    picture[-12:] = 128
    return picture


def clip(path: Path, count: int = 20, rate: float = 10.0, size: tuple[int, int] = SIZE) -> Path:
    with VideoWriter(path, rate=rate) as writer:
        for index in range(count):
            writer.write(band(index, size))
    return path


def predict(predictor: Predictor, source: Path | str, out: Path, **options: Any) -> bool:
    settings = {"kinds": None, "look": Look(legend=False), "min_confidence": None, **options}
    return predict_video(predictor, str(source), out, **settings)  # type: ignore[arg-type]


def frames_of(path: Path) -> list[np.ndarray]:
    frames = Frames(str(path))
    found = [frame.image for frame in frames]
    frames.close()
    return found


def test_masks_are_those_of_the_frames_alone_and_overlays_show_them(predictor: Predictor, tmp_path: Path) -> None:
    source = clip(tmp_path / "walk.avi")
    predict(predictor, source, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [*(f"walk_{index:06d}.png" for index in range(20)), "walk_overlay.avi"]
    for index, frame in enumerate(frames_of(source)):
        label = np.array(Image.open(tmp_path / "out" / f"walk_{index:06d}.png"))
        assert np.array_equal(label, predictor.predict(frame).label)
        assert set(np.unique(label)) == {0, 1, 2}
        assert label[4, (2 * index) % 40 + 8] == 2  # in order, too
    shown = frames_of(tmp_path / "out" / "walk_overlay.avi")
    for frame, overlay in zip(frames_of(source), shown, strict=True):
        expected = predictor.predict(frame).overlay(0.5, False)
        assert np.abs(overlay.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_video_has_the_size_the_rate_and_the_length_of_its_source(
    predictor: Predictor, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = clip(tmp_path / "walk.mp4", rate=12.5)
    out = tmp_path / f"out{suffix}"
    assert predict(predictor, source, out, kinds=frozenset({"color"}))
    frames = Frames(str(out))
    assert frames.size == SIZE
    assert frames.rate == pytest.approx(12.5, rel=1e-2)
    found = [frame.image for frame in frames]
    assert len(found) == 20
    assert frames.duration == pytest.approx(1.6, abs=0.01)
    for index, picture in enumerate(found):
        bright, low = picture[4:20, (2 * index) % 40 + 5 : (2 * index) % 40 + 11], picture[-6:, 24:40]
        assert np.abs(bright.mean(axis=(0, 1)) - PALETTE[2]).max() < 25
        assert np.abs(low.mean(axis=(0, 1)) - PALETTE[1]).max() < 25
    said = capsys.readouterr().err
    assert re.search(r"20 frames in \d+\.\d s \(\d+\.\d frames/s, [\d.e+]+ x real time\): .*out\.", said)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"walk.mp4", out.name})


def test_a_part_plays_at_its_own_speed(predictor: Predictor, tmp_path: Path) -> None:
    predict(predictor, clip(tmp_path / "a.mp4"), tmp_path / "out", every=4, start=0.4, stop=1.6)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["a_000004.png", "a_000008.png", "a_000012.png"]
    shown = list(Frames(str(tmp_path / "out" / "a_overlay.mp4")))
    assert [frame.time for frame in shown] == pytest.approx([0.0, 0.4, 0.8], abs=1e-3)


def test_other_kinds_are_files_of_each_frame(predictor: Predictor, tmp_path: Path) -> None:
    kinds = frozenset({"label", "color", "confidence", "probs"})
    predict(predictor, clip(tmp_path / "a.mp4", count=3), tmp_path / "out", kinds=kinds, min_confidence=0.6)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"a_color.mp4", "a_000002.png", "a_000002_confidence.png", "a_000002_probs.npy"} <= names
    assert len(names) == 1 + 3 * 3
    confidence = np.array(Image.open(tmp_path / "out" / "a_000001_confidence.png")) / 65535
    label = np.array(Image.open(tmp_path / "out" / "a_000001.png"))
    clear = np.abs(confidence - 0.6) > 1e-3
    assert np.array_equal((label == 255)[clear], (confidence < 0.6)[clear])


def test_the_legend_is_the_same_on_every_frame(predictor: Predictor, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", size=(120, 160), count=6)
    predict(predictor, source, tmp_path / "b.mp4", look=Look(legend=True), min_confidence=0.4)
    found = frames_of(tmp_path / "b.mp4")
    assert len(found) == 6
    assert found[0].shape[0] == 120
    assert found[0].shape[1] > 200
    legends = np.stack([frame[:, 176:] for frame in found]).astype(int)  # a block of the codec away from the picture
    assert np.abs(legends - legends[0]).mean() < 1  # what a codec leaves of the same picture
    assert (np.abs(legends - legends[0]).max(axis=-1) > 40).mean() < 0.001
    assert legends[0].std() > 10
    for colour in PALETTE:
        assert (np.abs(legends[0] - colour).sum(axis=2) < 90).sum() > 30


# --- What goes wrong ----------------------------------------------------------------------------------------------


def test_what_could_be_read_is_kept_and_the_rest_named(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = clip(tmp_path / "a.avi", count=60)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    assert not predict(predictor, source, tmp_path / "out.mp4")
    kept = len(frames_of(tmp_path / "out.mp4"))
    assert 20 < kept < 40
    said = " ".join(capsys.readouterr().err.split())
    assert f"failed: {source}: {60 - kept} of 60 frames could not be decoded: {kept}-59" in said


def test_a_length_rounded_up_is_a_note(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video.Frames, "rounded", 2)
    predict(predictor, clip(tmp_path / "a.mp4"), tmp_path / "b.mp4")
    assert "lists 2 frames more than it holds" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be(predictor: Predictor, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", count=3)
    (tmp_path / "note.txt").write_text("x")
    for out, options, said in (
        ("b.mp4", {"kinds": frozenset({"overlay", "label"})}, "one video shows one of overlay and color, found --save"),
        ("b.mp4", {"kinds": frozenset({"label"})}, "one video shows one of"),
        ("b.flv", {}, r"videos are written as \.mp4, .*found '\.flv'"),
        ("a.mp4", {}, "is the input itself"),
        ("note.txt", {}, "is a file; give a folder, or a video"),
        ("b.mp4", {"start": 5.0}, "nothing is left at 5"),
    ):
        with pytest.raises(ValueError, match=said):
            predict(predictor, source, tmp_path / out, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "note.txt"]


def test_a_folder_that_cannot_be_written_ends_the_run(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_000001.png").mkdir()  # in the way of a label file
    with pytest.raises(ValueError, match=r"a_000001: .*a_000001\.png is a folder"):
        predict(predictor, clip(tmp_path / "a.mp4", count=200), tmp_path / "out")
    assert predictor.task.calls < 50  # type: ignore[attr-defined]
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[:2] == ["a_000000.png", "a_000001.png"]
    assert not list((tmp_path / "out").glob("*.mp4"))


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_a_video_that_plays(predictor: Predictor, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", count=400)
    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
    slow = predictor.task.model
    predictor.task.model = lambda images: (time.sleep(0.01), slow(images))[1]  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt, match=r"stopped after \d+ frames"):
        predict(predictor, source, tmp_path / "out.mp4")
    found = frames_of(tmp_path / "out.mp4")
    assert 1 < len(found) == predictor.task.calls < 400  # type: ignore[attr-defined]
    assert not list(tmp_path.glob(".*"))


class Camera:
    """Thirty frames per second, for ever."""

    def __init__(self, number: int) -> None:
        self.count = 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        sizes = {cv2.CAP_PROP_FRAME_HEIGHT: SIZE[0], cv2.CAP_PROP_FRAME_WIDTH: SIZE[1], cv2.CAP_PROP_FPS: 30}
        return float(sizes.get(what, -1))

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(1 / 30)
        self.count += 1
        return True, band(self.count)

    def release(self) -> None:
        pass


def test_a_camera_is_recorded_in_real_time(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = cv2.VideoCapture
    monkeypatch.setattr(
        video.cv2, "VideoCapture", lambda *words: Camera(0) if isinstance(words[0], int) else real(*words)
    )
    slow = predictor.task.model
    predictor.task.model = lambda images: (time.sleep(0.15), slow(images))[1]  # type: ignore[method-assign, assignment]
    threading.Timer(1.6, os.kill, (os.getpid(), signal.SIGINT)).start()
    predict(predictor, "camera:0", tmp_path / "out", kinds=frozenset({"label", "overlay"}))
    shown = list(Frames(str(tmp_path / "out" / "camera0_overlay.mp4")))
    assert 1.0 < shown[-1].time < 2.0  # about 1.5 s, as it was
    assert len(shown) == len(list((tmp_path / "out").glob("camera0_*.png")))
    assert 5 <= len(list((tmp_path / "out").glob("camera0_*.png"))) <= 12  # as many as the network could look at
    said = capsys.readouterr().err
    assert "frames/s" in said
    assert "real time" not in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat(tmp_path: Path) -> None:
    """Resident memory after 100 and after 300 frames of 300 x 400: were they kept, 72 MB would lie between."""
    code = f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import test_predict_video as t
        seen = []
        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
        predictor = t.stand_in()
        plain = predictor.predict
        def watched(image, **fields):
            seen.append(resident())
            return plain(image, **fields)
        predictor.predict = watched
        source = t.clip(Path({str(tmp_path)!r}) / "a.avi", count=300, size=(300, 400))
        t.predict(predictor, source, Path({str(tmp_path)!r}) / "b.avi")
        print(len(seen), max(seen[60:100]), max(seen[250:]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=True
    )
    count, early, late = map(float, done.stdout.split())
    assert count == 300
    assert late - early < 25


# --- The command --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everywhere = ["--device", "cpu"]
    write_description(write_scenes(tmp_path / "data", train=2, val=1), tmp_path / "data" / "data.yaml")
    words = ["train", "fast_scnn", "--data", str(tmp_path / "data" / "data.yaml"), "--out", str(tmp_path / "run")]
    assert main([*words, "--for", "2 steps", "--batch", "2", "--crop", "64", "64", "--workers", "0", *everywhere]) == 0
    run, source = str(tmp_path / "run"), clip(tmp_path / "a.avi", count=20, size=(120, 160))
    assert main(["predict", run, str(source), "-o", str(tmp_path / "b.mp4"), *everywhere]) == 0
    assert Frames(str(tmp_path / "b.mp4")).size == (120, 160)  # no legend unless asked for
    more = ["--legend", "--every", "5", "--start", "0.5", "--stop", "1.6", "--save", "label,overlay"]
    assert main(["predict", run, str(source), "-o", str(tmp_path / "c"), *more, *everywhere]) == 0
    names = [path.name for path in sorted((tmp_path / "c").iterdir())]
    assert names == ["a_000005.png", "a_000010.png", "a_000015.png", "a_overlay.avi", "intarsia.json"]
    assert Frames(str(tmp_path / "c" / "a_overlay.avi")).size[1] > 200
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    capsys.readouterr()
    assert main(["predict", run, str(source), "-o", str(tmp_path / "d.mp4"), *everywhere]) == 1
    assert "of 20 frames could not be decoded" in " ".join(capsys.readouterr().err.split())
    assert main(["predict", run, str(tmp_path / "b.mp4"), "-o", str(tmp_path / "e.flv"), *everywhere]) == 2
    assert "videos are written as .mp4" in " ".join(capsys.readouterr().err.split())


def test_ranges() -> None:
    assert room._ranges((3,)) == "3"
    assert room._ranges((3, 8, 9, 10, 40)) == "3, 8-10, 40"
    assert room._ranges(tuple(range(0, 40, 2)), most=3) == "0, 2, 4 and 17 more"
