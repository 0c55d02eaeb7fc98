"""Tars of the WebDataset form: which members are a sample, reading by seek, the index, and tars that are not to be
believed.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.data import tars
from intarsia.data.description.contained import TarSplit, list_tars, splits_of_tars, tar_files
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.image_io import read_image
from intarsia.data.packed_source import PackSource
from intarsia.data.packing import pack
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import sample_rng
from intarsia.data.tars import tar_index
from intarsia.data.transforms.geometry import RandomCrop
from intarsia.data.transforms.resize import RandomResize
from intarsia.terminal import Notice

SIZE = (40, 56)


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(array).save(data, kind)
    return data.getvalue()


def write(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.repeat(np.repeat(rng.integers(0, 3, (5, 7), dtype=np.uint8), 8, 0), 8, 1)
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8), label


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two tars to train on and one to validate on, with members besides; the same files lie in a folder."""
    number = 0
    for name, count in (("train-0000", 3), ("train-0001", 2), ("val-0000", 2)):
        members = {}
        for _ in range(count):
            image, label = sample(number)
            files = {f"{number:04}.jpg": png(image, "JPEG"), f"{number:04}.seg.png": png(label)}
            split = name.partition("-")[0]
            for file, data in files.items():
                place = tmp_path / "files" / ("labels" if "seg" in file else "images") / split / file
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
            members |= files | {f"{number:04}.cls": b"3"}
            number += 1
        write(tmp_path / f"shards/{name}.tar", members)
    (tmp_path / "files/data.yaml").write_text(
        "classes: [a, b, c]\nsplits:\n"
        "  train: {images: images/train, labels: labels/train, label_suffix: .seg.png}\n"
        "  val: {images: images/val, labels: labels/val, label_suffix: .seg.png}\n"
    )
    return tmp_path / "shards"


def described(shards: Path) -> Path:
    file = shards / "data.yaml"
    file.write_text(
        'classes: [a, b, c]\nsplits:\n  train: {layout: tar, shards: "train-*.tar"}\n'
        "  val: {layout: tar, shards: val-0000.tar}\n"
    )
    return file


@pytest.mark.filterwarnings("ignore::intarsia.terminal.Notice")
def test_samples_are_those_of_the_files_and_of_what_is_packed_of_them(shards: Path, tmp_path: Path) -> None:
    file = described(shards)
    pack(PackSource.of(read_description(file), file), tmp_path / "a.pack", codec="zlib")
    steps = [RandomResize((80, 60), (0.5, 2.0), keep_ratio=True), RandomCrop((24, 24), cat_max_ratio=0.75)]
    routes = [tmp_path / "files/data.yaml", file, tmp_path / "a.pack"]
    for split, count in (("train", 5), ("val", 2)):
        pipelines = [Pipeline(read_description(route).dataset(split), steps) for route in routes]
        assert [len(pipeline) for pipeline in pipelines] == [count] * 3
        for index in range(count):
            first, *others = [pipeline.get(index, sample_rng(0, index)) for pipeline in pipelines]
            for other in others:
                np.testing.assert_array_equal(other.image, first.image)
                np.testing.assert_array_equal(other.label, first.label)
            assert others[0].meta.name == others[1].meta.name


def test_other_members_are_told_once(shards: Path) -> None:
    description = read_description(described(shards))
    with pytest.warns(Notice, match=r"left out: \.cls \(5\)"):
        description.listing("train")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        description.listing("train")


@pytest.mark.filterwarnings("ignore::intarsia.terminal.Notice")
def test_a_folder_of_tars_is_data(shards: Path) -> None:
    found = examine(shards)
    assert found.ok, found.problems
    description = found.proposal()
    assert description.splits == {
        "train": TarSplit(("train-0000.tar", "train-0001.tar")),
        "val": TarSplit(("val-0000.tar",)),
    }
    write_description(description, shards / "own.yaml")
    assert read_description(shards / "own.yaml") == description
    np.testing.assert_array_equal(description.dataset("val").load(1).label, sample(6)[1])


