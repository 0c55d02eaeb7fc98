"""`intarsia data suspects`: wrong labels come first, outlines and ignored pixels never; files and sheets."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from intarsia.cli.main import main
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec
from intarsia.visual.marked import SIDE, marked, window
from intarsia.workflows.suspect_regions import Region, SetSuspectCounter, SuspectCounter, inner


def counter(**changes: int) -> SuspectCounter:
    return SuspectCounter(**{"values": 3, "ignore_index": 255, "margin": 2, "least_area": 4, **changes})


def stripes() -> np.ndarray:
    """0 on the left, 1 in the middle, 2 on the right, 20 columns each."""
    return np.repeat(np.arange(3, dtype=np.uint8), 20)[None].repeat(40, axis=0)


def looked_at(metric: SuspectCounter, label: np.ndarray, said: np.ndarray, sure: np.ndarray | float) -> None:
    confidence = torch.as_tensor(np.broadcast_to(np.asarray(sure, np.float32), label.shape).copy())
    metric.update(torch.from_numpy(said), torch.from_numpy(label), confidence)


def test_a_region_that_is_labelled_wrong_comes_first_with_its_place_and_confidence() -> None:
    truth = stripes()
    label, sure = truth.copy(), np.full(truth.shape, 0.9)
    label[10:24, 22:36] = 2  # is 1
    sure[10:24, 22:36] = 0.95
    metric = counter()
    looked_at(metric, truth, truth, 0.9)
    looked_at(metric, label, truth, sure)
    (region,) = metric.regions()
    # Two pixels at the outline of the flipped square are left out.
    assert region == Region(1, 2, 1, 10 * 10, pytest.approx(0.95), (12, 24, 22, 34))
    assert region.score == pytest.approx(95)


def test_what_the_model_is_not_sure_of_is_no_suspect() -> None:
    truth = stripes()
    said, sure = truth.copy(), np.full(truth.shape, 0.9)
    said[10:20, 5:15] = 1
    sure[10:20, 5:15] = 0.6
    metric = counter()
    looked_at(metric, truth, said, sure)
    assert metric.regions() == []
    ones = 16 * 40  # pixels of class 1 away from its outlines, all predicted as such
    zeros = 18 * 40
    assert metric.thresholds() == pytest.approx([(0.9 * (zeros - 100) + 0.4 * 100) / zeros, 0.9, 0.9])
    assert metric.state()[1].tolist() == [zeros, ones, zeros]


def test_the_threshold_is_that_of_the_predicted_class() -> None:
    """Of a class that the model is never sure of, less confidence is enough."""
    truth = stripes()
    sure = np.array([0.95, 0.6, 0.95])[truth]
    said = truth.copy()
    said[10:20, 5:15] = 1  # with 0.7: sure for class 1
    said[10:20, 45:55] = 0  # with 0.7: not for class 0
    sure[10:20, 5:15] = sure[10:20, 45:55] = 0.7
    metric = counter()
    looked_at(metric, truth, said, sure)
    assert [(region.labelled, region.predicted) for region in metric.regions()] == [(0, 1)]


def test_outlines_and_ignored_pixels_are_left_out() -> None:
    truth = stripes()
    said = np.roll(truth, 2, axis=1)  # every outline is two pixels off
    said[:, :2] = 0
    label = truth.copy()
    label[30:] = 255
    said[30:] = 1
    metric = counter()
    looked_at(metric, label, said, 0.99)
    assert metric.regions() == []
    without = counter(margin=0)
    looked_at(without, label, said, 0.99)
    assert {region.area for region in without.regions()} == {2 * 30}
    assert all(region.box[2] <= 30 for region in without.regions())


def test_larger_and_surer_regions_come_first_and_specks_not_at_all() -> None:
    truth = np.zeros((60, 60), np.uint8)
    said, sure = truth.copy(), np.full(truth.shape, 0.5)
    for size, place, value in ((3, 2, 1.0), (10, 10, 0.8), (12, 26, 0.6), (1, 50, 1.0)):
        said[place : place + size, place : place + size] = 1
        sure[place : place + size, place : place + size] = value
    metric = counter()
    looked_at(metric, truth, said, sure)
    assert [region.area for region in metric.regions()] == [144, 100, 9]


def test_what_touches_is_one_region_of_one_kind() -> None:
    truth = np.zeros((20, 30), np.uint8)
    said = truth.copy()
    said[5:10, 5:10], said[10:15, 10:15], said[5:10, 10:15] = 1, 1, 2  # the first two touch at a corner
    metric = counter()
    looked_at(metric, truth, said, 0.9)
    assert sorted((region.predicted, region.area) for region in metric.regions()) == [(1, 50), (2, 25)]


def test_of_several_classes_each_is_doubted_by_itself() -> None:
    """Class 0 is right everywhere; class 1 is missing in the label where the model is sure of it."""
    first, second = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    first[:, :30], second[:20, 10:50] = 1, 1
    label = first + 2 * np.where(np.arange(60)[None] < 30, second, 0).astype(np.uint8)
    label[30:] = 255
    sure = np.stack([np.where(first, 0.9, 0.2), np.where(second, 0.95, 0.1)]).astype(np.float32)
    said = torch.from_numpy(first + 2 * second)
    metric = SetSuspectCounter(num_classes=2, ignore_index=255, margin=2, least_area=4)
    metric.update(said, torch.from_numpy(label), probabilities=torch.from_numpy(sure))
    (region,) = metric.regions()
    assert (region.image, region.labelled, region.predicted) == (0, 2, 3)  # no 1, is 1
    assert region.box == (0, 32, 20, 50)
    assert region.confidence == pytest.approx(0.95)
    no, yes = metric.thresholds()[:2]
    assert (no, yes) == pytest.approx((0.8, 0.9))
    # Of what is labelled with class 1, away from outlines and ignored pixels, all is said to be so.
    assert metric.thresholds()[3] == pytest.approx(0.95)
    assert metric.state().shape == (2, 4)


def test_inner_pixels() -> None:
    label = np.zeros((7, 9), np.uint16)
    label[3, 4] = 255
    expected = np.ones((7, 9), bool)
    expected[2:5, 3:6] = False
    np.testing.assert_array_equal(inner(label, 1), expected)
    assert inner(label, 0).all()


# --- Pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((10, 10, 20, 20), slice(0, 64), slice(0, 64)),
        ((100, 200, 160, 220), slice(70, 190), slice(150, 270)),
        ((190, 390, 200, 400), slice(136, 200), slice(336, 400)),
    ],
)
def test_a_window_lies_around_the_region_and_inside_the_image(
    box: tuple[int, int, int, int], rows: slice, columns: slice
) -> None:
    assert window(box, (200, 400)) == (rows, columns)


def test_the_region_is_marked_in_every_pane() -> None:
    image = np.full((80, 80, 3), 100, np.uint8)
    truth, said = np.zeros((80, 80), np.uint8), np.zeros((80, 80), np.uint8)
    said[30:50, 30:50] = 1
    names = {"classes": ("a", "b"), "palette": ((0, 0, 200), (0, 200, 0)), "title": "1. x"}
    picture = marked(image, truth, said, (30, 30, 50, 50), 0, 1, **names)  # type: ignore[arg-type]
    other = marked(image, truth, said, (30, 30, 50, 50), 1, 0, **names)  # type: ignore[arg-type]  # nothing is marked
    white = (picture == 255).all(2) & ~(other == 255).all(2)
    columns = np.flatnonzero(white.any(0))
    parts = np.split(columns, np.flatnonzero(np.diff(columns) > 100) + 1)
    assert len(parts) == 3
    assert all(len(part) < SIDE for part in parts)
    with pytest.raises(ValueError, match="expected the truth at the image's size"):
        marked(image, truth[1:], said, (30, 30, 50, 50), 0, 1, **names)  # type: ignore[arg-type]


# --- The command --------------------------------------------------------------------------------------------------


def painted(root: Path, count: int = 6) -> Path:
    """Dark and bright halves, labelled right, but for a square in the bright half of the fourth image."""
    for number in range(count):
        rng = np.random.default_rng(number)
        label = np.zeros((64, 96), np.uint8)
        label[:, 40 + number :] = 1
        image = (40 + 150 * label[..., None] + rng.integers(0, 30, (64, 96, 3))).astype(np.uint8)
        if number == 3:
            label[20:44, 60:84] = 0
        for folder, array in (("images", image), ("masks", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"x{number}.png")
    return root


class Brightness(nn.Module):
    """A task whose network knows bright from dark, the surer the further from the middle."""

    ignore_index = 255

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.model.weight[0], self.model.weight[1] = -1 / 3, 1 / 3
            self.model.bias.zero_()

    def preprocess(self, images: Tensor, sizes: object, *, train: bool) -> Tensor:
        return (images.float() - 115) / 30


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run whose model is `Brightness`."""
    inference = InferenceSpec(num_classes=2)
    colours = ((0, 0, 90), (250, 250, 0))

    def open_model(run: Path, **_: object) -> SimpleNamespace:
        return SimpleNamespace(
            file=run / "weights.safetensors",
            spec=SimpleNamespace(val=None, test=None, inference=inference),
            meta=SimpleNamespace(labels={}),
            reader=None,
            predictor=lambda classes, palette: Predictor(
                Brightness(), inference=inference, classes=tuple(classes), palette=colours, device="cpu"
            ),
        )

    monkeypatch.setattr("intarsia.workflows.find_suspects.open_model", open_model)
    return tmp_path / "run"


