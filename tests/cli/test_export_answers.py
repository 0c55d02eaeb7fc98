"""`intarsia export` of models that answer with depths or by one logit, and their files in the place of weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vpd import config, write_rooms
from torch import nn

import intarsia
from intarsia.cli.main import main
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.data.datasets.nyu import CLASSES
from intarsia.export.runtime import read_meta
from intarsia.weights.file import WeightsMeta, load_state, save_weights
from intarsia.weights.file import read_meta as weights_meta

pytest.importorskip("onnxruntime")


def labels(folder: Path) -> dict[str, np.ndarray]:
    return {str(file.relative_to(folder)): np.asarray(Image.open(file)) for file in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms with their depths, and a small VPD away from its start."""
    root = write_rooms(tmp_path_factory.mktemp("rooms"))
    values = json.loads(json.dumps(config(str(root))))
    torch.manual_seed(0)
    task = build_task(lower(Config.from_values(values, file="depth")))
    for parameter in task.model.parameters():
        if parameter.ndim > 1 and not parameter.any():  # attention starts without any effect
            nn.init.normal_(parameter, std=0.1)
    for parameter in task.model.decode_head.parameters():
        nn.init.normal_(parameter, std=0.1)
    save_weights(root / "weights.safetensors", task.model.state_dict(), WeightsMeta(config=values, classes=CLASSES))
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "file"), [("onnx", "model.onnx"), ("openvino", "model.xml")])
def test_depths_are_those_of_the_weights(
    rooms: Path, tmp_path: Path, kind: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "openvino":
        pytest.importorskip("openvino")
    weights, images = rooms / "weights.safetensors", rooms / "images" / "test"
    assert main(["export", str(weights), "--to", kind, "-o", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "every room is unknown to it" in shown
    assert "RMSE on 2 images with depths" in shown
    meta = read_meta(tmp_path / file)
    assert meta.contract.outputs == ("depth",)
    assert meta.contract.answer == "depth"
    first, second = meta.certificate["rmse"]
    assert first == pytest.approx(second, rel=1e-4)
    assert meta.certificate["mean_iou"] is None
    attic = images / "attic_00001.jpg"  # no kind of room that the network was told of
    found, expected = (intarsia.load(model).predict(attic).depth for model in (tmp_path / file, weights))
    assert found.std() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4)

    assert main(["predict", str(tmp_path / file), str(images), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert (tmp_path / "out" / "attic_00001.tif").is_file()
    assert main(["eval", str(tmp_path / file), "--device", "cpu", "--out", str(tmp_path / "scores")]) == 0
    assert json.loads((tmp_path / "scores" / "eval.json").read_text())["rmse"] > 0


@pytest.mark.parametrize("output", ["probs", "logits", "scores"])
def test_a_model_of_depth_has_depths_alone(
    rooms: Path, tmp_path: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(rooms / "weights.safetensors"), "-o", str(tmp_path), "--output", output]) == 2
    assert f"--output {output} is of models of classes" in " ".join(capsys.readouterr().err.split())


def test_a_model_of_classes_has_no_depths(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(weights), "-o", str(tmp_path), "--output", "depth"]) == 2
    assert "--output depth is of models of depth" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("output", ["probs", "scores", "label"])
def test_a_file_of_one_logit_takes_another_threshold_or_says_why_not(
    weights: Path, photos: Path, tmp_path: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its config has one class (num_classes=1), and the file gives two."""
    config, state = json.loads(json.dumps(weights_meta(weights).config)), load_state(weights)
    config["model"]["decode_head"] |= {
        "num_classes": 1, "out_channels": 1, "threshold": 0.5,
        "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
    }  # fmt: skip
    head = "decode_head.conv_seg."
    state |= {f"{head}{name}": state[f"{head}{name}"][:1] for name in ("weight", "bias")}
    binary = tmp_path / "binary.safetensors"
    save_weights(binary, state, WeightsMeta(config=config, classes=("ground", "crack"), threshold=0.47))
    assert main(["export", str(binary), "-o", str(tmp_path), "--output", output, "--count", "1"]) == 0
    words = ["--save", "label", "--device", "cpu"]
    assert main(["predict", str(tmp_path / "model.onnx"), str(photos), "-o", str(tmp_path / "own"), *words]) == 0
    told = " ".join(capsys.readouterr().err.split())
    how = "it is in the file" if output == "label" else "--threshold changes it"
    assert f"a pixel is crack above a probability of 0.4700, chosen on the validation images ({how})" in told
    words += ["--threshold", "0.55"]
    done = main(["predict", str(tmp_path / "model.onnx"), str(photos), "-o", str(tmp_path / "file"), *words])
    told = " ".join(capsys.readouterr().err.split())
    if output == "label":
        assert done == 2
        assert "the file gives label, decided by a threshold of its own: export it with --output probs" in told
        return
    assert done == 0
    assert main(["predict", str(binary), str(photos), "-o", str(tmp_path / "weights"), *words]) == 0
    found, expected = labels(tmp_path / "file"), labels(tmp_path / "weights")
    assert found.keys() == expected.keys()
    assert len({value for label in expected.values() for value in np.unique(label)}) == 2
    for name, label in expected.items():
        np.testing.assert_array_equal(found[name], label, err_msg=name)
