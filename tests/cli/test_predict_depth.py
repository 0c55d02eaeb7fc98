"""``intarsia predict`` and ``eval`` with a model of depth: files hold what the network says, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_vpd import config, write_rooms
from torch import Tensor, nn

import intarsia
from intarsia.cli.main import main
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.data.datasets.nyu import CLASSES
from intarsia.inference.outputs.manifest import ResultFinder
from intarsia.weights.file import WeightsMeta, save_weights

Made = tuple[Path, Path, nn.Module]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Rooms with their depths; weights whose config names these; and their network, away from its start."""
    root = write_rooms(tmp_path_factory.mktemp("rooms"))
    values = json.loads(json.dumps(config(str(root))))
    torch.manual_seed(0)
    task = build_task(lower(Config.from_values(values, file="depth")))
    for parameter in task.model.parameters():
        if parameter.ndim > 1 and not parameter.any():  # attention starts without any effect
            nn.init.normal_(parameter, std=0.1)
    for parameter in task.model.decode_head.parameters():
        nn.init.normal_(parameter, std=0.1)
    weights = root / "run" / "weights.safetensors"
    weights.parent.mkdir()
    save_weights(weights, task.model.state_dict(), WeightsMeta(config=values, classes=CLASSES))
    return weights, root / "images" / "test", task.model.eval()


def predict(*words: str | Path) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


def network_says(model: nn.Module, image: npt.NDArray[np.uint8], category: int) -> npt.NDArray[np.float32]:
    """Depths of an image (60, 80, 3) as the config has them: at 48 x 64, in two windows, each with its mirror image."""
    small = cv2.resize(image, (64, 48), interpolation=cv2.INTER_LINEAR)
    pixels = (torch.from_numpy(small).permute(2, 0, 1)[None].float() - 127.5) / 127.5

    def answer(window: Tensor) -> Tensor:
        found = model(window, torch.tensor([category]))
        return F.interpolate(found, (48, 48), mode="bilinear", align_corners=False)[0, 0]

    total, count = torch.zeros(48, 64), torch.zeros(48, 64)
    with torch.no_grad():
        for left in (0, 16):
            window = pixels[..., left : left + 48]
            total[:, left : left + 48] += answer(window) + answer(window.flip(3)).flip(1)
            count[:, left : left + 48] += 2
        depth = F.interpolate((total / count)[None, None], (60, 80), mode="bilinear", align_corners=False)[0, 0]
    return np.asarray(depth.numpy())


def test_files_hold_what_the_network_says(made: Made, tmp_path: Path) -> None:
    weights, images, model = made
    out = tmp_path / "out"
    assert predict(weights, images, "-o", out) == 0
    names = ["attic_00001.tif", "attic_00001_color.png", "bathroom_00000.tif", "bathroom_00000_color.png"]
    assert sorted(path.name for path in out.iterdir()) == [*names, "depths.csv", "intarsia.json"]
    rows = {row["image"]: row for row in csv.DictReader((out / "depths.csv").open())}
    ranges = []
    for name, category in (("attic_00001", -1), ("bathroom_00000", CLASSES.index("bathroom"))):
        expected = network_says(model, np.array(Image.open(images / f"{name}.jpg")), category)
        for found in (
            cv2.imread(str(out / f"{name}.tif"), cv2.IMREAD_UNCHANGED),
            np.array(Image.open(out / f"{name}.tif")),
        ):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert np.ptp(expected) > 0.05  # not one number everywhere, of which every mistake makes the same
        least, median, most = expected.min(), np.median(expected), expected.max()
        ranges.append((least, median, most))
        row = rows[name]
        assert (row["width"], row["height"]) == ("80", "60")
        assert [float(row[key]) for key in ("min", "median", "max")] == pytest.approx([least, median, most], rel=1e-5)
    options = json.loads((out / "intarsia.json").read_text())["options"]
    least, median, most = min(r[0] for r in ranges), np.median([r[1] for r in ranges]), max(r[2] for r in ranges)
    words = options["depths"].replace(",", "").split()
    assert [float(words[i]) for i in (1, 5, 7)] == pytest.approx([least, median, most], rel=1e-5)
    assert options["format"] == "tiff"


def test_scenes_in_names_change_what_is_predicted(made: Made, tmp_path: Path) -> None:
    """As evaluation, which takes the kind of room from the same names."""
    weights, images, _ = made
    shutil.copy(images / "bathroom_00000.jpg", tmp_path / "photo.jpg")
    model = intarsia.load(weights, device="cpu")
    named, other = model.predict(images / "bathroom_00000.jpg").depth, model.predict(tmp_path / "photo.jpg").depth
    assert named.shape == other.shape == (60, 80)
    assert not np.array_equal(named, other)


