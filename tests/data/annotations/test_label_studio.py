"""Label Studio's JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import SIZE, blank, image, labels, write

from intarsia.data.annotations.label_studio import LabelStudio
from intarsia.data.annotations.rle_pack import unpacked
from intarsia.data.doctor.examine import examine

HEIGHT, WIDTH = SIZE


def packed(values, sizes=(3, 4, 8, 16), word=8, literal=frozenset()) -> list[int]:
    """Runs of values, as rle-pack writes them; `literal`: values of which each is written by itself."""
    bits = f"{len(values):032b}{word - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    place = 0
    while place < len(values):
        end = place + 1
        if values[place] in literal:
            while end < len(values) and values[end] in literal and end - place < 16:
                end += 1
            body = "".join(f"{value:0{word}b}" for value in values[place:end])
            flag = "0"
        else:
            while end < len(values) and values[end] == values[place] and end - place < 2 ** sizes[-1]:
                end += 1
            flag, body = "1", f"{values[place]:0{word}b}"
        index = next(i for i, size in enumerate(sizes) if end - place <= 2**size)
        bits += f"{flag}{index:02b}{end - place - 1:0{sizes[index]}b}{body}"
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def brush(mask, **options) -> list[int]:
    return packed(np.repeat(mask.astype(np.uint8).ravel() * 255, 4).tolist(), **options)


def region(value, kind="polygonlabels", name="leaf", **other):
    value = {**value, kind: [name]} if name else value
    return {
        "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "value": value, "type": kind, **other,
    }  # fmt: skip


def rectangle(left, top, right, bottom, name="leaf", rotation=0):
    value = {
        "x": 100 * left / WIDTH, "y": 100 * top / HEIGHT,
        "width": 100 * (right - left) / WIDTH, "height": 100 * (bottom - top) / HEIGHT, "rotation": rotation,
    }  # fmt: skip
    return region(value, "rectanglelabels", name)


def polygon(points, name="leaf"):
    return region({"points": [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in points], "closed": True}, name=name)


def task(*results, image="/data/upload/3/0a1b2c3d-a.jpg", **other):
    return {"id": 1, "data": {"image": image}, "annotations": [{"id": 5, "result": list(results), **other}]}


def folder(root: Path, *results) -> Path:
    image(root / "a.jpg")
    write(root / "export.json", [task(*results)])
    return root


def test_every_kind_of_area_in_its_order(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random(SIZE) < 0.1
    mask[:30] = False
    oval = {"x": 50.0, "y": 25.0, "radiusX": 10.0, "radiusY": 10.0, "rotation": 0}
    results = (
        region({"format": "rle", "rle": brush(mask)}, "brushlabels", "spot"),
        polygon([[5, 5], [15, 5], [15, 15], [5, 15]]),
        rectangle(10, 10, 20, 20, "spot"),
        region(oval, "ellipselabels", "leaf"),
        region({"x": 1.0, "y": 1.0, "width": 0.5}, "keypointlabels", ""),
    )
    drawn, description = labels(folder(tmp_path, *results))
    assert description.classes == ("background", "leaf", "spot")
    label = drawn["a"]
    assert np.array_equal(label[30:] == 2, mask[30:])
    assert np.array_equal(label[:30, :22], blank((1, 5, 15, 5, 15), (2, 10, 20, 10, 20))[:30, :22])
    assert abs(int((label[:30, 22:] == 1).sum()) - np.pi * 6 * 4) < 5
    (warning,) = [f for f in examine(tmp_path).warnings if f.kind == "annotations without area"]
    assert warning.files == ("export.json: region 5 (data/upload/3/0a1b2c3d-a.jpg) has no area",)


def test_a_turned_rectangle_turns_around_its_first_corner(tmp_path: Path) -> None:
    drawn = labels(folder(tmp_path, rectangle(20, 10, 30, 14, rotation=90)))[0]["a"]
    assert np.array_equal(drawn, blank((1, 10, 20, 16, 20)))


def test_a_label_of_its_own_belongs_to_the_region_of_its_id(tmp_path: Path) -> None:
    found = polygon([[5, 5], [15, 5], [15, 15], [5, 15]], name="")
    results = ({**found, "type": "polygon", "id": "q"}, region({"labels": ["spot"]}, "labels", "", id="q"))
    drawn, description = labels(folder(tmp_path, *results))
    assert description.classes == ("background", "spot")
    assert drawn["a"].sum() == 100


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/1/deadbeef-a.jpg", "deadbeef-a.jpg"),
        ("/data/local-files/?d=imgs%2Fa.jpg", "imgs/a.jpg"),
        ("s3://bucket/imgs/a.jpg", "a.jpg"),
        ("https://host/x/a%20b.jpg?token=1", "a b.jpg"),
    ],
)
def test_images_by_any_address(tmp_path: Path, address, name) -> None:
    image(tmp_path / name)
    write(tmp_path / "x.json", [task(rectangle(0, 0, 5, 5), image=address)])
    assert next(iter(labels(tmp_path)[0].values())).sum() == 25


def test_which_annotation_counts(tmp_path: Path) -> None:
    for seed, name in enumerate("abcd"):
        image(tmp_path / f"{name}.jpg", seed)
    small, large = [rectangle(0, 0, 5, 5)], [rectangle(0, 0, 9, 9)]

    def several(name, *entries):
        return {"data": {"image": f"/{name}.jpg"}, "annotations": [{"result": r, **other} for r, other in entries]}

    tasks = [
        several("a", (large, {"ground_truth": True}), (small, {})),
        several("b", (small, {}), (large, {}), (small, {"was_cancelled": True})),
        several("c"),
        several("d", ([], {})),
    ]
    write(tmp_path / "x.json", tasks)
    drawn, _ = labels(tmp_path)
    assert {name: int(label.sum()) for name, label in drawn.items()} == {"a": 81, "b": 81, "d": 0}
    said = {finding.kind: finding for finding in examine(tmp_path).warnings}
    assert said["image without label"].files == ("c.jpg",)
    assert said["images without shapes"].files == ("d.jpg",)
    assert "2 images have several annotations" in said["faulty annotations"].text


def test_the_short_form(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    found = polygon([[5, 5], [15, 5], [15, 15], [5, 15]])
    short = {**found["value"], "original_width": WIDTH, "original_height": HEIGHT}
    write(tmp_path / "min.json", [{"image": "/data/upload/a.jpg", "id": 3, "tag": [short], "annotator": 1}])
    assert labels(tmp_path)[0]["a"].sum() == 100


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (region({"points": [["x", 1], [2, 2], [3, 3]]}), r"region 1 \(.*\): expected the corners"),
        (region({"rle": [1, 2]}, "brushlabels"), "cut off"),
        (region({"rle": [300]}, "brushlabels"), "bytes from 0 to 255"),
        (region({"rle": packed([0] * 8)}, "brushlabels"), "its brush has 2 pixels"),
        ({**rectangle(0, 0, 5, 5), "image_rotation": 90}, "turned by 90 degrees"),
        (region({"x": None, "y": 1, "width": 1, "height": 1}), "x: expected a number"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, entry, message) -> None:
    opened = LabelStudio().look_through(write(tmp_path / "x.json", [task(entry)]), None)
    with pytest.raises(ValueError, match=rf"x\.json: .*{message}"):
        opened.draw(next(iter(opened.keys)), lambda: SIZE)


masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
        lambda flat: np.array(flat).reshape(size)
    )
)


@settings(max_examples=150, deadline=None)
@given(masks, st.booleans())
def test_brushes_come_back(mask, literal) -> None:
    found = brush(mask, literal=frozenset({255}) if literal else frozenset())
    assert np.array_equal(unpacked(found, mask.shape), mask)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=40), masks)
def test_damaged_brushes_are_refused_or_read(extra, mask) -> None:
    found = brush(mask)
    try:
        assert unpacked(found[:7] + extra, mask.shape).shape == mask.shape
    except ValueError as error:
        assert "its brush" in str(error)  # noqa: PT017
