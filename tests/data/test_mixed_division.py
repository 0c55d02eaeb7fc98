"""Several data sets in one description, divided and converted: each by itself, in the common classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_mixed_datasets import CLASSES, colours, mixed, numbers, save, shapes

from intarsia.cli.main import main
from intarsia.data.description.mixed import MixedDescription
from intarsia.data.description.model import DataDescription
from intarsia.data.description.read import read_description


@pytest.fixture
def description(tmp_path: Path) -> Path:
    numbers(tmp_path / "town")
    colours(tmp_path / "land")
    shapes(tmp_path / "ponds")
    return mixed(tmp_path)


def images(found: DataDescription, split: str) -> set[str]:
    return {Path(pair.image).name for pair in found.pairs(split)}


def test_a_fold_has_a_part_of_each_data_set(description: Path, tmp_path: Path) -> None:
    assert main(["data", "split", str(description), "-o", str(tmp_path / "out"), "--folds", "2"]) == 0
    everything = images(read_description(description), "train")
    held = []
    for number in (1, 2):
        fold = read_description(tmp_path / "out" / f"fold_{number}.yaml")
        assert isinstance(fold, MixedDescription)
        val, train = images(fold, "val"), images(fold, "train")
        assert val | train == everything
        assert not val & train
        assert {name[0] for name in val} == {"n", "c", "s"}
        assert len([name for name in val if name[0] == "n"]) == 2
        held += sorted(val)
        sample = fold.dataset("val").load(0)
        assert sample.label is not None
        assert set(np.unique(sample.label)) <= {0, 1, 2, 3, 255}
    assert sorted(held) == sorted(everything)  # the val split of the town is not used
    assert (tmp_path / "out/fold_1_town_train.txt").is_file()


def test_shares_are_told_in_the_common_classes(
    description: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "split", str(description), "-o", str(tmp_path / "out"), "--val", "0.5"]
    assert main(words) == 2
    assert "has a val split of its own" in capsys.readouterr().err.replace("\n", " ")
    assert main([*words[:-2], "--val", "0", "--test", "0.4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {part["name"] for part in found["parts"]} == {"train", "test"}
    whole = read_description(description)
    counts = np.zeros(len(CLASSES))
    for index in range(len(whole.dataset("train"))):
        label = whole.dataset("train").load(index).label
        assert label is not None
        counts += np.bincount(label[label != 255], minlength=len(CLASSES))
    written = read_description(tmp_path / "out/data.yaml")
    seen = np.zeros(len(CLASSES))
    for part in found["parts"]:
        assert list(part["shares"]) == list(CLASSES)
        dataset = written.dataset(part["name"])
        own = np.zeros(len(CLASSES))
        for index in range(len(dataset)):
            label = dataset.load(index).label
            assert label is not None
            own += np.bincount(label[label != 255], minlength=len(CLASSES))
        assert list(part["shares"].values()) == pytest.approx(list(own / own.sum()))
        seen += own
    assert np.array_equal(seen, counts)
    assert images(written, "val") == {"n0.png", "n1.png"}  # the town's own stays


def test_a_training_is_validated_on_its_fold(
    description: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise ValueError("data are ready")

    monkeypatch.setattr("intarsia.workflows.train.run_config", stop)
    words = ["train", "fast_scnn", "--data", str(description), "--out", str(tmp_path / "run"), "--fold", "1/2"]
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "data are ready" in said
    assert "fold 1/2:" in said
    assert "the val split of the data is not used" in said
    assert {name[0] for name in images(read_description(tmp_path / "run/data.yaml"), "val")} == {"n", "c", "s"}


def test_each_is_converted_into_a_folder_of_its_name(description: Path, tmp_path: Path) -> None:
    assert main(["data", "convert", str(description), "-o", str(tmp_path / "out")]) == 0
    before, after = read_description(description), read_description(tmp_path / "out/data.yaml")
    for split in ("train", "val"):
        drawn, stored = before.dataset(split), after.dataset(split)
        assert len(drawn) == len(stored)
        assert all(np.array_equal(drawn.load(n).label, stored.load(n).label) for n in range(len(drawn)))
    assert len(list((tmp_path / "out/land/labels").rglob("*.png"))) == 3
    assert main(["data", "check", str(tmp_path / "out/data.yaml")]) == 0


# --- What one data set says of its labels -------------------------------------------------------------------------


def test_numbers_of_objects_become_indices_of_classes(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"images/{number}.png", np.full((8, 9, 3), 90 * number, np.uint8))
        label = np.full((8, 9), 1002, np.uint16)
        label[:, 4:] = 2001 + number
        Image.fromarray(label).save(save(tmp_path / f"labels/{number}.png", np.zeros((8, 9), np.uint8)))
    (tmp_path / "data.yaml").write_text(
        'classes: [a, b]\nlabels: {1: a, 2: b}\nclass_of: "value // 1000"\n'
        "splits:\n  train: {images: images, labels: labels}\n"
    )
    assert main(["data", "convert", str(tmp_path / "data.yaml"), "-o", str(tmp_path / "out")]) == 0
    label = read_description(tmp_path / "out/data.yaml").dataset("train").load(0).label
    assert label is not None
    assert np.array_equal(label, np.repeat([[0] * 4 + [1] * 5], 8, 0))


def test_of_several_labels_a_pixel_each_class_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        save(tmp_path / f"images/{number}.png", np.full((8, 10, 3), 60 * number, np.uint8))
        for name, columns in (("leaf", 8), ("spot", 4), ("web", 2)):
            mask = np.zeros((8, 10), np.uint8)
            mask[:, :columns] = 255
            save(tmp_path / f"masks/{name}/{number}.png", mask)
    masks = ", ".join(f"{name}: masks/{name}/*.png" for name in ("leaf", "spot", "web"))
    (tmp_path / "data.yaml").write_text(
        "classes: [leaf, spot, web]\nmulti_label: true\n"
        f"splits:\n  train:\n    images: images\n    labels: {{{masks}}}\n"
    )
    words = ["data", "split", str(tmp_path / "data.yaml"), "-o", str(tmp_path / "out"), "--val", "0.5", "--json"]
    assert main(words) == 0
    for part in json.loads(capsys.readouterr().out)["parts"]:
        assert part["images_with"] == {"leaf": 2, "spot": 2, "web": 2}
        assert part["shares"] == pytest.approx({"leaf": 8 / 14, "spot": 4 / 14, "web": 2 / 14})


# --- Cross-validation ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_folds_of_several_data_sets_are_trained_and_scored_together(description: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    words = ["cv", "small_r18", "--data", str(description), "--out", str(out), "--folds", "2", "--for", "1 steps"]
    assert main([*words, "--batch", "2", "--crop", "32", "32", "--workers", "0", "--device", "cpu"]) == 0
    found = json.loads((out / "cv.json").read_text())
    assert found["status"] == "finished"
    assert found["scores"]["mIoU"]["std"] is not None
    assert {"town/mIoU", "land/mIoU", "ponds/mIoU"} <= set(found["scores"])
    assert found["together"]["mIoU"] is not None