def test_folders_within_tars_are_no_splits_and_that_is_told(tmp_path: Path) -> None:
    members = {}
    for i, folder in enumerate(("train", "train", "val")):
        image, label = sample(i)
        members |= {f"{folder}/{i}.png": png(image), f"{folder}/{i}.seg.png": png(label), "README": b"x"}
    write(tmp_path / "tars/all.tar", members)
    with pytest.warns(Notice) as told:
        assert list(examine(tmp_path / "tars").proposal().splits) == ["train", "val"]
    texts = [str(one.message) for one in told]
    assert any("folders in the tars are called train, val" in text for text in texts)
    assert any("left out: without an ending (1)" in text for text in texts)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.tar", r"a\.tar is a tar, and no data description: give the folder that it lies in"),
        ("a.zip", r"a\.zip is an archive, which is unpacked first"),
        ("a.png", r"a\.png is an image: give the folder of images and masks"),
        ("a.txt", r"found the text 'word word [word ]+\.\.\.'$"),
    ],
)
def test_files_that_are_no_description_are_refused_by_what_they_are(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_text("word " * 1000)
    with pytest.raises(ValueError, match=message):
        read_description(tmp_path / name)


def test_patterns_stand_for_files_of_their_own_depth(tmp_path: Path) -> None:
    for name in ("a-1.tar", "a-2.tar", "b-1.tar", "deep/a-1.tar", "deep/er/a-1.tar"):
        write(tmp_path / name, {"x.jpg": b"x"})
    assert tar_files(tmp_path, ["a-*.tar"]) == ["a-1.tar", "a-2.tar"]
    assert tar_files(tmp_path, ["*/a-?.tar", "b-1.tar"]) == ["b-1.tar", "deep/a-1.tar"]
    assert tar_files(tmp_path, ["deep"]) == ["deep/a-1.tar", "deep/er/a-1.tar"]


def test_splits_by_the_names_of_tars() -> None:
    assert splits_of_tars(["a.tar", "b.tar"]) == {"train": TarSplit(("a.tar", "b.tar"))}
    named = splits_of_tars(["x-train-0.tar", "validation/0.tar", "test_0.tar"])
    assert {part: rule.shards for part, rule in named.items()} == {
        "train": ("x-train-0.tar",), "val": ("validation/0.tar",), "test": ("test_0.tar",),
    }  # fmt: skip


PAIRS = {
    "jpg and png": (("a.jpg", "a.png"), {}, ("a.jpg", "a.png")),
    "png and seg.png": (("a.png", "a.seg.png"), {}, ("a.png", "a.seg.png")),
    "a folder": (("x/a.jpg", "x/a.mask.png", "y/a.jpg"), {}, ("x/a.jpg", "x/a.mask.png")),
    "image and label": (("a.image.png", "a.label.tif"), {}, ("a.image.png", "a.label.tif")),
    "said": (("a.png", "a.left.png", "a.ids.png"), {"image_suffix": (".left.png",), "label_suffix": (".ids.png",)},
             ("a.left.png", "a.ids.png")),
    "upper case": (("a.JPG", "a.PNG"), {}, ("a.JPG", "a.PNG")),
    "a folder with dots": (("v1.0/a.jpg", "v1.0/a.png"), {}, ("v1.0/a.jpg", "v1.0/a.png")),
    "no label": (("a.jpg", "a.json"), {"labels": False}, ("a.jpg", None)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::intarsia.terminal.Notice")
@pytest.mark.parametrize("case", PAIRS)
def test_which_members_are_a_sample(tmp_path: Path, case: str) -> None:
    members, said, (image, label) = PAIRS[case]
    write(tmp_path / "s.tar", dict.fromkeys(members, b"x"))
    listing = list_tars(tmp_path, TarSplit(("s.tar",), **said))
    pair = listing.pairs[0]
    assert len(listing.pairs) == 1
    assert (pair.image, pair.label) == (f"s.tar/{image}", None if label is None else f"s.tar/{label}")
    assert listing.unlabelled == (("s.tar/y/a.jpg",) if case == "a folder" else ())


# --- The index ----------------------------------------------------------------------------------------------------


def test_the_index_is_kept_and_made_again_when_the_tar_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = write(tmp_path / "s.tar", {"a.txt": b"first", "b.txt": b"second"})
    assert tar_index(tar).read("b.txt") == b"second"
    assert (tmp_path / "s.tar.index").is_file()
    tars._KNOWN.clear()
    monkeypatch.setattr(tars, "_scanned", lambda *_: pytest.fail("the index beside it was not used"))
    assert tar_index(tar).read("a.txt") == b"first"
    monkeypatch.undo()
    write(tar, {"c.txt": b"third, which is longer than all before" * 1000})
    assert tar_index(tar).read("c.txt").startswith(b"third")
    with pytest.raises(FileNotFoundError, match=r"s\.tar has no member b\.txt"):
        tar_index(tar).read("b.txt")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY"])
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: bytes) -> None:
    tar = write(tmp_path / "s.tar", {"a.txt": b"first"})
    (tmp_path / "s.tar.index").write_bytes(damage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        assert tar_index(tar).read("a.txt") == b"first"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_other_letters(tmp_path: Path, form: int) -> None:
    name = "/".join(["f" * 60] * 2) + "/" + "b" * 60 + ".jpg"
    names = [name, "ä.jpg"] if form != tarfile.USTAR_FORMAT else [name]
    with tarfile.open(tmp_path / "s.tar", "w", format=form) as tar:
        for one in names:
            info = tarfile.TarInfo("./" + one)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    assert tar_index(tmp_path / "s.tar").names.of(0, len(names)) == names
    assert tar_index(tmp_path / "s.tar").read(name) == b"abc"


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for data in (b"old", b"newer"):
            info = tarfile.TarInfo("a.txt")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert tar_index(tmp_path / "s.tar").read("a.txt") == b"newer"


def test_thousands_of_members_take_no_time(tmp_path: Path) -> None:
    tar = write(tmp_path / "s.tar", {f"{number:06}.jpg": b"x" for number in range(4000)})
    start = time.process_time()
    index = tar_index(tar)
    assert index.read("003999.jpg") == b"x"
    assert time.process_time() - start < 2


# --- Tars that are not to be believed -----------------------------------------------------------------------------


def test_a_compressed_tar_is_refused_with_the_reason(tmp_path: Path) -> None:
    tar = write(tmp_path / "s.tar", {"a.jpg": b"x", "a.png": b"x"})
    for name in ("s.tar.gz", "t.tar"):
        (tmp_path / name).write_bytes(gzip.compress(tar.read_bytes()))
        with pytest.raises(ValueError, match=r"is compressed as a whole \(gzip\).*unpack it to a plain \.tar"):
            list_tars(tmp_path, TarSplit((name,)))


@pytest.mark.parametrize("name", ["../out.jpg", "/etc/out.jpg", "a/../../out.jpg", "b" * 5000])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"s\.tar: refused"):
        tar_index(write(tmp_path / "s.tar", {name: b"x"}))


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for kind, name in ((tarfile.SYMTYPE, "a.jpg"), (tarfile.LNKTYPE, "b.jpg"), (tarfile.CHRTYPE, "c.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret")
            tar.addfile(info)
        info = tarfile.TarInfo("d.jpg")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.warns(Notice, match="3 links, devices or sparse files"):
        assert tar_index(tmp_path / "s.tar").names.of(0, 1) == ["d.jpg"]
    with pytest.raises(ValueError, match=r"a\.jpg: no such file"):
        read_image(tmp_path / "s.tar/a.jpg")


def test_sizes_beyond_the_file_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size = 2**40
    (tmp_path / "s.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ValueError, match=r"s\.tar: (was cut off|cannot be read as a tar)"):
        tar_index(tmp_path / "s.tar")
    tar = write(tmp_path / "t.tar", {"a.jpg": bytes(5000)})
    tar.write_bytes(tar.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"t\.tar: (was cut off|cannot be read as a tar)"):
        tar_index(tar)


def test_what_is_no_tar_is_said(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ValueError, match=r"s\.tar: cannot be read as a tar"):
        tar_index(tmp_path / "s.tar")
    with pytest.raises(ValueError, match=r"no tar; expected a \.tar"):
        list_tars(tmp_path, TarSplit(("none-*.tar",)))


@pytest.mark.filterwarnings("ignore::intarsia.terminal.Notice")
def test_an_image_in_a_tar_is_checked_like_a_file(tmp_path: Path) -> None:
    whole = png(sample(0)[0], "JPEG")
    write(tmp_path / "s.tar", {"a.jpg": whole[: len(whole) // 2], "a.png": png(sample(0)[1]), "b.jpg": b""})
    with pytest.raises(ValueError, match=r"s\.tar/a\.jpg: .*cut off"):
        read_image(tmp_path / "s.tar/a.jpg")
    with pytest.raises(ValueError, match=r"s\.tar/b\.jpg: the file is empty"):
        read_image(tmp_path / "s.tar/b.jpg")
