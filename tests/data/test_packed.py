"""Packed data: the samples of the files bit by bit, whatever they hold; the crop's rows alone; damage that is named."""

from __future__ import annotations

import importlib.util
import multiprocessing
import pickle
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from intarsia.contracts import Sample
from intarsia.data.containers import inside, member_name
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor import examine as examine_module
from intarsia.data.doctor.examine import examine
from intarsia.data.packed import reader as reader_module
from intarsia.data.packed.codecs import CODECS, best_installed, compressor, decompressor
from intarsia.data.packed.layout import PLANES, Names, name_arrays
from intarsia.data.packed.reader import PackFile, Plane
from intarsia.data.packed_source import PackSource
from intarsia.data.packing import estimate, pack
from intarsia.data.pipeline import Pipeline
from intarsia.data.rows import RowArray, load_rows
from intarsia.data.sampling import sample_rng
from intarsia.data.transforms.colour import PhotoMetricDistortion
from intarsia.data.transforms.geometry import Pad, RandomCrop, RandomFlip
from intarsia.data.transforms.mosaic import RandomMosaic
from intarsia.data.transforms.resize import RandomResize, Resize, resize_array
from intarsia.data.transforms.resize_window import resized_window

SIZE = (150, 70)
INSTALLED = [name for name in CODECS if name in ("none", "zlib") or importlib.util.find_spec(name.replace("zstd", "zstandard"))]  # fmt: skip  # noqa: E501


def save(path: Path, array: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def smooth(seed: int, bands: int = 3, size: tuple[int, int] = SIZE) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (9, 7, bands), dtype=np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, bands)


def numbers(root: Path) -> Path:
    """JPEG turned by EXIF, PNG in grey and with alpha; labels with values besides the table's tolerance and ignore."""
    for part, count in (("train", 5), ("val", 2)):
        for i in range(count):
            turned = Image.Exif()
            turned[274] = 6
            picture = smooth(i)
            if i == 0:
                save(root / f"images/{part}/x{i}.jpg", np.rot90(picture), exif=turned)
            elif i == 1:
                save(root / f"images/{part}/x{i}.png", picture[:, :, 0])
            else:
                save(root / f"images/{part}/x{i}.png", np.dstack([picture, picture[:, :, :1]]))
            labels = np.random.default_rng(100 + i).choice([0, 3, 7, 255], (5, 5)).astype(np.uint8)
            save(root / f"labels/{part}/x{i}.png", cv2.resize(labels, SIZE[::-1], interpolation=cv2.INTER_NEAREST))
    text = """
classes: [street, pavement, other]
labels: {3: street, 7: pavement, 0: other, 255: ignore}
splits:
  train: {images: images/train, labels: labels/train}
  val: {images: images/val, labels: labels/val}
"""
    (root / "data.yaml").write_text(text)
    return root / "data.yaml"


def packed(file: Path, out: Path, codec: str = "zlib", **options: object) -> Path:
    pack(PackSource.of(read_description(file), file), out, codec=codec, **options)
    return out


STEPS = {
    "resize and crop": (RandomResize((140, 300), (0.5, 2.0), keep_ratio=True), RandomCrop((64, 48), cat_max_ratio=0.7)),
    "crop alone": (RandomCrop((64, 48), rare=(1,), rare_prob=0.7), Pad(size=(80, 80))),
    "other sizes": (Resize((51, 47)), RandomCrop(32)),
    "cubic": (RandomResize((140, 300), (0.5, 2.0), interpolation="bicubic"), RandomCrop((64, 48))),
    "whole": (RandomFlip(0.5), Resize((40, 60))),
    "mosaic": (RandomMosaic(1.0, img_scale=(64, 64)), RandomCrop((48, 48))),
}  # fmt: skip


def assert_same(first: Sample, second: Sample) -> None:
    assert first.image.dtype == second.image.dtype
    np.testing.assert_array_equal(first.image, second.image)
    assert first.meta.name == second.meta.name
    assert first.meta.original_size == second.meta.original_size
    assert (first.label is None) == (second.label is None)
    if first.label is not None:
        assert first.label.dtype == second.label.dtype
        np.testing.assert_array_equal(first.label, second.label)