def test_a_flipped_region_is_listed_and_drawn(opened: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = painted(tmp_path / "data"), opened / "suspects_train"
    (data / "data.yaml").write_text(
        "root: .\nclasses: [dark, bright]\nsplits:\n  train: {images: images, labels: masks}\n"
    )
    words = ["data", "suspects", str(opened), "--data", str(data / "data.yaml"), "--workers", "0", "--top", "3"]
    assert main(words) == 0
    rows = list(csv.DictReader((out / "suspects.csv").open()))
    assert rows[0]["image"].endswith("images/x3.png")
    assert rows[0]["label_file"].endswith("masks/x3.png")
    assert (rows[0]["labelled"], rows[0]["predicted"]) == ("dark", "bright")
    x, y, width, height = (int(rows[0][name]) for name in ("x", "y", "width", "height"))
    assert 60 <= x <= 66
    assert 20 <= y <= 26
    assert 60 <= x + width <= 84
    assert 20 <= y + height <= 44
    assert int(rows[0]["area"]) == (24 - 2 * 3) ** 2
    assert len(rows) == 1  # nothing else is wrong
    found = json.loads((out / "suspects.json").read_text())
    assert found["images"][0]["image"] == rows[0]["image"]
    assert found["images_looked_at"] == 6
    assert found["trained_on_these_images"] is False
    assert found["suspects"][0]["area"] == int(rows[0]["area"])
    picture = np.asarray(Image.open(out / "sheet_01.jpg"))
    assert picture.shape[1] > 3 * SIDE
    assert "x3" in capsys.readouterr().out


def test_what_cannot_be_judged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "suspects", str(tmp_path), "--split", "all"]) == 2
    assert "--split is train, val or test" in capsys.readouterr().err
    (tmp_path / "cv.json").write_text(json.dumps({"status": "running"}))
    assert main(["data", "suspects", str(tmp_path)]) == 2
    assert "not finished" in " ".join(capsys.readouterr().err.split())
    assert main(["data", "suspects", str(tmp_path), "--data", str(tmp_path)]) == 2
    assert "leave out --data" in " ".join(capsys.readouterr().err.split())


