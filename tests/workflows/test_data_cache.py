"""`--cache` and `--augment-on` in a whole training: the same weights, a folder that goes, and what cannot be."""

from __future__ import annotations

import errno
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import intarsia
from intarsia.config.language.reader import Config
from intarsia.data.cache_place import CachePlace
from intarsia.data.memory_folder import memory_place
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_cache import SampleCache
from intarsia.weights.file import load_state
from intarsia.workflows.adjust import TrainingOptions, settings_for
from intarsia.workflows.data_cache import open_cache
from intarsia.workflows.train import resume_training

QUICK: dict[str, Any] = {
    "batch": 2, "crop": 64, "workers": 0, "device": "cpu", "seed": 3, "pretrained": False, "steps": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of two colours with grain."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for index in range(6):
        split = "train" if index < 4 else "val"
        label = np.kron(rng.integers(0, 2, (5, 5)), np.ones((16, 16), int)).astype(np.uint8)
        image = np.array([[200, 30, 30], [30, 200, 30]], np.uint8)[label] + rng.integers(0, 50, (80, 80, 1))
        for kind, array in (("images", image.astype(np.uint8)), ("masks", label)):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / split / f"{index}.png")
    (folder / "data.yaml").write_text(
        "root: .\nclasses: [red, green]\nlabels: {0: red, 1: green}\n"
        "splits:\n  train: {images: images/train, labels: masks/train}\n"
        "  val: {images: images/val, labels: masks/val}\n"
    )
    return folder


@pytest.fixture(scope="module")
def usual(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a training without a cache."""
    out = tmp_path_factory.mktemp("plain")
    train(data, out)
    return out / "run"


@pytest.fixture(scope="module")
def plain(usual: Path) -> dict[str, torch.Tensor]:
    """Its weights."""
    return dict(load_state(usual / "weights.safetensors"))


def train(data: Path, out: Path, **options: Any) -> dict[str, torch.Tensor]:
    done = intarsia.train("fast_scnn", data=data / "data.yaml", out=out / "run", **{**QUICK, **options})
    return dict(load_state(done.weights))


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_a_training_with_a_cache_is_the_same_training(
    data: Path, tmp_path: Path, plain: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    for name in ("first", "second"):
        assert_equal(train(data, tmp_path / name, cache=f"{cache}:50M"), plain)
    run = json.loads((tmp_path / "second/run/run.json").read_text())
    assert run["config"]["intarsia"]["cache"] == f"{cache}:50000000"
    assert f"decoded samples are kept in {cache}, at most 50.0 MB, 4 samples (0.1 MB) are there" in run["notes"]


def test_a_cache_in_memory_goes_with_the_run(data: Path, tmp_path: Path, plain: dict[str, torch.Tensor]) -> None:
    assert_equal(train(data, tmp_path, cache="memory:1M"), plain)
    note = json.loads((tmp_path / "run/run.json").read_text())["notes"][-1]
    folder = Path(note.removeprefix("decoded samples are kept in ").partition(",")[0])
    assert folder.name.startswith("intarsia-cache-")
    assert folder.parent.is_dir()
    assert not folder.exists()


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_augmenting_on_the_device_trains_on_the_same_draws(data: Path, tmp_path: Path, usual: Path) -> None:
    """Losses differ by the rounding of colours alone."""
    train(data, tmp_path, augment_on="device")
    found, expected = losses(tmp_path / "run"), losses(usual)
    assert found == pytest.approx(expected, rel=0.02)
    assert found != expected


def test_the_log_says_what_the_device_does(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, augment="light", augment_on="device")
    notes = json.loads((tmp_path / "run" / "run.json").read_text())["notes"]
    (said,) = (note for note in notes if note.startswith("--augment-on device: "))
    left, kept = said.removeprefix("--augment-on device: ").split(" on the device (of images of 8 bits), ")
    assert left.split(", ")[-2:] == ["GaussianBlur", "GaussianNoise"]
    assert "RandomCrop" in kept
    assert kept.endswith(" with the workers")


def test_resuming_takes_another_cache(
    data: Path, tmp_path: Path, plain: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    import intarsia.engine.training.session as session

    usual, saved = session.Session.save, []

    def interrupted(self: session.Session) -> None:
        usual(self)
        saved.append(self.step)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(session.Session, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path, save_every="2 steps")
    result = resume_training(tmp_path / "run", device="cpu", cache=str(tmp_path / "cache"))
    assert result is not None
    assert result.weights is not None
    assert len(list((tmp_path / "cache").glob("??/*"))) == 4
    assert_equal(dict(load_state(result.weights)), plain)


class NoFiles:
    """A data set in memory."""

    classes, palette, ignore_index = ("a", "b"), ((0, 0, 0), (1, 1, 1)), 255

    def __len__(self) -> int:
        return 1


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(NoFiles(), ())  # type: ignore[arg-type]
    for text, message in (
        ("memory:900T", r"--cache memory:900T: .* of memory are free for it; give a smaller size"),
        (f"{tmp_path}/cache", r"--cache keeps samples of image files, and NoFiles reads none"),
        (__file__, r"is a file; give the name of a folder"),
        ("memory:", r"--cache is memory or a folder"),
        (f"{tmp_path}:500X", r"with a size behind it .*; found '.*:500X'"),
        (f"{tmp_path}:1e3", r"with a size behind it"),
        ("s3://bucket/cache", r"--cache s3://bucket/cache: this is written to a disk of this machine"),
    ):
        with pytest.raises(ValueError, match=message):
            open_cache(text, pipeline, tmp_path)
    config = Config.from_values({"train_dataloader": {}}, file="a.py")
    with pytest.raises(ValueError, match="--augment-on is workers or device, found 'gpu'"):
        list(settings_for(config, TrainingOptions(augment_on="gpu"), devices=1))
    assert CachePlace.parse(f"{tmp_path}:20GiB") == CachePlace(tmp_path, 20 * 2**30)
    (tmp_path / "odd:5X").mkdir()
    assert CachePlace.parse(f"{tmp_path}/odd:5X") == CachePlace(tmp_path / "odd:5X", None), "a folder that is there"
    assert memory_place(2**62) == Path(tempfile.gettempdir()), "shared memory without room"


def test_a_folder_that_may_not_be_written_to_is_read(
    data: Path, tmp_path: Path, plain: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert_equal(train(data, tmp_path / "first", cache=str(tmp_path / "kept")), plain)
    files = {file: file.read_bytes() for file in (tmp_path / "kept").rglob("*") if file.is_file()}

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(SampleCache, "_write_ledger", forbidden)
    monkeypatch.setattr("intarsia.data.sample_cache.write_aside", forbidden)
    capsys.readouterr()
    assert_equal(train(data, tmp_path / "second", cache=str(tmp_path / "kept")), plain)
    assert "are there; none are added, since it may not be written to" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in (tmp_path / "kept").rglob("*") if file.is_file()} == files
    with pytest.raises(ValueError, match="cannot be used: Permission denied"):
        train(data, tmp_path / "third", cache=str(tmp_path / "empty"))
