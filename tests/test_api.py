"""The public Python API: a weights file is all that prediction needs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import intarsia
from intarsia.contracts import Batch, SampleMeta
from intarsia.weights.file import WeightsMeta, save_weights

CLASSES = ("sky", "road", "car", "tree")
PALETTE = ((70, 130, 180), (128, 64, 128), (0, 0, 142), (107, 142, 35))
NORM = {"type": "BN", "requires_grad": True}
CONFIG = {
    "model": {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [123.675, 116.28, 103.53],
            "std": [58.395, 57.12, 57.375],
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": 255,
        },
        "backbone": {
            "type": "MixVisionTransformer",
            "in_channels": 3,
            "embed_dims": 8,
            "num_stages": 4,
            "num_layers": [1, 1, 1, 1],
            "num_heads": [1, 2, 2, 2],
            "patch_sizes": [7, 3, 3, 3],
            "sr_ratios": [8, 4, 2, 1],
            "out_indices": [0, 1, 2, 3],
            "mlp_ratio": 2,
            "qkv_bias": True,
        },
        "decode_head": {
            "type": "SegformerHead",
            "in_channels": [8, 16, 16, 16],
            "in_index": [0, 1, 2, 3],
            "channels": 16,
            "dropout_ratio": 0.1,
            "num_classes": 4,
            "norm_cfg": NORM,
            "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    },
    "test_dataloader": {
        "batch_size": 1,
        "dataset": {
            "type": "BaseSegDataset",
            "data_root": "nowhere",
            "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
            "metainfo": {"classes": list(CLASSES), "palette": [list(colour) for colour in PALETTE]},
            "pipeline": [
                {"type": "LoadImageFromFile"},
                {"type": "Resize", "scale": [96, 64], "keep_ratio": True},
                {"type": "LoadAnnotations"},
                {"type": "PackSegInputs"},
            ],
        },
    },
    "test_cfg": {"type": "TestLoop"},
    "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weights file as training leaves it, of a small network with random weights."""
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    torch.manual_seed(0)
    task = build_task(lower(Config.from_values(CONFIG, file="test")))
    path = tmp_path_factory.mktemp("run") / "weights.safetensors"
    save_weights(path, task.model.state_dict(), WeightsMeta(config=CONFIG, classes=CLASSES, palette=PALETTE))
    return path


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (75, 120, 3), dtype=np.uint8)


def test_a_weights_file_alone_predicts(weights, image):
    predictor = intarsia.load(weights, device="cpu")
    prediction = predictor.predict(image)
    assert prediction.label.shape == (75, 120)
    assert prediction.classes == CLASSES
    assert prediction.palette == PALETTE
    assert [type(transform).__name__ for transform in predictor.transforms] == ["Resize"]
    assert np.array_equal(intarsia.load(weights.parent, device="cpu").predict(image).label, prediction.label)
    assert np.array_equal(intarsia.predict(weights, image, device="cpu").label, prediction.label)


def test_prediction_and_evaluation_share_their_numbers(weights, image):
    """The label map that evaluation scores is the one that predict gives."""
    predictor = intarsia.load(weights, device="cpu")
    from intarsia.contracts import Sample
    from intarsia.data.collate import collate

    sample = Sample(image, meta=SampleMeta(name="one", original_size=image.shape[:2]))
    for transform in predictor.transforms:
        sample = transform(sample, np.random.default_rng(3))
    batch = collate([sample, sample])
    assert isinstance(batch, Batch)
    maps = predictor.predict_batch(batch)
    assert len(maps) == 2
    assert np.array_equal(maps[1].numpy(), predictor.predict(image).label)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta!"])
def test_a_device_that_is_not_there(weights, device):
    with pytest.raises(ValueError, match=rf"device='{device}': torch cannot use it .*intarsia doctor"):
        intarsia.load(weights, device=device)


def test_the_palette_may_be_missing(weights, image, tmp_path):
    from intarsia.weights.file import load_state

    save_weights(tmp_path / "w.safetensors", load_state(weights), WeightsMeta(config=CONFIG, classes=CLASSES))
    prediction = intarsia.load(tmp_path / "w.safetensors", device="cpu").predict(image)
    assert len(set(prediction.palette)) == 4


def test_what_is_wrong_with_a_weights_file_is_said(weights, tmp_path):
    from intarsia.weights.file import load_state

    with pytest.raises(ValueError, match=r"absent\.safetensors does not exist"):
        intarsia.load(tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match=r"holds no weights\.safetensors"):
        intarsia.load(tmp_path)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(ValueError, match="not written by Intarsia"):
        intarsia.load(foreign)
    checkpoint = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": {}}, checkpoint)
    with pytest.raises(ValueError, match=r"not a weights file of Intarsia.*intarsia weights convert"):
        intarsia.load(checkpoint)
    bare = tmp_path / "bare.safetensors"
    save_weights(bare, load_state(weights), WeightsMeta(config=CONFIG))
    with pytest.raises(ValueError, match="does not say its classes"):
        intarsia.load(bare)
    short = tmp_path / "short.safetensors"
    state = {name: value for name, value in load_state(weights).items() if not name.startswith("decode_head")}
    save_weights(short, state, WeightsMeta(config=CONFIG, classes=CLASSES, palette=PALETTE))
    with pytest.raises(ValueError, match="missing in the file"):
        intarsia.load(short)


def test_configs_are_read_as_data(tmp_path):
    (tmp_path / "config.py").write_text("model = dict(\n    type='EncoderDecoder',\n    size=2 * 3)\n")
    config = intarsia.read_config(tmp_path / "config.py")
    assert config.values["model"]["size"] == 6
    assert str(config.origin("model.size")).endswith("config.py:3")


def test_models_are_listed_by_recipe():
    names = intarsia.list_models()
    assert len(names) == len(set(names))
    assert {"fast_scnn", "fcn_r18", "segformer_mit-b0"} <= set(names)
    swins = intarsia.list_models("*SWIN*")
    assert swins == [name for name in names if "swin" in name]
    assert swins
    assert intarsia.list_models("swin") == []
    assert intarsia.list_models(["*swin*", "fast_scnn"]) == [name for name in names if name in (*swins, "fast_scnn")]


def test_arguments_of_a_trunk_that_there_are_not():
    pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(
        ValueError, match=r"trunk\(\) has no argument 'bands'; did you mean 'in_channels'\? There are: "
    ):
        intarsia.trunk("test_resnet", pretrained=False, bands=4)
    with pytest.raises(ValueError, match="no argument 'out_indizes'; did you mean 'out_indices'"):
        intarsia.trunk("test_resnet", pretrained=False, out_indizes=(1,))


def test_a_model_in_memory_is_no_file():
    import torch

    for call in (intarsia.load, intarsia.evaluate):
        with pytest.raises(ValueError, match=r"found a Identity; expected .*intarsia\.save\(model, FILE"):
            call(torch.nn.Identity())


def test_public_names_are_all_there():
    assert set(intarsia.__all__) <= set(dir(intarsia))
    assert all(getattr(intarsia, name) is not None for name in intarsia.__all__)
    assert intarsia.losses.dice is not None
    with pytest.raises(AttributeError, match="has no attribute 'fit'; it has Prediction, "):
        intarsia.fit  # noqa: B018


def test_importing_loads_no_torch():
    code = (
        "import sys, intarsia; intarsia.load; intarsia.list_models('*swin*'); intarsia.train; intarsia.save; "
        "intarsia.create_model; print({'torch', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
