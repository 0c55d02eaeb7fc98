"""Several data sets, and several images of each sample, by the command line as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.description.read import read_description
from intarsia.data.image_io import decode_image
from intarsia.workflows.convert_inputs import save_stack

FAST = ["--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu", "--pretrained", "none"]


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of other sizes, formats and kinds of labels, and mixed.yaml."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            label = np.zeros((70, 90), np.uint8)
            label[10 + i : 50, 20:70] = 1 + i % 2
            save(
                folder / f"town/images/{split}/{i}.jpg",
                (label[..., None] * 90 + rng.integers(0, 70, (70, 90, 3))).astype(np.uint8),
            )
            save(folder / f"town/labels/{split}/{i}.png", label)
            mask = np.zeros((80, 64), np.uint8)
            mask[30:, i : 40 + i] = 255
            save(
                folder / f"field/img/{split}/{i}.png",
                (mask[..., None] // 2 + rng.integers(0, 90, (80, 64, 3))).astype(np.uint8),
            )
            save(folder / f"field/mask/{split}/{i}.png", mask)
    (folder / "field/data.yaml").write_text(
        "classes: [track]\nlabels: {0: background, 255: track}\nsplits:\n"
        "  train: {images: img/train, labels: mask/train}\n  val: {images: img/val, labels: mask/val}\n"
    )
    (folder / "town/data.yaml").write_text(
        "classes: [other, road, roof]\nlabels: {0: other, 1: road, 2: roof}\nsplits:\n"
        "  train: {images: images/train, labels: labels/train}\n  val: {images: images/val, labels: labels/val}\n"
    )
    (folder / "mixed.yaml").write_text(
        "classes: [background, road, building]\ndatasets:\n"
        "  - {data: town/data.yaml, weight: 3, classes: {other: background, roof: building}}\n"
        "  - {data: field/data.yaml, weight: 1, classes: {track: road, background: ignore}}\n"
    )
    return folder / "mixed.yaml"


def test_check_train_resume_and_evaluate(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(mixed)]) == 0
    assert "town train  " in capsys.readouterr().out.replace(" pixels", "  ")
    run = tmp_path / "run"
    assert main(["train", "fast_scnn", "--data", str(mixed), "--out", str(run), "--for", "2 steps", *FAST]) == 0
    said = capsys.readouterr()
    assert "drawn by weight: town 75.0%, field 25.0%" in said.out + said.err
    report = json.loads((run / "eval.json").read_text())
    assert set(report["parts"]) == {"town", "field"}
    assert [part["images"] for part in report["parts"].values()] == [2, 2]
    assert report["parts"]["field"]["absent"] == ["background", "building"]  # ignored there, never background
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("val/town/mIoU" in line and "val/field/mIoU" in line for line in lines)
    out = tmp_path / "scores"
    words = ["eval", str(run), "--data", str(mixed), "--out", str(out), "--device", "cpu", "--workers", "0"]
    assert main(words) == 0
    assert json.loads((out / "eval.json").read_text())["parts"] == report["parts"]
    assert "field  2 images" in capsys.readouterr().out


def test_samples_are_shown(mixed: Path, tmp_path: Path) -> None:
    assert main(["data", "show", str(mixed), "--out", str(tmp_path / "sheet.png")]) == 0
    assert Image.open(tmp_path / "sheet.png").width > 300


def test_the_page_shows_the_samples_and_edits_no_classes(mixed: Path) -> None:
    from intarsia.viewer.class_editor import editor_of
    from intarsia.viewer.samples import Collection
    from intarsia.workflows.view import described

    assert editor_of(mixed) is None
    assert editor_of(mixed.parent / "town/data.yaml") is not None
    collection = Collection(described(mixed).dataset("val"))
    assert [collection.name(index).split("/")[0] for index in range(4)] == ["town", "town", "field", "field"]
    collection.measure(3)


# --- Several images of each sample --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ with heights/ of half the size, whose names end in _h."""
    folder = tmp_path_factory.mktemp("stacks")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            label = np.zeros((70, 90), np.uint8)
            label[10 + i : 50, 20:70] = 1
            save(folder / f"photos/{split}/{i}.png", rng.integers(0, 256, (70, 90, 3), dtype=np.uint8))
            save(
                folder / f"heights/{split}/{i}_h.tif",
                (label * 8 + rng.uniform(100, 102, (70, 90))).astype(np.float32)[::2, ::2],
            )
            save(folder / f"labels/{split}/{i}.png", label)
    rule = "  {0}: {{images: {{rgb: photos/{0}, dsm: heights/{0}/*_h.tif}}, labels: labels/{0}}}\n"
    text = "classes: [ground, roof]\nsplits:\n" + rule.format("train") + rule.format("val")
    (folder / "data.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def stack_run(stacks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "fast_scnn", "--data", str(stacks / "data.yaml"), "--out", str(out), "--for", "2 steps", *FAST]
    assert main(words) == 0
    return out


def test_weights_know_the_images_that_they_take(stacks: Path, stack_run: Path, tmp_path: Path) -> None:
    from intarsia.weights.file import read_meta

    image = read_meta(stack_run / "weights.safetensors").image
    assert image["names"] == ["rgb.red", "rgb.green", "rgb.blue", "dsm.1"]
    assert [(one["name"], one["channels"]) for one in image["inputs"]] == [("rgb", 3), ("dsm", 1)]
    for data in ([], ["--data", str(stacks / "data.yaml")]):
        assert main(["eval", str(stack_run), *data, "--out", str(tmp_path), "--device", "cpu", "--workers", "0"]) == 0
        assert (
            json.loads((tmp_path / "eval.json").read_text())["mIoU"]
            == json.loads((stack_run / "eval.json").read_text())["mIoU"]
        )
    assert main(["data", "show", str(stacks / "data.yaml"), "--out", str(tmp_path / "sheet.png")]) == 0


def same_samples(one: Path, other: Path) -> None:
    before, after = read_description(one), read_description(other)
    assert not after.inputs
    for split in ("train", "val"):
        drawn, stored = before.dataset(split), after.dataset(split)
        assert len(drawn) == len(stored) > 0
        for index in range(len(drawn)):
            a, b = drawn.load(index), stored.load(index)
            assert a.image.dtype == b.image.dtype
            assert np.array_equal(a.image, b.image)
            assert np.array_equal(a.label, b.label)


def test_stacks_are_converted_to_one_image_of_all_bands(stacks: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    out = tmp_path / "out"
    assert main(["data", "convert", str(stacks / "data.yaml"), "-o", str(out)]) == 0
    moved = out.rename(tmp_path / "moved")
    same_samples(stacks / "data.yaml", moved / "data.yaml")
    with rasterio.open(moved / "images/photos/train/3.tif") as file:
        assert file.descriptions == ("rgb.red", "rgb.green", "rgb.blue", "dsm.1")
        assert set(file.dtypes) == {"float32"}
    assert np.asarray(Image.open(moved / "labels/photos/train/3.png")).max() == 1
    assert main(["data", "check", str(moved / "data.yaml")]) == 0
    again = read_description(moved / "data.yaml")
    assert again.image_spec.names == ("rgb.red", "rgb.green", "rgb.blue", "dsm.1")


def test_images_of_one_type_keep_it_in_the_files_of_several_data_sets(tmp_path: Path) -> None:
    """Two dates of three bands each, in each of two data sets."""
    pytest.importorskip("rasterio")
    rng = np.random.default_rng(1)
    for name in ("east", "west"):
        for split in ("train", "val"):
            for date in ("may", "june"):
                for number in range(2):
                    array = (rng.random((18, 20, 3)) * 250).astype(np.uint8)
                    (tmp_path / name / date / split).mkdir(parents=True, exist_ok=True)
                    np.save(tmp_path / name / date / split / f"{number}.npy", array)
                    save(tmp_path / name / f"labels/{split}/{number}.png", rng.integers(0, 2, (18, 20), dtype=np.uint8))
        rule = "  {0}: {{images: {{may: may/{0}, june: june/{0}}}, labels: labels/{0}}}\n"
        text = "classes: [same, changed]\nsplits:\n" + rule.format("train") + rule.format("val")
        (tmp_path / name / "data.yaml").write_text(text)
    both = "classes: [same, changed]\ndatasets:\n  - {data: east/data.yaml}\n  - {data: west/data.yaml}\n"
    (tmp_path / "both.yaml").write_text(both)
    assert main(["data", "convert", str(tmp_path / "both.yaml"), "-o", str(tmp_path / "out")]) == 0
    same_samples(tmp_path / "both.yaml", tmp_path / "out/data.yaml")
    sample = read_description(tmp_path / "out/data.yaml").dataset("train").load(0)
    assert (sample.image.shape, sample.image.dtype) == ((18, 20, 6), np.uint8)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", [2, 3, 4, 7])
def test_a_stack_is_read_as_it_was_written(tmp_path: Path, kind: str, bands: int) -> None:
    pytest.importorskip("rasterio")
    image = np.random.default_rng(2).integers(0, 256, (9, 11, bands * np.dtype(kind).itemsize), dtype=np.uint8)
    image = image.view(kind) if kind[0] != "f" else image.view(f"u{np.dtype(kind).itemsize}").astype(kind)
    save_stack(tmp_path / "x.tif", image, tuple(f"one.{n}" for n in range(bands)))
    found = decode_image(tmp_path / "x.tif")
    assert found.samples.dtype == image.dtype
    assert np.array_equal(found.samples, image)
    assert found.file.names == tuple(f"one.{n}" for n in range(bands))


def test_numbers_that_a_tiff_does_not_hold_are_named(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    with pytest.raises(ValueError, match=r"x\.tif: the images .* are float128 numbers.* as float32"):
        save_stack(tmp_path / "x.tif", np.zeros((4, 5, 2), np.longdouble), ("a", "b"))
    assert not (tmp_path / "x.tif").exists()


def test_the_next_command_names_the_other_images(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace
    from typing import Any

    from intarsia.workflows.train import _say_where_things_are

    for image, said in (
        ({"inputs": [{"name": "rgb"}, {"name": "dsm"}]}, "IMAGES --input dsm=FOLDER -o OUT"),
        ({}, "IMAGES -o"),
    ):
        run: Any = SimpleNamespace(validation=None, out="run", meta=SimpleNamespace(image=image))
        _say_where_things_are(run, SimpleNamespace(weights=None, report=None))  # type: ignore[arg-type]
        assert said in capsys.readouterr().err.replace("\n", " ")


def test_prediction_takes_the_same_images(
    stacks: Path, stack_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import intarsia

    photos, heights = stacks / "photos/val", stacks / "heights/val"
    words = ["predict", str(stack_run), "--device", "cpu", "--save", "probs"]
    assert main([*words, str(photos), "--input", f"dsm={heights}/*_h.tif", "-o", str(tmp_path / "a")]) == 0
    found = np.load(tmp_path / "a/1_probs.npy")
    height = cv2.resize(np.asarray(Image.open(heights / "1_h.tif")), (90, 70), interpolation=cv2.INTER_LINEAR)
    photo = np.asarray(Image.open(photos / "1.png"), np.float32)
    whole = np.concatenate([photo, height[:, :, None]], axis=2)
    answer = intarsia.load(stack_run, device="cpu").predict(whole, probabilities=True)
    assert np.array_equal(found, answer.probabilities.astype(np.float16))

    together = tmp_path / "together"
    for i in range(2):
        save(together / f"rgb/{i}.png", np.asarray(Image.open(photos / f"{i}.png")))
        save(together / f"dsm/{i}.tif", np.asarray(Image.open(heights / f"{i}_h.tif")))
    assert main([*words, str(together), "-o", str(tmp_path / "b")]) == 0
    assert np.array_equal(np.load(tmp_path / "b/1_probs.npy"), found)
    assert not (tmp_path / "b/dsm").exists()
    one = ["predict", str(stack_run), str(photos / "1.png"), "--input", f"dsm={heights / '1_h.tif'}", "--device", "cpu"]
    assert main([*one, "-o", str(tmp_path / "one.npy")]) == 0
    assert np.array_equal(np.load(tmp_path / "one.npy"), found)
    capsys.readouterr()

    for given, said in (
        ([str(photos)], "give the others, to `intarsia predict` with --input dsm=FOLDER"),
        ([str(photos), "--input", f"dsm={together / 'rgb'}/*_h.tif"], "0.png has no dsm: there is no 0_h.tif in"),
        ([str(photos), "--input", f"dsm={stacks / 'none'}"], "there is no such folder"),
        (
            [str(photos), "--input", f"dem={heights}"],
            "expected --input dsm=FOLDER, beside the images of rgb, found dem",
        ),
        ([str(photos), "--input", "dsm"], "--input takes NAME=FOLDER"),
        ([str(photos), "--input", f"dsm={heights}/*_h.tif", "--scale", "0,9"], "--bands and --scale are for one image"),
        (
            [str(photos / "1.png"), "--input", f"dsm={heights}", "-o", str(tmp_path / "x.tif")],
            "of a raster, make one file",
        ),
    ):
        assert main([*words, "-o", str(tmp_path / "c"), *given]) != 0
        text = capsys.readouterr()
        assert said in (text.err + text.out).replace("\n", " ")


def test_other_heights_are_refused_unless_it_is_said(
    stacks: Path, stack_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(2):
        save(tmp_path / f"cm/{i}.tif", np.asarray(Image.open(stacks / f"heights/val/{i}_h.tif")) * 100)
    words = [
        "predict",
        str(stack_run),
        str(stacks / "photos/val"),
        "--input",
        f"dsm={tmp_path / 'cm'}",
        "--device",
        "cpu",
    ]
    assert main([*words, "-o", str(tmp_path / "a")]) != 0
    assert "the model was trained on float32 numbers from 100" in capsys.readouterr().err.replace("\n", " ")
    assert main([*words, "-o", str(tmp_path / "b"), "--scale", "none"]) == 0


def test_a_model_of_one_image_takes_no_other(
    mixed: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = mixed.parent / "town/images/val"
    assert (
        main(["predict", str(weights), str(photos), "--input", f"dsm={photos}", "-o", str(tmp_path), "--device", "cpu"])
        != 0
    )
    assert "takes one image of each place" in capsys.readouterr().err.replace("\n", " ")


def test_maps_of_what_the_network_looks_at_are_of_all_images(
    stacks: Path, stack_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, heights = stacks / "photos/val/1.png", stacks / "heights/val"
    words = ["explain", str(stack_run), str(photo), "--device", "cpu", "--class", "roof"]
    dsm = ["--input", f"dsm={heights}/*_h.tif"]
    assert main([*words, *dsm, "-o", str(tmp_path / "a")]) == 0
    assert main([*words[:-2], *dsm, "-o", str(tmp_path / "a"), "--features"]) == 0
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["1_cam.png", "1_features.png"]
    # A network that sees another height looks elsewhere.
    values = np.asarray(Image.open(heights / "1_h.tif"))
    save(tmp_path / "turned/1_h.tif", np.ascontiguousarray(values[::-1]))
    assert main([*words, "--input", f"dsm={tmp_path}/turned/*_h.tif", "-o", str(tmp_path / "b")]) == 0
    pictures = [np.asarray(Image.open(tmp_path / name / "1_cam.png")) for name in ("a", "b")]
    assert pictures[0].shape == pictures[1].shape
    assert (pictures[0] != pictures[1]).any()
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "c")]) == 2
    assert "--input dsm=FOLDER" in " ".join(capsys.readouterr().err.split())
    assert main(["explain", str(stack_run), "--layers", "--device", "cpu"]) == 0
