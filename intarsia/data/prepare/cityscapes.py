"""Cityscapes: polygons drawn as classes."""

from __future__ import annotations

import json
import re

import numpy as np
from PIL import Image, ImageDraw

from intarsia.data.headers import check_size
from intarsia.data.prepare.archives import Sources
from intarsia.data.prepare.benchmark import Options, Plan
from intarsia.data.prepare.common import one, same_bytes
from intarsia.data.prepare.pixels import png_of_label

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky",
    "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
IGNORED = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "parking",
    "rail track",
    "guard rail", "bridge", "tunnel", "polegroup", "caravan", "trailer",
)  # fmt: skip
NOT_DRAWN = "license plate"
_VALUES = {name: value for value, name in enumerate(CLASSES)} | dict.fromkeys(IGNORED, 255)


def cityscapes(sources: Sources, options: Options) -> Plan:
    """Labels beside the polygons' place, the photographs, and lists of the three splits.

    The original's lists keep the end of the names when the polygons are those of gtCoarse; here it is cut off.
    """
    folder = options.gt_dir or "gtFine"
    jobs = []
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    pattern = rf"{re.escape(folder)}/([^/]+)/([^/]+)/([^/]+)_{re.escape(folder)}_polygons\.json"
    for member, match in sources.matching(pattern):
        split, city, stem = match.groups()
        jobs.append(one(member, f"{folder}/{split}/{city}/{stem}_{folder}_labelTrainIds.png", drawn))
        if split in lists:
            lists[split].append(f"{city}/{stem}")
    if jobs:
        for member, match in sources.matching(r"leftImg8bit/([^/]+)/([^/]+)/([^/]+_leftImg8bit\.png)"):
            jobs.append(one(member, f"leftImg8bit/{match[1]}/{match[2]}/{match[3]}", same_bytes))
    texts = {f"{split}.txt": "".join(f"{name}\n" for name in sorted(names)) for split, names in lists.items()}
    return Plan(jobs, texts)


def drawn(data: bytes) -> bytes:
    """Polygons of one image, later ones over earlier ones, as a label of the 19 classes; 255 elsewhere."""
    scene = json.loads(data)
    width, height = int(scene["imgWidth"]), int(scene["imgHeight"])
    check_size(width, height)
    image = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(image)
    for item in scene["objects"]:
        if item.get("deleted"):
            continue
        label = item["label"]
        if label not in _VALUES and label.endswith("group"):
            label = label[: -len("group")]
        if label == NOT_DRAWN:
            continue
        if label not in _VALUES:
            raise ValueError(f"expected a label of Cityscapes, found {item['label']!r}")
        pen.polygon([(x, y) for x, y in item["polygon"]], fill=_VALUES[label])
    return png_of_label(np.asarray(image))
