"""The cache of decoded samples: the same bits, whoever reads, whatever has happened to files and entries."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.contracts import Sample
from intarsia.data.cache_place import CachePlace
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.wrappers import ConcatDataset, RepeatDataset
from intarsia.data.description.read import read_description
from intarsia.data.labels import LabelTable
from intarsia.data.loader import train_loader
from intarsia.data.memory_folder import MemoryFolder, remove_left
from intarsia.data.packed_source import PackSource
from intarsia.data.packing import pack
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_cache import SampleCache, use_cache
from intarsia.data.transforms.colour import PhotoMetricDistortion
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
from intarsia.data.transforms.resize import RandomResize
from intarsia.io.whole_files import DiskFullError

CLASSES = ("a", "b", "c")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(6):
        image = rng.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"images/{number}.png")
        label = rng.integers(0, 3, image.shape[:2], dtype=np.uint8)
        Image.fromarray(label).save(tmp_path / f"labels/{number}.png")
    return tmp_path


def dataset(folder: Path, **changes: Any) -> FolderDataset:
    given = {"image_suffix": ".png", "classes": CLASSES, **changes}
    return FolderDataset(root=str(folder), images="images", labels="labels", **given)


def cached(folder: Path, *, limit: int = 10**9, **changes: Any) -> tuple[FolderDataset, SampleCache]:
    found = dataset(folder, **changes)
    cache = SampleCache.opened(folder / "cache", limit)
    assert use_cache(found, cache) == 1
    return found, cache


def assert_same(one: Sample, other: Sample) -> None:
    assert one.meta == other.meta
    assert one.image.dtype == other.image.dtype
    assert np.array_equal(one.image, other.image)
    assert one.label is not None
    assert other.label is not None
    assert one.label.dtype == other.label.dtype
    assert np.array_equal(one.label, other.label)


def entries(cache: SampleCache) -> list[Path]:
    return sorted(path for path in cache.folder.glob("??/*"))


def without_reading(found: FolderDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a file that is decoded is an error."""

    def refuse(*_: object) -> Any:
        raise AssertionError("a file was decoded")

    monkeypatch.setattr(found, "_image", refuse)
    monkeypatch.setattr(found, "label", refuse)


def test_samples_from_the_cache_have_the_same_bits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, (found, cache) = dataset(folder), cached(folder)
    for index in range(6):
        assert_same(found.load(index), plain.load(index))
    assert cache.ledger().samples == 6
    assert cache.ledger().bytes == sum(path.stat().st_size for path in entries(cache))
    without_reading(found, monkeypatch)
    for index in range(6):
        assert_same(found.load(index), plain.load(index))


def test_what_a_transform_writes_into_an_array_stays_out_of_the_cache(folder: Path) -> None:
    found, _ = cached(folder)
    before = found.load(0).image.copy()
    for _ in range(2):
        sample = found.load(0)
        sample.image[...] = 0
    assert np.array_equal(found.load(0).image, before)


@pytest.mark.parametrize(
    "changes",
    [
        {"bands": "raw"},
        {"reduce_zero_label": True, "classes": ("a", "b")},
        {"label_table": LabelTable({0: 2, 1: 1, 2: 0})},
        {"ignore_index": 254},
    ],
)
def test_the_way_of_reading_is_a_part_of_the_name(folder: Path, changes: dict[str, Any]) -> None:
    first, cache = cached(folder)
    first.load(0)
    second, _ = cached(folder, **changes)
    assert_same(second.load(0), dataset(folder, **changes).load(0))
    assert len(entries(cache)) == 2


def test_a_changed_file_is_read_anew_and_takes_the_place_of_the_old(folder: Path) -> None:
    found, cache = cached(folder)
    old = found.load(0)
    image = 255 - old.image
    Image.fromarray(image).save(folder / "images/0.png")
    assert np.array_equal(found.load(0).image, image)
    assert len(entries(cache)) == 1
    assert cache.ledger().samples == 1
    os.utime(folder / "labels/0.png", ns=(1, 1))  # of the same size
    found.load(0)
    assert cache.ledger().bytes == entries(cache)[0].stat().st_size
    (folder / "images/0.png").unlink()
    with pytest.raises(ValueError, match=r"images/0\.png: no such file"):
        found.load(0)


