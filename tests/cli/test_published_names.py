"""A published checkpoint by its name, wherever weights are taken: fetched from a server of this machine, checked, used.

No real checkpoint is here. A fabricated one stands at the published address, and the index is told its hash; the test
that does not tell it sees the file refused.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import intarsia
from intarsia.cli.main import main
from intarsia.data.datasets.cityscapes import CityscapesDataset
from intarsia.demo import write_scenes
from intarsia.guide.published import Checkpoint, published
from intarsia.io.digest import file_hash
from intarsia.weights.download import MIRROR, OFFLINE, cache_folder, cached_file
from intarsia.weights.file import read_meta

NAME = "fast_scnn_8xb4-160k_cityscapes-512x1024"
FILE = "fast_scnn_lr0.12_8x4_160k_cityscapes_20210630_164853-0cec9937.pth"
ADDRESS = f"https://download.openmmlab.com/mmsegmentation/v0.5/fast_scnn/fast_scnn_lr0.12_8x4_160k_cityscapes/{FILE}"
OTHER = "cgnet_fcn_4xb4-60k_cityscapes-680x680"
SIZE = (48, 96)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    coarse = Image.fromarray(np.random.default_rng(1).integers(0, 256, (4, 8, 3), dtype=np.uint8))
    coarse.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are run."""
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def small_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are looked at as they are, and not at 1024 x 2048, which takes seconds."""
    from intarsia.data.transforms.resize import Resize

    monkeypatch.setattr(Resize, "__call__", lambda self, sample, rng: sample)


def kept() -> list[str]:
    return [file.name for file in cache_folder().rglob("*") if file.is_file() and file.suffix != ".lock"]


@pytest.mark.usefixtures("small_views", "expected_there")
def test_that_network_on_my_photo_in_one_command(folder: Path, photo: Path, asked: list[str]) -> None:
    assert main(["predict", NAME, str(photo), "-o", "out", "--device", "cpu", "--areas", "areas.csv"]) == 0
    label = np.asarray(Image.open(folder / "out" / "photo.png"))
    assert label.shape == SIZE
    assert len(np.unique(label)) > 1
    assert label.max() < 19
    assert (folder / "out" / "photo_overlay.jpg").is_file()
    areas = (folder / "areas.csv").read_text()
    assert all(f"{name}" in areas for name in CityscapesDataset.classes), "and not those that the file names"
    predictor = intarsia.load(NAME, device="cpu")
    assert predictor.classes == CityscapesDataset.classes
    assert tuple(map(tuple, predictor.palette)) == CityscapesDataset.palette
    assert np.array_equal(predictor.predict(str(photo)).label, label)
    assert asked == [f"/{ADDRESS.partition('://')[2]}"], "it is fetched once"
    assert kept() == [FILE]


@pytest.mark.usefixtures("small_views", "expected_there")
def test_other_names_of_it(photo: Path, asked: list[str]) -> None:
    for name in (FILE, FILE.removesuffix(".pth"), ADDRESS, f"{NAME}.py"):
        assert intarsia.predict(name, str(photo), device="cpu").classes == CityscapesDataset.classes
    assert len(asked) == 1


@pytest.mark.usefixtures("small_views", "asked")
def test_heads_that_only_training_has_may_be_missing(
    photo: Path, fabricated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.load(fabricated, weights_only=True)["state_dict"]
    used = {name: value for name, value in state.items() if not name.startswith("auxiliary_head.")}
    assert len(used) < len(state)
    file = cached_file(ADDRESS)
    file.parent.mkdir(parents=True)
    for tensors in (used, {name: value for name, value in used.items() if "conv_seg" not in name}):
        torch.save({"state_dict": tensors}, file)
        monkeypatch.setitem(published(), NAME, replace(published()[NAME], sha256=file_hash(file)[:8]))
        if tensors is used:
            assert intarsia.predict(NAME, str(photo), device="cpu").label.shape == SIZE
        else:
            with pytest.raises(ValueError, match="missing in the file"):
                intarsia.load(NAME)


@pytest.mark.usefixtures("small_views", "expected_there")
def test_scores_of_it_and_where_they_go(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("images", "labels"):
        (folder / "data" / kind).mkdir(parents=True)
    rng = np.random.default_rng(2)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(folder / f"data/images/{number}.png")
        mask = np.repeat(np.arange(0, 18, dtype=np.uint8) + number, SIZE[0] * SIZE[1] // 18).reshape(SIZE)
        Image.fromarray(mask).save(folder / f"data/labels/{number}.png")
    assert main(["eval", NAME, "--data", "data", "--device", "cpu", "--workers", "0", "--pictures", "0"]) == 0
    scores = json.loads((folder / f"{NAME}_eval_val" / "eval.json").read_text())
    assert list(scores["classes"]) == list(CityscapesDataset.classes)
    assert scores["images"] == 2
    assert "traffic light" in capsys.readouterr().out
    streets = folder / "data" / "cityscapes"
    for place, name in (
        ("leftImg8bit/val/town", "0_leftImg8bit.png"),
        ("gtFine/val/town", "0_gtFine_labelTrainIds.png"),
    ):
        (streets / place).mkdir(parents=True)
        kind = "images" if "left" in name else "labels"
        (streets / place / name).write_bytes((folder / "data" / kind / "0.png").read_bytes())
    assert main(["eval", NAME, "--device", "cpu", "--workers", "0", "--pictures", "0"]) == 0
    assert json.loads((folder / f"{NAME}_eval" / "eval.json").read_text())["images"] == 1, "of the recipe's own data"
    assert kept() == [FILE], "nothing is written beside the file in the cache"


@pytest.mark.usefixtures("small_views", "expected_there")
def test_a_file_of_it_that_needs_nothing_else(
    folder: Path, photo: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "show", NAME, "--names", "0"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("MMSegmentation 0.14.1", f"published as {NAME}", "FastSCNN", "19: road, sidewalk", "step 160000",
                 "mIoU 0.7096"):  # fmt: skip
        assert part in shown
    assert main(["weights", "convert", NAME, "-o", "own.safetensors"]) == 0
    assert "does not name its classes" not in capsys.readouterr().err
    meta = read_meta("own.safetensors")
    assert (meta.classes, meta.palette) == (CityscapesDataset.classes, CityscapesDataset.palette)
    assert (meta.labels["0"], meta.labels["18"], meta.labels["255"]) == ("road", "bicycle", "ignore")
    assert (meta.step, meta.scores["mIoU"], meta.version) == (160000, 0.7096, intarsia.__version__)
    assert len(asked) == 1
    label = intarsia.predict(NAME, str(photo), device="cpu").label
    cached_file(ADDRESS).unlink()
    assert np.array_equal(intarsia.predict("own.safetensors", str(photo), device="cpu").label, label)


@pytest.mark.usefixtures("expected_there")
def test_a_training_from_it(
    folder: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scenes(folder / "scenes", train=2, val=1)
    fast = ["--for", "1 steps", "--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu"]
    words = ["train", "fast_scnn", "--data", "scenes", *fast, "--weights", NAME]
    assert main([*words, "--out", "all"]) == 2
    assert "the file was trained for 19 classes, the model has 9" in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--out", "run", "--allow-partial"]) == 0
    (loaded,) = json.loads((folder / "run" / "run.json").read_text())["pretrained"]
    assert (loaded["part"], loaded["file"], loaded["recipe"]) == ("model", NAME, NAME)
    assert loaded["sha256"] == published()[NAME].sha256 + loaded["sha256"][8:]
    assert loaded["tensors"] > 100
    assert main(["train", "fast_scnn", "--data", "scenes", *fast, "--pretrained", NAME, "--out", "trunk"]) == 0
    (trunk,) = json.loads((folder / "trunk" / "run.json").read_text())["pretrained"]
    assert (trunk["part"], trunk["asked_for"], trunk["address"]) == ("backbone", NAME, ADDRESS)
    assert 0 < trunk["tensors"] < loaded["tensors"]
    assert len(asked) == 1
    monkeypatch.setenv(OFFLINE, "1")
    for name, part in ((OTHER, f"error: --pretrained {OTHER}, which cannot be had: {published()[OTHER].file} is not"),
                       (OTHER[:-1], f"or a published checkpoint, such as {OTHER}")):  # fmt: skip
        said = error_of(["train", "fast_scnn", "--data", "scenes", *fast, "--pretrained", name, "--out", "no"], capsys)
        assert part in said


# --- What goes wrong ----------------------------------------------------------------------------------------------


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    return " ".join(capsys.readouterr().err.split())


def test_another_file_than_was_published_is_refused(
    folder: Path, photo: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(["predict", NAME, str(photo), "-o", "out"], capsys)
    assert f"{FILE} could not be fetched" in said
    assert "is not the file that is expected" in said
    assert "expected 0cec9937; it was not kept" in said
    assert asked, "the server was asked, and its answer refused"
    assert kept() == []
    assert not (folder / "out").exists()


def test_a_published_file_is_read_as_data(
    folder: Path, photo: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even if its hash were the published one."""

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {folder / 'ran'}",)

    file = cached_file(ADDRESS)
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": Evil()}, file)
    monkeypatch.setitem(published(), NAME, replace(published()[NAME], sha256=file_hash(file)[:8]))
    assert "is refused: it asks for posix.system" in error_of(["predict", NAME, str(photo), "-o", "out"], capsys)
    with pytest.raises(ValueError, match="is refused"):
        intarsia.load(NAME)
    assert list(folder.iterdir()) == []


