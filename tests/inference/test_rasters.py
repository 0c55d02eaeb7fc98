"""Scenes of any size: the same labels as the whole image at once, in bounded memory, also after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from torch import Tensor, nn

from intarsia.data.bands import parse_bands
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.scene import Scene, gdal_environment
from intarsia.data.value_range import Scale
from intarsia.inference.logits.sliding import ramp
from intarsia.inference.predictor import Predictor
from intarsia.inference.raster.predict import RasterSettings, predict_scene
from intarsia.inference.raster.resume import FinishedStrips
from intarsia.inference.raster.windows import AxisWindows, Tiling
from intarsia.spec import AugmentedInference, InferenceSpec

CLASSES = ("soil", "crop", "weed", "road")
PALETTE = ((120, 80, 40), (0, 158, 115), (213, 94, 0), (90, 90, 90))
UTM = {"crs": "EPSG:32633", "transform": from_origin(400000, 5500000, 10, 10)}
REACH = 2
"""How many pixels away the network below sees."""


class Neighbours(nn.Module):
    """Logits (N, 4, H, W), or (N, 1, H, W): sums over 5 x 5 neighbours in whole numbers, exact in any order."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.outputs, self.seen = outputs, 0
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        sums = F.conv2d(images[:, :1], torch.ones(1, 1, 5, 5), padding=REACH)
        if self.outputs == 1:
            return (sums - 3000) / 1024
        return torch.cat([sums, 6000 - sums, 24 * images[:, 1:2], 24 * images[:, 2:3]], dim=1) / 1024


class Task(nn.Module):
    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.model = Neighbours(outputs)

    def preprocess(self, images: Tensor, sizes, *, train: bool) -> Tensor:
        return images.float()


def make_predictor(*, outputs: int = 4, augment: bool = False, batch: int = 3, **spec) -> Predictor:
    names = CLASSES[: max(outputs, 2)]
    if outputs == 1:
        spec["threshold"] = 0.5
    inference = InferenceSpec(num_classes=len(names), **spec)
    return Predictor(
        Task(outputs), inference=inference, classes=names, palette=PALETTE[: len(names)], augment=augment,
        batch_windows=batch,
    )  # fmt: skip


def picture(height: int, width: int, *, bands: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (bands, height, width), dtype=np.uint8)


def write_scene(path: Path, image: np.ndarray, **profile) -> Path:
    bands, height, width = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=image.dtype, **{**UTM, **profile}
    ) as target:
        target.write(image)
    return path


def run(predictor: Predictor, scene: Path, out: Path, settings: RasterSettings, *, options=None, **more):
    with open_scene(scene, **(options or {})) as source:
        return predict_scene(predictor, source, out, settings, described={"weights": "these"}, **more)


def open_scene(
    path: Path, *, channels=3, bands="rgb", chosen=None, scale=None, names=(), values=None, **options
) -> Scene:
    reader = ImageReader(ImageSpec(bands, channels, names, values), chosen, scale)
    return Scene(path, reader, **options)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", picture(150, 210))


# --- SeamBlend --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "window", "overlap"),
    [((150, 210), (64, 64), 16), ((97, 131), (40, 33), 4), ((64, 200), (64, 64), 5), ((30, 20), (64, 64), 8)],
)
@pytest.mark.parametrize("outputs", [4, 1])
def test_cropped_windows_give_the_labels_of_the_whole_image(
    size: tuple[int, int], window: tuple[int, int], overlap: int, outputs: int, tmp_path: Path
) -> None:
    image = picture(*size)
    predictor = make_predictor(outputs=outputs)
    whole = predictor.predict(image.transpose(1, 2, 0), confidence=True, probabilities=True, entropy=True, logits=True)
    kinds = frozenset({"confidence", "probs", "entropy", "logits"})
    settings = RasterSettings(window, overlap, kinds=kinds)
    done = run(predictor, write_scene(tmp_path / "scene.tif", image), tmp_path / "out.tif", settings)
    assert np.array_equal(read(tmp_path / "out.tif")[0], whole.label)
    assert len(np.unique(whole.label)) == predictor.inference.num_classes
    assert np.array_equal(read(done.files["logits"]), whole.logits)
    for name, expected in (
        ("confidence", whole.confidence[None]), ("probs", whole.probabilities), ("entropy", whole.entropy[None]),
    ):  # fmt: skip
        np.testing.assert_allclose(read(done.files[name]), expected, rtol=0, atol=1e-6)  # exp in other lanes