def damaged(content: bytes) -> Iterator[bytes]:
    yield b""
    yield content[:40]
    yield content[: len(content) // 2]
    yield content + b"\0"
    yield b"\0" * len(content)
    yield content[:8] + b"\xff" * 8 + content[16:]
    yield content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]
    yield content.replace(b'"<u1"', b'"|O8"').replace(b'"|u1"', b'"|O8"')
    yield content.replace(b'"shape"', b'"share"')
    yield content.replace(b"[41, 50, 3]", b"[50, 41, 3]").replace(b"[41, 50]", b"[50, 41]")


def test_damaged_entries_are_read_anew(folder: Path) -> None:
    plain = dataset(folder).load(1)
    found, cache = cached(folder)
    found.load(1)
    (path,) = entries(cache)
    content = path.read_bytes()
    for bad in damaged(content):
        path.write_bytes(bad)
        found, cache = cached(folder)  # as another process meets it
        assert_same(found.load(1), plain)
        assert path.read_bytes() == content


def test_beyond_the_limit_samples_are_read_from_their_files(folder: Path) -> None:
    plain, (found, cache) = dataset(folder), cached(folder, limit=20_000)
    for index in itertools.chain(range(6), range(6)):
        assert_same(found.load(index), plain.load(index))
    ledger = cache.ledger()
    assert ledger.full
    assert ledger.samples == len(entries(cache)) == 2
    assert ledger.bytes <= 20_000
    again = SampleCache.opened(cache.folder, 10**9)
    assert not again.ledger().full
    assert again.ledger().samples == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), DiskFullError("no room")])
def test_a_disk_that_takes_nothing_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    found, cache = cached(folder)

    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("intarsia.data.sample_cache.put_in_place", full)
    assert_same(found.load(0), dataset(folder).load(0))
    assert not list(cache.folder.glob("??/*"))