def assert_equal_data(files: Path, pack_file: Path, steps: tuple = STEPS["resize and crop"]) -> None:
    first, second = read_description(files), read_description(pack_file)
    assert first.classes == second.classes
    assert first.colours == second.colours
    assert first.ignore_index == second.ignore_index
    for split in first.splits:
        one, two = first.dataset(split), second.dataset(split)
        assert len(one) == len(two) > 0
        trains = Pipeline(one, steps), Pipeline(two, steps)
        for index in range(len(one)):
            assert_same(one.load(index), two.load(index))
            assert_same(*(pipeline.get(index, sample_rng(3, index)) for pipeline in trains))


@pytest.mark.parametrize("codec", CODECS)
def test_samples_are_those_of_the_files(tmp_path: Path, codec: str) -> None:
    if codec not in INSTALLED:
        pytest.skip(f"{codec} is not installed")
    files = numbers(tmp_path / "data")
    assert_equal_data(files, packed(files, tmp_path / "a.pack", codec))


@pytest.mark.parametrize("steps", STEPS)
def test_every_transform_sees_the_same(tmp_path: Path, steps: str) -> None:
    files = numbers(tmp_path / "data")
    colour = (*STEPS[steps], PhotoMetricDistortion())
    assert_equal_data(files, packed(files, tmp_path / "a.pack"), colour)


def test_only_the_rows_of_the_crop_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = numbers(tmp_path / "data")
    dataset = read_description(packed(files, tmp_path / "a.pack")).dataset("train")
    read: list[tuple[int, int]] = []
    rows = Plane.rows

    def told(self: Plane, start: int, stop: int) -> np.ndarray:
        read.append((start, stop))
        return rows(self, start, stop)

    monkeypatch.setattr(Plane, "rows", told)
    Pipeline(dataset, [RandomCrop((32, 32))]).get(0, sample_rng(0, 0))
    assert read
    assert all(stop - start == 32 for start, stop in read)
    read.clear()
    Pipeline(dataset, [Resize((140, 300)), RandomCrop((32, 32))]).get(0, sample_rng(0, 0))
    assert read
    assert all(stop - start < 32 for start, stop in read)
    read.clear()
    Pipeline(dataset, [RandomCrop((32, 32))], label_size="original").get(0, sample_rng(0, 0))
    assert (0, SIZE[0]) in read


def test_a_window_is_that_of_the_whole_resized_image() -> None:
    rng = np.random.default_rng(0)
    for number in range(400):
        height, width, bands = (int(side) for side in rng.integers(1, (200, 200, 5)))
        size = tuple(max(1, int(side * rng.choice([0.5, 1, 2, rng.uniform(0.2, 3)]))) for side in (height, width))
        image = rng.integers(0, 256, (height, width, bands), dtype=np.uint8)
        window = tuple(int(rng.integers(1, side + 1)) for side in size)
        corner = tuple(int(rng.integers(side - length + 1)) for side, length in zip(size, window, strict=True))
        expected = resize_array(image, size, "bilinear")[
            corner[0] : corner[0] + window[0], corner[1] : corner[1] + window[1]
        ]
        lazy = RowArray(image.shape, lambda start, stop, image=image: image[start:stop], image.dtype)
        for source in (image, lazy):
            found = resized_window(source, size, "bilinear", corner, window)
            np.testing.assert_array_equal(found, expected, err_msg=f"{number}: {image.shape} {size} {corner} {window}")


# --- What data may hold -------------------------------------------------------------------------------------------


def test_wide_images_keep_their_numbers_and_bands(tmp_path: Path) -> None:
    for kind, dtype in (("sixteen", np.uint16), ("real", np.float32)):
        root = tmp_path / kind
        for i in range(3):
            array = np.random.default_rng(i).integers(0, 4000, (70, 50, 6)).astype(dtype)
            (root / "images").mkdir(parents=True, exist_ok=True)
            np.save(root / f"images/x{i}.npy", array)
            save(root / f"labels/x{i}.png", (array[:, :, 0] > 2000).astype(np.uint8))
        (root / "data.yaml").write_text(
            "classes: [low, high]\nimage: {bands: raw, channels: 7, names: [a, b, c, d, e, f], "
            "indices: {ratio: a / (b + 1)}}\nsplits: {train: {images: images, labels: labels}}\n"
        )
        pack_file = packed(root / "data.yaml", tmp_path / f"{kind}.pack")
        assert_equal_data(root / "data.yaml", pack_file, STEPS["crop alone"])
        assert_equal_data(root / "data.yaml", pack_file)
        assert PackFile(pack_file).image(0).dtype == dtype
        assert read_description(pack_file).image_spec == read_description(root / "data.yaml").image_spec


