"""Finding images and labels in folders that nobody described."""

from __future__ import annotations

import os
import string
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from intarsia.data.description.pairing import IMAGE_SUFFIXES, NameIndex, Pair, Source, list_pairs
from intarsia.data.description.read import read_description
from intarsia.data.description.together import pairs_together, take_share
from intarsia.data.description.write import write_description
from intarsia.data.doctor.affixes import Affixes, joined, propose
from intarsia.data.doctor.examine import examine
from intarsia.data.doctor.folders import role_of, split_of
from intarsia.data.doctor.layouts import Layout, LayoutError, find_layout

PICTURE = np.random.default_rng(0).integers(0, 255, (8, 10, 3), dtype=np.uint8)
MASK = np.tile(np.array([0, 1], np.uint8), (8, 5))


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def tree(root: Path, *pairs: tuple[str, str]) -> None:
    for image, label in pairs:
        write(root / image, PICTURE)
        write(root / label, MASK)


def found(layout: Layout) -> dict[str, set[tuple[str, str | None]]]:
    """split -> (image, label) by the rules that the layout wrote down."""
    return {
        split: {(pair.image, pair.label) for pair in list_pairs(layout.root, files.source).pairs}
        for split, files in layout.splits.items()
    }


CASES: dict[str, dict[str, list[tuple[str, str]]]] = {
    "images masks": {"train": [(f"images/{n}.jpg", f"masks/{n}.png") for n in "abc"]},
    "splits inside": {
        "train": [(f"images/train/{n}.jpg", f"labels/train/{n}.png") for n in "abc"],
        "val": [("images/val/d.jpg", "labels/val/d.png")],
        "test": [("images/test/e.jpg", "labels/test/e.png")],
    },
    "splits outside": {
        "train": [(f"train/images/{n}.png", f"train/masks/{n}.png") for n in "abc"],
        "val": [("valid/images/d.png", "valid/masks/d.png")],
    },
    "camvid": {
        "train": [(f"train/{n}.png", f"trainannot/{n}.png") for n in "abc"],
        "val": [("val/d.png", "valannot/d.png")],
        "test": [("test/e.png", "testannot/e.png")],
    },
    "one folder, suffix": {"train": [(f"{n}.jpg", f"{n}_mask.png") for n in "abc"]},
    "one folder, same extension": {"train": [(f"{n}.png", f"{n}_mask.png") for n in "abc"]},
    "one folder, both suffixes": {"train": [(f"{n}_image.png", f"{n}_label.png") for n in ("001", "002", "003")]},
    "one folder, other extension": {"train": [(f"{n}.jpg", f"{n}.png") for n in "abc"]},
    "one folder, unknown suffix": {"train": [(f"{n}.jpg", f"{n}_vessel.png") for n in ("a1", "b2", "c3", "d4")]},
    "split folders with suffix": {
        "train": [(f"train/{n}.jpg", f"train/{n}_gt.png") for n in "abc"],
        "val": [("val/d.jpg", "val/d_gt.png")],
    },
    "two folders, both suffixes": {
        "train": [(f"images/{n}_image.png", f"annotations/{n}_annotation.png") for n in ("001", "002")]
    },
    "prefixes": {"train": [(f"images/img_{n}.png", f"masks/mask_{n}.png") for n in ("1", "2", "13")]},
    "ade20k": {
        "train": [(f"images/training/{n}.jpg", f"annotations/training/{n}.png") for n in "ab"],
        "val": [("images/validation/c.jpg", "annotations/validation/c.png")],
    },
    "cityscapes": {
        "train": [
            (f"leftImg8bit/train/{c}/{c}_{n}_leftImg8bit.png", f"gtFine/train/{c}/{c}_{n}_gtFine_labelTrainIds.png")
            for c in ("aachen", "bochum")
            for n in ("000000_000019", "000001_000019")
        ],
        "val": [
            (
                "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png",
                "gtFine/val/lindau/lindau_000000_000019_gtFine_labelTrainIds.png",
            )
        ],
    },
    "open-mmlab": {
        "train": [(f"img_dir/train/{n}.png", f"ann_dir/train/{n}.png") for n in "ab"],
        "val": [("img_dir/val/c.png", "ann_dir/val/c.png")],
    },
    "loveda": {
        "train": [
            (f"Train/{a}/images_png/{n}.png", f"Train/{a}/masks_png/{n}.png")
            for a, n in (("Rural", "0"), ("Rural", "1"), ("Urban", "0"))
        ],
        "val": [(f"Val/{a}/images_png/9.png", f"Val/{a}/masks_png/9.png") for a in ("Rural", "Urban")],
    },
    "labels inside the image folder": {"train": [(f"{n}.jpg", f"masks/{n}.png") for n in "abc"]},
    "years": {
        "train": [(f"train2017/{n}.jpg", f"annotations/train2017/{n}.png") for n in "ab"],
        "val": [("val2017/c.jpg", "annotations/val2017/c.png")],
    },
    "numbers without padding": {"train": [(f"images/{n}.jpg", f"masks/{n}_m.png") for n in range(1, 31)]},
    "scenes": {"train": [(f"{s}/image/{n}.jpg", f"{s}/label/{n}.png") for s in ("park", "yard") for n in "ab"]},
    "extensions in capitals": {"train": [(f"images/{n}.JPG", f"masks/{n}.PNG") for n in "ab"]},
}


