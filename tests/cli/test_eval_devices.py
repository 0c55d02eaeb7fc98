"""``intarsia eval --devices``: the scores, files and pages of several processes are those of one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from intarsia.cli.main import main
from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes
from intarsia.workflows.evaluation_report import Gallery, Kept
from intarsia.workflows.example_pictures import Worst

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYWHERE = ["--device", "cpu", "--workers", "0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    write_description(write_scenes(folder / "data", train=2, val=5), folder / "data" / "data.yaml")
    words = ["train", "fast_scnn", "--data", str(folder / "data" / "data.yaml"), "--out", str(folder / "run")]
    assert main([*words, "--for", "2 steps", "--batch", "2", "--crop", "64", "64", *EVERYWHERE]) == 0
    return folder / "run"


def scores_and_page(run: Path, out: Path, *more: str) -> tuple[dict[str, float], dict[str, bytes], str]:
    words = ["eval", str(run), "--out", str(out), "--report", str(out / "page"), "--confusion", str(out / "c.csv")]
    metrics = "mIoU,mBoundaryIoU,imageIoU,interval,ECE,kappa"
    assert main([*words, "--metrics", metrics, "--pictures", "2", *EVERYWHERE, *more]) == 0
    page = (out / "page" / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?", "TIME", page)
    pictures = {path.name: path.read_bytes() for path in sorted((out / "pictures").iterdir())}
    pictures["c.csv"] = (out / "c.csv").read_bytes()
    return json.loads((out / "eval.json").read_text()), pictures, page


@pytest.mark.slow
def test_two_processes_find_what_one_finds(run: Path, tmp_path: Path) -> None:
    scores, pictures, page = scores_and_page(run, tmp_path / "one")
    shared, of_shared, page_of_shared = scores_and_page(run, tmp_path / "two", "--devices", "cpu:2")
    assert shared.keys() == scores.keys()
    for name, value in scores.items():
        if name == "loss":  # a sum of floats in another order
            assert shared[name] == pytest.approx(value, rel=1e-12)
        else:
            assert shared[name] == value, name
    assert of_shared == pictures
    assert re.sub(r"loss.{0,60}", "", page_of_shared) == re.sub(r"loss.{0,60}", "", page)


def test_kept_images_are_joined_in_the_order_of_the_data() -> None:
    label = np.zeros((1, 1))
    metric = Worst(None, 255, 3)  # type: ignore[arg-type]
    metric.join([[(0.1, 0, label), (0.5, 1, label)], [(0.1, 0, label), (0.2, 1, label)]])
    assert [entry[:2] for entry in metric.kept] == [(0.1, 0), (0.1, 1), (0.2, 3)]


def test_galleries_are_joined_in_the_order_of_the_data() -> None:
    def gallery(*scores: float) -> Gallery:
        found = Gallery(None, None, 2)  # type: ignore[arg-type]
        found.names = [f"{score}" for score in scores]
        found.scores = [(score, score) for score in scores]
        kept = [(score, score, Kept(n, np.zeros(1), np.zeros(1), None)) for n, score in enumerate(scores)]
        found._worst, found._best = sorted(kept, key=lambda e: e[0])[:2], sorted(kept, key=lambda e: -e[0])[:2]
        return found

    whole = gallery()
    whole.join([gallery(0.3, 0.9, 0.5), gallery(0.9, 0.1)])
    assert whole.names == ["0.3", "0.9", "0.9", "0.1", "0.5"]
    assert [(iou, kept.index) for iou, _, kept in whole._worst] == [(0.1, 3), (0.3, 0)]
    assert [(iou, kept.index) for iou, _, kept in whole._best] == [(0.9, 1), (0.9, 2)]
