"""What the tests of annotation formats share."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from intarsia.data.doctor.examine import examine

SIZE = (40, 60)


def image(path: Path, seed: int = 0, size=SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def write(path: Path, found) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found if isinstance(found, str) else json.dumps(found), encoding="utf-8")
    return path


def labels(root: Path):
    """Labels by the name of their image, and the description."""
    description = examine(root).proposal()
    found = {}
    for split in description.splits:
        dataset = description.dataset(split)
        found |= {Path(dataset.name(index)).name: dataset.load(index).label for index in range(len(dataset))}
    return found, description


def blank(*areas, size=SIZE) -> np.ndarray:
    """A label map from (value, top, bottom, left, right)."""
    label = np.zeros(size, np.uint8)
    for value, top, bottom, left, right in areas:
        label[top:bottom, left:right] = value
    return label


def png(mask: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return stream.getvalue()


def png_text(mask: np.ndarray) -> str:
    return base64.b64encode(png(mask)).decode()