@pytest.mark.parametrize("name", CASES)
def test_layout_is_found(name: str, tmp_path: Path):
    expected = CASES[name]
    tree(tmp_path, *(pair for pairs in expected.values() for pair in pairs))
    assert found(find_layout(tmp_path)) == {split: set(pairs) for split, pairs in expected.items()}


def test_decoys_do_not_win(tmp_path: Path):
    """Instances, predictions and coloured copies pair as well, but labels are preferred, even with one file fewer."""
    tree(tmp_path, *((f"images/{n}.jpg", f"masks/{n}.png") for n in "abc"))
    for other in ("instances", "predictions", "color"):
        tree(tmp_path, *((f"images/{n}.jpg", f"{other}/{n}.png") for n in "abcd"))
    layout = find_layout(tmp_path)
    assert layout.splits["train"].source.labels == "masks"
    assert {entry.labels for entry in layout.alternatives} == {"instances", "predictions", "color"}
    assert find_layout(tmp_path, labels="instances").splits["train"].source.labels == "instances"


def test_cityscapes_prefers_train_ids(tmp_path: Path):
    for kind in ("labelIds", "labelTrainIds", "instanceIds", "color"):
        stem = "aachen_000000_000019"
        tree(
            tmp_path,
            (f"leftImg8bit/train/aachen/{stem}_leftImg8bit.png", f"gtFine/train/aachen/{stem}_gtFine_{kind}.png"),
        )
    assert find_layout(tmp_path).splits["train"].source.label_suffix == ("_gtFine_labelTrainIds.png",)


def test_folders_without_telling_names_are_told_apart_by_a_look(tmp_path: Path):
    tree(tmp_path, *((f"zeta/{n}.png", f"alpha/{n}.png") for n in "abc"))
    assert found(find_layout(tmp_path)) == {"train": {(f"zeta/{n}.png", f"alpha/{n}.png") for n in "abc"}}


def test_lists_tell_the_splits(tmp_path: Path):
    tree(tmp_path, *((f"JPEGImages/{n}.jpg", f"SegmentationClass/{n}.png") for n in "abcd"))
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\n")
    (lists / "trainval.txt").write_text("a\nb\nc\n")
    layout = find_layout(tmp_path)
    assert {split: files.names for split, files in layout.splits.items()} == {
        "train": "ImageSets/Segmentation/train.txt",
        "val": "ImageSets/Segmentation/val.txt",
    }


def test_a_list_for_validation_alone_is_not_used(tmp_path: Path):
    tree(tmp_path, *((f"images/{n}.jpg", f"masks/{n}.png") for n in "abcd"))
    (tmp_path / "val.txt").write_text("a\n")
    layout = find_layout(tmp_path)
    assert layout.splits["train"].names is None
    assert "not for train" in layout.notes[0]


def test_a_split_without_labels_is_left_out_and_said(tmp_path: Path):
    tree(tmp_path, ("images/train/a.jpg", "labels/train/a.png"), ("images/train/b.jpg", "labels/train/b.png"))
    write(tmp_path / "images/test/c.jpg", PICTURE)
    layout = find_layout(tmp_path)
    assert set(layout.splits) == {"train"}
    assert any("images/test" in note and "no labels" in note for note in layout.notes)


