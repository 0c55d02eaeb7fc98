"""Crops of image files that are decoded no further than they must be: the samples are those of whole images."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.contracts import Sample
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.description.read import read_description
from intarsia.data.pipeline import Pipeline
from intarsia.data.rows import RowArray, load_rows
from intarsia.data.sample_cache import SampleCache, use_cache
from intarsia.data.sampling import sample_rng
from intarsia.data.stage_times import READING
from intarsia.data.transforms.colour import PhotoMetricDistortion
from intarsia.data.transforms.geometry import Pad, RandomCrop, RandomFlip
from intarsia.data.transforms.mosaic import RandomMosaic
from intarsia.data.transforms.resize import RandomResize, Resize

for library in ("pyspng", "isal", "simplejpeg"):
    pytest.importorskip(library)

SIZE = (170, 130)
STEPS = {
    "resize and crop": (RandomResize((260, 340), (0.5, 2.0)), RandomCrop((64, 48), cat_max_ratio=0.6)),
    "crop alone": (RandomCrop((64, 48), rare=(1,), rare_prob=0.7), Pad(size=(80, 80))),
    "smaller than the crop": (Resize((51, 47)), RandomCrop(64)),
    "cubic": (RandomResize((140, 300), (0.5, 2.0), interpolation="bicubic"), RandomCrop((64, 48))),
    "whole": (RandomFlip(0.5), Resize((40, 60))),
    "mosaic": (RandomMosaic(1.0, img_scale=(64, 64)), RandomCrop((48, 48))),
}  # fmt: skip


def save(path: Path, array: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def folder(root: Path, image: str = "rgb") -> Path:
    """Images of many kinds, of which some are decoded whole in any case; grey, palette and colour labels."""
    turned = Image.Exif()
    turned[274] = 6
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    kinds: list[tuple[str, np.ndarray, dict[str, object]]] = [
        ("colour.png", colour, {}), ("grey.png", colour[:, :, 0], {}), ("colour.jpg", colour, {"subsampling": "4:2:0"}),
        ("fine.jpg", colour, {"subsampling": "4:4:4"}), ("grey.jpg", colour[:, :, 1], {}),
        ("progressive.jpg", colour, {"progressive": True}), ("turned.jpg", colour.transpose(1, 0, 2), {"exif": turned}),
        ("turned.png", colour.transpose(1, 0, 2), {"exif": turned}),
        ("alpha.png", np.dstack([colour, colour[:, :, 0]]), {}),
        ("sixteen.png", colour[:, :, 0].astype(np.uint16) * 200, {}), ("a.tif", colour, {}), ("a.bmp", colour, {}),
    ]  # fmt: skip
    for name, array, options in kinds:
        if image == "raw" and ("turned" in name or array.dtype != np.uint8 or array.shape[2:] != (3,)):
            continue
        save(root / "images" / f"{name.replace('.', '_')}.{name[-3:]}", array, **options)
        save(root / "labels" / f"{name.replace('.', '_')}.png", rng.integers(0, 3, SIZE, dtype=np.uint8))
    file = root / "data.yaml"
    file.write_text(
        f"classes: [a, b, c]\nimage: {{bands: {image}}}\nsplits: {{train: {{images: images, labels: labels}}}}\n"
    )
    return file


def samples(file: Path, steps: tuple) -> list[Sample]:
    dataset = read_description(file).dataset("train")
    pipeline = Pipeline(dataset, (*steps, PhotoMetricDistortion()) if dataset.bands == "rgb" else steps)
    return [pipeline.get(index, sample_rng(seed, index)) for index in range(len(dataset)) for seed in range(3)]


@pytest.mark.parametrize("image", ["rgb", "raw"])
@pytest.mark.parametrize("steps", STEPS)
def test_samples_are_those_of_whole_images(
    tmp_path: Path, choose: Callable[[str], None], image: str, steps: str
) -> None:
    file = folder(tmp_path, image)
    choose("usual")
    usual = samples(file, STEPS[steps])
    choose("fast")
    for expected, found in zip(usual, samples(file, STEPS[steps]), strict=True):
        assert found.image.dtype == expected.image.dtype
        np.testing.assert_array_equal(found.image, expected.image, err_msg=expected.meta.name)
        np.testing.assert_array_equal(found.label, expected.label)
        assert found.meta == expected.meta


def test_which_files_are_decoded_by_rows(tmp_path: Path) -> None:
    dataset = read_description(folder(tmp_path)).dataset("train")
    by_rows = {
        Path(dataset.name(index)).name
        for index in range(len(dataset))
        if isinstance(load_rows(dataset, index).image, RowArray)
    }
    assert by_rows == {"colour_png", "grey_png", "colour_jpg", "fine_jpg", "grey_jpg"}


def test_bands_that_a_sidecar_names_are_taken_from_the_whole(tmp_path: Path) -> None:
    file = folder(tmp_path)
    for path in (tmp_path / "images").iterdir():
        text = '<PAMDataset><PAMRasterBand band="1"><Description>red</Description></PAMRasterBand></PAMDataset>'
        path.with_name(f"{path.name}.aux.xml").write_text(text)
    dataset = read_description(file).dataset("train")
    assert not any(isinstance(load_rows(dataset, index).image, RowArray) for index in range(len(dataset)))


def test_samples_of_a_cache_are_whole(tmp_path: Path) -> None:
    dataset = read_description(folder(tmp_path)).dataset("train")
    use_cache(dataset, SampleCache(tmp_path / "cache", 2**30))
    assert load_rows(dataset, 0) is None


def test_the_time_of_decoding_is_that_of_reading_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is what a cache would spare, wherever it happens."""
    dataset = read_description(folder(tmp_path)).dataset("train")
    pipeline = Pipeline(dataset, [RandomCrop((32, 32))])
    told: list[str] = []
    measure = pipeline.times.measure

    def measured(stage: str) -> object:
        told.append(stage)
        return measure(stage)

    monkeypatch.setattr(pipeline.times, "measure", measured)
    pipeline.get(dataset_index(dataset, "colour_png"), sample_rng(0, 0))
    assert told == [READING, "RandomCrop", READING]
    assert pipeline.times.take().bytes == SIZE[0] * SIZE[1] * 4


