"""The data description: meaning, reading with the line of every mistake, writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from intarsia.data.description.model import DataDescription, show_value
from intarsia.data.description.pairing import Source
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import FolderSplit, PairSplit, ShareSplit
from intarsia.data.description.write import write_description

NAMES = st.text(min_size=1, max_size=12).filter(lambda text: text.strip() and text not in ("ignore", "background"))
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images; the label of image i holds 0, i and 255."""
    for index in range(10):
        write(tmp_path / f"images/{index}.png", np.full((4, 6, 3), index, np.uint8))
        label = np.zeros((4, 6), np.uint8)
        label[1], label[2] = index, 255
        write(tmp_path / f"masks/{index}_m.png", label)
    return tmp_path


def describe(root: Path, **changes: object) -> DataDescription:
    source = Source("images", "masks", (".png",), ("_m.png",))
    values: dict[str, object] = {
        "root": root,
        "classes": ("a", "b"),
        "labels": {**{value: "a" if value < 5 else "b" for value in range(10)}, 255: "ignore"},
        "splits": {"train": FolderSplit(source), "val": ShareSplit(0.3)},
    }
    return DataDescription(**{**values, **changes})


def read(tmp_path: Path, text: str) -> DataDescription:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    return read_description(tmp_path / "data.yaml")


def error_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the callers look at the text)
        read(tmp_path, text)
    return str(error.value).replace(str(tmp_path), "DIR")


