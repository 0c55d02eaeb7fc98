from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from intarsia.colours import distinct_colours
from intarsia.contracts import Dataset
from intarsia.data.datasets.ade20k import ADE20KDataset
from intarsia.data.datasets.cityscapes import CityscapesDataset
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.pascal_voc import PascalVOCDataset
from intarsia.data.datasets.wrappers import ConcatDataset, RepeatDataset
from intarsia.data.labels import LabelTable
from intarsia.terminal import Notice


def write(path, size=(4, 6), value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def tree(tmp_path):
    for name in ("b/two", "a/one", "three"):
        write(tmp_path / "img" / f"{name}_leftImg8bit.png")
        write(tmp_path / "gt" / f"{name}_gt.png", value=1)
    return tmp_path


def dataset(tree, **changes):
    arguments = {"images": "img", "labels": "gt", "image_suffix": "_leftImg8bit.png", "label_suffix": "_gt.png"}
    return FolderDataset(root=str(tree), **{"classes": ("x", "y"), **arguments, **changes})


def test_pairs_are_found_below_nested_folders_and_sorted(tree):
    found = dataset(tree)
    assert [found.name(index) for index in range(len(found))] == ["a/one", "b/two", "three"]
    assert isinstance(found, Dataset)
    sample = found.load(0)
    assert sample.image.shape == (4, 6, 3)
    assert (sample.label == 1).all()
    assert sample.meta.original_size == (4, 6)
    assert sample.meta.image_path.endswith("one_leftImg8bit.png")
    assert found.palette == distinct_colours(2)


@pytest.mark.parametrize("line", ["b/two", "b/two_leftImg8bit.png", "./b/two"])
def test_a_split_file_chooses_by_stem_or_path_and_keeps_its_order(tree, line):
    (tree / "split.txt").write_text(f"three\n\n{line}\n")
    found = dataset(tree, split_file="split.txt")
    assert [found.name(index) for index in range(len(found))] == ["three", "b/two"]


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        (2, ["a/one", "b/two"]),
        (-1, ["three"]),
        (9, ["a/one", "b/two", "three"]),
        ((2, 0, -1), ["three", "a/one", "three"]),
    ],
)
def test_indices_choose_of_the_list(tree, indices, expected):
    found = dataset(tree, indices=indices)
    assert [found.name(index) for index in range(len(found))] == expected
    (tree / "split.txt").write_text("three\nb/two\n")
    assert dataset(tree, split_file="split.txt", indices=1).name(0) == "three"


@pytest.mark.parametrize(("indices", "said"), [(0, "leaves none of 3 images"), ((1, 3), "3 images, found 3")])
def test_indices_that_there_are_not(tree, indices, said):
    with pytest.raises(ValueError, match=said):
        dataset(tree, indices=indices)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_a_split_file_may_have_any_encoding_and_come_from_windows(tree, encoding):
    write(tree / "img" / "größe_leftImg8bit.png")
    write(tree / "gt" / "größe_gt.png")
    (tree / "split.txt").write_bytes("größe\r\nb\\two\r\na/one_leftImg8bit.png\r\n".encode(encoding))
    found = dataset(tree, split_file="split.txt")
    assert [found.name(index) for index in range(len(found))] == ["größe", "b/two", "a/one"]


def test_links_are_followed_and_a_loop_ends(tree):
    (tree / "elsewhere").mkdir()
    (tree / "img" / "b").rename(tree / "elsewhere" / "b")
    (tree / "img" / "b").symlink_to(tree / "elsewhere" / "b")
    (tree / "img" / "loop").symlink_to(tree / "img")
    found = dataset(tree)
    assert [found.name(index) for index in range(len(found))] == ["a/one", "b/two", "three"]


