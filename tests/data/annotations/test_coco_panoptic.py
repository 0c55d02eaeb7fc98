"""COCO panoptic: ids of colours and their categories, as arithmetic has it; what does not fit together is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine

SIZE = (40, 44)
THINGS = {7: "tree", 11: "car", 200: "road"}


def ids(number: int) -> np.ndarray:
    found = np.full(SIZE, 70_000, np.int64)  # the road
    found[:6] = 0
    found[10 + number : 20, 4:14], found[24:30, 5 * number : 5 * number + 9], found[32:38, 2:8] = 258, 3, 1_000_000
    return found


CATEGORY = {70_000: 200, 258: 11, 3: 7, 1_000_000: 7}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    images, annotations = [], []
    for folder in ("data/pictures", "data/annotations/panoptic_all"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(6):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8)).save(
            tmp_path / f"data/pictures/{number}.jpg"
        )
        coded = np.stack([ids(number) >> shift & 255 for shift in (0, 8, 16)], 2).astype(np.uint8)
        Image.fromarray(coded).save(tmp_path / f"data/annotations/panoptic_all/{number}.png")
        images.append({"id": number + 30, "file_name": f"{number}.jpg", "height": SIZE[0], "width": SIZE[1]})
        segments = [{"id": int(i), "category_id": CATEGORY[i], "iscrowd": int(i == 3)} for i in CATEGORY]
        annotations.append({"image_id": number + 30, "file_name": f"{number}.png", "segments_info": segments})
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "isthing": 1} for number, name in THINGS.items()],
    }
    (tmp_path / "data/annotations/panoptic_all.json").write_text(json.dumps(document))
    return tmp_path / "data"


def document(root: Path) -> dict:
    return json.loads((root / "annotations/panoptic_all.json").read_text())


def write(root: Path, changed: dict) -> None:
    (root / "annotations/panoptic_all.json").write_text(json.dumps(changed))


def test_segments_have_the_class_of_their_category(root: Path, tmp_path: Path) -> None:
    found = examine(root)
    assert not found.problems
    assert not found.warnings
    description = found.proposal()
    assert description.classes == ("tree", "car", "road")
    write_description(description, tmp_path / "data.yaml")
    assert "format: coco_panoptic" in (tmp_path / "data.yaml").read_text()
    description = read_description(tmp_path / "data.yaml")
    seen = 0
    for split in description.splits:
        dataset = description.dataset(split)
        for index in range(len(dataset)):
            number = int(Path(dataset.paths(index)[0]).stem)
            expected = np.full(SIZE, 255)
            for identity, category in CATEGORY.items():
                expected[ids(number) == identity] = list(THINGS).index(category)
            assert np.array_equal(dataset.load(index).label, expected)
            seen += 1
    assert seen == 6


def test_it_is_converted_to_label_images(root: Path, tmp_path: Path) -> None:
    assert main(["data", "convert", str(root), "-o", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out/labels/pictures/2.png") as label:
        stored = np.array(label)
    assert np.array_equal(stored == 255, ids(2) == 0)
    assert np.array_equal(stored == 1, ids(2) == 258)


def test_a_file_with_many_images_before_the_segments_is_known(root: Path) -> None:
    changed = document(root)
    changed = {"info": {"padding": "x" * 70_000}, **changed}
    write(root, changed)
    assert examine(root).proposal().classes == ("tree", "car", "road")


def test_ids_that_are_not_listed_are_named(root: Path) -> None:
    changed = document(root)
    del changed["annotations"][4]["segments_info"][1]
    write(root, changed)
    problems = " ".join(map(str, examine(root).problems))
    assert "4.png: 1 ids, such as 258, are none of the segments" in problems


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        ({"id": 258, "category_id": 12}, "category_id 12 is none of the file's categories"),
        ({"id": 0, "category_id": 7}, "expected an id from 1 to 16777215, found 0"),
        ({"id": "258", "category_id": 7}, "found '258'"),
        ([], "found None"),
    ],
)
def test_segments_that_make_no_sense_are_named(root: Path, segment: object, reason: str) -> None:
    changed = document(root)
    changed["annotations"][3]["segments_info"][1] = segment
    write(root, changed)
    problems = " ".join(map(str, examine(root).problems))
    assert "segment 2 of 3.jpg" in problems
    assert reason in problems


def test_files_without_their_pictures_are_refused(root: Path) -> None:
    for file in (root / "annotations/panoptic_all").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"such as 0\.png, are in no folder beside it"):
        examine(root)


@pytest.mark.parametrize("key", ["annotations", "categories"])
def test_files_without_a_part_are_refused(root: Path, key: str) -> None:
    changed = document(root)
    changed[key] = []
    changed["note"] = [{"segments_info": 1}]
    write(root, changed)
    with pytest.raises(ValueError, match="one of them is missing"):
        examine(root)
