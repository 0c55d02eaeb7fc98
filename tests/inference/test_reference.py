"""The whole way of inference against figures of MMSegmentation 1.2.2 itself."""

from __future__ import annotations

import gzip
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.contracts import Batch, SampleMeta
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec


@pytest.fixture(scope="module")
def fill(shared):
    sys.path.insert(0, str(shared / "golden"))
    try:
        import fill
    finally:
        sys.path.pop(0)
    return fill


@pytest.fixture(scope="module")
def network(shared, fill):
    """FCN-R18-D8 with the reference weights, float64."""
    from intarsia.config.build import build_task
    from intarsia.config.lower import lower
    from intarsia.config.reader import Config

    with gzip.open(shared / "facts" / "mmseg_configs.json.gz") as file:
        config = json.load(file)["fcn/fcn_r18-d8_4xb2-80k_cityscapes-769x769"]
    config["model"]["data_preprocessor"] |= {"mean": [0, 0, 0], "std": [1, 1, 1], "size": None}
    config["model"]["test_cfg"] = {"mode": "whole"}
    spec = lower(Config.from_values(config, file="golden"))
    task = build_task(spec).double()
    state = task.model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            value.copy_(torch.from_numpy(fill.value(name, value.shape)))
    return task, spec.inference


@pytest.mark.parametrize(
    "name", ["inference:whole", "inference:whole_resized", "inference:flip", "inference:flip_vertical"]
)
def test_label_maps_of_whole_inference(name, shared, fill, network):
    entry = json.loads((shared / "golden" / "inference_and_metrics.json").read_text())[name]
    task, inference = network
    image = torch.from_numpy(fill.rng(entry["input_name"]).standard_normal(entry["input"]))
    direction = {"inference:flip": "horizontal", "inference:flip_vertical": "vertical"}.get(name)
    meta = SampleMeta(original_size=tuple(entry["ori_shape"]), flips=(direction,) if direction else ())
    batch = Batch(image, None, (tuple(image.shape[2:]),), (meta,))
    classes = [str(k) for k in range(19)]
    predictor = Predictor(task, inference=inference, classes=classes, palette=[(k, k, k) for k in range(19)])
    (label,) = predictor.predict_batch(batch)
    expected = entry["label"]
    assert list(label.shape) == expected["shape"][1:]
    assert np.bincount(label.numpy().ravel(), minlength=19).tolist() == expected["counts"]
    index = fill.sample_index(name.replace("inference", "label"), label.numel(), len(expected["values"]))
    assert label.numpy().ravel()[index].tolist() == expected["values"]


def test_label_maps_of_a_trained_checkpoint(shared, realdata):
    """Files to label maps, through the test pipeline of the config beside the checkpoint."""
    from intarsia.api import predictor_for
    from intarsia.config.build import build_task
    from intarsia.config.lower import lower
    from intarsia.config.reader import read_file
    from intarsia.weights.file import apply_state, load_state

    folder = shared / "golden" / "trained"
    spec = lower(read_file(folder / "fast_scnn_camvid.py"))
    task = build_task(spec)
    apply_state(task.model, load_state(folder / "fast_scnn_camvid_iter_700.pth"))
    classes = [str(k) for k in range(11)]
    predictor = predictor_for(spec, task, classes=classes, palette=[(k, k, k) for k in range(11)])
    assert isinstance(predictor.inference, InferenceSpec)
    differing = pixels = 0
    for prediction in predictor.predict(realdata / "camvid" / "val"):
        stored = np.array(Image.open(folder / "predictions_whole" / f"{prediction.name}.png"))
        differing += int((stored != prediction.label).sum())
        pixels += stored.size
    assert pixels == 21 * 360 * 480
    assert differing <= pixels / 100_000
