"""Finding images, and naming what is made of them."""

from __future__ import annotations

import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from intarsia.inference.inputs.finding import ImageFile, find_images, numbered
from intarsia.inference.inputs.image_frames import ImageFrames
from intarsia.inference.inputs.images import ImageStream, ahead
from intarsia.io.folders import natural_order
from intarsia.terminal import Notice


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


def test_numbers_pass_over_names_that_are_taken():
    taken: Counter[str] = Counter()
    assert [numbered(name, taken) for name in ("a", "a_2", "a", "a", "a_2")] == ["a", "a_2", "a_3", "a_4", "a_2_2"]


def test_files_of_a_stream_are_called_as_they_say(tmp_path):
    pages = [Image.new("L", (4, 3), value) for value in (10, 20)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    files = [ImageFile(tmp_path / "a.tif", "second", page=1), ImageFile(tmp_path / "a.tif", "second", page=0)]
    found = [(name, int(image[0, 0, 0])) for name, image in ImageStream(iter(files))]
    assert found == [("second", 20), ("second", 10)]


def test_images_are_frames_of_a_film(tmp_path):
    """Four a second; one that cannot be read takes no time."""
    for index in (1, 2, 3):
        Image.new("RGB", (8, 6), (10 * index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    frames = ImageFrames(find_images(tmp_path), rate=4.0)
    assert (frames.name, frames.rate, frames.duration, frames.announced) == (tmp_path.name, 4.0, 0.75, 3)
    assert (frames.shown, frames.live, frames.lost, frames.rounded, frames.breaks_off) == (0.0, False, (), 0, None)
    found = [(frame.index, frame.time, int(frame.image[0, 0, 0])) for frame in frames]
    assert found == [(0, 0.0, 10), (1, 0.25, 30)]
    assert (frames.given, frames.shown) == (2, 0.5)
    assert [Path(name).name for name, _ in frames.failures] == ["2.png"]


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


# --- One rule for one path, lists and streams ---------------------------------------------------------------------


@pytest.fixture
def three(tmp_path):
    for number, name in enumerate(("a", "b", "c")):
        Image.new("RGB", (20, 10), (100 * number, 0, 0)).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in ("a", "b", "c")]


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda paths: (str(path) for path in paths)])
def test_repetitions_stay_in_their_places_and_what_is_missing_is_set_aside(make_predictor, three, tmp_path, kind):
    a, b, c = three
    predictions = make_predictor().predict(kind([a, b, a, tmp_path / "gone.png", c, a]))
    found = [(prediction.name, int(prediction.image[0, 0, 0])) for prediction in predictions]
    assert found == [("a", 0), ("b", 100), ("a_2", 0), ("c", 200), ("a_3", 0)]
    ((name, reason),) = predictions.failures
    assert name == str(tmp_path / "gone.png")
    assert reason.startswith("no such file")


@pytest.mark.parametrize("kind", [list, iter])
def test_folders_and_patterns_stand_for_their_images_in_lists_and_streams(make_predictor, three, tmp_path, kind):
    (tmp_path / "inner").mkdir()
    three[2].rename(tmp_path / "inner" / "c.png")
    given = [tmp_path / "inner", f"{tmp_path}/*.png", np.zeros((10, 20, 3), np.uint8)]
    predictions = make_predictor().predict(kind(given))
    assert [prediction.name for prediction in predictions] == ["c", "a", "b", "image_00002"]


def test_nothing_at_all_is_an_error(make_predictor, tmp_path):
    gone = [tmp_path / "gone.png", tmp_path / "lost.png"]
    with pytest.raises(ValueError, match=r"not one of 2 inputs is an image; the first: .*gone\.png: no such file"):
        make_predictor().predict(gone)
    with pytest.raises(ValueError, match=r"not one of 2 images could be used; the first: .*gone\.png: no such file"):
        list(make_predictor().predict(iter(gone)))
    with pytest.raises(ValueError, match=r"gone\.png: no such file"):
        make_predictor().predict(gone[0])


def test_links_are_followed_in_folders_and_patterns_and_loops_end(three, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "inner")
    (root / "loop").symlink_to(root)
    (tmp_path / "inner").mkdir()
    three[0].rename(tmp_path / "inner" / "a.png")
    assert names(find_images(root)) == ["linked/a"]
    assert names(find_images(f"{root}/**/*.png")) == ["linked/a"]


def test_names_spelt_in_another_way_are_found(tmp_path):
    put(tmp_path, unicodedata.normalize("NFD", "größe.png"))
    assert names(find_images(tmp_path / "größe.png")) == [unicodedata.normalize("NFD", "größe")]


# --- Files of several images --------------------------------------------------------------------------------------


def test_pages_are_warned_of_or_all_given(make_predictor, tmp_path):
    path = tmp_path / "stack.tif"
    pages = [Image.new("RGB", (20, 10), (value, 0, 0)) for value in (0, 128, 255)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    predictor = make_predictor()
    for images in ([path], iter([path]), tmp_path):
        with pytest.warns(Notice, match=r"stack\.tif holds 3 pages or frames.*--pages all"):
            found = list(predictor.predict(images))
        assert [prediction.label.max() for prediction in found] == [0]
    with pytest.warns(Notice, match="holds 3 pages"):
        assert predictor.predict(path).label.max() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for images in (path, [path], iter([path]), tmp_path):
            found = list(predictor.predict(images, pages="all"))
            assert [prediction.name for prediction in found] == ["stack_page1", "stack_page2", "stack_page3"]
            assert [int(prediction.label[0, 0]) for prediction in found] == [0, 1, 2]


def test_of_many_such_files_some_are_named(make_predictor, tmp_path):
    for number in range(15):
        page = Image.new("RGB", (4, 4))
        page.save(tmp_path / f"{number}.tif", save_all=True, append_images=[page])
    with pytest.warns(Notice) as caught:
        assert len(list(make_predictor().predict(tmp_path))) == 15
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 11
    assert texts[-1] == "5 more files hold several images"