def test_too_little_overlap_shows_so_that_the_test_above_can_fail(tmp_path: Path) -> None:
    image = picture(150, 210)
    predictor = make_predictor()
    whole = predictor.predict(image.transpose(1, 2, 0)).label
    run(predictor, write_scene(tmp_path / "scene.tif", image), tmp_path / "out.tif", RasterSettings((64, 64), 2))
    assert not np.array_equal(read(tmp_path / "out.tif")[0], whole)


@pytest.mark.parametrize("blend", ["average", "gaussian", "linear"])
def test_blended_windows_are_the_weighted_mean_of_their_logits(blend: str, scene: Path, tmp_path: Path) -> None:
    predictor, window = make_predictor(), 64
    done = run(predictor, scene, tmp_path / "out.tif", RasterSettings((64, 64), 24, blend, frozenset({"logits"})))
    image, (height, width) = read(scene), (150, 210)
    total, weight = np.zeros((4, height, width)), np.zeros((height, width))
    across = np.outer(ramp(window, blend), ramp(window, blend))
    for top in (0, 40, 80, 86):
        for left in (0, 40, 80, 120, 146):
            inside = (slice(top, top + window), slice(left, left + window))
            part = np.ascontiguousarray(image[(slice(None), *inside)].transpose(1, 2, 0))
            total[(slice(None), *inside)] += predictor.predict(part, logits=True).logits * across
            weight[inside] += across
    np.testing.assert_allclose(read(done.files["logits"]), total / weight, rtol=2e-6)
    label = read(tmp_path / "out.tif")[0]
    two = np.sort(total / weight, axis=0)[-2:]
    clear = two[1] - two[0] > 1e-4
    assert clear.mean() > 0.99
    assert np.array_equal(label[clear], (total / weight).argmax(axis=0)[clear])


def test_averaged_labels_are_those_of_the_whole_image_away_from_borders_of_windows(scene: Path, tmp_path: Path) -> None:
    predictor = make_predictor()
    whole = predictor.predict(read(scene).transpose(1, 2, 0)).label
    run(predictor, scene, tmp_path / "out.tif", RasterSettings((64, 64), 16, "average"))
    away = np.ones(whole.shape, np.bool_)
    for firsts, axis in (((0, 48, 86), 0), ((0, 48, 96, 144, 146), 1)):
        for first in firsts:
            for border in (first, first + 64):
                near = slice(max(border - REACH, 0), border + REACH)
                if 0 < border < whole.shape[axis]:
                    away[(near, slice(None))[:: 1 if axis == 0 else -1]] = False
    assert away.mean() > 0.5
    assert np.array_equal(read(tmp_path / "out.tif")[0][away], whole[away])