def test_only_a_val_folder_is_taken_for_training(tmp_path: Path):
    tree(tmp_path, ("images/val/a.jpg", "labels/val/a.png"))
    layout = find_layout(tmp_path)
    assert layout.splits["train"].source.images == "images/val"
    assert "no train folder" in layout.notes[0]


def test_other_files_are_counted(tmp_path: Path):
    tree(tmp_path, ("images/a.jpg", "masks/a.png"))
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / "LICENSE").write_text("x")
    (tmp_path / "images/._a.jpg").write_text("resource fork")
    assert find_layout(tmp_path).skipped == {".md": 1, "LICENSE": 1}


def test_two_images_of_one_name(tmp_path: Path):
    tree(tmp_path, *((f"images/{n}.jpg", f"masks/{n}.png") for n in "abc"))
    write(tmp_path / "images/a.png", PICTURE)
    listing = list_pairs(tmp_path, find_layout(tmp_path).splits["train"].source)
    assert len(listing.pairs) == 3
    assert listing.twins == ("images/a.png",)


def test_links_in_a_circle_end(tmp_path: Path):
    tree(tmp_path, ("images/a.jpg", "masks/a.png"))
    os.symlink(tmp_path, tmp_path / "again")
    assert find_layout(tmp_path).pairs == 1


class TestNothingPairs:
    def test_missing_folder(self, tmp_path: Path):
        with pytest.raises(ValueError, match="there is no folder"):
            find_layout(tmp_path / "nowhere")

    def test_a_file(self, tmp_path: Path):
        (tmp_path / "x").write_text("")
        with pytest.raises(ValueError, match="is a file"):
            find_layout(tmp_path / "x")

    def test_empty_folder(self, tmp_path: Path):
        with pytest.raises(LayoutError, match=r"is empty(.|\n)*DIR/images/a.jpg  DIR/masks/a.png"):
            find_layout(tmp_path)

    def test_images_only_says_what_is_there(self, tmp_path: Path):
        for name in "abc":
            write(tmp_path / f"photos/{name}.jpg", PICTURE)
        (tmp_path / "notes.txt").write_text("")
        with pytest.raises(LayoutError) as error:
            find_layout(tmp_path)
        message = str(error.value)
        assert "photos: 3 x .jpg" in message
        assert "1 x .txt" in message
        assert "DIR/train/a.png  DIR/trainannot/a.png" in message

    def test_names_that_share_nothing(self, tmp_path: Path):
        for a, b in (("rome", "one"), ("oslo", "two"), ("bern", "six")):
            tree(tmp_path, (f"images/{a}.jpg", f"masks/{b}.png"))
        with pytest.raises(LayoutError, match="hold 3 images each, but their names share nothing"):
            find_layout(tmp_path)

    def test_polygons_need_converting(self, tmp_path: Path):
        for name in "abc":
            write(tmp_path / f"{name}.jpg", PICTURE)
            (tmp_path / f"{name}.json").write_text("{}")
        with pytest.raises(LayoutError, match=r"3 \.json files may be JSON polygons"):
            find_layout(tmp_path)

    def test_a_label_folder_that_does_not_exist(self, tmp_path: Path):
        tree(tmp_path, ("images/a.jpg", "masks/a.png"))
        with pytest.raises(LayoutError, match="'labels'"):
            find_layout(tmp_path, labels="labels")

    def test_folder_that_may_not_be_listed(self, tmp_path: Path):
        tree(tmp_path, ("images/a.jpg", "masks/a.png"))
        os.chmod(tmp_path / "masks", 0)
        if os.access(tmp_path / "masks", os.R_OK):
            pytest.skip("running as a user who may read everything")
        with pytest.raises(ValueError, match=r"cannot list the folder .*masks"):
            find_layout(tmp_path)


def shared(pairs: list[Pair], fraction: float, salt: str) -> tuple[list[Pair], list[Pair]]:
    both = take_share(pairs_together(Path(), pairs), range(len(pairs)), fraction, salt)
    return tuple([pairs[index] for index in side] for side in both)


WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
SUFFIXES = st.sampled_from(["", "_mask", "_image", "-img", "_x1", "_gtFine_labelIds", ".seg"])