class TestMeaning:
    def test_dataset_maps_values(self, folder: Path):
        dataset = describe(folder, splits={"train": describe(folder).splits["train"]}).dataset("train")
        assert len(dataset) == 10
        sample = dataset.load(7)
        assert sample.label is not None
        assert sample.label.dtype == np.uint8
        assert [int(row[0]) for row in sample.label] == [0, 1, 255, 0]
        assert (sample.image == 7).all()
        assert sample.meta.name.endswith("7")

    def test_shares_divide_without_overlap(self, folder: Path):
        rules = {**describe(folder).splits, "test": ShareSplit(0.3)}
        description = describe(folder, splits=rules)
        parts = [{pair.name for pair in description.pairs(split)} for split in ("train", "val", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 10
        assert all(parts)

    def test_one_foreground(self, folder: Path):
        labels = {**{value: "background" if value < 5 else "spot" for value in range(10)}, 255: "ignore"}
        description = describe(folder, classes=("spot",), labels=labels)
        assert description.num_classes == 1
        table = description.label_table()
        assert table.apply(np.array([[0, 7, 255]], np.uint8), file="x").tolist() == [[0, 1, 255]]
        assert description.dataset("train").classes == ("spot",)
        assert description.colours != ((0, 0, 0),)

    def test_without_labels_values_are_indices(self, folder: Path):
        table = describe(folder, classes=("a", "b", "c"), labels=None).label_table()
        assert table.apply(np.array([[0, 2, 255]], np.uint8), file="x").tolist() == [[0, 2, 255]]
        with pytest.raises(ValueError, match="3"):
            table.apply(np.array([[3]], np.uint8), file="x")

    def test_colours(self, folder: Path):
        labels = {(0, 0, 0): "ignore", (0, 255, 0): "a", (255, 0, 0): "b"}
        table = describe(folder, labels=labels).label_table()
        array = np.array([[[0, 0, 0], [0, 255, 0], [255, 0, 0]]], np.uint8)
        assert table.apply(array, file="x").tolist() == [[255, 0, 1]]

    @pytest.mark.parametrize("said", [{"outside": "ignore"}, {"tolerance": 8}])
    def test_what_is_said_of_unlisted_values_holds_without_a_table(self, folder: Path, said: dict):
        description = describe(folder, labels=None, **said)
        label = description.label_table().apply(np.array([[0, 1, 7]], np.uint8), file="x.png")
        assert label.tolist() == [[0, 1, 255 if "outside" in said else 1]]
        meant = [description.name_of(value) for value in (0, 1, 7)]
        assert meant == ["a", "b", "ignore" if "outside" in said else "b"], "as the doctor says it"

    def test_outside_ignored(self, folder: Path):
        table = describe(folder, labels={0: "a", 1: "b"}, outside="ignore").label_table()
        assert table.apply(np.array([[0, 1, 9]], np.uint8), file="x").tolist() == [[0, 1, 255]]

    def test_name_of_takes_grey_colours_and_numbers_for_each_other(self, folder: Path):
        numbers = describe(folder, labels={0: "a", 7: "b"})
        assert (numbers.name_of(7), numbers.name_of((7, 7, 7)), numbers.name_of((7, 7, 8))) == ("b", "b", None)
        colours = describe(folder, labels={(0, 0, 0): "a", (7, 7, 7): "b"})
        assert (colours.name_of(7), colours.name_of((7, 7, 7)), colours.name_of(8)) == ("b", "b", None)

    def test_names_list_and_exclude(self, folder: Path):
        (folder / "train.txt").write_text("1\n2\nimages/3.png\n")
        source = Source("images", "masks", (".png",), ("_m.png",))
        description = describe(
            folder, splits={"train": FolderSplit(source, "train.txt", exclude=("2",), missing="skip")}
        )
        assert [pair.name for pair in description.pairs("train")] == ["1", "3"]
        strict = describe(folder, splits={"train": FolderSplit(source, "train.txt", exclude=("2",))})
        with pytest.raises(ValueError, match=r"train\.txt: 1 names .*: 2\."):
            strict.pairs("train")

    def test_pairs_by_name(self, folder: Path):
        description = describe(folder, splits={"train": PairSplit((("images/1.png", "masks/2_m.png"),))})
        sample = description.dataset("train").load(0)
        assert (sample.image == 1).all()

    def test_missing_label_is_an_error_unless_skipped(self, folder: Path):
        (folder / "masks/3_m.png").unlink()
        splits = describe(folder).splits
        with pytest.raises(ValueError, match=r"1 images of the train split have no label: images/3\.png"):
            describe(folder, splits={"train": splits["train"]}).dataset("train")
        source = Source("images", "masks", (".png",), ("_m.png",))
        assert len(describe(folder, splits={"train": FolderSplit(source, missing="skip")}).dataset("train")) == 9

    def test_unknown_split_and_missing_folder(self, folder: Path):
        with pytest.raises(ValueError, match="no 'test' split; it has train, val"):
            describe(folder).pairs("test")
        wrong = describe(folder, splits={"train": FolderSplit(Source("image", "masks"))})
        with pytest.raises(ValueError, match=r"there is no folder 'image' in .* images, masks"):
            wrong.pairs("train")

    def test_images_without_ground_truth(self, folder: Path):
        description = describe(folder, splits={**describe(folder).splits, "test": FolderSplit(Source("images", None))})
        assert description.dataset("test").load(0).label is None


class TestContradictions:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"classes": ()}, "at least one class"),
            ({"classes": ("a", "a")}, "'a' is listed twice"),
            ({"classes": ("a", "ignore")}, "'ignore' cannot be the name"),
            ({"classes": ("background",), "labels": None}, "the background is what is left"),
            ({"labels": {0: "a", 1: "bb"}}, r"labels\.1: 'bb' .* did you mean 'b'"),
            ({"labels": {0: "background", 1: "a"}}, "'background' is no class"),
            ({"labels": {}}, "at least one file value"),
            ({"labels": {0: "ignore"}}, "every value is ignored"),
            ({"palette": ((0, 0, 0),)}, "1 colours for 2 classes"),
            ({"ignore_index": 1}, "must be none of the class indices"),
            ({"bands": "grey"}, "expected rgb or raw"),
            ({"channels": 4}, "rgb images have 3"),
            ({"mean": (1.0,)}, "1 numbers for 3 channels"),
            ({"std": (1.0, 0.0, 1.0)}, "greater than 0"),
            ({"splits": {}}, "at least one of train, val, test"),
            ({"splits": {"val": ShareSplit(0.2)}}, "'train' is no split with files of its own"),
            ({"outside": "keep"}, "expected error or ignore"),
        ],
    )
    def test_refused(self, changes: dict[str, object], message: str, tmp_path: Path):
        with pytest.raises(ValueError, match=message):
            describe(tmp_path, **changes)

    def test_share_out_of_range(self, tmp_path: Path):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            describe(tmp_path, splits={**describe(tmp_path).splits, "val": ShareSplit(1.5)})


HEAD = "classes: [a, b]\n"
TAIL = "splits:\n  train: {images: images, labels: masks}\n"


