"""`intarsia eval` with a report, chosen scores, groups and a region of interest."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.cli.main import main
from intarsia.contracts import Report, SampleMeta
from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes
from intarsia.metrics.iou import IoUMetric
from intarsia.workflows.confusion import check_confusion
from intarsia.workflows.evaluation_report import WIDEST, Gallery, reduced

EVERYWHERE = ["--device", "cpu", "--workers", "0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two steps on drawn scenes, with three images to evaluate."""
    folder = tmp_path_factory.mktemp("report")
    write_description(write_scenes(folder / "data", train=2, val=3), folder / "data" / "data.yaml")
    words = ["train", "fast_scnn", "--data", str(folder / "data" / "data.yaml"), "--out", str(folder / "run")]
    assert main([*words, "--for", "2 steps", "--batch", "2", "--crop", "64", "64", *EVERYWHERE]) == 0
    return folder / "run"


def test_the_report_shows_what_eval_finds(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(run), "--out", str(tmp_path), "--report", str(tmp_path / "page"), "--pictures", "2"]
    assert main([*words, "--group", "ground=road,pavement", *EVERYWHERE]) == 0
    assert str(tmp_path / "page" / "report.html") in capsys.readouterr().err
    page = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    scores = json.loads((tmp_path / "eval.json").read_text())
    before = json.loads((run / "eval.json").read_text())
    assert scores["mIoU"] == before["mIoU"]
    assert {"mBoundaryIoU", "fwIoU", "kappa", "imageIoU", "mIoU_low", "mIoU_high", "ECE", "IoU(ground)"} <= set(scores)
    for name in ("mIoU", "mBoundaryIoU", "fwIoU", "imageIoU", "IoU(ground)"):
        assert f"<dd>{100 * scores[name]:.2f}<small>%" in page
    assert len(re.findall(r"<article>", page)) == 3  # two of the worst; what is left is the best
    assert page.count("data:image/jpeg") == 15
    for said in ("SHA-256", "labelled pixels", "EncoderDecoder", "pedestrian", "street_00", "the config of the run"):
        assert said in page
    assert len(page) < 2e6


def test_the_confusion_matrix_holds_the_scores(run: Path, tmp_path: Path) -> None:
    """IoU and pixels of eval.csv follow from its rows and columns, with a report and without, and of files."""
    data = run.parent / "data" / "data.yaml"
    assert main(["predict", str(run), str(data.parent / "images" / "val"), "-o", str(tmp_path / "labels"), "--save",
                 "label", "--device", "cpu"]) == 0  # fmt: skip
    found = []
    for number, words in enumerate(
        ([str(run)], [str(run), "--report", str(tmp_path)], ["--predictions", str(tmp_path / "labels")])
    ):
        file = tmp_path / f"confusion{number}.csv"
        options = ["--pictures", "0", "--out", str(tmp_path / "out"), "--data", str(data), "--confusion", str(file)]
        assert main(["eval", *words, *options, *EVERYWHERE]) == 0
        found.append([row[1:] for row in list(csv.reader(file.open()))[1:]])
    matrix = np.array(found[0], int)
    assert found[0] == found[1] == found[2]
    hit, labelled, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    scores = list(csv.DictReader((tmp_path / "out" / "eval.csv").open()))[:-1]
    assert [int(row["pixels"]) for row in scores] == labelled.tolist()
    for row, iou in zip(scores, hit / np.maximum(labelled + predicted - hit, 1), strict=True):
        assert not row["IoU"] or float(row["IoU"]) == pytest.approx(iou)


def test_the_confusion_matrix_as_a_picture(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(run), "--out", str(tmp_path), "--pictures", "0", *EVERYWHERE]
    assert main([*words, "--confusion", str(tmp_path / "m.png"), "--confusion", str(tmp_path / "m.csv")]) == 0
    assert (tmp_path / "m.csv").is_file()
    assert min(Image.open(tmp_path / "m.png").size) > 400
    assert main([*words, "--confusion", str(tmp_path / "m.pdf")]) == 2
    assert "expected a picture, .png, or tables, .csv" in capsys.readouterr().err


