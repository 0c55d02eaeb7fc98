"""Every transform of the reference on the same image and labels, written as a config writes it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import cv2
import filling
import numpy as np
import numpy.typing as npt
import pytest
import references

from intarsia import catalog
from intarsia.config.build import build
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Sample
from intarsia.data.transforms.rotate import rotation

FILE = references.SHARED / "golden/transforms.json"
RECORDS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["cases"] if FILE.is_file() else []
COMPARED = {
    "AdjustGamma", "CLAHE", "GenerateEdge", "LoadBiomedicalAnnotation", "LoadBiomedicalData",
    "LoadBiomedicalImageFromFile", "Pad", "RGB2Gray", "RandomCutOut", "RandomFlip", "RandomRotFlip", "RandomRotate",
    "Rerange", "Resize", "ResizeShortestEdge", "ResizeToMultiple",
}  # fmt: skip

OPENCV_4 = int(cv2.__version__.split(".")[0]) < 5
STEP = 255 / 32
"""The reference rotated with OpenCV 5. Version 4 weights neighbours in steps of 1/32 pixel, and at ties takes another
nearest pixel, so that digests differ."""


def test_every_transform_is_compared() -> None:
    assert set(catalog.names("transform")) >= COMPARED
    if not RECORDS:
        pytest.skip(f"reference material not found at {FILE}")
    assert {record["transform"] for record in RECORDS} == COMPARED


class Legacy(np.random.Generator):
    """NumPy's old generator under the names of the new one: what the reference drew from, in its order."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.old = np.random.RandomState(seed)

    def random(self, *size: Any) -> Any:
        return self.old.random_sample(*size)

    def integers(self, *bounds: Any) -> Any:
        return self.old.randint(*bounds)

    def uniform(self, *bounds: Any) -> Any:
        return self.old.uniform(*bounds)


def label() -> npt.NDArray[np.uint8]:
    return filling.labels(1, 48, 64, 7, name="transform:label")[0].numpy().astype(np.uint8)


def transformed(record: dict[str, Any]) -> Sample:
    """The reference's images are BGR, ours RGB; what a config says of colours is in the order of the reference."""
    image = filling.stream("transform:image").integers(0, 256, (48, 64, 3)).astype(np.uint8)
    step = {"type": record["transform"], **record["arguments"]}
    pipeline = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, step, {"type": "PackSegInputs"}]
    sample, prefix = Sample(image[..., ::-1], label()), {}
    if "file" in record:
        file = references.SHARED.joinpath("realdata", *record["file"])
        pipeline, prefix = [step], {"img_suffix": file.name, "seg_map_suffix": file.name, "data_root": str(file.parent)}
    head = {"type": "FCNHead", "in_channels": 64, "in_index": 3, "channels": 4, "num_classes": 7}
    backbone = {"type": "ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8}
    dataset = {"type": "BaseSegDataset", "metainfo": {"classes": list("abcdefg")}, "pipeline": pipeline, **prefix}
    values = {
        "model": {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head},
        "train_dataloader": {"batch_size": 1, "dataset": dataset},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
    }
    spec = lower(Config.from_values(values, file="reference"))
    assert spec.train is not None
    [transform] = spec.train.transforms
    if "file" in record:
        sample = build(spec.train.dataset).load(0)
    seed = record.get("drawn_with_numpy_seed")
    done: Sample = build(transform)(sample, np.random.default_rng(0) if seed is None else Legacy(seed))
    return done


def compared(found: npt.NDArray[Any], record: dict[str, Any], *, rotated: bool = False, levels: float = 0) -> None:
    """levels: by how much values may differ where they are `rotated` by OpenCV 4."""
    assert list(found.shape) == record["shape"]
    assert str(found.dtype) == record["dtype"]
    flat = np.ascontiguousarray(found).ravel()
    values = flat[filling.positions("digest", flat.size, 16)].astype(float)
    if rotated and OPENCV_4:
        np.testing.assert_allclose(values, record["values"], rtol=0, atol=levels)
        return
    np.testing.assert_array_equal(values, record["values"])
    assert hashlib.sha256(flat.tobytes()).hexdigest() == record["sha256"]


@pytest.mark.skipif(not RECORDS, reason=f"reference material not found at {FILE} (set INTARSIA_SHARED)")
@pytest.mark.parametrize("record", RECORDS, ids=[f"{r['transform']} {r['arguments']}" for r in RECORDS])
def test_image_and_labels(record: dict[str, Any]) -> None:
    done = transformed(record)
    rotates = record["transform"].startswith("RandomRot")
    if "img" in record:
        image = done.image[..., ::-1] if done.image.ndim == 3 else np.moveaxis(done.image, -1, 0)
        compared(image, record["img"], rotated=rotates, levels=STEP)
    if record["transform"] == "RandomRotFlip":
        rotated_label(done, record)
    elif "gt_seg_map" in record:
        assert done.label is not None
        assert done.label.dtype.kind == "u"
        # The reference leaves labels of volumes in the real numbers of their files.
        compared(done.label.astype(record["gt_seg_map"]["dtype"]), record["gt_seg_map"], rotated=rotates)
    if "gt_edge_map" in record:
        compared(done.maps["edge"], record["gt_edge_map"])


def rotated_label(done: Sample, record: dict[str, Any]) -> None:
    """The reference mixes the labels of neighbouring pixels: its numbers prove the geometry, and are not ours."""
    angle = record["arguments"]["degree"][0]
    matrix, size = rotation((48, 64), angle)
    mixed = np.asarray(cv2.warpAffine(label(), matrix, size[::-1], flags=cv2.INTER_LINEAR))
    compared(mixed, record["gt_seg_map"], rotated=True, levels=STEP)
    assert set(np.unique(mixed)) > {*range(7), 255}
    expected = cv2.warpAffine(label(), matrix, size[::-1], flags=cv2.INTER_NEAREST, borderValue=(255.0,))
    np.testing.assert_array_equal(done.label, expected)
