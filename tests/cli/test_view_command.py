"""`intarsia view`: what is opened for data, for one run and for two, and the command from its start to Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from corners import write_corners

from intarsia.cli.main import main
from intarsia.viewer.server import ViewerServer
from intarsia.workflows import view as module
from intarsia.workflows.view import ViewRequest, has_display, open_view, ssh_hint


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corners(tmp_path_factory.mktemp("scenes"), train=3, val=2)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step, which has learned nothing."""
    out = tmp_path_factory.mktemp("runs") / "one"
    words = [
        "train", "fast_scnn", "--data", str(data), "--out", str(out), "--device", "cpu", "--for", "1 steps",
        "--batch", "2", "--crop", "64", "64", "--workers", "0",
    ]  # fmt: skip
    assert main(words) == 0
    return out


@contextmanager
def opened(**request: Any) -> Iterator[ViewerServer]:
    server = open_view(ViewRequest(device="cpu", **request))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(address: str, name: str) -> Any:
    with urllib.request.urlopen(f"{address}{name}", timeout=60) as answer:
        return json.load(answer)


def test_data_are_shown_with_their_labels(data: Path) -> None:
    with opened(place=data) as server:
        about = asked(server.address, "about")
        assert (about["count"], about["runs"], about["file"]) == (5, [], str(data))
        assert about["title"] == "data.yaml: all images"
        assert about["note"] == ""
        assert asked(server.address, "sample?i=4")["labelled"] is True
        asked(server.address, "scores?i=0")
        assert server.collection.measures.truth_shows[0].any()
    with opened(place=data, split="val") as server:
        assert len(server.collection) == 2
    with opened(place=data.parent) as server:  # a folder: the doctor finds out, and there is no file to change
        assert len(server.collection) == 5
        assert server.editor is None


def test_of_a_large_folder_some_files_are_read_and_that_is_said(
    data: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intarsia.data.doctor import examine

    read: list[int] = []
    measure_all = examine.measure_all
    monkeypatch.setattr(
        examine, "measure_all", lambda root, pairs, **more: read.append(len(pairs)) or measure_all(root, pairs, **more)
    )
    monkeypatch.setattr(module, "LOOKED_AT", 2)
    for request in ({"place": data.parent}, {"place": run, "data": data.parent, "split": "train"}):
        with opened(**request) as server:
            assert "concluded from 2 images of each split" in server.note
            assert f"intarsia data check {data.parent}" in server.note
            assert len(server.collection) >= 3
    assert read == [4, 4]  # two of train, two of val


def test_a_run_shows_its_own_images(run: Path, data: Path) -> None:
    with opened(place=run) as server:
        about = asked(server.address, "about")
        assert (about["count"], about["runs"], about["file"]) == (2, ["one"], None)
        scores = asked(server.address, "scores?i=1")
        assert 0 <= scores["iou"][0] < 1
        assert 0 < scores["confidence"][0] <= 1
    with opened(place=run, data=data, split="train") as server:
        assert len(server.collection) == 3
        assert server.editor is not None
        assert server.title == "one: train images of data.yaml"
    with opened(place=run, data=data.parent) as server:
        assert server.collection.classes == server.collection.runs[0].predictor.classes
        assert server.editor is None


def test_the_scores_are_those_of_the_evaluation(run: Path, tmp_path: Path) -> None:
    """The mean of what the page says of the images is what `intarsia eval` says of them."""
    words = ["eval", str(run), "--metrics", "mIoU,imageIoU", "--out", str(tmp_path), "--device", "cpu"]
    assert main([*words, "--workers", "0"]) == 0
    expected = json.loads((tmp_path / "eval.json").read_text())["imageIoU"]
    with opened(place=run) as server:
        found = [asked(server.address, f"scores?i={index}")["iou"][0] for index in range(2)]
    assert sum(found) / 2 == pytest.approx(expected, abs=1e-4)
    assert found[0] != found[1]


def test_two_runs_are_compared_on_the_same_images(run: Path, data: Path) -> None:
    weights = run / "weights.safetensors"
    with opened(place=run, other=weights) as server:
        about = asked(server.address, "about")
        assert about["runs"] == ["one", "weights.safetensors"]
        assert asked(server.address, "scores?i=0")["disagreement"] == 0
    with opened(place=run, other=run) as server:
        assert asked(server.address, "about")["runs"] == [str(run)] * 2


def test_what_cannot_be_shown_is_said(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: object) -> str:
        assert main(["view", *map(str, words), "--no-browser", "--device", "cpu"]) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "is data, which is looked at alone" in said(data, run)
    assert "is data, which is looked at alone" in said(data.parent, "--data", data)
    assert "--split is train, val, test or all, found 'x'" in said(data, "--split", "x")
    assert "--split all is for data alone" in said(run, "--split", "all")
    assert "no 'test' split" in said(data, "--split", "test")
    assert "absent.yaml" in said(tmp_path / "absent.yaml")
    assert "absent" in said(tmp_path / "absent")
    (tmp_path / "cv.json").write_text("{}")
    assert "look at one of its folds" in said(tmp_path)


def test_runs_of_other_images_or_classes_are_not_compared(run: Path) -> None:
    class Fake:
        classes: tuple[str, ...] = ("a", "b")

        def __init__(self, names: str, classes: tuple[str, ...] = ("a", "b")) -> None:
            self.names, self.classes = names, classes

        def __len__(self) -> int:
            return len(self.names)

        def name(self, index: int) -> str:
            return self.names[index]

    def check(other: Any) -> None:
        module._check_same([Path("a"), Path("b")], [Fake("xyz"), other])  # type: ignore[list-item]

    check(Fake("xyz"))
    with pytest.raises(ValueError, match="a has 3 images, b has 2; give the same images"):
        check(Fake("xy"))
    with pytest.raises(ValueError, match="image 2 of a is 'y', of b 'v'"):
        check(Fake("xvz"))
    with pytest.raises(ValueError, match="different classes"):
        check(Fake("xyz", ("a", "c")))


def test_where_the_page_is_seen() -> None:
    ssh = {"SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 22", "DISPLAY": ":0"}
    assert "ssh -N -L 8000:127.0.0.1:8000" in ssh_hint(ssh, 8000)
    assert "@10.0.0.2" in ssh_hint(ssh, 8000)
    assert not has_display(ssh)
    assert ssh_hint({}, 8000) == ""
    if sys.platform == "linux":
        assert not has_display({})
        assert has_display({"DISPLAY": ":0"})
        assert has_display({"WAYLAND_DISPLAY": "wayland-0"})


def test_a_browser_is_opened_where_there_is_a_display(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def end(self: ViewerServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ViewerServer, "serve_forever", end)
    monkeypatch.setattr(module.webbrowser, "open", seen.append)
    monkeypatch.setattr(module, "has_display", lambda environment: True)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    told: list[str] = []
    module.view(ViewRequest(place=data), told.append)
    assert seen == told
    module.view(ViewRequest(place=data, browser=False), told.append)
    monkeypatch.setattr(module, "has_display", lambda environment: False)
    module.view(ViewRequest(place=data), told.append)
    assert len(seen) == 1
    assert len(told) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process")
def test_the_command_prints_the_address_and_ends_with_ctrl_c(data: Path) -> None:
    words = [sys.executable, "-m", "intarsia", "view", str(data), "--no-browser"]
    environment = {**os.environ, "SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 22"}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert asked(address, "about")["count"] == 5
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "ssh -N -L" in said
    assert "Traceback" not in said
