"""Drawn street scenes cut down to corners, on which training and scoring whole images takes a tenth of the time."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes

SIDE = 128


def write_corners(folder: Path, *, train: int, val: int) -> Path:
    """The lower left SIDE x SIDE pixels of each scene; returns the file that describes them."""
    description = write_scenes(folder, train=train, val=val)
    for file in [*folder.rglob("*.jpg"), *folder.rglob("*.png")]:
        with Image.open(file) as image:
            corner = image.crop((0, image.height - SIDE, SIDE, image.height))
        corner.save(file)
    write_description(description, folder / "data.yaml")
    return folder / "data.yaml"