def dataset_index(dataset: FolderDataset, name: str) -> int:
    return next(index for index in range(len(dataset)) if Path(dataset.name(index)).name == name)


def test_labels_are_looked_through_wherever_the_crop_is(tmp_path: Path) -> None:
    """A value that stands for nothing stops a training at the first look at the file."""
    file = folder(tmp_path)
    label = np.zeros(SIZE, np.uint8)
    label[-1, -1] = 77
    save(tmp_path / "labels/colour_png.png", label)
    dataset = read_description(file).dataset("train")
    with pytest.raises(ValueError, match=r"colour_png\.png: label values that are not in the table: 77"):
        Pipeline(dataset, [RandomCrop((16, 16))]).get(dataset_index(dataset, "colour_png"), sample_rng(0, 0))


def test_labels_are_decoded_by_rows_once_they_were_looked_through(tmp_path: Path) -> None:
    file = folder(tmp_path)
    save(tmp_path / "labels/grey_png.png", np.zeros((*SIZE, 3), np.uint8))  # its table would have to take one of three
    dataset = read_description(file).dataset("train")
    for name, is_by_rows in (("colour_png", True), ("turned_jpg", False), ("grey_png", False)):
        index = dataset_index(dataset, name)
        first, second = (load_rows(dataset, index).label for _ in range(2))
        assert isinstance(first, np.ndarray)
        assert isinstance(second, RowArray) == is_by_rows
        assert (second.dtype, second.shape) == (first.dtype, first.shape)
        np.testing.assert_array_equal(second.rows(3, 7) if is_by_rows else second[3:7], first[3:7])
    other = dataset.with_classes(dataset.classes, dataset.palette, dataset.label_table)
    assert isinstance(load_rows(other, dataset_index(dataset, "colour_png")).label, np.ndarray)


def test_a_label_that_becomes_damaged_is_named(tmp_path: Path) -> None:
    file = folder(tmp_path)
    dataset = read_description(file).dataset("train")
    pipeline, index = Pipeline(dataset, [RandomCrop((150, 120))]), dataset_index(dataset, "colour_png")
    pipeline.get(index, sample_rng(0, 0))
    label = tmp_path / "labels/colour_png.png"
    label.write_bytes(label.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"colour_png\.png"):
        pipeline.get(index, sample_rng(0, 0))


def test_an_image_and_a_label_of_other_sizes_are_refused(tmp_path: Path) -> None:
    file = folder(tmp_path)
    save(tmp_path / "labels/colour_jpg.png", np.zeros((9, 9), np.uint8))
    dataset = read_description(file).dataset("train")
    with pytest.raises(ValueError, match=r"the label has 9 x 9 pixels \(height x width\), its image .* has 170 x 130"):
        Pipeline(dataset, [RandomCrop((16, 16))]).get(dataset_index(dataset, "colour_jpg"), sample_rng(0, 0))


def test_pixels_that_are_missing_are_named(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + bytes(40 * 3) for _ in range(30))
    stream = zlib.compress(rows[: len(rows) // 2])
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0)
    for kind, content in ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(data)
    dataset = FolderDataset(root=str(tmp_path), images="images", labels=None, image_suffix=".png", classes=("a", "b"))
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as an image"):
        Pipeline(dataset, [RandomCrop((28, 28))]).get(0, sample_rng(0, 0))
