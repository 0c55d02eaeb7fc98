"""A mask file for each object, in a folder for each image."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tools import SIZE, blank, image

from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine


def mask(path: Path, *areas, size=SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blank(*areas, size=size)).save(path)


TREES = {
    "train/{}/masks": "train/{}/images/{}.png",
    "masks/{}": "images/{}.png",
    "annotations/masks/{}": "pictures/{}.jpg",
}


@pytest.mark.parametrize("masks", TREES)
def test_the_objects_of_an_image_are_united(tmp_path: Path, masks) -> None:
    for number in range(4):
        name = f"case{number}"
        image(tmp_path / "data" / TREES[masks].replace("{}", name), number)
        for part in range(number + 1):
            mask(
                tmp_path / "data" / masks.replace("{}", name) / f"h{7 * number + part}.png",
                (255, 5 * part, 5 * part + 3, 2, 20),
            )
    findings = examine(tmp_path / "data")
    description = findings.proposal()
    assert description.classes == ("background", "object")
    write_description(description, tmp_path / "data.yaml")
    again = read_description(tmp_path / "data.yaml")
    assert again == description
    assert masks.replace("{}", "*") in (tmp_path / "data.yaml").read_text()
    counts = {}
    for split in again.splits:
        dataset = again.dataset(split)
        counts |= {Path(dataset.name(i)).name: int(dataset.load(i).label.sum()) for i in range(len(dataset))}
    assert counts == {f"case{number}": 54 * (number + 1) for number in range(4)}
    assert findings.ok
    assert not [f for f in findings.warnings if f.kind in ("image without label", "images not used")]


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    for number in range(2):
        image(tmp_path / f"images/{number}.png", number)
        mask(tmp_path / f"masks/{number}/0.png", (1, 0, 9, 0, 9))
        mask(tmp_path / f"masks/{number}/1.png", (1, 10, 19, 0, 9), size=SIZE if number else (20, 30))
    findings = examine(tmp_path)
    (problem,) = [finding for finding in findings.problems if finding.kind == "unreadable"]
    assert "0/1.png: the mask has 20 x 30 pixels (height x width), its image 40 x 60" in problem.text.replace("\\", "/")


def test_photographs_in_folders_are_no_masks(tmp_path: Path) -> None:
    for number in range(3):
        image(tmp_path / f"images/{number}.png", number)
        for part in range(2):
            image(tmp_path / f"labels/{number}/{part}a.png", 10 * number + part)
    with pytest.raises(ValueError, match="has a label file"):
        examine(tmp_path)


def test_a_description_needs_a_star(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    image(tmp_path / "images/a.png")
    (tmp_path / "data.yaml").write_text(
        "classes: [background, object]\nsplits:\n  train:\n    images: images\n"
        "    annotations: {format: object_masks, folder: masks}\n"
    )
    with pytest.raises(ValueError, match=r"expected one folder called \*"):
        read_description(tmp_path / "data.yaml").dataset("train")
