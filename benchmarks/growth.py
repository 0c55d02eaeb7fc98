"""How costs grow: each work at three sizes, and by which power of the size its time grows. 1 is in proportion.

    OMP_NUM_THREADS=1 python benchmarks/growth.py [--only indexing] [--scale 0.1]

    indexing      files of a data set paired with their labels
    list          a list file that names them, matched with the files
    doctor        the data doctor's look at a folder of tiny images
    log           lines of metrics.jsonl: read as a plot does, and cut back as a resumed run does
    predictions   crops of 16 x 16 pixels, by a network that costs next to nothing
    report        images evaluated with everything that the page of `eval --report` shows
    classes       classes of a confusion matrix of one image: counted, and made into a table

Times are the processor's, of one thread, so that other programs matter less; the smallest size is done once before.
--scale makes all sizes smaller. What grows by much more than its size is named in the last line, with exit code 1.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SIZES = {
    "indexing": (10_000, 100_000, 1_000_000),
    "list": (10_000, 100_000, 1_000_000),
    "doctor": (500, 1_500, 4_500),
    "log": (100_000, 1_000_000, 10_000_000),
    "predictions": (1_000, 10_000, 30_000),
    "report": (1_000, 10_000, 100_000),
    "classes": (150, 1_500, 10_000),
}
TOO_STEEP = {"classes": 2.3}
"""Power of the size from which a work is named; 1.3 unless it is here. A confusion matrix has K x K counts."""

Work = Callable[[int, Path], Callable[[], object]]


def touched(count: int, folder: Path) -> None:
    for name, suffix in (("images", ".jpg"), ("labels", ".png")):
        for group in range(10):
            (folder / name / str(group)).mkdir(parents=True)
        for number in range(count):
            (folder / name / str(number % 10) / f"{number}{suffix}").touch()


def indexing(count: int, folder: Path) -> Callable[[], object]:
    from intarsia.data.datasets.folder import FolderDataset

    touched(count, folder)

    def work() -> None:
        found = FolderDataset(root=str(folder), images="images", labels="labels", classes=("a", "b"))
        assert len(found) == count

    return work


def listed(count: int, folder: Path) -> Callable[[], object]:
    from intarsia.data.datasets.folder import FolderDataset

    touched(count, folder)
    names = "".join(f"{number % 10}/{number}\n" for number in range(count))
    (folder / "train.txt").write_text(names, encoding="utf-8")

    def work() -> None:
        found = FolderDataset(
            root=str(folder), images="images", labels="labels", classes=("a", "b"), split_file="train.txt"
        )
        assert len(found) == count

    return work


def painted(count: int, folder: Path) -> None:
    """Tiny images of noise, and masks of two classes."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(count):
        image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), (image[:, :, 0] > 127).astype(np.uint8))


def doctor(count: int, folder: Path) -> Callable[[], object]:
    from intarsia.data.doctor.examine import examine

    painted(count, folder)
    return lambda: examine(folder)


def log(count: int, folder: Path) -> Callable[[], object]:
    from intarsia.engine.training.log import MetricsFile
    from intarsia.workflows.training_logs import read_log, summary

    line = '{{"step": {}, "loss": 1.25, "decode.loss_ce": 1.0, "lr": 0.01, "step_seconds": 0.5}}\n'
    file = folder / "metrics.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(line.format(step) for step in range(1, count + 1))

    def work() -> None:
        read = read_log(file)
        assert all(summary(read, key) is not None for key in ("loss", "lr"))
        MetricsFile(file).rewind(count - 10, count - 10)

    return work


def predictions(count: int, folder: Path) -> Callable[[], object]:
    import numpy as np
    from raster import predictor

    model = predictor()
    crops = [np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8) for number in range(count)]
    return lambda: [one.label for one in model.predict(crops)]


def report(count: int, folder: Path) -> Callable[[], object]:
    """Images of 32 x 32 pixels: what counts is what each adds to the table, the worst images and the page."""
    import contextlib
    import io

    import intarsia
    from intarsia.workflows.evaluate import EvaluationRequest, evaluate_model

    painted(count, folder)
    weights = folder / "weights.safetensors"
    with contextlib.redirect_stderr(io.StringIO()):
        model = intarsia.create_model("fast_scnn", num_classes=2, pretrained=False)
        intarsia.save(model, weights, classes=["class 0", "class 1"])
    request = EvaluationRequest(
        weights=weights, data=folder, out=folder / "scores", report=folder / "page.html", split="train", device="cpu"
    )

    def work() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            evaluate_model(request)

    return work


def classes(count: int, folder: Path) -> Callable[[], object]:
    import torch

    from intarsia.metrics.iou import IoUMetric

    labels = torch.arange(512 * 512).view(512, 512) % count

    def work() -> None:
        metric = IoUMetric(num_classes=count, classes=[str(number) for number in range(count)], ignore_index=65535)
        metric.update(labels, labels.flip(0))
        metric.report()

    return work


WORKS: dict[str, Work] = {
    "indexing": indexing, "list": listed, "doctor": doctor, "log": log, "predictions": predictions, "report": report,
    "classes": classes,
}  # fmt: skip


def seconds(work: Work, count: int) -> float:
    """Processor time of one work, without what it takes to set it up."""
    with tempfile.TemporaryDirectory() as folder:
        act = work(count, Path(folder))
        began = time.process_time()
        act()
        return time.process_time() - began


def main() -> int:
    """1 if something grows too steeply."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WORKS, help="one of the works")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    given = parser.parse_args()
    steep = []
    for name in [given.only] if given.only else WORKS:
        sizes = [max(int(size * given.scale), 10) for size in SIZES[name]]
        seconds(WORKS[name], sizes[0])
        times = [seconds(WORKS[name], size) for size in sizes]
        power = math.log(times[2] / times[1]) / math.log(sizes[2] / sizes[1])
        shown = ", ".join(f"{size:,}: {took:.2f} s" for size, took in zip(sizes, times, strict=True))
        print(f"{name}: {shown}; by the power {power:.2f}", flush=True)
        if power > TOO_STEEP.get(name, 1.3) and times[2] > 0.5:
            steep.append(name)
    if steep:
        print(f"too steep: {', '.join(steep)}")
    return bool(steep)


if __name__ == "__main__":
    sys.exit(main())
