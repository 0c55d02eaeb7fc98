"""Host memory does not grow with the images of an evaluation or a prediction.

A few hundred tiny images are enough to see a slope: what stays of each is a label map at least, of 33 KB here, and the
limit is a sixth of that, or 55 MB over 10,000 images. Python's own allocations are counted exactly, and their limit is
300 bytes an image, since the scores of each are kept; tensors show in the memory of the process, a rougher measure.
"""

from __future__ import annotations

import ctypes
import gc
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from standins import CLASSES, PALETTE, tiny_task
from torch import Tensor

from intarsia.contracts import SampleMeta
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.wrappers import RepeatDataset
from intarsia.data.pipeline import Pipeline
from intarsia.evaluation.evaluate import evaluate
from intarsia.inference.inputs.finding import FoundImages, ImageFile
from intarsia.inference.outputs.manifest import Manifest
from intarsia.inference.outputs.writer import Outputs
from intarsia.inference.predictor import Predictor
from intarsia.metrics.iou import IoUMetric
from intarsia.spec import InferenceSpec
from intarsia.workflows import predict_images as command

SIZE = (160, 208)
FILES, IMAGES = 24, 360
STATM = Path("/proc/self/statm")
TRIM = getattr(ctypes.CDLL(None), "malloc_trim", int)
"""Gives the system back what was freed, of which glibc may hold a megabyte more or less; others do it by themselves."""
PROCESS_LIMIT, PYTHON_LIMIT = 5500, 300  # bytes an image

pytestmark = pytest.mark.skipif(not STATM.exists(), reason="reads the memory of the process as Linux shows it")


@dataclass
class Watch:
    """Memory while images are worked on, looked at after `step` of them at least."""

    step: int = 8
    done: list[int] = field(default_factory=list)
    process: list[int] = field(default_factory=list)
    python: list[int] = field(default_factory=list)

    def look(self, done: int) -> None:
        if not self.done or done >= self.done[-1] + self.step:
            gc.collect()
            TRIM(0)
            self.done.append(done)
            self.process.append(int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            self.python.append(tracemalloc.get_traced_memory()[0])

    def slopes(self) -> tuple[float, float]:
        """Bytes an image, of the process and of Python. The first third is warming up: caches, threads, pools.

        From the second third to the last one; of each the least, since what is in flight only adds to it.
        """
        third = len(self.done) // 3
        assert third >= 10
        images = self.done[-third] - self.done[third]

        def between(values: list[int]) -> float:
            return (min(values[-third:]) - min(values[third : 2 * third])) / images

        return between(self.process), between(self.python)


@pytest.fixture
def watch() -> Iterator[Watch]:
    gc.collect()
    gc.freeze()  # what is there already need not be looked through at every look
    tracemalloc.start()
    try:
        yield Watch()
    finally:
        tracemalloc.stop()
        gc.unfreeze()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with labels, in files."""
    root = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (root / part).mkdir()
    for number in range(FILES):
        image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / "images" / f"{number:02d}.jpg")
        Image.fromarray((image[..., 0] > 127).astype(np.uint8)).save(root / "labels" / f"{number:02d}.png")
    return root


def predictor() -> Predictor:
    return Predictor(tiny_task(), inference=InferenceSpec(num_classes=3), classes=CLASSES, palette=PALETTE)


def evaluated(folder: Path, watch: Watch, on_prediction: Callable[[SampleMeta, Tensor], None] | None = None) -> None:
    dataset = FolderDataset(root=str(folder), images="images", labels="labels", classes=CLASSES)
    pipeline = Pipeline(RepeatDataset(dataset, IMAGES // FILES), (), label_size="original")
    names = ("mIoU", "mBoundaryIoU", "imageIoU", "interval", "ECE")
    done = 0

    def progress(images: int) -> None:
        nonlocal done
        done += images
        watch.look(done)

    used, metric = predictor(), IoUMetric(num_classes=3, classes=CLASSES, metrics=names)
    report = evaluate(
        used, pipeline, metric, batch_size=2, progress=progress, on_prediction=on_prediction, task=used.task
    )  # type: ignore[arg-type]
    assert report.images == IMAGES


def test_evaluation(folder: Path, watch: Watch) -> None:
    evaluated(folder, watch)
    process, python = watch.slopes()
    assert process < PROCESS_LIMIT
    assert python < PYTHON_LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("keeps", ["tensors", "names"])
def test_what_an_evaluation_keeps_is_seen(keeps: str, folder: Path, watch: Watch) -> None:
    """The test above can fail: label maps or a few words of every image are enough."""
    kept: list[object] = []

    def keep(meta: SampleMeta, label: Tensor) -> None:
        kept.append(label if keeps == "tensors" else (meta, str(label.shape)))

    evaluated(folder, watch, keep)
    process, python = watch.slopes()
    assert len(kept) == IMAGES
    assert process > PROCESS_LIMIT or python > PYTHON_LIMIT
    assert (process > PROCESS_LIMIT) == (keeps == "tensors")


def test_prediction(folder: Path, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def progress(title: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: watch.look(done)

    monkeypatch.setattr(command, "progress", progress)
    files = sorted((folder / "images").iterdir())
    found = FoundImages(tuple(ImageFile(files[i % FILES], f"{i:04d}") for i in range(IMAGES)), {})
    outputs = Outputs(tmp_path / "out", kinds=frozenset({"label"}))
    manifest = Manifest({"weights": "tiny"}, {})
    assert command.predict_images(predictor(), found, outputs, manifest=manifest, table=None, skip_existing=False)
    assert len(list((tmp_path / "out").rglob("*.png"))) == IMAGES
    process, python = watch.slopes()
    assert process < PROCESS_LIMIT
    assert python < 4 * PYTHON_LIMIT  # images and label maps on their way between threads come and go
