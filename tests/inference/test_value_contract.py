"""Type and range of the training's images stand in the weights; images, rasters, arrays and evaluation keep to them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import intarsia
from intarsia.cli.main import main
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.wrappers import ConcatDataset, RepeatDataset
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.image_reader import spec_of
from intarsia.data.image_spec import ImageSpec
from intarsia.data.value_range import Scale, ValueRange
from intarsia.weights.file import read_meta

EIGHT = ImageSpec(values=ValueRange("uint8", 0, 255)).to_json()
TWELVE = ImageSpec("raw", 3, values=ValueRange("uint16", 0, 4095, 2000)).to_json()
PHOTO = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8), (5, 5), 0)
WIDE = PHOTO.astype(np.uint16) * 16


def written(folder: Path, array: np.ndarray, name: str) -> Path:
    path = folder / name
    cv2.imwrite(str(path), array[:, :, ::-1] if array.ndim == 3 else array)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_image_of_other_numbers_is_refused_everywhere(make_weights, tmp_path, suffix, capsys):
    pytest.importorskip("rasterio")
    weights, wide = make_weights(image=EIGHT), written(tmp_path, WIDE, f"wide{suffix}")
    for out in ("labels", "one.png", "raster.tif"):
        code = main(["predict", str(weights), str(wide), "-o", str(tmp_path / out), "--save", "label"])
        said = " ".join(capsys.readouterr().err.split())
        assert code in (1, 2), out
        assert "trained on colours of 8 bits, this holds uint16" in said
        assert "--scale 0,4095 (12 bits)" in said
    with pytest.raises(ValueError, match=r"this holds uint16 from .*--scale 0,4095"):
        intarsia.load(weights, device="cpu").predict(wide)


def test_a_scale_says_what_becomes_of_them_in_either_mode(make_weights, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    weights, wide = make_weights(image=EIGHT), written(tmp_path, WIDE, "wide.tif")
    colours = Scale.parse("0,4095").to_colours(WIDE)
    expected = intarsia.load(weights, device="cpu").predict(colours).label
    found = intarsia.load(weights, device="cpu", scale="0,4095").predict(wide)
    assert np.array_equal(found.label, expected)
    assert np.array_equal(found.image, colours)
    words = ["--scale", "0,4095", "--device", "cpu"]
    assert main(["predict", str(weights), str(wide), "-o", str(tmp_path / "one.png"), *words]) == 0
    assert np.array_equal(cv2.imread(str(tmp_path / "one.png"), cv2.IMREAD_UNCHANGED)[..., 0] >= 0, expected >= 0)
    assert main(["predict", str(weights), str(wide), "-o", str(tmp_path / "r.tif"), "--window", "64", *words]) == 0
    with rasterio.open(tmp_path / "r.tif") as labels:
        assert np.array_equal(labels.read(1), expected)


def test_a_model_of_sixteen_bits_takes_no_photo_for_one_of_them(make_weights, tmp_path):
    weights = make_weights(stored=True, image=TWELVE)
    model = intarsia.load(weights, device="cpu")
    for path in (written(tmp_path, PHOTO, "a.png"), written(tmp_path, PHOTO.astype(np.uint16), "b.png")):
        with pytest.raises(ValueError, match=r"uint16 numbers from 0 to 4095, this holds uint.* --scale 0,255"):
            model.predict(path)
    for array in (PHOTO, PHOTO.astype(np.float32) / 255, PHOTO.astype(np.float32)):
        with pytest.raises(ValueError, match="trained on uint16 numbers"):
            model.predict(array)
    expected = model.predict(WIDE).label
    assert np.array_equal(model.predict(WIDE.astype(np.float32)).label, expected)
    assert np.array_equal(model.predict(written(tmp_path, WIDE, "c.png")).label, expected)
    scaled = intarsia.load(weights, device="cpu", scale="0,255").predict(PHOTO).label
    assert np.array_equal(scaled, model.predict(PHOTO.astype(np.float32) * (4095 / 255)).label)


def test_weights_of_before_are_used_as_before(make_weights, tmp_path):
    model = intarsia.load(make_weights(), device="cpu")
    with pytest.warns(UserWarning, match="of uint16 the upper 8 bits are taken"):
        prediction = model.predict(written(tmp_path, WIDE, "a.png"))
    assert np.array_equal(prediction.image, WIDE >> 8)


# --- How the weights come to know it ------------------------------------------------------------------------------


def folder_of(tmp_path: Path, *images: np.ndarray) -> dict[str, object]:
    for below in ("images", "labels"):
        (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        written(tmp_path / "images", image, f"{number}.png")
        cv2.imwrite(str(tmp_path / "labels" / f"{number}.png"), (PHOTO[:, :, 0] > 128).astype(np.uint8))
    return {
        "root": str(tmp_path),
        "images": "images",
        "labels": "labels",
        "image_suffix": ".png",
        "classes": ("a", "b"),
    }


def test_a_data_set_of_files_is_looked_at(tmp_path):
    wide = folder_of(tmp_path / "wide", WIDE, WIDE // 4)
    low, high, dim = float((WIDE // 4).min()), float(WIDE.max()), float((WIDE // 4).max())
    assert spec_of(FolderDataset(**wide, bands="raw"), 3) == ImageSpec(
        "raw", 3, ("red", "green", "blue"), ValueRange("uint16", low, high, dim)
    )
    assert spec_of(RepeatDataset(FolderDataset(**wide), times=2), 3).values == ValueRange("uint16", low, high, dim)
    eight = FolderDataset(**folder_of(tmp_path / "eight", PHOTO))
    assert spec_of(eight, 3) == ImageSpec(values=ValueRange("uint8", 0, 255))
    both = ConcatDataset([eight, FolderDataset(**wide)])
    assert spec_of(both, 3).values is None
    assert spec_of(ConcatDataset([eight, FolderDataset(**wide, bands="raw")]), 3) is None


def test_the_doctor_measures_it_and_the_description_says_it(tmp_path):
    folder_of(tmp_path, WIDE, WIDE, WIDE)
    proposal = examine(tmp_path).proposal()
    assert (proposal.bands, proposal.channels, proposal.names) == ("raw", 3, ("red", "green", "blue"))
    assert proposal.values == ValueRange("uint16", float(WIDE.min()), float(WIDE.max()), float(WIDE.max()))
    write_description(proposal, tmp_path / "data.yaml")
    again = read_description(tmp_path / "data.yaml")
    assert again == proposal
    assert spec_of(again.dataset("train"), 3) == again.image_spec
    text = (tmp_path / "data.yaml").read_text()
    old = text.replace("bands: raw", "bands: stored").replace("names: [red, green, blue]", "names: []")
    (tmp_path / "old.yaml").write_text("".join(line for line in old.splitlines(True) if "values:" not in line))
    assert read_description(tmp_path / "old.yaml").bands == "raw"


def test_images_of_twelve_bits_may_be_trained_on_as_colours(tmp_path):
    """`image.scale` of the description: what training sees, the weights say, and prediction does by itself."""
    folder_of(tmp_path, WIDE, WIDE // 2)
    (tmp_path / "data.yaml").write_text(
        "root: .\nclasses: [a, b]\nimage: {bands: rgb, scale: [0, 4095]}\n"
        "splits: {train: {images: images, labels: labels}}\n"
    )
    description = read_description(tmp_path / "data.yaml")
    sample = description.dataset("train").load(0)
    assert np.array_equal(sample.image, Scale.parse("0,4095").to_colours(WIDE))
    found = spec_of(description.dataset("train"), 3)
    assert found.scale == Scale.parse("0,4095")
    assert found.values == ValueRange("uint16", float((WIDE // 2).min()), float(WIDE.max()), float((WIDE // 2).max()))
    measured = examine(tmp_path / "data.yaml").proposal()
    assert measured.values == found.values
    assert np.allclose(measured.mean, (WIDE / 4095 * 255).mean(axis=(0, 1)) * 0.75, atol=0.5)  # one of them is dim
    for wrong in ("scale: [5]", "scale: [9, 3]", "scale: [0, 1, 0, 1]", "bands: raw, scale: [0, 1]"):
        (tmp_path / "data.yaml").write_text(
            f"root: .\nclasses: [a, b]\nimage: {{{wrong}}}\nsplits: {{train: {{images: images, labels: labels}}}}\n"
        )
        with pytest.raises(ValueError, match=r"image\.scale"):
            read_description(tmp_path / "data.yaml")


def test_evaluation_reads_images_as_the_model_does(make_weights, tmp_path, capsys):
    """Of a folder that the doctor would read as raw 16 bits, by a model of 8-bit colours."""
    folder_of(tmp_path / "data", WIDE, WIDE)
    weights = make_weights(image=EIGHT)
    meta = read_meta(weights)
    assert meta.image == EIGHT
    words = ["eval", str(weights), "--data", str(tmp_path / "data"), "--split", "train", "--out", str(tmp_path / "out")]
    (tmp_path / "data" / "labels" / "0.png").write_bytes((tmp_path / "data" / "labels" / "1.png").read_bytes())
    for folder in ("images", "labels"):
        for number in range(2, 4):
            source = tmp_path / "data" / folder / "0.png"
            (tmp_path / "data" / folder / f"{number}.png").write_bytes(source.read_bytes())
    third = (PHOTO[:, :, 0] // 86).astype(np.uint8)
    for number in range(4):
        cv2.imwrite(str(tmp_path / "data" / "labels" / f"{number}.png"), third)
    assert main([*words, "--workers", "0"]) == 2
    assert "trained on colours of 8 bits, this holds uint16" in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--workers", "0", "--scale", "0,4095"]) == 0