class TestAffixes:
    @settings(deadline=None, max_examples=40)
    @given(st.sets(WORDS, min_size=4, max_size=40), SUFFIXES, SUFFIXES)
    def test_random_names_are_paired_back(self, names: set[str], own: str, other: str):
        left, right = [name + own for name in names], [name + other for name in names]
        files = {("", stem) for stem in right}
        best = max((joined([("", stem) for stem in left], files, pair) for pair in propose(left, right)), key=len)
        assert len(best) == len(names)

    @settings(deadline=None, max_examples=40)
    @given(st.sets(WORDS, min_size=4, max_size=40))
    def test_prefixes_are_paired_back(self, names: set[str]):
        left, right = ["img_" + name for name in names], ["mask-" + name for name in names]
        files = {("", stem) for stem in right}
        best = max((joined([("", stem) for stem in left], files, pair) for pair in propose(left, right)), key=len)
        assert len(best) == len(names)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(names=st.sets(WORDS, min_size=4, max_size=12), own=SUFFIXES, other=SUFFIXES, data=st.data())
    def test_random_trees_are_paired_back(self, names, own, other, data, tmp_path_factory):
        """Whatever the names are: a few labels missing and other files about change nothing for the rest."""
        root = tmp_path_factory.mktemp("tree")
        missing = data.draw(st.sets(st.sampled_from(sorted(names)), max_size=len(names) // 4))
        for folder in ("images", "masks", "notes"):
            (root / folder).mkdir()
        for name in names:
            (root / f"images/{name}{own}.jpg").touch()
            (root / f"notes/{name}.txt").touch()
            if name not in missing:
                (root / f"masks/{name}{other}.png").touch()
        pairs = found(find_layout(root))["train"]
        assert pairs >= {(f"images/{n}{own}.jpg", f"masks/{n}{other}.png") for n in names - missing}

    def test_core(self):
        assert Affixes("img_", "_x").core("img_7_x") == "7"
        assert Affixes("", "_mask").core("_mask") is None


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("images", "image"), ("img_dir", "image"), ("leftImg8bit", "image"), ("JPEGImages", "image"),
        ("masks_png", "label"), ("semseg-label37", "label"), ("Ground_Truth", "label"), ("labels_rgb", "label"),
        ("SegmentationObject", "instance"), ("label_instances", "instance"), ("predictions", "prediction"),
        ("frankfurt", "none"), ("v1.2", "none"),
    ],
)  # fmt: skip
def test_roles(text: str, role: str):
    assert role_of(text)[0] == role


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("train", "train"), ("Training", "train"), ("trainannot", "train"), ("train_images", "train"),
        ("images_val", "val"), ("val2017", "val"), ("valid", "val"), ("validation", "val"), ("stage1_train", "train"),
        ("testannot", "test"), ("trains", None), ("latest", None), ("images", None), ("valley", None),
    ],
)  # fmt: skip
def test_splits(text: str, split: str | None):
    assert split_of(text) == split


class TestNames:
    PAIRS = (
        Pair("a/x", "img/a/x_i.png", "lab/a/x.png"),
        Pair("b/x", "img/b/x_i.png", None),
        Pair("c", "img/c_i.png", None),
    )

    @pytest.mark.parametrize(
        "line", ["a/x", "a/x.png", "img/a/x_i.png", "/img/a/x_i.png lab/a/x.png", "img\\a\\x_i.png"]
    )
    def test_found(self, line: str):
        assert NameIndex(self.PAIRS).find(line) == self.PAIRS[0]

    @pytest.mark.parametrize("line", ["x", "x_i", "d", ""])
    def test_ambiguous_or_unknown(self, line: str):
        assert NameIndex(self.PAIRS).find(line) is None


class TestShares:
    @settings(deadline=None)
    @given(st.sets(WORDS, min_size=2, max_size=60), st.floats(0.05, 0.95), st.integers(0, 5))
    def test_every_file_is_on_one_side_and_no_side_is_empty(self, names: set[str], fraction: float, seed: int):
        pairs = [Pair(name, name, name) for name in sorted(names)]
        taken, remaining = shared(pairs, fraction, f"{seed}:val")
        assert sorted([*taken, *remaining], key=lambda pair: pair.name) == pairs
        assert taken
        assert remaining

    def test_new_files_move_no_old_one(self):
        old = [Pair(f"{i:04}", "", "") for i in range(500)]
        new = [Pair(f"new{i:04}", "", "") for i in range(500)]
        before, _ = shared(old, 0.2, "0:val")
        after, _ = shared([*old, *new], 0.2, "0:val")
        assert [pair for pair in after if pair in old] == before
        assert 60 < len(before) < 140


