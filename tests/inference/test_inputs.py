"""Finding images, and naming what is made of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from intarsia.inference.inputs.finding import find_images
from intarsia.inference.inputs.images import ahead
from intarsia.io.folders import natural_order


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(folder / name)


def names(found) -> list[str]:
    return [file.name for file in found.files]


def test_a_folder_is_searched_in_natural_order(tmp_path):
    put(tmp_path, "frame10.png", "frame9.PNG", "frame2.jpg", "b/1.png", "b/01.bmp", ".hidden/x.png")
    (tmp_path / "._frame2.jpg").write_bytes(b"resource fork")
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / "LICENSE").write_text("x")
    found = find_images(tmp_path)
    assert names(found) == ["b/01", "b/1", "frame2", "frame9", "frame10"]
    assert found.skipped == {".md": 1, "": 1}


def test_globs_keep_the_folders_below_their_fixed_part(tmp_path):
    put(tmp_path, "run/day/1.png", "run/night/1.png", "run/night/2.jpg")
    assert names(find_images(f"{tmp_path}/run/*/1.png")) == ["day/1", "night/1"]
    assert names(find_images(f"{tmp_path}/**/*.jpg")) == ["run/night/2"]
    with pytest.raises(ValueError, match="matches no file"):
        find_images(f"{tmp_path}/*.gif")


def test_a_name_with_brackets_is_a_file_first(tmp_path):
    put(tmp_path, "photo[1].png")
    assert names(find_images(tmp_path / "photo[1].png")) == ["photo[1]"]


def test_names_never_collide(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "b/1.jpg", "b/2.png")
    assert names(find_images([tmp_path / "a" / "1.png"])) == ["1"]
    assert names(find_images([tmp_path / "a", tmp_path / "b" / "2.png"])) == ["1", "2"]
    assert names(find_images([tmp_path / "a", tmp_path / "b"])) == ["a/1", "b/1.jpg", "b/1.png", "b/2"]
    twice = [tmp_path / "a", tmp_path / "a" / "1.png"]
    assert names(find_images(twice)) == ["1", "1_2"]
    assert names(find_images(twice, once=True)) == ["1"]
    assert find_images(twice, once=True).repeated == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["1", "01", "x"]), st.sampled_from([".png", ".jpg"])))
)
def test_names_are_unique_whatever_is_listed(tmp_path_factory, entries):
    root = tmp_path_factory.getbasetemp() / "unique"
    paths = [root / folder / f"{stem}{suffix}" for folder, stem, suffix in entries]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if not paths:
        return
    found = find_images(paths)
    assert [file.path for file in found.files] == paths
    assert max(Counter(names(found)).values()) == 1
    assert not any(file.name.startswith(("/", "..")) for file in found.files)


def test_what_cannot_be_found_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent: no such file or folder"):
        find_images(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"looked for \.jpg .*found no file at all"):
        find_images(tmp_path / "empty")
    (tmp_path / "empty" / "clip.mp4").touch()
    with pytest.raises(ValueError, match=r"found 1 \.mp4"):
        find_images(tmp_path / "empty")
    with pytest.raises(ValueError, match="empty list"):
        find_images([])


def test_natural_order():
    unsorted = ["b/1", "a/10", "a/9", "a", "a/x", "a/9b"]
    assert sorted(unsorted, key=natural_order) == ["a", "a/9", "a/9b", "a/10", "a/x", "b/1"]


def test_reading_ahead_keeps_order_and_distance():
    seen = []

    def items():
        for index in range(10):
            seen.append(index)
            yield index

    results = ahead(items(), lambda index: index * index, count=2)
    assert next(results) == 0
    assert len(seen) == 3
    assert list(results) == [index * index for index in range(1, 10)]


def test_errors_of_work_reach_the_caller():
    results = ahead([1, 0, 2], lambda index: 1 // index)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
