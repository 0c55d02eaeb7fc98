"""Validation in training, `eval`, and scoring of what `predict` has written: one table, to the last digit.

On every real data set that has labels, its files made small: for one and four images at a time, in one process and in
two, and against counts that are made here from the files alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.config.build import build_metric
from intarsia.data.description.model import DataDescription
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.distributed.runtime import FabricRuntime
from intarsia.evaluation.evaluate import evaluate
from intarsia.evaluation.files import report_as_dict
from intarsia.workflows.trained_model import labelled_images, open_model

pytestmark = pytest.mark.slow

QUIET = ["--device", "cpu", "--workers", "0"]
SHORT = ["--for", "2 steps", "--eval-every", "2 steps", "--crop", "64", "64", *QUIET]
UNDECIDED = [
    *("--set", "model.backbone.norm_cfg.momentum=1.0", "model.decode_head.norm_cfg.momentum=1.0"),
    "optim_wrapper.optimizer.lr=1e-6",
]
"""Statistics of the last images and random weights, so that every class is predicted somewhere."""
LARGEST = 80
"""Pixels of the longer side after shrinking; odd sizes come from data sets whose images differ."""


@dataclass(frozen=True)
class Case:
    """A data set below realdata, the folders of it that are used, every how many files of each, and more words of the
    training.
    """

    folder: str
    parts: tuple[str, ...] = ("",)
    every: int = 1
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.folder.replace("mmseg_tests_data/", "").replace("mseg_samples/test_data/", "")


CASES = [
    Case("camvid", ("train", "trainannot", "val", "valannot"), 5),
    Case("dsb2018_nuclei", ("images", "masks"), 3),
    Case("crackforest", ("image", "masks"), 3),
    Case("isbi2012_membrane", ("train",)),
    Case("cwfid", ("images", "annotations")),
    Case("ade20k_samples", ("images", "annotations")),
    Case("coco_stuff_samples", ("train_img", "train_label", "val_img", "val_label")),
    Case("coco_panoptic_samples", ("input_images", "panoptic_examples")),
    Case("labelme_voc_samples/semantic_segmentation/data_dataset_voc", ("JPEGImages", "SegmentationClass")),
    Case("mseg_samples/test_data/SUNRGBD_test_data"),
    Case("mseg_samples/test_data/ADE20K_test_data", ("ADEChallengeData2016",)),
    Case("mmseg_tests_data/pseudo_dataset"),
    Case("mmseg_tests_data/pseudo_loveda_dataset"),
    Case("mmseg_tests_data/pseudo_refuge_dataset"),
    Case("mmseg_tests_data/pseudo_vaihingen_dataset"),
    Case("mmseg_tests_data/pseudo_potsdam_dataset"),
    Case("mmseg_tests_data/pseudo_mapillary_dataset", ("images", "v1.2")),
    Case("mmseg_tests_data/pseudo_lip_dataset"),
    # Two thirds are foreground: the best threshold of a network that knows nothing lets all be.
    Case("mmseg_tests_data/pseudo_bdd100k_dataset", ("images", "labels/sem_seg/masks"), words=("--plain", "all")),
    Case("mmseg_tests_data/pseudo_cityscapes_dataset"),
]


def shrunk(case: Case, source: Path, target: Path) -> Path:
    """A copy of the data set with fewer and smaller files. Pixels are left out, none is mixed: labels stay labels."""
    target.mkdir(parents=True)
    left_out = (".jpg", ".md", ".json")  # annotations are of images at their own size
    for file in (entry for entry in source.iterdir() if entry.is_file() and entry.suffix not in left_out):
        shutil.copy(file, target)
    for part in case.parts:
        for folder in {file.parent for file in (source / part).rglob("*") if file.is_file()}:
            files = sorted(file for file in folder.iterdir() if file.is_file())
            (target / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)
            for file in files[:: case.every]:
                shrink(file, target / file.relative_to(source))
    return target


def shrink(file: Path, out: Path) -> None:
    if file.suffix not in (".png", ".jpg"):
        shutil.copy(file, out)
        return
    with Image.open(file) as image:
        factor = max(1, math.ceil(max(image.size) / LARGEST))
        size = (math.ceil(image.width / factor), math.ceil(image.height / factor))
        image.resize(size, Image.Resampling.NEAREST).save(out)


def described(folder: Path, file: Path) -> Path:
    """The description that the doctor proposes. Where there is nothing to validate on, all is."""
    description = examine(folder).proposal()
    if "val" not in description.splits:
        splits = {**description.splits, "val": description.splits["train"]}
        description = dataclasses.replace(description, splits=splits)
    write_description(description, file)
    return file


@pytest.fixture(scope="module", params=CASES, ids=str)
def run(request: pytest.FixtureRequest, realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two steps that validates four images at a time."""
    folder = tmp_path_factory.mktemp("same")
    data = shrunk(request.param, realdata / request.param.folder, folder / "data")
    words = ["train", "small_r18", "--data", str(described(data, folder / "data.yaml")), "--out", str(folder / "run")]
    words += request.param.words
    assert main([*words, "--batch", "2", *SHORT, *UNDECIDED, "val_dataloader.batch_size=4"]) == 0
    return folder / "run"