def test_a_wildcard_stands_for_the_same_folder_on_both_sides(tmp_path: Path):
    tree(tmp_path, ("a/images/1.png", "a/masks/1.png"), ("b/images/1.png", "b/masks/1.png"))
    write(tmp_path / "c/images/1.png", PICTURE)
    (tmp_path / "c/masks").mkdir()
    listing = list_pairs(tmp_path, Source("*/images", "*/masks"))
    assert [(p.name, p.image, p.label) for p in listing.pairs] == [
        ("a/1", "a/images/1.png", "a/masks/1.png"),
        ("b/1", "b/images/1.png", "b/masks/1.png"),
    ]
    assert listing.unlabelled == ("c/images/1.png",)
    with pytest.raises(ValueError, match=r"there is no folder '\*/photos'"):
        list_pairs(tmp_path, Source("*/photos", "*/masks"))


def test_suffixes_cover_what_can_be_read():
    assert {".jpg", ".png", ".tif", ".npy"} <= set(IMAGE_SUFFIXES)


@pytest.mark.parametrize("kind", ["nii.gz", "npy"])
def test_images_are_no_labels_of_other_images_of_the_same_names(tmp_path: Path, kind: str) -> None:
    """Two patients whose files are called alike: the scans of one were taken for the labels of the other's."""
    for patient in range(2):
        (tmp_path / f"P{patient}/CT").mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng((patient, number)).normal(100, 30, (24, 20, 2)).astype(np.int16)
            file = tmp_path / f"P{patient}/CT/I{number}.{kind}"
            if kind == "npy":
                np.save(file, pixels[:, :, 0])
            else:
                nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), file)
    with pytest.raises(LayoutError, match="P0/CT and P1/CT hold 3 images each by the same names"):
        find_layout(tmp_path)


def volume(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1, 3, 1])), path)


@pytest.mark.parametrize(
    ("image", "label"), [("{0}/ct.nii.gz", "{0}/seg.nii.gz"), ("all/{0}/imaging.nii", "all/{0}/segmentation.nii")]
)
def test_a_folder_for_each_volume(tmp_path: Path, image: str, label: str) -> None:
    """KiTS and many hospitals: named one by one, they were no slices, and nothing could be read."""
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 90, (8, 9, 5), dtype=np.int16)
        volume(tmp_path / image.format(f"p{number}"), values)
        volume(tmp_path / label.format(f"p{number}"), (values > 60).astype(np.uint8))
    findings = examine(tmp_path)
    assert findings.ok
    write_description(findings.proposal(), tmp_path / "data.yaml")
    description = read_description(tmp_path / "data.yaml")
    pairs = [pair for split in ("train", "val") for pair in description.pairs(split)]
    assert len(pairs) == 20
    for pair in pairs:
        name, part = pair.image.split("#")
        assert pair.label == f"{name.replace('ct.', 'seg.').replace('imaging', 'segmentation')}#{part}"
    dataset = description.dataset("val")
    file, part = str(dataset.paths(0)[0]).split("#")
    stored = np.asarray(nibabel.load(file).dataobj)[:, :, int(part[1:])]
    assert np.array_equal(dataset.load(0).label, (stored > 60).astype(np.uint8).T)


def test_several_volumes_in_a_folder_for_each_sample(tmp_path: Path) -> None:
    """BraTS: one of five files is the label, the others are images of one sample."""
    for case in ("BraTS-0", "BraTS-1", "BraTS-2"):
        for number, kind in enumerate(("t1c", "t1n", "t2f", "seg")):
            values = np.random.default_rng(number).integers(0, 90, (8, 9, 5), dtype=np.int16)
            values = (values > 60).astype(np.uint8) if kind == "seg" else values
            volume(tmp_path / f"{case}/{case}-{kind}.nii.gz", values)
    description = examine(tmp_path).proposal()
    assert description.names == ("t1c.1", "t1n.1", "t2f.1")
    assert (description.bands, description.channels) == ("raw", 3)
    write_description(description, tmp_path / "data.yaml")
    description = read_description(tmp_path / "data.yaml")
    pair = description.pairs("train")[0]
    assert [Path(file).name.split("-")[-1][:3] for file in (pair.image, *pair.partners)] == ["t1c", "t1n", "t2f"]
    assert "-seg.nii.gz#" in (pair.label or "")
    assert description.dataset("train").load(0).image.shape == (9, 8, 3)


