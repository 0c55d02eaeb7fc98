"""Several data sets in one training, by the command line as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main

FAST = ["--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu", "--pretrained", "none"]


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of other sizes, formats and kinds of labels, and mixed.yaml."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            label = np.zeros((70, 90), np.uint8)
            label[10 + i : 50, 20:70] = 1 + i % 2
            save(
                folder / f"town/images/{split}/{i}.jpg",
                (label[..., None] * 90 + rng.integers(0, 70, (70, 90, 3))).astype(np.uint8),
            )
            save(folder / f"town/labels/{split}/{i}.png", label)
            mask = np.zeros((80, 64), np.uint8)
            mask[30:, i : 40 + i] = 255
            save(
                folder / f"field/img/{split}/{i}.png",
                (mask[..., None] // 2 + rng.integers(0, 90, (80, 64, 3))).astype(np.uint8),
            )
            save(folder / f"field/mask/{split}/{i}.png", mask)
    (folder / "field/data.yaml").write_text(
        "classes: [track]\nlabels: {0: background, 255: track}\nsplits:\n"
        "  train: {images: img/train, labels: mask/train}\n  val: {images: img/val, labels: mask/val}\n"
    )
    (folder / "town/data.yaml").write_text(
        "classes: [other, road, roof]\nlabels: {0: other, 1: road, 2: roof}\nsplits:\n"
        "  train: {images: images/train, labels: labels/train}\n  val: {images: images/val, labels: labels/val}\n"
    )
    (folder / "mixed.yaml").write_text(
        "classes: [background, road, building]\ndatasets:\n"
        "  - {data: town/data.yaml, weight: 3, classes: {other: background, roof: building}}\n"
        "  - {data: field/data.yaml, weight: 1, classes: {track: road, background: ignore}}\n"
    )
    return folder / "mixed.yaml"


def test_check_train_resume_and_evaluate(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(mixed)]) == 0
    assert "town train  " in capsys.readouterr().out.replace(" pixels", "  ")
    run = tmp_path / "run"
    assert main(["train", "fast_scnn", "--data", str(mixed), "--out", str(run), "--for", "2 steps", *FAST]) == 0
    said = capsys.readouterr()
    assert "drawn by weight: town 75.0%, field 25.0%" in said.out + said.err
    report = json.loads((run / "eval.json").read_text())
    assert set(report["parts"]) == {"town", "field"}
    assert [part["images"] for part in report["parts"].values()] == [2, 2]
    assert report["parts"]["field"]["absent"] == ["background", "building"]  # ignored there, never background
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("val/town/mIoU" in line and "val/field/mIoU" in line for line in lines)
    out = tmp_path / "scores"
    assert main(["eval", str(run), "--out", str(out), "--device", "cpu", "--workers", "0"]) == 0
    again = json.loads((out / "eval.json").read_text())
    assert again["parts"] == report["parts"]
    assert "field  2 images" in capsys.readouterr().out
    words = ["eval", str(run), "--data", str(mixed), "--split", "train", "--out", str(out), "--device", "cpu"]
    assert main([*words, "--workers", "0"]) == 0
    assert json.loads((out / "eval.json").read_text())["parts"]["town"]["images"] == 4


def test_samples_are_shown_and_what_needs_one_data_set_says_so(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "show", str(mixed), "--out", str(tmp_path / "sheet.png")]) == 0
    assert Image.open(tmp_path / "sheet.png").width > 300
    for words in (["data", "split", str(mixed)], ["data", "convert", str(mixed)]):
        assert main([*words, "--out", str(tmp_path / "x")]) != 0
        assert "one data set at a time" in capsys.readouterr().err


def test_the_page_shows_the_samples_and_edits_no_classes(mixed: Path) -> None:
    from intarsia.viewer.class_editor import editor_of
    from intarsia.viewer.samples import Collection
    from intarsia.workflows.view import described

    assert editor_of(mixed) is None
    assert editor_of(mixed.parent / "town/data.yaml") is not None
    collection = Collection(described(mixed).dataset("val"))
    assert [collection.name(index).split("/")[0] for index in range(4)] == ["town", "town", "field", "field"]
    collection.measure(3)
