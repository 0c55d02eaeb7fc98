"""How large the images of a training typically are, on which its crop rests."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Source
from intarsia.data.description.splits import FolderSplit
from intarsia.workflows.names import typical_size


def described(root: Path, source: Source) -> DataDescription:
    return DataDescription(
        root=root, classes=("a", "b"), splits={"train": FolderSplit(source)}, labels={0: "a", 1: "b"}
    )


def test_slices_of_volumes_have_their_own_size(tmp_path: Path) -> None:
    """512 x 512 was taken of whatever Pillow cannot open: slices of 64 x 60 were padded to it."""
    for number in range(3):
        nibabel.save(nibabel.Nifti1Image(np.zeros((60, 64, 4), np.int16), np.eye(4)), tmp_path / f"{number}.nii.gz")
    source = Source(".", None, (".nii.gz",), slices="z")
    assert typical_size(described(tmp_path, source)) == (64, 60)
    assert typical_size(described(tmp_path, Source(".", None, (".nii.gz",), slices="x"))) == (4, 64)


def test_arrays_and_photos_that_are_stored_turned(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "arrays").mkdir(exist_ok=True)
        np.save(tmp_path / f"arrays/{number}.npy", np.zeros((40, 70, 3), np.uint8))
        photo = Image.new("RGB", (90, 50))
        exif = photo.getexif()
        exif[274] = 6
        (tmp_path / "photos").mkdir(exist_ok=True)
        photo.save(tmp_path / f"photos/{number}.jpg", exif=exif)
    assert typical_size(described(tmp_path, Source("arrays", None))) == (40, 70)
    assert typical_size(described(tmp_path, Source("photos", None))) == (90, 50)
