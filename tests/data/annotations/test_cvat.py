"""CVAT's XML for images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tools import SIZE, blank, image, labels, write

from intarsia.data.annotations.cvat import Cvat
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>a task</name><labels>
    <label><name>spot</name><color>#ff0000</color><attributes><attribute><name>size</name></attribute></attributes></label>
    <label><name>Äste &amp; Laub</name></label><label><name>unused</name></label>
  </labels></task></meta>
"""


def file(*images, head=HEAD) -> str:
    texts = [
        f'  <image id="{number}" name="{name}" width="60" height="40">{"".join(shapes)}</image>\n'
        for number, (name, shapes) in enumerate(images)
    ]
    return head + "".join(texts) + "</annotations>\n"


def polygon(label, left, top, right, bottom, z=0) -> str:
    points = f"{left},{top};{right}.00,{top};{right},{bottom};{left},{bottom}"
    return f'<polygon label="{label}" source="manual" occluded="0" points="{points}" z_order="{z}"></polygon>'


def box(label, left, top, right, bottom, more="") -> str:
    return f'<box label="{label}" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}" z_order="0" {more}></box>'


def mask(label, counts, left, top, width, height, z=0) -> str:
    return (
        f'<mask label="{label}" rle="{", ".join(map(str, counts))}" left="{left}" top="{top}" width="{width}" '
        f'height="{height}" z_order="{z}"></mask>'
    )


def folder(root: Path, *shapes) -> Path:
    image(root / "images/a.jpg")
    write(root / "annotations.xml", file(("a.jpg", shapes)))
    return root


LEAVES = "Äste &amp; Laub"


def test_shapes_by_z_order_and_then_by_the_file(tmp_path: Path) -> None:
    shapes = (
        polygon("spot", 5, 5, 15, 15, z=2),
        polygon(LEAVES, 0, 0, 30, 30, z=1),
        box(LEAVES, 40, 10, 50, 20),
        box("spot", 45, 10, 50, 20),
        mask("spot", [1, 2, 1], 20, 35, 2, 3, z=3),
    )
    drawn, description = labels(folder(tmp_path, *shapes))
    assert description.classes == ("background", "spot", "Äste & Laub")
    expected = blank((2, 0, 30, 0, 30), (1, 5, 15, 5, 15), (2, 10, 20, 40, 50), (1, 10, 20, 45, 50))
    expected[35, 21] = expected[36, 20] = 1
    assert np.array_equal(drawn["a"], expected)


def test_a_mask_in_a_box_turned_boxes_and_ellipses(tmp_path: Path) -> None:
    own = np.random.default_rng(0).random((7, 9)) < 0.5
    own[0, 0] = True
    flat = own.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    shapes = (
        mask("spot", counts, 50, 30, 9, 7),
        box("spot", 5, 8, 15, 12, 'rotation="90.0"'),
        f'<ellipse label="{LEAVES}" cx="30" cy="20" rx="10" ry="5" z_order="0"></ellipse>',
    )
    drawn = labels(folder(tmp_path, *shapes))[0]["a"]
    assert np.array_equal(drawn[30:37, 50:59] == 1, own)
    assert np.argwhere(drawn[:20, :20]).min(0).tolist() == [5, 8]
    assert abs(int((drawn == 2).sum()) - np.pi * 50) < 6


def test_an_image_without_shapes_and_shapes_without_area(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    image(tmp_path / "images/sub/b.jpg", 1)
    line = '<polyline label="spot" points="1,1;5,5" z_order="0"></polyline>'
    text = file(("a.jpg", [polygon("spot", 1, 1, 9, 9), line]), ("sub/b.jpg", []))
    write(tmp_path / "annotations.xml", text.replace('"></image>', '"/>'))
    drawn, _ = labels(tmp_path)
    assert not drawn["b"].any()
    kinds = {finding.kind: finding.files for finding in examine(tmp_path).warnings}
    assert kinds["images without shapes"] == ("images/sub/b.jpg",)
    assert kinds["annotations without area"] == ("annotations.xml: polyline 2 (a.jpg) has no area",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_places_count_bytes(tmp_path: Path, encoding) -> None:
    for seed, name in enumerate(("ä.jpg", "ö.jpg")):
        image(tmp_path / name, seed)
    text = file(("ä.jpg", [polygon("spot", 1, 1, 9, 9)]), ("ö.jpg", [polygon(LEAVES, 2, 2, 8, 8)]))
    (tmp_path / "a.xml").write_text(text, encoding=encoding)
    drawn, _ = labels(tmp_path)
    assert np.array_equal(drawn["ö"], blank((2, 2, 8, 2, 8)))
    assert np.array_equal(drawn["ä"], blank((1, 1, 9, 1, 9)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<polygon label="spot" points="1,1;2"></polygon>', r"polygon 1 \(a\.jpg\): expected the corners"),
        ('<polygon label="spot" points="1,1;nan,2;3,3"></polygon>', "its corner"),
        ('<polygon points="1,1;2,2;3,3"></polygon>', "has no label"),
        ('<box label="spot" xtl="1" ytl="x" xbr="3" ybr="4"></box>', "ytl: expected a number, found 'x'"),
        (mask("spot", [1, 2, "x"], 0, 0, 2, 2), "whole numbers with commas"),
        (mask("spot", [1, 9], 0, 0, 2, 2), "longer than the mask"),
        (mask("spot", [1], 0, 0, 100_000, 5), "larger than the image"),
        (mask("spot", [1], 0, 0, 0, 5), "no size of an image"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_shape(tmp_path: Path, shape, message) -> None:
    opened = Cvat().look_through(write(tmp_path / "a.xml", file(("a.jpg", [shape]))), None)
    with pytest.raises(ValueError, match=rf"a\.xml: .*{message}"):
        opened.draw("a.jpg", lambda: SIZE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations>\n<image>", r"a\.xml:2: "),
        ("<annotations>\n<image name='a'></annotations>", r"a\.xml:2: no valid XML: mismatched tag"),
        ("<annotations><track><box/></track></annotations>", "CVAT for images"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><annotations>&x;</annotations>", "document type"),
        ("<annotations>" + "<a>" * 100 + "</a>" * 100 + "</annotations>", "nested too deeply"),
        ("<annotations></annotations>", "has no images"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Cvat().look_through(write(tmp_path / "a.xml", text), None)
    assert "a.xml" in str(caught.value)


def test_the_subsets_of_a_project_are_the_splits(tmp_path: Path) -> None:
    entries = []
    for number, subset in enumerate(("Train", "Train", "Validation")):
        image(tmp_path / f"images/{subset}/{number}.jpg", number)
        entries.append((f"{number}.jpg", [polygon("spot", 1, 1, 9 + number, 9)]))
    text = file(*entries)
    for number, subset in enumerate(("Train", "Train", "Validation")):
        text = text.replace(f'name="{number}.jpg"', f'name="{number}.jpg" subset="{subset}"')
    write(tmp_path / "annotations.xml", text)
    findings = examine(tmp_path)
    description = findings.proposal()
    assert {split: [p.key for p in description.pairs(split)] for split in description.splits} == {
        "train": ["0.jpg", "1.jpg"],
        "val": ["2.jpg"],
    }
    write_description(description, tmp_path / "data.yaml")
    assert read_description(tmp_path / "data.yaml") == description
    assert not [f for f in findings.warnings if f.kind in ("image without label", "annotations not used")]
