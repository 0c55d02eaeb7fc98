"""V7's Darwin files: polygons of several paths, ellipses, masks of one layer; and SuperAnnotate's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tools import SIZE, blank, image, labels, write

from intarsia.data.annotations.darwin import Darwin
from intarsia.data.annotations.superannotate import SuperAnnotate
from intarsia.data.doctor.examine import examine


def corners(left, top, right, bottom) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


def polygon(name, *boxes) -> dict:
    return {"name": name, "polygon": {"paths": [corners(*box) for box in boxes]}, "slot_names": ["0"]}


def document(*annotations, name="a.png") -> dict:
    slot = {"type": "image", "slot_name": "0", "width": SIZE[1], "height": SIZE[0]}
    return {"version": "2.0", "item": {"name": name, "slots": [slot]}, "annotations": list(annotations)}


RING = polygon("road", (5, 5, 35, 30), (10, 10, 30, 20))  # the second path is a hole
BOX = {"name": "car", "bounding_box": {"x": 0, "y": 0, "w": 20, "h": 20}}
EXPECTED = blank((2, 5, 30, 5, 35), (0, 10, 20, 10, 30), (1, 12, 16, 12, 20))


def test_polygons_lie_over_each_other_and_have_holes(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        image(tmp_path / f"images/{name}.png", seed)
        found = document(RING, polygon("car", (12, 12, 20, 16)), BOX, name=f"{name}.png")
        write(tmp_path / f"releases/latest/annotations/{name}.json", found)
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "car", "road")
    assert np.array_equal(drawn["a"], EXPECTED)
    (warning,) = [one for one in examine(tmp_path).warnings if one.kind == "annotations without area"]
    assert any("annotation 3 (car) is a bounding_box" in file for file in warning.files)


def test_the_files_of_before_and_ellipses(tmp_path: Path) -> None:
    outer, hole = corners(5, 5, 35, 30), corners(10, 10, 30, 20)
    disc = {"center": {"x": 45, "y": 20}, "radius": {"x": 6, "y": 6}, "angle": 0}
    found = {
        "image": {"width": SIZE[1], "height": SIZE[0], "original_filename": "a.png", "filename": "a.png"},
        "annotations": [
            {"name": "road", "polygon": {"path": outer, "additional_paths": [hole]}},
            {"name": "disc", "ellipse": disc},
            {"name": "road", "complex_polygon": {"path": [outer, hole]}},
            {"name": "road", "complex_polygon": {"path": []}},
        ],
    }
    assert Darwin().recognise(json.dumps(found))
    write(tmp_path / "a.json", found)
    road, circle, again = Darwin().look_through(tmp_path, None).draw("a.json", lambda: SIZE).shapes
    assert len(road.area.polygons[0]) == len(again.area.polygons[0]) == 2
    assert circle.area.polygons[0][0].mean(axis=0) == pytest.approx([45, 20])


def test_masks_are_parts_of_a_layer(tmp_path: Path) -> None:
    wanted = blank((1, 5, 20, 5, 25), (2, 15, 35, 20, 50))
    flat = wanted.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=-1))
    runs = [
        int(n) for start, end in zip(starts, [*starts[1:], flat.size], strict=True) for n in (flat[start], end - start)
    ]
    layer = {"dense_rle": runs, "mask_annotation_ids_mapping": {"u": 1, "v": 2}, "total_pixels": flat.size}
    named = [{"id": "u", "name": "a thing", "mask": {}}, {"id": "v", "name": "b thing", "mask": {}}]
    for seed, name in enumerate("ab"):
        image(tmp_path / f"{name}.png", seed)
        write(tmp_path / f"{name}.json", document(*named, {"name": "__raster_layer__", "raster_layer": layer}))
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "a thing", "b thing")
    assert np.array_equal(drawn["b"], wanted)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    layer = {"dense_rle": [0, 7], "mask_annotation_ids_mapping": {}}
    for entry, message in (
        ({"polygon": {}}, "annotation 1: has no name"),
        ({"name": "x", "polygon": {"paths": [[1, 2]]}}, r"annotation 1 \(x\): expected x and y, found 1"),
        ({"name": "x", "polygon": {"paths": 7}}, r"annotation 1 \(x\): its paths are no list"),
        ({"name": "x", "frames": {"0": {}}}, "frames of a video or volume"),
        ({"name": "x", "raster_layer": layer}, "make 7 pixels, but 60 x 40"),
        ({"name": "x", "raster_layer": {"dense_rle": [0, "y"], "mask_annotation_ids_mapping": {}}}, "no whole numbers"),
    ):
        write(tmp_path / "a.json", document(entry))
        with pytest.raises(ValueError, match=rf"a\.json: .*{message}"):
            Darwin().look_through(tmp_path, None).draw("a.json", lambda: SIZE)


# --- SuperAnnotate ------------------------------------------------------------------------------------------------


def flat_box(left, top, right, bottom) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def instances(*found) -> dict:
    about = {"name": "a.png", "width": SIZE[1], "height": SIZE[0]}
    return {"metadata": about, "instances": list(found), "tags": [], "comments": []}


@pytest.mark.parametrize("ending", [".json", "___objects.json"])
def test_instances_of_superannotate(tmp_path: Path, ending) -> None:
    road = {
        "type": "polygon",
        "className": "road",
        "points": flat_box(5, 5, 35, 30),
        "exclude": [flat_box(10, 10, 30, 20)],
    }
    car = {"type": "polygon", "className": "car", "points": flat_box(12, 12, 20, 16), "exclude": []}
    for seed, name in enumerate("ab"):
        image(tmp_path / f"{name}.png", seed)
        write(tmp_path / f"{name}.png{ending}", instances(road, car, {"type": "bbox", "className": "car"}))
    write(tmp_path / "classes/classes.json", [{"id": 1, "name": "road", "attribute_groups": []}])
    drawn, description = labels(tmp_path)
    assert description.classes == ("background", "car", "road")
    assert np.array_equal(drawn["a"], EXPECTED)


def test_what_is_wrong_in_superannotate_is_named(tmp_path: Path) -> None:
    for entry, message in (
        ({"type": "polygon"}, "instance 1: has no className"),
        ({"type": "polygon", "className": "x", "points": [1, 2, 3]}, r"instance 1 \(x\): expected pairs of x and y"),
        ({"className": "x", "parts": []}, "is of a pixel project"),
        ({"type": "ellipse", "className": "x", "cx": 1}, r"instance 1 \(x\), its cy: expected a number"),
    ):
        write(tmp_path / "a.png.json", instances(entry))
        with pytest.raises(ValueError, match=rf"a\.png\.json: .*{message}"):
            SuperAnnotate().look_through(tmp_path, None).draw("a.png.json", lambda: SIZE)
