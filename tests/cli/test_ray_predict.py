"""Prediction over a Ray data set, on one machine that says it has eight processors."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import intarsia
from intarsia.workflows.ray_predict import _Images

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data() -> Iterator[Any]:
    """ray.data, with more slots than this machine has: a checkpoint that is read needs actors of its own."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=8, include_dashboard=False, object_store_memory=200 * 2**20, log_to_driver=False)
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray.data
    ray.shutdown()


def rows(dataset: Any) -> dict[str, dict[str, Any]]:
    return {Path(row["path"]).name: row for row in dataset.take_all()}


def as_label(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_labels_are_those_of_the_predictor_and_bad_images_say_why(data: Any, weights: Path, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    read = data.read_binary_files(str(photos), include_paths=True)
    found = rows(intarsia.predict_dataset(read, weights, save=("label", "confidence"), batch_size=2))
    assert set(found) == {"a_1.png", "a_2.png", "a_10.png", "c.png", "broken.png"}
    assert "bytes" not in found["a_1.png"]
    predictor = intarsia.load(weights, device="cpu")
    for name in ("a_1.png", "a_2.png", "a_10.png", "b/c.png"):
        row = found[Path(name).name]
        assert (row["error"], row["height"], row["width"]) == ("", 80, 96)
        assert (as_label(row["label"]) == predictor.predict(photos / name).label).all()
        assert as_label(row["confidence"]).dtype.itemsize > 1
    broken = found["broken.png"]
    assert (broken["label"], broken["height"]) == (b"", 0)
    assert broken["error"]
    assert "intarsia-" not in broken["error"]


def test_a_killed_actor_and_a_restart_from_a_checkpoint(data: Any, weights: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(30):
        (photos / f"more_{number}.png").write_bytes((photos / "a_1.png").read_bytes())
    out, marks = tmp_path / "out", tmp_path / "marks"
    context = data.DataContext.get_current()
    context.checkpoint_config = data.checkpoint.CheckpointConfig(
        id_column="path", checkpoint_path=str(marks), delete_checkpoint_on_success=False
    )
    try:
        killer = threading.Thread(target=kill_an_actor)
        killer.start()
        read = data.read_binary_files(str(photos), include_paths=True, override_num_blocks=8)
        intarsia.predict_dataset(read, weights, batch_size=1, actors=2).write_parquet(str(out))
        killer.join()
        assert killed
        (photos / "late.png").write_bytes((photos / "a_1.png").read_bytes())
        read = data.read_binary_files(str(photos), include_paths=True)
        intarsia.predict_dataset(read, weights, batch_size=1).write_parquet(str(out))
    finally:
        context.checkpoint_config = None
    written = data.read_parquet(str(out)).take_all()
    names = sorted(Path(row["path"]).name for row in written)
    assert names == sorted(file.name for file in photos.rglob("*.png"))  # all, each once
    assert not any(row["error"] for row in written)


killed: list[int] = []


def kill_an_actor() -> None:
    """The first process of the predictor's actors that there is, a moment after it has begun."""
    until = time.monotonic() + 120
    while time.monotonic() < until and not killed:
        for process in psutil.process_iter(["cmdline"]):
            if any("MapBatches(_Images)" in word for word in process.info["cmdline"] or ()):
                process.kill()
                killed.append(process.pid)
                return
        time.sleep(0.05)


def actor_of(weights: Path) -> _Images:
    return _Images(
        weights=str(weights), column="path", save=("label",), min_confidence=None, keep_image=True,
        options={"device": "cpu"},
    )  # fmt: skip


def test_columns_are_not_overwritten_and_a_missing_one_is_named(weights: Path) -> None:
    actor, some = actor_of(weights), np.array(["a"], object)
    with pytest.raises(ValueError, match=r"has columns error, label, .*dataset\.rename_columns"):
        actor({"path": some, "label": some, "error": some, "id": some})
    with pytest.raises(ValueError, match="column: expected one of file, id, found 'path'"):
        actor({"file": some, "id": some})


def test_rows_that_are_no_image_end_nothing(weights: Path, photos: Path) -> None:
    """Paths of folders, empty ones and patterns among them, and rows without anything; as the actor sees them."""
    actor = actor_of(weights)
    given = [str(photos / "a_1.png"), str(photos), "", f"{photos}/*.png", None]
    found = actor({"path": np.array(given, object)})
    assert found["error"][0] == ""
    assert [error.partition(" is no file but stands for many")[0] for error in found["error"][1:4]] == [
        repr(each) for each in given[1:4]
    ]
    assert found["error"][4] == "column 'path' has nothing here, expected an image"
    assert list(found["height"]) == [80, 0, 0, 0, 0]


def test_what_cannot_be(data: Any, weights: Path) -> None:
    with pytest.raises(ValueError, match="found 'overlays'"):
        intarsia.predict_dataset(None, weights, save=("overlays",))
    with pytest.raises(ValueError, match="at least one"):
        intarsia.predict_dataset(None, weights, actors=0)
