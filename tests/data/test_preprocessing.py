"""Six real images through published test pipelines: every number as MMSegmentation gave it."""

from __future__ import annotations

import gzip
import json
import sys

import numpy as np
import pytest

from intarsia.data.collate import collate
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.labels import LabelTable
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import sample_rng
from intarsia.data.transforms.resize import Resize, ResizeShortestEdge

CASES = ("ade20k", "ade20k_mask2former", "ade20k_san", "loveda", "potsdam", "cityscapes")


@pytest.fixture(scope="module")
def reference(shared):
    return json.loads((shared / "golden" / "preprocessing.json").read_text())


@pytest.fixture(scope="module")
def preprocessors(shared, reference):
    with gzip.open(shared / "facts" / "mmseg_configs.json.gz") as file:
        configs = json.load(file)
    return {name: configs[case["config"]]["model"]["data_preprocessor"] for name, case in reference.items()}


def transform(description):
    arguments = {key: value for key, value in description.items() if key != "type"}
    arguments["scale"] = tuple(arguments["scale"])
    return {"Resize": Resize, "ResizeShortestEdge": ResizeShortestEdge}[description["type"]](**arguments)


@pytest.mark.parametrize("name", CASES)
def test_reference_numbers(reference, preprocessors, shared, name):
    case, preprocess = reference[name], preprocessors[name]
    table = LabelTable.reduce_zero(254) if case["reduce_zero_label"] else LabelTable.identity(254)
    dataset = FolderDataset(
        root=str(shared / "realdata"),
        pairs=[(case["image"], case["label"])],
        classes=[str(index) for index in range(254)],
        label_table=table,
    )
    transforms = [transform(step) for step in case["pipeline"] if step["type"].startswith("Resize")]
    sample = Pipeline(dataset, transforms, label_size="original").get(0, sample_rng(0, 0))

    assert sample.image.shape == tuple(case["resized_shape"])
    assert sample.meta.original_size == tuple(case["ori_shape"])
    means = sample.image.reshape(-1, 3).mean(0)[::-1]
    np.testing.assert_allclose(means, case["bgr_mean"], rtol=1e-12)
    values, counts = np.unique(sample.label, return_counts=True)
    assert dict(zip(map(str, values), counts.tolist(), strict=True)) == case["label_counts"]
    assert list(sample.label.shape) == case["label_shape"][1:]

    sys.path.insert(0, str(shared / "golden"))
    try:
        import fill
    finally:
        sys.path.pop(0)
    images = collate([sample], label_size="original").images.numpy().astype(np.float32)
    mean, std = (np.array(preprocess[key], np.float32)[:, None, None] for key in ("mean", "std"))
    images = (images - mean) / std
    padded = np.full(case["input"]["shape"], preprocess.get("pad_val", 0), np.float32)
    padded[:, :, : images.shape[2], : images.shape[3]] = images
    picked = fill.sample_index(f"input:{name}", padded.size, len(case["input"]["values"]))
    np.testing.assert_allclose(padded.reshape(-1)[picked], case["input"]["values"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(padded.mean(dtype=np.float64), case["input"]["mean"], atol=1e-6)
    np.testing.assert_allclose(padded.std(dtype=np.float64), case["input"]["std"], rtol=1e-6)