@pytest.mark.parametrize("blend", ["crop", "average", "gaussian"])
def test_panels_change_nothing(blend: str, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", picture(140, 1300), nodata=0)
    settings = RasterSettings((64, 96), 16, blend, frozenset({"logits"}))
    one, many = tmp_path / "one.tif", tmp_path / "many.tif"
    whole = run(make_predictor(), scene, one, settings)
    parts = run(make_predictor(), scene, many, settings, memory=1)
    assert parts.windows > whole.windows
    for kind in ("label", "logits"):
        assert np.array_equal(read(whole.files[kind]), read(parts.files[kind]))


@pytest.mark.parametrize("blend", ["average", "gaussian"])
def test_rows_are_blended_in_any_number_at_once(
    blend: str, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RasterSettings((64, 64), 24, blend, frozenset({"logits"}))
    many = run(make_predictor(), scene, tmp_path / "many.tif", settings)
    monkeypatch.setattr("intarsia.inference.raster.predict.BLEND_BUDGET", 1)
    few = run(make_predictor(), scene, tmp_path / "few.tif", settings)
    for kind in ("label", "logits"):
        assert np.array_equal(read(many.files[kind]), read(few.files[kind]))


def test_views_and_windows_of_the_model_are_those_of_any_image(tmp_path: Path) -> None:
    image = picture(64, 64)
    scene = write_scene(tmp_path / "scene.tif", image)
    views = AugmentedInference(scales=(1.0, 1.5), flips=(None, "horizontal"))
    for blend in ("crop", "average"):
        for given in (
            {"augment": True, "augmented": views},
            {"mode": "slide", "crop_size": (32, 32), "stride": (24, 24)},
            {"mode": "slide", "crop_size": (64, 64), "stride": (48, 48)},
        ):
            predictor = make_predictor(**given)
            expected = predictor.predict(image.transpose(1, 2, 0)).label
            run(predictor, scene, tmp_path / "out.tif", RasterSettings((64, 64), 0, blend))
            assert np.array_equal(read(tmp_path / "out.tif")[0], expected)
    wide = write_scene(tmp_path / "wide.tif", picture(64, 200))
    for blend in ("crop", "average"):
        predictor = make_predictor(augment=True, augmented=views)
        run(predictor, wide, tmp_path / "out.tif", RasterSettings((64, 64), 16, blend))
        windows = 4 if blend == "crop" else 5  # one to see how large logits are
        assert predictor.task.model.seen == 4 * windows  # each in four views


def test_ranges_of_windows_cover_each_pixel_once_or_more() -> None:
    for length in (1, 7, 64, 65, 100, 333):
        for window, overlap in ((64, 0), (64, 16), (10, 9), (33, 20)):
            cropped, blended = (AxisWindows.of(length, window, overlap, crop=crop) for crop in (True, False))
            assert [pixel for begin, end in cropped.counts for pixel in range(begin, end)] == list(range(length))
            finals = [blended.final(index) for index in range(len(blended.firsts))]
            assert [pixel for begin, end in finals for pixel in range(begin, end)] == list(range(length))
            for first, (begin, end) in zip(cropped.firsts, cropped.counts, strict=True):
                assert first <= begin < end <= first + cropped.window
    for wrong in (32, -1):
        with pytest.raises(ValueError, match=f"an overlap from 0 to below the window's 64 x 32 pixels, found {wrong}"):
            Tiling.of((100, 100), (64, 32), wrong, "crop")
    with pytest.raises(ValueError, match="expected one of crop, average, gaussian, linear, found 'none'"):
        Tiling.of((100, 100), (64, 64), 16, "none")


# --- What the files say -------------------------------------------------------------------------------------------


def test_the_label_file_lies_where_the_scene_does_and_says_what_its_values_are(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", picture(600, 700), nodata=0)
    done = run(
        make_predictor(), scene, tmp_path / "out.tif", RasterSettings((256, 256), 32, kinds=frozenset({"probs"}))
    )
    with rasterio.open(tmp_path / "out.tif") as label:
        assert label.crs == UTM["crs"]
        assert label.transform == UTM["transform"]
        assert label.nodata == 255
        assert label.dtypes == ("uint8",)
        assert label.profile["tiled"]
        assert label.block_shapes == [(512, 512)]
        assert label.compression.value == "DEFLATE"
        assert "PREDICTOR" not in label.tags(ns="IMAGE_STRUCTURE")
        assert label.colorinterp[0] == ColorInterp.palette
        assert [label.colormap(1)[value][:3] for value in range(4)] == list(PALETTE)
        assert label.colormap(1)[255] == (0, 0, 0, 0)
        assert json.loads(label.tags()["CLASS_NAMES"]) == list(CLASSES)
    assert "<Category>road</Category>" in (tmp_path / "out.tif.aux.xml").read_text()
    with rasterio.open(done.files["probs"]) as probs:
        assert probs.descriptions == CLASSES
        assert np.isnan(probs.nodata)
        assert probs.transform == UTM["transform"]
        assert probs.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"  # for floating point, which shrinks little without
        np.testing.assert_allclose(probs.read().sum(axis=0), 1, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.tif", "out.tif.aux.xml", "out_probs.tif", "scene.tif",
    ]  # fmt: skip


class Constant(nn.Module):
    """Logits (N, K, H, W) of which the last is the largest."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.arange(outputs) / outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.bias.view(1, -1, 1, 1).expand(len(images), -1, *images.shape[2:])


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(254, "uint8"), (255, "uint8"), (256, "uint16"), (257, "uint16"), (65535, "uint16"), (65536, "uint32")],
)
def test_every_class_and_no_data_have_a_number(classes: int, dtype: str, tmp_path: Path) -> None:
    image = picture(6, 9)
    image[:, :2] = 0
    scene = write_scene(tmp_path / "scene.tif", image, nodata=0)
    task = Task()
    task.model = Constant(classes)
    names = tuple(f"c{number}" for number in range(classes))
    palette = tuple((number % 256, number // 256, 7) for number in range(classes))
    predictor = Predictor(task, inference=InferenceSpec(num_classes=classes), classes=names, palette=palette)
    assert (predictor.predict(image.transpose(1, 2, 0)).label == classes - 1).all()
    run(predictor, scene, tmp_path / "out.tif", RasterSettings((16, 16), 0))
    with rasterio.open(tmp_path / "out.tif") as labels:
        assert labels.dtypes == (dtype,)
        assert labels.nodata == np.iinfo(dtype).max
        found = labels.read(1)
        assert (found[:2] == labels.nodata).all()
        assert (found[2:] == classes - 1).all()
        assert json.loads(labels.tags()["CLASS_NAMES"])[-1] == names[-1]
        if dtype != "uint32":
            assert labels.colormap(1)[classes - 1][:3] == palette[-1]


def test_more_classes_than_numbers_are_refused() -> None:
    names = ["x"] * 65537
    with pytest.raises(ValueError, match="at most 65,536 classes, found 65,537"):
        Predictor(Task(), inference=InferenceSpec(num_classes=3), classes=names, palette=[(0, 0, 0)] * 65537)


def test_files_of_more_than_four_gigabytes_are_bigtiff(tmp_path: Path) -> None:
    """Which is decided when they are begun, by what they might hold."""
    from intarsia.inference.raster.files import layers_of, profile_of

    layer = layers_of(["probs"], [f"c{number}" for number in range(150)], single_logit=False)[1]
    for size, first in (((3000, 3000), b"II+\0"), ((300, 300), b"II*\0")):
        with rasterio.open(tmp_path / "a.tif", "w", **profile_of(layer, size, {}), SPARSE_OK=True):
            pass
        assert (tmp_path / "a.tif").read_bytes()[:4] == first


def test_control_points_are_kept(tmp_path: Path) -> None:
    points = [
        GroundControlPoint(row, column, 13 + column / 1000, 50 - row / 1000) for row in (0, 80) for column in (0, 90)
    ]
    with rasterio.open(
        tmp_path / "scene.tif",
        "w",
        driver="GTiff",
        count=3,
        height=80,
        width=90,
        dtype="uint8",
        crs="EPSG:4326",
        gcps=points,
    ) as target:
        target.write(picture(80, 90))
    run(make_predictor(), tmp_path / "scene.tif", tmp_path / "out.tif", RasterSettings((64, 64), 16))
    with rasterio.open(tmp_path / "out.tif") as label:
        found, crs = label.gcps
    assert crs == "EPSG:4326"
    assert [(p.row, p.col, p.x, p.y) for p in found] == [(p.row, p.col, p.x, p.y) for p in points]


def test_uncertain_pixels_have_no_class(scene: Path, tmp_path: Path) -> None:
    predictor = make_predictor()
    whole = predictor.predict(read(scene).transpose(1, 2, 0), confidence=True)
    run(predictor, scene, tmp_path / "out.tif", RasterSettings((64, 64), 16, min_confidence=0.6))
    label = read(tmp_path / "out.tif")[0]
    clear = np.abs(whole.confidence - 0.6) > 1e-5
    expected = np.where(whole.confidence < 0.6, 255, whole.label)
    assert 0.1 < (label == 255).mean() < 0.9
    assert np.array_equal(label[clear], expected[clear])


@pytest.mark.parametrize("several", [False, True])
def test_masks_say_where_each_class_is(several: bool, scene: Path, tmp_path: Path) -> None:
    spec = {"answer": "classes", "class_thresholds": (0.5, 0.6, 0.7, 0.8)} if several else {}
    predictor = make_predictor(**spec)
    whole = predictor.predict(read(scene).transpose(1, 2, 0), confidence=True)
    settings = RasterSettings((64, 64), 16, kinds=frozenset({"masks"}), min_confidence=0.52)
    done = run(predictor, scene, tmp_path / "out.tif", settings)
    clear = np.abs(whole.confidence - 0.52) > 1e-5
    expected = np.where(whole.confidence < 0.52, 255, whole.labels)
    assert 0 < (expected == 255).mean() < 1
    with rasterio.open(done.files["masks"]) as masks, rasterio.open(done.files["label"]) as labels:
        assert (masks.dtypes, masks.descriptions, masks.nodata) == (("uint8",) * 4, CLASSES, 255)
        assert np.array_equal(masks.read()[:, clear], expected[:, clear])
        assert ("CLASS_BITS" in labels.tags()) == several
        colours = labels.colormap(1)
    assert [colours[value][:3] for value in range(4)] == list(predictor.shown_values[1][:4])


# --- Where there is no data ---------------------------------------------------------------------------------------


def without_data(kind: str, folder: Path) -> tuple[Path, np.ndarray, dict]:
    """A scene whose left part is empty in one of the ways in which files say so."""
    image, valid = picture(100, 200), np.ones((100, 200), np.bool_)
    valid[:, :110] = False
    valid[50, 150] = False
    path, options = folder / f"{kind}.tif", {}
    if kind == "nodata":
        write_scene(path, np.where(valid, image, 0), nodata=0)
    elif kind == "given":
        write_scene(path, np.where(valid, image, 7))
        options["nodata"] = 7
    elif kind == "alpha":
        write_scene(path, np.concatenate([image, valid[None] * np.uint8(255)]), photometric="RGB", alpha="YES")
    elif kind == "mask":
        write_scene(path, image)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
            target.write_mask(valid)
    else:
        write_scene(path, np.where(valid, image, np.nan).astype(np.float32))
        options["scale"] = Scale((0.0,), (255.0,))
    return path, np.where(valid, image, 0), options


@pytest.mark.parametrize("kind", ["nodata", "given", "alpha", "mask", "nan"])
@pytest.mark.parametrize("blend", ["crop", "average"])
def test_empty_windows_are_not_computed_and_empty_pixels_have_no_class(kind: str, blend: str, tmp_path: Path) -> None:
    path, image, options = without_data(kind, tmp_path)
    predictor = make_predictor()
    whole = predictor.predict(image.transpose(1, 2, 0)).label
    before = predictor.task.model.seen
    settings = RasterSettings((40, 40), 8, blend, frozenset({"confidence"}))
    done = run(predictor, path, tmp_path / "out.tif", settings, options=options)
    label, confidence = read(tmp_path / "out.tif")[0], read(done.files["confidence"])[0]
    empty = (image == 0).all(axis=0)
    assert np.array_equal(label == 255, empty)
    assert np.array_equal(np.isnan(confidence), empty)
    assert done.windows == 18
    assert done.seen == predictor.task.model.seen - before - (blend != "crop") == 9  # one to see how large logits are
    if blend == "crop":
        assert np.array_equal(label[~empty], whole[~empty])


def test_a_scene_without_any_data(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", np.zeros((3, 90, 90), np.uint8), nodata=0)
    for blend in ("crop", "average"):
        done = run(make_predictor(), scene, tmp_path / "out.tif", RasterSettings((64, 64), 16, blend))
        assert done.seen == 0
        assert (read(tmp_path / "out.tif") == 255).all()


def with_fourth_band(path: Path, band: np.ndarray) -> Path:
    """Four bands of 8 bits, of which GDAL calls the last one alpha unless it is told otherwise."""
    image = np.concatenate([picture(100, 200), band[None].astype(np.uint8)])
    write_scene(path, image)
    with rasterio.open(path) as source:
        assert source.colorinterp[3] == ColorInterp.alpha
    return path


def test_near_infrared_is_not_taken_for_alpha(tmp_path: Path) -> None:
    """Water is 0 in near infrared. Nothing becomes of that, unless the user says that the band is a mask."""
    infrared = picture(100, 200, bands=1)[0]
    infrared[:, :80] = 0
    path = with_fourth_band(tmp_path / "rgbn.tif", infrared)
    everywhere = Area(0, 0, 100, 200)
    with (
        pytest.warns(UserWarning, match=r"calls a band alpha in which 60% .*say --alpha mask"),
        open_scene(path) as scene,
    ):
        assert scene.valid(everywhere).all()
    with open_scene(path, alpha="band") as scene:
        assert scene.valid(everywhere).all()
    with open_scene(path, alpha="mask") as scene:
        assert np.array_equal(scene.valid(everywhere), infrared > 0)


@pytest.mark.parametrize("alpha", ["auto", "mask", "band"])
@pytest.mark.parametrize("options", [{"channels": 4, "bands": "raw"}, {"chosen": (1, 2, 4)}, {"chosen": (4, 4, 4)}])
def test_a_band_that_the_model_reads_is_no_mask(alpha: str, options: dict, tmp_path: Path) -> None:
    clear_or_opaque = np.repeat([0, 255], 100)[None].repeat(100, axis=0)
    path = with_fourth_band(tmp_path / "rgbn.tif", clear_or_opaque)
    with open_scene(path, alpha=alpha, **options) as scene:
        assert scene.valid(Area(0, 0, 100, 200)).all()
        seen = scene.read(Area(0, 0, 100, 200))
    assert np.array_equal(seen[:, :, -1], clear_or_opaque)


def test_a_real_alpha_band_still_says_where_there_is_no_data(tmp_path: Path) -> None:
    ramp_between = np.repeat([0, 90, 255], (100, 6, 94))[None].repeat(100, axis=0)  # feathered over six columns
    path = with_fourth_band(tmp_path / "rgba.tif", ramp_between)
    with open_scene(path) as scene:
        assert np.array_equal(scene.valid(Area(0, 0, 100, 200)), ramp_between > 0)
    with open_scene(path, channels=3, bands="raw") as scene:  # a raw model of as many bands as there are without it
        assert np.array_equal(scene.valid(Area(0, 0, 100, 200)), ramp_between > 0)


def test_grey_with_alpha_for_a_model_of_both(tmp_path: Path) -> None:
    image = picture(30, 40, bands=2)
    image[1, :, :20] = 0
    path = write_scene(tmp_path / "two.tif", image, photometric="MINISBLACK", alpha="YES")
    with open_scene(path, channels=2, bands="raw") as scene:
        assert scene.valid(Area(0, 0, 30, 40)).all()
        assert np.array_equal(scene.read(Area(0, 0, 30, 40)), image.transpose(1, 2, 0))


def test_a_pixel_is_missing_if_all_bands_say_so_whichever_are_read(tmp_path: Path) -> None:
    image = picture(30, 40, bands=4)
    image[3, :, :20] = 0  # water in the band that is read
    image[:, :5, :5] = 0  # and a corner without data
    path = write_scene(tmp_path / "nodata.tif", image, nodata=0, photometric="MINISBLACK")
    expected = np.ones((30, 40), np.bool_)
    expected[:5, :5] = False
    with open_scene(path, chosen=(4, 4, 4)) as scene:
        assert np.array_equal(scene.valid(Area(0, 0, 30, 40)), expected)


# --- Bands and types ----------------------------------------------------------------------------------------------


def window_of(path: Path, **options) -> np.ndarray:
    with open_scene(path, **options) as scene:
        found = scene.read(Area(2, 3, 5, 4))
    assert found is not None
    return found.transpose(2, 0, 1)


def test_bands_are_chosen_by_number_by_colour_or_all(tmp_path: Path) -> None:
    image = picture(20, 20, bands=4)
    inside = image[:, 2:7, 3:7]
    plain = write_scene(tmp_path / "plain.tif", image, photometric="MINISBLACK")
    assert np.array_equal(window_of(plain, chosen=(4, 1, 2)), inside[[3, 0, 1]])
    assert np.array_equal(window_of(plain, channels=4, bands="raw"), inside)
    with pytest.raises(ValueError, match=r"red, green and blue, found 4 bands \(1 unnamed.*--bands 1,2,3"):
        open_scene(plain)
    with pytest.raises(ValueError, match=r"expected 3 bands among 1\.\.4 for this model and file .*found 1,5,2"):
        open_scene(plain, chosen=(1, 5, 2))
    with rasterio.open(plain, "r+") as target:
        target.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
    assert np.array_equal(window_of(plain), inside[[2, 1, 0]])
    grey = write_scene(tmp_path / "grey.tif", image[:1])
    assert np.array_equal(window_of(grey), inside[[0, 0, 0]])
    assert parse_bands("3,2,1") == (3, 2, 1)
    for wrong in ("", "0,1", "1,,2", "r,g,b"):
        with pytest.raises(ValueError, match="--bands takes numbers"):
            parse_bands(wrong)


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    numbers = picture(20, 20, bands=1) % 4
    path = write_scene(tmp_path / "palette.tif", numbers)
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, dict(enumerate(PALETTE)))
    assert np.array_equal(window_of(path), np.array(PALETTE)[numbers[0, 2:7, 3:7]].transpose(2, 0, 1))


def test_sixteen_bits_need_a_scale_for_a_model_of_eight(tmp_path: Path) -> None:
    image = (picture(40, 40).astype(np.uint16) * 40) + 200
    path = write_scene(tmp_path / "scene.tif", image)
    with pytest.raises(ValueError, match=r"trained on colours of 8 bits, this holds uint16.*--scale \d+.*training"):
        open_scene(path)
    inside = image[:, 2:7, 3:7].astype(np.float64)
    scaled = window_of(path, scale=Scale.parse("200,5200"))
    assert scaled.dtype == np.uint8
    assert np.abs(scaled - np.clip((inside - 200) / 5000 * 255, 0, 255)).max() <= 0.5001
    each = window_of(path, scale=Scale.parse("200,5200,0,65535,200,400"))
    assert np.array_equal(each[0], scaled[0])
    assert np.abs(each[1] - inside[1] / 257).max() <= 0.5001
    assert np.array_equal(window_of(path, scale=Scale.parse("training")), image[:, 2:7, 3:7] >> 8)
    assert np.array_equal(window_of(path, bands="raw"), image[:, 2:7, 3:7])
    for text, reason in (("5", "takes MIN,MAX"), ("5,x", "takes MIN,MAX"), ("9,3", "below its MAX")):
        with pytest.raises(ValueError, match=reason):
            Scale.parse(text)
    with pytest.raises(ValueError, match="one for each of 3 bands, found 2 pairs"):
        open_scene(path, scale=Scale.parse("0,1,0,1"))
    eight = write_scene(tmp_path / "eight.tif", picture(40, 40))
    with pytest.raises(ValueError, match="is for images of 16 bits, found uint8"):
        open_scene(eight, scale=Scale.parse("training"))


def test_files_that_are_no_rasters_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.tif: cannot be read as a raster: no such file"):
        open_scene(tmp_path / "nothing.tif")
    (tmp_path / "text.tif").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.tif: cannot be read as a raster"):
        open_scene(tmp_path / "text.tif")
    whole = write_scene(tmp_path / "cut.tif", picture(600, 600), compress="deflate", tiled=True).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.tif"):
        run(make_predictor(), tmp_path / "cut.tif", tmp_path / "out.tif", RasterSettings((128, 128), 16))
    assert not (tmp_path / "out.tif").exists()


def test_without_rasterio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, scene: Path) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ValueError, match=r"pip install \"intarsia\[raster\]\""):
        open_scene(scene)


def test_the_smallest_windows_and_largest_overlaps() -> None:
    with pytest.raises(ValueError, match="the window's 0 x 48 pixels"):
        Tiling.of((100, 100), (0, 48), 0, "crop")
    assert Tiling.of((2, 3), (1, 1), 0, "crop").across.counts == ((0, 1), (1, 2), (2, 3))
    assert Tiling.of((5, 5), (3, 3), 2, "average").down.firsts == (0, 1, 2)


def test_a_file_that_cannot_be_written_is_named_and_the_strips_are_kept(scene: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out.tif", RasterSettings((64, 64), 16)
    in_the_way = tmp_path / "out.tif.parts" / "out.tif"
    with pytest.raises(ValueError, match=r"out\.tif cannot be written: .*The finished strips beside it are kept"):
        run(make_predictor(), scene, out, settings, progress=lambda done, total: in_the_way.mkdir(exist_ok=True))
    in_the_way.rmdir()
    done = run(make_predictor(), scene, out, settings)
    assert done.resumed == done.windows


def test_names_and_kinds_that_cannot_be_written(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a GeoTIFF: give it a name that ends in \.tif"):
        run(make_predictor(), scene, tmp_path / "out.png", RasterSettings((64, 64), 16))
    with pytest.raises(ValueError, match="can be saved, not depth"):
        run(make_predictor(), scene, tmp_path / "out.tif", RasterSettings((64, 64), 16, kinds=frozenset({"depth"})))


# --- Interruptions ------------------------------------------------------------------------------------------------


class KilledError(Exception):
    pass


def interrupted(predictor: Predictor, scene: Path, out: Path, settings: RasterSettings, *, after: int) -> None:
    def stop(done: int, total: int) -> None:
        if done >= after:
            raise KilledError

    with pytest.raises(KilledError):
        run(predictor, scene, out, settings, progress=stop)
    assert not out.exists()


@pytest.mark.parametrize("blend", ["crop", "average", "gaussian"])
def test_an_interrupted_run_goes_on_to_the_same_files(blend: str, scene: Path, tmp_path: Path) -> None:
    settings = RasterSettings((40, 40), 12, blend, frozenset({"logits"}), 0.3)
    straight = run(make_predictor(), scene, tmp_path / "straight.tif", settings)
    out = tmp_path / "out.tif"
    interrupted(make_predictor(), scene, out, settings, after=10)
    interrupted(make_predictor(), scene, out, settings, after=29)
    again = make_predictor()
    done = run(again, scene, out, settings)
    assert 0 < done.resumed < done.windows
    assert again.task.model.seen < straight.seen
    assert done.windows == straight.windows
    for kind in ("label", "logits"):
        assert done.files[kind].read_bytes() == straight.files[kind].read_bytes()
    assert not (tmp_path / "out.tif.parts").exists()


def test_another_run_does_not_go_on_with_strips_of_this_one(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    interrupted(make_predictor(), scene, out, RasterSettings((40, 40), 12), after=10)
    with pytest.raises(ValueError, match=r"another one:\n  overlap: 12 then, 8 now\n.*--restart to begin anew"):
        run(make_predictor(), scene, out, RasterSettings((40, 40), 8))
    write_scene(scene, picture(150, 210, seed=1))
    with pytest.raises(ValueError, match=r"scene: scene\.tif, \d+ bytes, of \d+ then"):
        run(make_predictor(), scene, out, RasterSettings((40, 40), 12))
    done = run(make_predictor(), scene, out, RasterSettings((40, 40), 12), restart=True)
    assert done.resumed == 0
    assert np.array_equal(read(out)[0], make_predictor().predict(read(scene).transpose(1, 2, 0)).label)


def test_a_damaged_strip_and_a_foreign_folder_are_named(scene: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out.tif", RasterSettings((40, 40), 12)
    interrupted(make_predictor(), scene, out, settings, after=10)
    strip = next((tmp_path / "out.tif.parts").glob("strip_*.npz"))
    strip.write_bytes(strip.read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"{strip.name} is damaged"):
        run(make_predictor(), scene, out, settings)
    strip.unlink()
    run(make_predictor(), scene, out, settings)
    (tmp_path / "b.tif.parts").mkdir()
    assert FinishedStrips.described(tmp_path / "b.tif") is None
    (tmp_path / "b.tif.parts" / "run.json").write_text('{"half":')
    with pytest.raises(ValueError, match=r"run\.json is damaged .*begin anew with --restart"):
        run(make_predictor(), scene, tmp_path / "b.tif", settings)
    (tmp_path / "b.tif.parts" / "run.json").rename(tmp_path / "b.tif.parts" / "letter.txt")
    with pytest.raises(ValueError, match="is in the way"):
        run(make_predictor(), scene, tmp_path / "b.tif", settings)


def test_what_is_derived_is_there_before_the_labels_are(scene: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "out.tif", []

    def derive(label: Path) -> None:
        assert not out.exists()
        seen.append(read(label))

    run(make_predictor(), scene, out, RasterSettings((64, 64), 16), derive=derive)
    assert np.array_equal(seen[0], read(out))


# --- Memory -------------------------------------------------------------------------------------------------------

MEASURED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import test_rasters as here
from pathlib import Path
from intarsia.data.scenes import scene as source

source.CACHE = 8 * 2**20
folder, height = Path(sys.argv[2]), int(sys.argv[3])
scene = here.write_scene(folder / f"{height}.tif", here.np.full((3, height, 1024), 9, "uint8"), tiled=True)
settings = here.RasterSettings((256, 256), 32, sys.argv[4], frozenset({"probs"}))
with source.gdal_environment():
    here.run(here.make_predictor(batch=1), scene, folder / "out.tif", settings, memory=16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("blend", ["crop", "average"])
def test_memory_does_not_grow_with_the_height(blend: str, tmp_path: Path) -> None:
    """From 1000 to 3500 rows: the probabilities alone, held at once, would be 41 MB more."""
    peaks = []
    for height in (1000, 3500):
        command = [sys.executable, "-c", MEASURED, str(Path(__file__).parent), str(tmp_path), str(height), blend]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    assert peaks[1] - peaks[0] < 20


def test_gdal_keeps_no_more_than_it_is_told() -> None:
    with gdal_environment():
        assert int(rasterio.env.getenv()["GDAL_CACHEMAX"]) == 128 * 2**20
