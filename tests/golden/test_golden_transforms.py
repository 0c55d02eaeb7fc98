"""Every transform of the reference on the same image and labels, written as a config writes it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

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

FILE = references.SHARED / "golden/transforms.json"
RECORDS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["cases"] if FILE.is_file() else []
NOT_YET = {
    "AdjustGamma", "CLAHE", "LoadBiomedicalAnnotation", "LoadBiomedicalData",
    "LoadBiomedicalImageFromFile", "RGB2Gray", "RandomCutOut", "RandomRotFlip", "RandomRotate", "Rerange",
}  # fmt: skip
"""Transforms that are not built yet (issue 12). One that is must leave this table, and is compared from then on."""
COMPARED = {"GenerateEdge", "Pad", "RandomFlip", "Resize", "ResizeShortestEdge", "ResizeToMultiple"}


def test_every_transform_is_compared_or_known_to_be_missing() -> None:
    assert set(catalog.NOT_YET["transform"]) >= NOT_YET
    assert set(catalog.names("transform")) >= COMPARED
    if not RECORDS:
        pytest.skip(f"reference material not found at {FILE}")
    assert {record["transform"] for record in RECORDS} == COMPARED | NOT_YET


def transformed(record: dict[str, Any]) -> Sample:
    """The reference's images are BGR, ours RGB; what a config says of colours is in the order of the reference."""
    image = filling.stream("transform:image").integers(0, 256, (48, 64, 3)).astype(np.uint8)
    label = filling.labels(1, 48, 64, 7, name="transform:label")[0].numpy().astype(np.uint8)
    step = {"type": record["transform"], **record["arguments"]}
    pipeline = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, step, {"type": "PackSegInputs"}]
    head = {"type": "FCNHead", "in_channels": 64, "in_index": 3, "channels": 4, "num_classes": 7}
    backbone = {"type": "ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8}
    values = {
        "model": {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head},
        "train_dataloader": {"batch_size": 1, "dataset": {"type": "BaseSegDataset", "pipeline": pipeline}},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
    }
    spec = lower(Config.from_values(values, file="reference"))
    assert spec.train is not None
    [transform] = spec.train.transforms
    done: Sample = build(transform)(Sample(image[..., ::-1], label), np.random.default_rng(0))
    return done


def compared(found: npt.NDArray[Any], record: dict[str, Any]) -> None:
    assert list(found.shape) == record["shape"]
    assert str(found.dtype) == record["dtype"]
    flat = np.ascontiguousarray(found).ravel()
    np.testing.assert_array_equal(flat[filling.positions("digest", flat.size, 16)], record["values"])
    assert hashlib.sha256(flat.tobytes()).hexdigest() == record["sha256"]


@pytest.mark.skipif(not RECORDS, reason=f"reference material not found at {FILE} (set INTARSIA_SHARED)")
@pytest.mark.parametrize("record", RECORDS, ids=[f"{r['transform']} {r['arguments']}" for r in RECORDS])
def test_image_and_labels(record: dict[str, Any]) -> None:
    if record["transform"] in NOT_YET:
        pytest.skip(f"{record['transform']} is not built yet")
    done = transformed(record)
    compared(done.image[..., ::-1], record["img"])
    assert done.label is not None
    compared(done.label, record["gt_seg_map"])
    if "gt_edge_map" in record:
        compared(done.maps["edge"], record["gt_edge_map"])