@pytest.mark.parametrize("scale", ["[100, 3000]", "[p1, p99]"])
def test_sixteen_bits_that_become_eight(tmp_path: Path, scale: str) -> None:
    for i in range(2):
        array = np.random.default_rng(i).integers(0, 4000, (70, 50)).astype(np.uint16)
        save(tmp_path / f"images/x{i}.png", array)
        save(tmp_path / f"labels/x{i}.png", (array > 2000).astype(np.uint8))
    file = tmp_path / "data.yaml"
    text = (
        "classes: [low, high]\nimage: {bands: rgb, scale: SCALE}\nsplits: {train: {images: images, labels: labels}}\n"
    )
    file.write_text(text.replace("SCALE", scale))
    pack_file = packed(file, tmp_path / "a.pack")
    assert_equal_data(file, pack_file)
    is_by_image = load_rows(read_description(pack_file).dataset("train"), 0) is None
    assert is_by_image == ("p1" in scale)


def test_colours_become_numbers_of_the_same_classes(tmp_path: Path) -> None:
    table = np.array([(0, 128, 0), (90, 90, 90), (250, 250, 250), (1, 2, 3)], np.uint8)
    for i in range(2):
        save(tmp_path / f"images/x{i}.png", smooth(i))
        save(tmp_path / f"labels/x{i}.png", table[np.random.default_rng(i).integers(0, 4, SIZE)])
    file = tmp_path / "data.yaml"
    file.write_text(
        'classes: [meadow, road]\nlabels: {"#008000": meadow, "#5b5b5b": road, "#fafafa": ignore}\noutside: ignore\n'
        "tolerance: 2\nsplits: {train: {images: images, labels: labels}}\n"
    )
    pack_file = packed(file, tmp_path / "a.pack")
    assert_equal_data(file, pack_file)
    assert read_description(pack_file).labels == {0: "meadow", 1: "road", 2: "ignore", 3: "ignore"}


