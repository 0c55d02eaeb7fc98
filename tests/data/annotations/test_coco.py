"""COCO files as tools write them, and as bug reports show them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.data.annotations.coco import Coco
from intarsia.data.annotations.json_parts import JsonFile
from intarsia.data.datasets.described import DescribedDataset
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.inference.outputs.coco import CocoImage, join_coco, rle, write_coco
from intarsia.inference.outputs.polygons import Labels

SIZE = (40, 60)


def image(path: Path, seed: int = 0, size=SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def square(left, top, side, **other):
    corners = [left, top, left + side, top, left + side, top + side, left, top + side]
    return {"category_id": 1, "iscrowd": 0, "segmentation": [corners], **other}


def document(*annotations, names=("a.jpg",), categories=("leaf", "spot"), size=SIZE):
    """Annotations belong to image 1 unless they say otherwise."""
    return {
        "info": {"description": "größe"},
        "images": [
            {"id": number, "file_name": name, "height": size[0], "width": size[1]}
            for number, name in enumerate(names, 1)
        ],
        "annotations": [{"id": n, "image_id": 1, **entry} for n, entry in enumerate(annotations, 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(categories, 1)],
    }


def write(path: Path, found, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, **options), encoding="utf-8")
    return path


def folder(root: Path, found, names=("a.jpg",)) -> Path:
    for seed, name in enumerate(names):
        image(root / name, seed)
    write(root / "_annotations.coco.json", found)
    return root


def labels(root: Path, split="train"):
    description = examine(root).proposal()
    dataset = description.dataset(split)
    return {dataset.name(index): dataset.load(index).label for index in range(len(dataset))}, description


def test_shapes_become_classes_the_later_over_the_earlier(tmp_path: Path) -> None:
    found = document(square(5, 5, 20), square(15, 15, 10, category_id=2))
    drawn, description = labels(folder(tmp_path, found))
    expected = np.zeros(SIZE, np.uint8)
    expected[5:25, 5:25] = 1
    expected[15:25, 15:25] = 2
    assert np.array_equal(drawn["a"], expected)
    assert description.classes == ("background", "leaf", "spot")
    assert dict(description.labels) == {0: "background", 1: "leaf", 2: "spot", 255: "ignore"}


def test_polygons_of_one_annotation_are_united(tmp_path: Path) -> None:
    both = square(5, 5, 10)
    both["segmentation"] += square(10, 10, 10)["segmentation"]
    drawn, _ = labels(folder(tmp_path, document(both)))
    expected = np.zeros(SIZE, np.uint8)
    expected[5:15, 5:15] = expected[10:20, 10:20] = 1
    assert np.array_equal(drawn["a"], expected)


def test_crowds_are_ignored_beneath_what_is_drawn_one_by_one(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.bool_)
    mask[0:20] = True
    crowd = {"category_id": 1, "iscrowd": 1, "segmentation": rle(mask)}
    drawn, _ = labels(folder(tmp_path, document(square(10, 10, 15), crowd)))
    expected = np.zeros(SIZE, np.uint8)
    expected[0:20] = 255
    expected[10:25, 10:25] = 1
    assert np.array_equal(drawn["a"], expected)


def test_run_lengths_as_numbers_and_as_text(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random(SIZE) < 0.4
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    for found in ({"size": list(SIZE), "counts": counts}, rle(mask)):
        drawn, _ = labels(folder(tmp_path, document({"category_id": 2, "iscrowd": 0, "segmentation": found})))
        assert np.array_equal(drawn["a"], mask.astype(np.uint8))


def test_our_own_predictions_read_back(tmp_path: Path) -> None:
    classes = ("background", "leaf", "spot")
    made = {}
    for number in (1, 2):
        image(tmp_path / f"images/x{number}.png", number)
        made[f"x{number}"] = np.random.default_rng(number).integers(0, 3, SIZE).astype(np.uint8)
        own = tmp_path / f"x{number}.json"
        write_coco(own, Labels(made[f"x{number}"]), classes=classes, image=CocoImage(f"x{number}.png"), nothing=None)
    join_coco(tmp_path / "all.json", [tmp_path / "x1.json", tmp_path / "x2.json"], classes=classes)
    for number in (1, 2):
        (tmp_path / f"x{number}.json").unlink()
    description = examine(tmp_path).proposal()
    assert description.classes == classes
    dataset = description.dataset("train")
    for index in range(len(dataset)):
        assert np.array_equal(dataset.load(index).label, made[Path(dataset.name(index)).name])


def test_roboflow_splits_with_an_unused_category_and_what_becomes_of_the_description(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        names = [f"{split}{number}_jpg.rf.{number}.jpg" for number in range(count)]
        entries = [square(3, 4, 10 + n, image_id=n + 1, category_id=2) for n in range(count)]
        folder(tmp_path / "data" / split, document(*entries, names=names, categories=("objects", "leaf")), names)
    findings = examine(tmp_path / "data")
    description = findings.proposal()
    assert {split: len(description.pairs(split)) for split in description.splits} == {"train": 3, "val": 2, "test": 1}
    assert description.classes == ("background", "leaf")
    assert any("no shape has the classes objects" in note for note in findings.notes)
    write_description(description, tmp_path / "data.yaml")
    assert read_description(tmp_path / "data.yaml") == description
    again = examine(tmp_path / "data.yaml")
    assert again.ok
    assert again.values == findings.values
    dataset = DescribedDataset(file=str(tmp_path / "data.yaml"), split="val")
    assert sorted(int(dataset.load(index).label.sum()) for index in range(2)) == [100, 121]


def test_the_published_tree(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        for number in range(2):
            image(tmp_path / split / f"{number}.jpg", number + 10 * (split == "val2017"))
        found = document(square(1, 1, 8), square(2, 2, 8, image_id=2, category_id=2), names=("0.jpg", "1.jpg"))
        write(tmp_path / f"annotations/instances_{split}.json", found)
        captions = {**found, "annotations": [{"id": 1, "image_id": 1, "caption": "a leaf"}]}
        del captions["categories"]
        write(tmp_path / f"annotations/captions_{split}.json", captions)
    findings = examine(tmp_path)
    description = findings.proposal()
    assert [pair.image for pair in description.pairs("train")] == ["train2017/0.jpg", "train2017/1.jpg"]
    assert [pair.image for pair in description.pairs("val")] == ["val2017/0.jpg", "val2017/1.jpg"]
    assert "annotations not used" in {finding.kind for finding in findings.warnings}


def test_names_with_paths_of_another_machine_and_images_that_nobody_lists(tmp_path: Path) -> None:
    names = (r"C:\data\imgs\a.jpg", "/home/me/imgs/b.jpg", "gone.jpg")
    found = document(*(square(1, 1, 5, image_id=n) for n in (1, 2, 3)), names=names)
    for seed, name in enumerate(("a", "b", "c")):
        image(tmp_path / f"imgs/{name}.jpg", seed)
    write(tmp_path / "labels.json", found)
    findings = examine(tmp_path)
    description = findings.proposal()
    assert {pair.image for split in description.splits for pair in description.pairs(split)} == {
        "imgs/a.jpg",
        "imgs/b.jpg",
    }
    kinds = {finding.kind: finding.files for finding in findings.warnings}
    assert kinds["image without label"] == ("imgs/c.jpg",)
    assert kinds["listed but missing"] == ("gone.jpg",)


def test_images_of_the_same_name_in_two_folders_keep_their_own(tmp_path: Path) -> None:
    names = ("train/1.jpg", "other/1.jpg")
    found = document(square(1, 1, 5), square(1, 1, 9, image_id=2), names=names)
    for seed, name in enumerate(names):
        image(tmp_path / name, seed)
    write(tmp_path / "all.json", found)
    description = examine(tmp_path).proposal()
    pairs = {pair.image: pair for split in description.splits for pair in description.pairs(split)}
    assert {name: pairs[name].key for name in names} == {name: name for name in names}


def test_what_is_not_said_is_said(tmp_path: Path) -> None:
    only_box = {"category_id": 1, "iscrowd": 0, "bbox": [1, 1, 5, 5], "segmentation": []}
    lost = square(1, 1, 4, image_id=9)
    found = document(square(3, 3, 20), only_box, lost, names=("a.jpg", "b.jpg"))
    findings = examine(folder(tmp_path, found, ("a.jpg", "b.jpg")))
    said = {finding.kind: finding for finding in findings.warnings}
    assert said["images without shapes"].files == ("b.jpg",)
    assert "annotation 2 (a.jpg) has no area" in said["annotations without area"].files[0]
    assert "image_id 9" in said["faulty annotations"].text
    assert any("background" in note for note in findings.notes)


def test_shapes_that_cover_everything_leave_no_background(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.bool_)
    mask[:20] = True
    halves = [{"category_id": n, "iscrowd": 0, "segmentation": rle(m)} for n, m in ((1, mask), (2, ~mask))]
    findings = examine(folder(tmp_path, document(*halves)))
    assert findings.proposal().classes == ("leaf", "spot")
    assert findings.proposal().labels[0] == "ignore"


def test_names_that_mean_background_or_nothing(tmp_path: Path) -> None:
    entries = [square(1 + 12 * n, 1, 10, category_id=n + 1) for n in range(3)]
    drawn, description = labels(folder(tmp_path, document(*entries, categories=("_background_", "leaf", "void"))))
    assert description.classes == ("background", "leaf")
    assert drawn["a"][5, 5] == 0
    assert drawn["a"][5, 17] == 1
    assert drawn["a"][5, 30] == 255
    assert drawn["a"][30, 30] == 255  # where the background has shapes, what has none is not said


WRONG = [
    (lambda d: d["annotations"][0].update(category_id=7), "annotation 1 .*category_id 7 is none of"),
    (lambda d: d["annotations"][0].update(segmentation=[[0, 0, 5, float("nan"), 5, 5]]), "annotation 1 .*no place"),
    (lambda d: d["annotations"][0].update(segmentation=[[0, 0, 5, 5, 1]]), "annotation 1 .*pairs of x and y"),
    (lambda d: d["annotations"][0].update(segmentation={"size": [4, 4], "counts": [16]}), "4 x 4 pixels"),
    (lambda d: d["annotations"][0].update(segmentation={"size": [40, 60], "counts": [5, 5]}), "make 10 pixels"),
    (lambda d: d["annotations"][0].update(segmentation={"size": [40, 60], "counts": "é"}), "damaged"),
    (lambda d: d["annotations"][0].update(segmentation="x"), "neither polygons nor"),
    (lambda d: d["images"][0].update(height=0), "no size of an image"),
    (lambda d: d["images"][0].update(height=30), "the label has 30 x 60"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_is_wrong_with_a_shape_is_named_with_file_and_shape(tmp_path: Path, change, message) -> None:
    found = document(square(1, 1, 5), square(9, 9, 5))
    description = examine(folder(tmp_path, found)).proposal()
    change(found)
    write(tmp_path / "_annotations.coco.json", found)
    with pytest.raises(ValueError, match=f"_annotations.coco.json.*{message}"):
        description.dataset("train").load(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n{"id": 1 "file_name": "a.jpg"}]}', r"_annotations.coco.json:2: no valid JSON"),
        ('{"images": [], "annotations": []', r"_annotations.coco.json:1: no valid JSON"),
        ('{"images": [], "annotations": []} x', r"follows behind the end"),
        ('{"images": [{"id": ' + "[" * 100_000 + "]}", r"nested too deeply"),
        ('{"images": [{"id": 1, "file_name": "a.jpg", "x": ' + "9" * 10_000 + "}]}", r"no valid JSON: .*digits"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no images"),
        ('{"images": [7], "annotations": []}', "image 1 has no id and file_name"),
        ('{"images": [{"id": 1, "file_name": "a"}], "annotations": [{}]}', "annotation 1 has no image_id"),
        ('{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}', "1 ids stand for several images"),
        ('{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 1}]}', "a category has no id"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text, message) -> None:
    path = tmp_path / "_annotations.coco.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        Coco().look_through(path, None)
    assert str(caught.value).startswith(str(path))
    image(tmp_path / "a.jpg")
    if '"images"' in text and "[7]" not in text:
        with pytest.raises(ValueError, match=r"coco\.json|no image"):
            examine(tmp_path)


def test_only_one_image_is_parsed_for_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.jpg" for number in range(20)]
    found = document(*(square(1, 1, 5, image_id=n + 1) for n in range(20)), names=names)
    opened = Coco().look_through(write(tmp_path / "a.json", found, indent=1), None)
    read: list[tuple[int, int]] = []
    original = JsonFile.read
    monkeypatch.setattr(JsonFile, "read", lambda self, a, b: read.append((a, b)) or original(self, a, b))
    assert len(opened.draw("7.jpg", lambda: SIZE).shapes) == 1
    assert len(read) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_letters_of_any_encoding(tmp_path: Path, encoding) -> None:
    found = document(square(1, 1, 5), square(9, 9, 5, category_id=2), names=("größe.jpg",), categories=("Äste", "ж"))
    image(tmp_path / "größe.jpg")
    (tmp_path / "a.json").write_text(json.dumps(found, ensure_ascii=False), encoding=encoding)
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "Äste", "ж")
    assert np.unique(drawn["größe"]).tolist() == [0, 1, 2]


def test_a_description_says_what_its_annotations_may_be(tmp_path: Path) -> None:
    folder(tmp_path, document(square(1, 1, 5), square(9, 9, 5, category_id=2)))
    base = "classes: [background, plant]\nlabels: {0: background, 1: plant}\nsplits:\n  train:\n    images: .\n"
    place = "    annotations: {format: coco, file: _annotations.coco.json"

    def described(text: str, head: str = base):
        (tmp_path / "data.yaml").write_text(head + text)
        return read_description(tmp_path / "data.yaml")

    with pytest.raises(ValueError, match=r"class 'leaf' is none of the description's: .*plant"):
        described(place + "}\n").dataset("train").load(0)
    mapped = described(place + ", classes: {leaf: plant, spot: ignore}}\n").dataset("train").load(0).label
    assert np.unique(mapped).tolist() == [0, 1, 255]
    outside = described(place + ", classes: {leaf: plant}}\noutside: ignore\n").dataset("train").load(0).label
    assert np.array_equal(outside, mapped)
    for text, message in (
        ("    annotations: {format: coko, file: x}\n", r"data.yaml:6: .*expected .*coco"),
        ("    annotations: {file: x}\n", "expected a format: one of coco"),
        ("    annotations: {format: coco, folder: x}\n", "coco needs `file: PATH`"),
        (place + ", classes: {leaf: tree}}\n", "'tree' is no class of background, plant"),
        (place + "}\n    labels: masks\n", "stands beside 'labels'"),
        (place + ", colour: 1}\n", "unknown key"),
    ):
        with pytest.raises(ValueError, match=message):
            described(text)
    with pytest.raises(ValueError, match=r"the class 'sky' has no value from 1 on"):
        described(place + "}\n", base.replace("background, plant", "sky, plant").replace("0: background, ", "0: sky, "))


def test_one_foreground_with_one_output(tmp_path: Path) -> None:
    folder(tmp_path, document(square(1, 1, 5)))
    (tmp_path / "data.yaml").write_text(
        "classes: [leaf]\nsplits:\n  train:\n    images: .\n"
        "    annotations: {format: coco, file: _annotations.coco.json}\n"
    )
    assert read_description(tmp_path / "data.yaml").dataset("train").load(0).label.sum() == 25


def test_a_data_set_goes_to_workers(tmp_path: Path) -> None:
    folder(tmp_path, document(square(1, 1, 5)))
    dataset = examine(tmp_path).proposal().dataset("train")
    copy = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(copy.load(0).label, dataset.load(0).label)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    folder(tmp_path, document(square(1, 1, 5)))
    dataset = examine(tmp_path).proposal().dataset("train")
    write(tmp_path / "_annotations.coco.json", document(square(1, 1, 5), square(20, 20, 10)))
    assert dataset.load(0).label.sum() == 125


def test_ids_as_text_and_as_number_are_the_same(tmp_path: Path) -> None:
    found = document(square(1, 1, 5, image_id="1", category_id="2"))
    drawn, description = labels(folder(tmp_path, found))
    assert description.classes == ("background", "spot")
    assert drawn["a"].sum() == 25


def test_annotations_come_before_pictures_of_instances(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(4)]
    found = document(*(square(1, 1, 5, image_id=n) for n in range(1, 5)), names=names)
    for seed, name in enumerate(names):
        image(tmp_path / "images" / name, seed)
        path = tmp_path / "panoptic" / name.replace("jpg", "png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 9, SIZE, dtype=np.uint8)).save(path)
    assert "panoptic" in str(examine(tmp_path).proposal().splits["train"])
    write(tmp_path / "annotations/instances.json", found)
    description = examine(tmp_path).proposal()
    assert description.classes == ("background", "leaf")
    assert description.splits["train"].source.annotations.path == "annotations/instances.json"
