"""``intarsia predict``: what stands for which images, names after --out, and folders with results of before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.backbones.mit import MixVisionTransformer
from intarsia.cli.main import main
from intarsia.inference.inputs.video import Frames
from intarsia.weights.file import WeightsMeta, load_state, read_meta, save_weights


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def predict(*words: str | Path) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


@pytest.fixture
def other(weights: Path, tmp_path: Path) -> Path:
    """Another model of the same kind."""
    state = {name: value + 0.01 for name, value in load_state(weights).items() if value.is_floating_point()}
    path = tmp_path / "other.safetensors"
    meta = read_meta(weights)
    save_weights(path, {**load_state(weights), **state}, WeightsMeta(config=meta.config, classes=meta.classes))
    return path


# --- Pages and suffixes -------------------------------------------------------------------------------------------


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    folder = tmp_path / "stacks"
    folder.mkdir()
    pages = [Image.fromarray(np.full((40, 48, 3), value, np.uint8)) for value in (10, 120, 250)]
    for name in ("stack.tif", "move.gif", "turn.webp", "fly.png"):
        pages[0].save(folder / name, save_all=True, append_images=pages[1:])
    return folder


def test_pages_after_the_first_are_said_or_done(
    weights: Path, stacks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    assert predict(weights, stacks, "-o", tmp_path / "first", "--save", "label") == 0
    said = capsys.readouterr().err
    for name in ("stack.tif", "move.gif", "turn.webp", "fly.png"):
        assert f"note: {stacks / name} holds 3 pages or frames, of which the first was used" in said
    assert predict(weights, stacks / "stack.tif", "-o", tmp_path / "one.png") == 0
    assert "holds 3 pages" in capsys.readouterr().err
    assert predict(weights, stacks, "-o", tmp_path / "all", "--pages", "all", "--save", "label,rle") == 0
    assert "holds" not in capsys.readouterr().err
    found = [name for name in files(tmp_path / "all") if name.endswith(".png")]
    assert found == sorted(f"{name}_page{n}.png" for name in ("stack", "move", "turn", "fly") for n in (1, 2, 3))
    first, page = tmp_path / "first" / "stack.png", tmp_path / "all" / "stack_page1.png"
    assert np.array_equal(np.array(Image.open(first)), np.array(Image.open(page)))
    assert predict(weights, stacks / "stack.tif", "-o", tmp_path / "one.png", "--pages", "all") == 2
    assert "there are 3 images" in capsys.readouterr().err


def test_folders_give_every_format_that_is_read(weights: Path, tmp_path: Path) -> None:
    names = ["a.gif", "b.jp2", "c.ppm", "d.webp", "e.bmp", "f.JPG"]
    for name in names:
        Image.new("RGB", (48, 40)).save(tmp_path / name)
    assert predict(weights, tmp_path, "-o", tmp_path / "out", "--save", "label") == 0
    assert files(tmp_path / "out") == ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "intarsia.json"]


# --- Names after -o -----------------------------------------------------------------------------------------------


def test_images_become_a_video(weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "b" / "c.png").unlink()
    (photos / "broken.png").write_bytes(b"nonsense")
    assert predict(weights, photos, "-o", tmp_path / "film.mp4", "--fps", "5") == 1
    said = capsys.readouterr().err
    assert "3 frames" in said
    assert f"failed: {photos / 'broken.png'}" in said
    frames = list(Frames(str(tmp_path / "film.mp4")))
    assert [round(frame.time, 2) for frame in frames] == [0, 0.2, 0.4]
    assert frames[0].image.shape == (80, 96, 3)
    assert predict(weights, photos, "-o", tmp_path / "film.mkv", "--save", "label") == 2
    assert "one video shows one of overlay and color" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "kind"),
    [
        ("o.webp", [], "WEBP"), ("o.png", ["--save", "overlay"], "PNG"), ("o.jpeg", [], "JPEG"),
        ("o.geojson", [], "polygons"), ("o.json", ["--save", "polygons"], "polygons"), ("o.json", [], "rle"),
    ],
)  # fmt: skip
def test_one_image_becomes_the_file_that_its_name_says(
    weights: Path, photos: Path, tmp_path: Path, name: str, words: list[str], kind: str
) -> None:
    assert predict(weights, photos / "a_1.png", "-o", tmp_path / name, *words) == 0
    if kind in ("polygons", "rle"):
        content = json.loads((tmp_path / name).read_text(encoding="utf-8"))
        assert ("features" if kind == "polygons" else "annotations") in content
    else:
        with Image.open(tmp_path / name) as image:
            assert image.format == kind


@pytest.mark.parametrize("name", ["out.gpkg", "out.gif", "out.pdf", "out.shp", "out.svg", "out.xyz", "out.heic"])
def test_names_of_files_that_are_not_written_are_no_folders(
    weights: Path, photos: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in (photos, photos / "a_1.png"):
        assert predict(weights, given, "-o", tmp_path / name) == 2
        said = capsys.readouterr().err
        assert f"nothing is written as {Path(name).suffix} here" in said
        assert f"-o {tmp_path / name}/" in said
    assert not (tmp_path / name).exists()
    assert predict(weights, photos / "a_1.png", "-o", f"{tmp_path / name}/", "--save", "label") == 0
    assert (tmp_path / name / "a_1.png").is_file()
    assert predict(weights, photos / "a_1.png", "-o", tmp_path / name, "--save", "label") == 0  # now it is there


def test_names_of_folders_may_have_dots(weights: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("run.2", "2026.11.28", "v1.5"):
        assert predict(weights, photos / "a_1.png", "-o", tmp_path / name, "--save", "label") == 0


# --- One rule for paths -------------------------------------------------------------------------------------------


def test_a_missing_path_is_named_and_the_others_are_done(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{photos / 'a_1.png'}\n{photos / 'gone.png'}\n{photos / 'b'}\n", encoding="utf-8")
    assert predict(weights, f"@{listed}", "-o", tmp_path / "out", "--save", "label") == 1
    said = capsys.readouterr().err
    assert "2 of 3 images" in said
    assert f"failed: {photos / 'gone.png'}: no such file or folder" in said
    assert files(tmp_path / "out") == ["a_1.png", "c.png", "intarsia.json"]
    assert predict(weights, photos / "gone.png", "-o", tmp_path / "none") == 2
    assert "gone.png: no such file" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_what_is_named_twice_is_done_once(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(weights, photos, photos / "a_1.png", "-o", tmp_path / "out", "--save", "label") == 0
    said = capsys.readouterr().err
    assert "4 of 4 images" in said
    assert "1 images were named more than once" in said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_lists_of_any_encoding(weights: Path, photos: Path, tmp_path: Path, encoding: str) -> None:
    (photos / "a_1.png").rename(photos / "größe.png")
    (photos / "a_2.png").rename(photos / unicodedata.normalize("NFD", "müll.png"))
    listed = tmp_path / "list.txt"
    listed.write_bytes(f"{photos / 'größe.png'}\r\n{photos / 'müll.png'}\r\n".encode(encoding))
    assert predict(weights, f"@{listed}", "-o", tmp_path / "out", "--save", "label") == 0
    assert len(files(tmp_path / "out")) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text(weights: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "a_1.png").rename(os.fsdecode(os.fsencode(photos) + b"/gr\xf6\xdfe.png"))
    words = ["--save", "label,rle", "--areas", tmp_path / "areas.csv"]
    for _ in range(2):
        assert predict(weights, photos, "-o", tmp_path / "out", *words, "--skip-existing") == 0
    assert "größe," in (tmp_path / "areas.csv").read_text(encoding="utf-8")
    joint = json.loads((tmp_path / "out" / "annotations.json").read_text("utf-8"))
    names = [image["file_name"] for image in joint["images"]]
    assert "größe.png" in names
    listed = tmp_path / "list.txt"
    listed.write_text(str(photos / "größe.png"), encoding="utf-8")
    assert predict(weights, f"@{listed}", "-o", tmp_path / "listed", "--save", "label") == 0


# --- Folders with results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["photos/labels", "photos"])
def test_results_below_the_images_are_no_images(
    weights: Path, photos: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in photos.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    out = tmp_path / place
    kinds = "label,color,overlay,confidence,probs"
    assert predict(weights, photos, "-o", out, "--save", kinds) == 0
    before = {name: (out / name).read_bytes() for name in files(out)}
    (out / "a_1.png").unlink()
    capsys.readouterr()
    assert predict(weights, photos, "-o", out, "--save", kinds, "--skip-existing") == 0
    said = capsys.readouterr().err
    assert "1 of 4 images (3 were done before)" in said
    assert "19 results of earlier predictions lie among the images" in said
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert predict(weights, photos, "-o", tmp_path / "elsewhere", "--save", "label") == 0
    assert files(tmp_path / "elsewhere") == ["a_1.png", "a_10.png", "a_2.png", "b/c.png", "intarsia.json"]
    assert predict(weights, f"{photos}/**/*.*", "-o", tmp_path / "pattern", "--save", "label") == 0
    assert files(tmp_path / "pattern") == files(tmp_path / "elsewhere")
    assert predict(weights, *photos.glob("*.*"), "-o", tmp_path / "shell", "--save", "label") == 0
    assert files(tmp_path / "shell") == ["a_1.png", "a_10.png", "a_2.png", "intarsia.json"]


def test_a_folder_of_nothing_but_results_is_said(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(weights, photos, "-o", out) == 0
    capsys.readouterr()
    assert predict(weights, out, "-o", tmp_path / "again") == 2
    assert "8 that `intarsia predict` has written" in capsys.readouterr().err
    assert predict(weights, out / "a_1_overlay.jpg", "-o", tmp_path / "a.png") == 0  # whoever names it wants it


def test_results_of_another_model_are_not_mixed_in(
    weights: Path, other: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(weights, photos, "-o", out, "--save", "label") == 0
    before = {name: (out / name).read_bytes() for name in files(out)}
    for more in ([], ["--skip-existing"]):
        capsys.readouterr()
        assert predict(other, photos, "-o", out, "--save", "label", *more) == 2
        said = capsys.readouterr().err
        assert f"{out} holds results of another model" in said
        assert "weights: weights.safetensors then, other.safetensors now" in said
        assert "--overwrite" in said
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert predict(other, photos / "b", "-o", out, "--save", "label", "--overwrite") == 0
    assert "holds 4 results of earlier runs besides" in capsys.readouterr().err
    manifest = json.loads((out / "intarsia.json").read_text(encoding="utf-8"))
    assert manifest["model"]["weights"] == "other.safetensors"
    assert len(manifest["model"]["sha256"]) == 64


def test_going_on_needs_the_same_options(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(weights, photos, "-o", out, "--save", "label", "--min-confidence", "0.5") == 0
    assert predict(weights, photos, "-o", out, "--save", "label", "--skip-existing") == 2
    said = capsys.readouterr().err
    assert "the same model with other options" in said
    assert "min_confidence: 0.5 then, None now" in said
    assert predict(weights, photos, "-o", out, "--save", "label,overlay", "--unsure", "0.5", "--skip-existing") == 0
    assert predict(weights, photos, "-o", out, "--save", "label") == 0  # all of them anew
    assert predict(weights, photos, "-o", out, "--save", "label", "--skip-existing") == 0
    (out / "intarsia.json").write_text("{}", encoding="utf-8")
    assert predict(weights, photos, "-o", out) == 2
    assert "intarsia.json is in the way" in capsys.readouterr().err


# --- What fails alone ---------------------------------------------------------------------------------------------


def test_by_products_fail_by_name_and_leave_the_label(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ArithmeticError("no such system")  # no ValueError: libraries have errors of their own

    monkeypatch.setattr("intarsia.inference.outputs.writer.write_geojson", broken)
    (tmp_path / "out" / "areas.csv").mkdir(parents=True)
    words = ["--save", "polygons,rle,label"]
    assert predict(weights, photos, "-o", tmp_path / "out", *words) == 1
    said = capsys.readouterr().err
    for name in ("a_1", "a_2", "a_10", "b/c"):
        assert f"failed: {photos / name}.png: polygons cannot be made: ArithmeticError: no such system" in said
        assert (tmp_path / "out" / f"{name}.png").is_file()
        assert (tmp_path / "out" / f"{name}_rle.json").is_file()


def test_an_image_on_which_the_network_fails_is_named(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = MixVisionTransformer.forward

    def failing(self: MixVisionTransformer, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if images.shape[2] == 33:
            raise RuntimeError("Kernel size can't be greater than actual input size")
        return forward(self, images)

    Image.new("RGB", (50, 33)).save(photos / "odd.png")
    monkeypatch.setattr(MixVisionTransformer, "forward", failing)
    assert predict(weights, photos, "-o", tmp_path / "out", "--save", "label") == 1
    said = capsys.readouterr().err
    assert f"failed: {photos / 'odd.png'}: the network fails on 50 x 33 pixels: Kernel size" in said
    assert "4 of 5 images" in said


def test_a_thin_image_is_padded_to_what_the_network_needs(weights: Path, photos: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, (height, width) in {"thin": (20, 200), "narrow": (100, 3), "dot": (1, 1)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(photos / f"{name}.png")
    assert predict(weights, photos, "-o", tmp_path / "out", "--save", "label") == 0
    for name in ("thin", "narrow", "dot"):
        assert Image.open(tmp_path / "out" / f"{name}.png").size == Image.open(photos / f"{name}.png").size


def test_an_overlay_that_is_too_large_for_its_format_is_made_smaller(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (70_000, 4)).save(tmp_path / "wide.png")
    assert predict(weights, tmp_path / "wide.png", "-o", tmp_path / "out") == 0
    assert "the picture is made smaller, since JPEG ends at 65,500 pixels" in capsys.readouterr().err
    assert Image.open(tmp_path / "out" / "wide.png").size == (70_000, 4)
    assert max(Image.open(tmp_path / "out" / "wide_overlay.jpg").size) <= 65_500
    assert predict(weights, tmp_path / "wide.png", "-o", tmp_path / "wide.webp") == 0
    assert "WEBP ends at 16,383" in capsys.readouterr().err


# --- COCO ---------------------------------------------------------------------------------------------------------


def test_annotations_name_their_images_and_can_be_put_together(weights: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict(weights, photos, "-o", out, "--save", "rle") == 0
    single = [json.loads(path.read_text("utf-8")) for path in sorted(out.rglob("*_rle.json"))]
    names = {image["file_name"] for document in single for image in document["images"]}
    assert names == {"a_1.png", "a_2.png", "a_10.png", "b/c.png"}
    for part in ("images", "annotations"):
        ids = [one["id"] for document in single for one in document[part]]
        assert len(ids) == len(set(ids))
    coco = pytest.importorskip("pycocotools.coco").COCO(str(out / "annotations.json"))
    assert sorted(coco.imgs) == [1, 2, 3, 4]
    assert len(coco.anns) == sum(len(document["annotations"]) for document in single)
    for image_id, image in coco.imgs.items():
        masks = [coco.annToMask(one) for one in coco.imgToAnns[image_id]]
        assert (sum(masks) == 1).all()
        assert masks[0].shape == (image["height"], image["width"])
    # One more image shifts the numbers of the single files; the joint file stays in order.
    Image.new("RGB", (40, 40)).save(photos / "a_0.png")
    assert predict(weights, photos, "-o", out, "--save", "rle", "--skip-existing") == 0
    joint = json.loads((out / "annotations.json").read_text("utf-8"))
    assert [image["file_name"] for image in joint["images"]] == ["a_0.png", "a_1.png", "a_2.png", "a_10.png", "b/c.png"]
    assert [one["id"] for one in joint["annotations"]] == list(range(1, len(joint["annotations"]) + 1))


# --- Another locale -----------------------------------------------------------------------------------------------


def test_a_locale_without_utf_8(weights: Path, photos: Path, tmp_path: Path) -> None:
    meta = read_meta(weights)
    named = tmp_path / "named.safetensors"
    classes, colours = ("Straße", "道路", "été"), ((9, 9, 9), (250, 9, 9), (9, 250, 9))
    labels = {str(value): name for value, name in enumerate(classes)}
    meta = WeightsMeta(config=meta.config, classes=classes, palette=colours, labels=labels)
    save_weights(named, load_state(weights), meta)
    (photos / "a_1.png").rename(photos / "größe.png")
    for path in photos.rglob("*.png"):
        label = tmp_path / "labels" / path.relative_to(photos)
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.array(Image.open(path))[:, :, 0] // 90).astype(np.uint8)).save(label)
    data = tmp_path / "data"
    data.mkdir()
    photos.rename(data / "images")
    (tmp_path / "labels").rename(data / "labels")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{data / 'images' / 'größe.png'}\n{data / 'images' / 'a_2.png'}\n", encoding="utf-8")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def run(*words: str | Path) -> None:
        command = [sys.executable, "-m", "intarsia", *map(str, words)]
        done = subprocess.run(command, capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")

    run("eval", named, "--data", data, "--split", "train", "--out", tmp_path / "scores", "--device", "cpu")
    scores = json.loads((tmp_path / "scores" / "eval.json").read_text("utf-8"))
    assert set(scores["classes"]) == set(classes)
    assert "Straße," in (tmp_path / "scores" / "eval.csv").read_text("utf-8")
    words = ["--save", "label,overlay,rle,polygons", "--areas", tmp_path / "out" / "areas.csv", "--device", "cpu"]
    run("predict", named, f"@{listed}", "-o", tmp_path / "out", *words)
    assert "größe," in (tmp_path / "out" / "areas.csv").read_text("utf-8")
    assert (tmp_path / "out" / "größe.png").is_file()
    run("data", "check", data)
    run("config", "show", "segformer_mit-b0_8xb2-160k_ade20k-512x512")