def test_a_cross_validation_judges_every_image_by_the_model_that_has_not_seen_it(
    opened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two folds hold an image each, the second one's is labelled wrong; each model sees its own val split."""
    from intarsia.data.description.read import read_description
    from intarsia.data.pipeline import Pipeline

    opened.mkdir()
    (opened / "cv.json").write_text(json.dumps({"status": "finished", "images": [1, 1]}))
    data = painted(tmp_path / "data")
    seen = []

    def labelled(model: SimpleNamespace, given: Path | None, split: str) -> Pipeline:
        fold = model.file.parent.name
        seen.append((fold, split))
        number = {"fold_1": 1, "fold_2": 3}[fold]
        file = tmp_path / f"{fold}.yaml"
        pairs = f"[[images/x{number}.png, masks/x{number}.png]]"
        file.write_text(f"root: {data}\nclasses: [dark, bright]\nsplits: {{val: {{pairs: {pairs}}}}}\n")
        return Pipeline(read_description(file).dataset("val"), (), label_size="original")

    monkeypatch.setattr("intarsia.workflows.find_suspects.labelled_images", labelled)
    assert main(["data", "suspects", str(opened), "--workers", "0"]) == 0
    assert seen == [("fold_1", "val"), ("fold_2", "val")]
    (row,) = csv.DictReader((opened / "suspects" / "suspects.csv").open())
    assert row["image"].endswith("x3.png")
    assert "by heart" not in capsys.readouterr().err


def test_training_images_are_said_to_be_known_by_heart(
    opened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = painted(tmp_path / "data", 1)

    def labelled(model: SimpleNamespace, given: Path | None, split: str) -> Any:
        from intarsia.data.pipeline import Pipeline
        from intarsia.workflows.names import inspect_data

        return Pipeline(inspect_data(data).proposal().dataset(split), (), label_size="original")

    monkeypatch.setattr("intarsia.workflows.find_suspects.labelled_images", labelled)
    assert main(["data", "suspects", str(opened), "--workers", "0"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "knows many of their labels by heart" in said
    assert "0 regions in 0 of 1 images" in said
    assert (opened / "suspects_train" / "suspects.csv").read_text().count("\n") == 1


class Colours(nn.Module):
    """A task whose network takes red for a leaf and green for a spot; a pixel may be both."""

    ignore_index = 255

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.model.weight.zero_()
            self.model.weight[0, 0] = self.model.weight[1, 1] = 1
            self.model.bias.fill_(-100 / 30)

    def preprocess(self, images: Tensor, sizes: object, *, train: bool) -> Tensor:
        return images.float() / 30


def test_a_class_that_is_missing_among_several_is_listed_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        leaf, spot = np.zeros((64, 96), np.uint8), np.zeros((64, 96), np.uint8)
        leaf[:, :60], spot[20:44, 30:80] = 255, 255
        image = np.stack([leaf, spot, np.zeros_like(leaf)], axis=2)
        if number == 2:
            spot[:, :60] = 0  # where it lies on the leaf, nobody has drawn it
        for folder, array in (("images", image), ("masks/leaf", leaf), ("masks/spot", spot)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "data" / folder / f"x{number}.png")
    file = tmp_path / "data/data.yaml"
    file.write_text(
        "classes: [leaf, spot]\nmulti_label: true\nsplits:\n"
        "  train: {images: images, labels: {leaf: masks/leaf/*.png, spot: masks/spot/*.png}}\n"
    )
    inference, colours = InferenceSpec(num_classes=2, answer="classes"), ((0, 0, 90), (250, 250, 0))
    monkeypatch.setattr(
        "intarsia.workflows.find_suspects.open_model",
        lambda run, **_: SimpleNamespace(
            file=run / "weights.safetensors",
            spec=SimpleNamespace(val=None, test=None, inference=inference),
            meta=SimpleNamespace(labels={}),
            reader=None,
            predictor=lambda classes, palette: Predictor(
                Colours(),
                inference=inference,
                classes=tuple(classes),
                palette=colours,
                device="cpu",
            ),
        ),
    )
    words = ["data", "suspects", str(tmp_path / "run"), "--data", str(file), "--workers", "0"]
    assert main(words) == 0
    (row,) = csv.DictReader((tmp_path / "run/suspects_train/suspects.csv").open())
    assert row["image"].endswith("x2.png")
    assert (row["labelled"], row["predicted"]) == ("no spot", "spot")
    assert [int(row[name]) for name in ("x", "y", "width", "height")] == [30, 20, 27, 24]
    sheet = np.asarray(Image.open(tmp_path / "run/suspects_train/sheet_01.jpg"))
    assert sheet.shape[1] > 3 * SIDE
    assert sheet.std() > 10