def test_a_folder_for_each_sample(tmp_path: Path) -> None:
    """Image and label have the same names in every folder, and nothing in common: none was found."""
    for split in ("train", "val"):
        for number in range(4):
            tree(tmp_path, (f"{split}/{number}/image.png", f"{split}/{number}/mask.png"))
            write(tmp_path / f"{split}/{number}/overlay.png", PICTURE)
    layout = find_layout(tmp_path)
    assert {split: len(files.pairs) for split, files in layout.listings.items()} == {"train": 4, "val": 4}
    for pair in layout.listings["val"].pairs:
        assert pair.label == pair.image.replace("image", "mask")
        assert pair.image.startswith("val/")


def test_a_split_that_folder_and_subfolder_say(tmp_path: Path) -> None:
    """FloodNet: the val folder was passed over without a word."""
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            tree(tmp_path, (f"{split}/{split}-org-img/{number}.jpg", f"{split}/{split}-label-img/{number}_lab.png"))
    layout = find_layout(tmp_path)
    assert {split: len(files.pairs) for split, files in layout.listings.items()} == {"train": 4, "val": 2}


def test_folders_that_say_nothing_below_one_that_says_a_split(tmp_path: Path) -> None:
    """CHAOS: images and labels lay in one group of files, which has no pairs."""
    for case in "123":
        for number in range(3):
            write(tmp_path / f"Train_Sets/MR/{case}/T2SPIR/Anon/IMG-{number}.png", PICTURE)
            write(tmp_path / f"Train_Sets/MR/{case}/T2SPIR/Ground/IMG-{number}.png", MASK)
    layout = find_layout(tmp_path)
    pairs = {(pair.image, pair.label) for pair in layout.listings["train"].pairs}
    assert len(pairs) == 9
    assert all(label == image.replace("Anon", "Ground") for image, label in pairs)


@pytest.mark.parametrize("end", ["", "_0"])
def test_images_beside_their_masks_in_a_folder_called_output(tmp_path: Path, end: str) -> None:
    """LandCover.ai, where the script that cuts tiles writes them."""
    for number in range(5):
        tree(tmp_path, (f"output/M-33-{number}{end}.jpg", f"output/M-33-{number}{end}_m.png"))
    for split, numbers in (("train", "012"), ("val", "34")):
        (tmp_path / f"{split}.txt").write_text("".join(f"M-33-{number}{end}\n" for number in numbers))
    found = find_layout(tmp_path).listings
    assert {split: len(files.pairs) for split, files in found.items()} == {"train": 3, "val": 2}


def test_predictions_beside_their_overlays_are_no_data(tmp_path: Path) -> None:
    for number in range(5):
        tree(tmp_path, (f"output/{number}.jpg", f"output/{number}_overlay.png"))
    with pytest.raises(LayoutError):
        find_layout(tmp_path)


def test_images_that_no_list_names_are_told_once(tmp_path: Path) -> None:
    for number in range(12):
        tree(tmp_path, (f"images/{number}.jpg", f"masks/{number}.png"))
    (tmp_path / "train.txt").write_text("0\n1\n2\n")
    assert [warning.kind for warning in find_layout(tmp_path).warnings] == ["not listed"]


HINTS: dict[str, tuple[str, str, str]] = {
    "sam": ("a.json", '{"annotations": [{"segmentation": {}, "predicted_iou": 1}]}', "which have no classes"),
    "kili": ("all.json", '[{"externalId": "a", "labels": [{"jsonResponse": {}}]}]', "Kili annotations .* as COCO"),
    "encord": ("all.json", '[{"label_hash": "x", "data_units": {}}]', "Encord annotations .* as COCO"),
    "hasty": ("all.json", '{"label_classes": [], "images": [{"labels": []}]}', "Hasty annotations .* as COCO"),
    "dataloop": (
        "a.json",
        '{"filename": "/a.png", "annotations": [{"label": "x", "coordinates": []}]}',
        "Dataloop annotations",
    ),
    "aperio": ("a.xml", "<Annotations><Region Id='1'><Vertex X='1' Y='2'/></Region>", "open them in QuPath"),
    "nowhere": ("labels.gpkg", "x", "give the images a place"),
}


