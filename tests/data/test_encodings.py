"""Ways in which label files write their values, and what cannot be told from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from painted import areas, kinds, one, pairs, picture, save, table
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.labels import LabelTable, nearest

COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)


def with_palette(path: Path, label: np.ndarray, palette: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label).convert("P")
    image.putpalette(palette.astype(np.uint8).ravel().tolist())
    image.save(path)


class TestPalettes:
    def test_of_each_file_are_read_as_colours(self, tmp_path: Path):
        for index in range(6):
            order = np.random.default_rng(index).permutation(3)
            save(tmp_path / f"images/x{index}.png", picture(index))
            with_palette(
                tmp_path / f"masks/x{index}.png", np.argsort(order)[areas(index)].astype(np.uint8), COLOURS[order]
            )
        found = examine(tmp_path)
        assert found.ok
        assert one(found.warnings, "palettes differ")
        assert table(found) == {(0, 0, 0): "background", (255, 0, 0): "red", (0, 255, 0): "green"}
        write_description(found.proposal(), tmp_path / "data.yaml")
        assert examine(tmp_path / "data.yaml").ok
        dataset = found.proposal().dataset("train")
        for index in range(len(dataset)):
            label = areas(int(dataset.name(index)[-1]))
            names = {0: "background", 1: "red", 2: "green"}
            expected = np.array([found.proposal().classes.index(names[value]) for value in range(3)])[label]
            np.testing.assert_array_equal(dataset.load(index).label, expected)

    def test_of_chance_colours_are_a_problem(self, tmp_path: Path):
        for index in range(6):
            save(tmp_path / f"images/x{index}.png", picture(index))
            colours = np.random.default_rng(index).integers(0, 255, (256, 3))
            with_palette(tmp_path / f"masks/x{index}.png", areas(index), colours)
        assert "same index has different colours" in one(examine(tmp_path).problems, "palettes differ").text

    def test_a_class_list_of_colours_is_found_in_the_palette(self, tmp_path: Path):
        """The order of the lines is another than that of the indices."""
        for index in range(6):
            save(tmp_path / f"images/x{index}.png", picture(index))
            with_palette(tmp_path / f"masks/x{index}.png", areas(index), COLOURS)
        (tmp_path / "labelmap.txt").write_text("spot:0,255,0::\nleaf:255,0,0::\nbackground:0,0,0::\n")
        assert table(examine(tmp_path)) == {0: "background", 1: "leaf", 2: "spot"}

    def test_the_border_of_pascal_voc(self, tmp_path: Path):
        palette = np.zeros((256, 3))
        palette[[7, 14, 255]] = (128, 0, 0), (0, 128, 0), (224, 224, 192)
        for index in range(6):
            save(tmp_path / f"images/x{index}.png", picture(index))
            label = areas(index) * 7
            label[:2] = 255
            with_palette(tmp_path / f"masks/x{index}.png", label, palette)
        assert table(examine(tmp_path)) == {0: "class_0", 7: "class_7", 14: "class_14", 255: "ignore"}


class TestTwoSources:
    @pytest.mark.parametrize(
        ("kind", "classes", "high"),
        [("255", 2, {255}), ("one bit", 2, {255}), ("65535", 2, {65535}), ("greys", 3, {128, 255})],
    )
    def test_two_encodings_of_the_same(self, kind: str, classes: int, high: set[int], tmp_path: Path):
        for index in range(6):
            label = areas(index, classes)
            save(tmp_path / f"images/x{index}.png", picture(index))
            if index % 2:
                top = max(high) / (classes - 1)
                label = (
                    np.round(label * (top + 0.1)).clip(0, max(high)).astype(np.uint16 if max(high) > 255 else np.uint8)
                )
            if kind == "one bit" and not index % 2:
                (tmp_path / "masks").mkdir(exist_ok=True)
                Image.fromarray(label * 255).convert("1").save(tmp_path / f"masks/x{index}.png")
            else:
                save(tmp_path / f"masks/x{index}.png", label)
        found = examine(tmp_path)
        assert found.ok
        assert "two ways to write the same" in one(found.warnings, "two encodings").text
        labels = table(found)
        assert {labels[value] for value in high} == {name for value, name in labels.items() if value in (1, 2)}
        assert len(found.proposal().classes) == classes

    def test_255_beside_1_in_a_file_is_a_border(self, tmp_path: Path):
        labels = [areas(index, 2) for index in range(6)]
        for label in labels:
            label[0] = 255
        found = examine(pairs(tmp_path, labels))
        assert table(found)[255] == "ignore"
        assert not {"two encodings", "doubtful border"} & kinds(found.warnings)

    def test_a_border_that_lies_alone_is_doubted(self, tmp_path: Path):
        labels = [areas(index, 2) for index in range(6)]
        for index in (0, 2, 4):
            labels[index][labels[index] == 1] = 255
        labels[0][0] = 1
        warning = one(examine(pairs(tmp_path, labels)).warnings, "doubtful border")
        assert "2 of the 3" in warning.text

    def test_numbers_beside_colours_are_a_problem(self, tmp_path: Path):
        labels = [COLOURS[areas(index)] if index % 2 else areas(index) for index in range(6)]
        finding = one(examine(pairs(tmp_path, labels)).problems, "numbers and colours")
        assert len(finding.files) == 3

    def test_grey_files_beside_colours_are_colours(self, tmp_path: Path):
        labels = [COLOURS[areas(index)] for index in range(6)]
        labels[3] = np.zeros((48, 64), np.uint8)
        found = examine(pairs(tmp_path, labels))
        assert found.ok
        assert set(table(found)) == {(0, 0, 0), (255, 0, 0), (0, 255, 0)}


class TestNothing:
    def test_negative_numbers_are_ignored(self, tmp_path: Path):
        (tmp_path / "masks").mkdir()
        for index in range(6):
            label = areas(index).astype(np.int16)
            label[0] = -1
            save(tmp_path / f"images/x{index}.png", picture(index))
            np.save(tmp_path / f"masks/x{index}.npy", label)
        found = examine(tmp_path)
        assert table(found) == {-1: "ignore", 0: "class_0", 1: "class_1", 2: "class_2"}
        write_description(found.proposal(), tmp_path / "data.yaml")
        assert examine(tmp_path / "data.yaml").ok
        assert set(np.unique(found.proposal().dataset("train").load(0).label)) == {0, 1, 2, 255}

    @pytest.mark.parametrize("where", ["tag", "sidecar"])
    def test_declared_no_data_is_ignored(self, where: str, tmp_path: Path):
        for index in range(6):
            label = areas(index)
            label[:4] = 99
            save(tmp_path / f"images/x{index}.png", picture(index))
            tags = ImageFileDirectory_v2()
            if where == "tag":
                tags[42113] = "99"
            path = save(tmp_path / f"masks/x{index}.tif", label, tiffinfo=tags)
            if where == "sidecar":
                Path(f"{path}.aux.xml").write_text("<PAMDataset><NoDataValue>9.9E+01</NoDataValue></PAMDataset>")
        found = examine(tmp_path)
        assert table(found)[99] == "ignore"
        assert any("declare it as no data" in note for note in found.notes)

    def test_no_data_of_0_does_not_take_the_background_from_a_mask(self, tmp_path: Path):
        for index in range(6):
            save(tmp_path / f"images/x{index}.png", picture(index))
            tags = ImageFileDirectory_v2()
            tags[42113] = "0"
            save(tmp_path / f"masks/x{index}.tif", areas(index, 2), tiffinfo=tags)
        found = examine(tmp_path)
        assert table(found) == {0: "background", 1: "foreground"}
        assert one(found.warnings, "no data")

    def test_transparent_masks(self, tmp_path: Path):
        def painted(label: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
            result = np.zeros((*label.shape, 4), np.uint8)
            result[label > 0] = (*colour, 255)
            return result

        clear = examine(pairs(tmp_path / "clear", [painted(areas(i, 2), (255, 0, 0)) for i in range(6)]))
        assert clear.ok
        assert "transparent labels" not in kinds(clear.warnings)
        hidden = examine(pairs(tmp_path / "hidden", [painted(areas(i, 2), (0, 0, 0)) for i in range(6)]))
        assert one(hidden.warnings, "transparent labels")
        assert one(hidden.problems, "nothing to learn")


class TestInexact:
    def test_colours_of_objects_are_a_problem(self, tmp_path: Path):
        for seeds, size in ((30, 4), (5, 8)):
            root = tmp_path / str(seeds)
            labels = []
            for index in range(6):
                rng = np.random.default_rng(index)
                label = np.zeros((120, 160, 3), np.uint8)
                for _ in range(seeds):
                    top, left = rng.integers(0, 110), rng.integers(0, 150)
                    label[top : top + size, left : left + size] = rng.integers(1, 255, 3)
                labels.append(label)
                save(root / f"images/x{index}.png", picture(index, (120, 160)))
                save(root / f"masks/x{index}.png", label)
            assert "look like colours of objects" in one(examine(root).problems, "instance colours").text

    def test_near_colours_of_jpegs_are_joined(self, tmp_path: Path):
        for index in range(4):
            save(tmp_path / f"images/x{index}.png", picture(index, (240, 320)))
            save(tmp_path / f"masks/x{index}.jpg", COLOURS[areas(index, 3, (240, 320))], quality=92)
        found = examine(tmp_path)
        assert found.ok
        assert set(found.proposal().classes) == {"background", "red", "green"}
        dataset = found.proposal().dataset("train")
        label = dataset.load(0).label
        assert np.mean(label == 255) < 0.1
        index = int(dataset.name(0)[-1])
        of = np.array([found.proposal().classes.index(name) for name in ("background", "red", "green")])
        wrong = (label != of[areas(index, 3, (240, 320))]) & (label != 255)
        assert wrong.mean() < 0.01

    def test_thin_lines_saved_as_jpeg_are_a_problem_with_a_way_out(self, tmp_path: Path):
        for index in range(4):
            lines = np.zeros((240, 320, 3), np.uint8)
            lines[50 + 7 * index : 52 + 7 * index, 20:300] = COLOURS[1]
            lines[20:220, 90 + 7 * index : 92 + 7 * index] = (0, 0, 255)
            save(tmp_path / f"images/x{index}.png", picture(index, (240, 320)))
            save(tmp_path / f"masks/x{index}.jpg", lines, quality=90)
        found = examine(tmp_path)
        assert "tolerance: 127" in one(found.problems, "blurred colours").advice
        (tmp_path / "data.yaml").write_text(
            'classes: [background, red, blue]\nlabels: {"#000000": background, "#ff0000": red, "#0000ff": blue}\n'
            "tolerance: 127\nsplits:\n  train: {images: images, labels: masks}\n"
        )
        again = examine(tmp_path / "data.yaml")
        assert again.ok
        assert {row.name for row in again.values} == {"background", "red", "blue"}

    def test_class_numbers_saved_as_jpeg_are_a_problem(self, tmp_path: Path):
        assert one(examine(pairs(tmp_path, [areas(i, 4) for i in range(4)], suffix=".jpg")).problems, "JPEG labels")

    def test_a_class_list_says_what_blurred_colours_are(self, tmp_path: Path):
        pairs(tmp_path, [COLOURS[areas(i)] for i in range(4)], suffix=".jpg")
        (tmp_path / "class_dict.csv").write_text("name,r,g,b\nbackground,0,0,0\nleaf,255,0,0\nspot,0,255,0\n")
        found = examine(tmp_path)
        assert found.proposal().classes == ("background", "leaf", "spot")
        assert found.proposal().tolerance > 0


class TestTolerance:
    @settings(deadline=None)
    @given(
        st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=5, unique=True),
        st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20),
        st.integers(0, 255),
    )
    def test_an_array_is_read_as_values_are_one_by_one(self, listed, found, tolerance):
        labels = LabelTable(
            None, {colour: index for index, colour in enumerate(listed)}, outside="ignore", tolerance=tolerance
        )
        got = labels.apply(np.array([found], np.uint8), file="x")[0].tolist()
        near = [nearest(colour, listed, tolerance) for colour in found]
        assert got == [255 if colour is None else listed.index(colour) for colour in near]

    def test_of_numbers(self):
        labels = LabelTable({0: 0, 100: 1}, tolerance=10)
        assert labels.apply(np.array([[0, 9, 95, 110]], np.uint8), file="x").tolist() == [[0, 0, 1, 1]]
        with pytest.raises(ValueError, match=r"not in the table: 50 \(1 pixels\)"):
            labels.apply(np.array([[0, 50]], np.uint8), file="x")


VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 3, 255, 254, 128, 127, 300, 65535, 65534]),
    st.integers(0, 65535),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), coloured=st.booleans(), suffix=st.sampled_from([".png", ".png", ".jpg"]))
def test_any_labels_give_a_proposal_that_our_own_check_takes(data, coloured, suffix, tmp_path_factory):
    """Whatever labels hold: a description is written, read back equal, and refused by no check but the doctor's own."""
    root = tmp_path_factory.mktemp("any")
    for index in range(data.draw(st.integers(1, 4))):
        save(root / f"images/x{index}.png", picture(index, (8, 8)))
        if coloured:
            chosen = data.draw(st.lists(st.tuples(*[st.sampled_from([0, 255, 128, 3])] * 3), min_size=1, max_size=6))
            label = np.array(chosen, np.uint8)[np.arange(64).reshape(8, 8) % len(chosen)]
        else:
            numbers = data.draw(st.lists(VALUES, min_size=1, max_size=6))
            wide = np.array(numbers)[np.arange(64).reshape(8, 8) % len(numbers)]
            label = wide.astype(np.uint16 if max(numbers) > 255 else np.uint8)
        save(root / f"masks/x{index}{'.png' if label.dtype == np.uint16 else suffix}", label)
    names = data.draw(st.sampled_from(["", "background\n", "a\n", "a\nb\n", "background\na\nvoid\n", "a 255 0 0\n"]))
    if names:
        (root / "classes.txt").write_text(names)
    found = examine(root)
    proposal = found.proposal()
    write_description(proposal, root / "data.yaml")
    assert read_description(root / "data.yaml") == proposal
    again = examine(root / "data.yaml")
    if found.ok:
        assert again.ok, again.problems
        for split in proposal.splits:
            dataset = proposal.dataset(split)
            for index in range(len(dataset)):
                dataset.load(index)