def table(file: Path) -> dict[str, Any]:
    """What eval.json says of the labels; loss and threshold are no part of that, and files of labels have none."""
    return of_labels(json.loads(file.read_text()))


def of_labels(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in ("losses", "threshold")}


def test_one_table(run: Path, tmp_path: Path) -> None:
    expected = table(run / "eval.json")
    for batch in ("1", "4"):
        words = ["eval", str(run), "--out", str(tmp_path / batch), "--batch", batch, "--pictures", "0"]
        assert main([*words, *QUIET]) == 0
        assert table(tmp_path / batch / "eval.json") == expected

    description = read_description(run / "data.yaml")
    images = [str(description.root / pair.image) for pair in description.pairs("val")]
    out = tmp_path / "labels"
    assert main(["predict", str(run), *images, "--out", str(out), "--device", "cpu"]) == 0
    words = ["eval", "--predictions", str(out), "--data", str(run / "data.yaml"), "--out", str(tmp_path / "scored")]
    assert main(words) == 0
    assert table(tmp_path / "scored" / "eval.json") == expected
    assert (tmp_path / "scored" / "eval.csv").read_text() == (run / "eval.csv").read_text()

    counts = counted(description, out)
    assert sum(value > 0 for value in counts.sum(axis=0)) > 1, "a network that says one thing shows nothing"
    compare(counts, expected)


def test_two_processes(run: Path) -> None:
    """Also where one of them has no image at all."""
    model = open_model(run, config=None, device="cpu")
    pipeline = labelled_images(model, None, "val")
    classes = pipeline.dataset.classes

    def job(runtime: FabricRuntime) -> list[dict[str, Any]]:
        assert runtime.world_size == 2
        predictor, metric = model.predictor(classes, pipeline.dataset.palette), build_metric(model.spec, classes)
        return [
            of_labels(report_as_dict(evaluate(predictor, pipeline, metric, batch_size=batch, runtime=runtime)))
            for batch in (1, 4)
        ]

    assert FabricRuntime(accelerator="cpu", devices=2, start="fork").spawn(job) == [table(run / "eval.json")] * 2


