"""Pascal Context: 59 classes and background, drawn from the file of PASCAL in Detail, without its package."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.headers import check_size
from intarsia.data.prepare.archives import Sources
from intarsia.data.prepare.benchmark import Job, Options, Plan
from intarsia.data.prepare.common import one, same_bytes
from intarsia.data.prepare.pixels import png_of_label

IDS = (
    0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158,
    159, 162,
    187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416,
    420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
"""Category of the file, by class."""
_CLASSES = {category: value for value, category in enumerate(IDS)}


def pascal_context(sources: Sources, options: Options) -> Plan:
    """Labels of the images of phases train and val, and the sorted lists of them."""
    found = sources.matching(r"trainval_merged\.json")
    if not found:
        return Plan([])
    ((member, data),) = sources.stream([found[0][0]])
    try:
        content = json.loads(data)
        annotations: dict[Any, dict[Any, Any]] = defaultdict(dict)
        for item in content["annos_segmentation"]:
            annotations[item["image_id"]][item["id"]] = item  # of equal ids the last counts, at the first one's place
        images = [image for image in content["images"] if image["phase"] in ("train", "val")]
        jobs = [_job(image, list(annotations[image["image_id"]].values())) for image in images]
        names = {
            phase: sorted(_stem(image) for image in images if image["phase"] == phase) for phase in ("train", "val")
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{member}: expected the annotations of PASCAL in Detail: {error!r}") from None
    for photograph, match in sources.matching(r"JPEGImages/([^/]+\.jpg)"):
        jobs.append(one(photograph, f"JPEGImages/{match[1]}", same_bytes))
    texts = {f"ImageSets/SegmentationContext/{phase}.txt": "".join(f"{n}\n" for n in names[phase]) for phase in names}
    return Plan(jobs, texts)


def _stem(image: dict[str, Any]) -> str:
    name = str(image["file_name"])
    if "/" in name or "\\" in name or not name.endswith(".jpg"):
        raise ValueError(f"expected the name of a .jpg file, found {name!r}")
    return name.removesuffix(".jpg")


def _job(image: dict[str, Any], annotations: list[dict[str, Any]]) -> Job:
    masks = [[item["category_id"], item["segmentation"]] for item in annotations]
    payload = json.dumps([image["height"], image["width"], masks]).encode()
    return one(payload, f"SegmentationClassContext/{_stem(image)}.png", label)


def label(data: bytes) -> bytes:
    """[height, width, [[category, run lengths] ...]] as a label; later masks lie over earlier ones."""
    height, width, masks = json.loads(data)
    check_size(width, height)
    found = np.zeros((height, width), np.uint8)
    for category, segmentation in masks:
        if category not in _CLASSES:
            raise ValueError(f"expected one of the 60 categories, found {category}")
        found[decoded_runs(segmentation, (height, width))] = _CLASSES[category]
    return png_of_label(found)


def decoded_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W) of the run lengths of COCO: `{"size": [H, W], "counts": "..."}` or a list of numbers, down the columns.

    Raises ValueError if they are not of this size.
    """
    counts = segmentation["counts"]
    runs = _unpacked(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if list(segmentation["size"]) != list(size) or min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise ValueError(f"expected run lengths of an image of {size[0]} x {size[1]}, found {sum(runs)} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[::-1]).T


def _unpacked(text: str) -> list[int]:
    """Numbers of five bits a letter, lowest first; from the fourth on the difference to the one before the last."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs
