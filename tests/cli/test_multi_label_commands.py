"""Several classes for each pixel, from a folder of masks to scores that are counted again from the written files."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import intarsia
from intarsia.cli.main import main
from intarsia.data.description.write import write_description
from intarsia.workflows.view import ViewRequest, open_view

NAMES = ("box", "disc")
SIZE = (64, 80)
FAST = ["--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/{train,val}/x.png with masks/{train,val}/box/x.png and masks/{train,val}/disc/x.png: discs over boxes."""
    root, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for number in range(7):
        split = "train" if number < 4 else "val"
        row, column, right = rng.integers(20, 44), rng.integers(24, 40), rng.integers(8, 20)
        disc = (y - row) ** 2 + (x - column - right) ** 2 < 15**2
        box = (abs(y - row) < 14) & (abs(x - column) < 18)
        picture = rng.integers(60, 90, (*SIZE, 3))
        picture[box, 1] += 120
        picture[disc, 0] += 120
        for kind, array in (("images", picture), ("masks/box", box * 255), ("masks/disc", disc * 255)):
            kind, _, name = kind.partition("/")
            file = root / kind / split / name / f"x{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(file)
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    words = ["train", "fast_scnn", "--data", str(data), "--out", str(out), "--for", "8 steps", "--pretrained", "none"]
    assert main([*words, *FAST]) == 0
    return out


def answers(folder: Path, name: str) -> np.ndarray:
    """Where each class is (2, H, W), by masks as files."""
    return np.stack([np.array(Image.open(folder / kind / f"{name}.png")) > 0 for kind in NAMES])


def recounted(predicted: Path, data: Path) -> dict[str, dict[str, float]]:
    """The scores of each class by the files alone."""
    pairs = [(answers(predicted, f"x{n}"), answers(data / "masks" / "val", f"x{n}")) for n in (4, 5, 6)]
    found = {}
    for k, name in enumerate(NAMES):
        hit = sum(int((p[k] & t[k]).sum()) for p, t in pairs)
        said, true = (sum(int(pair[which][k].sum()) for pair in pairs) for which in (0, 1))
        scores = {"IoU": hit / (said + true - hit), "Dice": 2 * hit / (said + true)}
        found[name] = scores | {"Precision": hit / said, "Recall": hit / true}
    return found


def test_scores_are_those_of_the_written_files(run: Path, data: Path, tmp_path: Path) -> None:
    said = json.loads((run / "eval.json").read_text())
    assert list(said["classes"]) == list(NAMES)
    assert all(0 < said["thresholds"][name] < 1 for name in NAMES)
    rows = list(csv.DictReader((run / "eval.csv").open()))
    assert [float(row["threshold"]) for row in rows[:2]] == [said["thresholds"][name] for name in NAMES]

    out = tmp_path / "scores"
    assert main(["eval", str(run), "--out", str(out), "--report", str(tmp_path / "page.html"), "--device", "cpu"]) == 0
    again = json.loads((out / "eval.json").read_text())
    assert again["classes"] == said["classes"]
    assert again["thresholds"] == said["thresholds"]
    page = (tmp_path / "page.html").read_text()
    assert all(f"above {said['thresholds'][name]:.4f}" in page for name in NAMES)

    words = ["predict", str(run), str(data / "images" / "val"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*words, "--save", "label,masks,overlay,rle", "--areas", str(tmp_path / "areas.csv")]) == 0
    for name, scores in recounted(tmp_path / "out" / "masks", data).items():
        assert said["classes"][name] == pytest.approx(scores, rel=1e-12)
    for number in (4, 5, 6):
        label = np.array(Image.open(tmp_path / "out" / f"x{number}.png"))
        planes = answers(tmp_path / "out" / "masks", f"x{number}")
        assert np.array_equal(label, planes[0] + 2 * planes[1])

    words = ["eval", "--predictions", str(tmp_path / "out"), "--data", str(run / "data.yaml"), "--out"]
    assert main([*words, str(tmp_path / "files")]) == 0
    of_files = json.loads((tmp_path / "files" / "eval.json").read_text())
    assert of_files["classes"] == said["classes"]
    assert of_files["exact"] == again["exact"]