def test_without_network_it_says_where_to_put_it_by_hand(
    folder: Path,
    photo: Path,
    fabricated: Path,
    asked: list[str],
    expected_there: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    monkeypatch.setenv("COLUMNS", "80")
    place = cached_file(ADDRESS)
    by_hand = f"To do it by hand, fetch {ADDRESS} and put it at {place}"
    for words in (["predict", NAME, str(photo), "-o", "out"], ["eval", NAME], ["weights", "show", NAME]):
        assert main(words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines == [f"error: {FILE} is not here, and {OFFLINE} forbids to fetch it. {by_hand}"], "one whole line"
    monkeypatch.delenv(OFFLINE)
    monkeypatch.delenv(MIRROR)
    said = error_of(["train", "fast_scnn", "--data", "x", "--out", "run", "--weights", NAME], capsys)
    assert f"{FILE} could not be fetched. {ADDRESS}: no answer" in said
    assert said.endswith(by_hand)
    assert not (folder / "run").exists()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(fabricated.read_bytes())
    monkeypatch.setenv(OFFLINE, "1")
    assert main(["weights", "show", NAME, "--names", "0"]) == 0
    assert asked == []


@pytest.mark.parametrize("command", ["predict", "eval", "show", "convert", "train", "load"])
def test_a_name_that_is_none(command: str, folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = NAME.replace("8xb4", "8xb5")
    words = {
        "predict": ["predict", wrong, str(photo), "-o", "out"],
        "eval": ["eval", wrong],
        "show": ["weights", "show", wrong],
        "convert": ["weights", "convert", wrong, "-o", "a.safetensors"],
        "train": ["train", "fast_scnn", "--data", "x", "--out", "run", "--weights", wrong],
    }
    if command == "load":
        with pytest.raises(ValueError, match=rf"does not exist .*; did you mean {NAME}") as caught:
            intarsia.load(wrong)
        said = str(caught.value)
    else:
        said = error_of(words[command], capsys)
    assert f"{wrong} does not exist (in {folder})" in said
    assert "expected a weights file, the folder of a run, or the name of a published checkpoint" in said
    assert f"did you mean {NAME}" in said
    assert list(folder.iterdir()) == []


def test_a_folder_of_the_name_goes_first(folder: Path, asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (folder / NAME).mkdir()
    assert "is a folder without weights.safetensors" in error_of(["weights", "show", NAME], capsys)
    with pytest.raises(ValueError, match=r"holds no weights\.safetensors"):
        intarsia.load(NAME)
    assert asked == []