def test_python_gives_depths_of_one_and_of_many(made: Made) -> None:
    weights, images, _ = made
    model = intarsia.load(weights, device="cpu")
    one = model.predict(images / "attic_00001.jpg")
    assert (one.depth.dtype, one.depth.shape, one.name) == (np.float32, (60, 80), "attic_00001")
    assert one.image is not None
    assert "80 x 60 pixels" in repr(one)
    many = model.predict(images)
    assert many.total == 2
    found = {prediction.name: prediction.depth for prediction in many}
    np.testing.assert_array_equal(found["attic_00001"], one.depth)
    np.testing.assert_array_equal(model.predict(one.image).depth, one.depth)


def test_weights_without_names_of_rooms_are_loaded(made: Made, tmp_path: Path) -> None:
    weights, images, model = made
    values = json.loads(json.dumps(config()))
    save_weights(tmp_path / "w.safetensors", model.state_dict(), WeightsMeta(config=values))
    loaded = intarsia.load(tmp_path / "w.safetensors", device="cpu").predict(images / "attic_00001.jpg").depth
    np.testing.assert_array_equal(
        loaded, intarsia.load(weights, device="cpu").predict(images / "attic_00001.jpg").depth
    )


def test_sixteen_bits_hold_millimetres(made: Made, tmp_path: Path) -> None:
    weights, images, model = made
    assert predict(weights, images, "-o", tmp_path / "out", "--format", "png16", "--save", "depth") == 0
    stored = cv2.imread(str(tmp_path / "out" / "attic_00001.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    expected = network_says(model, np.array(Image.open(images / "attic_00001.jpg")), -1)
    assert np.abs(stored - expected * 1000).max() < 0.51
    assert not list((tmp_path / "out").glob("*_color.png"))


def test_one_image_becomes_the_file_that_is_named(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    weights, images, _ = made
    photo = images / "attic_00001.jpg"
    for name in ("a.tif", "a.png", "a.npy", "a.jpg", "b.png"):
        assert predict(weights, photo, "-o", tmp_path / name, *(["--save", "color"] if name == "b.png" else [])) == 0
    depth = np.array(Image.open(tmp_path / "a.tif"))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), depth)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "a.png")), np.rint(depth * 1000))
    for picture in ("a.jpg", "b.png"):
        with Image.open(tmp_path / picture) as image:
            assert image.mode == "RGB"
            assert image.width > image.height * 80 / 60  # a scale at the right
    capsysbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(photo.read_bytes())))
    assert predict(weights, "-", "-o", "-") == 0
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(capsysbinary.readouterr().out))), depth)