def test_several_readers_may_fill_one_folder(folder: Path) -> None:
    """As many workers and ranks do, each with an object of its own."""
    plain = dataset(folder)
    found = [cached(folder)[0] for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        samples = list(pool.map(lambda n: found[n % 4].load(n // 4 % 6), range(48)))
    for n, sample in enumerate(samples):
        assert_same(sample, plain.load(n // 4 % 6))
    cache = SampleCache(folder / "cache", 10**9)
    assert cache.ledger().samples == len(entries(cache)) == 6
    assert cache.ledger().bytes == sum(path.stat().st_size for path in entries(cache))


def test_data_sets_made_of_others_read_through_the_cache(folder: Path) -> None:
    cache = SampleCache.opened(folder / "cache", 10**9)
    whole = RepeatDataset(ConcatDataset([dataset(folder), dataset(folder, bands="raw")]), 2)
    assert use_cache(whole, cache) == 2
    for index in range(len(whole)):
        whole.load(index)
    assert cache.ledger().samples == 12


def test_what_is_decoded_already_is_not_kept(folder: Path) -> None:
    """It said that samples of packed data were kept, and kept none."""
    text = "classes: [a, b, c]\nsplits:\n  train: {images: images, labels: labels}\n"
    (folder / "data.yaml").write_text(text)
    pack(PackSource.of(read_description(folder / "data.yaml"), folder), folder / "a.pack", codec="zlib")
    cache = SampleCache.opened(folder / "cache", 10**9)
    packed = read_description(folder / "a.pack").dataset("train")
    assert not use_cache(packed, cache)
    assert not use_cache(dataset(folder, files_only=True), cache)
    mixed = ConcatDataset([packed, read_description(folder / "data.yaml").dataset("train")])
    assert use_cache(mixed, cache) == 1
    for index in range(len(mixed)):
        mixed.load(index)
    assert cache.ledger().samples == len(packed)


@pytest.mark.parametrize("method", ["fork", "spawn"] if hasattr(os, "fork") else ["spawn"])
def test_workers_share_a_cache_in_memory_and_batches_are_the_same(
    folder: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transforms = (RandomResize((60, 40), (0.8, 2.0), keep_ratio=True), RandomCrop((24, 32)), RandomFlip(0.5))
    steps = (*transforms, PhotoMetricDistortion())

    def batches(found: FolderDataset, workers: int) -> list[Any]:
        loader = train_loader(Pipeline(found, steps), batch_size=3, seed=5, workers=workers)
        taken = list(itertools.islice(loader, 4))
        loader.close()
        return taken

    usual = batches(dataset(folder), 0)
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        memory = MemoryFolder(str(folder), folder)
        found = dataset(folder)
        cache = SampleCache.opened(memory.path, 10**9)
        use_cache(found, cache)
        for workers in (1, 0):
            for a, b in zip(batches(found, workers), usual, strict=True):
                assert torch.equal(a.images, b.images)
                assert torch.equal(a.labels, b.labels)
        assert cache.ledger().samples == 6
        memory.close()
        assert not memory.path.exists()
    finally:
        multiprocessing.set_start_method(before, force=True)


# --- The folder in memory -----------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from intarsia.data.memory_folder import MemoryFolder
memory = MemoryFolder("run", Path(sys.argv[1]))
(memory.path / "sample").write_text("there")
print(memory.path, flush=True)
if sys.argv[2] == "stay":
    time.sleep(60)
"""


def holder(place: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(place), what], stdout=subprocess.PIPE, text=True)


def test_the_last_process_removes_the_folder(tmp_path: Path) -> None:
    first, second = MemoryFolder("run", tmp_path), MemoryFolder("run", tmp_path)
    assert first.path == second.path
    assert MemoryFolder("another", tmp_path).path != first.path
    first.close()
    assert second.path.is_dir()
    second.close()
    assert not second.path.exists()


def test_the_end_of_a_program_removes_it(tmp_path: Path) -> None:
    process = holder(tmp_path, "go")
    printed, _ = process.communicate(timeout=60)
    assert printed.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of POSIX")
def test_what_a_crash_has_left_is_removed_and_what_lives_is_not(tmp_path: Path) -> None:
    process = holder(tmp_path, "stay")
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    remove_left(tmp_path, str(os.getuid()))
    assert (path / "sample").is_file(), "it is alive"
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.05)
    remove_left(tmp_path, str(os.getuid()))
    assert not path.exists()
    process.stdout.close()


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    memory = MemoryFolder("run", tmp_path)
    memory.close()
    (tmp_path / "elsewhere").mkdir()
    memory.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is not a folder of yours"):
        MemoryFolder("run", tmp_path)


# --- What --cache says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "folder", "size"),
    [
        ("memory", None, None),
        ("memory:20G", None, 20 * 10**9),
        ("memory:1.5 GB", None, 1_500_000_000),
        ("/disk/cache:500M", "/disk/cache", 500_000_000),
        ("/disk/cache", "/disk/cache", None),
        ("C:\\cache", "C:\\cache", None),
        ("./memory", "memory", None),
    ],
)
def test_places(text: str, folder: str | None, size: int | None) -> None:
    place = CachePlace.parse(text)
    assert place == CachePlace(None if folder is None else Path(folder), size)
    assert CachePlace.parse(str(place)).size == size


@pytest.mark.parametrize("text", ["", " ", "memory:0", "memory:much", "dir:"])
def test_no_places(text: str) -> None:
    with pytest.raises(ValueError, match="--cache is memory or a folder"):
        CachePlace.parse(text)


def test_a_folder_may_hold_other_files(folder: Path) -> None:
    """Such as a disk that is named as a whole: they take nothing of the limit, and are no samples."""
    place = folder / "cache"
    for name in ("film.bin", "photos/2024/1.raw", "ab/notes.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(bytes(10**6))
    found, cache = cached(folder, limit=10**6)
    assert cache.ledger().samples == 0
    found.load(0)
    assert cache.ledger().samples == 1
    assert SampleCache.opened(place, 10**6).ledger() == cache.ledger()


def with_objects(folder: Path) -> list[str]:
    """A description of one image of 32 x 32 whose objects have a file each, and these files."""
    files = [f"masks/0/{number}.png" for number in range(2)]
    for number, file in enumerate(files):
        mask = np.zeros((32, 32), np.uint8)
        mask[8 * number : 8 * number + 8] = 255
        save(folder / file, mask)
    (folder / "data.yaml").write_text(
        "classes: [background, object]\nlabels: {0: background, 1: object, 255: ignore}\n"
        "splits:\n  train: {images: images, annotations: {format: object_masks, folder: masks/*}}\n"
    )
    return files


def with_segments(folder: Path) -> list[str]:
    """The same with panoptic annotations, whose segments are a picture of its own."""
    segments = np.zeros((32, 32, 3), np.uint8)
    segments[:8, :, 0], segments[8:, :, 0] = 1, 2
    save(folder / "panoptic/0.png", segments)
    listed = {
        "images": [{"id": 1, "file_name": "0.png"}],
        "categories": [{"id": 1, "name": "background"}, {"id": 2, "name": "object"}],
        "annotations": [
            {"image_id": 1, "file_name": "0.png", "segments_info": [{"id": n, "category_id": n} for n in (1, 2)]}
        ],
    }
    (folder / "panoptic.json").write_text(json.dumps(listed))
    (folder / "data.yaml").write_text(
        "classes: [background, object]\nlabels: {0: background, 1: object, 255: ignore}\n"
        "splits:\n  train: {images: images, annotations: {format: coco_panoptic, file: panoptic.json}}\n"
    )
    return ["panoptic/0.png"]


def with_masks(folder: Path) -> list[str]:
    """The same with a mask for each class."""
    for name, row in (("one", 0), ("object", 8)):
        mask = np.zeros((32, 32), np.uint8)
        mask[row : row + 8] = 255
        save(folder / name / "0.png", mask)
    (folder / "data.yaml").write_text(
        "classes: [background, one, object]\nlabels: {0: background, 1: one, 2: object, 255: ignore}\n"
        "splits:\n  train: {images: images, labels: {one: one/*.png, object: object/*.png}}\n"
    )
    return ["one/0.png", "object/0.png"]


def save(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.mark.parametrize("make", [with_objects, with_segments, with_masks])
def test_a_label_is_drawn_anew_when_any_of_its_files_has_changed(
    tmp_path: Path, make: Callable[[Path], list[str]]
) -> None:
    save(tmp_path / "images/0.png", np.full((32, 32, 3), 7, np.uint8))
    for file in make(tmp_path):
        found = read_description(tmp_path / "data.yaml").files("train")
        cache = SampleCache.opened(tmp_path / "cache", 10**9)
        assert use_cache(found, cache) == 1
        before = found.load(0).label
        flipped = np.array(Image.open(tmp_path / file))[::-1].copy()
        save(tmp_path / file, flipped)
        os.utime(tmp_path / file, ns=(5, 5))
        after, plain = found.load(0).label, read_description(tmp_path / "data.yaml").files("train").load(0).label
        assert before is not None
        assert plain is not None
        assert not np.array_equal(before, plain)
        assert np.array_equal(np.asarray(after), plain)
        assert len(entries(cache)) == 1
        assert SampleCache.opened(cache.folder, 10**9).ledger().samples == 1


def test_an_object_that_has_come_is_drawn(tmp_path: Path) -> None:
    save(tmp_path / "images/0.png", np.full((32, 32, 3), 7, np.uint8))
    with_objects(tmp_path)
    found = read_description(tmp_path / "data.yaml").files("train")
    assert use_cache(found, SampleCache.opened(tmp_path / "cache", 10**9)) == 1
    found.load(0)
    mask = np.zeros((32, 32), np.uint8)
    mask[30:] = 255
    save(tmp_path / "masks/0/late.png", mask)
    label = found.load(0).label
    assert label is not None
    assert label[30:].all()
