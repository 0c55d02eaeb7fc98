"""`intarsia explain`: pictures of what a network looks at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.visual.heat import OUTLINE, channel_sheet, heat_colours, heat_over, heat_panes

CPU = ["--device", "cpu"]


def test_pictures_of_classes_and_of_features(weights: Path, photos: Path, tmp_path: Path) -> None:
    images = [str(photos / "a_1.png"), str(photos / "a_2.png")]
    assert main(["explain", str(weights), *images, "-o", str(tmp_path / "out"), *CPU]) == 0
    assert main(["explain", str(weights), *images[:1], "-o", str(tmp_path / "out"), "--features", *CPU]) == 0
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a_1_cam.png", "a_1_features.png", "a_2_cam.png"]


def test_a_pane_for_each_class_that_is_named(weights: Path, photos: Path, tmp_path: Path) -> None:
    widths = []
    for names in (["car"], ["car", "0"]):
        words = [word for name in names for word in ("--class", name)]
        assert main(["explain", str(weights), str(photos / "a_1.png"), "-o", str(tmp_path), *words, *CPU]) == 0
        widths.append(Image.open(tmp_path / "a_1_cam.png").width)
    assert widths[1] - widths[0] > 300
    words = ["--at", "5", "70", "--layer", "backbone:1"]
    assert main(["explain", str(weights), str(photos / "a_1.png"), "-o", str(tmp_path), *words, *CPU]) == 0
    assert Image.open(tmp_path / "a_1_cam.png").width == widths[0]


def test_the_list_of_layers(weights: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(weights), str(photos / "a_1.png"), "--layers", *CPU]) == 0
    rows = [
        line.strip().split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if line.startswith(" backbone:")
    ]
    sizes = [(20, 24), (10, 12), (5, 6), (3, 3)]  # of 80 x 96
    assert rows == [
        [f"backbone:{level}", "MixVisionTransformer", f"{channels} x {h} x {w}"]
        for level, (channels, (h, w)) in enumerate(zip((8, 16, 16, 16), sizes, strict=True))
    ]
    assert main(["explain", str(weights), "--layers", *CPU]) == 0
    assert "8 x 64 x 64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a_1.png", "-o", "OUT", "--class", "tree"], "the model has no such class; it has sky, road, car"),
        (["a_1.png", "-o", "OUT", "--class", "3"], "the model has no such class"),
        (["a_1.png", "-o", "OUT", "--layer", "bckbone"], "Did you mean backbone"),
        (["a_1.png", "-o", "OUT", "--at", "96", "0"], "--at 96 0 is outside of the image of 96 x 80 pixels"),
        (["a_1.png", "-o", "OUT", "--features", "--at", "1", "1"], "--features are of no class"),
        (["a_1.png"], "expected images and --out DIR"),
        (["-o", "OUT"], "expected images and --out DIR"),
        (["a_1.png", "a_1.png", "-o", "OUT"], "two of the images have one name"),
    ],
)
def test_what_cannot_be(
    words: list[str], said: str, weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(photos / word) if word.endswith(".png") else word for word in words]
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    assert main(["explain", str(weights), *words, *CPU]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- pictures -----------------------------------------------------------------------------------------------------


def test_hot_places_are_bright_and_cold_ones_stay_the_image() -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    heat, region = np.zeros((20, 30), np.float32), np.zeros((20, 30), bool)
    heat[:, 20:] = 1
    region[5:15, 5:15] = True
    picture = heat_over(image, heat, region).astype(int)
    assert (picture[0, 0] == 75).all()
    assert picture[2, 25].sum() > 500
    assert tuple(picture[5, 4]) == OUTLINE
    brightness = heat_colours(np.linspace(0, 1, 11, dtype=np.float32)[None])[0].astype(int).sum(axis=1)
    assert (np.diff(brightness) > 0).all()


def test_one_pixel_is_marked_so_that_it_can_be_seen() -> None:
    image, label = np.full((600, 900, 3), 100, np.uint8), np.zeros((600, 900), np.uint8)
    region = np.zeros((600, 900), bool)
    with_mark, without = (
        heat_panes(image, label, [("a", np.zeros((600, 900), np.float32), mask)], classes=["a"], palette=[(9, 9, 9)])
        for mark in (True, False)
        for mask in [region | (mark * (np.indices(region.shape) == [[[301]], [[450]]]).all(axis=0))]
    )
    changed = np.argwhere((with_mark != without).any(axis=2))
    assert len(changed) > 30
    assert np.ptp(changed, axis=0).max() < 30


def test_channels_keep_their_own_pixels() -> None:
    values = np.zeros((4, 6), np.float32)
    values[1, 2] = 5
    sheet = channel_sheet(np.full((80, 120, 3), 7, np.uint8), [("channel 3", values)])
    bright = np.argwhere((np.abs(sheet.astype(int) - heat_colours(np.ones((1, 1), np.float32))[0, 0]) < 6).all(axis=2))
    height, width = np.ptp(bright, axis=0) + 1
    assert height == pytest.approx(width, abs=3)
    assert len(bright) == pytest.approx(height * width, rel=0.1)
