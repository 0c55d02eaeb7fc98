"""The data doctor on generated folders: every kind of label, every fault, by name."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from intarsia.data.description.read import read_description
from intarsia.data.description.splits import ShareSplit
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.doctor.findings import Finding, Findings

SIZE = (24, 32)


def save(path: Path, array: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def stripes(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """A label with one horizontal stripe for each value."""
    rows = np.array_split(np.arange(SIZE[0]), len(values))
    label = np.empty(SIZE, dtype)
    for value, part in zip(values, rows, strict=True):
        label[part] = value
    return label


def make(root: Path, *labels: np.ndarray, val: tuple[np.ndarray, ...] = ()) -> Path:
    """``images/{train,val}`` with ``masks/{train,val}``; without `val`, no split folders."""
    for split, arrays in (("train", labels), ("val", val)):
        folder = f"/{split}" if val else ""
        for index, label in enumerate(arrays):
            save(root / f"images{folder}/{split[0]}{index}.png", picture(hash_of(split, index)))
            save(root / f"masks{folder}/{split[0]}{index}.png", label)
    return root


def hash_of(split: str, index: int) -> int:
    return index + 1000 * (split == "val")


def one(findings: tuple[Finding, ...], kind: str) -> Finding:
    matching = [finding for finding in findings if finding.kind == kind]
    assert len(matching) == 1, f"expected one {kind!r}, found {[finding.kind for finding in findings]}"
    return matching[0]


def labels_of(findings: Findings) -> dict[object, str]:
    labels = findings.proposal().labels
    assert labels is not None
    return dict(labels)


class TestTables:
    """What label values are concluded to mean."""

    def test_zero_and_255_are_two_classes(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 255)] * 5))
        assert labels_of(found) == {0: "background", 255: "foreground"}
        assert any("255 is the second class, not ignore" in note for note in found.notes)
        assert found.ok

    def test_zero_one_255_ignores_255_and_says_why(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 1, 255)] * 5))
        assert labels_of(found) == {0: "background", 1: "foreground", 255: "ignore"}
        assert any(note.startswith("255 is ignored: 0 and 1 make two classes") for note in found.notes)

    def test_many_and_255(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 1, 2, 255)] * 5))
        assert labels_of(found) == {0: "class_0", 1: "class_1", 2: "class_2", 255: "ignore"}

    def test_evenly_spaced_greys_are_classes(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 128, 255)] * 5))
        assert found.proposal().classes == ("class_0", "class_128", "class_255")

    def test_gaps_are_closed_and_told(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 2, 7)] * 5))
        proposal = found.proposal()
        assert proposal.classes == ("class_0", "class_2", "class_7")
        assert any("values 1, 3-6 do not occur" in note for note in found.notes)
        assert set(np.unique(proposal.dataset("train").load(0).label).tolist()) == {0, 1, 2}

    def test_one_bit_masks(self, tmp_path: Path):
        for index in range(5):
            save(tmp_path / f"images/{index}.png", picture(index))
            (tmp_path / "masks").mkdir(exist_ok=True)
            Image.fromarray(stripes(0, 255)).convert("1").save(tmp_path / f"masks/{index}.png")
        found = examine(tmp_path)
        assert found.labels is not None
        assert found.labels.modes == {"1": 5}
        assert labels_of(found) == {0: "background", 1: "foreground"}
        assert found.proposal().dataset("train").load(0).label.max() == 1

    def test_sixteen_bits(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 300, 65535, 40000, dtype=np.uint16)] * 5))
        assert labels_of(found) == {0: "class_0", 300: "class_300", 40000: "class_40000", 65535: "ignore"}
        assert found.labels is not None
        assert found.labels.modes == {"I;16": 5}
        assert found.proposal().dataset("train").load(0).label.max() == 255

    def test_more_classes_than_eight_bits_hold(self, tmp_path: Path):
        label = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)
        proposal = examine(make(tmp_path, label, label)).proposal()
        assert (proposal.num_classes, proposal.ignore_index) == (768, 65535)
        np.testing.assert_array_equal(proposal.dataset("train").load(0).label, label)

    def test_palette_files_give_their_colours(self, tmp_path: Path):
        colours = [(0, 0, 0), (10, 20, 30), (40, 50, 60)]
        for index in range(5):
            save(tmp_path / f"images/{index}.png", picture(index))
            label = Image.fromarray(stripes(0, 1, 2)).convert("P")
            label.putpalette([part for colour in colours for part in colour] + [0] * (768 - 9))
            (tmp_path / "masks").mkdir(exist_ok=True)
            label.save(tmp_path / f"masks/{index}.png")
        found = examine(tmp_path)
        assert found.labels is not None
        assert found.labels.kind == "numbers with a palette"
        assert found.proposal().palette == tuple(colours)

    def test_colours(self, tmp_path: Path):
        lut = np.array([(0, 0, 0), (0, 255, 0), (200, 100, 50)], np.uint8)
        labels = [lut[stripes(0, 1, 2)]] * 4 + [lut[stripes(0)]]
        found = examine(make(tmp_path, *labels))
        proposal = found.proposal()
        assert labels_of(found) == {(0, 0, 0): "background", (0, 255, 0): "green", (200, 100, 50): "class_2"}
        assert proposal.palette == ((0, 0, 0), (0, 255, 0), (200, 100, 50))
        everything = [*proposal.dataset("train").pairs, *proposal.dataset("val").pairs]
        assert len(everything) == 5
        assert sum(row.pixels["train"] + row.pixels["val"] for row in found.values) == 5 * SIZE[0] * SIZE[1]

    def test_grey_stored_as_colours_is_numbers(self, tmp_path: Path):
        label = np.repeat(stripes(0, 3, 5)[:, :, None], 3, axis=2)
        found = examine(make(tmp_path, *[label] * 5))
        assert labels_of(found) == {0: "class_0", 3: "class_3", 5: "class_5"}
        assert found.proposal().dataset("train").load(0).label.max() == 2

    def test_the_foreground_takes_the_name_of_its_folder(self, tmp_path: Path):
        for index in range(5):
            save(tmp_path / f"images/{index}.png", picture(index))
            save(tmp_path / f"crack_masks/{index}.png", stripes(0, 1))
        assert examine(tmp_path).proposal().classes == ("background", "crack")

    @pytest.mark.parametrize("folder", ["Ground Truth", "ground_truth", "Ground-Truths"])
    def test_ground_truth_is_about_no_ground(self, folder: str, tmp_path: Path):
        for index in range(5):
            save(tmp_path / f"Original/{index}.png", picture(index))
            save(tmp_path / f"{folder}/{index}.png", stripes(0, 1))
        assert examine(tmp_path).proposal().classes == ("background", "foreground")


class TestBlurredLabels:
    @pytest.mark.parametrize("factor", [2, 4, 8])
    def test_a_resized_mask_gets_a_threshold(self, factor: int, tmp_path: Path):
        sharp = np.zeros((48 // factor, 64 // factor), np.uint8)
        sharp[2:5, 2:6] = 255
        blurred = np.asarray(Image.fromarray(sharp).resize((64, 48), Image.Resampling.BILINEAR))
        for index in range(5):
            save(tmp_path / f"images/{index}.png", picture(index, (48, 64)))
            save(tmp_path / f"masks/{index}.png", blurred)
        found = examine(tmp_path)
        table = labels_of(found)
        assert [table[value] for value in (0, 127, 128, 255)] == ["background"] * 2 + ["foreground"] * 2
        finding = one(found.warnings, "anti-aliased labels")
        assert len(finding.files) == 5
        assert "nearest" in finding.advice
        label = found.proposal().dataset("train").load(0).label
        np.testing.assert_array_equal(label, blurred >= 128)

    def test_jpeg_masks(self, tmp_path: Path):
        rng = np.random.default_rng(0)
        for index in range(5):
            save(tmp_path / f"images/{index}.jpg", picture(index))
            label = (rng.random(SIZE) > 0.8).astype(np.uint8) * 255
            save(tmp_path / f"masks/{index}.jpg", np.sort(label, axis=0), quality=80)
        found = examine(tmp_path)
        assert found.proposal().classes == ("background", "foreground")
        assert len(one(found.warnings, "JPEG labels").files) == 5
        assert one(found.warnings, "anti-aliased labels")

    def test_colours_with_interpolation(self, tmp_path: Path):
        lut = np.array([(0, 0, 0), (255, 0, 0), (0, 90, 180)], np.uint8)
        sharp = Image.fromarray(lut[np.random.default_rng(0).integers(0, 3, (3, 4))])
        blurred = np.asarray(sharp.resize((256, 192), Image.Resampling.NEAREST)).copy()
        blurred[::16] = np.asarray(sharp.resize((256, 192), Image.Resampling.BICUBIC))[::16]
        for index in range(3):
            save(tmp_path / f"images/{index}.png", picture(index, (192, 256)))
            save(tmp_path / f"masks/{index}.png", blurred)
        found = examine(tmp_path)
        assert set(found.proposal().classes) == {"background", "red", "class_1"}
        assert found.proposal().outside == "ignore"
        assert one(found.warnings, "anti-aliased labels")
        label = found.proposal().dataset("train").load(0).label
        assert set(np.unique(label).tolist()) == {0, 1, 2, 255}

    def test_photographs_for_labels_are_a_problem(self, tmp_path: Path):
        for index in range(3):
            save(tmp_path / f"images/{index}.png", picture(index))
            save(tmp_path / f"masks/{index}.png", picture(100 + index))
        finding = one(examine(tmp_path).problems, "labels look like photographs")
        assert len(finding.files) == 3

    def test_five_broad_greys_are_not_blur(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 64, 128, 191, 255)] * 5))
        assert found.proposal().num_classes == 5

    def test_class_numbers_with_255_are_not_blur(self, tmp_path: Path):
        values = [*range(0, 60, 3), 255]
        found = examine(make(tmp_path, *[stripes(*values[:11]), stripes(*values[10:])] * 3))
        assert "anti-aliased labels" not in {finding.kind for finding in found.warnings}
        assert found.proposal().num_classes == 20


class TestFaults:
    def test_broken_files_are_named(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 8)
        (tmp_path / "images/t1.png").write_bytes(b"")
        cut = (tmp_path / "images/t2.png").read_bytes()
        (tmp_path / "images/t2.png").write_bytes(cut[: len(cut) // 2])
        (tmp_path / "masks/t3.png").write_bytes(b"no image at all")
        found = examine(tmp_path)
        finding = one(found.problems, "unreadable")
        assert set(finding.files) == {"images/t1.png", "images/t2.png", "masks/t3.png"}
        assert not found.ok
        assert "exclude" in finding.advice

    def test_a_file_that_may_not_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        make(tmp_path, *[stripes(0, 1)] * 4)

        def refuse(path: str | Path, mode: str) -> IO[Any]:
            if Path(path).parts[-2:] == ("images", "t2.png"):
                raise PermissionError(13, "Permission denied", str(path))
            return open(path, mode)

        monkeypatch.setattr("intarsia.data.image_io.open", refuse, raising=False)
        finding = one(examine(tmp_path).problems, "unreadable")
        assert finding.files == ("images/t2.png",)
        assert "Permission denied" in finding.text

    def test_sizes_that_differ(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 5)
        save(tmp_path / "masks/t3.png", stripes(0, 1).T)
        finding = one(examine(tmp_path).problems, "size mismatch")
        assert finding.files == ("images/t3.png: 32 x 24, its label 24 x 32",)
        assert "turned by 90 degrees" in finding.text

    def test_missing_and_surplus_labels(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 6)
        (tmp_path / "masks/t3.png").unlink()
        save(tmp_path / "masks/other.png", stripes(0, 1))
        found = examine(tmp_path)
        assert one(found.warnings, "image without label").files == ("images/t3.png",)
        assert one(found.warnings, "label without image").files == ("masks/other.png",)
        assert found.ok
        assert len(found.proposal().pairs("train")) + len(found.proposal().pairs("val")) == 5

    def test_values_outside_the_table(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 5)
        write_description(examine(tmp_path).proposal(), tmp_path / "data.yaml")
        save(tmp_path / "masks/t3.png", stripes(0, 1, 9))
        found = examine(tmp_path / "data.yaml")
        finding = one(found.problems, "values outside the table")
        assert finding.files == ("masks/t3.png: 9",)
        assert "9 (256 pixels)" in finding.text
        assert [row.name for row in found.values] == ["background", "foreground", None]

    def test_an_image_that_is_ignored_everywhere(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 1, 2, 255)] * 4, stripes(255)))
        assert one(found.warnings, "no valid pixel").files == ("masks/t4.png",)

    def test_classes_absent_from_a_split(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0, 1, 2)] * 3, val=(stripes(0, 1, 3),)))
        assert "class_2" in one(found.warnings, "class absent from val").text
        assert "class_3" in one(found.warnings, "class absent from train").text
        assert "in train: it cannot be learned" in one(found.warnings, "class absent from train").text

    def test_the_same_picture_in_train_and_val(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 3, val=(stripes(0, 1), stripes(0, 1)))
        Image.open(tmp_path / "images/train/t1.png").save(tmp_path / "images/val/v1.png", compress_level=0)
        finding = one(examine(tmp_path).warnings, "leak")
        assert finding.files == ("train: images/train/t1.png = val: images/val/v1.png",)

    def test_rare_classes(self, tmp_path: Path):
        label = stripes(0, 1)
        label[0, 0] = 2
        finding = one(examine(make(tmp_path, *[label] * 3)).warnings, "rare classes")
        assert "class_2 0.130%" in finding.text

    def test_black_masks_teach_nothing(self, tmp_path: Path):
        found = examine(make(tmp_path, *[stripes(0)] * 4))
        assert "nothing but 'background'" in one(found.problems, "nothing to learn").text

    def test_one_pair_has_nothing_to_validate_on(self, tmp_path: Path):
        found = examine(make(tmp_path, stripes(0, 1)))
        assert one(found.warnings, "no validation split")
        assert found.ok

    def test_numbers_of_objects(self, tmp_path: Path):
        labels = [np.arange(768, dtype=np.uint16).reshape(SIZE) % count for count in (150, 200, 120, 180)]
        for index, label in enumerate(labels):
            save(tmp_path / f"images/{index}.png", picture(index))
            save(tmp_path / f"instances/{index}.png", label)
        assert one(examine(tmp_path).warnings, "instance numbers")

    def test_no_label_can_be_read(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 3)
        for path in (tmp_path / "masks").iterdir():
            path.write_bytes(b"")
        found = examine(tmp_path)
        assert one(found.problems, "no labels")
        assert len(one(found.problems, "unreadable").files) == 3
        with pytest.raises(ValueError, match="no description can be proposed"):
            found.proposal()

    def test_nothing_there(self, tmp_path: Path):
        with pytest.raises(ValueError, match="is empty"):
            examine(tmp_path)
        with pytest.raises(ValueError, match="there is no folder and no data description"):
            examine(tmp_path / "nowhere")


class TestImages:
    def test_statistics_are_of_labelled_training_pixels(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1, 2, 255)] * 6, val=(stripes(0, 1),))
        found = examine(tmp_path)
        pixels = [picture(index)[stripes(0, 1, 2, 255) != 255] for index in range(6)]
        together = np.concatenate(pixels).astype(np.float64)
        np.testing.assert_allclose(found.mean, together.mean(0), rtol=1e-5)
        np.testing.assert_allclose(found.std, together.std(0), rtol=1e-5)

    def test_large_images_are_thinned_regularly(self, tmp_path: Path):
        image = picture(0, (1200, 900))
        save(tmp_path / "images/a.png", image)
        save(tmp_path / "masks/a.png", np.tile(np.array([0, 1], np.uint8), (1200, 450)))
        found = examine(tmp_path)
        np.testing.assert_allclose(found.mean, image.reshape(-1, 3).mean(0), rtol=0.01)
        assert [row.pixels["train"] for row in found.values] == [540_000, 540_000]

    def test_sixteen_bit_images_are_taken_as_stored(self, tmp_path: Path):
        for index in range(4):
            image = np.random.default_rng(index).integers(0, 4096, SIZE, dtype=np.uint16)
            save(tmp_path / f"images/{index}.png", image)
            save(tmp_path / f"masks/{index}.png", stripes(0, 1))
        proposal = examine(tmp_path).proposal()
        assert (proposal.bands, proposal.channels) == ("raw", 1)
        assert proposal.mean is not None
        assert 1900 < proposal.mean[0] < 2200
        assert proposal.dataset("train").load(0).image.dtype == np.uint16

    def test_arrays_of_many_bands(self, tmp_path: Path):
        (tmp_path / "images").mkdir()
        for index in range(4):
            cube = np.random.default_rng(index).normal(index, 1, (*SIZE, 7)).astype(np.float32)
            np.save(tmp_path / f"images/{index}.npy", cube)
            save(tmp_path / f"masks/{index}.png", stripes(0, 1))
        proposal = examine(tmp_path).proposal()
        assert (proposal.bands, proposal.channels) == ("raw", 7)
        assert proposal.dataset("train").load(0).image.shape == (*SIZE, 7)

    def test_mixed_kinds_are_read_as_colours_and_told(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 4)
        save(tmp_path / "images/t0.png", np.full(SIZE, 3000, np.uint16))
        found = examine(tmp_path)
        assert found.proposal().bands == "rgb"
        assert one(found.warnings, "mixed images")

    def test_alpha_that_means_something(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 3)
        save(tmp_path / "images/t1.png", np.dstack([picture(1), stripes(0, 255)]))
        assert one(examine(tmp_path).warnings, "alpha").files == ("images/t1.png",)

    def test_sizes(self, tmp_path: Path):
        for index, size in enumerate([(10, 20), (30, 40), (30, 40), (50, 60)]):
            save(tmp_path / f"images/{index}.png", picture(index, size))
            save(tmp_path / f"masks/{index}.png", np.resize(np.array([0, 1], np.uint8), size))
        images = examine(tmp_path).images
        assert images is not None
        assert (images.smallest, images.median, images.largest) == ((10, 20), (30, 40), (50, 60))
        assert images.sizes[0] == ((30, 40), 2)


class TestLegends:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("classes.txt", "sky\nroad\ncar\n"),
            ("codes.txt", "sky\nroad\ncar\nvoid\n"),
            ("labels.txt", "0 sky\n1 road\n2 car\n"),
            ("labels.txt", "__ignore__\nsky\nroad\ncar\n"),
            ("class_names.csv", "id,name\n0,sky\n1,road\n2,car\n"),
            ("classes.json", '["sky", "road", "car"]'),
            ("dataset.json", '{"labels": {"0": "sky", "1": "road", "2": "car"}}'),
            ("label_map.json", '{"sky": 0, "road": 1, "car": 2}'),
        ],
    )
    def test_names_of_numbers(self, name: str, text: str, tmp_path: Path):
        (tmp_path / name).write_text(text)
        found = examine(make(tmp_path, *[stripes(0, 1, 2)] * 5))
        assert found.proposal().classes == ("sky", "road", "car")
        assert any(name in note for note in found.notes)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("label_colors.txt", "10 20 30\tsky\n40 50 60\troad\n0 0 0\tVoid\n"),
            ("class_dict.csv", "name,r,g,b\nsky,10,20,30\nroad,40,50,60\nvoid,0,0,0\n"),
            ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:10,20,30::\nroad:40,50,60::\nvoid:0,0,0::\n"),
            ("colors.txt", "sky 10 20 30\nroad 40 50 60\nvoid 0 0 0\n"),
        ],
    )
    def test_names_of_colours(self, name: str, text: str, tmp_path: Path):
        (tmp_path / name).write_text(text)
        lut = np.array([(10, 20, 30), (40, 50, 60), (0, 0, 0)], np.uint8)
        found = examine(make(tmp_path, *[lut[stripes(0, 1, 2)]] * 5))
        assert found.proposal().classes == ("sky", "road")
        assert found.proposal().palette == ((10, 20, 30), (40, 50, 60))
        assert labels_of(found)[0, 0, 0] == "ignore"

    def test_a_legend_that_does_not_fit_is_not_used(self, tmp_path: Path):
        (tmp_path / "classes.txt").write_text("sky\nroad\n")
        found = examine(make(tmp_path, *[stripes(0, 1, 2, 3)] * 5))
        assert found.proposal().classes[0] == "class_0"
        assert "it names 2 classes, the labels hold 0, 1, 2, 3" in one(found.warnings, "class list not used").text

    def test_two_names_for_a_mask_of_0_and_255(self, tmp_path: Path):
        (tmp_path / "classes.txt").write_text("ground\ncrack\n")
        assert labels_of(examine(make(tmp_path, *[stripes(0, 255)] * 5))) == {0: "ground", 255: "crack"}

    def test_counting_from_one_ignores_zero(self, tmp_path: Path):
        (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tName\n1\t0.1\twall\n2\t0.1\tbuilding, edifice\n")
        found = examine(make(tmp_path, *[stripes(0, 1, 2)] * 5))
        assert labels_of(found) == {0: "ignore", 1: "wall", 2: "building"}

    def test_colours_of_cityscapes(self, tmp_path: Path):
        lut = np.array([(0, 0, 0), (128, 64, 128), (70, 130, 180), (220, 20, 60)], np.uint8)
        proposal = examine(make(tmp_path, *[lut[stripes(0, 1, 2, 3)]] * 5)).proposal()
        assert proposal.classes[0] == "road"
        assert proposal.labels is not None
        assert proposal.labels[0, 0, 0] == "ignore"
        assert proposal.num_classes == 19


class TestReport:
    def test_counts_by_split(self, tmp_path: Path):
        found = examine(make(tmp_path, stripes(0, 1), stripes(0), val=(stripes(0, 1, 1),)))
        assert [(split.name, split.pairs) for split in found.splits] == [("train", 2), ("val", 1)]
        zero, first = found.values
        assert (zero.pixels, first.pixels) == ({"train": 1152, "val": 256}, {"train": 384, "val": 512})
        assert first.shares == {"train": 0.25, "val": 512 / 768}
        assert first.images == {"train": 1, "val": 1}

    def test_json_and_text(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 5)
        (tmp_path / "masks/t1.png").write_bytes(b"")
        found = examine(tmp_path)
        data = json.loads(json.dumps(found.to_dict()))
        assert data["ok"] is False
        assert data["problems"][0]["files"] == ["masks/t1.png"]
        assert data["values"][0]["name"] == "background"
        text = "\n".join(found.lines())
        assert "problem: 1 file cannot be read" in text
        assert "all 32 x 24" in text

    def test_progress_and_limit(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 12)
        calls: list[tuple[int, int]] = []
        examine(tmp_path, progress=lambda done, total: calls.append((done, total)), workers=2)
        assert calls == [(index, 12) for index in range(1, 13)]
        first, again = (examine(tmp_path, limit=4) for _ in range(2))
        assert sum(split.inspected for split in first.splits) == 4
        assert sum(split.pairs for split in first.splits) == 12
        assert first.to_dict() == again.to_dict()
        assert any("not all files were looked at" in note for note in first.notes)

    def test_a_validation_share_has_every_class_and_stays(self, tmp_path: Path):
        labels = [stripes(0, 1)] * 16 + [stripes(0, 1, 2)] * 2
        found = examine(make(tmp_path, *labels))
        rule = found.proposal().splits["val"]
        assert isinstance(rule, ShareSplit)
        assert not [finding for finding in found.warnings if finding.kind.startswith("class absent")]
        assert 2 <= len(found.proposal().pairs("val")) <= 5
        before = {pair.name for pair in found.proposal().pairs("val")}
        write_description(found.proposal(), tmp_path / "data.yaml")
        for index in range(20):
            save(tmp_path / f"images/new{index}.png", picture(500 + index))
            save(tmp_path / f"masks/new{index}.png", stripes(0, 1))
        after = {pair.name for pair in read_description(tmp_path / "data.yaml").pairs("val")}
        assert {name for name in after if "new" not in name} == before

    def test_a_written_proposal_checks_clean(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1, 2, 255)] * 6)
        proposal = examine(tmp_path).proposal()
        write_description(proposal, tmp_path / "data.yaml")
        again = examine(tmp_path / "data.yaml")
        assert again.ok
        assert again.proposal() == proposal
        assert again.description == proposal

    def test_a_description_without_statistics_gets_them(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1)] * 6)
        text = "classes: [a, b]\nsplits:\n  train: {images: images, labels: masks}\n"
        (tmp_path / "data.yaml").write_text(text)
        assert examine(tmp_path / "data.yaml").proposal().mean is not None
        with pytest.raises(ValueError, match="is a data description"):
            examine(tmp_path / "data.yaml", labels="masks")

    def test_one_foreground_is_checked_like_two_classes(self, tmp_path: Path):
        make(tmp_path, *[stripes(0, 1, 255)] * 6)
        text = "classes: [crack]\nlabels: {0: background, 1: crack, 255: ignore}\n"
        (tmp_path / "data.yaml").write_text(text + "splits:\n  train: {images: images, labels: masks}\n")
        found = examine(tmp_path / "data.yaml")
        assert found.ok
        assert [row.name for row in found.values] == ["background", "crack", "ignore"]
        assert [finding.kind for finding in found.warnings] == ["tiny images", "no validation split"]
        for index in range(6):
            save(tmp_path / f"masks/t{index}.png", stripes(0))
        assert one(examine(tmp_path / "data.yaml").problems, "nothing to learn")

    def test_images_of_other_splits_are_not_missing_labels(self, tmp_path: Path):
        """Labels know the splits, images do not."""
        for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
            save(tmp_path / f"images/{name}.png", picture(ord(name)))
            save(tmp_path / f"labels/{split}/{name}.png", stripes(0, 1))
        found = examine(tmp_path)
        assert [(split.name, split.pairs) for split in found.splits] == [("train", 2), ("val", 1)]
        assert not [finding for finding in found.warnings if finding.kind == "image without label"]
        assert len(found.proposal().dataset("train")) == 2


def test_names_of_files_from_macos_pair_with_composed_ones(tmp_path: Path) -> None:
    """ "ü" as one letter and as "u" with two dots look alike; the folder was refused, since names shared nothing."""
    for index in range(4):
        save(tmp_path / "images" / unicodedata.normalize("NFC", f"Grün {index} é.png"), picture(index))
        save(tmp_path / "masks" / unicodedata.normalize("NFD", f"Grün {index} é_mäsk.png"), stripes(0, 1))
    found = examine(tmp_path)
    assert found.ok
    write_description(found.proposal(), tmp_path / "data.yaml")
    description = read_description(tmp_path / "data.yaml")
    assert sum(len(description.pairs(split)) for split in ("train", "val")) == 4


def test_a_list_that_ignores_most_pixels_is_a_warning(tmp_path: Path) -> None:
    make(tmp_path, *[stripes(0, 0, 0, 1, 2) for _ in range(4)])
    (tmp_path / "classes.txt").write_text("unlabeled\nroad\ncar\n")
    found = examine(tmp_path)
    warning = one(found.warnings, "mostly ignored")
    assert warning.text.startswith("6")  # percent
    assert "write `0: background`" in warning.advice


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_labels_of_whole_real_numbers(tmp_path: Path, suffix: str) -> None:
    """As programs for maps and arrays save them; they were refused."""
    for index in range(4):
        save(tmp_path / f"images/{index}.png", picture(index))
        label = stripes(0, 1, 2).astype(np.float32)
        (tmp_path / "masks").mkdir(exist_ok=True)
        if suffix == ".npy":
            np.save(tmp_path / f"masks/{index}.npy", label)
        else:
            Image.fromarray(label).save(tmp_path / f"masks/{index}.tif")
    found = examine(tmp_path)
    assert found.ok
    assert set(labels_of(found)) == {0, 1, 2}
    assert np.array_equal(found.proposal().dataset("train").load(0).label, stripes(0, 1, 2))
    np.save(tmp_path / "masks/0.npy", label + 0.4)
    (tmp_path / "masks/0.tif").unlink(missing_ok=True)
    assert "found 0.4: it is no label, or was resampled" in one(examine(tmp_path).problems, "unreadable").text