def test_training_in_two_processes(realdata: Path, tmp_path: Path) -> None:
    """The table of its last validation is what one process finds with its weights, and what its files score."""
    data = shrunk(CASES[0], realdata / "camvid", tmp_path / "data")
    out = tmp_path / "run"
    words = ["train", "small_r18", "--data", str(data), "--out", str(out), "--devices", "2", "--batch", "4", *SHORT]
    command = [sys.executable, "-m", "intarsia", *words, *UNDECIDED, "val_dataloader.batch_size=2"]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    expected = table(out / "eval.json")
    images = len(read_description(out / "data.yaml").pairs("val"))
    assert expected["images"] == images
    assert images % 2, "an odd number cannot be shared evenly"
    assert main(["eval", str(out), "--out", str(tmp_path / "alone"), "--pictures", "0", *QUIET]) == 0
    assert table(tmp_path / "alone" / "eval.json") == expected
    assert main(["predict", str(out), str(data / "val"), "--out", str(tmp_path / "labels"), "--device", "cpu"]) == 0
    assert main(["eval", "--predictions", str(tmp_path / "labels"), "--config", str(out), "--out", str(tmp_path)]) == 0
    assert table(tmp_path / "eval.json") == expected


def counted(description: DataDescription, predictions: Path) -> npt.NDArray[np.int64]:
    """The confusion matrix (K, K) of files alone: rows are true classes, columns predicted ones."""
    K = max(description.num_classes, 2)
    total = np.zeros(K * K, np.int64)
    for pair in description.pairs("val"):
        assert pair.label is not None
        (found,) = predictions.rglob(f"{Path(pair.image).stem}.png")
        with Image.open(found) as file:
            prediction = np.asarray(file).astype(np.int64)
        with Image.open(description.root / pair.label) as file:
            truth = indices(np.asarray(file), description)
        valid = truth >= 0
        total += np.bincount(truth[valid] * K + prediction[valid], minlength=K * K)
    return total.reshape(K, K)


def indices(stored: npt.NDArray[Any], description: DataDescription) -> npt.NDArray[np.int64]:
    """Class indices of a label file, value by value; -1 where nothing is said."""
    truth, labels = np.full(stored.shape[:2], -2, np.int64), description.labels or {}
    if stored.ndim == 3 and all(isinstance(value, int) for value in labels):
        stored = stored[..., 0]  # grey, saved as if it were colours
    for value, name in labels.items():
        index = -1 if name == "ignore" else description.classes.index(name)
        truth[stored == value if isinstance(value, int) else (stored == value).all(axis=-1)] = index
    if description.tolerance:
        for y, x in zip(*(truth == -2).nonzero(), strict=True):
            truth[y, x] = nearest_index(stored[y, x], description)
    if description.outside == "ignore":
        truth[truth == -2] = -1
    assert (truth > -2).all()
    return truth


def nearest_index(stored: npt.NDArray[Any], description: DataDescription) -> int:
    """The class of the colour whose channels differ least from one that is not listed, -2 where none is near."""
    apart = {colour: np.abs(np.subtract(colour, stored, dtype=np.int64)) for colour in description.labels or {}}
    nearest = min(apart, key=lambda colour: (apart[colour].max(), apart[colour].sum(), colour))
    if apart[nearest].max() > description.tolerance:
        return -2
    name = (description.labels or {})[nearest]
    return -1 if name == "ignore" else description.classes.index(name)


def compare(counts: npt.NDArray[np.int64], expected: dict[str, Any]) -> None:
    hit, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    scores: dict[str, list[float]] = {"IoU": [], "Acc": []}
    for k, (name, found) in enumerate(expected["classes"].items()):
        union = int(true[k] + predicted[k] - hit[k])
        by_hand = {
            "IoU": int(hit[k]) / union if union else None,
            "Acc": int(hit[k]) / int(true[k]) if true[k] else None,
        }
        assert found == by_hand, name
        for score, value in by_hand.items():
            scores[score] += [] if value is None else [value]
    assert expected["absent"] == [name for name, count in zip(expected["classes"], true, strict=True) if not count]
    assert expected["aAcc"] == int(hit.sum()) / int(counts.sum())
    for score, values in scores.items():
        assert expected[f"m{score}"] == pytest.approx(math.fsum(values) / len(values), rel=1e-14)
