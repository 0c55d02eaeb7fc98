"""``intarsia predict``: what is written, resumed, refused, and what a pipe gets."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.inference.predictor import Predictor

CLASSES = ("sky", "road", "car")
VALUES = (21, 7, 26)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def predict(*words: str | Path) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


def test_all_kinds_of_a_folder(weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    kinds = "label,color,overlay,probs,confidence,entropy,logits,polygons,rle"
    words = ["--save", kinds, "--min-confidence", "0.5", "--areas", out / "areas.csv"]
    assert predict(weights, photos, "-o", out, *words) == 0
    said = capsys.readouterr().err
    assert "4 of 4 images" in said
    assert "images/s" in said
    assert "uncertain (confidence below 0.5)" in said
    endings = ["", "_color", "_confidence", "_entropy", "_overlay", "_probs", "_logits", "_rle"]
    assert len(files(out)) == 4 * 9 + 3
    assert {"areas.csv", "annotations.json", "intarsia.json"} < set(files(out))
    assert {Path(name).stem for name in files(out) if "b/c" in name} == {f"c{ending}" for ending in endings}
    label, logits = np.array(Image.open(out / "a_1.png")), np.load(out / "a_1_logits.npy")
    confidence = np.array(Image.open(out / "a_1_confidence.png"))
    sure = label != 255
    assert 0 < sure.mean() < 1
    assert np.array_equal(logits.argmax(axis=0)[sure], label[sure])
    assert (confidence[sure] >= 32767).all()
    assert (confidence[~sure] <= 32768).all()
    rows = list(csv.DictReader((out / "areas.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == ["a_1", "a_2", "a_10", "b/c"]
    assert int(rows[0]["uncertain pixels"]) == (~sure).sum()


def test_interrupted_and_gone_on_with(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    words = ["--save", "label,probs", "--areas"]
    assert predict(weights, photos, "-o", whole, *words, whole / "areas.csv") == 0
    original, seen = Predictor._predict_one, []

    def interrupting(self: Predictor, name: str, *rest: Any) -> Any:
        seen.append(name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(self, name, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "_predict_one", interrupting)
        assert predict(weights, photos, "-o", out, *words, out / "areas.csv") == 130
    said = capsys.readouterr().err
    assert "2 of 4 images are written" in said
    assert "--skip-existing" in said
    both = [f"{name}{ending}" for name in ("a_1", "a_2") for ending in (".png", "_probs.npy")]
    assert files(out) == sorted(["areas.csv", "intarsia.json", *both])

    (out / "a_1.png").write_bytes(b"")  # as a machine that lost its power may leave it
    assert predict(weights, photos, "-o", out, "--skip-existing", *words, out / "areas.csv") == 0
    assert "3 of 4 images (1 were done before)" in capsys.readouterr().err
    assert files(out) == files(whole)
    for name in files(whole):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert predict(weights, photos, "-o", out, "--skip-existing", *words, out / "areas.csv") == 0
    assert "all 4 images were done before" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_or_written_is_named(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "a_2_probs.npy").mkdir(parents=True)
    (photos / "broken.jpg").write_bytes(b"nonsense")
    assert predict(weights, photos, "-o", out, "--save", "probs,label") == 1
    said = capsys.readouterr().err
    assert "3 of 5 images" in said
    assert f"failed: {photos / 'broken.jpg'}" in said
    assert f"failed: {photos / 'a_2.png'}: probs {out / 'a_2_probs.npy'} is a folder" in said
    others = [f"{name}{ending}" for name in ("a_1", "a_10", "b/c") for ending in (".png", "_probs.npy")]
    assert files(out) == sorted(["a_2.png", "intarsia.json", *others])
    for name in ("a_1", "a_2", "a_10", "b/c"):
        (photos / f"{name}.png").unlink()
    assert predict(weights, photos, "-o", tmp_path / "none") == 1
    assert "0 of 1 images" in capsys.readouterr().err


def test_source_values(weights: Path, photos: Path, tmp_path: Path) -> None:
    """Label files have the values of the training's, so that its data description reads them."""
    out, indices = tmp_path / "source", tmp_path / "indices"
    assert predict(weights, photos, "-o", indices, "--min-confidence", "0.5", "--save", "label") == 0
    assert predict(weights, photos, "-o", out, "--min-confidence", "0.5", "--format", "source") == 0
    assert files(out) == ["a_1.png", "a_10.png", "a_2.png", "c.png", "intarsia.json"]
    expected = np.array([*VALUES, 99])[np.minimum(np.array(Image.open(indices / "a_1.png")), 3)]
    with Image.open(out / "a_1.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.array(image), expected)


def test_in_a_pipe(
    weights: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert predict(weights, photos / "a_1.png", "-o", tmp_path / "label.png") == 0
    for suffix in (".png", ".tif"):
        stored = io.BytesIO()
        Image.open(photos / "a_1.png").save(stored, Image.registered_extensions()[suffix])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stored.getvalue())))
        capsysbinary.readouterr()
        assert predict(weights, "-", "-o", "-") == 0
        assert capsysbinary.readouterr().out == (tmp_path / "label.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stored.getvalue())))
    assert predict(weights, "-", "-o", tmp_path / "out", "--save", "overlay") == 0
    assert files(tmp_path / "out") == ["intarsia.json", "stdin_overlay.jpg"]


def test_a_list_of_paths(weights: Path, photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{photos / 'a_10.png'}\n\n{photos / 'b'}\n")
    assert predict(weights, f"@{listed}", "-o", tmp_path / "out", "--save", "label") == 0
    assert files(tmp_path / "out") == ["a_10.png", "c.png", "intarsia.json"]


def test_overlays_as_asked_for(weights: Path, photos: Path, tmp_path: Path) -> None:
    pictures = {}
    for name, words in {
        "usual": [],
        "image": ["--opacity", "0", "--no-contours", "--no-legend"],
        "lines": ["--opacity", "0", "--no-legend"],
    }.items():
        path = tmp_path / f"{name}.jpg"
        assert predict(weights, photos / "a_1.png", "-o", path, *words) == 0
        pictures[name] = np.array(Image.open(path)).astype(int)
    photo = np.array(Image.open(photos / "a_1.png")).astype(int)
    assert pictures["image"].shape == photo.shape
    assert np.abs(pictures["image"] - photo).mean() < 3
    assert (pictures["lines"] - photo).min() < -60
    assert pictures["usual"].shape[1] > 480


def refused(weights: Path, photos: Path, out: Path) -> dict[str, tuple[list[str | Path], str]]:
    image = photos / "a_1.png"
    return {
        "overwritten": ([photos, "-o", photos], "would be overwritten"),
        "itself": ([image, "-o", image], "is the image itself"),
        "unknown kind": ([image, "-o", out, "--save", "mask"], "--save takes label"),
        "format": ([image, "-o", out, "--format", "coco"], "--format is indices"),
        "other classes": ([image, "-o", out, "--format", "loveda"], "loveda has no class 'sky', 'car'"),
        "threshold": ([image, "-o", out, "--min-confidence", "60"], "--min-confidence is a confidence from 0 to 1"),
        "opacity": ([image, "-o", out, "--opacity", "50"], "opacity"),
        "logits of views": ([image, "-o", out, "--save", "logits", "--augment"], "views are averaged"),
        "one file": ([photos, "-o", out / "a.png"], "4 images; give a folder"),
        "two kinds": ([image, "-o", "-", "--save", "label,overlay"], "--save names 2 things"),
        "wrong suffix": ([image, "-o", out / "a.png", "--save", "probs"], "probs is written as .npy"),
        "outlines in a pipe": ([image, "-o", "-", "--save", "polygons"], "not written to standard output"),
        "areas of one": ([image, "-o", "-", "--areas", out / "a.csv"], "--areas is for images"),
        "mixture": (["-", image, "-o", out], "standard input is one image"),
        "video to a pipe": (["film.mp4", "-o", "-"], "a video cannot be written to standard output"),
        "no list": (["@missing.txt", "-o", out], "missing.txt: cannot be read"),
        "two rasters": ([image, photos, "-o", out / "a.tif"], "is one raster"),
    }


@pytest.mark.parametrize("case", refused(Path(), Path(), Path()))
def test_what_makes_no_sense_is_refused_at_once(
    case: str, weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words, said = refused(weights, photos, out)[case]
    before = files(tmp_path)
    assert predict(weights, *words) == 2
    assert said in capsys.readouterr().err
    assert files(tmp_path) == before


def test_two_images_of_one_name_are_not_written_over_each_other(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.open(photos / "a_1.png").save(photos / "a_1_color.jpg")
    assert predict(weights, photos, "-o", tmp_path / "out", "--save", "label,color") == 2
    assert "would both be written as" in capsys.readouterr().err
    Image.open(photos / "a_1.png").save(photos / "b" / "a_1.png")
    (photos / "a_1_color.jpg").unlink()
    assert predict(weights, photos, "-o", tmp_path / "out", "--format", "source") == 2  # servers want no folders
    assert "would both be written as" in capsys.readouterr().err