def test_skip_existing_goes_on_and_other_models_are_kept_out(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, images, model = made
    out = tmp_path / "out"
    assert predict(weights, images, "-o", out) == 0
    before = (out / "bathroom_00000.tif").stat().st_mtime_ns
    (out / "attic_00001.tif").unlink()
    assert predict(weights, images, "-o", out, "--skip-existing") == 0
    assert "1 of 2 images (1 were done before)" in capsys.readouterr().err
    assert (out / "attic_00001.tif").is_file()
    assert (out / "bathroom_00000.tif").stat().st_mtime_ns == before
    assert len((out / "depths.csv").read_text().splitlines()) == 3
    assert predict(weights, images, "-o", out, "--skip-existing", "--format", "png16") == 2
    assert "format: tiff then, png16 now" in capsys.readouterr().err
    assert predict(weights, out, "-o", tmp_path / "again") == 2  # results are never taken for images
    assert all(ResultFinder().is_result(file) for file in out.iterdir() if file.name != "depths.csv")
    other = tmp_path / "other.safetensors"
    save_weights(other, model.state_dict(), WeightsMeta(config=json.loads(json.dumps(config())), step=1))
    assert predict(other, images, "-o", out) == 2
    assert "results of another model" in capsys.readouterr().err


def test_depths_of_all_are_said_when_the_parts_are_put_together(made: Made, tmp_path: Path) -> None:
    weights, images, _ = made
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert predict(weights, images, "-o", whole) == 0
    for number in range(1, 6):
        assert predict(weights, images, "-o", parts, "--part", f"{number}/5") == 0
    assert "depths" not in json.loads((parts / "intarsia.json").read_text())["options"]
    assert predict(weights, images, "-o", parts, "--skip-existing") == 0
    for name in ("intarsia.json", "depths.csv"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_a_damaged_image_is_named_and_the_others_are_done(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, images, _ = made
    (tmp_path / "in").mkdir()
    shutil.copy(images / "attic_00001.jpg", tmp_path / "in")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    assert predict(weights, tmp_path / "in", "-o", tmp_path / "out") == 1
    assert "broken.jpg" in capsys.readouterr().err
    assert (tmp_path / "out" / "attic_00001.tif").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--save", "label"], "this model answers with depths: --save takes depth, color, found 'label'"),
        (["--format", "cityscapes"], "--format cityscapes is of label maps"),
        (["--min-confidence", "0.5"], "--min-confidence is of label maps"),
        (["-o", "out.mp4"], "depths are predicted of images: files, folders"),
        (["-o", "out.geojson"], "one depth is written as .tif"),
        (["-o", "out.tif", "--format", "png16"], "--format png16 is written as .png"),
        (["-o", "out.jpg", "--save", "depth"], "depth is written as .tif"),
        (["-o", "out.tif", "--save", "depth,color"], "is one file, and --save names 2 things"),
        (
            ["-o", "out.png", "--save", "depth", "--skip-existing"],
            "--skip-existing is for images that are written into",
        ),
        (["--save", "depth", "--nodata", "0"], "--nodata is for rasters"),
    ],
)
def test_what_depths_do_not_have_is_said(
    words: list[str], said: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    weights, images, _ = made
    monkeypatch.chdir(tmp_path)
    if "-o" not in words:
        words = [*words, "-o", "out"]
    assert predict(weights, images / "attic_00001.jpg", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_rasters_and_videos_are_refused_with_what_is_possible(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rasterio = pytest.importorskip("rasterio")
    weights = made[0]
    folder = tmp_path / "scenes"
    folder.mkdir()
    for name in ("a", "b"):
        profile = {"driver": "GTiff", "width": 80, "height": 60, "count": 3, "dtype": "uint8", "crs": "EPSG:32632"}
        with rasterio.open(
            folder / f"{name}.tif", "w", **profile, transform=rasterio.transform.from_origin(4e5, 5e6, 1, 1)
        ) as file:
            file.write(np.full((3, 60, 80), 90, np.uint8))
    assert predict(weights, folder, "-o", tmp_path / "out") == 2
    assert "--no-geotiff" in capsys.readouterr().err
    assert predict(weights, folder, "-o", tmp_path / "out", "--no-geotiff", "--save", "depth") == 0
    assert np.array(Image.open(tmp_path / "out" / "a.tif")).shape == (60, 80)
    (tmp_path / "drive.mp4").write_bytes(b"")
    assert predict(weights, tmp_path / "drive.mp4", "-o", tmp_path / "out") == 2
    assert "ffmpeg -i VIDEO" in capsys.readouterr().err


def test_a_model_of_classes_has_no_depths(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--save", "depth"], ["--format", "png16"]):
        assert predict(weights, photos, "-o", tmp_path / "out", *words) == 2
        assert f"{' '.join(words)} is for models of depth" in capsys.readouterr().err


def test_evaluation_scores_the_rooms_of_the_config(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, images, _ = made
    out = tmp_path / "scores"
    assert main(["eval", str(weights), "--out", str(out), "--device", "cpu", "--workers", "0"]) == 0
    assert "d1 0." in capsys.readouterr().out
    found = json.loads((out / "eval.json").read_text())
    assert list((out / "pictures").iterdir())
    model = intarsia.load(weights, device="cpu")
    squares = []
    for name in ("attic_00001", "bathroom_00000"):
        truth = cv2.imread(str(images.parents[1] / f"annotations/test/{name}.png"), cv2.IMREAD_UNCHANGED) / 1000
        inside = np.zeros(truth.shape, bool)
        inside[45:471, 41:601] = True
        error = (model.predict(images / f"{name}.jpg").depth - truth)[inside & (truth > 0) & (truth < 10)]
        squares.append(np.sqrt(np.mean(error**2)))
    assert found["rmse"] == pytest.approx(np.mean(squares), rel=1e-5)


@pytest.mark.parametrize(
    "words", [["--data", "."], ["--report", "page"], ["--confusion", "c.csv"], ["--metrics", "mIoU"]]
)
def test_evaluation_refuses_what_is_about_classes(
    words: list[str], made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["eval", str(made[0]), *words, "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert words[0] in said
    assert "answers with depths" in " ".join(said.split())
