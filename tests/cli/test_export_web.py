"""`intarsia export --to web`: a page of a real model, and what cannot become one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from PIL import Image

from intarsia.cli.main import main
from intarsia.weights import download
from intarsia.weights.file import load_state, read_meta, save_weights

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "web", "--output", "probs"], "--to web: a page shows label, scores, logits, found --output probs"),
        (["--to", "web", "--batch", "4"], "a page computes one picture at a time, found --batch 4"),
        (["--to", "onnx", "--single-file"], "--single-file and --onnxruntime-web are for --to web"),
        (["--to", "web", "--onnxruntime-web", "nowhere"], "--onnxruntime-web: nowhere does not exist"),
        (["--to", "web"], "INTARSIA_OFFLINE forbids to fetch it"),
    ],
)
def test_what_cannot_be_a_page_is_refused(
    weights: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(download.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(download.OFFLINE, "1")
    assert main(["export", str(weights), "-o", str(tmp_path / "out"), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_models_of_other_bands_are_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(download.OFFLINE, "1")
    meta = read_meta(weights)
    image = {"bands": "raw", "channels": 3, "names": ["red", "green", "nir"]}
    save_weights(tmp_path / "bands.safetensors", load_state(weights), replace(meta, image=image))
    assert main(["export", str(tmp_path / "bands.safetensors"), "-o", str(tmp_path / "out"), "--to", "web"]) == 2
    assert "browsers read colour pictures of 8 bits; the model was trained on 3 bands (raw, uint8)" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no headless browser: chromium or google-chrome is not installed")
def test_a_real_photo_gets_the_labels_of_predict(
    weights: Path, realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line to the browser, one file, as PNG and as JPEG."""
    monkeypatch.delenv(download.OFFLINE, raising=False)
    photos = tmp_path / "photos"
    photos.mkdir()
    image = Image.open(sorted((realdata / "camvid" / "val").glob("*.png"))[0]).convert("RGB")
    image.save(photos / "a.png")
    image.save(photos / "b.jpg", quality=90)
    page, out = tmp_path / "page", tmp_path / "out"
    words = ["--samples", str(photos), "--count", "2", "--output", "scores"]
    try:
        assert main(["export", str(weights), "--to", "web,onnx", "--single-file", "-o", str(page), *words]) == 0
    except download.DownloadError as error:
        pytest.skip(f"onnxruntime-web cannot be had here: {error}")
    certificates = json.loads((page / "certificate.json").read_text())
    assert certificates["index.html"]["passed"] is True
    assert main(["predict", str(page / "model.onnx"), str(photos), "-o", str(out), "--save", "label"]) == 0
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(page / "index.html")
        for name in ("a.png", "b.jpg"):
            expected = np.asarray(Image.open(out / f"{name[0]}.png"))
            root = browser.do("DOM.getDocument")["root"]["nodeId"]
            field = browser.do("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
            browser.do("DOM.setFileInputFiles", nodeId=field, files=[str(photos / name)])
            share = (
                "new Promise((done) => { const look = setInterval(() => { const found = shown?.found;"
                f"if (!found || shown.name !== '{name}') return; clearInterval(look);"
                f"const expected = {expected.ravel().tolist()};"
                "done(expected.filter((value, at) => value === found.label[at]).length / expected.length) }, 50) })"
            )
            assert browser.evaluate(share) >= 0.999, name
    finally:
        browser.close()