def test_a_metric_without_such_a_matrix_is_told_before_the_work() -> None:
    class Other:
        """No IoUMetric."""

    with pytest.raises(ValueError, match="Other counts no confusion matrix of classes"):
        check_confusion([Path("m.png")], Other())
    check_confusion([], Other())


def test_chosen_scores(run: Path, tmp_path: Path) -> None:
    words = ["eval", str(run), "--out", str(tmp_path), "--pictures", "0", "--metrics", "mBoundaryIoU, kappa"]
    assert main([*words, *EVERYWHERE]) == 0
    scores = json.loads((tmp_path / "eval.json").read_text())
    assert set(scores) == {"aAcc", "mBoundaryIoU", "kappa", "classes", "absent", "images", "losses"}
    assert set(next(csv.DictReader((tmp_path / "eval.csv").open()))) == {"class", "BoundaryIoU", "pixels"}


def test_only_what_is_inside_counts(run: Path, tmp_path: Path) -> None:
    mask = np.zeros((160, 240), np.uint8)
    mask[100:150, 20:60] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["eval", str(run), "--out", str(tmp_path), "--pictures", "0", "--roi", str(tmp_path / "mask.png")]
    assert main([*words, *EVERYWHERE]) == 0
    pixels = [int(row["pixels"]) for row in csv.DictReader((tmp_path / "eval.csv").open()) if row["pixels"]]
    assert 0 < sum(pixels) <= 3 * 50 * 40


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metrics", "mIuO"], "unknown metric 'mIuO'; known: mIoU"),
        (["--group", "ground"], "--group takes NAME=CLASS,CLASS, found 'ground'"),
        (["--group", "ground=raod"], "unknown: raod"),
        (["--roi", "nowhere"], "nowhere: expected a mask"),
    ],
)
def test_what_cannot_be(
    run: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(run), "--out", str(tmp_path), *options, *EVERYWHERE]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


# --- What is collected on the way ---------------------------------------------------------------------------------


class OwnMetric:
    """A metric of a user's own, which knows nothing of confidences."""

    def __init__(self) -> None:
        self.seen = 0

    def update(self, prediction: torch.Tensor, label: torch.Tensor) -> None:
        self.seen += 1

    def state(self) -> torch.Tensor:
        return torch.tensor([self.seen])

    def load_state(self, state: torch.Tensor) -> None:
        self.seen = int(state[0])

    def report(self) -> Report:
        return Report({"own": 1.0}, (), (), self.seen)


def test_the_worst_and_the_best_are_kept() -> None:
    """Images whose first k of 10 pixels are right, in mixed order; one has no labelled pixel."""
    own, details = OwnMetric(), IoUMetric(num_classes=2, metrics=("ECE",))
    gallery = Gallery(own, details, count=2)
    order = [4, 9, 1, 7, 0, 5]
    for number, right in enumerate([*order, None]):
        label = torch.zeros(1, 10, dtype=torch.uint8)
        prediction = torch.ones(1, 10, dtype=torch.uint8)
        if right is None:
            label += 255
        else:
            prediction[0, :right] = 0
        gallery.update(prediction, label, torch.full((1, 10), 0.5))
        gallery.named(SampleMeta(name=f"image{number}"), prediction)
    assert [kept.index for _, _, kept in gallery._worst] == [order.index(0), order.index(1)]
    assert [kept.index for _, _, kept in gallery._best] == [order.index(9), order.index(7)]
    assert [accuracy for _, accuracy in gallery.scores[:6]] == [right / 10 for right in order]
    assert np.isnan(gallery.scores[6]).all()
    assert own.seen == details.images == 7
    assert gallery.report().summary == {"own": 1.0}


def test_large_images_are_reduced() -> None:
    values = torch.arange(1000)[None, :].expand(500, 1000)
    small = reduced(values)
    assert small.shape == (WIDEST // 2, WIDEST)
    assert small[0, 0] == 0
    assert np.all(np.diff(small[0]) > 0)
    assert reduced(values[:, :100]).shape == (500, 100)
