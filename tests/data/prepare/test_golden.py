"""Each converter against what the original made of the same stand-ins of the publishers' downloads."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.catalog import resolve
from intarsia.data.prepare.benchmark import Options
from intarsia.data.prepare.run import prepare
from intarsia.data.prepare.table import BENCHMARKS

NAMES = sorted(set(BENCHMARKS) - {"pascal_context"})
_PLACES = {
    "coco_stuff10k": {"images": "images/train2014", "labels": "annotations/train2014", "reduce_zero_label": True},
    "coco_stuff164k": {"images": "images/train2017", "labels": "annotations/train2017"},
    "nyu": {"images": "images/train", "depths": "annotations/train"},
}
"""What the configs say of the training split where the class alone does not."""
_TRAINING = dict.fromkeys(("chase_db1", "drive", "hrf", "stare", "refuge"), "images/training/")
_TRAINING |= dict.fromkeys(("isaid", "loveda", "potsdam", "vaihingen", "synapse"), "img_dir/train/")
_TRAINING |= {
    "cityscapes": "leftImg8bit/train/",
    "coco_stuff10k": "images/train2014/",
    "coco_stuff164k": "images/train2017/",
    "levircd": "train/A/",
    "nyu": "images/train/",
}
_SOURCES = {"voc_aug": ["VOCdevkit", "VOCaug"]}


NIBABEL = """
import gzip, struct
from types import SimpleNamespace as Nifti
CODES = {"uint8": (2, 8), "int16": (4, 16)}
def Nifti1Image(numbers, affine):
    return Nifti(numbers=numbers)
def save(image, path):
    numbers = image.numbers
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *numbers.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, *CODES[str(numbers.dtype)])
    struct.pack_into("<3f", header, 108, 352, float("nan"), float("nan"))
    header[344:348] = b"n+1\\0"
    path.write_bytes(gzip.compress(bytes(header) + numbers.tobytes(order="F")))
"""
"""What make_inputs.py asks of the package of this name, which is not among ours."""


def options_of(arguments: list[str]) -> Options:
    given = {}
    for key, value in itertools.pairwise(arguments):
        if key.startswith("--") and key[2:] in Options.__dataclass_fields__:
            given[key[2:]] = int(value)
    return Options(**given)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_those_of_the_original(name: str, shared: Path, tmp_path: Path) -> None:
    folder = shared / "golden" / "converters"
    source, out = tmp_path / "in", tmp_path / "out"
    (tmp_path / "nibabel.py").write_text(NIBABEL)
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": "", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(folder / "make_inputs.py"), name, str(source)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    golden = json.loads((folder / "outputs.json").read_text())[name]
    sources = [source / part for part in _SOURCES.get(name, [""])]
    prepare(BENCHMARKS[name], sources, out, options=options_of(golden["arguments"]))
    expected = dict(golden["out"])
    if name == "voc_aug":  # the original's output folder is one of the layout's folders
        expected = {f"SegmentationClassAug/{file}": facts for file, facts in expected.items()}
    for file, facts in golden.get("written_into_input", {}).items():
        expected[file.removeprefix("VOCdevkit/VOC2012/")] = facts
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    more = {file for file in found - set(expected) if not file.startswith(("leftImg8bit/", "ImageSets/"))}
    assert set(expected) <= found
    assert not more
    for file, facts in expected.items():
        compare(out / file, facts)
    if name != "voc_aug":  # whose stand-ins have no photographs
        dataset = resolve("dataset", BENCHMARKS[name].dataset)(root=str(out), **_PLACES.get(name, {}))
        images = [file for file in found if file.startswith(_TRAINING[name]) and not file.endswith(".txt")]
        assert len(dataset) == len(images) > 0
        sample = dataset.load(0)
        assert sample.label is not None or sample.maps


def compare(path: Path, facts: dict[str, object]) -> None:
    if "lines" in facts:
        assert sorted(path.read_text().split("\n")) == facts["lines"]
        return
    with Image.open(path) as image:
        pixels = np.asarray(image)
        assert image.format == ("PNG" if facts["format"] == "BMP" else facts["format"]), path
        assert image.mode == facts["mode"] or pixels.dtype == np.uint16, path
    assert list(pixels.shape) == facts["shape"], path
    if (
        facts["mode"] == "P"
    ):  # the original's files of iSAID have one bit a pixel: a palette of no colours, as Pillow counts
        assert pixels.max() > 1, path
        pixels = np.minimum(pixels, 1)
    counts = facts.get("counts")
    if counts is not None:
        values, number = np.unique(pixels, return_counts=True)
        assert {str(v): int(n) for v, n in zip(values, number, strict=True)} == counts, path
    assert digest(pixels) == facts["pixels_sha256"], path


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