@pytest.mark.parametrize("tool", HINTS)
def test_what_is_not_read_is_named_with_what_to_do(tmp_path: Path, tool: str) -> None:
    name, text, said = HINTS[tool]
    write(tmp_path / "a.png", PICTURE)
    (tmp_path / name).write_text(text)
    with pytest.raises(LayoutError, match=rf"Hint: .*{said}"):
        find_layout(tmp_path)


def test_a_volume_for_each_class_is_told(tmp_path: Path) -> None:
    for case in ("s01", "s02", "s03"):
        for name in ("ct", "segmentations/liver", "segmentations/spleen"):
            volume(tmp_path / f"{case}/{name}.nii.gz", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(LayoutError, match=r"3 folders such as s01/segmentations hold a label volume for each class"):
        find_layout(tmp_path)


def test_a_folder_without_any_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(LayoutError, match="no image in"):
        find_layout(tmp_path)


def test_sessions_pair_with_labels_of_their_own(tmp_path: Path):
    """BIDS: the scans of the second session were paired with the labels of the first, and the others left out."""
    for person in range(4):
        for session in (1, 2):
            place, name = f"sub-{person:02}/ses-{session}/anat", f"sub-{person:02}_ses-{session}_T1w"
            write(tmp_path / place / f"{name}.png", PICTURE)
            write(tmp_path / "derivatives/manual" / place / f"{name}_label-lesion_mask.png", MASK)
    pairs = find_layout(tmp_path).listings["train"].pairs
    assert len(pairs) == 8
    for pair in pairs:
        assert pair.label == f"derivatives/manual/{pair.image.removesuffix('.png')}_label-lesion_mask.png"


def test_colours_beside_photos_are_the_labels(tmp_path: Path):
    """cam0 with cam0_color: the coloured labels were taken for the images, and the photos for labels."""
    rng = np.random.default_rng(0)
    for drive in range(3):
        for number in range(4):
            photo = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            label = np.array([(128, 64, 128), (70, 70, 70)], np.uint8)[(np.arange(2000).reshape(40, 50) // 700) % 2]
            write(tmp_path / f"drive_{drive}/cam0/{number}.jpg", photo)
            write(tmp_path / f"drive_{drive}/cam0_color/{number}.png", label)
    pairs = find_layout(tmp_path).listings["train"].pairs
    assert len(pairs) == 12
    assert {pair.image.split("/")[1] for pair in pairs} == {"cam0"}


def test_of_two_volumes_in_each_folder_the_one_of_few_values_is_the_label(tmp_path: Path):
    """CT.nii with CT_roi.nii.gz was refused: neither name is one of labels."""
    rng = np.random.default_rng(0)
    for patient in range(4):
        label = (rng.random((9, 8, 3)) < 0.3).astype(np.float64)
        folder = tmp_path / f"Patient {patient}"
        folder.mkdir()
        nibabel.save(
            nibabel.Nifti1Image(rng.normal(0, 90, label.shape).astype(np.float32), np.eye(4)), folder / "CT.nii"
        )
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), folder / "CT_roi.nii.gz")
    found = find_layout(tmp_path)
    assert found.pairs == 12
    assert (
        "4 folders have one sample each, with the label ct_roi of the image ct, since it holds few values"
        in found.notes
    )
    first = found.listings["train"].pairs[0]
    assert (first.image, first.label) == ("Patient 0/CT.nii#z0", "Patient 0/CT_roi.nii.gz#z0")


def test_two_scans_in_each_folder_are_no_image_and_label(tmp_path: Path):
    rng = np.random.default_rng(0)
    for patient in range(4):
        for name in ("t1", "t2"):
            (tmp_path / f"P{patient}").mkdir(exist_ok=True)
            values = rng.normal(0, 90, (9, 8, 3)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"P{patient}/{name}.nii.gz")
    with pytest.raises(LayoutError, match=r"P0: 2 x \.nii\.gz"):
        find_layout(tmp_path)