@pytest.mark.parametrize("rule", ["value // 1000", "value // 1000 or value", "value % 256", "value > 0"])
def test_colours_that_are_numbers_of_objects(tmp_path: Path, rule: str) -> None:
    """As panoptic files of COCO have them: R + 256 G + 65536 B."""
    root = tmp_path / "data"
    for i in range(3):
        rng = np.random.default_rng(i)
        classes, objects = rng.integers(0, 3, (2, 9, 9))
        ids = 1000 * classes + objects if "//" in rule else classes + 256 * (objects + 270 * (classes > 0))
        ids = cv2.resize(ids.astype(np.float64), SIZE[::-1], interpolation=cv2.INTER_NEAREST).astype(np.int64)
        save(root / f"images/x{i}.png", smooth(i))
        save(root / f"labels/x{i}.png", np.dstack([ids % 256, ids // 256 % 256, ids // 65536]).astype(np.uint8))
    known = {"value > 0": "[thing]\nlabels: {0: background, 1: thing}"}
    names = known.get(rule, "[a, b, c]\nlabels: {0: a, 1: b, 2: c}" + "\noutside: ignore" * rule.endswith("or value"))
    file = root / "data.yaml"
    file.write_text(f"classes: {names}\nclass_of: {rule}\nsplits:\n  train: {{images: images, labels: labels}}\n")
    assert_equal_data(file, packed(file, tmp_path / "a.pack"))
    described = read_description(tmp_path / "a.pack").dataset("train").stored_label(0)
    assert described is not None
    assert described.shape == SIZE


def test_several_labels_in_a_pixel_and_none_at_all(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / f"images/x{i}.png", smooth(i))
        for name in ("roof", "solar"):
            mask = np.random.default_rng((i, len(name))).integers(0, 2, SIZE, dtype=np.uint8) * 255
            save(tmp_path / f"{name}/x{i}.png", mask)
    file = tmp_path / "data.yaml"
    file.write_text(
        "classes: [roof, solar]\nmulti_label: true\nsplits:\n"
        "  train: {images: images, labels: {roof: roof/*.png, solar: solar/*.png}}\n  test: {images: images}\n"
    )
    pack_file = packed(file, tmp_path / "a.pack")
    assert_equal_data(file, pack_file)
    test = read_description(pack_file).dataset("test")
    assert test.load(0).label is None
    assert load_rows(test, 0).label is None
    assert set(np.unique(read_description(pack_file).dataset("train").load(0).label)) == {0, 1, 2, 3}


def test_another_class_list_needs_no_other_file(tmp_path: Path) -> None:
    pack_file = packed(numbers(tmp_path / "data"), tmp_path / "a.pack")
    description = read_description(pack_file)
    changed = replace(
        description, classes=("ground", "other"), shares=None,
        labels={3: "ground", 7: "ground", 0: "other", 255: "ignore"},
    )  # fmt: skip
    write_description(changed, tmp_path / "new.yaml")
    found = read_description(tmp_path / "new.yaml")
    assert found == changed
    before, after = description.dataset("val").load(0).label, found.dataset("val").load(0).label
    np.testing.assert_array_equal(
        after, np.array([0, 0, 1], np.uint8)[before.clip(max=2)] | np.where(before > 2, 255, 0)
    )


def test_slices_of_stacks_are_packed_as_their_images(tmp_path: Path) -> None:
    for folder, limit in (("images", 256), ("labels", 2)):
        pages = [np.random.default_rng((i, limit)).integers(0, limit, (70, 50), dtype=np.uint8) for i in range(3)]
        (tmp_path / folder).mkdir()
        first, *others = map(Image.fromarray, pages)
        first.save(tmp_path / folder / "s.tif", save_all=True, append_images=others)
    file = tmp_path / "data.yaml"
    file.write_text("classes: [a, b]\nsplits: {train: {images: images, labels: labels, slices: z}}\n")
    pack_file = packed(file, tmp_path / "a.pack")
    assert_equal_data(file, pack_file)


def test_what_cannot_be_packed_is_refused_by_name(tmp_path: Path) -> None:
    one = numbers(tmp_path / "one")
    (tmp_path / "mixed.yaml").write_text(
        "classes: [street, pavement, other]\n"
        "datasets: [{name: a, data: one/data.yaml}, {name: b, data: one/data.yaml}]\n"
    )
    with pytest.raises(ValueError, match="made of several data sets; pack each"):
        PackSource.of(read_description(tmp_path / "mixed.yaml"), tmp_path / "mixed.yaml")
    save(tmp_path / "one/labels/train/x3.png", np.full(SIZE, 9, np.uint8))
    with pytest.raises(ValueError, match=r"x3\.png: label values that are not in the table: 9"):
        packed(one, tmp_path / "a.pack")
    assert not list(tmp_path.glob("*.pack"))
    assert not list(tmp_path.glob(".intarsia*"))
    save(tmp_path / "one/labels/train/x3.png", np.full((9, 9), 3, np.uint8))
    with pytest.raises(ValueError, match=r"the label has 9 x 9 pixels"):
        packed(one, tmp_path / "a.pack")


def test_packed_data_can_be_packed_and_mixed(tmp_path: Path) -> None:
    files = numbers(tmp_path / "data")
    first = packed(files, tmp_path / "a.pack")
    assert_equal_data(files, packed(first, tmp_path / "b.pack", "none"))
    (tmp_path / "mixed.yaml").write_text(
        "classes: [street, pavement, other]\ndatasets: [{name: a, data: a.pack}, {name: b, data: data/data.yaml}]\n"
    )
    mixed = read_description(tmp_path / "mixed.yaml").dataset("train")
    for index in range(5):
        assert_same(replace_name(mixed.load(index)), replace_name(mixed.load(index + 5)))
    assert isinstance(load_rows(mixed, 0).image, RowArray)
    assert not isinstance(load_rows(mixed, 5).image, RowArray)  # of a JPEG that is turned, whole


def replace_name(sample: Sample) -> Sample:
    return replace(sample, meta=replace(sample.meta, name=sample.meta.name.partition("/")[2]))


# --- Files --------------------------------------------------------------------------------------------------------


def test_shards_are_kept_and_gone_on_behind(tmp_path: Path) -> None:
    files = numbers(tmp_path / "data")
    whole = packed(files, tmp_path / "whole.pack")
    source = PackSource.of(read_description(files), files)
    first = pack(source, tmp_path / "s.pack", codec="zlib", shard_bytes=60_000)
    assert len(first.shards) >= 3
    assert_equal_data(files, tmp_path / "s.pack")
    kept = first.shards[0].stat().st_mtime_ns, first.shards[0].read_bytes()
    for gone in (tmp_path / "s.pack", *first.shards[1:]):
        gone.unlink()
    second = pack(source, tmp_path / "s.pack", codec="zlib", shard_bytes=60_000)
    assert second.kept == len(PackFile(first.shards[0]))
    assert (first.shards[0].stat().st_mtime_ns, first.shards[0].read_bytes()) == kept
    assert second.size == first.size
    assert_equal_data(files, tmp_path / "s.pack")
    assert read_description(tmp_path / "s.pack").shares == read_description(whole).shares
    with pytest.raises(ValueError, match=r"s-00000\.pack is there, and is of other data"):
        pack(source, tmp_path / "s.pack", codec="none", shard_bytes=60_000)
    again = pack(source, tmp_path / "s.pack", codec="none", shard_bytes=200_000, overwrite=True)
    assert_equal_data(files, tmp_path / "s.pack")
    assert sorted(tmp_path.glob("s-*.pack")) == list(again.shards)


def test_shards_are_packed_again_when_any_file_of_a_label_has_changed(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"images/{number}.png", smooth(number))
        for row, name in enumerate(("one", "two")):
            mask = np.zeros(SIZE, np.uint8)
            mask[8 * row : 8 * row + 8] = 255
            save(tmp_path / f"{name}/{number}.png", mask)
    (tmp_path / "data.yaml").write_text(
        "classes: [background, one, two]\nlabels: {0: background, 1: one, 2: two, 255: ignore}\n"
        "splits:\n  train: {images: images, labels: {one: one/*.png, two: two/*.png}}\n"
    )
    out = tmp_path / "s.pack"

    def again(**options: object) -> int:
        source = PackSource.of(read_description(tmp_path / "data.yaml"), tmp_path)
        return pack(source, out, codec="zlib", shard_bytes=1, **options).kept

    again()
    out.unlink()
    assert again() == 3
    out.unlink()
    mask = np.array(Image.open(tmp_path / "two/0.png"))
    save(tmp_path / "two/0.png", mask[::-1])
    with pytest.raises(ValueError, match=r"s-00000\.pack is there, and is of other data"):
        again()
    assert again(overwrite=True) == 0
    label = read_description(out).dataset("train").load(0).label
    assert np.array_equal(label == 2, mask[::-1] > 0)


def test_processes_write_the_same_file(tmp_path: Path) -> None:
    files = numbers(tmp_path / "data")
    one = packed(files, tmp_path / "one.pack")
    two = packed(files, tmp_path / "two.pack", processes=2)
    assert one.read_bytes() == two.read_bytes()


def test_the_estimate_is_near(tmp_path: Path) -> None:
    files = numbers(tmp_path / "data")
    source = PackSource.of(read_description(files), files)
    guess, size = estimate(source, "zlib"), pack(source, tmp_path / "a.pack", codec="zlib").size
    assert guess.samples == {"train": 5, "val": 2}
    assert 0.9 * size < guess.size < 1.2 * size
    assert guess.raw == 7 * 4 * SIZE[0] * SIZE[1]


def test_shares_are_those_that_the_doctor_measures(tmp_path: Path) -> None:
    files = numbers(tmp_path / "data")
    assert read_description(packed(files, tmp_path / "a.pack")).shares == examine(files).shares()
    assert examine(tmp_path / "a.pack").ok


def test_damage_is_named_with_sample_and_block(tmp_path: Path) -> None:
    pack_file = packed(numbers(tmp_path / "data"), tmp_path / "a.pack", "none")
    plane = PackFile(pack_file).image(1)
    data = bytearray(pack_file.read_bytes())
    record = PackFile(pack_file).planes[2]
    place = int(record["offset"]) + 8 * -(-SIZE[0] // plane.block_rows) + 70 * SIZE[1] * 3
    data[place] ^= 1
    pack_file.write_bytes(data)
    dataset = read_description(pack_file).dataset("train")
    dataset.load(0)
    with pytest.raises(
        ValueError, match=r"a\.pack: the image of train/images/train/x1\.png is damaged in block 1 \(rows 64"
    ):
        dataset.load(1)


def test_shards_are_not_replaced_while_they_are_read(tmp_path: Path) -> None:
    file = numbers(tmp_path / "files")
    out = packed(file, tmp_path / "s.pack", codec="none", shard_bytes=60_000)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.pack")}
    itself = PackSource.of(read_description(out), out)
    with pytest.raises(ValueError, match=r"s\.pack: its shards are those of .*s\.pack, which is read for it"):
        pack(itself, out, codec="none", shard_bytes=30_000, overwrite=True)
    with pytest.raises(ValueError, match=r"s-00001\.pack: its shards are those of"):
        pack(itself, tmp_path / "s-00001.pack", codec="none", overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.pack")} == before
    pack(itself, out, codec="none", overwrite=True)
    assert list(tmp_path.glob("*.pack")) == [out], "one file, and its shards are gone"
    assert_equal_data(file, out)


def test_a_shard_of_another_packing_is_refused(tmp_path: Path) -> None:
    """Blocks that are not compressed lie in the same places, whichever images they are of."""
    pictures = [smooth(seed) for seed in range(8)]
    for name, order in (("one", pictures), ("two", pictures[::-1])):
        for i, picture in enumerate(order):
            save(tmp_path / name / f"images/x{i}.png", picture)
            save(tmp_path / name / f"labels/x{i}.png", np.zeros(SIZE, np.uint8))
        (tmp_path / name / "data.yaml").write_text(
            "classes: [a, b]\nlabels: {0: a, 1: b}\nsplits: {train: {images: images, labels: labels}}\n"
        )
        packed(tmp_path / name / "data.yaml", tmp_path / name / "s.pack", codec="none", shard_bytes=60_000)
    own, other = tmp_path / "one/s-00000.pack", tmp_path / "two/s-00000.pack"
    assert own.stat().st_size == other.stat().st_size
    own.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=r"s-00000\.pack: is a shard of another packing than .*s\.pack"):
        read_description(tmp_path / "one/s.pack").dataset("train").load(0)


def test_replacing_shards_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    file = numbers(tmp_path)
    pack_file = packed(file, tmp_path / "s.pack", codec="none", shard_bytes=60_000)
    source = PackSource.of(read_description(file), file)

    def broken(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, pack_file, codec="zlib", shard_bytes=60_000, overwrite=True, progress=broken)
    assert not pack_file.exists(), "an index of shards that are others now"
    again = pack(source, pack_file, codec="zlib", shard_bytes=60_000, overwrite=True)
    assert again.kept >= 1
    assert_equal_data(file, pack_file)
    assert pack(source, pack_file, codec="zlib", shard_bytes=60_000, overwrite=True).kept == 0, "it was finished"


@pytest.mark.parametrize("where", ["cut", "tail", "header", "index", "empty", "shard"])
def test_damaged_indices_are_refused(tmp_path: Path, where: str) -> None:
    files = numbers(tmp_path / "data")
    pack_file = packed(files, tmp_path / "a.pack", shard_bytes=60_000 if where == "shard" else None)
    data = bytearray(pack_file.read_bytes())
    start = PackFile(pack_file).header.arrays["planes"][0]
    if where == "shard":
        (tmp_path / "a-00001.pack").unlink()
        dataset = read_description(pack_file).dataset("train")
        with pytest.raises(ValueError, match=r"a-00001\.pack: cannot be read"):
            [dataset.load(index) for index in range(len(dataset))]
        return
    if where == "index":
        data[start + 8] ^= 255
    elif where == "header":
        data[-200] ^= 255
    elif where == "tail":
        data[-1] ^= 255
    data = {"cut": data[:-30], "empty": data[:8]}.get(where, data)
    pack_file.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.pack: .*; copy it again, or pack the data again"):
        read_description(pack_file)


def test_no_read_leaves_the_file_whatever_the_index_says(tmp_path: Path) -> None:
    pack_file = packed(numbers(tmp_path / "data"), tmp_path / "a.pack")
    file = PackFile(pack_file)
    true = file.planes[0].copy()
    rng = np.random.default_rng(0)
    for name in PLANES.names or ():
        for value in (0, 1, 65535, *rng.integers(0, np.iinfo(PLANES[name]).max, 4, dtype=np.uint64).tolist()):
            record = true.copy()
            record[name] = min(value, np.iinfo(PLANES[name]).max)
            file.planes = np.array([record])
            with suppress(ValueError):  # any other error, and any crash, fails
                Plane(file, 0).whole()


def _labels_of(path: str, queue: multiprocessing.Queue) -> None:
    dataset = read_description(path).dataset("val")
    queue.put([int(dataset.load(index).label.sum()) for index in range(len(dataset))])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_it(tmp_path: Path, method: str) -> None:
    pack_file = packed(numbers(tmp_path / "data"), tmp_path / "a.pack")
    dataset = read_description(pack_file).dataset("val")
    expected = [int(dataset.load(index).label.sum()) for index in range(len(dataset))]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_labels_of, args=(str(pack_file), queue))
    process.start()
    assert queue.get(timeout=120) == expected
    process.join()
    again = pickle.loads(pickle.dumps(dataset))
    assert_same(again.load(1), dataset.load(1))


def test_a_file_written_again_is_read_again(tmp_path: Path) -> None:
    files = numbers(tmp_path / "data")
    pack_file = packed(files, tmp_path / "a.pack")
    before = read_description(pack_file).dataset("val").load(0).label.copy()
    save(tmp_path / "data/labels/val/x0.png", np.full(SIZE, 7, np.uint8))
    packed(files, pack_file)
    after = read_description(pack_file).dataset("val").load(0).label
    assert set(np.unique(after)) == {1}
    assert not np.array_equal(before, after)
    assert len(reader_module._OPEN) <= reader_module._KEPT


def test_renamed_and_moved_files_are_found(tmp_path: Path) -> None:
    files = numbers(tmp_path / "data")
    pack_file = packed(files, tmp_path / "a.pack")
    (tmp_path / "far").mkdir()
    assert_equal_data(files, pack_file.rename(tmp_path / "far/b.pack"))
    with pytest.raises(ValueError, match=r"must end in \.pack: rename it"):
        read_description((tmp_path / "far/b.pack").rename(tmp_path / "far/b.bin"))


# --- Parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", INSTALLED)
def test_compression_gives_back_what_it_took(codec: str) -> None:
    data = bytes(1000) + np.random.default_rng(0).bytes(500)
    assert decompressor(codec)(compressor(codec)(data), len(data)) == data


def test_a_library_that_is_absent_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_installed() in INSTALLED
    with pytest.raises(ValueError, match="compression 'lzo' is not known; there are none, lz4, zstd, zlib"):
        compressor("lzo")
    for codec in {"lz4", "zstd"} - set(INSTALLED):
        with pytest.raises(ValueError, match=r'pip install "intarsia\[pack\]"'):
            compressor(codec)


def test_names_are_found_by_their_hash() -> None:
    names = [f"train/ä{number}.png" for number in range(500)]
    table = Names(**name_arrays(names))
    assert [table.find(name) for name in names] == list(range(500))
    assert [table[number] for number in (0, 1, 499)] == [names[0], names[1], names[499]]
    assert table.of(3, 6) == names[3:6]
    assert table.find("train/none.png") is None


def test_a_folder_may_be_called_like_a_container(tmp_path: Path) -> None:
    save(tmp_path / "x.tar/y.pack/a.png", smooth(0))
    assert inside(tmp_path / "x.tar/y.pack/a.png") is None
    assert member_name("a.pack/train/city/b.png") == "city/b.png"
    assert member_name("shards/0.tar/b.png") == "shards/0/b.png"
    assert member_name("city/b.png") == "city/b.png"


def test_known_data_are_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured stands in the file; the doctor looks at some samples, and at all where it does not."""
    monkeypatch.setattr(examine_module, "MOST_PACKED", 2)
    files = numbers(tmp_path / "data")
    assert [split.inspected for split in examine(packed(files, tmp_path / "a.pack")).splits] == [5, 2]
    write_description(examine(files).proposal(), files)
    found = examine(packed(files, tmp_path / "b.pack"))
    assert [split.inspected for split in found.splits] == [2, 2]
    assert found.proposal().mean == examine(files).proposal().mean


def test_names_that_lead_out_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = numbers(tmp_path / "data")
    monkeypatch.setattr(PackSource, "name", lambda _, split, index: f"{split}/../../{index}.png")
    with pytest.raises(ValueError, match=r"a\.pack: refused: the sample 'train/\.\./\.\./0\.png'"):
        read_description(packed(files, tmp_path / "a.pack")).dataset("train")
