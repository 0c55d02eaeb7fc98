"""`intarsia eval --predictions`: label maps in files, scored without a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.contracts import SampleMeta
from intarsia.data.description.write import write_description
from intarsia.demo import CLASSES, write_scenes
from intarsia.evaluation.label_maps import file_of, label_files

NAMES = ("street_002", "street_003", "street_004")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_description(write_scenes(folder, train=2, val=3), folder / "data.yaml")
    return folder / "data.yaml"


@pytest.fixture
def predicted(data: Path, tmp_path: Path) -> Path:
    """The labels themselves, as if they had been predicted; pixels without a label get the first class."""
    out = tmp_path / "predicted"
    out.mkdir()
    for name in NAMES:
        label = np.array(Image.open(data.parent / "labels" / "val" / f"{name}.png"))
        Image.fromarray(np.where(label == 255, 0, label).astype(np.uint8)).save(out / f"{name}.png")
    return out


def score(predicted: Path, data: Path, *more: str) -> int:
    return main(["eval", "--predictions", str(predicted), "--data", str(data), *more])


def test_the_labels_themselves_are_right(data: Path, predicted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(predicted, data, "--pictures", "1", "--group", "ground=road,pavement") == 0
    assert "pedestrian" in capsys.readouterr().out
    scores = json.loads((predicted / "eval.json").read_text())
    assert (scores["mIoU"], scores["aAcc"], scores["IoU(ground)"], scores["images"]) == (1.0, 1.0, 1.0, 3)
    assert len(list((predicted / "pictures").iterdir())) == 1
    assert score(predicted, data, "--out", str(predicted / "again")) == 0  # what was written is no label map
    assert json.loads((predicted / "again" / "eval.json").read_text())["mIoU"] == 1.0


def test_every_pixel_counts(data: Path, predicted: Path) -> None:
    file = predicted / f"{NAMES[1]}.png"
    label = np.array(Image.open(file))
    road, car = CLASSES.index("road"), CLASSES.index("car")
    row, column = np.argwhere(label == road)[0]
    label[row, column] = car
    Image.fromarray(label.astype(np.uint16)).save(file)  # 16 bits say the same
    assert score(predicted, data, "--pictures", "0") == 0
    found = json.loads((predicted / "eval.json").read_text())["classes"]
    assert {name for name, values in found.items() if values["IoU"] != 1.0} == {"road", "car"}
    assert found["car"]["Acc"] == 1.0 > found["road"]["Acc"]


def test_inside_a_mask(data: Path, predicted: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((160, 240), 9, np.uint8)).save(tmp_path / "mask.png")
    for file in predicted.iterdir():
        label = np.array(Image.open(file))
        label[:80] = 1
        Image.fromarray(label).save(file)
    mask = np.zeros((160, 240), np.uint8)
    mask[80:] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert score(predicted, data, "--roi", str(tmp_path / "mask.png")) == 0
    assert json.loads((predicted / "eval.json").read_text())["aAcc"] == 1.0


def rewritten(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / f"{NAMES[0]}.png"
        Image.fromarray(change(np.array(Image.open(file)))).save(file)

    return edit


def with_value(value: int) -> Callable[[Path], None]:
    stored = np.uint16 if value > 255 else np.uint8
    return rewritten(lambda label: np.where(label == 1, stored(value), label))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / f"{NAMES[2]}.png").unlink(), "val/street_004: there is no street_004.png"),
        (rewritten(lambda label: label[:, :-1]), "street_002.png has 160 x 239 pixels (height x width), the label has"),
        (with_value(9), "street_002.png holds 9; expected class indices, 0 to 8"),
        (with_value(255), "holds 255; expected class indices, 0 to 8; pixels that were left uncertain have no class"),
        (with_value(65535), "pixels that were left uncertain"),
        (rewritten(lambda label: np.stack([label] * 3, -1)), "holds colours; expected class indices, one number"),
        (lambda folder: (folder / f"{NAMES[0]}.png").write_bytes(b""), "street_002.png: the file is empty"),
        (lambda folder: [file.unlink() for file in folder.iterdir()], "there is no .png in it"),
        (shutil.rmtree, "there is no such folder"),
    ],
)
def test_what_cannot_be_scored(
    spoil: Callable[[Path], object], said: str, data: Path, predicted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(predicted)
    assert score(predicted, data) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (predicted / "eval.json").exists()


def test_all_problems_are_told_at_once(data: Path, predicted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_value(200)(predicted)
    (predicted / f"{NAMES[2]}.png").unlink()
    assert score(predicted, data) == 2
    said = capsys.readouterr().err
    assert "holds 200" in said
    assert "no street_004.png" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--data", "d"], "--predictions scores files, no model"),
        (["--report", "r", "--data", "d"], "--predictions scores files, no model"),
        ([], "name those by --data DIR|FILE, or --config FILE|RUN"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--predictions", "p", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_confidence_is_not_in_label_maps(data: Path, predicted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(predicted, data, "--metrics", "mIoU,ECE") == 2
    assert "ECE needs the network's confidence" in capsys.readouterr().err


def test_nothing_to_score(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--data", "somewhere"]) == 2
    assert "what is to be scored?" in capsys.readouterr().err


# --- Which file belongs to which image ----------------------------------------------------------------------------


def test_a_file_is_found_by_as_many_folders_as_there_are(tmp_path: Path) -> None:
    for name in ("x", "val/x", "day/val/x", "a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.png").touch()
    files = label_files(tmp_path)

    def found(image: str, name: str = "") -> str:
        return file_of(SampleMeta(name=name, image_path=image), files).relative_to(tmp_path).as_posix()

    assert found("/data/day/val/x.jpg") == "day/val/x.png"
    assert found("/data/night/val/x.jpg") == "val/x.png"
    assert found("/data/test/x.jpg") == "x.png"
    assert found("/data/a.jpg") == "a.jpg.png"  # beside an a.png, `predict` keeps the suffix
    assert found("", name="city/val/x") == "val/x.png"
    with pytest.raises(ValueError, match=r"there is no y\.png"):
        found("/data/val/y.jpg")


def test_one_file_for_two_images_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("day", "night"):
        shutil.copytree(data.parent / "images" / "val", tmp_path / "data" / "images" / place)
        shutil.copytree(data.parent / "labels" / "val", tmp_path / "data" / "labels" / place)
    shutil.copytree(data.parent / "labels" / "val", tmp_path / "flat")
    assert score(tmp_path / "flat", tmp_path / "data") == 2
    assert "would count for 2 images" in " ".join(capsys.readouterr().err.split())
