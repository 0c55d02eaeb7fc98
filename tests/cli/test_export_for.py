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
        (["--for", "arcgis"], "--for: expected qgis, triton"),
        (["--for", "qgis", "--to", "openvino"], "its plugin Deepness reads ONNX, found --to openvino"),
        (["--for", "qgis", "--size", "64", "64"], "--tile says how large"),
        (["--for", "qgis", "--tile", "0"], "--tile: expected the side of a tile in pixels, 1 to 8192, found 0"),
        (["--for", "qgis", "--tile", "100000"], "1 to 8192, found 100000"),
        (["--for", "qgis", "--resolution", "-1"], "--resolution: expected centimetres per pixel, found -1"),
        (["--for", "qgis", "--precision", "int8"], "expected --precision fp32 or fp16"),
        (["--for", "triton", "--to", "onnx,openvino"], "--for triton: expected one of --to onnx, openvino, tensorrt"),
        (["--for", "triton", "--name", "a/b"], "--name: expected letters, digits"),
        (["--to", "tensorrt", "--precision", "int8"], "int8 is for onnx and openvino, not for tensorrt"),
        (["--sizes", "1x1", "2x2", "3x3"], "--sizes is what an engine is made for: add --to tensorrt"),
        (["--to", "tensorrt", "--sizes", "9x9", "2x2", "3x3"], "expected MIN <= OPT <= MAX on every side"),
        (
            ["--to", "tensorrt", "--sizes", "big", "2x2", "3x3"],
            "expected three of HxW, as 512x1024, found 'big'",
        ),
        (["--to", "tensorrt", "--sizes", "1x1", "2x2", "3x3", "--size", "2", "2"], "leave out one of them"),
    ],
)
def test_what_a_program_does_not_take_is_refused(
    weights: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(weights), "-o", str(tmp_path / "out"), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_triton_finds_a_folder_of_its_repository(weights: Path, photos: Path, tmp_path: Path) -> None:
    words = ["export", str(weights), "-o", str(tmp_path / "models"), "--for", "triton", "--name", "streets"]
    assert main([*words, "--samples", str(photos), "--count", "1", "--most", "2"]) == 0
    folder = tmp_path / "models" / "streets"
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()) == [
        "1/model.onnx", "config.pbtxt", "labels.txt",
    ]  # fmt: skip
    text = (folder / "config.pbtxt").read_text()
    assert 'name: "streets"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 2\n' in text
    assert (folder / "labels.txt").read_text() == "sky\nroad\ncar\n"
    pixels = np.asarray(Image.open(photos / "a_1.png").convert("RGB"))
    found, expected = (intarsia.load(file).predict(pixels).label for file in (folder / "1" / "model.onnx", weights))
    np.testing.assert_array_equal(found, expected)


def test_tensorrt_gets_a_file_a_script_and_what_the_engine_says(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from intarsia.export.formats import tensorrt

    if tensorrt.is_installed():
        pytest.skip("TensorRT is installed here, and would make an engine")
    words = ["export", str(weights), "-o", str(tmp_path / "out"), "--to", "tensorrt", "--count", "1"]
    assert main([*words, "--samples", str(photos), "--sizes", "64x64", "80x96", "160x192"]) == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "build_engine.sh", "certificate.json", "model.plan.json", "model_tensorrt.onnx",
    ]  # fmt: skip
    shown = " ".join(capsys.readouterr().err.split())
    assert "pip install tensorrt" in shown
    assert "--maxShapes=image:4x160x192x3" in shown
    assert f"intarsia export verify {tmp_path / 'out' / 'model.plan'} --against {weights}" in shown
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())["model_tensorrt.onnx"]
    assert certificate["passed"]
    assert certificate["runtime"] == "onnxruntime"


def test_a_folder_that_cannot_be_written_is_named(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["export", str(weights), "-o", str(tmp_path / "file" / "out")]) != 0
    assert str(tmp_path / "file") in " ".join(capsys.readouterr().err.split())
