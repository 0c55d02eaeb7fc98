"""Scores that Cityscapes' own evaluation gives, on small images that are made the same everywhere.

    pip install --no-deps --target DIR cityscapesscripts pyquaternion
    PYTHONPATH=DIR python tests/metrics/official_cityscapes.py

writes official_cityscapes.json beside this file: for each of `CASES`, what the package cityscapesscripts 2.3.0
computes from them (`evaluateImgLists`, on PNG files in a temporary folder). No word of the package is kept here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Map = npt.NDArray[np.int64]

FILE = Path(__file__).with_suffix(".json")
CLASSES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Ids in the order of the class indices."""

CASES = {
    "everything": {"images": 5, "labels": range(34), "predicted": range(34)},
    "classes": {"images": 4, "labels": range(34), "predicted": CLASSES},
    "absent": {"images": 2, "labels": (0, 7, 11, 24, 26), "predicted": (7, 8, 24, 26)},
    "no objects": {"images": 2, "labels": (1, 7, 8, 21, 23), "predicted": (7, 8, 21, 23)},
    "objects elsewhere": {"images": 3, "labels": range(34), "predicted": range(34), "apart": True},
}
"""Ids in labels and in predictions; apart: objects do not lie where the labels say, which only a test has."""

KEYS = ("averageScoreClasses", "averageScoreCategories", "averageScoreInstClasses", "averageScoreInstCategories")
TABLES = ("classScores", "classInstScores", "categoryScores", "categoryInstScores")


def images(name: str) -> list[tuple[Map, Map, Map]]:
    """Label ids, numbers of objects, predicted ids (H, W) of each image of a case."""
    case = CASES[name]
    return [_image(f"{name} {number}", case) for number in range(case["images"])]


def _image(name: str, case: dict[str, Any]) -> tuple[Map, Map, Map]:
    cells, size = (6, 8), (42, 72)
    label = _enlarged(_chosen(f"{name} label", cells, case["labels"]), size)
    owner = _enlarged(_chosen(f"{name} owner", cells, range(24, 34)), size) if case.get("apart") else label
    number = _enlarged(_chosen(f"{name} number", cells, (0, 1, 2, 117)), size)
    crowd = _enlarged(_chosen(f"{name} crowd", cells, (0, 0, 0, 0, 1)), size) == 1
    objects = np.where((owner < 24) | crowd, owner, 1000 * owner + number)
    noise = _chosen(f"{name} noise", size, range(10))
    predicted = np.where(noise < 6, label, _chosen(f"{name} predicted", size, case["predicted"]))
    return label, objects, np.where(np.isin(predicted, case["predicted"]), predicted, case["predicted"][0])


def _chosen(name: str, size: tuple[int, int], values: Any) -> Map:
    """One of the values at each place, by a hash of the name."""
    digits = np.frombuffer(hashlib.shake_256(name.encode()).digest(2 * size[0] * size[1]), "<u2")
    return np.array(values, np.int64)[digits.reshape(size) % len(values)]


def _enlarged(values: Map, size: tuple[int, int]) -> Map:
    return values.repeat(size[0] // values.shape[0], 0).repeat(size[1] // values.shape[1], 1)


def installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("cityscapesscripts") is not None


def official(name: str, folder: Path) -> dict[str, Any]:
    """What the package computes of a case; nan is None."""
    if not hasattr(np, "in1d"):
        np.in1d = np.isin  # type: ignore[attr-defined]  # the package's word for it, which NumPy 2.4 no longer has
    script = importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")

    truths, predictions = [], []
    for number, (label, objects, predicted) in enumerate(images(name)):
        truths.append(str(folder / f"town_{number:06}_000000_gtFine_labelIds.png"))
        predictions.append(str(folder / f"town_{number:06}_000000_predicted.png"))
        Image.fromarray(label.astype(np.uint8)).save(truths[-1])
        Image.fromarray(objects.astype(np.uint16)).save(truths[-1].replace("labelIds", "instanceIds"))
        Image.fromarray(predicted.astype(np.uint8)).save(predictions[-1])
    script.args.evalInstLevelScore, script.args.JSONOutput, script.args.quiet = True, False, True
    found = script.evaluateImgLists(predictions, truths, script.args)
    tables = {table: {key: _number(value) for key, value in found[table].items()} for table in TABLES}
    return {**{key: _number(found[key]) for key in KEYS}, **tables}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def main() -> None:
    figures = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = official(name, Path(folder))
    FILE.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
