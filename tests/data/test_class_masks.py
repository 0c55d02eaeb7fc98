"""Labels that are drawn as one mask for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted import areas, one, picture, save, table

from intarsia.data.description.pairing import MaskRule
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.masks import Masks, read_masks

NAMES = ("leaf", "spot")


def drawn(root: Path, pattern: str, *, image: str = "images/x{0}.png", count: int = 6) -> Path:
    """One mask for each class; `pattern` has the image's number and the name of the class."""
    for index in range(count):
        save(root / image.format(index), picture(index))
        for number, name in enumerate(NAMES, 1):
            save(root / pattern.format(index, name), ((areas(index) == number) * 255).astype(np.uint8))
    return root


@pytest.mark.parametrize(
    ("pattern", "image"),
    [
        ("masks/x{0}_class_{1}.png", "images/x{0}.png"),
        ("masks/x{0}_{1}.png", "images/x{0}.png"),
        ("masks/{1}_x{0}.png", "images/x{0}.png"),
        ("masks/{1}/x{0}.png", "images/x{0}.png"),
        ("masks/{1}/x{0}_{1}.png", "images/x{0}.png"),
        ("mask_{1}/x{0}.png", "images/x{0}.png"),
        ("x{0}_{1}.png", "x{0}.png"),
        ("x{0}_{1}_mask.png", "x{0}.jpg"),
        ("masks/train/x{0}_{1}.png", "images/train/x{0}.png"),
        ("train/masks/{1}/x{0}.png", "train/images/x{0}.png"),
        ("masks/x{0}_{1}_0.png", "images/x{0}.png"),
    ],
)
def test_masks_are_merged_into_one_label(pattern: str, image: str, tmp_path: Path):
    found = examine(drawn(tmp_path, pattern, image=image))
    assert found.ok
    assert table(found) == {0: "background", 1: "leaf", 2: "spot"}
    assert any("a mask for each class (leaf, spot)" in note for note in found.notes)
    proposal = found.proposal()
    write_description(proposal, tmp_path / "data.yaml")
    assert read_description(tmp_path / "data.yaml") == proposal
    assert examine(tmp_path / "data.yaml").ok
    seen = 0
    for split in proposal.splits:
        dataset = proposal.dataset(split)
        for index in range(len(dataset)):
            number = int("".join(filter(str.isdecimal, Path(dataset.paths(index)[0]).stem)))
            np.testing.assert_array_equal(dataset.load(index).label, areas(number))
            seen += 1
    assert seen == 6


def test_an_image_need_not_have_the_masks_of_all_classes(tmp_path: Path):
    drawn(tmp_path, "masks/x{0}_{1}.png", count=9)
    for index in (2, 5):
        (tmp_path / f"masks/x{index}_spot.png").unlink()
    found = examine(tmp_path)
    assert sum(split.pairs for split in found.splits) == 9
    assert table(found)[2] == "spot"


def test_a_mask_of_the_background_leaves_the_rest_ignored(tmp_path: Path):
    drawn(tmp_path, "masks/x{0}_{1}.png")
    for index in range(6):
        save(tmp_path / f"masks/x{index}_background.png", ((areas(index) == 0) * 255).astype(np.uint8))
    assert table(examine(tmp_path)) == {0: "ignore", 1: "background", 2: "leaf", 3: "spot"}


def test_masks_that_overlap_are_a_problem_with_a_way_out(tmp_path: Path):
    for index in range(6):
        save(tmp_path / f"images/x{index}.png", picture(index))
        liver = np.zeros((48, 64), np.uint8)
        liver[5:30, 5:40] = 255
        tumor = np.zeros_like(liver)
        tumor[10:12, 10:14] = 255
        save(tmp_path / f"masks/x{index}_liver.png", liver)
        save(tmp_path / f"masks/x{index}_tumor.png", tumor)
    found = examine(tmp_path)
    assert "overlap: last" in one(found.problems, "overlapping masks").advice
    assert len(one(found.problems, "overlapping masks").files) == 6
    with pytest.raises(ValueError, match="8 pixels are set in masks/x"):
        found.proposal().dataset("train").load(0)
    write_description(found.proposal(), tmp_path / "data.yaml")
    text = (
        (tmp_path / "data.yaml").read_text().replace("    images: images\n", "    images: images\n    overlap: last\n")
    )
    (tmp_path / "data.yaml").write_text(text)
    assert examine(tmp_path / "data.yaml").ok
    label = read_description(tmp_path / "data.yaml").dataset("train").load(0).label
    assert (label[10:12, 10:14] == 2).all()
    assert label[6, 6] == 1


def test_masks_that_only_numbers_tell_apart_are_a_problem(tmp_path: Path):
    for index in range(6):
        save(tmp_path / f"images/x{index}.png", picture(index))
        for number in (1, 2):
            save(tmp_path / f"masks/x{index}_{number}.png", ((areas(index) == number) * 255).astype(np.uint8))
    assert "numbered" in one(examine(tmp_path).problems, "several label files").text


def test_two_annotators_are_no_classes(tmp_path: Path):
    for index in range(6):
        save(tmp_path / f"images/x{index}.png", picture(index))
        for name in ("first", "second"):
            save(tmp_path / f"masks/x{index}_{name}.png", (areas(index, 2) * 255).astype(np.uint8))
    found = examine(tmp_path)
    assert found.ok
    assert "versions or annotators" in one(found.warnings, "several label files").text


def test_other_labels_of_the_same_standing_are_told(tmp_path: Path):
    for index in range(6):
        save(tmp_path / f"images/x{index}.png", picture(index))
        for folder in ("masks", "labels"):
            save(tmp_path / f"{folder}/x{index}.png", areas(index))
    warning = one(examine(tmp_path).warnings, "several label files")
    assert "masks" in warning.text
    assert "labels" in warning.text


class TestReading:
    def test_the_description_refuses_masks_of_unknown_classes(self, tmp_path: Path):
        drawn(tmp_path, "masks/x{0}_{1}.png")
        text = (
            "classes: [background, leaf]\nlabels: {0: background, 1: leaf}\n"
            "splits:\n  train:\n    images: images\n    labels: {leaf: masks/*_leaf.png, spot: masks/*_spot.png}\n"
        )
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"data\.yaml:6: splits\.train\.labels: 'spot' has masks"):
            read_description(tmp_path / "data.yaml")
        (tmp_path / "data.yaml").write_text(text.replace("masks/*_spot.png", "masks"))
        with pytest.raises(ValueError, match=r"a \* for the image's name"):
            read_description(tmp_path / "data.yaml")

    def test_a_mask_has_two_values(self, tmp_path: Path):
        save(tmp_path / "a.png", areas(0))
        with pytest.raises(ValueError, match=r"a\.png: a mask of one class holds two values.* found 3"):
            read_masks(tmp_path, Masks(((1, "a.png"),)))

    def test_masks_agree_in_size(self, tmp_path: Path):
        save(tmp_path / "a.png", np.zeros((4, 6), np.uint8))
        save(tmp_path / "b.png", np.zeros((6, 4), np.uint8))
        with pytest.raises(ValueError, match=r"b\.png: the mask has 6 x 4 .*a\.png has 4 x 6"):
            read_masks(tmp_path, Masks(((1, "a.png"), (2, "b.png"))))

    def test_objects_of_one_class_may_overlap(self, tmp_path: Path):
        mask = np.zeros((4, 6), np.uint8)
        mask[1:3, 1:3] = 1
        save(tmp_path / "a.png", mask)
        save(tmp_path / "b.png", mask)
        assert read_masks(tmp_path, Masks(((3, "a.png"), (3, "b.png")))).max() == 3

    @pytest.mark.parametrize("text", ["masks/*_leaf.png", "masks/leaf/*", "m/a_*.tif", "masks/*_leaf_*.png"])
    def test_patterns_are_written_as_they_are_read(self, text: str):
        assert str(MaskRule.parse("leaf", text)) == text
