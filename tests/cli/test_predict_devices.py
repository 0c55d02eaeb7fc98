"""``intarsia predict --devices``: several processes do what one does, and one that dies takes nothing along."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from intarsia.cli.main import main
from intarsia.io.whole_files import aside_name

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = "label,overlay,probs,rle"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def predict(*words: str | Path) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


def test_two_processes_leave_what_one_leaves(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["--save", KINDS, "--min-confidence", "0.5"]
    assert predict(weights, photos, "-o", one, *words, "--areas", one / "areas.csv") == 1
    alone = capsys.readouterr().err
    assert predict(weights, photos, "-o", two, *words, "--areas", two / "areas.csv", "--devices", "cpu:2") == 1
    together = capsys.readouterr().err
    first, second = contents(one), contents(two)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert "4 of 5 images" in together
    assert "broken.png" in together
    said = [line for line in alone.splitlines() if "uncertain" in line or "failed" in line]
    assert said == [line for line in together.splitlines() if "uncertain" in line or "failed" in line]


@pytest.mark.slow
def test_rest_is_done_by_two(weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert predict(weights, photos, "-o", out, "--save", "label", "--areas", out / "areas.csv") == 0
    before = contents(out)
    (out / "a_2.png").unlink()
    words = ["--save", "label", "--areas", out / "areas.csv", "--skip-existing", "--devices", "cpu:2"]
    assert predict(weights, photos, "-o", out, *words) == 0
    assert contents(out) == before
    assert "1 of 4 images (3 were done before)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_process_is_named_and_its_images_are_done(weights: Path, photos: Path, tmp_path: Path) -> None:
    """Killed from outside, as by a system without memory; nothing is lost, and the labels are those of one process."""
    for number in range(40):
        shutil.copy(photos / "a_1.png", photos / f"more_{number}.png")
    one, two, log = tmp_path / "one", tmp_path / "two", tmp_path / "log"
    assert predict(weights, photos, "-o", one, "--save", "label") == 0
    process = start([weights, photos, "-o", two, "--save", "label", "--devices", "cpu:2"], log)
    wait_for(lambda: len(list(two.glob("*.png"))) >= 3, process, log)
    victim = psutil.Process(process.pid).children()[-1]
    (two / aside_name(".png").replace(f"-{os.getpid()}-", f"-{victim.pid}-")).write_bytes(b"as if it were writing")
    victim.kill()
    assert process.wait(120) == 0, log.read_text()
    said = " ".join(log.read_text().split())
    assert "has ended with exit code -9, SIGKILL" in said
    assert "44 of 44 images" in said
    assert contents(one) == contents(two)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process")
def test_ctrl_c_leaves_whole_files_and_no_process(weights: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(400):
        shutil.copy(photos / "a_1.png", photos / f"more_{number}.png")
    out, log = tmp_path / "out", tmp_path / "log"
    process = start([weights, photos, "-o", out, "--save", "label", "--devices", "cpu:2"], log)
    wait_for(lambda: len(list(out.glob("*.png"))) >= 3, process, log)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, log.read_text()
    assert "of 404 images are written; --skip-existing goes on from there" in " ".join(log.read_text().split())
    assert "Traceback" not in log.read_text()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert not list(out.glob(".intarsia-*"))


def start(words: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "intarsia", "predict", *map(str, words)]
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
        )  # fmt: skip


def wait_for(true: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while not true():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a_1.png", "-o", "out.png"], "--devices is for images that are written into a folder, not for a single file"),
        ([".", "-o", "out.mp4"], "--devices is for images that are written into a folder, not for a video of images"),
    ],
)
def test_what_one_device_does_alone(
    weights: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(photos)
    assert predict(weights, *words, "--devices", "cpu:2") == 2
    assert reason in " ".join(capsys.readouterr().err.split())
