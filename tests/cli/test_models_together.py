"""Several models as one, on the command line and from Python: the folds of a cross-validation, and weights by name."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from nnunet_results import network, results
from PIL import Image

import intarsia
from intarsia.cli.main import main
from intarsia.weights.file import load_state, read_meta, save_weights
from intarsia.workflows.locate import members_of
from intarsia.workflows.thresholds import keep

CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six grey pictures with a bright disc, labelled; of 48 x 64 pixels."""
    folder = tmp_path_factory.mktemp("spots")
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:48, :64]
    for number in range(6):
        disc = (y - rng.integers(10, 38)) ** 2 + (x - rng.integers(10, 54)) ** 2 < 49
        image = rng.integers(90, 130, (48, 64, 3)) + 60 * disc[..., None]
        for kind, values in (("images", image), ("masks", disc)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(folder / kind / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def cv(spots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of three steps."""
    out = tmp_path_factory.mktemp("cv") / "cv"
    words = ["cv", "small_r18", "--data", str(spots), "--out", str(out), "--folds", "2", "--for", "3 steps"]
    assert main([*words, "--batch", "2", "--crop", "64", "64", "--workers", "0", *CPU]) == 0
    return out


@pytest.fixture(scope="module")
def expected(cv: Path, spots: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The mean of the probabilities that each fold gives by itself, by image."""
    alone = [intarsia.load(cv / name, device="cpu") for name in ("fold_1", "fold_2")]
    found = {}
    for file in sorted((spots / "images").iterdir()):
        each = [np.asarray(one.predict(file, probabilities=True).probabilities) for one in alone]
        assert np.abs(each[0] - each[1]).max() > 0.01
        found[file.stem] = np.mean(each, axis=0, dtype=np.float32)
    return found


def both(cv: Path) -> str:
    return f"{cv / 'fold_1' / 'weights.safetensors'}+{cv / 'fold_2'}"


def labels_of(shares: npt.NDArray[np.float32], cv: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Labels by the mean of the thresholds that training has chosen, and where they are no tie."""
    kept = [read_meta(cv / name / "weights.safetensors").threshold for name in ("fold_1", "fold_2")]
    assert None not in kept
    threshold = sum(kept) / 2
    return shares[1] > threshold, np.abs(shares[1] - threshold) > 1e-6


@pytest.mark.parametrize("named", ["folder", "joined"])
def test_predictions_are_those_of_the_mean(named: str, cv: Path, spots: Path, expected: Any, tmp_path: Path) -> None:
    weights = str(cv) if named == "folder" else both(cv)
    words = ["predict", weights, str(spots / "images"), "-o", str(tmp_path / "out"), "--save", "label,probs"]
    assert main([*words, *CPU]) == 0
    for name, shares in expected.items():
        label, clear = labels_of(shares, cv)
        found = np.asarray(Image.open(tmp_path / "out" / f"{name}.png"))
        assert np.array_equal(found[clear], label[clear])
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{name}_probs.npy"), shares, atol=1e-3)
    manifest = json.loads((tmp_path / "out" / "intarsia.json").read_text())
    assert manifest["model"]["weights"] == "weights.safetensors + weights.safetensors"
    assert manifest["options"]["mean"] == "probabilities"


def test_results_of_one_model_are_not_mixed_with_those_of_several(
    cv: Path, spots: Path, tmp_path: Path, capsys
) -> None:
    words = [str(spots / "images" / "0.png"), "-o", f"{tmp_path / 'out'}/", "--save", "label", *CPU]
    assert main(["predict", str(cv), *words]) == 0
    assert main(["predict", str(cv / "fold_1"), *words]) != 0
    assert "holds results of another model" in capsys.readouterr().err


def test_scores_are_those_of_the_mean(cv: Path, spots: Path, expected: Any, tmp_path: Path) -> None:
    assert (
        main(["eval", str(cv), "--data", str(spots), "--split", "val", "--workers", "0", "--pictures", "0", *CPU]) == 0
    )
    found = json.loads((cv / "together_eval_val" / "eval.json").read_text())
    truth = {name: np.asarray(Image.open(spots / "masks" / f"{name}.png")) for name in expected}
    right = sum(int((labels_of(shares, cv)[0] == truth[name]).sum()) for name, shares in expected.items())
    assert found["images"] == 6
    assert found["aAcc"] == pytest.approx(right / (6 * 48 * 64), abs=1e-4)
    assert "loss" not in found, "it is of one network"
    out = tmp_path / "scores"
    words = ["eval", both(cv), "--data", str(spots), "--out", str(out), "--report", str(out), "--workers", "0"]
    assert main([*words, *CPU]) == 0
    assert json.loads((out / "eval.json").read_text())["mIoU"] == found["mIoU"]
    assert "the mean of the probabilities of 2 models" in (out / "report.html").read_text()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_windows_views_and_scenes_have_the_mean(cv: Path, spots: Path, expected: Any, tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    from intarsia.data.gdal import raster_library

    image = spots / "images" / "0.png"
    each = []
    for weights in (str(cv / "fold_1"), str(cv / "fold_2"), both(cv)):
        out = tmp_path / str(len(each))
        words = ["predict", weights, str(image), "-o", f"{out}/", "--save", "probs"]
        assert main([*words, "--slide", "32", "24", "--augment", "1.0", "1.5", *CPU]) == 0
        each.append(np.load(out / "0_probs.npy").astype(np.float32))
    np.testing.assert_allclose(each[2], (each[0] + each[1]) / 2, atol=1e-3)
    assert main(["predict", str(cv), str(image), "-o", str(tmp_path / "scene.tif"), "--window", "64", *CPU]) == 0
    with raster_library().open(tmp_path / "scene.tif") as scene:
        label, clear = labels_of(expected["0"], cv)
        assert np.array_equal(scene.read(1)[clear], label[clear])


def test_python_takes_a_list_and_a_folder(cv: Path, spots: Path, expected: Any) -> None:
    image = spots / "images" / "3.png"
    for weights in ([cv / "fold_1", cv / "fold_2"], cv):
        predictor = intarsia.load(weights, device="cpu")
        np.testing.assert_allclose(predictor.predict(image, probabilities=True).probabilities, expected["3"], atol=1e-6)
    assert len(predictor.others) == 1
    logits = intarsia.load(cv, device="cpu", mean="logits").predict(image, logits=True).logits
    each = [intarsia.load(cv / f"fold_{k}", device="cpu").predict(image, logits=True).logits for k in (1, 2)]
    np.testing.assert_allclose(logits, np.mean(each, axis=0), atol=1e-5)


def test_kept_thresholds_have_a_mean(cv: Path, spots: Path, tmp_path: Path, capsys) -> None:
    """Of two classes; each file keeps its own."""
    file = tmp_path / "a.safetensors"
    other = tmp_path / "b.safetensors"
    for copy in (file, other):
        shutil.copy(cv / "fold_1" / "weights.safetensors", copy)
    keep(file, 0.2, None)
    keep(other, 0.5, None)
    predictor = intarsia.load([file, other], device="cpu")
    assert predictor.inference.foreground_above == pytest.approx(0.35)
    assert "0.3500" in "".join(capsys.readouterr())
    image = str(spots / "images" / "0.png")
    assert main(["predict", f"{file}+{other}", image, "-o", str(tmp_path / "x.png"), "--save", "label", *CPU]) == 0
    said = "".join(capsys.readouterr())
    assert "above a probability of 0.3500" in said
    shares = np.asarray(predictor.predict(image, probabilities=True).probabilities)[1]
    clear = np.abs(shares - 0.35) > 1e-6
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png"))[clear], (shares > 0.35)[clear])


# --- Refused ------------------------------------------------------------------------------------------------------


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) != 0
    return " ".join(capsys.readouterr().err.split())


def test_models_that_contradict_each_other_are_refused_by_name(cv: Path, spots: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other.safetensors"
    file = cv / "fold_1" / "weights.safetensors"
    meta = read_meta(file)
    save_weights(other, load_state(file), replace(meta, classes=("p", "q")))
    image = str(spots / "images" / "0.png")
    said = refused(["predict", f"{file}+{other}", image, "-o", str(tmp_path / "out"), *CPU], capsys)
    assert "2 models have no mean where they contradict each other: classes" in said
    assert "('p', 'q')" in said
    with pytest.raises(ValueError, match=r"other.safetensors: \('p', 'q'\)"):
        intarsia.load([file, other], device="cpu")


def test_what_takes_one_model_says_so(cv: Path, tmp_path: Path, capsys) -> None:
    for weights in (str(cv), both(cv)):
        said = refused(["export", weights, "--to", "onnx", "-o", str(tmp_path / "x")], capsys)
        assert "is 2 models, which predict, eval and intarsia.load take together" in said


def test_exported_files_are_refused(cv: Path, spots: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "model.onnx").touch()
    pair = [cv / "fold_1", tmp_path / "model.onnx"]
    said = refused(
        ["predict", "+".join(map(str, pair)), str(spots / "images"), "-o", str(tmp_path / "out"), *CPU], capsys
    )
    assert "model.onnx is an exported file: several models are taken together as weights" in said
    with pytest.raises(ValueError, match=r"model\.onnx is an exported file"):
        intarsia.load(pair, device="cpu")


def test_options_of_several_models_are_not_for_one(cv: Path, spots: Path, tmp_path: Path, capsys) -> None:
    image, out = str(spots / "images" / "0.png"), ["-o", str(tmp_path / "out"), *CPU]
    said = refused(["predict", str(cv / "fold_1"), image, "--mean", "logits", *out], capsys)
    assert "--mean logits is for several models" in said
    assert "--mean is probabilities or logits" in refused(["predict", str(cv), image, "--mean", "x", *out], capsys)
    assert "logits of 2 models" in refused(["predict", str(cv), image, "--save", "logits", *out], capsys)
    with pytest.raises(ValueError, match="mean='logits' is for several models"):
        intarsia.load(cv / "fold_1", mean="logits", device="cpu")


def test_images_that_a_model_was_trained_on_are_not_scored_unasked(cv: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other.safetensors"  # of the same validation images
    shutil.copy(cv / "fold_1" / "weights.safetensors", other)
    words = ["--workers", "0", "--pictures", "0", "--out", str(tmp_path / "scores"), *CPU]
    assert main(["eval", f"{cv / 'fold_1'}+{other}", *words]) == 0
    assert json.loads((tmp_path / "scores" / "eval.json").read_text())["images"] == 3
    said = refused(["eval", str(cv), *words], capsys)
    assert "the 2 models were validated on different images" in said
    assert "--split test" in said


# --- Which models are meant ---------------------------------------------------------------------------------------


def test_what_is_meant_by_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pth", "b.pth", "c+d.pth"):
        Path(name).touch()
    assert members_of("a.pth+b.pth") == ("a.pth", "b.pth")
    assert members_of("c+d.pth") == ("c+d.pth",)
    assert members_of(["c+d.pth", Path("a.pth")]) == ("c+d.pth", Path("a.pth"))
    assert members_of("a.pth+missing.pth") == ("a.pth", "missing.pth")  # which is then named as missing
    assert members_of("neither+nor") == ("neither+nor",)
    assert members_of("s3://bucket/x+y") == ("s3://bucket/x+y",)
    assert members_of("s3://bucket/x+s3://bucket/y") == ("s3://bucket/x", "s3://bucket/y")
    with pytest.raises(ValueError, match="an empty list"):
        members_of([])


def test_a_cross_validation_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fold_1").mkdir()
    (tmp_path / "fold_1" / "weights.safetensors").touch()
    (tmp_path / "cv.json").write_text(json.dumps({"asked": {"folds": 3}}))
    with pytest.raises(ValueError, match="without the weights of fold_2, fold_3: let the same `intarsia cv` go on"):
        members_of(tmp_path)


def test_folds_of_nnunet_have_a_mean_of_logits(tmp_path: Path) -> None:
    """Of the folder of results; `fold_all` is another network."""
    for fold in (0, 1, "all"):
        torch.manual_seed(0 if fold == "all" else int(fold))
        folder = results(tmp_path, model=network("plain"), fold=fold)
    assert members_of(folder) == (folder / "fold_0", folder / "fold_1")
    image = np.random.default_rng(0).normal(size=(40, 70, 2)).astype(np.float32)
    each = [intarsia.load(folder / f"fold_{k}", device="cpu").predict(image, logits=True).logits for k in (0, 1)]
    found = intarsia.load(os.fspath(folder), device="cpu").predict(image, logits=True).logits
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-4)