class TestReading:
    def test_the_shortest(self, tmp_path: Path):
        description = read(tmp_path, HEAD + TAIL)
        assert description.root == tmp_path
        assert description.labels is None
        assert description.splits["train"] == FolderSplit(Source("images", "masks"))

    def test_everything(self, tmp_path: Path):
        text = """
root: sub
classes: [road, no, "1"]
palette: [[1, 2, 3], "#ff8000", [0, 0, 9]]
labels:
  0: road
  2-4: no
  "#ff00ff": "1"
  [1, 2, 3]: ignore
outside: ignore
ignore_index: 254
image: {bands: stored, channels: 1, mean: 7, std: [2.5]}
splits:
  train: {images: x/y, labels: z, image_suffix: .tif, label_suffix: [.png, .bmp], image_prefix: i_, recursive: false}
  val: {images: x, labels: z, list: val.txt, exclude: [a, b], missing: skip}
  test: {share: 0.1, of: train, seed: 4}
"""
        description = read(tmp_path, text)
        assert description.root == tmp_path / "sub"
        assert description.classes == ("road", "no", "1")
        assert description.palette == ((1, 2, 3), (255, 128, 0), (0, 0, 9))
        assert description.labels == {
            0: "road", 2: "no", 3: "no", 4: "no", (255, 0, 255): "1", (1, 2, 3): "ignore",
        }  # fmt: skip
        assert (description.outside, description.ignore_index, description.bands) == ("ignore", 254, "raw")
        assert (description.channels, description.mean, description.std) == (1, (7.0,), (2.5,))
        assert description.splits["train"] == FolderSplit(
            Source("x/y", "z", (".tif",), (".png", ".bmp"), image_prefix="i_", recursive=False)
        )
        assert description.splits["val"] == FolderSplit(Source("x", "z"), "val.txt", ("a", "b"), "skip")
        assert description.splits["test"] == ShareSplit(0.1, "train", 4)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "DIR/data.yaml:1: the file is empty"),
            ("- a\n", "DIR/data.yaml:1: expected the keys root, classes"),
            (HEAD, "DIR/data.yaml:1: the key 'splits' is missing"),
            ("clases: [a]\n" + TAIL, "DIR/data.yaml:1: clases: unknown key; did you mean 'classes'?"),
            (HEAD + "\nlabels:\n  0: a\n  1: bb\n" + TAIL, "DIR/data.yaml:5: labels.1: 'bb' is no class of a, b"),
            (HEAD + "labels:\n  0: a\n  0: b\n" + TAIL, "DIR/data.yaml:4: labels.0: given twice, in lines 3 and 4"),
            (HEAD + "labels:\n  0-3: a\n  2: b\n" + TAIL, "DIR/data.yaml:4: labels.2: the value 2 is listed twice"),
            (HEAD + "labels:\n  5-3: a\n" + TAIL, "DIR/data.yaml:3: labels.5-3: expected a range of rising values"),
            (HEAD + 'labels:\n  "#00zz00": a\n' + TAIL, "DIR/data.yaml:3: labels.#00zz00: expected a file value"),
            (HEAD + 'labels:\n  "#00ff00": c\n' + TAIL, "DIR/data.yaml:3: labels.#00ff00: 'c' is no class"),
            ("classes: [a, 3]\n" + TAIL, 'DIR/data.yaml:1: classes.1: expected text, found 3; write it in quotes: "3"'),
            (HEAD + "image:\n  mean: [1, 2]\n" + TAIL, "DIR/data.yaml:3: image.mean: 2 numbers for 3 channels"),
            (HEAD + "image: colour\n" + TAIL, "DIR/data.yaml:2: image: expected keys with values, found the text"),
            (HEAD + "ignore_index: yes!\n" + TAIL, "DIR/data.yaml:2: ignore_index: expected a whole number"),
            (HEAD + "palette: [[1, 2, 300], red]\n" + TAIL, "DIR/data.yaml:2: palette.0: expected a colour such as"),
            (HEAD + "splits:\n  trian: {images: a}\n", "DIR/data.yaml:3: splits.trian: unknown key; did you mean"),
            (HEAD + "splits:\n  train:\n    lables: a\n", "DIR/data.yaml:4: splits.train.lables: unknown key"),
            (HEAD + "splits:\n  train: {labels: a}\n", "DIR/data.yaml:3: splits.train: expected images and labels"),
            (HEAD + "splits:\n  train: {pairs: [a]}\n", "DIR/data.yaml:3: splits.train.pairs: expected a list of"),
            (HEAD + TAIL + "  val: {share: x}\n", "DIR/data.yaml:4: splits.val.share: expected numbers, found ['x']"),
            (HEAD + TAIL + "  val: {share: 0.1, of: test}\n", "DIR/data.yaml:4: splits.val.of: 'test' is no split"),
            (HEAD + "splits:\n  train: {images: a, missing: no}\n", "DIR/data.yaml:3: splits.train.missing: expected"),
            (HEAD + "splits:\n  train: {images: a, recursive: 1}\n", "DIR/data.yaml:3: splits.train.recursive: expect"),
            ("classes: [a\nsplits: 3\n", "DIR/data.yaml:2: not valid YAML"),
            ("classes: " + "[" * 3000 + "]" * 3000, "DIR/data.yaml: the YAML is nested too deeply"),
        ],
    )  # fmt: skip
    def test_mistakes_name_the_line(self, text: str, message: str, tmp_path: Path):
        assert error_of(tmp_path, text).startswith(message)

    def test_missing_and_binary_files(self, tmp_path: Path):
        with pytest.raises(ValueError, match=r"cannot read the data description .*nothing\.yaml"):
            read_description(tmp_path / "nothing.yaml")
        (tmp_path / "x.yaml").write_bytes(b"\x89PNG\x00\x81")
        with pytest.raises(ValueError, match="cannot read the data description"):
            read_description(tmp_path / "x.yaml")


