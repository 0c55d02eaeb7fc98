"""Nothing is left out without a word: further sources, channels, test images, lists, annotations of other kinds."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from painted import areas, kinds, one, pairs, picture, save

from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.doctor.findings import Findings
from intarsia.data.lists import FileIndex, choose, read_tables

SIX = [areas(index) for index in range(6)]


def counts(found: Findings) -> dict[str, int]:
    return {split.name: split.pairs for split in found.splits}


def kept(found: Findings, folder: Path) -> None:
    """A description is written, read back equal, and checks clean."""
    write_description(found.proposal(), folder / "data.yaml")
    assert read_description(folder / "data.yaml") == found.proposal()
    assert examine(folder / "data.yaml").ok


class TestTestImages:
    @pytest.mark.parametrize(
        ("images", "masks", "test"),
        [
            ("train/images", "train/masks", "test/images"),
            ("train", "train_masks", "test"),
            ("train", "trainannot", "test"),
            ("train_images", "train_labels", "test_images"),
            ("images/train", "masks/train", "images/test"),
            ("imagesTr", "labelsTr", "imagesTs"),
            ("trainset/images", "trainset/masks", "testset/images"),
            ("training/img", "training/gt", "testing/img"),
        ],
    )
    def test_without_labels_do_not_stop_anything(self, images: str, masks: str, test: str, tmp_path: Path):
        for index, label in enumerate(SIX):
            save(tmp_path / f"{images}/x{index}.jpg", picture(index))
            save(tmp_path / f"{masks}/x{index}.png", label)
            save(tmp_path / f"{test}/t{index}.jpg", picture(100 + index))
        found = examine(tmp_path)
        assert sum(counts(found).values()) == 6
        assert f"test: the images in {test} have no labels; left out" in found.notes

    def test_in_a_folder_of_another_name_are_told(self, tmp_path: Path):
        pairs(tmp_path, SIX)
        for index in range(5):
            save(tmp_path / f"unlabeled/u{index}.png", picture(100 + index))
        assert len(one(examine(tmp_path).warnings, "images not used").files) == 5


class TestSources:
    def test_of_other_folders_are_joined_and_told(self, tmp_path: Path):
        for index in range(6):
            save(tmp_path / f"siteA/images/a{index}.png", picture(index))
            save(tmp_path / f"siteA/masks/a{index}.png", areas(index))
            save(tmp_path / f"siteB/img/b{index}.png", picture(50 + index))
            save(tmp_path / f"siteB/gt/b{index}.png", areas(index))
        found = examine(tmp_path)
        assert sum(counts(found).values()) == 12
        assert "siteA" in one(found.warnings, "several sources").text
        kept(found, tmp_path)

    def test_with_the_same_names_are_left_out_and_told(self, tmp_path: Path):
        pairs(tmp_path, SIX)
        for index in range(6):
            save(tmp_path / f"images_small/x{index}.png", picture(index))
            save(tmp_path / f"masks_small/x{index}.png", areas(index))
        found = examine(tmp_path)
        assert sum(counts(found).values()) == 6
        assert "6 images in images_small" in one(found.warnings, "source left out").text

    def test_of_numbered_files_keep_to_their_own_site(self, tmp_path: Path):
        """siteA/images and siteB/gt would pair as well by name."""
        for site, images, labels in (("siteA", "images", "masks"), ("siteB", "img", "gt")):
            for index in range(6):
                save(tmp_path / f"{site}/{images}/{index}.png", picture(index))
                save(tmp_path / f"{site}/{labels}/{index}.png", areas(index))
        for split in examine(tmp_path).proposal().splits:
            for pair in examine(tmp_path).proposal().pairs(split):
                assert pair.image.split("/")[0] == (pair.label or "").split("/")[0]


class TestLists:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    @pytest.mark.parametrize(
        ("suffix", "head", "line"),
        [
            ("csv", "image,mask\n", "images/x{0}.png,masks/x{0}.png\n"),
            ("csv", "id,label\n", "x{0},3\n"),
            ("csv", "", "x{0}.png\n"),
            ("txt", "", "x{0}\r\n"),
            ("txt", "", "images/x{0}.png masks/x{0}.png\n"),
            ("txt", "", "C:\\data\\mine\\images\\x{0}.png\r\n"),
            ("txt", "", "x{0} 1 1 1\n"),
            ("tsv", "path\tsize\n", "images/x{0}.png\t12\n"),
        ],
    )
    def test_of_any_form_tell_the_splits(self, suffix: str, head: str, line: str, encoding: str, tmp_path: Path):
        pairs(tmp_path, SIX)
        for name, numbers in (("train", range(4)), ("val", range(4, 6))):
            text = head + "".join(line.format(number) for number in numbers)
            (tmp_path / f"{name}.{suffix}").write_bytes(text.encode(encoding))
        found = examine(tmp_path)
        assert counts(found) == {"train": 4, "val": 2}
        assert [pair.name.rpartition("/")[2] for pair in found.proposal().pairs("val")] == ["x4", "x5"]
        kept(found, tmp_path)

    def test_pair_what_names_do_not(self, tmp_path: Path):
        for index, label in enumerate(SIX):
            save(tmp_path / f"imgs/p{index}.jpg", picture(index))
            save(tmp_path / f"anno/q{9 - index}.png", label)
        for name, numbers in (("train", range(4)), ("val", range(4, 6))):
            (tmp_path / f"{name}.txt").write_text("".join(f"imgs/p{n}.jpg anno/q{9 - n}.png\n" for n in numbers))
        found = examine(tmp_path)
        assert [(p.image, p.label) for p in found.proposal().pairs("val")] == [
            ("imgs/p4.jpg", "anno/q5.png"),
            ("imgs/p5.jpg", "anno/q4.png"),
        ]
        kept(found, tmp_path)

    def test_a_column_tells_the_split(self, tmp_path: Path):
        pairs(tmp_path, SIX)
        rows = "".join(f"x{n}.png,{'train' if n < 4 else 'valid'}\n" for n in range(6))
        (tmp_path / "metadata.csv").write_text("filename,split\n" + rows)
        found = examine(tmp_path)
        assert counts(found) == {"train": 4, "val": 2}
        kept(found, tmp_path)

    def test_that_are_not_used_are_told(self, tmp_path: Path):
        pairs(tmp_path, SIX)
        (tmp_path / "train.txt").write_text("x0\nx1\nx2\nx3\n")
        (tmp_path / "val.txt").write_text("berlin\nparis\nrome\n")
        found = examine(tmp_path)
        assert (
            "val.txt is not used as the list of the val split: 0 of its 3 lines"
            in one(found.warnings, "list not used").text
        )
        assert len(one(found.warnings, "not listed").files) == 2


NAMES = st.text("abcXYZ019_-. äß", min_size=1, max_size=12).filter(
    lambda name: name.strip(" .") == name and not name.startswith("#")
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(NAMES, min_size=2, max_size=12, unique_by=str.lower),
    st.sampled_from(["{}.png", "images/{}.png", "D:\\set\\images\\{}.png", "/home/me/images/{}.png"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_a_list_finds_its_files_however_it_is_written(tmp_path: Path, names, form, encoding, end):
    (tmp_path / "list.txt").write_bytes((end.join(form.format(name) for name in names) + end).encode(encoding))
    found, lost = choose(tmp_path / "list.txt", FileIndex(f"images/{name}.png" for name in names).find)
    assert (found, lost) == ([f"images/{name}.png" for name in names], [])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text('ab,;\t"\n ', max_size=200)), st.sampled_from(["txt", "csv"]))
def test_nothing_crashes_the_reader_of_lists(tmp_path: Path, content: bytes | str, suffix: str):
    path = tmp_path / f"list.{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with contextlib.suppress(ValueError):  # the reader's own word for what is no text
        read_tables(path)
        choose(path, FileIndex(["a.png"]).find)


class TestOtherAnnotations:
    @pytest.mark.parametrize(
        ("name", "text", "what"),
        [
            ("labels/x0.txt", "0 0.5 0.5 0.1 0.1\n", "YOLO boxes"),
            ("Annotations/x0.xml", "<annotation><object><bndbox/></object></annotation>", "XML boxes"),
            ("areas.geojson", '{"type": "FeatureCollection", "crs": {"name": "x"}}', "GeoJSON"),
            ("train.csv", "picture,pixels\nx0.jpg,1 3 10 5 17 2 40 1 50 1 60 2 70 1 80 1 90 1 \n", "run-length"),
            ("all.csv", 'picture,label,points\nx0.jpg,cat,"[[1, 2], [3.5, 4], [5, 6]]"\n', "polygons in a table"),
            ("train.parquet", "PAR1", "Parquet tables"),
            ("scan.nrrd", "x", "NRRD"),
            ("masks.zip", "x", "archives"),
        ],
    )
    def test_are_named_with_what_to_do(self, name: str, text: str, what: str, tmp_path: Path):
        for index in range(3):
            save(tmp_path / f"images/x{index}.jpg", picture(index))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=rf"Hint: .*{what}.* are not read: "):
            examine(tmp_path)

    def test_dicom_files_without_an_ending_are_told_what_they_are(self, tmp_path: Path):
        """They were passed over as unknown files, and a segmentation beside them belonged to no image."""
        for name in ("IM0001", "1.2.840.113619.2.5"):
            (tmp_path / "P 1").mkdir(exist_ok=True)
            (tmp_path / "P 1" / name).write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 200)
        with pytest.raises(ValueError, match=r"Hint: 2 files such as P 1/\S+ are DICOM by what they hold") as caught:
            examine(tmp_path)
        command = str(caught.value).split("with  ")[1].splitlines()[0]
        subprocess.run(command, shell=True, check=True)
        assert sorted(path.name for path in (tmp_path / "P 1").iterdir()) == ["1.2.840.113619.2.5.dcm", "IM0001.dcm"]

    @pytest.mark.parametrize(
        ("name", "text", "what"),
        [
            (
                "a.json",
                '{"images": [{"id": 1, "file_name": "gone.jpg"}], "annotations": [], "categories": []}',
                "COCO annotations .a.json. belong to no image that is here: they name gone.jpg",
            ),
            (
                "areas.geojson",
                '{"type": "FeatureCollection"}',
                "GeoJSON outlines in pixels .*they name areas.geojson; each image needs a file of its name",
            ),
            (
                "via.json",
                '{"_via_img_metadata": {}}',
                "VIA annotations .via.json. belong to no image .* they name none; ",
            ),
            ("labels/y7.txt", "0 0.1 0.1 0.4 0.1 0.4 0.4\n", "YOLO polygons .labels. belong to no image .*y7"),
            (
                "x0.json",
                '{"shapes": [{"label": "a", "points": [[1, 2]]}], "imagePath": "x0.jpg"}',
                "LabelMe annotations ... hold no shape that has an area",
            ),
        ],
    )
    def test_what_is_read_but_belongs_to_nothing_is_named(self, name: str, text: str, what: str, tmp_path: Path):
        for index in range(3):
            save(tmp_path / f"images/x{index}.jpg", picture(index))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=rf"Hint: {what}"):
            examine(tmp_path)

    @pytest.mark.parametrize(
        ("name", "text", "what"),
        [
            ("data.yaml", "train: images\nval: images\nnc: 1\nnames: [leaf]\n", "YOLO"),
            ("x.json", '{"images": [], "annotations": [], "categories": []}', "COCO annotations"),
        ],
    )
    def test_given_for_a_description_are_named(self, name: str, text: str, what: str, tmp_path: Path):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=rf"is no data description: it holds .*{what}"):
            examine(tmp_path / name)

    def test_a_description_in_json_is_one(self, tmp_path: Path):
        pairs(tmp_path, SIX)
        values = {"classes": ["a", "b", "c"], "splits": {"train": {"images": "images", "labels": "masks"}}}
        (tmp_path / "data.json").write_text(json.dumps(values))
        assert examine(tmp_path / "data.json").ok

    def test_masks_of_label_studio_are_named(self, tmp_path: Path):
        for index in range(3):
            save(tmp_path / f"studio/images/x{index}.png", picture(index))
            save(tmp_path / f"studio/export/task-{index}-annotation-{index + 4}-by-1-tag-leaf-0.png", areas(index))
        with pytest.raises(ValueError, match="masks of Label Studio, named by task"):
            examine(tmp_path / "studio")


class TestOrientation:
    @pytest.mark.parametrize("orientation", [2, 3, 4])
    @pytest.mark.parametrize("follow", ["stored", "upright"])
    def test_that_keeps_the_size_is_told(self, orientation: int, follow: str, tmp_path: Path):
        from PIL import Image

        for index, label in enumerate(SIX):
            image = Image.fromarray((picture(index) // 8 + 70 * label[..., None]).astype("uint8"))
            exif = image.getexif()
            exif[274] = orientation
            (tmp_path / "images").mkdir(exist_ok=True)
            image.save(tmp_path / f"images/x{index}.jpg", exif=exif, quality=95)
            rows, columns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1)}[orientation]
            upright = label[::rows, ::columns]
            save(tmp_path / f"masks/x{index}.png", (label if follow == "stored" else upright).copy())
        finding = one(examine(tmp_path).warnings, "EXIF orientation")
        assert len(finding.files) == 6
        assert ("would learn nonsense" in finding.text) is (follow == "stored")

    def test_of_90_degrees_comes_with_advice_that_helps(self, tmp_path: Path):
        from PIL import Image

        for index, label in enumerate(SIX):
            image = Image.fromarray(picture(index))
            exif = image.getexif()
            exif[274] = 6
            (tmp_path / "images").mkdir(exist_ok=True)
            image.save(tmp_path / f"images/x{index}.jpg", exif=exif)
            save(tmp_path / f"masks/x{index}.png", label)
        finding = one(examine(tmp_path).problems, "size mismatch")
        assert "auto-orient" in finding.advice
        image_lines = finding.advice.partition("`image: ")[2].partition("`")[0]
        text = f"classes: [a, b, c]\nimage: {image_lines}\nsplits:\n  train: {{images: images, labels: masks}}\n"
        (tmp_path / "data.yaml").write_text(text)
        assert examine(tmp_path / "data.yaml").ok
        assert read_description(tmp_path / "data.yaml").dataset("train").load(0).image.shape == (48, 64, 3)


def test_tiny_images_are_told(tmp_path: Path):
    for index in range(4):
        save(tmp_path / f"images/x{index}.png", picture(index, (9, 11)))
        save(tmp_path / f"masks/x{index}.png", areas(index, 2, (9, 11)))
    assert len(one(examine(tmp_path).warnings, "tiny images").files) == 4


def test_a_contest_with_gif_masks_and_run_lengths(tmp_path: Path):
    for index in range(6):
        save(tmp_path / f"train/c{index}_01.jpg", picture(index))
        save(tmp_path / f"train_masks/c{index}_01_mask.gif", areas(index, 2))
        save(tmp_path / f"test/t{index}.jpg", picture(90 + index))
    rows = "".join(f"c{index}_01.jpg,1 2 3 4\n" for index in range(6))
    (tmp_path / "train_masks.csv").write_text("img,rle_mask\n" + rows)
    found = examine(tmp_path)
    assert sum(counts(found).values()) == 6
    assert not kinds(found.warnings)
    kept(found, tmp_path)


def test_an_empty_list_of_a_split_is_no_list(tmp_path: Path):
    pairs(tmp_path, SIX)
    (tmp_path / "valid.txt").touch()
    assert examine(tmp_path).ok


def test_photos_without_a_label_are_told_once_and_are_no_channels(tmp_path: Path) -> None:
    """They were called other channels, too: DSC_0011.jpg differs from DSC_0000.jpg in a number."""
    for index in range(12):
        save(tmp_path / f"photos/DSC_{index:04}.jpg", picture(index))
    for index in range(7):
        save(tmp_path / f"photos_labels/DSC_{index:04}_label.png", areas(index))
    warnings = examine(tmp_path).warnings
    assert len(one(warnings, "image without label").files) == 5
    assert "images not used" not in {warning.kind for warning in warnings}
