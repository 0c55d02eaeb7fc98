"""Data whose pixels have several classes: how the doctor tells them, what the description says, what training sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted import SIZE, one, picture, save

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.datasets.wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.labels import holds_sets, shown_values, value_count
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.affine import RandomAffine
from intarsia.data.transforms.elastic import ElasticTransform
from intarsia.data.transforms.geometry import Pad, RandomCrop, RandomFlip
from intarsia.data.transforms.mixing import ClassMix, CopyPaste, CutMix
from intarsia.data.transforms.mosaic import RandomMosaic
from intarsia.data.transforms.resize import Resize
from intarsia.data.transforms.rotate import RandomRotate
from intarsia.label_sets import has, ignored_value, members, mixed_colour, set_name

NAMES = ("organ", "tumour", "vessel")


def planes(number: int) -> np.ndarray:
    """Where each class is, (3, H, W): the tumour in the organ, the vessel across it."""
    rng = np.random.default_rng(number)
    found = np.zeros((3, *SIZE), np.bool_)
    top, left = rng.integers(2, 10, 2)
    found[0, top : top + 30, left : left + 40] = True
    found[1, top + 5 : top + 15, left + 5 : left + 20] = True
    found[2, top + 8 : top + 12] = True
    return found


def sets(found: np.ndarray) -> np.ndarray:
    return sum(plane.astype(np.uint8) << k for k, plane in enumerate(found))  # type: ignore[return-value]


def masks(root: Path, *, count: int = 6, ignore: bool = False) -> Path:
    """``images/x0.png`` with ``masks/organ/x0.png`` and so on."""
    for number in range(count):
        save(root / f"images/x{number}.png", picture(number))
        for name, plane in zip(NAMES, planes(number), strict=True):
            save(root / f"masks/{name}/x{number}.png", (plane * 255).astype(np.uint8))
        if ignore:
            border = np.zeros(SIZE, np.uint8)
            border[:, -5:] = 255
            save(root / f"masks/ignore/x{number}.png", border)
    return root


def labels(description: Any) -> dict[int, np.ndarray]:
    """Number of the image -> label, over all splits."""
    found = {}
    for split in description.splits:
        dataset = description.dataset(split)
        for index in range(len(dataset)):
            number = int("".join(filter(str.isdecimal, Path(dataset.paths(index)[0]).stem)))
            found[number] = dataset.load(index).label
    return found


# --- The numbers --------------------------------------------------------------------------------------------------


def test_sets_are_bits() -> None:
    assert members(5, NAMES) == ("organ", "vessel")
    assert set_name(5, NAMES) == "organ + vessel"
    assert set_name(0, NAMES) == "background"
    assert mixed_colour(5, [(0, 0, 10), (9, 9, 9), (100, 0, 0)]) == (50, 0, 5)
    assert [ignored_value(count) for count in (2, 7, 8, 15)] == [255, 255, 65535, 65535]


# --- The doctor ---------------------------------------------------------------------------------------------------


def test_masks_that_cover_each_other_are_read_as_sets(tmp_path: Path) -> None:
    found = examine(masks(tmp_path))
    assert found.ok
    description = found.proposal()
    assert (description.multi_label, description.classes, description.labels) == (True, NAMES, None)
    everything = np.stack([planes(number) for number in range(6)])
    share = (everything.sum(axis=1) > 1).sum() / everything.any(axis=1).sum()
    note = f"{share:.1%} of the pixels with a class have more than one: read as several labels per pixel"
    assert any(note in text and "--one-label" in text for text in found.notes)
    assert {number: label.tolist() for number, label in labels(description).items()} == {
        number: sets(planes(number)).tolist() for number in range(6)
    }
    assert {row.value: row for row in found.values}[7].name == "organ + tumour + vessel"
    assert sum(sum(row.pixels.values()) for row in found.values) == 6 * SIZE[0] * SIZE[1]


def test_the_shares_are_those_of_each_class(tmp_path: Path) -> None:
    found = examine(masks(tmp_path))
    dataset = found.proposal().dataset("train")
    seen = np.stack([dataset.load(index).label for index in range(len(dataset))])
    expected = {name: float(has(seen, k).mean()) for k, name in enumerate(NAMES)} | {"background": (seen == 0).mean()}
    assert found.shares() == pytest.approx(expected, abs=1e-4)


def test_a_description_reads_back(tmp_path: Path) -> None:
    proposal = examine(masks(tmp_path)).proposal()
    write_description(proposal, tmp_path / "data.yaml")
    assert "multi_label: true" in (tmp_path / "data.yaml").read_text()
    again = read_description(tmp_path / "data.yaml")
    assert again == proposal
    assert examine(tmp_path / "data.yaml").ok
    dataset = again.dataset("train")
    assert holds_sets(dataset)
    assert holds_sets(RepeatDataset(dataset, 2))
    assert value_count(dataset) == 8
    assert shown_values(dataset)[0][3] == "organ + tumour"


def test_pixels_of_a_mask_of_nothing_are_ignored_for_all_classes(tmp_path: Path) -> None:
    description = examine(masks(tmp_path, ignore=True)).proposal()
    assert description.classes == NAMES
    for number, label in labels(description).items():
        assert (label[:, -5:] == 255).all()
        assert np.array_equal(label[:, :-5], sets(planes(number))[:, :-5])


def test_one_label_can_be_had(tmp_path: Path) -> None:
    description = examine(masks(tmp_path), multi_label=False).proposal()
    assert not description.multi_label
    assert description.classes == ("background", *NAMES)
    found = planes(0)
    label = labels(description)[0]
    assert (label[found[2]] == 3).all()
    assert (label[found[1] & ~found[2]] == 2).all()


def test_masks_that_touch_by_mistake_stay_of_one_class(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"images/x{number}.png", picture(number))
        for name, left in (("land", 0), ("water", 30)):
            plane = np.zeros(SIZE, np.uint8)
            plane[:, left : left + 30] = 255
            plane[5:7, 29] = 255  # two pixels in both
            save(tmp_path / f"masks/{name}/x{number}.png", plane)
    found = examine(tmp_path)
    assert not found.proposal().multi_label
    assert "multi_label: true" in one(found.problems, "overlapping masks").advice


def test_bands_that_cover_each_other_are_read_as_sets(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"images/x{number}.png", picture(number))
        (tmp_path / "masks").mkdir(exist_ok=True)
        np.save(tmp_path / f"masks/x{number}.npy", planes(number).transpose(1, 2, 0).astype(np.uint8))
    found = examine(tmp_path)
    assert found.ok
    description = found.proposal()
    assert description.multi_label
    assert len(description.classes) == 3
    assert all(np.array_equal(label, sets(planes(number))) for number, label in labels(description).items())


def coco(root: Path) -> Path:
    """Polygons of an organ with a tumour on it."""
    images, annotations = [], []
    for number in range(4):
        save(root / f"images/x{number}.png", picture(number))
        images.append({"id": number, "file_name": f"x{number}.png", "height": SIZE[0], "width": SIZE[1]})
        for k, (x, y, w, h) in enumerate([(5, 5, 40, 30), (10, 10, 15, 10)]):
            ring = [x, y, x + w, y, x + w, y + h, x, y + h]
            common = {"id": 2 * number + k + 1, "image_id": number, "category_id": k + 1, "iscrowd": 0}
            annotations.append({**common, "segmentation": [ring], "area": w * h, "bbox": [x, y, w, h]})
    categories = [{"id": 1, "name": "organ"}, {"id": 2, "name": "tumour"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def test_shapes_are_united_when_that_is_asked_for(tmp_path: Path) -> None:
    coco(tmp_path)
    drawn = examine(tmp_path).proposal()
    assert not drawn.multi_label
    assert set(np.unique(labels(drawn)[0])) == {0, 1, 2}
    description = examine(tmp_path, multi_label=True).proposal()
    assert description.classes == ("organ", "tumour")
    label = labels(description)[0]
    inside, outside = label[10:20, 10:25], label.copy()
    outside[10:20, 10:25] = 1
    assert (inside == 3).all()
    expected = np.zeros(SIZE, np.uint8)
    expected[5:35, 5:45] = 1
    assert np.array_equal(outside, expected)
    write_description(description, tmp_path / "data.yaml")
    assert read_description(tmp_path / "data.yaml") == description


def test_a_wish_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"images/x{number}.png", picture(number))
        save(tmp_path / f"masks/x{number}.png", sets(planes(number)) % 3)
    with pytest.raises(ValueError, match="these labels have one class for each pixel; it takes a mask for each"):
        examine(tmp_path, multi_label=True)


# --- The description ----------------------------------------------------------------------------------------------

TEXT = """\
classes: [a, b]
multi_label: true
splits:
  train:
    images: images
    labels: {a: a/*.png, b: b/*.png}
"""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[a, b]", "[a]", r"data\.yaml:2: multi_label: 2 to 15 classes can be at one pixel, found 1"),
        ("[a, b]", "[a, background]", "background is what has no class"),
        ("true\n", "true\nlabels: {1: a, 2: b}\n", "there is no table: masks and shapes name their classes"),
        ("true\n", "true\nignore_index: 3\n", "ignored pixels are 255 up to 7 classes, or 65535; found 3"),
        ("    images: images\n", "    images: images\n    overlap: last\n", "leave one of them out"),
        ("multi_label: true", "multi_label: maybe", "expected true or false, found 'maybe'"),
        ("b: b/", "c: b/", "'c' has masks, but is no class: a, b, ignore"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(before: str, after: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(TEXT.replace(before, after))
    with pytest.raises(ValueError, match=said):
        read_description(tmp_path / "data.yaml")


def test_label_files_hold_sets(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"images/x{number}.png", picture(number))
        save(tmp_path / f"labels/x{number}.png", sets(planes(number)))
    splits = "splits:\n  train: {images: images, labels: labels}\n"
    (tmp_path / "data.yaml").write_text(f"classes: [organ, tumour, vessel]\nmulti_label: true\n{splits}")
    description = read_description(tmp_path / "data.yaml")
    assert examine(tmp_path / "data.yaml").ok
    assert all(np.array_equal(label, sets(planes(number))) for number, label in labels(description).items())
    save(tmp_path / "labels/x1.png", np.full(SIZE, 9, np.uint8))
    with pytest.raises(ValueError, match=r"x1\.png: label values that are not in the table: 9"):
        description.dataset("train").load(1)


def test_more_than_seven_classes_have_sixteen_bits(tmp_path: Path) -> None:
    names = ["ash", "beech", "cedar", "elm", "fir", "larch", "maple", "oak", "pine"]
    for number in range(2):
        save(tmp_path / f"images/x{number}.png", picture(number))
        for k, name in enumerate(names):
            plane = np.zeros(SIZE, np.uint8)
            plane[3 * k : 3 * k + 8] = 255
            save(tmp_path / f"masks/{name}/x{number}.png", plane)
    description = examine(tmp_path).proposal()
    assert (description.multi_label, description.ignore_index) == (True, 65535)
    label = labels(description)[0]
    assert label.dtype == np.uint16
    assert label[7, 0] == 0b111
    assert label[31, 0] == 2**8


# --- What training sees -------------------------------------------------------------------------------------------

MOVES: dict[str, Callable[[], Any]] = {
    "crop": lambda: RandomCrop((24, 32)),
    "flip": lambda: RandomFlip(prob=1.0),
    "pad": lambda: Pad(size=(60, 70)),
    "resize": lambda: Resize(scale=(50, 40), keep_ratio=False),
    "rotate": lambda: RandomRotate(prob=1.0, degree=30.0),
    "affine": lambda: RandomAffine(prob=1.0),
    "elastic": lambda: ElasticTransform(prob=1.0),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", MOVES)
def test_moving_sets_is_moving_each_class(name: str, dtype: type) -> None:
    step, found = MOVES[name](), planes(3)
    label = sets(found).astype(dtype)
    label[:3] = 255
    sample = Sample(picture(0), label, meta=SampleMeta("x", original_size=SIZE))
    moved = step(sample, np.random.default_rng(7)).label
    for k, plane in enumerate(found):
        alone = plane.astype(dtype)
        alone[:3] = 255
        expected = step(replace(sample, label=alone), np.random.default_rng(7)).label
        assert np.array_equal(np.where(moved == 255, 255, has(moved, k)), expected)


@pytest.mark.parametrize(
    "step", [CutMix(1.0), ClassMix(1.0), CopyPaste(prob=1.0, scale=(1, 1), others=1), RandomMosaic(1.0, img_scale=SIZE)]
)
def test_mixing_leaves_each_pixel_its_set(step: Any) -> None:
    def sample(number: int) -> Sample:
        label = sets(planes(number))
        return Sample(np.repeat(label[:, :, None], 3, axis=2), label, meta=SampleMeta(str(number), original_size=SIZE))

    others = [sample(number) for number in range(1, 1 + step.others)]
    found = step(sample(0), np.random.default_rng(1), others)
    lies = found.label != 255
    assert np.array_equal(found.image[lies][:, 0], found.label[lies])
    if not isinstance(step, RandomMosaic):
        assert not np.array_equal(found.label, sample(0).label)


def test_a_pipeline_refuses_what_is_no_set(tmp_path: Path) -> None:
    dataset = examine(masks(tmp_path)).proposal().dataset("train")

    def spoil(sample: Sample, rng: np.random.Generator) -> Sample:
        return replace(sample, label=np.full_like(sample.label, 8))

    with pytest.raises(ValueError, match="3 classes have the sets 0-7, and 255 is ignored"):
        Pipeline(dataset, [spoil]).get(0, np.random.default_rng(0))


def test_rare_classes_are_found_in_sets(tmp_path: Path) -> None:
    masks(tmp_path, count=8)
    for number in range(7):
        (tmp_path / f"masks/vessel/x{number}.png").unlink()
    description = examine(tmp_path, multi_label=True).proposal()
    dataset = replace(description, splits={"train": description.splits["train"]}).dataset("train")
    balanced = ClassBalancedDataset(dataset, oversample_thr=0.5)
    assert len(balanced) == 8 + 1  # 1 / 8 of the images have a vessel: sqrt(0.5 / 0.125) = 2
    other = copy(dataset)
    other.multi_label = False
    with pytest.raises(ValueError, match="in the other it has one"):
        ConcatDataset([dataset, other])
