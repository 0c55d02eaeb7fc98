"""Files for programs with rules of their own, used as these programs use them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import CLASSES, Made, image

from intarsia.export import runtime
from intarsia.export.formats import onnx
from intarsia.export.program import exported
from intarsia.export.receivers import qgis

SIDE = 64


def for_qgis(made: Made, path: Path, **metadata: Any) -> Path:
    contract = qgis.contract_of(made.task.preprocess, SIDE, "fp32")
    whole = replace(made, inference=made.inference).deployable("probs", "NCHW")
    whole.contract = contract
    module = qgis.Tile(whole, made.inference)
    also = qgis.metadata(contract, made.classes, made.inference, **{"resolution": 12.5, **metadata})
    onnx.write(exported(module), path, made.meta(contract), also=also)
    return path


class Deepness:
    """What the plugin does with a file and a tile, as its sources say it."""

    def __init__(self, path: Path) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        self.session = onnxruntime.InferenceSession(str(path))
        (self.input,) = self.session.get_inputs()
        (self.output,) = self.session.get_outputs()
        self.said = {key: json.loads(text) for key, text in self.session.get_modelmeta().custom_metadata_map.items()}

    def classes(self) -> list[str]:
        named = sorted(self.said["class_names"].items(), key=lambda one: int(one[0]))
        assert [int(key) for key, _ in named] == list(range(len(named)))
        return [name for _, name in named]

    def labels(self, tile: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        batch = np.float32(tile[None, :, :, : self.input.shape[-3]] * 1.0 / 255.0)
        mean, std = (np.array(self.said[f"standardization_{name}"], np.float32) for name in ("mean", "std"))
        given = np.float32((batch - mean) / std).transpose(0, 3, 1, 2)
        (result,) = self.session.run(None, {self.input.name: given})
        result[result < self.said["seg_thresh"]] = 0.0
        return (result != 0).astype(int)[0, 0] if result.shape[1] == 1 else np.argmax(result, axis=1)[0]


@pytest.mark.parametrize(
    "kind",
    [{}, {"channel_order": "bgr"}, {"logits": 1, "threshold": 0.6}, {"logits": 2, "threshold": 0.7}, {"logits": 2}],
    ids=str,
)
def test_deepness_gives_the_labels_of_the_predictor(make: Any, tmp_path: Path, kind: dict[str, Any]) -> None:
    pytest.importorskip("onnxscript")
    made = make(**kind)
    plugin = Deepness(for_qgis(made, tmp_path / "model.onnx"))
    assert plugin.input.type == "tensor(float)"
    assert plugin.input.shape == [1, 3, SIDE, SIDE]
    assert len(plugin.output.shape) == 4
    assert plugin.output.shape[2] == plugin.output.shape[3] == SIDE
    for seed in range(3):
        tile = image((SIDE, SIDE), seed=seed)
        expected = made.predictor().predict(tile).label
        np.testing.assert_array_equal(plugin.labels(tile), expected)
        assert len(np.unique(expected)) > 1


def test_deepness_finds_its_keys(make: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    plugin = Deepness(for_qgis(make(), tmp_path / "model.onnx"))
    assert plugin.classes() == list(CLASSES)
    said = {key: value for key, value in plugin.said.items() if key != "intarsia"}
    assert said == {
        "model_type": "Segmentor",
        "class_names": {"0": "sky", "1": "road", "2": "car"},
        "resolution": 12.5,
        "tiles_size": SIDE,
        "tile_size": SIDE,
        "tiles_overlap": 25,
        "standardization_mean": pytest.approx([120 / 255, 110 / 255, 100 / 255]),
        "standardization_std": pytest.approx([60 / 255, 50 / 255, 55 / 255]),
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
    }
    unknown = for_qgis(make(logits=1, threshold=0.25), tmp_path / "other.onnx", resolution=None)
    assert "resolution" not in Deepness(unknown).said
    assert Deepness(unknown).said["seg_thresh"] == 0.25


def test_windows_of_a_model_are_the_overlap_of_tiles(make: Any) -> None:
    made = make()
    inference = replace(made.inference, mode="slide", crop_size=(64, 64), stride=(40, 40))
    contract = qgis.contract_of(made.task.preprocess, SIDE, "fp32")
    found = qgis.metadata(contract, made.classes, inference, resolution=None)
    assert found["tiles_overlap"] == "38"


@pytest.mark.parametrize("kind", [{}, {"logits": 1, "threshold": 0.3}], ids=str)
def test_intarsia_reads_what_it_wrote_for_qgis(make: Any, tmp_path: Path, kind: dict[str, Any]) -> None:
    from test_files import predictor_of

    pytest.importorskip("onnxscript")
    made = make(**kind)
    path = for_qgis(made, tmp_path / "model.onnx")
    assert runtime.read_meta(path).contract.mean == (120.0, 110.0, 100.0)
    ours = predictor_of(made, path)
    pixels = image((SIDE, SIDE))
    expected = made.predictor().predict(pixels, probabilities=True)
    found = ours.predict(pixels, probabilities=True)
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=2e-6)
