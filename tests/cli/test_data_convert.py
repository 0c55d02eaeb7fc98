"""Annotations from the command line: check, convert, and train on them for two steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.description.read import read_description
from intarsia.data.doctor.examine import examine

SIZE = (64, 80)


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    """Six images with COCO polygons and an ignored crowd."""
    images, annotations = [], []
    for number in range(6):
        rng = np.random.default_rng(number)
        left, top = (int(place) for place in rng.integers(2, 30, 2))
        picture = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
        picture[top : top + 20, left : left + 30, 1] += 120
        (tmp_path / "leaves/pictures").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / f"leaves/pictures/{number}.png")
        corners = [left, top, left + 30, top, left + 30, top + 20, left, top + 20]
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
        annotations.append({"id": 2 * number, "image_id": number, "category_id": 3, "segmentation": [corners]})
        crowd = {"size": list(SIZE), "counts": [0, 2, SIZE[0] * SIZE[1] - 2]}
        annotations.append(
            {"id": 2 * number + 1, "image_id": number, "category_id": 3, "iscrowd": 1, "segmentation": crowd}
        )
    document = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "leaf"}]}
    (tmp_path / "leaves/annotations.json").write_text(json.dumps(document))
    return tmp_path / "leaves"


def by_image(description) -> dict[str, np.ndarray]:
    found = {}
    for split in description.splits:
        dataset = description.dataset(split)
        found |= {f"{split} {Path(dataset.paths(i)[0]).name}": dataset.load(i).label for i in range(len(dataset))}
    return found


def test_convert_writes_what_training_would_draw(
    leaves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "convert", str(leaves), "-o", str(tmp_path / "out")]) == 0
    assert "6 labels" in capsys.readouterr().err
    drawn = by_image(examine(leaves).proposal())
    written = read_description(tmp_path / "out/data.yaml")
    stored = by_image(written)
    assert drawn.keys() == stored.keys()
    assert all(np.array_equal(drawn[name], stored[name]) for name in drawn)
    with Image.open(tmp_path / "out/labels/pictures/3.png") as image:
        assert image.mode == "P"
        assert set(np.unique(np.array(image))) == {0, 1, 255}
    assert examine(tmp_path / "out/data.yaml").ok
    assert written.splits["train"].source.annotations is None
    again = read_description(tmp_path / "out/data.yaml")
    assert main(["data", "convert", str(tmp_path / "out/data.yaml"), "-o", str(leaves / "inside")]) == 0
    assert by_image(read_description(leaves / "inside/data.yaml")).keys() == by_image(again).keys()


def test_images_that_would_share_a_label_are_refused(
    leaves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (leaves / "data.yaml").write_text(
        "classes: [background, leaf]\nlabels: {0: background, 1: leaf}\nsplits:\n  train:\n    images: .\n"
        "    annotations: {format: coco, file: annotations.json}\n"
    )
    document = json.loads((leaves / "annotations.json").read_text())
    document["images"][0]["file_name"] = "1.jpg"
    (leaves / "annotations.json").write_text(json.dumps(document))
    with Image.open(leaves / "pictures/0.png") as image:
        image.save(leaves / "pictures/1.jpg")
    (leaves / "pictures/0.png").unlink()
    assert main(["data", "convert", str(leaves / "data.yaml"), "-o", str(tmp_path / "out")]) != 0
    assert "would have the same label file" in " ".join(capsys.readouterr().err.split())


def test_check_and_train_on_annotations(leaves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(leaves)]) == 0
    assert "COCO annotations" in capsys.readouterr().out
    words = ["train", "fast_scnn", "--data", str(leaves), "--out", str(tmp_path / "run"), "--for", "2 steps"]
    assert main([*words, "--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu"]) == 0
    scores = json.loads((tmp_path / "run/eval.json").read_text())
    assert list(scores["classes"]) == ["background", "leaf"]
    assert "annotations:" in (tmp_path / "run/data.yaml").read_text()
