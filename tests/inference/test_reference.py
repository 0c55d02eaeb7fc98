"""The whole way of inference against figures of MMSegmentation 1.2.2 itself."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.contracts import Batch, SampleMeta
from intarsia.inference.logits.postprocess import RequestedFields, postprocess
from intarsia.inference.predictor import Predictor
from intarsia.spec import AugmentedInference

NAMES = [
    "inference:whole",
    "inference:whole_resized",
    "inference:slide",
    "inference:slide_uneven",
    "inference:slide_larger_than_image",
    "inference:flip",
    "inference:flip_vertical",
]


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
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    with gzip.open(shared / "facts" / "mmseg_configs.json.gz") as file:
        config = json.load(file)["fcn/fcn_r18-d8_4xb2-80k_cityscapes-769x769"]
    config["model"]["data_preprocessor"] |= {"mean": [0, 0, 0], "std": [1, 1, 1], "size": None}
    spec = lower(Config.from_values(config, file="golden"))
    task = build_task(spec).double()
    state = task.model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            value.copy_(torch.from_numpy(fill.value(name, value.shape)))
    return task, spec.inference


def _reference(shared, name):
    return json.loads((shared / "golden" / "inference_and_metrics.json").read_text())[name]


def _predictor(network, entry, **settings):
    task, inference = network
    sizes = {key: tuple(entry["test_cfg"][key]) for key in ("crop_size", "stride") if key in entry["test_cfg"]}
    inference = replace(inference, mode=entry["test_cfg"]["mode"], **sizes)
    classes = [str(k) for k in range(19)]
    return Predictor(task, inference=inference, classes=classes, palette=[(k, k, k) for k in range(19)], **settings)


def _batch(fill, name, entry):
    image = torch.from_numpy(fill.rng(entry["input_name"]).standard_normal(entry["input"]))
    direction = {"inference:flip": "horizontal", "inference:flip_vertical": "vertical"}.get(name)
    meta = SampleMeta(original_size=tuple(entry["ori_shape"]), flips=(direction,) if direction else ())
    return Batch(image, None, (tuple(image.shape[2:]),), (meta,))


@pytest.mark.parametrize("name", NAMES)
def test_label_maps(name, shared, fill, network):
    entry = _reference(shared, name)
    (label,) = _predictor(network, entry, batch_windows=3).predict_batch(_batch(fill, name, entry))
    expected = entry["label"]
    assert list(label.shape) == expected["shape"][1:]
    assert np.bincount(label.numpy().ravel(), minlength=19).tolist() == expected["counts"]
    index = fill.sample_index(name.replace("inference", "label"), label.numel(), len(expected["values"]))
    assert label.numpy().ravel()[index].tolist() == expected["values"]


@pytest.mark.parametrize("name", NAMES)
def test_logits_at_the_size_of_the_input(name, shared, fill, network):
    """What the original's inference returns: before flips are undone and before the second resize."""
    entry = _reference(shared, name)
    batch = _batch(fill, name, entry)
    meta = replace(batch.metas[0], original_size=tuple(entry["input"][2:]), flips=())
    predictor = _predictor(network, entry)
    with torch.inference_mode():
        ((view,),) = predictor._views(replace(batch, metas=(meta,)))
        logits = postprocess([view], wanted=RequestedFields(logits=True, dtype=torch.float64)).logits[None]
    expected = entry["logits"]
    assert list(logits.shape) == expected["shape"]
    assert logits.mean().item() == pytest.approx(expected["mean"], rel=1e-9)
    assert logits.std(correction=0).item() == pytest.approx(expected["std"], rel=1e-9)
    index = fill.sample_index(name, logits.numel(), len(expected["values"]))
    np.testing.assert_allclose(logits.numpy().ravel()[index], expected["values"], rtol=1e-9, atol=1e-12)


# --- A trained checkpoint ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(shared):
    """Folder, description and task of the checkpoint that MMSegmentation trained."""
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import read_file
    from intarsia.config.lowering.lower import lower
    from intarsia.weights.file import apply_state, load_state

    folder = shared / "golden" / "trained"
    spec = lower(read_file(folder / "fast_scnn_camvid.py"))
    task = build_task(spec)
    apply_state(task.model, load_state(folder / "fast_scnn_camvid_iter_700.pth"))
    return folder, spec, task


def _predictor_of(trained, *, augment=False, **inference):
    from intarsia.api import predictor_for

    _, spec, task = trained
    spec = replace(spec, inference=replace(spec.inference, **inference))
    return predictor_for(
        spec, task, classes=[str(k) for k in range(11)], palette=[(k, k, k) for k in range(11)], augment=augment
    )


def test_label_maps_of_a_trained_checkpoint(trained, realdata):
    """Files to label maps, through the test pipeline of the config beside the checkpoint."""
    differing = pixels = 0
    for prediction in _predictor_of(trained).predict(realdata / "camvid" / "val"):
        stored = np.array(Image.open(trained[0] / "predictions_whole" / f"{prediction.name}.png"))
        differing += int((stored != prediction.label).sum())
        pixels += stored.size
    assert pixels == 21 * 360 * 480
    assert differing <= pixels / 100_000


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("whole", {}),
        ("slide", {"mode": "slide", "crop_size": (192, 192), "stride": (128, 128)}),
        ("tta", {"augmented": AugmentedInference((0.75, 1.0, 1.25), (None, "horizontal")), "augment": True}),
    ],
)
def test_areas_of_a_trained_checkpoint(name, settings, trained, realdata):
    """Pixels of each class in agreement, in prediction and in truth, over the 21 images, as the original counted."""
    recorded = json.loads((trained[0] / "scores.json").read_text())[name]["areas_intersect_union_pred_label"]
    intersection, _, predicted, labelled = np.array(recorded).astype(int)
    found = np.zeros((3, 11), int)
    for prediction in _predictor_of(trained, **settings).predict(realdata / "camvid" / "val"):
        truth = np.array(Image.open(realdata / "camvid" / "valannot" / f"{prediction.name}.png"))
        kept = truth != 11
        agreed = prediction.label[kept & (prediction.label == truth)]
        for row, values in enumerate((agreed, prediction.label[kept], truth[kept])):
            found[row] += np.bincount(values, minlength=11)
    assert found[2].tolist() == labelled.tolist()
    allowed = labelled.sum() / 100_000
    assert np.abs(found[0] - intersection).max() <= allowed
    assert np.abs(found[1] - predicted).sum() <= 2 * allowed