def test_the_weights_say_it_and_python_has_it(run: Path, data: Path) -> None:
    predictor = intarsia.load(run, device="cpu")
    said = json.loads((run / "eval.json").read_text())
    assert predictor.inference.thresholds == tuple(said["thresholds"].values())
    found = predictor.predict(data / "images" / "val" / "x4.png", probabilities=True)
    assert found.labels.shape == (2, *SIZE)
    assert found.probabilities is not None
    thresholds = np.array(predictor.inference.thresholds, np.float32).reshape(2, 1, 1)
    assert np.array_equal(found.labels, found.probabilities > thresholds)


def test_a_raster_has_a_band_for_each_class(run: Path, data: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasters need rasterio")
    pixels = np.array(Image.open(data / "images" / "val" / "x5.png")).transpose(2, 0, 1)
    profile = {"driver": "GTiff", "height": SIZE[0], "width": SIZE[1], "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(400000, 5000000, 0.5, 0.5)}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, **place) as file:
        file.write(pixels)
    whole = ["--window", "64x80", "--overlap", "0"]
    words = [
        "predict",
        str(run),
        str(tmp_path / "scene.tif"),
        "-o",
        str(tmp_path / "out.tif"),
        "--device",
        "cpu",
        *whole,
    ]
    assert main([*words, "--save", "label,masks,areas,polygons,rle"]) == 0
    expected = intarsia.load(run, device="cpu").predict(data / "images" / "val" / "x5.png")
    with rasterio.open(tmp_path / "out.tif") as labels, rasterio.open(tmp_path / "out_masks.tif") as masks:
        assert np.array_equal(labels.read(1), expected.label)
        assert masks.descriptions == NAMES
        assert np.array_equal(masks.read() == 1, expected.labels)
    rows = list(csv.DictReader((tmp_path / "out_areas.csv").open()))
    assert [int(row["pixels"]) for row in rows] == expected.labels.sum(axis=(1, 2)).tolist()
    assert float(rows[0]["square_metres"]) == pytest.approx(0.25 * int(rows[0]["pixels"]), rel=2e-3)


def test_thresholds_are_chosen_afterwards_and_kept(run: Path, data: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    words = ["eval", str(out), "--data", str(data), "--split", "val", "--choose-threshold", "--device", "cpu"]
    assert main(words) == 0
    from intarsia.weights.file import read_meta

    kept = read_meta(out / "weights.safetensors")
    assert (
        dict(zip(kept.classes, kept.thresholds, strict=True))
        == json.loads((run / "eval.json").read_text())["thresholds"]
    )


@pytest.mark.slow
def test_an_exported_file_says_the_same(run: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    for output in ("label", "logits"):
        out = tmp_path / output
        assert main(["export", str(run), "--to", "onnx,openvino", "-o", str(out), "--output", output]) == 0
        for name, found in json.loads((out / "certificate.json").read_text()).items():
            assert found["equal"] > 0.999, name
            assert found["labelled"] == 3
            assert found["mean_iou"][0] == pytest.approx(found["mean_iou"][1], abs=1e-3)
            assert found["mean_iou"][0] > 0
    file = tmp_path / "label" / "model.onnx"
    photo = data / "images" / "val" / "x4.png"
    for ours in (file, file.with_suffix(".xml"), tmp_path / "logits" / "model.onnx"):
        predictions = [intarsia.load(model, device="cpu").predict(photo) for model in (ours, run)]
        assert (predictions[0].labels == predictions[1].labels).mean() > 0.999
        assert predictions[0].classes == NAMES
    assert main(["eval", str(file), "--data", str(data), "--out", str(tmp_path / "scores"), "--device", "cpu"]) == 0
    again, said = (json.loads((folder / "eval.json").read_text()) for folder in (tmp_path / "scores", run))
    assert again["thresholds"] == said["thresholds"]
    for name, scores in said["classes"].items():
        assert again["classes"][name] == pytest.approx(scores, abs=2e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "RUN", "IMAGES", "-o", "OUT", "--format", "source"], "this model several"),
        (["predict", "RUN", "IMAGES/x4.png", "-o", "x.png", "--save", "masks"], "one for each class; give a folder"),
        (["eval", "RUN", "--group", "all=box,disc"], "here a pixel may have several"),
        (["eval", "RUN", "--confusion", "x.png"], "counts no confusion matrix"),
        (["train", "knet_r50_fcn", "--data", "DATA", "--out", "OUT"], "its kernels share the pixels out"),
        (["train", "pidnet-s", "--data", "DATA", "--out", "OUT"], "EdgeMap"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    words: list[str], said: str, run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"RUN": str(run), "IMAGES": str(data / "images" / "val"), "DATA": str(data), "OUT": str(tmp_path / "out")}
    for name, place in places.items():
        words = [word.replace(name, place, 1) if word.startswith(name) else word for word in words]
    assert main([*words, "--device", "cpu"]) != 0
    assert said in " ".join(capsys.readouterr().err.split())


def test_data_and_model_must_agree(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (run / "config.py").read_text().replace("multi_label=True, choose_threshold=True", "multi_label=False")
    text = text.replace("use_sigmoid=True", "use_sigmoid=False")
    (tmp_path / "config.py").write_text(text)
    shutil.copy(run / "data.yaml", tmp_path / "data.yaml")
    assert main(["train", str(tmp_path / "config.py"), "--out", str(tmp_path / "out"), "--device", "cpu"]) != 0
    assert "the data have several classes for each pixel, the model one" in " ".join(capsys.readouterr().err.split())


def test_labels_that_the_model_doubts_class_by_class(run: Path, data: Path, tmp_path: Path) -> None:
    words = ["data", "suspects", str(run), "-o", str(tmp_path / "out"), "--workers", "0", "--min-area", "4"]
    assert main([*words, "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "out/suspects.json").read_text())
    assert found["images_looked_at"] == 4
    kinds = {(one["labelled"], one["predicted"]) for one in found["suspects"]}
    assert kinds <= {(f"no {name}", name) for name in NAMES} | {(name, f"no {name}") for name in NAMES}


def test_a_page_of_the_run(run: Path) -> None:
    server = open_view(ViewRequest(place=run, device="cpu", browser=False))
    try:
        assert server.about({})["sets"]
        scores = server.scores({"i": "0"})
        assert len(scores["class_iou"][0]) == len(scores["class_disagreement"]) == 2
    finally:
        server.server_close()


def test_a_student_learns_from_the_run_and_from_images_without_labels(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    words = ["train", "fast_scnn", "--data", str(data), "--out", str(out), "--for", "2 steps", "--pretrained", "none"]
    more = ["--teacher", str(run), "--unlabelled", str(data / "images/train"), "--confidence", "0.5"]
    assert main([*words, *more, *FAST]) == 0
    last = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    named = {name: value for line in last for name, value in line.items()}
    assert named["teacher.loss"] > 0
    assert 0 <= named["unlabelled.confident"] <= 1


def test_a_teacher_of_another_kind_is_refused(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from intarsia.demo import write_scenes

    description = write_scenes(tmp_path / "scenes", train=2, val=1)
    write_description(description, tmp_path / "scenes/data.yaml")
    words = ["train", "fast_scnn", "--data", str(tmp_path / "scenes/data.yaml"), "--out", str(tmp_path / "out")]
    assert main([*words, "--teacher", str(run), *FAST]) == 2
    assert "gives a pixel several classes, and the data have one" in " ".join(capsys.readouterr().err.split())