@st.composite
def descriptions(draw: st.DrawFn) -> DataDescription:
    classes = tuple(draw(st.lists(NAMES, min_size=1, max_size=6, unique=True)))
    targets = st.sampled_from([*classes, "ignore", *(["background"] if len(classes) == 1 else [])])
    values = st.one_of(st.integers(0, 400), COLOURS)
    labels = draw(st.dictionaries(values, targets, max_size=12))
    labels[draw(values)] = classes[0]
    words = st.text("abz_-. ", max_size=6).map(lambda text: f"a{text}z")
    folder = st.lists(words, min_size=1, max_size=3).map("/".join)
    suffixes = st.lists(words, min_size=1, max_size=2).map(tuple)
    folders = draw(folder), draw(st.none() | folder)
    source = Source(*folders, draw(suffixes), draw(suffixes), draw(words), "", draw(st.booleans()))
    if source.labels is None:
        source = Source(source.images, None, source.image_suffix, image_prefix=source.image_prefix)
    train = FolderSplit(source, draw(st.none() | words), draw(suffixes), draw(st.sampled_from(["error", "skip"])))
    numbers = st.none() | st.tuples(*[st.floats(0.001, 1e5)] * 3)
    return DataDescription(
        root=Path("/data"),
        classes=classes,
        splits={"train": train, "val": ShareSplit(draw(st.floats(0.01, 0.99)), "train", draw(st.integers(0, 99)))},
        labels=draw(st.none() | st.just(labels)),
        palette=draw(st.none() | st.tuples(*[COLOURS] * len(classes))),
        outside=draw(st.sampled_from(["error", "ignore"])),
        mean=draw(numbers),
        std=draw(numbers),
        notes=("some # note: [a]\nin lines",),
    )


class TestWriting:
    @settings(max_examples=25, deadline=None)
    @given(description=descriptions())
    def test_round_trip(self, description: DataDescription, tmp_path_factory: pytest.TempPathFactory):
        path = tmp_path_factory.mktemp("round") / "data.yaml"
        write_description(description, path)
        assert read_description(path) == description

    def test_root_is_relative_where_one_contains_the_other(self, folder: Path, tmp_path: Path):
        write_description(describe(folder), folder / "data.yaml")
        assert "root: .\n" in (folder / "data.yaml").read_text()
        write_description(describe(folder / "images"), folder / "deep/data.yaml")
        assert f"root: {(folder / 'images').as_posix()}\n" in (folder / "deep/data.yaml").read_text()
        assert read_description(folder / "data.yaml") == describe(folder)

    def test_it_explains_itself(self, folder: Path):
        write_description(
            describe(folder, classes=("background", "crack"), labels={0: "background", 1: "crack"}), folder / "d.yaml"
        )
        text = (folder / "d.yaml").read_text()
        assert "write `classes: [crack]`" in text
        write_description(describe(folder, classes=("crack",), labels={0: "background", 1: "crack"}), folder / "d.yaml")
        assert "`classes: [background, crack]`" in (folder / "d.yaml").read_text()
        assert all(len(line) <= 120 for line in text.splitlines())

    def test_ranges_keep_it_short(self, folder: Path):
        labels = {value: "a" if value < 128 else "b" for value in range(256)}
        write_description(describe(folder, labels=labels, ignore_index=300), folder / "d.yaml")
        text = (folder / "d.yaml").read_text()
        assert "  0-127: a\n  128-255: b\n" in text
        assert read_description(folder / "d.yaml").labels == labels

    def test_a_place_that_cannot_be_written(self, folder: Path):
        (folder / "file").write_text("")
        with pytest.raises(ValueError, match="cannot write the data description"):
            write_description(describe(folder), folder / "file/data.yaml")


def test_show_value():
    assert (show_value(11), show_value((192, 128, 0))) == ("11", "#c08000")


def test_the_smallest_and_largest_statistics_are_read_back(tmp_path: Path) -> None:
    """YAML takes 1e-05 for text."""
    split = FolderSplit(Source("images", "labels", (".png",), (".png",)))
    mean, std = (1e-07, 2.5, 3e20), (1e-09, 1.0, 2.0)
    description = DataDescription(tmp_path, ("a", "b"), {"train": split}, mean=mean, std=std)
    write_description(description, tmp_path / "data.yaml")
    found = read_description(tmp_path / "data.yaml")
    assert (found.mean, found.std) == (description.mean, description.std)