def test_the_ids_of_kitti_have_names(tmp_path: Path):
    values = np.array([7, 21, 26], np.uint8)
    for index in range(6):
        save(tmp_path / f"training/image_2/{index:06}_10.png", picture(index))
        save(tmp_path / f"training/semantic/{index:06}_10.png", values[areas(index)])
    found = examine(tmp_path)
    assert [table(found)[value] for value in (7, 21, 26)] == ["road", "vegetation", "car"]
    assert one(found.warnings, "names guessed")


def test_the_name_of_a_contest_is_no_class(tmp_path: Path):
    for index in range(6):
        save(tmp_path / f"ISIC2018_Task1-2_Training_Input/ISIC_{index:07}.jpg", picture(index))
        mask = (areas(index) == 1).astype(np.uint8) * 255
        save(tmp_path / f"ISIC2018_Task1_Training_GroundTruth/ISIC_{index:07}_segmentation.png", mask)
    assert table(examine(tmp_path)) == {0: "background", 255: "foreground"}


def test_numbers_of_objects_are_a_problem_where_a_file_says_so(tmp_path: Path):
    """The bitmaps of Segments.ai: object 3 of one image is a car, of another a tree; they were taken as classes."""
    for index in range(4):
        save(tmp_path / f"{index}.jpg", picture(index))
        save(tmp_path / f"{index}_label_ground-truth.png", areas(index).astype(np.uint8))
    bitmap = {"attributes": {"annotations": [{"id": 1, "category_id": 2}], "segmentation_bitmap": {"url": "x"}}}
    release = {"name": "v0.1", "dataset": {"samples": [{"name": "0.jpg", "labels": {"ground-truth": bitmap}}]}}
    (tmp_path / "release.json").write_text(json.dumps(release))
    problem = one(examine(tmp_path).problems, "labels are numbers of objects")
    assert "export_format='semantic'" in problem.advice
