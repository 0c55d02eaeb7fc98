"""Damaged files of annotation tools: whatever is in them, an error of the user comes of it, or labels."""

from __future__ import annotations

import base64
import io
import json
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.data.annotations.drawn import ClassValues, Drawn, draw_label
from intarsia.data.annotations.formats import FORMATS, open_annotations
from intarsia.data.annotations.source import AnnotationSource

SIZE = (20, 30)


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


PICTURE = base64.b64encode(png()).decode()
MASK = base64.b64encode(zlib.compress(png())).decode()
# 2,400 values of 8 bits, lengths of 3, 4, 8 and 12 bits: one run of 255.
BRUSH = f"{2400:032b}" + "00111" + "0010" + "0011" + "0111" + "1011" + "111" + f"{2399:012b}" + "1" * 8 + "0000"
BRUSH_BYTES = [int(BRUSH[place : place + 8], 2) for place in range(0, len(BRUSH), 8)]
CORNERS = [[1, 1], [9, 1], [9, 9]]

FILES = {
    "coco": (
        "a.json",
        {
            "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]], "iscrowd": 0},
                {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {"size": [20, 30], "counts": [0, 600]}},
                {"id": 3, "image_id": 1, "category_id": 1, "segmentation": {"size": [20, 30], "counts": "0hb0"}},
            ],
            "categories": [{"id": 1, "name": "leaf"}],
        },
    ),
    "labelme": (
        "ann/a.json",
        {
            "shapes": [
                {"label": "leaf", "shape_type": "polygon", "points": CORNERS},
                {"label": "leaf", "shape_type": "circle", "points": [[5, 5], [8, 5]]},
                {"label": "leaf", "shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": PICTURE},
            ],
            "imageHeight": 20,
            "imageWidth": 30,
        },
    ),
    "geojson": (
        "ann/a.geojson",
        {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [[*CORNERS, CORNERS[0]]]},
                    "properties": {"classification": {"name": "leaf"}},
                }
            ],
        },
    ),
    "via": (
        "a.json",
        {
            "a.png9": {
                "filename": "a.png",
                "regions": [
                    {
                        "shape_attributes": {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9]},
                        "region_attributes": {"type": "leaf", "box": {"leaf": True}},
                    },
                    {"shape_attributes": {"name": "ellipse", "cx": 5, "cy": 5, "rx": 3, "ry": 2, "theta": 1}},
                    {"shape_attributes": {"name": "rect", "x": 5, "y": 5, "width": 3, "height": 2}},
                ],
            }
        },
    ),
    "via_csv": (
        "a.csv",
        "filename,region_shape_attributes,region_attributes\n"
        'a.png,"{""name"": ""circle"", ""cx"": 5, ""cy"": 5, ""r"": 4}","{""type"": ""leaf""}"\n',
    ),
    "cityscapes": ("ann/a.json", {"imgHeight": 20, "imgWidth": 30, "objects": [{"label": "leaf", "polygon": CORNERS}]}),
    "rle_csv": ("a.csv", "ImageId,ClassId,Height,Width,EncodedPixels\na.png,leaf,20,30,1 5 21 5 41 9\n"),
    "yolo": ("ann/a.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.2 0.2 0.3 0.3\n"),
    "cvat": (
        "a.xml",
        '<annotations><meta><labels><label><name>leaf</name></label></labels></meta><image name="a.png" width="30" '
        'height="20"><polygon label="leaf" points="1,1;9,1;9,9" z_order="0"/><mask label="leaf" rle="1,2,1" left="1" '
        'top="1" width="2" height="2"/><box label="leaf" xtl="1" ytl="1" xbr="5" ybr="5" rotation="9"/></image>'
        "</annotations>",
    ),
    "label_studio": (
        "a.json",
        [
            {
                "data": {"image": "/data/upload/a.png"},
                "annotations": [
                    {
                        "result": [
                            {
                                "original_width": 30,
                                "original_height": 20,
                                "value": {"points": [[1, 1], [50, 1], [50, 50]], "polygonlabels": ["leaf"]},
                            },
                            {"value": {"rle": BRUSH_BYTES, "brushlabels": ["leaf"]}},
                            {"value": {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["leaf"]}},
                        ]
                    }
                ],
            }
        ],
    ),
    "supervisely": (
        "ann/a.png.json",
        {
            "size": {"height": 20, "width": 30},
            "objects": [
                {"classTitle": "leaf", "geometryType": "polygon", "points": {"exterior": CORNERS, "interior": []}},
                {"classTitle": "leaf", "geometryType": "bitmap", "bitmap": {"data": MASK, "origin": [1, 1]}},
            ],
        },
    ),
}
ODD = [
    None,
    True,
    -1,
    0,
    1e300,
    float("nan"),
    2**70,
    "",
    "x",
    "9" * 50,
    [],
    [[]],
    {},
    [1],
    {"a": 1},
    "\ud800",
    [None] * 3,
]


INSERTED = [b"9" * 30, b"[", b"{", b'"', b"-", b"<", b"&", b"\0", b"nan", b"e99"]


def read(root: Path, name: str) -> None:
    """As training does; ValueErrors alone are expected."""
    try:
        label = drawn(root, name)
    except ValueError as error:
        assert len(str(error)) < 4_000  # noqa: PT017
    else:
        assert label is None or set(np.unique(label)) <= {0, 1, 2, 255}


def drawn(root: Path, name: str) -> np.ndarray | None:
    """The label of the last image; None where there is none."""
    file, _ = FILES[name]
    source = AnnotationSource(name, "ann" if FORMATS[name].per_image else file)
    opened = open_annotations(root, source)
    assert opened.used is not None
    classes = ClassValues({"leaf": 1, "class_0": 1}, 255, "ignore")
    label = None
    for key in opened.keys:
        label = draw_label(root, Drawn(source, file, "a.png", key, classes)).label
    return label


def places(value, path=()):
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "ann").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_what_is_whole_is_drawn(root: Path, name: str) -> None:
    file, content = FILES[name]
    (root / file).write_text(content if isinstance(content, str) else json.dumps(content))
    label = drawn(root, name)
    assert label is not None
    assert 1 in label


@pytest.mark.parametrize("name", [name for name, (_, content) in FILES.items() if not isinstance(content, str)])
def test_any_value_in_any_place(root: Path, name: str) -> None:
    file, content = FILES[name]
    random.seed(name)
    for path in places(content):
        for new in random.sample(ODD, 6):
            (root / file).write_text(json.dumps(replaced(content, path, new)))
            read(root, name)


@pytest.mark.parametrize("name", FILES)
def test_any_damage_to_the_bytes(root: Path, name: str) -> None:
    file, content = FILES[name]
    whole = (content if isinstance(content, str) else json.dumps(content)).encode()
    random.seed(name)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(data))
            kind = random.random()
            if kind < 0.4:
                data[place] = random.randrange(256)
            elif kind < 0.7:
                del data[place : place + random.randint(1, 20)]
            else:
                data[place:place] = random.choice(INSERTED)
        (root / file).write_bytes(bytes(data))
        read(root, name)
