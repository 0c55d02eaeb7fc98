"""Several images of each sample as one: bands, sizes, types, names, which files belong together, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.description.mixed import MixedDescription
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec, InputSpec
from intarsia.data.stack import Stack, channel_names, key_of, stacked
from intarsia.data.value_range import ValueRange
from intarsia.engine.training.environment import fingerprint
from intarsia.inference.inputs.arrays import as_array


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def photo(seed: int, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def heights(seed: int, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(90, 130, size).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """photos/SPLIT/x.png, dsm/SPLIT/x_h.tif, labels/SPLIT/x.png; data.yaml says no more than the folders."""
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            save(tmp_path / f"photos/{split}/x{i}.png", photo(i))
            save(tmp_path / f"dsm/{split}/x{i}_h.tif", heights(i))
            save(
                tmp_path / f"labels/{split}/x{i}.png", np.random.default_rng(i).integers(0, 2, (20, 30), dtype=np.uint8)
            )
    write(tmp_path)
    return tmp_path


def write(folder: Path, *, first: str = "photos/{}", second: object = "dsm/{}/*_h.tif", image: object = None) -> Path:
    def rule(split: str) -> dict[str, object]:
        other = second.format(split) if isinstance(second, str) else second
        return {"images": {"rgb": first.format(split), "dsm": other}, "labels": f"labels/{split}"}

    tree = {"classes": ["ground", "roof"], "splits": {split: rule(split) for split in ("train", "val")}}
    tree |= {} if image is None else {"image": image}
    (folder / "data.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return folder / "data.yaml"


# --- Images -------------------------------------------------------------------------------------------------------


def test_bands_come_one_after_the_other_as_they_are() -> None:
    a, b = photo(0), photo(1)[:, :, :2]
    found = stacked([a, b])
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.concatenate([a, b], axis=2))


def test_different_types_become_float32_with_the_same_numbers() -> None:
    a, b = photo(0), heights(1)[:, :, None]
    found = stacked([a, b])
    assert found.dtype == np.float32
    assert np.array_equal(found, np.concatenate([a.astype(np.float32), b], axis=2))
    c = np.full((20, 30, 1), 60000, np.uint16)
    assert stacked([a, c])[..., 3].max() == 60000
    assert stacked([c, c]).dtype == np.uint16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.int32, np.float64])
def test_another_size_is_resized_to_the_first_one_bilinearly(dtype: type) -> None:
    a = photo(0)
    b = np.arange(6 * 8 * 5).reshape(6, 8, 5).astype(dtype)
    found = stacked([a, b])
    assert found.shape == (20, 30, 8)
    kept = b if dtype in (np.uint8, np.uint16, np.int16, np.float32) else b.astype(np.float32)
    for band in range(5):
        expected = cv2.resize(kept[:, :, band], (30, 20), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(found[:, :, 3 + band], expected)
    assert np.array_equal(found[:, :, :3], a)


def test_every_band_has_a_name() -> None:
    inputs = (InputSpec("rgb"), InputSpec("dsm", "raw", 1), InputSpec("s2", "raw", 3, ("B02", "", "B08")))
    assert channel_names(inputs) == ("rgb.red", "rgb.green", "rgb.blue", "dsm.1", "s2.B02", "s2.2", "s2.B08")


def test_weights_say_what_images_they_take() -> None:
    inputs = (InputSpec("a"), InputSpec("b", "raw", 2, ("x", "y"), ValueRange("float32", 0.5, 9.25)))
    spec = ImageSpec("raw", 5, channel_names(inputs), inputs=inputs)
    assert ImageSpec.from_json(spec.to_json(), bands="raw", channels=5) == spec
    assert "inputs" not in ImageSpec().to_json()
    with pytest.raises(ValueError, match="unknown way"):
        ImageSpec.from_json({"bands": "raw", "inputs": [{"bands": "raw"}]}, bands="raw", channels=1)
    with pytest.raises(ValueError, match="4 channels: rgb images have 3"):
        ImageSpec.from_json({"bands": "raw", "inputs": [{"name": "a", "channels": 4}]}, bands="raw", channels=4)


# --- A description ------------------------------------------------------------------------------------------------


def test_samples_are_what_numpy_makes_of_their_files(place: Path) -> None:
    description = read_description(place / "data.yaml")
    assert description.names == ("rgb.red", "rgb.green", "rgb.blue", "dsm.1")
    assert (description.bands, description.channels) == ("raw", 4)
    dataset = description.dataset("train")
    for i in range(4):
        sample = dataset.load(i)
        expected = np.concatenate([photo(i).astype(np.float32), heights(i)[:, :, None]], axis=2)
        assert np.array_equal(sample.image, expected)
        assert np.array_equal(sample.label, np.asarray(Image.open(place / f"labels/train/x{i}.png")))


def test_a_coarser_map_fits_the_labels_of_the_first_image(place: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            save(place / f"dsm/{split}/x{i}_h.tif", heights(i, (5, 6)))
    sample = read_description(place / "data.yaml").dataset("val").load(1)
    assert sample.image.shape == (20, 30, 4)
    assert np.array_equal(sample.image[:, :, 3], cv2.resize(heights(1, (5, 6)), (30, 20)))


def test_the_order_is_as_written_and_any_folder_may_hold_both(place: Path) -> None:
    for split in ("train", "val"):
        for file in (place / "photos" / split).iterdir():
            file.rename(place / "dsm" / split / f"{file.stem}_rgb.png")
    text = (
        write(place)
        .read_text()
        .replace("rgb: photos/train", "dsm0: dsm/train/*_h.tif")
        .replace("rgb: photos/val", "dsm0: dsm/val/*_h.tif")
    )
    text = text.replace("dsm: dsm/train/*_h.tif", "photo: dsm/train/*_rgb.png").replace(
        "dsm: dsm/val/*_h.tif", "photo: dsm/val/*_rgb.png"
    )
    (place / "data.yaml").write_text(text)
    description = read_description(place / "data.yaml")
    assert description.names == ("dsm0.1", "photo.red", "photo.green", "photo.blue")
    image = description.dataset("train").load(2).image
    assert np.array_equal(image[:, :, 0], heights(2))
    assert np.array_equal(image[:, :, 1:], photo(2))


def test_two_dates_of_one_type_stay_what_they_are(place: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            save(place / f"later/{split}/x{i}.png", photo(100 + i))
    sample = read_description(write(place, second="later/{}")).dataset("train").load(3)
    assert sample.image.dtype == np.uint8
    assert np.array_equal(sample.image, np.concatenate([photo(3), photo(103)], axis=2))


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_a_missing_partner_is_named_or_left_out(place: Path, policy: str) -> None:
    (place / "dsm/train/x2_h.tif").unlink()
    text = (
        (place / "data.yaml")
        .read_text()
        .replace("labels: labels/train", f"labels: labels/train\n    missing: {policy}")
    )
    (place / "data.yaml").write_text(text)
    description = read_description(place / "data.yaml") if policy == "skip" else None
    if policy == "error":
        with pytest.raises(
            ValueError, match=r"1 images have no dsm \(expected dsm/train/\*_h.tif.*photos/train/x2.png"
        ):
            read_description(place / "data.yaml").dataset("train")
        return
    assert description is not None
    assert [description.dataset("train").load(i).meta.name[-2:] for i in range(3)] == ["x0", "x1", "x3"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"second": 3}, r"yaml:\d+: splits.train.images.dsm: expected a folder or a pattern, found 3"),
        ({"second": "nowhere"}, "there is no folder 'nowhere'"),
        (
            {"image": {"inputs": {"dem": {"bands": "raw"}}}},
            r"image.inputs.dem: no images have this name; there are rgb, dsm",
        ),
        ({"image": {"inputs": {"dsm": {"band": "raw"}}}}, "image.inputs.dsm.band: unknown key"),
        ({"image": {"inputs": {"dsm": {"bands": "grey"}}}}, "image.inputs.dsm: expected bands .*'grey'"),
        ({"image": {"inputs": {"dsm": {"bands": "raw", "channels": 2, "names": ["a"]}}}}, "1 names for 2 channels"),
        ({"image": {"inputs": ["dsm"]}}, "image.inputs: expected"),
        ({"image": {"inputs": {"dsm": {"bands": "raw", "channels": 10**6}}}}, "1000000 channels: .* from 1 to 10000"),
        ({"image": {"mean": [1, 2, 3]}}, "image.mean: 3 numbers for 4 channels"),
    ],
)
def test_mistakes_are_named(place: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_description(write(place, **changes))  # type: ignore[arg-type]


def test_splits_with_other_images_and_names_that_are_none_are_refused(place: Path) -> None:
    text = (place / "data.yaml").read_text()
    (place / "data.yaml").write_text(text.replace("rgb: photos/val", "photo: photos/val"))
    with pytest.raises(ValueError, match=r"splits.val: expected `images:` with rgb, dsm, in this order"):
        read_description(place / "data.yaml")
    (place / "data.yaml").write_text(text.replace("rgb: photos/val", "r.g: photos/val"))
    with pytest.raises(ValueError, match="expected a name of letters"):
        read_description(place / "data.yaml")
    (place / "data.yaml").write_text(text.replace("      dsm: dsm/val/*_h.tif\n", ""))
    with pytest.raises(ValueError, match="expected several images by name"):
        read_description(place / "data.yaml")
    many = ", ".join(f"n{i}: dsm/val" for i in range(65))
    rule = f"classes: [a, b]\nsplits:\n  val: {{images: {{{many}}}, labels: labels/val}}\n"
    (place / "data.yaml").write_text(rule)
    with pytest.raises(ValueError, match="at most 64 images for each sample, found 65"):
        read_description(place / "data.yaml")


def test_what_is_written_reads_as_the_same_and_looks_at_no_file(place: Path) -> None:
    description = examine(place / "data.yaml").proposal()
    write_description(description, place / "again.yaml")
    for file in place.rglob("*.png"):
        file.write_bytes(b"")
    assert read_description(place / "again.yaml") == description
    assert description.inputs[1].values is not None
    assert description.inputs[1].values.dtype == "float32"


def test_a_named_share_and_lists_keep_the_partners(place: Path) -> None:
    text = (place / "data.yaml").read_text()
    head, _, _ = text.partition("  val:")
    (place / "data.yaml").write_text(head + "  val: {share: 0.5, of: train, seed: 1}\n")
    description = read_description(place / "data.yaml")
    assert description.dataset("val").load(0).image.shape == (20, 30, 4)
    assert len(description.dataset("train")) + len(description.dataset("val")) == 4


def test_the_doctor_measures_every_band(place: Path) -> None:
    found = examine(place / "data.yaml")
    assert found.ok
    bands = np.concatenate(
        [np.concatenate([photo(i).astype(float), heights(i)[:, :, None]], axis=2).reshape(-1, 4) for i in range(4)]
    )
    assert np.allclose(found.mean, bands.mean(axis=0), rtol=1e-5)
    assert np.allclose(found.std, bands.std(axis=0), rtol=1e-4)
    values = found.proposal().inputs[1].values
    assert values is not None
    assert values.low == min(heights(i).min() for i in range(4))
    assert values.high == max(heights(i).max() for i in range(4))


def test_a_partner_that_changes_changes_the_fingerprint(place: Path) -> None:
    before = fingerprint(read_description(place / "data.yaml").dataset("train"))
    assert before == fingerprint(read_description(place / "data.yaml").dataset("train"))
    save(place / "dsm/train/x1_h.tif", heights(1, (40, 60)))
    assert fingerprint(read_description(place / "data.yaml").dataset("train")) != before


def test_stacks_of_several_data_sets_go_together(place: Path) -> None:
    other = place / "other"
    other.mkdir()
    text = (place / "data.yaml").read_text()
    (other / "data.yaml").write_text("root: ..\n" + text)
    mixed = "classes: [ground, roof]\ndatasets:\n- {data: data.yaml, name: one}\n- {data: other/data.yaml}\n"
    (place / "mixed.yaml").write_text(mixed)
    description = examine(place / "mixed.yaml").proposal()
    assert isinstance(description, MixedDescription)
    assert description.dataset("train").load(5).image.shape == (20, 30, 4)
    assert [one.name for one in description.inputs] == ["rgb", "dsm"]
    assert description.inputs[1].values is not None
    write_description(description, place / "again.yaml")
    assert read_description(place / "again.yaml") == description
    (other / "data.yaml").write_text("root: ..\n" + text.replace("dsm:", "dem:"))
    with pytest.raises(ValueError, match=r"one has rgb \(3 rgb\) and dsm \(1 raw\), other has rgb \(3 rgb\) and dem"):
        read_description(place / "mixed.yaml")


# --- A model ------------------------------------------------------------------------------------------------------


def test_a_model_is_shown_stacks_with_the_values_of_its_training(place: Path) -> None:
    spec = examine(place / "data.yaml").proposal().image_spec
    description = read_description(place / "data.yaml")
    model = ImageReader(spec)
    shown = description.dataset("val", reader=model)
    assert np.array_equal(shown.load(0).image, description.dataset("val").load(0).image)
    save(place / "dsm/val/x0_h.tif", heights(0) * 100)
    with pytest.raises(ValueError, match=r"x0_h.tif.*the model was trained on float32 numbers from 9"):
        shown.load(0)
    assert description.dataset("val").load(0).image[..., 3].max() > 9000
    alone = replace(spec, inputs=(), names=(), channels=3, bands="rgb")
    with pytest.raises(ValueError, match="its images are other ones"):
        description.dataset("val", reader=ImageReader(alone))


def test_arrays_have_all_bands_and_one_file_alone_says_what_is_missing(place: Path) -> None:
    spec = read_description(place / "data.yaml").image_spec
    reader = ImageReader(spec)
    whole = np.concatenate([photo(0).astype(np.float32), heights(0)[:, :, None]], axis=2)
    assert np.array_equal(as_array(whole, reader), whole)
    with pytest.raises(
        ValueError, match=r"takes several images of each place, rgb and dsm.*--input dsm=FOLDER.*rgb.red"
    ):
        as_array(place / "photos/val/x0.png", reader)
    file = str(place / "photos/val/x0.png")
    stack = Stack(spec.inputs, {key_of(file): (str(place / "dsm/val/x0_h.tif"),)})
    assert np.array_equal(as_array(file, replace(reader, stack=stack)), whole)
    with pytest.raises(ValueError, match=r"x1.png: there is no dsm for it"):
        as_array(place / "photos/val/x1.png", replace(reader, stack=stack))
    bad = heights(0)
    bad[3, 4] = np.nan
    save(place / "dsm/val/x0_h.tif", bad)
    with pytest.raises(ValueError, match=r"x0.png: expected finite numbers, found 1"):
        as_array(file, replace(reader, stack=stack))


def test_indices_are_not_computed_of_several_images(place: Path) -> None:
    image = {"channels": 5, "indices": {"x": "red + 1"}, "names": ["red", "green", "blue", "dsm"]}
    with pytest.raises(ValueError, match="`indices` are computed of the bands of one image"):
        read_description(write(place, image=image)).dataset("train")


def test_a_data_set_without_partners_has_none(place: Path) -> None:
    plain = FolderDataset(root=str(place), images="photos", labels="labels", image_suffix=".png", classes=("a", "b"))
    assert plain.partners(0) == ()
