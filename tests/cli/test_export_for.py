"""`intarsia export --for`: files as the programs want them that take them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import intarsia
from intarsia.cli.main import main

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_qgis_shows_tiles_and_gets_probabilities(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnxruntime

    out = tmp_path / "out"
    words = ["export", str(weights), "-o", str(out), "--for", "qgis", "--tile", "96", "--resolution", "20"]
    assert main([*words, "--samples", str(photos), "--count", "2"]) == 0
    assert "Deepness" in capsys.readouterr().err
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["resolution"]) == 20.0
    assert json.loads(said["tiles_size"]) == 96
    tile = np.asarray(Image.open(photos / "a_1.png").resize((96, 96)))
    mean, std = (np.array(json.loads(said[f"standardization_{name}"]), np.float32) for name in ("mean", "std"))
    given = ((tile / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)[None]
    (probs,) = session.run(None, {"image": given})
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(probs[0].argmax(0), intarsia.load(weights).predict(tile).label)
    assert (intarsia.load(out / "model.onnx").predict(tile).label == probs[0].argmax(0)).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--for", "arcgis"], "--for: expected qgis"),
        (["--for", "qgis", "--to", "openvino"], "its plugin Deepness reads ONNX, found --to openvino"),
        (["--for", "qgis", "--size", "64", "64"], "--tile says how large"),
        (["--for", "qgis", "--tile", "0"], "--tile: expected the side of a tile in pixels, 1 to 8192, found 0"),
        (["--for", "qgis", "--tile", "100000"], "1 to 8192, found 100000"),
        (["--for", "qgis", "--resolution", "-1"], "--resolution: expected centimetres per pixel, found -1"),
        (["--for", "qgis", "--precision", "int8"], "expected --precision fp32 or fp16"),
    ],
)
def test_what_a_program_does_not_take_is_refused(
    weights: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(weights), "-o", str(tmp_path / "out"), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
