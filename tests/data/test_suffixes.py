"""What is looked for in folders is what can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, features

from intarsia.data.dicom import DICOM_SUFFIXES
from intarsia.data.image_io import IMAGE_SUFFIXES, read_image
from intarsia.data.slices import VOLUME_SUFFIXES

Image.init()
pillow_heif.register_heif_opener()
_OTHERS = {".npy", *DICOM_SUFFIXES, *VOLUME_SUFFIXES}
"""Not of Pillow; these have tests of their own."""
_FORMATS = {".jfif": "JPEG", ".jpe": "JPEG", ".pnm": "PPM", **Image.registered_extensions()}


@pytest.mark.parametrize("suffix", sorted(set(IMAGE_SUFFIXES) - _OTHERS))
def test_every_suffix_that_is_looked_for_is_read(tmp_path: Path, suffix: str) -> None:
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    image = Image.new({".pgm": "L", ".pbm": "1", ".gif": "P"}.get(suffix, "RGB"), (40, 30))
    image.save(tmp_path / f"image{suffix}", _FORMATS[suffix])
    found = read_image(tmp_path / f"image{suffix}")
    assert found.shape == (30, 40, 3)
    assert found.dtype == np.uint8


def test_no_suffix_of_a_format_that_is_read_is_missing() -> None:
    formats = {_FORMATS[suffix] for suffix in IMAGE_SUFFIXES if suffix not in _OTHERS}
    animations_and_floats = {".avifs", ".heics", ".heifs", ".pfm"}
    known = {suffix for suffix, name in _FORMATS.items() if name in formats}
    assert known - set(IMAGE_SUFFIXES) == animations_and_floats