def test_files_of_several_images_are_said(tmp_path):
    page = Image.new("L", (6, 4))
    for folder in ("img", "gt"):
        (tmp_path / folder).mkdir()
        page.save(tmp_path / folder / "a.tif", save_all=True, append_images=[page, page])
    with pytest.warns(Notice) as caught:
        FolderDataset(
            root=str(tmp_path), images="img", labels="gt", image_suffix=".tif", label_suffix=".tif", classes=("x", "y")
        )
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 2
    assert all("a.tif holds 3 pages or frames: of every file, only the first is used" in text for text in texts)


def test_no_labels_at_all(tree):
    assert dataset(tree, labels=None).load(1).label is None


def test_images_and_labels_in_one_folder(tmp_path):
    write(tmp_path / "a.png")
    write(tmp_path / "a_mask.png", value=1)
    found = FolderDataset(root=str(tmp_path), image_suffix=".png", label_suffix="_mask.png", classes=("x", "y"))
    assert [paths[0].rsplit("/", 1)[-1] for paths in found.pairs] == ["a.png"]
    assert (found.load(0).label == 1).all()


def test_explicit_pairs(tree):
    found = dataset(tree, pairs=[("img/three_leftImg8bit.png", "gt/a/one_gt.png"), ("img/b/two_leftImg8bit.png", None)])
    assert len(found) == 2
    assert found.load(1).label is None
    assert found.name(0) == "img/three"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": "imgs"}, r"imgs: the image folder does not exist; .* holds the folders .*img"),
        ({"labels": "gts"}, r"gts: the label folder does not exist"),
        ({"images": "empty"}, r"empty: no images: nothing matches \*\*/\*_leftImg8bit\.png. The folder is empty"),
        ({"image_suffix": ".jpg"}, r"nothing matches \*\*/\*\.jpg\. Files there: 3 x \.png"),
        ({"label_suffix": ".png"}, r"3 of 3 images .* have no label.*a/one\.png.*3 x \.png.*label_suffix \('\.png'\)"),
        ({"split_file": "no.txt"}, r"no\.txt: cannot be read: No such file"),
        ({"split_file": "none.txt"}, r"none\.txt: the split file lists no images"),
        ({"split_file": "wrong.txt"}, r"wrong\.txt: 1 of 2 lines .*b/tow \(line 2\)"),
        ({"pairs": []}, "is empty"),
        ({"pairs": [("img/nothing.png", None)]}, r"1 of the files listed do not exist: img/nothing\.png"),
        ({"palette": [(0, 0, 0)]}, "1 palette colours for 2 classes"),
        ({"palette": [(0, 0, 0), (0, 0, 300)]}, "not a colour"),
        ({"label_table": LabelTable({0: 0, 7: 5})}, "maps to 5, but 2 classes have the indices 0-1"),
        ({"label_table": LabelTable({0: 0}), "reduce_zero_label": True}, "either label_table or reduce_zero_label"),
        ({"classes": []}, "needs `classes`"),
        ({"classes": [f"c{i}" for i in range(300)]}, "another ignore_index"),
        ({"bands": "grey"}, "bands"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(tree, changes, message):
    (tree / "empty").mkdir()
    (tree / "none.txt").write_text("\n")
    (tree / "wrong.txt").write_text("a/one\nb/tow\n")
    with pytest.raises(ValueError, match=message):
        dataset(tree, **changes)


def test_image_and_label_of_different_sizes(tree):
    write(tree / "gt" / "three_gt.png", size=(6, 4))
    with pytest.raises(ValueError, match=r"three_gt\.png: the label has 6 x 4.*three_leftImg8bit\.png has 4 x 6.*EXIF"):
        dataset(tree).load(2)


def test_more_than_255_classes(tree):
    names = [f"c{index}" for index in range(300)]
    Image.fromarray(np.full((4, 6), 299, np.uint16)).save(tree / "gt" / "three_gt.png")
    found = FolderDataset(
        root=str(tree), images="img", labels="gt", image_suffix="_leftImg8bit.png", label_suffix="_gt.png",
        classes=names, ignore_index=65535,
    )  # fmt: skip
    label = found.load(2).label
    assert label.dtype == np.uint16
    assert (label == 299).all()


def test_a_hundred_thousand_files_are_listed_quickly(tmp_path, monkeypatch):
    names = [f"{number:06d}.jpg" for number in range(100_000)]

    def walk(root):
        return [name.replace(".jpg", ".png") for name in names] if root.endswith("gt") else list(names)

    (tmp_path / "img").mkdir()
    (tmp_path / "gt").mkdir()
    monkeypatch.setattr("intarsia.data.datasets.folder_pairs.walk_files", walk)
    start = time.process_time()
    assert len(FolderDataset(root=str(tmp_path), images="img", labels="gt", classes=("x", "y"))) == 100_000
    assert time.process_time() - start < 2


def test_cityscapes_layout(realdata):
    found = CityscapesDataset(
        root=str(realdata / "mmseg_tests_data/pseudo_cityscapes_dataset"), images="leftImg8bit/val", labels="gtFine/val"
    )
    assert [found.name(index) for index in range(len(found))] == ["frankfurt/frankfurt_000000_000294"]
    assert found.classes == CityscapesDataset.classes
    assert set(np.unique(found.load(0).label)) == {0, 1, 2, 4, 5, 7, 8, 10, 11, 13, 255}


def test_ade20k_counts_classes_from_one(realdata):
    found = ADE20KDataset(root=str(realdata / "ade20k_samples"), images="images", labels="annotations")
    assert len(found) == 3
    stored = np.asarray(Image.open(found.paths(0)[1])).astype(int)
    assert (found.load(0).label == np.where(stored == 0, 255, stored - 1)).all()


def test_some_classes_of_a_benchmark(realdata):
    root = str(realdata / "labelme_voc_samples/semantic_segmentation/data_dataset_voc")
    every = PascalVOCDataset(root=root, split_file=None)
    chosen = PascalVOCDataset(root=root, split_file=None, classes=("person", "bus"))
    assert chosen.palette == (PascalVOCDataset.palette[15], PascalVOCDataset.palette[6])
    for index in range(len(every)):
        full, some = every.load(index).label, chosen.load(index).label
        expected = np.full_like(full, 255)
        expected[full == 15], expected[full == 6] = 0, 1
        assert (some == expected).all()
    with pytest.raises(ValueError, match="no class 'tram'"):
        PascalVOCDataset(root=root, split_file=None, classes=("tram",))


def test_split_files_of_the_field(realdata):
    root = str(realdata / "mmseg_tests_data/pseudo_dataset")
    found = FolderDataset(
        root=root, images="imgs", labels="gts", image_suffix="_img.jpg", label_suffix="_gt.png",
        split_file="splits/val.txt", classes=[str(index) for index in range(7)],
    )  # fmt: skip
    assert [found.name(index) for index in range(len(found))] == ["00004"]


def test_concatenation_and_repetition(tree):
    one, two = dataset(tree), dataset(tree, pairs=[("img/three_leftImg8bit.png", "gt/three_gt.png")])
    both = ConcatDataset([one, two, one])
    assert isinstance(both, Dataset)
    assert [both.load(index).meta.name for index in range(len(both))] == [
        "a/one", "b/two", "three", "img/three", "a/one", "b/two", "three",
    ]  # fmt: skip
    again = RepeatDataset(one, times=3)
    assert len(again) == 9
    assert again.load(7).meta.name == "b/two"


def test_concatenation_of_different_classes_is_refused(tree):
    other = FolderDataset(
        root=str(tree), images="img", labels=None, image_suffix="_leftImg8bit.png", classes=("x", "z")
    )
    with pytest.raises(ValueError, match=r"first has 2 \(x, y\), number 2 has 2 \(x, z\)"):
        ConcatDataset([dataset(tree), other])
    with pytest.raises(ValueError, match="at least one"):
        ConcatDataset([])
    with pytest.raises(ValueError, match="times"):
        RepeatDataset(dataset(tree), times=0)
